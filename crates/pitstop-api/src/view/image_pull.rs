//! ImagePullJobs and NodeImages as decisions see them: `apps.kruise.io/v1beta1`, which is what the server stores.
//!
//! Both are small, and are kept as they are on the wire.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::meta::{ControllerRef, MetaWire, Uid, ViewError};
use crate::image_pull::{BACKOFF_LIMIT, TIMEOUT_SECONDS};
use crate::selector::{LabelSelector, Labels};

/// An ImagePullJob.
#[derive(Debug, Clone, PartialEq)]
pub struct ImagePullJobView {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Identity.
    pub uid: Uid,
    /// Version of the object that this view was made from.
    pub resource_version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// Set while it terminates.
    pub deleted_at: Option<Timestamp>,
    /// What holds it after its deletion.
    pub finalizers: Vec<String>,
    /// Labels.
    pub labels: Labels,
    /// Who controls it.
    pub controller: Option<ControllerRef>,
    /// `spec`.
    pub spec: ImagePullJobSpec,
    /// `status`.
    pub status: ImagePullJobStatus,
}

/// `spec` of an ImagePullJob.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ImagePullJobSpec {
    /// The image.
    pub image: String,
    /// Names of secrets of its namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pull_secrets: Vec<String>,
    /// Which nodes; `None` and no `pod_selector`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<NodeSelector>,
    /// Nodes of which pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// On how many nodes at once, as written: a number or its digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<Value>,
    /// How patient each node is.
    pub pull_policy: PullPolicy,
    /// When it is done.
    pub completion_policy: CompletionPolicy,
    /// What the runtime is told beside the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox_config: Option<SandboxConfig>,
    /// `IfNotPresent` or `Always`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image_pull_policy: String,
}

impl ImagePullJobSpec {
    /// On how many nodes at once; 1 where it is absent or no number. 0 pauses the job. Units: nodes.
    pub fn nodes_at_once(&self) -> u32 {
        let number = match &self.parallelism {
            Some(Value::String(text)) => text.parse::<u32>().ok(),
            Some(value) => value.as_u64().and_then(|number| u32::try_from(number).ok()),
            None => None,
        };
        number.unwrap_or(1)
    }
}

/// Which nodes: by name, or by label.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSelector {
    /// Names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Labels of the NodeImage, which are those of its node.
    #[serde(flatten)]
    pub labels: LabelSelector,
}

/// How patient a node is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PullPolicy {
    /// How long one attempt may take. Units: seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// How often it is tried again; negative counts as 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_limit: Option<i32>,
    /// Of a tag: how long after its end the entry stays. Units: seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds_after_finished: Option<u32>,
    /// Of a tag: how long after `createdAt` the pull has failed. Units: seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_deadline_seconds: Option<i64>,
}

impl PullPolicy {
    /// How long one attempt may take. Units: seconds.
    pub fn timeout(&self) -> u32 {
        self.timeout_seconds.unwrap_or(TIMEOUT_SECONDS)
    }

    /// How often it is tried again at most. Source: inplace.md 11.5, negative counts as 3.
    pub fn retries(&self) -> u32 {
        let limit = self.backoff_limit.unwrap_or(BACKOFF_LIMIT);
        let limit = if limit < 0 { BACKOFF_LIMIT } else { limit };
        u32::try_from(limit).unwrap_or_default()
    }
}

/// When a job is done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CompletionPolicy {
    /// `Always`, also when absent, or `Never`.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// After so long it ends. Units: seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_deadline_seconds: Option<i64>,
    /// How long after its end it is deleted. Units: seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds_after_finished: Option<u32>,
}

impl CompletionPolicy {
    /// Does it go on for ever?
    pub fn is_never(&self) -> bool {
        self.kind == "Never"
    }
}

/// What a runtime is told beside an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct SandboxConfig {
    /// Labels.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Annotations.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub annotations: Labels,
}

/// `status` of an ImagePullJob.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ImagePullJobStatus {
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Timestamp>,
    /// Nodes that are meant.
    pub desired: u32,
    /// Nodes that pull.
    pub active: u32,
    /// Nodes that have it.
    pub succeeded: u32,
    /// Nodes that could not pull it.
    pub failed: u32,
    /// Which those are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed_nodes: Vec<String>,
    /// The same in words.
    pub message: String,
}

/// A NodeImage.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeImageView {
    /// Name: that of its node.
    pub name: Arc<str>,
    /// Identity.
    pub uid: Uid,
    /// Version of the object that this view was made from.
    pub resource_version: u64,
    /// Set while it terminates.
    pub deleted_at: Option<Timestamp>,
    /// The node that it was made for: its first owner of kind Node.
    pub node: Option<Uid>,
    /// Labels.
    pub labels: Labels,
    /// `spec`.
    pub spec: NodeImageSpec,
    /// `status`.
    pub status: NodeImageStatus,
}

/// `spec` of a NodeImage.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct NodeImageSpec {
    /// The images, by repository.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, ImageSpec>,
}

/// A repository.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ImageSpec {
    /// Secrets for its registry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pull_secrets: Vec<SecretReference>,
    /// What the runtime is told beside the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox_config: Option<SandboxConfig>,
    /// The versions.
    pub tags: Vec<ImageTag>,
}

/// A secret that a node may read.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(default)]
pub struct SecretReference {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `batch`: it belongs to jobs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
}

/// A version of an image.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ImageTag {
    /// A tag, or a digest.
    pub tag: String,
    /// Raised to have it pulled once more.
    pub version: i64,
    /// When this version was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// `IfNotPresent` or `Always`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image_pull_policy: String,
    /// Who wants it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<ObjectReference>,
    /// How patient the node is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_policy: Option<PullPolicy>,
}

/// Who wants a version of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectReference {
    /// Group and version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// Kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// `status` of a NodeImage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeImageStatus {
    /// Images that are wanted.
    pub desired: u32,
    /// Images that are there.
    pub succeeded: u32,
    /// Images that could not be pulled.
    pub failed: u32,
    /// Images that are being pulled.
    pub pulling: u32,
    /// Images that wait.
    pub waiting: u32,
    /// By repository.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub image_statuses: BTreeMap<String, ImageStatus>,
}

/// How far a repository is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ImageStatus {
    /// Its versions.
    pub tags: Vec<TagStatus>,
}

/// How far a version of an image is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TagStatus {
    /// A tag, or a digest.
    pub tag: String,
    /// How far.
    pub phase: PullPhase,
    /// Units: per cent. Range: 0..=100
    pub progress: u32,
    /// Which version of the wish this is about.
    pub version: i64,
    /// When the pull began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Timestamp>,
    /// What the runtime calls the image.
    #[serde(rename = "imageID", skip_serializing_if = "String::is_empty")]
    pub image_id: String,
    /// What went wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// How far a pull is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum PullPhase {
    /// It has not begun.
    #[default]
    Waiting,
    /// It goes on.
    Pulling,
    /// The image is there.
    Succeeded,
    /// It was given up.
    Failed,
    /// A word that this version does not know.
    #[serde(other)]
    Other,
}

impl NodeImageStatus {
    /// How far a version of an image is.
    pub fn of(&self, repository: &str, tag: &str) -> Option<&TagStatus> {
        let statuses = &self.image_statuses.get(repository)?.tags;
        statuses.iter().find(|status| status.tag == tag)
    }
}

impl NodeImageSpec {
    /// A version of an image.
    pub fn of(&self, repository: &str, tag: &str) -> Option<&ImageTag> {
        let tags = &self.images.get(repository)?.tags;
        tags.iter().find(|wanted| wanted.tag == tag)
    }
}

impl ImagePullJobView {
    /// Reads the object as the API serves it.
    ///
    /// # Errors
    /// A field has a type that the schema of the kind does not allow.
    pub fn from_json(json: &[u8]) -> Result<Self, ViewError> {
        let wire: Wire<ImagePullJobSpec, ImagePullJobStatus> = read(json, "ImagePullJob")?;
        let metadata = wire.metadata;
        Ok(Self {
            uid: metadata.uid()?,
            resource_version: metadata.version(),
            created_at: metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH),
            deleted_at: metadata.deletion_timestamp,
            controller: metadata.controller(),
            namespace: metadata.namespace.into(),
            name: metadata.name.into(),
            finalizers: metadata.finalizers,
            labels: metadata.labels,
            spec: wire.spec.unwrap_or_default(),
            status: wire.status.unwrap_or_default(),
        })
    }

    /// Does it do nothing any more?
    pub fn is_finished(&self) -> bool {
        self.status.completion_time.is_some()
    }
}

impl NodeImageView {
    /// Reads the object as the API serves it.
    ///
    /// # Errors
    /// A field has a type that the schema of the kind does not allow.
    pub fn from_json(json: &[u8]) -> Result<Self, ViewError> {
        let wire: Wire<NodeImageSpec, NodeImageStatus> = read(json, "NodeImage")?;
        Ok(Self {
            uid: wire.metadata.uid()?,
            resource_version: wire.metadata.version(),
            deleted_at: wire.metadata.deletion_timestamp,
            node: wire
                .metadata
                .owner_references
                .iter()
                .find(|owner| owner.kind == "Node" && owner.api_version == "v1")
                .and_then(|owner| Uid::parse(&owner.uid)),
            name: wire.metadata.name.into(),
            labels: wire.metadata.labels,
            spec: wire.spec.unwrap_or_default(),
            status: wire.status.unwrap_or_default(),
        })
    }
}

#[derive(Deserialize)]
struct Wire<S, T> {
    #[serde(default)]
    metadata: MetaWire,
    spec: Option<S>,
    status: Option<T>,
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8], kind: &'static str) -> Result<T, ViewError> {
    serde_json::from_slice(json).map_err(|error| ViewError {
        field: kind,
        problem: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_is_read_and_says_how_many_nodes_go_at_once() {
        let of = |spec: Value| {
            let job = json!({
                "metadata": {"name": "j", "namespace": "d", "uid": "00000000-0000-0000-0000-000000000001"}, "spec": spec,
            });
            ImagePullJobView::from_json(job.to_string().as_bytes()).unwrap()
        };
        for (parallelism, want) in [
            (json!(null), 1),
            (json!(5), 5),
            (json!("4"), 4),
            (json!(0), 0),
            (json!("x"), 1),
        ] {
            assert_eq!(of(json!({"parallelism": parallelism})).spec.nodes_at_once(), want);
        }
        let job = of(json!({"selector": {"names": ["a"], "matchLabels": {"x": "y"}}}));
        let selector = job.spec.selector.unwrap();
        assert_eq!((selector.names.len(), selector.labels.match_labels.len()), (1, 1));
    }

    /// inplace.md 11.5: negative → 3.
    #[test]
    fn a_negative_limit_is_the_default_one() {
        for (limit, want) in [(None, 3), (Some(-1), 3), (Some(0), 0), (Some(1), 1)] {
            let policy = PullPolicy {
                backoff_limit: limit,
                ..PullPolicy::default()
            };
            assert_eq!(policy.retries(), want, "{limit:?}");
        }
    }

    #[test]
    fn a_node_image_is_read_whole() {
        let node = json!({
            "metadata": {"name": "n", "uid": "00000000-0000-0000-0000-000000000001", "resourceVersion": "7"},
            "spec": {"images": {"nginx": {"tags": [{"tag": "1", "version": 2, "createdAt": "2026-01-01T00:00:00Z"}]}}},
            "status": {"desired": 1, "imageStatuses": {"nginx": {"tags": [
                {"tag": "1", "phase": "Sleeping", "version": 2, "imageID": "nginx@x"},
            ]}}},
        });
        let view = NodeImageView::from_json(node.to_string().as_bytes()).unwrap();
        assert_eq!(view.spec.of("nginx", "1").unwrap().version, 2);
        let status = view.status.of("nginx", "1").unwrap();
        assert_eq!((status.phase, &*status.image_id), (PullPhase::Other, "nginx@x"));
        assert!(view.status.of("nginx", "2").is_none());
    }
}
