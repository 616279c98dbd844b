//! How a hub in this process reaches the API server: through a client, for as long as its node is not cut off.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use pitstop_hub::{AnswerBody, BodyError, Transport};
use tokio::sync::watch;

/// The group of all nodes. Source: hub.md A7.
const NODES: &str = "system:nodes";

/// As whom a node is known to the API server. Source: hub.md A7.
pub fn user_of(node: &str) -> String {
    format!("system:node:{node}")
}

/// The network of a simulated node.
pub struct Network {
    client: Client,
    /// Say to the API server that it is this user who asks, a node.
    user: Option<HeaderValue>,
    /// Is the node connected?
    connected: watch::Receiver<bool>,
}

impl Network {
    /// Through `client`, whenever `connected` says so.
    pub fn new(client: Client, connected: watch::Receiver<bool>) -> Self {
        Self {
            client,
            user: None,
            connected,
        }
    }

    /// With the rights of a node instead of those of the client (`Impersonate-User`).
    #[must_use]
    pub fn impersonating(mut self, node: &str) -> Self {
        // The name of a node is that of a host.
        self.user = HeaderValue::from_str(&user_of(node)).ok();
        self
    }
}

impl Transport for Network {
    fn send(&self, mut request: Request<Full<Bytes>>) -> BoxFuture<'_, Result<Response<AnswerBody>, String>> {
        if let Some(user) = &self.user {
            let headers = request.headers_mut();
            headers.insert("impersonate-user", user.clone());
            headers.insert("impersonate-group", HeaderValue::from_static(NODES));
        }
        Box::pin(async move {
            let (head, body) = request.into_parts();
            // A body in memory has no errors.
            let bytes = body
                .collect()
                .await
                .map_or_else(|never| match never {}, http_body_util::Collected::to_bytes);
            let request = Request::from_parts(head, Body::from(bytes.to_vec()));
            let mut connected = self.connected.clone();
            let answer = tokio::select! {
                biased;
                _ = connected.wait_for(|connected| !connected) => return Err(CUT_OFF.to_owned()),
                answer = self.client.send(request) => answer,
            };
            let (head, body) = answer
                .map_err(|error| format!("{:#}", anyhow::Error::from(error)))?
                .into_parts();
            Ok(Response::from_parts(head, while_connected(body, connected)))
        })
    }
}

const CUT_OFF: &str = "the node is cut off";

/// What comes of a body until the node is cut off.
fn while_connected(body: Body, connected: watch::Receiver<bool>) -> AnswerBody {
    let frames = stream::unfold(Some((body, connected)), |state| async move {
        let (mut body, mut connected) = state?;
        let frame = tokio::select! {
            biased;
            _ = connected.wait_for(|connected| !connected) => Err(BodyError(CUT_OFF.to_owned())),
            frame = body.frame() => frame?.map_err(|error| BodyError(error.to_string())),
        };
        let rest = frame.is_ok().then_some((body, connected));
        Some((frame, rest))
    });
    StreamBody::new(frames).boxed_unsync()
}
