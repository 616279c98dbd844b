//! Why each pod of a CloneSet is not at the target.

use std::borrow::Cow;
use std::sync::Arc;

use pitstop_api::view::UpdateType;

use super::numbers::Numbers;
use super::rows::Row;
use super::{Touch, Turn};
use crate::instances::waiting::{Unavailable, why_not_available};
use crate::lifecycle::State;
use crate::plan::{Reason, Waiting};

impl Turn<'_, '_> {
    /// A reason for every pod that is not at the target, or there and not available. Source: design.md L3; inplace.md 13.13.
    pub(super) fn explain(&mut self, numbers: Option<&Numbers>, invalid: Option<&Cow<'static, str>>) {
        let why_not_new = self.why_not_new(numbers);
        let asks_owners = super::is_ota(self.snapshot.cloneset) && !self.snapshot.cloneset.is_paused();
        let mut waiting = Vec::new();
        for (i, row) in self.rows.active.iter().enumerate() {
            if row.is_new && row.is_available && !row.is_specified {
                continue;
            }
            let reason = match invalid {
                Some(field) => Reason::Invalid { field: field.clone() },
                None if asks_owners && !row.is_requested => self.reason(i, row, &Reason::WaitingForOwner),
                None => self.reason(i, row, &why_not_new),
            };
            waiting.push(Waiting {
                pod: Some((Arc::clone(&row.pod.name), row.pod.uid)),
                node: row.pod.node,
                reason,
            });
        }
        self.plan.waiting = waiting;
    }

    fn reason(&self, i: usize, row: &Row<'_>, why_not_new: &Reason) -> Reason {
        if self.snapshot.cloneset.deleted_at.is_some() {
            return Reason::WorkloadTerminating;
        }
        if let Some(refused) = self.put_off.get(&i) {
            return Reason::Refused {
                message: Arc::clone(&refused.message),
                until: refused.until,
            };
        }
        if let Some((_, why)) = self.impossible.iter().find(|(at, _)| *at == i) {
            return Reason::NotInPlace { why: why.clone() };
        }
        let is_touched = matches!(self.touched.get(i), Some(Touch::Updated | Touch::Deleted));
        if is_touched || row.is_specified {
            let replaced = self
                .why_replaced(row)
                .map(|why| Reason::Replacing { why: why.to_string() });
            let plain = if is_touched {
                Reason::Updating
            } else {
                Reason::DeleteLimit
            };
            return replaced.unwrap_or(plain);
        }
        match row.state {
            State::PreparingUpdate | State::Updated | State::PreparingDelete => {
                return Reason::Hook {
                    state: row.state.as_str(),
                };
            }
            _ => {}
        }
        if row.is_new {
            let node = row.pod.node.and_then(|slot| self.snapshot.nodes.get(slot));
            if let Some(node) = node.filter(|node| !node.is_ready()) {
                return Reason::NodeNotReady {
                    since: node.ready_changed_at(),
                    costs_budget: true,
                };
            }
            return why_not_available(&Unavailable {
                pod: row.pod,
                state: row.state,
                is_ready: row.is_ready,
                is_settled: row.is_settled,
                min_ready_seconds: self.snapshot.cloneset.min_ready_seconds,
                features: self.snapshot.features.in_place,
                now: self.snapshot.now,
            });
        }
        why_not_new.clone()
    }

    /// Why outdated pods that nothing else holds wait: the same for all of them.
    fn why_not_new(&self, numbers: Option<&Numbers>) -> Reason {
        let cloneset = self.snapshot.cloneset;
        if cloneset.update.kind == UpdateType::OnDelete {
            return Reason::OnDelete;
        }
        if cloneset.is_paused() {
            return Reason::Paused;
        }
        let Some(numbers) = numbers else {
            return Reason::NotObserved;
        };
        if numbers.update.update == 0 {
            return Reason::Partition {
                keeps: numbers.partition,
            };
        }
        let taken = |i: usize| matches!(self.touched.get(i), Some(Touch::Updated | Touch::Deleted));
        let rows = self.rows.active.iter().enumerate();
        let down = rows.filter(|(i, row)| !row.is_available || taken(*i)).count();
        let replicas = usize::try_from(numbers.wanted.replicas).unwrap_or(usize::MAX);
        let missing = replicas.saturating_sub(self.rows.active.len());
        Reason::MaxUnavailable {
            used: u32::try_from(down.saturating_add(missing)).unwrap_or(u32::MAX),
            limit: numbers.wanted.max_unavailable,
        }
    }
}
