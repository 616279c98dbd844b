//! Which pods go first: to be updated, and to be deleted.
//!
//! Every order is total, with the name as its last word, so that the same pods come in the same order in every pass.
//!
//! Source: inplace.md 10; cloneset.md 8.2, 9.

use std::cmp::{Ordering, Reverse};

use jiff::Timestamp;
use pitstop_api::view::{Phase, PodView, PriorityStrategy, ScatterTerm};

use crate::lifecycle::State;
use crate::shared_labels::OncePerSet;

pub mod deletion;
pub mod priority;
pub mod scatter;
pub mod topology;

/// How little a pod is worth: the least first.
///
/// Without a node; pending before unknown before running; not ready; ready for the shortest time; restarted most often;
/// youngest. Source: inplace.md 10.1, step 2.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Worth<'a> {
    /// Whether it is bound, its phase, whether it is ready and since when: of most pairs of pods, one is worth less by these.
    first: (bool, u8, bool, Age),
    /// The rest is read where they are equal.
    pod: &'a PodView,
}

/// How long ago something was: what never said so first, then the latest.
type Age = Option<Reverse<Timestamp>>;

impl<'a> Worth<'a> {
    pub(crate) fn of(pod: &'a PodView) -> Self {
        Self {
            first: (is_bound(pod), phase_rank(pod), pod.is_ready(), ready_for(pod)),
            pod,
        }
    }
}

impl Ord for Worth<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.pod, other.pod);
        self.first
            .cmp(&other.first)
            .then_with(|| restarts(a).cmp(&restarts(b)))
            .then_with(|| age(a).cmp(&age(b)))
            .then_with(|| a.name.cmp(&b.name))
    }
}

impl PartialOrd for Worth<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Worth<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Worth<'_> {}

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
    let mut known = OncePerSet::default();
    let mut keyed: Vec<(bool, Worth<'_>, usize)> = candidates
        .into_iter()
        .filter_map(|i| {
            let pod = *pods.get(i)?;
            let is_preparing = known.of(&pod.labels, || is_preparing(pod));
            Some((!is_preparing, Worth::of(pod), i))
        })
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
    keyed.sort_unstable_by_key(|(_, worth, _)| *worth);
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
