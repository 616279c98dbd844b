//! `pitstop.io/pod-update-policy`: pods of a DaemonSet that stay when they are updated.
//!
//! Whose turn it is, the rest of this folder decides; here it is decided how a pod becomes new: in place, where that is
//! asked for and possible, or by its deletion. A pod that is updated in place counts as down from the patch on until it is
//! available again, like one that is replaced. One whose containers are not touched costs nothing.
//!
//! The notes of a pod and its readiness gate are looked after whatever holds the rollout back: without that, no pod with
//! the gate would ever become Ready.
//!
//! Source: spec/README.md, `pod-update-policy`; inplace.md 3, 4, 13.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::view::{PodCondition, PodUpdatePolicy, PodView, RevisionView, Uid};
use pitstop_api::{keys, reasons};
use serde_json::Value;

use super::{Outcome, Tally, Turn};
use crate::daemonset::board::Row;
use crate::daemonset::{delete, earlier};
use crate::inplace::diff::DiffOptions;
use crate::inplace::state::UpdateState;
use crate::inplace::{
    Change, Features, Live, Stage, UpdateSpec, Verdict, Version, WhyRecreate, begin, diff, eligibility,
    refresh,
};
use crate::instances::PatchWhy;
use crate::instances::waiting::under_way;
use crate::plan::{Action, DeleteReason, Event, Reason};
use crate::revision::template_of;

/// What is allowed for pods of DaemonSets: images and metadata. Other resources mean another pod.
fn features() -> Features {
    Features::default()
}

/// When a pod came to its revision: when it was made, or updated in place since.
pub(super) fn updated_at(pod: &PodView) -> Timestamp {
    let state = Live::of(pod).and_then(|live| UpdateState::of(live.view).ok().flatten());
    let state = state.filter(|state| pod.revision_hash() == Some(&state.revision));
    let began_at = state.as_ref().and_then(UpdateState::began_at);
    began_at.map_or(pod.created_at, |at| at.max(pod.created_at))
}

/// What the update in place of a pod at the target waits for, if one is under way.
pub(super) fn waits_for(row: &Row<'_>, now: Timestamp) -> Option<Reason> {
    let live = Live::of(row.pod).filter(|_| !row.is_available)?;
    under_way(live, is_under_way(live), features(), now)
}

/// Has an update of this pod begun that was not seen to be complete?
fn is_under_way(live: Live<'_>) -> bool {
    let state = UpdateState::of(live.view);
    state.is_ok_and(|state| state.is_some_and(|state| state.proof.completed_at.is_none()))
}

/// How pods of each old revision become new.
pub(super) struct Ways<'s> {
    policy: PodUpdatePolicy,
    /// By hash.
    verdicts: BTreeMap<&'s str, Verdict>,
}

/// How one pod becomes new.
enum Way<'s> {
    /// Its containers change.
    InPlace(Live<'s>, UpdateSpec),
    /// It is deleted.
    Recreate(Option<WhyRecreate>),
    /// It would have to stay, and cannot.
    Refused(WhyRecreate),
}

impl<'s> Ways<'s> {
    pub(super) fn of<'a: 's>(turn: &Turn<'s, 'a>) -> Self {
        let mut ways = Self {
            policy: turn.keys.pod_update_policy.clone(),
            verdicts: BTreeMap::new(),
        };
        if ways.policy == PodUpdatePolicy::ReCreate {
            return ways;
        }
        let rows = turn.spots.iter().flat_map(|spot| turn.board.on(spot.slot));
        for row in rows.filter(|row| !row.is_new && !row.is_terminating) {
            let hash = row.pod.revision_hash().unwrap_or_default();
            ways.verdicts.entry(hash).or_insert_with(|| turn.compare(hash));
        }
        ways
    }

    fn way(&self, pod: &'s PodView) -> Way<'s> {
        if self.policy == PodUpdatePolicy::ReCreate {
            return Way::Recreate(None);
        }
        let possible = self.in_place(pod);
        match possible {
            Ok((live, spec)) => Way::InPlace(live, spec),
            Err(why) if self.policy == PodUpdatePolicy::InPlaceOnly => Way::Refused(why),
            Err(why) => Way::Recreate(Some(why)),
        }
    }

    /// Can this pod stay? Source: inplace.md 3, 13.10.
    fn in_place(&self, pod: &'s PodView) -> Result<(Live<'s>, UpdateSpec), WhyRecreate> {
        let has_gate = |live: &Live<'_>| live.view.has_gate(reasons::INPLACE_UPDATE_READY);
        let live = Live::of(pod).filter(has_gate).ok_or(WhyRecreate::NoGate)?;
        let spec = match self.verdicts.get(pod.revision_hash().unwrap_or_default()) {
            None => return Err(WhyRecreate::NoOldRevision),
            Some(Verdict::Recreate(why)) => return Err(why.clone()),
            Some(Verdict::InPlace(spec)) => spec.clone(),
        };
        // Agents report the environment of pods of their own kinds only.
        let is_reported = live.view.annotation(&[keys::RUNTIME_CONTAINERS]).is_some();
        if spec.update_env && !is_reported {
            return Err(WhyRecreate::NoAgent);
        }
        eligibility(live, &spec).map(|()| (live, spec))
    }

    fn is_free(&self, pod: &'s PodView) -> bool {
        matches!(self.way(pod), Way::InPlace(_, spec) if !spec.touches_containers())
    }

    /// Why pods that go, or cannot go, are not updated in place: told once for each revision.
    pub(super) fn events(&self, turn: &Turn<'s, '_>, outcome: &Outcome<'s>) -> Option<Event> {
        let target = &turn.current.target;
        let event = |reason, message| Event {
            is_warning: true,
            reason,
            message,
            once_per: Some(format!("{}/{target}", turn.snapshot.daemonset.generation)),
        };
        let refused = outcome.kept.values().find_map(|reason| match reason {
            Reason::NotInPlace { why } => Some(why),
            _ => None,
        });
        if let Some(why) = refused {
            let message = format!(
                "revision {target}: update strategy is InPlaceOnly but can not update in-place: {why}"
            );
            return Some(event(reasons::FAILED_UPDATE_IN_PLACE, message.into()));
        }
        let mut touched = outcome.deletes.iter().filter(|(_, why)| is_upgrade(*why));
        let why = touched.find_map(|(row, _)| match self.way(row.pod) {
            Way::Recreate(why) => why,
            Way::InPlace(..) | Way::Refused(_) => None,
        })?;
        let message = format!("revision {target}: pods are replaced rather than updated in place: {why}");
        Some(event(reasons::NOT_IN_PLACE, message.into()))
    }
}

/// Is it the rollout that takes the pod?
fn is_upgrade(why: DeleteReason) -> bool {
    matches!(why, DeleteReason::Outdated | DeleteReason::OutdatedAndUnavailable)
}

impl<'s> Tally<'s> {
    /// Takes out the pods that would have to stay and cannot, each with its reason, and those that cost nothing.
    pub(super) fn part(&mut self, ways: &Ways<'s>, kept: &mut BTreeMap<Uid, Reason>) {
        if ways.policy == PodUpdatePolicy::ReCreate {
            return;
        }
        let mut stay = |row: &Row<'s>| match ways.way(row.pod) {
            Way::Refused(why) => {
                let why = why.to_string();
                kept.insert(row.pod.uid, Reason::NotInPlace { why });
                true
            }
            Way::InPlace(..) | Way::Recreate(_) => false,
        };
        let mut settled = Vec::new();
        for rows in [&mut self.in_doubt, &mut self.settling] {
            let (refused, rest): (Vec<_>, Vec<_>) = mem::take(rows).into_iter().partition(&mut stay);
            *rows = rest;
            settled.extend(refused);
        }
        let mut n_refused = settled.len();
        for rows in [&mut self.broken, &mut self.candidates] {
            let before = rows.len();
            rows.retain(|row| !stay(row));
            n_refused = n_refused.saturating_add(before.saturating_sub(rows.len()));
        }
        self.n_refused = u32::try_from(n_refused).unwrap_or(u32::MAX);
        let is_free = |row: &Row<'s>| ways.is_free(row.pod);
        for is_down in [true, false] {
            let rows = if is_down {
                &mut self.settling
            } else {
                &mut self.candidates
            };
            let (free, rest): (Vec<_>, Vec<_>) = mem::take(rows).into_iter().partition(is_free);
            *rows = rest;
            settled.extend(free.iter().filter(|_| is_down));
            self.free.extend(free);
        }
        for row in &settled {
            self.keep_settling(row);
        }
    }
}

/// How updates in place that are under way go on.
#[derive(Default)]
pub(super) struct Carried {
    pub(super) actions: Vec<Action>,
    pub(super) events: Vec<Event>,
    /// Pods whose update will never be complete, and what becomes of them.
    pub(super) stalled: BTreeMap<Uid, Reason>,
    pub(super) wake_at: Option<Timestamp>,
}

impl<'s, 'a: 's> Turn<'s, 'a> {
    fn compare(&self, hash: &str) -> Verdict {
        let target = &self.current.target;
        let Some(new) = self.revision(target) else {
            return Verdict::Recreate(WhyRecreate::NoTemplate(target.to_string()));
        };
        let version = |revision: &'s RevisionView| Version {
            name: revision.hash(),
            ..Version::of(revision)
        };
        let options = DiffOptions {
            features: features(),
            ..DiffOptions::default()
        };
        diff(self.revision(hash).map(version), version(new), options)
    }

    fn revision(&self, hash: &str) -> Option<&'s RevisionView> {
        let snapshot = self.snapshot;
        let is_ours = |revision: &&RevisionView| {
            let controller = revision.controller;
            controller.is_some_and(|owner| owner.uid == snapshot.daemonset.uid) && revision.hash() == hash
        };
        snapshot.revisions.iter().copied().find(is_ours)
    }

    /// What becomes of the pods whose turn it is.
    pub(super) fn touch(&self, outcome: &Outcome<'s>, ways: &Ways<'s>) -> Vec<Action> {
        let touched = outcome.deletes.iter();
        let action = |(row, why): &(Row<'s>, DeleteReason)| match ways.way(row.pod) {
            Way::InPlace(live, spec) if is_upgrade(*why) => self.update_in_place(live, &spec),
            _ => Some(delete(row.pod, *why)),
        };
        touched.filter_map(action).collect()
    }

    fn update_in_place(&self, live: Live<'s>, spec: &UpdateSpec) -> Option<Action> {
        let mut change = begin(live, spec, features(), self.snapshot.now);
        change.label(keys::REVISION_HASH, &self.current.target);
        if let Some(generation) = self.snapshot.daemonset.template_generation() {
            change.label(keys::POD_TEMPLATE_GENERATION, &generation.to_string());
        }
        let revision = Arc::clone(&self.current.target);
        self.patch(live, change, PatchWhy::UpdateInPlace { revision })
    }

    fn patch(&self, live: Live<'s>, change: Change, why: PatchWhy) -> Option<Action> {
        let writes = change.writes(live, self.snapshot.now);
        (!writes.is_empty()).then(|| Action::PatchPod {
            name: Arc::clone(&live.pod.name),
            uid: live.pod.uid,
            resource_version: live.pod.resource_version,
            writes,
            why,
        })
    }

    /// Carries every update in place on, whatever holds the rollout back. Pods that go now are left out, and those on
    /// nodes that are not ready: nothing is to be heard of them. Source: inplace.md 4.3, 13.19.
    pub(super) fn carry_on(&self, outcome: &Outcome<'s>, ways: &Ways<'s>) -> Carried {
        let mut carried = Carried::default();
        let may_replace = outcome.blocked.is_none() && ways.policy != PodUpdatePolicy::InPlaceOnly;
        for spot in self.spots.iter().filter(|spot| spot.node.is_ready()) {
            for row in self.board.on(spot.slot) {
                let Some(live) = Live::of(row.pod).filter(|live| needs_refresh(*live)) else {
                    continue;
                };
                let goes = || {
                    outcome
                        .deletes
                        .iter()
                        .any(|(gone, _)| gone.pod.uid == row.pod.uid)
                };
                if row.is_terminating || row.is_terminal || goes() {
                    continue;
                }
                let template = self.template_of(row.pod);
                let refreshed = refresh(live, template, features(), self.snapshot.now);
                carried.wake_at = earlier(carried.wake_at, refreshed.wake_at);
                if let Stage::Impossible(why) = &refreshed.stage {
                    give_up(row, spot.is_passed_over, may_replace, why, &mut carried);
                    continue;
                }
                let patch = self.patch(live, refreshed.change, PatchWhy::Refresh);
                carried.actions.extend(patch);
            }
        }
        carried
    }

    fn template_of(&self, pod: &PodView) -> Option<&'s Value> {
        template_of(self.revision(pod.revision_hash()?)?)
    }
}

/// An update in place that will never be complete ends in a replacement, where that is allowed: its pod is down
/// anyway. Source: inplace.md 13.8, 13.9.
fn give_up(row: &Row<'_>, is_passed_over: bool, may_replace: bool, why: &WhyRecreate, carried: &mut Carried) {
    carried.events.push(Event {
        is_warning: true,
        reason: reasons::INPLACE_UPDATE_STALLED,
        message: format!("update of pod {} in-place never completes: {why}", row.pod.name).into(),
        once_per: Some(format!(
            "{}/{}",
            row.pod.uid,
            row.pod.revision_hash().unwrap_or_default()
        )),
    });
    if may_replace && !is_passed_over && !row.is_available {
        carried
            .actions
            .push(delete(row.pod, DeleteReason::InPlaceStalled));
        carried.stalled.insert(row.pod.uid, Reason::Updating);
    } else {
        let why = why.to_string();
        carried.stalled.insert(row.pod.uid, Reason::NotInPlace { why });
    }
}

/// A pod at rest needs no look at its notes: its gate is open. This is most pods in most passes.
fn needs_refresh(live: Live<'_>) -> bool {
    let update_ready = live.view.update_ready.as_ref();
    let is_open = update_ready.is_some_and(PodCondition::is_true);
    !is_open || live.view.grace().is_some() || is_under_way(live)
}
