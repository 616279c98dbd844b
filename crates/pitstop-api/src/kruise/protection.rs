//! Workloads that must not be deleted. Source: cloneset.md 1.6, DELETE; statefulset.md 2.1.

use serde_json::Value;

use crate::fields::{integer, text};
use crate::keys;

/// Why a workload must not be deleted; `None` when it may.
///
/// The label asks for protection: `Always`, or `Cascading` while there are replicas. What terminates already may go on.
pub fn refusal(object: &Value) -> Option<String> {
    if !text(object, "/metadata/deletionTimestamp").is_empty() {
        return None;
    }
    let label = object.pointer("/metadata/labels")?.get(keys::DELETE_PROTECTION)?;
    let key = keys::DELETE_PROTECTION;
    match label.as_str()? {
        "Always" => Some(format!(
            "forbidden by ResourcesProtectionDeletion for {key}=Always"
        )),
        "Cascading" => {
            let replicas = integer(object, "/spec/replicas").unwrap_or(1);
            (replicas > 0).then(|| {
                format!(
                    "forbidden by ResourcesProtectionDeletion for {key}=Cascading and replicas {replicas}>0"
                )
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn protected_workloads_stay_unless_they_terminate_already() {
        let always = "forbidden by ResourcesProtectionDeletion for policy.kruise.io/delete-protection=Always";
        let cascading = "forbidden by ResourcesProtectionDeletion for policy.kruise.io/delete-protection=Cascading and \
                         replicas 2>0";
        for (label, replicas, terminating, want) in [
            (json!("Always"), json!(0), json!(null), Some(always)),
            (json!("Always"), json!(0), json!("2026-01-01T00:00:00Z"), None),
            (json!("Cascading"), json!(2), json!(null), Some(cascading)),
            (json!("Cascading"), json!(0), json!(null), None),
            (json!("Never"), json!(2), json!(null), None),
        ] {
            let object = json!({
                "metadata": {"labels": {(keys::DELETE_PROTECTION): label}, "deletionTimestamp": terminating},
                "spec": {"replicas": replicas},
            });
            assert_eq!(
                refusal(&object).as_deref(),
                want,
                "{label} {replicas} {terminating}"
            );
        }
        assert_eq!(refusal(&json!({"metadata": {}})), None);
    }
}
