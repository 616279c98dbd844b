//! What the cluster knows of all hubs: conditions on pods, and which nodes are cut off.

use std::collections::BTreeMap;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use pitstop_api::view::message_revision;
use pitstop_api::{Clock as _, SystemClock, keys, reasons};

use crate::cli::node::is_ready;
use crate::connect::ConnectArgs;
use crate::hub_client::{IntentRow, PodRow};

/// Pods, and of each node whether it is ready.
async fn read(connect: &ConnectArgs) -> anyhow::Result<(Vec<Pod>, BTreeMap<String, bool>)> {
    let client = connect.connect().await?.client;
    let everything = ListParams::default();
    let nodes = Api::<Node>::all(client.clone())
        .list(&everything)
        .await
        .context("listing nodes")?;
    let pods = Api::<Pod>::all(client)
        .list(&everything)
        .await
        .context("listing pods")?;
    let nodes = nodes
        .iter()
        .map(|node| (node.name_any(), is_ready(node)))
        .collect();
    Ok((pods.items, nodes))
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

fn message(condition: &PodCondition) -> &str {
    condition.message.as_deref().unwrap_or_default()
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// The pods under OTA, by node.
pub(super) async fn pods(connect: &ConnectArgs) -> anyhow::Result<Vec<PodRow>> {
    let (pods, nodes) = read(connect).await?;
    let mut rows: Vec<PodRow> = pods.iter().filter_map(|pod| row(pod, &nodes)).collect();
    rows.sort_by(|a, b| (&a.node, &a.namespace, &a.name).cmp(&(&b.node, &b.namespace, &b.name)));
    Ok(rows)
}

fn row(pod: &Pod, nodes: &BTreeMap<String, bool>) -> Option<PodRow> {
    let need = condition(pod, reasons::POD_NEED_UPGRADE)?;
    let node = node_of(pod)?;
    let is_away = nodes.get(node) != Some(&true);
    let needs_upgrade = need.status == "True";
    let image = condition(pod, reasons::POD_IMAGE_READY);
    let waiting = condition(pod, reasons::UPGRADE_PENDING).filter(|waiting| waiting.status == "True");
    let state = match waiting {
        _ if pod.metadata.deletion_timestamp.is_some() => "Deleting".to_owned(),
        _ if !needs_upgrade => "up to date".to_owned(),
        // What its owner has asked for since cannot be known.
        _ if is_away => "unknown".to_owned(),
        Some(waiting) => format!("Pending/{}", waiting.reason.as_deref().unwrap_or_default()),
        None => "upgradable".to_owned(),
    };
    let owner = pod
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true));
    Some(PodRow {
        node: Some(node.to_owned()),
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        owner: owner.map_or_else(String::new, |owner| {
            format!("{}/{}", owner.kind, owner.name).to_lowercase()
        }),
        needs_upgrade,
        is_ready: condition(pod, reasons::READY).is_some_and(|ready| ready.status == "True"),
        current: pod.labels().get(keys::REVISION_HASH).cloned().unwrap_or_default(),
        target: if needs_upgrade {
            message_revision(message(need)).to_owned()
        } else {
            String::new()
        },
        image: match image.map(|image| (image.status.as_str(), image.reason.as_deref())) {
            None => "-",
            Some(("True", _)) => "pulled",
            Some((_, Some(reasons::PULL_IMAGE_FAIL))) => "failed",
            Some(_) => "pulling",
        }
        .to_owned(),
        state,
        why: if is_away { "its node is cut off" } else { "" }.to_owned(),
    })
}

/// What waits, and the nodes of which that is not known.
pub(super) async fn pending(connect: &ConnectArgs) -> anyhow::Result<(Vec<IntentRow>, Vec<String>)> {
    let (pods, nodes) = read(connect).await?;
    let now = SystemClock.now();
    let mut rows = Vec::new();
    for pod in &pods {
        let Some(node) = node_of(pod) else { continue };
        let requested = condition(pod, reasons::UPGRADE_REQUESTED).filter(|c| c.status == "True");
        let waiting = condition(pod, reasons::UPGRADE_PENDING).filter(|c| c.status == "True");
        let (condition, state) = match (requested, waiting) {
            (Some(requested), _) => (requested, "Executing".to_owned()),
            (None, Some(waiting)) => {
                let reason = waiting.reason.as_deref().unwrap_or_default();
                (waiting, format!("Pending/{reason}"))
            }
            (None, None) => continue,
        };
        if nodes.get(node) != Some(&true) {
            continue;
        }
        let age = condition
            .last_transition_time
            .as_ref()
            .map(|at| now.duration_since(at.0).as_secs());
        rows.push(IntentRow {
            node: Some(node.to_owned()),
            id: String::new(),
            action: "upgrade".to_owned(),
            namespace: pod.namespace().unwrap_or_default(),
            pod: pod.name_any(),
            target: message_revision(message(condition)).to_owned(),
            state,
            reason: String::new(),
            age_seconds: age,
            expires: None,
        });
    }
    rows.sort_by(|a, b| (&a.node, &a.namespace, &a.pod).cmp(&(&b.node, &b.namespace, &b.pod)));
    // A node of which nothing is under OTA has nothing to wait for.
    let is_concerned = |name: &String| {
        let mut here = pods.iter().filter(|pod| node_of(pod) == Some(name));
        here.any(|pod| condition(pod, reasons::POD_NEED_UPGRADE).is_some_and(|need| need.status == "True"))
    };
    let away = nodes
        .iter()
        .filter(|(_, is_ready)| !**is_ready)
        .map(|(name, _)| name.clone());
    Ok((rows, away.filter(is_concerned).collect()))
}
