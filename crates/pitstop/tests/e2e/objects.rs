//! What objects say of themselves, as JSON: what the judges of histories go by.

use pitstop_api::reasons;
use serde_json::Value;

/// A text; empty where there is none.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The uid of the controller of an object.
pub(crate) fn owner(object: &Value) -> String {
    let owners = object["metadata"]["ownerReferences"].as_array();
    let controller = owners.and_then(|owners| owners.iter().find(|owner| owner["controller"] == true));
    controller.map_or_else(String::new, |owner| text(&owner["uid"]))
}

/// The node of a pod of a DaemonSet: before it is bound, the one that its affinity names.
pub(crate) fn node_of(pod: &Value) -> String {
    let bound = text(&pod["spec"]["nodeName"]);
    if !bound.is_empty() {
        return bound;
    }
    let wanted = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    text(&wanted["nodeSelectorTerms"][0]["matchFields"][0]["values"][0])
}

/// Of a pod or a node: is its condition Ready?
pub(crate) fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|conditions| {
        conditions
            .iter()
            .any(|condition| condition["type"] == reasons::READY && condition["status"] == "True")
    })
}
