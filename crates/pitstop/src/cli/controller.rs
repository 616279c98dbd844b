//! `pitstop controller`.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::connect::ConnectArgs;
use crate::embedded::{Controllers, config};
use crate::output::{self, talk};

/// Run the controllers against a cluster
///
/// Only one runs at a time on a cluster: it holds the Lease kube-system/pitstop-controller. Serves /healthz, /readyz
/// and /metrics.
#[derive(Debug, Args)]
pub struct Controller {
    /// Which controllers
    #[arg(
        long,
        value_name = "LIST",
        env = "PITSTOP_CONTROLLERS",
        hide_env = true,
        value_delimiter = ',',
        default_value = "daemon-pod-updater"
    )]
    pub controllers: Vec<Name>,
    /// Run native-daemonset also where a fresh Lease shows that Kubernetes has one of its own
    #[arg(long, env = "PITSTOP_FORCE", hide_env = true)]
    pub force: bool,
    /// Where health and metrics are served
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "PITSTOP_METRICS_ADDR",
        hide_env = true,
        default_value = "127.0.0.1:8080"
    )]
    pub metrics_addr: SocketAddr,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// A controller, as it is named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// AdvancedRollingUpdate on native DaemonSets
    DaemonPodUpdater,
    /// The native DaemonSet controller, for API servers that have none
    #[value(name = "native-daemonset")]
    NativeDaemonSet,
}

impl From<Name> for pitstop_controller::Controller {
    fn from(name: Name) -> Self {
        match name {
            Name::DaemonPodUpdater => Self::DaemonPodUpdater,
            Name::NativeDaemonSet => Self::NativeDaemonSet,
        }
    }
}

impl Controller {
    /// Runs until Ctrl-C or SIGTERM.
    ///
    /// # Errors
    /// Another one is at work, the cluster has a DaemonSet controller of its own, the lease is lost, or the API server
    /// does not answer.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
        let client = self.connect.connect().await?.client;
        let wanted: BTreeSet<pitstop_controller::Controller> =
            self.controllers.iter().copied().map(Into::into).collect();
        let names: Vec<&str> = wanted.iter().map(|controller| controller.name()).collect();
        let names = names.join(", ");
        let mut config = config(wanted)?;
        config.force_native = self.force;
        config.health_addr = Some(self.metrics_addr);
        let mut controllers = Controllers::start(client, config).await?;
        let health = controllers.health_addr().map_or_else(String::new, |addr| {
            format!("; health and metrics on http://{addr}")
        });
        output::data(&format!("running {names}{health}"))?;
        let ended = tokio::select! {
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
            ended = controllers.ended() => ended,
        };
        talk("stopping");
        controllers.stop().await;
        ended
    }
}
