//! CloneSets: the loop around the decisions of `pitstop_engine::cloneset`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use pitstop_api::reasons;
use pitstop_api::view::{CloneSetStatus, CloneSetView, Uid};
use pitstop_engine::cloneset::{self, Failures, Features, Snapshot};
use pitstop_engine::predownload::trigger::Step;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;
use tracing::warn;

use crate::api::Resource;
use crate::controllers::daemonset::Parts;
use crate::controllers::memory::Memories;
use crate::controllers::noted::RESYNC;
use crate::controllers::{Running, instances};
use crate::events::About;
use crate::executor::{InstancesWork, Whom};
use crate::metrics::Metrics;
use crate::queue::{COALESCE, Done, Queue};
use crate::store::{Change, Key, Listener, State};

/// Its name, for flags and metrics.
pub const NAME: &str = "cloneset";

/// The controller of CloneSets.
pub struct CloneSets {
    parts: Parts,
    features: Features,
    /// `PreDownloadImageForInPlaceUpdate`.
    pre_downloads: bool,
    queue: Queue<Key>,
    memories: Memories<Failures>,
    /// Where new instance ids begin.
    seeds: Mutex<StdRng>,
}

/// What came of looking at a CloneSet.
enum Look {
    /// There is nothing to do with it.
    Nothing,
    /// Something that it depends on cannot be read.
    Frozen,
    /// A plan, and what becomes of images that are pulled ahead.
    Decided(Box<(InstancesWork, Step)>),
}

impl CloneSets {
    /// The controller, with what the cluster and its administrator allow. `pre_downloads`: are images pulled ahead?
    pub fn new(parts: Parts, features: Features, pre_downloads: bool, seed: u64) -> Self {
        Self {
            parts,
            features,
            pre_downloads,
            queue: Queue::new(),
            memories: Memories::default(),
            seeds: Mutex::new(StdRng::seed_from_u64(seed)),
        }
    }

    /// One reconcile: how to go on, and the word for metrics.
    async fn decide(&self, key: &Key) -> (Done, &'static str) {
        let decided = match self.look(key) {
            Look::Nothing => return (Done::Ok(None), "nothing"),
            Look::Frozen => return (Done::Ok(Some(RESYNC)), "frozen"),
            Look::Decided(decided) => decided,
        };
        let (work, pre_download) = &*decided;
        instances::carry_out(&self.parts, &self.memories, key, work, pre_download).await
    }

    /// Gathers and decides, under one read lock.
    fn look(&self, key: &Key) -> Look {
        let state = self.parts.stores.read();
        let Some(cloneset) = state.cloneset(key) else {
            drop(state);
            self.forget(key);
            return Look::Nothing;
        };
        if let Some(unreadable) = state.unreadable_for(cloneset.uid) {
            warn!(
                cloneset = %key,
                object = unreadable.name,
                problem = unreadable.problem,
                "left alone: one of its objects cannot be read"
            );
            return Look::Frozen;
        }
        let now = self.parts.clock.now();
        let failures = self.memories.recall(key, cloneset.uid);
        let in_flight = self.parts.overlay.in_flight_by_name(cloneset.uid, &state, now);
        let seed = self.seeds.lock().unwrap_or_else(PoisonError::into_inner).random();
        let selector = cloneset.selector.selector();
        let is_selected = |revision: &&pitstop_api::view::RevisionView| {
            let selector = selector.as_ref().filter(|selector| !selector.is_empty());
            selector.is_some_and(|selector| selector.matches(&revision.labels))
        };
        let orphans = state.orphan_revisions(&key.namespace).filter(is_selected);
        let begun_at = Instant::now();
        let snapshot = Snapshot {
            now,
            cloneset,
            revisions: state.revisions_of(cloneset.uid).chain(orphans).collect(),
            pods: state.pods_of(cloneset.uid).iter().collect(),
            claims: state.claims_of(cloneset.uid).collect(),
            nodes: state.nodes(),
            in_flight,
            features: self.features,
            seed,
            failures,
        };
        let plan = cloneset::plan(&snapshot);
        let knows_jobs = self.pre_downloads && self.parts.stores.has(Resource::ImagePullJobs);
        let pre_download = if knows_jobs {
            cloneset::pre_download(&snapshot, state.image_pull_jobs_of(cloneset.uid))
        } else {
            Step::Nothing
        };
        self.parts.metrics.observe_plan(NAME, begun_at.elapsed());
        self.memories.decided(key, &plan.waiting, &plan.progress);
        let whom = Whom {
            controller: NAME,
            source: reasons::SOURCE_CLONESET,
            about: About::from(cloneset.as_ref()),
        };
        let work = InstancesWork::of_cloneset(whom, cloneset, plan);
        Look::Decided(Box::new((work, pre_download)))
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

    /// The CloneSets that a change touches. Source: cloneset.md 14.
    fn touched(state: &State, change: &Change) -> BTreeSet<Key> {
        let of = |owners: [Option<Uid>; 2]| {
            let keys = owners.into_iter().flatten();
            keys.filter_map(|uid| state.cloneset_key(uid)).cloned().collect()
        };
        match change {
            Change::CloneSet { key, before, after } => {
                let is_news = match (before, after) {
                    (Some(before), Some(after)) => without_own_writes(before) != without_own_writes(after),
                    _ => true,
                };
                is_news.then(|| key.clone()).into_iter().collect()
            }
            Change::Pod { owned, .. } | Change::Revision(owned) => {
                of([owned.controller_before, owned.controller])
            }
            Change::Claim { owners, .. } => of(*owners),
            Change::Unreadable { controller } => of([*controller, None]),
            Change::DaemonSet { .. }
            | Change::StatefulSet { .. }
            | Change::Job { .. }
            | Change::Node { .. }
            | Change::ImagePullJob { .. }
            | Change::NodeImage { .. } => BTreeSet::new(),
        }
    }
}

/// The CloneSet without what only we write, but for how often the name of a revision was taken.
fn without_own_writes(cloneset: &CloneSetView) -> CloneSetView {
    CloneSetView {
        resource_version: 0,
        status: CloneSetStatus {
            collision_count: cloneset.status.collision_count,
            ..CloneSetStatus::default()
        },
        ..cloneset.clone()
    }
}

impl Listener for CloneSets {
    fn changed(&self, state: &State, change: &Change) {
        for key in Self::touched(state, change) {
            self.mark(&key, COALESCE);
        }
    }

    fn relisted(&self, state: &State, _: Resource) {
        let known = self.memories.keys();
        let all = state.clonesets().map(|(key, _)| key.clone());
        for key in all.chain(known).collect::<BTreeSet<_>>() {
            self.mark(&key, COALESCE);
        }
    }
}

impl Running for CloneSets {
    fn name(&self) -> &'static str {
        NAME
    }

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn waiting(&self) -> BTreeMap<&'static str, usize> {
        self.memories.waiting()
    }

    fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    fn is_synced(&self) -> bool {
        // CloneSets may not be installed; other workloads do not wait for them.
        let stores = &self.parts.stores;
        stores.is_synced() && stores.has(Resource::CloneSets) && stores.has(Resource::Claims)
    }

    fn reconcile<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, (Done, &'static str)> {
        Box::pin(self.decide(key))
    }
}
