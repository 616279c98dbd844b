//! Workloads as they are stored, whatever their kind.

use anyhow::Context as _;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::discovery::ApiResource;
use pitstop_api::{WorkloadKind, json_diff};
use serde_json::Value;

use crate::failure;

/// Who we are in `managedFields`.
const MANAGER: &str = "pitstop";
/// How often a change is tried again when somebody else was faster. Source: client-go's `DefaultRetry`, 5 steps.
const TRIES: usize = 5;

/// The workloads of a kind in a namespace.
pub fn objects(client: &Client, kind: WorkloadKind, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource(kind))
}

/// The kind, for requests.
pub(super) fn resource(kind: WorkloadKind) -> ApiResource {
    let api_version = format!("{}/{}", kind.group(), kind.version());
    ApiResource {
        group: kind.group().to_owned(),
        version: kind.version().to_owned(),
        api_version,
        kind: kind.kind().to_owned(),
        plural: kind.plural().to_owned(),
    }
}

/// Changes a workload: `edit` gets it as it is, and only what differs afterwards is sent, on condition that nobody else
/// changed it in between. Returns whether anything did.
///
/// # Errors
/// The workload is gone, `edit` fails, the API server refuses, or others are faster 5 times in a row.
pub async fn change(
    client: &Client,
    kind: WorkloadKind,
    namespace: &str,
    name: &str,
    edit: impl Fn(&mut Value) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let api = objects(client, kind, namespace);
    let parameters = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    for _ in 0..TRIES {
        let object = api.get(name).await.context("reading the workload")?;
        let before = serde_json::to_value(&object).context("reading the workload")?;
        let mut after = before.clone();
        edit(&mut after)?;
        let Some(mut patch) = json_diff::merge_patch(&before, &after) else {
            return Ok(false);
        };
        patch["metadata"]["resourceVersion"] = object.metadata.resource_version.into();
        match api.patch(name, &parameters, &Patch::Merge(patch)).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(refusal)) if refusal.code == 409 => {}
            Err(error) => return Err(error).context("changing the workload"),
        }
    }
    Err(failure::failed(
        format!(
            "somebody else changed {}/{name} {TRIES} times in between",
            kind.qualified()
        ),
        "run it again",
    ))
}
