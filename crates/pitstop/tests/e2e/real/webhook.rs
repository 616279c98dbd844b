//! Admission webhooks of somebody else: one says no to every third creation, one is slow, one is broken.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::routing::post;
use axum::{Json, Router};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

/// Serves on loopback with a certificate of its own.
pub(crate) struct Webhook {
    addr: SocketAddr,
    certificate: String,
    n_denied: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Webhook {
    /// Says no to every third request.
    pub(crate) async fn denying() -> Self {
        let every_third = |n: usize| n.is_multiple_of(3).then_some(403);
        Self::start(every_third, Duration::ZERO).await
    }

    /// Says yes, but not at once.
    pub(crate) async fn slow(answers_after: Duration) -> Self {
        Self::start(|_| None, answers_after).await
    }

    /// Says by turns that it failed and that there is a conflict.
    pub(crate) async fn broken() -> Self {
        let by_turns = |n: usize| Some(if n.is_multiple_of(2) { 409 } else { 500 });
        Self::start(by_turns, Duration::ZERO).await
    }

    /// Answers the n-th request, from 1, with the status code that `refuses` gives for it, or with yes.
    async fn start(refuses: fn(usize) -> Option<u16>, answers_after: Duration) -> Self {
        let n_denied = Arc::new(AtomicUsize::new(0));
        let n_asked = Arc::new(AtomicUsize::new(0));
        let denied = Arc::clone(&n_denied);
        let answer = move |Json(review): Json<Value>| async move {
            sleep(answers_after).await;
            let code = refuses(n_asked.fetch_add(1, Ordering::SeqCst) + 1);
            if code.is_some() {
                denied.fetch_add(1, Ordering::SeqCst);
            }
            let verdict = json!({
                "uid": review["request"]["uid"],
                "allowed": code.is_none(),
                "status": {"code": code.unwrap_or(200), "message": "this webhook is in the way"},
            });
            Ok::<_, Infallible>(Json(json!({
                "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": verdict,
            })))
        };
        let routes = Router::new().route("/", post(answer));
        let Served {
            addr,
            certificate,
            task,
        } = serve(&["127.0.0.1"], routes).await;
        Self {
            addr,
            certificate,
            n_denied,
            task,
        }
    }

    /// What the API server has to know, for this operation on pods in the namespace `default`, whoever asks for it.
    pub(crate) fn configuration(&self, name: &str, operation: &str) -> Value {
        use k8s_openapi::ByteString;
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": "pods.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "clientConfig": {
                    "url": format!("https://{}/", self.addr),
                    "caBundle": ByteString(self.certificate.clone().into_bytes()),
                },
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
                "rules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": [operation], "resources": ["pods"],
                }],
            }],
        })
    }

    /// The same, when this user asks.
    pub(crate) fn configuration_for(&self, name: &str, operation: &str, user: &str) -> Value {
        let mut configuration = self.configuration(name, operation);
        let expression = format!("request.userInfo.username == '{user}'");
        configuration["webhooks"][0]["matchConditions"] = json!([{"name": "user", "expression": expression}]);
        configuration
    }

    /// How often it said no.
    pub(crate) fn n_denied(&self) -> usize {
        self.n_denied.load(Ordering::SeqCst)
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Something that is served over TLS on loopback.
pub(crate) struct Served {
    pub(crate) addr: SocketAddr,
    /// Its certificate, in PEM.
    pub(crate) certificate: String,
    pub(crate) task: JoinHandle<()>,
}

/// Serves with a certificate for these names, until the task is aborted.
pub(crate) async fn serve(names: &[&str], routes: Router) -> Served {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = tcp.local_addr().unwrap();
    let listener = Listener {
        tcp,
        tls: TlsAcceptor::from(Arc::new(config)),
    };
    let task = tokio::spawn(async move {
        // It ends with the test.
        let _ = axum::serve(listener, routes).await;
    });
    Served {
        addr,
        certificate: certificate.pem(),
        task,
    }
}

struct Listener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, addr)) = self.tcp.accept().await else {
                continue;
            };
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, addr);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
