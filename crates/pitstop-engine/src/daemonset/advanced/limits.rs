//! Which of the outdated pods go now: what the partition keeps, what the node pools allow, what the budget allows.
//!
//! Source: daemonset.md C5.5; spec/README.md, `partition` and `max-unavailable-per-pool`.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::view::{NodeView, PodView, Uid};
use pitstop_api::{IntOrPercent, keys};

use super::{Tally, count};
use crate::budget::{self, Room};
use crate::daemonset::board::Row;
use crate::daemonset::earlier;
use crate::plan::{DeleteReason, Reason};

/// What is down in one node pool.
#[derive(Debug, Clone, Copy, Default)]
struct Pool {
    /// Its nodes that count.
    n_nodes: u32,
    /// Unavailable pods there, without the settling ones.
    unavailable: u32,
    /// Pods there that count as unavailable and may be taken down all the same.
    settling: u32,
}

/// The pools, where they are limited. Nodes without the label are in none, and have no limit beside the common one.
#[derive(Debug, Default)]
pub(super) struct Pools<'a> {
    limit: Option<IntOrPercent>,
    by_name: BTreeMap<&'a str, Pool>,
}

impl<'a> Pools<'a> {
    pub(super) fn new(limit: Option<IntOrPercent>) -> Self {
        Self {
            limit,
            by_name: BTreeMap::new(),
        }
    }

    /// The pool of a node.
    fn name(&self, node: &'a NodeView) -> Option<&'a str> {
        self.limit?;
        node.labels.get(keys::OPENYURT_NODEPOOL).map(String::as_str)
    }

    fn of(&mut self, node: &'a NodeView) -> Option<&mut Pool> {
        let name = self.name(node)?;
        Some(self.by_name.entry(name).or_default())
    }

    pub(super) fn add_node(&mut self, node: &'a NodeView) {
        if let Some(pool) = self.of(node) {
            pool.n_nodes = pool.n_nodes.saturating_add(1);
        }
    }

    pub(super) fn add_unavailable(&mut self, node: &'a NodeView) {
        if let Some(pool) = self.of(node) {
            pool.unavailable = pool.unavailable.saturating_add(1);
        }
    }

    pub(super) fn add_settling(&mut self, node: &'a NodeView) {
        if let Some(pool) = self.of(node) {
            pool.settling = pool.settling.saturating_add(1);
        }
    }

    /// A settling pod there stays where it is: it counts like any other that is down.
    fn keep_settling(&mut self, node: &'a NodeView) {
        if let Some(pool) = self.of(node) {
            pool.settling = pool.settling.saturating_sub(1);
            pool.unavailable = pool.unavailable.saturating_add(1);
        }
    }

    fn rooms(&self) -> BTreeMap<&'a str, (Room, u32, u32)> {
        let room = |pool: &Pool| {
            let limit = self.limit.map_or(u32::MAX, |limit| limit.scaled_up(pool.n_nodes));
            let used = pool.unavailable.saturating_add(pool.settling);
            (budget::room(limit, pool.unavailable, pool.settling), used, limit)
        };
        self.by_name
            .iter()
            .map(|(name, pool)| (*name, room(pool)))
            .collect()
    }
}

/// What goes, and what keeps others of those that could.
#[derive(Debug, Default)]
pub(super) struct Picked<'s> {
    pub(super) deletes: Vec<(Row<'s>, DeleteReason)>,
    /// Available pods that go: each counts as down from now on.
    pub(super) n_taken_down: u32,
    /// By uid: what keeps a pod, where it is not the common budget.
    pub(super) kept: BTreeMap<Uid, Reason>,
}

impl<'s> Tally<'s> {
    /// Takes out what the partition keeps: in the order in which pods would go, the last ones stay. Pods on nodes that are
    /// passed over, or held back, are among those that stay. Returns who is kept.
    ///
    /// What could be gone already is first in line, so that never more than allowed are. A pod that serves nobody is never
    /// kept: its replacement costs nothing, and after a rollback such pods may be the only outdated ones.
    pub(super) fn keep(&mut self, partition: u32) -> BTreeMap<Uid, Reason> {
        let mut n_go = usize::try_from(self.old.saturating_sub(partition)).unwrap_or(usize::MAX);
        let mut kept = Vec::new();
        let cut = |n_go: &mut usize, rows: &mut Vec<Row<'s>>| {
            let rest = rows.split_off((*n_go).min(rows.len()));
            *n_go = n_go.saturating_sub(rows.len());
            rest
        };
        let in_doubt = cut(&mut n_go, &mut self.in_doubt);
        n_go = n_go.saturating_sub(self.broken.len());
        let settling = cut(&mut n_go, &mut self.settling);
        kept.extend(cut(&mut n_go, &mut self.candidates));
        for row in in_doubt.into_iter().chain(settling) {
            self.keep_settling(&row);
            kept.push(row);
        }
        let reason = Reason::Partition { keeps: partition };
        kept.iter().map(|row| (row.pod.uid, reason.clone())).collect()
    }

    /// A settling pod that stays where it is counts like any other that is down.
    pub(super) fn keep_settling(&mut self, row: &Row<'s>) {
        self.unavailable = self.unavailable.saturating_add(1);
        if let Some(node) = self.node_of(row) {
            self.pools.keep_settling(node);
        }
    }

    /// Takes out the pods that run and have to wait, each with its reason where that is not the budget, and until when.
    pub(super) fn wait_for(
        &mut self,
        kept: &mut BTreeMap<Uid, Reason>,
        mut waits: impl FnMut(&PodView) -> Option<(Option<Reason>, Option<Timestamp>)>,
    ) {
        let (settling, candidates) = (mem::take(&mut self.settling), mem::take(&mut self.candidates));
        let settling = settling.into_iter().map(|row| (row, true));
        for (row, is_down) in settling.chain(candidates.into_iter().map(|row| (row, false))) {
            let Some((reason, until)) = waits(row.pod) else {
                let rows = if is_down {
                    &mut self.settling
                } else {
                    &mut self.candidates
                };
                rows.push(row);
                continue;
            };
            kept.extend(reason.map(|reason| (row.pod.uid, reason)));
            self.wake_at = earlier(self.wake_at, until);
            self.n_pulling = self.n_pulling.saturating_add(1);
            if is_down {
                self.keep_settling(&row);
            }
        }
    }

    /// Which pods go, when so many may be unavailable.
    pub(super) fn pick(self, limit: u32) -> Picked<'s> {
        let mut room = budget::room(limit, self.unavailable, self.n_settling());
        let mut pools = self.pools.rooms();
        let mut picked = Picked::default();
        let broken = self.broken.iter();
        picked
            .deletes
            .extend(broken.map(|row| (*row, DeleteReason::OutdatedAndUnavailable)));
        let free = self.free.iter();
        picked
            .deletes
            .extend(free.map(|row| (*row, DeleteReason::Outdated)));
        let settling = self.in_doubt.iter().chain(&self.settling).map(|row| (row, true));
        let candidates = self.candidates.iter().map(|row| (row, false));
        for (row, is_down) in settling.chain(candidates) {
            let name = self.node_of(row).and_then(|node| self.pools.name(node));
            let mut pool = name.and_then(|name| pools.get_mut(name));
            let place = |room: &mut Room| {
                let place = if is_down {
                    &mut room.settling
                } else {
                    &mut room.available
                };
                place.checked_sub(1).map(|rest| *place = rest).is_some()
            };
            if let Some((full, used, limit)) = pool.as_mut()
                && !place(&mut full.clone())
            {
                let reason = Reason::PoolMaxUnavailable {
                    pool: Arc::from(name.unwrap_or_default()),
                    used: *used,
                    limit: *limit,
                };
                picked.kept.insert(row.pod.uid, reason);
                continue;
            }
            if !place(&mut room) {
                continue;
            }
            if let Some((room, used, _)) = pool {
                place(room);
                *used = used.saturating_add(u32::from(!is_down));
            }
            picked.n_taken_down = picked.n_taken_down.saturating_add(u32::from(!is_down));
            picked.deletes.push((*row, DeleteReason::Outdated));
        }
        picked
    }

    fn node_of(&self, row: &Row<'s>) -> Option<&'s NodeView> {
        self.nodes?.get(row.pod.node?)
    }

    /// How many may be taken down although they count as down already.
    pub(super) fn n_settling(&self) -> u32 {
        count(self.in_doubt.iter().chain(&self.settling))
    }
}
