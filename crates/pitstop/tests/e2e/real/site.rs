//! A fleet on the real control plane with a rollout under way, and its judge.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use pitstop_api::keys;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Plane;
use crate::audit::{self, Findings, Write};
use crate::background::Background;
use crate::objects::is_ready;

/// Name of the DaemonSet that is upgraded.
pub(crate) const NAME: &str = "agent";
/// The versions of its image, oldest first.
pub(crate) const V1: &str = "example.com/agent:1";
pub(crate) const V2: &str = "example.com/agent:2";
pub(crate) const V3: &str = "example.com/agent:3";
/// Nothing that is waited for takes longer, on a busy machine with two cores.
const LIMIT: Duration = Duration::from_secs(150);
/// How often we look.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Nodes, a DaemonSet and whoever upgrades it.
pub(crate) struct Site {
    pub(crate) plane: Plane,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) client: Client,
    nodes: Background,
    n_nodes: usize,
    max_unavailable: usize,
    /// The version and the time of the last write before this story.
    since: u64,
    since_time: Timestamp,
    /// What the audit log may lack.
    recovered: Vec<Write>,
}

impl Site {
    /// Nodes `sim-1`, `sim-2`, ..., each with a Ready pod of version 1.
    pub(crate) async fn start(plane: Plane, n_nodes: usize, max_unavailable: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let client = plane.client().await;
        let before = audit::read(&plane.running().audit_log());
        let since = before.iter().filter_map(Write::version).max().unwrap_or_default();
        let since_time = before
            .iter()
            .map(|write| write.answered_at)
            .max()
            .unwrap_or_default();
        let n = n_nodes.to_string();
        // Slow enough that there is time to break something in the middle.
        let arguments = ["simulate", "--time-scale", "4", "--nodes", &n];
        let nodes = Background::start(folder.path(), &plane.kubeconfig(), &arguments).await;
        let site = Self {
            plane,
            folder,
            client,
            nodes,
            n_nodes,
            max_unavailable,
            since,
            since_time,
            recovered: Vec::new(),
        };
        let daemonset: DaemonSet = serde_json::from_value(daemonset(max_unavailable)).unwrap();
        site.daemonsets()
            .create(&PostParams::default(), &daemonset)
            .await
            .unwrap();
        site
    }

    /// `pitstop controller`, as its service account.
    pub(crate) async fn controller(&self, arguments: &[&str]) -> Background {
        let kubeconfig = self.plane.controller_kubeconfig().await;
        self.controller_as(&kubeconfig, arguments).await
    }

    /// `pitstop controller`, as somebody.
    pub(crate) async fn controller_as(&self, kubeconfig: &Path, arguments: &[&str]) -> Background {
        let mut controller = self.spawn_controller(kubeconfig, arguments);
        controller.next_line().await;
        controller
    }

    /// The same, without a wait for it to be ready.
    pub(crate) fn spawn_controller(&self, kubeconfig: &Path, arguments: &[&str]) -> Background {
        let mut all = vec!["controller", "--metrics-addr", "127.0.0.1:0", "--log", "info"];
        all.extend(arguments);
        Background::spawn(self.folder.path(), kubeconfig, &all)
    }

    /// The kubeconfig of pitstop's service account, through a proxy.
    pub(crate) async fn controller_kubeconfig_through(&self, proxy: SocketAddr) -> PathBuf {
        let direct = self.plane.controller_kubeconfig().await;
        let text = std::fs::read_to_string(direct).unwrap();
        let server = self.plane.running().addr().to_string();
        let path = self.folder.path().join("proxy.kubeconfig");
        std::fs::write(&path, text.replace(&server, &proxy.to_string())).unwrap();
        path
    }

    pub(crate) fn daemonsets(&self) -> Api<DaemonSet> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Changes the image of the template.
    pub(crate) async fn set_image(&self, image: &str) {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": NAME, "image": image}]}}}});
        self.daemonsets()
            .patch(NAME, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .unwrap();
    }

    /// How many pods run this image and are Ready; 0 while the API server does not answer.
    pub(crate) async fn n_running(&self, image: &str) -> usize {
        let list = ListParams::default().labels(&format!("app={NAME}"));
        let Ok(pods) = self.pods().list(&list).await else {
            return 0;
        };
        pods.iter().filter(|pod| runs(pod, image)).count()
    }

    /// Waits until so many pods run this image and are Ready.
    pub(crate) async fn wait_running(&self, image: &str, at_least: usize) {
        let deadline = Instant::now() + LIMIT;
        while self.n_running(image).await < at_least {
            if Instant::now() >= deadline {
                let found = self.describe().await;
                panic!("after {LIMIT:?} there are no {at_least} pods that run {image}\n{found}");
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Nodes and pods as they are, for whoever has to find out why something did not happen.
    async fn describe(&self) -> String {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let nodes = nodes.list(&ListParams::default()).await.unwrap();
        let nodes = nodes.iter().map(|node| {
            let status = node.status.as_ref();
            let conditions = status.and_then(|status| status.conditions.as_ref());
            let ready = conditions.and_then(|conditions| conditions.iter().find(|c| c.type_ == "Ready"));
            let is_ready = ready.map_or("unknown", |ready| &ready.status);
            format!("node {} ready: {is_ready}", node.name_any())
        });
        let pods = self.pods().list(&ListParams::default()).await.unwrap();
        let pods = pods.iter().map(|pod| {
            let status = serde_json::to_string(&pod.status).unwrap();
            let deleted_at = pod.metadata.deletion_timestamp.as_ref();
            format!("pod {} deleted: {deleted_at:?} status: {status}", pod.name_any())
        });
        let mut lines: Vec<String> = nodes.chain(pods).collect();
        lines.push(format!("said by the nodes: {}", self.nodes.said()));
        lines.join("\n")
    }

    /// Waits until all nodes run this image.
    pub(crate) async fn wait_all(&self, image: &str) {
        self.wait_running(image, self.n_nodes).await;
    }

    /// Waits until all nodes are Ready, as their controller says.
    pub(crate) async fn wait_for_nodes(&self) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        eventually("all nodes are Ready", || async {
            let nodes = nodes.list(&ListParams::default()).await;
            nodes.is_ok_and(|nodes| nodes.iter().all(|node| is_ready(&json!(node))))
        })
        .await;
    }

    /// Deletes a pod of this image by hand.
    pub(crate) async fn delete_one(&self, image: &str) {
        let list = ListParams::default().labels(&format!("app={NAME}"));
        let pods = self.pods().list(&list).await.unwrap();
        let name = pods.iter().find(|pod| runs(pod, image)).unwrap().name_any();
        self.pods().delete(&name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits for an event about the DaemonSet.
    pub(crate) async fn wait_for_event(&self, reason: &str, part_of_message: &str) {
        let events: Api<Event> = Api::namespaced(self.client.clone(), "default");
        let list = ListParams::default().fields(&format!("involvedObject.name={NAME},reason={reason}"));
        eventually(&format!("an event {reason}: {part_of_message}"), || async {
            let events = events.list(&list).await.unwrap();
            let mut messages = events.iter().filter_map(|event| event.message.as_deref());
            messages.any(|message| message.contains(part_of_message))
        })
        .await;
    }

    /// After a crash of the API server: it notes a write after it is done, so the last ones before may be missing in its
    /// log. Each object tells by its version what was written to it last, and when in the order of all writes.
    pub(crate) async fn recover_lost_notes(&mut self) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let nodes = nodes.list(&ListParams::default()).await.unwrap();
        let pods = self.pods().list(&ListParams::default()).await.unwrap();
        let nodes = nodes.into_iter().map(|node| ("nodes", "Node", json!(node)));
        let pods = pods.into_iter().map(|pod| ("pods", "Pod", json!(pod)));
        for (resource, kind, mut object) in nodes.chain(pods) {
            object["kind"] = json!(kind);
            self.recovered.push(Write::seen(resource, object));
        }
    }

    /// Everything that was written since the story began.
    pub(crate) fn writes(&self) -> Vec<Write> {
        let mut writes = audit::read(&self.plane.running().audit_log());
        writes.retain(|write| write.received_at >= self.since_time);
        writes
    }

    /// Judges what these users deleted since the story began, in the true order of writes.
    pub(crate) fn judge(&self, upgraders: &[&str]) -> Findings {
        let mut writes = audit::read(&self.plane.running().audit_log());
        writes.extend(self.recovered.iter().cloned());
        audit::judge(&writes, upgraders, self.max_unavailable, self.since)
    }

    /// The rollout went well: nothing was broken, and every pod was deleted at least once, by us.
    pub(crate) fn expect_well(&self, upgraders: &[&str]) {
        self.expect_well_but_for(upgraders, 0);
    }

    /// As [`Site::expect_well`], with deletions that the audit log may lack: a server notes a write after it is done, and
    /// what it does in between when it is killed, it does not note.
    pub(crate) fn expect_well_but_for(&self, upgraders: &[&str], n_not_noted: usize) {
        let findings = self.judge(upgraders);
        assert_eq!(findings.violations, Vec::<String>::new());
        assert!(findings.n_deleted + n_not_noted >= self.n_nodes, "{findings:?}");
        assert!(findings.most_down <= self.max_unavailable, "{findings:?}");
    }

    /// Takes everything away again.
    pub(crate) async fn leave(self) {
        self.daemonsets()
            .delete(NAME, &DeleteParams::background())
            .await
            .unwrap();
        // Some may be without an owner.
        self.pods()
            .delete_collection(&DeleteParams::default(), &ListParams::default())
            .await
            .unwrap();
        eventually("the pods are gone", || async {
            let left = self.pods().list(&ListParams::default()).await;
            left.is_ok_and(|left| left.items.is_empty())
        })
        .await;
        self.nodes.stop().await;
        let nodes: Api<Node> = Api::all(self.client.clone());
        for node in nodes.list(&ListParams::default()).await.unwrap() {
            nodes
                .delete(&node.name_any(), &DeleteParams::default())
                .await
                .unwrap();
        }
        let events: Api<Event> = Api::namespaced(self.client.clone(), "default");
        events
            .delete_collection(&DeleteParams::default(), &ListParams::default())
            .await
            .unwrap();
        self.plane.leave();
    }
}

/// Waits until something is so.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = Instant::now() + LIMIT;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not so after {LIMIT:?}: {what}");
        sleep(LOOK_EVERY).await;
    }
}

fn runs(pod: &Pod, image: &str) -> bool {
    let spec = pod.spec.as_ref();
    let is_image = spec.is_some_and(|spec| spec.containers.iter().all(|c| c.image.as_deref() == Some(image)));
    let status = pod.status.as_ref();
    let mut conditions = status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    is_image
        && pod.metadata.deletion_timestamp.is_none()
        && conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn daemonset(max_unavailable: usize) -> serde_json::Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": NAME, "annotations": {
            (keys::OPENYURT_UPDATE_STRATEGY): "AdvancedRollingUpdate",
            (keys::OPENYURT_MAX_UNAVAILABLE): max_unavailable.to_string(),
        }},
        "spec": {
            "selector": {"matchLabels": {"app": NAME}},
            "updateStrategy": {"type": "OnDelete"},
            "template": {
                "metadata": {"labels": {"app": NAME}},
                "spec": {"containers": [{"name": NAME, "image": V1}]},
            },
        },
    })
}
