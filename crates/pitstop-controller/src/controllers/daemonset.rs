//! DaemonSets: the native controller, the one that upgrades by annotation, and that of `apps.kruise.io`.
//!
//! All are the same loop around another `plan`: mark, gather, decide, carry out. What touches what is in
//! `triggers`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use pitstop_api::view::{DaemonSetStatus, DaemonSetView, NodeSlot, PodView};
use pitstop_api::{SharedClock, WorkloadKind, reasons};
use pitstop_engine::daemonset::{advanced, native};
use pitstop_engine::plan::Progress;
use pitstop_engine::predownload::trigger::Step;
use pitstop_engine::snapshot::{FailedPods, InFlight, Nodes};
use pitstop_engine::{Action, Plan, Snapshot};
use tokio::time::Instant;
use tracing::warn;

use crate::api::{Api, Resource};
use crate::controllers::memory::Memories;
use crate::controllers::noted::{self, Ending, RESYNC, tell_missing};
use crate::controllers::{Running, live};
use crate::events::{About, Recorder};
use crate::executor::{Executor, Whom, Work};
use crate::metrics::Metrics;
use crate::queue::{COALESCE, Done, Queue};
use crate::snapshot::{Beside, gather, has_adoptable};
use crate::store::{Key, Overlay, State, Stores};

mod triggers;

/// How long the upgrade models wait for more changes to pods. On its way from the delete to Ready a pod changes six times,
/// of which only the last makes room for another; decisions about the others tell where the rollout is.
const PATIENCE: Duration = Duration::from_millis(50);
/// For how long a replaced failed pod is remembered: twice the longest back-off. Source: daemonset.md A8.
const FAILED_PODS_KEPT_FOR: SignedDuration = SignedDuration::from_mins(30);

/// What one controller does differently from another.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// Which kind of DaemonSets.
    pub kind: WorkloadKind,
    /// Its name, for flags and metrics.
    pub name: &'static str,
    /// Its name in events.
    pub source: &'static str,
    /// How it decides.
    pub plan: fn(&Snapshot<'_>) -> Plan,
    /// Which of our writes its decisions need not hear of any more, beyond what the overlay drops by itself.
    pub retire: fn(&mut InFlight, &[&PodView], &Nodes<'_>, Timestamp),
    /// Which DaemonSets concern it.
    pub concerns: fn(&DaemonSetView) -> bool,
    /// Of a DaemonSet as it was and as it is: did anything change that its decisions look at?
    pub is_news: fn(&DaemonSetView, &DaemonSetView) -> bool,
    /// How long a change to a pod may wait for others before there is a decision about it. One that makes the pod Ready
    /// never does: others wait for their turn.
    pub patience: Duration,
    /// Does it adopt orphans?
    pub adopts: bool,
    /// Does it matter to it when a node turns Ready or NotReady?
    pub heeds_readiness: bool,
}

/// The native DaemonSet controller. Source: daemonset.md part A.
pub const NATIVE: Model = Model {
    kind: WorkloadKind::DaemonSet,
    name: "native-daemonset",
    source: reasons::SOURCE_DAEMONSET,
    plan: native::plan,
    // A delete stays known while its node is away: the pod is on its way out all the same.
    retire: |_, _, _, _| {},
    concerns: |_| true,
    // What it writes itself, it compares with the whole status.
    is_news: |_, _| true,
    // A pod that went has to be replaced.
    patience: COALESCE,
    adopts: true,
    heeds_readiness: false,
};

/// The controller of DaemonSets of `apps.kruise.io`. Source: daemonset.md part D.
pub const ADVANCED: Model = Model {
    kind: WorkloadKind::AdvancedDaemonSet,
    name: "daemonset",
    // Updates in place go on when the kubelet is heard of again.
    heeds_readiness: true,
    ..NATIVE
};

/// The upgrade models of OpenYurt. Source: daemonset.md part C.
pub const POD_UPDATER: Model = Model {
    kind: WorkloadKind::DaemonSet,
    name: "daemon-pod-updater",
    source: reasons::SOURCE_POD_UPDATER,
    plan: advanced::plan,
    retire: advanced::retire,
    concerns: advanced::is_activated,
    // The numbers that the DaemonSet's own controller counts up with every pod decide nothing.
    is_news: |before, after| without_counts(before) != without_counts(after),
    patience: PATIENCE,
    adopts: false,
    heeds_readiness: true,
};

/// The DaemonSet as far as the upgrade models look at it: of its status, which generation was acted on and how often a
/// name of a revision was taken.
fn without_counts(daemonset: &DaemonSetView) -> DaemonSetView {
    let status = &daemonset.status;
    DaemonSetView {
        resource_version: 0,
        status: DaemonSetStatus {
            observed_generation: status.observed_generation,
            collision_count: status.collision_count,
            ..DaemonSetStatus::default()
        },
        ..daemonset.clone()
    }
}

/// What a controller works with.
#[derive(Clone)]
pub struct Parts {
    /// Where live reads go.
    pub api: Arc<dyn Api>,
    /// Where time comes from.
    pub clock: SharedClock,
    /// What is known.
    pub stores: Arc<Stores>,
    /// What we did that is not known yet.
    pub overlay: Arc<Overlay>,
    /// Carries out plans.
    pub executor: Arc<Executor>,
    /// Takes events.
    pub recorder: Recorder,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// One controller of DaemonSets.
pub struct DaemonSets {
    model: Model,
    parts: Parts,
    queue: Queue<Key>,
    /// Are images pulled ahead?
    pulls_ahead: bool,
    /// With the back-off of failed pods.
    memories: Memories<Vec<FailedPods>>,
}

/// What came of looking at a workload.
enum Look {
    /// There is nothing to do with it.
    Nothing,
    /// Something that it depends on cannot be read.
    Frozen,
    /// There is something to adopt, which needs a live read first.
    NeedsLiveRead(Arc<DaemonSetView>),
    /// A plan, and what is done about pulling images ahead.
    Decided(Box<(Work, Step)>),
}

impl DaemonSets {
    /// A controller with this model.
    pub fn new(model: Model, parts: Parts) -> Self {
        Self {
            model,
            parts,
            queue: Queue::new(),
            pulls_ahead: false,
            memories: Memories::default(),
        }
    }

    /// As it is, with images pulled ahead or not. Source: daemonset.md D2.
    #[must_use]
    pub fn pulling_ahead(mut self, pulls_ahead: bool) -> Self {
        self.pulls_ahead = pulls_ahead;
        self
    }

    /// What the last decision about a workload counted.
    pub fn progress(&self, key: &Key) -> Option<Progress> {
        self.memories.progress(key)
    }

    /// One reconcile: how to go on, and the word for metrics.
    async fn decide(&self, key: &Key) -> (Done, &'static str) {
        let mut look = self.look(key, false);
        if let Look::NeedsLiveRead(daemonset) = look {
            let api = self.parts.api.as_ref();
            look = match live::is_live(api, Resource::of(self.model.kind), key, daemonset.uid).await {
                Ok(true) => self.look(key, true),
                Ok(false) => return (Done::Failed(None), "stale"),
                Err(error) => {
                    if let Some(right) = error.missing_right() {
                        tell_missing(&self.parts.recorder, &self.whom(&daemonset), &right);
                        return (Done::NotAllowed, "not_allowed");
                    }
                    warn!(daemonset = %key, %error, "live read before adoption failed");
                    return (Done::Failed(error.retry_after()), "failed");
                }
            };
        }
        let decided = match look {
            Look::Nothing | Look::NeedsLiveRead(_) => return (Done::Ok(None), "nothing"),
            Look::Frozen => return (Done::Ok(Some(RESYNC)), "frozen"),
            Look::Decided(decided) => decided,
        };
        let (work, pre_download) = &*decided;
        let untold = self.memories.untold(key, &work.plan.events);
        noted::tell(&self.parts.recorder, &work.whom, &untold);
        let mut outcome = self.parts.executor.carry_out(work).await;
        if outcome.is_ok() {
            let jobs = self
                .parts
                .executor
                .carry_out_pre_download(&work.whom, pre_download);
            outcome.merge(jobs.await);
        }
        let ending = Ending {
            whom: &work.whom,
            outcome: &outcome,
            requeue_after: work.plan.requeue_after,
            marked_at: self.memories.take_mark(key),
        };
        ending.close(&self.parts.recorder, &self.parts.metrics)
    }

    fn whom(&self, daemonset: &DaemonSetView) -> Whom {
        Whom {
            controller: self.model.name,
            source: self.model.source,
            about: About::from(daemonset),
        }
    }

    /// Gathers and decides, under one read lock.
    fn look(&self, key: &Key, may_adopt: bool) -> Look {
        let state = self.parts.stores.read();
        let Some(daemonset) = state.daemonsets_of(self.model.kind).get(key) else {
            drop(state);
            self.forget(key);
            return Look::Nothing;
        };
        if !(self.model.concerns)(daemonset) {
            self.memories.forget(key);
            return Look::Nothing;
        }
        if let Some(unreadable) = state.unreadable_for(daemonset.uid) {
            warn!(
                daemonset = %key,
                object = unreadable.name,
                problem = unreadable.problem,
                "left alone: one of its objects cannot be read"
            );
            return Look::Frozen;
        }
        let now = self.parts.clock.now();
        let failed_pods = self.memories.recall(key, daemonset.uid);
        let mut in_flight = self.parts.overlay.in_flight(daemonset.uid, &state, now);
        let known: Vec<&PodView> = in_flight
            .deleted
            .iter()
            .filter_map(|deleted| state.pod(deleted.uid))
            .collect();
        (self.model.retire)(&mut in_flight, &known, &state.nodes(), now);
        let beside = Beside {
            now,
            in_flight,
            failed_pods: &failed_pods,
            knows_pulls: self.model.kind == WorkloadKind::DaemonSet && self.parts.stores.has(Resource::Jobs),
            may_adopt,
        };
        let begun_at = Instant::now();
        let snapshot = gather(&state, key, daemonset, beside);
        if self.model.adopts && !may_adopt && has_adoptable(&snapshot) {
            return Look::NeedsLiveRead(Arc::clone(daemonset));
        }
        let plan = (self.model.plan)(&snapshot);
        let pre_download = if self.pulls_ahead && self.parts.stores.has(Resource::ImagePullJobs) {
            native::pre_download(&snapshot, state.image_pull_jobs_of(daemonset.uid))
        } else {
            Step::Nothing
        };
        self.parts
            .metrics
            .observe_plan(self.model.name, begun_at.elapsed());
        self.remember(key, &plan, now);
        let work = Work {
            whom: self.whom(daemonset),
            daemonset: Arc::clone(daemonset),
            node_names: node_names(&state, &plan),
            plan,
        };
        Look::Decided(Box::new((work, pre_download)))
    }

    fn remember(&self, key: &Key, plan: &Plan, now: Timestamp) {
        let merge = |known: &mut Vec<FailedPods>| merge_failed_pods(known, &plan.failed_pods, now);
        self.memories.change(key, merge);
        self.memories.decided(key, &plan.waiting, &plan.progress);
    }

    fn forget(&self, key: &Key) {
        if let Some(uid) = self.memories.forget(key) {
            self.parts.overlay.forget(uid);
        }
    }

    fn mark(&self, key: &Key, within: Duration) {
        self.memories.mark(key);
        self.queue.mark(key, within);
    }
}

impl Running for DaemonSets {
    fn name(&self) -> &'static str {
        self.model.name
    }

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn waiting(&self) -> BTreeMap<&'static str, usize> {
        self.memories.waiting()
    }

    fn stopped(&self) -> BTreeMap<&'static str, usize> {
        self.memories.stopped()
    }

    fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    fn is_synced(&self) -> bool {
        let stores = &self.parts.stores;
        stores.is_synced() && stores.has(Resource::of(self.model.kind))
    }

    fn reconcile<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, (Done, &'static str)> {
        Box::pin(self.decide(key))
    }
}

/// Takes in what a decision noted about failed pods, and forgets what was idle for long enough.
fn merge_failed_pods(known: &mut Vec<FailedPods>, noted: &[FailedPods], now: Timestamp) {
    known.retain(|entry| {
        let is_replaced = noted.iter().any(|new| new.node == entry.node);
        !is_replaced && now.duration_since(entry.at) < FAILED_PODS_KEPT_FOR
    });
    known.extend_from_slice(noted);
}

/// The names of the nodes that the actions of a plan name.
fn node_names(state: &State, plan: &Plan) -> BTreeMap<NodeSlot, Arc<str>> {
    let names = state.nodes().names;
    plan.actions
        .iter()
        .filter_map(|action| match action {
            Action::CreatePod { node, .. } => Some(*node),
            Action::DeletePod { node, .. } => *node,
            _ => None,
        })
        .map(|node| (node, Arc::from(names.name(node))))
        .collect()
}
