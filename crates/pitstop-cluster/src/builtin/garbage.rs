//! The garbage collector: objects go when all their owners are gone.
//!
//! Source: embedded-cluster.md 11. Owners are known by uid: one that was made again under its old name is another.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use pitstop_api::keys;
use serde_json::{Value, json};

use super::wire::{Meta, Owner};
use super::writes::{Asked, Write};
use crate::kinds::{self, Kind};
use pitstop_api::view::Uid;

/// One object, by what the collector needs of it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) kind: &'static Kind,
    pub(super) meta: Arc<Meta>,
}

/// The graph of owners and dependents.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    objects: HashMap<Uid, Known>,
    dependents: HashMap<Uid, BTreeSet<Uid>>,
    by_namespace: HashMap<String, BTreeSet<Uid>>,
}

impl Garbage {
    /// The objects of a namespace.
    pub(super) fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Known> {
        let uids = self.by_namespace.get(namespace).into_iter().flatten();
        uids.filter_map(|uid| self.objects.get(uid))
    }

    pub(super) fn on_applied(
        &mut self,
        kind: &'static Kind,
        meta: Arc<Meta>,
        uid: Uid,
        is_synced: bool,
    ) -> Vec<Write> {
        self.forget_edges(uid);
        for owner in owners(&meta) {
            self.dependents.entry(owner).or_default().insert(uid);
        }
        let namespace = meta.metadata.common.namespace.clone();
        self.by_namespace.entry(namespace).or_default().insert(uid);
        self.objects.insert(uid, Known { kind, meta });
        if !is_synced {
            return Vec::new();
        }
        let mut writes = self.look_at(uid);
        writes.extend(self.release_owners(uid));
        writes
    }

    pub(super) fn on_deleted(&mut self, meta: &Meta, uid: Uid) -> Vec<Write> {
        self.forget_edges(uid);
        let owners = owners(meta);
        self.objects.remove(&uid);
        if let Some(all) = self.by_namespace.get_mut(&meta.metadata.common.namespace) {
            all.remove(&uid);
        }
        let orphans: Vec<Uid> = self.dependents.get(&uid).into_iter().flatten().copied().collect();
        let mut writes: Vec<Write> = orphans
            .into_iter()
            .flat_map(|dependent| self.look_at(dependent))
            .collect();
        writes.extend(owners.into_iter().flat_map(|owner| self.look_at(owner)));
        writes
    }

    /// Everything was listed: what waited for that is looked at.
    pub(super) fn on_synced(&mut self) -> Vec<Write> {
        let mut all: Vec<Uid> = self.objects.keys().copied().collect();
        all.sort_unstable();
        all.into_iter().flat_map(|uid| self.look_at(uid)).collect()
    }

    /// The server was asked for an owner that the graph does not have.
    pub(super) fn on_owner(&mut self, dependent: Uid, owner: Uid, answer: &Result<Value, u16>) -> Vec<Write> {
        let exists = match answer {
            Ok(object) => {
                object
                    .pointer("/metadata/uid")
                    .and_then(Value::as_str)
                    .and_then(Uid::parse)
                    == Some(owner)
            }
            Err(code) => *code != 404,
        };
        if exists || self.objects.contains_key(&owner) {
            return Vec::new();
        }
        let Some(known) = self.objects.get(&dependent) else {
            return Vec::new();
        };
        let meta = &known.meta.metadata;
        let (gone, left): (Vec<&Owner>, Vec<&Owner>) = meta
            .owners
            .iter()
            .partition(|o| Uid::parse(&o.uid) == Some(owner));
        let path = path_of(known.kind, &meta.common.namespace, &meta.common.name);
        if left.is_empty() {
            if meta.common.deletion_timestamp.is_some() {
                return Vec::new();
            }
            return vec![Write::delete(path, &meta.common.uid, None, Some("Background"))];
        }
        let others_gone = left
            .iter()
            .all(|o| Uid::parse(&o.uid).is_some_and(|uid| !self.objects.contains_key(&uid)));
        if others_gone {
            return Vec::new();
        }
        gone.into_iter()
            .map(|owner| release(&path, &meta.common.uid, &owner.uid))
            .collect()
    }

    /// Decides about one object.
    fn look_at(&self, uid: Uid) -> Vec<Write> {
        let Some(known) = self.objects.get(&uid) else {
            return Vec::new();
        };
        let meta = &known.meta.metadata;
        if meta.common.deletion_timestamp.is_some() {
            return self.finish(uid, known);
        }
        let mut writes = Vec::new();
        for owner in &meta.owners {
            let Some(owner_uid) = Uid::parse(&owner.uid) else {
                continue;
            };
            match self.objects.get(&owner_uid) {
                Some(found) if is_deleting_foreground(found) => {
                    let path = path_of(known.kind, &meta.common.namespace, &meta.common.name);
                    let has_dependents = self.dependents.get(&uid).is_some_and(|all| !all.is_empty());
                    let policy = if has_dependents {
                        "Foreground"
                    } else {
                        "Background"
                    };
                    writes.push(Write::delete(path, &meta.common.uid, None, Some(policy)));
                    break;
                }
                Some(_) => {}
                // The graph may be behind: the server knows.
                None => writes.extend(ask(owner, &meta.common.namespace).map(|write| {
                    write.asked_by(Asked::Owner {
                        dependent: uid,
                        owner: owner_uid,
                    })
                })),
            }
        }
        writes
    }

    /// An object that waits for its dependents: they are deleted, or released, and then its finalizer goes.
    fn finish(&self, uid: Uid, known: &Known) -> Vec<Write> {
        let meta = &known.meta.metadata;
        let has = |finalizer: &str| meta.finalizers.iter().any(|f| f == finalizer);
        let dependents = || {
            let uids = self.dependents.get(&uid).into_iter().flatten();
            uids.filter_map(|dependent| Some((*dependent, self.objects.get(dependent)?)))
        };
        if has(keys::FINALIZER_ORPHAN) {
            let releases: Vec<Write> = dependents()
                .map(|(_, known)| {
                    let dependent = &known.meta.metadata.common;
                    release(
                        &path_of(known.kind, &dependent.namespace, &dependent.name),
                        &dependent.uid,
                        &meta.common.uid,
                    )
                })
                .collect();
            return if releases.is_empty() {
                vec![drop_finalizer(known, keys::FINALIZER_ORPHAN)]
            } else {
                releases
            };
        }
        if has(keys::FINALIZER_FOREGROUND) {
            let blocks = |known: &Known| {
                let owners = &known.meta.metadata.owners;
                owners
                    .iter()
                    .any(|o| o.block_owner_deletion && Uid::parse(&o.uid) == Some(uid))
            };
            let writes: Vec<Write> = dependents()
                .filter(|(_, known)| known.meta.metadata.common.deletion_timestamp.is_none())
                .flat_map(|(dependent, _)| self.look_at(dependent))
                .collect();
            if dependents().any(|(_, known)| blocks(known)) {
                return writes;
            }
            return vec![drop_finalizer(known, keys::FINALIZER_FOREGROUND)];
        }
        Vec::new()
    }

    /// A dependent that let go of its owner may have been the last that the owner waited for.
    fn release_owners(&self, uid: Uid) -> Vec<Write> {
        let Some(known) = self.objects.get(&uid) else {
            return Vec::new();
        };
        let waiting = self
            .by_namespace
            .get(&known.meta.metadata.common.namespace)
            .into_iter()
            .flatten();
        if !known.meta.metadata.owners.is_empty() {
            return Vec::new();
        }
        let is_orphaning = |uid: &&Uid| {
            let finalizers = self.objects.get(*uid).map(|known| &known.meta.metadata);
            finalizers.is_some_and(|meta| {
                meta.common.deletion_timestamp.is_some()
                    && meta.finalizers.iter().any(|f| f == keys::FINALIZER_ORPHAN)
            })
        };
        let waiting: Vec<Uid> = waiting.filter(is_orphaning).copied().collect();
        waiting
            .into_iter()
            .flat_map(|owner| self.look_at(owner))
            .collect()
    }

    fn forget_edges(&mut self, uid: Uid) {
        let Some(known) = self.objects.get(&uid) else {
            return;
        };
        for owner in owners(&known.meta) {
            if let Some(dependents) = self.dependents.get_mut(&owner) {
                dependents.remove(&uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner);
                }
            }
        }
    }
}

fn owners(meta: &Meta) -> Vec<Uid> {
    meta.metadata
        .owners
        .iter()
        .filter_map(|owner| Uid::parse(&owner.uid))
        .collect()
}

fn is_deleting_foreground(known: &Known) -> bool {
    let meta = &known.meta.metadata;
    meta.common.deletion_timestamp.is_some()
        && meta.finalizers.iter().any(|f| f == keys::FINALIZER_FOREGROUND)
}

/// The URL of an object.
pub(super) fn path_of(kind: &Kind, namespace: &str, name: &str) -> String {
    let root = if kind.group.is_empty() {
        format!("/api/{}", kind.version)
    } else {
        format!("/apis/{}/{}", kind.group, kind.version)
    };
    if kind.namespaced {
        format!("{root}/namespaces/{namespace}/{}/{name}", kind.plural)
    } else {
        format!("{root}/{}/{name}", kind.plural)
    }
}

/// The question for an owner; none for a kind that is not served: such an owner is left in peace.
fn ask(owner: &Owner, namespace: &str) -> Option<Write> {
    let (group, version) = owner
        .api_version
        .split_once('/')
        .unwrap_or(("", &owner.api_version));
    let kind = kinds::find_kind(group, version, &owner.kind)?;
    Some(Write::get(path_of(kind, namespace, &owner.name)))
}

fn release(path: &str, uid: &str, owner: &str) -> Write {
    let body = json!({
        "metadata": { "uid": uid, "ownerReferences": [{ "$patch": "delete", "uid": owner }] },
    });
    Write::strategic(path.to_owned(), body)
}

fn drop_finalizer(known: &Known, finalizer: &str) -> Write {
    let meta = &known.meta.metadata;
    let left: Vec<&String> = meta.finalizers.iter().filter(|f| *f != finalizer).collect();
    let body = json!({
        "metadata": {
            "uid": meta.common.uid, "resourceVersion": meta.common.resource_version, "finalizers": left,
        },
    });
    Write::merge(
        path_of(known.kind, &meta.common.namespace, &meta.common.name),
        body,
    )
}
