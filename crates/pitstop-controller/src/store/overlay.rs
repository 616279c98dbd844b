//! What we did that the stores may not show yet, so that a decision always reads its own writes.
//!
//! Nothing ever waits for it: an entry changes what one node looks like in a decision, and ends by itself.
//!
//! | entry | ends |
//! |---|---|
//! | created pod | when the store shows it, or has seen a later version of any pod without it, or after 5 min |
//! | deleted pod | when the store shows it terminating or no more, or after 5 min |
//!
//! Source: daemonset.md C5.7. What ends for one controller alone is that controller's rule (`Model::retire`).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use pitstop_api::view::{NodeSlot, Uid};
use pitstop_engine::snapshot::{CreatedPod, DeletedPod, InFlight};

use super::State;
use crate::api::Resource;

/// No entry lives longer.
const LIFETIME: SignedDuration = SignedDuration::from_mins(5);

/// The ledgers of all workloads, by uid.
#[derive(Debug, Default)]
pub struct Overlay {
    ledgers: Mutex<HashMap<Uid, Ledger>>,
}

#[derive(Debug, Default)]
struct Ledger {
    deleted: Vec<DeletedPod>,
    created: Vec<(CreatedPod, u64)>,
    /// Names of pods whose creation was not answered, by node: the next attempt uses the same one, so that a pod that
    /// was created after all is found rather than doubled.
    unanswered: HashMap<NodeSlot, String>,
}

impl Ledger {
    fn is_empty(&self) -> bool {
        self.deleted.is_empty() && self.created.is_empty() && self.unanswered.is_empty()
    }
}

impl Overlay {
    /// A DELETE of a pod of `owner` succeeded, or found it gone.
    pub fn deleted(&self, owner: Uid, pod: DeletedPod) {
        let mut ledgers = self.lock();
        let deleted = &mut ledgers.entry(owner).or_default().deleted;
        deleted.retain(|entry| entry.uid != pod.uid);
        deleted.push(pod);
    }

    /// A POST of a pod of `owner` succeeded; the answer was of this version.
    pub fn created(&self, owner: Uid, pod: CreatedPod, version: u64) {
        let mut ledgers = self.lock();
        let ledger = ledgers.entry(owner).or_default();
        ledger.unanswered.remove(&pod.node);
        ledger.created.push((pod, version));
    }

    /// A POST of a pod was not answered.
    pub fn unanswered(&self, owner: Uid, node: NodeSlot, name: &str) {
        let mut ledgers = self.lock();
        let ledger = ledgers.entry(owner).or_default();
        ledger.unanswered.insert(node, name.to_owned());
    }

    /// The name that an unanswered POST for this node used.
    pub fn take_unanswered(&self, owner: Uid, node: NodeSlot) -> Option<String> {
        self.lock().get_mut(&owner)?.unanswered.remove(&node)
    }

    /// Does the ledger know that we created this pod?
    pub fn has_created(&self, owner: Uid, pod: Uid) -> bool {
        self.lock()
            .get(&owner)
            .is_some_and(|ledger| ledger.created.iter().any(|(entry, _)| entry.uid == pod))
    }

    /// What of `owner` the state does not show yet. Entries that ended are dropped.
    pub fn in_flight(&self, owner: Uid, state: &State, now: Timestamp) -> InFlight {
        let mut ledgers = self.lock();
        let Some(ledger) = ledgers.get_mut(&owner) else {
            return InFlight::default();
        };
        let is_young = |at: Timestamp| now.duration_since(at) < LIFETIME;
        ledger.deleted.retain(|entry| {
            is_young(entry.at) && state.pod(entry.uid).is_some_and(|pod| !pod.is_terminating())
        });
        let seen = state.version(Resource::Pods);
        ledger.created.retain(|(entry, version)| {
            is_young(entry.at) && state.pod(entry.uid).is_none() && seen < *version
        });
        let in_flight = InFlight {
            deleted: ledger.deleted.clone(),
            created: ledger.created.iter().map(|(entry, _)| entry.clone()).collect(),
        };
        if ledger.is_empty() {
            ledgers.remove(&owner);
        }
        in_flight
    }

    /// The workload is gone.
    pub fn forget(&self, owner: Uid) {
        self.lock().remove(&owner);
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        #[allow(clippy::iter_over_hash_type, reason = "a sum does not depend on the order")]
        self.lock()
            .values()
            .map(|ledger| ledger.deleted.len() + ledger.created.len())
            .sum()
    }

    /// Does it have no entries?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uid, Ledger>> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
