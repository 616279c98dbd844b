//! A plan becomes requests.
//!
//! * Every write carries the uid that was decided on, so an object of the same name that came later is never touched.
//! * Revisions, adoption and labels come first, in the order of the plan; when one fails, pods are left alone and only
//!   the status is written.
//! * Pods are created in batches of 1, 2, 4, ...; after a failure the rest is left to the next pass. Pods are deleted
//!   all at once. (daemonset.md A8)
//! * Every success is noted in the overlay before anything else is decided, and so is every DELETE and POST of a pod that
//!   was not answered. What becomes of those is in `doubts`.
//! * A conflict or a not-found is news: look again. A denial becomes an event, and the next attempt waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use pitstop_api::SharedClock;
use pitstop_api::view::{DaemonSetView, NodeSlot, Uid};
use pitstop_engine::{Action, Plan};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tracing::debug;

use crate::api::{Api, CallError, Resource};
use crate::events::{About, Record, Recorder};
use crate::metrics::Metrics;
use crate::store::{Overlay, Stores};

mod doubts;
mod image_pulls;
mod instances;
mod jobs;
mod pods;
mod revisions;
mod status;

pub use image_pulls::PullJobWork;
pub use instances::InstancesWork;
use instances::{Patched, Words};

/// How many requests of one plan are under way at once.
const CONCURRENCY: usize = 32;

/// Carries out plans.
pub struct Executor {
    api: Arc<dyn Api>,
    clock: SharedClock,
    stores: Arc<Stores>,
    overlay: Arc<Overlay>,
    recorder: Recorder,
    metrics: Arc<Metrics>,
    suffixes: Mutex<StdRng>,
}

/// What an executor works with.
pub struct Parts {
    /// Where requests go.
    pub api: Arc<dyn Api>,
    /// Where time comes from.
    pub clock: SharedClock,
    /// Where answers are taken in.
    pub stores: Arc<Stores>,
    /// Where writes are noted.
    pub overlay: Arc<Overlay>,
    /// Where events go.
    pub recorder: Recorder,
    /// Where actions are counted.
    pub metrics: Arc<Metrics>,
    /// Seed of the suffixes of pod names.
    pub seed: u64,
}

/// Whose writes they are: who decided, and about which workload.
#[derive(Debug, Clone)]
pub struct Whom {
    /// Who made the plan, for metrics.
    pub controller: &'static str,
    /// Who tells about it, for events.
    pub source: &'static str,
    /// The workload.
    pub about: About,
}

impl Whom {
    fn namespace(&self) -> &str {
        &self.about.namespace
    }

    fn uid(&self) -> Uid {
        self.about.uid
    }

    /// The reference that what it owns carries.
    fn owner_reference(&self) -> Value {
        json!({
            "apiVersion": self.about.api_version,
            "kind": self.about.kind,
            "name": self.about.name,
            "uid": self.about.uid.to_string(),
            "controller": true,
            "blockOwnerDeletion": true,
        })
    }
}

/// A plan for a DaemonSet of either group.
#[derive(Debug)]
pub struct Work {
    /// Whose it is.
    pub whom: Whom,
    /// The workload as it was decided on.
    pub daemonset: Arc<DaemonSetView>,
    /// What to do.
    pub plan: Plan,
    /// The names of the nodes in it.
    pub node_names: BTreeMap<NodeSlot, Arc<str>>,
}

impl Work {
    /// The objects of its kind.
    fn resource(&self) -> Resource {
        Resource::of(self.daemonset.workload_kind())
    }
}

/// How it went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Writes that succeeded.
    pub n_written: usize,
    /// Somebody changed something in the meantime, or a name was taken: decide again.
    pub is_stale: bool,
    /// What went wrong first.
    pub failure: Option<CallError>,
    /// How soon to look again, as only time settles what became of a write.
    pub again_in: Option<Duration>,
}

impl Outcome {
    /// Did everything that was tried succeed?
    pub fn is_ok(&self) -> bool {
        !self.is_stale && self.failure.is_none()
    }

    /// How long the server asked us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.failure.as_ref().and_then(CallError::retry_after)
    }

    fn add(&mut self, result: Result<(), CallError>) {
        match result {
            Ok(()) => self.n_written += 1,
            Err(error) if error.is_namespace_terminating() => {}
            Err(error) if error.is_news() => self.is_stale = true,
            Err(error) => {
                self.failure.get_or_insert(error);
            }
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.n_written += other.n_written;
        self.is_stale |= other.is_stale;
        if let Some(failure) = other.failure {
            self.failure.get_or_insert(failure);
        }
        self.again_in = [self.again_in, other.again_in].into_iter().flatten().min();
    }
}

impl Executor {
    /// An executor of these parts.
    pub fn new(parts: Parts) -> Self {
        Self {
            api: parts.api,
            clock: parts.clock,
            stores: parts.stores,
            overlay: parts.overlay,
            recorder: parts.recorder,
            metrics: parts.metrics,
            suffixes: Mutex::new(StdRng::seed_from_u64(parts.seed)),
        }
    }

    /// Does what the plan says, and then writes the status if it differs.
    pub async fn carry_out(&self, work: &Work) -> Outcome {
        let (pods, mut preparations): (Vec<&Action>, Vec<&Action>) = work
            .plan
            .actions
            .iter()
            .partition(|action| is_independent(action));
        // A revision goes only when no pod carries its label any more.
        preparations.sort_by_key(|action| matches!(action, Action::DeleteRevision { .. }));
        let mut outcome = self.prepare(work, &preparations).await;
        if outcome.is_ok() {
            let (creates, others): (Vec<&Action>, Vec<&Action>) = pods
                .into_iter()
                .partition(|action| matches!(action, Action::CreatePod { .. }));
            let (deletes, others): (Vec<&Action>, Vec<&Action>) = others
                .into_iter()
                .partition(|action| matches!(action, Action::DeletePod { .. }));
            let (own, others): (Vec<&Action>, Vec<&Action>) =
                others.into_iter().partition(|action| is_about_workload(action));
            let (patches, others): (Vec<&Action>, Vec<&Action>) = others
                .into_iter()
                .partition(|action| matches!(action, Action::PatchPod { .. }));
            let (creating, deleting, patching, telling, standing) = futures::join!(
                self.create_pods(work, &creates),
                self.delete_pods(work, &deletes),
                self.patch_all(
                    &work.whom,
                    Words {
                        kind: work.daemonset.workload_kind(),
                        name: &work.daemonset.name,
                    },
                    patches.iter().copied().filter_map(patched),
                ),
                self.do_all(work, &others),
                self.do_in_order(work, &own),
            );
            for part in [creating, deleting, patching, telling, standing] {
                outcome.merge(part);
            }
        }
        outcome.merge(self.write_status(work).await);
        outcome.merge(self.settle_overdue(&work.whom).await);
        outcome
    }

    /// Conditions of pods and Jobs for them, all side by side: one failure does not hide the others.
    /// Source: daemonset.md C8.
    async fn do_all(&self, work: &Work, actions: &[&Action]) -> Outcome {
        let requests = actions.iter().map(|action| async move {
            let (kind, result) = match action {
                Action::SetPodCondition {
                    name,
                    uid,
                    kind,
                    condition,
                } => (
                    "pod_condition",
                    self.set_pod_condition(&work.whom, name, *uid, kind, condition)
                        .await,
                ),
                Action::CreateJob(job) => ("create_job", self.create_job(&work.whom, job).await),
                Action::DeleteJob { name, uid } => {
                    ("delete_job", self.delete_job(&work.whom, name, *uid).await)
                }
                _ => return Ok(()),
            };
            self.count(&work.whom, kind, &result);
            result
        });
        let mut outcome = Outcome::default();
        for result in side_by_side(requests).await {
            outcome.add(result);
        }
        outcome
    }

    /// Changes of the workload itself, one after the other: each is a new version of it.
    async fn do_in_order(&self, work: &Work, actions: &[&Action]) -> Outcome {
        let mut outcome = Outcome::default();
        for action in actions {
            let (kind, result) = match action {
                Action::SetCondition { kind, condition } => {
                    ("condition", self.set_condition(&work.whom, kind, condition).await)
                }
                Action::RollBack {
                    uid,
                    resource_version,
                    data,
                    ..
                } => (
                    "roll_back",
                    self.roll_back(&work.whom, *uid, *resource_version, data).await,
                ),
                _ => continue,
            };
            self.count(&work.whom, kind, &result);
            outcome.add(result);
        }
        outcome
    }

    /// Everything that comes before pods, in order. Neighbours of one kind that concern pods go side by side.
    async fn prepare(&self, work: &Work, actions: &[&Action]) -> Outcome {
        let mut outcome = Outcome::default();
        for run in actions.chunk_by(|a, b| is_about_pods(a) && is_about_pods(b)) {
            for result in side_by_side(run.iter().map(|action| self.prepare_one(work, action))).await {
                outcome.add(result);
            }
            if !outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    async fn prepare_one(&self, work: &Work, action: &Action) -> Result<(), CallError> {
        let (kind, result) = match action {
            Action::CreateRevision(revision) => {
                ("create_revision", self.create_revision(work, revision).await)
            }
            Action::RenumberRevision {
                name,
                uid,
                revision,
                annotations,
            } => (
                "renumber_revision",
                self.renumber_revision(&work.whom, name, *uid, *revision, annotations)
                    .await,
            ),
            Action::LabelRevision { name, uid, hash } => (
                "label_revision",
                self.label_revision(&work.whom, name, *uid, hash).await,
            ),
            Action::DeleteRevision { name, uid } => (
                "delete_revision",
                self.delete_revision(&work.whom, name, *uid).await,
            ),
            Action::Adopt { object, name, uid } => {
                ("adopt", self.adopt(&work.whom, *object, name, *uid).await)
            }
            Action::Release { object, name, uid } => {
                ("release", self.release(&work.whom, *object, name, *uid).await)
            }
            Action::RelabelPod { name, uid, hash } => (
                "relabel_pod",
                self.relabel_pod(&work.whom, name, *uid, hash).await,
            ),
            Action::CreatePod { .. }
            | Action::DeletePod { .. }
            | Action::PatchPod { .. }
            | Action::SetPodCondition { .. }
            | Action::SetCondition { .. }
            | Action::RollBack { .. }
            | Action::CreateJob(_)
            | Action::DeleteJob { .. } => return Ok(()),
        };
        self.count(&work.whom, kind, &result);
        result
    }

    fn count<T>(&self, whom: &Whom, kind: &'static str, result: &Result<T, CallError>) {
        let ended = result.as_ref().map_or_else(CallError::as_str, |_| "ok");
        debug!(
            controller = whom.controller,
            namespace = &*whom.about.namespace,
            name = &*whom.about.name,
            kind,
            result = ended,
            "action"
        );
        self.metrics.count_action(whom.controller, kind, ended);
    }

    fn tell(&self, whom: &Whom, is_warning: bool, reason: &'static str, message: String) {
        self.recorder.publish(Record {
            source: whom.source,
            about: whom.about.clone(),
            is_warning,
            reason,
            message,
        });
    }
}

/// Was a new object refused since its namespace is being deleted? That is nobody's failure, and what comes next would be refused too.
fn ends_with_namespace(result: &Result<(), CallError>) -> bool {
    result.as_ref().is_err_and(CallError::is_namespace_terminating)
}

/// Runs requests side by side, within bounds, and returns their results in order.
async fn side_by_side<F: Future>(requests: impl Iterator<Item = F>) -> Vec<F::Output> {
    // Collected first: a stream of a borrowing closure is not general enough for the compiler.
    let requests: Vec<F> = requests.collect();
    stream::iter(requests).buffered(CONCURRENCY).collect().await
}

/// Does it depend on nothing but preparations, and nothing on it?
fn is_independent(action: &Action) -> bool {
    matches!(
        action,
        Action::CreatePod { .. }
            | Action::DeletePod { .. }
            | Action::PatchPod { .. }
            | Action::SetPodCondition { .. }
            | Action::CreateJob(_)
            | Action::DeleteJob { .. }
    ) || is_about_workload(action)
}

/// The pod that an action changes.
fn patched(action: &Action) -> Option<Patched<'_>> {
    let Action::PatchPod {
        name,
        uid,
        resource_version,
        writes,
        why,
    } = action
    else {
        return None;
    };
    Some(Patched {
        name,
        uid: *uid,
        version: *resource_version,
        writes,
        why,
    })
}

fn is_about_workload(action: &Action) -> bool {
    matches!(action, Action::SetCondition { .. } | Action::RollBack { .. })
}

fn is_about_pods(action: &Action) -> bool {
    use pitstop_engine::plan::OwnedObject;
    matches!(
        action,
        Action::RelabelPod { .. }
            | Action::Adopt {
                object: OwnedObject::Pod,
                ..
            }
            | Action::Release {
                object: OwnedObject::Pod,
                ..
            }
    )
}
