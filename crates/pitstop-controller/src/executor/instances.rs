//! Plans for workloads whose pods have identities of their own: CloneSets and StatefulSets.
//!
//! * A pod is changed by one request after the other, each with the uid and the version that the one before left.
//! * Pods are created in batches of 1, 2, 4, ..., each after its claims, under the name that was decided on. A POST that
//!   was not answered is posted again under that name before anything else, so that there is never a second pod for it.
//! * Claims of a deleted pod of a CloneSet go right after it. (cloneset.md 12)
//! * What fails for one pod of a StatefulSet keeps no other waiting. (statefulset.md 15.1 row 5)

use std::time::Duration;

use pitstop_api::selector::Selector;
use pitstop_api::view::{CloneSetView, MetaWire, ProtectionStatus, StatefulSetView};
use pitstop_api::{WorkloadKind, keys};
use pitstop_engine::instances::{Action, Failures};
use pitstop_engine::plan::Event;
use pitstop_engine::{cloneset, statefulset};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::revisions::Posted;
use super::{Executor, Outcome, Whom};
use crate::api::{CallError, Resource, Verb};
pub(super) use pods::Patched;
pub(super) use words::Words;

mod claims;
mod pods;
mod words;

/// A plan for a workload whose pods have identities of their own.
#[derive(Debug)]
pub struct InstancesWork {
    /// Whose it is.
    pub whom: Whom,
    /// What to write, in order.
    pub actions: Vec<Action>,
    /// Events about the workload itself.
    pub events: Vec<Event>,
    /// Decide again after this long even if nothing happens.
    pub requeue_after: Option<Duration>,
    kind: WorkloadKind,
    resource: Resource,
    /// The version of the workload that was decided on.
    resource_version: u64,
    collision_count: i32,
    /// A merge patch of the status, where it differs.
    status: Option<Value>,
    protection: Told,
    /// Which pods without a controller would become its own; `None`: nobody asks.
    selector: Option<Selector>,
}

/// What is told of protection.
#[derive(Debug, Default)]
struct Told {
    /// What is to be told, where that differs from what the annotation says.
    now: Option<ProtectionStatus>,
    /// Is there an annotation?
    is_annotated: bool,
    /// Does it say the same?
    is_same: bool,
}

impl InstancesWork {
    /// A plan for a CloneSet, as it was decided on.
    pub fn of_cloneset(whom: Whom, cloneset: &CloneSetView, plan: cloneset::Plan) -> Self {
        Self {
            whom,
            status: plan
                .status
                .and_then(|status| status_patch(&status, &cloneset.status)),
            actions: plan.actions,
            events: plan.events,
            requeue_after: plan.requeue_after,
            kind: WorkloadKind::CloneSet,
            protection: Told::default(),
            selector: None,
            resource: Resource::CloneSets,
            resource_version: cloneset.resource_version,
            collision_count: cloneset.status.collision_count.unwrap_or_default(),
        }
    }

    /// A plan for a StatefulSet, as it was decided on.
    pub fn of_statefulset(whom: Whom, set: &StatefulSetView, plan: statefulset::Plan) -> Self {
        let now = plan.status.as_ref().and_then(|status| status.protection.clone());
        Self {
            whom,
            selector: set.selector.selector(),
            protection: Told {
                is_annotated: set.annotates_protection,
                is_same: set.annotates_protection && now == set.status.protection,
                now,
            },
            status: plan.status.and_then(|status| status_patch(&status, &set.status)),
            actions: plan.actions,
            events: plan.events,
            requeue_after: plan.requeue_after,
            kind: WorkloadKind::StatefulSet,
            resource: Resource::StatefulSets,
            resource_version: set.resource_version,
            collision_count: set.status.collision_count.unwrap_or_default(),
        }
    }

    fn is_stateful(&self) -> bool {
        self.kind == WorkloadKind::StatefulSet
    }

    /// Does this pod have a name that a StatefulSet needs, and is it none that becomes its own?
    fn is_taken_by(&self, pod: &MetaWire) -> bool {
        let is_ours = match (pod.controller(), &self.selector) {
            (Some(owner), _) => owner.uid == self.whom.uid(),
            (None, Some(selector)) => selector.matches(&pod.labels),
            (None, None) => false,
        };
        self.is_stateful() && !is_ours
    }

    fn words(&self) -> Words<'_> {
        Words {
            kind: self.kind,
            name: &self.whom.about.name,
        }
    }
}

impl Executor {
    /// Does what the plan says, and then writes the status if it differs. Also tells what went wrong, for the next
    /// decision.
    pub async fn carry_out_instances(&self, work: &InstancesWork) -> (Outcome, Failures) {
        let mut failures = Failures::default();
        let mut outcome = self.post_again(work).await;
        outcome.merge(self.prepare_instances(work).await);
        if outcome.is_ok() {
            let (claiming, creating, deleting, patching) = futures::join!(
                self.change_claims(work),
                self.create_named(work),
                self.delete_with_claims(work),
                self.patch_pods(work),
            );
            let text = |outcome: &Outcome| outcome.failure.as_ref().map(|error| error.to_string().into());
            // Claims of StatefulSets are changed by an update; CloneSets miss some after they were scaled.
            let claims = text(&claiming);
            let (missing, growing) = if work.is_stateful() {
                (None, claims)
            } else {
                (claims, None)
            };
            failures.scale = missing.or_else(|| text(&creating)).or_else(|| text(&deleting));
            failures.update = text(&patching).or(growing);
            for part in [claiming, creating, deleting, patching] {
                outcome.merge(part);
            }
        }
        outcome.merge(self.write_instances_status(work).await);
        outcome.merge(self.settle_overdue(&work.whom).await);
        (outcome, failures)
    }

    /// Revisions, who owns what, and claims that nobody uses, in the order of the plan.
    async fn prepare_instances(&self, work: &InstancesWork) -> Outcome {
        let mut outcome = Outcome::default();
        let mut actions: Vec<&Action> = work.actions.iter().collect();
        // A revision goes only when no pod carries its label any more.
        actions.sort_by_key(|action| matches!(action, Action::DeleteRevision { .. }));
        for action in actions {
            let Some((kind, result)) = self.prepare_instance(work, action).await else {
                continue;
            };
            self.count(&work.whom, kind, &result);
            outcome.add(result);
            if !outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// One of the actions that come before pods: its word for metrics, and how it went.
    async fn prepare_instance(
        &self,
        work: &InstancesWork,
        action: &Action,
    ) -> Option<(&'static str, Result<(), CallError>)> {
        let whom = &work.whom;
        Some(match action {
            Action::CreateRevision { name, manifest } => (
                "create_revision",
                self.create_revision_of(work, name, manifest).await,
            ),
            Action::RenumberRevision {
                name,
                uid,
                revision,
                annotations,
            } => (
                "renumber_revision",
                self.renumber_revision(whom, name, *uid, *revision, annotations)
                    .await,
            ),
            Action::DeleteRevision { name, uid } => {
                ("delete_revision", self.delete_revision(whom, name, *uid).await)
            }
            Action::Adopt { object, name, uid } => ("adopt", self.adopt(whom, *object, name, *uid).await),
            Action::ReleasePod { name, uid } => {
                use pitstop_engine::plan::OwnedObject;
                ("release", self.release(whom, OwnedObject::Pod, name, *uid).await)
            }
            Action::DeleteClaim { name, uid } => {
                ("delete_claim", self.clean_up_claim(whom, name, *uid).await)
            }
            Action::LeaveClaim {
                name,
                uid,
                pod,
                pod_uid,
            } => (
                "leave_claim",
                self.leave_claim(whom, name, *uid, pod, *pod_uid).await,
            ),
            Action::PrunePodsToDelete {
                kept,
                resource_version,
            } => (
                "prune_pods_to_delete",
                self.prune_pods_to_delete(work, kept, *resource_version).await,
            ),
            // Pods and what belongs to one of them; the arbiter is asked by the controller.
            Action::PatchPod { .. }
            | Action::CreatePod(_)
            | Action::DeletePod { .. }
            | Action::CreateClaim { .. }
            | Action::PatchClaim { .. }
            | Action::ClaimPods { .. }
            | Action::ReleasePods { .. } => return None,
        })
    }

    async fn create_revision_of(
        &self,
        work: &InstancesWork,
        name: &str,
        manifest: &Value,
    ) -> Result<(), CallError> {
        match self.post_revision(&work.whom, name, manifest).await? {
            Posted::Serves => Ok(()),
            Posted::Collides(taken) => {
                let status = json!({ (COLLISIONS): work.collision_count.saturating_add(1) });
                self.patch_status(&work.whom, work.resource, work.resource_version, &status)
                    .await?;
                Err(taken)
            }
        }
    }

    async fn prune_pods_to_delete(
        &self,
        work: &InstancesWork,
        kept: &[std::sync::Arc<str>],
        version: u64,
    ) -> Result<(), CallError> {
        let whom = &work.whom;
        let body = json!({
            "metadata": { "uid": whom.uid().to_string(), "resourceVersion": version.to_string() },
            "spec": { "scaleStrategy": { "podsToDelete": kept } },
        });
        let name = &*whom.about.name;
        self.patch(whom, Verb::MergePatch, work.resource, name, body)
            .await
    }

    /// Where the definition of the kind has no field for it, the server drops the status of protection without a word: what
    /// it keeps tells. Then an annotation says the same. Source: statefulset.md 16.5.
    async fn annotate_protection(&self, work: &InstancesWork, kept: &[u8]) -> Result<(), CallError> {
        let (whom, told) = (&work.whom, &work.protection);
        if told.now.is_none() && !told.is_annotated {
            return Ok(());
        }
        let unreadable = |error: serde_json::Error| CallError::Unreadable {
            what: format!("{} {}", work.resource.plural(), whom.about.name),
            problem: error.to_string(),
        };
        let kept: Kept = serde_json::from_slice(kept).map_err(unreadable)?;
        let dropped = told.now.as_ref().filter(|_| kept.status.protection.is_none());
        let text = dropped
            .map(serde_json::to_string)
            .transpose()
            .map_err(unreadable)?;
        if text.is_none() && !told.is_annotated || text.is_some() && told.is_same {
            return Ok(());
        }
        let body = json!({ "metadata": {
            "uid": whom.uid().to_string(), "resourceVersion": kept.metadata.version().to_string(),
            "annotations": { (keys::PROTECTION_STATUS): text },
        }});
        let name = &*whom.about.name;
        self.patch(whom, Verb::MergePatch, work.resource, name, body)
            .await
    }

    async fn write_instances_status(&self, work: &InstancesWork) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(status) = &work.status else {
            return outcome;
        };
        let patch = self.patch_status(&work.whom, work.resource, work.resource_version, status);
        let result = match patch.await {
            Ok(kept) => self.annotate_protection(work, &kept).await,
            Err(error) => Err(error),
        };
        self.count(&work.whom, "status", &result);
        match result {
            // The workload is gone: there is nobody to tell.
            Err(CallError::NotFound(_)) => {}
            result => outcome.add(result),
        }
        outcome
    }
}

/// What a server keeps of the status of a workload.
#[derive(Deserialize)]
struct Kept {
    metadata: MetaWire,
    #[serde(default)]
    status: KeptStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct KeptStatus {
    protection: Option<IgnoredAny>,
}

/// Only ever rises, and in a request of its own once it is there.
const COLLISIONS: &str = "collisionCount";

/// A merge patch of the status; `None` when it does not differ. What the API leaves out when it is zero has to be removed
/// by name.
fn status_patch<S: Serialize + PartialEq>(status: &S, before: &S) -> Option<Value> {
    if status == before {
        return None;
    }
    let to_value = |status: &S| serde_json::to_value(status).unwrap_or_default();
    let (mut body, before) = (to_value(status), to_value(before));
    remove_by_name(&mut body, &before);
    if before.get(COLLISIONS).is_some()
        && let Some(body) = body.as_object_mut()
    {
        body.remove(COLLISIONS);
    }
    Some(body)
}

/// Adds what was there and is no more as null, in objects within objects too.
fn remove_by_name(body: &mut Value, before: &Value) {
    let (Some(body), Some(before)) = (body.as_object_mut(), before.as_object()) else {
        return;
    };
    for (key, before) in before {
        remove_by_name(body.entry(key).or_insert(Value::Null), before);
    }
}
