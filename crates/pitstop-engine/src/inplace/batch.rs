//! Which containers change together, and what is written for them.
//!
//! Containers with a launch priority change one priority after the other, the highest first, and those of a lower one wait
//! until the ones before are ready. Source: inplace.md 4.2.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use pitstop_api::view::{ContainerSpec, Resources};
use serde_json::Value;

use super::change::{merge_metadata, whole_seconds};
use super::state::{BatchRecord, LastStatus, PreCheck, RefMetadata, Replaced, UpdateState};
use super::{Change, Live, UpdateSpec};

/// Containers and what they are to have.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// Images.
    pub images: BTreeMap<String, String>,
    /// Resources.
    pub resources: BTreeMap<String, Resources>,
    /// Metadata that they read.
    pub ref_metadata: BTreeMap<String, RefMetadata>,
}

impl Wanted {
    /// What an update wants.
    pub fn of(spec: &UpdateSpec) -> Self {
        Self {
            images: spec.images.clone(),
            resources: spec.resources.clone(),
            ref_metadata: spec.ref_metadata.clone(),
        }
    }

    /// What waits for its turn; the state is left without.
    pub fn take_next(state: &mut UpdateState) -> Self {
        Self {
            images: std::mem::take(&mut state.next_container_images),
            resources: std::mem::take(&mut state.next_container_resources),
            ref_metadata: std::mem::take(&mut state.next_container_ref_metadata),
        }
    }

    fn touches(&self, name: &str) -> bool {
        self.images.contains_key(name)
            || self.resources.contains_key(name)
            || self.ref_metadata.contains_key(name)
    }
}

/// The containers whose turn it is, sorted.
///
/// Of those affected: all without a priority, those of the highest, and those that share a label or annotation with one
/// of them, which cannot change for one container alone. Source: inplace.md 4.2, steps 2 and 3.
pub fn first_batch(containers: &[ContainerSpec], wanted: &Wanted) -> BTreeSet<String> {
    let affected = || {
        containers
            .iter()
            .filter(|container| wanted.touches(&container.name))
    };
    let highest = affected().filter_map(|container| container.priority).max();
    let mut batch: BTreeSet<String> = affected()
        .filter(|container| container.priority.is_none() || container.priority == highest)
        .map(|container| container.name.to_string())
        .collect();
    loop {
        let read = |name: &String| wanted.ref_metadata.get(name);
        let labels: BTreeSet<&String> = batch
            .iter()
            .filter_map(read)
            .flat_map(|m| m.labels.keys())
            .collect();
        let annotations: BTreeSet<&String> = batch
            .iter()
            .filter_map(read)
            .flat_map(|m| m.annotations.keys())
            .collect();
        let shares = |metadata: &RefMetadata| {
            metadata.labels.keys().any(|key| labels.contains(key))
                || metadata.annotations.keys().any(|key| annotations.contains(key))
        };
        let joining: Vec<String> = wanted
            .ref_metadata
            .iter()
            .filter(|(name, metadata)| !batch.contains(*name) && shares(metadata))
            .map(|(name, _)| name.clone())
            .collect();
        if joining.is_empty() {
            return batch;
        }
        batch.extend(joining);
    }
}

/// Changes the containers whose turn it is, and notes in the state what was changed and what comes next.
///
/// Source: inplace.md 4.2.
pub fn advance(live: Live<'_>, wanted: Wanted, state: &mut UpdateState, now: Timestamp) -> Change {
    let mut change = Change::default();
    let batch = first_batch(&live.view.spec.containers, &wanted);
    for (name, image) in wanted.images {
        if batch.contains(&name) {
            record(live, &name, &image, state);
            change.images.insert(name, image);
        } else {
            state.next_container_images.insert(name, image);
        }
    }
    for (name, resources) in wanted.resources {
        if batch.contains(&name) {
            let noted = state.proof.resources.entry(name.clone()).or_default();
            noted.limits.extend(resources.limits.clone());
            noted.requests.extend(resources.requests.clone());
            change.resources.insert(name, resources);
        } else {
            state.next_container_resources.insert(name, resources);
        }
    }
    for (name, metadata) in wanted.ref_metadata {
        if batch.contains(&name) {
            metadata
                .labels
                .iter()
                .for_each(|(key, value)| change.label(key, value));
            let annotations = metadata.annotations.iter();
            annotations.for_each(|(key, value)| change.annotation(key, value));
        } else {
            state.next_container_ref_metadata.insert(name, metadata);
        }
    }
    let batch: Vec<String> = batch.into_iter().collect();
    state.pre_check_before_next = state.has_next().then(|| PreCheck {
        containers_required_ready: batch.clone(),
    });
    if !batch.is_empty() {
        state.container_batches_record.push(BatchRecord {
            timestamp: Some(whole_seconds(now)),
            containers: batch,
        });
        state.proof.written_at = Some(now);
        let generation = live.view.generation;
        let is_counted = generation > 0 && !change.images.is_empty();
        state.proof.generation = if is_counted {
            generation.saturating_add(1)
        } else {
            generation
        };
    }
    change
}

/// Adds a strategic merge patch of metadata, as a comparison of revisions made it.
pub(super) fn add_metadata(change: &mut Change, patch: Option<&Value>) {
    if let Some(Value::Object(metadata)) = patch.and_then(|patch| patch.get("metadata")) {
        merge_metadata(&mut change.metadata, metadata.clone());
    }
}

/// Notes what a container is just before its image changes.
///
/// What earlier updates noted that were never seen to be complete stays: the container that comes next may be theirs.
/// Source: inplace.md 4.2, step 4; 13.1.
fn record(live: Live<'_>, name: &str, image: &str, state: &mut UpdateState) {
    let status = live.view.status(name);
    if let Some(status) = status {
        let last = state.last_container_statuses.get_or_insert_default();
        last.entry(name.to_owned()).or_insert_with(|| LastStatus {
            image_id: status.image_id.to_string(),
        });
    }
    let present = live
        .view
        .container(name)
        .map_or("", |container| &*container.image);
    let earlier = state.proof.containers.remove(name);
    let mut replaced = earlier.map_or_else(
        || Replaced {
            from_image: present.to_owned(),
            from_container_id: status.map_or_else(String::new, |status| status.container_id.to_string()),
            ..Replaced::default()
        },
        |mut earlier| {
            let target = std::mem::take(&mut earlier.to_image);
            earlier.superseded.push(target);
            earlier
        },
    );
    image.clone_into(&mut replaced.to_image);
    replaced.superseded.retain(|other| other != image);
    replaced.superseded.sort();
    replaced.superseded.dedup();
    if let Some(status) = status {
        replaced.container_id = status.container_id.to_string();
        replaced.restart_count = status.restart_count;
        let id = status.image_id.to_string();
        if !id.is_empty() && !replaced.image_ids.contains(&id) {
            replaced.image_ids.push(id);
        }
    }
    state.proof.containers.insert(name.to_owned(), replaced);
}
