//! StatefulSets of `apps.kruise.io`: the tables of statefulset.md 13 to 16.

use std::sync::Arc;

use pitstop_api::view::{PodView, RevisionView, StatefulSetStatus, StatefulSetView};
use pitstop_api::{ClaimView, StorageClasses};
use pitstop_engine::plan::Reason;
use pitstop_engine::statefulset::{
    Action, ArbiterAnswers, CreatedPod, Failures, Features, InFlight, Plan, Snapshot, plan,
};
use serde_json::{Value, json};

use crate::cluster::at;
use crate::live::LivePod;

#[path = "statefulset/arbiter.rs"]
mod arbiter;
#[path = "statefulset/claims.rs"]
mod claims;
#[path = "statefulset/defects.rs"]
mod defects;
#[path = "statefulset/model.rs"]
mod model;
#[path = "statefulset/owners.rs"]
mod owners;
#[path = "statefulset/passes.rs"]
mod passes;
#[path = "statefulset/pods.rs"]
mod pods;
#[path = "statefulset/protection.rs"]
mod protection;
#[path = "statefulset/story.rs"]
mod story;
#[path = "statefulset/walk.rs"]
mod walk;

const OWNER: &str = "00000000-0000-0000-0000-000000000001";

/// A StatefulSet `web` whose pods come and go all at once, at rest at revision `web-a` (`c1=foo1`), and its pods.
///
/// Times are seconds after [`BASE`](crate::cluster::BASE).
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) set: Value,
    pub(crate) revisions: Vec<Value>,
    pub(crate) pods: Vec<LivePod>,
    pub(crate) claims: Vec<Value>,
    pub(crate) classes: StorageClasses,
    pub(crate) features: Features,
    pub(crate) in_flight: InFlight,
    pub(crate) failures: Failures,
    pub(crate) arbiter: ArbiterAnswers,
    pub(crate) may_adopt: bool,
    pub(crate) now: i64,
    n_created: usize,
}

/// The template of revision A or B, or of another letter.
pub(crate) fn template(letter: char) -> Value {
    let n = u32::from(letter) - u32::from('A') + 1;
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "c1", "image": format!("foo{n}") }] },
    })
}

/// A revision of the StatefulSet.
pub(crate) fn revision(letter: char) -> Value {
    let mut held = template(letter);
    held["$patch"] = json!("replace");
    let number = u32::from(letter) - u32::from('A') + 1;
    json!({
        "metadata": {
            "name": format!("web-{}", letter.to_ascii_lowercase()), "namespace": "default",
            "uid": format!("00000000-0000-0000-0001-{number:012}"),
            "labels": { "app": "web" }, "creationTimestamp": at(-5000).to_string(),
            "ownerReferences": [{ "apiVersion": "apps.kruise.io/v1beta1", "kind": "StatefulSet", "name": "web",
                "uid": OWNER, "controller": true }],
        },
        "data": { "spec": { "template": held } }, "revision": number,
    })
}

impl World {
    pub(crate) fn new(replicas: u32) -> Self {
        Self {
            set: json!({
                "metadata": { "name": "web", "namespace": "default", "uid": OWNER, "generation": 2,
                    "resourceVersion": "5", "annotations": {} },
                "spec": {
                    "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "template": template('A'),
                    "podManagementPolicy": "Parallel",
                    "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": {
                        "partition": 0, "maxUnavailable": 1, "podUpdatePolicy": "ReCreate", "minReadySeconds": 0 } },
                },
                "status": { "currentRevision": "web-a", "updateRevision": "web-a" },
            }),
            revisions: vec![revision('A')],
            pods: Vec::new(),
            claims: Vec::new(),
            classes: StorageClasses::default(),
            features: Features::default(),
            in_flight: InFlight::default(),
            failures: Failures::default(),
            arbiter: ArbiterAnswers::default(),
            may_adopt: true,
            now: 0,
            n_created: 0,
        }
    }

    /// In the middle of a rollout from A to B.
    pub(crate) fn rollout(replicas: u32) -> Self {
        let world = Self::new(replicas).set("/spec/template", template('B'));
        world.with(|world| world.revisions.push(revision('B')))
    }

    pub(crate) fn ordered(self) -> Self {
        self.set("/spec/podManagementPolicy", "OrderedReady")
    }

    /// Sets a value of the StatefulSet by its JSON pointer.
    pub(crate) fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let mut holder = LivePod {
            json: std::mem::take(&mut self.set),
        };
        let mut path = String::new();
        for part in pointer.split('/').skip(1) {
            let parent = path.clone();
            path = format!("{parent}/{part}");
            if holder.get(&path).is_none() {
                holder.put(&path, json!({}));
            }
        }
        holder.put(pointer, value.into());
        self.set = holder.json;
        self
    }

    /// Sets a value under `rollingUpdate`.
    pub(crate) fn rolling(self, key: &str, value: impl Into<Value>) -> Self {
        self.set(&format!("/spec/updateStrategy/rollingUpdate/{key}"), value)
    }

    pub(crate) fn reserve(self, reserved: Value) -> Self {
        self.set("/spec/reserveOrdinals", reserved)
    }

    pub(crate) fn scale_max(self, max: impl Into<Value>) -> Self {
        self.set("/spec/scaleStrategy/maxUnavailable", max)
    }

    /// Pods may be updated in any order.
    pub(crate) fn unordered(self) -> Self {
        self.rolling("unorderedUpdate", json!({}))
    }

    /// Pods are updated in place where that is possible.
    pub(crate) fn in_place(self) -> Self {
        self.rolling("podUpdatePolicy", "InPlaceIfPossible")
    }

    /// Adds pods, in the notation of statefulset.md 13: `0A 1A! 2B~ 3AF 4AT!`, and `0-4A` for five of them.
    pub(crate) fn pods(mut self, picture: &str) -> Self {
        for word in picture.split_whitespace() {
            let (numbers, letters) = word.split_at(word.find(|c: char| c.is_ascii_alphabetic()).unwrap());
            let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
            for ordinal in first.parse::<u32>().unwrap()..=last.parse().unwrap() {
                let pod = self.pod(ordinal, letters);
                self.pods.push(pod);
            }
        }
        self
    }

    /// A pod as these letters say.
    pub(crate) fn pod(&self, ordinal: u32, letters: &str) -> LivePod {
        let has = |c: char| letters.contains(c);
        let letter = letters.chars().next().unwrap();
        let n = u32::from(letter) - u32::from('A') + 1;
        let name = format!("web-{ordinal}");
        let mut pod = LivePod::running(&[&format!("c1=foo{n}")])
            .set("/metadata/name", &*name)
            .set("/metadata/uid", format!("00000000-0000-0000-0002-{ordinal:012}"))
            .set(
                "/metadata/ownerReferences",
                json!([{ "apiVersion": "apps.kruise.io/v1beta1", "kind": "StatefulSet",
                "name": "web", "uid": OWNER, "controller": true }]),
            )
            .label(
                "controller-revision-hash",
                &format!("web-{}", letter.to_ascii_lowercase()),
            )
            .label("statefulset.kubernetes.io/pod-name", &name)
            .label("lifecycle.apps.kruise.io/state", "Normal");
        if has('s') {
            pod = pod.label("apps.kruise.io/specified-delete", "true");
        }
        if has('!') {
            pod = pod.condition("Ready", "False", "");
        }
        if has('~') {
            let conditions = pod.json["status"]["conditions"].as_array_mut().unwrap();
            for condition in conditions.iter_mut().filter(|c| c["type"] == "Ready") {
                condition["lastTransitionTime"] = json!(at(self.now - 10).to_string());
            }
        }
        if has('F') {
            pod = pod.set("/status/phase", "Failed").condition("Ready", "False", "");
        }
        if has('T') {
            pod = pod.set("/metadata/deletionTimestamp", at(self.now - 1).to_string());
        }
        pod
    }

    pub(crate) fn at(mut self, seconds: i64) -> Self {
        self.now = seconds;
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Changes the pod with this ordinal.
    pub(crate) fn edit(mut self, ordinal: u32, change: impl FnOnce(LivePod) -> LivePod) -> Self {
        let i = self.place(ordinal).unwrap();
        self.pods[i] = change(self.pods[i].clone());
        self
    }

    /// Sets a label of pods.
    pub(crate) fn labels(mut self, key: &str, values: &[(u32, &str)]) -> Self {
        for (ordinal, value) in values {
            self = self.edit(*ordinal, |pod| pod.label(key, value));
        }
        self
    }

    pub(crate) fn state(self, ordinal: u32, state: &str) -> Self {
        self.labels("lifecycle.apps.kruise.io/state", &[(ordinal, state)])
    }

    fn place(&self, ordinal: u32) -> Option<usize> {
        let name = format!("web-{ordinal}");
        self.pods
            .iter()
            .position(|pod| pod.json["metadata"]["name"] == *name)
    }

    pub(crate) fn get(&self, ordinal: u32) -> Option<&LivePod> {
        self.pods.get(self.place(ordinal)?)
    }

    pub(crate) fn view(&self) -> StatefulSetView {
        StatefulSetView::from_json(self.set.to_string().as_bytes()).unwrap()
    }

    /// What is decided.
    pub(crate) fn plan(&self) -> Plan {
        self.judged(plan)
    }

    /// What a function says of what a decision is made from.
    pub(crate) fn judged<T>(&self, judge: impl FnOnce(&Snapshot<'_>) -> T) -> T {
        let set = self.view();
        let revisions: Vec<RevisionView> = self
            .revisions
            .iter()
            .map(|revision| RevisionView::from_json(revision.to_string().as_bytes()).unwrap())
            .collect();
        let pods: Vec<PodView> = self.pods.iter().map(LivePod::view).collect();
        let claims: Vec<ClaimView> = self
            .claims
            .iter()
            .map(|claim| ClaimView::from_json(claim.to_string().as_bytes()).unwrap())
            .collect();
        judge(&Snapshot {
            now: at(self.now),
            set: &set,
            revisions: revisions.iter().collect(),
            pods: pods.iter().collect(),
            claims: claims.iter().collect(),
            classes: self.classes.clone(),
            in_flight: self.in_flight.clone(),
            arbiter: self.arbiter.clone(),
            features: self.features,
            failures: self.failures.clone(),
            may_adopt: self.may_adopt,
        })
    }

    /// What is decided, in the notation of statefulset.md 13: `+0A -2 @1 3:PreparingDelete`; `-` for nothing.
    pub(crate) fn does(&self) -> String {
        words(&self.plan())
    }

    /// Units: seconds.
    pub(crate) fn requeue(&self) -> Option<u64> {
        self.plan().requeue_after.map(|wait| wait.as_secs())
    }

    /// Carries a plan out, with each of its preconditions, and returns how many writes that took.
    pub(crate) fn apply(&mut self, plan: &Plan) -> usize {
        let mut n_writes = 0;
        for action in &plan.actions {
            n_writes += self.apply_one(action);
        }
        if let Some(status) = &plan.status {
            self.set["status"] = serde_json::to_value(status).unwrap();
            n_writes += 1;
        }
        n_writes
    }

    pub(crate) fn apply_one(&mut self, action: &Action) -> usize {
        match action {
            Action::PatchPod {
                uid,
                resource_version,
                writes,
                ..
            } => {
                let found = self.pods.iter_mut().find(|pod| pod.view().uid == *uid);
                let Some(pod) = found.filter(|pod| pod.view().resource_version == *resource_version) else {
                    return 0;
                };
                for write in writes {
                    pod.apply_write(write);
                }
                writes.len()
            }
            Action::CreatePod(new) => {
                if self
                    .pods
                    .iter()
                    .any(|pod| pod.json["metadata"]["name"] == *new.name)
                {
                    return 0;
                }
                let mut json = new.manifest.clone();
                self.n_created += 1;
                let i = self.n_created;
                json["metadata"]["uid"] = json!(format!("00000000-0000-0000-0003-{i:012}"));
                json["metadata"]["resourceVersion"] = json!("1");
                json["metadata"]["generation"] = json!(1);
                json["metadata"]["creationTimestamp"] = json!(at(self.now).to_string());
                json["status"] = json!({ "phase": "Pending", "conditions": [], "containerStatuses": [] });
                self.pods.push(LivePod { json });
                self.claims.extend(new.claims.iter().cloned());
                1 + new.claims.len()
            }
            Action::DeletePod {
                uid,
                resource_version,
                ..
            } => {
                let is_it = |pod: &LivePod| {
                    let view = pod.view();
                    view.uid == *uid
                        && resource_version.is_none_or(|version| version == view.resource_version)
                };
                let n = self.pods.len();
                self.pods.retain(|pod| !is_it(pod));
                n - self.pods.len()
            }
            Action::CreateRevision { manifest, .. } => {
                let mut json = manifest.clone();
                self.n_created += 1;
                json["metadata"]["uid"] = json!(format!("00000000-0000-0000-0004-{:012}", self.n_created));
                self.revisions.push(json);
                1
            }
            Action::RenumberRevision { uid, revision, .. } => {
                for known in &mut self.revisions {
                    if known["metadata"]["uid"] == uid.to_string() {
                        known["revision"] = json!(revision);
                    }
                }
                1
            }
            Action::DeleteRevision { uid, .. } => {
                self.revisions
                    .retain(|known| known["metadata"]["uid"] != uid.to_string());
                1
            }
            _ => 1,
        }
    }

    /// What the kubelets do: containers restart with the image of their spec, and pods become ready when their gates are
    /// open.
    pub(crate) fn kubelets(&mut self) {
        for pod in &mut self.pods {
            let mut next = pod.clone().set("/status/phase", "Running");
            let view = next.view();
            let live = view.in_place.unwrap();
            for container in &live.spec.containers {
                match live.status(&container.name) {
                    None => {
                        next.put("/status/containerStatuses", json!([{
                            "name": container.name, "image": container.image, "restartCount": 0, "ready": true,
                            "imageID": format!("containerd://{}", container.image),
                            "containerID": format!("containerd://{}-1", container.name),
                            "state": { "running": { "startedAt": at(self.now).to_string() } } }]));
                    }
                    Some(status) if status.image != container.image => {
                        next = next.restarted(&container.name, &container.image, self.now);
                    }
                    Some(_) => {}
                }
            }
            let gates = live.spec.readiness_gates.iter();
            let is_open = gates.clone().all(|gate| next.says(gate) == Some("True"));
            let (want, is_ready) = (if is_open { "True" } else { "False" }, next.says("Ready"));
            if is_ready != Some(want) {
                next = next.condition("Ready", want, "");
                let conditions = next.json["status"]["conditions"].as_array_mut().unwrap();
                for condition in conditions.iter_mut().filter(|c| c["type"] == "Ready") {
                    condition["lastTransitionTime"] = json!(at(self.now - 1).to_string());
                }
            }
            next = next.condition("ContainersReady", "True", "");
            if next.json != pod.json {
                next.apply_write(&pitstop_engine::inplace::PodWrite {
                    endpoint: pitstop_engine::inplace::Endpoint::Status,
                    patch: json!({}),
                });
            }
            *pod = next;
        }
    }

    /// One decision, carried out, and the kubelets after it; what was done.
    pub(crate) fn pass(&mut self) -> String {
        let plan = self.plan();
        self.apply(&plan);
        self.kubelets();
        self.now += 1;
        words(&plan)
    }

    /// Pods and their revisions: `0A 1B`.
    pub(crate) fn picture(&self) -> String {
        let mut pods: Vec<(u32, String)> = self
            .pods
            .iter()
            .map(|pod| {
                let name = pod.json["metadata"]["name"].as_str().unwrap();
                let ordinal = name.trim_start_matches("web-").parse().unwrap();
                (
                    ordinal,
                    format!("{ordinal}{}", letter_of(pod.view().revision_hash().unwrap())),
                )
            })
            .collect();
        pods.sort();
        let words: Vec<String> = pods.into_iter().map(|(_, word)| word).collect();
        words.join(" ")
    }

    pub(crate) fn status(&self) -> StatefulSetStatus {
        self.plan().status.unwrap_or_else(|| self.view().status)
    }

    /// Status and reason of a condition: `True AllRemainingProtected`.
    pub(crate) fn condition(&self, kind: &str) -> Option<String> {
        let status = self.status();
        let found = status.condition(kind)?;
        Some(format!("{} {}", found.status, found.reason).trim_end().to_owned())
    }

    pub(crate) fn events(&self) -> Vec<&'static str> {
        self.plan().events.iter().map(|event| event.reason).collect()
    }

    /// Why a pod waits.
    pub(crate) fn reason(&self, ordinal: u32) -> Option<Reason> {
        let uid = self.get(ordinal)?.view().uid;
        let waiting = self.plan().waiting;
        let found = waiting
            .into_iter()
            .find(|w| w.pod.as_ref().is_some_and(|(_, pod)| *pod == uid));
        found.map(|waiting| waiting.reason)
    }
}

fn letter_of(revision: &str) -> String {
    match revision {
        "web-a" => "A".into(),
        "web-b" => "B".into(),
        other => other.trim_start_matches("web-").to_owned(),
    }
}

/// A plan in words.
pub(crate) fn words(plan: &Plan) -> String {
    let number = |name: &str| name.trim_start_matches("web-").to_owned();
    let mut found = Vec::new();
    for action in &plan.actions {
        match action {
            Action::CreatePod(pod) => {
                found.push(format!("+{}{}", number(&pod.name), letter_of(&pod.revision)));
            }
            Action::DeletePod { name, .. } => found.push(format!("-{}", number(name))),
            Action::PatchPod {
                name, why, writes, ..
            } => {
                let state = writes.iter().find_map(|write| {
                    let labels = write.patch.pointer("/metadata/labels")?;
                    labels.get("lifecycle.apps.kruise.io/state")?.as_str()
                });
                match (why.as_str(), state) {
                    ("UpdateInPlace", _) => found.push(format!("@{}", number(name))),
                    ("Identity", _) => found.push(format!("={}", number(name))),
                    (_, Some(state)) => found.push(format!("{}:{state}", number(name))),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    if found.is_empty() {
        "-".into()
    } else {
        found.join(" ")
    }
}

/// A pod that was posted and is not seen yet.
pub(crate) fn created(ordinal: u32, revision: &str) -> CreatedPod {
    CreatedPod {
        name: format!("web-{ordinal}").into(),
        instance: ordinal.to_string().into(),
        revision: revision.into(),
    }
}
