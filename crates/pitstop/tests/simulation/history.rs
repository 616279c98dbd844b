//! The true history of the cluster: every write but those of leases and events, in the order of resourceVersions.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use jiff::Timestamp;
use pitstop_api::{SharedClock, keys};
use pitstop_controller::api::{Api, Call, KubeApi, Resource, Verb};
use serde_json::Value;

use crate::objects::{is_ready, node_of};

/// One write.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) version: u64,
    pub(crate) at: Timestamp,
    pub(crate) kind: Resource,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub(crate) event: String,
    pub(crate) object: Value,
}

impl Entry {
    fn line(&self) -> String {
        let (kind, metadata) = (self.kind.plural(), &self.object["metadata"]);
        let name = metadata["name"].as_str().unwrap_or_default();
        format!("{} {} {} {kind} {name}", self.at, self.version, self.event)
    }

    /// The line with what the invariants look at.
    pub(crate) fn detail(&self) -> String {
        let is_ready = if is_ready(&self.object) {
            "Ready"
        } else {
            "not Ready"
        };
        let metadata = &self.object["metadata"];
        let seen = match self.kind {
            Resource::Pods => {
                let hash = metadata["labels"][keys::REVISION_HASH]
                    .as_str()
                    .unwrap_or_default();
                let is_ending = if metadata["deletionTimestamp"].is_null() {
                    ""
                } else {
                    ", terminating"
                };
                let state = metadata["labels"][keys::LIFECYCLE_STATE]
                    .as_str()
                    .unwrap_or_default();
                let image = &self.object["spec"]["containers"][0]["image"];
                let node = node_of(&self.object);
                format!(" of {hash} with {image} on {node}: {is_ready}{is_ending} {state}")
            }
            Resource::Nodes => format!(": {is_ready}"),
            Resource::CloneSets | Resource::StatefulSets => {
                let spec = &self.object["spec"];
                let image = &spec["template"]["spec"]["containers"][0]["image"];
                let status = &self.object["status"];
                let revisions = [&status["currentRevision"], &status["updateRevision"]];
                let [current, update] = revisions.map(|name| name.as_str().unwrap_or_default());
                format!(
                    ": {} of {image}, from {current} to {update}, {}",
                    spec["replicas"], spec["updateStrategy"]
                )
            }
            Resource::ControllerRevisions => format!(": {}", self.object["revision"]),
            _ => String::new(),
        };
        self.line() + &seen
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.line())
    }
}

/// Writes everything down that happens from now on.
#[derive(Clone, Default)]
pub(crate) struct History {
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl History {
    /// Begins after this version, with these kinds.
    pub(crate) async fn follow(
        client: kube::Client,
        kinds: &[Resource],
        version: u64,
        clock: &SharedClock,
    ) -> Self {
        let history = Self::default();
        for kind in kinds.iter().copied() {
            let call = Call::collection(Verb::Watch, kind, None)
                .with_query("watch", "true")
                .with_query("timeoutSeconds", "1000000")
                .with_query("resourceVersion", version.to_string());
            let mut lines = KubeApi::new(client.clone()).watch(call).await.unwrap();
            let (entries, clock) = (Arc::clone(&history.entries), Arc::clone(clock));
            tokio::spawn(async move {
                while let Some(line) = lines.next().await {
                    let mut line: Value = serde_json::from_slice(&line.unwrap()).unwrap();
                    let object = line["object"].take();
                    let version = object["metadata"]["resourceVersion"].as_str();
                    let version = version.and_then(|version| version.parse().ok());
                    let event = line["type"].as_str().unwrap_or_default().to_owned();
                    assert!(event != "ERROR", "the history is broken: {object}");
                    entries.lock().unwrap().push(Entry {
                        version: version.unwrap(),
                        at: clock.now(),
                        kind,
                        event,
                        object,
                    });
                }
            });
        }
        history
    }

    /// The last write so far, and what it changed.
    pub(crate) fn last_change(&self) -> String {
        let entries = self.entries.lock().unwrap();
        let Some(last) = entries.iter().max_by_key(|entry| entry.version) else {
            return String::new();
        };
        let name = |entry: &Entry| (entry.kind, entry.object["metadata"]["name"].clone());
        let before = entries
            .iter()
            .filter(|entry| name(entry) == name(last) && entry.version < last.version);
        let before = before
            .max_by_key(|entry| entry.version)
            .map(|entry| &entry.object);
        let mut changes = pitstop_api::json_diff::diff(before.unwrap_or(&Value::Null), &last.object);
        changes.retain(|change| !change.path.starts_with("/metadata/managedFields"));
        let changes: Vec<String> = changes
            .iter()
            .map(|change| change.to_json().to_string())
            .collect();
        format!("{last}: {}", changes.join(" "))
    }

    /// What was written so far, oldest first.
    pub(crate) fn take(&self) -> Vec<Entry> {
        let mut entries = std::mem::take(&mut *self.entries.lock().unwrap());
        entries.sort_by_key(|entry| entry.version);
        entries
    }
}

/// One number for all that happened, to the last field.
pub(crate) fn hash(entries: &[Entry]) -> u64 {
    // Its keys are always the same.
    let mut hasher = DefaultHasher::new();
    for entry in entries {
        entry.line().hash(&mut hasher);
        entry.object.to_string().hash(&mut hasher);
    }
    hasher.finish()
}
