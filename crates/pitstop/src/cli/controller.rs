//! `pitstop controller`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use pitstop_api::{Clock as _, SystemClock};
use pitstop_controller::lease::LEASE;
use pitstop_controller::webhook::server::{self, Server};
use pitstop_controller::{Error, HeldBy, Phase, Replica};
use pitstop_engine::feature_gates::FeatureGates;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::gates::{self, Gates};
use crate::cli::span;
use crate::connect::ConnectArgs;
use crate::embedded::{config, controller_failure};
use crate::failure;
use crate::manifests::NAMESPACE;
use crate::output::{self, talk};

/// Run the controllers against a cluster
///
/// Only one works at a time on a cluster: it holds the Lease kube-system/pitstop-controller. Others stand by and take
/// over within 15 s when it dies, within 2 s when it is stopped. Serves /healthz, /readyz and /metrics all the time.
#[derive(Debug, Args)]
#[command(after_long_help = gates::list())]
pub struct Controller {
    /// Which controllers.
    #[command(flatten)]
    pub controllers: Wanted,
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
    /// How long after it became ready a node gets a NodeImage
    #[arg(
        long,
        value_name = "DURATION",
        env = "PITSTOP_NODE_IMAGE_AFTER",
        hide_env = true,
        default_value = "30s",
        value_parser = span::parse
    )]
    pub node_image_after: Duration,
    /// Which features.
    #[command(flatten)]
    pub gates: Gates,
    /// How the webhooks are served.
    #[command(flatten)]
    pub webhooks: Webhooks,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// How the webhooks are served.
#[derive(Debug, Args)]
pub struct Webhooks {
    /// Serve the webhooks of the kinds that `pitstop manifests --controllers cloneset` defines here, over TLS
    #[arg(long, value_name = "ADDRESS", env = "PITSTOP_WEBHOOK_ADDR", hide_env = true)]
    pub webhook_addr: Option<SocketAddr>,
    /// Host name or address under which the API server reaches them, where the controllers run outside of the cluster; print
    /// their manifests with --webhook-url then
    #[arg(
        long,
        value_name = "HOST",
        env = "PITSTOP_WEBHOOK_HOST",
        hide_env = true,
        requires = "webhook_addr",
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub webhook_host: Option<String>,
    /// Namespace of their service, and of the Secret that keeps their certificate
    #[arg(
        long,
        value_name = "NAME",
        env = "PITSTOP_WEBHOOK_NAMESPACE",
        hide_env = true,
        default_value = NAMESPACE
    )]
    pub webhook_namespace: String,
}

impl Webhooks {
    /// Serves them, if they are to be served.
    async fn start(self, client: &kube::Client, gates: &FeatureGates) -> anyhow::Result<Option<Server>> {
        let Some(addr) = self.webhook_addr else {
            return Ok(None);
        };
        let options = server::Options {
            addr,
            host: self.webhook_host,
            namespace: self.webhook_namespace,
            clock: Arc::new(SystemClock),
            look_every: server::LOOK_EVERY,
            gates: gates.of_webhooks(),
        };
        let server = Server::start(client.clone(), options).await;
        server.map(Some).map_err(|error| match error {
            Error::Listen { .. } => {
                failure::failed(error.to_string(), "choose another address with --webhook-addr")
            }
            other => controller_failure(&other),
        })
    }
}

/// Says once where they are, and goes on until they end.
async fn serve(server: &mut Option<Server>) -> anyhow::Result<()> {
    let Some(server) = server else {
        return std::future::pending().await;
    };
    server.ready().await;
    talk(&format!("webhooks on https://{}", server.addr()));
    Err(controller_failure(&server.ended().await))
}

/// Which controllers are meant.
#[derive(Debug, Args)]
pub struct Wanted {
    /// Which controllers
    #[arg(
        long = "controllers",
        value_name = "LIST",
        env = "PITSTOP_CONTROLLERS",
        hide_env = true,
        value_delimiter = ',',
        default_value = "daemon-pod-updater"
    )]
    pub names: Vec<Name>,
}

impl Wanted {
    /// Each of them once.
    #[must_use]
    pub fn controllers(&self) -> BTreeSet<pitstop_controller::Controller> {
        self.names.iter().copied().map(Into::into).collect()
    }
}

/// A controller, as it is named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// AdvancedRollingUpdate on native DaemonSets
    DaemonPodUpdater,
    /// The native DaemonSet controller, for API servers that have none
    #[value(name = "native-daemonset")]
    NativeDaemonSet,
    /// DaemonSets of apps.kruise.io
    #[value(name = "daemonset")]
    AdvancedDaemonSet,
    /// CloneSets of apps.kruise.io
    #[value(name = "cloneset")]
    CloneSet,
    /// StatefulSets of apps.kruise.io
    #[value(name = "statefulset")]
    StatefulSet,
    /// ImagePullJobs and NodeImages of apps.kruise.io; with it, CloneSets and StatefulSets have their images pulled ahead
    #[value(name = "imagepulljob")]
    ImagePullJob,
}

impl From<Name> for pitstop_controller::Controller {
    fn from(name: Name) -> Self {
        match name {
            Name::DaemonPodUpdater => Self::DaemonPodUpdater,
            Name::NativeDaemonSet => Self::NativeDaemonSet,
            Name::AdvancedDaemonSet => Self::AdvancedDaemonSet,
            Name::CloneSet => Self::CloneSet,
            Name::StatefulSet => Self::StatefulSet,
            Name::ImagePullJob => Self::ImagePullJob,
        }
    }
}

impl Controller {
    /// Runs until Ctrl-C or SIGTERM, leading or standing by.
    ///
    /// # Errors
    /// The cluster has a DaemonSet controller of its own, the API server does not answer at the start, or it does not
    /// let us use the lease.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
        let client = self.connect.connect().await?.client;
        let wanted = self.controllers.controllers();
        let names: Vec<&str> = wanted.iter().map(|controller| controller.name()).collect();
        let names = names.join(", ");
        let mut config = config(wanted)?;
        config.force_native = self.force;
        config.node_image_after = self.node_image_after;
        self.gates.set(&mut config);
        config.health_addr = Some(self.metrics_addr);
        let mut webhooks = self.webhooks.start(&client, &config.gates).await?;
        let mut replica = Replica::start(client, config)
            .await
            .map_err(|error| controller_failure(&error))?;
        let ended = tokio::select! {
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
            ended = lead(&mut replica, &names) => ended,
            ended = serve(&mut webhooks) => ended,
        };
        talk("stopping");
        replica.shutdown().await;
        ended
    }
}

/// Leads and stands by in turn, and says so.
async fn lead(replica: &mut Replica, names: &str) -> anyhow::Result<()> {
    let health = replica.health_addr().map_or_else(String::new, |addr| {
        format!("; health and metrics on http://{addr}")
    });
    loop {
        let phase = replica.next().await;
        match phase.map_err(|error| controller_failure(&error))? {
            Phase::Waiting(held) => talk(&format!("{}{health}", waiting(&held, SystemClock.now()))),
            Phase::Leading => output::data(&format!("running {names}{health}"))?,
            Phase::Lost(why) => talk(&format!(
                "the lease {LEASE} is lost ({why}); all writes have stopped"
            )),
        }
    }
}

/// Whom we wait for. The time since the last renewal is by two clocks, and only for people.
fn waiting(held: &HeldBy, now: Timestamp) -> String {
    let age = held.renewed_at.map_or_else(String::new, |renewed_at| {
        let seconds = now.duration_since(renewed_at).as_secs().max(0);
        format!(" (renewed {seconds} s ago)")
    });
    format!("waiting for the lease {LEASE}, held by {}{age}", held.holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_says_whom_it_waits_for() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let held = |renewed_at| HeldBy {
            holder: "pitstop-1-a".to_owned(),
            renewed_at,
            expires_at: None,
        };
        let renewed_at = Some(at("2026-01-01T00:00:10Z"));
        let plain = "waiting for the lease kube-system/pitstop-controller, held by pitstop-1-a";
        for (held, now, want) in [
            (
                held(renewed_at),
                "2026-01-01T00:00:13Z",
                format!("{plain} (renewed 3 s ago)"),
            ),
            (
                held(renewed_at),
                "2026-01-01T00:00:05Z",
                format!("{plain} (renewed 0 s ago)"),
            ),
            (held(None), "2026-01-01T00:00:05Z", plain.to_owned()),
        ] {
            assert_eq!(waiting(&held, at(now)), want);
        }
    }
}
