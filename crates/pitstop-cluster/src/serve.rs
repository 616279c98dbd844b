//! HTTPS for kubectl: listener, certificates, kubeconfig.
//!
//! Source: embedded-cluster.md 15.

mod access;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use self::access::Access;
pub(crate) use self::access::keep;
use crate::api::{Api, Body, Closing, Failure, closed};

/// How long a client may take over a TLS handshake.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// The pause after a connection that could not be accepted: most likely others must end first.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long open requests may take to end at a shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// Streams of one HTTP/2 connection: Go clients run all their watches over one.
const MAX_STREAMS: u32 = 4096;

/// Where to serve.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Address and port; port 0 takes a free one.
    pub addr: SocketAddr,
    /// Where to write a kubeconfig, readable by its owner alone. A file that is there is replaced.
    pub kubeconfig: Option<PathBuf>,
}

/// Why it cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another program listens there.
    #[error("the address {addr} is in use by another program")]
    AddressInUse {
        /// The address.
        addr: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("the address {addr} cannot be listened on: {cause}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// A certificate or key cannot be made or read.
    #[error("the server's certificate cannot be made: {0}")]
    Certificate(String),
    /// A file cannot be read or written.
    #[error("the file {} cannot be used: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

/// A server that listens. Dropping it stops listening.
#[derive(Debug)]
pub struct Serving {
    /// Where it listens.
    pub addr: SocketAddr,
    /// A kubeconfig that leads there, as YAML.
    pub kubeconfig: String,
    /// Where that was written.
    pub kubeconfig_path: Option<PathBuf>,
    /// The authority that signed the server's certificate, as PEM.
    pub ca_certificate: String,
    closing: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Serving {
    /// Stops listening, ends watches, and lets the other requests end.
    pub async fn shutdown(mut self) {
        self.closing.send_replace(true);
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the listener ended by a fault");
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.closing.send_replace(true);
    }
}

/// Starts to listen.
pub(crate) async fn start(
    api: Arc<Api>,
    config: ServeConfig,
    data: Option<&Path>,
    now: Timestamp,
) -> Result<Serving, ServeError> {
    let ServeConfig {
        addr,
        kubeconfig: kubeconfig_path,
    } = config;
    let listener = TcpListener::bind(addr)
        .await
        .map_err(|cause| match cause.kind() {
            io::ErrorKind::AddrInUse => ServeError::AddressInUse { addr },
            _ => ServeError::Listen { addr, cause },
        })?;
    let addr = listener
        .local_addr()
        .map_err(|cause| ServeError::Listen { addr, cause })?;
    let access = Access::prepare(data, addr, now)?;
    let acceptor = TlsAcceptor::from(access.tls()?);
    let kubeconfig = access.kubeconfig(addr);
    if let Some(path) = &kubeconfig_path {
        access::write_private(path, &kubeconfig)?;
    }
    let ca_certificate = access.ca_certificate().to_owned();
    let closing = watch::Sender::new(false);
    let listen = Listen {
        api,
        access: Arc::new(access),
        acceptor,
        closing: closing.subscribe(),
    };
    let task = tokio::spawn(listen.run(listener));
    Ok(Serving {
        addr,
        kubeconfig,
        kubeconfig_path,
        ca_certificate,
        closing,
        task: Some(task),
    })
}

/// What every connection needs.
#[derive(Clone)]
struct Listen {
    api: Arc<Api>,
    access: Arc<Access>,
    acceptor: TlsAcceptor,
    closing: watch::Receiver<bool>,
}

impl Listen {
    async fn run(mut self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = closed(&mut self.closing) => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(self.clone().connection(stream));
                    }
                    // Out of file descriptors, most likely: others must end first.
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            connections.abort_all();
        }
    }

    async fn connection(self, stream: TcpStream) {
        // Small frames of a watch must not wait for company.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection went away at once");
            return;
        }
        let stream = match tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                return;
            }
            Err(_) => return,
        };
        let mut closing = self.closing.clone();
        let service = service_fn(move |request| {
            let listen = self.clone();
            async move { Ok::<_, Infallible>(listen.answer(request).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new());
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = closed(&mut closing) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        }
    }

    async fn answer(self, mut request: Request<Incoming>) -> Response<Body> {
        let Some(user) = self.access.user(&request, &self.api) else {
            let mut response = Failure::unauthorized().into_response();
            // The body was not read: the connection cannot be used again.
            if request.version() < http::Version::HTTP_2 {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(http::header::CONNECTION, close);
            }
            return response;
        };
        request.extensions_mut().insert(user);
        request.extensions_mut().insert(Closing(self.closing));
        Box::pin(self.api.handle(request)).await
    }
}
