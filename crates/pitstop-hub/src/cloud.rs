//! The API server as the hub sees it.
//!
//! Everything that leaves the node goes through one trait object, so that a test can delay, lose or refuse any of it.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::time::timeout;

/// Why the API server did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// There is no such object; the message is the server's.
    #[error("{0}")]
    NotFound(String),
    /// A precondition did not hold, or the object changed meanwhile.
    #[error("{0}")]
    Conflict(String),
    /// We may not.
    #[error("{0}")]
    Forbidden(String),
    /// The version to watch from is too old: list again.
    #[error("{0}")]
    Expired(String),
    /// No answer, or only part of one: whether it was done is unknown.
    #[error("{0}")]
    Transport(String),
    /// No answer within the time that we wait: whether it was done is unknown.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Anything else that the server answered.
    #[error("{message}")]
    Other {
        /// Status code of HTTP.
        code: u16,
        /// The server's words.
        message: String,
    },
}

impl CloudError {
    /// Whether the server was not reached, so that what became of the request is unknown.
    pub fn unreachable(&self) -> bool {
        matches!(self, Self::Transport(_) | Self::Timeout(_))
    }

    /// Whether the same request may succeed a little later.
    pub fn passing(&self) -> bool {
        self.unreachable() || matches!(self, Self::Other { code, .. } if *code == 429 || *code >= 500)
    }
}

/// Part of a list of pods.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The pods, as the server wrote them.
    pub pods: Vec<Bytes>,
    /// The version of the list: where to watch from.
    pub resource_version: String,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A pod was added or changed.
    Put(Bytes),
    /// A pod is gone.
    Gone(Bytes),
    /// Nothing new up to this version.
    Bookmark(String),
}

/// What a call to the API server returns.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, CloudError>>;

/// The API server as the hub sees it, for one node and under one identity.
///
/// Lists and watches are of the pods of that node (field selector `spec.nodeName`). Implementations bound each call by
/// a time of their own; the hub bounds those that a client waits for.
pub trait Cloud: Send + Sync + 'static {
    /// GET of a pod, as the server holds it now (not from a cache).
    fn get_pod<'a>(&'a self, namespace: &'a str, name: &'a str) -> Reply<'a, Bytes>;

    /// One page of the pods of this node.
    fn list_pods<'a>(&'a self, limit: u32, from: Option<&'a str>) -> Reply<'a, Page>;

    /// Changes of the pods of this node after a version, with bookmarks.
    fn watch_pods<'a>(
        &'a self,
        resource_version: &'a str,
    ) -> Reply<'a, BoxStream<'static, Result<Change, CloudError>>>;

    /// DELETE of a pod with preconditions on its identity and its version.
    fn delete_pod<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        uid: &'a str,
        resource_version: &'a str,
    ) -> Reply<'a, ()>;

    /// Strategic merge patch of the status of a pod; returns the pod after it.
    fn patch_pod_status<'a>(&'a self, namespace: &'a str, name: &'a str, patch: Bytes) -> Reply<'a, Bytes>;

    /// GET of `/readyz`.
    fn ready(&self) -> Reply<'_, ()>;

    /// Whether we may delete this pod (`SelfSubjectAccessReview`).
    fn may_delete<'a>(&'a self, namespace: &'a str, name: &'a str) -> Reply<'a, bool>;

    /// Creates an Event.
    fn create_event<'a>(&'a self, namespace: &'a str, event: Bytes) -> Reply<'a, ()>;
}

/// One probe, which may take so long. A server that refuses us the probe is there.
pub(crate) async fn alive(cloud: &dyn Cloud, limit: Duration) -> Result<(), CloudError> {
    match timeout(limit, cloud.ready()).await {
        Ok(Err(CloudError::Forbidden(_))) => Ok(()),
        Ok(result) => result,
        Err(_) => Err(CloudError::Timeout(limit)),
    }
}
