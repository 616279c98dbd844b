//! Which revision a workload is meant to have, which one it had, and which are surplus.
//!
//! Source: cloneset.md 4; statefulset.md 4. Differs from upstream: templates are compared by content, not byte by byte, so that a takeover
//! finds the revisions that are there (18.19).

use std::sync::Arc;

use pitstop_api::keys;
use pitstop_api::selector::Labels;
use pitstop_api::view::{RevisionView, Uid};
use serde_json::{Map, Value, json};

use super::action::Action;
use crate::inplace::diff::DiffOptions;
use crate::inplace::hash::go_json;
use crate::inplace::{Verdict, Version, diff, is_same_revision, short_revision};
use crate::revision::{decimal_hash, holds, kruise_data_of, template_of};

/// Bytes of a workload's name that are left in the names of its revisions.
const NAME_BYTES: usize = 223;

/// A revision that pods may have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    pub(crate) name: Arc<str>,
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
    pub(crate) fn template(&self) -> &Value {
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

/// A workload, as far as its revisions go.
#[derive(Debug)]
pub(crate) struct Keeper<'s, 'a> {
    pub(crate) namespace: &'s str,
    pub(crate) name: &'s str,
    pub(crate) uid: Uid,
    pub(crate) annotations: &'s Labels,
    pub(crate) template: &'s Value,
    /// A hash of its claim templates, where its revisions carry one.
    pub(crate) claims_hash: Option<String>,
    /// The reference by which revisions belong to it.
    pub(crate) owner: Value,
    /// How often a name was taken by other data.
    pub(crate) collision_count: i32,
    /// `status.currentRevision`.
    pub(crate) current: &'s str,
    /// The revisions of the snapshot.
    pub(crate) revisions: &'s [&'a RevisionView],
}

/// The revisions of a workload.
#[derive(Debug, Clone)]
pub(crate) struct History<'a> {
    /// The revision of the template as it is now.
    pub(crate) update: Target,
    /// The last revision that all pods had.
    pub(crate) current: Target,
    /// Writes.
    pub(crate) actions: Vec<Action>,
    /// Its revisions that stay, oldest first.
    listed: Vec<&'a RevisionView>,
}

/// Source: cloneset.md 4.6, 4.7.
pub(crate) fn build<'a>(keeper: &Keeper<'_, 'a>) -> History<'a> {
    let listed = listed(keeper);
    let next = listed
        .last()
        .map_or(1, |newest| newest.revision.saturating_add(1));
    let mut actions = Vec::new();
    let equal = listed
        .iter()
        .rev()
        .find(|revision| holds(revision, keeper.template));
    let update = match equal {
        Some(revision) => {
            let is_newest = listed.last().is_some_and(|newest| newest.uid == revision.uid);
            if !is_newest {
                actions.push(renumber(revision, next, keeper));
            }
            Target::of(revision)
        }
        None => {
            let (target, action) = create(keeper, next);
            actions.push(action);
            target
        }
    };
    let current = listed.iter().find(|revision| *revision.name == *keeper.current);
    History {
        current: current.map_or_else(|| update.clone(), |revision| Target::of(revision)),
        update,
        actions,
        listed,
    }
}

/// Its revisions, oldest first. Source: cloneset.md 4.4.
fn listed<'a>(keeper: &Keeper<'_, 'a>) -> Vec<&'a RevisionView> {
    let is_ours = |revision: &&RevisionView| revision.controller.is_none_or(|owner| owner.uid == keeper.uid);
    let revisions = keeper.revisions.iter().copied();
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

fn renumber(revision: &RevisionView, number: i64, keeper: &Keeper<'_, '_>) -> Action {
    let mut annotations = Vec::new();
    let noted = revision.annotations.get(keys::CLAIM_TEMPLATES_HASH);
    if let Some(hash) = keeper.claims_hash.as_ref().filter(|hash| noted != Some(hash)) {
        annotations.push((keys::CLAIM_TEMPLATES_HASH.to_owned(), hash.clone()));
    }
    if let Some(cause) = keeper.annotations.get(keys::CHANGE_CAUSE) {
        annotations.push((keys::CHANGE_CAUSE.to_owned(), cause.clone()));
    }
    Action::RenumberRevision {
        name: Arc::clone(&revision.name),
        uid: revision.uid,
        revision: number,
        annotations,
    }
}

fn create(keeper: &Keeper<'_, '_>, number: i64) -> (Target, Action) {
    let data = kruise_data_of(keeper.template);
    let hash = revision_hash(&data, keeper.collision_count);
    let base = keeper.name.get(..NAME_BYTES).unwrap_or(keeper.name);
    let name: Arc<str> = format!("{base}-{hash}").into();
    let mut annotations = keeper.annotations.clone();
    if let Some(hash) = &keeper.claims_hash {
        annotations.insert(keys::CLAIM_TEMPLATES_HASH.to_owned(), hash.clone());
    }
    let labels = keeper.template.pointer("/metadata/labels");
    let mut labels: Map<String, Value> = labels.and_then(Value::as_object).cloned().unwrap_or_default();
    labels.insert(keys::REVISION_DATA_HASH.to_owned(), Value::from(hash));
    let manifest = json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision",
        "metadata": {
            "name": name, "namespace": keeper.namespace, "labels": labels, "annotations": annotations,
            "ownerReferences": [keeper.owner],
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
pub(crate) fn revision_hash(data: &Value, collision_count: i32) -> String {
    let text = format!("{}{collision_count}", go_json(data));
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        hash.wrapping_mul(0x0100_0193) ^ u32::from(byte)
    });
    decimal_hash(hash)
}

impl History<'_> {
    /// The template of the revision in a pod's label.
    pub(crate) fn template_of(&self, label: &str) -> Option<&Value> {
        if is_same_revision(label, &self.update.name) {
            return Some(self.update.template());
        }
        self.known(label).and_then(template_of)
    }

    /// Can a pod with this label become the target in place?
    pub(crate) fn diff(&self, label: &str, target: &Target, options: DiffOptions) -> Verdict {
        let old = if is_same_revision(label, &self.update.name) {
            Some(self.update.version())
        } else {
            self.known(label).map(Version::of)
        };
        diff(old, target.version(), options)
    }

    /// The revision in a pod's label, by name or hash.
    fn known(&self, label: &str) -> Option<&RevisionView> {
        let mut listed = self.listed.iter();
        listed
            .find(|revision| is_same_revision(label, &revision.name))
            .copied()
    }

    /// The revisions that nobody controls yet.
    pub(crate) fn orphans(&self) -> impl Iterator<Item = &RevisionView> {
        self.listed
            .iter()
            .copied()
            .filter(|revision| revision.controller.is_none())
    }

    /// The revisions beyond the limit that none of these labels of pods names, oldest first.
    ///
    /// Source: cloneset.md 4.10.
    pub(crate) fn surplus<'l>(&self, limit: u32, labels: impl Iterator<Item = &'l str>) -> Vec<Action> {
        let mut used: Vec<&str> = labels.collect();
        used.sort_unstable();
        used.dedup();
        let is_used = |revision: &RevisionView| {
            revision.name == self.update.name
                || revision.name == self.current.name
                || used.iter().any(|label| is_same_revision(label, &revision.name))
        };
        let unused = self.listed.iter();
        let unused: Vec<_> = unused
            .filter(|revision| !is_used(revision) && revision.controller.is_some())
            .collect();
        let n_surplus = unused
            .len()
            .saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        let surplus = unused.into_iter().take(n_surplus);
        surplus
            .map(|revision| Action::DeleteRevision {
                name: Arc::clone(&revision.name),
                uid: revision.uid,
            })
            .collect()
    }
}

/// The label of pods of a revision: its name, or its hash where that is asked for or the name does not fit a label.
///
/// Source: cloneset.md 3, 18.18.
pub(crate) fn label_of(revision: &str, short: bool) -> &str {
    if short || revision.len() > 63 {
        short_revision(revision)
    } else {
        revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: cloneset.md 4.2.
    #[test]
    fn hashes_are_those_that_openkruise_gives() {
        let text = r#"{"spec":{"template":{"$patch":"replace","spec":{"containers":[{"image":"foo1","name":"c1"}]}}}}"#;
        let data: Value = serde_json::from_str(text).unwrap_or_default();
        assert_eq!(go_json(&data), text);
        assert_eq!(revision_hash(&data, 0), "5bf76ddbbd");
        assert_eq!(revision_hash(&data, 1), "5bf76ddbbf");
    }
}
