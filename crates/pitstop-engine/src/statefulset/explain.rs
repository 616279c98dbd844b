//! Why each pod of a StatefulSet is not at the target.

use std::sync::Arc;

use pitstop_api::view::UpdateType;

use super::Turn;
use super::numbers::Numbers;
use super::rows::{Place, Row};
use crate::instances::invalid::Invalid;
use crate::instances::waiting::{Unavailable, why_not_available};
use crate::lifecycle::State;
use crate::plan::{ProtectedBy, Reason, Waiting};

/// What is the same for all pods, and found once.
struct Common {
    /// The pod that all others wait for, where they come and go one after the other.
    first: Option<Arc<str>>,
    /// How many ordinals are down. Units: pods.
    n_down: u32,
}

impl Common {
    /// The pod that this one waits for.
    fn before(&self, row: &Row<'_>) -> Option<&Arc<str>> {
        self.first.as_ref().filter(|first| **first != row.pod.name)
    }
}

impl Turn<'_, '_> {
    /// A reason for every pod that is not at the target, or there and not available. Source: design.md L3.
    pub(super) fn explain(&mut self, numbers: Result<&Numbers, &Invalid>, list: &[usize]) {
        let rows = self.rows;
        let mut is_condemned = vec![false; rows.all.len()];
        for i in &rows.condemned {
            if let Some(flag) = is_condemned.get_mut(*i) {
                *flag = true;
            }
        }
        let mut is_listed = vec![false; rows.all.len()];
        for (i, _) in list.iter().filter_map(|rank| rows.pod_of(*rank)) {
            if let Some(flag) = is_listed.get_mut(i) {
                *flag = true;
            }
        }
        let common = Common {
            first: self.in_the_way(),
            n_down: self.n_down(),
        };
        let mut waiting = Vec::new();
        for (i, row) in rows.all.iter().enumerate() {
            let flag = |flags: &[bool]| flags.get(i).copied().unwrap_or_default();
            if row.is_new && row.is_up() && !row.is_specified && !flag(&is_condemned) {
                continue;
            }
            let reason = match numbers {
                Err(invalid) => Reason::Invalid {
                    field: invalid.field.clone(),
                },
                Ok(numbers) if flag(&is_condemned) => self.why_condemned(i, row, numbers, &common),
                Ok(numbers) => self.reason(i, row, numbers, flag(&is_listed), &common),
            };
            waiting.push(Waiting {
                pod: Some((Arc::clone(&row.pod.name), row.pod.uid)),
                node: row.pod.node,
                reason,
            });
        }
        self.plan.waiting = waiting;
    }

    /// The pod that all others wait for, where they come and go one after the other.
    fn in_the_way(&self) -> Option<Arc<str>> {
        let rows = self.rows;
        if self.snapshot.set.is_parallel {
            return None;
        }
        let mut slots = rows.slots.iter().enumerate();
        let down = slots.find(|(rank, _)| rows.pod_of(*rank).is_none_or(|(_, row)| !row.is_up()));
        let name = |ordinal| super::identity::pod_name(&self.snapshot.set.name, ordinal).into();
        match down {
            Some((_, slot)) => Some(name(slot.ordinal)),
            None => Some(name(rows.all.get(*rows.condemned.first()?)?.ordinal)),
        }
    }

    /// How many ordinals are down, or are taken down now, or may be when the arbiter has answered.
    pub(super) fn n_down(&self) -> u32 {
        let ranks = 0..self.rows.slots.len();
        let down = ranks.filter(|rank| match self.rows.pod_of(*rank) {
            Some((i, row)) => !row.is_up() || self.is_taken(i) || self.is_asked(i),
            None => true,
        });
        u32::try_from(down.count()).unwrap_or(u32::MAX)
    }

    fn before_all(&self, i: usize, row: &Row<'_>) -> Option<Reason> {
        if self.snapshot.set.deleted_at.is_some() {
            return Some(Reason::WorkloadTerminating);
        }
        if row.is_terminating {
            return Some(Reason::Terminating {
                since: row.pod.deleted_at,
            });
        }
        if let Some((_, why)) = self.impossible.iter().find(|(at, _)| *at == i) {
            return Some(Reason::NotInPlace { why: why.clone() });
        }
        let question = Reason::Protected {
            by: ProtectedBy::Question,
        };
        if self.is_asked(i) {
            return Some(question);
        }
        self.is_taken(i).then_some(Reason::Updating)
    }

    fn why_condemned(&self, i: usize, row: &Row<'_>, numbers: &Numbers, common: &Common) -> Reason {
        if let Some(reason) = self.before_all(i, row) {
            return reason;
        }
        let cause = numbers.shield.cause(row.guard);
        if let Some(by) = cause.filter(|_| self.keeps_condemned(row, numbers)) {
            return Reason::Protected { by };
        }
        match common.before(row) {
            Some(first) => Reason::Ordinal {
                pod: Arc::clone(first),
            },
            None if row.state == State::PreparingDelete => Reason::Hook {
                state: row.state.as_str(),
            },
            None => self.why_not_available(row),
        }
    }

    fn reason(&self, i: usize, row: &Row<'_>, numbers: &Numbers, is_listed: bool, common: &Common) -> Reason {
        if let Some(reason) = self.before_all(i, row) {
            return reason;
        }
        if row.is_specified {
            let cause = numbers.shield.cause(row.guard);
            return cause.map_or(Reason::DeleteLimit, |by| Reason::Protected { by });
        }
        let is_held = matches!(
            row.state,
            State::PreparingUpdate | State::Updated | State::PreparingDelete
        );
        if is_held {
            return Reason::Hook {
                state: row.state.as_str(),
            };
        }
        if let Some(reason) = self.why_in_the_way(i, row, numbers, common) {
            return reason;
        }
        if row.is_new {
            return self.why_not_available(row);
        }
        self.why_not_new(row, numbers, is_listed, common)
    }

    /// Is it what all others wait for, and is that not waited for much longer? Source: statefulset.md 15.1 row 8.
    fn why_in_the_way(&self, i: usize, row: &Row<'_>, numbers: &Numbers, common: &Common) -> Option<Reason> {
        common.first.as_ref().filter(|first| **first == row.pod.name)?;
        let mut slots = self.rows.slots.iter();
        let rank = slots.position(|slot| slot.place == Place::Pod(i))?;
        let (revision, until) = self.replacement(rank, row, numbers)?;
        (until > self.snapshot.now).then_some(Reason::InTheWay { until, revision })
    }

    fn why_not_available(&self, row: &Row<'_>) -> Reason {
        let snapshot = self.snapshot;
        if self.claims.is_growing(row.ordinal) && row.is_available() {
            return Reason::VolumeClaim {
                pending: "it grows to the size of its template".to_owned(),
            };
        }
        why_not_available(&Unavailable {
            pod: row.pod,
            state: row.state,
            is_ready: row.is_ready,
            is_settled: row.is_settled,
            min_ready_seconds: snapshot.set.min_ready_seconds(),
            features: snapshot.features.in_place,
            now: snapshot.now,
        })
    }

    fn why_not_new(&self, row: &Row<'_>, numbers: &Numbers, is_listed: bool, common: &Common) -> Reason {
        let set = self.snapshot.set;
        if set.update == UpdateType::OnDelete {
            return Reason::OnDelete;
        }
        if set.is_paused() {
            return Reason::Paused;
        }
        if let Some(by) = numbers.shield.cause(row.guard) {
            return Reason::Protected { by };
        }
        if !self.may_update(row) {
            return Reason::WaitingForOwner;
        }
        if !is_listed {
            return Reason::Partition {
                keeps: numbers.shield.keeps,
            };
        }
        if let Some(first) = common.before(row) {
            return Reason::Ordinal {
                pod: Arc::clone(first),
            };
        }
        Reason::MaxUnavailable {
            used: common.n_down,
            limit: numbers.max_unavailable,
        }
    }
}
