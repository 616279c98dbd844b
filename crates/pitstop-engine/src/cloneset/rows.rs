//! What is true of each pod of a CloneSet.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use pitstop_api::keys;
use pitstop_api::view::{PodView, Uid};

use super::numbers::Fact;
use super::plan::Action;
use super::snapshot::Snapshot;
use crate::availability::is_update_ready;
use crate::inplace::diff::DiffOptions;
use crate::inplace::readiness::is_silent;
use crate::inplace::{Live, Verdict, is_same_revision};
use crate::instances::carry_on::needs_refresh;
use crate::instances::history::History;
use crate::lifecycle::State;
use crate::shared_labels::{OncePerSet, Selected, revisions_of};

/// A pod that is active: neither at its end nor on its way out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) pod: &'a PodView,
    pub(super) live: Option<Live<'a>>,
    pub(super) state: State,
    /// Is it at the update revision?
    pub(super) is_new: bool,
    /// The name of its revision, or its hash; empty where it has none.
    pub(super) revision: &'a str,
    /// Is it to be deleted, by its label or by name?
    pub(super) is_specified: bool,
    /// Is it available for `minReadySeconds`?
    pub(super) is_available: bool,
    /// Does it run and serve, however short?
    pub(super) is_ready: bool,
    /// Does it run and serve for `minReadySeconds`, whatever hook holds it?
    pub(super) is_settled: bool,
    /// Has its owner asked for the update revision?
    pub(super) is_requested: bool,
    /// Does it carry the hash of its revision?
    pub(super) has_template_hash: bool,
    /// Does nothing of an update, a hook or a first word stand out? Most pods are so in most passes, and are looked at once.
    pub(super) is_quiet: bool,
}

impl Row<'_> {
    pub(super) fn is_preparing_delete(&self) -> bool {
        self.state == State::PreparingDelete
    }

    pub(super) fn instance(&self) -> Option<&str> {
        self.pod.labels.get(keys::INSTANCE_ID).map(String::as_str)
    }

    fn fact(&self, is_new: bool) -> Fact {
        Fact {
            is_new,
            is_available: self.is_available,
            is_specified: self.is_specified,
            is_preparing_delete: self.is_preparing_delete(),
        }
    }
}

/// The pods of a CloneSet.
#[derive(Debug, Clone)]
pub(super) struct Rows<'a> {
    /// Active pods, in the order of the snapshot.
    pub(super) active: Vec<Row<'a>>,
    /// Pods that have ended or are on their way out.
    pub(super) inactive: Vec<&'a PodView>,
    /// Pods that were created and are not seen yet: are they at the update revision?
    pub(super) unseen: Vec<bool>,
    pub(super) released: Vec<&'a PodView>,
}

impl<'a> Rows<'a> {
    pub(super) fn of(snapshot: &Snapshot<'a>, history: &History<'_>) -> Self {
        let cloneset = snapshot.cloneset;
        let selector = cloneset.selector.selector();
        let in_flight = &snapshot.in_flight;
        let deleted: BTreeSet<Uid> = in_flight.deleted.iter().copied().collect();
        // A selector that cannot be read lets nobody go.
        let mut selected = selector.as_ref().map(|selector| Selected::by(Some(selector)));
        let mut marks = OncePerSet::default();
        let mut found = Self {
            active: Vec::new(),
            inactive: Vec::new(),
            unseen: Vec::new(),
            released: Vec::new(),
        };
        for pod in &snapshot.pods {
            let is_ours = pod.controller.is_some_and(|owner| owner.uid == cloneset.uid);
            if !is_ours {
                continue;
            }
            let is_gone = pod.is_terminating() || deleted.contains(&pod.uid);
            if is_gone || pod.is_terminal() {
                found.inactive.push(pod);
            } else if selected
                .as_mut()
                .is_some_and(|selected| !selected.has(&pod.labels))
            {
                found.released.push(pod);
            } else {
                let update = &history.update.name;
                let marks = marks.of(&pod.labels, || Marks::of(pod, update));
                found.active.push(row(snapshot, update, pod, marks));
            }
        }
        let seen: HashSet<&str> = match in_flight.created.as_slice() {
            [] => HashSet::new(),
            _ => snapshot.pods.iter().map(|pod| &*pod.name).collect(),
        };
        let unseen = in_flight
            .created
            .iter()
            .filter(|created| !seen.contains(&*created.name));
        found.unseen = unseen
            .map(|created| is_same_revision(&created.revision, &history.update.name))
            .collect();
        found
    }

    /// How many outdated pods nobody has asked to update.
    pub(super) fn n_unrequested(&self) -> u32 {
        let rows = self.active.iter();
        let n = rows.filter(|row| !row.is_new && !row.is_requested).count();
        u32::try_from(n).unwrap_or(u32::MAX)
    }

    /// How many there are, those included that are not seen yet.
    pub(super) fn len(&self) -> usize {
        self.active.len().saturating_add(self.unseen.len())
    }

    /// What is counted. Pods that are not seen yet are not available.
    pub(super) fn facts(&self, is_new: impl Fn(&Row<'_>) -> bool) -> Vec<Fact> {
        let seen = self.active.iter().map(|row| row.fact(is_new(row)));
        let unseen = self.unseen.iter().map(|is_new| Fact {
            is_new: *is_new,
            ..Fact::default()
        });
        seen.chain(unseen).collect()
    }

    /// Pods whose labels do not match any more are let go, unless the CloneSet itself goes. Source: cloneset.md 6, step 6.
    ///
    /// Differs from upstream: their claims are made theirs first, so that no other pod gets the volumes, and they do not go
    /// (18.29).
    pub(super) fn releases(&self, snapshot: &Snapshot<'_>) -> Vec<Action> {
        let releases = self.released.iter().flat_map(|pod| {
            let claims = super::claims::left_to(snapshot, pod);
            if claims.is_empty() {
                vec![Action::ReleasePod {
                    name: Arc::clone(&pod.name),
                    uid: pod.uid,
                }]
            } else {
                claims
            }
        });
        releases.collect()
    }

    /// The revisions of pods that something is true of, each once.
    pub(super) fn revisions(&self, is_wanted: impl Fn(&Row<'_>) -> bool) -> Vec<&'a str> {
        let wanted = self.active.iter().filter(|row| is_wanted(row));
        revisions_of(wanted.map(|row| row.pod))
    }

    /// Do all outdated pods differ from the update revision in metadata alone, and is no hook asked first? Such an update
    /// needs no surge.
    ///
    /// Source: inplace.md 13.7.
    pub(super) fn is_metadata_only(&self, snapshot: &Snapshot<'_>, history: &History<'_>) -> bool {
        let cloneset = snapshot.cloneset;
        if !super::update::may_stay(cloneset) || cloneset.lifecycle.in_place_update.is_some() {
            return false;
        }
        let revisions = self.revisions(|row| !row.is_new);
        let options = DiffOptions {
            features: snapshot.features.in_place,
            ..DiffOptions::default()
        };
        !revisions.is_empty()
            && revisions.iter().all(|revision| {
                let verdict = history.diff(revision, &history.update, options);
                matches!(verdict, Verdict::InPlace(spec) if !spec.touches_containers())
            })
    }
}

fn row<'a>(snapshot: &Snapshot<'a>, update_revision: &str, pod: &'a PodView, marks: Marks<'a>) -> Row<'a> {
    let (cloneset, now) = (snapshot.cloneset, snapshot.now);
    let is_named = cloneset.scale.pods_to_delete.contains(&pod.name);
    let state = marks.state;
    let live = Live::of(pod);
    let is_settled = is_update_ready(pod, cloneset.min_ready_seconds, now);
    // A pod whose DELETE was not answered is deleted again rather than another one.
    let is_in_doubt = snapshot.in_flight.maybe_deleted.contains(&pod.uid);
    let may_be_down = is_in_doubt || snapshot.in_flight.maybe_patched.contains(&pod.uid);
    Row {
        pod,
        live,
        state,
        is_new: marks.is_new,
        revision: marks.revision,
        is_specified: is_named || is_in_doubt || marks.is_specified,
        is_available: !may_be_down && is_settled && state.counts(),
        is_ready: is_update_ready(pod, 0, now),
        is_settled,
        is_requested: pod
            .requested_revision()
            .is_some_and(|requested| is_same_revision(requested, update_revision)),
        has_template_hash: marks.has_template_hash,
        is_quiet: live.is_none_or(|live| !needs_refresh(live, state) && !is_silent(live)),
    }
}

/// What the labels of a pod say.
#[derive(Debug, Clone, Copy, Default)]
struct Marks<'a> {
    is_new: bool,
    revision: &'a str,
    state: State,
    is_specified: bool,
    has_template_hash: bool,
}

impl<'a> Marks<'a> {
    fn of(pod: &'a PodView, update_revision: &str) -> Self {
        let mut found = Self::default();
        for (key, value) in pod.labels.iter() {
            match key {
                keys::REVISION_HASH => {
                    found.revision = value;
                    found.is_new = is_same_revision(value, update_revision);
                }
                keys::LIFECYCLE_STATE => found.state = State::read(value),
                keys::SPECIFIED_DELETE => found.is_specified = true,
                keys::POD_TEMPLATE_HASH => found.has_template_hash = true,
                _ => {}
            }
        }
        found
    }
}
