//! Writing `status`, only when it differs and only our fields: of workloads, and single conditions of pods.

use bytes::Bytes;
use pitstop_api::view::{DaemonSetStatus, PodCondition, Uid};
use serde_json::{Value, json};

use super::{Executor, Outcome, Whom, Work};
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
        let (version, is_advanced) = (work.daemonset.resource_version, work.daemonset.advanced.is_some());
        let status = status_json(status, is_advanced);
        let result = self
            .patch_status(&work.whom, work.resource(), version, &status)
            .await
            .map(drop);
        self.count(&work.whom, "status", &result);
        match result {
            // The workload is gone: there is nobody to tell.
            Err(CallError::NotFound(_)) => {}
            result => outcome.add(result),
        }
        outcome
    }

    pub(super) async fn set_pod_condition(
        &self,
        whom: &Whom,
        name: &str,
        uid: Uid,
        kind: &str,
        condition: &PodCondition,
    ) -> Result<(), CallError> {
        let call = Call::object(Verb::StrategicPatch, Resource::Pods, Some(whom.namespace()), name)
            .status()
            .with_query("fieldManager", FIELD_MANAGER)
            .with_body(condition_patch(uid, kind, condition));
        match self.api.send(call).await {
            Ok(answer) => {
                self.stores.written(Resource::Pods, &answer);
                Ok(())
            }
            // It is gone, and its successor gets a condition of its own.
            Err(CallError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sets one condition of the DaemonSet itself. Its own controller writes no conditions, and keeps those of others.
    pub(super) async fn set_condition(
        &self,
        whom: &Whom,
        kind: &str,
        condition: &PodCondition,
    ) -> Result<(), CallError> {
        let call = Call::object(
            Verb::StrategicPatch,
            Resource::DaemonSets,
            Some(whom.namespace()),
            &whom.about.name,
        )
        .status()
        .with_query("fieldManager", FIELD_MANAGER)
        .with_body(json!({
            "metadata": { "uid": whom.uid().to_string() },
            "status": { "conditions": [condition_json(kind, condition)] },
        }));
        match self.api.send(call).await {
            Ok(answer) => {
                self.stores.written(Resource::DaemonSets, &answer);
                Ok(())
            }
            // The workload is gone: there is nobody to tell.
            Err(CallError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Puts the template of an earlier revision back, if nobody changed the DaemonSet since. The data of a revision is
    /// a patch that replaces the template, as `kubectl rollout undo` sends it. Source: daemonset.md B2.
    pub(super) async fn roll_back(
        &self,
        whom: &Whom,
        uid: Uid,
        resource_version: u64,
        data: &Value,
    ) -> Result<(), CallError> {
        let mut body = data.clone();
        body["metadata"] = json!({ "uid": uid.to_string(), "resourceVersion": resource_version.to_string() });
        let name = &whom.about.name;
        self.patch(whom, Verb::StrategicPatch, Resource::DaemonSets, name, body)
            .await
    }

    /// Changes the status of the workload itself, as it was at `version`: a write that was not answered and comes late undoes
    /// no newer one. Returns the workload as the server keeps it.
    pub(super) async fn patch_status(
        &self,
        whom: &Whom,
        resource: Resource,
        version: u64,
        status: &Value,
    ) -> Result<Bytes, CallError> {
        let body = json!({
            "metadata": { "uid": whom.uid().to_string(), "resourceVersion": version.to_string() },
            "status": status,
        });
        let call = Call::object(
            Verb::MergePatch,
            resource,
            Some(whom.namespace()),
            &whom.about.name,
        )
        .status()
        .with_query("fieldManager", FIELD_MANAGER)
        .with_body(body);
        let answer = self.api.send(call).await?;
        self.stores.written(resource, &answer);
        Ok(answer)
    }
}

/// A strategic patch that sets one condition of a pod, and no pod but this one. Conditions are merged by type, so those
/// that a kubelet or a hub writes meanwhile stay as they are.
fn condition_patch(uid: Uid, kind: &str, condition: &PodCondition) -> Value {
    let mut condition = condition_json(kind, condition);
    condition["lastProbeTime"] = Value::Null;
    json!({
        "metadata": { "uid": uid.to_string() },
        "status": { "conditions": [condition] },
    })
}

fn condition_json(kind: &str, condition: &PodCondition) -> Value {
    let or_none = |text: &str| (!text.is_empty()).then(|| json!(text));
    json!({
        "type": kind,
        "status": condition.status.as_str(),
        "reason": or_none(&condition.reason),
        "message": or_none(&condition.message),
        "lastTransitionTime": condition.since,
    })
}

/// A merge patch of the status. What the API leaves out when it is zero has to be removed by name.
/// `collisionCount` only ever rises, and in a request of its own.
///
/// Those of `apps.kruise.io` have their revision beside it, and upstream's definition of the kind asks for
/// `updatedNumberScheduled` also where it is zero.
fn status_json(status: &DaemonSetStatus, is_advanced: bool) -> Value {
    let or_removed = |n: u32| if n == 0 { Value::Null } else { json!(n) };
    let mut json = json!({
        "currentNumberScheduled": status.current_number_scheduled,
        "numberMisscheduled": status.number_misscheduled,
        "desiredNumberScheduled": status.desired_number_scheduled,
        "numberReady": status.number_ready,
        "observedGeneration": status.observed_generation,
        "updatedNumberScheduled": or_removed(status.updated_number_scheduled),
        "numberAvailable": or_removed(status.number_available),
        "numberUnavailable": or_removed(status.number_unavailable),
    });
    if is_advanced {
        json["updatedNumberScheduled"] = status.updated_number_scheduled.into();
        json["updateRevision"] = json!(status.update_revision);
    }
    json
}
