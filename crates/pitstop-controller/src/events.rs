//! Events about workloads, as `kubectl describe` shows them.
//!
//! Recording never waits: a full queue drops events and counts them. What becomes of one is decided by the
//! [`Correlator`] alone (daemonset.md A13); a task writes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use pitstop_api::view::{CloneSetView, DaemonSetView, ImagePullJobView, NodeImageView, StatefulSetView, Uid};
use pitstop_api::{SharedClock, image_pull, statefulset};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

pub use correlator::{Correlator, Verdict};

use crate::api::{Api, Call, CallError, FIELD_MANAGER, Resource, Verb};

mod correlator;

/// How many events may wait to be written.
const QUEUE: usize = 1000;
/// Attempts to write one event, and the wait before the second; it doubles.
const ATTEMPTS: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest name an object may have.
const LONGEST_NAME: usize = 253;

/// The object that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct About {
    /// Kind; the API version follows from it.
    pub kind: &'static str,
    /// API version.
    pub api_version: &'static str,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Uid.
    pub uid: Uid,
}

impl From<&DaemonSetView> for About {
    fn from(daemonset: &DaemonSetView) -> Self {
        Self {
            kind: daemonset.workload_kind().kind(),
            api_version: daemonset.workload_kind().api_version(),
            namespace: Arc::clone(&daemonset.namespace),
            name: Arc::clone(&daemonset.name),
            uid: daemonset.uid,
        }
    }
}

impl From<&CloneSetView> for About {
    fn from(cloneset: &CloneSetView) -> Self {
        Self {
            kind: "CloneSet",
            api_version: "apps.kruise.io/v1beta1",
            namespace: Arc::clone(&cloneset.namespace),
            name: Arc::clone(&cloneset.name),
            uid: cloneset.uid,
        }
    }
}

impl From<&StatefulSetView> for About {
    fn from(set: &StatefulSetView) -> Self {
        Self {
            kind: statefulset::KIND,
            api_version: "apps.kruise.io/v1beta1",
            namespace: Arc::clone(&set.namespace),
            name: Arc::clone(&set.name),
            uid: set.uid,
        }
    }
}

impl From<&ImagePullJobView> for About {
    fn from(job: &ImagePullJobView) -> Self {
        Self {
            kind: image_pull::Kind::Job.name(),
            api_version: image_pull::API_VERSION,
            namespace: Arc::clone(&job.namespace),
            name: Arc::clone(&job.name),
            uid: job.uid,
        }
    }
}

impl From<&NodeImageView> for About {
    fn from(image: &NodeImageView) -> Self {
        Self {
            kind: image_pull::Kind::NodeImage.name(),
            api_version: image_pull::API_VERSION,
            namespace: Arc::from(""),
            name: Arc::clone(&image.name),
            uid: image.uid,
        }
    }
}

/// Where events are kept about objects that live in no namespace.
const OF_CLUSTER: &str = "default";

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Who tells: `daemonset-controller` and the like, from `pitstop_api::reasons`.
    pub source: &'static str,
    /// About what.
    pub about: About,
    /// Is it a `Warning` rather than `Normal`?
    pub is_warning: bool,
    /// CamelCase word, from `pitstop_api::reasons`.
    pub reason: &'static str,
    /// Text for people.
    pub message: String,
}

/// Takes events from reconciles without making them wait.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Message>,
    clock: SharedClock,
    dropped: Arc<AtomicU64>,
}

impl Recorder {
    /// A recorder, and what writes its events.
    pub fn new(api: Arc<dyn Api>, clock: SharedClock) -> (Self, Writer) {
        let (queue, messages) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            api,
            messages,
            dropped: Arc::clone(&dropped),
        };
        let recorder = Self {
            queue,
            clock,
            dropped,
        };
        (recorder, writer)
    }

    /// Tells it, now.
    pub fn publish(&self, record: Record) {
        let message = Message::Record(Box::new(record), self.clock.now());
        if self.queue.try_send(message).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything published so far was written, dropped or refused.
    pub async fn flush(&self) {
        let (written, done) = oneshot::channel();
        if self.queue.send(Message::Flush(written)).await.is_ok() {
            // The writer being gone is the other way of being done.
            let _ = done.await;
        }
    }

    /// How many events were dropped: the queue was full, or too much was told about an object.
    pub fn n_dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

enum Message {
    Record(Box<Record>, Timestamp),
    Flush(oneshot::Sender<()>),
}

/// Writes the events of a [`Recorder`].
pub struct Writer {
    api: Arc<dyn Api>,
    messages: mpsc::Receiver<Message>,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    /// Runs until all recorders are dropped.
    pub async fn run(mut self) {
        let mut correlator = Correlator::default();
        while let Some(message) = self.messages.recv().await {
            let (record, at) = match message {
                Message::Record(record, at) => (record, at),
                Message::Flush(written) => {
                    // Whoever asked may have stopped waiting.
                    let _ = written.send(());
                    continue;
                }
            };
            let Some(verdict) = correlator.judge(&record, at) else {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            match write(self.api.as_ref(), &record, &verdict, at).await {
                Ok(name) => correlator.written(&verdict, name),
                Err(error) => debug!(reason = record.reason, %error, "event not written"),
            }
        }
    }
}

/// Writes one event and returns its name. A repeated one that is gone is made anew.
async fn write(
    api: &dyn Api,
    record: &Record,
    verdict: &Verdict,
    at: Timestamp,
) -> Result<String, CallError> {
    let namespace = Some(namespace_of(&record.about));
    if let Some(name) = &verdict.patch {
        let call = Call::object(Verb::MergePatch, Resource::Events, namespace, name)
            .with_query("fieldManager", FIELD_MANAGER)
            .with_body(json!({
                "count": verdict.count,
                "lastTimestamp": seconds(at),
                "message": verdict.message,
            }));
        match send(api, call).await {
            Ok(()) => return Ok(name.clone()),
            Err(CallError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let name = event_name(&record.about.name, at, verdict.serial);
    let call = Call::collection(Verb::Create, Resource::Events, namespace)
        .with_query("fieldManager", FIELD_MANAGER)
        .with_body(event_json(record, verdict, at, &name));
    match send(api, call).await {
        // An earlier attempt arrived although it was not answered.
        Ok(()) | Err(CallError::AlreadyExists(_)) => Ok(name),
        Err(error) => Err(error),
    }
}

async fn send(api: &dyn Api, call: Call) -> Result<(), CallError> {
    let mut wait = FIRST_WAIT;
    for _ in 1..ATTEMPTS {
        match api.send(call.clone()).await {
            Ok(_) => return Ok(()),
            Err(CallError::Busy(_) | CallError::Unreachable(_)) => {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            Err(error) => return Err(error),
        }
    }
    api.send(call).await.map(drop)
}

fn namespace_of(about: &About) -> &str {
    if about.namespace.is_empty() {
        OF_CLUSTER
    } else {
        &about.namespace
    }
}

/// `<object>.<time and serial number in hexadecimal>`, cut so that it is a legal name.
fn event_name(object: &str, at: Timestamp, serial: u64) -> String {
    let nanoseconds = u64::try_from(at.as_nanosecond()).unwrap_or_default();
    let suffix = format!(".{:x}", nanoseconds.wrapping_add(serial));
    let room = LONGEST_NAME - suffix.len();
    let base = object.get(..room.min(object.len())).unwrap_or(object);
    format!("{}{suffix}", base.trim_end_matches(['.', '-']))
}

fn event_json(record: &Record, verdict: &Verdict, at: Timestamp, name: &str) -> Value {
    let about = &record.about;
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": name, "namespace": namespace_of(about) },
        "involvedObject": {
            "kind": about.kind,
            "apiVersion": about.api_version,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid.to_string(),
        },
        "reason": record.reason,
        "message": verdict.message,
        "type": if record.is_warning { "Warning" } else { "Normal" },
        "source": { "component": record.source },
        "reportingComponent": record.source,
        "reportingInstance": "",
        "count": verdict.count,
        "firstTimestamp": seconds(verdict.first_at),
        "lastTimestamp": seconds(at),
    })
}

fn seconds(at: Timestamp) -> String {
    format!("{at:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_names_are_legal() {
        let at: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
        assert_eq!(event_name("agent", at, 1), "agent.188672520bc76501");
        let long = event_name(&"x".repeat(253), at, 0);
        assert_eq!(long.len(), 253);
    }

    #[test]
    fn timestamps_have_whole_seconds() {
        assert_eq!(
            seconds("2026-01-01T00:00:00.999Z".parse().unwrap()),
            "2026-01-01T00:00:00Z"
        );
    }
}
