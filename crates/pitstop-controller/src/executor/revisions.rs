//! Writing history. Source: daemonset.md A11.

use std::sync::Arc;

use pitstop_api::keys;
use pitstop_api::view::{DaemonSetView, RevisionView, Uid};
use pitstop_engine::plan::NewRevision;
use pitstop_engine::revision::labels_of;
use serde_json::{Value, json};

use super::pods::delete_options;
use super::{Executor, Whom, Work};
use crate::api::{Call, CallError, FIELD_MANAGER, Resource, Verb};

/// What came of posting a revision.
pub(super) enum Posted {
    /// It is there.
    Serves,
    /// Its name is taken by other data.
    Collides(CallError),
}

impl Executor {
    /// Creates a revision. When its name is taken by the same data, that one serves; when by other data, the collision
    /// count is raised, which gives the next attempt another name.
    pub(super) async fn create_revision(&self, work: &Work, new: &NewRevision) -> Result<(), CallError> {
        let manifest = revision_json(work, new);
        match self.post_revision(&work.whom, &new.name, &manifest).await? {
            Posted::Serves => Ok(()),
            Posted::Collides(taken) => {
                self.raise_collision_count(work).await?;
                Err(taken)
            }
        }
    }

    /// Posts a revision. One of its name with the same data serves as well.
    pub(super) async fn post_revision(
        &self,
        whom: &Whom,
        name: &str,
        manifest: &Value,
    ) -> Result<Posted, CallError> {
        let namespace = Some(whom.namespace());
        let call = Call::collection(Verb::Create, Resource::ControllerRevisions, namespace)
            .with_query("fieldManager", FIELD_MANAGER)
            .with_body(manifest.clone());
        let taken = match self.api.send(call).await {
            Ok(answer) => {
                self.stores.written(Resource::ControllerRevisions, &answer);
                return Ok(Posted::Serves);
            }
            Err(error @ CallError::AlreadyExists(_)) => error,
            Err(error) => return Err(error),
        };
        let call = Call::object(Verb::Get, Resource::ControllerRevisions, namespace, name);
        let answer = self.api.send(call).await?;
        let existing = RevisionView::from_json(&answer).map_err(|e| CallError::Unreadable {
            what: format!("ControllerRevision {name}"),
            problem: e.to_string(),
        })?;
        if manifest.get("data") != Some(&*existing.data) {
            return Ok(Posted::Collides(taken));
        }
        self.stores.written(Resource::ControllerRevisions, &answer);
        match existing.controller {
            Some(owner) if owner.uid == whom.uid() => Ok(Posted::Serves),
            // An orphan is adopted by the next pass; one of a predecessor is on its way out.
            _ => Err(taken),
        }
    }

    /// Raises `status.collisionCount` by one, unless the cached DaemonSet is not the live one.
    async fn raise_collision_count(&self, work: &Work) -> Result<(), CallError> {
        let daemonset = &work.daemonset;
        let call = Call::object(
            Verb::Get,
            work.resource(),
            Some(&daemonset.namespace),
            &daemonset.name,
        );
        let answer = self.api.send(call).await?;
        let live = DaemonSetView::from_json(&answer).map_err(|e| CallError::Unreadable {
            what: format!("DaemonSet {}", daemonset.name),
            problem: e.to_string(),
        })?;
        if live.uid != daemonset.uid || live.status.collision_count != daemonset.status.collision_count {
            return Ok(());
        }
        let count = live.status.collision_count.unwrap_or_default().saturating_add(1);
        let status = json!({ "collisionCount": count });
        self.patch_status(&work.whom, work.resource(), live.resource_version, &status)
            .await
            .map(drop)
    }

    pub(super) async fn renumber_revision(
        &self,
        whom: &Whom,
        name: &str,
        uid: Uid,
        revision: i64,
        annotations: &[(String, String)],
    ) -> Result<(), CallError> {
        let annotations: serde_json::Map<String, Value> = annotations
            .iter()
            .map(|(key, value)| (key.clone(), json!(value)))
            .collect();
        let mut body = json!({ "metadata": { "uid": uid.to_string() }, "revision": revision });
        if !annotations.is_empty() {
            body["metadata"]["annotations"] = Value::Object(annotations);
        }
        self.patch(whom, Verb::MergePatch, Resource::ControllerRevisions, name, body)
            .await
    }

    pub(super) async fn label_revision(
        &self,
        whom: &Whom,
        name: &str,
        uid: Uid,
        hash: &str,
    ) -> Result<(), CallError> {
        let body = json!({ "metadata": {
            "uid": uid.to_string(),
            "labels": { (keys::REVISION_HASH): hash },
        } });
        self.patch(whom, Verb::MergePatch, Resource::ControllerRevisions, name, body)
            .await
    }

    pub(super) async fn delete_revision(
        &self,
        whom: &Whom,
        name: &Arc<str>,
        uid: Uid,
    ) -> Result<(), CallError> {
        let call = Call::object(
            Verb::Delete,
            Resource::ControllerRevisions,
            Some(whom.namespace()),
            name,
        )
        .with_body(delete_options(&json!({ "uid": uid.to_string() })));
        match self.api.send(call).await {
            Ok(_) | Err(CallError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn revision_json(work: &Work, new: &NewRevision) -> Value {
    let daemonset = &work.daemonset;
    json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": new.name,
            "namespace": daemonset.namespace,
            "labels": labels_of(&daemonset.template, &new.hash),
            "annotations": daemonset.annotations,
            "ownerReferences": [work.whom.owner_reference()],
        },
        "data": new.data,
        "revision": new.revision,
    })
}
