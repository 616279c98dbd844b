//! Requests for certificates: who asks is noted, and who may approves; signing is somebody else's.
//!
//! Source: embedded-cluster.md 13.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::fields::{integer, list, map_mut, text};
use super::workload::immutable;
use super::{Column, FieldError, Kind, Subresource, age};

const GROUP: &str = "certificates.k8s.io";
/// The shortest time that may be asked for, in seconds. Source: the answer of Kubernetes 1.34.
const SHORTEST: i64 = 600;

pub(super) const REQUEST: Kind = Kind {
    group: GROUP,
    namespaced: false,
    short_names: &["csr"],
    stored_as: (GROUP, "certificatesigningrequests"),
    subresources: &[Subresource::Approval, Subresource::Status],
    is_only_stored: true,
    prepare_create: |object, creation| {
        let user = creation.user;
        let spec = map_mut(object, &["spec"]);
        for name in ["username", "uid", "groups", "extra"] {
            spec.remove(name);
        }
        spec.insert("username".to_owned(), user.name.as_ref().into());
        if !user.uid.is_empty() {
            spec.insert("uid".to_owned(), user.uid.as_str().into());
        }
        if !user.groups.is_empty() {
            spec.insert("groups".to_owned(), json!(user.groups));
        }
        map_mut(object, &[]).insert("status".to_owned(), json!({}));
    },
    prepare_update: |new, old| {
        let spec = old.get("spec").cloned().unwrap_or_default();
        map_mut(new, &[]).insert("spec".to_owned(), spec);
    },
    validate: |object| {
        let mut errors = Vec::new();
        if text(object, "/spec/request").is_empty() {
            errors.push(FieldError::required("spec.request", ""));
        }
        if list(object, "/spec/usages").is_empty() {
            errors.push(FieldError::required("spec.usages", ""));
        }
        let signer = text(object, "/spec/signerName");
        if signer.is_empty() {
            errors.push(FieldError::required("spec.signerName", ""));
        } else if !signer.contains('/') {
            let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            errors.push(FieldError::invalid("spec.signerName", signer, why));
        }
        if let Some(seconds) =
            integer(object, "/spec/expirationSeconds").filter(|seconds| *seconds < SHORTEST)
        {
            let why = format!("may not specify a duration less than {SHORTEST} seconds (10 minutes)");
            errors.push(FieldError::invalid("spec.expirationSeconds", seconds, why));
        }
        errors
    },
    validate_update: |new, old| immutable(new, old, "/spec", "spec"),
    columns: &[
        Column::NAME,
        Column::AGE,
        Column::string("SignerName"),
        Column::string("Requestor"),
        Column::string("RequestedDuration"),
        Column::string("Condition"),
    ],
    cells: |object, now| {
        let asked = integer(object, "/spec/expirationSeconds").map(SignedDuration::from_secs);
        let asked = asked.map_or_else(|| "<none>".to_owned(), super::human_duration);
        vec![
            age::name(object),
            age::age(object, now),
            Value::from(text(object, "/spec/signerName")),
            Value::from(text(object, "/spec/username")),
            Value::from(asked),
            Value::from(condition(object)),
        ]
    },
    ..Kind::plain(
        "CertificateSigningRequest",
        "certificatesigningrequests",
        "certificatesigningrequest",
    )
};

/// The words that say where a request stands: `Approved,Issued`.
fn condition(object: &Value) -> String {
    let has = |wanted: &str| {
        let conditions = list(object, "/status/conditions");
        conditions
            .iter()
            .any(|condition| text(condition, "/type") == wanted)
    };
    let mut words = Vec::new();
    if has("Denied") {
        words.push("Denied");
    } else if has("Approved") {
        words.push("Approved");
    } else {
        words.push("Pending");
    }
    if has("Failed") {
        words.push("Failed");
    }
    if !text(object, "/status/certificate").is_empty() {
        words.push("Issued");
    }
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_says_who_decided_and_whether_it_is_issued() {
        for (status, want) in [
            (json!({}), "Pending"),
            (json!({"conditions": [{"type": "Denied"}]}), "Denied"),
            (
                json!({"conditions": [{"type": "Approved"}, {"type": "Failed"}]}),
                "Approved,Failed",
            ),
            (
                json!({"conditions": [{"type": "Approved"}], "certificate": "LS0t"}),
                "Approved,Issued",
            ),
        ] {
            assert_eq!(condition(&json!({"status": status})), want);
        }
    }
}
