//! From an API server to rows.

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use pitstop_api::{WorkloadKind, reasons};
use pitstop_engine::snapshot::file::SnapshotFile;

use super::{Rollout, back_off, decide, objects};
use crate::cli::target::{ScopeArgs, Workload};
use crate::connect::Connection;
use crate::failure;

/// The kind of a workload that was named, perhaps by its name alone.
///
/// # Errors
/// It is not there, two kinds have one of that name, or the API server does not answer.
pub async fn locate(client: &Client, namespace: &str, workload: &Workload) -> anyhow::Result<WorkloadKind> {
    let name = &workload.name;
    let kinds = match workload.kind {
        Some(kind) => vec![kind],
        None => WorkloadKind::ALL.to_vec(),
    };
    let there = async |kinds: &[WorkloadKind]| {
        let mut found = Vec::new();
        for kind in kinds {
            let api = objects(client, *kind, namespace);
            let object = api.get_metadata_opt(name).await;
            if object.with_context(|| format!("reading {workload}"))?.is_some() {
                found.push(*kind);
            }
        }
        anyhow::Ok(found)
    };
    let found = there(&kinds).await?;
    match found.as_slice() {
        [kind] => Ok(*kind),
        [] => {
            let others: Vec<WorkloadKind> = WorkloadKind::ALL
                .into_iter()
                .filter(|kind| !kinds.contains(kind))
                .collect();
            let namesakes = there(&others).await?;
            let kinds = WorkloadKind::kinds(&kinds);
            Err(failure::nothing_matched(
                format!(
                    "no {} \"{name}\" is in namespace \"{namespace}\"",
                    kinds.join(" or ")
                ),
                instead_of(workload, &namesakes),
            ))
        }
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|kind| format!("{}/{name}", kind.short()))
                .collect();
            Err(failure::usage(
                format!("more than one workload is named \"{name}\""),
                format!("say which: {}", names.join(" or ")),
            ))
        }
    }
}

/// What to write instead of a workload that is not there. `namesakes`: the kinds of those of its name.
fn instead_of(workload: &Workload, namesakes: &[WorkloadKind]) -> String {
    let name = &workload.name;
    if !namesakes.is_empty() {
        let names: Vec<String> = namesakes
            .iter()
            .map(|kind| format!("{}/{name}", kind.short()))
            .collect();
        return format!("there is {}", names.join(" and "));
    }
    match WorkloadKind::named(name).filter(|_| workload.kind.is_none()) {
        Some(kind) => format!(
            "\"{name}\" is a kind; write {}/NAME, or `pitstop status` for all",
            kind.short()
        ),
        None => "see what is there with `pitstop status -A`".to_owned(),
    }
}

/// What the decision about a workload is made from.
///
/// # Errors
/// It is not there, or the API server does not answer.
pub async fn fetch_file(
    client: &Client,
    namespace: &str,
    workload: &Workload,
) -> anyhow::Result<SnapshotFile> {
    let kind = locate(client, namespace, workload).await?;
    let name = &workload.name;
    let mut file = pitstop_controller::fetch::snapshot_file(client, kind, namespace, name)
        .await
        .with_context(|| format!("reading what belongs to {}/{name}", kind.short()))?;
    let runs_on_nodes = matches!(kind, WorkloadKind::DaemonSet | WorkloadKind::AdvancedDaemonSet);
    if runs_on_nodes && back_off::has_failed_pod(&file) {
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

/// One workload as it stands.
///
/// # Errors
/// It is not there, or the API server does not answer.
pub async fn fetch(client: &Client, namespace: &str, workload: &Workload) -> anyhow::Result<Rollout> {
    let file = fetch_file(client, namespace, workload).await?;
    Ok(decide(&file)?.rollout)
}

/// Those that are named, or all in scope.
///
/// # Errors
/// Nothing matches, or the API server does not answer.
pub async fn fetch_all(
    connection: &Connection,
    scope: &ScopeArgs,
    named: &[Workload],
) -> anyhow::Result<Vec<Rollout>> {
    let client = &connection.client;
    let namespace = scope.namespace.as_deref().unwrap_or(&connection.namespace);
    let wanted: Vec<(String, Workload)> = if named.is_empty() || scope.all_namespaces {
        let there = list(client, (!scope.all_namespaces).then_some(namespace)).await?;
        let is_named = |one: &Workload| named.is_empty() || named.iter().any(|wanted| wanted.means(one));
        there
            .into_iter()
            .filter(|(_, workload)| is_named(workload))
            .collect()
    } else {
        named
            .iter()
            .map(|workload| (namespace.to_owned(), workload.clone()))
            .collect()
    };
    if wanted.is_empty() {
        let place = if scope.all_namespaces {
            "any namespace".to_owned()
        } else {
            format!("namespace \"{namespace}\"")
        };
        let mut kinds = WorkloadKind::kinds(&WorkloadKind::ALL);
        let last = kinds.pop().unwrap_or_default();
        let kinds = format!("{} or {last}", kinds.join(", "));
        return Err(failure::nothing_matched(
            format!("no {kinds} of that description in {place}"),
            "look in other namespaces with -n NAME or -A",
        ));
    }
    let mut found = Vec::with_capacity(wanted.len());
    for (namespace, workload) in wanted {
        found.push(fetch(client, &namespace, &workload).await?);
    }
    Ok(found)
}

/// Every workload of a namespace, or of all, with its namespace: by namespace, kind and name. A kind that is not
/// installed has none.
async fn list(client: &Client, namespace: Option<&str>) -> anyhow::Result<Vec<(String, Workload)>> {
    let mut there = Vec::new();
    for kind in WorkloadKind::ALL {
        let api = match namespace {
            Some(namespace) => objects(client, kind, namespace),
            None => Api::all_with(client.clone(), &objects::resource(kind)),
        };
        let list = match api.list_metadata(&ListParams::default()).await {
            Ok(list) => list,
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => continue,
            Err(error) => return Err(error).with_context(|| format!("listing {}s", kind.kind())),
        };
        there.extend(list.iter().map(|item| {
            let workload = Workload {
                kind: Some(kind),
                name: item.name_any(),
            };
            (item.namespace().unwrap_or_default(), workload)
        }));
    }
    there.sort_by(|(a, one), (b, other)| (a, one.kind, &one.name).cmp(&(b, other.kind, &other.name)));
    Ok(there)
}

/// The workload that controls a pod.
///
/// # Errors
/// The pod is not there, nothing or something else controls it, or the API server does not answer.
pub async fn owner_of_pod(client: &Client, namespace: &str, pod: &str) -> anyhow::Result<Workload> {
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
    let kinds: Vec<String> = WorkloadKind::kinds(&WorkloadKind::ALL)
        .iter()
        .map(|kind| format!("a {kind}"))
        .collect();
    let kinds = kinds.join(" or ");
    let advice = format!("ask about a pod of {kinds}; `pitstop status -A` lists them");
    let owner = object
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true));
    let Some(owner) = owner else {
        return Err(failure::nothing_matched(
            format!("pod \"{pod}\" belongs to no workload, so nothing updates it"),
            advice,
        ));
    };
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    let kind = WorkloadKind::ALL
        .into_iter()
        .find(|kind| kind.kind() == owner.kind && kind.group() == group);
    match kind {
        Some(kind) => Ok(Workload {
            kind: Some(kind),
            name: owner.name.clone(),
        }),
        None => Err(failure::nothing_matched(
            format!(
                "pod \"{pod}\" belongs to {} \"{}\", not to {kinds}",
                owner.kind, owner.name
            ),
            advice,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_what_is_not_there_hears_what_is() {
        let hint = |text: &str, namesakes: &[WorkloadKind]| instead_of(&text.parse().unwrap(), namesakes);
        assert_eq!(hint("ds/x", &[WorkloadKind::AdvancedDaemonSet]), "there is ads/x");
        assert_eq!(
            hint("ads", &[]),
            "\"ads\" is a kind; write ads/NAME, or `pitstop status` for all"
        );
        for text in ["x", "ds/ads"] {
            assert_eq!(hint(text, &[]), "see what is there with `pitstop status -A`");
        }
    }
}
