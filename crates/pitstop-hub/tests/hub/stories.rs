//! What user interfaces and auditors see: the event stream, the slim list, the audit log, metrics. hub.md B10 to B12.

use std::time::Duration;

use pitstop_hub::{CloudError, Limits};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{get, post, send};
use crate::fake::until;
use crate::rig::{P, Rig, condition, mk_pod, nginx, recreate};

/// A client of the event stream.
struct Watcher {
    stream: TcpStream,
    text: String,
}

impl Watcher {
    async fn new(rig: &Rig, last: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(rig.at).await.unwrap();
        let last = last.map_or(String::new(), |last| format!("Last-Event-ID: {last}\r\n"));
        let request = format!("GET /pitstop/v1/events HTTP/1.1\r\nHost: localhost\r\n{last}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self {
            stream,
            text: String::new(),
        }
    }

    /// Reads on until a text has come.
    async fn until(&mut self, text: &str) {
        let mut some = [0; 4096];
        while !self.text.contains(text) {
            let read = tokio::time::timeout(Duration::from_secs(10), self.stream.read(&mut some));
            let read = read
                .await
                .unwrap_or_else(|_| panic!("never {text}: {}", self.text))
                .unwrap();
            assert!(read > 0, "ended before {text}: {}", self.text);
            self.text.push_str(&String::from_utf8_lossy(&some[..read]));
        }
    }

    /// The events of a kind.
    fn events(&self, kind: &str) -> Vec<Value> {
        let after = format!("event: {kind}\ndata: ");
        let parts = self.text.split(&after).skip(1);
        parts
            .map(|part| serde_json::from_str(part.lines().next().unwrap()).unwrap())
            .collect()
    }
}

#[tokio::test]
async fn an_upgrade_is_told_from_the_request_to_the_pod_that_is_ready() {
    let rig = Rig::start().await.ready().await;
    let mut watcher = Watcher::new(&rig, None).await;
    watcher.until("event: hello").await;
    assert_eq!(watcher.events("hello")[0]["node"], "n1");
    rig.cloud.put(nginx());
    watcher.until("event: upgradable").await;
    assert_eq!(watcher.events("upgradable")[0]["target"], "new");
    assert_eq!(post(rig.at, &format!("{P}/upgrade")).await.code, 200);
    watcher.until("\"Deleting\"").await;
    rig.cloud.remove("nginx-a");
    recreate(&rig.cloud, "nginx-b", "u2");
    watcher.until("\"Ready\"").await;
    let phases: Vec<Value> = watcher
        .events("upgrade")
        .iter()
        .map(|event| event["phase"].clone())
        .collect();
    assert_eq!(phases, ["Requested", "Deleting", "Gone", "Ready"]);
    let last = watcher.events("upgrade").pop().unwrap();
    assert_eq!(
        (&last["pod"], &last["replaces"]),
        (&json!("nginx-b"), &json!("nginx-a"))
    );
    let states: Vec<Value> = watcher
        .events("intent")
        .iter()
        .map(|event| event["state"].clone())
        .collect();
    assert_eq!(states, ["Executing", "Succeeded"]);

    // A client that comes back is told what it missed, and a strange one everything.
    let hello = watcher
        .text
        .lines()
        .find(|line| line.starts_with("id: "))
        .unwrap()[4..]
        .to_owned();
    let mut again = Watcher::new(&rig, Some(&hello)).await;
    again.until("\"Ready\"").await;
    assert!(again.events("hello").is_empty() && again.events("reset").is_empty());
    let mut strange = Watcher::new(&rig, Some("ffff-1")).await;
    strange.until("event: reset").await;
    assert_eq!(strange.events("reset")[0]["pods"][0]["name"], "nginx-b");

    rig.disconnect().await;
    watcher.until("event: connectivity").await;
    assert_eq!(watcher.events("connectivity")[0]["connected"], false);
    // B12: the end asks them to come back.
    rig.stop().await;
    watcher.until("retry: 2000").await;
}

#[tokio::test]
async fn event_streams_are_counted() {
    let rig = Rig::start().await;
    let mut held = Vec::new();
    for _ in 0..Limits::default().streams_per_user {
        let mut watcher = Watcher::new(&rig, None).await;
        watcher.until("event: hello").await;
        held.push(watcher);
    }
    assert_eq!(get(rig.at, "/pitstop/v1/events").await.code, 429);
    drop(held);
    let at = rig.at;
    until("room again", async || {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let request = b"GET /pitstop/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut some = [0; 12];
        stream.read_exact(&mut some).await.unwrap();
        &some == b"HTTP/1.1 200"
    })
    .await;
    rig.stop().await;
}

// B11: a user interface can grey out the button and say why.
#[tokio::test]
async fn the_slim_list_says_what_is_in_the_way() {
    let rig = Rig::start().await.ready().await;
    let mut blocked = mk_pod("blocked", "u2");
    condition(
        &mut blocked,
        "PodImageReady",
        "False",
        "PullImageFail",
        "controllerrevision: new; no space",
    );
    blocked["metadata"]["ownerReferences"][0]["kind"] = json!("ReplicaSet");
    rig.cloud.put(blocked);
    rig.cloud.put(nginx());
    until("two", async || {
        get(rig.at, "/pitstop/v1/pods").await.json()["items"]
            .as_array()
            .unwrap()
            .len()
            == 2
    })
    .await;
    let items = get(rig.at, "/pitstop/v1/pods").await.json()["items"].clone();
    let reasons: Vec<&str> = items[0]["blockedBy"]
        .as_array()
        .unwrap()
        .iter()
        .map(|blocked| blocked["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["ImageNotReady", "UnsupportedKind"]);
    assert_eq!(
        (&items[1]["needUpgrade"], &items[1]["target"]),
        (&json!(true), &json!("new"))
    );
    assert_eq!(
        (&items[1]["current"], &items[1]["blockedBy"]),
        (&json!("old"), &json!([]))
    );
    let pulls = get(rig.at, "/pitstop/v1/pulls").await.json();
    assert_eq!(
        (&pulls["items"][0]["phase"], &pulls["items"][0]["target"]),
        (&json!("Failed"), &json!("new"))
    );
    let status = get(rig.at, "/pitstop/v1/status").await.json();
    assert_eq!((&status["connected"], &status["pods"]), (&json!(true), &json!(2)));
    assert_eq!(send(rig.at, "DELETE", "/pitstop/v1/pulls/x", &[]).await.code, 501);
    rig.stop().await;
}

// B10: one line for each change and each refusal.
#[tokio::test]
async fn changes_and_refusals_are_recorded() {
    let rig = Rig::with(|settings| settings.audit = Some(settings.state.with_extension("audit")))
        .await
        .ready()
        .await;
    rig.cloud.put(nginx());
    let path = format!("{P}/upgrade");
    send(rig.at, "POST", &path, &[("Origin", "http://evil.example")]).await;
    get(rig.at, "/pods").await;
    rig.cloud.refuse(CloudError::Forbidden("no".to_owned()));
    post(rig.at, &path).await;
    post(rig.at, &path).await;
    let text = std::fs::read_to_string(rig.path("hub.audit")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let seen: Vec<_> = lines
        .iter()
        .map(|line| (line["decision"].as_str().unwrap(), line["code"].as_u64().unwrap()))
        .collect();
    assert_eq!(seen, [("origin", 403), ("allowed", 500), ("allowed", 200)]);
    assert_eq!(lines[2]["intent"], rig.intents().await[0]["id"]);
    assert_eq!(lines[0]["uid"], rustix::process::getuid().as_raw());
    assert_eq!(lines[2]["path"], path);
    rig.stop().await;
}

#[tokio::test]
async fn metrics_name_no_pods() {
    let rig = Rig::with(|settings| settings.legacy_metrics = true)
        .await
        .ready()
        .await;
    rig.cloud.put(nginx());
    post(rig.at, &format!("{P}/upgrade")).await;
    send(rig.at, "GET", "/pods", &[("Host", "evil.example")]).await;
    let reply = get(rig.at, "/metrics").await;
    for line in [
        "pitstop_hub_connected 1",
        "pitstop_hub_upgrade_requests_total{result=\"started\"} 1",
        "pitstop_hub_guard_rejections_total{check=\"host\"} 1",
        "pitstop_hub_intents{state=\"Succeeded\"} 1",
        "pitstop_hub_policy_valid 1",
        "node_yurthub_server_healthy_status{server=\"api\"} 1",
    ] {
        assert!(
            reply.body.lines().any(|known| known == line),
            "{line} in {}",
            reply.body
        );
    }
    assert!(!reply.body.contains("nginx"));
    rig.stop().await;
}

// B4: a controller that does not react is told about once; the intent stays.
#[tokio::test]
async fn a_silent_controller_is_told_about() {
    let rig = Rig::with(|settings| settings.stalled_after = Duration::from_millis(10))
        .await
        .ready()
        .await;
    rig.cloud.may_delete(false);
    rig.cloud.put(nginx());
    let mut watcher = Watcher::new(&rig, None).await;
    watcher.until("event: hello").await;
    assert_eq!(post(rig.at, &format!("{P}/upgrade")).await.code, 200);
    watcher.until("\"Stalled\"").await;
    until("an Event", async || {
        rig.cloud.events() == ["UpgradeStarted", "UpgradeStalled"]
    })
    .await;
    rig.stands("Executing", "").await;
    // It may go on after that.
    recreate(&rig.cloud, "nginx-a", "u1");
    watcher.until("\"Ready\"").await;
    rig.stands("Succeeded", "Upgraded").await;
    let phases: Vec<Value> = watcher
        .events("upgrade")
        .iter()
        .map(|event| event["phase"].clone())
        .collect();
    assert_eq!(phases, ["Requested", "Patched", "Stalled", "Ready"]);
    rig.stop().await;
}
