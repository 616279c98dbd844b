//! What an API server asks of kubelets: logs, and commands run in containers. HTTPS on loopback.
//!
//! One listener serves all nodes of a fleet: a pod is known by its names. Nobody is asked who he is. An API server shows
//! kubelets a client certificate only where it was given one, and there is nothing here to protect: the listener is
//! reached from this machine alone, and behind it no program runs.
//!
//! | path | what |
//! |---|---|
//! | `/containerLogs/{namespace}/{pod}/{container}` | a log, also followed |
//! | `/exec/{namespace}/{pod}/{container}` | a command, over SPDY/3.1 or WebSocket |
//! | `/healthz` | `ok` |
//!
//! Source: embedded-cluster.md 10.6, 10.7.

mod exec;
mod logs;
mod spdy;
mod websocket;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pitstop_api::SharedClock;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use self::exec::{Session, Wanted};
use super::inside::{Place, Refusal, Visitor};
use crate::api::params::{Params, percent_decode};
use crate::serve::HANDSHAKE;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How API servers and kubelets agree on the streams of an exec.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// Stream protocols of SPDY that are spoken. Both are the same but for the end of stdin, which SPDY can tell anyway.
const STREAM_PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// Why kubelets cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// No port of loopback can be had.
    #[error("no port for the kubelets: {0}")]
    Listen(#[from] io::Error),
    /// A certificate cannot be made.
    #[error("the kubelets' certificate cannot be made: {0}")]
    Certificate(String),
}

/// A listener that does not answer yet.
pub(super) struct Listener {
    socket: TcpListener,
    acceptor: TlsAcceptor,
    /// The port on loopback.
    pub(super) port: u16,
}

impl Listener {
    /// Takes a free port, and makes a certificate that lives as long as this process.
    pub(super) async fn bind() -> Result<Self, ListenError> {
        let socket = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let port = socket.local_addr()?.port();
        let acceptor = TlsAcceptor::from(tls()?);
        Ok(Self {
            socket,
            acceptor,
            port,
        })
    }

    /// Answers for ever.
    pub(super) async fn run(self, visitor: Visitor, clock: SharedClock) {
        let mut connections = JoinSet::new();
        let server = Server { visitor, clock };
        loop {
            tokio::select! {
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(server.clone(), self.acceptor.clone(), stream));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection to the kubelets could not be accepted");
                        tokio::time::sleep(crate::serve::ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

fn tls() -> Result<Arc<rustls::ServerConfig>, ListenError> {
    let failed = |error: &dyn std::error::Error| ListenError::Certificate(error.to_string());
    let names = vec!["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string()];
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| failed(&error))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(|error| failed(&error))?;
    // Connections that become streams are HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

async fn connection(server: Server, acceptor: TlsAcceptor, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake with a kubelet failed");
            return;
        }
        Err(_) => return,
    };
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { server.answer(request).await }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to a kubelet broke");
    }
}

/// A node that is cut off hangs up without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the node does not answer")]
struct NoAnswer;

#[derive(Clone)]
struct Server {
    visitor: Visitor,
    clock: SharedClock,
}

impl Server {
    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, NoAnswer> {
        let path: Vec<String> = request
            .uri()
            .path()
            .split('/')
            .skip(1)
            .map(percent_decode)
            .collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let place = |namespace: &str, pod: &str, container: &str| Place {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: container.to_owned(),
        };
        match (request.method(), path.as_slice()) {
            (&Method::GET, ["healthz"]) => Ok(text(StatusCode::OK, "ok")),
            (&Method::GET, ["containerLogs", namespace, pod, container]) => {
                let query = Params::parse(request.uri().query().unwrap_or_default());
                self.logs(place(namespace, pod, container), &query).await
            }
            (&Method::GET | &Method::POST, ["exec", namespace, pod, container]) => {
                let place = place(namespace, pod, container);
                self.exec(place, request).await
            }
            _ => Ok(text(StatusCode::NOT_FOUND, "404 page not found\n")),
        }
    }

    async fn logs(self, place: Place, query: &Params) -> Result<Response<Body>, NoAnswer> {
        let options = match logs::Options::parse(query, self.clock.now()) {
            Ok(options) => options,
            Err(why) => return Ok(text(StatusCode::BAD_REQUEST, why)),
        };
        match self.visitor.log(&place, options.previous).await {
            Ok(log) => {
                let mut response = Response::new(logs::body(self.visitor, place, log, options));
                let plain = HeaderValue::from_static("text/plain");
                response.headers_mut().insert(CONTENT_TYPE, plain);
                Ok(response)
            }
            Err(refusal) => refused(&refusal),
        }
    }

    async fn exec(self, place: Place, mut request: Request<Incoming>) -> Result<Response<Body>, NoAnswer> {
        let query = Params::parse(request.uri().query().unwrap_or_default());
        let wanted = Wanted::parse(query.pairs());
        if wanted.command.is_empty() {
            return Ok(text(StatusCode::BAD_REQUEST, "you must specify a command"));
        }
        let (response, transport) = match accept(request.headers()) {
            Ok(accepted) => accepted,
            Err(response) => return Ok(*response),
        };
        // What cannot be run is told while there is still a plain way to.
        if let Err(refusal) = self.visitor.run(&place, vec!["true".to_owned()]).await {
            return refused(&refusal);
        }
        let session = Session {
            wanted,
            place,
            visitor: self.visitor,
        };
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let stream = match upgrade.await {
                Ok(stream) => TokioIo::new(stream),
                Err(error) => return tracing::debug!(%error, "a connection was not upgraded"),
            };
            let ended = match transport {
                Transport::Spdy => spdy::serve(stream, session).await.map_err(|e| e.to_string()),
                Transport::WebSocket => websocket::serve(stream, session).await.map_err(|e| e.to_string()),
            };
            if let Err(error) = ended {
                tracing::debug!(error, "an exec broke off");
            }
        });
        Ok(response)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Spdy,
    WebSocket,
}

/// Agrees with the client on how to go on, or tells why not.
fn accept(headers: &HeaderMap) -> Result<(Response<Body>, Transport), Box<Response<Body>>> {
    let given = |name: &HeaderName| -> Vec<String> {
        let values = headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .map(|v| v.trim().to_owned())
            .collect()
    };
    let refuse = |why: &'static str| Box::new(text(StatusCode::BAD_REQUEST, why));
    let asked = given(&UPGRADE);
    let asks_for = |protocol: &str| asked.iter().any(|name| name.eq_ignore_ascii_case(protocol));
    let best = |spoken: &[&'static str], offered: &[String]| {
        spoken
            .iter()
            .copied()
            .find(|name| offered.iter().any(|offer| offer == name))
    };
    let mut response = Response::new(
        Full::new(Bytes::new())
            .map_err(|never| match never {})
            .boxed_unsync(),
    );
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if asks_for("websocket") {
        let key = headers
            .get(SEC_WEBSOCKET_KEY)
            .ok_or_else(|| refuse("a WebSocket without a key"))?;
        let accepted = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
        let protocol = best(&websocket::PROTOCOLS, &given(&SEC_WEBSOCKET_PROTOCOL));
        let protocol = protocol.ok_or_else(|| refuse("no WebSocket subprotocol that is known here"))?;
        answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
        answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        answer.insert(
            SEC_WEBSOCKET_ACCEPT,
            accepted.map_err(|_| refuse("a broken WebSocket key"))?,
        );
        return Ok((response, Transport::WebSocket));
    }
    if asks_for("SPDY/3.1") {
        let protocol = best(&STREAM_PROTOCOLS, &given(&STREAM_PROTOCOL));
        let protocol = protocol.ok_or_else(|| refuse("no stream protocol that is known here"))?;
        answer.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        answer.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
        return Ok((response, Transport::Spdy));
    }
    Err(refuse("unable to upgrade: this needs SPDY/3.1 or WebSocket"))
}

fn refused(refusal: &Refusal) -> Result<Response<Body>, NoAnswer> {
    let code = match refusal {
        Refusal::Unreachable => return Err(NoAnswer),
        Refusal::NoPod(_) | Refusal::NotRunning(_) => StatusCode::NOT_FOUND,
        Refusal::NoContainer { .. } | Refusal::Waiting { .. } | Refusal::NoPrevious { .. } => {
            StatusCode::BAD_REQUEST
        }
    };
    Ok(text(code, refusal.to_string()))
}

fn text(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(text.into()).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = code;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_streaming_are_agreed_on() {
        let accepted = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_str(value).unwrap());
            }
            match accept(&headers) {
                Ok((response, transport)) => (response.status().as_u16(), Some(transport)),
                Err(response) => (response.status().as_u16(), None),
            }
        };
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        for (headers, want) in [
            (
                vec![
                    ("upgrade", "SPDY/3.1"),
                    ("x-stream-protocol-version", "v4.channel.k8s.io"),
                ],
                (101, Some(Transport::Spdy)),
            ),
            (
                vec![
                    ("upgrade", "SPDY/3.1"),
                    ("x-stream-protocol-version", "channel.k8s.io"),
                ],
                (400, None),
            ),
            (
                vec![
                    key,
                    ("upgrade", "websocket"),
                    ("sec-websocket-protocol", "v5.channel.k8s.io, other"),
                ],
                (101, Some(Transport::WebSocket)),
            ),
            (vec![key, ("upgrade", "websocket")], (400, None)),
            (
                vec![
                    ("upgrade", "websocket"),
                    ("sec-websocket-protocol", "v5.channel.k8s.io"),
                ],
                (400, None),
            ),
            (vec![], (400, None)),
        ] {
            assert_eq!(accepted(&headers), want, "{headers:?}");
        }
    }
}
