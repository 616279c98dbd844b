//! The API server over HTTP.
//!
//! Requests are data and go through a [`Transport`]; so they can be looked at in a test, and a program that holds an API
//! server in the same process needs no socket.
//!
//! Source: hub.md B3, B4, B12.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::cloud::{Change, Cloud, CloudError, Page, Reply};

pub use direct::{ConnectError, Direct};

mod direct;
pub(crate) mod kubeconfig;

/// Body of an answer, as it comes.
pub type AnswerBody = UnsyncBoxBody<Bytes, BodyError>;

/// Why the rest of an answer does not come.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BodyError(pub String);

/// How requests reach the API server.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request whose target is a path and a query; the transport knows the server and who we are to it.
    ///
    /// The error says why no answer came; it ends as [`CloudError::Transport`].
    fn send(&self, request: Request<Full<Bytes>>) -> BoxFuture<'_, Result<Response<AnswerBody>, String>>;
}

/// Longest answer, and longest line of a watch, in bytes: a page of 50 of the largest objects that are stored.
const MAX_ANSWER: usize = 50 * 1536 * 1024;
/// Longest line of a watch, in bytes.
const MAX_LINE: usize = 4 * 1024 * 1024;
/// How long a watch lasts, in seconds; the server ends it then and another begins where it ended.
const WATCH_SECONDS: u32 = 540;
/// Who changed a field, as the API server records it.
const FIELD_MANAGER: &str = "pitstop-hub";

/// The pods of one node on an API server.
#[derive(Debug)]
pub struct ApiServer<T> {
    transport: T,
    node: String,
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Vec<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    message: String,
    #[serde(default)]
    code: u16,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: ListMeta,
}

/// The error for an answer that is none of success.
fn refused(code: u16, message: String) -> CloudError {
    match code {
        404 => CloudError::NotFound(message),
        409 => CloudError::Conflict(message),
        403 => CloudError::Forbidden(message),
        410 => CloudError::Expired(message),
        code => CloudError::Other { code, message },
    }
}

fn unreadable(error: &serde_json::Error) -> CloudError {
    CloudError::Other {
        code: 500,
        message: format!("reading the answer of the API server: {error}"),
    }
}

/// Escapes what is not plain in a query.
fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut all, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            all.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(all, "%{byte:02X}");
        }
        all
    })
}

/// What a line of a watch tells.
fn change(line: &[u8]) -> Result<Option<Change>, CloudError> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| unreadable(&error))?;
    let object = line.object.get();
    let pod = || Bytes::copy_from_slice(object.as_bytes());
    match line.kind {
        "ADDED" | "MODIFIED" => Ok(Some(Change::Put(pod()))),
        "DELETED" => Ok(Some(Change::Gone(pod()))),
        "BOOKMARK" => {
            let mark: Bookmark = serde_json::from_str(object).map_err(|error| unreadable(&error))?;
            Ok(Some(Change::Bookmark(mark.metadata.resource_version)))
        }
        "ERROR" => {
            let status: Status = serde_json::from_str(object).map_err(|error| unreadable(&error))?;
            Err(refused(status.code, status.message))
        }
        _ => Ok(None),
    }
}

/// The lines of a watch.
struct Lines {
    body: AnswerBody,
    buffer: BytesMut,
    ready: VecDeque<Result<Change, CloudError>>,
    over: bool,
}

impl Lines {
    async fn next(mut self) -> Option<(Result<Change, CloudError>, Self)> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                self.over |= change.is_err();
                return Some((change, self));
            }
            if self.over {
                return None;
            }
            let lost = |message: String| CloudError::Transport(message);
            match self.body.frame().await {
                None => return None,
                Some(Err(error)) => {
                    self.over = true;
                    return Some((Err(lost(error.to_string())), self));
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.take(&data);
                    }
                }
            }
            if self.buffer.len() > MAX_LINE {
                self.over = true;
                return Some((Err(lost("a line of the watch is too long".to_owned())), self));
            }
        }
    }

    /// Takes in bytes; whole lines become ready.
    fn take(&mut self, data: &[u8]) {
        let searched = self.buffer.len();
        self.buffer.extend_from_slice(data);
        let mut from = searched;
        while let Some(end) = self
            .buffer
            .get(from..)
            .and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
        {
            let line = self.buffer.split_to(from + end + 1);
            from = 0;
            if !line.trim_ascii().is_empty() {
                self.ready.extend(change(&line).transpose());
            }
        }
    }
}

impl<T: Transport> ApiServer<T> {
    /// The pods of a node.
    pub fn new(transport: T, node: impl Into<String>) -> Self {
        Self {
            transport,
            node: node.into(),
        }
    }

    /// Sends a request; an answer that is no success is an error.
    async fn open(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<Response<AnswerBody>, CloudError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(ACCEPT, "application/json");
        if let Some((kind, _)) = &body {
            request = request.header(CONTENT_TYPE, *kind);
        }
        let body = body.map(|(_, body)| body).unwrap_or_default();
        let request = request.body(Full::new(body)).map_err(|error| CloudError::Other {
            code: 400,
            message: error.to_string(),
        })?;
        let answer = self
            .transport
            .send(request)
            .await
            .map_err(CloudError::Transport)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let code = answer.status().as_u16();
        let body = whole(answer.into_body()).await?;
        let message = match serde_json::from_slice::<Status>(&body) {
            Ok(status) if !status.message.is_empty() => status.message,
            _ => String::from_utf8_lossy(&body).chars().take(200).collect(),
        };
        Err(refused(code, message))
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<Bytes, CloudError> {
        whole(self.open(method, path, body).await?.into_body()).await
    }

    fn pods(&self) -> String {
        format!(
            "/api/v1/pods?fieldSelector=spec.nodeName%3D{}",
            escaped(&self.node)
        )
    }
}

async fn whole(body: AnswerBody) -> Result<Bytes, CloudError> {
    let read = Limited::new(body, MAX_ANSWER).collect().await;
    read.map(http_body_util::Collected::to_bytes)
        .map_err(|error| CloudError::Transport(error.to_string()))
}

fn pod_path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{}/pods/{}", escaped(namespace), escaped(name))
}

impl<T: Transport> Cloud for ApiServer<T> {
    fn get_pod<'a>(&'a self, namespace: &'a str, name: &'a str) -> Reply<'a, Bytes> {
        Box::pin(async move { self.call(Method::GET, &pod_path(namespace, name), None).await })
    }

    fn list_pods<'a>(&'a self, limit: u32, from: Option<&'a str>) -> Reply<'a, Page> {
        Box::pin(async move {
            let mut path = format!("{}&limit={limit}", self.pods());
            if let Some(from) = from {
                path.push_str("&continue=");
                path.push_str(&escaped(from));
            }
            let answer = self.call(Method::GET, &path, None).await?;
            let list: List<'_> = serde_json::from_slice(&answer).map_err(|error| unreadable(&error))?;
            Ok(Page {
                pods: list
                    .items
                    .iter()
                    .map(|pod| Bytes::copy_from_slice(pod.get().as_bytes()))
                    .collect(),
                resource_version: list.metadata.resource_version,
                next: list.metadata.next,
            })
        })
    }

    fn watch_pods<'a>(
        &'a self,
        resource_version: &'a str,
    ) -> Reply<'a, BoxStream<'static, Result<Change, CloudError>>> {
        Box::pin(async move {
            let path = format!(
                "{}&watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={}",
                self.pods(),
                escaped(resource_version)
            );
            let lines = Lines {
                body: self.open(Method::GET, &path, None).await?.into_body(),
                buffer: BytesMut::new(),
                ready: VecDeque::new(),
                over: false,
            };
            Ok(stream::unfold(lines, Lines::next).boxed())
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
            let options = json!({
                "kind": "DeleteOptions", "apiVersion": "v1",
                "preconditions": { "uid": uid, "resourceVersion": resource_version },
            });
            let body = ("application/json", options.to_string().into());
            self.call(Method::DELETE, &pod_path(namespace, name), Some(body))
                .await
                .map(drop)
        })
    }

    fn patch_pod_status<'a>(&'a self, namespace: &'a str, name: &'a str, patch: Bytes) -> Reply<'a, Bytes> {
        Box::pin(async move {
            let path = format!(
                "{}/status?fieldManager={FIELD_MANAGER}",
                pod_path(namespace, name)
            );
            let body = ("application/strategic-merge-patch+json", patch);
            self.call(Method::PATCH, &path, Some(body)).await
        })
    }

    fn ready(&self) -> Reply<'_, ()> {
        Box::pin(async move { self.call(Method::GET, "/readyz", None).await.map(drop) })
    }

    fn may_delete<'a>(&'a self, namespace: &'a str, name: &'a str) -> Reply<'a, bool> {
        #[derive(Default, Deserialize)]
        struct Allowed {
            #[serde(default)]
            allowed: bool,
        }
        #[derive(Deserialize)]
        struct Review {
            #[serde(default)]
            status: Allowed,
        }
        Box::pin(async move {
            let review = json!({
                "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
                "spec": { "resourceAttributes": {
                    "verb": "delete", "resource": "pods", "namespace": namespace, "name": name,
                }},
            });
            let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
            let body = ("application/json", review.to_string().into());
            let answer = self.call(Method::POST, path, Some(body)).await?;
            let review: Review = serde_json::from_slice(&answer).map_err(|error| unreadable(&error))?;
            Ok(review.status.allowed)
        })
    }

    fn create_event<'a>(&'a self, namespace: &'a str, event: Bytes) -> Reply<'a, ()> {
        Box::pin(async move {
            let path = format!("/api/v1/namespaces/{}/events", escaped(namespace));
            let body = ("application/json", event);
            self.call(Method::POST, &path, Some(body)).await.map(drop)
        })
    }
}

#[cfg(test)]
mod tests;
