//! An arbiter that is a service. Source: statefulset.md 16.4.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use pitstop_api::fields::text;
use pitstop_api::view::HttpProbe;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::api::{Api, Call, Resource, Verb};

/// The largest answer that is read. Units: bytes.
const LARGEST: usize = 4 << 20;

/// Where an arbiter is.
pub(super) struct Url {
    /// Name or address, and port.
    address: String,
    /// Whom it has to show a certificate for; `None`: nobody is asked for one.
    secured: Option<Secured>,
    path: Arc<str>,
}

struct Secured {
    /// Name in the cluster, or outside of it.
    name: String,
    ca_bundle: Option<Arc<str>>,
}

impl Url {
    /// The address of its service; a service without one is asked by name. What is outside of the cluster is a service of
    /// type `ExternalName`. Its certificate is one for its name in the cluster, as for webhooks, or outside of it.
    pub(super) async fn of(api: &dyn Api, probe: &HttpProbe, namespace: &str) -> Result<Self, String> {
        let (service, port) = (&probe.service, probe.port);
        let namespace = probe.namespace.as_deref().unwrap_or(namespace);
        let call = Call::object(Verb::Get, Resource::Services, Some(namespace), service);
        let found = api.send(call).await.map_err(|error| error.to_string())?;
        let found: Value = serde_json::from_slice(&found).map_err(|error| error.to_string())?;
        let inside = format!("{service}.{namespace}.svc");
        let (host, name) = match (text(&found, "/spec/type"), text(&found, "/spec/clusterIP")) {
            ("ExternalName", _) => {
                let outside = text(&found, "/spec/externalName").to_owned();
                (outside.clone(), outside)
            }
            (_, "" | "None") => (inside.clone(), inside),
            (_, address) if address.contains(':') => (format!("[{address}]"), inside),
            (_, address) => (address.to_owned(), inside),
        };
        Ok(Self {
            address: format!("{host}:{port}"),
            secured: probe.is_https.then(|| Secured {
                name,
                ca_bundle: probe.ca_bundle.clone(),
            }),
            path: Arc::clone(&probe.path),
        })
    }

    pub(super) async fn send(
        &self,
        api: &dyn Api,
        method: Method,
        more: &str,
        body: Option<Value>,
    ) -> Result<Bytes, String> {
        let stream = api.connect(&self.address).await;
        let stream = stream.map_err(|error| format!("{}: {error}", self.address))?;
        let Some(secured) = &self.secured else {
            return self.exchange(stream, method, more, body).await;
        };
        let failed = |why: String| format!("{}: TLS: {why}", self.address);
        let name = ServerName::try_from(secured.name.clone()).map_err(|error| failed(error.to_string()))?;
        let config = client_config(secured.ca_bundle.as_deref()).map_err(failed)?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let stream = stream.map_err(|error| failed(error.to_string()))?;
        self.exchange(stream, method, more, body).await
    }

    async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        stream: S,
        method: Method,
        more: &str,
        body: Option<Value>,
    ) -> Result<Bytes, String> {
        let broken = |error: hyper::Error| format!("{}: {error}", self.address);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let path = format!("/{}{more}", self.path.trim_matches('/'));
        let mut request = Request::builder()
            .method(method)
            .uri(path.replace("//", "/"))
            .header(http::header::HOST, &self.address);
        if body.is_some() {
            request = request.header(http::header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(broken)?;
            if answer.status() != http::StatusCode::OK {
                return Err(format!("it answered {}", answer.status()));
            }
            let body = Limited::new(answer.into_body(), LARGEST).collect().await;
            Ok(body.map_err(|error| error.to_string())?.to_bytes())
        };
        // The connection is driven here: it ends with the answer, or with whoever waits for it.
        let mut connection = std::pin::pin!(connection);
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            ended = &mut connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(broken(error)),
            },
        }
    }
}

/// Whom it trusts: the authorities of a bundle, or else those that this machine trusts.
fn client_config(ca_bundle: Option<&str>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let Some(bundle) = ca_bundle else {
        let config = config
            .with_platform_verifier()
            .map_err(|error| error.to_string())?;
        return Ok(config.with_no_client_auth());
    };
    let unreadable = || "arbiter.http.caBundle holds no certificate; it takes PEM in base64".to_owned();
    let bundle = STANDARD.decode(bundle.trim()).map_err(|_| unreadable())?;
    let certificates = CertificateDer::pem_slice_iter(&bundle).filter_map(Result::ok);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err(unreadable());
    }
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
