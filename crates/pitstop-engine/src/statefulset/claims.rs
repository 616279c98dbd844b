//! Claims of volumes: which are missing, with whom each goes, and when each grows.
//!
//! Source: statefulset.md 3, 8.

use std::collections::BTreeMap;
use std::sync::Arc;

use pitstop_api::ClaimView;
use pitstop_api::claim::ClaimDisk;
use pitstop_api::keys;
use pitstop_api::storage::Expansion;
use pitstop_api::view::{ClaimStatus, PodView};
use serde_json::{Value, json};

use super::identity::{claim_templates, claims_of, ordinal_of, plain_reference, pod_name};
use super::rows::Row;
use super::snapshot::Snapshot;
use crate::instances::pod::template_name;
use crate::instances::{Action, ClaimWhy};

/// Whom a claim goes with. Source: statefulset.md 3, the table of the retention policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fate {
    with_set: bool,
    with_pod: bool,
}

fn fate(snapshot: &Snapshot<'_>, is_condemned: bool) -> Fate {
    let retention = snapshot.set.retention;
    Fate {
        with_set: retention.deletes_with_set && !(is_condemned && retention.deletes_when_scaled),
        with_pod: retention.deletes_when_scaled && is_condemned,
    }
}

/// Why a pod cannot be created now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotYet {
    /// A claim is left to a pod that was here before, and goes with it.
    Stale(Arc<str>),
    /// A claim is being deleted.
    Terminating(Arc<str>),
}

impl NotYet {
    /// What it waits for.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Stale(claim) => format!("pvc {claim} goes with the pod that was here before"),
            Self::Terminating(claim) => format!("pvc {claim} is to be deleted"),
        }
    }
}

/// How a claim compares with its template. Source: statefulset.md 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Growth {
    /// Does it ask for as much as the template?
    pub(super) is_compatible: bool,
    /// Does it have what it asks for?
    pub(super) is_ready: bool,
    /// Is all done that can be done while its pod runs?
    pub(super) is_completed: bool,
    /// Does it differ in more than its size?
    pub(super) differs_otherwise: bool,
}

impl Growth {
    fn of(claim: &ClaimDisk, template: &ClaimDisk) -> Self {
        let is_compatible = claim.request >= template.request;
        let is_ready = claim.capacity >= claim.request;
        let other_class = match (&claim.class, &template.class) {
            (Some(claim), Some(template)) => claim != template,
            _ => false,
        };
        Self {
            is_compatible,
            is_ready,
            is_completed: is_compatible && (is_ready || claim.is_resized_at_start),
            differs_otherwise: other_class || claim.access_modes != template.access_modes,
        }
    }
}

/// Does it matter which classes of storage there are: is there a claim that is to grow?
pub fn needs_classes(snapshot: &Snapshot<'_>) -> bool {
    if !may_grow(snapshot) {
        return false;
    }
    let claims = Claims::new(snapshot);
    let pods = snapshot.pods.iter();
    let mut ordinals = pods.filter_map(|pod| ordinal_of(&snapshot.set.name, &pod.name));
    ordinals.any(|ordinal| claims.is_small(ordinal))
}

/// Do claims grow with their templates? Source: statefulset.md 8.
fn may_grow(snapshot: &Snapshot<'_>) -> bool {
    snapshot.features.resizes_claims && snapshot.set.resizes_claims
}

/// The claims of a StatefulSet, by name.
pub(super) struct Claims<'s, 'a> {
    snapshot: &'s Snapshot<'a>,
    by_name: BTreeMap<&'a str, &'a ClaimView>,
    templates: Vec<ClaimDisk>,
}

impl<'s, 'a> Claims<'s, 'a> {
    pub(super) fn new(snapshot: &'s Snapshot<'a>) -> Self {
        let by_name = snapshot.claims.iter().map(|claim| (&*claim.name, *claim));
        let templates = snapshot.set.claim_templates.iter();
        Self {
            snapshot,
            by_name: by_name.collect(),
            templates: templates
                .filter(|template| template_name(template).is_some())
                .map(ClaimDisk::of)
                .collect(),
        }
    }

    /// Are there claims that grow with their templates?
    pub(super) fn grow(&self) -> bool {
        may_grow(self.snapshot) && !self.templates.is_empty()
    }

    /// The claims of an ordinal that are there, with the places of their templates.
    fn there(&self, ordinal: u32) -> Vec<(usize, &'a ClaimView)> {
        if self.templates.is_empty() {
            return Vec::new();
        }
        let ordinal = ordinal.to_string();
        let names = claim_templates(self.snapshot.set).names(&ordinal);
        let found = names.enumerate();
        found
            .filter_map(|(i, (_, name))| Some((i, *self.by_name.get(name.as_str())?)))
            .collect()
    }

    /// The claims of an ordinal that are not there.
    pub(super) fn missing(&self, ordinal: u32) -> Vec<Value> {
        if self.templates.is_empty() {
            return Vec::new();
        }
        let goes_with_set = self.snapshot.features.deletes_claims && fate(self.snapshot, false).with_set;
        let mut claims = claims_of(self.snapshot.set, ordinal, goes_with_set);
        claims.retain(|claim| {
            let name = claim.pointer("/metadata/name").and_then(Value::as_str);
            name.is_some_and(|name| !self.by_name.contains_key(name))
        });
        claims
    }

    /// May the pod of an ordinal be created?
    pub(super) fn obstacle(&self, ordinal: u32) -> Option<NotYet> {
        let pod = pod_name(&self.snapshot.set.name, ordinal);
        let retention = self.snapshot.set.retention;
        let is_left = |claim: &ClaimView| {
            let mut owners = claim.owners.iter();
            owners.any(|owner| *owner.kind == *"Pod" && *owner.name == *pod)
        };
        self.there(ordinal).into_iter().find_map(|(_, claim)| {
            let name = Arc::clone(&claim.name);
            let may_be_stale = self.snapshot.features.deletes_claims && retention.deletes_when_scaled;
            if claim.is_terminating {
                Some(NotYet::Terminating(name))
            } else {
                (may_be_stale && is_left(claim)).then_some(NotYet::Stale(name))
            }
        })
    }

    /// What makes each claim of a pod go with whom it is to go with.
    pub(super) fn bequeath(&self, row: &Row<'_>, is_condemned: bool) -> Vec<Action> {
        if !self.snapshot.features.deletes_claims {
            return Vec::new();
        }
        let want = fate(self.snapshot, is_condemned);
        let claims = self.there(row.ordinal).into_iter().map(|(_, claim)| claim);
        let claims = claims.filter(|claim| !claim.is_terminating);
        claims
            .filter_map(|claim| self.owned_by(claim, row.pod, want))
            .collect()
    }

    fn owned_by(&self, claim: &ClaimView, pod: &PodView, want: Fate) -> Option<Action> {
        let set = self.snapshot.set;
        let pod_reference =
            json!({ "apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid.to_string() });
        let wanted = [
            (set.uid, want.with_set, plain_reference(set)),
            (pod.uid, want.with_pod, pod_reference),
        ];
        let references = wanted.into_iter().filter_map(|(uid, wants, reference)| {
            let has = claim.owners.iter().any(|owner| owner.uid == uid);
            match (has, wants) {
                (false, true) => Some(reference),
                (true, false) => Some(json!({ "$patch": "delete", "uid": uid.to_string() })),
                _ => None,
            }
        });
        let references: Vec<Value> = references.collect();
        (!references.is_empty()).then(|| Action::PatchClaim {
            name: Arc::clone(&claim.name),
            uid: claim.uid,
            resource_version: claim.resource_version,
            pod: Arc::clone(&pod.name),
            patch: json!({ "metadata": { "ownerReferences": references } }),
            why: ClaimWhy::Owners,
        })
    }

    /// How the claims of an ordinal compare with their templates; those that are missing or terminate do not count.
    pub(super) fn growth(&self, ordinal: u32) -> Vec<(&'a ClaimView, usize, Growth)> {
        let there = self.there(ordinal).into_iter();
        let there = there.filter(|(_, claim)| !claim.is_terminating);
        there
            .filter_map(|(i, claim)| Some((claim, i, Growth::of(&claim.disk, self.templates.get(i)?))))
            .collect()
    }

    /// Is a claim of this ordinal without what it asks for?
    pub(super) fn is_growing(&self, ordinal: u32) -> bool {
        self.grow() && self.growth(ordinal).iter().any(|(_, _, growth)| !growth.is_ready)
    }

    /// Does any claim of this ordinal ask for less than its template?
    pub(super) fn is_small(&self, ordinal: u32) -> bool {
        self.grow()
            && self
                .growth(ordinal)
                .iter()
                .any(|(_, _, growth)| !growth.is_compatible)
    }

    /// The write that makes a claim grow; an error says why it cannot.
    pub(super) fn resize(&self, claim: &ClaimView, template: usize, pod: &str) -> Result<Action, String> {
        let set = self.snapshot.set;
        let mut written = set.claim_templates.iter().filter(|t| template_name(t).is_some());
        let classes = &self.snapshot.classes;
        let class = classes.class_of(claim.disk.class.as_deref()).unwrap_or_default();
        let name = &claim.name;
        if classes.expansion(class) != Some(Expansion::Allowed) {
            return Err(format!(
                "storage class {class:?} of pvc {name} does not allow volume expansion"
            ));
        }
        let template = written.nth(template);
        let resources = template.and_then(|template| template.pointer("/spec/resources"));
        Ok(Action::PatchClaim {
            name: Arc::clone(name),
            uid: claim.uid,
            resource_version: claim.resource_version,
            pod: pod.into(),
            patch: json!({
                "metadata": { "annotations": { keys::OWNED_BY_STATEFULSET: set.name } },
                "spec": { "resources": resources },
            }),
            why: ClaimWhy::Resize,
        })
    }

    /// How far claims are, by template. Source: statefulset.md 2.3.
    pub(super) fn status(&self, ordinals: impl Iterator<Item = u32>) -> Vec<ClaimStatus> {
        if !self.grow() {
            return Vec::new();
        }
        let templates = self.snapshot.set.claim_templates.iter().filter_map(template_name);
        let mut found: Vec<ClaimStatus> = templates
            .map(|name| ClaimStatus {
                volume_claim_name: name.to_owned(),
                ..ClaimStatus::default()
            })
            .collect();
        for (_, i, growth) in ordinals.flat_map(|ordinal| self.growth(ordinal)) {
            let Some(status) = found.get_mut(i) else { continue };
            let is_ready = growth.is_compatible && growth.is_ready;
            status.compatible_replicas = status
                .compatible_replicas
                .saturating_add(u32::from(growth.is_compatible));
            status.compatible_ready_replicas = status
                .compatible_ready_replicas
                .saturating_add(u32::from(is_ready));
        }
        found
    }
}
