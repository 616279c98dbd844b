//! Claims of volumes of pods that have identities of their own.

use pitstop_api::reasons;
use pitstop_api::view::Uid;
use pitstop_engine::instances::Action;
use serde_json::{Value, json};

use super::InstancesWork;
use crate::api::{Call, CallError, FIELD_MANAGER, Resource, Verb};
use crate::executor::pods::delete_options;
use crate::executor::{Executor, Outcome, Whom, side_by_side};

/// The name of a claim that is to be made.
pub(super) fn name_of(claim: &Value) -> &str {
    pitstop_api::fields::text(claim, "/metadata/name")
}

impl Executor {
    /// Claims that pods miss which are there already, and claims that change: all side by side.
    pub(super) async fn change_claims(&self, work: &InstancesWork) -> Outcome {
        let changes = work
            .actions
            .iter()
            .filter(|action| matches!(action, Action::CreateClaim { .. } | Action::PatchClaim { .. }));
        let mut outcome = Outcome::default();
        for result in side_by_side(changes.map(|action| self.change_claim(work, action))).await {
            outcome.add(result);
        }
        outcome
    }

    async fn change_claim(&self, work: &InstancesWork, action: &Action) -> Result<(), CallError> {
        let whom = &work.whom;
        let (name, uid, version, pod, patch, why) = match action {
            Action::CreateClaim { pod, manifest } => return self.create_claim(work, pod, manifest).await,
            Action::PatchClaim {
                name,
                uid,
                resource_version,
                pod,
                patch,
                why,
            } => (name, uid, resource_version, pod, patch, *why),
            _ => return Ok(()),
        };
        let mut body = patch.clone();
        if let Some(body) = body.as_object_mut()
            && let Some(metadata) = body
                .entry("metadata")
                .or_insert_with(|| json!({}))
                .as_object_mut()
        {
            metadata.insert("uid".to_owned(), json!(uid.to_string()));
            metadata.insert("resourceVersion".to_owned(), json!(version.to_string()));
        }
        let result = self
            .patch(whom, Verb::StrategicPatch, Resource::Claims, name, body)
            .await;
        self.count(whom, "patch_claim", &result);
        match &result {
            Ok(()) => self.tell_all(whom, work.words().claim_changed(name, pod, why)),
            Err(error) => self.tell_failed(whom, error, || {
                work.words().claim_not_changed(name, pod, why, error)
            }),
        }
        result
    }

    /// Creates a claim that a pod needs. One of its name serves.
    pub(super) async fn create_claim(
        &self,
        work: &InstancesWork,
        pod: &str,
        claim: &Value,
    ) -> Result<(), CallError> {
        let whom = &work.whom;
        let call = Call::collection(Verb::Create, Resource::Claims, Some(whom.namespace()))
            .with_query("fieldManager", FIELD_MANAGER)
            .with_body(claim.clone());
        let result = match self.api.send(call).await {
            Ok(answer) => {
                self.stores.written(Resource::Claims, &answer);
                self.tell_all(whom, work.words().claim_created(name_of(claim), pod));
                Ok(())
            }
            // It is there, which is what was wanted. Source: cloneset.md 12.
            Err(CallError::AlreadyExists(_)) => Ok(()),
            Err(error) => Err(error),
        };
        self.count(whom, "create_claim", &result);
        if let Err(error) = &result
            && !error.is_namespace_terminating()
        {
            self.tell_failed(whom, error, || work.words().claim_not_created(claim, pod, error));
        }
        result
    }

    /// Deletes a claim that no pod needs any more. Source: cloneset.md 13.
    pub(super) async fn clean_up_claim(&self, whom: &Whom, name: &str, uid: Uid) -> Result<(), CallError> {
        let result = self.delete_claim(whom, name, uid).await;
        if let Err(error) = &result {
            self.tell_failed(whom, error, || {
                (
                    reasons::FAILED_DELETE,
                    format!("failed to clean up PVC {name}: {error}"),
                )
            });
        }
        result
    }

    pub(super) async fn delete_claim(&self, whom: &Whom, name: &str, uid: Uid) -> Result<(), CallError> {
        let options = delete_options(&json!({ "uid": uid.to_string() }));
        let call =
            Call::object(Verb::Delete, Resource::Claims, Some(whom.namespace()), name).with_body(options);
        match self.api.send(call).await {
            Ok(_) | Err(CallError::NotFound(_)) => {
                self.overlay.claim_deleted(whom.uid(), uid, self.clock.now());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Leaves a claim to a pod that is on its way out.
    pub(super) async fn leave_claim(
        &self,
        whom: &Whom,
        name: &str,
        uid: Uid,
        pod: &str,
        pod_uid: Uid,
    ) -> Result<(), CallError> {
        let owner = json!({
            "apiVersion": "v1", "kind": "Pod", "name": pod, "uid": pod_uid.to_string(),
            "controller": true, "blockOwnerDeletion": true,
        });
        let body = json!({ "metadata": { "uid": uid.to_string(), "ownerReferences": [owner] } });
        match self
            .patch(whom, Verb::MergePatch, Resource::Claims, name, body)
            .await
        {
            Ok(()) | Err(CallError::NotFound(_)) => Ok(()),
            Err(error) => {
                self.tell_failed(whom, &error, || {
                    (
                        reasons::FAILED_UPDATE,
                        format!("failed to update PVC {name}: {error}"),
                    )
                });
                Err(error)
            }
        }
    }
}
