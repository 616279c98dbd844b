//! The rights of the controller of CloneSets: each is taken away in turn, while people do all that makes it use them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt as _};
use pitstop::manifests::{self, Rule};
use pitstop_api::SystemClock;
use pitstop_controller::Controller;
use pitstop_controller::webhook::server::{LOOK_EVERY, Options, Server};
use serde_json::json;
use tokio::time::sleep;

use super::Plane;
use super::cloneset::forget_kinds;
use super::rights::{Names, is_denied, is_missed};
use super::site::eventually;
use crate::background::Background;

const CONTROLLERS: [Controller; 1] = [Controller::CloneSet];

#[tokio::test(flavor = "multi_thread")]
async fn each_right_of_the_cloneset_controller_is_needed() {
    let Some(plane) = Plane::take().await else { return };
    let stage = Stage::start(plane).await;
    // The other rules are those of the upgrade of DaemonSets, which has shown that it needs them.
    let others: Vec<&Rule> = manifests::rules_for(&[Controller::DaemonPodUpdater]).collect();
    let mut rules: Vec<&Rule> = manifests::rules_for(&CONTROLLERS).collect();
    rules.retain(|rule| !others.contains(rule));
    assert!(!rules.is_empty());
    // What is read at the start is missed at the start; the rest while it works.
    let (read, used): (Vec<&Rule>, Vec<&Rule>) = rules
        .iter()
        .partition(|rule| matches!(rule.verb, "list" | "watch"));

    let controller = stage.controller().await;
    for _ in 0..4 {
        stage.step().await;
    }
    let said = controller.said();
    assert!(!said.contains("not allowed to"), "with all rights: {said}");
    for rule in used {
        stage.take_away(rule).await;
        stage.until_missed(rule, &controller).await;
    }
    controller.kill().await;
    for rule in read {
        stage.take_away(rule).await;
        let controller = stage.controller().await;
        stage.until_missed(rule, &controller).await;
        controller.kill().await;
    }
    stage.leave().await;
}

/// Nodes, webhooks, and two CloneSets: one with claims, and one whose pods are resized.
struct Stage {
    plane: Plane,
    folder: tempfile::TempDir,
    client: Client,
    kubeconfig: PathBuf,
    webhooks: Server,
    nodes: Background,
    n_steps: AtomicUsize,
    names: Names,
}

impl Stage {
    async fn start(plane: Plane) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let client = plane.client().await;
        let options = Options {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            host: Some("127.0.0.1".to_owned()),
            namespace: manifests::NAMESPACE.to_owned(),
            clock: Arc::new(SystemClock),
            look_every: LOOK_EVERY,
        };
        // They are served by somebody with all rights, so that people can go on writing CloneSets.
        let mut webhooks = Server::start(client.clone(), options).await.unwrap();
        install(&plane, &webhooks, None).await;
        webhooks.ready().await;
        let kubeconfig = plane.token_kubeconfig(manifests::SERVICE_ACCOUNT).await;
        let arguments = ["simulate", "--time-scale", "10", "--nodes", "2"];
        let nodes = Background::start(folder.path(), &plane.kubeconfig(), &arguments).await;
        Self {
            plane,
            folder,
            client,
            kubeconfig,
            webhooks,
            nodes,
            n_steps: AtomicUsize::new(0),
            names: Names::default(),
        }
    }

    async fn controller(&self) -> Background {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-system");
        // The one before was killed and has not given it back. There is none before the first.
        let _ = leases
            .delete("pitstop-controller", &DeleteParams::default())
            .await;
        let arguments = [
            "controller",
            "--metrics-addr=127.0.0.1:0",
            "--controllers=cloneset",
            "--log=info",
        ];
        Background::spawn(self.folder.path(), &self.kubeconfig, &arguments)
    }

    async fn take_away(&self, rule: &Rule) {
        install(&self.plane, &self.webhooks, Some(rule)).await;
        eventually("the right is taken away", || is_denied(&self.client, rule)).await;
    }

    /// People go on until the controller says that it misses the right.
    async fn until_missed(&self, rule: &Rule, controller: &Background) {
        let missed = format!("{} of {}", rule.verb, rule.path());
        let notices = eventually(&missed, || async { is_missed(rule, &controller.said()) });
        let going_on = async {
            loop {
                self.step().await;
            }
        };
        tokio::select! {
            () = notices => {}
            () = going_on => {}
        }
    }

    fn clonesets(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("apps.kruise.io", "v1alpha1", "CloneSet");
        Api::namespaced_with(self.client.clone(), "default", &ApiResource::from_gvk(&kind))
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// What people do, one thing after the other, over and over.
    async fn step(&self) {
        let step = self.n_steps.fetch_add(1, Ordering::Relaxed);
        // Forth and back over more versions than the history keeps, and at times over those that it does.
        let version = [0, 1, 0, 2, 3][step % 5];
        self.apply(
            "web",
            json!({
                "replicas": 2, "revisionHistoryLimit": 1,
                "scaleStrategy": {"disablePVCReuse": true},
                "template": template("web", &format!("example.com/web:{version}"), "100m"),
                "volumeClaimTemplates": [{
                    "metadata": {"name": "data"},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
                }],
            }),
        )
        .await;
        let cpu = if step.is_multiple_of(2) { "100m" } else { "200m" };
        self.apply(
            "plain",
            json!({
                "replicas": 1,
                "updateStrategy": {"type": "InPlaceIfPossible"},
                "template": template("plain", "example.com/plain:1", cpu),
            }),
        )
        .await;
        let list = ListParams::default().labels("app in (web, debug)");
        let pods = self.pods().list(&list).await.unwrap();
        let is_of = |pod: &&Pod, app: &str| pod.labels().get("app").is_some_and(|is| is == app);
        let alive = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
        if let Some(pod) = pods.iter().filter(alive).find(|pod| is_of(pod, "web")) {
            self.touch(step, &pod.name_any()).await;
        }
        for pod in pods.iter().filter(alive).filter(|pod| is_of(pod, "debug")) {
            // It may be gone meanwhile.
            let _ = self
                .pods()
                .delete(&pod.name_any(), &DeleteParams::default())
                .await;
        }
        let revisions: Api<ControllerRevision> = Api::namespaced(self.client.clone(), "default");
        self.names.take(&revisions).await;
        // Time for the controller, which may not be able to finish.
        sleep(Duration::from_millis(700)).await;
    }

    /// A pod is named to be deleted, is let go, or is deleted.
    async fn touch(&self, step: usize, pod: &str) {
        // What does not come through is tried again with another pod.
        match step % 3 {
            0 => {
                let patch = Patch::Merge(json!({"spec": {"scaleStrategy": {"podsToDelete": [pod]}}}));
                let _ = self
                    .clonesets()
                    .patch("web", &PatchParams::default(), &patch)
                    .await;
            }
            1 => {
                let patch = Patch::Merge(json!({"metadata": {"labels": {"app": "debug"}}}));
                let _ = self.pods().patch(pod, &PatchParams::default(), &patch).await;
            }
            _ => {
                let _ = self.pods().delete(pod, &DeleteParams::default()).await;
            }
        }
    }

    async fn apply(&self, name: &str, mut spec: serde_json::Value) {
        spec["selector"] = json!({"matchLabels": {"app": name}});
        let object = json!({
            "apiVersion": "apps.kruise.io/v1alpha1", "kind": "CloneSet", "metadata": {"name": name}, "spec": spec,
        });
        let force = PatchParams::apply("e2e").force();
        self.clonesets()
            .patch(name, &force, &Patch::Apply(object))
            .await
            .unwrap();
    }

    async fn leave(self) {
        install(&self.plane, &self.webhooks, None).await;
        let kubectl = self.plane.kubectl();
        for name in ["web", "plain"] {
            let background = DeleteParams::background();
            self.clonesets().delete(name, &background).await.unwrap();
        }
        forget_kinds(&kubectl, &self.plane.kubeconfig()).await;
        self.nodes.stop().await;
        // Whoever simulates nodes on this control plane next would carry these on.
        let nodes: Api<Node> = Api::all(self.plane.client().await);
        let all = (DeleteParams::default(), ListParams::default());
        nodes.delete_collection(&all.0, &all.1).await.unwrap();
        self.plane.leave();
    }
}

fn template(app: &str, image: &str, cpu: &str) -> serde_json::Value {
    let container = json!({"name": "c", "image": image, "resources": {"requests": {"cpu": cpu}}});
    json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [container]}})
}

async fn install(plane: &Plane, webhooks: &Server, without: Option<&Rule>) {
    let options = manifests::Options {
        controllers: CONTROLLERS.to_vec(),
        webhook_url: Some(format!("https://{}", webhooks.addr())),
        ..manifests::Options::default()
    };
    plane.install(&options, without).await;
}
