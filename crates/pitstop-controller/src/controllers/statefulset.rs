//! StatefulSets of `apps.kruise.io`: the loop around the decisions of `pitstop_engine::statefulset`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use pitstop_api::StorageClasses;
use pitstop_api::fields::text;
use pitstop_api::reasons;
use pitstop_api::selector::LabelValues;
use pitstop_api::view::{PodView, Protection, RevisionView, StatefulSetStatus, StatefulSetView, Uid};
use pitstop_engine::predownload::trigger::Step;
use pitstop_engine::statefulset::identity::ordinal_of;
use pitstop_engine::statefulset::{self, Action, Failures, Features, Snapshot};
use tokio::time::Instant;
use tracing::warn;

use crate::api::{CallError, Resource};
use crate::controllers::daemonset::Parts;
use crate::controllers::memory::Memories;
use crate::controllers::noted::{RESYNC, tell_missing};
use crate::controllers::{Running, instances, live, work_off};
use crate::events::About;
use crate::executor::{InstancesWork, Whom};
use crate::metrics::Metrics;
use crate::queue::{COALESCE, Done, Queue};
use crate::store::{Change, Key, Listener, Owned, State};

pub(crate) mod arbiter;
mod asking;

use arbiter::Asked;

/// Its name, for flags and metrics.
pub const NAME: &str = "statefulset";

/// The controller of StatefulSets.
pub struct StatefulSets {
    parts: Parts,
    features: Features,
    /// `PreDownloadImageForInPlaceUpdate`.
    pre_downloads: bool,
    queue: Queue<Key>,
    /// Whose arbiter something is to be said to, or is to be asked.
    asking: Queue<Key>,
    memories: Memories<Memory>,
}

/// What is remembered of a StatefulSet between reconciles.
#[derive(Debug, Clone, Default)]
struct Memory {
    failures: Failures,
    asked: Asked,
}

impl instances::Fails for Memory {
    fn failures(&mut self) -> &mut Failures {
        &mut self.failures
    }
}

/// What came of looking at a StatefulSet.
enum Look {
    /// There is nothing to do with it.
    Nothing,
    /// Something that it depends on cannot be read.
    Frozen,
    /// There is something to adopt, which needs a live read first.
    NeedsLiveRead(Arc<StatefulSetView>),
    /// A claim is to grow, which its class of storage has to allow.
    NeedsClasses(Arc<StatefulSetView>),
    /// A plan, and what becomes of images that are pulled ahead.
    Decided(Box<(InstancesWork, Step)>),
}

/// What was read past all caches for a decision.
#[derive(Debug, Default)]
struct Read {
    may_adopt: bool,
    classes: Option<StorageClasses>,
}

impl StatefulSets {
    /// The controller, with what the cluster and its administrator allow. `pre_downloads`: are images pulled ahead?
    pub fn new(parts: Parts, features: Features, pre_downloads: bool) -> Self {
        Self {
            parts,
            features,
            pre_downloads,
            queue: Queue::new(),
            asking: Queue::new(),
            memories: Memories::default(),
        }
    }

    /// One reconcile: how to go on, and the word for metrics.
    async fn decide(&self, key: &Key) -> (Done, &'static str) {
        let api = self.parts.api.as_ref();
        let mut read = Read::default();
        loop {
            match self.look(key, &read) {
                Look::Nothing => return (Done::Ok(None), "nothing"),
                Look::Frozen => return (Done::Ok(Some(RESYNC)), "frozen"),
                Look::NeedsLiveRead(set) => {
                    match live::is_live(api, Resource::StatefulSets, key, set.uid).await {
                        Ok(true) => read.may_adopt = true,
                        Ok(false) => return (Done::Failed(None), "stale"),
                        Err(error) => return self.cannot_read(&set, &error),
                    }
                }
                Look::NeedsClasses(set) => match live::storage_classes(api).await {
                    Ok(classes) => read.classes = Some(classes),
                    Err(error) => return self.cannot_read(&set, &error),
                },
                Look::Decided(decided) => {
                    let (work, pre_download) = *decided;
                    self.turn_to_arbiter(key, &work);
                    return instances::carry_out(&self.parts, &self.memories, key, &work, &pre_download)
                        .await;
                }
            }
        }
    }

    /// Without what has to be read nothing is decided.
    fn cannot_read(&self, set: &StatefulSetView, error: &CallError) -> (Done, &'static str) {
        if let Some(right) = error.missing_right() {
            tell_missing(&self.parts.recorder, &whom(set), &right);
            return (Done::NotAllowed, "not_allowed");
        }
        warn!(statefulset = %set.name, %error, "a live read before a decision failed");
        (Done::Failed(error.retry_after()), "failed")
    }

    /// Has said to the arbiter what is to be said, and asks it which pods work when it is time to: beside decisions, so that a
    /// slow one holds up only what waits for its word.
    fn turn_to_arbiter(&self, key: &Key, work: &InstancesWork) {
        let Some((_, protection)) = self.protected(key) else {
            return;
        };
        let Some(arbiter) = &protection.arbiter else {
            return;
        };
        let is_word =
            |action: &&Action| matches!(action, Action::ClaimPods { .. } | Action::ReleasePods { .. });
        let words: Vec<Action> = work.actions.iter().filter(is_word).cloned().collect();
        let now = self.parts.clock.now();
        let mut due_in = Duration::ZERO;
        self.memories.change(key, |memory| {
            memory.asked.is_to_hear(words);
            if memory.asked.is_told() {
                due_in = memory.asked.due_in(arbiter, now);
            }
        });
        self.asking.mark(key, due_in);
    }

    /// The pods that a StatefulSet controls, by name.
    fn pods_of(&self, set: Uid) -> BTreeMap<Arc<str>, Uid> {
        let state = self.parts.stores.read();
        let pods = state.pods_of(set).iter();
        pods.map(|pod| (Arc::clone(&pod.name), pod.uid)).collect()
    }

    /// A StatefulSet whose protection can be read.
    fn protected(&self, key: &Key) -> Option<(Arc<StatefulSetView>, Arc<Protection>)> {
        let state = self.parts.stores.read();
        let set = state.statefulset(key).filter(|set| set.deleted_at.is_none())?;
        let protection = set.protection.as_ref()?.as_ref().ok()?;
        Some((Arc::clone(set), Arc::clone(protection)))
    }

    /// Gathers and decides, under one read lock.
    fn look(&self, key: &Key, read: &Read) -> Look {
        let state = self.parts.stores.read();
        let Some(set) = state.statefulset(key) else {
            drop(state);
            self.forget(key);
            return Look::Nothing;
        };
        if let Some(unreadable) = state.unreadable_for(set.uid) {
            warn!(
                statefulset = %key,
                object = unreadable.name,
                problem = unreadable.problem,
                "left alone: one of its objects cannot be read"
            );
            return Look::Frozen;
        }
        let now = self.parts.clock.now();
        let Memory { failures, asked } = self.memories.recall(key, set.uid);
        let in_flight = self.parts.overlay.in_flight_by_name(set.uid, &state, now);
        let selector = set.selector.selector().filter(|selector| !selector.is_empty());
        let is_selected = |labels: &dyn LabelValues| {
            let selector = selector.as_ref();
            selector.is_some_and(|selector| selector.matches(labels))
        };
        let orphans: Vec<&RevisionView> = state
            .orphan_revisions(&key.namespace)
            .filter(|revision| is_selected(&revision.labels))
            .collect();
        let strays: Vec<&PodView> = state
            .orphan_pods(&key.namespace)
            .iter()
            .filter(|pod| is_selected(&pod.labels) && ordinal_of(&set.name, &pod.name).is_some())
            .collect();
        let adoptable = strays.iter().any(|pod| !pod.is_terminating()) || !orphans.is_empty();
        if adoptable && !read.may_adopt && set.deleted_at.is_none() {
            return Look::NeedsLiveRead(Arc::clone(set));
        }
        let prefixes: Vec<String> = claim_prefixes(set).collect();
        let claims = prefixes
            .iter()
            .flat_map(|prefix| state.claims_named(&key.namespace, prefix));
        let begun_at = Instant::now();
        let snapshot = Snapshot {
            now,
            set,
            revisions: state.revisions_of(set.uid).chain(orphans).collect(),
            pods: state.pods_of(set.uid).iter().chain(strays).collect(),
            claims: claims.collect(),
            classes: read.classes.clone().unwrap_or_default(),
            in_flight,
            arbiter: asked.known(),
            features: self.features,
            failures,
            may_adopt: read.may_adopt,
        };
        if read.classes.is_none() && statefulset::needs_classes(&snapshot) {
            return Look::NeedsClasses(Arc::clone(set));
        }
        let plan = statefulset::plan(&snapshot);
        let knows_jobs = self.pre_downloads && self.parts.stores.has(Resource::ImagePullJobs);
        let pre_download = if knows_jobs {
            statefulset::pre_download(&snapshot, state.image_pull_jobs_of(set.uid))
        } else {
            Step::Nothing
        };
        self.parts.metrics.observe_plan(NAME, begun_at.elapsed());
        self.memories.decided(key, &plan.waiting, &plan.progress);
        let work = InstancesWork::of_statefulset(whom(set), set, plan);
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

    /// The StatefulSets that a change touches. Source: statefulset.md 10.3, 15.1 row 19.
    fn touched(state: &State, change: &Change) -> BTreeSet<Key> {
        match change {
            Change::StatefulSet { key, before, after } => {
                let is_news = match (before, after) {
                    (Some(before), Some(after)) => without_own_writes(before) != without_own_writes(after),
                    _ => true,
                };
                is_news.then(|| key.clone()).into_iter().collect()
            }
            Change::Pod { owned, .. } | Change::Revision(owned) => {
                let mut keys = of(state, [owned.controller_before, owned.controller]);
                keys.extend(selecting(state, owned));
                keys
            }
            Change::Claim { key, owners } => {
                let mut keys = of(state, *owners);
                keys.extend(claiming(state, key));
                keys
            }
            Change::Unreadable { controller } => of(state, [*controller, None]),
            Change::DaemonSet { .. }
            | Change::CloneSet { .. }
            | Change::Job { .. }
            | Change::Node { .. }
            | Change::ImagePullJob { .. }
            | Change::NodeImage { .. } => BTreeSet::new(),
        }
    }
}

fn whom(set: &StatefulSetView) -> Whom {
    Whom {
        controller: NAME,
        source: reasons::SOURCE_STATEFULSET,
        about: About::from(set),
    }
}

/// How the names of its claims begin. Source: statefulset.md 3.6.
fn claim_prefixes(set: &StatefulSetView) -> impl Iterator<Item = String> {
    let names = set
        .claim_templates
        .iter()
        .map(|template| text(template, "/metadata/name"));
    names.map(|name| format!("{name}-{}-", set.name))
}

fn of(state: &State, owners: [Option<Uid>; 2]) -> BTreeSet<Key> {
    let keys = owners.into_iter().flatten();
    keys.filter_map(|uid| state.statefulset_key(uid))
        .cloned()
        .collect()
}

/// Those that could adopt an object that nobody controls.
fn selecting<'a>(state: &'a State, owned: &'a Owned) -> impl Iterator<Item = Key> + 'a {
    let labels = owned.orphan_labels.as_ref();
    labels.into_iter().flat_map(move |labels| {
        let sets = state.statefulsets_in(&owned.namespace);
        let selects = move |set: &&Arc<StatefulSetView>| {
            let selector = set.selector.selector();
            selector.is_some_and(|selector| !selector.is_empty() && selector.matches(labels))
        };
        sets.filter(selects)
            .map(|set| Key::new(&set.namespace, &set.name))
    })
}

/// Those whose claims may have this name, `<template>-<set>-<ordinal>`, wherever the name of the set begins in it.
fn claiming<'a>(state: &'a State, claim: &'a Key) -> impl Iterator<Item = Key> + 'a {
    let set = claim.name.rsplit_once('-').map_or("", |(set, _)| set);
    let dashes = set.match_indices('-').map(|(at, _)| at);
    dashes.filter_map(move |at| {
        let key = Key::new(&claim.namespace, set.get(at + 1..)?);
        state.statefulset(&key).map(|_| key)
    })
}

/// The StatefulSet without what only we write, but for how often the name of a revision was taken, and which is current.
fn without_own_writes(set: &StatefulSetView) -> StatefulSetView {
    StatefulSetView {
        resource_version: 0,
        annotates_protection: false,
        status: StatefulSetStatus {
            collision_count: set.status.collision_count,
            current_revision: set.status.current_revision.clone(),
            ..StatefulSetStatus::default()
        },
        ..set.clone()
    }
}

impl Listener for StatefulSets {
    fn changed(&self, state: &State, change: &Change) {
        for key in Self::touched(state, change) {
            self.mark(&key, COALESCE);
        }
    }

    fn relisted(&self, state: &State, _: Resource) {
        let known = self.memories.keys();
        let all = state.statefulsets().map(|(key, _)| key.clone());
        for key in all.chain(known).collect::<BTreeSet<_>>() {
            self.mark(&key, COALESCE);
        }
    }
}

impl Running for StatefulSets {
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
        // StatefulSets may not be installed; other workloads do not wait for them.
        let stores = &self.parts.stores;
        stores.is_synced() && stores.has(Resource::StatefulSets) && stores.has(Resource::Claims)
    }

    fn reconcile<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, (Done, &'static str)> {
        Box::pin(self.decide(key))
    }

    fn work(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // Nobody waits for an arbiter when the work is over.
            tokio::select! {
                biased;
                () = work_off(&*self) => {}
                () = self.go_on_asking() => {}
            }
        })
    }
}
