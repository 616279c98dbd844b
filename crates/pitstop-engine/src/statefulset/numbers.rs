//! The numbers of one decision, and which revision a pod gets that is missing.
//!
//! Source: statefulset.md 5, step 7; 6.1, 6.2.

use pitstop_api::view::{RollingStatefulSet, StatefulSetView, UpdateType};
use pitstop_api::{amount, keys};

use super::protection::Shield;
use super::rows::{Place, Rows};
use super::snapshot::Snapshot;
use crate::instances::history::History;
use crate::instances::invalid::Invalid;
use crate::lifecycle::State;

const MAX_UNAVAILABLE: &str = "spec.updateStrategy.rollingUpdate.maxUnavailable";
const PARTITION: &str = "spec.updateStrategy.rollingUpdate.partition";
const SCALE_MAX_UNAVAILABLE: &str = "spec.scaleStrategy.maxUnavailable";
const SELECTOR: &str = "spec.selector";
const UPDATE_TYPE: &str = "spec.updateStrategy.type";

/// The numbers of one decision. Units: pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    /// What the user keeps at old revisions. Range: 0..=replicas.
    pub(super) partition: u32,
    /// What protection keeps.
    pub(super) shield: Shield,
    /// How many pods an update may make unavailable. Range: 1..
    pub(super) max_unavailable: u32,
    /// How many pods may be unavailable while pods are added; `None`: any number. Range: 1..
    pub(super) scale_budget: Option<u32>,
}

impl Numbers {
    pub(super) fn of(
        snapshot: &Snapshot<'_>,
        history: &History<'_>,
        rows: &Rows<'_>,
    ) -> Result<Self, Invalid> {
        let set = snapshot.set;
        if let UpdateType::Other(kind) = &set.update {
            let problem = format!("{kind:?} is neither \"RollingUpdate\" nor \"OnDelete\"");
            return Err(Invalid::of(UPDATE_TYPE, &problem));
        }
        if set.selector.is_empty() || set.selector.selector().is_none() {
            return Err(Invalid::of(SELECTOR, &"it is empty or malformed"));
        }
        let rolling = set.rolling.as_ref();
        let replicas = set.replicas;
        let partition = amount::partition(rolling.and_then(|rolling| rolling.partition.as_ref()), replicas)
            .map_err(|error| malformed_partition(set, &error.given))?;
        let at_least_one =
            |amount: &pitstop_api::Amount| amount.scaled_down(replicas).map(|scaled| scaled.max(1));
        let written = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let max_unavailable = written
            .map_or(Ok(1), at_least_one)
            .map_err(|error| Invalid::of(MAX_UNAVAILABLE, &error))?;
        let scale_budget = set.scale_max_unavailable.as_ref().map(at_least_one);
        let scale_budget = scale_budget
            .transpose()
            .map_err(|error| Invalid::of(SCALE_MAX_UNAVAILABLE, &error))?;
        // Pods that an update deletes come back as fast as it may delete them (15.1 row 4).
        let is_rolling_out = history.current.name != history.update.name;
        let raised = is_rolling_out && !snapshot.features.throttles_updates_as_upstream;
        Ok(Self {
            partition,
            shield: Shield::of(snapshot, rows, partition),
            max_unavailable,
            scale_budget: scale_budget.map(|budget| {
                if raised {
                    budget.max(max_unavailable)
                } else {
                    budget
                }
            }),
        })
    }
}

/// The annotation overrides the field. Source: statefulset.md 15.2.
fn malformed_partition(set: &StatefulSetView, given: &str) -> Invalid {
    let is_annotated = set.annotations.contains_key(keys::PARTITION);
    let field = if is_annotated {
        keys::annotation_field(keys::PARTITION)
    } else {
        PARTITION.to_owned()
    };
    let problem =
        format!("{given} is not a whole number of at least 0, or a whole percentage from 0% to 100%");
    Invalid::named(field, &problem)
}

/// Does a pod count as updated where pods are chosen? Source: statefulset.md 6.1.
pub(super) fn counts_as_new(snapshot: &Snapshot<'_>, is_new: bool, state: State) -> bool {
    let is_preparing = snapshot.features.preparing_update_as_update && state == State::PreparingUpdate;
    is_new || is_preparing
}

/// Decides which revision each missing pod gets. Source: statefulset.md 6.1, 15.1 row 25.
pub(super) fn decide_births(snapshot: &Snapshot<'_>, rows: &mut Rows<'_>, keeps: u32) {
    let set = snapshot.set;
    let is_new = |place: Place, rows: &Rows<'_>| match place {
        Place::Pod(i) => rows
            .all
            .get(i)
            .is_some_and(|row| counts_as_new(snapshot, row.is_new, row.state)),
        Place::Unseen { is_new } | Place::Missing { is_new } => is_new,
        Place::Orphan => true,
    };
    let is_old = |slot: &&super::rows::Slot| !is_new(slot.place, rows);
    let mut n_old = rows.slots.iter().filter(is_old).count();
    let creates_current =
        |rolling: &RollingStatefulSet| rolling.is_paused && rolling.creates_current_while_paused;
    let limit = usize::try_from(keeps).unwrap_or(usize::MAX);
    for (rank, slot) in rows.slots.iter_mut().enumerate() {
        let Place::Missing { is_new } = &mut slot.place else {
            continue;
        };
        let is_old = match (&set.update, &set.rolling) {
            (UpdateType::OnDelete | UpdateType::Other(_), _) => false,
            (UpdateType::RollingUpdate, None) if set.protection.is_none() => {
                slot.ordinal.saturating_sub(set.start) < set.status.current_replicas
            }
            (_, Some(rolling)) if creates_current(rolling) => true,
            _ if set.is_unordered() => n_old < limit,
            _ => rank < limit,
        };
        *is_new = !is_old;
        n_old = n_old.saturating_add(usize::from(is_old));
    }
}
