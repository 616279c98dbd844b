//! A live pod as the API serves it, for the rules of updates in place, and what a write makes of it.
//!
//! A pod starts as one that runs `c1=foo1` at revision `web-old`, is ready, and has the readiness gates. A test changes what
//! it is about. Times are seconds after [`BASE`](crate::cluster::BASE).

use pitstop_api::view::{NodeNames, PodView, PodWire};
use pitstop_engine::inplace::{Change, Live, PodWrite};
use serde_json::{Map, Value, json};

use crate::cluster::at;

/// A live pod that can be changed.
#[derive(Debug, Clone)]
pub(crate) struct LivePod {
    pub(crate) json: Value,
}

impl LivePod {
    /// A pod that runs these containers: `c1=foo1`, `c1=foo1@20` with a launch priority.
    pub(crate) fn running(containers: &[&str]) -> Self {
        let mut spec = Vec::new();
        let mut statuses = Vec::new();
        for text in containers {
            let (name, rest) = text.split_once('=').unwrap();
            let (image, priority) = rest.split_once('@').map_or((rest, None), |(i, p)| (i, Some(p)));
            let barrier = priority.map(|priority| {
                json!({ "name": "KRUISE_CONTAINER_BARRIER",
                    "valueFrom": { "configMapKeyRef": { "name": "web-barrier", "key": format!("p_{priority}") } } })
            });
            spec.push(
                json!({ "name": name, "image": image, "env": barrier.into_iter().collect::<Vec<_>>() }),
            );
            statuses.push(json!({
                "name": name, "image": image, "imageID": format!("containerd://{name}-img"),
                "containerID": format!("containerd://{name}-1"), "restartCount": 0, "ready": true,
                "state": { "running": { "startedAt": at(-1000).to_string() } },
            }));
        }
        Self {
            json: json!({
                "metadata": {
                    "name": "web-1", "namespace": "default", "uid": "00000000-0000-0000-0000-000000000009",
                    "resourceVersion": "10", "generation": 1, "creationTimestamp": at(-2000).to_string(),
                    "labels": { "app": "web", "controller-revision-hash": "web-old" }, "annotations": {},
                },
                "spec": {
                    "nodeName": "n1", "containers": spec,
                    "readinessGates": [{ "conditionType": "InPlaceUpdateReady" }, { "conditionType": "KruisePodReady" }],
                },
                "status": {
                    "phase": "Running", "containerStatuses": statuses,
                    "conditions": [
                        condition("Ready", "True", ""), condition("ContainersReady", "True", ""),
                        condition("InPlaceUpdateReady", "True", ""), condition("KruisePodReady", "True", "[]"),
                    ],
                },
            }),
        }
    }

    /// Changes the value at a JSON pointer, made where it is missing.
    pub(crate) fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        self.put(pointer, value.into());
        self
    }

    pub(crate) fn put(&mut self, pointer: &str, value: Value) {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let key = key.replace("~1", "/").replace("~0", "~");
        match self.json.pointer_mut(parent).unwrap() {
            Value::Object(map) => _ = map.insert(key, value),
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
            other => panic!("{other} has no {key}"),
        }
    }

    pub(crate) fn label(self, key: &str, value: &str) -> Self {
        self.set(&format!("/metadata/labels/{}", escape(key)), value)
    }

    pub(crate) fn annotation(self, key: &str, value: &str) -> Self {
        self.set(&format!("/metadata/annotations/{}", escape(key)), value)
    }

    pub(crate) fn in_state(self, state: &Value) -> Self {
        self.annotation("apps.kruise.io/inplace-update-state", &state.to_string())
    }

    pub(crate) fn without_gates(self) -> Self {
        self.set("/spec/readinessGates", json!([]))
    }

    /// Sets a condition.
    pub(crate) fn condition(mut self, kind: &str, status: &str, message: &str) -> Self {
        let conditions = self.json["status"]["conditions"].as_array_mut().unwrap();
        conditions.retain(|c| c["type"] != kind);
        conditions.push(condition(kind, status, message));
        self
    }

    pub(crate) fn without_condition(mut self, kind: &str) -> Self {
        let conditions = self.json["status"]["conditions"].as_array_mut().unwrap();
        conditions.retain(|c| c["type"] != kind);
        self
    }

    /// Changes one field of the status of a container.
    pub(crate) fn status(mut self, container: &str, field: &str, value: impl Into<Value>) -> Self {
        let statuses = self.json["status"]["containerStatuses"].as_array_mut().unwrap();
        let status = statuses.iter_mut().find(|s| s["name"] == container).unwrap();
        status[field] = value.into();
        self
    }

    /// Changes one field of a container of the spec.
    pub(crate) fn container(mut self, container: &str, field: &str, value: impl Into<Value>) -> Self {
        let containers = self.json["spec"]["containers"].as_array_mut().unwrap();
        let found = containers.iter_mut().find(|c| c["name"] == container).unwrap();
        found[field] = value.into();
        self
    }

    /// A container reads a label or annotation: `metadata.labels['k']`.
    pub(crate) fn reads(mut self, container: &str, variable: &str, field_path: &str) -> Self {
        let containers = self.json["spec"]["containers"].as_array_mut().unwrap();
        let found = containers.iter_mut().find(|c| c["name"] == container).unwrap();
        let env = found["env"].as_array_mut().unwrap();
        env.push(json!({ "name": variable, "valueFrom": { "fieldRef": { "fieldPath": field_path } } }));
        self
    }

    /// The container was replaced by one with this image, whose digest is the name of the image.
    pub(crate) fn restarted(self, container: &str, image: &str, started_at: i64) -> Self {
        let statuses = self.json["status"]["containerStatuses"].as_array().unwrap();
        let count = statuses.iter().find(|s| s["name"] == container).unwrap()["restartCount"]
            .as_i64()
            .unwrap();
        self.status(container, "image", image)
            .status(container, "imageID", format!("containerd://{image}"))
            .status(
                container,
                "containerID",
                format!("containerd://{container}-{}", count + 2),
            )
            .status(container, "restartCount", count + 1)
            .status(
                container,
                "state",
                json!({ "running": { "startedAt": at(started_at).to_string() } }),
            )
    }

    /// What decisions see of it.
    pub(crate) fn view(&self) -> PodView {
        let wire: PodWire = serde_json::from_value(self.json.clone()).unwrap();
        wire.view(&mut NodeNames::default()).unwrap()
    }

    /// Carries out a change, request by request.
    pub(crate) fn apply(&mut self, change: &Change, seconds: i64) {
        let view = self.view();
        let live = Live::of(&view).unwrap();
        for write in change.clone().writes(live, at(seconds)) {
            self.apply_write(&write);
        }
    }

    /// Carries out one request, as an API server would.
    pub(crate) fn apply_write(&mut self, write: &PodWrite) {
        let spec = self.json["spec"].clone();
        merge(&mut self.json, &write.patch);
        if self.json["spec"] != spec {
            let generation = self.json["metadata"]["generation"].as_i64().unwrap();
            self.json["metadata"]["generation"] = json!(generation + 1);
        }
        let version: u64 = self.json["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        self.json["metadata"]["resourceVersion"] = json!((version + 1).to_string());
    }

    pub(crate) fn get(&self, pointer: &str) -> Option<&Value> {
        self.json.pointer(pointer)
    }

    /// The state annotation.
    pub(crate) fn state(&self) -> Option<Value> {
        let text = self.get("/metadata/annotations/apps.kruise.io~1inplace-update-state")?;
        serde_json::from_str(text.as_str()?).ok()
    }

    /// The state annotation as upstream would write it.
    pub(crate) fn upstreams_state(&self) -> Option<Value> {
        let mut state = self.state()?;
        state.as_object_mut()?.remove("pitstop");
        Some(state)
    }

    pub(crate) fn image(&self, container: &str) -> &str {
        let containers = self.json["spec"]["containers"].as_array().unwrap();
        let found = containers.iter().find(|c| c["name"] == container).unwrap();
        found["image"].as_str().unwrap()
    }

    /// Status of a condition.
    pub(crate) fn says(&self, kind: &str) -> Option<&str> {
        let conditions = self.json["status"]["conditions"].as_array()?;
        conditions.iter().find(|c| c["type"] == kind)?["status"].as_str()
    }
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn condition(kind: &str, status: &str, message: &str) -> Value {
    json!({ "type": kind, "status": status, "message": message, "lastTransitionTime": at(-500).to_string() })
}

/// A strategic merge, as far as these patches need it.
fn merge(into: &mut Value, patch: &Value) {
    let (Value::Object(into), Value::Object(patch)) = (into, patch) else {
        return;
    };
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().unwrap();
            if let Some(Value::Array(items)) = into.get_mut(list) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if key.starts_with("$setElementOrder") {
            continue;
        }
        let merge_key = match key.as_str() {
            "containers" => Some("name"),
            "conditions" => Some("type"),
            _ => None,
        };
        match (value, merge_key) {
            (Value::Null, _) => _ = into.remove(key),
            (Value::Object(_), _) => merge(into.entry(key).or_insert_with(|| json!({})), value),
            (Value::Array(items), Some(merge_key)) => {
                let list = into
                    .entry(key)
                    .or_insert_with(|| json!([]))
                    .as_array_mut()
                    .unwrap();
                for item in items {
                    match list.iter_mut().find(|known| known[merge_key] == item[merge_key]) {
                        Some(known) => merge(known, item),
                        None => list.push(without_nulls(item)),
                    }
                }
            }
            (Value::Array(items), None) if key == "finalizers" => {
                let list = into
                    .entry(key)
                    .or_insert_with(|| json!([]))
                    .as_array_mut()
                    .unwrap();
                list.extend(items.iter().cloned());
            }
            _ => _ = into.insert(key.clone(), value.clone()),
        }
    }
}

fn without_nulls(value: &Value) -> Value {
    let entries = value.as_object().unwrap().iter().filter(|(_, v)| !v.is_null());
    Value::Object(
        entries
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect::<Map<_, _>>(),
    )
}
