//! Every node that should run a pod gets one, and none that should not keeps one.
//!
//! Source: daemonset.md A7, A8.

use std::borrow::Cow;
use std::rc::Rc;

use jiff::SignedDuration;
use pitstop_api::reasons;
use pitstop_api::view::{NodeSlot, NodeView, Phase};

use super::{Spot, Turn};
use crate::availability::later;
use crate::daemonset::board::Row;
use crate::plan::{DeleteReason, Event};
use crate::snapshot::{FailedPods, Snapshot};

/// First delay before a failed pod is replaced again. Units: seconds. Source: daemonset.md A8.
const FIRST_BACK_OFF: u32 = 1;
/// Longest delay before a failed pod is replaced again. Units: seconds. Source: daemonset.md A8.
const LONGEST_BACK_OFF: u32 = 900;

/// A back-off that was idle for this long is forgotten. Units: seconds. Source: daemonset.md A8.
const BACK_OFF_KEPT: SignedDuration = SignedDuration::from_secs(1800);

/// What is known of failed pods, by node: of the observed generation, since a new one starts afresh, and not idle for
/// long.
pub(super) fn failed_before(snapshot: &Snapshot<'_>) -> Vec<FailedPods> {
    let generation = snapshot.daemonset.status.observed_generation;
    let counts = |failed: &FailedPods| {
        failed.generation == generation && snapshot.now.duration_since(failed.at) < BACK_OFF_KEPT
    };
    let known = snapshot.failed_pods.iter().copied();
    let mut known: Vec<FailedPods> = known.filter(counts).collect();
    known.sort_by_key(|failed| failed.node);
    known
}

impl<'s, 'a: 's> Turn<'s, 'a> {
    pub(super) fn manage(&mut self) {
        let spots = Rc::clone(&self.spots);
        for spot in spots.iter() {
            self.manage_node(*spot);
        }
        let off_nodes = self.board.off_nodes(&self.snapshot.nodes);
        let meant_for_no_node = off_nodes.filter(|row| !row.pod.bound && !row.is_terminating);
        self.deletes
            .extend(meant_for_no_node.map(|row| (*row, DeleteReason::NodeGone)));
        self.limit_creations();
        self.hold();
        self.cut_short();
    }

    fn manage_node(&mut self, spot: Spot<'a>) {
        let slot = spot.slot;
        let first_two = {
            let mut rows = self.board.on(slot).copied();
            (rows.next(), rows.next())
        };
        match first_two {
            (None, _) => {
                let is_created = self.board.created_on(slot).next().is_some();
                if spot.eligible.should_run && !is_created {
                    self.creates.push(slot);
                }
            }
            // Under surge a pod that is on its way out does not keep its successor waiting.
            (Some(only), None)
                if spot.eligible.should_continue
                    && runs(&only)
                    && !only.is_leaving
                    && !(only.is_terminating && self.surge() > 0) => {}
            _ => self.manage_pods(spot),
        }
    }

    fn manage_pods(&mut self, spot: Spot<'a>) {
        let slot = spot.slot;
        let rows = self.board.on(slot).copied();
        let live: Vec<Row<'s>> = rows.filter(|row| !row.is_terminating).collect();
        if !spot.eligible.should_continue {
            self.deletes
                .extend(live.into_iter().map(|row| (row, DeleteReason::NodeNotEligible)));
            return;
        }
        // One that was prepared for its deletion goes as soon as its hook lets it, whatever the reason was.
        let (leaving, live): (Vec<_>, Vec<_>) = live.into_iter().partition(|row| row.is_leaving);
        self.deletes
            .extend(leaving.into_iter().map(|row| (row, DeleteReason::Prepared)));
        let (running, ended): (Vec<_>, Vec<_>) = live.into_iter().partition(runs);
        let has_ended = !ended.is_empty();
        for row in ended {
            if row.pod.phase == Phase::Failed {
                self.replace_failed(spot.node, row);
            } else {
                self.replace_succeeded(spot.node, row);
            }
        }
        if self.surge() == 0 {
            let surplus = running.into_iter().skip(1);
            self.deletes
                .extend(surplus.map(|row| (row, DeleteReason::Duplicate)));
        } else if running.is_empty() {
            // One that failed goes first: to create beside it would get around its back-off.
            let is_created = self.board.created_on(slot).next().is_some();
            if spot.eligible.should_run && !has_ended && !is_created {
                self.creates.push(slot);
            }
        } else {
            self.settle_surge(&running);
        }
    }

    /// Of the pods on a node under surge, the oldest new and the oldest old one stay; the old one goes when it does not
    /// serve, or when the new one does.
    fn settle_surge(&mut self, running: &[Row<'s>]) {
        let new = running.iter().find(|row| row.is_new).copied();
        let old = running.iter().find(|row| !row.is_new).copied();
        for row in running {
            let mut kept = [new, old].into_iter().flatten();
            if !kept.any(|kept| kept.pod.uid == row.pod.uid) {
                self.deletes.push((*row, DeleteReason::Duplicate));
            }
        }
        let (Some(new), Some(old)) = (new, old) else {
            return;
        };
        if !old.pod.is_ready() {
            self.deletes.push((old, DeleteReason::OutdatedAndUnavailable));
        } else if new.serves() {
            self.deletes.push((old, DeleteReason::Surged));
        }
    }

    /// What is known of failed pods on a node.
    pub(super) fn failed_on(&self, slot: NodeSlot) -> Option<&FailedPods> {
        let beyond = self.failed_before.partition_point(|f| f.node <= slot);
        let last = self.failed_before.get(beyond.checked_sub(1)?)?;
        (last.node == slot).then_some(last)
    }

    /// What to remember of failed pods: what this decision noted, and of what was known the rest.
    pub(super) fn remembered(&self) -> Vec<FailedPods> {
        let mut noted: Vec<NodeSlot> = self.failed_pods.iter().map(|failed| failed.node).collect();
        noted.sort_unstable();
        let is_rest = |failed: &&FailedPods| noted.binary_search(&failed.node).is_err();
        let rest = self.failed_before.iter().filter(is_rest);
        rest.chain(&self.failed_pods).copied().collect()
    }

    /// A failed pod is deleted unless one was deleted on this node too recently. Source: daemonset.md A8.
    fn replace_failed(&mut self, node: &NodeView, row: Row<'s>) {
        if self.deletes.len() >= self.burst {
            self.is_cut_short = true;
            return;
        }
        let now = self.snapshot.now;
        let before = self.failed_on(node.slot).copied();
        let until = before.map(|before| later(before.at, before.delay_seconds.into()));
        if let Some(until) = until.filter(|until| now < *until) {
            self.wake(until);
            return;
        }
        let delay = before.map_or(FIRST_BACK_OFF, |b| b.delay_seconds.saturating_mul(2));
        self.failed_pods.push(FailedPods {
            node: node.slot,
            generation: self.snapshot.daemonset.status.observed_generation,
            delay_seconds: delay.clamp(FIRST_BACK_OFF, LONGEST_BACK_OFF),
            at: now,
        });
        let text = format!(
            "Found failed daemon pod {}/{} on node {}, will try to kill it",
            row.pod.namespace, row.pod.name, node.name
        );
        self.tell(true, reasons::FAILED_DAEMON_POD, text);
        self.deletes.push((row, DeleteReason::Failed));
    }

    fn replace_succeeded(&mut self, node: &NodeView, row: Row<'s>) {
        if self.deletes.len() >= self.burst {
            self.is_cut_short = true;
            return;
        }
        let text = format!(
            "Found succeeded daemon pod {}/{} on node {}, will try to delete it",
            row.pod.namespace, row.pod.name, node.name
        );
        self.tell(false, reasons::SUCCEEDED_DAEMON_POD, text);
        self.deletes.push((row, DeleteReason::Succeeded));
    }

    fn tell(&mut self, is_warning: bool, reason: &'static str, message: String) {
        self.events.push(Event {
            is_warning,
            reason,
            message: Cow::Owned(message),
            once_per: None,
        });
    }
}

/// Has it not come to its end?
fn runs(row: &Row<'_>) -> bool {
    !row.is_terminal
}
