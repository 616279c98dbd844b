//! List and watch through a `kube::Client`, for the controllers and nodes of this crate.
//!
//! One watch serves all that look at a kind: it is decoded once, into the few fields that are read. A watch that ends is
//! resumed where it stopped; one that is too old begins again with a list, and objects that vanished in between are
//! reported as deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use http::{Method, Request};
use kube::Client;
use kube::core::WatchEvent;
use pitstop_api::view::MetaWire;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use tokio::sync::mpsc;

/// First and longest wait before a broken watch is tried again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Changes that wait for a slow consumer before the watch is read no further.
const BUFFER: usize = 4096;

/// Objects asked for in one page of a list. Source: embedded-cluster.md 19, what kube-rs asks for.
const PAGE: usize = 500;

/// How much of an object the server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// All of it.
    Whole,
    /// Its metadata.
    Metadata,
}

/// An object as far as somebody reads it.
pub trait Object: DeserializeOwned + Clone + Send + Sync + 'static {
    /// What it is decoded from.
    const FORM: Form = Form::Whole;

    /// Its metadata.
    fn meta(&self) -> &MetaWire;

    /// Forgets what was decoded and is not read.
    fn trim(&mut self) {}
}

/// What is accepted besides JSON of the whole object, for a list and for a watch.
const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// What happened to an object.
#[derive(Debug)]
pub enum Change<T> {
    /// It is there, new or changed.
    Applied(Arc<T>),
    /// It is gone; this is how it was last seen.
    Deleted(Arc<T>),
    /// Everything that existed when the watch began was reported.
    Synced,
}

#[derive(Deserialize)]
struct List<T> {
    metadata: ListMeta,
    #[serde(bound(deserialize = "T: Deserialize<'de>"))]
    /// Null where there are none and only metadata is asked for.
    items: Option<Vec<T>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ListMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    next: Option<String>,
}

type Key = (String, String);

/// Passes changes on as part of something larger, until nobody listens.
pub(crate) async fn forward<T: Object, U: Send + 'static>(
    mut changes: mpsc::Receiver<Change<T>>,
    sender: mpsc::Sender<U>,
    wrap: impl Fn(Change<T>) -> U + Send,
) {
    loop {
        tokio::select! {
            biased;
            Some(change) = changes.recv() => {
                if sender.send(wrap(change)).await.is_err() {
                    return;
                }
            }
            () = sender.closed() => return,
            else => return,
        }
    }
}

/// Watches every object below a path such as `/api/v1/pods`. The watch ends when the receiver is dropped.
pub fn watch<T: Object>(client: Client, path: impl Into<String>) -> mpsc::Receiver<Change<T>> {
    let path = path.into();
    let (sender, receiver) = mpsc::channel(BUFFER);
    tokio::spawn(async move {
        let mut informer = Informer {
            client,
            path,
            known: BTreeMap::new(),
            sender,
        };
        informer.run().await;
    });
    receiver
}

struct Informer<T> {
    client: Client,
    path: String,
    known: BTreeMap<Key, Arc<T>>,
    sender: mpsc::Sender<Change<T>>,
}

/// Why a round ended.
enum End {
    /// The version to watch from is known: go on from it.
    Resume(String),
    /// It is too old or unknown: list again.
    Relist,
    /// Nobody listens any more.
    Closed,
}

impl<T: Object> Informer<T> {
    async fn run(&mut self) {
        let mut from: Option<String> = None;
        let mut wait = BACK_OFF.0;
        while !self.sender.is_closed() {
            let before = from.take();
            let version = match before.clone() {
                Some(version) => Ok(version),
                None => self.list().await,
            };
            let end = match version {
                Ok(version) => self.follow(version).await,
                Err(error) => Err(error),
            };
            let progressed = match end {
                Ok(End::Closed) => return,
                Ok(End::Resume(version)) => {
                    let progressed = before.as_ref() != Some(&version);
                    from = Some(version);
                    progressed
                }
                Ok(End::Relist) => before.is_some(),
                Err(error) => {
                    tracing::debug!(path = self.path, %error, "watch broke");
                    false
                }
            };
            // A server that ends every watch at once is not asked in a circle.
            if progressed {
                wait = BACK_OFF.0;
            } else {
                tokio::time::sleep(wait).await;
                wait = wait.saturating_mul(2).min(BACK_OFF.1);
            }
        }
    }

    /// Lists, reports what is new and what vanished, and returns the version to watch from.
    async fn list(&mut self) -> Result<String, kube::Error> {
        let mut seen = BTreeSet::new();
        let mut next = String::new();
        loop {
            let uri = format!("{}?limit={PAGE}{next}", self.path);
            let page: List<T> = self.client.request(get::<T>(&uri, METADATA_LIST)).await?;
            for object in page.items.unwrap_or_default() {
                seen.insert(key(object.meta()));
                self.apply(object).await;
            }
            match page.metadata.next.filter(|token| !token.is_empty()) {
                Some(token) => next = format!("&continue={token}"),
                None => {
                    let vanished: Vec<Key> = self
                        .known
                        .keys()
                        .filter(|key| !seen.contains(*key))
                        .cloned()
                        .collect();
                    for key in vanished {
                        self.delete(&key).await;
                    }
                    let _ = self.sender.send(Change::Synced).await;
                    return Ok(page.metadata.resource_version);
                }
            }
        }
    }

    async fn follow(&mut self, mut version: String) -> Result<End, kube::Error> {
        let uri = format!(
            "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion={version}",
            self.path
        );
        let events = match self.client.request_events::<T>(get::<T>(&uri, METADATA)).await {
            Ok(events) => events,
            Err(kube::Error::Api(status)) if status.code == 410 => return Ok(End::Relist),
            Err(error) => return Err(error),
        };
        futures::pin_mut!(events);
        loop {
            let event = tokio::select! {
                biased;
                event = events.try_next() => event,
                () = self.sender.closed() => return Ok(End::Closed),
            };
            match event {
                Ok(Some(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                    version.clone_from(&object.meta().resource_version);
                    self.apply(object).await;
                }
                Ok(Some(WatchEvent::Deleted(mut object))) => {
                    object.trim();
                    version.clone_from(&object.meta().resource_version);
                    // What the server says last is newer than what was known, by the version of the removal.
                    if self.known.remove(&key(object.meta())).is_some() {
                        let _ = self.sender.send(Change::Deleted(Arc::new(object))).await;
                    }
                }
                Ok(Some(WatchEvent::Bookmark(bookmark))) => version = bookmark.metadata.resource_version,
                Ok(Some(WatchEvent::Error(status))) if status.code == 410 => return Ok(End::Relist),
                Ok(Some(WatchEvent::Error(status))) => return Err(kube::Error::Api(status)),
                Err(error @ kube::Error::SerdeError(_)) => return Err(error),
                Ok(None) | Err(_) => return Ok(End::Resume(version)),
            }
        }
    }

    async fn apply(&mut self, mut object: T) {
        object.trim();
        let object = Arc::new(object);
        match self.known.insert(key(object.meta()), Arc::clone(&object)) {
            Some(before) if before.meta().resource_version == object.meta().resource_version => return,
            // It was made again under its name while nobody watched.
            Some(before) if before.meta().uid != object.meta().uid => {
                let _ = self.sender.send(Change::Deleted(before)).await;
            }
            _ => {}
        }
        let _ = self.sender.send(Change::Applied(object)).await;
    }

    async fn delete(&mut self, key: &Key) {
        if let Some(object) = self.known.remove(key) {
            let _ = self.sender.send(Change::Deleted(object)).await;
        }
    }
}

fn key(meta: &MetaWire) -> Key {
    (meta.namespace.clone(), meta.name.clone())
}

#[allow(clippy::expect_used, reason = "the method and the path are ours")]
fn get<T: Object>(uri: &str, metadata: &'static str) -> Request<Vec<u8>> {
    let request = Request::get(uri);
    let request = match T::FORM {
        Form::Whole => request,
        Form::Metadata => request.header(http::header::ACCEPT, metadata),
    };
    request.body(Vec::new()).expect("paths of kinds are valid")
}

/// Sends one request and returns the object that answers it.
///
/// # Errors
/// The API refuses (`kube::Error::Api`), or cannot be reached.
pub async fn request(
    client: &Client,
    method: Method,
    path: &str,
    content_type: Option<&str>,
    body: Option<&Value>,
) -> Result<Value, kube::Error> {
    exchange(client, method, path, content_type, body.map(encode)).await
}

/// A body as it is sent. Encoded, it takes a small part of the memory that the value takes.
pub(crate) fn encode(body: &Value) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(512);
    // Writing JSON values to memory cannot fail.
    let _ = serde_json::to_writer(&mut encoded, body);
    encoded
}

/// As [`request`], with a body that is encoded already, and as much of the answer as `T` reads.
///
/// # Errors
/// The API refuses (`kube::Error::Api`), or cannot be reached.
pub(crate) async fn exchange<T: DeserializeOwned>(
    client: &Client,
    method: Method,
    path: &str,
    content_type: Option<&str>,
    body: Option<Vec<u8>>,
) -> Result<T, kube::Error> {
    let mut request = Request::builder().method(method).uri(path);
    if body.is_some() {
        request = request.header(
            http::header::CONTENT_TYPE,
            content_type.unwrap_or("application/json"),
        );
    }
    let request = request.body(body.unwrap_or_default());
    client.request(request.map_err(kube::Error::HttpError)?).await
}

/// As [`request`], for who needs to know only that it was done.
///
/// # Errors
/// The API refuses (`kube::Error::Api`), or cannot be reached.
pub(crate) async fn send(
    client: &Client,
    method: Method,
    path: &str,
    content_type: Option<&str>,
    body: Option<Vec<u8>>,
) -> Result<(), kube::Error> {
    let answer = exchange::<IgnoredAny>(client, method, path, content_type, body).await;
    answer.map(|IgnoredAny| ())
}

/// Is this the answer of an API that refused with this code?
pub fn is_status(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}
