//! Plays a history on both servers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use pitstop_api::keys;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::compare::differences;
use crate::known::{Kind, Known, Space};
use crate::normal::{nodes, normal, pods, unrest};
use crate::stage::{Stage, node_name};
use crate::story::{Edit, Story, Which};

/// No change for so long is rest.
const QUIET: Duration = Duration::from_millis(250);
/// However much changes that does not matter, such as tries to pull an image, we look so often.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// DaemonSets are touched so often while both are not alike. A taint that keeps further pods away changes what their
/// status counts, but the real controller does not look at them for it: only when something else happens.
const TOUCH_EVERY: Duration = Duration::from_secs(3);
/// What holds pods in histories.
pub(crate) const FINALIZER: &str = "example.com/held";
/// How often a DaemonSet was touched.
pub(crate) const TOUCHED: &str = "example.com/touched";
/// How long the remains of a history may take to go, before the next one begins beside them.
const CLEAN_WITHIN: Duration = Duration::from_secs(10);
/// How long the shortest form of a history is looked for.
const SHORTEN_WITHIN: Duration = Duration::from_secs(120);
/// How many differences of one history are shown.
pub(crate) const N_SHOWN: usize = 12;

/// How long both may take until they are at rest alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience(Duration);

impl Patience {
    /// A pod of a Job that fails is tried again after 10 s and 20 s; what becomes of a silent node takes as long.
    pub(crate) const LONG: Self = Self(Duration::from_secs(45));
    pub(crate) const MEDIUM: Self = Self(Duration::from_secs(15));
    pub(crate) const SHORT: Self = Self(Duration::from_secs(4));
}

/// What became of one history.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) topic: crate::story::Topic,
    pub(crate) n_edits: usize,
    pub(crate) n_comparisons: usize,
    /// The last step that was played.
    pub(crate) last: usize,
    pub(crate) differences: Vec<String>,
    pub(crate) broken: Vec<String>,
    pub(crate) took: Duration,
}

impl Outcome {
    pub(crate) fn has_failed(&self) -> bool {
        !self.differences.is_empty() || !self.broken.is_empty()
    }
}

/// One history on one server.
struct Side<'a> {
    stage: &'a Stage,
    space: Arc<Space>,
    namespace: String,
    n_nodes: usize,
    /// The uid of what was made last under each name.
    uids: BTreeMap<String, String>,
    /// Pods and nodes at the last rest, in the order of what was true of them: those of which edits speak.
    pods: Vec<String>,
    nodes: Vec<String>,
}

/// Plays a history on both, up to the first difference.
pub(crate) async fn play(stages: [&Stage; 2], story: &Story, run: &str, patience: Patience) -> Outcome {
    let began = Instant::now();
    let topic = format!("{:?}", story.topic).to_lowercase();
    let namespace = format!("{topic}-{}{run}", story.seed);
    let [mut ours, mut theirs] = stages.map(|stage| Side::new(stage, &namespace, story.n_nodes));
    tokio::join!(ours.set_up(), theirs.set_up());
    let mut outcome = Outcome {
        seed: story.seed,
        topic: story.topic,
        n_edits: 0,
        n_comparisons: 0,
        last: 0,
        differences: Vec::new(),
        broken: Vec::new(),
        took: Duration::ZERO,
    };
    outcome.differences = rest([&ours, &theirs], patience).await;
    for (number, step) in story.steps.iter().enumerate() {
        if outcome.has_failed() {
            break;
        }
        outcome.last = number;
        ours.begin();
        theirs.begin();
        for edit in step {
            let (our_code, their_code) = tokio::join!(ours.carry_out(edit), theirs.carry_out(edit));
            outcome.n_edits += 1;
            if our_code != their_code {
                let line = format!("{edit}: embedded answers {our_code}, real {their_code}");
                outcome.differences.push(line);
            }
        }
        outcome.differences.extend(rest([&ours, &theirs], patience).await);
        outcome.n_comparisons += 1;
        let is_disturbed = step.iter().any(Edit::disturbs);
        for (side, who) in [(&ours, "embedded"), (&theirs, "real")] {
            let broken = side.space.known().promises.end(is_disturbed);
            outcome
                .broken
                .extend(broken.into_iter().map(|what| format!("{who}: {what}")));
        }
    }
    tokio::join!(ours.tear_down(), theirs.tear_down());
    outcome.took = began.elapsed();
    outcome
}

/// Waits until both are at rest alike. If they never are: what differs.
async fn rest(sides: [&Side<'_>; 2], patience: Patience) -> Vec<String> {
    let deadline = Instant::now() + patience.0;
    let mut before: Option<Value> = None;
    let mut touched_at = Instant::now();
    loop {
        wait_for_quiet(sides).await;
        let problems = sides.map(|side| unrest(&side.space.known()));
        let [ours, theirs] = sides.map(|side| normal(&side.space.known()));
        let is_alike = ours == theirs && problems.iter().all(Option::is_none);
        if is_alike && before.as_ref() == Some(&ours) {
            return Vec::new();
        }
        if Instant::now() >= deadline {
            let names = ["embedded", "real"].into_iter();
            let problems = names.zip(problems);
            let mut found: Vec<String> = problems
                .filter_map(|(who, problem)| {
                    problem.map(|problem| format!("{who} is not at rest: {problem}"))
                })
                .collect();
            found.extend(differences(&ours, &theirs));
            return found;
        }
        before = is_alike.then_some(ours);
        if touched_at.elapsed() >= TOUCH_EVERY {
            touched_at = Instant::now();
            let [ours, theirs] = sides;
            tokio::join!(ours.touch_daemonsets(), theirs.touch_daemonsets());
        }
    }
}

/// Until nothing has changed on either for a while.
async fn wait_for_quiet(sides: [&Side<'_>; 2]) {
    let [ours, theirs] = sides.map(|side| &side.space.changed);
    let quiet = async {
        loop {
            tokio::select! {
                biased;
                () = ours.notified() => {}
                () = theirs.notified() => {}
                () = sleep(QUIET) => return,
            }
        }
    };
    let _ = timeout(LOOK_EVERY, quiet).await;
}

impl<'a> Side<'a> {
    fn new(stage: &'a Stage, namespace: &str, n_nodes: usize) -> Self {
        Self {
            stage,
            space: stage.spaces.open(namespace),
            namespace: namespace.to_owned(),
            n_nodes,
            uids: BTreeMap::new(),
            pods: Vec::new(),
            nodes: Vec::new(),
        }
    }

    async fn touch_daemonsets(&self) {
        let touched: Vec<(String, Value)> = {
            let known = self.space.known();
            let all = known.of(Kind::DaemonSet);
            all.map(|set| {
                (
                    crate::normal::name(set),
                    set["metadata"]["annotations"][TOUCHED].clone(),
                )
            })
            .collect()
        };
        for (name, before) in touched {
            let number: u32 = before
                .as_str()
                .and_then(|text| text.parse().ok())
                .unwrap_or_default();
            let patch = json!({"metadata": {"annotations": {TOUCHED: (number + 1).to_string()}}});
            self.stage
                .call(Method::PATCH, &self.path("daemonsets", &name), Some(&patch))
                .await;
        }
    }

    /// Everything is at rest, and a step begins.
    fn begin(&mut self) {
        let mut known = self.space.known();
        let names = |all: Vec<(Value, String)>| all.into_iter().map(|(_, name)| name).collect();
        self.pods = names(pods(&known));
        self.nodes = names(nodes(&known));
        let Known {
            objects, promises, ..
        } = &mut *known;
        promises.begin(objects);
    }

    async fn set_up(&self) {
        self.stage.make_namespace(&self.namespace).await;
        for number in 1..=self.n_nodes {
            self.stage.add_node(&self.namespace, number).await;
        }
        let n_nodes = self.n_nodes;
        let all = move |known: &Known| known.of(Kind::Node).count() == n_nodes && unrest(known).is_none();
        assert!(
            self.space.wait_for(Duration::from_secs(60), all).await,
            "no nodes"
        );
    }

    /// The nodes go when they have nothing more to end.
    async fn tear_down(&self) {
        self.carry_out_on_nodes(&json!({"metadata": {"annotations": {keys::SIM_NETWORK: null}}}))
            .await;
        self.release_all().await;
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        self.stage.call(Method::DELETE, &path, None).await;
        let gone = |known: &Known| known.of(Kind::Pod).next().is_none();
        self.space.wait_for(CLEAN_WITHIN, gone).await;
        for number in 1..=self.n_nodes {
            let path = format!("/api/v1/nodes/{}", node_name(&self.namespace, number));
            self.stage.call(Method::DELETE, &path, None).await;
        }
        self.stage.spaces.close(&self.namespace);
    }

    /// No finalizer of the history is left.
    async fn release_all(&self) {
        for plural in ["configmaps", "pods"] {
            let kind = if plural == "pods" {
                Kind::Pod
            } else {
                Kind::ConfigMap
            };
            let names: Vec<String> = self.space.known().of(kind).map(crate::normal::name).collect();
            for name in names {
                let patch = json!({"metadata": {"finalizers": null}});
                self.stage
                    .call(Method::PATCH, &self.path(plural, &name), Some(&patch))
                    .await;
            }
        }
    }

    fn path(&self, plural: &str, name: &str) -> String {
        let prefix = match plural {
            "daemonsets" | "deployments" | "replicasets" => "/apis/apps/v1",
            "jobs" => "/apis/batch/v1",
            _ => "/api/v1",
        };
        let all = format!("{prefix}/namespaces/{}/{plural}", self.namespace);
        if name.is_empty() {
            all
        } else {
            format!("{all}/{name}")
        }
    }

    /// The code of the answer; 0 where it says nothing: a pod may have gone meanwhile.
    async fn carry_out(&mut self, edit: &Edit) -> u16 {
        match edit {
            Edit::Create { plural, object } => {
                let object = self.filled(object);
                let (code, answer) = self
                    .stage
                    .call(Method::POST, &self.path(plural, ""), Some(&object))
                    .await;
                if let (Some(name), Some(uid)) = (
                    object["metadata"]["name"].as_str(),
                    answer["metadata"]["uid"].as_str(),
                ) {
                    self.uids.insert(name.to_owned(), uid.to_owned());
                }
                code
            }
            Edit::Patch { plural, name, patch } => {
                let patch = self.filled(patch);
                self.stage
                    .call(Method::PATCH, &self.path(plural, name), Some(&patch))
                    .await
                    .0
            }
            Edit::Delete {
                plural,
                name,
                cascade,
            } => {
                let policy = format!("{cascade:?}");
                let options =
                    json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy});
                self.stage
                    .call(Method::DELETE, &self.path(plural, name), Some(&options))
                    .await
                    .0
            }
            Edit::DeletePod(_) | Edit::PatchPod(..) | Edit::ReleasePods => {
                self.carry_out_on_pods(edit).await;
                0
            }
            Edit::PatchNode(..) | Edit::RemoveNode(_) | Edit::RestoreNodes | Edit::ResetNodes => {
                self.carry_out_on_a_node(edit).await
            }
        }
    }

    async fn carry_out_on_pods(&self, edit: &Edit) {
        match edit {
            Edit::DeletePod(place) => {
                if let Some(pod) = self.pod(*place) {
                    self.stage
                        .call(Method::DELETE, &self.path("pods", &pod), None)
                        .await;
                }
            }
            Edit::PatchPod(place, patch) => {
                if let Some(pod) = self.pod(*place) {
                    self.stage
                        .call(Method::PATCH, &self.path("pods", &pod), Some(patch))
                        .await;
                }
            }
            Edit::ReleasePods => {
                let is_held = |pod: &&Value| {
                    let held = pod["metadata"]["finalizers"].as_array();
                    held.is_some_and(|held| held.contains(&json!(FINALIZER)))
                };
                let held: Vec<String> = self
                    .space
                    .known()
                    .of(Kind::Pod)
                    .filter(is_held)
                    .map(crate::normal::name)
                    .collect();
                for pod in held {
                    let patch = json!({"metadata": {"finalizers": null}});
                    self.stage
                        .call(Method::PATCH, &self.path("pods", &pod), Some(&patch))
                        .await;
                }
            }
            _ => {}
        }
    }

    async fn carry_out_on_a_node(&self, edit: &Edit) -> u16 {
        match edit {
            Edit::PatchNode(which, patch) => match self.node(*which) {
                Some(node) => {
                    let path = format!("/api/v1/nodes/{node}");
                    self.stage.call(Method::PATCH, &path, Some(patch)).await.0
                }
                None => 0,
            },
            Edit::RemoveNode(which) => match self.node(*which) {
                Some(node) => self.remove_node(&node).await,
                None => 0,
            },
            Edit::RestoreNodes => {
                for number in 1..=self.n_nodes {
                    let name = node_name(&self.namespace, number);
                    if !self.space.known().objects.contains_key(&(Kind::Node, name)) {
                        self.stage.add_node(&self.namespace, number).await;
                    }
                }
                let n_nodes = self.n_nodes;
                let all = move |known: &Known| known.of(Kind::Node).count() == n_nodes;
                u16::from(self.space.wait_for(Duration::from_secs(30), all).await)
            }
            Edit::ResetNodes => {
                let patch = json!({
                    "metadata": {"labels": {"role": "a"}, "annotations": {keys::SIM_NETWORK: null}},
                    "spec": {"taints": null, "unschedulable": null},
                });
                self.carry_out_on_nodes(&patch).await;
                200
            }
            _ => 0,
        }
    }

    async fn carry_out_on_nodes(&self, patch: &Value) {
        let names: Vec<String> = self
            .space
            .known()
            .of(Kind::Node)
            .map(crate::normal::name)
            .collect();
        for name in names {
            self.stage
                .call(Method::PATCH, &format!("/api/v1/nodes/{name}"), Some(patch))
                .await;
        }
    }

    /// As whoever takes a machine away has to: upstream's collector of pods looks for them only every minute.
    async fn remove_node(&self, node: &str) -> u16 {
        let code = self
            .stage
            .call(Method::DELETE, &format!("/api/v1/nodes/{node}"), None)
            .await
            .0;
        let gone = |known: &Known| !known.objects.contains_key(&(Kind::Node, node.to_owned()));
        self.space.wait_for(Duration::from_secs(30), gone).await;
        let on_it = |pod: &&Value| pod["spec"]["nodeName"] == node;
        let pods: Vec<String> = self
            .space
            .known()
            .of(Kind::Pod)
            .filter(on_it)
            .map(crate::normal::name)
            .collect();
        for pod in pods {
            let now = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
            self.stage
                .call(Method::DELETE, &self.path("pods", &pod), Some(&now))
                .await;
        }
        code
    }

    fn pod(&self, place: usize) -> Option<String> {
        let at = place.checked_rem(self.pods.len())?;
        self.pods.get(at).cloned()
    }

    fn node(&self, which: Which) -> Option<String> {
        match which {
            Which::Number(number) => Some(node_name(&self.namespace, number)),
            Which::Place(place) => {
                let at = place.checked_rem(self.nodes.len())?;
                self.nodes.get(at).cloned()
            }
        }
    }

    /// With the namespace, and with uids in place of names.
    fn filled(&self, value: &Value) -> Value {
        let mut text = value.to_string().replace("$(ns)", &self.namespace);
        for (name, uid) in &self.uids {
            text = text.replace(&format!("$(uid:{name})"), uid);
        }
        serde_json::from_str(&text).unwrap()
    }
}

/// The shortest form of a history that still fails, and how.
pub(crate) async fn shortest(stages: [&Stage; 2], story: &Story, failed: &Outcome) -> String {
    let deadline = Instant::now() + SHORTEN_WITHIN;
    let mut shortest = story.clone();
    shortest.steps.truncate(failed.last + 1);
    let (mut differences, mut broken) = (failed.differences.clone(), failed.broken.clone());
    let mut at = 0;
    for run in 0.. {
        let n_edits: usize = shortest.steps.iter().map(Vec::len).sum();
        if at >= n_edits || Instant::now() >= deadline {
            break;
        }
        let shorter = without(&shortest, at);
        let outcome = play(stages, &shorter, &format!("-short-{run}"), Patience::MEDIUM).await;
        if outcome.has_failed() {
            shortest = shorter;
            shortest.steps.truncate(outcome.last + 1);
            (differences, broken) = (outcome.differences, outcome.broken);
        } else {
            at += 1;
        }
    }
    let mut text = format!("{shortest}");
    for line in broken.iter().chain(&differences).take(N_SHOWN) {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// A history without its edit of this number.
fn without(story: &Story, at: usize) -> Story {
    let mut shorter = story.clone();
    let mut number = 0;
    for step in &mut shorter.steps {
        step.retain(|_| {
            number += 1;
            number != at + 1
        });
    }
    shorter.steps.retain(|step| !step.is_empty());
    shorter
}
