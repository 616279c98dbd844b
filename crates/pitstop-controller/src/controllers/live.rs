//! Reading a workload past all caches, before anything is adopted for it.

use pitstop_api::view::{MetaWire, Uid};
use serde::Deserialize;

use crate::api::{Api, Call, CallError, Resource, Verb};
use crate::store::Key;

/// Is the workload still the one that is known, and does it stay? Source: daemonset.md A5 (d); statefulset.md 4.1.
pub(super) async fn is_live(
    api: &dyn Api,
    resource: Resource,
    key: &Key,
    uid: Uid,
) -> Result<bool, CallError> {
    #[derive(Deserialize)]
    struct Live {
        metadata: MetaWire,
    }
    let call = Call::object(Verb::Get, resource, Some(&key.namespace), &key.name);
    let answer = match api.send(call).await {
        Ok(answer) => answer,
        Err(CallError::NotFound(_)) => return Ok(false),
        Err(error) => return Err(error),
    };
    let live: Live = serde_json::from_slice(&answer).map_err(|e| CallError::Unreadable {
        what: format!("{} {key}", resource.plural()),
        problem: e.to_string(),
    })?;
    let metadata = live.metadata;
    Ok(Uid::parse(&metadata.uid) == Some(uid) && metadata.deletion_timestamp.is_none())
}
