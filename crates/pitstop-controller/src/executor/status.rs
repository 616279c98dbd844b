//! Writing `status`, only when it differs and only our fields.

use pitstop_api::view::DaemonSetStatus;
use serde_json::{Value, json};

use super::{Executor, Outcome, Work};
use crate::api::{Call, CallError, FIELD_MANAGER, Resource, Verb};

impl Executor {
    /// Writes the status of the plan, also when other parts of the plan failed. Source: daemonset.md A6.7.
    pub(super) async fn write_status(&self, work: &Work) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(status) = &work.plan.status else {
            return outcome;
        };
        // A reconcile that raised the collision count, or wrote it before us, is not undone.
        if *status == work.daemonset.status {
            return outcome;
        }
        let body = json!({
            "metadata": { "uid": work.daemonset.uid.to_string() },
            "status": status_json(status),
        });
        let result = self.patch_status(work, body).await;
        self.count(work, "status", &result);
        match result {
            // The workload is gone: there is nobody to tell.
            Err(CallError::NotFound(_)) => {}
            result => outcome.add(result),
        }
        outcome
    }

    pub(super) async fn patch_status(&self, work: &Work, body: Value) -> Result<(), CallError> {
        let daemonset = &work.daemonset;
        let call = Call::object(
            Verb::MergePatch,
            Resource::DaemonSets,
            Some(&daemonset.namespace),
            &daemonset.name,
        )
        .status()
        .with_query("fieldManager", FIELD_MANAGER)
        .with_body(body);
        let answer = self.api.send(call).await?;
        self.stores.written(Resource::DaemonSets, &answer);
        Ok(())
    }
}

/// A merge patch of the status. What the API leaves out when it is zero has to be removed by name.
/// `collisionCount` only ever rises, and in a request of its own.
fn status_json(status: &DaemonSetStatus) -> Value {
    let or_removed = |n: u32| if n == 0 { Value::Null } else { json!(n) };
    json!({
        "currentNumberScheduled": status.current_number_scheduled,
        "numberMisscheduled": status.number_misscheduled,
        "desiredNumberScheduled": status.desired_number_scheduled,
        "numberReady": status.number_ready,
        "observedGeneration": status.observed_generation,
        "updatedNumberScheduled": or_removed(status.updated_number_scheduled),
        "numberAvailable": or_removed(status.number_available),
        "numberUnavailable": or_removed(status.number_unavailable),
    })
}
