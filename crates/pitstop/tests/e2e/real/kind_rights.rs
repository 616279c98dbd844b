//! The rights of the controllers of kinds that pitstop brings: each is taken away in turn, while people do all that makes them
//! use it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt as _};
use pitstop::manifests::{self, Rule};
use pitstop_api::statefulset::defaults::Gates;
use pitstop_api::{SystemClock, keys};
use pitstop_controller::Controller;
use pitstop_controller::webhook::server::{LOOK_EVERY, Options, Server};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Plane;
use super::cloneset::forget_kinds;
use super::daemon_rights::{Names, is_denied, is_missed};
use super::site::eventually;
use crate::background::Background;

#[tokio::test(flavor = "multi_thread")]
async fn each_right_of_the_cloneset_controller_is_needed() {
    each_right_is_needed(&CLONES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_of_the_advanced_daemonset_controller_is_needed() {
    each_right_is_needed(&DAEMONS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_of_the_statefulset_controller_is_needed() {
    each_right_is_needed(&STATEFUL).await;
}

/// A kind whose controller is under test.
struct Kind {
    controller: Controller,
    /// Which controller runs, and how.
    flags: &'static [&'static str],
    /// Version and kind of its objects.
    names: (&'static str, &'static str),
    /// Those that people have.
    objects: &'static [&'static str],
    /// What they look like at a step. One is called `web`, and its pods are touched by hand.
    spec: fn(name: &str, step: usize) -> Value,
    /// Can pods be named that are to go?
    names_pods: bool,
}

const CLONES: Kind = Kind {
    controller: Controller::CloneSet,
    flags: &["--controllers=cloneset"],
    names: ("v1alpha1", "CloneSet"),
    objects: &["web", "plain"],
    spec: cloneset,
    names_pods: true,
};

/// One whose history is short, with claims, and one whose pods are resized.
fn cloneset(name: &str, step: usize) -> Value {
    if name == "web" {
        let image = format!("example.com/web:{}", version(step));
        return json!({
            "replicas": 2, "revisionHistoryLimit": 1,
            "scaleStrategy": {"disablePVCReuse": true},
            "template": template(name, &image, "100m"),
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }],
        });
    }
    let cpu = if step.is_multiple_of(2) { "100m" } else { "200m" };
    json!({
        "replicas": 1,
        "updateStrategy": {"type": "InPlaceIfPossible"},
        "template": template(name, "example.com/plain:1", cpu),
    })
}

const DAEMONS: Kind = Kind {
    controller: Controller::AdvancedDaemonSet,
    flags: &["--controllers=daemonset"],
    names: ("v1beta1", "DaemonSet"),
    objects: &["web", "plain"],
    spec: daemonset,
    names_pods: false,
};

/// One whose history is short, and one whose pods stay.
fn daemonset(name: &str, step: usize) -> Value {
    if name == "web" {
        let image = format!("example.com/web:{}", version(step));
        return json!({"revisionHistoryLimit": 1, "template": template(name, &image, "100m")});
    }
    json!({
        "updateStrategy": {"rollingUpdate": {"rollingUpdateType": "InPlaceIfPossible"}},
        "template": template(name, &format!("example.com/plain:{}", step % 2), "100m"),
    })
}

const STATEFUL: Kind = Kind {
    controller: Controller::StatefulSet,
    flags: &[
        "--controllers=statefulset",
        "--feature-gates=StatefulSetAutoResizePVCGate=true",
    ],
    names: ("v1beta1", "StatefulSet"),
    objects: &["web", "plain", "held", "asked", "disk"],
    spec: statefulset,
    names_pods: false,
};

/// One whose history is short and whose claims go with pods, one whose pods are resized, one that begins and ceases to be
/// protected, one whose arbiter nobody finds, and one whose claims are to grow.
fn statefulset(name: &str, step: usize) -> Value {
    let image = format!("example.com/{name}:{}", version(step));
    let claims = |gigabytes: usize| {
        json!([{"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": format!("{gigabytes}Gi")}},
        }}])
    };
    let mut spec =
        json!({"replicas": 1, "podManagementPolicy": "Parallel", "template": template(name, &image, "100m")});
    let rolling = match name {
        "web" => {
            // The next ordinals have no claims yet, and those of the last go with their pods.
            spec["replicas"] = 2.into();
            spec["ordinals"] = json!({"start": step / 4});
            spec["revisionHistoryLimit"] = 1.into();
            spec["persistentVolumeClaimRetentionPolicy"] = json!({"whenScaled": "Delete"});
            spec["volumeClaimTemplates"] = claims(1);
            json!({})
        }
        "plain" => {
            let cpu = if step.is_multiple_of(2) { "100m" } else { "200m" };
            spec["template"] = template(name, "example.com/plain:1", cpu);
            spec["template"]["spec"]["readinessGates"] = json!([{"conditionType": "InPlaceUpdateReady"}]);
            json!({"podUpdatePolicy": "InPlaceIfPossible"})
        }
        "held" => {
            spec["template"]["metadata"]["labels"]["turn"] = "0".into();
            json!({"protection": {"podSelector": {"matchLabels": {"turn": (step % 2).to_string()}}}})
        }
        "asked" => {
            let http = json!({"service": {"name": "nobody", "port": 80}});
            json!({"protection": {"arbiter": {"http": http, "periodSeconds": 1, "staleAfterSeconds": 1}}})
        }
        _ => {
            spec["volumeClaimUpdateStrategy"] = json!({"type": "OnPodRollingUpdate"});
            spec["volumeClaimTemplates"] = claims(1 + step);
            json!({})
        }
    };
    spec["updateStrategy"] = json!({"rollingUpdate": rolling});
    spec
}

/// Forth and back over more versions than a history keeps, and at times over those that it does.
fn version(step: usize) -> u32 {
    [0, 1, 0, 2, 3][step % 5]
}

async fn each_right_is_needed(kind: &'static Kind) {
    let Some(plane) = Plane::take().await else { return };
    let stage = Stage::start(plane, kind).await;
    // Of the others the upgrade of DaemonSets has shown that they are needed; but this one may not need to write pods at all.
    let of_the_upgrade: Vec<&Rule> = manifests::rules_for(&[Controller::DaemonPodUpdater]).collect();
    let writes_pods = |rule: &Rule| rule.resource == "pods" && matches!(rule.verb, "patch" | "delete");
    let mut rules: Vec<&Rule> = manifests::rules_for(&[kind.controller]).collect();
    rules.retain(|rule| !of_the_upgrade.contains(rule) || writes_pods(rule));
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

/// Nodes, webhooks, and objects of the kind.
struct Stage {
    kind: &'static Kind,
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
    async fn start(plane: Plane, kind: &'static Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let client = plane.client().await;
        let options = Options {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            host: Some("127.0.0.1".to_owned()),
            namespace: manifests::NAMESPACE.to_owned(),
            clock: Arc::new(SystemClock),
            look_every: LOOK_EVERY,
            gates: Gates::default(),
        };
        // They are served by somebody with all rights, so that people can go on writing objects.
        let mut webhooks = Server::start(client.clone(), options).await.unwrap();
        install(&plane, kind, &webhooks, None).await;
        webhooks.ready().await;
        let kubeconfig = plane.token_kubeconfig(manifests::SERVICE_ACCOUNT).await;
        let arguments = ["simulate", "--time-scale", "10", "--nodes", "2"];
        let nodes = Background::start(folder.path(), &plane.kubeconfig(), &arguments).await;
        Self {
            kind,
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
            &["controller", "--metrics-addr=127.0.0.1:0", "--log=info"],
            self.kind.flags,
        ];
        let arguments = arguments.concat();
        Background::spawn(self.folder.path(), &self.kubeconfig, &arguments)
    }

    async fn take_away(&self, rule: &Rule) {
        install(&self.plane, self.kind, &self.webhooks, Some(rule)).await;
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

    fn objects(&self) -> Api<DynamicObject> {
        let (version, kind) = self.kind.names;
        let kind = GroupVersionKind::gvk("apps.kruise.io", version, kind);
        Api::namespaced_with(self.client.clone(), "default", &ApiResource::from_gvk(&kind))
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// What people do, one thing after the other, over and over.
    async fn step(&self) {
        let step = self.n_steps.fetch_add(1, Ordering::Relaxed);
        for name in self.kind.objects {
            self.apply(name, (self.kind.spec)(name, step)).await;
        }
        let list = ListParams::default().labels("app in (web, debug)");
        let pods = self.pods().list(&list).await.unwrap();
        let is_of = |pod: &&Pod, app: &str| pod.labels().get("app").is_some_and(|is| is == app);
        let alive = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
        // The last of them: where ordinals move up, the first is the next that is too many.
        let web = pods.items.iter().filter(alive).rfind(|pod| is_of(pod, "web"));
        if let Some(pod) = web {
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

    /// A pod is named to be deleted or loses its owner, is let go, or is deleted.
    async fn touch(&self, step: usize, pod: &str) {
        // What does not come through is tried again with another pod.
        match step % 3 {
            0 if self.kind.names_pods => {
                let patch = Patch::Merge(json!({"spec": {"scaleStrategy": {"podsToDelete": [pod]}}}));
                let _ = self.objects().patch("web", &PatchParams::default(), &patch).await;
            }
            0 => {
                let patch = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
                let _ = self.pods().patch(pod, &PatchParams::default(), &patch).await;
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

    async fn apply(&self, name: &str, mut spec: Value) {
        spec["selector"] = json!({"matchLabels": {"app": name}});
        let (version, kind) = self.kind.names;
        let object = json!({
            "apiVersion": format!("apps.kruise.io/{version}"), "kind": kind, "spec": spec,
            // Somebody without the field has said it here; whoever has it takes that away.
            "metadata": {"name": name, "annotations": {(keys::PROTECTION_STATUS): r#"{"protected":9}"#}},
        });
        let force = PatchParams::apply("e2e").force();
        self.objects()
            .patch(name, &force, &Patch::Apply(object))
            .await
            .unwrap();
    }

    async fn leave(self) {
        install(&self.plane, self.kind, &self.webhooks, None).await;
        let kubectl = self.plane.kubectl();
        for name in self.kind.objects {
            let background = DeleteParams::background();
            self.objects().delete(name, &background).await.unwrap();
        }
        forget_kinds(&kubectl, &self.plane.kubeconfig()).await;
        // Some may be without an owner.
        let all = (DeleteParams::default(), ListParams::default());
        self.pods().delete_collection(&all.0, &all.1).await.unwrap();
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), "default");
        claims.delete_collection(&all.0, &all.1).await.unwrap();
        eventually("the pods are gone", || async {
            let left = self.pods().list(&all.1).await;
            left.is_ok_and(|left| left.items.is_empty())
        })
        .await;
        self.nodes.stop().await;
        // Whoever simulates nodes on this control plane next would carry these on.
        let nodes: Api<Node> = Api::all(self.plane.client().await);
        nodes.delete_collection(&all.0, &all.1).await.unwrap();
        self.plane.leave();
    }
}

fn template(app: &str, image: &str, cpu: &str) -> Value {
    let container = json!({"name": "c", "image": image, "resources": {"requests": {"cpu": cpu}}});
    json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [container]}})
}

async fn install(plane: &Plane, kind: &Kind, webhooks: &Server, without: Option<&Rule>) {
    let options = manifests::Options {
        controllers: vec![kind.controller],
        webhook_url: Some(format!("https://{}", webhooks.addr())),
        ..manifests::Options::default()
    };
    plane.install(&options, without).await;
}
