//! What the built-in controllers ask of the API server: as data, carried out with bounded concurrency.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use kube::Client;
use pitstop_api::view::{MetaWire, Uid};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use crate::informer::request;

/// Requests under way at once.
const CONCURRENCY: usize = 64;
/// How often a request that the server could not take is tried again.
const TRIES: u32 = 6;

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Write {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Option<Value>,
    /// Who wants to know how it ended.
    pub(super) asked_by: Option<Asked>,
}

/// A question that is answered when its write has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// The scheduler, about this pod.
    Bind(Uid),
    /// The garbage collector: does the owner of this object exist?
    Owner { dependent: Uid, owner: Uid },
    /// The namespace controller, about the end of a namespace.
    Namespace(String),
}

/// How a write ended.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) asked: Asked,
    /// What the server answered; the code of a refusal.
    pub(super) result: Result<Value, u16>,
}

impl Write {
    fn new(method: Method, path: String, body: Option<Value>) -> Self {
        Self {
            method,
            path,
            content_type: None,
            body,
            asked_by: None,
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
                "apiVersion": "v1", "kind": self.kind, "name": self.meta.name, "namespace": self.meta.namespace,
                "uid": self.uid,
            },
            "reason": self.reason, "message": self.message,
            "type": if self.is_warning { "Warning" } else { "Normal" },
            "source": { "component": self.source }, "reportingComponent": self.source,
            "firstTimestamp": at, "lastTimestamp": at, "count": 1,
        });
        Write::post(format!("/api/v1/namespaces/{namespace}/events"), body)
    }
}

/// A JSON time of whole seconds.
pub(super) fn seconds(at: Timestamp) -> Value {
    Value::from(Timestamp::from_second(at.as_second()).unwrap_or(at).to_string())
}

/// Carries out writes.
#[derive(Clone)]
pub(super) struct Writer {
    client: Client,
    permits: Arc<Semaphore>,
    answers: mpsc::UnboundedSender<Answer>,
}

impl Writer {
    pub(super) fn new(client: Client) -> (Self, mpsc::UnboundedReceiver<Answer>) {
        let (answers, receiver) = mpsc::unbounded_channel();
        (
            Self {
                client,
                permits: Arc::new(Semaphore::new(CONCURRENCY)),
                answers,
            },
            receiver,
        )
    }

    /// Begins a write. A refusal is news that a watch tells too; only a server that cannot take it is asked again.
    pub(super) fn begin(&self, write: Write) {
        let writer = self.clone();
        tokio::spawn(async move {
            let Ok(_permit) = writer.permits.acquire().await else {
                return;
            };
            let mut wait = Duration::from_millis(50);
            for tried in 1..=TRIES {
                let Write {
                    method,
                    path,
                    content_type,
                    body,
                    ..
                } = &write;
                let result =
                    request(&writer.client, method.clone(), path, *content_type, body.as_ref()).await;
                let code = match result {
                    Ok(value) => return writer.answer(&write, Ok(value)),
                    Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
                        return writer.answer(&write, Err(status.code));
                    }
                    Err(kube::Error::Api(status)) => status.code,
                    Err(error) => {
                        tracing::debug!(%error, path, "a request of a built-in controller failed");
                        503
                    }
                };
                if tried == TRIES {
                    return writer.answer(&write, Err(code));
                }
                tokio::time::sleep(wait).await;
                wait = wait.saturating_mul(2);
            }
        });
    }

    fn answer(&self, write: &Write, result: Result<Value, u16>) {
        if let Err(code) = result {
            tracing::debug!(method = %write.method, path = write.path, code, "refused");
        }
        if let Some(asked) = write.asked_by.clone() {
            let _ = self.answers.send(Answer { asked, result });
        }
    }
}
