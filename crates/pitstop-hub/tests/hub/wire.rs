//! The line to the API server: TLS, one connection, and certificates that are renewed while we run. hub.md B3, B12.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pitstop_hub::{ApiServer, Change, Cloud as _, CloudError, Direct};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key, in PEM, of a name.
fn leaf(issuer: &Issuer, name: &str) -> (rcgen::Certificate, KeyPair) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap(), key)
}

/// An API server that says hello, and how many connections it had.
struct Server {
    at: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Certificates of clients, by connection.
    clients: Arc<Mutex<Vec<Vec<u8>>>>,
}

async fn serve(issuer: &Issuer, alpn: &[&[u8]]) -> Server {
    let (certificate, key) = leaf(issuer, "server");
    let mut roots = RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server {
        at: listener.local_addr().unwrap(),
        connections: Arc::default(),
        clients: Arc::default(),
    };
    let (connections, clients) = (Arc::clone(&server.connections), Arc::clone(&server.clients));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, connections, clients) =
                (acceptor.clone(), Arc::clone(&connections), Arc::clone(&clients));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                connections.fetch_add(1, Ordering::SeqCst);
                let client = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
                clients.lock().unwrap().push(client);
                let service = hyper::service::service_fn(answer);
                let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    server
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

/// A router on the way to the server that forgets the connections it has when told to.
async fn router(to: SocketAddr) -> (SocketAddr, tokio::sync::watch::Sender<u32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let forget = tokio::sync::watch::Sender::new(0);
    let told = forget.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut told = told.subscribe();
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    _ = told.changed() => std::future::pending().await,
                }
            });
        }
    });
    (at, forget)
}

// A connection that leads nowhere says nothing; it is not waited for twice.
#[tokio::test]
async fn a_connection_that_leads_nowhere_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = authority();
    for alpn in [&[b"h2".as_slice()][..], &[b"http/1.1"]] {
        let server = serve(&issuer, alpn).await;
        let (at, forget) = router(server.at).await;
        renew(folder.path(), &issuer, "system:node:n1");
        let path = kubeconfig(folder.path(), &issuer, at);
        let api = ApiServer::new(Direct::new(path, None).unwrap(), "n1");
        api.get_pod("default", "a").await.unwrap();
        forget.send_replace(1);
        let patience = Duration::from_millis(200);
        let lost = tokio::time::timeout(patience, api.get_pod("default", "a")).await;
        assert!(lost.is_err(), "{lost:?}");
        let found = tokio::time::timeout(Duration::from_secs(10), api.get_pod("default", "a")).await;
        assert!(found.unwrap().is_ok());
    }
}

/// A watch that stays open after one event, and otherwise an empty object.
async fn answer(request: http::Request<hyper::body::Incoming>) -> Result<http::Response<Body>, Infallible> {
    let body = if request
        .uri()
        .query()
        .is_some_and(|query| query.contains("watch=true"))
    {
        let event = Bytes::from_static(b"{\"type\":\"ADDED\",\"object\":{}}\n");
        let first = futures::stream::iter([Ok(Frame::data(event))]);
        StreamBody::new(first.chain(futures::stream::pending())).boxed_unsync()
    } else {
        Full::new(Bytes::from_static(b"{}")).boxed_unsync()
    };
    Ok(http::Response::new(body))
}

fn kubeconfig(folder: &Path, issuer: &Issuer, at: SocketAddr) -> std::path::PathBuf {
    std::fs::write(folder.join("ca.crt"), issuer.pem()).unwrap();
    let text = format!(
        "{{current-context: a, contexts: [{{name: a, context: {{cluster: a, user: a}}}}], clusters: [{{name: a, \
         cluster: {{server: 'https://localhost:{}', certificate-authority: ca.crt}}}}], users: [{{name: a, user: \
         {{client-certificate: node.pem, client-key: node.pem}}}}]}}",
        at.port()
    );
    let path = folder.join("kubelet.conf");
    std::fs::write(&path, text).unwrap();
    path
}

/// Writes a new certificate as kubelets do: another file in its place.
fn renew(folder: &Path, issuer: &Issuer, name: &str) -> Vec<u8> {
    let (certificate, key) = leaf(issuer, name);
    let new = folder.join("node.pem.new");
    std::fs::write(&new, format!("{}{}", certificate.pem(), key.serialize_pem())).unwrap();
    std::fs::rename(new, folder.join("node.pem")).unwrap();
    certificate.der().to_vec()
}

#[tokio::test]
async fn one_connection_carries_the_watch_and_everything_else() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = authority();
    let server = serve(&issuer, &[b"h2", b"http/1.1"]).await;
    let first = renew(folder.path(), &issuer, "system:node:n1");
    let path = kubeconfig(folder.path(), &issuer, server.at);
    let api = ApiServer::new(Direct::new(path, None).unwrap(), "n1");
    let mut watch = api.watch_pods("1").await.unwrap();
    assert_eq!(
        watch.next().await,
        Some(Ok(Change::Put(Bytes::from_static(b"{}"))))
    );
    for _ in 0..20 {
        api.get_pod("default", "a").await.unwrap();
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    // A renewed certificate is used at once, not when the old one expires.
    let second = renew(folder.path(), &issuer, "system:node:n1");
    api.get_pod("default", "a").await.unwrap();
    assert_eq!(*server.clients.lock().unwrap(), [first, second]);
    // One that is half written leaves the one before.
    std::fs::write(folder.path().join("node.pem"), "-----BEGIN").unwrap();
    api.get_pod("default", "a").await.unwrap();
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_server_of_the_first_version_is_served_too() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = authority();
    let server = serve(&issuer, &[b"http/1.1"]).await;
    renew(folder.path(), &issuer, "system:node:n1");
    let path = kubeconfig(folder.path(), &issuer, server.at);
    let api = ApiServer::new(Direct::new(path, None).unwrap(), "n1");
    let mut watch = api.watch_pods("1").await.unwrap();
    assert!(watch.next().await.unwrap().is_ok());
    for _ in 0..20 {
        api.get_pod("default", "a").await.unwrap();
    }
    assert!(server.connections.load(Ordering::SeqCst) <= 3);
}

// E: man in the middle.
#[tokio::test]
async fn a_server_of_another_authority_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, other) = (authority(), authority());
    let server = serve(&other, &[b"h2"]).await;
    renew(folder.path(), &issuer, "system:node:n1");
    let path = kubeconfig(folder.path(), &issuer, server.at);
    let api = ApiServer::new(Direct::new(path, None).unwrap(), "n1");
    let error = tokio::time::timeout(Duration::from_secs(10), api.ready())
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(&error, CloudError::Transport(message) if message.contains("certificate")),
        "{error}"
    );
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}
