//! Pods by node, in the order in which rules look at them.

use pitstop_api::view::{NodeSlot, PodCondition, PodView, Uid};

use crate::availability::is_available;
use crate::lifecycle::State;
use crate::shared_labels::OncePerSet;
use crate::snapshot::{CreatedPod, Nodes, Snapshot};

/// A pod as a decision sees it: what the store shows, and what we did to it since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    /// The pod.
    pub(super) pod: &'a PodView,
    /// Is it on its way out, also when only we know?
    pub(super) is_terminating: bool,
    /// Is it at the target revision?
    pub(super) is_new: bool,
    /// Is it available, as far as the store shows? One whose update in place is under way is not.
    pub(super) is_available: bool,
    /// Was its DELETE or a PATCH of it sent and not answered? Then it may be gone, or out of service.
    pub(super) is_in_doubt: bool,
    /// Has it come to its end?
    pub(super) is_terminal: bool,
    /// Is it prepared for its deletion, which a hook holds? Only pods of `apps.kruise.io` are. Source: daemonset.md D2.
    pub(super) is_leaving: bool,
}

impl Row<'_> {
    /// Does it serve for sure? One that may be gone does not, whatever the store shows. Upholds S1.
    pub(super) fn serves(&self) -> bool {
        self.is_available && !self.is_in_doubt
    }
}

/// Rows by node slot. Each pod is looked at once, here: later passes over 100,000 of them read rows only.
#[derive(Debug)]
pub(super) struct Board<'a> {
    rows: Vec<Row<'a>>,
    /// `rows[starts[slot]..starts[slot + 1]]` are on that node.
    starts: Vec<u32>,
    n_slots: usize,
    /// Pods that we created and the store does not show, by slot.
    created: Vec<(NodeSlot, &'a CreatedPod)>,
    /// Slots for which a pod was posted without an answer, ascending.
    maybe_created: Vec<NodeSlot>,
}

impl<'a> Board<'a> {
    /// Sorts pods to their nodes. Pods that are done and terminating are left out: one that a finalizer holds must not
    /// keep its node from getting another. Source: daemonset.md A7.
    pub(super) fn new(
        snapshot: &'a Snapshot<'_>,
        pods: impl Iterator<Item = &'a PodView>,
        is_new: impl Fn(&PodView) -> bool,
    ) -> Self {
        let (n_slots, in_flight) = (snapshot.nodes.names.len(), &snapshot.in_flight);
        let min_ready = snapshot.daemonset.min_ready_seconds;
        let has_hooks = snapshot.daemonset.advanced.is_some();
        let mut deleted: Vec<Uid> = in_flight.deleted.iter().map(|d| d.uid).collect();
        deleted.sort_unstable();
        let mut in_doubt = in_flight.maybe_deleted.clone();
        in_doubt.extend(&in_flight.maybe_patched);
        in_doubt.sort_unstable();
        let has = |uids: &[Uid], uid: Uid| !uids.is_empty() && uids.binary_search(&uid).is_ok();
        let mut known = OncePerSet::default();
        let judged = pods.filter_map(|pod| {
            let slot = pod.node.filter(|slot| slot.index() < n_slots)?;
            let is_new = known.of(&pod.labels, || is_new(pod));
            let row = Row {
                pod,
                is_terminating: pod.is_terminating() || has(&deleted, pod.uid),
                is_in_doubt: has(&in_doubt, pod.uid),
                is_new,
                is_available: is_available(pod, min_ready, snapshot.now) && !is_out_of_service(pod),
                is_terminal: pod.is_terminal(),
                is_leaving: has_hooks && State::of(pod) == State::PreparingDelete,
            };
            Some((slot, row))
        });
        let (rows, starts) = by_slot(judged.collect(), n_slots);
        let mut maybe_created = in_flight.maybe_created.clone();
        maybe_created.sort_unstable();
        let mut board = Self {
            rows,
            starts,
            n_slots,
            created: unseen(snapshot),
            maybe_created,
        };
        board.sort_shared_nodes();
        board
    }

    /// On one node: bound pods first, then by age, then by name; one that may be gone is last, so that of two the same
    /// one goes again. Source: daemonset.md A7.
    fn sort_shared_nodes(&mut self) {
        for slot in 0..self.n_slots {
            let (Some(from), Some(to)) = (self.starts.get(slot), self.starts.get(slot.saturating_add(1)))
            else {
                return;
            };
            let (Ok(from), Ok(to)) = (usize::try_from(*from), usize::try_from(*to)) else {
                return;
            };
            if to.saturating_sub(from) > 1
                && let Some(rows) = self.rows.get_mut(from..to)
            {
                rows.sort_by(|a, b| {
                    let key = |row: &Row<'a>| (row.is_in_doubt, !row.pod.bound, row.pod.created_at);
                    key(a).cmp(&key(b)).then_with(|| a.pod.name.cmp(&b.pod.name))
                });
            }
        }
    }

    /// The pods of a node, the one that speaks for it first.
    pub(super) fn on(&self, slot: NodeSlot) -> impl Iterator<Item = &Row<'a>> + Clone {
        let range = || {
            let from = usize::try_from(*self.starts.get(slot.index())?).ok()?;
            let to = usize::try_from(*self.starts.get(slot.index().saturating_add(1))?).ok()?;
            self.rows.get(from..to)
        };
        let rows = range().unwrap_or_default();
        rows.iter().filter(|row| !(row.is_terminal && row.is_terminating))
    }

    /// Is there exactly one pod on the node, and it serves at the target? This is so almost everywhere, almost always.
    pub(super) fn is_finished(&self, slot: NodeSlot) -> bool {
        let mut rows = self.on(slot);
        let first = rows.next();
        let serves =
            |row: &Row<'_>| row.is_available && !row.is_terminating && !row.is_terminal && !row.is_leaving;
        first.is_some_and(|row| row.is_new && serves(row)) && rows.next().is_none()
    }

    /// The pods on, or meant for, nodes that do not exist.
    pub(super) fn off_nodes(&self, nodes: &Nodes<'_>) -> impl Iterator<Item = &Row<'a>> {
        let slots = (0..u32::try_from(self.n_slots).unwrap_or(u32::MAX)).map(NodeSlot);
        let gone = slots.filter(|slot| nodes.get(*slot).is_none());
        gone.flat_map(|slot| self.on(slot))
    }

    /// The pods that we created on a node and the store does not show yet.
    pub(super) fn created_on(&self, slot: NodeSlot) -> impl Iterator<Item = &'a CreatedPod> + use<'_, 'a> {
        let from = self.created.partition_point(|(s, _)| *s < slot);
        let rest = self.created.get(from..).unwrap_or_default();
        rest.iter()
            .take_while(move |(s, _)| *s == slot)
            .map(|(_, created)| *created)
    }

    /// Was a pod posted for a node without an answer?
    pub(super) fn may_have_created_on(&self, slot: NodeSlot) -> bool {
        !self.maybe_created.is_empty() && self.maybe_created.binary_search(&slot).is_ok()
    }
}

/// Is an update in place under way, whatever condition Ready says? Its kubelet may not have heard of it.
///
/// Source: inplace.md 9.
fn is_out_of_service(pod: &PodView) -> bool {
    let update_ready = pod.in_place.as_ref().and_then(|view| view.update_ready.as_ref());
    update_ready.is_some_and(|condition| !PodCondition::is_true(condition))
}

/// What we created and the stores do not show yet, by slot.
fn unseen<'a>(snapshot: &'a Snapshot<'_>) -> Vec<(NodeSlot, &'a CreatedPod)> {
    let created = &snapshot.in_flight.created;
    if created.is_empty() {
        return Vec::new();
    }
    let mut seen: Vec<Uid> = snapshot.pods.iter().map(|pod| pod.uid).collect();
    seen.sort_unstable();
    let unseen = created
        .iter()
        .filter(|created| seen.binary_search(&created.uid).is_err());
    let mut unseen: Vec<_> = unseen.map(|created| (created.node, created)).collect();
    unseen.sort_unstable_by_key(|(slot, _)| *slot);
    unseen
}

/// Rows in the order of their slots, and where those of each slot start. A counting sort: no comparison, no hashing.
fn by_slot(loose: Vec<(NodeSlot, Row<'_>)>, n_slots: usize) -> (Vec<Row<'_>>, Vec<u32>) {
    let mut starts = vec![0_u32; n_slots.saturating_add(2)];
    for (slot, _) in &loose {
        if let Some(count) = starts.get_mut(slot.index().saturating_add(2)) {
            *count = count.saturating_add(1);
        }
    }
    let mut total = 0_u32;
    for start in &mut starts {
        total = total.saturating_add(*start);
        *start = total;
    }
    let Some((_, filler)) = loose.first() else {
        return (Vec::new(), starts);
    };
    let mut rows = vec![*filler; loose.len()];
    for (slot, row) in loose {
        let Some(at) = starts.get_mut(slot.index().saturating_add(1)) else {
            continue;
        };
        if let Some(place) = usize::try_from(*at).ok().and_then(|at| rows.get_mut(at)) {
            *place = row;
        }
        *at = at.saturating_add(1);
    }
    (rows, starts)
}

/// The pods that a plan deletes: a few, looked for among very many that it does not.
pub(super) struct Going {
    /// By slot: is there one on the node?
    on: Vec<bool>,
    uids: Vec<Uid>,
}

impl Going {
    pub(super) fn new<'a>(n_slots: usize, rows: impl Iterator<Item = &'a Row<'a>>) -> Self {
        let mut going = Self {
            on: vec![false; n_slots],
            uids: Vec::new(),
        };
        for row in rows {
            if let Some(on) = row.pod.node.and_then(|slot| going.on.get_mut(slot.index())) {
                *on = true;
            }
            going.uids.push(row.pod.uid);
        }
        going.uids.sort_unstable();
        going
    }

    /// Does this pod of this node go?
    pub(super) fn has(&self, slot: NodeSlot, pod: &PodView) -> bool {
        self.on.get(slot.index()) == Some(&true) && self.uids.binary_search(&pod.uid).is_ok()
    }
}
