//! The hubs of the nodes and their owners, who decide under OTA when a new version comes. Source: hub.md B5, B7.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use kube::Client;
use pitstop::hubs::Network;
use pitstop_api::view::message_revision;
use pitstop_api::{SharedClock, reasons};
use pitstop_cluster::informer::request;
use pitstop_hub::checks::{Action, Method};
use pitstop_hub::{ApiServer, Change, Cloud, CloudError, Desk, Executor, Hub, Page, Reply, Settings};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::objects::text;
use crate::skewed::Skewed;

/// What owners agreed to, and what hubs did.
#[derive(Default)]
pub(crate) struct Consents {
    /// Uid of a pod, and the revision that its owner let in.
    agreed: Mutex<BTreeSet<(String, String)>>,
    /// Uids of pods that hubs deleted.
    deleted: Mutex<BTreeSet<String>>,
    violations: Mutex<Vec<String>>,
    n_writes: Mutex<u64>,
}

impl Consents {
    /// Did the owner let this revision in?
    fn has(&self, uid: &str, revision: &str) -> bool {
        let agreed = self.agreed.lock().unwrap();
        agreed.contains(&(uid.to_owned(), revision.to_owned()))
    }

    /// Did the owner of this pod agree to anything?
    pub(crate) fn has_any(&self, uid: &str) -> bool {
        self.agreed.lock().unwrap().iter().any(|(pod, _)| pod == uid)
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }

    /// Writes of hubs.
    pub(crate) fn n_writes(&self) -> u64 {
        *self.n_writes.lock().unwrap()
    }

    fn count(&self) {
        *self.n_writes.lock().unwrap() += 1;
    }

    /// S4: a pod goes only for the revision that its owner let in, and only once.
    fn deletes(&self, pod: &Value, uid: &str) {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let mut needs = conditions.filter(|condition| condition["type"] == reasons::POD_NEED_UPGRADE);
        let message = needs
            .next()
            .and_then(|need| need["message"].as_str())
            .unwrap_or_default();
        let revision = message_revision(message);
        let mut violations = self.violations.lock().unwrap();
        if !self.has(uid, revision) {
            violations.push(format!(
                "S4: a hub deletes pod {uid} for {revision:?}, to which its owner did not agree"
            ));
        }
    }

    fn deleted(&self, uid: &str) {
        if !self.deleted.lock().unwrap().insert(uid.to_owned()) {
            let text = format!("S4: pod {uid} was deleted twice by its hub");
            self.violations.lock().unwrap().push(text);
        }
    }
}

/// The API server of a hub, with a witness.
struct Witnessed {
    inner: ApiServer<Network>,
    /// Past all faults.
    truth: Client,
    consents: Arc<Consents>,
}

impl Cloud for Witnessed {
    fn get_pod<'a>(&'a self, namespace: &'a str, name: &'a str) -> Reply<'a, Bytes> {
        self.inner.get_pod(namespace, name)
    }

    fn list_pods<'a>(&'a self, limit: u32, from: Option<&'a str>) -> Reply<'a, Page> {
        self.inner.list_pods(limit, from)
    }

    fn watch_pods<'a>(
        &'a self,
        resource_version: &'a str,
    ) -> Reply<'a, BoxStream<'static, Result<Change, CloudError>>> {
        self.inner.watch_pods(resource_version)
    }

    fn delete_pod<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        uid: &'a str,
        resource_version: &'a str,
    ) -> Reply<'a, ()> {
        Box::pin(async move {
            let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
            let before = request(&self.truth, http::Method::GET, &path, None, None)
                .await
                .ok();
            let result = self
                .inner
                .delete_pod(namespace, name, uid, resource_version)
                .await;
            if result.is_ok() {
                self.consents.count();
                self.consents.deletes(&before.unwrap_or_default(), uid);
                self.consents.deleted(uid);
            }
            result
        })
    }

    fn patch_pod_status<'a>(&'a self, namespace: &'a str, name: &'a str, patch: Bytes) -> Reply<'a, Bytes> {
        self.consents.count();
        self.inner.patch_pod_status(namespace, name, patch)
    }

    fn ready(&self) -> Reply<'_, ()> {
        self.inner.ready()
    }

    fn may_delete<'a>(&'a self, namespace: &'a str, name: &'a str) -> Reply<'a, bool> {
        self.inner.may_delete(namespace, name)
    }

    fn create_event<'a>(&'a self, namespace: &'a str, event: Bytes) -> Reply<'a, ()> {
        self.inner.create_event(namespace, event)
    }
}

/// A node with a hub and an owner.
pub(crate) struct Owner {
    node: String,
    network: watch::Sender<bool>,
    clock: Arc<Skewed>,
    cloud: Arc<Witnessed>,
    consents: Arc<Consents>,
    folder: PathBuf,
    executor: Executor,
    seed: u64,
    life: Option<(Desk, CancellationToken, JoinHandle<()>)>,
}

impl Owner {
    /// The owner of a node. `deletes`: may the hub delete pods itself?
    pub(crate) async fn new(
        node: &str,
        (client, truth): (Client, Client),
        clock: SharedClock,
        folder: PathBuf,
        (deletes, seed): (bool, u64),
        consents: Arc<Consents>,
    ) -> Self {
        let (network, connected) = watch::channel(true);
        let cloud = Arc::new(Witnessed {
            inner: ApiServer::new(Network::new(client, connected), node),
            truth,
            consents: Arc::clone(&consents),
        });
        let executor = Executor::Always(if deletes { Method::Direct } else { Method::Request });
        let mut owner = Self {
            node: node.to_owned(),
            network,
            clock: Skewed::by(0, clock),
            cloud,
            consents,
            folder,
            executor,
            seed,
            life: None,
        };
        owner.start().await;
        owner
    }

    async fn start(&mut self) {
        let mut settings = Settings::new(&self.node, &self.folder);
        settings.listen = Vec::new();
        settings.executor = self.executor;
        settings.seed = self.seed;
        settings.waits_for_disk = true;
        settings.clock_synced = Some(Arc::new(|| true));
        let cloud = Arc::clone(&self.cloud) as Arc<dyn Cloud>;
        let hub = Hub::bind(settings, cloud, Arc::clone(&self.clock) as SharedClock)
            .await
            .unwrap();
        let (desk, stop) = (hub.desk(), CancellationToken::new());
        let until = stop.clone();
        let task = tokio::spawn(async move { hub.run(until).await.unwrap() });
        self.life = Some((desk, stop, task));
    }

    /// The hub is killed, and started again on what it had written.
    pub(crate) async fn crash(&mut self) {
        if let Some((desk, _, task)) = self.life.take() {
            drop(desk);
            task.abort();
            // That is how it ends.
            drop(task.await);
        }
        self.seed = self.seed.wrapping_add(1);
        self.start().await;
    }

    /// The clock of the node jumps.
    pub(crate) fn set_clock(&self, seconds: i64) {
        self.clock.set(seconds);
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.network.send_replace(connected);
    }

    /// The owner looks, and lets in whatever waits.
    pub(crate) async fn decide(&self) {
        let Some((desk, ..)) = &self.life else { return };
        let pods = desk.pods().await.body;
        for pod in pods["items"].as_array().into_iter().flatten() {
            if pod["needUpgrade"] != true {
                continue;
            }
            let name = pod["name"].as_str().unwrap_or_default();
            // Agreed to before it is asked for: the hub may act before it answers.
            let seen = (text(&pod["uid"]), text(&pod["target"]));
            let is_new = self.consents.agreed.lock().unwrap().insert(seen.clone());
            let answered = desk.ask(Action::Upgrade, "default", name).await;
            let is_accepted = matches!(answered.code, 200 | 202);
            if !is_accepted && is_new {
                self.consents.agreed.lock().unwrap().remove(&seen);
            }
            if !is_accepted {
                continue;
            }
            // A hub that knew more than it had shown says to what this was the consent.
            let causes = answered.body["details"]["causes"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            for id in causes.iter().filter(|cause| cause["reason"] == "Intent") {
                let intent = desk.intent(id["message"].as_str().unwrap_or_default()).await.body;
                let agreed = (text(&intent["uid"]), text(&intent["target"]));
                self.consents.agreed.lock().unwrap().insert(agreed);
            }
        }
    }
}

/// How long an owner takes between two looks, when nothing else happens.
pub(crate) const LOOKS_EVERY: Duration = Duration::from_secs(5);
