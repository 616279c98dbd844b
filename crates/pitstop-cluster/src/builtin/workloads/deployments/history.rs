//! Revisions of a Deployment: their numbers, their names, and how many of them are kept.

use std::collections::BTreeMap;

use pitstop_api::keys;
use pitstop_api::selector::Labels;
use serde_json::{Value, json};

use super::super::super::writes::Write;
use super::super::objects::ReplicaSet;
use super::super::queue::{Sort, Step};
use super::Rollout;

/// Annotations of a Deployment that are not its ReplicaSets'.
const OWN: [&str; 6] = [
    keys::LAST_APPLIED,
    keys::DEPLOYMENT_REVISION,
    keys::DEPLOYMENT_REVISION_HISTORY,
    keys::DEPLOYMENT_DESIRED_REPLICAS,
    keys::DEPLOYMENT_MAX_REPLICAS,
    keys::DEPLOYMENT_ROLLBACK_TO,
];
/// Characters of a revision history.
const MAX_HISTORY: usize = 2000;

/// A name for a template: ten characters at most, another one for every collision.
pub(super) fn template_hash(template: &Value, collisions: i64) -> String {
    let mut text = template.to_string();
    if collisions > 0 {
        text.push_str(&collisions.to_string());
    }
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let alphabet = keys::SAFE_ALPHABET.as_bytes();
    let digits = hash.to_string();
    let safe = digits.bytes().filter_map(|digit| {
        let at = usize::from(digit).checked_rem(alphabet.len())?;
        alphabet.get(at).map(|byte| char::from(*byte))
    });
    safe.collect()
}

/// The annotations that a ReplicaSet takes over.
pub(super) fn copied(annotations: &Labels) -> Labels {
    let own = |key: &str| OWN.contains(&key);
    let kept = annotations.iter().filter(|(key, _)| !own(key));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn revision_of(set: &ReplicaSet) -> i64 {
    set.number(keys::DEPLOYMENT_REVISION).unwrap_or_default()
}

impl Rollout<'_> {
    /// The number of the current template's revision: one more than that of any other.
    pub(super) fn next_revision(&self) -> String {
        let newest = self
            .old
            .iter()
            .map(|set| revision_of(set))
            .max()
            .unwrap_or_default();
        newest.saturating_add(1).to_string()
    }

    /// Brings the annotations of the new set up to date: those of the Deployment, and the revision, which is new when
    /// an old template is taken again.
    pub(super) fn describe(&self, set: &ReplicaSet) -> Option<Step> {
        let before = &set.metadata.annotations;
        let mut wanted: BTreeMap<String, String> = copied(&self.deployment.metadata.annotations);
        let revision = self.next_revision();
        if revision.parse::<i64>().is_ok_and(|next| revision_of(set) < next) {
            if let Some(old) = before.get(keys::DEPLOYMENT_REVISION) {
                let past = before.get(keys::DEPLOYMENT_REVISION_HISTORY);
                wanted.insert(
                    keys::DEPLOYMENT_REVISION_HISTORY.to_owned(),
                    lengthened(past, old),
                );
            }
            wanted.insert(keys::DEPLOYMENT_REVISION.to_owned(), revision);
        }
        wanted.retain(|key, value| before.get(key) != Some(value));
        let seconds = self.deployment.spec.min_ready_seconds;
        if wanted.is_empty() && set.spec.min_ready_seconds == seconds {
            return None;
        }
        let body = json!({
            "metadata": {"resourceVersion": set.metadata.resource_version, "annotations": wanted},
            "spec": {"minReadySeconds": seconds},
        });
        Some(Step::new(Sort::ReplicaSet, Write::merge(set.path(), body)))
    }

    /// Deletes the oldest revisions beyond those that are kept.
    pub(super) fn forget_history(&self) -> Vec<Step> {
        let Some(limit) = self.deployment.spec.revision_history_limit else {
            return Vec::new();
        };
        let alive = |set: &&&ReplicaSet| set.metadata.deletion_timestamp.is_none();
        let mut sets: Vec<&ReplicaSet> = self.old.iter().filter(alive).copied().collect();
        let n_over = sets
            .len()
            .saturating_sub(usize::try_from(limit).unwrap_or_default());
        sets.sort_by_key(|set| revision_of(set));
        let is_idle = |set: &&ReplicaSet| {
            let is_observed = set.metadata.generation.unwrap_or_default() <= set.status.observed_generation;
            set.status.replicas == 0 && set.spec.replicas == 0 && is_observed
        };
        let gone = sets.into_iter().take(n_over).filter(is_idle);
        gone.map(|set| {
            let write = Write::delete(set.path(), &set.metadata.uid, None, Some("Background"));
            Step::new(Sort::ReplicaSet, write)
        })
        .collect()
    }
}

/// A history with one more revision; the oldest go when it becomes too long.
fn lengthened(past: Option<&String>, revision: &str) -> String {
    let Some(past) = past.filter(|past| !past.is_empty()) else {
        return revision.to_owned();
    };
    let mut revisions: Vec<&str> = past.split(',').chain([revision]).collect();
    while revisions.len() > 1 && revisions.join(",").len() > MAX_HISTORY {
        revisions.remove(0);
    }
    revisions.join(",")
}
