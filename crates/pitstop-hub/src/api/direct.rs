//! One connection to the API server.
//!
//! Over HTTP/2 the watch and all requests share one TLS connection. When the certificate, the token or the kubeconfig
//! changes on disk, the next request opens a new one.
//!
//! Source: hub.md B3, B12 (one TLS connection).

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::kubeconfig::Access;
use super::{AnswerBody, BodyError, Transport};

/// How long it may take until a connection stands.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a silent connection is asked whether it lives.
const PING: Duration = Duration::from_secs(20);
/// Idle connections of HTTP/1.1 that are kept.
const MAX_IDLE: usize = 2;

/// Why there is no connection to the API server.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(String);

impl ConnectError {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// The API server that a kubeconfig names.
#[derive(Debug)]
pub struct Direct {
    kubeconfig: PathBuf,
    context: Option<String>,
    /// In place of the one that the kubeconfig names.
    elsewhere: Option<Elsewhere>,
    open: tokio::sync::Mutex<Option<Open>>,
    /// Whether a request was given up before its answer came: the connection may lead nowhere.
    suspect: AtomicBool,
    /// Connections of HTTP/1.1 that may be free.
    idle: std::sync::Mutex<Vec<http1::SendRequest<Full<Bytes>>>>,
}

/// A server that a kubeconfig does not name.
#[derive(Debug)]
struct Elsewhere {
    url: String,
    /// The name that its certificate has to have, if not the one of the kubeconfig.
    name: Option<String>,
    /// File of those that signed it, if not those of the kubeconfig.
    authorities: Option<PathBuf>,
}

/// What was read, and the connection that was made of it.
#[derive(Debug)]
struct Open {
    access: Arc<Access>,
    tls: Option<Arc<ClientConfig>>,
    shared: Option<http2::SendRequest<Full<Bytes>>>,
}

enum Line {
    Shared(http2::SendRequest<Full<Bytes>>),
    Own(http1::SendRequest<Full<Bytes>>),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

fn tls_config(access: &Access) -> Result<ClientConfig, String> {
    let pem = access
        .authorities
        .as_deref()
        .ok_or("the kubeconfig names no certificate authority")?;
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(pem) {
        let authority = authority.map_err(|error| format!("certificate authority: {error}"))?;
        roots
            .add(authority)
            .map_err(|error| format!("certificate authority: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match &access.identity {
        Some((certificate, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
            let chain = chain.map_err(|error| format!("client certificate: {error}"))?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("client key: {error}"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("client certificate: {error}"))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

impl Direct {
    /// The API server of a kubeconfig; its current context, or another.
    ///
    /// # Errors
    /// The kubeconfig, or a file that it names, cannot be used.
    pub fn new(kubeconfig: impl Into<PathBuf>, context: Option<String>) -> Result<Self, ConnectError> {
        let direct = Self {
            context,
            ..Self::once_there(kubeconfig)
        };
        direct.read().map_err(ConnectError)?;
        Ok(direct)
    }

    /// The API server of a kubeconfig, in its current context, that names files which may not be there yet: until they are,
    /// requests fail.
    pub fn once_there(kubeconfig: impl Into<PathBuf>) -> Self {
        Self {
            kubeconfig: kubeconfig.into(),
            context: None,
            elsewhere: None,
            open: tokio::sync::Mutex::new(None),
            suspect: AtomicBool::new(false),
            idle: std::sync::Mutex::default(),
        }
    }

    /// With another server than the one that the kubeconfig names: an `https` URL.
    ///
    /// # Errors
    /// It is no such URL.
    pub fn with_server(mut self, server: &str) -> Result<Self, ConnectError> {
        super::kubeconfig::https(server).map_err(ConnectError)?;
        self.elsewhere = Some(Elsewhere {
            url: server.to_owned(),
            name: None,
            authorities: None,
        });
        Ok(self)
    }

    /// The kubelet of a node, to which we are who the kubeconfig says: an `https` URL, and a file with the authority of
    /// its certificate if that is another than the cluster's.
    ///
    /// # Errors
    /// It is no such URL.
    pub fn to_kubelet(
        mut self,
        url: &str,
        node: &str,
        authorities: Option<PathBuf>,
    ) -> Result<Self, ConnectError> {
        super::kubeconfig::https(url).map_err(ConnectError)?;
        self.elsewhere = Some(Elsewhere {
            url: url.to_owned(),
            name: Some(node.to_owned()),
            authorities,
        });
        Ok(self)
    }

    fn read(&self) -> Result<Open, String> {
        let mut access = Access::read(&self.kubeconfig, self.context.as_deref())?;
        if let Some(elsewhere) = &self.elsewhere {
            access.lead_to(
                &elsewhere.url,
                elsewhere.name.as_deref(),
                elsewhere.authorities.as_deref(),
            )?;
        }
        let tls = if access.tls {
            Some(Arc::new(tls_config(&access)?))
        } else {
            None
        };
        Ok(Open {
            access: Arc::new(access),
            tls,
            shared: None,
        })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<http1::SendRequest<Full<Bytes>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line that is free, and what it leads to.
    async fn line(&self) -> Result<(Line, Arc<Access>), String> {
        let mut open = self.open.lock().await;
        if open
            .as_ref()
            .is_some_and(|open| open.access.stamps.iter().any(super::kubeconfig::Stamp::changed))
        {
            match self.read() {
                Ok(new) => {
                    tracing::info!("the identity of this node was renewed");
                    *open = Some(new);
                    self.idle().clear();
                }
                // A file that is being written is read again with the next request.
                Err(error) => tracing::warn!(error, "keeping the identity that was read before"),
            }
        }
        if open.is_none() {
            *open = Some(self.read()?);
        }
        let Some(open) = open.as_mut() else {
            return Err("no connection".to_owned());
        };
        if self.suspect.swap(false, Ordering::Relaxed) {
            open.shared = None;
            self.idle().clear();
        }
        let access = Arc::clone(&open.access);
        if let Some(shared) = open.shared.as_ref().filter(|shared| !shared.is_closed()) {
            return Ok((Line::Shared(shared.clone()), access));
        }
        let free = {
            let mut idle = self.idle();
            idle.retain(|line| !line.is_closed());
            idle.iter()
                .position(http1::SendRequest::is_ready)
                .map(|at| idle.swap_remove(at))
        };
        if let Some(free) = free {
            return Ok((Line::Own(free), access));
        }
        let line = timeout(CONNECT, connect(&access, open.tls.clone()))
            .await
            .map_err(|_| {
                format!(
                    "connecting to {}:{}: no answer within {CONNECT:?}",
                    access.host, access.port
                )
            })??;
        if let Line::Shared(shared) = &line {
            open.shared = Some(shared.clone());
        }
        Ok((line, access))
    }
}

async fn connect(access: &Access, tls: Option<Arc<ClientConfig>>) -> Result<Line, String> {
    let (host, port) = (access.host.as_str(), access.port);
    let told = |error: &dyn std::fmt::Display| format!("connecting to {host}:{port}: {error}");
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| told(&error))?;
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return first(Box::new(stream)).await.map_err(|error| told(&error));
    };
    let name = access.server_name.as_deref().unwrap_or(host);
    let name = match name.parse::<IpAddr>() {
        Ok(address) => ServerName::IpAddress(address.into()),
        Err(_) => ServerName::try_from(name.to_owned()).map_err(|error| told(&error))?,
    };
    let stream = TlsConnector::from(tls)
        .connect(name, stream)
        .await
        .map_err(|error| told(&error))?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        second(Box::new(stream)).await.map_err(|error| told(&error))
    } else {
        first(Box::new(stream)).await.map_err(|error| told(&error))
    }
}

async fn first(stream: Box<dyn Stream>) -> Result<Line, hyper::Error> {
    let (line, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the API server ended");
        }
    });
    Ok(Line::Own(line))
}

async fn second(stream: Box<dyn Stream>) -> Result<Line, hyper::Error> {
    let (line, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(CONNECT)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to the API server ended");
        }
    });
    Ok(Line::Shared(line))
}

/// The request as it goes on the line: whole target and identity.
fn addressed(
    mut request: Request<Full<Bytes>>,
    access: &Access,
    absolute: bool,
) -> Result<Request<Full<Bytes>>, String> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let target = if absolute {
        format!("{}{path}", access.url())
    } else {
        format!("{}{path}", access.prefix)
    };
    *request.uri_mut() = target.parse::<Uri>().map_err(|error| error.to_string())?;
    let headers = request.headers_mut();
    if !absolute {
        headers.insert(
            HOST,
            HeaderValue::from_str(&access.authority()).map_err(|error| error.to_string())?,
        );
    }
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("pitstop-hub/", env!("CARGO_PKG_VERSION"))),
    );
    if let Some(token) = &access.token {
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut value = value.map_err(|_| "the token is no header value".to_owned())?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(request)
}

/// Somebody who waits for an answer. Gone before it comes, the connection is not trusted any more: one that leads nowhere
/// tells nobody, and the next request had better not wait for it as well.
struct Patience<'a> {
    suspect: &'a AtomicBool,
    over: bool,
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.suspect.store(true, Ordering::Relaxed);
        }
    }
}

impl Transport for Direct {
    fn send(&self, request: Request<Full<Bytes>>) -> BoxFuture<'_, Result<Response<AnswerBody>, String>> {
        Box::pin(async move {
            let (line, access) = self.line().await?;
            let mut patience = Patience {
                suspect: &self.suspect,
                over: false,
            };
            let answer = match line {
                Line::Shared(mut line) => {
                    let request = addressed(request, &access, true)?;
                    line.ready().await.map_err(|error| error.to_string())?;
                    line.send_request(request).await
                }
                Line::Own(mut line) => {
                    let request = addressed(request, &access, false)?;
                    line.ready().await.map_err(|error| error.to_string())?;
                    let answer = line.send_request(request).await;
                    let mut idle = self.idle();
                    if answer.is_ok() && idle.len() < MAX_IDLE {
                        idle.push(line);
                    }
                    drop(idle);
                    answer
                }
            };
            patience.over = true;
            let answer = answer.map_err(|error| error.to_string())?;
            Ok(answer.map(|body| body.map_err(|error| BodyError(error.to_string())).boxed_unsync()))
        })
    }
}
