//! Cluster, nodes and controllers in one process: what `up`, `demo` and the end-to-end tests run.
//!
//! Nodes and controllers are ordinary clients of the API; the same parts attach to any other API server.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use pitstop_api::SystemClock;
use pitstop_cluster::builtin::Selection;
use pitstop_cluster::node::{Fleet, FleetConfig, NodeSpec};
use pitstop_cluster::{
    Authorization, Cluster, Config, Error as ClusterError, OpenError, ServeConfig, ServeError, Serving,
};
use pitstop_controller::{Controller, Manager};
use rand::TryRng as _;
use rand::rngs::SysRng;
use tokio::task::JoinSet;

use crate::cli::gates::Gates;
use crate::failure;
use crate::hubs::{self, Hubs};
use crate::{container_agents, image_agents};

pub mod kinds;
mod rights;

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the cluster; `None`: in memory only.
    pub data: Option<PathBuf>,
    /// Where to serve; port 0 takes a free one.
    pub addr: SocketAddr,
    /// How long a node may be silent before it is NotReady.
    pub node_grace: Duration,
    /// Simulated durations run this many times faster.
    pub time_scale: f64,
    /// Which controllers the cluster itself brings.
    pub cluster_controllers: Selection,
    /// Run pitstop's controllers inside?
    pub controllers: bool,
    /// What they and the webhooks may do.
    pub gates: Gates,
    /// The nodes to add.
    pub nodes: NodeNames,
    /// Which nodes get a hub, and its port; 0 takes a free one.
    pub hubs: Option<(hubs::Which, u16)>,
    /// Name of a control-plane node to add.
    pub control_plane: Option<String>,
    /// How requests are authorised. By roles: pitstop's controllers have the rights of `pitstop manifests`, and no others.
    pub authorization: Authorization,
}

/// Which nodes to add.
#[derive(Debug, Clone)]
pub enum NodeNames {
    /// Those that are not there yet.
    Given(Vec<String>),
    /// All, but only if the cluster has no node: one that was removed does not come back at the next start.
    IfEmpty(Vec<String>),
}

/// A running cluster with all that belongs to it.
pub struct Embedded {
    cluster: Cluster,
    serving: Serving,
    nodes: Nodes,
    hubs: Option<Hubs>,
    controllers: Option<Controllers>,
    node_names: Vec<String>,
}

impl Embedded {
    /// Starts it. When this returns the API answers and the nodes are registered; they turn Ready in a moment.
    ///
    /// # Errors
    /// The data folder or the address are in use, or cannot be used.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let config = Config {
            data: options.data.clone(),
            node_grace: options.node_grace,
            time_scale: options.time_scale,
            controllers: options.cluster_controllers.clone(),
            authorization: options.authorization,
            ..Config::default()
        };
        let cluster = Cluster::start(config)
            .await
            .map_err(|error| start_failure(&error))?;
        if let Err(error) = kinds::install(&cluster, &options.gates.feature_gates).await {
            cluster.shutdown().await;
            return Err(error);
        }
        let serve = ServeConfig {
            addr: options.addr,
            kubeconfig: None,
        };
        let serving = match cluster.serve(serve).await {
            Ok(serving) => serving,
            Err(error) => {
                cluster.shutdown().await;
                return Err(serve_failure(&error));
            }
        };
        let client = cluster.client();
        let nodes = Nodes::start(cluster.client_as("system:nodes"), options.time_scale, None).await?;
        let present = node_names(&client).await?;
        let wanted = match &options.nodes {
            NodeNames::Given(names) => names.as_slice(),
            NodeNames::IfEmpty(names) if present.is_empty() => names.as_slice(),
            NodeNames::IfEmpty(_) => &[],
        };
        let missing: Vec<String> = wanted
            .iter()
            .filter(|name| !present.contains(*name))
            .cloned()
            .collect();
        let control_plane = options
            .control_plane
            .as_deref()
            .filter(|name| !present.contains(*name));
        nodes.add(&missing, control_plane).await?;
        let hubs = match options.hubs {
            Some((which, port)) => Some(start_hubs(&cluster, which, port, &options).await?),
            None => None,
        };
        let controllers = if options.controllers {
            let identity = match options.authorization {
                Authorization::AlwaysAllow => "system:pitstop".to_owned(),
                Authorization::Rbac => rights::grant(&client).await?,
            };
            Some(
                Controllers::start_all(cluster.client_as(&identity), options.time_scale, options.gates)
                    .await?,
            )
        } else {
            None
        };
        let node_names = node_names(&client).await?.into_iter().collect();
        Ok(Self {
            cluster,
            serving,
            nodes,
            hubs,
            controllers,
            node_names,
        })
    }

    /// A client that needs no socket, as an administrator.
    pub fn client(&self) -> Client {
        self.cluster.client()
    }

    /// Where it serves.
    pub fn addr(&self) -> SocketAddr {
        self.serving.addr
    }

    /// A kubeconfig for it, as YAML.
    pub fn kubeconfig(&self) -> &str {
        &self.serving.kubeconfig
    }

    /// Names of the nodes that were there at the start, in order.
    pub fn node_names(&self) -> &[String] {
        &self.node_names
    }

    /// Waits until something ends that must not.
    ///
    /// # Errors
    /// Always: it does not end otherwise.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        match &mut self.controllers {
            Some(controllers) => controllers.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Stops pitstop's controllers, so that the state of workloads stands still.
    pub async fn stop_controllers(&mut self) {
        if let Some(controllers) = self.controllers.take() {
            controllers.stop().await;
        }
    }

    /// Stops everything: no new work, nothing is lost.
    pub async fn stop(mut self) {
        self.stop_controllers().await;
        if let Some(hubs) = self.hubs.take() {
            hubs.stop().await;
        }
        self.nodes.stop().await;
        self.serving.shutdown().await;
        self.cluster.shutdown().await;
    }
}

/// The hubs of the nodes. Each asks the API server as its node, whose rights are those of any node.
async fn start_hubs(
    cluster: &Cluster,
    which: hubs::Which,
    port: u16,
    options: &Options,
) -> anyhow::Result<Hubs> {
    let config = hubs::Config {
        which,
        port,
        state: options.data.as_ref().map(|data| data.join("hubs")),
        time_scale: options.time_scale,
        heartbeat: heartbeat(options.time_scale),
    };
    Hubs::start(
        cluster.client_as("system:nodes"),
        hubs::Access::Of(cluster.clients()),
        config,
    )
    .await
}

async fn node_names(client: &Client) -> anyhow::Result<BTreeSet<String>> {
    let list = Api::<Node>::all(client.clone())
        .list(&ListParams::default())
        .await
        .context("listing nodes")?;
    Ok(list.iter().map(ResourceExt::name_any).collect())
}

fn start_failure(error: &ClusterError) -> anyhow::Error {
    let advice = match error {
        ClusterError::Open(OpenError::InUse { .. }) => {
            "stop the other one, or keep this one elsewhere with --data DIR and --port PORT"
        }
        ClusterError::Open(OpenError::Newer { .. }) => "use a newer pitstop, or start afresh with --data DIR",
        ClusterError::Open(OpenError::Unusable { .. }) => {
            "look at the folder's permissions and disk, or choose another with --data DIR"
        }
        ClusterError::Bootstrap { .. } => {
            "start afresh with --data DIR; --log info shows what the server did"
        }
    };
    failure::failed(error.to_string(), advice)
}

fn serve_failure(error: &ServeError) -> anyhow::Error {
    let advice = match error {
        ServeError::AddressInUse { .. } => {
            "is another `pitstop up` running? stop it, or choose another port with --port (0 takes a free one)"
        }
        ServeError::Listen { .. } => "choose another port with --port (0 takes a free one)",
        ServeError::Certificate(_) | ServeError::File { .. } => {
            "look at the folder `pki` in the data folder; removed, it is made anew at the next start"
        }
    };
    failure::failed(error.to_string(), advice)
}

/// The time between two heartbeats of a simulated node. Source: embedded-cluster.md 16.2, 10 s.
pub fn heartbeat(time_scale: f64) -> Duration {
    Duration::from_secs(10).div_f64(time_scale)
}

/// The simulated nodes of this process.
pub struct Nodes {
    fleet: Fleet,
    /// Those of images and those of containers. Dropped, they fall silent.
    agents: JoinSet<()>,
}

impl Nodes {
    /// Starts to simulate: the nodes of the API server that are marked as simulated, and those that are added.
    /// `heartbeat` as in [`FleetConfig`].
    ///
    /// # Errors
    /// The API server does not answer, or there is no port for the kubelets.
    pub async fn start(client: Client, time_scale: f64, heartbeat: Option<Duration>) -> anyhow::Result<Self> {
        let config = FleetConfig {
            time_scale,
            heartbeat,
            kubelets: true,
            ..FleetConfig::default()
        };
        let fleet = Fleet::start(client.clone(), config)
            .await
            .context("starting the simulated nodes")?;
        let mut agents = JoinSet::new();
        agents.spawn(container_agents::run(
            client.clone(),
            fleet.containers(),
            time_scale,
        ));
        let images = Arc::new(fleet.images());
        agents.spawn(image_agents::run(
            client,
            images,
            Arc::new(SystemClock),
            time_scale,
        ));
        Ok(Self { fleet, agents })
    }

    /// Registers nodes, and perhaps a control-plane node.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn add(&self, names: &[String], control_plane: Option<&str>) -> anyhow::Result<()> {
        if let Some(name) = control_plane {
            let spec = NodeSpec::control_plane(name);
            self.fleet
                .add(spec)
                .await
                .with_context(|| format!("adding node \"{name}\""))?;
        }
        for name in names {
            self.fleet
                .add(NodeSpec::new(name))
                .await
                .with_context(|| format!("adding node \"{name}\""))?;
        }
        Ok(())
    }

    /// Stops simulating; the objects stay.
    pub async fn stop(mut self) {
        self.agents.shutdown().await;
        self.fleet.stop().await;
    }
}

/// Pitstop's controllers in this process.
pub struct Controllers {
    manager: Manager,
}

impl Controllers {
    /// All of them, for an API server that has no DaemonSet controller of its own. Nodes that are simulated this much faster
    /// have their images listed that much sooner.
    ///
    /// # Errors
    /// Others are at work on this cluster, or the API server does not answer.
    pub async fn start_all(client: Client, time_scale: f64, gates: Gates) -> anyhow::Result<Self> {
        let all = BTreeSet::from(Controller::ALL);
        let mut config = config(all)?;
        config.node_image_after = config.node_image_after.div_f64(time_scale);
        gates.set(&mut config);
        // One process at a time has the data of this cluster open: after a crash it takes its lease back at once.
        "pitstop-up".clone_into(&mut config.identity);
        Self::start(client, config).await
    }

    /// Those that work beside the cluster's own controllers.
    ///
    /// # Errors
    /// Others are at work on this cluster, or the API server does not answer.
    pub async fn start_upgrades(client: Client) -> anyhow::Result<Self> {
        Self::start(client, config(BTreeSet::from([Controller::DaemonPodUpdater]))?).await
    }

    /// These.
    ///
    /// # Errors
    /// Others are at work on this cluster, or the API server does not answer.
    pub async fn start(client: Client, config: pitstop_controller::Config) -> anyhow::Result<Self> {
        let manager = Manager::start(client, config)
            .await
            .map_err(|error| controller_failure(&error))?;
        Ok(Self { manager })
    }

    /// Waits until they cannot go on.
    ///
    /// # Errors
    /// Always: they do not end otherwise.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        Err(controller_failure(&self.manager.wait().await))
    }

    /// Stops them; writes under way are finished and the lease is given back.
    pub async fn stop(self) {
        self.manager.shutdown().await;
    }
}

/// How these controllers run: with a lease of this process, without health endpoints.
///
/// # Errors
/// The operating system gives no random numbers.
pub fn config(controllers: BTreeSet<Controller>) -> anyhow::Result<pitstop_controller::Config> {
    let random = || {
        SysRng
            .try_next_u64()
            .context("asking the operating system for random numbers")
    };
    let identity = format!("pitstop-{}-{:016x}", std::process::id(), random()?);
    let mut config = pitstop_controller::Config::new(Arc::new(SystemClock), identity, random()?);
    config.controllers = controllers;
    Ok(config)
}

/// What a person is told when controllers do not start or cannot go on.
pub(crate) fn controller_failure(error: &pitstop_controller::Error) -> anyhow::Error {
    use pitstop_controller::Error;
    let advice = match error {
        Error::LeaseHeld { .. } => {
            "stop the other one (`pitstop up --controllers=off` leaves them to `pitstop controller`), or wait for its lease"
        }
        Error::LeaseLost { .. } => "start it again; whoever took the lease goes on meanwhile",
        Error::NativeConflict(_) => {
            "leave out --controllers native-daemonset, or use --force where the lease is a relic"
        }
        Error::Listen { .. } => "choose another address with --metrics-addr",
        Error::Api { source, .. } if source.missing_right().is_some() => {
            "let somebody who may grant rights apply the output of `pitstop manifests` again"
        }
        Error::Api { .. } => {
            "is the cluster running, and may this user read and write DaemonSets, pods and leases?"
        }
        _ => "run again with --log debug to see each step",
    };
    failure::failed(error.to_string(), advice)
}
