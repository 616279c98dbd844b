//! ImagePullJobs that must not be deleted.

use serde_json::Value;

use crate::fields::text;
use crate::keys;

/// Why an ImagePullJob must not be deleted; `None` when it may.
///
/// `Always` protects it, as it protects workloads. `Cascading` is about what a workload has below it, and a job has
/// nothing. What terminates already may go on.
pub fn refusal(object: &Value) -> Option<String> {
    if !text(object, "/metadata/deletionTimestamp").is_empty() {
        return None;
    }
    let label = object.pointer("/metadata/labels")?.get(keys::DELETE_PROTECTION)?;
    is_protected(label.as_str()?).then(|| {
        format!(
            "forbidden by ResourcesProtectionDeletion for {}=Always",
            keys::DELETE_PROTECTION
        )
    })
}

/// Does this value of the label protect a job?
pub fn is_protected(label: &str) -> bool {
    label == "Always"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn protected_jobs_stay_unless_they_terminate_already() {
        for (label, terminating, stays) in [
            (json!("Always"), json!(null), true),
            (json!("Always"), json!("2026-01-01T00:00:00Z"), false),
            (json!("Cascading"), json!(null), false),
            (json!("Never"), json!(null), false),
        ] {
            let job = json!({"metadata": {"labels": {(keys::DELETE_PROTECTION): label}, "deletionTimestamp": terminating}});
            assert_eq!(refusal(&job).is_some(), stays, "{label} {terminating}");
        }
        assert_eq!(refusal(&json!({"metadata": {}})), None);
    }
}
