//! DaemonSets of one group, by name and by uid.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pitstop_api::selector::Selector;
use pitstop_api::view::{DaemonSetView, PodLabels, Uid};

use super::write::is_as_new;
use crate::store::change::Key;

/// DaemonSets of `apps`, or those of `apps.kruise.io`.
#[derive(Debug, Default)]
pub struct DaemonSetIndex {
    by_name: BTreeMap<Key, (Arc<DaemonSetView>, Option<Selector>)>,
    keys: HashMap<Uid, Key>,
}

impl DaemonSetIndex {
    /// The one of this name.
    pub fn get(&self, key: &Key) -> Option<&Arc<DaemonSetView>> {
        self.by_name.get(key).map(|(view, _)| view)
    }

    /// Its selector; `None` when there is no such DaemonSet or its selector is malformed or empty.
    pub fn selector(&self, key: &Key) -> Option<&Selector> {
        let (_, selector) = self.by_name.get(key)?;
        selector.as_ref().filter(|selector| !selector.is_empty())
    }

    /// All, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<DaemonSetView>)> {
        self.by_name.iter().map(|(key, (view, _))| (key, view))
    }

    /// The one with this uid.
    pub fn key(&self, uid: Uid) -> Option<&Key> {
        self.keys.get(&uid)
    }

    /// Those of a namespace whose selector matches these labels.
    pub fn selecting<'a>(
        &'a self,
        namespace: &'a Arc<str>,
        labels: &'a PodLabels,
    ) -> impl Iterator<Item = &'a Key> {
        let first = Key {
            namespace: Arc::clone(namespace),
            name: Arc::from(""),
        };
        self.by_name
            .range(first..)
            .take_while(move |(key, _)| key.namespace == *namespace)
            .filter(|(_, (_, selector))| {
                selector
                    .as_ref()
                    .is_some_and(|selector| !selector.is_empty() && selector.matches(labels))
            })
            .map(|(key, _)| key)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Is what is there as new as this?
    pub(super) fn is_as_new(&self, key: &Key, view: &DaemonSetView) -> bool {
        self.get(key).is_some_and(|stored| {
            stored.uid == view.uid && is_as_new(stored.resource_version, view.resource_version)
        })
    }

    /// Puts one in, and returns the one before.
    pub(super) fn put(&mut self, key: &Key, view: &Arc<DaemonSetView>) -> Option<Arc<DaemonSetView>> {
        let before = self.get(key).map(Arc::clone);
        if let Some(before) = &before {
            self.keys.remove(&before.uid);
        }
        self.keys.insert(view.uid, key.clone());
        let selector = view.selector.selector();
        self.by_name.insert(key.clone(), (Arc::clone(view), selector));
        before
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<DaemonSetView>> {
        let (view, _) = self.by_name.remove(key)?;
        self.keys.remove(&view.uid);
        Some(view)
    }
}
