//! The API server of memory, over HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use pitstop_hub::{Change, Cloud as _, CloudError};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::fake::Fake;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

pub(crate) async fn serve(fake: Fake, tls: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (fake, tls) = (fake.clone(), tls.clone());
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| answer(fake.clone(), request));
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = match tls {
                    None => server.serve_connection(TokioIo::new(stream), service).await,
                    Some(tls) => {
                        // A hub that is killed leaves half of a handshake.
                        let Ok(stream) = tls.accept(stream).await else {
                            return;
                        };
                        server.serve_connection(TokioIo::new(stream), service).await
                    }
                };
            });
        }
    });
    at
}

/// A line that is down ends the connection without an answer.
async fn answer(fake: Fake, request: Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
    match route(&fake, request).await {
        Ok(answer) => Ok(answer),
        Err(CloudError::Transport(error)) => Err(std::io::Error::other(error)),
        Err(error) => {
            let code = match error {
                CloudError::NotFound(_) => 404,
                CloudError::Conflict(_) => 409,
                CloudError::Forbidden(_) => 403,
                _ => 500,
            };
            let status = json!({"kind": "Status", "code": code, "message": error.to_string()});
            let mut answer = full(status.to_string().into());
            *answer.status_mut() = http::StatusCode::from_u16(code).unwrap();
            Ok(answer)
        }
    }
}

fn full(body: Bytes) -> Response<Body> {
    Response::new(
        Full::new(body)
            .map_err(|never: Infallible| match never {})
            .boxed_unsync(),
    )
}

fn written(change: Result<Change, CloudError>) -> Result<Frame<Bytes>, std::io::Error> {
    let line = |kind: &str, object: &[u8]| {
        let object = String::from_utf8_lossy(object);
        Frame::data(format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into())
    };
    match change {
        Ok(Change::Put(pod)) => Ok(line("MODIFIED", &pod)),
        Ok(Change::Gone(pod)) => Ok(line("DELETED", &pod)),
        Ok(Change::Bookmark(version)) => {
            let mark = json!({"metadata": {"resourceVersion": version}});
            Ok(line("BOOKMARK", mark.to_string().as_bytes()))
        }
        Err(error) => Err(std::io::Error::other(error)),
    }
}

async fn route(fake: &Fake, request: Request<Incoming>) -> Result<Response<Body>, CloudError> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let parts: Vec<&str> = head.uri.path().split('/').skip(1).collect();
    match (&head.method, parts.as_slice()) {
        (&Method::GET, ["readyz"]) => fake.ready().await.map(|()| full(Bytes::from_static(b"ok"))),
        (&Method::GET, ["api", "v1", "pods"]) if query.contains("watch=true") => {
            let version = query.rsplit_once("resourceVersion=").unwrap().1;
            let changes = fake.watch_pods(version).await?;
            Ok(Response::new(
                StreamBody::new(changes.map(written)).boxed_unsync(),
            ))
        }
        (&Method::GET, ["api", "v1", "pods"]) => {
            let page = fake.list_pods(1000, None).await?;
            let pods: Vec<Value> = page
                .pods
                .iter()
                .map(|pod| serde_json::from_slice(pod).unwrap())
                .collect();
            let list = json!({"metadata": {"resourceVersion": page.resource_version}, "items": pods});
            Ok(full(list.to_string().into()))
        }
        (&Method::GET, ["api", "v1", "namespaces", namespace, "pods", name]) => {
            fake.get_pod(namespace, name).await.map(full)
        }
        (&Method::DELETE, ["api", "v1", "namespaces", namespace, "pods", name]) => {
            let options: Value = serde_json::from_slice(&body).unwrap();
            let text = |key: &str| options["preconditions"][key].as_str().unwrap().to_owned();
            fake.delete_pod(namespace, name, &text("uid"), &text("resourceVersion"))
                .await?;
            Ok(full(Bytes::from_static(b"{}")))
        }
        (&Method::PATCH, ["api", "v1", "namespaces", namespace, "pods", name, "status"]) => {
            fake.patch_pod_status(namespace, name, body).await.map(full)
        }
        (&Method::POST, ["api", "v1", "namespaces", namespace, "events"]) => {
            fake.create_event(namespace, body).await?;
            Ok(full(Bytes::from_static(b"{}")))
        }
        (&Method::POST, ["apis", "authorization.k8s.io", ..]) => {
            let allowed = pitstop_hub::Cloud::may_delete(fake, "", "").await?;
            Ok(full(json!({"status": {"allowed": allowed}}).to_string().into()))
        }
        other => panic!("{other:?}"),
    }
}
