//! CloneSets: the tables of cloneset.md 17, and its sections 3 to 12 and 18.

use pitstop_api::ClaimView;
use pitstop_api::view::{CloneSetStatus, CloneSetView, NodeNames, PodView, RevisionView, Uid};
use pitstop_engine::cloneset::{
    Action, CreatedPod, Failures, Features, InFlight, Plan, RefusedResize, Snapshot, plan,
};
use pitstop_engine::plan::Reason;
use pitstop_engine::snapshot::Nodes;
use serde_json::{Value, json};

use crate::cluster::at;
use crate::live::LivePod;

#[path = "cloneset/numbers.rs"]
mod numbers;
#[path = "cloneset/owners.rs"]
mod owners;
#[path = "cloneset/passes.rs"]
mod passes;
#[path = "cloneset/pods.rs"]
mod pods;
#[path = "cloneset/refused.rs"]
mod refused;
#[path = "cloneset/walk.rs"]
mod walk;

const OWNER: &str = "00000000-0000-0000-0000-000000000001";

/// A CloneSet `web` in the middle of a rollout from `web-old` (`c1=foo1`) to `web-new` (`c1=foo2`), and its pods.
///
/// Times are seconds after [`BASE`](crate::cluster::BASE). Without more, it updates in place if possible, has no pods, and may
/// make one pod unavailable.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) cloneset: Value,
    pub(crate) revisions: Vec<Value>,
    pub(crate) pods: Vec<LivePod>,
    pub(crate) claims: Vec<Value>,
    pub(crate) features: Features,
    pub(crate) in_flight: InFlight,
    pub(crate) failures: Failures,
    pub(crate) now: i64,
    n_created: usize,
}

/// The template that has this image.
pub(crate) fn template(image: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "c1", "image": image }] },
    })
}

/// A revision of the CloneSet.
pub(crate) fn revision(name: &str, image: &str, number: i64) -> Value {
    let mut held = template(image);
    held["$patch"] = json!("replace");
    json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": format!("00000000-0000-0000-0001-{:012}", number + 1000),
            "labels": { "app": "web" }, "creationTimestamp": at(-5000).to_string(),
            "ownerReferences": [{ "apiVersion": "apps.kruise.io/v1beta1", "kind": "CloneSet", "name": "web",
                "uid": OWNER, "controller": true }],
        },
        "data": { "spec": { "template": held } }, "revision": number,
    })
}

impl World {
    pub(crate) fn new(replicas: u32) -> Self {
        Self {
            cloneset: json!({
                "metadata": { "name": "web", "namespace": "default", "uid": OWNER, "generation": 2,
                    "resourceVersion": "5" },
                "spec": {
                    "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "template": template("foo2"),
                    "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": {
                        "podUpdatePolicy": "InPlaceIfPossible", "maxUnavailable": 1 } },
                },
                "status": { "currentRevision": "web-old", "updateRevision": "web-new" },
            }),
            revisions: vec![revision("web-old", "foo1", 1), revision("web-new", "foo2", 2)],
            pods: Vec::new(),
            claims: Vec::new(),
            features: Features::default(),
            in_flight: InFlight::default(),
            failures: Failures::default(),
            now: 0,
            n_created: 0,
        }
    }

    /// Sets a value of the CloneSet by its JSON pointer.
    pub(crate) fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let mut holder = LivePod {
            json: std::mem::take(&mut self.cloneset),
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
        self.cloneset = holder.json;
        self
    }

    /// Sets a value under `rollingUpdate`.
    pub(crate) fn rolling(self, key: &str, value: impl Into<Value>) -> Self {
        self.set(&format!("/spec/updateStrategy/rollingUpdate/{key}"), value)
    }

    /// Adds pods, in the notation of cloneset.md 17: `3o+ 1n-! 1oP+`.
    pub(crate) fn pods(mut self, picture: &str) -> Self {
        for word in picture.split_whitespace() {
            let (n, letters) = word.split_at(word.find(|c: char| !c.is_ascii_digit()).unwrap());
            for _ in 0..n.parse().unwrap_or(1) {
                let pod = self.pod(letters);
                self.pods.push(pod);
            }
        }
        self
    }

    /// A pod as these letters say.
    pub(crate) fn pod(&self, letters: &str) -> LivePod {
        let i = self.pods.len();
        let has = |c: char| letters.contains(c);
        let (revision, image) = if has('n') {
            ("web-new", "foo2")
        } else {
            ("web-old", "foo1")
        };
        let state = match letters {
            _ if has('D') => "PreparingDelete",
            _ if has('U') => "Updating",
            _ if has('P') => "PreparingUpdate",
            _ => "Normal",
        };
        let mut pod = LivePod::running(&[&format!("c1={image}")])
            .set("/metadata/name", format!("web-{i:05}"))
            .set("/metadata/uid", format!("00000000-0000-0000-0002-{i:012}"))
            .set(
                "/metadata/ownerReferences",
                json!([{ "apiVersion": "apps.kruise.io/v1beta1", "kind": "CloneSet",
                "name": "web", "uid": OWNER, "controller": true }]),
            )
            .label("controller-revision-hash", revision)
            .label("pod-template-hash", revision.trim_start_matches("web-"))
            .label("apps.kruise.io/cloneset-instance-id", &format!("{i:05}"))
            .label("lifecycle.apps.kruise.io/state", state);
        if has('!') {
            pod = pod.label("apps.kruise.io/specified-delete", "true");
        }
        if has('-') {
            pod = pod.condition("Ready", "False", "");
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

    /// Changes one pod.
    pub(crate) fn edit(mut self, i: usize, change: impl FnOnce(LivePod) -> LivePod) -> Self {
        self.pods[i] = change(self.pods[i].clone());
        self
    }

    pub(crate) fn view(&self) -> CloneSetView {
        CloneSetView::from_json(self.cloneset.to_string().as_bytes()).unwrap()
    }

    /// What is decided.
    pub(crate) fn plan(&self) -> Plan {
        let cloneset = self.view();
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
        let names = NodeNames::default();
        plan(&Snapshot {
            now: at(self.now),
            cloneset: &cloneset,
            revisions: revisions.iter().collect(),
            pods: pods.iter().collect(),
            claims: claims.iter().collect(),
            nodes: Nodes {
                names: &names,
                by_slot: &[],
                by_name: &[],
            },
            in_flight: self.in_flight.clone(),
            features: self.features,
            seed: 7,
            failures: self.failures.clone(),
        })
    }

    /// What is decided, in words: `create 2 old 1 new; delete 0 3; in place 1; recreate 2; enter PreparingUpdate 4`.
    pub(crate) fn does(&self) -> String {
        words(&self.plan())
    }

    /// Carries a plan out, with each of its preconditions, and returns how many writes that took.
    pub(crate) fn apply(&mut self, plan: &Plan) -> usize {
        let mut n_writes = 0;
        for action in &plan.actions {
            n_writes += self.apply_one(action);
        }
        if let Some(status) = &plan.status {
            self.cloneset["status"] = serde_json::to_value(status).unwrap();
            n_writes += 1;
        }
        n_writes
    }

    fn apply_one(&mut self, action: &Action) -> usize {
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
            Action::DeletePod { uid, .. } => {
                self.pods.retain(|pod| pod.view().uid != *uid);
                1
            }
            Action::CreateRevision { manifest, .. } => {
                let mut json = manifest.clone();
                json["metadata"]["uid"] =
                    json!(format!("00000000-0000-0000-0004-{:012}", self.revisions.len()));
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
            Action::Adopt { .. }
            | Action::PatchClaim { .. }
            | Action::ClaimPods { .. }
            | Action::ReleasePods { .. } => panic!("{action:?} is none of a CloneSet"),
            Action::ReleasePod { .. }
            | Action::CreateClaim { .. }
            | Action::DeleteClaim { .. }
            | Action::LeaveClaim { .. }
            | Action::PrunePodsToDelete { .. } => 1,
        }
    }

    /// What the kubelets do: containers restart with the image of their spec, and pods become ready when their gates are
    /// open.
    pub(crate) fn kubelets(&mut self) {
        for pod in &mut self.pods {
            let mut next = pod.clone().set("/status/phase", "Running");
            if next.get("/spec/nodeName").is_none() {
                next = next.set("/spec/nodeName", "n1");
            }
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
            let is_open = next.says("InPlaceUpdateReady") == Some("True");
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

    pub(crate) fn status(&self) -> CloneSetStatus {
        self.plan().status.unwrap_or_else(|| self.view().status)
    }

    /// Why a pod waits.
    pub(crate) fn reason(&self, i: usize) -> Option<Reason> {
        let uid = self.pods[i].view().uid;
        let waiting = self.plan().waiting;
        let found = waiting
            .into_iter()
            .find(|w| w.pod.as_ref().is_some_and(|(_, pod)| *pod == uid));
        found.map(|waiting| waiting.reason)
    }
}

/// A plan in words; pods by their number.
pub(crate) fn words(plan: &Plan) -> String {
    let number = |name: &str| name.trim_start_matches("web-").trim_start_matches('0').to_owned();
    let number = |name: &str| {
        Some(number(name))
            .filter(|n| !n.is_empty())
            .unwrap_or_else(|| "0".into())
    };
    let (mut old, mut new) = (0, 0);
    let (mut deletes, mut in_place, mut recreate, mut prepare) = (vec![], vec![], vec![], vec![]);
    for action in &plan.actions {
        match action {
            Action::CreatePod(pod) if &*pod.revision == "web-old" => old += 1,
            Action::CreatePod(_) => new += 1,
            Action::DeletePod { name, .. } => deletes.push(number(name)),
            Action::PatchPod { name, why, .. } => match why.as_str() {
                "UpdateInPlace" => in_place.push(number(name)),
                "Recreate" => recreate.push(number(name)),
                "Prepare" => prepare.push(number(name)),
                _ => {}
            },
            _ => {}
        }
    }
    let mut phrases = Vec::new();
    if old + new > 0 {
        phrases.push(format!("create {old} old {new} new"));
    }
    for (verb, pods) in [
        ("delete", deletes),
        ("in place", in_place),
        ("recreate", recreate),
        ("prepare", prepare),
    ] {
        if !pods.is_empty() {
            phrases.push(format!("{verb} {}", pods.join(" ")));
        }
    }
    if phrases.is_empty() {
        "nothing".into()
    } else {
        phrases.join("; ")
    }
}

/// A pod that was posted and is not seen yet.
pub(crate) fn created(instance: &str, revision: &str) -> CreatedPod {
    CreatedPod {
        name: format!("web-{instance}").into(),
        instance: instance.into(),
        revision: revision.into(),
    }
}

pub(crate) fn uid_of(pod: &LivePod) -> Uid {
    pod.view().uid
}
