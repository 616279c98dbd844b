//! Kill at every point, and look what became of what clients were told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::child::Process;
use crate::client::{Reply, get, send};
use crate::fake::{Fake, Line, Write, until};
use crate::server;

/// Orders in which clients do things; each is killed at every system call of the log.
const ORDERS: u64 = 7;
/// Histories that are played at once.
const AT_ONCE: usize = 6;
/// More system calls than any process makes.
const MANY: usize = 1000;

/// A pod of a DaemonSet of its own, which waits for revision `new`.
fn mk_pod(name: &str) -> Value {
    json!({
        "metadata": {
            "namespace": "default", "name": name, "uid": format!("uid-{name}"),
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": name, "uid": format!("ds-{name}"),
                 "controller": true}
            ],
        },
        "spec": {"nodeName": "n1"},
        "status": {"conditions": [
            {"type": "PodNeedUpgrade", "status": "True", "message": "controllerrevision: new"}
        ]},
    })
}

/// What clients were told, by name of the pod: codes in their order; `None` where no answer came.
type Told = BTreeMap<&'static str, Vec<Option<u16>>>;

/// One history, on a folder and an API server of its own.
struct History {
    folder: tempfile::TempDir,
    fake: Fake,
    told: Told,
}

/// A request to a hub that may die over it.
async fn ask(process: &Process, at: SocketAddr, method: &str, path: &str) -> Option<Reply> {
    tokio::select! {
        biased;
        () = process.at_fault() => None,
        reply = send(at, method, path, &[]) => Some(reply),
    }
}

impl History {
    async fn new() -> Self {
        let fake = Fake::new();
        for name in ["a", "b", "c", "d", "e"] {
            fake.put(mk_pod(name));
        }
        let at = server::serve(fake.clone(), None).await;
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "{{current-context: a, contexts: [{{name: a, context: {{cluster: a}}}}], clusters: [{{name: a, cluster: \
             {{server: 'http://{at}'}}}}]}}"
        );
        std::fs::write(folder.path().join("kubeconfig"), text).unwrap();
        Self {
            folder,
            fake,
            told: Told::new(),
        }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Asks and notes; whether the hub lives on.
    async fn note(
        &mut self,
        process: &Process,
        at: SocketAddr,
        pod: &'static str,
        method: &str,
        path: &str,
    ) -> bool {
        let reply = ask(process, at, method, path).await;
        self.told
            .entry(pod)
            .or_default()
            .push(reply.as_ref().map(|reply| reply.code));
        reply.is_some()
    }

    async fn upgrade(&mut self, process: &Process, at: SocketAddr, pod: &'static str) -> bool {
        let path = format!("/openyurt.io/v1/namespaces/default/pods/{pod}/upgrade");
        self.note(process, at, pod, "POST", &path).await
    }

    /// The first process: one upgrade at once, three that are kept, of which one is cancelled and one comes to mean
    /// another revision.
    async fn first(&mut self, process: &mut Process, order: u64) -> Option<()> {
        let at = process.listening().await?;
        let live = async || get(at, "/pods").await.header("x-pitstop-cache") == Some("live");
        tokio::select! {
            () = process.at_fault() => return None,
            () = until("connected", live) => {}
        }
        if !self.upgrade(process, at, "a").await {
            return None;
        }
        self.fake.line(Line::Down);
        let mut pods = ["b", "c", "d"];
        pods.shuffle(&mut StdRng::seed_from_u64(order));
        for pod in pods {
            if !self.upgrade(process, at, pod).await {
                return None;
            }
            // Asked twice, it is still one.
            if order.is_multiple_of(2) && !self.upgrade(process, at, pod).await {
                return None;
            }
        }
        let list = ask(process, at, "GET", "/pitstop/v1/intents?state=Pending")
            .await?
            .json();
        let items = list["items"].as_array().unwrap();
        let intent = items.iter().find(|intent| intent["name"] == "c").unwrap();
        let path = format!("/pitstop/v1/intents/{}", intent["id"].as_str().unwrap());
        self.note(process, at, "c", "DELETE", &path).await.then_some(())
    }

    /// The API server is back, with a newer revision of `d`; waits until nothing more happens, or the hub dies.
    async fn later(&mut self, process: &mut Process) -> Option<()> {
        self.fake.change("d", |pod| {
            pod["status"]["conditions"][0]["message"] = json!("controllerrevision: newer");
        });
        self.fake.line(Line::Up);
        let at = process.listening().await?;
        let settled = async || {
            let list = get(at, "/pitstop/v1/intents").await.json();
            let live = get(at, "/pods").await.header("x-pitstop-cache") == Some("live");
            let open = |intent: &Value| {
                let asks = intent["waiting"] == "Approval";
                matches!(intent["state"].as_str(), Some("Pending" | "Executing")) && !asks
            };
            live && !list["items"].as_array().unwrap().iter().any(open)
        };
        tokio::select! {
            () = process.at_fault() => None,
            () = until("settled", settled) => Some(()),
        }
    }

    /// S4 and S9: what was promised was done once; what was not asked for, or was taken back, was not.
    async fn check(&self, at: SocketAddr, what: &str) {
        let mut deletes: BTreeMap<String, usize> = BTreeMap::new();
        for write in self.fake.writes() {
            match write {
                Write::Delete { name, .. } => *deletes.entry(name).or_default() += 1,
                // The cloud is told that consent is missing, and nothing else.
                Write::Patch { name, patch } => {
                    let kind = &patch["status"]["conditions"][0]["type"];
                    assert_eq!(
                        (name.as_str(), kind),
                        ("d", &json!("pitstop.io/UpgradePending")),
                        "{what}"
                    );
                }
            }
        }
        let done = |pod: &str| deletes.get(pod).copied().unwrap_or(0);
        let told = |pod: &str| self.told.get(pod).cloned().unwrap_or_default();
        for pod in ["a", "b", "c", "d", "e"] {
            assert!(done(pod) <= 1, "{what}: {pod} twice");
            if told(pod).is_empty() {
                assert_eq!(done(pod), 0, "{what}: nobody asked for {pod}");
            }
        }
        for pod in ["a", "b"] {
            if told(pod).iter().flatten().any(|code| matches!(code, 200 | 202)) {
                assert_eq!(done(pod), 1, "{what}: {pod} was promised: {:?}", told(pod));
            }
        }
        match told("c").as_slice() {
            [.., Some(200)] => assert_eq!(done("c"), 0, "{what}: c was taken back"),
            [.., None] | [] => {}
            // It dies before it could be taken back.
            [.., Some(202)] => assert_eq!(done("c"), 1, "{what}: c was promised"),
            other => panic!("{what}: c {other:?}"),
        }
        assert_eq!(done("d"), 0, "{what}: nobody agreed to the newer revision of d");
        let list = get(at, "/pitstop/v1/intents").await.json();
        for intent in list["items"].as_array().unwrap() {
            let name = intent["name"].as_str().unwrap();
            assert!(
                self.told.contains_key(name),
                "{what}: an intent for {name} that nobody asked for"
            );
            assert_eq!(intent["target"], "new", "{what}");
        }
    }
}

/// Plays one history and kills the hub at a point: at a system call of the first process, or of the second. Whether
/// there was such a call.
async fn play(order: u64, process: usize, call: usize) -> bool {
    let what = format!("order {order}, process {process}, call {call}");
    let mut history = History::new().await;
    let mut hit = false;
    let mut hub = Process::start(history.folder(), (process == 1).then_some(call));
    if history.first(&mut hub, order).await.is_none() {
        hit = true;
    }
    hub.kill().await;
    let mut hub = Process::start(history.folder(), (process == 2).then_some(call));
    if history.later(&mut hub).await.is_none() {
        hit = true;
    }
    hub.kill().await;
    let mut hub = Process::start(history.folder(), None);
    history
        .later(&mut hub)
        .await
        .unwrap_or_else(|| panic!("{what}: the last hub has no fault"));
    let at = hub.listening().await.unwrap();
    history.check(at, &what).await;
    hub.kill().await;
    hit
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_keeps_its_word_when_it_is_killed_at_any_system_call_of_its_log() {
    let room = Semaphore::new(AT_ONCE);
    let orders = (0..ORDERS).map(async |order| {
        let mut points = 0;
        for process in [1, 2] {
            for call in 0..MANY {
                let _place = room.acquire().await.unwrap();
                if !play(order, process, call).await {
                    break;
                }
                points += 1;
            }
        }
        points
    });
    let points: usize = futures::future::join_all(orders).await.into_iter().sum();
    // Not with eprintln: the test runner would swallow it.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{points} points\n").as_bytes());
    assert!(points >= 200, "only {points} points");
}
