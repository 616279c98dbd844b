//! The pod that a DaemonSet runs on a node.

use pitstop_api::view::{DaemonSetView, RollingType, StrategyType};
use pitstop_api::{keys, reasons};
use serde_json::{Map, Value, json};

use super::eligibility::tolerations;
use crate::instances::pod::add_gates;

/// The pod for a node, without a name: whoever creates it chooses the suffix.
///
/// Everything of the template is kept; tolerations are completed, and the required node affinity is replaced by the
/// name of the node, so that the scheduler binds it there. Source: daemonset.md A4.
pub fn pod_for_node(daemonset: &DaemonSetView, node_name: &str, hash: &str) -> Value {
    let template = daemonset.template.as_object();
    let part = |name: &str| {
        template
            .and_then(|t| t.get(name))
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    let (mut metadata, mut spec) = (part("metadata"), part("spec"));

    metadata.remove("creationTimestamp");
    metadata.insert("namespace".into(), Value::from(&*daemonset.namespace));
    metadata.insert("generateName".into(), Value::from(generate_name(&daemonset.name)));
    change(&mut metadata, "labels", |labels| {
        labels.insert(keys::REVISION_HASH.into(), Value::from(hash));
        if let Some(generation) = daemonset.template_generation() {
            let generation = Value::from(generation.to_string());
            labels.insert(keys::POD_TEMPLATE_GENERATION.into(), generation);
        }
    });
    metadata.insert("ownerReferences".into(), json!([owner_reference(daemonset)]));

    spec.insert("tolerations".into(), json!(tolerations(&daemonset.placement)));
    let this_node = json!({ "nodeSelectorTerms": [{
        "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [node_name] }],
    }]});
    change(&mut spec, "affinity", |affinity| {
        change(affinity, "nodeAffinity", |affinity| {
            affinity.insert("requiredDuringSchedulingIgnoredDuringExecution".into(), this_node);
        });
    });
    if is_updated_in_place(daemonset) {
        add_gates(&mut spec, &[reasons::INPLACE_UPDATE_READY]);
    }
    if daemonset.advanced.is_some() {
        // Hooks hold a pod out of service by it, as those of every kind of the group. Source: inplace.md 8.
        add_gates(&mut spec, &[reasons::KRUISE_POD_READY]);
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
}

/// Are its pods updated in place, so that they need the readiness gate for it? It is no part of the template, so pods that
/// were made before are replaced once. Source: daemonset.md D2.
fn is_updated_in_place(daemonset: &DaemonSetView) -> bool {
    let advanced = daemonset.advanced.as_deref();
    daemonset.strategy.kind == StrategyType::RollingUpdate
        && advanced.is_some_and(|advanced| advanced.rolling_type == RollingType::InPlaceIfPossible)
}

/// The beginning of the names of a DaemonSet's pods: its name and a hyphen, without the hyphen where that would not be
/// the beginning of a valid name.
fn generate_name(workload: &str) -> String {
    let with_hyphen = format!("{workload}-");
    let valid = pitstop_api::selector::is_dns_subdomain(&format!("{with_hyphen}a"));
    if valid { with_hyphen } else { workload.to_owned() }
}

/// Changes the object under a key, made first where there is none.
fn change(map: &mut Map<String, Value>, key: &str, change: impl FnOnce(&mut Map<String, Value>)) {
    let mut child = match map.remove(key) {
        Some(Value::Object(child)) => child,
        _ => Map::new(),
    };
    change(&mut child);
    map.insert(key.to_owned(), Value::Object(child));
}

/// The reference by which its objects name a DaemonSet.
pub(super) fn owner_reference(daemonset: &DaemonSetView) -> Value {
    let kind = daemonset.workload_kind();
    json!({
        "apiVersion": kind.api_version(), "kind": kind.kind(), "name": &*daemonset.name,
        "uid": daemonset.uid.to_string(), "controller": true, "blockOwnerDeletion": true,
    })
}
