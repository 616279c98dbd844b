//! Which pods a workload wants updated first. Source: inplace.md 10.

use std::sync::Arc;

use serde::Deserialize;

use crate::selector::{LabelSelector, LabelValues, Selector};

/// `priorityStrategy`. Where both lists are written, which admission refuses, weights decide.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "PriorityWire")]
pub enum PriorityStrategy {
    /// None: pods keep the order that their state gives them.
    #[default]
    None,
    /// `weightPriority`: the higher the sum of weights of the terms that match, the sooner.
    Weight(Vec<WeightTerm>),
    /// `orderPriority`: by the first of these keys that a pod has; among those, the higher number at the end of its
    /// value goes first.
    Order {
        /// `orderedKey` of each term, in order.
        keys: Vec<Arc<str>>,
        /// Where pods go that have none of the keys.
        missing_key: MissingKey,
    },
}

/// One element of `weightPriority`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightTerm {
    /// `weight`. Range: 0..=100; what is outside counts as its nearer end.
    pub weight: u32,
    /// `matchSelector`; `None` when it is malformed, which matches no pod.
    pub selector: Option<Selector>,
}

impl WeightTerm {
    /// Does a pod with these labels get the weight?
    pub fn matches(&self, labels: &impl LabelValues) -> bool {
        self.selector
            .as_ref()
            .is_some_and(|selector| selector.matches(labels))
    }
}

/// `missingKey` of the terms of `orderPriority`, an extension: where pods go that have none of the keys.
///
/// Source: inplace.md 10.2, 13.14. Upstream knows `First` alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MissingKey {
    /// Ahead of all others.
    #[default]
    First,
    /// Behind all others: one term that says `Last` is enough.
    Last,
}

/// One element of `scatterStrategy`: pods with this label are spread over the rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ScatterTerm {
    /// Label key.
    pub key: Arc<str>,
    /// Label value.
    pub value: Arc<str>,
}

impl From<PriorityWire> for PriorityStrategy {
    fn from(wire: PriorityWire) -> Self {
        if !wire.weight_priority.is_empty() {
            return Self::Weight(wire.weight_priority.into_iter().map(WeightTerm::from).collect());
        }
        if wire.order_priority.is_empty() {
            return Self::None;
        }
        let is_last = wire.order_priority.iter().any(|term| term.missing_key == "Last");
        Self::Order {
            keys: wire
                .order_priority
                .into_iter()
                .map(|term| term.ordered_key)
                .collect(),
            missing_key: if is_last {
                MissingKey::Last
            } else {
                MissingKey::First
            },
        }
    }
}

impl From<WeightWire> for WeightTerm {
    fn from(wire: WeightWire) -> Self {
        Self {
            weight: wire.weight.clamp(0, 100).unsigned_abs(),
            selector: wire.match_selector.selector(),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct PriorityWire {
    weight_priority: Vec<WeightWire>,
    order_priority: Vec<OrderWire>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WeightWire {
    weight: i32,
    match_selector: LabelSelector,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct OrderWire {
    ordered_key: Arc<str>,
    missing_key: String,
}
