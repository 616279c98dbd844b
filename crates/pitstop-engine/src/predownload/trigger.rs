//! When a workload has its images pulled ahead, and by which jobs: once for each revision. Source: inplace.md 11.1, 11.2.

use std::sync::Arc;

use pitstop_api::Amount;
use pitstop_api::selector::Labels;
use pitstop_api::view::{ImagePullJobView, RevisionView, Uid};
use pitstop_api::{image_pull, keys};
use serde_json::{Map, Value, json};

use crate::inplace::short_revision;

/// A workload with so few replicas has nothing to gain. Source: inplace.md 11.1, upstream's number.
pub const REPLICA_FLOOR: u32 = 3;
/// How long one attempt of a generated job may take where the workload does not say. Units: seconds.
/// Source: inplace.md 11.2.
const TIMEOUT_SECONDS: u32 = 300;
/// How long a generated job stays after its end. Units: seconds. Source: inplace.md 11.2.
const TTL_SECONDS: u32 = 600;

/// A workload between two revisions, or at one.
#[derive(Debug, Clone)]
pub struct Rollout<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// The reference that its jobs carry.
    pub owner: Value,
    /// `spec.selector`, as it is written.
    pub selector: Value,
    /// The revision that is meant; `None` while its object is not seen yet.
    pub update: Option<&'a RevisionView>,
    /// Is that the revision that all pods have?
    pub is_settled: bool,
    /// The template that is meant.
    pub template: &'a Value,
    /// The templates that pods may have: that of the current revision, or for DaemonSets those of all old ones.
    pub old_templates: Vec<&'a Value>,
    /// What is peculiar to its kind.
    pub manner: Manner,
    /// Does one step of the rollout take all pods: no partition, and all may be unavailable?
    pub is_one_batch: bool,
    /// How many updated pods have to be ready before. Units: pods.
    pub min_updated_ready: u32,
    /// How many are. 0 while the status is about another revision. Units: pods.
    pub updated_ready: u32,
    /// On how many nodes at once; 1 where it does not say.
    pub parallelism: Option<u32>,
    /// How long one attempt may take. Units: seconds.
    pub timeout_seconds: Option<u32>,
}

/// What is peculiar to a kind of workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// CloneSets and StatefulSets: only what restarts in place is worth it, since the nodes of new pods are not known.
    Replicas {
        /// How many are wanted. Units: pods.
        replicas: u32,
        /// Does it update pods in place by itself: neither `ReCreate` nor OnDelete?
        updates_in_place: bool,
        /// Can this pair of revisions be applied in place?
        is_possible: bool,
    },
    /// DaemonSets: pods that are replaced come back to their node.
    Daemons,
}

/// How many updated pods have to be ready before, of `replicas`. Units: pods.
///
/// Source: inplace.md 11.1, 13.16; cloneset.md 18.26.
pub fn min_updated_ready(field: Option<&Amount>, annotations: &Labels, replicas: u32) -> u32 {
    let key = keys::PRE_DOWNLOAD_MIN_UPDATED_READY_PODS;
    said(field, annotations, key, replicas).unwrap_or(0)
}

/// On how many nodes at once images are pulled ahead; at least on one, if anything is said. Units: nodes.
///
/// Source: inplace.md 11.1, 13.16.
pub fn parallelism(field: Option<&Amount>, annotations: &Labels, replicas: u32) -> Option<u32> {
    said(field, annotations, keys::PRE_DOWNLOAD_PARALLELISM, replicas).map(|nodes| nodes.max(1))
}

/// How long one attempt may take, by an annotation. Units: seconds.
pub fn timeout(annotation: Option<&String>) -> Option<u32> {
    annotation.and_then(|text| text.parse().ok())
}

/// A number, or a percentage of the replicas, rounded up: by the field, or else by the annotation.
fn said(field: Option<&Amount>, annotations: &Labels, key: &str, replicas: u32) -> Option<u32> {
    let annotated = || Some(Amount::of_text(&Value::from(annotations.get(key)?.as_str())));
    field.cloned().or_else(annotated)?.scaled_up(replicas).ok()
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing, or it waits.
    Nothing,
    /// The rollout is over: these jobs go.
    DeleteJobs(Vec<(Arc<str>, Uid)>),
    /// It is not worth it for this revision, which is noted on it.
    Ignore(Revision),
    /// These jobs are made. When all are there, that is noted on the revision.
    Create(Revision, Vec<NewJob>),
}

/// The revision that is labelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Name.
    pub name: Arc<str>,
    /// Uid, as precondition.
    pub uid: Uid,
}

/// A job to make.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Its name: `<revision>-<container>`.
    pub name: Arc<str>,
    /// The image.
    pub image: String,
    /// The object.
    pub manifest: Value,
}

/// Decides for a workload. `jobs`: those that it owns.
pub fn decide<'a>(rollout: &Rollout<'_>, jobs: impl IntoIterator<Item = &'a ImagePullJobView>) -> Step {
    if rollout.is_settled {
        let alive = jobs.into_iter().filter(|job| job.deleted_at.is_none());
        let names: Vec<_> = alive.map(|job| (Arc::clone(&job.name), job.uid)).collect();
        return if names.is_empty() {
            Step::Nothing
        } else {
            Step::DeleteJobs(names)
        };
    }
    let Some(update) = rollout.update else {
        return Step::Nothing;
    };
    // The number is not reached yet. DaemonSets honour it too, unlike upstream's (13.16).
    if rollout.updated_ready < rollout.min_updated_ready {
        return Step::Nothing;
    }
    let is_marked = |mark: &str| update.labels.contains_key(mark);
    if is_marked(keys::PRE_DOWNLOAD_CREATED) {
        return Step::Nothing;
    }
    let revision = Revision {
        name: Arc::clone(&update.name),
        uid: update.uid,
    };
    let is_worth_it = match rollout.manner {
        Manner::Replicas {
            replicas,
            updates_in_place,
            is_possible,
        } => updates_in_place && replicas > REPLICA_FLOOR && is_possible,
        Manner::Daemons => true,
    };
    if rollout.is_one_batch || !is_worth_it {
        // Differs from upstream: what is not worth it now may be so with more replicas (cloneset.md 18.26).
        return if is_marked(keys::PRE_DOWNLOAD_IGNORED) {
            Step::Nothing
        } else {
            Step::Ignore(revision)
        };
    }
    let jobs = changed_images(rollout)
        .into_iter()
        .map(|(container, image)| new_job(rollout, update, container, image))
        .collect();
    Step::Create(revision, jobs)
}

/// Containers whose image is in no old template under their name, with the image. Init containers are among them: they
/// run where a pod is replaced (13.16).
fn changed_images<'a>(rollout: &Rollout<'a>) -> Vec<(&'a str, &'a str)> {
    let had = |container: &str, image: &str| {
        let mut old = rollout.old_templates.iter();
        old.any(|template| images(template).any(|(name, other)| name == container && other == image))
    };
    images(rollout.template)
        .filter(|(container, image)| !image.is_empty() && !had(container, image))
        .collect()
}

fn images(template: &Value) -> impl Iterator<Item = (&str, &str)> {
    let lists = ["/spec/initContainers", "/spec/containers"].into_iter();
    let containers = lists
        .filter_map(|pointer| template.pointer(pointer)?.as_array())
        .flatten();
    containers.map(|container| {
        let text = |key: &str| container.get(key).and_then(Value::as_str).unwrap_or_default();
        (text("name"), text("image"))
    })
}

fn new_job(rollout: &Rollout<'_>, update: &RevisionView, container: &str, image: &str) -> NewJob {
    let name: Arc<str> = format!("{}-{container}", update.name).into();
    let map = |pointer: &str| -> Map<String, Value> {
        let map = rollout.template.pointer(pointer).and_then(Value::as_object);
        map.cloned().unwrap_or_default()
    };
    let hash = update
        .labels
        .get(keys::REVISION_DATA_HASH)
        .map_or_else(|| short_revision(&update.name), String::as_str);
    let mut labels = map("/metadata/labels");
    labels.insert(keys::REVISION_DATA_HASH.to_owned(), hash.into());
    let secrets: Vec<&Value> = rollout
        .template
        .pointer("/spec/imagePullSecrets")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|secret| secret.get("name"))
        .collect();
    let mut manifest = json!({
        "apiVersion": image_pull::API_VERSION, "kind": image_pull::Kind::Job.name(),
        "metadata": {
            "name": name, "namespace": rollout.namespace, "labels": labels, "ownerReferences": [rollout.owner],
        },
        "spec": {
            "image": image,
            "podSelector": selector_of_old_pods(&rollout.selector, update, hash),
            "parallelism": rollout.parallelism.unwrap_or(1),
            "pullPolicy": {
                "backoffLimit": 1, "timeoutSeconds": rollout.timeout_seconds.unwrap_or(TIMEOUT_SECONDS),
            },
            "completionPolicy": {"type": "Always", "ttlSecondsAfterFinished": TTL_SECONDS},
            "sandboxConfig": {"labels": labels, "annotations": map("/metadata/annotations")},
        },
    });
    if !secrets.is_empty()
        && let Some(spec) = manifest.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.insert("pullSecrets".to_owned(), json!(secrets));
    }
    NewJob {
        name,
        image: image.to_owned(),
        manifest,
    }
}

/// The pods of the workload that are not at this revision, whether their label is its name or its hash.
fn selector_of_old_pods(selector: &Value, update: &RevisionView, hash: &str) -> Value {
    let mut selector = selector.as_object().cloned().unwrap_or_default();
    let mut expressions = selector
        .get("matchExpressions")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    expressions.push(json!({"key": keys::REVISION_HASH, "operator": "NotIn", "values": [update.name, hash]}));
    selector.insert("matchExpressions".to_owned(), Value::Array(expressions));
    Value::Object(selector)
}

#[cfg(test)]
mod tests;
