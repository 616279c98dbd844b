//! Pods.

mod admission;
mod cells;
mod qos;
mod resize;
mod update;

use serde_json::{Value, json};

pub(crate) use resize::{validate_ephemeral, validate_resize, with_ephemeral_containers, with_resources};

use super::fields::{entries, flag, integer, list_mut, map_mut, remove, set_missing, text};
use super::pod_template::{CONTAINER_LISTS, default_spec, validate_spec};
use super::{Column, Creation, FieldError, FieldKey, Kind, MetadataChecks, Subresource};
use crate::broken::{self, Defect};

pub(super) const KIND: Kind = Kind {
    short_names: &["po"],
    categories: &["all"],
    subresources: &[
        Subresource::Attach,
        Subresource::Binding,
        Subresource::EphemeralContainers,
        Subresource::Eviction,
        Subresource::Exec,
        Subresource::Log,
        Subresource::PortForward,
        Subresource::Proxy,
        Subresource::Resize,
        Subresource::Status,
    ],
    has_generation: true,
    graceful_deletion: true,
    field_keys: &[
        FieldKey {
            key: "spec.nodeName",
            pointers: &["/spec/nodeName"],
            absent: "",
        },
        FieldKey {
            key: "spec.restartPolicy",
            pointers: &["/spec/restartPolicy"],
            absent: "",
        },
        FieldKey {
            key: "spec.schedulerName",
            pointers: &["/spec/schedulerName"],
            absent: "",
        },
        FieldKey {
            key: "spec.serviceAccountName",
            pointers: &["/spec/serviceAccountName"],
            absent: "",
        },
        FieldKey {
            key: "spec.hostNetwork",
            pointers: &["/spec/hostNetwork"],
            absent: "false",
        },
        FieldKey {
            key: "status.phase",
            pointers: &["/status/phase"],
            absent: "",
        },
        FieldKey {
            key: "status.podIP",
            pointers: &["/status/podIP", "/status/podIPs/0/ip"],
            absent: "",
        },
        FieldKey {
            key: "status.nominatedNodeName",
            pointers: &["/status/nominatedNodeName"],
            absent: "",
        },
    ],
    default,
    prepare_create,
    prepare_update: |new, _| admission::tolerate_lost_nodes(new),
    service_account: |pod| Some(text(pod, "/spec/serviceAccountName")),
    validate,
    validate_update: update::validate,
    columns: &[
        Column::NAME,
        Column::string("Ready"),
        Column::string("Status"),
        Column::string("Restarts"),
        Column::AGE,
        Column::wide("IP"),
        Column::wide("Node"),
        Column::wide("Nominated Node"),
        Column::wide("Readiness Gates"),
    ],
    cells: cells::cells,
    row_conditions: cells::row_conditions,
    metadata_checks: MetadataChecks::WHOLE_FIRST,
    ..Kind::plain("Pod", "pods", "pod")
};

/// Defaults of pods beyond those that templates share.
fn default(object: &mut Value) {
    let spec = map_mut(object, &["spec"]);
    set_missing(spec, "enableServiceLinks", true);
    let forgotten = broken::is(Defect::ForgottenDefault) && !spec.contains_key("restartPolicy");
    let mut spec = Value::Object(std::mem::take(spec));
    default_spec(&mut spec);
    if forgotten {
        remove(&mut spec, "restartPolicy");
    }
    let host_network = flag(&spec, "/hostNetwork");
    for pointer in CONTAINER_LISTS {
        for container in list_mut(&mut spec, pointer) {
            request_limits(container);
            if host_network {
                list_mut(container, "/ports").iter_mut().for_each(use_host_port);
            }
        }
    }
    map_mut(object, &[]).insert("spec".to_owned(), spec);
}

/// What has a limit and no request requests its limit.
fn request_limits(container: &mut Value) {
    let limits: Vec<(String, Value)> = entries(container, "/resources/limits")
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect();
    if limits.is_empty() {
        return;
    }
    let requests = map_mut(container, &["resources", "requests"]);
    for (name, limit) in limits {
        set_missing(requests, &name, limit);
    }
}

/// On the network of its node a container can only listen on the node's port.
fn use_host_port(port: &mut Value) {
    if let Some(number) = integer(port, "/containerPort") {
        set_missing(map_mut(port, &[]), "hostPort", number);
    }
}

/// A new pod is pending; the rest of its status comes from scheduler and node.
///
/// Source: embedded-cluster.md 6.1, 13.
fn prepare_create(object: &mut Value, creation: &Creation<'_>) {
    admission::admit(object, creation.suffix);
    let status = json!({"phase": "Pending", "qosClass": qos::class(object)});
    map_mut(object, &[]).insert("status".to_owned(), status);
}

fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match object.get("spec") {
        Some(spec) => errors.extend(validate_spec(spec, "spec")),
        None => errors.push(FieldError::required("spec.containers", "")),
    }
    errors
}

#[cfg(test)]
mod tests;
