//! The pods of this node, from its kubelet.
//!
//! RBAC cannot keep a service account to the pods of one node. A hub that reads them from the kubelet beside it needs no
//! right to read pods from the API server at all: a pod as the server holds it now comes as the answer to a patch of its
//! status that changes nothing, which the admission policy of hubs allows on its own node only.
//!
//! Source: hub.md B3, `sa`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::api::{ApiServer, Transport};
use crate::cloud::{Change, Cloud, CloudError, Page, Reply, alive};
use crate::pod::PodView;

/// How often the kubelet is asked: soon after something changed, and as often as a silent link is tried (hub.md B12).
const ASK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// Versions are not told by kubelets; all of them are this one.
const VERSION: &str = "0";
/// Where a kubelet says that it has a pod from.
const CONFIG_SOURCE: &str = "kubernetes.io/config.source";

/// Reads pods from a kubelet, and does everything else on an API server.
pub struct FromKubelet<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    kubelet: ApiServer<T>,
    cloud: Arc<dyn Cloud>,
    /// How long the kubelet, or a probe of the API server, may take.
    limit: Duration,
    /// By uid: namespace, name and what the kubelet said.
    seen: Mutex<BTreeMap<String, Seen>>,
    /// We changed a pod.
    changed: Notify,
}

struct Seen {
    namespace: String,
    name: String,
    raw: Bytes,
}

impl<T> std::fmt::Debug for FromKubelet<T> {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("FromKubelet").finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow, default)]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Origin {
    #[serde(default)]
    metadata: OriginMeta,
}

#[derive(Default, Deserialize)]
struct OriginMeta {
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// Static pods have no twin of the same uid on the API server.
fn is_from_api(pod: &[u8]) -> bool {
    let Ok(origin) = serde_json::from_slice::<Origin>(pod) else {
        return false;
    };
    let annotations = origin.metadata.annotations.unwrap_or_default();
    annotations
        .get(CONFIG_SOURCE)
        .is_none_or(|source| source == "api")
}

impl<T: Transport> Inner<T> {
    fn seen(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the API server can be reached.
    async fn probe(&self) -> Result<(), CloudError> {
        alive(self.cloud.as_ref(), self.limit).await
    }

    /// Asks the kubelet, and tells what is new.
    async fn ask(&self) -> Result<VecDeque<Change>, CloudError> {
        let answer = timeout(self.limit, self.kubelet.call(Method::GET, "/pods", None))
            .await
            .map_err(|_| CloudError::Timeout(self.limit))?
            .map_err(|error| CloudError::Transport(format!("the kubelet of this node: {error}")))?;
        let list: List<'_> = serde_json::from_slice(&answer)
            .map_err(|error| CloudError::Transport(format!("reading the answer of the kubelet: {error}")))?;
        let mut now = BTreeMap::new();
        for pod in list.items {
            let raw = pod.get().as_bytes();
            if let (true, Ok(view)) = (is_from_api(raw), PodView::read(raw)) {
                let (namespace, name) = (view.namespace, view.name);
                let raw = Bytes::copy_from_slice(raw);
                now.insert(view.uid, Seen { namespace, name, raw });
            }
        }
        let mut changes = VecDeque::new();
        let mut seen = self.seen();
        for (uid, old) in seen.iter() {
            if !now.contains_key(uid) {
                changes.push_back(Change::Gone(old.raw.clone()));
            }
        }
        for (uid, new) in &now {
            if seen.get(uid).is_none_or(|old| old.raw != new.raw) {
                changes.push_back(Change::Put(new.raw.clone()));
            }
        }
        *seen = now;
        Ok(changes)
    }

    fn has(&self, namespace: &str, name: &str) -> bool {
        self.seen()
            .values()
            .any(|seen| seen.namespace == namespace && seen.name == name)
    }
}

/// What a watch is at.
struct Watch<T> {
    inner: Arc<Inner<T>>,
    wait: Duration,
    ready: VecDeque<Change>,
    over: bool,
}

impl<T: Transport> Watch<T> {
    async fn next(mut self) -> Option<(Result<Change, CloudError>, Self)> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some((Ok(change), self));
            }
            if self.over {
                return None;
            }
            tokio::select! {
                // In a fixed order, so that a simulation can be repeated.
                biased;
                () = tokio::time::sleep(self.wait) => self.wait = (self.wait * 2).min(ASK.1),
                () = self.inner.changed.notified() => self.wait = ASK.0,
            }
            // The pods are here, but what is asked for happens there.
            if let Err(error) = self.inner.probe().await {
                self.over = true;
                return Some((Err(error), self));
            }
            match self.inner.ask().await {
                Ok(changes) if changes.is_empty() => {
                    self.ready.push_back(Change::Bookmark(VERSION.to_owned()));
                }
                Ok(changes) => {
                    self.wait = ASK.0;
                    self.ready = changes;
                }
                // A kubelet that starts again is no reason to think that the API server is away. A watch that is silent
                // for too long is ended by whoever follows it.
                Err(error) => tracing::debug!(%error, "the pods of this node are not known"),
            }
        }
    }
}

impl<T: Transport> FromKubelet<T> {
    /// The kubelet, and the API server for everything else; `limit` is how long the kubelet may take.
    pub fn new(kubelet: T, node: &str, cloud: Arc<dyn Cloud>, limit: Duration) -> Self {
        Self {
            inner: Arc::new(Inner {
                kubelet: ApiServer::new(kubelet, node),
                cloud,
                limit,
                seen: Mutex::default(),
                changed: Notify::new(),
            }),
        }
    }
}

impl<T: Transport> Cloud for FromKubelet<T> {
    /// The answer to a patch that changes nothing.
    fn get_pod<'a>(&'a self, namespace: &'a str, name: &'a str) -> Reply<'a, Bytes> {
        Box::pin(async move {
            let nothing = Bytes::from_static(b"{}");
            match self.inner.cloud.patch_pod_status(namespace, name, nothing).await {
                // The policy of hubs refuses pods of other nodes, of which a hub is to know nothing.
                Err(CloudError::Forbidden(_)) if !self.inner.has(namespace, name) => {
                    Err(CloudError::NotFound(format!("pods \"{name}\" not found")))
                }
                result => result,
            }
        })
    }

    fn list_pods<'a>(&'a self, _limit: u32, _from: Option<&'a str>) -> Reply<'a, Page> {
        Box::pin(async move {
            self.inner.probe().await?;
            self.inner.ask().await?;
            Ok(Page {
                pods: self.inner.seen().values().map(|seen| seen.raw.clone()).collect(),
                resource_version: VERSION.to_owned(),
                next: None,
            })
        })
    }

    fn watch_pods<'a>(
        &'a self,
        _resource_version: &'a str,
    ) -> Reply<'a, BoxStream<'static, Result<Change, CloudError>>> {
        Box::pin(async move {
            let watch = Watch {
                inner: Arc::clone(&self.inner),
                wait: ASK.0,
                ready: VecDeque::new(),
                over: false,
            };
            Ok(stream::unfold(watch, Watch::next).boxed())
        })
    }

    fn delete_pod<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        uid: &'a str,
        resource_version: &'a str,
    ) -> Reply<'a, ()> {
        Box::pin(async move {
            let result = self
                .inner
                .cloud
                .delete_pod(namespace, name, uid, resource_version)
                .await;
            self.inner.changed.notify_one();
            result
        })
    }

    fn patch_pod_status<'a>(&'a self, namespace: &'a str, name: &'a str, patch: Bytes) -> Reply<'a, Bytes> {
        Box::pin(async move {
            let result = self.inner.cloud.patch_pod_status(namespace, name, patch).await;
            self.inner.changed.notify_one();
            result
        })
    }

    fn ready(&self) -> Reply<'_, ()> {
        self.inner.cloud.ready()
    }

    fn may_delete<'a>(&'a self, namespace: &'a str, name: &'a str) -> Reply<'a, bool> {
        self.inner.cloud.may_delete(namespace, name)
    }

    fn create_event<'a>(&'a self, namespace: &'a str, event: Bytes) -> Reply<'a, ()> {
        self.inner.cloud.create_event(namespace, event)
    }
}

#[cfg(test)]
mod tests;
