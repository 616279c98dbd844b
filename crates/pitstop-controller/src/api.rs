//! The one door to the API server.
//!
//! Every request that the controllers send and every event that they receive passes through one trait object, [`Api`],
//! as data, so that a test can crash, drop, delay or repeat any of them by its index. [`KubeApi`] is the real one;
//! [`Gate`] stands in front of it, counts, and closes when the lease is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde::Deserialize;
use serde_json::Value;

pub use kube_api::KubeApi;

mod kube_api;

/// Who we are in `managedFields`.
pub const FIELD_MANAGER: &str = "pitstop-controller";

/// Sends requests and receives watch events.
pub trait Api: Send + Sync {
    /// Sends one request and waits for the whole answer.
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Bytes, CallError>>;

    /// Opens a watch. Each item is one line: a JSON watch event.
    fn watch(&self, call: Call) -> BoxFuture<'_, Result<Lines, CallError>>;
}

/// The lines of a watch.
pub type Lines = BoxStream<'static, Result<Bytes, CallError>>;

/// A kind of object that the controllers read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `apps/v1` DaemonSets.
    DaemonSets,
    /// Pods.
    Pods,
    /// Nodes.
    Nodes,
    /// `apps/v1` ControllerRevisions.
    ControllerRevisions,
    /// `v1` Events.
    Events,
    /// `coordination.k8s.io/v1` Leases.
    Leases,
}

impl Resource {
    /// The kinds that stores keep.
    pub const WATCHED: [Self; 4] = [
        Self::DaemonSets,
        Self::Pods,
        Self::Nodes,
        Self::ControllerRevisions,
    ];

    /// Plural name, as in paths and metrics.
    pub fn plural(self) -> &'static str {
        match self {
            Self::DaemonSets => "daemonsets",
            Self::Pods => "pods",
            Self::Nodes => "nodes",
            Self::ControllerRevisions => "controllerrevisions",
            Self::Events => "events",
            Self::Leases => "leases",
        }
    }

    fn root(self) -> &'static str {
        match self {
            Self::Pods | Self::Nodes | Self::Events => "/api/v1",
            Self::DaemonSets | Self::ControllerRevisions => "/apis/apps/v1",
            Self::Leases => "/apis/coordination.k8s.io/v1",
        }
    }
}

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Read one.
    Get,
    /// Read many.
    List,
    /// Follow changes.
    Watch,
    /// Make one.
    Create,
    /// Change fields (RFC 7386).
    MergePatch,
    /// Change fields, lists merged by key.
    StrategicPatch,
    /// Remove one.
    Delete,
}

impl Verb {
    /// The word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::MergePatch | Self::StrategicPatch => "patch",
            Self::Delete => "delete",
        }
    }

    /// Does it change anything?
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }

    fn method(self) -> http::Method {
        match self {
            Self::Get | Self::List | Self::Watch => http::Method::GET,
            Self::Create => http::Method::POST,
            Self::MergePatch | Self::StrategicPatch => http::Method::PATCH,
            Self::Delete => http::Method::DELETE,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::MergePatch => "application/merge-patch+json",
            Self::StrategicPatch => "application/strategic-merge-patch+json",
            Self::Get | Self::List | Self::Watch | Self::Create | Self::Delete => "application/json",
        }
    }
}

/// One request, as data.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// What is done.
    pub verb: Verb,
    /// To which kind.
    pub resource: Resource,
    /// In which namespace; `None`: cluster-scoped, or all namespaces.
    pub namespace: Option<String>,
    /// To which object; `None`: to the collection.
    pub name: Option<String>,
    /// To its `status` subresource?
    pub is_status: bool,
    /// Query parameters, not encoded.
    pub query: Vec<(&'static str, String)>,
    /// The body.
    pub body: Option<Value>,
}

impl Call {
    /// A request to a collection.
    pub fn collection(verb: Verb, resource: Resource, namespace: Option<&str>) -> Self {
        Self {
            verb,
            resource,
            namespace: namespace.map(str::to_owned),
            name: None,
            is_status: false,
            query: Vec::new(),
            body: None,
        }
    }

    /// A request to one object.
    pub fn object(verb: Verb, resource: Resource, namespace: Option<&str>, name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            ..Self::collection(verb, resource, namespace)
        }
    }

    /// With this body.
    #[must_use]
    pub fn with_body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// With this query parameter.
    #[must_use]
    pub fn with_query(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.query.push((key, value.into()));
        self
    }

    /// To the `status` subresource.
    #[must_use]
    pub fn status(mut self) -> Self {
        self.is_status = true;
        self
    }

    /// Path and query, encoded.
    pub fn path_and_query(&self) -> String {
        let mut path = self.resource.root().to_owned();
        if let Some(namespace) = &self.namespace {
            path.push_str("/namespaces/");
            encode(&mut path, namespace);
        }
        path.push('/');
        path.push_str(self.resource.plural());
        if let Some(name) = &self.name {
            path.push('/');
            encode(&mut path, name);
        }
        if self.is_status {
            path.push_str("/status");
        }
        let mut separator = '?';
        for (key, value) in &self.query {
            path.push(separator);
            path.push_str(key);
            path.push('=');
            encode(&mut path, value);
            separator = '&';
        }
        path
    }

    /// The HTTP request.
    ///
    /// # Errors
    /// A part of it cannot be written in HTTP.
    pub fn to_http(&self) -> Result<http::Request<Vec<u8>>, CallError> {
        let malformed = |problem: String| CallError::Unreadable {
            what: self.path_and_query(),
            problem,
        };
        let body = match &self.body {
            Some(body) => serde_json::to_vec(body).map_err(|e| malformed(e.to_string()))?,
            None => Vec::new(),
        };
        let mut request = http::Request::builder()
            .method(self.verb.method())
            .uri(self.path_and_query())
            .header(http::header::ACCEPT, "application/json");
        if self.body.is_some() {
            request = request.header(http::header::CONTENT_TYPE, self.verb.content_type());
        }
        if self.verb == Verb::Watch {
            request = request.header(http::header::ACCEPT_ENCODING, "identity");
        }
        request.body(body).map_err(|e| malformed(e.to_string()))
    }
}

/// Percent-encodes everything that is not unreserved (RFC 3986).
fn encode(into: &mut String, text: &str) {
    use std::fmt::Write as _;
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

/// Why a request did not do what was asked, by what the caller should do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// 404: the object is gone.
    #[error("{0}")]
    NotFound(Refusal),
    /// 409 `AlreadyExists`: the name is taken.
    #[error("{0}")]
    AlreadyExists(Refusal),
    /// 409: the object is not what we thought; look again.
    #[error("{0}")]
    Conflict(Refusal),
    /// 410: what we knew is too old; list again.
    #[error("{0}")]
    Gone(Refusal),
    /// 403: not allowed, or a quota is used up.
    #[error("{0}")]
    Forbidden(Refusal),
    /// 429, 503, 504 and other 5xx: try again later.
    #[error("{0}")]
    Busy(Refusal),
    /// Any other refusal: trying again does not help by itself.
    #[error("{0}")]
    Refused(Refusal),
    /// No answer. The request may or may not have been carried out.
    #[error("{0}")]
    Unreachable(String),
    /// An answer that cannot be read.
    #[error("{what}: {problem}")]
    Unreadable {
        /// What was read.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The lease is lost: nothing may be written any more.
    #[error("not written: the lease is lost")]
    LeaseLost,
}

/// What the API server said instead of doing it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Refusal {
    /// HTTP status code.
    pub code: u16,
    /// CamelCase word.
    pub reason: String,
    /// Text for people.
    pub message: String,
    details: Details,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    retry_after_seconds: u32,
    causes: Vec<Cause>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Cause {
    reason: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.message.is_empty() {
            write!(f, "the server answered {} {}", self.code, self.reason)
        } else {
            f.write_str(&self.message)
        }
    }
}

impl CallError {
    /// Sorts a refusal by its code and reason.
    pub fn from_answer(code: u16, body: &[u8]) -> Self {
        let mut refusal: Refusal = serde_json::from_slice(body).unwrap_or_else(|_| Refusal {
            message: String::from_utf8_lossy(body.get(..200).unwrap_or(body))
                .trim()
                .to_owned(),
            ..Refusal::default()
        });
        refusal.code = code;
        match code {
            404 => Self::NotFound(refusal),
            409 if refusal.reason == "AlreadyExists" => Self::AlreadyExists(refusal),
            409 => Self::Conflict(refusal),
            410 => Self::Gone(refusal),
            403 => Self::Forbidden(refusal),
            429 | 500..=599 => Self::Busy(refusal),
            _ => Self::Refused(refusal),
        }
    }

    /// How long the server asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy(refusal) if refusal.details.retry_after_seconds > 0 => Some(Duration::from_secs(
                u64::from(refusal.details.retry_after_seconds),
            )),
            _ => None,
        }
    }

    /// Was something refused because its namespace is being deleted? That ends by itself.
    pub fn is_namespace_terminating(&self) -> bool {
        matches!(self, Self::Forbidden(refusal)
            if refusal.details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
    }

    /// Is it about what others did in the meantime rather than about something being wrong?
    pub fn is_news(&self) -> bool {
        matches!(
            self,
            Self::NotFound(_) | Self::Conflict(_) | Self::AlreadyExists(_)
        )
    }

    /// May the request have been carried out although we got no answer?
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Busy(refusal) => refusal.code >= 500 && refusal.code != 503,
            _ => false,
        }
    }

    /// The word for metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::AlreadyExists(_) => "already_exists",
            Self::Conflict(_) => "conflict",
            Self::Gone(_) => "gone",
            Self::Forbidden(_) => "forbidden",
            Self::Busy(_) => "busy",
            Self::Refused(_) => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::Unreadable { .. } => "unreadable",
            Self::LeaseLost => "lease_lost",
        }
    }
}

/// Lets writes through only while we may write, and counts them.
pub struct Gate {
    inner: Arc<dyn Api>,
    is_closed: AtomicBool,
    metrics: Arc<crate::metrics::Metrics>,
}

impl Gate {
    /// An open gate in front of `inner`.
    pub fn new(inner: Arc<dyn Api>, metrics: Arc<crate::metrics::Metrics>) -> Self {
        Self {
            inner,
            is_closed: AtomicBool::new(false),
            metrics,
        }
    }

    /// Nothing is written from here on. Cannot be undone.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// Was it closed?
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }
}

impl Api for Gate {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async move {
            let (verb, resource) = (call.verb, call.resource);
            if !verb.is_write() {
                return self.inner.send(call).await;
            }
            let answer = if self.is_closed() {
                Err(CallError::LeaseLost)
            } else {
                self.inner.send(call).await
            };
            let result = answer.as_ref().map_or_else(CallError::as_str, |_| "ok");
            self.metrics.count_write(verb, resource, result);
            answer
        })
    }

    fn watch(&self, call: Call) -> BoxFuture<'_, Result<Lines, CallError>> {
        self.inner.watch(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_becomes_method_path_query_and_body() {
        let call = Call::object(Verb::MergePatch, Resource::DaemonSets, Some("a b"), "agent")
            .status()
            .with_query("fieldManager", "pitstop/x y")
            .with_body(serde_json::json!({"status": {}}));
        let http = call.to_http().unwrap();
        assert_eq!(http.method(), http::Method::PATCH);
        assert_eq!(
            http.uri(),
            "/apis/apps/v1/namespaces/a%20b/daemonsets/agent/status?fieldManager=pitstop%2Fx%20y"
        );
        assert_eq!(http.headers()["content-type"], "application/merge-patch+json");
        assert_eq!(http.body().as_slice(), br#"{"status":{}}"#);
    }

    #[test]
    fn refusals_are_sorted_by_what_to_do() {
        for (code, reason, want) in [
            (404, "NotFound", "not_found"),
            (409, "AlreadyExists", "already_exists"),
            (409, "Conflict", "conflict"),
            (410, "Expired", "gone"),
            (403, "Forbidden", "forbidden"),
            (429, "TooManyRequests", "busy"),
            (503, "ServiceUnavailable", "busy"),
            (422, "Invalid", "refused"),
        ] {
            let body = format!(r#"{{"kind":"Status","reason":"{reason}","message":"m"}}"#);
            let error = CallError::from_answer(code, body.as_bytes());
            assert_eq!(error.as_str(), want, "{code} {reason}");
            assert_eq!(error.to_string(), "m");
        }
    }

    #[test]
    fn an_answer_that_is_no_status_is_quoted() {
        let error = CallError::from_answer(502, b"bad gateway\n");
        assert_eq!(error.to_string(), "bad gateway");
        assert!(error.is_ambiguous());
        assert!(!CallError::from_answer(503, b"").is_ambiguous());
    }

    #[test]
    fn a_terminating_namespace_is_recognised() {
        let body = br#"{"reason":"Forbidden","details":{"causes":[{"reason":"NamespaceTerminating"}]}}"#;
        assert!(CallError::from_answer(403, body).is_namespace_terminating());
    }
}
