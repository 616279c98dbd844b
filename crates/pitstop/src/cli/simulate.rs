//! `pitstop simulate`.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::span;
use crate::cli::up::time_scale;
use crate::connect::ConnectArgs;
use crate::embedded::{Nodes, heartbeat};
use crate::failure;
use crate::hubs::{self, Access, Hubs, HubsArgs};
use crate::output::{self, talk};

/// Attach simulated nodes to a cluster
///
/// They register, report, start and stop pods until Ctrl-C, and run no containers. They are ordinary clients of the API
/// server, so any cluster will do: keep real workloads away from them with taints. `kubectl logs` and `kubectl exec` work
/// where the API server runs on this machine: it reaches the nodes on 127.0.0.1, which asks nobody who he is.
#[derive(Debug, Args)]
pub struct Simulate {
    /// How many nodes
    #[arg(
        long,
        value_name = "N",
        env = "PITSTOP_NODES",
        hide_env = true,
        default_value_t = 3
    )]
    pub nodes: u32,
    /// Names of the nodes, instead of sim-1, sim-2, ...
    #[arg(
        long,
        value_name = "A,B,C",
        env = "PITSTOP_NODE_NAMES",
        hide_env = true,
        value_delimiter = ',',
        conflicts_with = "nodes"
    )]
    pub node_names: Vec<String>,
    /// Run starts, pulls and heartbeats this many times faster
    #[arg(
        long,
        value_name = "FACTOR",
        env = "PITSTOP_TIME_SCALE",
        hide_env = true,
        default_value = "1",
        value_parser = time_scale
    )]
    pub time_scale: f64,
    /// Time between heartbeats of a node, and probes by its hub, whatever the time scale [default: 10s divided by FACTOR]
    // With many nodes and a large factor, heartbeats would be most of what the API server has to do.
    #[arg(
        long,
        value_name = "DURATION",
        env = "PITSTOP_HEARTBEAT",
        hide_env = true,
        value_parser = span::parse
    )]
    pub heartbeat: Option<Duration>,
    /// Which hubs.
    #[command(flatten)]
    pub hubs: HubsArgs,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

impl Simulate {
    /// Runs until Ctrl-C or SIGTERM.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
        let client = self.connect.connect().await?.client;
        let names: Vec<String> = if self.node_names.is_empty() {
            (1..=self.nodes).map(|i| format!("sim-{i}")).collect()
        } else {
            self.node_names.clone()
        };
        if names.is_empty() {
            return Err(failure::usage(
                "no nodes to simulate",
                "give --nodes N with N of at least 1",
            ));
        }
        let nodes = Nodes::start(client.clone(), self.time_scale, self.heartbeat).await?;
        nodes.add(&names, None).await?;
        let hubs = match self.hubs.wanted() {
            Some((which, port)) => {
                let config = hubs::Config {
                    which,
                    port,
                    state: None,
                    time_scale: self.time_scale,
                    heartbeat: self.heartbeat.unwrap_or_else(|| heartbeat(self.time_scale)),
                };
                Some(Hubs::start(client.clone(), Access::Impersonating(client), config).await?)
            }
            None => None,
        };
        output::data(&format!("simulating {} nodes: {}", names.len(), names.join(" ")))?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        talk("stopping: the nodes will be NotReady soon; `kubectl delete node NAME` removes one");
        if let Some(hubs) = hubs {
            hubs.stop().await;
        }
        nodes.stop().await;
        Ok(())
    }
}
