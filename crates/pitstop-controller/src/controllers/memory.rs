//! What a controller remembers of its workloads between reconciles. Losing it costs at most a repeated event.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pitstop_api::view::Uid;
use pitstop_engine::plan::{Event, Progress, Waiting};
use tokio::time::Instant;

use super::noted::Noted;
use crate::store::Key;

/// What is remembered of workloads: what all controllers note, and `T`, which is peculiar to one.
#[derive(Debug, Default)]
pub(super) struct Memories<T> {
    by_key: Mutex<BTreeMap<Key, Memory<T>>>,
}

#[derive(Debug, Default)]
struct Memory<T> {
    uid: Uid,
    noted: Noted,
    own: T,
}

impl<T: Default> Memories<T> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Memory<T>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened to a workload.
    pub(super) fn mark(&self, key: &Key) {
        self.lock().entry(key.clone()).or_default().noted.mark();
    }

    /// When something happened to it first since this was asked last.
    pub(super) fn take_mark(&self, key: &Key) -> Option<Instant> {
        self.lock().get_mut(key)?.noted.take_mark()
    }

    /// What is peculiar to the controller, made anew when another object has the name.
    pub(super) fn recall(&self, key: &Key, uid: Uid) -> T
    where
        T: Clone,
    {
        let mut memories = self.lock();
        let memory = memories.entry(key.clone()).or_default();
        if memory.uid != uid {
            memory.uid = uid;
            memory.own = T::default();
            memory.noted.renew();
        }
        memory.own.clone()
    }

    /// Changes what is peculiar to the controller, of a workload that is remembered.
    pub(super) fn change(&self, key: &Key, change: impl FnOnce(&mut T)) {
        if let Some(memory) = self.lock().get_mut(key) {
            change(&mut memory.own);
        }
    }

    /// What a decision said about the pods of a workload.
    pub(super) fn decided(&self, key: &Key, waiting: &[Waiting], progress: &Progress) {
        if let Some(memory) = self.lock().get_mut(key) {
            memory.noted.decided(waiting, progress);
        }
    }

    /// What the last decision about a workload counted.
    pub(super) fn progress(&self, key: &Key) -> Option<Progress> {
        Some(self.lock().get(key)?.noted.progress().clone())
    }

    /// The events that were not told yet, as far as they are told once only.
    pub(super) fn untold<'a>(&self, key: &Key, events: &'a [Event]) -> Vec<&'a Event> {
        match self.lock().get_mut(key) {
            Some(memory) => memory.noted.untold(events),
            None => events.iter().collect(),
        }
    }

    /// Forgets a workload, and says which object it was.
    pub(super) fn forget(&self, key: &Key) -> Option<Uid> {
        Some(self.lock().remove(key)?.uid)
    }

    /// The workloads that are remembered.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.lock().keys().cloned().collect()
    }

    /// How many workloads are stopped until somebody lets them go on, by reason.
    pub(super) fn stopped(&self) -> BTreeMap<&'static str, usize> {
        let mut sum = BTreeMap::new();
        for reason in self.lock().values().filter_map(|memory| memory.noted.stopped()) {
            *sum.entry(reason).or_default() += 1;
        }
        sum
    }

    /// How many pods are not at the target, by reason.
    pub(super) fn waiting(&self) -> BTreeMap<&'static str, usize> {
        let mut sum = BTreeMap::new();
        for memory in self.lock().values() {
            memory.noted.add_waiting(&mut sum);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use pitstop_api::Timestamp;
    use pitstop_engine::Reason;

    use super::*;

    fn key() -> Key {
        Key::new("shop", "web")
    }

    fn event(once_per: Option<&str>) -> Event {
        Event {
            is_warning: true,
            reason: "Reason",
            message: "text".into(),
            once_per: once_per.map(str::to_owned),
        }
    }

    #[test]
    fn another_object_of_the_name_begins_anew() {
        let memories = Memories::<Vec<u8>>::default();
        assert_eq!(memories.recall(&key(), Uid(1)), Vec::<u8>::new());
        memories.change(&key(), |own| own.push(7));
        let events = [event(Some("a")), event(None)];
        assert_eq!(memories.untold(&key(), &events).len(), 2);
        assert_eq!(memories.untold(&key(), &events).len(), 1, "once");
        assert_eq!(memories.recall(&key(), Uid(1)), [7]);
        memories.mark(&key());
        assert_eq!(memories.recall(&key(), Uid(2)), Vec::<u8>::new());
        assert_eq!(memories.untold(&key(), &events).len(), 2);
        assert!(memories.take_mark(&key()).is_some(), "what happened has happened");
        assert!(memories.take_mark(&key()).is_none());
        assert_eq!(
            (memories.forget(&key()), memories.forget(&key())),
            (Some(Uid(2)), None)
        );
        assert!(memories.keys().is_empty());
    }

    /// W2: the guard that has stopped a rollout shows in metrics; one that waits for the fate of nodes does not.
    #[test]
    fn rollouts_that_are_stopped_are_counted() {
        let memories = Memories::<u8>::default();
        let lost = |until| Reason::NodesLost {
            lost: 2,
            updated: 2,
            until,
        };
        let deadline = Reason::DeadlineExceeded { seconds: 60 };
        for (name, reason) in [
            ("a", Some(lost(None))),
            ("b", Some(lost(None))),
            ("c", Some(lost(Some(Timestamp::default())))),
            ("d", Some(deadline)),
            ("e", Some(Reason::Paused)),
            ("f", None),
        ] {
            let key = Key::new("shop", name);
            memories.mark(&key);
            let pods = reason.iter().flat_map(|reason| [reason.clone(), reason.clone()]);
            let waiting: Vec<_> = pods
                .map(|reason| Waiting {
                    pod: None,
                    node: None,
                    reason,
                })
                .collect();
            memories.decided(&key, &waiting, &Progress::default());
        }
        let stopped: Vec<_> = memories.stopped().into_iter().collect();
        assert_eq!(stopped, [("DeadlineExceeded", 1), ("NodesLostAfterUpdate", 2)]);
        memories.decided(&Key::new("shop", "d"), &[], &Progress::default());
        assert_eq!(memories.stopped().len(), 1, "it went on");
    }

    #[test]
    fn what_is_not_remembered_is_told_and_not_changed() {
        let memories = Memories::<u8>::default();
        assert_eq!(memories.untold(&key(), &[event(Some("a"))]).len(), 1);
        memories.change(&key(), |own| *own += 1);
        assert_eq!(memories.recall(&key(), Uid(1)), 0);
        assert_eq!(memories.progress(&key()), Some(Progress::default()));
    }
}
