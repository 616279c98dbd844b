//! Which pods die first when a workload shrinks.
//!
//! Source: inplace.md 10.4; cloneset.md 8.2.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use pitstop_api::keys;
use pitstop_api::view::PodView;

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
    /// Of several in one domain of these labels of nodes, some go first: the keys of `topologySpreadConstraints`.
    Topology {
        /// Keys of labels.
        keys: &'a [&'a str],
        /// The nodes.
        nodes: Nodes<'a>,
    },
}

/// The order in which pods are deleted, as indexes into `pods`.
pub fn deletion_order(pods: &[Candidate<'_>], spread: Spread<'_>) -> Vec<usize> {
    let ranks = ranks(pods, spread);
    let mut order: Vec<usize> = (0..pods.len()).collect();
    order.sort_by(|a, b| compare(pods, &ranks, *a, *b));
    order
}

/// The rank of every pod by how crowded its place is: the higher, the sooner it goes.
pub fn ranks(pods: &[Candidate<'_>], spread: Spread<'_>) -> Vec<f64> {
    match spread {
        Spread::SameNode => same_node_ranks(pods),
        Spread::Topology { keys, nodes } => topology_ranks(pods, keys, nodes),
    }
}

fn compare(pods: &[Candidate<'_>], ranks: &[f64], a: usize, b: usize) -> Ordering {
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

/// Of `k` pods on a node, the one that is to go first has rank `k - 1`, and the last has 0.
fn same_node_ranks(pods: &[Candidate<'_>]) -> Vec<f64> {
    let place = |pod: &PodView| pod.node.filter(|_| pod.bound);
    let mut ranks = vec![0.0; pods.len()];
    for group in grouped(pods, |pod| place(pod)).into_values() {
        for (i, rank) in descending(pods, group, &[], 1) {
            if let Some(place) = ranks.get_mut(i) {
                *place = rank;
            }
        }
    }
    ranks
}

/// Pods of larger domains go first, by the sum over all keys.
fn topology_ranks(pods: &[Candidate<'_>], keys: &[&str], nodes: Nodes<'_>) -> Vec<f64> {
    let by_node = same_node_ranks(pods);
    let mut ranks = vec![0.0; pods.len()];
    for key in keys {
        let domain = |pod: &PodView| {
            let node = nodes.get(pod.node.filter(|_| pod.bound)?)?;
            node.labels.get(*key).cloned()
        };
        let groups = grouped(pods, domain);
        let n_domains = u32::try_from(groups.len()).unwrap_or(u32::MAX);
        let weight = (f64::from(n_domains) + 2.0).ln();
        let within: &[f64] = if *key == keys::HOSTNAME { &[] } else { &by_node };
        for group in groups.into_values() {
            for (i, rank) in descending(pods, group, within, 0) {
                if let Some(place) = ranks.get_mut(i) {
                    *place += rank * weight;
                }
            }
        }
    }
    ranks
}

/// Indexes of pods by the place that they are in; pods in none are left out.
fn grouped<K: Ord>(pods: &[Candidate<'_>], place: impl Fn(&PodView) -> Option<K>) -> BTreeMap<K, Vec<usize>> {
    let mut groups: BTreeMap<K, Vec<usize>> = BTreeMap::new();
    for (i, candidate) in pods.iter().enumerate() {
        if let Some(key) = place(candidate.pod) {
            groups.entry(key).or_default().push(i);
        }
    }
    groups
}

/// The pods of a group in the order in which they are to go, and a number for each: `n - less`, ... down to `1 - less`.
fn descending(
    pods: &[Candidate<'_>],
    mut group: Vec<usize>,
    ranks: &[f64],
    less: usize,
) -> impl Iterator<Item = (usize, f64)> + use<> {
    group.sort_by(|a, b| compare(pods, ranks, *a, *b));
    let n = group.len();
    group.into_iter().enumerate().map(move |(place, i)| {
        let left = n.saturating_sub(place).saturating_sub(less);
        (i, f64::from(u32::try_from(left).unwrap_or(u32::MAX)))
    })
}
