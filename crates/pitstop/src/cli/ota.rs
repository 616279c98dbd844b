//! `pitstop ota`.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::span;
use crate::cli::target::FormArgs;
use crate::connect::ConnectArgs;
use crate::failure;
use crate::hub_client::{Done, HubClient, IntentRow, PodRow};
use crate::output::{self, Report, talk};

mod fleet;
mod wait;

/// Upgrade pods of this node when you decide, and see what waits
///
/// Under `apps.openyurt.io/update-strategy: OTA` the owner of each node decides when a new revision comes. These commands
/// talk to the hub of the node; `--fleet` asks the cluster instead, for all nodes.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pitstop ota list                         which pods of this node have a newer revision \
                  waiting\n  pitstop ota upgrade nginx-x7k2p --wait   upgrade one, and wait until its successor is \
                  ready\n  pitstop ota pending --fleet              what owners asked for that has not happened yet, \
                  everywhere"
)]
pub struct Ota {
    /// What to do.
    #[command(subcommand)]
    pub command: OtaCommand,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum OtaCommand {
    /// Which pods have a newer revision waiting
    List(List),
    /// Upgrade pods now, or as soon as it can be done
    Upgrade(Upgrade),
    /// Pull the images of the newer revision ahead
    Pull(Pull),
    /// What was asked for and has not happened yet
    Pending(Pending),
    /// Take back what was asked for, while it waits
    Cancel(Cancel),
}

/// Which hub.
#[derive(Debug, Clone, Args)]
pub struct HubArgs {
    /// Address of the hub [default: 127.0.0.1:10267]
    #[arg(long, value_name = "ADDRESS", env = "PITSTOP_HUB", hide_env = true)]
    pub hub: Option<String>,
    /// The hub of this simulated node, found by kubeconfig
    #[arg(
        long,
        value_name = "NODE",
        env = "PITSTOP_NODE",
        hide_env = true,
        conflicts_with = "hub"
    )]
    pub node: Option<String>,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

impl HubArgs {
    async fn client(&self) -> anyhow::Result<HubClient> {
        let address = match (&self.hub, &self.node) {
            (Some(address), _) => address.clone(),
            (None, Some(node)) => {
                let client = self.connect.connect().await?.client;
                super::shell::hub_of(client, node).await?.to_string()
            }
            (None, None) => pitstop_hub::ADDRESS.to_string(),
        };
        HubClient::new(&address)
    }
}

/// One hub, or what the cluster knows of all.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// All nodes, as far as the cluster knows
    #[arg(long, env = "PITSTOP_FLEET", hide_env = true, conflicts_with_all = ["hub", "node"])]
    pub fleet: bool,
    /// Which hub.
    #[command(flatten)]
    pub hub: HubArgs,
}

/// Which pods have a newer revision waiting
#[derive(Debug, Args)]
pub struct List {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Form.
    #[command(flatten)]
    pub form: FormArgs,
}

/// What was asked for and has not happened yet
#[derive(Debug, Args)]
pub struct Pending {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Form.
    #[command(flatten)]
    pub form: FormArgs,
}

/// Which pods.
#[derive(Debug, Clone, Args)]
pub struct PodArgs {
    /// Names of pods, as POD or NAMESPACE/POD
    #[arg(required = true, value_name = "POD")]
    pub pods: Vec<String>,
    /// Namespace of pods without one
    #[arg(
        short,
        long,
        value_name = "NAME",
        env = "PITSTOP_NAMESPACE",
        hide_env = true,
        default_value = "default"
    )]
    pub namespace: String,
}

impl PodArgs {
    fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        let named = |pod| str::split_once(pod, '/').unwrap_or((&*self.namespace, pod));
        self.pods.iter().map(move |pod| named(pod))
    }
}

/// How long to wait.
#[derive(Debug, Clone, Args)]
pub struct WaitArgs {
    /// Wait until it has happened
    #[arg(long, env = "PITSTOP_OTA_WAIT", hide_env = true)]
    pub wait: bool,
    /// How long to wait at most; after that the exit code is 3
    #[arg(
        long,
        value_name = "DURATION",
        env = "PITSTOP_TIMEOUT",
        hide_env = true,
        default_value = "10m",
        value_parser = span::parse
    )]
    pub timeout: Duration,
}

/// Upgrade pods now, or as soon as it can be done
///
/// A node that is cut off keeps the request, through restarts, and carries it out when the cluster can be reached.
#[derive(Debug, Args)]
pub struct Upgrade {
    /// Which pods.
    #[command(flatten)]
    pub pods: PodArgs,
    /// Only say whether it could be done
    #[arg(long, env = "PITSTOP_DRY_RUN", hide_env = true, conflicts_with = "wait")]
    pub dry_run: bool,
    /// How long to wait.
    #[command(flatten)]
    pub wait: WaitArgs,
    /// Which hub.
    #[command(flatten)]
    pub hub: HubArgs,
}

/// Pull the images of the newer revision ahead
#[derive(Debug, Args)]
pub struct Pull {
    /// Which pods.
    #[command(flatten)]
    pub pods: PodArgs,
    /// How long to wait.
    #[command(flatten)]
    pub wait: WaitArgs,
    /// Which hub.
    #[command(flatten)]
    pub hub: HubArgs,
}

/// Take back what was asked for, while it waits
#[derive(Debug, Args)]
pub struct Cancel {
    /// Identifiers, as `pitstop ota pending` shows them
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Which hub.
    #[command(flatten)]
    pub hub: HubArgs,
}

impl Ota {
    /// Does it.
    ///
    /// # Errors
    /// The hub or the cluster does not answer or refuses, or waiting took too long.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            OtaCommand::List(command) => command.run().await,
            OtaCommand::Upgrade(command) => command.run().await,
            OtaCommand::Pull(command) => command.run().await,
            OtaCommand::Pending(command) => command.run().await,
            OtaCommand::Cancel(command) => command.run().await,
        }
    }
}

/// The answer of `ota list`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ListReport {
    items: Vec<PodRow>,
}

impl Report for ListReport {
    fn text(&self, wide: bool) -> String {
        if self.items.is_empty() {
            return "no pod here is upgraded over the air".to_owned();
        }
        let with_node = self.items.iter().any(|pod| pod.node.is_some());
        let mut headers = vec!["NAMESPACE", "POD", "OWNER", "REVISION", "WAITS", "IMAGE", "STATE"];
        if with_node {
            headers.insert(0, "NODE");
        }
        if wide {
            headers.push("WHY");
        }
        let mut table = output::table(&headers);
        for pod in &self.items {
            let mut row = vec![
                pod.namespace.clone(),
                pod.name.clone(),
                pod.owner.clone(),
                or_dash(&pod.current),
                or_dash(&pod.target),
                pod.image.clone(),
                pod.state.clone(),
            ];
            if with_node {
                row.insert(0, or_dash(pod.node.as_deref().unwrap_or_default()));
            }
            if wide {
                row.push(or_dash(&pod.why));
            }
            table.add_row(row);
        }
        output::table_text(&table)
    }
}

/// The answer of `ota pending`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PendingReport {
    items: Vec<IntentRow>,
    /// Nodes that cannot be asked: what waits there is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<String>,
}

impl Report for PendingReport {
    fn text(&self, wide: bool) -> String {
        let mut parts = Vec::new();
        if !self.items.is_empty() {
            let with_node = self.items.iter().any(|intent| intent.node.is_some());
            let mut headers = vec!["ID", "ACTION", "NAMESPACE", "POD", "REVISION", "STATE", "AGE"];
            if with_node {
                headers.insert(0, "NODE");
            }
            if wide {
                headers.push("EXPIRES");
            }
            let mut table = output::table(&headers);
            for intent in &self.items {
                let mut row = vec![
                    or_dash(&intent.id),
                    intent.action.clone(),
                    intent.namespace.clone(),
                    intent.pod.clone(),
                    intent.target.clone(),
                    intent.state.clone(),
                    intent.age_seconds.map_or_else(|| "-".to_owned(), output::age),
                ];
                if with_node {
                    row.insert(0, or_dash(intent.node.as_deref().unwrap_or_default()));
                }
                if wide {
                    row.push(intent.expires.clone().unwrap_or_else(|| "-".to_owned()));
                }
                table.add_row(row);
            }
            parts.push(output::table_text(&table));
        }
        for node in &self.unknown {
            parts.push(format!("node {node}: unknown, it is cut off"));
        }
        if parts.is_empty() {
            parts.push("nothing waits".to_owned());
        }
        parts.join("\n")
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let items = if self.place.fleet {
            fleet::pods(&self.place.hub.connect).await?
        } else {
            self.place.hub.client().await?.pods().await?
        };
        output::show(&ListReport { items }, self.form.output)
    }
}

impl Pending {
    async fn run(self) -> anyhow::Result<()> {
        let (items, unknown) = if self.place.fleet {
            fleet::pending(&self.place.hub.connect).await?
        } else {
            (self.place.hub.client().await?.pending().await?, Vec::new())
        };
        output::show(&PendingReport { items, unknown }, self.form.output)
    }
}

impl Upgrade {
    async fn run(self) -> anyhow::Result<()> {
        let hub = self.hub.client().await?;
        let before = hub.pods().await?;
        let mut asked = Vec::new();
        for (namespace, pod) in self.pods.names() {
            let done = hub.upgrade(namespace, pod, self.dry_run).await?;
            if self.dry_run {
                output::data(&format!("pod/{pod} can be upgraded now (dry run)"))?;
            } else {
                tell(pod, &done)?;
            }
            asked.push((namespace, pod, done));
        }
        if self.wait.wait {
            let deadline = tokio::time::Instant::now() + self.wait.timeout;
            for (namespace, pod, done) in asked {
                wait::upgraded(&hub, &before, (namespace, pod), &done, deadline).await?;
            }
        }
        Ok(())
    }
}

impl Pull {
    async fn run(self) -> anyhow::Result<()> {
        let hub = self.hub.client().await?;
        for (namespace, pod) in self.pods.names() {
            tell(pod, &hub.pull(namespace, pod).await?)?;
        }
        if self.wait.wait {
            let deadline = tokio::time::Instant::now() + self.wait.timeout;
            for named in self.pods.names() {
                wait::pulled(&hub, named, deadline).await?;
            }
        }
        Ok(())
    }
}

impl Cancel {
    async fn run(self) -> anyhow::Result<()> {
        let hub = self.hub.client().await?;
        for id in &self.ids {
            let intent = hub.cancel(id).await?;
            if intent.state == "Cancelled" {
                output::data(&format!("{id} cancelled"))?;
            } else {
                return Err(failure::failed(
                    format!("{id} had ended before: {}", intent.state),
                    "see what still waits with `pitstop ota pending`",
                ));
            }
        }
        Ok(())
    }
}

/// What came of a request.
fn tell(pod: &str, done: &Done) -> anyhow::Result<()> {
    output::data(&format!("pod/{pod}: {}", done.message))?;
    if let Some(id) = done.intent.as_ref().filter(|_| done.is_kept) {
        talk(&format!(
            "kept as {id}; `pitstop ota pending` shows it, `pitstop ota cancel {id}` takes it back"
        ));
    }
    Ok(())
}
