//! Pods that have identities of their own: made by name, deleted with their claims, changed step by step.

use std::sync::Arc;

use pitstop_api::view::Uid;
use pitstop_api::{WorkloadKind, reasons};
use pitstop_engine::inplace::{Endpoint, PodWrite};
use pitstop_engine::instances::{Action, CreatedPod, NewPod, PatchWhy, RefusedResize};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::InstancesWork;
use super::words::{Told, Words};
use crate::api::{ARBITER_FIELD_MANAGER, Call, CallError, FIELD_MANAGER, Resource, Verb};
use crate::executor::pods::{Doomed, Made, unreadable};
use crate::executor::{Executor, Outcome, Whom, ends_with_namespace, side_by_side};
use crate::store::PostAnswer;

/// A pod as it is changed.
pub(in crate::executor) struct Patched<'a> {
    pub(in crate::executor) name: &'a Arc<str>,
    pub(in crate::executor) uid: Uid,
    pub(in crate::executor) version: u64,
    pub(in crate::executor) writes: &'a [PodWrite],
    pub(in crate::executor) why: &'a PatchWhy,
}

impl Executor {
    /// Posts again what was not answered: the server has at most one pod of a name.
    pub(super) async fn post_again(&self, work: &InstancesWork) -> Outcome {
        let open = self.overlay.unanswered(work.whom.uid());
        let mut outcome = Outcome::default();
        let requests = open
            .iter()
            .map(|(pod, manifest)| self.post_named(work, pod, manifest, true));
        for result in side_by_side(requests).await {
            self.count(&work.whom, "create_pod", &result);
            // What was decided while it was open may be decided otherwise now.
            outcome.is_stale = true;
            outcome.add(result);
        }
        outcome
    }

    /// Slow start: 1, 2, 4, ... at a time, until one fails; of a StatefulSet, until all that come next would fail too.
    ///
    /// A namespace that is being deleted takes none of them: that is nobody's failure, and ends by itself.
    pub(super) async fn create_named(&self, work: &InstancesWork) -> Outcome {
        let new: Vec<&NewPod> = work
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
        let mut goes_on = true;
        while !rest.is_empty() && goes_on {
            let (batch, later) = rest.split_at(size.min(rest.len()));
            for result in side_by_side(batch.iter().map(|pod| self.create_one(work, pod))).await {
                self.count(&work.whom, "create_pod", &result);
                let stops = result.as_ref().is_err_and(|error| !error.is_news());
                goes_on &= !stops || (work.is_stateful() && result.as_ref().is_err_and(is_about_one));
                goes_on &= !ends_with_namespace(&result);
                outcome.add(result);
            }
            rest = later;
            size = size.saturating_mul(2);
        }
        outcome
    }

    /// Creates the claims of a pod that are missing, and then the pod.
    async fn create_one(&self, work: &InstancesWork, new: &NewPod) -> Result<(), CallError> {
        for claim in &new.claims {
            self.create_claim(work, &new.name, claim).await?;
        }
        let pod = CreatedPod {
            name: Arc::clone(&new.name),
            instance: Arc::clone(&new.instance),
            revision: Arc::clone(&new.revision),
        };
        self.post_named(work, &pod, &new.manifest, false).await
    }

    /// Posts a pod under the name that was decided on. `is_again`: an earlier POST of it was not answered, and may still be carried out.
    async fn post_named(
        &self,
        work: &InstancesWork,
        pod: &CreatedPod,
        manifest: &Value,
        is_again: bool,
    ) -> Result<(), CallError> {
        let whom = &work.whom;
        let call = Call::collection(Verb::Create, Resource::Pods, Some(whom.namespace()))
            .with_query("fieldManager", FIELD_MANAGER)
            .with_body(manifest.clone());
        let note = |answer| {
            let at = self.clock.now();
            self.overlay.posted(whom.uid(), pod.clone(), answer, at);
        };
        let unanswered = || PostAnswer::Missing(manifest.clone());
        let name = &pod.name;
        match self.api.send(call).await {
            Ok(answer) => {
                let made: Result<Made, _> = serde_json::from_slice(&answer);
                let made = made
                    .map_err(|e| unreadable(name, &e))
                    .inspect_err(|_| note(unanswered()))?;
                note(PostAnswer::Made(made.metadata.version()));
                self.stores.written(Resource::Pods, &answer);
                info!(workload = &*whom.about.name, pod = &**name, "pod created");
                self.tell_all(whom, Some(work.words().created(name)));
                Ok(())
            }
            // Ours, whose answer was lost, or somebody else's: the stores tell. The next decision about a CloneSet takes
            // another name; a StatefulSet waits until it is free.
            Err(CallError::AlreadyExists(refusal)) => {
                let there = self.read_pod(whom, name).await?;
                self.overlay.name_settled(whom.uid(), name);
                let is_taken = there.is_some_and(|there| work.is_taken_by(&there));
                Err(if is_taken {
                    CallError::Refused(refusal)
                } else {
                    CallError::AlreadyExists(refusal)
                })
            }
            Err(error) if error.is_namespace_terminating() => {
                self.overlay.name_settled(whom.uid(), name);
                Err(error)
            }
            Err(error) => {
                if error.is_ambiguous() {
                    note(unanswered());
                } else if !(is_again && may_pass(&error)) {
                    self.overlay.name_settled(whom.uid(), name);
                }
                self.tell_failed(whom, &error, || work.words().not_created(name, &error, manifest));
                Err(error)
            }
        }
    }

    pub(super) fn tell_all(&self, whom: &Whom, told: Option<Told>) {
        if let Some((reason, message)) = told {
            self.tell(whom, false, reason, message);
        }
    }

    /// A warning about the workload, unless it is nobody's business.
    pub(super) fn tell_failed(&self, whom: &Whom, error: &CallError, told: impl FnOnce() -> Told) {
        if matches!(error, CallError::LeaseLost | CallError::Conflict(_)) {
            return;
        }
        let (reason, message) = told();
        if error.missing_right().is_none() {
            warn!(workload = &*whom.about.name, reason, %error, "a write for a pod failed");
        }
        self.tell(whom, true, reason, message);
    }

    /// All side by side: one failure does not hide the others.
    pub(super) async fn delete_with_claims(&self, work: &InstancesWork) -> Outcome {
        let deletes = work
            .actions
            .iter()
            .filter(|action| matches!(action, Action::DeletePod { .. }));
        let mut outcome = Outcome::default();
        let requests = deletes.map(|action| self.delete_one(work, action));
        for result in side_by_side(requests).await {
            self.count(&work.whom, "delete_pod", &result);
            outcome.add(result);
        }
        outcome
    }

    async fn delete_one(&self, work: &InstancesWork, action: &Action) -> Result<(), CallError> {
        let whom = &work.whom;
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
            Ok(true) => {
                self.overlay.write_accepted(whom.uid(), *uid);
                self.tell_all(whom, Some(work.words().deleted(name)));
            }
            Ok(false) => {}
            Err(error) => {
                self.put_off(whom, work.words(), *uid, true, &error);
                self.tell_failed(whom, &error, || work.words().not_deleted(name, &error));
                if let Some(told) = work.words().not_deleted_again(name, &error) {
                    self.tell_failed(whom, &error, || told);
                }
                return Err(error);
            }
        }
        for (claim, uid) in claims {
            let result = self.delete_claim(whom, claim, *uid).await;
            self.count(whom, "delete_claim", &result);
            if let Err(error) = result {
                self.tell_failed(whom, &error, || {
                    (
                        reasons::FAILED_DELETE,
                        format!("failed to delete pvc {claim}: {error}"),
                    )
                });
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) async fn patch_pods(&self, work: &InstancesWork) -> Outcome {
        let patches = work.actions.iter().filter_map(|action| match action {
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
        self.patch_all(&work.whom, work.words(), patches).await
    }

    /// All pods side by side; the requests about one pod one after the other.
    pub(in crate::executor) async fn patch_all<'p>(
        &self,
        whom: &Whom,
        words: Words<'_>,
        pods: impl Iterator<Item = Patched<'p>>,
    ) -> Outcome {
        let requests = pods.map(|pod| self.patch_one(whom, words, pod));
        let mut outcome = Outcome::default();
        for results in side_by_side(requests).await {
            for result in results {
                outcome.add(result);
            }
        }
        outcome
    }

    /// Changes one pod: how each request went, up to the first that failed.
    async fn patch_one(&self, whom: &Whom, words: Words<'_>, pod: Patched<'_>) -> Vec<Result<(), CallError>> {
        let mut results = Vec::with_capacity(pod.writes.len());
        let mut version = pod.version;
        if let Err(error) = self.try_resize(whom, &pod).await {
            self.tell_not_patched(whom, words, &pod, &error);
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
                    if write.endpoint != Endpoint::Resize {
                        self.put_off(whom, words, pod.uid, false, &error);
                    }
                    self.tell_not_patched(whom, words, &pod, &error);
                    results.push(Err(error));
                    return results;
                }
            }
        }
        self.overlay.write_accepted(whom.uid(), pod.uid);
        info!(
            workload = &*whom.about.name,
            pod = &**pod.name,
            why = pod.why.as_str(),
            "pod changed"
        );
        match pod.why.succeeded(pod.name) {
            Some(event) if event.reason == reasons::SUCCESSFUL_UPDATE_IN_PLACE => {
                let (reason, text) = words.updated_in_place(pod.name, event.message.into_owned());
                self.tell(whom, event.is_warning, reason, text);
            }
            Some(event) => self.tell(whom, event.is_warning, event.reason, event.message.into_owned()),
            None if *pod.why == PatchWhy::Identity => {
                self.tell_all(whom, Some(words.identified(pod.name)));
            }
            None => {}
        }
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

    /// A pod of a CloneSet about which a write is refused waits alone for the next attempt: others go on meanwhile. Where a
    /// right is missing, none can.
    ///
    /// Source: cloneset.md 18.24.
    fn put_off(&self, whom: &Whom, words: Words<'_>, pod: Uid, is_delete: bool, error: &CallError) {
        let is_refusal = matches!(error, CallError::Forbidden(_) | CallError::Refused(_));
        if words.kind == WorkloadKind::CloneSet && is_refusal && error.missing_right().is_none() {
            let (message, now) = (error.to_string(), self.clock.now());
            self.overlay
                .write_refused(whom.uid(), pod, is_delete, &message, now);
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

    fn tell_not_patched(&self, whom: &Whom, words: Words<'_>, pod: &Patched<'_>, error: &CallError) {
        if *pod.why == PatchWhy::Identity {
            self.tell_failed(whom, error, || words.not_identified(pod.name, error));
            return;
        }
        let event = pod.why.failed(pod.name, &error.to_string());
        let is_news = matches!(error, CallError::LeaseLost | CallError::Conflict(_));
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
}

/// Does a refusal say nothing of other pods?
fn is_about_one(error: &CallError) -> bool {
    matches!(error, CallError::Refused(_) | CallError::Forbidden(_)) && error.missing_right().is_none()
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
    let manager = match pod.why {
        PatchWhy::ArbiterLabel => ARBITER_FIELD_MANAGER,
        _ => FIELD_MANAGER,
    };
    call.with_query("fieldManager", manager).with_body(body)
}

/// The word for metrics.
fn word(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Pod => "patch_pod",
        Endpoint::Status => "patch_pod_status",
        Endpoint::Resize => "resize_pod",
    }
}
