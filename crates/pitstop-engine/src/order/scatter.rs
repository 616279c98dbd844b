//! `scatterStrategy`: pods of one kind are spread over the rollout.
//!
//! Source: inplace.md 10.3; cloneset.md 9.3.

use pitstop_api::view::{PodView, ScatterTerm};

/// Spreads indexes of pods, term by term. With several terms, the one that matches most goes first.
pub fn scatter(order: Vec<usize>, pods: &[&PodView], terms: &[ScatterTerm]) -> Vec<usize> {
    let Some((first, more)) = terms.split_first() else {
        return order;
    };
    if more.is_empty() {
        return scatter_one(order, pods, first);
    }
    let n_matching = |term: &ScatterTerm| {
        let chosen = order.iter().filter_map(|i| pods.get(*i));
        chosen.filter(|pod| matches(pod, term)).count()
    };
    let mut counted: Vec<(usize, &ScatterTerm)> = terms.iter().map(|term| (n_matching(term), term)).collect();
    counted.retain(|(n, _)| *n > 0);
    counted.sort_by_key(|(n, _)| std::cmp::Reverse(*n));
    counted
        .into_iter()
        .fold(order, |order, (_, term)| scatter_one(order, pods, term))
}

fn matches(pod: &PodView, term: &ScatterTerm) -> bool {
    pod.labels
        .get(&term.key)
        .is_some_and(|value| **value == *term.value)
}

/// So many pods that match, then so many others.
#[derive(Debug, Clone, Copy)]
struct Rhythm {
    matching: usize,
    others: usize,
}

impl Rhythm {
    /// The rhythm that spreads these numbers evenly; sizes are rounded, half up.
    fn of(matching: usize, others: usize) -> Self {
        let least = matching.min(others).max(1);
        let rounded = |n: usize| {
            let doubled = n.saturating_mul(2).saturating_add(least);
            doubled.checked_div(least.saturating_mul(2)).unwrap_or(1)
        };
        Self {
            matching: rounded(matching),
            others: rounded(others),
        }
    }
}

fn scatter_one(order: Vec<usize>, pods: &[&PodView], term: &ScatterTerm) -> Vec<usize> {
    let is_matching = |i: &usize| pods.get(*i).is_some_and(|pod| matches(pod, term));
    let (mut matching, others): (Vec<usize>, Vec<usize>) = order.iter().copied().partition(is_matching);
    if matching.len() <= 1 || others.len() <= 1 {
        return order;
    }
    let last = matching.pop();
    let all_matching = pods.iter().filter(|pod| matches(pod, term)).count();
    let all_others = pods.len().saturating_sub(all_matching);
    let all_matching = all_matching.saturating_sub(1);

    // Does what is left hold fewer of the others than the whole? Then the rhythm goes on as it was.
    let is_even = all_others.saturating_mul(matching.len()) >= others.len().saturating_mul(all_matching);
    let (rhythm, n_groups, n_ahead) = if is_even {
        let rhythm = Rhythm::of(matching.len(), others.len());
        (rhythm, matching.len().min(others.len()), 0)
    } else {
        let rhythm = Rhythm::of(all_matching, all_others);
        let fits = |n: usize, size: usize| n.checked_div(size).unwrap_or(n);
        let n_groups = fits(matching.len(), rhythm.matching).min(fits(others.len(), rhythm.others));
        let used = n_groups.saturating_mul(rhythm.others);
        (rhythm, n_groups, others.len().saturating_sub(used))
    };
    let (mut matching, mut others) = (matching.into_iter(), others.into_iter());
    let mut spread: Vec<usize> = others.by_ref().take(n_ahead).collect();
    for _ in 0..n_groups {
        spread.extend(matching.by_ref().take(rhythm.matching));
        spread.extend(others.by_ref().take(rhythm.others));
    }
    spread.extend(matching);
    spread.extend(others);
    spread.extend(last);
    spread
}
