//! A webhook over TLS on loopback.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A program of others. It answers by the path that it is called at, and remembers what it was asked.
pub(super) struct Hook {
    pub(super) port: u16,
    /// Its certificate, as a `caBundle`.
    pub(super) bundle: String,
    asked: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<()>,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hook {
    /// Its certificate vouches for itself, and is an authority as `openssl req -x509` makes them.
    pub(super) async fn start(answer: fn(&str, &Value) -> Value) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["127.0.0.1".to_owned(), "hook.default.svc".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let task = tokio::spawn(serve(
            listener,
            TlsAcceptor::from(Arc::new(tls)),
            asked.clone(),
            answer,
        ));
        Self {
            port,
            bundle: STANDARD.encode(certificate.pem()),
            asked,
            task,
        }
    }

    pub(super) fn asked(&self) -> Vec<Value> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// A webhook that is called at a path about config maps; `more` changes it.
    pub(super) fn at(&self, path: &str, more: &Value) -> Value {
        let mut webhook = json!({
            "name": format!("{path}.example.com"),
            "clientConfig": {
                "url": format!("https://127.0.0.1:{}/{path}", self.port), "caBundle": self.bundle,
            },
            "rules": [{
                "operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
            }],
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
        });
        let map = webhook.as_object_mut().unwrap();
        map.extend(more.as_object().unwrap().clone());
        webhook
    }
}

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    asked: Arc<Mutex<Vec<Value>>>,
    answer: fn(&str, &Value) -> Value,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, asked) = (tls.clone(), asked.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let asked = asked.clone();
                async move {
                    let uri = request.uri().clone();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let review: Value = serde_json::from_slice(&body).unwrap();
                    asked.lock().unwrap().push(review["request"].clone());
                    if uri.path() == "/slow" {
                        std::future::pending::<()>().await;
                    }
                    let mut response = answer(uri.path(), &review["request"]);
                    let uid = review["request"]["uid"].clone();
                    response.as_object_mut().unwrap().insert("uid".to_owned(), uid);
                    let answer = json!({
                        "apiVersion": review["apiVersion"], "kind": review["kind"], "response": response,
                    });
                    let body = Full::new(Bytes::from(answer.to_string()));
                    let response = Response::builder().header(CONTENT_TYPE, "application/json");
                    Ok::<_, Infallible>(response.body(body).unwrap())
                }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            // A caller that gives up breaks the connection.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
