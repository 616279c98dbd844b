//! What we did that the stores may not show yet, so that a decision always reads its own writes.
//!
//! Nothing ever waits for it: an entry changes what one node looks like in a decision, and ends by itself.
//!
//! | entry | ends |
//! |---|---|
//! | created pod | when the store shows it, or has seen a later version of any pod without it, or after 5 min |
//! | deleted pod | when the store shows it terminating or no more, or after 5 min |
//! | unanswered DELETE | when a repetition is answered; when the pod is seen terminating, gone, or at a version that the DELETE did not name; when a live read more than 5 min after it shows the pod as it was |
//! | pod created by name | when the store shows a pod of that name, or has seen a later version without it, or after 5 min |
//! | unanswered PATCH | when the pod is seen gone, or at another version than the PATCH named; or after 5 min |
//! | deleted claim | when the store shows it terminating or no more, or after 5 min |
//! | unanswered POST | when a repetition is answered; when the pod is seen; when a live read more than 5 min after it does not find it |
//! | name of a POST that was unanswered once | 5 min after it was given up |
//!
//! # Writes without an answer
//!
//! A connection that is cut, a time that is over, a 5xx: the server may have carried the write out, and until the
//! request has died on its way, it may do so yet. Neither a store that lags nor a dry run tells. So an unanswered DELETE
//! counts as done: its pod is down for every budget (S1). It also counts as not done: a rollout that still wants the pod
//! gone sends the very same DELETE again before any other, and its uid and version allow it to take down that pod only,
//! which is paid for. The answer to that settles the matter. A decision that has changed since (another template, a
//! paused rollout, more pods down than allowed) does not repeat it; then the pod stays counted until one of the ends
//! above.
//!
//! The last of these ends is one of time, as nothing else tells that a request is dead. It is ten times what we wait for
//! an answer ourselves, and five times what a kube-apiserver gives a request by default. A process that was stopped
//! counts from when it went on, since that is when it gives a request up.
//!
//! An unanswered POST is repeated under the same name, which the server has for one pod at most (S8). Until it is settled
//! the pod counts among those that are there on top. A POST may come late even after its repetition made the pod and that
//! pod is gone again: until it must be dead, the next pod of the node gets the same name.
//!
//! A new leader starts without these entries, from a list that is consistent. What a former leader sent and never heard
//! of is bounded by its lease alone: it gives its writes up before another can take the lease, so only a request that was
//! on its way for longer than that meets decisions of another.
//!
//! Source: daemonset.md C5.7. What ends for one controller alone is that controller's rule (`Model::retire`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::view::{NodeSlot, Uid};
use pitstop_engine::cloneset;
use pitstop_engine::snapshot::{CreatedPod, DeletedPod, InFlight};

use serde_json::Value;

use super::State;
use crate::api::Resource;

/// No entry lives longer, unless what became of its write is not known.
const LIFETIME: SignedDuration = SignedDuration::from_mins(5);
/// A pod about which a write was refused is put off for so long at first, and for so long at most. Upstream has no number for
/// it: the first is about what a person does not notice, the last what one is ready to wait after the obstacle is gone.
const PUT_OFF_FIRST: SignedDuration = SignedDuration::from_secs(1);
const PUT_OFF_MOST: SignedDuration = SignedDuration::from_secs(60);
/// After this a request that was not answered is not carried out any more.
const LINGERS: SignedDuration = SignedDuration::from_mins(5);

/// The ledgers of all workloads, by uid.
#[derive(Debug, Default)]
pub struct Overlay {
    ledgers: Mutex<HashMap<Uid, Ledger>>,
}

#[derive(Debug, Default)]
struct Ledger {
    deleted: Vec<DeletedPod>,
    created: Vec<(CreatedPod, u64)>,
    maybe_deleted: BTreeMap<Uid, SentDelete>,
    maybe_created: BTreeMap<NodeSlot, SentCreate>,
    /// Those of them that are settled, and whose first request may come yet.
    maybe_late: BTreeMap<NodeSlot, SentCreate>,
    /// Pods whose name was decided on, by name.
    named: BTreeMap<Arc<str>, Named>,
    deleted_claims: BTreeMap<Uid, Timestamp>,
    /// Pods whose PATCH was not answered: the version that it named, and when it was given up.
    maybe_patched: BTreeMap<Uid, (u64, Timestamp)>,
    /// Resizes that were refused, by pod.
    refused_resizes: BTreeMap<Uid, cloneset::RefusedResize>,
    /// Pods about which the last write was refused, and how often that was in a row.
    refused_writes: BTreeMap<Uid, (cloneset::RefusedWrite, u32)>,
}

/// A pod that was posted under a name that was decided on.
#[derive(Debug, Clone)]
struct Named {
    pod: cloneset::CreatedPod,
    at: Timestamp,
    answer: PostAnswer,
}

/// What came of the POST of a pod.
#[derive(Debug, Clone)]
pub enum PostAnswer {
    /// It was made, at this version.
    Made(u64),
    /// There was no answer: what was posted, to be posted again.
    Missing(Value),
}

/// A DELETE of a pod that was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentDelete {
    /// The name of the pod.
    pub name: Arc<str>,
    /// The uid that it named.
    pub uid: Uid,
    /// The version that it named, if it named one.
    pub version: Option<u64>,
    /// The node of the pod.
    pub node: Option<NodeSlot>,
    /// When it was given up.
    pub at: Timestamp,
}

/// A POST of a pod that was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentCreate {
    /// The name that we gave the pod.
    pub name: String,
    /// When it was given up.
    pub at: Timestamp,
}

/// A pod as a live read shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its uid.
    pub uid: Uid,
    /// Its version.
    pub version: u64,
    /// Is it on its way out?
    pub is_terminating: bool,
}

/// Writes without an answer that only a live read can settle any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    /// Pods that may have been deleted.
    pub deletes: Vec<SentDelete>,
    /// Pods that may have been created, by node.
    pub creates: Vec<(NodeSlot, SentCreate)>,
}

impl Ledger {
    fn len(&self) -> usize {
        let by_node = self.created.len() + self.maybe_created.len() + self.maybe_late.len();
        let by_name = self.named.len() + self.deleted_claims.len() + self.maybe_patched.len();
        let by_name = by_name + self.refused_resizes.len() + self.refused_writes.len();
        self.deleted.len() + self.maybe_deleted.len() + by_node + by_name
    }

    /// What became of an unanswered POST for this node is known.
    fn settle_create(&mut self, node: NodeSlot) {
        if let Some(sent) = self.maybe_created.remove(&node) {
            self.maybe_late.insert(node, sent);
        }
    }
}

impl Overlay {
    /// A DELETE of a pod of `owner` succeeded, or found it gone.
    pub fn deleted(&self, owner: Uid, pod: DeletedPod) {
        let mut ledgers = self.lock();
        let ledger = ledgers.entry(owner).or_default();
        ledger.deleted.retain(|entry| entry.uid != pod.uid);
        ledger.maybe_deleted.remove(&pod.uid);
        ledger.deleted.push(pod);
    }

    /// A DELETE of a pod of `owner` was not answered.
    pub fn maybe_deleted(&self, owner: Uid, mut sent: SentDelete) {
        let mut ledgers = self.lock();
        let entries = &mut ledgers.entry(owner).or_default().maybe_deleted;
        // One that named no version can still be carried out at any.
        if entries
            .get(&sent.uid)
            .is_some_and(|before| before.version.is_none())
        {
            sent.version = None;
        }
        entries.insert(sent.uid, sent);
    }

    /// The DELETE of this pod that was not answered, if there is one.
    pub fn delete_in_doubt(&self, owner: Uid, pod: Uid) -> Option<SentDelete> {
        self.lock().get(&owner)?.maybe_deleted.get(&pod).cloned()
    }

    /// A live read, begun after the DELETE was given up, shows this under the name of a pod that may have been deleted.
    pub fn looked_for(&self, owner: Uid, pod: Uid, seen: Option<Seen>, now: Timestamp) {
        let Some(sent) = self.delete_in_doubt(owner, pod) else {
            return;
        };
        match seen.filter(|seen| seen.uid == pod && !seen.is_terminating) {
            None => {
                let (uid, node) = (sent.uid, sent.node);
                self.deleted(owner, DeletedPod { uid, node, at: now });
            }
            Some(alive) => {
                let is_another = sent.version.is_some_and(|version| version != alive.version);
                if is_another || is_dead(sent.at, now) {
                    self.change(owner, |ledger| ledger.maybe_deleted.remove(&pod));
                }
            }
        }
    }

    /// A POST of a pod succeeded; the answer was of this version.
    pub fn created(&self, owner: Uid, pod: CreatedPod, version: u64) {
        let mut ledgers = self.lock();
        let ledger = ledgers.entry(owner).or_default();
        ledger.settle_create(pod.node);
        ledger.created.push((pod, version));
    }

    /// A pod was posted under the name that was decided on.
    pub fn posted(&self, owner: Uid, pod: cloneset::CreatedPod, answer: PostAnswer, at: Timestamp) {
        let named = Named {
            pod: pod.clone(),
            at,
            answer,
        };
        self.lock()
            .entry(owner)
            .or_default()
            .named
            .insert(pod.name, named);
    }

    /// The pods of `owner` whose POST was not answered, and what was posted.
    pub fn unanswered(&self, owner: Uid) -> Vec<(cloneset::CreatedPod, Value)> {
        let ledgers = self.lock();
        let named = ledgers
            .get(&owner)
            .into_iter()
            .flat_map(|ledger| ledger.named.values());
        named
            .filter_map(|named| match &named.answer {
                PostAnswer::Made(_) => None,
                PostAnswer::Missing(manifest) => Some((named.pod.clone(), manifest.clone())),
            })
            .collect()
    }

    /// A pod that was posted under this name will not come, or the stores know it.
    pub fn name_settled(&self, owner: Uid, name: &str) {
        self.change(owner, |ledger| ledger.named.remove(name));
    }

    /// A PATCH of a pod at this version was not answered.
    pub fn maybe_patched(&self, owner: Uid, pod: Uid, version: u64, at: Timestamp) {
        let mut ledgers = self.lock();
        ledgers
            .entry(owner)
            .or_default()
            .maybe_patched
            .insert(pod, (version, at));
    }

    /// The server would not change the resources of a pod.
    pub fn resize_refused(&self, owner: Uid, refused: cloneset::RefusedResize) {
        let mut ledgers = self.lock();
        let ledger = ledgers.entry(owner).or_default();
        ledger.refused_resizes.insert(refused.pod, refused);
    }

    /// The server refused a write about a pod: it is put off, for twice as long each time in a row.
    pub fn write_refused(&self, owner: Uid, pod: Uid, is_delete: bool, message: &str, now: Timestamp) {
        let mut ledgers = self.lock();
        let refused = &mut ledgers.entry(owner).or_default().refused_writes;
        let times = refused.get(&pod).map_or(0, |(_, times)| times.saturating_add(1));
        let wait = PUT_OFF_FIRST
            .saturating_mul(2_i32.saturating_pow(times))
            .min(PUT_OFF_MOST);
        let write = cloneset::RefusedWrite {
            pod,
            is_delete,
            message: message.into(),
            until: now.checked_add(wait).unwrap_or(Timestamp::MAX),
        };
        refused.insert(pod, (write, times));
    }

    /// The server carried a write about a pod out.
    pub fn write_accepted(&self, owner: Uid, pod: Uid) {
        if let Some(ledger) = self.lock().get_mut(&owner) {
            ledger.refused_writes.remove(&pod);
        }
    }

    /// A DELETE of a claim succeeded, or found it gone.
    pub fn claim_deleted(&self, owner: Uid, claim: Uid, at: Timestamp) {
        self.lock()
            .entry(owner)
            .or_default()
            .deleted_claims
            .insert(claim, at);
    }

    /// What of a CloneSet the state does not show yet. Entries that ended are dropped.
    pub fn in_flight_by_name(&self, owner: Uid, state: &State, now: Timestamp) -> cloneset::InFlight {
        let by_node = self.in_flight(owner, state, now);
        let mut in_flight = cloneset::InFlight {
            deleted: by_node.deleted.iter().map(|deleted| deleted.uid).collect(),
            maybe_deleted: by_node.maybe_deleted,
            maybe_patched: by_node.maybe_patched,
            ..cloneset::InFlight::default()
        };
        let mut ledgers = self.lock();
        let Some(ledger) = ledgers.get_mut(&owner) else {
            return in_flight;
        };
        let is_young = |at: Timestamp| now.duration_since(at) < LIFETIME;
        let seen = state.version(Resource::Pods);
        let shown: HashSet<&Arc<str>> = if ledger.named.is_empty() {
            HashSet::new()
        } else {
            state.pods_of(owner).iter().map(|pod| &pod.name).collect()
        };
        ledger.named.retain(|name, named| {
            let is_shown = shown.contains(name);
            let is_awaited = match named.answer {
                PostAnswer::Made(version) => is_young(named.at) && seen < version,
                PostAnswer::Missing(_) => true,
            };
            !is_shown && is_awaited
        });
        ledger.deleted_claims.retain(|uid, at| {
            let claim = state.claim_of(owner, *uid);
            is_young(*at) && claim.is_some_and(|claim| !claim.is_terminating)
        });
        ledger.refused_resizes.retain(|uid, _| state.pod(*uid).is_some());
        ledger.refused_writes.retain(|uid, _| state.pod(*uid).is_some());
        in_flight.refused_writes = ledger
            .refused_writes
            .values()
            .map(|(write, _)| write.clone())
            .collect();
        in_flight.refused_resizes = ledger.refused_resizes.values().cloned().collect();
        in_flight.created = ledger.named.values().map(|named| named.pod.clone()).collect();
        in_flight.deleted_claims = ledger.deleted_claims.keys().copied().collect();
        if ledger.len() == 0 {
            ledgers.remove(&owner);
        }
        in_flight
    }

    /// A POST of a pod was not answered.
    pub fn maybe_created(&self, owner: Uid, node: NodeSlot, sent: SentCreate) {
        let mut ledgers = self.lock();
        let ledger = ledgers.entry(owner).or_default();
        ledger.maybe_created.insert(node, sent);
    }

    /// The name that an unanswered POST for this node used.
    pub fn name_in_doubt(&self, owner: Uid, node: NodeSlot) -> Option<String> {
        let ledgers = self.lock();
        Some(ledgers.get(&owner)?.maybe_created.get(&node)?.name.clone())
    }

    /// What became of an unanswered POST for this node is known, and the stores know it too.
    pub fn create_settled(&self, owner: Uid, node: NodeSlot) {
        self.change(owner, |ledger| ledger.settle_create(node));
    }

    /// The name that the next pod of this node gets, since a POST under it may come yet. Upholds S8.
    pub fn name_of_late(&self, owner: Uid, node: NodeSlot, now: Timestamp) -> Option<String> {
        let ledgers = self.lock();
        let sent = ledgers.get(&owner)?.maybe_late.get(&node)?;
        (!is_dead(sent.at, now)).then(|| sent.name.clone())
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
        ledger.maybe_deleted.retain(|uid, sent| {
            state.pod(*uid).is_some_and(|pod| {
                !pod.is_terminating() && sent.version.is_none_or(|version| version == pod.resource_version)
            })
        });
        let is_seen = |sent: &SentCreate| state.pods_of(owner).iter().any(|pod| *pod.name == *sent.name);
        let seen = ledger.maybe_created.iter().filter(|(_, sent)| is_seen(sent));
        let seen: Vec<NodeSlot> = seen.map(|(node, _)| *node).collect();
        for node in seen {
            ledger.settle_create(node);
        }
        ledger.maybe_late.retain(|_, sent| !is_dead(sent.at, now));
        ledger.maybe_patched.retain(|uid, (version, at)| {
            let is_same = state
                .pod(*uid)
                .is_some_and(|pod| pod.resource_version == *version);
            is_same && !is_dead(*at, now)
        });
        let in_flight = InFlight {
            deleted: ledger.deleted.clone(),
            created: ledger.created.iter().map(|(entry, _)| entry.clone()).collect(),
            maybe_deleted: ledger.maybe_deleted.keys().copied().collect(),
            maybe_patched: ledger.maybe_patched.keys().copied().collect(),
            maybe_created: ledger.maybe_created.keys().copied().collect(),
        };
        if ledger.len() == 0 {
            ledgers.remove(&owner);
        }
        in_flight
    }

    /// The writes of `owner` without an answer whose requests must be dead by now.
    pub fn overdue(&self, owner: Uid, now: Timestamp) -> Overdue {
        let ledgers = self.lock();
        let Some(ledger) = ledgers.get(&owner) else {
            return Overdue::default();
        };
        let deletes = ledger.maybe_deleted.values().filter(|sent| is_dead(sent.at, now));
        let creates = ledger
            .maybe_created
            .iter()
            .filter(|(_, sent)| is_dead(sent.at, now));
        Overdue {
            deletes: deletes.cloned().collect(),
            creates: creates.map(|(node, sent)| (*node, sent.clone())).collect(),
        }
    }

    /// How long until the next write of `owner` without an answer is overdue; `None`: there is none.
    pub fn overdue_in(&self, owner: Uid, now: Timestamp) -> Option<Duration> {
        let ledgers = self.lock();
        let ledger = ledgers.get(&owner)?;
        let deletes = ledger.maybe_deleted.values().map(|sent| sent.at);
        let first = deletes
            .chain(ledger.maybe_created.values().map(|sent| sent.at))
            .min()?;
        let left = LINGERS.checked_sub(now.duration_since(first))?;
        Some(Duration::try_from(left).unwrap_or_default())
    }

    /// The workload is gone.
    pub fn forget(&self, owner: Uid) {
        self.lock().remove(&owner);
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        #[allow(clippy::iter_over_hash_type, reason = "a sum does not depend on the order")]
        self.lock().values().map(Ledger::len).sum()
    }

    /// Does it have no entries?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn change<T>(&self, owner: Uid, change: impl FnOnce(&mut Ledger) -> T) -> Option<T> {
        self.lock().get_mut(&owner).map(change)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uid, Ledger>> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Was a request given up so long ago that nobody carries it out any more?
fn is_dead(given_up_at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(given_up_at) >= LINGERS
}
