//! Why each pod that is not at the target waits.

use std::sync::Arc;

use pitstop_api::view::{Phase, StrategyType};

use super::{Spot, Turn, after};
use crate::availability::available_at;
use crate::daemonset::board::{Going, Row};
use crate::plan::{Reason, Waiting};

/// A reason for every pod, and every node without its pod, that is not at the target.
pub(super) fn waiting(turn: &Turn<'_, '_>) -> Vec<Waiting> {
    let n_slots = turn.snapshot.nodes.names.len();
    let going = Going::new(n_slots, turn.deletes.iter().map(|(row, _)| row));
    let mut waiting = Vec::new();
    for spot in &turn.spots {
        let mut rows = turn.board.on(spot.node.slot).peekable();
        if rows.peek().is_none() {
            if spot.eligible.should_run {
                waiting.push(Waiting {
                    pod: None,
                    node: Some(spot.node.slot),
                    reason: Reason::WaitingForPod,
                });
            }
            continue;
        }
        let n_live = rows.clone().filter(|row| !row.is_terminating).count();
        for row in rows {
            let goes = going.has(spot.node.slot, row.pod);
            if let Some(reason) = reason_of(turn, spot, row, goes, n_live) {
                let pod = Some((Arc::clone(&row.pod.name), row.pod.uid));
                waiting.push(Waiting {
                    pod,
                    node: Some(spot.node.slot),
                    reason,
                });
            }
        }
    }
    waiting
}

fn reason_of(
    turn: &Turn<'_, '_>,
    spot: &Spot<'_>,
    row: &Row<'_>,
    goes: bool,
    n_live: usize,
) -> Option<Reason> {
    if goes {
        return Some(Reason::Updating);
    }
    if row.is_terminating {
        return Some(if spot.node.is_ready() {
            Reason::Terminating {
                since: row.pod.deleted_at,
            }
        } else {
            Reason::NodeNotReady {
                since: spot.node.ready_changed_at(),
            }
        });
    }
    if row.pod.phase == Phase::Failed {
        let before = turn.back_off(spot.node.slot)?;
        return Some(Reason::BackOff {
            until: after(before.at, before.delay_seconds),
        });
    }
    if row.is_new {
        return not_available(turn, spot, row);
    }
    let strategy = &turn.snapshot.daemonset.strategy;
    Some(match (&strategy.kind, turn.budget) {
        (StrategyType::OnDelete, _) => Reason::OnDelete,
        (StrategyType::Other(_), _) => Reason::Invalid {
            field: "spec.updateStrategy.type".into(),
        },
        (StrategyType::RollingUpdate, Err(field)) => Reason::Invalid { field: field.into() },
        (StrategyType::RollingUpdate, Ok(budget)) if budget.max_surge > 0 => {
            if n_live > 1 || turn.creates.contains(&spot.node.slot) {
                Reason::WaitingForSurge
            } else {
                Reason::MaxSurge {
                    used: turn.surged,
                    limit: budget.max_surge,
                }
            }
        }
        (StrategyType::RollingUpdate, Ok(_)) if n_live > 1 => Reason::DuplicatePods,
        (StrategyType::RollingUpdate, Ok(budget)) => Reason::MaxUnavailable {
            used: turn.unavailable.max(pending(turn)),
            limit: budget.max_unavailable,
        },
    })
}

/// Pods that this very plan takes down count as used, so that a person sees why the next one waits.
fn pending(turn: &Turn<'_, '_>) -> u32 {
    let deletes = u32::try_from(turn.deletes.len()).unwrap_or(u32::MAX);
    let limit = turn.budget.map_or(0, |budget| budget.max_unavailable);
    turn.unavailable.saturating_add(deletes).min(limit)
}

/// Why a pod at the target does not serve yet; `None` when it does.
fn not_available(turn: &Turn<'_, '_>, spot: &Spot<'_>, row: &Row<'_>) -> Option<Reason> {
    if row.is_available {
        return None;
    }
    if !spot.node.is_ready() {
        return Some(Reason::NodeNotReady {
            since: spot.node.ready_changed_at(),
        });
    }
    let min_ready = turn.snapshot.daemonset.min_ready_seconds;
    Some(match available_at(row.pod, min_ready) {
        Some(until) => Reason::MinReadySeconds { until },
        None => Reason::NotReady {
            trouble: row.pod.trouble.clone(),
            since: row.pod.ready.and_then(|ready| ready.since),
        },
    })
}
