//! How crowded the domains of `topologySpreadConstraints` are.
//!
//! Source: cloneset.md 8.2, 18.28.

use std::collections::{BTreeMap, BTreeSet};

use pitstop_api::keys;
use pitstop_api::selector::{LabelSelector, LabelValues, Selector};
use pitstop_api::view::{NodeView, PodView};
use serde_json::Value;

use super::deletion::{Candidate, Rank, crowded_nodes, crowding, grouped, sizes};
use crate::snapshot::Nodes;

/// One of `spec.topologySpreadConstraints` of a template.
#[derive(Debug, Clone, PartialEq)]
pub struct Constraint<'a> {
    /// `topologyKey`: the label of nodes whose value is the domain.
    pub key: &'a str,
    /// `maxSkew`: how many pods more than the least crowded domain one may have. Range: from 1.
    pub max_skew: u32,
    /// `labelSelector`: the pods that it counts; none without one, as for the scheduler.
    pub selector: Option<Selector>,
    /// `matchLabelKeys`: it counts pods with the same values of these apart from others.
    pub match_label_keys: Vec<&'a str>,
}

impl<'a> Constraint<'a> {
    /// Those of a template of pods that name a key.
    pub fn all_of(template: &'a Value) -> Vec<Self> {
        let listed = template.pointer("/spec/topologySpreadConstraints");
        let listed = listed.and_then(Value::as_array).into_iter().flatten();
        listed.filter_map(Self::of).collect()
    }

    fn of(written: &'a Value) -> Option<Self> {
        let selector = written.get("labelSelector").cloned();
        let selector: Option<LabelSelector> = selector.and_then(|value| serde_json::from_value(value).ok());
        let max_skew = written.get("maxSkew").and_then(Value::as_u64).unwrap_or(1);
        let label_keys = written.get("matchLabelKeys").and_then(Value::as_array);
        Some(Self {
            key: written.get("topologyKey")?.as_str()?,
            max_skew: u32::try_from(max_skew).unwrap_or(u32::MAX).max(1),
            selector: selector.and_then(|selector| selector.selector()),
            match_label_keys: label_keys
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect(),
        })
    }

    /// Where it counts a pod; `None` where it counts it nowhere.
    fn domain_of(&self, pod: &PodView, nodes: Nodes<'a>) -> Option<Domain<'a>> {
        let is_counted = self
            .selector
            .as_ref()
            .is_some_and(|selector| selector.matches(&pod.labels));
        let node = nodes.get(pod.node.filter(|_| pod.bound && is_counted)?)?;
        let value_of = |key: &&str| pod.labels.value_of(key).map(str::to_owned);
        Some(Domain {
            kept_apart: self.match_label_keys.iter().map(value_of).collect(),
            value: label_of(node, self.key)?,
        })
    }
}

/// Pods that a constraint counts together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Domain<'a> {
    /// The values of `matchLabelKeys`.
    kept_apart: Vec<Option<String>>,
    /// The value of the label of nodes.
    value: &'a str,
}

/// Pods of larger domains go first, those by which a constraint is violated before all others.
///
/// All `active` pods of the workload count, not only those of which some are to go. Differs from upstream (18.28), which
/// looks at neither the other pods, nor `labelSelector`, nor `maxSkew`.
pub(super) fn ranks<'a>(
    pods: &[Candidate<'_>],
    constraints: &[Constraint<'a>],
    active: &[&PodView],
    nodes: Nodes<'a>,
) -> Vec<Rank> {
    let mut ranks = vec![Rank::default(); pods.len()];
    let by_node = crowded_nodes(pods, active);
    for constraint in constraints {
        let domain = |pod: &PodView| constraint.domain_of(pod, nodes);
        let sizes = sizes(active, domain);
        let n_domains = u32::try_from(sizes.len()).unwrap_or(u32::MAX);
        let weight = (f64::from(n_domains) + 2.0).ln();
        let within: &[Rank] = if constraint.key == keys::HOSTNAME {
            &[]
        } else {
            &by_node
        };
        for (domain, group) in grouped(pods, domain) {
            let allowed = least(&sizes, &domain, constraint.key, nodes).saturating_add(constraint.max_skew);
            let size = sizes.get(&domain).copied().unwrap_or(0);
            for (i, left) in crowding(pods, group, within, size) {
                if let Some(rank) = ranks.get_mut(i) {
                    rank.too_many = rank.too_many.saturating_add(left.saturating_sub(allowed));
                    rank.crowded += f64::from(left) * weight;
                }
            }
        }
    }
    ranks
}

/// How many pods the least crowded of all domains has that are compared with this one.
fn least(sizes: &BTreeMap<Domain<'_>, u32>, of: &Domain<'_>, key: &str, nodes: Nodes<'_>) -> u32 {
    let compared = sizes
        .iter()
        .filter(|(domain, _)| domain.kept_apart == of.kept_apart);
    let of_pods = compared.clone().map(|(_, size)| *size).min().unwrap_or(0);
    let on_nodes: BTreeSet<&str> = nodes.iter().filter_map(|node| label_of(node, key)).collect();
    if on_nodes.len() > compared.count() {
        0
    } else {
        of_pods
    }
}

fn label_of<'a>(node: &'a NodeView, key: &str) -> Option<&'a str> {
    node.labels.get(key).map(String::as_str)
}
