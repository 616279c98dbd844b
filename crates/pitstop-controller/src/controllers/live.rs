//! Reading past all caches: a workload before anything is adopted for it, and what no store keeps.

use pitstop_api::StorageClasses;
use pitstop_api::view::{MetaWire, Uid};
use serde::Deserialize;
use serde_json::Value;

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

/// The classes of storage of the cluster.
pub(crate) async fn storage_classes(api: &dyn Api) -> Result<StorageClasses, CallError> {
    #[derive(Deserialize)]
    struct Classes {
        items: Vec<Value>,
    }
    let resource = Resource::StorageClasses;
    let answer = api.send(Call::collection(Verb::List, resource, None)).await?;
    let classes: Classes = serde_json::from_slice(&answer).map_err(|e| CallError::Unreadable {
        what: resource.plural().to_owned(),
        problem: e.to_string(),
    })?;
    Ok(StorageClasses::of(&classes.items))
}
