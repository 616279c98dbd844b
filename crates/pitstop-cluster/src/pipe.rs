//! Requests of clients in this process that become streams, such as an exec.
//!
//! Only a connection can be given away, so they come over one: a pipe in memory, with HTTP on both of its ends.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::access::User;
use crate::api::{Api, Body, Failure};

/// How much may be under way in each direction. Units: bytes.
const CAPACITY: usize = 64 << 10;

/// Answers a request that asks to speak something else on its connection.
pub(crate) async fn answer(
    api: Arc<Api>,
    user: User,
    request: Request<kube::client::Body>,
) -> Response<Body> {
    let answered = exchange(api, user, request).await;
    answered.unwrap_or_else(|error| Failure::internal_error(&error.to_string()).into_response())
}

async fn exchange(
    api: Arc<Api>,
    user: User,
    request: Request<kube::client::Body>,
) -> Result<Response<Body>, hyper::Error> {
    let (near, far) = tokio::io::duplex(CAPACITY);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(user.clone());
        let api = api.clone();
        async move { Ok::<_, Infallible>(api.handle(request).await) }
    });
    let server = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
    tokio::spawn(server.with_upgrades());
    let (mut sender, client) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await?;
    tokio::spawn(client.with_upgrades());
    let (parts, body) = sender.send_request(request).await?.into_parts();
    // What was agreed to has no body: the stream is what follows.
    let body = if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        Bytes::new()
    } else {
        body.collect().await?.to_bytes()
    };
    let body = Full::new(body).map_err(|never| match never {});
    Ok(Response::from_parts(parts, body.boxed_unsync()))
}
