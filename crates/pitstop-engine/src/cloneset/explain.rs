//! Why each pod of a CloneSet is not at the target.

use std::borrow::Cow;
use std::sync::Arc;

use pitstop_api::view::CloneSetUpdateType;

use super::numbers::Numbers;
use super::rows::Row;
use super::{Touch, Turn};
use crate::availability::available_at;
use crate::inplace::state::{GraceState, UpdateState};
use crate::inplace::{Completion, completion};
use crate::lifecycle::State;
use crate::plan::{Reason, Waiting};

impl Turn<'_, '_> {
    /// A reason for every pod that is not at the target, or there and not available. Source: design.md L3; inplace.md 13.13.
    pub(super) fn explain(&mut self, numbers: Option<&Numbers>, invalid: Option<&Cow<'static, str>>) {
        let why_not_new = self.why_not_new(numbers);
        let mut waiting = Vec::new();
        for (i, row) in self.rows.active.iter().enumerate() {
            if row.is_new && row.is_available && !row.is_specified {
                continue;
            }
            let reason = match invalid {
                Some(field) => Reason::Invalid { field: field.clone() },
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
        if let Some((_, why)) = self.impossible.iter().find(|(at, _)| *at == i) {
            return Reason::NotInPlace { why: why.clone() };
        }
        if matches!(self.touched.get(i), Some(Touch::Updated | Touch::Deleted)) {
            return Reason::Updating;
        }
        if row.is_specified {
            return Reason::DeleteLimit;
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
            return self.why_not_available(row);
        }
        why_not_new.clone()
    }

    fn why_not_available(&self, row: &Row<'_>) -> Reason {
        let (now, features) = (self.snapshot.now, self.snapshot.features.in_place);
        if let Some(live) = row.live {
            if let Ok(Some(grace)) = GraceState::of(live.view) {
                let state = UpdateState::of(live.view).ok().flatten();
                let until = state.and_then(|state| grace.ends_at(&state));
                return Reason::GracePeriod { until };
            }
            if row.state == State::Updating
                && let Completion::Waiting { why, .. } = completion(live, features, now)
            {
                return Reason::InPlace {
                    pending: why.to_string(),
                };
            }
        }
        let seconds = self.snapshot.cloneset.min_ready_seconds;
        match available_at(row.pod, seconds) {
            Some(until) if row.is_ready && !row.is_settled => Reason::MinReadySeconds { until },
            _ if row.is_settled => Reason::Hook {
                state: row.state.as_str(),
            },
            _ => Reason::NotReady {
                trouble: row.pod.trouble.clone(),
                since: row
                    .pod
                    .ready
                    .filter(|ready| !ready.is_true)
                    .and_then(|ready| ready.since),
            },
        }
    }

    /// Why outdated pods that nothing else holds wait: the same for all of them.
    fn why_not_new(&self, numbers: Option<&Numbers>) -> Reason {
        let cloneset = self.snapshot.cloneset;
        if cloneset.update.kind == CloneSetUpdateType::OnDelete {
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
        Reason::MaxUnavailable {
            used: u32::try_from(down).unwrap_or(u32::MAX),
            limit: numbers.wanted.max_unavailable,
        }
    }
}
