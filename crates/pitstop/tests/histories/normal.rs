//! What is the same on two servers at rest: names, times and places aside.
//!
//! Names that servers draw become what they stand for (`ReplicaSet web@3`, the set of the third revision), uids become
//! the object that has them, and pods and nodes become a list in the order of what is true of them.

use pitstop_api::keys;
use serde_json::{Map, Value, json};

use crate::known::{Kind, Known};
use crate::play::TOUCHED;

/// Times, of which only that there is one is the same.
const TIMES: [&str; 8] = [
    "completionTime",
    "creationTimestamp",
    "deletionTimestamp",
    "lastHeartbeatTime",
    "lastProbeTime",
    "lastTransitionTime",
    "lastUpdateTime",
    "startTime",
];
/// What says nothing about what a controller has done.
const NOISE: [&str; 6] = [
    "managedFields",
    "resourceVersion",
    "selfLink",
    "timeAdded",
    "uid",
    "name",
];

/// What everything looks like that a history has on one server.
pub(crate) fn normal(known: &Known) -> Value {
    let names = Names::of(known);
    let mut kinds: Map<String, Value> = Map::new();
    for (kind, _) in Kind::ALL {
        let mut objects: Vec<Value> = match kind {
            Kind::Pod => pods(known).into_iter().map(|(pod, _)| pod).collect(),
            Kind::Node => nodes(known).into_iter().map(|(node, _)| node).collect(),
            _ => known.of(kind).map(|object| names.plain(kind, object)).collect(),
        };
        objects.sort_by_key(Value::to_string);
        kinds.insert(format!("{kind:?}"), counted(objects));
    }
    Value::Object(kinds)
}

/// Equal objects, each once with their number.
fn counted(objects: Vec<Value>) -> Value {
    let mut counted: Vec<(Value, usize)> = Vec::new();
    for object in objects {
        match counted.last_mut() {
            Some((last, n)) if *last == object => *n += 1,
            _ => counted.push((object, 1)),
        }
    }
    let counted = counted.into_iter();
    counted
        .map(|(object, n)| json!({"object": object, "number": n}))
        .collect()
}

/// Pods with their names, in the order of what is true of them and of their nodes.
pub(crate) fn pods(known: &Known) -> Vec<(Value, String)> {
    let names = Names::of(known);
    let pods = known.of(Kind::Pod).map(|pod| {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        let node = known.objects.get(&(Kind::Node, node.to_owned()));
        let node = node.map_or(Value::Null, |node| names.plain(Kind::Node, node));
        (json!([names.plain(Kind::Pod, pod), node]), name(pod))
    });
    let pods = in_order(pods).into_iter();
    pods.map(|(mut pod, name)| (pod[0].take(), name)).collect()
}

/// Nodes with their names, in the order of what is true of them and of the pods on them.
pub(crate) fn nodes(known: &Known) -> Vec<(Value, String)> {
    let names = Names::of(known);
    let daemons = |node: &str| {
        let pods = known.of(Kind::Pod);
        let on_it = pods.filter(|pod| pod["spec"]["nodeName"] == node && is_of_daemonset(pod));
        on_it.map(|pod| names.plain(Kind::Pod, pod)).collect::<Vec<_>>()
    };
    in_order(known.of(Kind::Node).map(|node| {
        let name = name(node);
        let mut plain = names.plain(Kind::Node, node);
        let mut pods = daemons(&name);
        pods.sort_by_key(Value::to_string);
        plain["pods"] = pods.into();
        (plain, name)
    }))
}

fn is_of_daemonset(pod: &Value) -> bool {
    let labels = &pod["metadata"]["labels"];
    labels.get(keys::REVISION_HASH).is_some()
}

fn in_order(all: impl Iterator<Item = (Value, String)>) -> Vec<(Value, String)> {
    let mut all: Vec<(Value, String)> = all.collect();
    all.sort_by_cached_key(|(value, name)| (value.to_string(), name.clone()));
    all
}

pub(crate) fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// What drawn names stand for.
struct Names {
    /// Longest first.
    texts: Vec<(String, String)>,
}

impl Names {
    fn of(known: &Known) -> Self {
        let mut texts = known.hashes.clone();
        for (uid, born) in &known.born {
            if let Some((node, _)) = born.strip_prefix("Node/").and_then(|node| node.split_once('#')) {
                texts.insert(node.to_owned(), "NODE".to_owned());
            }
            let is_drawn = ["Pod/", "ReplicaSet/", "Revision/", "Node/"];
            let is_drawn = is_drawn.iter().any(|prefix| born.starts_with(prefix));
            texts.insert(
                uid.clone(),
                if is_drawn { "UID".to_owned() } else { born.clone() },
            );
        }
        let mut texts: Vec<(String, String)> = texts.into_iter().collect();
        texts.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        Self { texts }
    }

    fn plain(&self, kind: Kind, object: &Value) -> Value {
        let mut plain = object.clone();
        match kind {
            Kind::Pod => strip_pod(&mut plain),
            Kind::Node => strip_node(&mut plain),
            Kind::Deployment => strip_progress(&mut plain),
            Kind::DaemonSet => remove(&mut plain, "/metadata/annotations", &[TOUCHED]),
            Kind::ReplicaSet => {
                remove(&mut plain, "/metadata", &["generation"]);
                remove(&mut plain, "/status", &["observedGeneration"]);
            }
            _ => {}
        }
        let drawn = matches!(kind, Kind::Pod | Kind::Node);
        let kept = (!drawn).then(|| self.text(&name(object)));
        self.clean(&mut plain, true);
        if let Some(kept) = kept {
            plain["metadata"]["name"] = kept.into();
        }
        plain
    }

    fn clean(&self, value: &mut Value, is_top: bool) {
        match value {
            Value::Object(map) => {
                if is_top || map.contains_key("resourceVersion") {
                    remove_map(map, &["apiVersion", "kind"]);
                }
                if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
                    remove_map(metadata, &NOISE);
                }
                if let Some(Value::Array(owners)) = map.get_mut("ownerReferences") {
                    for owner in owners.iter_mut() {
                        let uid = owner["uid"].as_str().map(|uid| self.text(uid));
                        // Somebody of whom nobody has heard.
                        let is_known = uid.as_deref() != owner["uid"].as_str();
                        owner["uid"] = if is_known { uid.into() } else { json!("GONE") };
                    }
                }
                map.remove("timeAdded");
                // What is not there may be written down as such.
                map.retain(|_, inner| !inner.is_null());
                for (field, inner) in map.iter_mut() {
                    if TIMES.contains(&field.as_str()) {
                        *inner = json!("SET");
                    } else {
                        self.clean(inner, false);
                    }
                }
                let keys: Vec<String> = map
                    .keys()
                    .filter(|key| self.text(key) != **key)
                    .cloned()
                    .collect();
                for key in keys {
                    if let Some(inner) = map.remove(&key) {
                        map.insert(self.text(&key), inner);
                    }
                }
            }
            Value::Array(values) => {
                for value in values.iter_mut() {
                    self.clean(value, false);
                }
                // The order of conditions and taints says when they came.
                let has_types = values
                    .iter()
                    .all(|value| value.get("type").is_some() || value.get("effect").is_some());
                if has_types {
                    values.sort_by_key(Value::to_string);
                }
            }
            Value::String(text) => *text = self.text(text),
            _ => {}
        }
    }

    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (drawn, stands_for) in &self.texts {
            if text.contains(drawn.as_str()) {
                text = text.replace(drawn.as_str(), stands_for);
            }
        }
        text
    }
}

fn remove(value: &mut Value, at: &str, fields: &[&str]) {
    if let Some(map) = value.pointer_mut(at).and_then(Value::as_object_mut) {
        remove_map(map, fields);
    }
}

fn remove_map(map: &mut Map<String, Value>, fields: &[&str]) {
    for field in fields {
        map.remove(*field);
    }
}

/// Containers, addresses and the place are the kubelet's and the scheduler's.
fn strip_pod(pod: &mut Value) {
    let is_bound = pod["spec"]["nodeName"].is_string();
    pod["spec"]["nodeName"] = is_bound.into();
    remove(pod, "/metadata", &["name", "generateName", "generation"]);
    let status = [
        "containerStatuses",
        "initContainerStatuses",
        "hostIP",
        "hostIPs",
        "podIP",
        "podIPs",
        "observedGeneration",
        "startTime",
    ];
    remove(pod, "/status", &status);
    if let Some(conditions) = pod
        .pointer_mut("/status/conditions")
        .and_then(Value::as_array_mut)
    {
        for condition in conditions {
            remove(condition, "", &["observedGeneration"]);
            // How many nodes of the whole cluster do not fit, and why.
            if condition["type"] == "PodScheduled" {
                remove(condition, "", &["message"]);
            }
        }
    }
}

/// Which of the reasons for being under way stands there last depends on what of the new set's numbers the controller has
/// seen in between.
fn strip_progress(deployment: &mut Value) {
    let under_way = ["FoundNewReplicaSet", "NewReplicaSetCreated", "ReplicaSetUpdated"];
    let conditions = deployment
        .pointer_mut("/status/conditions")
        .and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        if condition["reason"]
            .as_str()
            .is_some_and(|reason| under_way.contains(&reason))
        {
            condition["reason"] = json!("UNDER WAY");
            remove(condition, "", &["message"]);
        }
    }
}

/// What the kubelet says of its machine is its own.
fn strip_node(node: &mut Value) {
    let conditions = node["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let ready: Vec<Value> = conditions
        .into_iter()
        .filter(|found| found["type"] == "Ready")
        .collect();
    node["status"] = json!({"conditions": ready});
    remove(node, "/metadata", &["annotations", "generation"]);
    remove(node, "/metadata/labels", &[keys::HOSTNAME, crate::known::HISTORY]);
    remove(node, "/spec", &["podCIDR", "podCIDRs"]);
}

/// Why it is clear that something is still to be done.
pub(crate) fn unrest(known: &Known) -> Option<String> {
    let is_cut = |node: &Value| node["metadata"]["annotations"][keys::SIM_NETWORK] == "disconnected";
    for node in known.of(Kind::Node) {
        let is_ready = condition(node, "Ready") == Some("True");
        if is_ready == is_cut(node) {
            return Some(format!("node {} is to change", name(node)));
        }
    }
    for kind in [Kind::DaemonSet, Kind::Deployment, Kind::ReplicaSet] {
        for object in known.of(kind) {
            let is_ending = object["metadata"]["deletionTimestamp"].is_string();
            let observed = object["status"]["observedGeneration"]
                .as_i64()
                .unwrap_or_default();
            if !is_ending && object["metadata"]["generation"] != observed {
                return Some(format!("{kind:?} {} is not seen yet", name(object)));
            }
            let wanted = object["spec"]["replicas"].as_i64();
            if kind == Kind::ReplicaSet && !is_ending && wanted != object["status"]["replicas"].as_i64() {
                return Some(format!("set {} is not of its size", name(object)));
            }
        }
    }
    let cut: Vec<String> = known
        .of(Kind::Node)
        .filter(|node| is_cut(node))
        .map(name)
        .collect();
    for pod in known.of(Kind::Pod) {
        let is_ending = pod["metadata"]["deletionTimestamp"].is_string();
        let is_held = pod["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|held| !held.is_empty());
        let is_stuck = pod["spec"]["nodeName"]
            .as_str()
            .is_some_and(|node| cut.iter().any(|cut| cut == node));
        if is_ending && !is_held && !is_stuck {
            return Some(format!("pod {} is to go", name(pod)));
        }
    }
    None
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|found| found["type"] == kind)?;
    found["status"].as_str()
}
