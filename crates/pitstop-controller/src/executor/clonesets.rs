//! Plans for CloneSets.
//!
//! * A pod is changed by one request after the other, each with the uid and the version that the one before left.
//! * Pods are created in batches of 1, 2, 4, ..., each after its claims, under the name that was decided on. A POST that
//!   was not answered is posted again under that name before anything else, so that there is never a second pod for it.
//! * Claims of a deleted pod go right after it. (cloneset.md 12)

use std::sync::Arc;

use pitstop_api::reasons;
use pitstop_api::view::{CloneSetStatus, CloneSetView, Uid};
use pitstop_engine::cloneset::{Action, CreatedPod, Failures, NewPod, PatchWhy, Plan, RefusedResize};
use pitstop_engine::inplace::{Endpoint, PodWrite};
use pitstop_engine::plan::{Event, OwnedObject};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::pods::{Doomed, Made, delete_options, unreadable};
use super::revisions::Posted;
use super::{Executor, Outcome, Whom, side_by_side};
use crate::api::{Call, CallError, FIELD_MANAGER, Resource, Verb};

/// A plan for a CloneSet.
#[derive(Debug)]
pub struct CloneSetWork {
    /// Whose it is.
    pub whom: Whom,
    /// The workload as it was decided on.
    pub cloneset: Arc<CloneSetView>,
    /// What to do.
    pub plan: Plan,
}

/// A pod as it is changed.
struct Patched<'a> {
    name: &'a Arc<str>,
    uid: Uid,
    version: u64,
    writes: &'a [PodWrite],
    why: &'a PatchWhy,
}

impl Executor {
    /// Does what the plan says, and then writes the status if it differs. Also tells what went wrong, for the next
    /// decision.
    pub async fn carry_out_cloneset(&self, work: &CloneSetWork) -> (Outcome, Failures) {
        let mut failures = Failures::default();
        let mut outcome = self.post_again(work).await;
        outcome.merge(self.prepare_cloneset(work).await);
        if outcome.is_ok() {
            let (claiming, creating, deleting, patching) = futures::join!(
                self.create_missing_claims(work),
                self.create_named(work),
                self.delete_with_claims(work),
                self.patch_pods(work),
            );
            let text = |outcome: &Outcome| outcome.failure.as_ref().map(|error| error.to_string().into());
            failures.scale = text(&claiming)
                .or_else(|| text(&creating))
                .or_else(|| text(&deleting));
            failures.update = text(&patching);
            for part in [claiming, creating, deleting, patching] {
                outcome.merge(part);
            }
        }
        outcome.merge(self.write_cloneset_status(work).await);
        outcome.merge(self.settle_overdue(&work.whom).await);
        (outcome, failures)
    }

    /// Posts again what was not answered: the server has at most one pod of a name.
    async fn post_again(&self, work: &CloneSetWork) -> Outcome {
        let open = self.overlay.unanswered(work.whom.uid());
        let mut outcome = Outcome::default();
        let requests = open
            .iter()
            .map(|(pod, manifest)| self.post_named(&work.whom, pod, manifest, true));
        for result in side_by_side(requests).await {
            self.count(&work.whom, "create_pod", &result);
            // What was decided while it was open may be decided otherwise now.
            outcome.is_stale = true;
            outcome.add(result);
        }
        outcome
    }

    /// Revisions, what is let go, and claims, in the order of the plan.
    async fn prepare_cloneset(&self, work: &CloneSetWork) -> Outcome {
        let mut outcome = Outcome::default();
        let mut actions: Vec<&Action> = work.plan.actions.iter().collect();
        // A revision goes only when no pod carries its label any more.
        actions.sort_by_key(|action| matches!(action, Action::DeleteRevision { .. }));
        for action in actions {
            let Some((kind, result)) = self.prepare_one_of_cloneset(work, action).await else {
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
    async fn prepare_one_of_cloneset(
        &self,
        work: &CloneSetWork,
        action: &Action,
    ) -> Option<(&'static str, Result<(), CallError>)> {
        let whom = &work.whom;
        Some(match action {
            Action::CreateRevision { name, manifest } => (
                "create_revision",
                self.create_cloneset_revision(work, name, manifest).await,
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
            Action::ReleasePod { name, uid } => {
                ("release", self.release(whom, OwnedObject::Pod, name, *uid).await)
            }
            Action::DeleteClaim { name, uid } => ("delete_claim", self.delete_claim(whom, name, *uid).await),
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
                self.prune_pods_to_delete(whom, kept, *resource_version).await,
            ),
            // The last four are written for StatefulSets alone.
            Action::PatchPod { .. }
            | Action::CreatePod(_)
            | Action::CreateClaim { .. }
            | Action::DeletePod { .. }
            | Action::Adopt { .. }
            | Action::PatchClaim { .. }
            | Action::ClaimPods { .. }
            | Action::ReleasePods { .. } => return None,
        })
    }

    async fn create_cloneset_revision(
        &self,
        work: &CloneSetWork,
        name: &str,
        manifest: &Value,
    ) -> Result<(), CallError> {
        match self.post_revision(&work.whom, name, manifest).await? {
            Posted::Serves => Ok(()),
            Posted::Collides(taken) => {
                let count = work.cloneset.status.collision_count.unwrap_or_default();
                let body = json!({
                    "metadata": {
                        "uid": work.whom.uid().to_string(),
                        "resourceVersion": work.cloneset.resource_version.to_string(),
                    },
                    "status": { (COLLISIONS): count.saturating_add(1) },
                });
                self.patch_status(&work.whom, Resource::CloneSets, body).await?;
                Err(taken)
            }
        }
    }

    /// Claims that pods wait for which are there already.
    async fn create_missing_claims(&self, work: &CloneSetWork) -> Outcome {
        let mut outcome = Outcome::default();
        for action in &work.plan.actions {
            if let Action::CreateClaim { manifest, .. } = action {
                outcome.add(self.create_claim(&work.whom, manifest).await);
            }
        }
        outcome
    }

    /// Slow start: 1, 2, 4, ... at a time, until one fails.
    async fn create_named(&self, work: &CloneSetWork) -> Outcome {
        let new: Vec<&NewPod> = work
            .plan
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::CreatePod(pod) => Some(pod),
                _ => None,
            })
            .collect();
        let mut outcome = Outcome::default();
        let mut rest = new.as_slice();
        let mut size = 1;
        while !rest.is_empty() && outcome.failure.is_none() {
            let (batch, later) = rest.split_at(size.min(rest.len()));
            for result in side_by_side(batch.iter().map(|pod| self.create_one(&work.whom, pod))).await {
                self.count(&work.whom, "create_pod", &result);
                outcome.add(result);
            }
            rest = later;
            size = size.saturating_mul(2);
        }
        outcome
    }

    /// Creates the claims of a pod that are missing, and then the pod.
    async fn create_one(&self, whom: &Whom, new: &NewPod) -> Result<(), CallError> {
        for claim in &new.claims {
            if let Err(error) = self.create_claim(whom, claim).await {
                return if error.is_namespace_terminating() {
                    Ok(())
                } else {
                    Err(error)
                };
            }
        }
        let pod = CreatedPod {
            name: Arc::clone(&new.name),
            instance: Arc::clone(&new.instance),
            revision: Arc::clone(&new.revision),
        };
        self.post_named(whom, &pod, &new.manifest, false).await
    }

    async fn create_claim(&self, whom: &Whom, claim: &Value) -> Result<(), CallError> {
        let call = Call::collection(Verb::Create, Resource::Claims, Some(whom.namespace()))
            .with_query("fieldManager", FIELD_MANAGER)
            .with_body(claim.clone());
        let result = match self.api.send(call).await {
            Ok(answer) => {
                self.stores.written(Resource::Claims, &answer);
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
            self.tell_failed(whom, reasons::FAILED_CREATE, error, || {
                format!("failed to create pvc: {error}, pvc: {claim}")
            });
        }
        result
    }

    /// Posts a pod under the name that was decided on. `is_again`: an earlier POST of it was not answered, and may still be carried out.
    async fn post_named(
        &self,
        whom: &Whom,
        pod: &CreatedPod,
        manifest: &Value,
        is_again: bool,
    ) -> Result<(), CallError> {
        let call = Call::collection(Verb::Create, Resource::Pods, Some(whom.namespace()))
            .with_query("fieldManager", FIELD_MANAGER)
            .with_body(manifest.clone());
        let note = |answered| {
            let at = self.clock.now();
            self.overlay
                .posted(whom.uid(), pod.clone(), manifest.clone(), answered, at);
        };
        let name = &pod.name;
        match self.api.send(call).await {
            Ok(answer) => {
                let made: Result<Made, _> = serde_json::from_slice(&answer);
                let made = made
                    .map_err(|e| unreadable(name, &e))
                    .inspect_err(|_| note(None))?;
                note(Some(made.metadata.version()));
                self.stores.written(Resource::Pods, &answer);
                info!(cloneset = &*whom.about.name, pod = &**name, "pod created");
                self.tell(
                    whom,
                    false,
                    reasons::SUCCESSFUL_CREATE,
                    format!("succeed to create pod {name}"),
                );
                Ok(())
            }
            // Ours, whose answer was lost, or somebody else's: the stores tell, and the next decision takes another name.
            Err(error @ CallError::AlreadyExists(_)) => {
                self.read_pod(whom, name).await?;
                self.overlay.name_settled(whom.uid(), name);
                Err(error)
            }
            Err(error) if error.is_namespace_terminating() => {
                self.overlay.name_settled(whom.uid(), name);
                Ok(())
            }
            Err(error) => {
                if error.is_ambiguous() {
                    note(None);
                } else if !(is_again && may_pass(&error)) {
                    self.overlay.name_settled(whom.uid(), name);
                }
                self.tell_failed(whom, reasons::FAILED_CREATE, &error, || {
                    format!("failed to create pod: {error}, pod: {manifest}")
                });
                Err(error)
            }
        }
    }

    /// A warning about the CloneSet, unless it is nobody's business.
    fn tell_failed(
        &self,
        whom: &Whom,
        reason: &'static str,
        error: &CallError,
        message: impl FnOnce() -> String,
    ) {
        if matches!(error, CallError::LeaseLost | CallError::Conflict(_)) {
            return;
        }
        if error.missing_right().is_none() {
            warn!(cloneset = &*whom.about.name, reason, %error, "a write for a pod failed");
        }
        self.tell(whom, true, reason, message());
    }

    /// All side by side: one failure does not hide the others.
    async fn delete_with_claims(&self, work: &CloneSetWork) -> Outcome {
        let deletes = work
            .plan
            .actions
            .iter()
            .filter(|action| matches!(action, Action::DeletePod { .. }));
        let mut outcome = Outcome::default();
        let requests = deletes.map(|action| self.delete_one(&work.whom, action));
        for result in side_by_side(requests).await {
            self.count(&work.whom, "delete_pod", &result);
            outcome.add(result);
        }
        outcome
    }

    async fn delete_one(&self, whom: &Whom, action: &Action) -> Result<(), CallError> {
        let Action::DeletePod {
            name,
            uid,
            resource_version,
            claims,
            why,
        } = action
        else {
            return Ok(());
        };
        let doomed = Doomed {
            name,
            uid: *uid,
            version: *resource_version,
            node: None,
            why: why.as_str(),
        };
        match self.send_delete(whom, doomed).await {
            Ok(true) => self.tell(
                whom,
                false,
                reasons::SUCCESSFUL_DELETE,
                format!("succeed to delete pod {name}"),
            ),
            Ok(false) => {}
            Err(error) => {
                self.tell_failed(whom, reasons::FAILED_DELETE, &error, || {
                    format!("failed to delete pod {name}: {error}")
                });
                return Err(error);
            }
        }
        for (claim, uid) in claims {
            let result = self.delete_claim(whom, claim, *uid).await;
            self.count(whom, "delete_claim", &result);
            if let Err(error) = result {
                self.tell_failed(whom, reasons::FAILED_DELETE, &error, || {
                    format!("failed to delete pvc {claim}: {error}")
                });
                return Err(error);
            }
        }
        Ok(())
    }

    async fn delete_claim(&self, whom: &Whom, name: &str, uid: Uid) -> Result<(), CallError> {
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
    async fn leave_claim(
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
                self.tell_failed(whom, reasons::FAILED_UPDATE, &error, || {
                    format!("failed to update PVC {name}: {error}")
                });
                Err(error)
            }
        }
    }

    async fn prune_pods_to_delete(
        &self,
        whom: &Whom,
        kept: &[Arc<str>],
        version: u64,
    ) -> Result<(), CallError> {
        let body = json!({
            "metadata": { "uid": whom.uid().to_string(), "resourceVersion": version.to_string() },
            "spec": { "scaleStrategy": { "podsToDelete": kept } },
        });
        let name = &*whom.about.name;
        self.patch(whom, Verb::MergePatch, Resource::CloneSets, name, body)
            .await
    }

    /// All pods side by side; the requests about one pod one after the other.
    async fn patch_pods(&self, work: &CloneSetWork) -> Outcome {
        let patches = work.plan.actions.iter().filter_map(|action| match action {
            Action::PatchPod {
                name,
                uid,
                resource_version,
                writes,
                why,
            } => Some(Patched {
                name,
                uid: *uid,
                version: *resource_version,
                writes,
                why,
            }),
            _ => None,
        });
        let requests = patches.map(|pod| self.patch_one(&work.whom, pod));
        let mut outcome = Outcome::default();
        for results in side_by_side(requests).await {
            for result in results {
                outcome.add(result);
            }
        }
        outcome
    }

    /// Changes one pod: how each request went, up to the first that failed.
    async fn patch_one(&self, whom: &Whom, pod: Patched<'_>) -> Vec<Result<(), CallError>> {
        let mut results = Vec::with_capacity(pod.writes.len());
        let mut version = pod.version;
        if let Err(error) = self.try_resize(whom, &pod).await {
            self.tell_patch(whom, pod.why.failed(pod.name, &error.to_string()), Some(&error));
            return vec![Err(error)];
        }
        for write in pod.writes {
            let result = self.patch_pod(whom, &pod, version, write).await;
            self.note_refusal(whom, &pod, write, &result);
            self.count(whom, word(write.endpoint), &result);
            match result {
                Ok(now_at) => {
                    version = now_at;
                    results.push(Ok(()));
                }
                // It is gone, and with it what was to be done.
                Err(CallError::NotFound(_)) => return results,
                Err(error) => {
                    self.tell_patch(whom, pod.why.failed(pod.name, &error.to_string()), Some(&error));
                    results.push(Err(error));
                    return results;
                }
            }
        }
        info!(
            cloneset = &*whom.about.name,
            pod = &**pod.name,
            why = pod.why.as_str(),
            "pod changed"
        );
        self.tell_patch(whom, pod.why.succeeded(pod.name), None);
        results
    }

    /// Asks whether the server would change the resources before the pod leaves service for it.
    ///
    /// Source: inplace.md 13.9.
    async fn try_resize(&self, whom: &Whom, pod: &Patched<'_>) -> Result<(), CallError> {
        let Some(write) = pod.writes.iter().find(|write| write.endpoint == Endpoint::Resize) else {
            return Ok(());
        };
        let call = patch_call(whom, pod, pod.version, write).with_query("dryRun", "All");
        let result = self.api.send(call).await.map(drop);
        self.count(whom, "try_resize", &result);
        self.note_refusal(whom, pod, write, &result);
        match result {
            // The change itself finds that out.
            Err(CallError::NotFound(_)) => Ok(()),
            result => result,
        }
    }

    /// A resize that is not valid stays so: the pod takes another way to its revision.
    fn note_refusal<T>(
        &self,
        whom: &Whom,
        pod: &Patched<'_>,
        write: &PodWrite,
        result: &Result<T, CallError>,
    ) {
        if write.endpoint == Endpoint::Resize
            && let Err(CallError::Refused(refusal)) = result
            && refusal.code == 422
        {
            let revision = match pod.why {
                PatchWhy::UpdateInPlace { revision } => Some(Arc::clone(revision)),
                // It carries the label of its revision already.
                _ => self
                    .stores
                    .read()
                    .pod(pod.uid)
                    .and_then(|pod| pod.revision_hash())
                    .map(Arc::from),
            };
            let message = refusal.message.as_str().into();
            let refused = revision.map(|revision| RefusedResize {
                pod: pod.uid,
                revision,
                message,
            });
            if let Some(refused) = refused {
                self.overlay.resize_refused(whom.uid(), refused);
            }
        }
    }

    fn tell_patch(&self, whom: &Whom, event: Option<Event>, error: Option<&CallError>) {
        let is_news = matches!(error, Some(CallError::LeaseLost | CallError::Conflict(_)));
        if let Some(event) = event.filter(|_| !is_news) {
            self.tell(whom, event.is_warning, event.reason, event.message.into_owned());
        }
    }

    /// One request, for exactly the version that was decided on. Returns the version that it left.
    async fn patch_pod(
        &self,
        whom: &Whom,
        pod: &Patched<'_>,
        version: u64,
        write: &PodWrite,
    ) -> Result<u64, CallError> {
        let call = patch_call(whom, pod, version, write);
        let answer = self.api.send(call).await.inspect_err(|error| {
            if error.is_ambiguous() {
                let now = self.clock.now();
                self.overlay.maybe_patched(whom.uid(), pod.uid, version, now);
            }
        })?;
        self.stores.written(Resource::Pods, &answer);
        let made: Made = serde_json::from_slice(&answer).map_err(|e| unreadable(pod.name, &e))?;
        Ok(made.metadata.version())
    }

    async fn write_cloneset_status(&self, work: &CloneSetWork) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(status) = &work.plan.status else {
            return outcome;
        };
        if *status == work.cloneset.status {
            return outcome;
        }
        let body = json!({
            "metadata": { "uid": work.whom.uid().to_string() },
            "status": status_json(status, &work.cloneset.status),
        });
        let result = self.patch_status(&work.whom, Resource::CloneSets, body).await;
        self.count(&work.whom, "status", &result);
        match result {
            // The workload is gone: there is nobody to tell.
            Err(CallError::NotFound(_)) => {}
            result => outcome.add(result),
        }
        outcome
    }
}

/// Is it a refusal that says nothing of a request that was sent before? What admission refuses, it refuses that one too.
fn may_pass(error: &CallError) -> bool {
    matches!(error, CallError::Conflict(_) | CallError::Busy(_))
}

/// The request that changes a pod of exactly this version.
fn patch_call(whom: &Whom, pod: &Patched<'_>, version: u64, write: &PodWrite) -> Call {
    let mut body = write.patch.clone();
    let metadata = body
        .as_object_mut()
        .map(|body| body.entry("metadata").or_insert_with(|| json!({})));
    if let Some(metadata) = metadata.and_then(Value::as_object_mut) {
        metadata.insert("uid".to_owned(), json!(pod.uid.to_string()));
        metadata.insert("resourceVersion".to_owned(), json!(version.to_string()));
    }
    let call = Call::object(
        Verb::StrategicPatch,
        Resource::Pods,
        Some(whom.namespace()),
        pod.name,
    );
    let call = match write.endpoint {
        Endpoint::Pod => call,
        Endpoint::Status => call.status(),
        Endpoint::Resize => call.subresource("resize"),
    };
    call.with_query("fieldManager", FIELD_MANAGER).with_body(body)
}

/// The word for metrics.
fn word(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Pod => "patch_pod",
        Endpoint::Status => "patch_pod_status",
        Endpoint::Resize => "resize_pod",
    }
}

/// Only ever rises, and in a request of its own once it is there.
const COLLISIONS: &str = "collisionCount";

/// A merge patch of the status. What the API leaves out when it is zero has to be removed by name.
fn status_json(status: &CloneSetStatus, before: &CloneSetStatus) -> Value {
    let to_value = |status: &CloneSetStatus| serde_json::to_value(status).unwrap_or_default();
    let mut body = to_value(status);
    let has_count = before.collision_count.is_some();
    if let (Some(body), Value::Object(before)) = (body.as_object_mut(), to_value(before)) {
        for (key, _) in before {
            body.entry(key).or_insert(Value::Null);
        }
        if has_count {
            body.remove(COLLISIONS);
        }
    }
    body
}
