//! Logs of containers and commands run in them: passed on to the kubelet of the pod's node.
//!
//! The kubelet speaks both WebSocket and SPDY, so that the streams of an exec are carried through as they are.
//!
//! Source: embedded-cluster.md 10.6, 10.7.

pub(super) mod kubelet;

use bytes::Bytes;
use futures::stream;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::route::Target;
use super::status::Failure;
use super::{Api, Body, Call, Closing, closed, metadata};
use crate::kinds::{self, Kind};
use crate::store::Key;

/// In which order a node's addresses are tried. Source: kube-apiserver, `--kubelet-preferred-address-types`.
const ADDRESSES: [&str; 5] = [
    "Hostname",
    "InternalDNS",
    "InternalIP",
    "ExternalDNS",
    "ExternalIP",
];
/// Port of a node that names none.
const KUBELET_PORT: u16 = 10250;
/// The longest refusal of a kubelet that is passed on. Units: bytes.
const MAX_REFUSAL: usize = 64 << 10;

/// Where a container runs.
struct Location {
    host: String,
    port: u16,
    /// `namespace/pod/container`.
    path: String,
}

impl Api {
    /// `GET pods/log`.
    pub(super) async fn log(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let pod = self.stored(target)?.decode();
        let container = container(&pod, call)?;
        let Some(location) = self.location(target, &pod, &container)? else {
            let mut nothing = super::respond(StatusCode::NO_CONTENT, "text/plain", "");
            nothing.headers_mut().remove(CONTENT_TYPE);
            return Ok(nothing);
        };
        let response = kubelet::send(
            &location.host,
            location.port,
            request("containerLogs", &location, call)?,
        )
        .await
        .map_err(|error| unreachable(&error))?;
        let code = response.status();
        if code != StatusCode::OK {
            return Err(refusal(code, read(response).await));
        }
        let mut answer = Response::new(streamed(response.into_body(), call.closing.clone()));
        let plain = HeaderValue::from_static("text/plain");
        answer.headers_mut().insert(CONTENT_TYPE, plain);
        Ok(answer)
    }

    /// `GET` and `POST pods/exec`: the connection becomes a stream between the client and the kubelet.
    pub(super) async fn exec(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let pod = self.stored(target)?.decode();
        let container = container(&pod, call)?;
        let name = target.name.as_deref().unwrap_or_default();
        let location = self.location(target, &pod, &container)?;
        let location = location
            .ok_or_else(|| Failure::bad_request(format!("pod {name} does not have a host assigned")))?;
        let upgrade = call
            .upgrade
            .clone()
            .filter(|_| call.headers.contains_key(UPGRADE));
        let upgrade = upgrade.ok_or_else(|| Failure::bad_request("Upgrade request required"))?;
        let mut response = kubelet::send(&location.host, location.port, request("exec", &location, call)?)
            .await
            .map_err(|error| unreachable(&error))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let why = read(response).await;
            return Err(Failure::internal(format!("unable to upgrade connection: {why}")));
        }
        let kubelet = hyper::upgrade::on(&mut response);
        let closing = call.closing.clone();
        tokio::spawn(async move {
            let (Ok(client), Ok(kubelet)) = tokio::join!(upgrade, kubelet) else {
                return;
            };
            let (mut client, mut kubelet) = (TokioIo::new(client), TokioIo::new(kubelet));
            tokio::select! {
                copied = tokio::io::copy_bidirectional(&mut client, &mut kubelet) => {
                    if let Err(error) = copied {
                        tracing::debug!(%error, "an exec broke off");
                    }
                }
                () = until_closed(closing) => {}
            }
        });
        let mut answer = super::respond(StatusCode::SWITCHING_PROTOCOLS, "text/plain", "");
        *answer.headers_mut() = of_streams(response.headers());
        Ok(answer)
    }

    /// `None`: the pod is not bound yet.
    fn location(&self, target: &Target, pod: &Value, container: &str) -> Result<Option<Location>, Failure> {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let node = text("/spec/nodeName");
        if node.is_empty() {
            return Ok(None);
        }
        let kind: &Kind = kinds::find("", "v1", "nodes").ok_or_else(Failure::no_such_path)?;
        let nodes = self.collection_of(kind)?;
        let stored = self.store.get(nodes.id, &Key::new("", node));
        let stored = stored.ok_or_else(|| Failure::not_found(kind, node))?.decode();
        let (host, port) = kubelet_of(&stored)?;
        let namespace = target.namespace.as_deref().unwrap_or_default();
        Ok(Some(Location {
            host,
            port,
            path: format!("{namespace}/{}/{container}", metadata::text(pod, "name")),
        }))
    }
}

/// Where the kubelet of a node listens.
pub(super) fn kubelet_of(node: &Value) -> Result<(String, u16), Failure> {
    let addresses = node.pointer("/status/addresses").and_then(Value::as_array);
    let address = |wanted: &str| {
        let found = addresses?
            .iter()
            .find(|address| address.get("type") == Some(&wanted.into()))?;
        found.get("address")?.as_str()
    };
    let Some(host) = ADDRESSES.iter().find_map(|wanted| address(wanted)) else {
        return Err(Failure::untyped(
            "no preferred addresses found; known addresses: []",
        ));
    };
    let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port");
    let port = port
        .and_then(Value::as_u64)
        .and_then(|port| u16::try_from(port).ok());
    Ok((
        host.to_owned(),
        port.filter(|port| *port != 0).unwrap_or(KUBELET_PORT),
    ))
}

/// The container that is meant: the named one, or the only one.
fn container(pod: &Value, call: &Call) -> Result<String, Failure> {
    let name = metadata::text(pod, "name");
    let names = |field: &str| -> Vec<&str> {
        let list = pod.pointer(&format!("/spec/{field}")).and_then(Value::as_array);
        let names = list.into_iter().flatten().filter_map(|c| c.get("name")?.as_str());
        names.collect()
    };
    let (mains, inits) = (names("containers"), names("initContainers"));
    match (call.params.get("container"), mains.as_slice()) {
        (Some(given), _) => {
            let others = names("ephemeralContainers");
            let known = mains
                .iter()
                .chain(&inits)
                .chain(&others)
                .any(|known| *known == given);
            let why = || Failure::bad_request(format!("container {given} is not valid for pod {name}"));
            known.then(|| given.to_owned()).ok_or_else(why)
        }
        (None, [only]) => Ok((*only).to_owned()),
        (None, mains) => {
            let and_inits = match inits.as_slice() {
                [] => String::new(),
                inits => format!(" or one of the init containers: [{}]", inits.join(" ")),
            };
            let mains = mains.join(" ");
            let why = format!(
                "a container name must be specified for pod {name}, choose one of: [{mains}]{and_inits}"
            );
            Err(Failure::bad_request(why))
        }
    }
}

/// What the kubelet is asked: the query as it came, and the headers by which streams are agreed on.
fn request(what: &str, location: &Location, call: &Call) -> Result<Request<Empty<Bytes>>, Failure> {
    let Location { host, port, path } = location;
    let mut request = Request::get(format!("/{what}/{path}?{}", call.query))
        .header(HOST, format!("{host}:{port}"))
        .body(Empty::new())
        .map_err(|error| Failure::bad_request(error.to_string()))?;
    request.headers_mut().extend(of_streams(&call.headers));
    Ok(request)
}

/// Headers by which both ends agree on streams.
fn of_streams(headers: &HeaderMap) -> HeaderMap {
    let is_one = |name: &HeaderName| {
        [CONNECTION, UPGRADE].contains(name)
            || ["sec-websocket-", "x-stream-protocol-"]
                .iter()
                .any(|start| name.as_str().starts_with(start))
    };
    let matching = headers.iter().filter(|(name, _)| is_one(name));
    let mut found = HeaderMap::new();
    for (name, value) in matching {
        found.append(name.clone(), value.clone());
    }
    found
}

/// A body that ends with its source, also where that breaks off, and with the server.
pub(super) fn streamed(body: Incoming, closing: Option<Closing>) -> Body {
    let ended = Box::pin(until_closed(closing));
    let frames = stream::unfold((body, ended), |(mut body, mut ended)| async {
        let frame = tokio::select! {
            frame = body.frame() => frame?.ok()?,
            () = &mut ended => return None,
        };
        Some((Ok(frame), (body, ended)))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Returns when the client's connection is about to close; never for one that is not told.
async fn until_closed(closing: Option<Closing>) {
    match closing {
        Some(Closing(mut closing)) => closed(&mut closing).await,
        None => std::future::pending().await,
    }
}

async fn read(response: Response<Incoming>) -> String {
    match Limited::new(response.into_body(), MAX_REFUSAL).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim_end().to_owned(),
        Err(error) => error.to_string(),
    }
}

fn refusal(code: StatusCode, why: String) -> Failure {
    match code {
        StatusCode::BAD_REQUEST => Failure::bad_request(why),
        _ => Failure::internal(why),
    }
}

pub(super) fn unreachable(error: &kubelet::Error) -> Failure {
    Failure::internal(format!("error dialing backend: {error}"))
}
