//! Writes without an answer, with the real decisions and a server that has a state: the budget holds on what the server
//! has, whatever became of the write, and nothing waits for ever. Sources: design.md S1, S8, L1; daemonset.md C5.7.
//!
//! The pods of the stores stay as they were until a test lets them catch up: the watch is cut as well.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::{Clock, SharedClock, keys};
use pitstop_controller::api::{Api, Call, CallError, Resource, Verb};
use pitstop_controller::controllers::Running as _;
use pitstop_controller::controllers::daemonset::{DaemonSets, Model, NATIVE, POD_UPDATER};
use pitstop_controller::store::reflector::Reflector;
use pitstop_controller::store::{Overlay, Stores};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::scripted::{Scripted, Wired, daemonset_json, made, node_json, pod_json, refused};

/// What becomes of a write that nobody answers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    CarriedOut,
    Lost,
    /// It is carried out when it arrives.
    Late,
}

const FATES: [Fate; 3] = [Fate::CarriedOut, Fate::Lost, Fate::Late];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Network {
    Up,
    /// No request about pods is answered.
    Cut(Fate),
    /// Writes of pods are refused for certain.
    Throttled,
}

/// What the server has.
struct Site {
    version: u64,
    network: Network,
    daemonset: Value,
    revisions: Vec<Value>,
    nodes: BTreeMap<String, Value>,
    pods: BTreeMap<String, Value>,
    on_their_way: Vec<Call>,
    /// The most nodes that were ever without a pod that serves, since this was last set to zero.
    most_down: usize,
    /// The most pods that ever were on one node, terminating ones aside.
    most_on_a_node: usize,
}

impl Site {
    fn next(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn answer(&mut self, call: &Call) -> Result<Value, CallError> {
        if call.verb == Verb::List {
            return Ok(self.list(call.resource));
        }
        if call.resource != Resource::Pods {
            return self.carry_out(call);
        }
        match self.network {
            Network::Throttled if call.verb.is_write() => Err(refused(429, "TooManyRequests", "later")),
            Network::Up | Network::Throttled => self.carry_out(call),
            Network::Cut(fate) => {
                match fate {
                    Fate::CarriedOut => drop(self.carry_out(call)),
                    Fate::Lost => {}
                    Fate::Late => self.on_their_way.push(call.clone()),
                }
                Err(CallError::Unreachable("connection reset".into()))
            }
        }
    }

    fn list(&self, resource: Resource) -> Value {
        let items: Vec<Value> = match resource {
            Resource::DaemonSets => vec![self.daemonset.clone()],
            Resource::ControllerRevisions => self.revisions.clone(),
            Resource::Nodes => self.nodes.values().cloned().collect(),
            _ => self.pods.values().cloned().collect(),
        };
        json!({ "metadata": { "resourceVersion": self.version.to_string() }, "items": items })
    }

    fn carry_out(&mut self, call: &Call) -> Result<Value, CallError> {
        let version = self.next();
        match (call.verb, call.resource) {
            (Verb::Get, Resource::Pods) => self.pod(call).cloned(),
            (Verb::Create, Resource::Pods) => self.create(call, version),
            (Verb::Delete, Resource::Pods) => self.delete(call, version),
            (Verb::Create, Resource::ControllerRevisions) => {
                let revision = made(call, version);
                self.revisions.push(revision.clone());
                Ok(revision)
            }
            (Verb::MergePatch, Resource::DaemonSets) => {
                let body = call.body.clone().unwrap_or_default();
                let status = self.daemonset["status"].as_object_mut().unwrap();
                status.extend(body["status"].as_object().cloned().unwrap_or_default());
                status.retain(|_, value| !value.is_null());
                self.daemonset["metadata"]["resourceVersion"] = json!(version.to_string());
                Ok(self.daemonset.clone())
            }
            (Verb::Get, Resource::DaemonSets) => Ok(self.daemonset.clone()),
            _ => Ok(made(call, version)),
        }
    }

    fn pod(&self, call: &Call) -> Result<&Value, CallError> {
        let pod = self.pods.get(call.name.as_deref().unwrap_or_default());
        pod.ok_or_else(|| refused(404, "NotFound", "not found"))
    }

    fn create(&mut self, call: &Call, version: u64) -> Result<Value, CallError> {
        let mut pod = made(call, version);
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        if self.pods.contains_key(&name) {
            return Err(refused(409, "AlreadyExists", "already exists"));
        }
        pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        self.pods.insert(name, pod.clone());
        self.count();
        Ok(pod)
    }

    fn delete(&mut self, call: &Call, version: u64) -> Result<Value, CallError> {
        let wanted = call.body.clone().unwrap_or_default()["preconditions"].clone();
        let has = &self.pod(call)?["metadata"];
        for field in ["uid", "resourceVersion"] {
            if !wanted[field].is_null() && wanted[field] != has[field] {
                return Err(refused(409, "Conflict", "precondition failed"));
            }
        }
        let pod = self.pods.get_mut(call.name.as_deref().unwrap()).unwrap();
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        pod["metadata"]["resourceVersion"] = json!(version.to_string());
        let pod = pod.clone();
        self.count();
        Ok(pod)
    }

    /// What was on its way arrives.
    fn deliver(&mut self) {
        for call in std::mem::take(&mut self.on_their_way) {
            drop(self.carry_out(&call));
        }
    }

    fn count(&mut self) {
        let n_on = |node: &str, counts: fn(&Value) -> bool| {
            let on = self.pods.values().filter(|pod| node_of(pod) == node);
            on.filter(|pod| counts(pod)).count()
        };
        let n_down = self.nodes.keys().filter(|node| n_on(node, serves) == 0).count();
        let most = self.nodes.keys().map(|node| n_on(node, is_live)).max();
        self.most_down = self.most_down.max(n_down);
        self.most_on_a_node = self.most_on_a_node.max(most.unwrap_or_default());
    }

    /// Kubelets stop what terminates and start what is new, once it was given to their node.
    fn kubelets(&mut self) {
        self.pods.retain(|_, pod| is_live(pod));
        let version = self.next();
        for pod in self.pods.values_mut().filter(|pod| !serves(pod)) {
            pod["spec"]["nodeName"] = json!(node_of(pod));
            pod["status"] =
                json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
            pod["metadata"]["resourceVersion"] = json!(version.to_string());
        }
    }

    /// The cluster's own controller gives every node a pod of the current revision.
    fn fill(&mut self) {
        let hash = self.revisions.last().unwrap()["metadata"]["labels"][keys::REVISION_HASH].clone();
        let empty: Vec<String> = self.nodes.keys().cloned().collect();
        for node in empty {
            if self.pods.values().all(|pod| node_of(pod) != node) {
                let version = self.next();
                let mut pod = pod_json(version, &node, version);
                pod["metadata"]["labels"][keys::REVISION_HASH] = hash.clone();
                self.pods.insert(format!("agent-{version}"), pod);
            }
        }
    }

    /// The template runs this image from now on; where the cluster's own controller is another, it has seen it.
    fn set_image(&mut self, n: u64, is_seen: bool) {
        let version = self.next();
        let template = &mut self.daemonset["spec"]["template"];
        template["spec"]["containers"][0]["image"] = json!(format!("agent:{n}"));
        let mut data = template.clone();
        data["$patch"] = json!("replace");
        self.daemonset["metadata"]["resourceVersion"] = json!(version.to_string());
        self.daemonset["metadata"]["generation"] = json!(version);
        if is_seen {
            self.daemonset["status"]["observedGeneration"] = json!(version);
            let mut revision = pod_json(500 + n, "", version);
            revision["metadata"]["name"] = json!(format!("agent-h{n}"));
            revision["metadata"]["labels"][keys::REVISION_HASH] = json!(format!("h{n}"));
            revision["data"] = json!({ "spec": { "template": data } });
            revision["revision"] = json!(version);
            self.revisions
                .retain(|known| known["metadata"]["name"] != revision["metadata"]["name"]);
            self.revisions.push(revision);
        }
    }
}

fn node_of(pod: &Value) -> String {
    let affinity = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0\
                    /matchFields/0/values/0";
    let node = pod.pointer("/spec/nodeName").or_else(|| pod.pointer(affinity));
    node.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn is_live(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
}

fn serves(pod: &Value) -> bool {
    is_live(pod) && pod["status"]["conditions"][0]["status"] == "True"
}

/// A clock that goes with the timers.
#[derive(Debug)]
struct Ticking(Instant);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        start + SignedDuration::try_from(self.0.elapsed()).unwrap()
    }
}

/// A site, and a controller of it.
struct Bench {
    site: Arc<Mutex<Site>>,
    api: Arc<Scripted>,
    stores: Arc<Stores>,
    overlay: Arc<Overlay>,
    controller: Arc<DaemonSets>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.controller.queue().close();
    }
}

impl Bench {
    /// Nodes with a pod of image 1 each, unless they have none; all of them Ready.
    fn new(model: Model, nodes: &[&str], has_pods: bool) -> Self {
        let mut site = Site {
            version: 100,
            network: Network::Up,
            daemonset: daemonset_json(),
            revisions: Vec::new(),
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            on_their_way: Vec::new(),
            most_down: 0,
            most_on_a_node: 0,
        };
        for (n, name) in (0..).zip(nodes) {
            site.nodes
                .insert((*name).to_owned(), node_json(200 + n, name, 50 + n, true));
        }
        let is_native = model.name == NATIVE.name;
        site.set_image(1, !is_native);
        if has_pods {
            site.fill();
        }
        if !is_native {
            site.daemonset["metadata"]["annotations"] = json!({
                keys::OPENYURT_UPDATE_STRATEGY: "AdvancedRollingUpdate",
                keys::OPENYURT_MAX_UNAVAILABLE: "1",
            });
            site.daemonset["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
        }
        Self::of(model, site)
    }

    fn of(model: Model, site: Site) -> Self {
        let site = Arc::new(Mutex::new(site));
        let of_api = Arc::clone(&site);
        let api = Scripted::new(move |call| of_api.lock().unwrap().answer(call));
        let clock: SharedClock = Arc::new(Ticking(Instant::now()));
        let Wired {
            stores,
            overlay,
            controller,
        } = Wired::new(model, &api, &clock);
        tokio::spawn(Arc::clone(&controller).work());
        Self {
            site,
            api,
            stores,
            overlay,
            controller,
        }
    }

    fn site(&self) -> MutexGuard<'_, Site> {
        self.site.lock().unwrap()
    }

    /// The stores show what the server has.
    async fn catch_up(&self, resources: &[Resource]) {
        for resource in resources {
            let api = Arc::clone(&self.api) as Arc<dyn Api>;
            let reflector = Reflector::new(api, Arc::clone(&self.stores), *resource, 1);
            let _ = tokio::time::timeout(Duration::from_micros(1), reflector.run()).await;
        }
    }

    /// The image changes; the stores show that, and of the pods nothing new.
    async fn set_image(&self, n: u64) {
        let is_native = self.controller.name() == NATIVE.name;
        self.site().set_image(n, !is_native);
        self.catch_up(&[Resource::ControllerRevisions, Resource::DaemonSets])
            .await;
    }

    fn set_network(&self, network: Network) {
        self.site().network = network;
    }

    /// Everything works and is seen, for a while.
    async fn go_on(&self) {
        for _ in 0..20 {
            {
                let mut site = self.site();
                site.kubelets();
                if self.controller.name() != NATIVE.name {
                    site.fill();
                    site.kubelets();
                }
            }
            self.catch_up(&Resource::WATCHED).await;
            sleep(Duration::from_secs(1)).await;
        }
    }

    fn sent(&self, verb: Verb) -> Vec<String> {
        let calls = self.api.calls();
        let of_pods = calls
            .iter()
            .filter(|call| call.verb == verb && call.resource == Resource::Pods);
        of_pods
            .map(|call| match &call.name {
                Some(name) => name.clone(),
                None => call.body.as_ref().unwrap()["metadata"]["name"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            })
            .collect()
    }

    fn images(&self) -> Vec<String> {
        let image = |pod: &Value| {
            pod["metadata"]["labels"][keys::REVISION_HASH]
                .as_str()
                .unwrap()
                .to_owned()
        };
        self.site().pods.values().map(image).collect()
    }

    /// The nodes of the pods that a DELETE was sent for.
    fn deleted_on(&self, pods: &BTreeMap<String, Value>) -> Vec<String> {
        self.sent(Verb::Delete)
            .iter()
            .map(|name| node_of(&pods[name]))
            .collect()
    }
}

/// Three nodes, of which the first is away when the rollout begins, so that the pod of the second goes first. Its DELETE
/// is not answered.
async fn a_lost_delete(fate: Fate) -> (Bench, BTreeMap<String, Value>) {
    let bench = Bench::new(POD_UPDATER, &["a", "b", "c"], true);
    bench
        .site()
        .nodes
        .insert("a".to_owned(), node_json(200, "a", 90, false));
    bench.catch_up(&Resource::WATCHED).await;
    sleep(Duration::from_secs(1)).await;
    let pods = bench.site().pods.clone();
    bench.set_network(Network::Cut(fate));
    bench.set_image(2).await;
    sleep(Duration::from_millis(20)).await;
    assert_eq!(bench.deleted_on(&pods).first().map(String::as_str), Some("b"));
    (bench, pods)
}

impl Bench {
    /// The first node is back.
    async fn return_a(&self) {
        let version = self.site().next();
        self.site()
            .nodes
            .insert("a".to_owned(), node_json(200, "a", version, true));
        self.catch_up(&[Resource::Nodes]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn s1_a_delete_without_an_answer_is_repeated_before_another_pod_goes() {
    for fate in FATES {
        let (bench, pods) = a_lost_delete(fate).await;
        // Now this pod would be the first to go.
        bench.return_a().await;
        sleep(Duration::from_millis(200)).await;
        bench.set_network(Network::Up);
        let n_sent = bench.sent(Verb::Delete).len();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(
            bench.sent(Verb::Delete).len(),
            n_sent + 1,
            "{fate:?}: one answer settles it"
        );
        bench.site().deliver();
        sleep(Duration::from_secs(10)).await;
        let nodes = bench.deleted_on(&pods);
        assert!(nodes.iter().all(|node| node == "b"), "{fate:?}: {nodes:?}");
        assert_eq!(bench.site().most_down, 1, "{fate:?}");

        bench.go_on().await;
        assert_eq!(bench.site().most_down, 1, "{fate:?}");
        assert_eq!(bench.images(), ["h2", "h2", "h2"], "{fate:?}: L1");
        assert!(bench.overlay.is_empty(), "{fate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s1_a_delete_that_is_not_wanted_any_more_counts_but_is_not_repeated() {
    for fate in FATES {
        let (bench, pods) = a_lost_delete(fate).await;
        // Back to what the pods run: nothing has to go.
        bench.set_image(1).await;
        bench.return_a().await;
        let n_sent = bench.sent(Verb::Delete).len();
        bench.set_network(Network::Up);
        sleep(Duration::from_mins(2)).await;
        assert_eq!(bench.sent(Verb::Delete).len(), n_sent, "{fate:?}");
        assert_eq!(bench.overlay.len(), 1, "{fate:?}");
        // Forward again: it is the pod in doubt that goes.
        bench.set_image(2).await;
        sleep(Duration::from_secs(2)).await;
        bench.site().deliver();
        let nodes = bench.deleted_on(&pods);
        assert!(nodes.len() > n_sent, "{fate:?}");
        assert!(nodes.iter().all(|node| node == "b"), "{fate:?}: {nodes:?}");
        bench.go_on().await;
        assert_eq!(bench.site().most_down, 1, "{fate:?}");
        assert_eq!(bench.images(), ["h2", "h2", "h2"], "{fate:?}: L1");
        assert!(bench.overlay.is_empty(), "{fate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_without_an_answer_is_looked_into_when_it_must_be_dead() {
    for fate in FATES {
        let (bench, _) = a_lost_delete(fate).await;
        bench.set_image(1).await;
        bench.set_network(Network::Up);
        sleep(Duration::from_mins(4)).await;
        bench.site().deliver();
        // Something happens, so that nobody would look again by chance.
        bench.catch_up(&[Resource::Nodes]).await;
        assert_eq!(
            (bench.sent(Verb::Get).len(), bench.overlay.len()),
            (0, 1),
            "{fate:?}"
        );
        sleep(Duration::from_mins(2)).await;
        assert_eq!(bench.sent(Verb::Get).len(), 1, "{fate:?}");
        // The pod lives, or the stores know from the answer that it goes.
        assert!(bench.overlay.len() <= usize::from(fate != Fate::Lost), "{fate:?}");
        bench.go_on().await;
        assert!(bench.overlay.is_empty(), "{fate:?}");
        assert!(bench.site().most_down <= 1, "{fate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s1_a_native_rollout_repeats_it_as_well() {
    for fate in FATES {
        let bench = Bench::new(NATIVE, &["a", "b", "c"], false);
        bench.catch_up(&Resource::WATCHED).await;
        sleep(Duration::from_secs(1)).await;
        bench.go_on().await;
        let pods = bench.site().pods.clone();
        assert_eq!((pods.len(), bench.overlay.len()), (3, 0), "{fate:?}");
        bench.site().most_down = 0;

        // The first node is not registered when the rollout begins, and then it is again.
        bench.site().nodes.remove("a");
        bench.catch_up(&[Resource::Nodes]).await;
        sleep(Duration::from_secs(1)).await;
        bench.set_network(Network::Cut(fate));
        bench.set_image(2).await;
        sleep(Duration::from_millis(20)).await;
        assert_eq!(
            bench.deleted_on(&pods).first().map(String::as_str),
            Some("b"),
            "{fate:?}"
        );
        bench.return_a().await;
        sleep(Duration::from_millis(200)).await;
        bench.set_network(Network::Up);
        sleep(Duration::from_secs(5)).await;
        bench.site().deliver();
        let nodes = bench.deleted_on(&pods);
        assert!(nodes.iter().all(|node| node == "b"), "{fate:?}: {nodes:?}");
        bench.go_on().await;
        assert_eq!(bench.site().most_down, 1, "{fate:?}");
        assert_eq!(bench.site().most_on_a_node, 1, "{fate:?}: S8");
        assert!(bench.overlay.is_empty(), "{fate:?}");
        assert!(
            bench.site().pods.keys().all(|name| !pods.contains_key(name)),
            "{fate:?}: L1"
        );
    }
}

/// What happens between a POST without an answer and the time when everything works again.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Meanwhile {
    Nothing,
    AnotherTemplate,
    Throttling,
    TheStoresCatchUp,
}

#[tokio::test(start_paused = true)]
async fn s8_a_pod_whose_creation_is_not_answered_is_not_made_twice() {
    for fate in FATES {
        for meanwhile in [
            Meanwhile::Nothing,
            Meanwhile::AnotherTemplate,
            Meanwhile::Throttling,
            Meanwhile::TheStoresCatchUp,
        ] {
            let case = format!("{fate:?}, {meanwhile:?}");
            let bench = Bench::new(NATIVE, &["a"], false);
            bench.set_network(Network::Cut(fate));
            bench.catch_up(&Resource::WATCHED).await;
            sleep(Duration::from_millis(20)).await;
            assert!(!bench.sent(Verb::Create).is_empty(), "{case}");
            match meanwhile {
                Meanwhile::Nothing => {}
                Meanwhile::AnotherTemplate => bench.set_image(2).await,
                Meanwhile::Throttling => {
                    bench.set_network(Network::Throttled);
                    sleep(Duration::from_secs(5)).await;
                }
                Meanwhile::TheStoresCatchUp => bench.catch_up(&[Resource::Pods]).await,
            }
            bench.set_network(Network::Up);
            sleep(Duration::from_secs(60)).await;
            bench.site().deliver();
            assert_eq!(bench.site().most_on_a_node, 1, "{case}: S8");
            bench.go_on().await;
            assert_eq!(bench.site().most_on_a_node, 1, "{case}: S8");
            assert_eq!(bench.images().len(), 1, "{case}: L1");
            sleep(Duration::from_mins(5)).await;
            bench.go_on().await;
            assert!(bench.overlay.is_empty(), "{case}");
        }
    }
}

/// The first request comes when what the second one made is gone again, and its successor is there.
#[tokio::test(start_paused = true)]
async fn s8_a_creation_that_comes_very_late_makes_no_second_pod() {
    let bench = Bench::new(NATIVE, &["a"], false);
    bench.set_network(Network::Cut(Fate::Late));
    bench.catch_up(&Resource::WATCHED).await;
    sleep(Duration::from_millis(20)).await;
    bench.set_network(Network::Up);
    bench.go_on().await;
    let first = bench.sent(Verb::Create);
    assert!(first.len() > 1, "it is repeated: {first:?}");
    {
        let mut site = bench.site();
        site.pods.clear();
        site.next();
    }
    bench.go_on().await;
    assert_eq!(bench.images().len(), 1);
    let n_sent = bench.sent(Verb::Create).len();
    assert!(n_sent > first.len(), "its successor");
    bench.site().deliver();
    bench.go_on().await;
    assert_eq!(bench.site().most_on_a_node, 1, "S8");
    assert_eq!(bench.sent(Verb::Create).len(), n_sent);
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_is_not_wanted_any_more_is_looked_into_when_it_must_be_dead() {
    for fate in FATES {
        let bench = Bench::new(NATIVE, &["a", "b"], false);
        bench.set_network(Network::Cut(fate));
        bench.catch_up(&Resource::WATCHED).await;
        sleep(Duration::from_millis(20)).await;
        // The daemon is for other nodes now.
        let version = bench.site().next();
        {
            let mut site = bench.site();
            site.daemonset["spec"]["template"]["spec"]["nodeSelector"] = json!({ "disk": "ssd" });
            site.daemonset["metadata"]["resourceVersion"] = json!(version.to_string());
            site.daemonset["metadata"]["generation"] = json!(version);
        }
        bench.catch_up(&[Resource::DaemonSets]).await;
        bench.set_network(Network::Up);
        let n_sent = bench.sent(Verb::Create).len();
        sleep(Duration::from_mins(4)).await;
        bench.site().deliver();
        sleep(Duration::from_mins(2)).await;
        assert_eq!(bench.sent(Verb::Create).len(), n_sent, "{fate:?}");
        assert_eq!(bench.sent(Verb::Get).len(), 1, "{fate:?}");
        bench.go_on().await;
        assert_eq!(bench.images(), [""; 0], "{fate:?}: what came late goes again");
        assert!(bench.overlay.is_empty(), "{fate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_certain_is_not_in_doubt() {
    let bench = Bench::new(POD_UPDATER, &["a"], true);
    bench.catch_up(&Resource::WATCHED).await;
    bench.set_network(Network::Throttled);
    bench.set_image(2).await;
    sleep(Duration::from_secs(1)).await;
    assert!(bench.sent(Verb::Delete).len() > 1);
    assert!(bench.overlay.is_empty());
    assert_eq!(bench.site().most_down, 0);
}
