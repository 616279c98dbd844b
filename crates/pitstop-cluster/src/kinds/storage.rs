//! What drivers of volumes say of themselves, which is only stored. Source: embedded-cluster.md 13.

use serde_json::{Value, json};

use super::fields::{flag, list, map_mut, set_missing, text};
use super::workload::immutable;
use super::{Column, FieldError, Kind, Subresource, age};

const GROUP: &str = "storage.k8s.io";

pub(super) const DRIVER: Kind = Kind {
    group: GROUP,
    namespaced: false,
    stored_as: (GROUP, "csidrivers"),
    is_only_stored: true,
    default: |object| {
        let spec = map_mut(object, &["spec"]);
        set_missing(spec, "attachRequired", true);
        set_missing(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        set_missing(spec, "volumeLifecycleModes", json!(["Persistent"]));
        for no in [
            "podInfoOnMount",
            "requiresRepublish",
            "seLinuxMount",
            "storageCapacity",
        ] {
            set_missing(spec, no, false);
        }
    },
    columns: &[
        Column::NAME,
        Column::boolean("AttachRequired"),
        Column::boolean("PodInfoOnMount"),
        Column::boolean("StorageCapacity"),
        Column::string("TokenRequests"),
        Column::boolean("RequiresRepublish"),
        Column::string("Modes"),
        Column::AGE,
    ],
    cells: |object, now| {
        let joined = |pointer: &str, field: &str| {
            let items: Vec<&str> = list(object, pointer)
                .iter()
                .map(|item| {
                    if field.is_empty() {
                        item.as_str().unwrap_or_default()
                    } else {
                        text(item, field)
                    }
                })
                .collect();
            if items.is_empty() {
                Value::from("<unset>")
            } else {
                Value::from(items.join(","))
            }
        };
        vec![
            age::name(object),
            Value::from(flag(object, "/spec/attachRequired")),
            Value::from(flag(object, "/spec/podInfoOnMount")),
            Value::from(flag(object, "/spec/storageCapacity")),
            joined("/spec/tokenRequests", "/audience"),
            Value::from(flag(object, "/spec/requiresRepublish")),
            joined("/spec/volumeLifecycleModes", ""),
            age::age(object, now),
        ]
    },
    ..Kind::plain("CSIDriver", "csidrivers", "csidriver")
};

pub(super) const CAPACITY: Kind = Kind {
    group: GROUP,
    stored_as: (GROUP, "csistoragecapacities"),
    is_only_stored: true,
    validate: |object| {
        if text(object, "/storageClassName").is_empty() {
            vec![FieldError::required("storageClassName", "")]
        } else {
            Vec::new()
        }
    },
    validate_update: |new, old| immutable(new, old, "/storageClassName", "storageClassName"),
    columns: &[
        Column::NAME,
        Column {
            kind: "date",
            ..Column::string("Created At")
        },
    ],
    cells: |object, _| {
        vec![
            age::name(object),
            Value::from(text(object, "/metadata/creationTimestamp")),
        ]
    },
    ..Kind::plain("CSIStorageCapacity", "csistoragecapacities", "csistoragecapacity")
};

pub(super) const ATTACHMENT: Kind = Kind {
    group: GROUP,
    namespaced: false,
    stored_as: (GROUP, "volumeattachments"),
    subresources: &[Subresource::Status],
    is_only_stored: true,
    prepare_create: |object, _| {
        map_mut(object, &[]).insert("status".to_owned(), json!({"attached": false}));
    },
    validate: |object| {
        let mut errors = Vec::new();
        for (pointer, field) in [
            ("/spec/attacher", "spec.attacher"),
            ("/spec/nodeName", "spec.nodeName"),
        ] {
            if text(object, pointer).is_empty() {
                errors.push(FieldError::required(field, ""));
            }
        }
        errors
    },
    validate_update: |new, old| immutable(new, old, "/spec", "spec"),
    columns: &[
        Column::NAME,
        Column {
            format: "name",
            ..Column::string("Attacher")
        },
        Column::string("PV"),
        Column::string("Node"),
        Column::boolean("Attached"),
        Column::AGE,
    ],
    cells: |object, now| {
        vec![
            age::name(object),
            Value::from(text(object, "/spec/attacher")),
            Value::from(text(object, "/spec/source/persistentVolumeName")),
            Value::from(text(object, "/spec/nodeName")),
            Value::from(flag(object, "/status/attached")),
            age::age(object, now),
        ]
    },
    ..Kind::plain("VolumeAttachment", "volumeattachments", "volumeattachment")
};

pub(super) const ATTRIBUTES: Kind = Kind {
    group: GROUP,
    namespaced: false,
    short_names: &["vac"],
    stored_as: (GROUP, "volumeattributesclasses"),
    is_only_stored: true,
    validate: |object| {
        if text(object, "/driverName").is_empty() {
            vec![FieldError::required("driverName", "")]
        } else {
            Vec::new()
        }
    },
    validate_update: |new, old| {
        let mut errors = immutable(new, old, "/driverName", "driverName");
        errors.extend(immutable(new, old, "/parameters", "parameters"));
        errors
    },
    columns: &[Column::NAME, Column::string("DriverName"), Column::AGE],
    cells: |object, now| {
        vec![
            age::name(object),
            Value::from(text(object, "/driverName")),
            age::age(object, now),
        ]
    },
    ..Kind::plain(
        "VolumeAttributesClass",
        "volumeattributesclasses",
        "volumeattributesclass",
    )
};
