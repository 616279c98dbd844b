//! What a hub takes of the machine. hub.md B12, E ("intent flood").

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::child::Process;
use crate::client::get;
use crate::fake::{Fake, until};
use crate::server;

/// A pod of 12 KiB.
fn mk_pod(number: usize) -> Value {
    json!({
        "metadata": {"namespace": "default", "name": format!("p{number}"), "uid": format!("u{number}")},
        "spec": {"nodeName": "n1", "filling": "x".repeat(12 * 1024)},
        "status": {"conditions": []},
    })
}

/// Resident memory of a process, in KiB: what it takes for itself, and all of it.
fn resident(id: u32) -> (usize, usize) {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let number = |key: &str| -> usize {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (number("RssAnon:"), number("VmRSS:"))
}

fn kubeconfig(folder: &Path, at: std::net::SocketAddr) {
    let text = format!(
        "{{current-context: a, contexts: [{{name: a, context: {{cluster: a}}}}], clusters: [{{name: a, cluster: \
         {{server: 'http://{at}'}}}}]}}"
    );
    std::fs::write(folder.join("kubeconfig"), text).unwrap();
}

/// One client that sends requests on one connection.
async fn client(at: std::net::SocketAddr, requests: usize) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    for number in 0..requests {
        let (method, path) = match number % 4 {
            0 => ("GET", "/v1/healthz".to_owned()),
            1 => ("GET", "/nope".to_owned()),
            2 => (
                "POST",
                "/openyurt.io/v1/namespaces/default/pods/missing/upgrade".to_owned(),
            ),
            _ => ("GET", format!("/pitstop/v1/intents/{number}")),
        };
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut some = [0; 2048];
        assert!(stream.read(&mut some).await.unwrap() > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_take_bounded_memory() {
    let fake = Fake::new();
    for number in 0..110 {
        fake.put(mk_pod(number));
    }
    let folder = tempfile::tempdir().unwrap();
    kubeconfig(folder.path(), server::serve(fake.clone(), None).await);
    let mut hub = Process::start(folder.path(), None);
    let at = hub.listening().await.unwrap();
    get(at, "/v1/healthz").await;
    let first = hub.started.elapsed();
    until("all pods", async || {
        get(at, "/pitstop/v1/status").await.json()["pods"] == 110
    })
    .await;
    let before = resident(hub.id());
    for _ in 0..20 {
        let clients: Vec<_> = (0..5).map(|_| tokio::spawn(client(at, 100))).collect();
        for client in clients {
            client.await.unwrap();
        }
        // Whole lists and changes of pods come in between.
        assert!(get(at, "/pods").await.body.len() > 110 * 12 * 1024);
        fake.put(mk_pod(0));
    }
    let after = resident(hub.id());
    let told = format!(
        "first answer after {first:.0?}; resident (own, all) {before:?} KiB with 110 pods of 12 KiB, {after:?} KiB \
         after 10,000 requests"
    );
    // Not with eprintln: the test runner would swallow it.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{told}\n").as_bytes());
    // What it takes for itself; a build for tests is itself larger than a hub may be.
    assert!(after.0 < 15 * 1024, "{told}");
    assert!(after.0.saturating_sub(before.0) < 4 * 1024, "{told}");
    hub.kill().await;
}
