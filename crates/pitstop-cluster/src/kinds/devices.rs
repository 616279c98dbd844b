//! Devices that pods claim, and classes of runtimes, which are only stored. Source: embedded-cluster.md 13.

use serde_json::{Value, json};

use super::fields::{list, list_mut, map_mut, set_missing, text};
use super::workload::immutable;
use super::{Column, FieldError, FieldKey, Kind, MetadataChecks, Subresource, age};

const GROUP: &str = "resource.k8s.io";

pub(super) const CLASS: Kind = Kind {
    group: GROUP,
    namespaced: false,
    stored_as: (GROUP, "deviceclasses"),
    has_generation: true,
    is_only_stored: true,
    ..Kind::plain("DeviceClass", "deviceclasses", "deviceclass")
};

pub(super) const CLAIM: Kind = Kind {
    group: GROUP,
    stored_as: (GROUP, "resourceclaims"),
    subresources: &[Subresource::Status],
    is_only_stored: true,
    default: |object| default_requests(object, "/spec/devices/requests"),
    prepare_create: |object, _| {
        map_mut(object, &[]).insert("status".to_owned(), json!({}));
    },
    validate_update: |new, old| immutable(new, old, "/spec", "spec"),
    columns: &[Column::NAME, Column::string("State"), Column::AGE],
    cells: |object, now| {
        vec![
            age::name(object),
            Value::from(state(object)),
            age::age(object, now),
        ]
    },
    ..Kind::plain("ResourceClaim", "resourceclaims", "resourceclaim")
};

pub(super) const CLAIM_TEMPLATE: Kind = Kind {
    group: GROUP,
    stored_as: (GROUP, "resourceclaimtemplates"),
    is_only_stored: true,
    default: |object| {
        set_missing(map_mut(object, &["spec"]), "metadata", json!({}));
        default_requests(object, "/spec/spec/devices/requests");
    },
    validate_update: |new, old| immutable(new, old, "/spec", "spec"),
    ..Kind::plain(
        "ResourceClaimTemplate",
        "resourceclaimtemplates",
        "resourceclaimtemplate",
    )
};

pub(super) const SLICE: Kind = Kind {
    group: GROUP,
    namespaced: false,
    stored_as: (GROUP, "resourceslices"),
    has_generation: true,
    is_only_stored: true,
    field_keys: &[
        FieldKey {
            key: "spec.nodeName",
            pointers: &["/spec/nodeName"],
            absent: "",
        },
        FieldKey {
            key: "spec.driver",
            pointers: &["/spec/driver"],
            absent: "",
        },
    ],
    validate: |object| {
        let mut errors = Vec::new();
        for (pointer, field) in [
            ("/spec/driver", "spec.driver"),
            ("/spec/pool/name", "spec.pool.name"),
        ] {
            if text(object, pointer).is_empty() {
                errors.push(FieldError::required(field, ""));
            }
        }
        errors
    },
    columns: &[
        Column::NAME,
        Column::string("Node"),
        Column::string("Driver"),
        Column::string("Pool"),
        Column::AGE,
    ],
    cells: |object, now| {
        vec![
            age::name(object),
            Value::from(text(object, "/spec/nodeName")),
            Value::from(text(object, "/spec/driver")),
            Value::from(text(object, "/spec/pool/name")),
            age::age(object, now),
        ]
    },
    ..Kind::plain("ResourceSlice", "resourceslices", "resourceslice")
};

pub(super) const RUNTIME_CLASS: Kind = Kind {
    group: "node.k8s.io",
    namespaced: false,
    stored_as: ("node.k8s.io", "runtimeclasses"),
    is_only_stored: true,
    validate: |object| {
        if text(object, "/handler").is_empty() {
            vec![FieldError::required("handler", "")]
        } else {
            Vec::new()
        }
    },
    validate_update: |new, old| immutable(new, old, "/handler", "handler"),
    columns: &[Column::NAME, Column::string("Handler"), Column::AGE],
    cells: |object, now| {
        vec![
            age::name(object),
            Value::from(text(object, "/handler")),
            age::age(object, now),
        ]
    },
    metadata_checks: MetadataChecks {
        standard_finalizers: false,
        needs_version: true,
        ..MetadataChecks::USUAL
    },
    is_made_by_update: true,
    ..Kind::plain("RuntimeClass", "runtimeclasses", "runtimeclass")
};

/// A request asks for one device where it does not say how many.
fn default_requests(object: &mut Value, pointer: &str) {
    for request in list_mut(object, pointer) {
        let Some(exactly) = request.get_mut("exactly") else {
            continue;
        };
        let exactly = map_mut(exactly, &[]);
        set_missing(exactly, "allocationMode", "ExactCount");
        if exactly.get("allocationMode").and_then(Value::as_str) == Some("ExactCount") {
            set_missing(exactly, "count", 1);
        }
    }
}

/// `allocated,reserved`, or `pending`.
fn state(claim: &Value) -> String {
    let mut words = Vec::new();
    if !text(claim, "/metadata/deletionTimestamp").is_empty() {
        words.push("deleted");
    }
    if claim.pointer("/status/allocation").is_none() {
        if words.is_empty() {
            words.push("pending");
        }
    } else {
        words.push("allocated");
        if !list(claim, "/status/reservedFor").is_empty() {
            words.push("reserved");
        }
    }
    words.join(",")
}
