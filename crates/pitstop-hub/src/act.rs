//! What the hub does to pods.
//!
//! Source: hub.md B4, A6.

use bytes::Bytes;
use jiff::Timestamp;
use pitstop_api::reasons;
use pitstop_api::view::revision_message;
use serde_json::json;

use crate::checks::{Method, Methods};
use crate::cloud::CloudError;
use crate::pod::PodView;
use crate::settings::Executor;
use crate::shared::Shared;

/// Which way the upgrade of a pod goes.
///
/// # Errors
/// Whether we may delete could not be found out.
pub(crate) async fn choose(shared: &Shared, pod: &PodView, methods: Methods) -> Result<Method, CloudError> {
    match (methods, shared.settings.executor) {
        (Methods::RequestOnly, _) => Ok(Method::Request),
        (Methods::Any, Executor::Always(method)) => Ok(method),
        (Methods::Any, Executor::Auto) => {
            let may = shared.cloud.may_delete(&pod.namespace, &pod.name).await?;
            Ok(if may { Method::Direct } else { Method::Request })
        }
    }
}

/// Starts the upgrade of a pod, if it is still the object that was looked at.
///
/// # Errors
/// What the API server says.
pub(crate) async fn upgrade(shared: &Shared, pod: &PodView, method: Method) -> Result<(), CloudError> {
    let (namespace, name) = (&pod.namespace, &pod.name);
    match method {
        // The version is a precondition too: a newer revision that was marked meanwhile is not what the owner saw.
        Method::Direct => {
            let deleted = shared
                .cloud
                .delete_pod(namespace, name, &pod.uid, &pod.resource_version);
            deleted.await
        }
        Method::Request => {
            let message = revision_message(pod.target());
            let condition = Condition {
                kind: reasons::UPGRADE_REQUESTED,
                status: "True",
                reason: "LocalRequest",
                message: &message,
            };
            let patch = condition.patch(pod, shared.clock.now(), true);
            shared
                .cloud
                .patch_pod_status(namespace, name, patch)
                .await
                .map(drop)
        }
    }
}

/// Asks for the images of the revision that waits.
///
/// # Errors
/// What the API server says.
pub(crate) async fn pull(shared: &Shared, pod: &PodView) -> Result<(), CloudError> {
    let message = revision_message(pod.target());
    let condition = Condition {
        kind: reasons::POD_IMAGE_READY,
        status: "False",
        reason: "",
        message: &message,
    };
    let patch = condition.patch(pod, shared.clock.now(), true);
    shared
        .cloud
        .patch_pod_status(&pod.namespace, &pod.name, patch)
        .await
        .map(drop)
}

/// Tells the cloud what an upgrade waits for, or that none waits any more.
///
/// # Errors
/// What the API server says.
pub(crate) async fn publish(shared: &Shared, pod: &PodView, pending: &Pending) -> Result<(), CloudError> {
    let condition = Condition {
        kind: reasons::UPGRADE_PENDING,
        status: if pending.waits { "True" } else { "False" },
        reason: &pending.reason,
        message: &pending.message,
    };
    let patch = condition.patch(pod, shared.clock.now(), false);
    shared
        .cloud
        .patch_pod_status(&pod.namespace, &pod.name, patch)
        .await
        .map(drop)
}

/// What the cloud is told about an upgrade that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) waits: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Pending {
    /// What a pod says already.
    pub(crate) fn of(pod: &PodView) -> Option<Self> {
        pod.condition(reasons::UPGRADE_PENDING).map(|known| Self {
            waits: known.status == "True",
            reason: known.reason.clone(),
            message: known.message.clone(),
        })
    }
}

/// One condition; all others stay as they are.
struct Condition<'a> {
    kind: &'a str,
    status: &'a str,
    reason: &'a str,
    message: &'a str,
}

impl Condition<'_> {
    /// A strategic merge patch that sets it on the object that was looked at and on no other; with `exact`, only as long
    /// as that has not changed.
    fn patch(&self, pod: &PodView, now: Timestamp, exact: bool) -> Bytes {
        let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut condition = json!({
            "type": self.kind, "status": self.status, "reason": self.reason, "message": self.message,
        });
        let same = pod
            .condition(self.kind)
            .is_some_and(|before| before.status == self.status);
        if !same {
            condition["lastTransitionTime"] = json!(now);
        }
        let mut patch = json!({ "metadata": { "uid": pod.uid }, "status": { "conditions": [condition] } });
        if exact {
            patch["metadata"]["resourceVersion"] = json!(pod.resource_version);
        }
        patch.to_string().into()
    }
}
