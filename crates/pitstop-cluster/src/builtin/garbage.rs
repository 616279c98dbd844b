//! The garbage collector: objects go when all their owners are gone.
//!
//! Source: embedded-cluster.md 11. Owners are known by uid: one that was made again under its old name is another.

mod graph;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::keys;
use pitstop_api::view::{OwnerWire, Uid};
use serde_json::{Value, json};

use super::customs::News;
use super::wire::Meta;
use super::writes::{Asked, Event, Write};
use crate::kinds::{self, Kind};
pub(super) use graph::collection_path;
use graph::{Graph, Known, has_finalizer, path_of};

/// Event source of the collector.
const SOURCE: &str = "garbage-collector-controller";

/// The collector's view.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    graph: Graph,
    /// Owners whose existence the server is being asked about, by uid and URL.
    asking: BTreeSet<(Uid, String)>,
    is_synced: bool,
    /// Kinds that definitions bring, by group and kind, in the version in which the graph knows them.
    customs: BTreeMap<(&'static str, &'static str), &'static Kind>,
}

/// What one owner is to a dependent.
enum Bond {
    /// It is there and holds the object.
    Solid,
    /// It is being deleted and waits for the object to go.
    Waiting,
    /// It is being deleted and lets go of the object.
    Orphaning,
    /// It is not there.
    Absent,
    /// The graph does not have it, and the server was not asked at this URL yet.
    Unknown(String),
}

impl Garbage {
    /// Is a namespace empty, as far as objects are watched?
    pub(super) fn is_empty(&self, namespace: &str) -> bool {
        !self.graph.has_objects_in(namespace)
    }

    /// An object is there, new or changed.
    pub(super) fn on_applied(
        &mut self,
        kind: &'static Kind,
        meta: Arc<Meta>,
        uid: Uid,
        now: Timestamp,
    ) -> Vec<Write> {
        let before = self.graph.insert(uid, Known { kind, meta });
        if !self.is_synced {
            return Vec::new();
        }
        let Some(known) = self.graph.get(uid) else {
            return Vec::new();
        };
        let mut writes = Vec::new();
        let meta = &known.meta.metadata;
        if before
            .as_ref()
            .is_none_or(|b| b.meta.metadata.owner_references != meta.owner_references)
        {
            writes.extend(self.strangers(known, now));
        }
        let was_finishing = before
            .as_ref()
            .is_some_and(|b| is_finishing(b) && b.meta.metadata.finalizers == meta.finalizers);
        writes.extend(if is_finishing(known) && was_finishing {
            self.settle(uid).into_iter().collect()
        } else {
            self.look_at(uid)
        });
        let let_go = before.filter(|b| b.meta.metadata.owner_references != meta.owner_references);
        for owner in let_go.iter().flat_map(Known::owners) {
            writes.extend(self.settle(owner));
        }
        self.ask(writes)
    }

    /// An object is gone.
    pub(super) fn on_deleted(&mut self, uid: Uid) -> Vec<Write> {
        let Some(known) = self.graph.remove(uid) else {
            return Vec::new();
        };
        if !self.is_synced {
            return Vec::new();
        }
        let mut writes = Vec::new();
        for dependent in self.graph.dependents(uid) {
            writes.extend(self.look_at(dependent));
        }
        for owner in known.owners() {
            writes.extend(self.settle(owner));
        }
        self.ask(writes)
    }

    /// Everything was listed: what waited for that is looked at.
    pub(super) fn on_synced(&mut self) -> Vec<Write> {
        self.is_synced = true;
        let writes = self
            .graph
            .uids()
            .into_iter()
            .flat_map(|uid| self.look_at(uid))
            .collect();
        self.ask(writes)
    }

    /// The server was asked for an owner that the graph does not have.
    pub(super) fn on_owner(&mut self, owner: Uid, path: String, answer: &Result<Value, u16>) -> Vec<Write> {
        let is_absent = match answer {
            Ok(object) => {
                let uid = object.pointer("/metadata/uid").and_then(Value::as_str);
                uid.and_then(Uid::parse) != Some(owner)
            }
            Err(code) => *code == 404,
        };
        self.asking.remove(&(owner, path.clone()));
        if !is_absent || self.graph.get(owner).is_some() {
            return Vec::new();
        }
        self.graph.set_absent(owner, path);
        let dependents = self.graph.dependents(owner);
        let writes = dependents.into_iter().flat_map(|uid| self.look_at(uid)).collect();
        self.ask(writes)
    }

    /// Leaves out questions that are asked already.
    fn ask(&mut self, writes: Vec<Write>) -> Vec<Write> {
        let is_new = |write: &Write| match &write.asked_by {
            Some(Asked::Owner { owner, path }) => self.asking.insert((*owner, path.clone())),
            _ => true,
        };
        writes.into_iter().filter(is_new).collect()
    }

    /// Decides about one object.
    fn look_at(&self, uid: Uid) -> Vec<Write> {
        let Some(known) = self.graph.get(uid) else {
            return Vec::new();
        };
        let meta = &known.meta.metadata;
        if meta.deletion_timestamp.is_some() {
            return self.finish(uid, known);
        }
        let (mut solid, mut is_awaited) = (0_usize, false);
        let (mut loose, mut questions) = (Vec::new(), Vec::new());
        for owner in &meta.owner_references {
            match self.bond(known, owner) {
                Bond::Solid => solid += 1,
                Bond::Orphaning => return vec![known.release(&[&owner.uid])],
                Bond::Absent => loose.push(owner.uid.as_str()),
                Bond::Waiting => {
                    is_awaited = true;
                    loose.push(&owner.uid);
                }
                Bond::Unknown(path) => {
                    if let Some(owner) = Uid::parse(&owner.uid) {
                        questions.push(Write::get(path.clone()).asked_by(Asked::Owner { owner, path }));
                    }
                }
            }
        }
        if !questions.is_empty() {
            return questions;
        }
        if loose.is_empty() {
            return Vec::new();
        }
        if solid > 0 {
            return vec![known.release(&loose)];
        }
        let holds = |finalizer: &str| meta.finalizers.iter().any(|held| held == finalizer);
        // Never the policy of the kind, which for Jobs is to leave their pods behind.
        let policy = if holds(keys::FINALIZER_ORPHAN) {
            "Orphan"
        } else if holds(keys::FINALIZER_FOREGROUND) || (is_awaited && self.graph.has_dependents(uid)) {
            "Foreground"
        } else {
            "Background"
        };
        vec![known.delete(policy)]
    }

    /// A kind has come or gone.
    pub(super) fn on_kind(&mut self, news: News) {
        match news {
            News::Served(kind) => self.customs.insert((kind.group, kind.kind), kind),
            News::Gone(kind) => self.customs.remove(&(kind.group, kind.kind)),
        };
    }

    fn kind_of(&self, owner: &OwnerWire) -> Option<&'static Kind> {
        let (group, version) = owner
            .api_version
            .split_once('/')
            .unwrap_or(("", &owner.api_version));
        let custom = || self.customs.get(&(group, owner.kind.as_str())).copied();
        kinds::find_kind(group, version, &owner.kind).or_else(custom)
    }

    fn bond(&self, known: &Known, owner: &OwnerWire) -> Bond {
        // A kind that is not served cannot be judged: its objects are left in peace.
        let Some(kind) = self.kind_of(owner) else {
            return Bond::Solid;
        };
        // What is no uid of this server was never given to an object.
        let Some(uid) = Uid::parse(&owner.uid) else {
            return Bond::Absent;
        };
        let namespace = &known.meta.metadata.namespace;
        let path = path_of(kind, namespace, &owner.name);
        match self.graph.get(uid) {
            Some(found) if found.path() != path => Bond::Absent,
            Some(found) if found.is_deleting_with(keys::FINALIZER_ORPHAN) => Bond::Orphaning,
            Some(found) if found.is_deleting_with(keys::FINALIZER_FOREGROUND) => Bond::Waiting,
            Some(_) => Bond::Solid,
            None if kind.namespaced && namespace.is_empty() => Bond::Absent,
            None if self.graph.is_absent(uid, &path) => Bond::Absent,
            // The graph may be behind: the server knows.
            None => Bond::Unknown(path),
        }
    }

    /// An object that waits for its dependents: they are released, or deleted, and then its finalizer goes.
    fn finish(&self, uid: Uid, known: &Known) -> Vec<Write> {
        if !is_finishing(known) {
            return Vec::new();
        }
        let is_orphaning = has_finalizer(known, keys::FINALIZER_ORPHAN);
        let mut writes = Vec::new();
        for uid in self.graph.dependents(uid) {
            let Some(dependent) = self.graph.get(uid) else {
                continue;
            };
            if is_orphaning {
                writes.push(dependent.release(&[&known.meta.metadata.uid]));
            } else if dependent.meta.metadata.deletion_timestamp.is_none() {
                writes.extend(self.look_at(uid));
            }
        }
        writes.extend(self.settle(uid));
        writes
    }

    /// Lets an object go that waits for its dependents, when none keeps it any more.
    fn settle(&self, uid: Uid) -> Option<Write> {
        let known = self.graph.get(uid)?;
        if known.is_deleting_with(keys::FINALIZER_ORPHAN) {
            return (!self.graph.has_dependents(uid)).then(|| known.drop_finalizer(keys::FINALIZER_ORPHAN));
        }
        if known.is_deleting_with(keys::FINALIZER_FOREGROUND) {
            return (!self.graph.is_blocked(uid)).then(|| known.drop_finalizer(keys::FINALIZER_FOREGROUND));
        }
        None
    }

    /// Says which owners live in another namespace, where they cannot own this object.
    fn strangers(&self, known: &Known, now: Timestamp) -> Vec<Write> {
        let common = &known.meta.metadata;
        let is_stranger = |owner: &&OwnerWire| {
            let found = Uid::parse(&owner.uid).and_then(|uid| self.graph.get(uid));
            found.is_some_and(|found| {
                found.kind.namespaced && found.meta.metadata.namespace != common.namespace
            })
        };
        let owners = known.meta.metadata.owner_references.iter().filter(is_stranger);
        owners
            .map(|owner| {
                let message = format!(
                    "ownerRef [{}/{}, namespace: {}, name: {}, uid: {}] does not exist in namespace \"{}\"",
                    owner.api_version, owner.kind, common.namespace, owner.name, owner.uid, common.namespace
                );
                Event {
                    source: SOURCE,
                    kind: known.kind.kind,
                    meta: common,
                    uid: &common.uid,
                    is_warning: true,
                    reason: "OwnerRefInvalidNamespace",
                    message,
                    now,
                }
                .write()
            })
            .collect()
    }
}

/// Is it being deleted, with dependents to be seen to first?
fn is_finishing(known: &Known) -> bool {
    known.is_deleting_with(keys::FINALIZER_ORPHAN) || known.is_deleting_with(keys::FINALIZER_FOREGROUND)
}

impl Known {
    fn delete(&self, policy: &str) -> Write {
        let common = &self.meta.metadata;
        // The version too: an owner may have let go of the object in a change that is still on its way.
        Write::delete(self.path(), &common.uid, None, Some(policy)).at_version(&common.resource_version)
    }

    /// Takes owners away from it.
    fn release(&self, owners: &[&str]) -> Write {
        let gone: Vec<Value> = owners
            .iter()
            .map(|uid| json!({ "$patch": "delete", "uid": uid }))
            .collect();
        let body = json!({
            "metadata": { "uid": self.meta.metadata.uid, "ownerReferences": gone },
        });
        Write::strategic(self.path(), body)
    }

    fn drop_finalizer(&self, finalizer: &str) -> Write {
        let meta = &self.meta.metadata;
        let left: Vec<&String> = meta.finalizers.iter().filter(|f| *f != finalizer).collect();
        let body = json!({
            "metadata": {
                "uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": left,
            },
        });
        Write::merge(self.path(), body)
    }
}

#[cfg(test)]
mod tests;
