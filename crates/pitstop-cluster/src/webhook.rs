//! Calls to programs of others: where they are, and how they are asked.
//!
//! Admission and conversion webhooks are asked in the same way: a POST of JSON over TLS, with the certificates that
//! their configuration trusts. Texts of what goes wrong are those of kube-apiserver 1.34.

pub(crate) mod inside;
mod trust;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Largest answer in bytes.
const MAX_ANSWER: usize = 3 * 1024 * 1024;

const AGENT: &str = "kube-apiserver-admission";

/// Where a webhook is, as its configuration says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: At,
    /// Certificates in PEM that vouch for it.
    pub(crate) trusted: Vec<u8>,
}

/// An address, or what leads to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    Url(String),
    Service {
        namespace: String,
        name: String,
        path: String,
        port: u16,
    },
}

/// Host and port to connect to.
pub(crate) type Address = (String, u16);

impl Place {
    /// Reads a `clientConfig`; `None` if it names no place.
    pub(crate) fn of(client: &Value) -> Option<Self> {
        use base64::Engine as _;

        let text = |pointer: &str| client.pointer(pointer).and_then(Value::as_str);
        let at = match (text("/url"), text("/service/name")) {
            (Some(url), _) => At::Url(url.to_owned()),
            (None, Some(name)) => At::Service {
                namespace: text("/service/namespace").unwrap_or_default().to_owned(),
                name: name.to_owned(),
                path: text("/service/path").unwrap_or("/").to_owned(),
                port: client
                    .pointer("/service/port")
                    .and_then(Value::as_u64)
                    .and_then(|port| u16::try_from(port).ok())
                    .unwrap_or(443),
            },
            (None, None) => return None,
        };
        let bundle = text("/caBundle").unwrap_or_default();
        let trusted = base64::engine::general_purpose::STANDARD.decode(bundle);
        Some(Self {
            at,
            trusted: trusted.unwrap_or_default(),
        })
    }

    /// The URL that is asked, without a query.
    fn url(&self) -> String {
        match &self.at {
            At::Url(url) => url.clone(),
            At::Service {
                namespace,
                name,
                path,
                port,
            } => format!("https://{name}.{namespace}.svc:{port}{path}"),
        }
    }

    /// Asks. `resolve` finds the address behind a service.
    ///
    /// The time that it may take is part of the URL, in whole seconds, as webhooks expect it.
    pub(crate) async fn ask(
        &self,
        question: &Value,
        timeout: Duration,
        resolve: impl FnOnce(&At) -> Result<Address, String>,
    ) -> Result<Value, String> {
        let url = self.url_with(timeout);
        let failed = |why: String| format!("Post \"{url}\": {why}");
        let uri: Uri = url
            .parse()
            .map_err(|error: http::uri::InvalidUri| failed(error.to_string()))?;
        let host = uri.host().unwrap_or_default().to_owned();
        let address = match &self.at {
            At::Url(_) => (host.clone(), uri.port_u16().unwrap_or(443)),
            service @ At::Service { .. } => resolve(service).map_err(failed)?,
        };
        // A certificate for a service is one for its name in the cluster, without the port.
        let exchange = self.exchange(&uri, &host, &address, question);
        let answer = match tokio::time::timeout(timeout, Box::pin(exchange)).await {
            Ok(answer) => answer.map_err(failed)?,
            Err(_) => return Err(failed("context deadline exceeded".to_owned())),
        };
        read(&answer)
    }

    /// Asks a program in this process.
    pub(crate) async fn ask_inside(
        &self,
        program: &dyn inside::WebhookService,
        question: &Value,
        timeout: Duration,
    ) -> Result<Value, String> {
        let path = match &self.at {
            At::Service { path, .. } => path.as_str(),
            At::Url(_) => "/",
        };
        match tokio::time::timeout(timeout, program.answer(path, question)).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err("the server could not find the requested resource".to_owned()),
            Err(_) => Err(format!(
                "Post \"{}\": context deadline exceeded",
                self.url_with(timeout)
            )),
        }
    }

    fn url_with(&self, timeout: Duration) -> String {
        format!("{}?timeout={}s", self.url(), timeout.as_secs())
    }

    async fn exchange(
        &self,
        uri: &Uri,
        host: &str,
        address: &Address,
        question: &Value,
    ) -> Result<Answer, String> {
        let stream = connect(address).await?;
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(Arc::new(trust::client_config(&self.trusted)?));
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|error| trust::refusal(&error, host))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        // It ends with the sender, which goes when the answer is read.
        tokio::spawn(connection);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = uri.authority().map_or(host, |authority| authority.as_str());
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, authority)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "application/json, */*")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(question.to_string())))
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|_| "EOF".to_owned())?;
        let (parts, body) = response.into_parts();
        let is_text = parts
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("text/"));
        let body = Limited::new(body, MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        Ok(Answer {
            status: parts.status,
            is_text,
            body: body.to_bytes(),
        })
    }
}

struct Answer {
    status: StatusCode,
    is_text: bool,
    body: Bytes,
}

/// What an answer says, if it is one.
fn read(answer: &Answer) -> Result<Value, String> {
    let text = String::from_utf8_lossy(&answer.body);
    let told = if answer.is_text && !text.trim().is_empty() {
        text.trim()
    } else {
        "unknown"
    };
    match answer.status {
        status if status.is_success() => {
            let value: Value = serde_json::from_slice(&answer.body)
                .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
            if value.is_object() {
                Ok(value)
            } else {
                Err("couldn't get version/kind; json parse error: the answer is no object".to_owned())
            }
        }
        StatusCode::NOT_FOUND => Err("the server could not find the requested resource".to_owned()),
        StatusCode::UNAUTHORIZED => {
            Err("the server has asked for the client to provide credentials".to_owned())
        }
        StatusCode::BAD_REQUEST => Err("the server rejected our request for an unknown reason".to_owned()),
        status if status.is_server_error() => Err(format!(
            "an error on the server ({told:?}) has prevented the request from succeeding"
        )),
        status => Err(format!(
            "the server responded with the status code {} but did not return more information",
            status.as_u16()
        )),
    }
}

async fn connect((host, port): &Address) -> Result<TcpStream, String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    TcpStream::connect((bare, *port)).await.map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
            io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
            io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
            _ if bare.parse::<std::net::IpAddr>().is_err() => {
                return format!("dial tcp: lookup {bare}: no such host");
            }
            _ => error.to_string(),
        };
        format!("dial tcp {host}:{port}: {why}")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_are_read_as_configurations_say_them() {
        let by_url = Place::of(&json!({"url": "https://a/b", "caBundle": "QQ=="})).unwrap();
        assert_eq!(by_url.at, At::Url("https://a/b".to_owned()));
        assert_eq!(by_url.trusted, b"A");
        let by_service = Place::of(&json!({"service": {"namespace": "n", "name": "s"}})).unwrap();
        assert_eq!(by_service.url(), "https://s.n.svc:443/");
        assert_eq!(Place::of(&json!({})), None);
    }

    #[test]
    fn answers_that_are_none_say_why() {
        let answer = |status: u16, is_text: bool, body: &'static str| {
            read(&Answer {
                status: StatusCode::from_u16(status).unwrap(),
                is_text,
                body: body.into(),
            })
        };
        assert_eq!(answer(200, false, r#"{"a":1}"#).unwrap(), json!({"a": 1}));
        let unknown = r#"an error on the server ("unknown") has prevented the request from succeeding"#;
        assert_eq!(answer(500, false, "{}").unwrap_err(), unknown);
        assert_eq!(
            answer(503, true, "busy\n").unwrap_err(),
            unknown.replace("unknown", "busy")
        );
        assert_eq!(
            answer(404, true, "").unwrap_err(),
            "the server could not find the requested resource"
        );
        assert!(
            answer(200, false, "junk")
                .unwrap_err()
                .starts_with("couldn't get version/kind")
        );
    }
}
