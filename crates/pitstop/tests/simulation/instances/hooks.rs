//! Whoever has asked to be heard before pods change: drains them and lets them go, and takes them in again.

use std::time::Duration;

use http::Method;
use kube::Client;
use pitstop_api::keys;
use pitstop_cluster::informer::request;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::wish::{DRAIN, Hook, SERVES};
use crate::stage::{PODS, STRATEGIC};

/// How long it takes to drain a pod.
const TAKES: Duration = Duration::from_secs(4);

/// Acts for ever, past all faults.
pub(super) async fn act(client: Client) {
    loop {
        sleep(TAKES).await;
        let Ok(list) = request(&client, Method::GET, PODS, None, None).await else {
            continue;
        };
        for pod in list["items"].as_array().into_iter().flatten() {
            let Some(patch) = answer(pod) else { continue };
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let path = format!("{PODS}/{name}");
            // It may be gone.
            let _ = request(&client, Method::PATCH, &path, STRATEGIC, Some(&patch)).await;
        }
    }
}

/// What it does to a pod.
fn answer(pod: &Value) -> Option<Value> {
    let metadata = &pod["metadata"];
    let finalizers = metadata["finalizers"].as_array().into_iter().flatten();
    let is_held = finalizers.clone().any(|finalizer| finalizer == DRAIN);
    let serves = metadata["labels"][SERVES] == "true";
    let is_going = !metadata["deletionTimestamp"].is_null();
    let state = metadata["labels"][keys::LIFECYCLE_STATE]
        .as_str()
        .unwrap_or_default();
    if is_held && (is_going || state == "PreparingDelete") {
        return Some(json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [DRAIN]}}));
    }
    let asks = Hook::read(pod);
    match state {
        "PreparingUpdate" if serves && asks == Some(Hook::Update) => {
            Some(json!({"metadata": {"labels": {SERVES: null}}}))
        }
        "Updated" if !serves && asks == Some(Hook::Update) => {
            Some(json!({"metadata": {"labels": {SERVES: "true"}}}))
        }
        "PreparingNormal" if !serves && asks == Some(Hook::Normal) => {
            Some(json!({"metadata": {"labels": {SERVES: "true"}}}))
        }
        _ => None,
    }
}
