//! Which revision a CloneSet is meant to have, which one it had, and which are surplus.
//!
//! Source: cloneset.md 4. Differs from upstream: templates are compared by content, not byte by byte, so that a takeover
//! finds the revisions that are there (18.19).

use std::collections::BTreeMap;
use std::sync::Arc;

use pitstop_api::keys;
use pitstop_api::selector::Labels;
use pitstop_api::view::{CloneSetView, RevisionView};
use serde_json::{Map, Value, json};

use super::instance::owner_reference;
use super::plan::Action;
use super::snapshot::Snapshot;
use crate::inplace::diff::DiffOptions;
use crate::inplace::hash::go_json;
use crate::inplace::{Verdict, Version, diff, is_same_revision, short_revision};
use crate::revision::{data_of, decimal_hash, holds, template_of};

/// Bytes of a CloneSet's name that are left in the names of its revisions.
const NAME_BYTES: usize = 223;

/// A revision that pods may have.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub(super) name: Arc<str>,
    data: Arc<Value>,
    annotations: Arc<Labels>,
}

impl Target {
    fn of(revision: &RevisionView) -> Self {
        Self {
            name: Arc::clone(&revision.name),
            data: Arc::clone(&revision.data),
            annotations: Arc::clone(&revision.annotations),
        }
    }

    /// Its template.
    pub(super) fn template(&self) -> &Value {
        self.data.pointer("/spec/template").unwrap_or(&Value::Null)
    }

    fn version(&self) -> Version<'_> {
        Version {
            name: &self.name,
            data: &self.data,
            annotations: &self.annotations,
        }
    }
}

/// The revisions of a CloneSet.
#[derive(Debug, Clone)]
pub(super) struct History {
    /// The revision of the template as it is now.
    pub(super) update: Target,
    /// The last revision that all pods had.
    pub(super) current: Target,
    /// Writes.
    pub(super) actions: Vec<Action>,
}

/// Source: cloneset.md 4.6, 4.7.
pub(super) fn build(snapshot: &Snapshot<'_>) -> History {
    let cloneset = snapshot.cloneset;
    let listed = listed(snapshot);
    let next = listed
        .last()
        .map_or(1, |newest| newest.revision.saturating_add(1));
    let claims_hash = claims_hash(&cloneset.claim_templates);
    let mut actions = Vec::new();
    let equal = listed
        .iter()
        .rev()
        .find(|revision| holds(revision, &cloneset.template));
    let update = match equal {
        Some(revision) => {
            let is_newest = listed.last().is_some_and(|newest| newest.uid == revision.uid);
            if !is_newest {
                actions.push(renumber(revision, next, &claims_hash, cloneset));
            }
            Target::of(revision)
        }
        None => {
            let (target, action) = create(cloneset, next, &claims_hash);
            actions.push(action);
            target
        }
    };
    let current_name = &*cloneset.status.current_revision;
    let current = listed.iter().find(|revision| *revision.name == *current_name);
    History {
        current: current.map_or_else(|| update.clone(), |revision| Target::of(revision)),
        update,
        actions,
    }
}

/// Its revisions, oldest first. Source: cloneset.md 4.4.
fn listed<'a>(snapshot: &Snapshot<'a>) -> Vec<&'a RevisionView> {
    let uid = snapshot.cloneset.uid;
    let is_ours = |revision: &&RevisionView| revision.controller.is_none_or(|owner| owner.uid == uid);
    let revisions = snapshot.revisions.iter().copied();
    let mut listed: Vec<&RevisionView> = revisions
        .filter(is_ours)
        .filter(|revision| !revision.is_terminating)
        .collect();
    listed.sort_by(|a, b| {
        let by_age = a.revision.cmp(&b.revision).then(a.created_at.cmp(&b.created_at));
        by_age.then_with(|| a.name.cmp(&b.name))
    });
    listed
}

fn renumber(revision: &RevisionView, number: i64, claims_hash: &str, cloneset: &CloneSetView) -> Action {
    let mut annotations = Vec::new();
    if revision
        .annotations
        .get(keys::CLAIM_TEMPLATES_HASH)
        .map(String::as_str)
        != Some(claims_hash)
    {
        annotations.push((keys::CLAIM_TEMPLATES_HASH.to_owned(), claims_hash.to_owned()));
    }
    if let Some(cause) = cloneset.annotations.get(keys::CHANGE_CAUSE) {
        annotations.push((keys::CHANGE_CAUSE.to_owned(), cause.clone()));
    }
    Action::RenumberRevision {
        name: Arc::clone(&revision.name),
        uid: revision.uid,
        revision: number,
        annotations,
    }
}

fn create(cloneset: &CloneSetView, number: i64, claims_hash: &str) -> (Target, Action) {
    let data = data_of(&cloneset.template);
    let hash = revision_hash(&data, cloneset.status.collision_count.unwrap_or(0));
    let base = cloneset.name.get(..NAME_BYTES).unwrap_or(&cloneset.name);
    let name: Arc<str> = format!("{base}-{hash}").into();
    let mut annotations = cloneset.annotations.clone();
    annotations.remove(keys::LAST_APPLIED);
    annotations.insert(keys::CLAIM_TEMPLATES_HASH.to_owned(), claims_hash.to_owned());
    let mut labels = map_of(&cloneset.template, "/metadata/labels");
    labels.insert(keys::REVISION_DATA_HASH.to_owned(), Value::from(hash));
    let manifest = json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision",
        "metadata": {
            "name": name, "namespace": cloneset.namespace, "labels": labels, "annotations": annotations,
            "ownerReferences": [owner_reference(cloneset)],
        },
        "data": data, "revision": number,
    });
    let target = Target {
        name: Arc::clone(&name),
        data: Arc::new(data),
        annotations: Arc::new(annotations),
    };
    (target, Action::CreateRevision { name, manifest })
}

/// The hash in the name of a revision: FNV-1 of 32 bits over its data and the collision count, as digits that spell no
/// words. Source: cloneset.md 4.2.
pub(super) fn revision_hash(data: &Value, collision_count: i32) -> String {
    let text = format!("{}{collision_count}", go_json(data));
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        hash.wrapping_mul(0x0100_0193) ^ u32::from(byte)
    });
    decimal_hash(hash)
}

/// A hash of names and specs of claim templates; empty when there are none. Source: cloneset.md 4.8.
fn claims_hash(templates: &[Value]) -> String {
    if templates.is_empty() {
        return String::new();
    }
    let by_name: BTreeMap<&str, &Value> = templates
        .iter()
        .map(|template| {
            let name = template.pointer("/metadata/name").and_then(Value::as_str);
            (
                name.unwrap_or_default(),
                template.get("spec").unwrap_or(&Value::Null),
            )
        })
        .collect();
    let hash = go_json(&by_name).bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash.to_string()
}

fn map_of(value: &Value, pointer: &str) -> Map<String, Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

impl History {
    /// The template of the revision in a pod's label.
    pub(super) fn template_of<'a>(&'a self, snapshot: &Snapshot<'a>, label: &str) -> Option<&'a Value> {
        if is_same_revision(label, &self.update.name) {
            return Some(self.update.template());
        }
        known(snapshot, label).and_then(template_of)
    }

    /// Can a pod with this label become the target in place?
    pub(super) fn diff(
        &self,
        snapshot: &Snapshot<'_>,
        label: &str,
        target: &Target,
        options: DiffOptions,
    ) -> Verdict {
        let old = if is_same_revision(label, &self.update.name) {
            Some(self.update.version())
        } else {
            known(snapshot, label).map(Version::of)
        };
        diff(old, target.version(), options)
    }

    /// The revisions beyond the limit that no pod has, oldest first. Source: cloneset.md 4.10.
    pub(super) fn surplus(&self, snapshot: &Snapshot<'_>) -> Vec<Action> {
        let is_used = |revision: &RevisionView| {
            let has_it = |label: Option<&str>| label.is_some_and(|l| is_same_revision(l, &revision.name));
            let created = &snapshot.in_flight.created;
            revision.name == self.update.name
                || revision.name == self.current.name
                || snapshot.pods.iter().any(|pod| has_it(pod.revision_hash()))
                || created.iter().any(|pod| has_it(Some(&pod.revision)))
        };
        let mut unused = listed(snapshot);
        unused.retain(|revision| !is_used(revision) && revision.controller.is_some());
        let limit = usize::try_from(snapshot.cloneset.revision_history_limit).unwrap_or(usize::MAX);
        let n_surplus = unused.len().saturating_sub(limit);
        let surplus = unused.into_iter().take(n_surplus);
        surplus
            .map(|revision| Action::DeleteRevision {
                name: Arc::clone(&revision.name),
                uid: revision.uid,
            })
            .collect()
    }
}

/// The revision in a pod's label, by name or hash.
fn known<'a>(snapshot: &Snapshot<'a>, label: &str) -> Option<&'a RevisionView> {
    let mut listed = listed(snapshot).into_iter();
    listed.find(|revision| is_same_revision(label, &revision.name))
}

/// The label of pods of a revision: its name, or its hash where that is asked for or the name does not fit a label.
///
/// Source: cloneset.md 3, 18.18.
pub(super) fn label_of(revision: &str, short: bool) -> &str {
    if short || revision.len() > 63 {
        short_revision(revision)
    } else {
        revision
    }
}
