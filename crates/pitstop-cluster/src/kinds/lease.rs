//! Leases, the heartbeats of nodes and of leaders.

use serde_json::Value;

use super::fields::{integer, text};
use super::{Column, Durability, FieldError, Kind, MetadataChecks, age};

pub(super) const KIND: Kind = Kind {
    group: "coordination.k8s.io",
    stored_as: ("coordination.k8s.io", "leases"),
    durability: Durability::Relaxed,
    validate: |object| {
        let mut errors = Vec::new();
        if let Some(seconds) = integer(object, "/spec/leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
            errors.push(FieldError::invalid(
                "spec.leaseDurationSeconds",
                seconds,
                "must be greater than 0",
            ));
        }
        if let Some(changes) = integer(object, "/spec/leaseTransitions").filter(|changes| *changes < 0) {
            errors.push(FieldError::invalid(
                "spec.leaseTransitions",
                changes,
                "must be greater than or equal to 0",
            ));
        }
        errors
    },
    columns: &[Column::NAME, Column::string("Holder"), Column::AGE],
    cells: |object, now| {
        vec![
            age::name(object),
            Value::from(text(object, "/spec/holderIdentity")),
            age::age(object, now),
        ]
    },
    metadata_checks: MetadataChecks {
        standard_finalizers: false,
        needs_version: true,
        ..MetadataChecks::CHANGE
    },
    is_made_by_update: true,
    ..Kind::plain("Lease", "leases", "lease")
};
