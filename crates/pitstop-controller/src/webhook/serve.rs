//! HTTPS in front of the webhooks.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::Webhooks;

/// Largest review in bytes: a list of many objects is converted as a whole.
const LARGEST_REVIEW: usize = 64 << 20;
/// How many connections there are at once. An API server keeps a few.
const MOST_CONNECTIONS: usize = 256;
/// How long a client may take to agree on keys.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How long nobody is let in after the operating system has refused a connection: it lacks file handles, say.
const PAUSE: Duration = Duration::from_millis(100);

/// The certificate that is served at present; there is none at the start.
#[derive(Debug, Default)]
pub(super) struct Shown(RwLock<Option<Arc<CertifiedKey>>>);

impl Shown {
    /// Serves with this certificate from now on. Connections that are there stay.
    pub(super) fn show(&self, certificate: &str, key: &str) -> Result<(), String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
        let chain = chain.map_err(|error| error.to_string())?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| error.to_string())?;
        let pair = CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(|error| error.to_string())?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(pair));
        Ok(())
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What turns connections into conversations that nobody else reads.
pub(super) fn acceptor(shown: Arc<Shown>) -> Result<TlsAcceptor, rustls::Error> {
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves for ever.
pub(super) async fn serve(listener: TcpListener, tls: TlsAcceptor, webhooks: Webhooks) {
    let turns = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "a connection to the webhooks could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (tls, webhooks) = (tls.clone(), webhooks.clone());
        tokio::spawn(async move {
            if let Err(error) = converse(stream, tls, webhooks).await {
                debug!(error, "a connection to the webhooks ended");
            }
            drop(turn);
        });
    }
}

async fn converse(stream: TcpStream, tls: TlsAcceptor, webhooks: Webhooks) -> Result<(), String> {
    let handshake = tokio::time::timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await;
    let stream = handshake
        .map_err(|_| "no handshake in time".to_owned())?
        .map_err(|error| error.to_string())?;
    let service = service_fn(|request| {
        let webhooks = webhooks.clone();
        async move { Ok::<_, Infallible>(answer(&webhooks, request).await) }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    let conversation = server.serve_connection(TokioIo::new(stream), service);
    conversation.await.map_err(|error| error.to_string())
}

async fn answer(webhooks: &Webhooks, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "reviews are sent by POST");
    }
    let path = request.uri().path().to_owned();
    let body = Limited::new(request.into_body(), LARGEST_REVIEW).collect().await;
    let Ok(body) = body else {
        return plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the review is too large, or ended early",
        );
    };
    let Ok(review) = serde_json::from_slice(&body.to_bytes()) else {
        return plain(StatusCode::BAD_REQUEST, "the review is no JSON");
    };
    match webhooks.answer(&path, &review).await {
        Some(answer) => with_type("application/json", answer.to_string()),
        None => plain(StatusCode::NOT_FOUND, "there is no webhook at this path"),
    }
}

fn plain(code: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = with_type("text/plain; charset=utf-8", text);
    *response.status_mut() = code;
    response
}

fn with_type(media_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, http::HeaderValue::from_static(media_type));
    response
}
