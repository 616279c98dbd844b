//! A hub with an API server of memory, a clock that is moved by hand, and a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pitstop_hub::{Hub, Settings};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::get;
use crate::fake::{Fake, until};

/// The path of the pod of hub.md part D.
pub(crate) const P: &str = "/openyurt.io/v1/namespaces/default/pods/nginx-a";

#[derive(Debug)]
pub(crate) struct HandClock(Mutex<Timestamp>);

impl HandClock {
    pub(crate) fn advance(&self, by: SignedDuration) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(by).unwrap();
    }

    pub(crate) fn set(&self, to: &str) {
        *self.0.lock().unwrap() = to.parse().unwrap();
    }
}

impl pitstop_api::Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

pub(crate) struct Rig {
    pub(crate) cloud: Fake,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) at: SocketAddr,
    folder: Arc<tempfile::TempDir>,
    stop: CancellationToken,
    running: JoinHandle<()>,
    settings: Settings,
}

/// Settings of part D: node n1, no spreading, a short patience with the API server, no limits that get in the way.
pub(crate) fn mk_settings(state: &Path) -> Settings {
    let mut settings = Settings::new("n1", state.join("hub"));
    settings.listen = vec![([127, 0, 0, 1], 0).into()];
    settings.reconnect_spread = Duration::ZERO;
    // With it, the first wait until a link that is down is tried again is one of few milliseconds.
    settings.seed = 160;
    settings.heartbeat.timeout = Duration::from_millis(200);
    settings.limits.changes = (1000.0, 1000.0);
    settings.limits.all_changes = (1000.0, 1000.0);
    settings.limits.reads = (10_000.0, 10_000.0);
    settings.limits.connections_per_user = 64;
    settings
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut settings = mk_settings(folder.path());
        change(&mut settings);
        let clock = Arc::new(HandClock(Mutex::new("2026-11-21T08:00:00Z".parse().unwrap())));
        Self::run(folder, settings, Fake::new(), clock).await
    }

    /// A hub that never saw the API server.
    pub(crate) async fn cut_off() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let settings = mk_settings(folder.path());
        let clock = Arc::new(HandClock(Mutex::new("2026-11-21T08:00:00Z".parse().unwrap())));
        let cloud = Fake::new();
        cloud.line(crate::fake::Line::Down);
        Self::run(folder, settings, cloud, clock).await
    }

    async fn run(
        folder: Arc<tempfile::TempDir>,
        settings: Settings,
        cloud: Fake,
        clock: Arc<HandClock>,
    ) -> Self {
        let hub = Hub::bind(settings.clone(), Arc::new(cloud.clone()), Arc::clone(&clock) as _)
            .await
            .unwrap();
        let at = hub.addresses()[0];
        let stop = CancellationToken::new();
        let token = stop.clone();
        let running = tokio::spawn(async move { hub.run(token).await.unwrap() });
        Self {
            cloud,
            clock,
            at,
            folder,
            stop,
            running,
            settings,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Waits until the hub has the pods of the API server.
    pub(crate) async fn ready(self) -> Self {
        let at = self.at;
        until("connected", async || {
            get(at, "/pods").await.header("x-pitstop-cache") == Some("live")
        })
        .await;
        self
    }

    /// Cuts the hub off and waits until it knows.
    pub(crate) async fn disconnect(&self) {
        self.cloud.line(crate::fake::Line::Down);
        let at = self.at;
        until("disconnected", async || {
            get(at, "/pods").await.header("x-pitstop-cache") == Some("stale")
        })
        .await;
    }

    pub(crate) async fn connect(&self) {
        self.cloud.line(crate::fake::Line::Up);
        let at = self.at;
        until("connected", async || {
            get(at, "/pods").await.header("x-pitstop-cache") == Some("live")
        })
        .await;
    }

    /// Ends the hub as kill -9 does: nothing is finished, nothing is written. What follows is another process.
    pub(crate) async fn kill(self) -> Self {
        self.running.abort();
        let _ = self.running.await;
        Self::run(self.folder, self.settings, self.cloud, self.clock).await
    }

    /// Ends the hub as SIGTERM does, and starts another.
    pub(crate) async fn restart(self) -> Self {
        self.stop.cancel();
        self.running.await.unwrap();
        Self::run(self.folder, self.settings, self.cloud, self.clock).await
    }

    /// Ends the hub as SIGTERM does.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }

    pub(crate) async fn intents(&self) -> Vec<Value> {
        let list = get(self.at, "/pitstop/v1/intents").await.json();
        list["items"].as_array().unwrap().clone()
    }

    /// Waits until the only intent stands like this.
    pub(crate) async fn stands(&self, state: &str, reason: &str) {
        let mut last = Vec::new();
        for _ in 0..3000 {
            last = self.intents().await;
            if let [intent] = &last[..]
                && intent["state"] == state
                && (reason.is_empty() || intent["reason"] == reason || intent["waiting"] == reason)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never {state} {reason}: {last:?}");
    }
}

/// The pod of part D: of a DaemonSet, on n1, updatable to `new`.
pub(crate) fn mk_pod(name: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": "default", "name": name, "uid": uid,
            "labels": {"controller-revision-hash": "old"},
            "annotations": {"secret": "a"},
            "managedFields": [{"manager": "kubelet"}],
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "nginx", "uid": "ds", "controller": true}
            ],
        },
        "spec": {
            "nodeName": "n1",
            "containers": [{"name": "c", "image": "nginx:1", "env": [{"name": "A", "value": "b"}]}],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "PodNeedUpgrade", "status": "True", "message": "controllerrevision: new"},
            ],
        },
    })
}

pub(crate) fn nginx() -> Value {
    mk_pod("nginx-a", "u1")
}

/// Sets a condition of a pod.
pub(crate) fn condition(pod: &mut Value, kind: &str, status: &str, reason: &str, message: &str) {
    let conditions = pod["status"]["conditions"].as_array_mut().unwrap();
    conditions.retain(|condition| condition["type"] != kind);
    if !status.is_empty() {
        conditions.push(json!({"type": kind, "status": status, "reason": reason, "message": message}));
    }
}

/// What the DaemonSet controller does once a pod is deleted.
pub(crate) fn recreate(cloud: &Fake, name: &str, uid: &str) {
    let mut pod = mk_pod(name, uid);
    pod["metadata"]["labels"]["controller-revision-hash"] = json!("new");
    condition(&mut pod, "PodNeedUpgrade", "False", "", "controllerrevision: new");
    cloud.put(pod);
}
