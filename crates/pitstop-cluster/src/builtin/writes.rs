//! What the built-in controllers ask of the API server: as data, carried out with bounded concurrency.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use kube::Client;
use pitstop_api::view::{MetaWire, Uid};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::workloads::Taken;
use crate::informer::{encode, exchange, send};
use crate::kinds::{self, Kind};

/// Requests under way at once.
const CONCURRENCY: usize = 64;
/// Events under way at once, besides those requests.
const EVENTS: usize = 8;
/// How often a request that the server could not take is tried again.
const TRIES: u32 = 6;

/// One write, and those that follow it.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Option<Value>,
    /// Who wants to know how it ended.
    pub(super) asked_by: Option<Asked>,
    /// Nothing waits for it: it must not hold up what matters.
    is_event: bool,
    /// What is asked once this has ended, whatever came of it.
    next: Option<Box<Write>>,
}

/// A question that is answered when its write has ended.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    /// The scheduler, about this pod.
    Bind(Uid),
    /// The garbage collector: is there an object with this uid at this URL?
    Owner { owner: Uid, path: String },
    /// The namespace controller: could all objects of a kind be deleted?
    Cleared { namespace: String },
    /// The namespace controller: what is left of a kind?
    Remains { namespace: String, kind: &'static Kind },
    /// The namespace controller, about the end of a namespace.
    Finalized(String),
    /// A controller of workloads, about a step of its plan.
    Workload(Box<Taken>),
}

/// How a write ended.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) asked: Asked,
    /// What the server answered; the code of a refusal.
    pub(super) result: Result<Value, u16>,
    /// What the server said when it refused.
    pub(super) message: String,
}

/// Why a request failed.
#[derive(Debug)]
struct Refusal {
    code: u16,
    message: String,
}

impl Write {
    fn new(method: Method, path: String, body: Option<Value>) -> Self {
        Self {
            method,
            path,
            content_type: None,
            body,
            asked_by: None,
            is_event: false,
            next: None,
        }
    }

    pub(super) fn get(path: String) -> Self {
        Self::new(Method::GET, path, None)
    }

    pub(super) fn post(path: String, body: Value) -> Self {
        Self::new(Method::POST, path, Some(body))
    }

    pub(super) fn put(path: String, body: Value) -> Self {
        Self::new(Method::PUT, path, Some(body))
    }

    pub(super) fn strategic(path: String, body: Value) -> Self {
        let content_type = Some("application/strategic-merge-patch+json");
        Self {
            content_type,
            ..Self::new(Method::PATCH, path, Some(body))
        }
    }

    pub(super) fn merge(path: String, body: Value) -> Self {
        let content_type = Some("application/merge-patch+json");
        Self {
            content_type,
            ..Self::new(Method::PATCH, path, Some(body))
        }
    }

    pub(super) fn json(path: String, body: Value) -> Self {
        let content_type = Some("application/json-patch+json");
        Self {
            content_type,
            ..Self::new(Method::PATCH, path, Some(body))
        }
    }

    /// Deletes the object with this uid and no other.
    pub(super) fn delete(path: String, uid: &str, grace: Option<u32>, policy: Option<&str>) -> Self {
        let mut options =
            json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": { "uid": uid } });
        if let Some(map) = options.as_object_mut() {
            if let Some(grace) = grace {
                map.insert("gracePeriodSeconds".into(), Value::from(grace));
            }
            if let Some(policy) = policy {
                map.insert("propagationPolicy".into(), Value::from(policy));
            }
        }
        Self::new(Method::DELETE, path, Some(options))
    }

    /// Deletes all objects of a collection.
    pub(super) fn delete_all(path: String) -> Self {
        let options =
            json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background" });
        Self::new(Method::DELETE, path, Some(options))
    }

    /// A deletion of the object as it was at this version and no other.
    pub(super) fn at_version(mut self, version: &str) -> Self {
        let preconditions = self.body.as_mut().and_then(|body| body.get_mut("preconditions"));
        if let Some(preconditions) = preconditions.and_then(Value::as_object_mut) {
            preconditions.insert("resourceVersion".into(), version.into());
        }
        self
    }

    /// Begins `next` when this has ended.
    pub(super) fn then(self, next: Self) -> Self {
        Self {
            next: Some(Box::new(next)),
            ..self
        }
    }

    /// What is asked when this has ended.
    #[cfg(test)]
    pub(super) fn following(self) -> Option<Self> {
        self.next.map(|next| *next)
    }

    pub(super) fn asked_by(self, asked: Asked) -> Self {
        Self {
            asked_by: Some(asked),
            ..self
        }
    }
}

/// An event about an object.
pub(super) struct Event<'a> {
    pub(super) source: &'static str,
    pub(super) kind: &'static str,
    pub(super) meta: &'a MetaWire,
    /// Uid in the event: `kubectl describe node` looks for the node's name there.
    pub(super) uid: &'a str,
    pub(super) is_warning: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) now: Timestamp,
}

impl Event<'_> {
    pub(super) fn write(self) -> Write {
        let namespace = if self.meta.namespace.is_empty() {
            "default"
        } else {
            &self.meta.namespace
        };
        let at = seconds(self.now);
        let mark = crate::node::hash(format!("{}{}{}", self.reason, self.message, self.uid).as_bytes());
        let body = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {
                "name": format!("{}.{:x}{:04x}", self.meta.name, self.now.as_nanosecond(), mark % 0x1_0000),
                "namespace": namespace,
            },
            "involvedObject": {
                "apiVersion": api_version(self.kind), "kind": self.kind, "name": self.meta.name, "namespace": self.meta.namespace,
                "uid": self.uid,
            },
            "reason": self.reason, "message": self.message,
            "type": if self.is_warning { "Warning" } else { "Normal" },
            "source": { "component": self.source }, "reportingComponent": self.source,
            "firstTimestamp": at, "lastTimestamp": at, "count": 1,
        });
        Write {
            is_event: true,
            ..Write::post(format!("/api/v1/namespaces/{namespace}/events"), body)
        }
    }
}

/// The `apiVersion` of a built-in kind.
fn api_version(kind: &str) -> String {
    let found = kinds::all().iter().find(|entry| entry.kind == kind);
    found.map_or_else(|| "v1".to_owned(), Kind::api_version)
}

/// A JSON time of whole seconds.
pub(super) fn seconds(at: Timestamp) -> Value {
    Value::from(Timestamp::from_second(at.as_second()).unwrap_or(at).to_string())
}

/// Carries out writes. Dropped, it stops those under way.
pub(super) struct Writer {
    asker: Asker,
    events: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

/// What a task needs to ask the server and to pass on what it says.
#[derive(Clone)]
struct Asker {
    client: Client,
    answers: mpsc::UnboundedSender<Answer>,
}

impl Writer {
    pub(super) fn new(client: Client) -> (Self, mpsc::UnboundedReceiver<Answer>) {
        let (answers, receiver) = mpsc::unbounded_channel();
        let writer = Self {
            asker: Asker { client, answers },
            events: Arc::new(Semaphore::new(EVENTS)),
            requests: Arc::new(Semaphore::new(CONCURRENCY)),
            tasks: JoinSet::new(),
        };
        (writer, receiver)
    }

    /// Begins a write and those that follow it.
    pub(super) fn begin(&mut self, write: Write) {
        while self.tasks.try_join_next().is_some() {}
        let permits = if write.is_event {
            &self.events
        } else {
            &self.requests
        };
        let (asker, permits) = (self.asker.clone(), Arc::clone(permits));
        self.tasks.spawn(async move {
            let Ok(_permit) = permits.acquire().await else {
                return;
            };
            let mut next = Some(write);
            while let Some(mut write) = next {
                next = write.next.take().map(|next| *next);
                // Thousands wait for their turn: what only those under way need is made when it is.
                let result = Box::pin(asker.ask(&write)).await;
                asker.answer(write, result);
            }
        });
    }
}

impl Asker {
    /// Sends a request. A refusal is news that a watch tells too; only a server that cannot take it is asked again.
    async fn ask(&self, write: &Write) -> Result<Value, Refusal> {
        let mut wait = Duration::from_millis(50);
        let mut tried = 1;
        loop {
            let refusal = match self.ask_once(write).await {
                Ok(value) => return Ok(value),
                Err(kube::Error::Api(status)) => Refusal {
                    code: status.code,
                    message: status.message,
                },
                Err(error) => {
                    tracing::debug!(%error, path = write.path, "a request of a built-in controller failed");
                    Refusal {
                        code: 503,
                        message: error.to_string(),
                    }
                }
            };
            if tried == TRIES || (refusal.code < 500 && refusal.code != 429) {
                return Err(refusal);
            }
            tried += 1;
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2);
        }
    }

    /// What the server answers; nothing where nobody reads it.
    async fn ask_once(&self, write: &Write) -> Result<Value, kube::Error> {
        let (client, method, path, content_type) = (
            &self.client,
            write.method.clone(),
            &write.path,
            write.content_type,
        );
        let body = write.body.as_ref().map(encode);
        match write.asked_by {
            None | Some(Asked::Bind(_)) => {
                let sent = send(client, method, path, content_type, body).await;
                sent.map(|()| Value::Null)
            }
            Some(_) => exchange(client, method, path, content_type, body).await,
        }
    }

    fn answer(&self, write: Write, result: Result<Value, Refusal>) {
        if let Err(refusal) = &result {
            let (code, message) = (refusal.code, &refusal.message);
            tracing::debug!(method = %write.method, path = write.path, code, message, "refused");
        }
        let Some(asked) = write.asked_by else { return };
        let (result, message) = match result {
            Ok(value) => (Ok(value), String::new()),
            Err(refusal) => (Err(refusal.code), refusal.message),
        };
        let _ = self.answers.send(Answer {
            asked,
            result,
            message,
        });
    }
}
