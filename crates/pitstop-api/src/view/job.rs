//! Jobs that pull images ahead of an upgrade, as decisions see them.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use super::meta::{MetaWire, Uid, ViewError};

/// How often a Job's pods may fail before it has failed. Source: daemonset.md C9.3, `backoffLimit`.
pub const PULL_BACKOFF_LIMIT: u32 = 1;

/// A Job, lean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Identity.
    pub uid: Uid,
    /// Version of the object that this view was made from.
    pub resource_version: u64,
    /// The pod that it pulls for: its first owner of kind Pod.
    pub pod: Option<Uid>,
    /// Set while it terminates.
    pub deleted_at: Option<Timestamp>,
    /// Has one of its pods succeeded?
    pub has_succeeded: bool,
    /// Has it failed for good?
    pub has_failed: bool,
}

impl JobView {
    /// Does it do nothing any more?
    pub fn is_finished(&self) -> bool {
        self.has_succeeded || self.has_failed
    }

    /// Reads the object as the API serves it.
    ///
    /// # Errors
    /// The object is not a Job, or its uid is none.
    pub fn from_json(json: &[u8]) -> Result<Self, ViewError> {
        let wire: JobWire = serde_json::from_slice(json).map_err(|e| ViewError {
            field: "Job",
            problem: e.to_string(),
        })?;
        let JobWire { metadata, status } = wire;
        let owners = metadata.owner_references.iter();
        let mut pods = owners.filter(|owner| owner.kind == "Pod" && owner.api_version == "v1");
        let is = |kind: &str| {
            let mut conditions = status.conditions.iter();
            conditions.any(|condition| condition.kind == kind && condition.status == "True")
        };
        Ok(Self {
            uid: metadata.uid()?,
            resource_version: metadata.version(),
            pod: pods.next().and_then(|owner| Uid::parse(&owner.uid)),
            deleted_at: metadata.deletion_timestamp,
            has_succeeded: status.succeeded > 0 || is("Complete"),
            has_failed: status.failed >= PULL_BACKOFF_LIMIT || is("Failed"),
            namespace: metadata.namespace.into(),
            name: metadata.name.into(),
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct JobWire {
    metadata: MetaWire,
    status: JobStatusWire,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct JobStatusWire {
    succeeded: u32,
    failed: u32,
    conditions: Vec<super::pod::ConditionWire>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// daemonset.md C9.2, O16: only a Job that a pod owns is one for a pod.
    #[test]
    fn a_job_belongs_to_the_pod_that_owns_it() {
        let pod = "00000000-0000-0000-0000-000000000007";
        let owner =
            |api_version: &str, kind: &str| json!([{"apiVersion": api_version, "kind": kind, "uid": pod}]);
        for (owners, want) in [
            (owner("v1", "Pod"), Uid::parse(pod)),
            (owner("apps/v1", "DaemonSet"), None),
            (owner("example.com/v1", "Pod"), None),
            (json!([]), None),
        ] {
            let job =
                json!({"metadata": {"name": "image-pre-pull-x", "uid": pod, "ownerReferences": owners}});
            let view = JobView::from_json(job.to_string().as_bytes()).unwrap();
            assert_eq!(view.pod, want, "{owners}");
        }
    }

    #[test]
    fn a_job_has_ended_when_its_status_says_so() {
        for (status, is_ended) in [
            (json!({}), (false, false)),
            (json!({"active": 1, "ready": 1}), (false, false)),
            (json!({"succeeded": 1}), (true, false)),
            (json!({"failed": 1}), (false, true)),
            (
                json!({"conditions": [{"type": "Failed", "status": "True"}]}),
                (false, true),
            ),
            (
                json!({"conditions": [{"type": "Complete", "status": "False"}]}),
                (false, false),
            ),
        ] {
            let uid = "00000000-0000-0000-0000-000000000007";
            let job = json!({"metadata": {"name": "j", "uid": uid}, "status": status});
            let view = JobView::from_json(job.to_string().as_bytes()).unwrap();
            assert_eq!((view.has_succeeded, view.has_failed), is_ended, "{status}");
        }
    }
}
