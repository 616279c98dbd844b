//! Pods of a [`Cluster`](crate::cluster::Cluster) that can be updated in place: what a write makes of one, and its kubelet.

use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::view::{
    ContainerSpec, ContainerState, ContainerStatus, InPlaceSpec, InPlaceView, PodCondition, PodView,
    ReadyCondition,
};
use pitstop_api::{keys, reasons};
use pitstop_engine::inplace::PodWrite;
use serde_json::Value;

use crate::cluster::at;

/// What an update in place sees of a pod that has run `agent:<version>` for long, with its gate open.
pub(crate) fn gated(version: &str) -> InPlaceView {
    let image: Arc<str> = format!("agent:{version}").into();
    InPlaceView {
        spec: Arc::new(InPlaceSpec {
            containers: vec![ContainerSpec {
                name: "agent".into(),
                image: Arc::clone(&image),
                ..ContainerSpec::default()
            }],
            readiness_gates: vec![reasons::INPLACE_UPDATE_READY.into()],
            ..InPlaceSpec::default()
        }),
        annotations: pitstop_api::view::KeyValues::new(),
        finalizers: Vec::new(),
        generation: 1,
        observed_generation: None,
        statuses: vec![running(&image, 0, at(-900))],
        update_ready: Some(PodCondition {
            status: true.into(),
            reason: "".into(),
            message: "".into(),
            since: Some(at(-900)),
        }),
        kruise_ready: None,
        resize_pending: None,
        changed_while_ready: None,
    }
}

fn running(image: &Arc<str>, restart_count: i32, since: Timestamp) -> ContainerStatus {
    ContainerStatus {
        name: "agent".into(),
        image: Arc::clone(image),
        image_id: format!("sha256:{image}").into(),
        container_id: format!("containerd://{restart_count}").into(),
        restart_count,
        is_ready: true,
        state: ContainerState::Running { since: Some(since) },
        resources: None,
    }
}

/// Carries requests out, as the server would.
pub(crate) fn write(pod: &mut PodView, writes: &[PodWrite]) {
    let patches: Vec<&Value> = writes.iter().map(|write| &write.patch).collect();
    let labels = &mut pod.labels;
    let view = Arc::make_mut(pod.in_place.as_mut().unwrap());
    for patch in patches {
        let named = |path: &str| {
            patch
                .pointer(path)
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
        };
        for (key, value) in named("/metadata/labels") {
            match value.as_str() {
                Some(value) => labels.insert(key.clone(), value.to_owned()),
                None => labels.remove(key),
            }
        }
        for (key, value) in named("/metadata/annotations") {
            match value.as_str() {
                Some(value) => view.annotations.insert(key.clone(), value.to_owned()),
                None => view.annotations.remove(key),
            }
        }
        let conditions = patch.pointer("/status/conditions").and_then(Value::as_array);
        for condition in conditions.into_iter().flatten() {
            let is_true = condition["status"] == "True";
            let since = condition["lastTransitionTime"]
                .as_str()
                .map(|at| at.parse().unwrap());
            match condition["type"].as_str() {
                Some(reasons::READY) => pod.ready = Some(ReadyCondition { is_true, since }),
                Some(kind @ (reasons::INPLACE_UPDATE_READY | reasons::KRUISE_POD_READY)) => {
                    let written = Some(PodCondition {
                        status: is_true.into(),
                        reason: condition["reason"].as_str().unwrap_or_default().into(),
                        message: condition["message"].as_str().unwrap_or_default().into(),
                        since,
                    });
                    if kind == reasons::KRUISE_POD_READY {
                        view.kruise_ready = written;
                    } else {
                        view.update_ready = written;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        let containers = patch.pointer("/spec/containers").and_then(Value::as_array);
        for container in containers.into_iter().flatten() {
            assert_eq!(container["name"], "agent");
            Arc::make_mut(&mut view.spec).containers[0].image = container["image"].as_str().unwrap().into();
            view.generation += 1;
        }
        pod.resource_version += 1;
    }
}

/// Its kubelet: a container whose image changed starts again, and the pod is ready when its gate is open.
pub(crate) fn kubelet(pod: &mut PodView, now: Timestamp) {
    let Some(view) = pod.in_place.as_mut() else { return };
    let view = Arc::make_mut(view);
    let (wanted, status) = (&view.spec.containers[0].image, &view.statuses[0]);
    let mut is_changed = false;
    if *wanted != status.image {
        view.statuses = vec![running(wanted, status.restart_count + 1, now)];
        is_changed = true;
    }
    let is_open = view.update_ready.as_ref().is_some_and(PodCondition::is_true);
    if is_open != pod.is_ready() {
        pod.ready = Some(ReadyCondition {
            is_true: is_open,
            since: Some(now),
        });
        is_changed = true;
    }
    pod.resource_version += u64::from(is_changed);
}

/// How often its container was started again.
pub(crate) fn restarts(pod: &PodView) -> i32 {
    pod.in_place.as_ref().unwrap().statuses[0].restart_count
}

/// The note of an update to this revision that began at this second, and is complete or not.
pub(crate) fn note(pod: &mut PodView, revision: &str, began_at: i64, is_complete: bool) {
    let mut state = serde_json::json!({
        "revision": revision, "updateTimestamp": at(began_at).to_string(), "lastContainerStatuses": null,
    });
    if is_complete {
        state["pitstop"] = serde_json::json!({ "completedAt": at(began_at).to_string() });
    }
    let view = Arc::make_mut(pod.in_place.as_mut().unwrap());
    view.annotations
        .insert(keys::INPLACE_STATE.into(), state.to_string());
}
