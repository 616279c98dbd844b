//! Owners and dependents by uid.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use pitstop_api::view::Uid;

use super::super::wire::Meta;
use crate::kinds::Kind;

/// One object, by what the collector needs of it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) kind: &'static Kind,
    pub(super) meta: Arc<Meta>,
}

/// All objects, and who depends on whom.
#[derive(Debug, Default)]
pub(super) struct Graph {
    objects: HashMap<Uid, Known>,
    dependents: HashMap<Uid, BTreeSet<Uid>>,
    n_in_namespace: HashMap<String, usize>,
    /// Owners that are known not to be there while objects name them, with the URLs where they are not.
    absent: HashMap<Uid, BTreeSet<String>>,
}

impl Graph {
    pub(super) fn get(&self, uid: Uid) -> Option<&Known> {
        self.objects.get(&uid)
    }

    /// All uids, in order.
    pub(super) fn uids(&self) -> Vec<Uid> {
        let mut all: Vec<Uid> = self.objects.keys().copied().collect();
        all.sort_unstable();
        all
    }

    /// The objects that name this owner.
    pub(super) fn dependents(&self, owner: Uid) -> Vec<Uid> {
        self.dependents
            .get(&owner)
            .into_iter()
            .flatten()
            .copied()
            .collect()
    }

    pub(super) fn has_dependents(&self, owner: Uid) -> bool {
        self.dependents.contains_key(&owner)
    }

    /// Is there a dependent that has to go before its owner?
    pub(super) fn is_blocked(&self, owner: Uid) -> bool {
        let dependents = self.dependents.get(&owner).into_iter().flatten();
        dependents.filter_map(|uid| self.objects.get(uid)).any(|known| {
            let mut owners = known.meta.metadata.owner_references.iter();
            owners.any(|o| o.block_owner_deletion == Some(true) && Uid::parse(&o.uid) == Some(owner))
        })
    }

    pub(super) fn has_objects_in(&self, namespace: &str) -> bool {
        self.n_in_namespace.contains_key(namespace)
    }

    /// Takes an object in, and returns what was known of it before.
    pub(super) fn insert(&mut self, uid: Uid, known: Known) -> Option<Known> {
        let namespace = known.meta.metadata.namespace.clone();
        let owners = known.owners();
        self.absent.remove(&uid);
        let before = self.objects.insert(uid, known);
        if before.is_none() {
            *self.n_in_namespace.entry(namespace).or_default() += 1;
        }
        for owner in &owners {
            self.dependents.entry(*owner).or_default().insert(uid);
        }
        for owner in before.iter().flat_map(Known::owners) {
            if !owners.contains(&owner) {
                self.forget_edge(owner, uid);
            }
        }
        before
    }

    /// Takes an object out. It never comes back, so those who name it know that it is absent.
    pub(super) fn remove(&mut self, uid: Uid) -> Option<Known> {
        let known = self.objects.remove(&uid)?;
        let namespace = &known.meta.metadata.namespace;
        if let Some(n) = self.n_in_namespace.get_mut(namespace) {
            *n -= 1;
            if *n == 0 {
                self.n_in_namespace.remove(namespace);
            }
        }
        for owner in known.owners() {
            self.forget_edge(owner, uid);
        }
        self.set_absent(uid, known.path());
        Some(known)
    }

    pub(super) fn set_absent(&mut self, owner: Uid, path: String) {
        if self.dependents.contains_key(&owner) {
            self.absent.entry(owner).or_default().insert(path);
        }
    }

    pub(super) fn is_absent(&self, owner: Uid, path: &str) -> bool {
        self.absent.get(&owner).is_some_and(|paths| paths.contains(path))
    }

    fn forget_edge(&mut self, owner: Uid, dependent: Uid) {
        if let Some(dependents) = self.dependents.get_mut(&owner) {
            dependents.remove(&dependent);
            if dependents.is_empty() {
                self.dependents.remove(&owner);
                self.absent.remove(&owner);
            }
        }
    }
}

impl Known {
    /// Its owners.
    pub(super) fn owners(&self) -> Vec<Uid> {
        let owners = self.meta.metadata.owner_references.iter();
        owners.filter_map(|owner| Uid::parse(&owner.uid)).collect()
    }

    /// Its URL.
    pub(super) fn path(&self) -> String {
        let common = &self.meta.metadata;
        path_of(self.kind, &common.namespace, &common.name)
    }

    /// Is it being deleted while it has this finalizer?
    pub(super) fn is_deleting_with(&self, finalizer: &str) -> bool {
        self.meta.metadata.deletion_timestamp.is_some() && has_finalizer(self, finalizer)
    }
}

pub(super) fn has_finalizer(known: &Known, finalizer: &str) -> bool {
    known.meta.metadata.finalizers.iter().any(|f| f == finalizer)
}

/// The URL of an object.
pub(super) fn path_of(kind: &Kind, namespace: &str, name: &str) -> String {
    format!("{}/{name}", collection_path(kind, namespace))
}

/// The URL of all objects of a kind, in a namespace or (without one) everywhere.
pub(in super::super) fn collection_path(kind: &Kind, namespace: &str) -> String {
    let root = if kind.group.is_empty() {
        format!("/api/{}", kind.version)
    } else {
        format!("/apis/{}/{}", kind.group, kind.version)
    };
    if kind.namespaced && !namespace.is_empty() {
        format!("{root}/namespaces/{namespace}/{}", kind.plural)
    } else {
        format!("{root}/{}", kind.plural)
    }
}
