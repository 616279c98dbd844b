//! Every `Reason` is produced on a cluster and told by `pitstop why`.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::{Server, World};

const LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A finalizer that nobody takes off keeps an object on its way out.
const HOLD: &str = "example.com/hold";

/// Who replaces pods.
pub(crate) enum Model {
    Native(Value),
    OnDelete,
    Annotated(Value),
}

/// A workload on a cluster of its own.
pub(crate) struct Stage {
    pub(crate) world: World,
    daemonsets: Api<DaemonSet>,
    pub(crate) pods: Api<Pod>,
}

impl Stage {
    /// `agent` in image `app:1` on these nodes, rolled out.
    pub(crate) async fn new(nodes: &[&str], model: Model) -> Self {
        Self::on(World::embedded(nodes, None).await, nodes, model).await
    }

    /// The same on such a server; `None`: it is not on this machine, which was said.
    pub(crate) async fn played_on(server: Server, nodes: &[&str], model: Model) -> Option<Self> {
        Some(Self::on(World::on(server, nodes).await?, nodes, model).await)
    }

    /// The same on a cluster that is there.
    async fn on(world: World, nodes: &[&str], model: Model) -> Self {
        let client = world.client();
        let stage = Self {
            world,
            daemonsets: Api::namespaced(client.clone(), "default"),
            pods: Api::namespaced(client, "default"),
        };
        let (annotations, strategy) = match model {
            Model::Native(rolling) => (
                json!({}),
                json!({"type": "RollingUpdate", "rollingUpdate": rolling}),
            ),
            Model::OnDelete => (json!({}), json!({"type": "OnDelete"})),
            Model::Annotated(annotations) => (annotations, json!({"type": "OnDelete"})),
        };
        let object = json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "agent", "annotations": annotations},
            "spec": {
                "selector": {"matchLabels": {"app": "agent"}},
                "updateStrategy": strategy,
                "template": {
                    "metadata": {"labels": {"app": "agent"}},
                    "spec": {
                        "terminationGracePeriodSeconds": 1,
                        "containers": [{"name": "app", "image": "app:1"}],
                    },
                },
            },
        });
        let object: DaemonSet = serde_json::from_value(object).unwrap();
        stage
            .daemonsets
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        let n = i32::try_from(nodes.len()).unwrap();
        stage
            .until("every node has its pod", || async {
                let status = stage.daemonset().await.status.unwrap_or_default();
                status.number_ready == n && status.updated_number_scheduled == Some(n)
            })
            .await;
        stage
    }

    pub(crate) async fn until<F: Future<Output = bool>>(&self, what: &str, is_so: impl Fn() -> F) {
        let waiting = async {
            while !is_so().await {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(LIMIT, waiting)
            .await
            .unwrap_or_else(|_| panic!("waited in vain: {what}"));
    }

    pub(crate) async fn daemonset(&self) -> DaemonSet {
        self.daemonsets.get("agent").await.unwrap()
    }

    pub(crate) async fn set_image(&self, image: &str) {
        let patch =
            json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}});
        self.patch(&Patch::Strategic(patch)).await;
    }

    pub(crate) async fn min_ready_seconds(&self, seconds: u32) {
        let patch = json!({"spec": {"minReadySeconds": seconds}});
        self.patch(&Patch::Strategic(patch)).await;
    }

    /// Waits for an event about the DaemonSet, and returns its text.
    pub(crate) async fn told(&self, reason: &str) -> String {
        let events: Api<Event> = Api::namespaced(self.world.client(), "default");
        let fields = format!("involvedObject.name=agent,reason={reason}");
        let of_reason = ListParams::default().fields(&fields);
        self.until("it is told", || async {
            !events.list(&of_reason).await.unwrap().items.is_empty()
        })
        .await;
        let list = events.list(&of_reason).await.unwrap();
        list.items[0].message.clone().unwrap_or_default()
    }

    async fn patch(&self, patch: &Patch<Value>) {
        self.daemonsets
            .patch("agent", &PatchParams::default(), patch)
            .await
            .unwrap();
    }

    pub(crate) async fn pod_on(&self, node: &str) -> Pod {
        let list = self
            .pods
            .list(&ListParams::default().fields(&format!("spec.nodeName={node}")))
            .await
            .unwrap();
        list.items
            .into_iter()
            .next()
            .unwrap_or_else(|| panic!("no pod on {node}"))
    }

    /// What `pitstop why ds/agent` says: node, reason.
    async fn why(&self) -> Vec<(String, Value)> {
        let said = self.world.pitstop_ok(&["why", "ds/agent", "-o", "json"]).await;
        let report: Value = serde_json::from_str(&said).unwrap();
        report["items"][0]["waiting"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                (
                    row["node"].as_str().unwrap_or_default().to_owned(),
                    row["waiting"].clone(),
                )
            })
            .collect()
    }

    async fn reason_of(&self, node: &str) -> Option<String> {
        let why = self.why().await;
        let (_, waiting) = why.into_iter().find(|(on, _)| on == node)?;
        Some(waiting["reason"].as_str().unwrap().to_owned())
    }

    /// What `why` explains, if it gives this reason for the node now.
    async fn explained(&self, node: &str, reason: &str) -> Option<String> {
        let why = self.why().await;
        let mut rows = why.iter();
        let (_, waiting) = rows.find(|(on, waiting)| on == node && waiting["reason"] == reason)?;
        Some(waiting["explanation"].as_str().unwrap().to_owned())
    }

    /// Waits until `why` gives this reason for the node, and returns what it explains.
    pub(crate) async fn expect(&self, node: &str, reason: &str) -> String {
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            let why = self.why().await;
            let found = why
                .iter()
                .find(|(on, waiting)| on == node && waiting["reason"] == reason);
            if let Some((_, waiting)) = found {
                return waiting["explanation"].as_str().unwrap().to_owned();
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{node} never waited for {reason}; last: {why:#?}"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until the current template is the newest revision of so many.
    async fn revisions(&self, n: usize) {
        let api: Api<ControllerRevision> = Api::namespaced(self.world.client(), "default");
        self.until("the revision is written", || async {
            api.list(&ListParams::default()).await.unwrap().items.len() == n
        })
        .await;
    }

    /// Waits until every pod is at the image and ready.
    pub(crate) async fn settled(&self, image: &str) {
        self.until("the rollout is done", || async {
            let said = self.world.pitstop_ok(&["why", "ds/agent", "-o", "json"]).await;
            let report: Value = serde_json::from_str(&said).unwrap();
            let pods = self.pods.list(&ListParams::default()).await.unwrap();
            report["items"][0]["waiting"].as_array().unwrap().is_empty()
                && pods
                    .iter()
                    .all(|pod| pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(image))
        })
        .await;
    }

    async fn hold(&self, pod: &str) {
        let patch = json!({"metadata": {"finalizers": [HOLD]}});
        self.pods
            .patch(pod, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    pub(crate) async fn stop(self) {
        // An API server that goes on would make its pods again.
        let background = DeleteParams::background();
        self.daemonsets.delete("agent", &background).await.unwrap();
        self.world.stop().await;
    }
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn advanced() -> Model {
    Model::Annotated(json!({"apps.openyurt.io/update-strategy": "AdvancedRollingUpdate"}))
}

#[tokio::test(flavor = "multi_thread")]
async fn node_not_ready_and_budget_used_and_pod_not_ready() {
    let stage = Stage::new(&["a", "b", "c"], advanced()).await;
    stage
        .world
        .pitstop_ok(&["node", "disconnect", "c", "--wait", "--timeout", "60s"])
        .await;
    stage.set_image("app:bad").await;
    let text = stage.expect("c", "NodeNotReady").await;
    assert!(text.contains("since") || text.contains("not ready"), "{text}");
    // The first node has the new pod, which cannot start; it uses up the budget.
    let text = stage.expect("a", "NotReady").await;
    assert!(
        text.contains("ErrImagePull") || text.contains("ImagePullBackOff") || text.contains("not ready"),
        "{text}"
    );
    let text = stage.expect("b", "MaxUnavailable").await;
    assert!(text.contains("1 of 1"), "{text}");
    let said = stage.world.pitstop_ok(&["why", "ds/agent"]).await;
    assert!(
        said.starts_with("daemonset.apps/agent: updated 1 of 3, waiting for 1 not-ready node: c"),
        "{said}"
    );
    let pod = stage.pod_on("b").await.name_any();
    let said = stage.world.pitstop_ok(&["why", &format!("pod/{pod}")]).await;
    assert!(
        said.starts_with(&format!("pod/{pod} waits (MaxUnavailable): ")),
        "{said}"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn min_ready_seconds() {
    let stage = Stage::new(&["a", "b"], advanced()).await;
    stage
        .patch(&Patch::Merge(json!({"spec": {"minReadySeconds": 600}})))
        .await;
    stage.set_image("app:2").await;
    stage.expect("a", "MinReadySeconds").await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn surge() {
    let model = Model::Native(json!({"maxUnavailable": 0, "maxSurge": 1}));
    let stage = Stage::new(&["a", "b", "c"], model).await;
    stage.set_image("app:bad").await;
    stage.expect("a", "WaitingForSurge").await;
    stage.expect("b", "MaxSurge").await;
    stage.expect("c", "MaxSurge").await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_delete_and_owner() {
    let stage = Stage::new(&["a"], Model::OnDelete).await;
    stage.set_image("app:2").await;
    stage.expect("a", "OnDelete").await;
    stage
        .patch(&Patch::Merge(
            json!({"metadata": {"annotations": {"apps.openyurt.io/update-strategy": "OTA"}}}),
        ))
        .await;
    stage.expect("a", "WaitingForOwner").await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_annotation() {
    let stage = Stage::new(&["a"], advanced()).await;
    let patch = json!({"metadata": {"annotations": {"apps.openyurt.io/max-unavailable": "abc"}}});
    stage.patch(&Patch::Merge(patch)).await;
    stage.set_image("app:2").await;
    let text = stage.expect("a", "Invalid").await;
    assert!(text.contains("apps.openyurt.io/max-unavailable"), "{text}");
    stage.stop().await;
}

/// With the controllers stopped, states stand still that pass in a moment otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn revisions_seen_and_unseen() {
    let mut stage = Stage::new(&["a", "b"], advanced()).await;
    stage.set_image("app:2").await;
    stage.settled("app:2").await;
    stage.world.stop_controllers().await;

    stage.set_image("app:3").await;
    assert_eq!(stage.reason_of("a").await.as_deref(), Some("RevisionUnknown"));
    stage.set_image("app:1").await;
    assert_eq!(stage.reason_of("a").await.as_deref(), Some("NotObserved"));
    let generation = stage.daemonset().await.metadata.generation;
    let patch = json!({"status": {"observedGeneration": generation}});
    stage
        .daemonsets
        .patch_status("agent", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    assert_eq!(stage.reason_of("a").await.as_deref(), Some("Updating"));
    assert_eq!(stage.reason_of("b").await.as_deref(), Some("MaxUnavailable"));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_on_their_way_in_and_out() {
    let mut stage = Stage::new(&["a", "b"], advanced()).await;
    stage.world.stop_controllers().await;
    let pod = stage.pod_on("a").await;
    stage.hold(&pod.name_any()).await;
    stage
        .pods
        .delete(&pod.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    stage.expect("a", "Terminating").await;

    let pod = stage.pod_on("b").await.name_any();
    stage.pods.delete(&pod, &DeleteParams::default()).await.unwrap();
    stage.expect("b", "WaitingForPod").await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pods_on_one_node() {
    let mut stage = Stage::new(&["a"], advanced()).await;
    stage.set_image("app:2").await;
    stage.settled("app:2").await;
    stage.set_image("app:bad").await;
    stage.revisions(3).await;
    stage.world.stop_controllers().await;
    // Whatever the updater did until it was stopped, there are two live pods at an old revision now.
    let owner = stage.daemonset().await;
    let labels = json!({"app": "agent", "controller-revision-hash": "old"});
    for name in ["agent-one", "agent-two"] {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": labels, "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent",
                "uid": owner.metadata.uid, "controller": true, "blockOwnerDeletion": true,
            }]},
            "spec": {"nodeName": "a", "containers": [{"name": "app", "image": "app:1"}]},
        }))
        .unwrap();
        stage.pods.create(&PostParams::default(), &pod).await.unwrap();
    }
    stage.expect("a", "DuplicatePods").await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_of_a_node_that_does_not_exist() {
    let mut stage = Stage::new(&["a"], advanced()).await;
    stage.world.stop_controllers().await;
    let owner = stage.daemonset().await;
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "agent-lost", "labels": {"app": "agent"}, "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent",
            "uid": owner.metadata.uid, "controller": true, "blockOwnerDeletion": true,
        }]},
        "spec": {
            "containers": [{"name": "app", "image": "app:1"}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchFields": [
                    {"key": "metadata.name", "operator": "In", "values": ["gone"]},
                ]}],
            }}},
        },
    }))
    .unwrap();
    stage.pods.create(&PostParams::default(), &pod).await.unwrap();
    stage.expect("gone", "NodeGone").await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_pods_than_one_pass_touches() {
    let annotations = json!({
        "apps.openyurt.io/update-strategy": "AdvancedRollingUpdate",
        "apps.openyurt.io/max-unavailable": "100%",
    });
    let mut stage = Stage::on(
        World::unhurried(&["a"]).await,
        &["a"],
        Model::Annotated(annotations),
    )
    .await;
    stage.world.stop_controllers().await;
    // 251 more nodes and pods, as objects only: a decision looks at nothing else.
    let owner = stage.daemonset().await;
    let nodes: Api<Node> = Api::all(stage.world.client());
    for i in 0..251 {
        let name = format!("n{i:03}");
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .unwrap();
        nodes.create(&PostParams::default(), &node).await.unwrap();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": format!("agent-{name}"),
                "labels": {"app": "agent", "controller-revision-hash": "old"},
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent",
                    "uid": owner.metadata.uid, "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "spec": {"nodeName": name, "containers": [{"name": "app", "image": "app:0"}]},
        }))
        .unwrap();
        stage.pods.create(&PostParams::default(), &pod).await.unwrap();
    }
    // Nodes begin with a taint that is taken off a moment later.
    stage.expect("n250", "Burst").await;
    let why = stage.why().await;
    let count = |reason: &str| {
        why.iter()
            .filter(|(_, waiting)| waiting["reason"] == reason)
            .count()
    };
    assert_eq!((count("Updating"), count("Burst")), (250, 1));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workload_that_terminates() {
    let stage = Stage::new(&["a"], advanced()).await;
    stage
        .patch(&Patch::Merge(json!({"metadata": {"finalizers": [HOLD]}})))
        .await;
    stage
        .daemonsets
        .delete("agent", &DeleteParams::background())
        .await
        .unwrap();
    stage.set_image("app:2").await;
    stage.expect("a", "WorkloadTerminating").await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_that_fails_again_and_again() {
    let stage = Stage::new(&["a"], Model::Native(json!({"maxUnavailable": 1}))).await;
    // Each replacement doubles the delay before the next one, until it is longer than a look takes on this machine.
    let mut explained = None;
    for _ in 0..10 {
        let pod = stage.pod_on("a").await.name_any();
        let patch = json!({"status": {"phase": "Failed"}});
        stage
            .pods
            .patch_status(&pod, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
        explained = stage.explained("a", "BackOff").await;
        if explained.is_some() {
            break;
        }
        stage
            .until("the failed pod is replaced", || async {
                let pods = stage.pods.list(&ListParams::default()).await.unwrap();
                pods.items.len() == 1 && pods.iter().all(|now| now.name_any() != pod && is_ready(now))
            })
            .await;
    }
    let text = explained.unwrap();
    assert!(text.contains("its phase is Failed"), "{text}");
    stage.stop().await;
}
