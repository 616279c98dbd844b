//! Which pods die first when a workload shrinks.
//!
//! Source: inplace.md 10.4; cloneset.md 8.2.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use pitstop_api::keys;
use pitstop_api::view::PodView;

use super::topology::{self, Constraint};
use super::{age, first_of, is_bound, phase_rank, ready_for, restarts};
use crate::snapshot::Nodes;

/// A pod that may be deleted.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The pod.
    pub pod: &'a PodView,
    /// Is it available, by the rules of its workload?
    pub is_available: bool,
}

/// How pods of one group are spread over the cluster.
#[derive(Debug, Clone, Copy)]
pub enum Spread<'a> {
    /// Of several on one node, some go first.
    SameNode,
    /// Of several in one domain of `topologySpreadConstraints`, some go first.
    Topology {
        /// The constraints.
        constraints: &'a [Constraint<'a>],
        /// All active pods of the workload.
        active: &'a [&'a PodView],
        /// The nodes.
        nodes: Nodes<'a>,
    },
}

/// How crowded the place of a pod is: the higher, the sooner it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rank {
    /// By how many pods its domains are over what their constraints allow.
    pub too_many: u32,
    /// How many pods are in its place, by the weight of each constraint.
    pub crowded: f64,
}

impl Rank {
    /// By how many are too many, then by how crowded it is.
    pub fn total_cmp(&self, other: &Self) -> Ordering {
        let by_excess = self.too_many.cmp(&other.too_many);
        by_excess.then_with(|| self.crowded.total_cmp(&other.crowded))
    }
}

/// The order in which pods are deleted, as indexes into `pods`.
pub fn deletion_order(pods: &[Candidate<'_>], spread: Spread<'_>) -> Vec<usize> {
    let ranks = ranks(pods, spread);
    let mut order: Vec<usize> = (0..pods.len()).collect();
    order.sort_by(|a, b| compare(pods, &ranks, *a, *b));
    order
}

/// The rank of every pod by how crowded its place is.
pub fn ranks(pods: &[Candidate<'_>], spread: Spread<'_>) -> Vec<Rank> {
    match spread {
        Spread::SameNode => {
            let all: Vec<&PodView> = pods.iter().map(|candidate| candidate.pod).collect();
            crowded_nodes(pods, &all)
        }
        Spread::Topology {
            constraints,
            active,
            nodes,
        } => topology::ranks(pods, constraints, active, nodes),
    }
}

fn compare(pods: &[Candidate<'_>], ranks: &[Rank], a: usize, b: usize) -> Ordering {
    let (Some(one), Some(other)) = (pods.get(a), pods.get(b)) else {
        return a.cmp(&b);
    };
    let (left, right) = (one.pod, other.pod);
    let rank = |i: usize| ranks.get(i).copied().unwrap_or_default();
    first_of([
        is_bound(left).cmp(&is_bound(right)),
        phase_rank(left).cmp(&phase_rank(right)),
        one.is_available.cmp(&other.is_available),
        left.is_ready().cmp(&right.is_ready()),
        cost(left).cmp(&cost(right)),
        rank(b).total_cmp(&rank(a)),
        ready_for(left).cmp(&ready_for(right)),
        restarts(left).cmp(&restarts(right)),
        age(left).cmp(&age(right)),
        left.name.cmp(&right.name),
    ])
}

/// Annotation `controller.kubernetes.io/pod-deletion-cost`; 0 for what is no number of 32 bits in its plain form.
pub fn cost(pod: &PodView) -> i32 {
    let annotation = pod
        .in_place
        .as_ref()
        .and_then(|view| view.annotations.get(keys::POD_DELETION_COST));
    let Some(text) = annotation else {
        return 0;
    };
    let is_plain = !text.starts_with('+') && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain).unwrap_or(0)
}

/// Of `k` pods on a node, of all that count, the one that is to go first has rank `k - 1`, the next one `k - 2`.
pub(super) fn crowded_nodes(pods: &[Candidate<'_>], all: &[&PodView]) -> Vec<Rank> {
    let node = |pod: &PodView| pod.node.filter(|_| pod.bound);
    let sizes = sizes(all, node);
    let mut ranks = vec![Rank::default(); pods.len()];
    for (node, group) in grouped(pods, node) {
        let others = sizes.get(&node).copied().unwrap_or(0).saturating_sub(1);
        for (i, left) in crowding(pods, group, &[], others) {
            if let Some(rank) = ranks.get_mut(i) {
                rank.crowded = f64::from(left);
            }
        }
    }
    ranks
}

/// How many pods there are in each place.
pub(super) fn sizes<K: Ord>(pods: &[&PodView], place: impl Fn(&PodView) -> Option<K>) -> BTreeMap<K, u32> {
    let mut sizes = BTreeMap::new();
    for place in pods.iter().filter_map(|pod| place(pod)) {
        let size: &mut u32 = sizes.entry(place).or_default();
        *size = size.saturating_add(1);
    }
    sizes
}

/// Indexes of pods by the place that they are in; pods in none are left out.
pub(super) fn grouped<K: Ord>(
    pods: &[Candidate<'_>],
    place: impl Fn(&PodView) -> Option<K>,
) -> BTreeMap<K, Vec<usize>> {
    let mut groups: BTreeMap<K, Vec<usize>> = BTreeMap::new();
    for (i, candidate) in pods.iter().enumerate() {
        if let Some(key) = place(candidate.pod) {
            groups.entry(key).or_default().push(i);
        }
    }
    groups
}

/// The pods of a group in the order in which they are to go, each with what is left in its place then, of `size` now.
pub(super) fn crowding(
    pods: &[Candidate<'_>],
    mut group: Vec<usize>,
    ranks: &[Rank],
    size: u32,
) -> impl Iterator<Item = (usize, u32)> + use<> {
    group.sort_by(|a, b| compare(pods, ranks, *a, *b));
    let gone = 0_u32..;
    group
        .into_iter()
        .zip(gone)
        .map(move |(i, gone)| (i, size.saturating_sub(gone)))
}
