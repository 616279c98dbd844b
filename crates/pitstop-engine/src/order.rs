//! Which pods go first: to be updated, and to be deleted.
//!
//! Every order is total, with the name as its last word, so that the same pods come in the same order in every pass.
//!
//! Source: inplace.md 10; cloneset.md 8.2, 9.

use std::cmp::{Ordering, Reverse};

use jiff::Timestamp;
use pitstop_api::view::{Phase, PodView, PriorityStrategy, ScatterTerm};

use crate::lifecycle::State;

pub mod deletion;
pub mod priority;
pub mod scatter;

/// How little a pod is worth: the least first.
///
/// Without a node; pending before unknown before running; not ready; ready for the shortest time; restarted most often;
/// youngest. Source: inplace.md 10.1, step 2.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Worth<'a> {
    is_bound: bool,
    phase: u8,
    is_ready: bool,
    ready_for: Age,
    restarts: Reverse<i32>,
    age: Age,
    name: &'a str,
}

/// How long ago something was: what never said so first, then the latest.
type Age = Option<Reverse<Timestamp>>;

impl<'a> Worth<'a> {
    pub(crate) fn of(pod: &'a PodView) -> Self {
        Self {
            is_bound: is_bound(pod),
            phase: phase_rank(pod),
            is_ready: pod.is_ready(),
            ready_for: ready_for(pod),
            restarts: restarts(pod),
            age: age(pod),
            name: &pod.name,
        }
    }
}

/// Is it bound to a node?
pub(crate) fn is_bound(pod: &PodView) -> bool {
    pod.bound
}

/// Pending before Unknown before Running; a phase that is none of these counts as Pending.
pub(crate) fn phase_rank(pod: &PodView) -> u8 {
    match pod.phase {
        Phase::Pending | Phase::Succeeded | Phase::Failed => 0,
        Phase::Unknown => 1,
        Phase::Running => 2,
    }
}

/// Since when it is ready; nothing for a pod that is not.
pub(crate) fn ready_for(pod: &PodView) -> Age {
    pod.ready
        .filter(|ready| ready.is_true)
        .and_then(|ready| ready.since)
        .map(Reverse)
}

/// How often the container was started again that was started again most often.
pub(crate) fn restarts(pod: &PodView) -> Reverse<i32> {
    let statuses = pod.in_place.iter().flat_map(|view| &view.statuses);
    Reverse(statuses.map(|status| status.restart_count).max().unwrap_or(0))
}

/// When it was made; nothing for a pod that does not say.
pub(crate) fn age(pod: &PodView) -> Age {
    (pod.created_at != Timestamp::UNIX_EPOCH).then_some(Reverse(pod.created_at))
}

/// The order in which candidates are updated, as indexes into `pods`: at least the first `most` of it.
///
/// By worth, then by the priorities of the workload, then scattered, and pods that prepare for their update already first
/// of all. Scattering looks at all pods. Source: inplace.md 10.1.
pub fn update_order(
    pods: &[&PodView],
    candidates: Vec<usize>,
    most: usize,
    priority: &PriorityStrategy,
    terms: &[ScatterTerm],
) -> Vec<usize> {
    let is_preparing = |pod: &PodView| State::of(pod) == State::PreparingUpdate;
    let mut keyed: Vec<(bool, Worth<'_>, usize)> = candidates
        .into_iter()
        .filter_map(|i| pods.get(i).map(|pod| (!is_preparing(pod), Worth::of(pod), i)))
        .collect();
    if *priority == PriorityStrategy::None && terms.is_empty() {
        // Nothing but worth counts, so that most of many pods need no place in the order.
        if let Some(last) = most.checked_sub(1).filter(|last| *last < keyed.len()) {
            keyed.select_nth_unstable(last);
        }
        keyed.truncate(most);
        keyed.sort_unstable();
        return keyed.into_iter().map(|(_, _, i)| i).collect();
    }
    keyed.sort_unstable_by(|(_, a, _), (_, b, _)| a.cmp(b));
    let mut order: Vec<usize> = keyed.iter().map(|(_, _, i)| *i).collect();
    priority::sort(&mut order, pods, priority);
    let mut order = scatter::scatter(order, pods, terms);
    let preparing = |i: &usize| pods.get(*i).is_some_and(|pod| is_preparing(pod));
    if order.iter().any(preparing) {
        order.sort_by_key(|i| !preparing(i));
    }
    order
}

/// What decides first.
pub(crate) fn first_of(orderings: impl IntoIterator<Item = Ordering>) -> Ordering {
    orderings
        .into_iter()
        .find(|ordering| ordering.is_ne())
        .unwrap_or(Ordering::Equal)
}
