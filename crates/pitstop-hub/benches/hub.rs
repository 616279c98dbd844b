//! What a hub takes of a node: memory, time to the first answer, processor time.
//!
//! `cargo bench -p pitstop-hub` prints figures; the budgets are those of hub.md B12. The hub is this program, started
//! again; the API server is in this process and speaks TLS and HTTP/2.
#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program that prints figures and stops where it cannot"
)]

#[allow(dead_code, reason = "shared with the suite `killed`, which uses more of it")]
#[path = "../tests/killed/child.rs"]
mod child;
#[allow(dead_code, reason = "shared with the suite `hub`, which uses more of it")]
#[path = "../tests/hub/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the suite `hub`, which uses more of it")]
#[path = "../tests/hub/fake.rs"]
mod fake;
#[path = "../tests/killed/server.rs"]
mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use child::Process;
use client::get;
use fake::{Fake, until};

/// Pods on the node, the size of each in bytes, changes a second, clients of the event stream. Source: hub.md B12.
const PODS: usize = 110;
const POD_BYTES: usize = 12 * 1024;
const CHANGES: u32 = 5;
const CLIENTS: usize = 8;
/// How long it is watched, in seconds, unless an argument says otherwise: the hour of hub.md B12 is
/// `cargo bench -p pitstop-hub -- 3600`.
const SECONDS: u64 = 30;

fn lasting() -> Duration {
    let said = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    Duration::from_secs(said.unwrap_or(SECONDS))
}

fn mk_pod(number: usize, filling: &str) -> Value {
    json!({
        "metadata": {"namespace": "default", "name": format!("p{number}"), "uid": format!("u{number}")},
        "spec": {"nodeName": "n1", "filling": filling},
        "status": {"conditions": []},
    })
}

/// The certificate of the server, and what the kubeconfig needs.
fn tls(folder: &Path) -> TlsAcceptor {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(folder.join("ca.crt"), issuer.pem()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Memory in KiB: of its own, and all that is resident.
fn memory(id: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let number = |key: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (number("RssAnon:"), number("VmRSS:"))
}

/// Processor time so far, in hundredths of a second.
fn ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn main() {
    if child::be_one_if_asked() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(measure());
}

async fn measure() {
    let fake = Fake::new();
    for number in 0..PODS {
        fake.put(mk_pod(number, &"x".repeat(POD_BYTES)));
    }
    let folder = tempfile::tempdir().unwrap();
    let at = server::serve(fake.clone(), Some(tls(folder.path()))).await;
    let text = format!(
        "{{current-context: a, contexts: [{{name: a, context: {{cluster: a}}}}], clusters: [{{name: a, cluster: \
         {{server: 'https://localhost:{}', certificate-authority: ca.crt}}}}]}}",
        at.port()
    );
    std::fs::write(folder.path().join("kubeconfig"), text).unwrap();

    let mut hub = Process::start(folder.path(), None);
    let at = hub.listening().await.unwrap();
    assert_eq!(get(at, "/v1/healthz").await.code, 200);
    println!(
        "first answer                      {:>8.1?}   budget  50 ms",
        hub.started.elapsed()
    );
    until("all pods", async || {
        get(at, "/pitstop/v1/status").await.json()["pods"] == PODS
    })
    .await;
    println!(
        "all pods listed                   {:>8.1?}",
        hub.started.elapsed()
    );
    let (own, all) = memory(hub.id());
    println!("memory with {PODS} pods               {all:>6} KiB, of its own {own} KiB");

    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let request = b"GET /pitstop/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        clients.push(tokio::spawn(async move {
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }));
    }
    let before = ticks(hub.id());
    let mut turns = tokio::time::interval(Duration::from_secs(1) / CHANGES);
    let changes = usize::try_from(lasting().as_secs()).unwrap() * CHANGES as usize;
    for number in 0..changes {
        turns.tick().await;
        let filling = "y".repeat(POD_BYTES + number % 7);
        fake.put(mk_pod(number % PODS, &filling));
    }
    let used = ticks(hub.id()) - before;
    let (own, all) = memory(hub.id());
    println!(
        "memory after {changes} changes           {all:>6} KiB, of its own {own} KiB   budget 15360 KiB"
    );
    println!(
        "processor with {CHANGES} changes a second   {:>7.2} %",
        used as f64 / lasting().as_secs_f64()
    );
    let before = ticks(hub.id());
    tokio::time::sleep(lasting()).await;
    let used = ticks(hub.id()) - before;
    println!(
        "processor when idle               {:>7.2} %   budget   0.5 %",
        used as f64 / lasting().as_secs_f64()
    );
    hub.kill().await;

    // What was saved is served before the API server is reached.
    fake.line(fake::Line::Down);
    let mut hub = Process::start(folder.path(), None);
    let at = hub.listening().await.unwrap();
    let list = get(at, "/pods").await;
    assert_eq!(list.header("x-pitstop-cache"), Some("stale"));
    println!(
        "first list from disk              {:>8.1?}   budget 150 ms",
        hub.started.elapsed()
    );
    hub.kill().await;
    for client in clients {
        client.abort();
    }
}
