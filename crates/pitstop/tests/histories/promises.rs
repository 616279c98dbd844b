//! What must hold on the way, whoever the controllers are.
//!
//! What is promised of one object is checked with every change of it. How many pods there are and how many serve is noted
//! with every change, and judged at rest, when all versions of the workload that applied meanwhile are known: its watch
//! and that of the pods do not wait for each other.

use std::collections::BTreeMap;

use pitstop_api::keys;
use serde_json::Value;

use crate::known::Kind;

type Objects = BTreeMap<(Kind, String), Value>;

/// What has been seen of one history on one server.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    /// By uid: what never goes back.
    highest: BTreeMap<(String, &'static str), i64>,
    /// By kind and name of the workload.
    spans: BTreeMap<(Kind, String), Span>,
    broken: Vec<String>,
}

/// What was seen of one workload since the last rest.
#[derive(Debug, Clone, PartialEq)]
struct Span {
    uid: String,
    /// All versions of its spec.
    specs: Vec<Value>,
    /// How many pods DaemonSets were to have.
    desired: i64,
    began: Counts,
    most: Counts,
    fewest_serving: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    /// Pods that are neither over nor going. Of Deployments: those that their sets are to have, which is what is limited:
    /// how fast sets follow is up to them.
    pods: usize,
    /// Of these: ready.
    serving: usize,
    /// The most on one node.
    on_a_node: usize,
}

impl Promises {
    /// An object has changed.
    pub(crate) fn see(&mut self, kind: Kind, object: &Value, objects: &Objects) {
        let (metadata, status) = (&object["metadata"], &object["status"]);
        // A Deployment tells the number of its set, which is a lower one when that of a higher one is gone.
        let annotation = metadata["annotations"][keys::DEPLOYMENT_REVISION].as_str();
        let annotation = annotation.filter(|_| kind == Kind::ReplicaSet);
        let grows = [
            ("generation", metadata["generation"].as_i64()),
            ("observedGeneration", status["observedGeneration"].as_i64()),
            ("revision", object["revision"].as_i64()),
            (
                "revision annotation",
                annotation.and_then(|text| text.parse().ok()),
            ),
        ];
        let uid = metadata["uid"].as_str().unwrap_or_default();
        for (what, value) in grows {
            let Some(value) = value else { continue };
            let highest = self.highest.entry((uid.to_owned(), what)).or_insert(value);
            if value < *highest {
                let name = crate::normal::name(object);
                self.broken.push(format!(
                    "{what} of {kind:?} {name} went back from {highest} to {value}"
                ));
            }
            *highest = value.max(*highest);
        }
        match kind {
            Kind::DaemonSet | Kind::Deployment | Kind::Job => {
                if let Some(span) = self.spans.get_mut(&(kind, crate::normal::name(object)))
                    && span.uid == uid
                    && span.specs.last() != Some(&object["spec"])
                {
                    span.specs.push(object["spec"].clone());
                }
            }
            Kind::Pod | Kind::ReplicaSet => {
                for ((kind, _), span) in &mut self.spans {
                    let now = count(*kind, &span.uid, objects);
                    span.most.pods = span.most.pods.max(now.pods);
                    span.most.on_a_node = span.most.on_a_node.max(now.on_a_node);
                    span.fewest_serving = span.fewest_serving.min(now.serving);
                }
            }
            _ => {}
        }
    }

    /// Everything is at rest, and something is about to change.
    pub(crate) fn begin(&mut self, objects: &Objects) {
        let workloads = [Kind::DaemonSet, Kind::Deployment, Kind::Job];
        self.spans.clear();
        for ((kind, name), object) in objects {
            if !workloads.contains(kind) || object["metadata"]["deletionTimestamp"].is_string() {
                continue;
            }
            let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
            let began = count(*kind, uid, objects);
            let span = Span {
                uid: uid.to_owned(),
                specs: vec![object["spec"].clone()],
                desired: object["status"]["desiredNumberScheduled"]
                    .as_i64()
                    .unwrap_or_default(),
                began,
                most: began,
                fewest_serving: began.serving,
            };
            self.spans.insert((*kind, name.clone()), span);
        }
    }

    /// Everything is at rest again. What was not the doing of controllers alone says nothing about their limits.
    pub(crate) fn end(&mut self, is_disturbed: bool) -> Vec<String> {
        let mut broken = std::mem::take(&mut self.broken);
        if is_disturbed {
            return broken;
        }
        for ((kind, name), span) in &self.spans {
            broken.extend(
                span.judge(*kind)
                    .into_iter()
                    .map(|what| format!("{kind:?} {name}: {what}")),
            );
        }
        broken
    }
}

impl Span {
    fn judge(&self, kind: Kind) -> Vec<String> {
        let limits = self.specs.iter().map(|spec| Limits::of(kind, spec, self.desired));
        let limits: Vec<Limits> = limits.collect();
        let most = limits.iter().map(|limits| limits.most).max().unwrap_or_default();
        let fewest = limits
            .iter()
            .map(|limits| limits.fewest)
            .min()
            .unwrap_or_default();
        let on_a_node = limits
            .iter()
            .map(|limits| limits.on_a_node)
            .max()
            .unwrap_or_default();
        let mut broken = Vec::new();
        if self.most.pods > most.max(self.began.pods) {
            broken.push(format!("{} pods at once, {most} are allowed", self.most.pods));
        }
        if self.fewest_serving < fewest.min(self.began.serving) {
            broken.push(format!(
                "only {} pods served, {fewest} have to",
                self.fewest_serving
            ));
        }
        if self.most.on_a_node > on_a_node.max(self.began.on_a_node) {
            broken.push(format!("{} pods on one node", self.most.on_a_node));
        }
        broken
    }
}

/// What a spec allows.
struct Limits {
    most: usize,
    fewest: usize,
    on_a_node: usize,
}

impl Limits {
    fn of(kind: Kind, spec: &Value, desired: i64) -> Self {
        let any = usize::MAX;
        let size = |n: i64| usize::try_from(n).unwrap_or_default();
        match kind {
            Kind::Deployment => {
                let replicas = spec["replicas"].as_i64().unwrap_or(1);
                let rolling = &spec["strategy"]["rollingUpdate"];
                let surge = amount(&rolling["maxSurge"], replicas, true);
                let unavailable = amount(&rolling["maxUnavailable"], replicas, false);
                let unavailable = if surge == 0 {
                    unavailable.max(1)
                } else {
                    unavailable
                };
                if spec["strategy"]["type"] == "Recreate" {
                    return Self {
                        most: size(replicas),
                        fewest: 0,
                        on_a_node: any,
                    };
                }
                Self {
                    most: size(replicas + surge),
                    fewest: size(replicas - unavailable),
                    on_a_node: any,
                }
            }
            Kind::DaemonSet => {
                let rolling = &spec["updateStrategy"]["rollingUpdate"];
                let surge = amount(&rolling["maxSurge"], desired, true);
                let unavailable = amount(&rolling["maxUnavailable"], desired, true);
                let is_rolling = spec["updateStrategy"]["type"] == "RollingUpdate";
                let (surge, unavailable) = if is_rolling { (surge, unavailable) } else { (0, 0) };
                let unavailable = if surge == 0 && is_rolling {
                    unavailable.max(1)
                } else {
                    unavailable
                };
                Self {
                    // What surges beside pods that are on their way out is not limited upstream.
                    most: any,
                    fewest: size(desired - unavailable),
                    on_a_node: if surge > 0 { 2 } else { 1 },
                }
            }
            _ => {
                let is_suspended = spec["suspend"] == true;
                let parallelism = spec["parallelism"].as_i64().unwrap_or(1);
                Self {
                    most: if is_suspended { 0 } else { size(parallelism) },
                    fewest: 0,
                    on_a_node: any,
                }
            }
        }
    }
}

/// A number, or a percentage of the whole.
fn amount(value: &Value, of: i64, rounds_up: bool) -> i64 {
    match value {
        Value::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or_default();
            let product = percent * of;
            if rounds_up {
                (product + 99) / 100
            } else {
                product / 100
            }
        }
        other => other.as_i64().unwrap_or_default(),
    }
}

/// The pods of a workload.
fn count(kind: Kind, uid: &str, objects: &Objects) -> Counts {
    let owner = |object: &Value| -> Option<String> {
        let owners = object["metadata"]["ownerReferences"].as_array()?;
        let controller = owners.iter().find(|owner| owner["controller"] == true)?;
        controller["uid"].as_str().map(str::to_owned)
    };
    let all = |wanted: Kind| {
        objects
            .iter()
            .filter(move |((kind, _), _)| *kind == wanted)
            .map(|(_, object)| object)
    };
    let owners: Vec<String> = if kind == Kind::Deployment {
        let sets = all(Kind::ReplicaSet).filter(|set| owner(set).as_deref() == Some(uid));
        sets.filter_map(|set| set["metadata"]["uid"].as_str().map(str::to_owned))
            .collect()
    } else {
        vec![uid.to_owned()]
    };
    let mut counts = Counts::default();
    for set in
        all(Kind::ReplicaSet).filter(|set| kind == Kind::Deployment && owner(set).as_deref() == Some(uid))
    {
        counts.pods += usize::try_from(set["spec"]["replicas"].as_i64().unwrap_or(1)).unwrap_or_default();
    }
    let mut nodes: BTreeMap<String, usize> = BTreeMap::new();
    for pod in all(Kind::Pod) {
        let is_over = pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed";
        let is_going = pod["metadata"]["deletionTimestamp"].is_string();
        let is_own = owner(pod).is_some_and(|owner| owners.contains(&owner));
        if is_over || is_going || !is_own {
            continue;
        }
        counts.pods += usize::from(kind != Kind::Deployment);
        let conditions = pod["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        if conditions.any(|found| found["type"] == "Ready" && found["status"] == "True") {
            counts.serving += 1;
        }
        if let Some(node) = pod["spec"]["nodeName"].as_str() {
            *nodes.entry(node.to_owned()).or_default() += 1;
        }
    }
    counts.on_a_node = nodes.into_values().max().unwrap_or_default();
    counts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(replicas: i64) -> Value {
        json!({
            "metadata": {"name": "web", "uid": "d"},
            "spec": {
                "replicas": replicas,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
            },
        })
    }

    fn owned(name: &str, by: &str, is_ready: bool) -> Value {
        let status = if is_ready { "True" } else { "False" };
        json!({
            "metadata": {"name": name, "uid": name, "ownerReferences": [{"uid": by, "controller": true}]},
            "spec": {"nodeName": "n"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]},
        })
    }

    fn set(replicas: i64) -> Value {
        let mut set = owned("set", "d", true);
        set["spec"] = json!({"replicas": replicas});
        set
    }

    /// Four pods of which one may be missing and one more may be there.
    fn at_rest() -> (Objects, Promises) {
        let mut objects = Objects::new();
        objects.insert((Kind::Deployment, "web".to_owned()), deployment(4));
        objects.insert((Kind::ReplicaSet, "set".to_owned()), set(4));
        for pod in ["a", "b", "c", "d"] {
            objects.insert((Kind::Pod, pod.to_owned()), owned(pod, "set", true));
        }
        let mut promises = Promises::default();
        promises.begin(&objects);
        (objects, promises)
    }

    fn change(objects: &mut Objects, promises: &mut Promises, kind: Kind, object: &Value) {
        objects.insert((kind, crate::normal::name(object)), object.clone());
        promises.see(kind, object, objects);
    }

    #[test]
    fn limits_that_are_kept_are_no_news() {
        let (mut objects, mut promises) = at_rest();
        change(&mut objects, &mut promises, Kind::Pod, &owned("a", "set", false));
        change(&mut objects, &mut promises, Kind::ReplicaSet, &set(5));
        assert_eq!(promises.end(false), Vec::<String>::new());
    }

    #[test]
    fn every_broken_promise_is_told() {
        let (mut objects, mut promises) = at_rest();
        change(&mut objects, &mut promises, Kind::ReplicaSet, &set(6));
        for pod in ["a", "b"] {
            change(&mut objects, &mut promises, Kind::Pod, &owned(pod, "set", false));
        }
        assert_eq!(
            promises.end(false),
            [
                "Deployment web: 6 pods at once, 5 are allowed",
                "Deployment web: only 2 pods served, 3 have to",
            ]
        );
        assert_eq!(promises.end(true), Vec::<String>::new());
        for revision in ["3", "2"] {
            let mut set = set(4);
            set["metadata"]["annotations"] = json!({keys::DEPLOYMENT_REVISION: revision});
            change(&mut objects, &mut promises, Kind::ReplicaSet, &set);
        }
        let told = ["revision annotation of ReplicaSet set went back from 3 to 2"];
        assert_eq!(promises.end(true), told);
    }

    #[test]
    fn a_wish_that_came_meanwhile_counts() {
        let (mut objects, mut promises) = at_rest();
        change(&mut objects, &mut promises, Kind::Deployment, &deployment(2));
        for pod in ["a", "b"] {
            change(&mut objects, &mut promises, Kind::Pod, &owned(pod, "set", false));
        }
        assert_eq!(promises.end(false), Vec::<String>::new());
    }
}
