//! How many pods to add, to remove and to update: arithmetic, and nothing of single pods.
//!
//! Source: cloneset.md 7; all rows of section 17 are tests of [`diff`].

use pitstop_api::Amount;
use pitstop_api::cloneset::scaling;
use pitstop_api::view::UpdateType;

use super::rows::Rows;
use super::snapshot::Snapshot;
use crate::instances::history::History;
use crate::instances::invalid::Invalid;
use crate::lifecycle::State;

/// What is true of one pod, as far as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fact {
    /// Is it at the update revision?
    pub is_new: bool,
    /// Is it available?
    pub is_available: bool,
    /// Is it to be deleted, by its label or by name?
    pub is_specified: bool,
    /// Does it wait for its hook before it is deleted?
    pub is_preparing_delete: bool,
}

/// What the CloneSet asks for, scaled. Units: pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Pods in all.
    pub replicas: u32,
    /// Pods that stay at old revisions.
    pub partition: u32,
    /// Pods that may be there on top while pods are replaced.
    pub max_surge: u32,
    /// Are pods updated only when somebody deletes them? Then none are added to update others.
    pub is_on_delete: bool,
    /// Pods that may be unavailable.
    pub max_unavailable: u32,
    /// Pods that may be unavailable while pods are added; `None`: any number.
    pub scale_max_unavailable: Option<u32>,
    /// May updated pods go back to the current revision, and is there one?
    pub may_go_back: bool,
    /// Are pods that prepare for their deletion no replicas?
    pub excludes_preparing_delete: bool,
}

/// How many pods to add, to remove and to update. Units: pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Diff {
    /// Pods that are missing.
    pub scale_up: u32,
    /// Of those: at the current revision.
    pub scale_up_old: u32,
    /// How many of them may be added now.
    pub scale_up_limit: u32,
    /// Pods that are too many.
    pub scale_down: u32,
    /// Of those: at old revisions.
    pub scale_down_old: u32,
    /// How many available pods may be deleted now.
    pub delete_ready_limit: u32,
    /// Pods that are there on top while others are replaced.
    pub use_surge: u32,
    /// Of those: at old revisions.
    pub use_surge_old: u32,
    /// Pods to move to the update revision, or, below 0, back to the current one.
    pub update: i64,
    /// How many pods may be unavailable while they are moved. It may be below 0.
    pub update_max_unavailable: i64,
}

/// Counts of pods at old revisions, and at the update revision.
#[derive(Debug, Clone, Copy, Default)]
struct Split {
    old: i64,
    new: i64,
}

impl Split {
    fn count(&mut self, is_new: bool) {
        let side = if is_new { &mut self.new } else { &mut self.old };
        *side = side.saturating_add(1);
    }

    fn all(self) -> i64 {
        self.old.saturating_add(self.new)
    }
}

fn units(n: i64) -> u32 {
    u32::try_from(n.max(0)).unwrap_or(u32::MAX)
}

fn minus(a: i64, b: i64) -> i64 {
    a.saturating_sub(b)
}

/// Source: cloneset.md 7. Differs from upstream: where pods that prepare for their deletion are no replicas, they do not
/// use up the budget of adding pods either (18.6).
pub fn diff(wanted: Wanted, facts: impl IntoIterator<Item = Fact>) -> Diff {
    let (mut preparing, mut active, mut specified, mut unavailable) = (
        Split::default(),
        Split::default(),
        Split::default(),
        Split::default(),
    );
    for fact in facts {
        if fact.is_preparing_delete {
            preparing.count(fact.is_new);
            continue;
        }
        active.count(fact.is_new);
        if fact.is_specified {
            specified.count(fact.is_new);
        } else if !fact.is_available {
            unavailable.count(fact.is_new);
        }
    }
    let replicas = i64::from(wanted.replicas);
    let partition = i64::from(wanted.partition);
    let max_unavailable = i64::from(wanted.max_unavailable);
    let n_pods = active.all().saturating_add(preparing.all());
    let n_unavailable = preparing.all().saturating_add(unavailable.all());

    let mut old_diff = minus(active.old, partition);
    let mut new_diff = minus(active.new, minus(replicas, partition));
    if !wanted.may_go_back {
        (old_diff, new_diff) = (old_diff.max(0), new_diff.min(0));
    }
    let (surge, surge_old) = surge(wanted, [old_diff, new_diff], n_unavailable, specified);

    let (mut total, mut total_old) = (n_pods, active.old.saturating_add(preparing.old));
    let mut scale_unavailable = n_unavailable;
    if wanted.excludes_preparing_delete {
        total = active.all();
        total_old = active.old;
        scale_unavailable = unavailable.all();
    }
    let want = replicas.saturating_add(surge);
    let want_old = partition.saturating_add(surge_old);
    let mut found = Diff {
        use_surge: units(surge),
        use_surge_old: units(surge_old),
        ..Diff::default()
    };
    if want > total {
        let missing = minus(want, total);
        let room = wanted
            .scale_max_unavailable
            .map_or(missing, |limit| minus(i64::from(limit), scale_unavailable));
        found.scale_up = units(missing);
        found.scale_up_old = units(minus(want_old, total_old));
        found.scale_up_limit = units(missing.min(room.max(0)));
    }
    let left = minus(total, specified.all());
    if left > want {
        found.scale_down = units(minus(left, want));
        found.scale_down_old = units(minus(minus(total_old, specified.old), want_old));
    }
    if specified.all() > 0 || found.scale_down > 0 {
        let room = max_unavailable.saturating_add(minus(n_pods, replicas));
        found.delete_ready_limit = units(minus(room, n_unavailable));
    }
    found.update = if old_diff.saturating_abs() <= new_diff.saturating_abs() {
        old_diff
    } else {
        new_diff.saturating_neg()
    };
    if found.update != 0 {
        found.update_max_unavailable = max_unavailable.saturating_add(minus(n_pods, replicas));
    }
    found
}

/// How many pods are there on top, and how many of them at old revisions.
///
/// Source: cloneset.md 7, step 4. Differs from upstream, where pods that were added on top are soon no longer on top: as
/// many stay there as there are pods to replace, until the last one is (18.21).
fn surge(wanted: Wanted, [old_diff, new_diff]: [i64; 2], n_unavailable: i64, specified: Split) -> (i64, i64) {
    let limit = i64::from(wanted.max_surge);
    if limit == 0 {
        return (0, 0);
    }
    let over = minus(
        n_unavailable.saturating_add(specified.all()),
        i64::from(wanted.max_unavailable),
    );
    let for_scale = over.max(0).min(specified.all());
    let for_scale_old = minus(for_scale, specified.new).max(0);
    let (mut for_update, mut for_update_old) = (0, 0);
    if !wanted.is_on_delete && old_diff.signum().saturating_mul(new_diff.signum()) < 0 {
        let goes_back = old_diff < 0;
        for_update = if goes_back { new_diff } else { old_diff }.min(limit);
        for_update_old = if goes_back { for_update } else { 0 };
    }
    let (used, used_old) = if for_scale >= for_update {
        (for_scale, for_scale_old)
    } else {
        (for_update, for_update_old)
    };
    let used = used.min(limit);
    (used, used.min(used_old))
}

/// The numbers of one decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) wanted: Wanted,
    /// For adding and removing pods.
    pub(super) scale: Diff,
    /// For updating pods.
    pub(super) update: Diff,
    /// `partition` as it is written, scaled: what the status shows.
    pub(super) partition: u32,
}

const SCALE_MAX_UNAVAILABLE: &str = "spec.scaleStrategy.maxUnavailable";
const PARTITION: &str = "spec.updateStrategy.rollingUpdate.partition";
const MAX_UNAVAILABLE: &str = "spec.updateStrategy.rollingUpdate.maxUnavailable";
const MAX_SURGE: &str = "spec.updateStrategy.rollingUpdate.maxSurge";
const UPDATE_TYPE: &str = "spec.updateStrategy.type";
const SELECTOR: &str = "spec.selector";

impl Numbers {
    pub(super) fn of(
        snapshot: &Snapshot<'_>,
        rows: &Rows<'_>,
        history: &History<'_>,
    ) -> Result<Self, Invalid> {
        let cloneset = snapshot.cloneset;
        if let UpdateType::Other(kind) = &cloneset.update.kind {
            let problem = format!("{kind:?} is neither \"RollingUpdate\" nor \"OnDelete\"");
            return Err(Invalid::of(UPDATE_TYPE, &problem));
        }
        if cloneset.selector.is_empty() || cloneset.selector.selector().is_none() {
            return Err(Invalid::of(SELECTOR, &"it is empty or malformed"));
        }
        let replicas = cloneset.replicas;
        let rolling = cloneset.update.rolling.as_ref();
        let is_on_delete = cloneset.update.kind == UpdateType::OnDelete;
        let amount = |pick: fn(&pitstop_api::view::RollingUpdate) -> Option<&Amount>| rolling.and_then(pick);
        let partition = scaling::partition(amount(|r| r.partition.as_ref()), replicas)
            .map_err(|e| Invalid::of(PARTITION, &e))?;
        let is_paused = cloneset.is_paused();
        let max_surge = scaling::max_surge(amount(|r| r.max_surge.as_ref()), replicas, is_paused)
            .map_err(|e| Invalid::of(MAX_SURGE, &e))?;
        let max_unavailable = match rolling {
            None if is_on_delete => scaling::max_unavailable_on_delete(replicas),
            _ => scaling::max_unavailable(amount(|r| r.max_unavailable.as_ref()), replicas, max_surge)
                .map_err(|e| Invalid::of(MAX_UNAVAILABLE, &e))?,
        };
        let scale_limit = scaling::scale_max_unavailable(cloneset.scale.max_unavailable.as_ref(), replicas)
            .map_err(|e| Invalid::of(SCALE_MAX_UNAVAILABLE, &e))?;
        let is_ota = super::is_ota(cloneset);
        let kept = if is_ota {
            partition.max(rows.n_unrequested())
        } else {
            partition
        };
        let wanted = Wanted {
            replicas,
            partition: kept.min(replicas),
            max_surge: if rows.is_metadata_only(snapshot, history) {
                0
            } else {
                max_surge
            },
            is_on_delete,
            max_unavailable,
            scale_max_unavailable: scale_limit,
            may_go_back: !is_ota
                && snapshot.features.partition_rollback
                && history.update.name != history.current.name,
            excludes_preparing_delete: cloneset.scale.excludes_preparing_delete
                || snapshot.features.excludes_preparing_delete,
        };
        let preparing_is_new = snapshot.features.preparing_update_as_update;
        let for_scale =
            rows.facts(|row| row.is_new || (preparing_is_new && row.state == State::PreparingUpdate));
        let mut scale_wanted = wanted;
        if is_paused && !snapshot.features.scales_while_paused_as_upstream {
            scale_wanted.partition = frozen_partition(replicas, &for_scale);
        }
        Ok(Self {
            wanted,
            scale: diff(scale_wanted, for_scale),
            update: diff(wanted, rows.facts(|row| row.is_new)),
            partition,
        })
    }
}

/// How many pods stay at old revisions while a rollout is paused: those that are, and those that are missing.
///
/// Source: cloneset.md 18.8.
pub fn frozen_partition(replicas: u32, facts: &[Fact]) -> u32 {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let n_old = count(facts.iter().filter(|fact| !fact.is_new).count());
    let missing = replicas.saturating_sub(count(facts.len()));
    n_old.saturating_add(missing).min(replicas)
}
