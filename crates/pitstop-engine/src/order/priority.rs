//! `priorityStrategy`: which pods a workload wants updated first.
//!
//! Source: inplace.md 10.2.

use std::cmp::Reverse;

use pitstop_api::view::{MissingKey, PodView, PriorityStrategy};

/// Sorts indexes of pods by priority; where it is equal they stay as they are.
pub fn sort(order: &mut [usize], pods: &[&PodView], strategy: &PriorityStrategy) {
    let pod = |i: usize| pods.get(i).copied();
    match strategy {
        PriorityStrategy::None => {}
        PriorityStrategy::Weight(terms) => {
            let weight = |pod: &PodView| -> u64 {
                let matching = terms.iter().filter(|term| term.matches(&pod.labels));
                matching.fold(0, |sum, term| sum.saturating_add(u64::from(term.weight)))
            };
            order.sort_by_cached_key(|i| Reverse(pod(*i).map(weight)));
        }
        PriorityStrategy::Order { keys, missing_key } => {
            let level = |pod: &PodView| {
                let found = keys.iter().enumerate();
                let mut found = found.filter_map(|(i, key)| Some((i, pod.labels.get(key)?)));
                match (found.next(), missing_key) {
                    (Some((i, value)), _) => (1, i, Reverse(number_at_end(value))),
                    (None, MissingKey::First) => (0, 0, Reverse(0)),
                    (None, MissingKey::Last) => (2, 0, Reverse(0)),
                }
            };
            order.sort_by_cached_key(|i| pod(*i).map(level));
        }
    }
}

/// The number at the end of a label's value; 0 where there is none, and for one that does not fit.
pub fn number_at_end(value: &str) -> i64 {
    let text = value.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = value.get(text.len()..).unwrap_or_default();
    digits.parse().unwrap_or(0)
}
