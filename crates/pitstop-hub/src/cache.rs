//! The pods of this node as they were last seen.
//!
//! Only bytes are held; views are read from them on demand.
//!
//! Source: hub.md B12.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::pod::{self, PodView};

/// A pod as it was last seen.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Identity.
    pub(crate) uid: String,
    /// The pod as clients get it.
    pub(crate) raw: Bytes,
}

/// What happened to the cache, for those that follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A pod is new or changed.
    Put(Box<PodView>),
    /// A pod is gone.
    Gone {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// Identity.
        uid: String,
    },
}

/// The pods of this node, by namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    pods: BTreeMap<(String, String), Seen>,
    /// Whether a complete list was ever seen, by this process or one before it.
    synced: bool,
}

impl Cache {
    /// What was saved by a process before this one.
    pub(crate) fn load(pods: impl IntoIterator<Item = Bytes>, synced: bool) -> Self {
        let mut cache = Self {
            synced,
            ..Self::default()
        };
        for raw in pods {
            cache.put(&raw);
        }
        cache
    }

    pub(crate) fn synced(&self) -> bool {
        self.synced
    }

    pub(crate) fn len(&self) -> usize {
        self.pods.len()
    }

    /// Takes in one pod; what is no pod is passed over.
    pub(crate) fn put(&mut self, raw: &[u8]) -> Option<Event> {
        let (Ok(view), Ok(raw)) = (PodView::read(raw), pod::clean(raw)) else {
            tracing::warn!("passing over a pod that cannot be read");
            return None;
        };
        let key = (view.namespace.clone(), view.name.clone());
        let uid = view.uid.clone();
        self.pods.insert(key, Seen { uid, raw });
        Some(Event::Put(Box::new(view)))
    }

    /// Lets go of one pod.
    pub(crate) fn gone(&mut self, raw: &[u8]) -> Option<Event> {
        let view = PodView::read(raw).ok()?;
        let key = (view.namespace, view.name);
        // A late farewell must not take the successor of the same name along.
        if self.pods.get(&key).is_some_and(|seen| seen.uid != view.uid) {
            return None;
        }
        self.pods.remove(&key)?;
        let (namespace, name) = key;
        Some(Event::Gone {
            namespace,
            name,
            uid: view.uid,
        })
    }

    /// Takes a complete list for the truth.
    pub(crate) fn replace(&mut self, list: &[Bytes]) -> Vec<Event> {
        let before = std::mem::take(&mut self.pods);
        let mut events: Vec<Event> = Vec::new();
        for raw in list {
            events.extend(self.put(raw));
        }
        self.synced = true;
        let mut kept = Vec::with_capacity(events.len());
        kept.extend(events.into_iter().filter(|event| match event {
            Event::Put(view) => {
                let key = (view.namespace.clone(), view.name.clone());
                let (now, then) = (self.pods.get(&key), before.get(&key));
                now.map(|seen| &seen.raw) != then.map(|seen| &seen.raw)
            }
            Event::Gone { .. } => true,
        }));
        for ((namespace, name), seen) in before {
            let now = self.pods.get(&(namespace.clone(), name.clone()));
            if now.is_none_or(|now| now.uid != seen.uid) {
                kept.push(Event::Gone {
                    namespace,
                    name,
                    uid: seen.uid,
                });
            }
        }
        kept
    }

    /// All pods as clients get them, in the order of namespace and name.
    pub(crate) fn raws(&self) -> Vec<Bytes> {
        self.pods.values().map(|seen| seen.raw.clone()).collect()
    }

    /// Bytes of all pods.
    pub(crate) fn bytes(&self) -> usize {
        self.pods.values().map(|seen| seen.raw.len()).sum()
    }

    /// One pod as it was last seen.
    pub(crate) fn seen(&self, namespace: &str, name: &str) -> Option<&Seen> {
        self.pods.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// One pod.
    pub(crate) fn view(&self, namespace: &str, name: &str) -> Option<PodView> {
        PodView::read(&self.seen(namespace, name)?.raw).ok()
    }

    /// All pods.
    pub(crate) fn views(&self) -> Vec<PodView> {
        let read = self.pods.values().map(|seen| PodView::read(&seen.raw));
        read.filter_map(Result::ok).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_pod(name: &str, uid: &str) -> Bytes {
        format!(r#"{{"metadata":{{"namespace":"default","name":"{name}","uid":"{uid}"}}}}"#).into()
    }

    fn gone(name: &str, uid: &str) -> Event {
        Event::Gone {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
        }
    }

    #[test]
    fn a_list_is_the_truth_and_tells_what_it_changed() {
        let mut cache = Cache::default();
        assert!(!cache.synced());
        assert_eq!(cache.replace(&[mk_pod("a", "1"), mk_pod("b", "2")]).len(), 2);
        let events = cache.replace(&[mk_pod("a", "1"), mk_pod("b", "3")]);
        assert!(matches!(&events[..], [Event::Put(put), last] if put.uid == "3" && *last == gone("b", "2")));
        assert_eq!(cache.replace(&[]), [gone("a", "1"), gone("b", "3")]);
        assert!(cache.synced());
    }

    #[test]
    fn a_late_farewell_leaves_the_successor_alone() {
        let mut cache = Cache::default();
        cache.put(&mk_pod("a", "2"));
        assert_eq!(cache.gone(&mk_pod("a", "1")), None);
        assert_eq!(cache.gone(&mk_pod("a", "2")), Some(gone("a", "2")));
    }
}
