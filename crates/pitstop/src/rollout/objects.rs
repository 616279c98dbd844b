//! Workloads as they are stored, whatever their kind.

use anyhow::Context as _;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::discovery::ApiResource;
use pitstop_api::{WorkloadKind, json_diff};
use serde_json::Value;

use super::locate;
use crate::cli::target::{NamespaceArgs, Workload};
use crate::connect::ConnectArgs;
use crate::failure;

/// Who we are in `managedFields`.
const MANAGER: &str = "pitstop";
/// How often a change is tried again when somebody else was faster. Source: client-go's `DefaultRetry`, 5 steps.
const TRIES: usize = 5;

/// A workload that a command is about.
pub struct Found {
    /// The cluster.
    pub client: Client,
    /// Its namespace.
    pub namespace: String,
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
}

impl Found {
    /// Connects, and looks which kind of workload was named.
    ///
    /// # Errors
    /// There is no cluster, or the workload is not there.
    pub async fn at(connect: &ConnectArgs, scope: &NamespaceArgs, named: &Workload) -> anyhow::Result<Self> {
        let connection = connect.connect().await?;
        let namespace = scope.namespace.clone().unwrap_or(connection.namespace);
        let kind = locate(&connection.client, &namespace, named).await?;
        Ok(Self {
            client: connection.client,
            namespace,
            kind,
            name: named.name.clone(),
        })
    }

    /// `cloneset.apps.kruise.io/web`, as kubectl names it.
    pub fn title(&self) -> String {
        format!("{}/{}", self.kind.qualified(), self.name)
    }

    /// As commands name it.
    pub fn workload(&self) -> Workload {
        Workload {
            kind: Some(self.kind),
            name: self.name.clone(),
        }
    }

    /// Changes it, as [`change`] does.
    ///
    /// # Errors
    /// As [`change`].
    pub async fn change(&self, edit: impl Fn(&mut Value) -> anyhow::Result<()>) -> anyhow::Result<bool> {
        change(&self.client, self.kind, &self.namespace, &self.name, edit).await
    }
}

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
