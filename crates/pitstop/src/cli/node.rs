//! `pitstop node`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use pitstop_api::{Clock as _, SystemClock, keys, reasons};
use pitstop_cluster::node::NodeSpec;
use serde::Serialize;
use serde_json::json;

use crate::cli::shell::{Inside, Shell};
use crate::cli::span;
use crate::cli::target::FormArgs;
use crate::connect::ConnectArgs;
use crate::failure;
use crate::output::{self, Report, talk};

/// How often a waiting command looks again.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// List, cut off, reconnect, add or remove simulated nodes, or run a command on one
///
/// A cut-off node keeps its containers running and hears nothing of the cluster; the cluster notices after its grace
/// time. The same can be done with kubectl: `kubectl annotate node NAME sim.pitstop.io/network=disconnected`.
#[derive(Debug, Args)]
pub struct Node {
    /// What to do with nodes.
    #[command(subcommand)]
    pub command: NodeCommand,
}

/// What to do with nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes
    List(List),
    /// Cut nodes off: nothing goes in or out
    Disconnect(Switch),
    /// Connect nodes again
    Reconnect(Switch),
    /// Add simulated nodes
    Add(Add),
    /// Remove simulated nodes
    Remove(Remove),
    /// Run a command as if on a node: 127.0.0.1:10267 is the node's hub
    Shell(Shell),
    /// Used by `shell`
    #[command(hide = true)]
    Inside(Inside),
}

/// List the nodes
#[derive(Debug, Args)]
pub struct List {
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Form.
    #[command(flatten)]
    pub form: FormArgs,
}

/// Cut nodes off, or connect them again
#[derive(Debug, Args)]
pub struct Switch {
    /// Names of the nodes
    #[arg(required = true, value_name = "NODE")]
    pub names: Vec<String>,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Wait until the cluster has noticed: the nodes are NotReady, or Ready again
    #[arg(long, env = "PITSTOP_WAIT_NOTICED", hide_env = true)]
    pub wait: bool,
    /// How long to wait at most; after that the exit code is 3
    #[arg(
        long,
        value_name = "DURATION",
        env = "PITSTOP_TIMEOUT",
        hide_env = true,
        default_value = "2m",
        value_parser = span::parse
    )]
    pub timeout: Duration,
}

/// Add simulated nodes
///
/// The nodes run in the process of `pitstop up` or `pitstop simulate` that is attached to the cluster.
#[derive(Debug, Args)]
pub struct Add {
    /// Names of the nodes
    #[arg(required = true, value_name = "NODE")]
    pub names: Vec<String>,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Remove simulated nodes
#[derive(Debug, Args)]
pub struct Remove {
    /// Names of the nodes
    #[arg(required = true, value_name = "NODE")]
    pub names: Vec<String>,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// The answer of `node list`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeReport {
    /// The nodes, by name.
    pub items: Vec<NodeRow>,
}

/// One node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRow {
    /// Name.
    pub name: String,
    /// `Ready` or NotReady, with `SchedulingDisabled` when cordoned.
    pub status: String,
    /// `connected` or `disconnected`; absent when the node is not simulated.
    pub network: Option<String>,
    /// Address of its hub, where it is simulated and has one.
    pub hub: Option<String>,
    /// Pods on it.
    pub pods: u32,
    /// Units: seconds.
    pub age_seconds: i64,
    /// Taints, as `key:Effect`.
    pub taints: Vec<String>,
}

impl Report for NodeReport {
    fn text(&self, wide: bool) -> String {
        let mut headers = vec!["NAME", "STATUS", "NETWORK", "HUB", "PODS", "AGE"];
        if wide {
            headers.push("TAINTS");
        }
        let mut table = output::table(&headers);
        for item in &self.items {
            let mut row = vec![
                item.name.clone(),
                item.status.clone(),
                item.network
                    .clone()
                    .unwrap_or_else(|| "<not simulated>".to_owned()),
                item.hub.clone().unwrap_or_else(|| "<none>".to_owned()),
                item.pods.to_string(),
                output::age(item.age_seconds),
            ];
            if wide {
                let taints = item.taints.join(",");
                row.push(if taints.is_empty() {
                    "<none>".to_owned()
                } else {
                    taints
                });
            }
            table.add_row(row);
        }
        output::table_text(&table)
    }
}

impl Node {
    /// Does it.
    ///
    /// # Errors
    /// A node is not there or not simulated, the API server does not answer, or waiting took too long.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            NodeCommand::List(command) => command.run().await,
            NodeCommand::Disconnect(command) => command.run(Network::Disconnected).await,
            NodeCommand::Reconnect(command) => command.run(Network::Connected).await,
            NodeCommand::Add(command) => command.run().await,
            NodeCommand::Remove(command) => command.run().await,
            NodeCommand::Shell(command) => command.run().await,
            NodeCommand::Inside(command) => command.run().await,
        }
    }
}

/// Is a node cut off?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// It answers.
    Connected,
    /// Nothing goes in or out.
    Disconnected,
}

impl Network {
    /// The value of the annotation. Source: embedded-cluster.md 17.6.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
        }
    }
}

/// Cuts a node off or connects it, as `kubectl annotate` would.
///
/// # Errors
/// The API server refuses.
pub async fn set_network(client: &Client, name: &str, network: Network) -> kube::Result<()> {
    let api: Api<NodeObject> = Api::all(client.clone());
    let patch = json!({"metadata": {"annotations": {(keys::SIM_NETWORK): network.as_str()}}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await?;
    Ok(())
}

/// Is the condition Ready of this node True?
pub fn is_ready(node: &NodeObject) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .filter(|condition| condition.type_ == reasons::READY)
        .any(|condition| condition.status == "True")
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let client = self.connect.connect().await?.client;
        let nodes = Api::<NodeObject>::all(client.clone())
            .list(&ListParams::default())
            .await
            .context("listing nodes")?;
        let pods = Api::<Pod>::all(client)
            .list(&ListParams::default())
            .await
            .context("listing pods")?;
        let mut n_pods: BTreeMap<String, u32> = BTreeMap::new();
        for pod in pods {
            if let Some(node) = pod.spec.and_then(|spec| spec.node_name) {
                *n_pods.entry(node).or_default() += 1;
            }
        }
        let now = SystemClock.now();
        let mut items: Vec<NodeRow> = nodes
            .into_iter()
            .map(|node| {
                let n = n_pods.get(&node.name_any()).copied().unwrap_or_default();
                row(&node, n, now)
            })
            .collect();
        items.sort_by(|a, b| a.name.cmp(&b.name));
        output::show(&NodeReport { items }, self.form.output)
    }
}

fn row(node: &NodeObject, pods: u32, now: jiff::Timestamp) -> NodeRow {
    let spec = node.spec.clone().unwrap_or_default();
    let mut status = if is_ready(node) { "Ready" } else { "NotReady" }.to_owned();
    if spec.unschedulable == Some(true) {
        status.push_str(",SchedulingDisabled");
    }
    let network = network_of(node).map(|network| network.as_str().to_owned());
    let taints = spec.taints.unwrap_or_default();
    NodeRow {
        name: node.name_any(),
        status,
        network,
        hub: node.annotations().get(keys::SIM_HUB).cloned(),
        pods,
        age_seconds: node
            .creation_timestamp()
            .map_or(0, |created| now.duration_since(created.0).as_secs()),
        taints: taints
            .into_iter()
            .map(|taint| format!("{}:{}", taint.key, taint.effect))
            .collect(),
    }
}

/// The network of a node as its annotation has it; `None` when the node is not simulated.
pub fn network_of(node: &NodeObject) -> Option<Network> {
    is_simulated(node).then(|| match node.annotations().get(keys::SIM_NETWORK) {
        Some(value) if value == Network::Disconnected.as_str() => Network::Disconnected,
        _ => Network::Connected,
    })
}

fn is_simulated(node: &NodeObject) -> bool {
    node.annotations()
        .get(keys::SIM_SIMULATED)
        .is_some_and(|value| value == "true")
}

/// The node of this name, if it is one that may be played with.
async fn simulated(api: &Api<NodeObject>, name: &str) -> anyhow::Result<NodeObject> {
    let node = api.get_opt(name).await.context("reading the node")?;
    let node = node.ok_or_else(|| {
        failure::nothing_matched(
            format!("node \"{name}\" is not there"),
            "see the names with `pitstop node list`",
        )
    })?;
    if !is_simulated(&node) {
        return Err(failure::failed(
            format!("node \"{name}\" is not simulated, so pitstop does not touch it"),
            "add one to play with: `pitstop node add NAME`, with `pitstop simulate` running on a cluster of your own",
        ));
    }
    Ok(node)
}

impl Switch {
    async fn run(self, network: Network) -> anyhow::Result<()> {
        let client = self.connect.connect().await?.client;
        let api: Api<NodeObject> = Api::all(client.clone());
        for name in &self.names {
            simulated(&api, name).await?;
        }
        for name in &self.names {
            set_network(&client, name, network)
                .await
                .with_context(|| format!("annotating node \"{name}\""))?;
            output::data(&format!("node/{name} {}", network.as_str()))?;
        }
        if self.wait {
            self.wait_until_noticed(&api, network).await?;
        }
        Ok(())
    }

    async fn wait_until_noticed(&self, api: &Api<NodeObject>, network: Network) -> anyhow::Result<()> {
        let want_ready = network == Network::Connected;
        let deadline = tokio::time::Instant::now() + self.timeout;
        for name in &self.names {
            loop {
                let node = api
                    .get(name)
                    .await
                    .with_context(|| format!("reading node \"{name}\""))?;
                if is_ready(&node) == want_ready {
                    talk(&format!(
                        "node/{name} is {}",
                        if want_ready { "Ready" } else { "NotReady" }
                    ));
                    break;
                }
                if tokio::time::Instant::now() >= deadline {
                    return Err(failure::timed_out(
                        format!(
                            "node \"{name}\" has not changed after {}s",
                            self.timeout.as_secs()
                        ),
                        "is the `pitstop up` or `pitstop simulate` that runs it still there? see `pitstop node list`",
                    ));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }
}

impl Add {
    async fn run(self) -> anyhow::Result<()> {
        let client = self.connect.connect().await?.client;
        let api: Api<NodeObject> = Api::all(client);
        for name in &self.names {
            let node: NodeObject =
                serde_json::from_value(NodeSpec::new(name).object()).context("making the node")?;
            match api.create(&PostParams::default(), &node).await {
                Ok(_) => output::data(&format!("node/{name} added"))?,
                Err(kube::Error::Api(status)) if status.is_already_exists() => {
                    return Err(failure::failed(
                        format!("node \"{name}\" is there already"),
                        "choose another name; see `pitstop node list`",
                    ));
                }
                Err(error) => return Err(error).with_context(|| format!("adding node \"{name}\"")),
            }
        }
        Ok(())
    }
}

impl Remove {
    async fn run(self) -> anyhow::Result<()> {
        let client = self.connect.connect().await?.client;
        let api: Api<NodeObject> = Api::all(client);
        for name in &self.names {
            simulated(&api, name).await?;
        }
        for name in &self.names {
            api.delete(name, &DeleteParams::default())
                .await
                .with_context(|| format!("removing node \"{name}\""))?;
            output::data(&format!("node/{name} removed"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_nodes() {
        let now: jiff::Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let node = |name: &str, ready: &str, extra: serde_json::Value| -> NodeObject {
            let mut node = json!({
                "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            });
            json_merge(&mut node, &extra);
            serde_json::from_value(node).unwrap()
        };
        let sim = json!({"metadata": {"annotations": {(keys::SIM_SIMULATED): "true"}}});
        let sim = {
            let mut sim = sim;
            sim["metadata"]["annotations"][keys::SIM_HUB] = json!("127.0.1.1:10267");
            sim
        };
        let cut = json!({"metadata": {"annotations": {(keys::SIM_SIMULATED): "true", (keys::SIM_NETWORK): "disconnected"}},
            "spec": {"taints": [{"key": keys::TAINT_UNREACHABLE, "effect": "NoExecute"}]}});
        let cordoned = json!({"spec": {"unschedulable": true}});
        let items = vec![
            row(&node("worker", "True", sim), 2, now),
            row(&node("worker2", "Unknown", cut), 1, now),
            row(&node("real", "True", cordoned), 0, now),
        ];
        let text = NodeReport { items }.text(true);
        insta::assert_snapshot!(text, @r"
        NAME      STATUS                     NETWORK           HUB               PODS   AGE   TAINTS
        worker    Ready                      connected         127.0.1.1:10267   2      10m   <none>
        worker2   NotReady                   disconnected      <none>            1      10m   node.kubernetes.io/unreachable:NoExecute
        real      Ready,SchedulingDisabled   <not simulated>   <none>            0      10m   <none>
        ");
    }

    fn json_merge(into: &mut serde_json::Value, from: &serde_json::Value) {
        match (into, from) {
            (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
                for (key, value) in from {
                    json_merge(into.entry(key.clone()).or_insert(serde_json::Value::Null), value);
                }
            }
            (into, from) => *into = from.clone(),
        }
    }
}
