//! What a decision about a StatefulSet is made from.

use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::view::{PodView, RevisionView, StatefulSetView, Uid};
use pitstop_api::{ClaimView, StorageClasses, reasons};

use crate::inplace;
use crate::instances::{Failures, InFlight};
use crate::shared_labels::revisions_of;

/// Everything that a decision about one StatefulSet looks at.
#[derive(Debug, Clone)]
pub struct Snapshot<'a> {
    /// The time of the decision.
    pub now: Timestamp,
    /// The workload.
    pub set: &'a StatefulSetView,
    /// ControllerRevisions of the namespace that it controls, or that nobody controls and its selector matches.
    pub revisions: Vec<&'a RevisionView>,
    /// Pods that it controls, and those that nobody controls and its selector matches.
    pub pods: Vec<&'a PodView>,
    /// Claims of the namespace that have the names of its claims.
    pub claims: Vec<&'a ClaimView>,
    /// The classes of storage of the cluster. They matter only where [`super::needs_classes`] says so.
    pub classes: StorageClasses,
    /// What we did that the stores may not show yet.
    pub in_flight: InFlight,
    /// What the arbiter of its protection said.
    pub arbiter: ArbiterAnswers,
    /// What the cluster and its administrator allow.
    pub features: Features,
    /// What went wrong when the last plan was carried out.
    pub failures: Failures,
    /// Was a live read of the StatefulSet made that allows adoption (same uid, not terminating)?
    pub may_adopt: bool,
}

impl Snapshot<'_> {
    /// Is there an arbiter whose first answer is still on its way?
    pub(super) fn awaits_arbiter(&self) -> bool {
        let read = self.set.protection.as_ref().and_then(|read| read.as_ref().ok());
        self.arbiter.is_awaited && read.is_some_and(|protection| protection.arbiter.is_some())
    }

    /// The revisions that pods have, by label.
    pub(super) fn labels_in_use(&self) -> impl Iterator<Item = &str> {
        let created = self.in_flight.created.iter().map(|pod| &*pod.revision);
        let labels = revisions_of(self.pods.iter().copied()).into_iter();
        labels.filter(|label| !label.is_empty()).chain(created)
    }
}

/// What an arbiter said. It is asked outside of decisions. Source: statefulset.md 16.4.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArbiterAnswers {
    /// What it said of each pod last.
    pub observations: Vec<Observation>,
    /// How often in a row it did not answer.
    pub failures: u32,
    /// When it was heard last.
    pub heard_at: Option<Timestamp>,
    /// What it said of pods that were to be disrupted, by name.
    pub claimed: Vec<Claimed>,
    /// Is its first answer still on its way? Until it is there, every pod works, whatever `failurePolicy` says.
    pub is_awaited: bool,
}

impl ArbiterAnswers {
    /// What it said last as far as the status tells, for those who do not ask it themselves: old pods that wait work, unless
    /// the status gives another cause, and so do as many others as are protected.
    pub fn reported(set: &StatefulSetView, pods: &[&PodView], now: Timestamp) -> Self {
        let reported = set.status.protection.as_ref();
        let Some(reported) = reported.filter(|reported| reported.arbiter_healthy == Some(true)) else {
            return Self::default();
        };
        let has = |names: &[String], pod: &PodView| names.iter().any(|name| **name == *pod.name);
        // Where too few work, those that wait do not wait since they work.
        let blocked = set.status.condition(reasons::UPDATE_BLOCKED);
        let are_few = blocked.is_some_and(|said| said.reason == reasons::TOO_FEW_PROTECTED);
        let is_named = |pod: &PodView| {
            let waits = has(&reported.waiting, pod) || has(&reported.condemned, pod);
            waits && !are_few && !has(&reported.refused, pod)
        };
        let claimed = reported.refused.iter().map(|name| Claimed {
            pod: name.as_str().into(),
            is_granted: false,
            until: now,
            token: "".into(),
        });
        let others = reported.protected.saturating_sub(reported.protected_old);
        let mut left = usize::try_from(others).unwrap_or(usize::MAX);
        let heard = pods.iter().filter(|pod| !has(&reported.silent, pod));
        let observations = heard.map(|pod| {
            let works = is_named(pod) || {
                let is_one = left > 0
                    && !pod.is_terminating()
                    && pod.revision_hash() == Some(&*set.status.update_revision);
                left = left.saturating_sub(usize::from(is_one));
                is_one
            };
            Observation {
                pod: pod.uid,
                state: match works {
                    _ if has(&reported.unknown, pod) => Observed::Unknown,
                    true => Observed::Working,
                    false => Observed::Idle,
                },
                at: now,
                ttl_seconds: None,
            }
        });
        Self {
            observations: observations.collect(),
            heard_at: reported.last_probe_time,
            claimed: claimed.collect(),
            ..Self::default()
        }
    }
}

/// What an arbiter said of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// The pod.
    pub pod: Uid,
    /// What it does.
    pub state: Observed,
    /// When that was.
    pub at: Timestamp,
    /// For how long it counts, where the arbiter says so. Units: seconds.
    pub ttl_seconds: Option<u32>,
}

/// What a pod does, as an arbiter knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// It works.
    Working,
    /// It does not.
    Idle,
    /// The arbiter does not know.
    Unknown,
}

/// Whether an arbiter lets a pod be disrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Name of the pod.
    pub pod: Arc<str>,
    /// Does it?
    pub is_granted: bool,
    /// Until when that counts; after a refusal: when it is asked again.
    pub until: Timestamp,
    /// By which it was asked: the arbiter knows a claim by it.
    pub token: Arc<str>,
}

/// What the cluster and its administrator allow. Source: statefulset.md 2.2, 15.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// For updates in place.
    pub in_place: inplace::Features,
    /// `PreparingUpdateAsUpdate`: pods that prepare for their update count as updated where pods are chosen.
    pub preparing_update_as_update: bool,
    /// `StatefulSetStartOrdinal`: `ordinals.start` counts.
    pub start_ordinal: bool,
    /// `StatefulSetAutoDeletePVC`: claims go by `persistentVolumeClaimRetentionPolicy`.
    pub deletes_claims: bool,
    /// `StatefulSetAutoResizePVCGate`: claims grow with their templates, where the StatefulSet asks for it.
    pub resizes_claims: bool,
    /// `PodIndexLabel`: pods carry their ordinal as a label.
    pub labels_index: bool,
    /// `scaleStrategy.maxUnavailable` also limits how fast pods come back that were deleted for an update, as upstream does.
    /// Source: statefulset.md 15.1 row 4.
    pub throttles_updates_as_upstream: bool,
    /// How long a pod of a broken revision is in the way before it is replaced. Units: seconds. Source: statefulset.md 15.1
    /// row 8.
    pub broken_after_seconds: u32,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            in_place: inplace::Features::default(),
            preparing_update_as_update: true,
            start_ordinal: true,
            deletes_claims: true,
            resizes_claims: false,
            labels_index: true,
            throttles_updates_as_upstream: false,
            broken_after_seconds: 30,
        }
    }
}
