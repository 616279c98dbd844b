//! Volumes, claims and storage classes. Source: embedded-cluster.md 12, 13.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fields::{flag, list, map_mut, or, set_missing, text};
use super::workload::immutable;
use super::{Column, FieldError, Kind, MetadataChecks, Subresource, age};

/// Annotation of the class that claims without one get.
const DEFAULT_CLASS: &str = "/metadata/annotations/storageclass.kubernetes.io~1is-default-class";

pub(super) const VOLUME: Kind = Kind {
    namespaced: false,
    short_names: &["pv"],
    subresources: &[Subresource::Status],
    default: |object| {
        let spec = map_mut(object, &["spec"]);
        set_missing(spec, "persistentVolumeReclaimPolicy", "Retain");
        set_missing(spec, "volumeMode", "Filesystem");
        if let Some(path) = spec.get_mut("hostPath").filter(|path| path.is_object()) {
            set_missing(map_mut(path, &[]), "type", "");
        }
    },
    prepare_create: |object, creation| {
        begin(object, "kubernetes.io/pv-protection");
        let now = Timestamp::from_second(creation.now.as_second()).unwrap_or(creation.now);
        map_mut(object, &["status"]).insert("lastPhaseTransitionTime".to_owned(), now.to_string().into());
    },
    validate: |object| {
        let mut errors = Vec::new();
        if list(object, "/spec/accessModes").is_empty() {
            errors.push(FieldError::required("spec.accessModes", ""));
        }
        if object.pointer("/spec/capacity").is_none() {
            errors.push(FieldError::required("spec.capacity", ""));
        }
        errors
    },
    columns: &[
        Column::NAME,
        Column::string("Capacity"),
        Column::string("Access Modes"),
        Column::string("Reclaim Policy"),
        Column::string("Status"),
        Column::string("Claim"),
        Column::string("StorageClass"),
        Column::string("VolumeAttributesClass"),
        Column::string("Reason"),
        Column::AGE,
        Column::wide("VolumeMode"),
    ],
    cells: volume_cells,
    metadata_checks: MetadataChecks::WHOLE_FIRST,
    ..Kind::plain("PersistentVolume", "persistentvolumes", "persistentvolume")
};

pub(super) const CLAIM: Kind = Kind {
    short_names: &["pvc"],
    subresources: &[Subresource::Status],
    default: |object| {
        set_missing(map_mut(object, &["spec"]), "volumeMode", "Filesystem");
    },
    prepare_create: |object, _| {
        begin(object, "kubernetes.io/pvc-protection");
    },
    validate: |object| {
        let mut errors = Vec::new();
        if list(object, "/spec/accessModes").is_empty() {
            let why = "at least 1 access mode is required";
            errors.push(FieldError::required("spec.accessModes", why));
        }
        if object.pointer("/spec/resources/requests/storage").is_none() {
            errors.push(FieldError::required("spec.resources[storage]", ""));
        }
        errors
    },
    columns: &[
        Column::NAME,
        Column::string("Status"),
        Column::string("Volume"),
        Column::string("Capacity"),
        Column::string("Access Modes"),
        Column::string("StorageClass"),
        Column::string("VolumeAttributesClass"),
        Column::AGE,
        Column::wide("VolumeMode"),
    ],
    cells: claim_cells,
    metadata_checks: MetadataChecks::TWICE,
    ..Kind::plain(
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        "persistentvolumeclaim",
    )
};

pub(super) const STORAGE_CLASS: Kind = Kind {
    group: "storage.k8s.io",
    namespaced: false,
    short_names: &["sc"],
    stored_as: ("storage.k8s.io", "storageclasses"),
    default: |object| {
        let map = map_mut(object, &[]);
        set_missing(map, "reclaimPolicy", "Delete");
        set_missing(map, "volumeBindingMode", "Immediate");
    },
    validate: |object| {
        if text(object, "/provisioner").is_empty() {
            vec![FieldError::required("provisioner", "")]
        } else {
            Vec::new()
        }
    },
    validate_update: |new, old| {
        let why = "updates to parameters are forbidden.";
        let mut errors = Vec::new();
        if new.get("parameters") != old.get("parameters") {
            errors.push(FieldError::forbidden("parameters", why));
        }
        if new.get("provisioner") != old.get("provisioner") {
            errors.push(FieldError::forbidden(
                "provisioner",
                "updates to provisioner are forbidden.",
            ));
        }
        errors.extend(immutable(new, old, "/volumeBindingMode", "volumeBindingMode"));
        errors
    },
    columns: &[
        Column::NAME,
        Column::string("Provisioner"),
        Column::string("ReclaimPolicy"),
        Column::string("VolumeBindingMode"),
        Column::string("AllowVolumeExpansion"),
        Column::AGE,
    ],
    cells: |object, now| {
        let is_default = text(object, DEFAULT_CLASS) == "true";
        let mark = if is_default { " (default)" } else { "" };
        vec![
            Value::from(format!("{}{mark}", text(object, "/metadata/name"))),
            Value::from(text(object, "/provisioner")),
            Value::from(or(text(object, "/reclaimPolicy"), "Delete")),
            Value::from(or(text(object, "/volumeBindingMode"), "Immediate")),
            Value::from(flag(object, "/allowVolumeExpansion")),
            age::age(object, now),
        ]
    },
    metadata_checks: MetadataChecks::WHOLE_FIRST,
    ..Kind::plain("StorageClass", "storageclasses", "storageclass")
};

pub(super) const CSI_NODE: Kind = Kind {
    group: "storage.k8s.io",
    namespaced: false,
    stored_as: ("storage.k8s.io", "csinodes"),
    is_only_stored: true,
    columns: &[Column::NAME, Column::integer("Drivers"), Column::AGE],
    cells: |object, now| {
        let n_drivers = list(object, "/spec/drivers").len();
        vec![age::name(object), Value::from(n_drivers), age::age(object, now)]
    },
    ..Kind::plain("CSINode", "csinodes", "csinode")
};

/// What a new claim or volume has: it waits, and does not go while it is used.
fn begin(object: &mut Value, protection: &str) {
    map_mut(object, &[]).insert("status".to_owned(), json!({"phase": "Pending"}));
    let metadata = map_mut(object, &["metadata"]);
    let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
    if let Some(finalizers) = finalizers.as_array_mut()
        && !finalizers.iter().any(|finalizer| finalizer == protection)
    {
        finalizers.push(protection.into());
    }
}

/// Access modes in short.
fn modes(object: &Value, pointer: &str) -> String {
    let named: Vec<&str> = list(object, pointer).iter().filter_map(Value::as_str).collect();
    let known = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let shown: Vec<&str> = known
        .into_iter()
        .filter(|(name, _)| named.contains(name))
        .map(|(_, short)| short)
        .collect();
    shown.join(",")
}

fn phase(object: &Value) -> &str {
    if text(object, "/metadata/deletionTimestamp").is_empty() {
        text(object, "/status/phase")
    } else {
        "Terminating"
    }
}

fn volume_cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let claim = match object.pointer("/spec/claimRef") {
        Some(claim) => format!("{}/{}", text(claim, "/namespace"), text(claim, "/name")),
        None => String::new(),
    };
    vec![
        age::name(object),
        Value::from(or(text(object, "/spec/capacity/storage"), "0")),
        Value::from(modes(object, "/spec/accessModes")),
        Value::from(text(object, "/spec/persistentVolumeReclaimPolicy")),
        Value::from(phase(object)),
        Value::from(claim),
        Value::from(text(object, "/spec/storageClassName")),
        Value::from(or(text(object, "/spec/volumeAttributesClassName"), "<unset>")),
        Value::from(text(object, "/status/reason")),
        age::age(object, now),
        Value::from(or(text(object, "/spec/volumeMode"), "<unset>")),
    ]
}

fn claim_cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let volume = text(object, "/spec/volumeName");
    let (capacity, modes) = if volume.is_empty() {
        (String::new(), String::new())
    } else {
        let capacity = or(text(object, "/status/capacity/storage"), "0").to_owned();
        (capacity, modes(object, "/status/accessModes"))
    };
    vec![
        age::name(object),
        Value::from(phase(object)),
        Value::from(volume),
        Value::from(capacity),
        Value::from(modes),
        Value::from(text(object, "/spec/storageClassName")),
        Value::from(or(text(object, "/spec/volumeAttributesClassName"), "<unset>")),
        age::age(object, now),
        Value::from(or(text(object, "/spec/volumeMode"), "<unset>")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// embedded-cluster.md 12.
    #[test]
    fn cells_of_claims() {
        let now = "2026-01-01T00:02:00Z".parse().unwrap();
        let mut claim = json!({
            "metadata": {"name": "data", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"accessModes": ["ReadWriteMany", "ReadWriteOnce"], "volumeMode": "Filesystem"},
            "status": {"phase": "Pending"},
        });
        let pending = claim_cells(&claim, now);
        assert_eq!(pending[1..5], [json!("Pending"), json!(""), json!(""), json!("")]);
        claim["spec"]["volumeName"] = json!("pv1");
        claim["status"] = json!({
            "phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
        });
        let bound = claim_cells(&claim, now);
        assert_eq!(
            bound[1..5],
            [json!("Bound"), json!("pv1"), json!("1Gi"), json!("RWO,RWX")]
        );
    }
}
