//! How a pod of a DaemonSet becomes new: in place, where that is asked for and possible, or by its deletion.
//!
//! Whose turn it is, the models decide. A pod that is updated in place counts as down from the patch on until it is
//! available again, like one that is replaced.
//!
//! The notes of a pod and its readiness gate are looked after whatever holds the rollout back: without that, no pod with
//! the gate would ever become Ready.
//!
//! Source: inplace.md 3, 4, 13; spec/README.md, `pod-update-policy`; daemonset.md D2.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::view::{PodCondition, PodUpdatePolicy, PodView, RevisionView, Uid};
use pitstop_api::{keys, reasons};
use serde_json::Value;

use super::board::Row;
use super::{delete, earlier};
use crate::inplace::diff::DiffOptions;
use crate::inplace::readiness::{is_silent, say_first_word};
use crate::inplace::state::UpdateState;
use crate::inplace::{
    Change, Features, Live, UpdateSpec, Verdict, Version, WhyRecreate, begin, diff, eligibility, refresh,
};
use crate::instances::PatchWhy;
use crate::instances::stalls::Stall;
use crate::instances::waiting::under_way;
use crate::plan::{Action, DeleteReason, Event, Reason};
use crate::revision::{data_of, template_of};
use crate::snapshot::Snapshot;

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

/// What the pods of a DaemonSet are brought to.
#[derive(Clone, Copy)]
pub(super) struct Target<'s> {
    pub(super) snapshot: &'s Snapshot<'s>,
    /// Hash of the revision.
    pub(super) hash: &'s Arc<str>,
}

/// How pods of each old revision become new.
pub(super) struct Ways<'s> {
    pub(super) policy: PodUpdatePolicy,
    target: Target<'s>,
    /// By hash.
    verdicts: BTreeMap<&'s str, Verdict>,
}

/// How one pod becomes new.
pub(super) enum Way<'s> {
    /// Its containers change.
    InPlace(Live<'s>, UpdateSpec),
    /// It is deleted.
    Recreate(Option<WhyRecreate>),
    /// It would have to stay, and cannot.
    Refused(WhyRecreate),
}

impl<'s> Ways<'s> {
    pub(super) fn of<'r>(
        target: Target<'s>,
        policy: PodUpdatePolicy,
        rows: impl Iterator<Item = &'r Row<'s>>,
    ) -> Self
    where
        's: 'r,
    {
        let mut ways = Self {
            policy,
            target,
            verdicts: BTreeMap::new(),
        };
        if ways.policy == PodUpdatePolicy::ReCreate {
            return ways;
        }
        for row in rows.filter(|row| !row.is_new && !row.is_terminating) {
            let hash = row.pod.revision_hash().unwrap_or_default();
            ways.verdicts.entry(hash).or_insert_with(|| target.compare(hash));
        }
        ways
    }

    /// What they become.
    pub(super) fn target(&self) -> Target<'s> {
        self.target
    }

    pub(super) fn way(&self, pod: &'s PodView) -> Way<'s> {
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
        eligibility(live, &spec, self.target.snapshot.now).map(|()| (live, spec))
    }

    /// Does it become new without a container being touched?
    pub(super) fn is_free(&self, pod: &'s PodView) -> bool {
        matches!(self.way(pod), Way::InPlace(_, spec) if !spec.touches_containers())
    }

    /// Does a pod whose turn it is stay?
    pub(super) fn stays(&self, pod: &'s PodView, why: DeleteReason) -> bool {
        is_upgrade(why) && matches!(self.way(pod), Way::InPlace(..))
    }

    /// What becomes of a pod whose turn it is.
    pub(super) fn touch(&self, (row, why): (Row<'s>, DeleteReason)) -> Option<Action> {
        match self.way(row.pod) {
            Way::InPlace(live, spec) if is_upgrade(why) => self.target.update_in_place(live, &spec),
            _ => Some(delete(row.pod, why)),
        }
    }

    /// Why a pod whose turn it is is not at the target yet.
    pub(super) fn reason(&self, pod: &'s PodView) -> Reason {
        match self.way(pod) {
            Way::InPlace(..) => Reason::InPlace {
                pending: "it begins now".to_owned(),
            },
            Way::Recreate(_) | Way::Refused(_) => Reason::Updating,
        }
    }

    /// Why pods that go are not updated in place, or are and were to be restarted: told once for each revision.
    pub(super) fn not_as_asked<'r>(
        &self,
        touched: impl Iterator<Item = &'r (Row<'s>, DeleteReason)>,
    ) -> Option<Event>
    where
        's: 'r,
    {
        let hash = self.target.hash;
        let mut changed_in_place = BTreeSet::new();
        for (row, _) in touched.filter(|(_, why)| is_upgrade(*why)) {
            match self.way(row.pod) {
                Way::Recreate(Some(why)) => {
                    let message =
                        format!("revision {hash}: pods are replaced rather than updated in place: {why}");
                    return Some(self.target.warning(reasons::NOT_IN_PLACE, message));
                }
                Way::InPlace(_, spec) if !spec.touches_containers() => {
                    changed_in_place.extend(row.pod.revision_hash());
                }
                Way::InPlace(..) | Way::Recreate(None) | Way::Refused(_) => {}
            }
        }
        let mut changed = changed_in_place.into_iter();
        changed.any(|old| self.target.is_restart_of(old)).then(|| {
            let replace = if self.target.snapshot.daemonset.advanced.is_some() {
                "field updateStrategy.rollingUpdate.rollingUpdateType to Standard".to_owned()
            } else {
                format!("annotation {} to ReCreate", keys::POD_UPDATE_POLICY)
            };
            let message = format!(
                "revision {hash}: nothing but the mark of a restart ({}) changed, which pods that are updated in place take \
                 without a restart; to have them replaced, set {replace} and restart again",
                keys::RESTARTED_AT
            );
            self.target.warning(reasons::RESTARTS_NOTHING, message)
        })
    }
}

/// Is it the rollout that takes the pod?
fn is_upgrade(why: DeleteReason) -> bool {
    matches!(why, DeleteReason::Outdated | DeleteReason::OutdatedAndUnavailable)
}

impl<'s> Target<'s> {
    /// A warning that is told once for each revision.
    pub(super) fn warning(self, reason: &'static str, message: String) -> Event {
        Event {
            is_warning: true,
            reason,
            message: message.into(),
            once_per: Some(format!("{}/{}", self.snapshot.daemonset.generation, self.hash)),
        }
    }

    fn compare(self, hash: &str) -> Verdict {
        let daemonset = self.snapshot.daemonset;
        let version = |revision: &'s RevisionView| Version {
            name: revision.hash(),
            ..Version::of(revision)
        };
        let options = DiffOptions {
            features: features(),
            ..DiffOptions::default()
        };
        let written = self.revision(self.hash).map(version);
        // The plan that writes a revision may update pods to it, too.
        let unwritten = written.is_none().then(|| data_of(&daemonset.template));
        let new = written.or_else(|| {
            Some(Version {
                name: self.hash,
                data: unwritten.as_ref()?,
                annotations: &daemonset.annotations,
            })
        });
        match new {
            Some(new) => diff(self.revision(hash).map(version), new, options),
            None => Verdict::Recreate(WhyRecreate::NoTemplate(self.hash.to_string())),
        }
    }

    fn revision(self, hash: &str) -> Option<&'s RevisionView> {
        let snapshot = self.snapshot;
        let is_ours = |revision: &&RevisionView| {
            let controller = revision.controller;
            controller.is_some_and(|owner| owner.uid == snapshot.daemonset.uid) && revision.hash() == hash
        };
        snapshot.revisions.iter().copied().find(is_ours)
    }

    /// Does nothing but the mark of a restart lie between a revision and the target?
    fn is_restart_of(self, hash: &str) -> bool {
        const PLACE: &str = "/metadata/annotations";
        let mark_of = |template: &Value| {
            let annotations = template.pointer(PLACE);
            annotations.and_then(|annotations| annotations.get(keys::RESTARTED_AT).cloned())
        };
        let without_mark = |template: &Value| {
            let mut template = data_of(template);
            let place = format!("/spec/template{PLACE}");
            let annotations = template.pointer_mut(&place).and_then(Value::as_object_mut);
            let is_empty = annotations.is_none_or(|annotations| {
                annotations.remove(keys::RESTARTED_AT);
                annotations.is_empty()
            });
            let metadata = template.pointer_mut("/spec/template/metadata");
            if let Some(metadata) = metadata.and_then(Value::as_object_mut).filter(|_| is_empty) {
                metadata.remove("annotations");
            }
            template
        };
        let new = &self.snapshot.daemonset.template;
        let old = self.revision(hash).and_then(template_of);
        old.is_some_and(|old| mark_of(old) != mark_of(new) && without_mark(old) == without_mark(new))
    }

    fn update_in_place(self, live: Live<'s>, spec: &UpdateSpec) -> Option<Action> {
        let mut change = begin(live, spec, features(), self.snapshot.now);
        change.label(keys::REVISION_HASH, self.hash);
        if let Some(generation) = self.snapshot.daemonset.template_generation() {
            change.label(keys::POD_TEMPLATE_GENERATION, &generation.to_string());
        }
        let revision = Arc::clone(self.hash);
        self.patch(live, change, PatchWhy::UpdateInPlace { revision })
    }

    /// A change of a pod, if there is anything to change.
    pub(super) fn patch(self, live: Live<'s>, change: Change, why: PatchWhy) -> Option<Action> {
        let writes = change.writes(live, self.snapshot.now);
        (!writes.is_empty()).then(|| Action::PatchPod {
            name: Arc::clone(&live.pod.name),
            uid: live.pod.uid,
            resource_version: live.pod.resource_version,
            writes,
            why,
        })
    }

    /// Carries updates in place on. `rows` are the pods that may be written, each with whether it must not be deleted; those
    /// that go now are left out. Of pods on nodes that are not ready nothing is to be heard. Source: inplace.md 4.3, 13.19.
    pub(super) fn carry_on<'r>(
        self,
        rows: impl Iterator<Item = (&'r Row<'s>, bool)>,
        goes: impl Fn(&Row<'s>) -> bool,
        may_replace: bool,
    ) -> Carried
    where
        's: 'r,
    {
        let mut carried = Carried::default();
        for (row, must_stay) in rows {
            let Some(live) = Live::of(row.pod).filter(|live| needs_refresh(*live)) else {
                continue;
            };
            if row.is_terminating || row.is_terminal || goes(row) {
                continue;
            }
            let template = self.template_of(row.pod);
            let mut refreshed = refresh(live, template, features(), self.snapshot.now);
            say_first_word(live, self.snapshot.now, &mut refreshed.change);
            carried.wake_at = earlier(carried.wake_at, refreshed.wake_at);
            if let Some(stall) = Stall::of(&refreshed.stage) {
                let revision = row.pod.revision_hash().unwrap_or_default();
                carried.events.push(stall.event(row.pod, revision));
                if let Stall::Never(why) = stall {
                    give_up(row, must_stay, may_replace, &why, &mut carried);
                    continue;
                }
            }
            let patch = self.patch(live, refreshed.change, PatchWhy::Refresh);
            carried.actions.extend(patch);
        }
        carried
    }

    fn template_of(self, pod: &PodView) -> Option<&'s Value> {
        template_of(self.revision(pod.revision_hash()?)?)
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

/// An update in place that will never be complete ends in a replacement, where that is allowed: its pod is down
/// anyway. Source: inplace.md 13.8, 13.9.
fn give_up(row: &Row<'_>, must_stay: bool, may_replace: bool, why: &WhyRecreate, carried: &mut Carried) {
    if may_replace && !must_stay && !row.is_available {
        carried
            .actions
            .push(delete(row.pod, DeleteReason::InPlaceStalled));
        carried.stalled.insert(row.pod.uid, Reason::Updating);
    } else {
        let why = why.to_string();
        carried.stalled.insert(row.pod.uid, Reason::NotInPlace { why });
    }
}

/// A pod at rest needs no look at its notes: its gates are open. This is most pods in most passes.
fn needs_refresh(live: Live<'_>) -> bool {
    let update_ready = live.view.update_ready.as_ref();
    let is_open = update_ready.is_some_and(PodCondition::is_true);
    let is_shut = !is_open && live.view.has_gate(reasons::INPLACE_UPDATE_READY);
    is_shut || is_silent(live) || live.view.grace().is_some() || is_under_way(live)
}
