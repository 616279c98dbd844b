//! Bodies that are asked about once more before they leave.
//!
//! Between the decision to send a write and its first byte on the wire there may be a new connection with its handshakes,
//! and the process may be stopped right there. Whoever wakes up minutes later must not send what it was about to. hyper
//! writes the head of a request together with the first piece of its body, after it has a connection and right before
//! the system call. So a body that fails at that moment keeps the whole request from leaving.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use kube::Client;
use kube::client::Body;

/// May a write leave now?
pub type MaySend = Arc<dyn Fn() -> bool + Send + Sync>;

/// Makes bodies of requests that leave only while they may.
#[derive(Clone)]
pub(super) struct Bodies {
    /// kube makes a streamed body only of the answer of a service, so this is one: it answers with the body in question.
    echo: Client,
}

impl Bodies {
    /// Must be called in a runtime.
    pub(super) fn new() -> Self {
        let echo = tower::service_fn(|mut request: Request<Body>| async move {
            let body: Guarded = request.extensions_mut().remove().unwrap_or_default();
            Ok::<_, Infallible>(Response::new(body))
        });
        Self {
            echo: Client::new(echo, "default"),
        }
    }

    /// The body `bytes`, if `may_send` says yes when it is about to leave, and a way to know afterwards.
    pub(super) async fn guarded(&self, bytes: Bytes, may_send: MaySend) -> Result<(Body, Kept), kube::Error> {
        let is_kept = Arc::new(AtomicBool::new(false));
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(Guarded {
            bytes: Some(bytes),
            may_send: Some(may_send),
            is_kept: Arc::clone(&is_kept),
        });
        let body = self.echo.send(request).await?.into_body();
        Ok((body, Kept(is_kept)))
    }
}

/// Was a request kept back?
#[derive(Debug)]
pub(super) struct Kept(Arc<AtomicBool>);

impl Kept {
    /// Not one byte of it has left.
    pub(super) fn is_kept(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Clone, Default)]
struct Guarded {
    bytes: Option<Bytes>,
    may_send: Option<MaySend>,
    is_kept: Arc<AtomicBool>,
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = KeptBack;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, KeptBack>>> {
        let Some(bytes) = self.bytes.take() else {
            return Poll::Ready(None);
        };
        if self.may_send.as_ref().is_some_and(|may_send| may_send()) {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        self.is_kept.store(true, Ordering::Release);
        Poll::Ready(Some(Err(KeptBack)))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let n_bytes = self.bytes.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(n_bytes.try_into().unwrap_or(u64::MAX))
    }
}

#[derive(Debug)]
struct KeptBack;

impl fmt::Display for KeptBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("kept back: it may not be written any more")
    }
}

impl std::error::Error for KeptBack {}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::api::{Api, Call, CallError, KubeApi, Resource, Verb};

    /// Everything that a server receives of a write, which it answers as soon as the body is there.
    async fn sent(may_send: bool) -> (String, Result<Bytes, CallError>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut received = Vec::new();
            while !received.ends_with(b"\"the body\"}")
                && connection.read_buf(&mut received).await.unwrap() > 0
            {}
            // Whoever sent nothing is gone.
            let _ = connection
                .write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}")
                .await;
            String::from_utf8(received).unwrap()
        });
        let client = Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        let call = Call::collection(Verb::Create, Resource::Pods, Some("default"));
        let call = call.with_body(json!({"is": "the body"}));
        let answer = KubeApi::new(client)
            .send_if(call, Arc::new(move || may_send))
            .await;
        (server.await.unwrap(), answer)
    }

    #[tokio::test]
    async fn a_write_that_may_leave_is_sent_whole() {
        let (received, answer) = sent(true).await;
        assert!(
            received.starts_with("POST /api/v1/namespaces/default/pods"),
            "{received}"
        );
        assert!(
            received.to_lowercase().contains("content-length: 17\r\n"),
            "{received}"
        );
        assert!(received.ends_with("\r\n\r\n{\"is\":\"the body\"}"), "{received}");
        assert_eq!(answer.unwrap(), "{}");
    }

    /// The connection is there, and not one byte is sent.
    #[tokio::test]
    async fn a_write_that_may_not_leave_any_more_is_kept_back() {
        let (received, answer) = sent(false).await;
        assert_eq!(received, "");
        assert!(matches!(answer, Err(CallError::LeaseLost)), "{answer:?}");
    }
}
