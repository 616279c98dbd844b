//! Writes and reactions, read from the audit log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// Who wrote what, and the bodies of the status writes of nodes: they tell when a pod became Ready.
pub(crate) fn policy(writers: &[&str], nodes: &str) -> String {
    let writers: Vec<String> = writers.iter().map(|user| format!("'{user}'")).collect();
    format!(
        "apiVersion: audit.k8s.io/v1\n\
         kind: Policy\n\
         omitStages: [RequestReceived, ResponseStarted]\n\
         rules:\n\
         - level: Request\n  users: ['{nodes}']\n  verbs: [patch]\n  \
           resources: [{{group: '', resources: [pods/status]}}]\n\
         - level: Metadata\n  users: [{}]\n  verbs: [create, update, patch, delete, deletecollection]\n\
         - level: None\n",
        writers.join(", ")
    )
}

/// The part of the log that is about one namespace.
pub(crate) struct Audit {
    entries: Vec<Entry>,
    begun_at: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
    #[serde(default)]
    request_object: Value,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl Entry {
    fn is_done(&self) -> bool {
        self.response_status.code < 400
    }

    fn makes_ready(&self) -> bool {
        let conditions = self.request_object.pointer("/status/conditions");
        conditions
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    }
}

impl Audit {
    /// Reads what the log holds about a namespace. What came before `begun_at` is not counted.
    pub(crate) fn read(log: &Path, namespace: &str, begun_at: Timestamp) -> Self {
        let text = std::fs::read_to_string(log).unwrap();
        let entries = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Entry>(line).ok())
            .filter(|entry| entry.object_ref.namespace == namespace)
            .collect();
        Self { entries, begun_at }
    }

    /// How many writes of each kind a user sent, those that were refused among them.
    pub(crate) fn writes(&self, user: &str) -> Vec<(String, usize)> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for entry in self.counted().filter(|entry| entry.user.username == user) {
            let ObjectRef {
                resource,
                subresource,
                ..
            } = &entry.object_ref;
            let slash = if subresource.is_empty() { "" } else { "/" };
            let answer = match entry.response_status.code {
                400.. => format!(", refused with {}", entry.response_status.code),
                _ => String::new(),
            };
            *counts
                .entry(format!("{} {resource}{slash}{subresource}{answer}", entry.verb))
                .or_default() += 1;
        }
        counts.into_iter().collect()
    }

    /// From each pod that becomes Ready to the delete that this permits.
    pub(crate) fn reactions(&self, user: &str, nodes: &str, max_unavailable: usize) -> Reactions {
        let mut known = BTreeSet::new();
        let mut became_ready = Vec::new();
        for entry in &self.entries {
            let is_new = entry.user.username == nodes
                && entry.is_done()
                && entry.makes_ready()
                && known.insert(entry.object_ref.name.as_str());
            if is_new && entry.stage_timestamp >= self.begun_at {
                became_ready.push(entry.stage_timestamp);
            }
        }
        let deletes: Vec<Timestamp> = self
            .counted()
            .filter(|e| e.user.username == user && e.is_done())
            .filter(|e| e.verb == "delete" && e.object_ref.resource == "pods")
            .map(|entry| entry.request_received_timestamp)
            .collect();
        Reactions::of(became_ready, deletes, max_unavailable)
    }

    /// The same where pods stay: from each pod that is Ready again to the first write to the pod whose turn this permits.
    pub(crate) fn reactions_in_place(&self, user: &str, nodes: &str, max_unavailable: usize) -> Reactions {
        let mut entries: Vec<&Entry> = self.counted().filter(|entry| entry.is_done()).collect();
        entries.retain(|entry| entry.object_ref.resource == "pods");
        entries.sort_by_key(|entry| entry.request_received_timestamp);
        let mut begins = BTreeMap::new();
        let mut became_ready = BTreeMap::new();
        for entry in entries {
            let pod = entry.object_ref.name.as_str();
            if entry.user.username == user {
                begins.entry(pod).or_insert(entry.request_received_timestamp);
            } else if entry.user.username == nodes && entry.makes_ready() && begins.contains_key(pod) {
                became_ready.entry(pod).or_insert(entry.stage_timestamp);
            }
        }
        let (ready, begins) = (became_ready.into_values(), begins.into_values());
        Reactions::of(ready.collect(), begins.collect(), max_unavailable)
    }

    fn counted(&self) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.request_received_timestamp >= self.begun_at)
    }
}

/// Reaction times, sorted.
pub(crate) struct Reactions {
    milliseconds: Vec<f64>,
}

impl Reactions {
    /// The `k`-th time that a pod became Ready permits begin number `max_unavailable + k`.
    fn of(mut became_ready: Vec<Timestamp>, mut begins: Vec<Timestamp>, max_unavailable: usize) -> Self {
        became_ready.sort_unstable();
        begins.sort_unstable();
        let pairs = became_ready.iter().zip(begins.iter().skip(max_unavailable));
        let mut milliseconds: Vec<f64> = pairs
            .map(|(ready, begin)| begin.duration_since(*ready).as_secs_f64() * 1e3)
            .collect();
        milliseconds.sort_by(f64::total_cmp);
        Self { milliseconds }
    }

    /// The smallest that a part `q` of all does not exceed; NaN when there is none. Range: 0..=1. Units: milliseconds.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let n = self.milliseconds.len();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a position in a short list"
        )]
        let at = (n as f64 * q).ceil().max(1.0) as usize - 1;
        self.milliseconds.get(at).copied().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Reactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of them;", self.milliseconds.len())?;
        for (name, q) in [
            ("p10", 0.1),
            ("p50", 0.5),
            ("p90", 0.9),
            ("p99", 0.99),
            ("max", 1.0),
        ] {
            write!(f, " {name} {:.1} ms", self.quantile(q))?;
        }
        Ok(())
    }
}
