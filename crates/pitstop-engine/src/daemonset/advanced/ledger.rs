//! What we did that the stores may not show yet: when it need not be remembered any more.

use jiff::{SignedDuration, Timestamp};
use pitstop_api::view::PodView;

use crate::snapshot::{InFlight, Nodes};

/// How long a write of ours is remembered although nothing of it is seen.
///
/// Units: seconds. Source: daemonset.md C5.7.
const REMEMBERED_FOR: SignedDuration = SignedDuration::from_mins(5);

/// Forgets writes of ours that need no remembering any more.
///
/// A delete is remembered until its pod is seen terminating or gone, or its node is gone, and for five minutes at most;
/// a creation until its pod is seen, and for five minutes at most. Neither ever stops work on another node.
///
/// Source: daemonset.md C5.7. Differs from it: that a node is not ready does not end an entry. Such a node is passed over
/// with or without it; and if it returned before the store shows its pod terminating, the pod would look available, and
/// one more would be taken than allowed (S1).
pub fn retire(in_flight: &mut InFlight, pods: &[&PodView], nodes: &Nodes<'_>, now: Timestamp) {
    if in_flight.deleted.is_empty() && in_flight.created.is_empty() {
        return;
    }
    let is_young = |at: Timestamp| now.duration_since(at) < REMEMBERED_FOR;
    let mut seen: Vec<_> = pods.iter().map(|pod| (pod.uid, pod.is_terminating())).collect();
    seen.sort_unstable();
    let is_terminating = |uid| {
        let at = seen.binary_search_by_key(&uid, |(uid, _)| *uid).ok()?;
        seen.get(at).map(|(_, is_terminating)| *is_terminating)
    };
    in_flight.deleted.retain(|deleted| {
        let looks_alive = is_terminating(deleted.uid) == Some(false);
        let is_node_gone = deleted.node.is_some_and(|slot| nodes.get(slot).is_none());
        looks_alive && !is_node_gone && is_young(deleted.at)
    });
    in_flight
        .created
        .retain(|created| is_terminating(created.uid).is_none() && is_young(created.at));
}
