//! What is true of each ordinal of a StatefulSet, and of each of its pods.

use std::collections::{BTreeMap, BTreeSet};

use pitstop_api::keys;
use pitstop_api::view::{Phase, PodView, Uid};

use super::identity::{ordinal_of, pod_name};
use super::protection::{Guard, Judge};
use super::snapshot::Snapshot;
use crate::availability::is_available;
use crate::inplace::{Completion, Live, completion, is_same_revision};
use crate::instances::history::History;
use crate::lifecycle::State;
use crate::shared_labels::{OncePerSet, Selected};

/// A pod.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) ordinal: u32,
    pub(super) pod: &'a PodView,
    pub(super) live: Option<Live<'a>>,
    pub(super) state: State,
    /// Is it at the update revision?
    pub(super) is_new: bool,
    /// Is it at the current revision?
    pub(super) is_current: bool,
    /// Is it on its way out?
    pub(super) is_terminating: bool,
    /// Is it to be deleted, by its label?
    pub(super) is_specified: bool,
    /// Does it run and serve, however short?
    pub(super) is_ready: bool,
    /// Does it run and serve for `minReadySeconds`, whatever hook holds it?
    pub(super) is_settled: bool,
    /// Is no update in place of it under way?
    pub(super) is_complete: bool,
    /// May it be down by something that we sent and heard nothing of?
    pub(super) is_in_doubt: bool,
    /// Has the owner of its node asked for the update revision?
    pub(super) is_requested: bool,
    /// Does it work, as far as an update has to know?
    pub(super) guard: Guard,
}

impl Row<'_> {
    /// Ready, staying, and held by no hook. Source: statefulset.md 1.
    pub(super) fn is_healthy(&self) -> bool {
        self.is_ready && !self.is_terminating && self.state.counts()
    }

    /// Ready for `minReadySeconds`, and held by no hook. Source: statefulset.md 1.
    pub(super) fn is_available(&self) -> bool {
        self.is_settled && self.state.counts()
    }

    /// Does it serve, as far as an update may count on it? Source: statefulset.md 6.2, step 5.
    pub(super) fn is_up(&self) -> bool {
        self.is_healthy() && self.is_complete && self.is_available() && !self.is_in_doubt
    }

    /// The name of its revision, or its hash.
    pub(super) fn revision(&self) -> &str {
        self.pod.revision_hash().unwrap_or_default()
    }
}

/// What there is of an ordinal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// No pod. Will the one that comes be at the update revision?
    Missing { is_new: bool },
    /// A pod that was created and is not seen yet: is it at the update revision?
    Unseen { is_new: bool },
    /// A pod that nobody controls, under the name.
    Orphan,
    /// A pod: its place among all.
    Pod(usize),
}

/// An ordinal that is to have a pod.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) ordinal: u32,
    pub(super) place: Place,
}

/// The ordinals and pods of a StatefulSet.
#[derive(Debug, Clone)]
pub(super) struct Rows<'a> {
    /// Its pods, ascending by ordinal.
    pub(super) all: Vec<Row<'a>>,
    /// The ordinals that are to have a pod, ascending.
    pub(super) slots: Vec<Slot>,
    /// Pods that are too many, descending by ordinal: their places among all.
    pub(super) condemned: Vec<usize>,
    /// Pods that nobody controls and that are ours by name and labels.
    pub(super) orphans: Vec<&'a PodView>,
    /// Pods that we control and that are not ours by name or labels any more.
    pub(super) released: Vec<&'a PodView>,
}

impl<'a> Rows<'a> {
    pub(super) fn of(snapshot: &Snapshot<'a>, history: &History<'_>) -> Self {
        let set = snapshot.set;
        let selector = set.selector.selector();
        let judge = Judge::new(snapshot);
        let deleted: BTreeSet<Uid> = snapshot.in_flight.deleted.iter().copied().collect();
        let (mut all, mut orphans, mut released) = (Vec::new(), Vec::new(), Vec::new());
        let mut selected = Selected::by(selector.as_ref());
        let mut marks = OncePerSet::default();
        for pod in &snapshot.pods {
            let ordinal = ordinal_of(&set.name, &pod.name);
            let matches = selected.has(&pod.labels);
            match (pod.controller, ordinal) {
                (Some(owner), _) if owner.uid != set.uid => {}
                (Some(_), Some(ordinal)) if matches => {
                    let marks = marks.of(&pod.labels, || Marks::of(pod, history));
                    let mut row = row(snapshot, &judge, pod, ordinal, &deleted, marks);
                    let requested = pod.requested_revision();
                    row.is_requested =
                        requested.is_some_and(|name| is_same_revision(name, &history.update.name));
                    all.push(row);
                }
                (Some(_), _) if !pod.is_terminating() => released.push(*pod),
                (None, Some(_)) if matches => orphans.push(*pod),
                _ => {}
            }
        }
        all.sort_by_key(|row| row.ordinal);
        let slots = slots(snapshot, history, &all, &orphans);
        let mut live = slots.iter().map(|slot| slot.ordinal).peekable();
        let mut condemned = Vec::new();
        for (i, row) in all.iter().enumerate() {
            while live.next_if(|ordinal| *ordinal < row.ordinal).is_some() {}
            if live.peek() != Some(&row.ordinal) {
                condemned.push(i);
            }
        }
        condemned.reverse();
        Self {
            all,
            slots,
            condemned,
            orphans,
            released,
        }
    }

    /// The pod of a slot.
    pub(super) fn pod_of(&self, rank: usize) -> Option<(usize, Row<'a>)> {
        match self.slots.get(rank)?.place {
            Place::Pod(i) => Some((i, *self.all.get(i)?)),
            Place::Missing { .. } | Place::Unseen { .. } | Place::Orphan => None,
        }
    }
}

fn slots(snapshot: &Snapshot<'_>, history: &History<'_>, all: &[Row<'_>], orphans: &[&PodView]) -> Vec<Slot> {
    let set = snapshot.set;
    let start = if snapshot.features.start_ordinal {
        set.start
    } else {
        0
    };
    let mut created: BTreeMap<&str, &str> = BTreeMap::new();
    for pod in &snapshot.in_flight.created {
        created.insert(&pod.name, &pod.revision);
    }
    let orphans: BTreeSet<&str> = orphans.iter().map(|pod| &*pod.name).collect();
    let mut rows = all.iter().enumerate().peekable();
    let place = |ordinal| {
        while rows.next_if(|(_, row)| row.ordinal < ordinal).is_some() {}
        if let Some((i, _)) = rows.next_if(|(_, row)| row.ordinal == ordinal) {
            return Place::Pod(i);
        }
        if created.is_empty() && orphans.is_empty() {
            return Place::Missing { is_new: true };
        }
        let name = pod_name(&set.name, ordinal);
        match created.get(name.as_str()) {
            Some(revision) => Place::Unseen {
                is_new: is_same_revision(revision, &history.update.name),
            },
            None if orphans.contains(name.as_str()) => Place::Orphan,
            None => Place::Missing { is_new: true },
        }
    };
    let live = set.reserved.live(start, set.replicas);
    let mut place = place;
    let slots = live.into_iter().map(|ordinal| Slot {
        ordinal,
        place: place(ordinal),
    });
    slots.collect()
}

fn row<'a>(
    snapshot: &Snapshot<'a>,
    judge: &Judge<'_>,
    pod: &'a PodView,
    ordinal: u32,
    deleted: &BTreeSet<Uid>,
    marks: Marks,
) -> Row<'a> {
    let now = snapshot.now;
    let live = Live::of(pod);
    let runs = pod.phase == Phase::Running;
    let in_flight = &snapshot.in_flight;
    Row {
        ordinal,
        pod,
        live,
        state: marks.state,
        is_new: marks.is_new,
        is_current: marks.is_current,
        is_terminating: pod.is_terminating() || deleted.contains(&pod.uid),
        is_specified: marks.is_specified,
        is_ready: runs && pod.is_ready(),
        is_settled: runs && is_available(pod, snapshot.set.min_ready_seconds(), now),
        is_complete: live.is_none_or(|live| is_complete(live, snapshot)),
        is_in_doubt: in_flight.maybe_deleted.contains(&pod.uid) || in_flight.maybe_patched.contains(&pod.uid),
        is_requested: false,
        guard: judge.guard(pod, now),
    }
}

/// A pod whose gate is open has no update under way: its notes need no reading.
fn is_complete(live: Live<'_>, snapshot: &Snapshot<'_>) -> bool {
    let gate = live.view.update_ready.as_ref();
    gate.is_some_and(pitstop_api::view::PodCondition::is_true)
        || (live.view.state().is_none() && live.view.grace().is_none())
        || completion(live, snapshot.features.in_place, snapshot.now) == Completion::Done
}

/// What the labels of a pod say.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    is_new: bool,
    is_current: bool,
    state: State,
    is_specified: bool,
}

impl Marks {
    fn of(pod: &PodView, history: &History<'_>) -> Self {
        let mut found = Self::default();
        for (key, value) in pod.labels.iter() {
            match key {
                keys::REVISION_HASH => {
                    found.is_new = is_same_revision(value, &history.update.name);
                    found.is_current = is_same_revision(value, &history.current.name);
                }
                keys::LIFECYCLE_STATE => found.state = State::read(value),
                // Source: statefulset.md 15.1 row 14.
                keys::SPECIFIED_DELETE => found.is_specified = value != "false",
                _ => {}
            }
        }
        found
    }
}
