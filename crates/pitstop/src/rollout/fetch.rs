//! From an API server to rows.

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use pitstop_api::reasons;
use pitstop_engine::snapshot::file::SnapshotFile;
use pitstop_engine::{Plan, Snapshot};

use super::{Rollout, back_off};
use crate::cli::target::ScopeArgs;
use crate::connect::Connection;
use crate::failure;

/// What the decision about a DaemonSet is made from.
///
/// # Errors
/// It is not there, or the API server does not answer.
pub async fn fetch_file(client: &Client, namespace: &str, name: &str) -> anyhow::Result<SnapshotFile> {
    let api: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
    if api
        .get_opt(name)
        .await
        .context("reading the DaemonSet")?
        .is_none()
    {
        return Err(failure::nothing_matched(
            format!("daemonset \"{name}\" is not in namespace \"{namespace}\""),
            "see what is there with `pitstop status -A`",
        ));
    }
    let mut file = pitstop_controller::fetch::snapshot_file(client, namespace, name)
        .await
        .with_context(|| format!("reading what belongs to ds/{name}"))?;
    if back_off::has_failed_pod(&file) {
        let events: Api<Event> = Api::namespaced(client.clone(), namespace);
        let fields = format!("involvedObject.name={name},reason={}", reasons::FAILED_DAEMON_POD);
        let events = events
            .list(&ListParams::default().fields(&fields))
            .await
            .context("listing events")?;
        file.failed_pods = back_off::from_events(&file, &events.items);
    }
    Ok(file)
}

/// Looks at the snapshot of a file and at what is decided from it.
///
/// # Errors
/// The file holds something that is no DaemonSet, pod, revision or node.
pub fn decide<T>(file: &SnapshotFile, look: impl FnOnce(&Snapshot<'_>, &Plan) -> T) -> anyhow::Result<T> {
    let loaded = file.load().context("reading the snapshot")?;
    let snapshot = loaded.snapshot();
    let plan = pitstop_engine::daemonset::plan(&snapshot);
    Ok(look(&snapshot, &plan))
}

/// One DaemonSet as it stands.
///
/// # Errors
/// It is not there, or the API server does not answer.
pub async fn fetch(client: &Client, namespace: &str, name: &str) -> anyhow::Result<Rollout> {
    let file = fetch_file(client, namespace, name).await?;
    decide(&file, Rollout::of)
}

/// Those of the given names, or all in scope.
///
/// # Errors
/// Nothing matches, or the API server does not answer.
pub async fn fetch_all(
    connection: &Connection,
    scope: &ScopeArgs,
    names: &[String],
) -> anyhow::Result<Vec<Rollout>> {
    let client = &connection.client;
    let namespace = scope.namespace.as_deref().unwrap_or(&connection.namespace);
    let mut wanted: Vec<(String, String)> = Vec::new();
    if names.is_empty() || scope.all_namespaces {
        let api: Api<DaemonSet> = if scope.all_namespaces {
            Api::all(client.clone())
        } else {
            Api::namespaced(client.clone(), namespace)
        };
        let list = api
            .list(&ListParams::default())
            .await
            .context("listing DaemonSets")?;
        wanted.extend(
            list.iter()
                .map(|item| (item.namespace().unwrap_or_default(), item.name_any()))
                .filter(|(_, name)| names.is_empty() || names.contains(name)),
        );
        wanted.sort();
    } else {
        wanted.extend(names.iter().map(|name| (namespace.to_owned(), name.clone())));
    }
    if wanted.is_empty() {
        let place = if scope.all_namespaces {
            "any namespace".to_owned()
        } else {
            format!("namespace \"{namespace}\"")
        };
        return Err(failure::nothing_matched(
            format!("no DaemonSet of that description in {place}"),
            "look in other namespaces with -n NAME or -A",
        ));
    }
    let mut found = Vec::with_capacity(wanted.len());
    for (namespace, name) in wanted {
        found.push(fetch(client, &namespace, &name).await?);
    }
    Ok(found)
}

/// The DaemonSet that controls a pod.
///
/// # Errors
/// The pod is not there, nothing or something else controls it, or the API server does not answer.
pub async fn owner_of_pod(client: &Client, namespace: &str, pod: &str) -> anyhow::Result<String> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let object = api
        .get_opt(pod)
        .await
        .context("reading the pod")?
        .ok_or_else(|| {
            failure::nothing_matched(
                format!("pod \"{pod}\" is not in namespace \"{namespace}\""),
                "see the pods that wait with `pitstop why`, or look in another namespace with -n NAME",
            )
        })?;
    let owner = object
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true));
    match owner {
        Some(owner) if owner.kind == "DaemonSet" => Ok(owner.name.clone()),
        Some(owner) => Err(failure::nothing_matched(
            format!(
                "pod \"{pod}\" belongs to {} \"{}\", not to a DaemonSet",
                owner.kind, owner.name
            ),
            "ask about a pod of a DaemonSet; `pitstop status -A` lists them",
        )),
        None => Err(failure::nothing_matched(
            format!("pod \"{pod}\" belongs to no workload, so nothing updates it"),
            "ask about a pod of a DaemonSet; `pitstop status -A` lists them",
        )),
    }
}
