//! The hubs of simulated nodes: one for each, on a loopback address of its own, in this process.
//!
//! A hub is cut off from the API server whenever its node is (`sim.pitstop.io/network`), and goes on answering on the
//! node. It asks the API server as the node itself, so that it may touch the node's own pods and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt as _};
use pitstop_api::{SystemClock, keys};
use pitstop_hub::{ADDRESS, ApiServer, Hub, HubError, Settings};
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli;
use crate::cli::node::network_of;
use crate::scratch::Scratch;

pub use transport::{Network, user_of};

mod transport;

/// How many hubs share the third number of an address. Source: issue of the hub, addresses of simulated nodes.
const PER_BLOCK: usize = 250;
/// How soon nodes are listed anew when the API server did not answer.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Which nodes get a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// The first of them, by age.
    First(usize),
}

impl Which {
    fn has(self, n: usize) -> bool {
        match self {
            Self::All => true,
            Self::First(k) => n < k,
        }
    }
}

/// `--hubs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish(pub Option<Which>);

/// Which nodes get a hub, as `up` and `simulate` are told.
#[derive(Debug, Args)]
pub struct HubsArgs {
    /// Which nodes get a hub, on a loopback address of its own, for OTA: `first:K` is the K oldest
    #[arg(
        long,
        value_name = "all|none|first:K",
        env = "PITSTOP_HUBS",
        hide_env = true,
        default_value = "all"
    )]
    pub hubs: Wish,
    /// Port of the hubs; one that is taken, and 0, is replaced by a free one
    #[arg(
        long,
        value_name = "PORT",
        env = "PITSTOP_HUB_PORT",
        hide_env = true,
        default_value_t = ADDRESS.port()
    )]
    pub hub_port: u16,
}

impl HubsArgs {
    /// Which, and at which port.
    pub fn wanted(&self) -> Option<(Which, u16)> {
        self.hubs.0.map(|which| (which, self.hub_port))
    }
}

impl FromStr for Wish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let first = |text: &str| text.strip_prefix("first:")?.parse().ok();
        match text {
            "all" => Ok(Self(Some(Which::All))),
            "none" => Ok(Self(None)),
            text => match first(text) {
                Some(k) => Ok(Self(Some(Which::First(k)))),
                None => Err(format!(
                    "\"{text}\" is none of all, none and first:K with a number K"
                )),
            },
        }
    }
}

/// Where the hubs get their access from.
#[derive(Clone)]
pub enum Access {
    /// A client for each node, made by its user name.
    Of(Arc<dyn Fn(&str) -> Client + Send + Sync>),
    /// One client that takes the rights of each node.
    Impersonating(Client),
}

impl Access {
    fn of_node(&self, node: &str, connected: watch::Receiver<bool>) -> ApiServer<Network> {
        let network = match self {
            Self::Of(client) => Network::new(client(&user_of(node)), connected),
            Self::Impersonating(client) => Network::new(client.clone(), connected).impersonating(node),
        };
        ApiServer::new(network, node)
    }
}

/// What to start.
#[derive(Clone)]
pub struct Config {
    /// Which nodes get a hub.
    pub which: Which,
    /// Port of every hub; 0 takes a free one, and then nobody answers on 127.0.0.1:10267.
    pub port: u16,
    /// Folder of what hubs keep; `None`: one that goes when they stop.
    pub state: Option<PathBuf>,
    /// Waits of simulated nodes are this many times shorter.
    pub time_scale: f64,
    /// Between probes of a silent link; as often as their node sends heartbeats.
    pub heartbeat: Duration,
}

/// The hubs of this process.
pub struct Hubs {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    /// Removed when they have stopped.
    _scratch: Option<Scratch>,
}

impl Hubs {
    /// Starts the hubs of the nodes that are there, and follows those that come and go. `client` reads nodes and writes
    /// the address of each hub on its node.
    ///
    /// # Errors
    /// There is no place for what the hubs keep.
    pub async fn start(client: Client, access: Access, config: Config) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let (folder, scratch) = match &config.state {
            Some(folder) => (folder.clone(), None),
            None => {
                let scratch = Scratch::new("hubs")?;
                (scratch.path().to_owned(), Some(scratch))
            }
        };
        let follower = Follower {
            nodes: Api::all(client),
            access,
            config,
            folder,
            hubs: BTreeMap::new(),
            ended: JoinSet::new(),
        };
        let (first, all_there) = oneshot::channel();
        let task = tokio::spawn(follower.run(stop.clone(), first));
        // Dropped when the follower has ended: then there is nothing to wait for.
        let _ = all_there.await;
        Ok(Self {
            stop,
            task,
            _scratch: scratch,
        })
    }

    /// Stops them. What they keep stays kept.
    pub async fn stop(self) {
        self.stop.cancel();
        // A follower that panicked has stopped as well.
        let _ = self.task.await;
    }
}

/// A hub that runs.
struct Running {
    /// Its place among the addresses.
    n: usize,
    connected: watch::Sender<bool>,
    stop: CancellationToken,
}

/// Keeps hubs in step with nodes.
struct Follower {
    nodes: Api<Node>,
    access: Access,
    config: Config,
    folder: PathBuf,
    hubs: BTreeMap<String, Running>,
    ended: JoinSet<()>,
}

impl Follower {
    async fn run(mut self, stop: CancellationToken, first: oneshot::Sender<()>) {
        let mut first = Some(first);
        while !stop.is_cancelled() {
            let follow = self.follow(&mut first);
            let ended = tokio::select! {
                () = stop.cancelled() => break,
                ended = follow => ended,
            };
            if let Err(error) = ended {
                tracing::warn!(%error, "hubs: nodes cannot be followed");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
            }
        }
        for (name, hub) in &self.hubs {
            hub.stop.cancel();
            self.publish(name, None).await;
        }
        while self.ended.join_next().await.is_some() {}
    }

    /// Lists the nodes, and then takes in what changes until the watch ends.
    async fn follow(&mut self, first: &mut Option<oneshot::Sender<()>>) -> kube::Result<()> {
        let list = self.nodes.list(&ListParams::default()).await?;
        let version = list.metadata.resource_version.clone().unwrap_or_default();
        let mut nodes = list.items;
        // The oldest first; of those that came together, node-2 before node-10.
        nodes.sort_by_key(|node| {
            let name = node.name_any();
            (node.creation_timestamp().map(|at| at.0), name.len(), name)
        });
        let names: BTreeSet<String> = nodes.iter().map(kube::ResourceExt::name_any).collect();
        let gone: Vec<String> = self
            .hubs
            .keys()
            .filter(|name| !names.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            self.end(&name);
        }
        for node in &nodes {
            self.take(node).await;
        }
        if let Some(first) = first.take() {
            // Whoever waited may have gone away.
            let _ = first.send(());
        }
        let mut events = self.nodes.watch(&WatchParams::default(), &version).await?.boxed();
        while let Some(event) = events.next().await {
            match event? {
                WatchEvent::Added(node) | WatchEvent::Modified(node) => self.take(&node).await,
                WatchEvent::Deleted(node) => self.end(&node.name_any()),
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(error) => return Err(kube::Error::Api(error)),
            }
        }
        Ok(())
    }

    /// A node is there: it has a hub, connected as the node is.
    async fn take(&mut self, node: &Node) {
        let Some(network) = network_of(node) else { return };
        let (name, connected) = (node.name_any(), network == cli::node::Network::Connected);
        if let Some(hub) = self.hubs.get(&name) {
            hub.connected
                .send_if_modified(|is| std::mem::replace(is, connected) != connected);
            return;
        }
        let taken: BTreeSet<usize> = self.hubs.values().map(|hub| hub.n).collect();
        let n = (0..=taken.len()).find(|n| !taken.contains(n)).unwrap_or_default();
        let known = node.annotations().get(keys::SIM_HUB).map(String::as_str);
        let address = if self.config.which.has(n) {
            match self.begin(&name, n, connected).await {
                Ok(address) => Some(address),
                Err(error) => {
                    tracing::warn!(node = name, %error, "the node has no hub");
                    None
                }
            }
        } else {
            None
        };
        // One that was killed has left its address behind.
        if address.map(|address| address.to_string()).as_deref() != known {
            self.publish(&name, address).await;
        }
    }

    fn end(&mut self, name: &str) {
        if let Some(hub) = self.hubs.remove(name) {
            hub.stop.cancel();
        }
    }

    async fn begin(&mut self, name: &str, n: usize, connected: bool) -> Result<SocketAddr, HubError> {
        let (switch, connected) = watch::channel(connected);
        let cloud = Arc::new(self.access.of_node(name, connected));
        let own = SocketAddr::from((address(n), self.config.port));
        let mut places = vec![vec![own], vec![SocketAddr::from((address(n), 0))]];
        if n == 0 && self.config.port == ADDRESS.port() {
            places.insert(0, vec![own, ADDRESS]);
        }
        let mut places = places.into_iter().peekable();
        let hub = loop {
            let mut settings = settings(name, &self.folder, &self.config);
            settings.listen = places.next().unwrap_or_default();
            match Hub::bind(settings, Arc::clone(&cloud) as _, Arc::new(SystemClock)).await {
                Err(HubError::Listen { .. }) if places.peek().is_some() => {}
                bound => break bound?,
            }
        };
        let address = hub.addresses().first().copied().unwrap_or(own);
        let stop = CancellationToken::new();
        let (node, until) = (name.to_owned(), stop.clone());
        self.ended.spawn(async move {
            if let Err(error) = hub.run(until).await {
                tracing::warn!(node, %error, "the hub of the node has ended");
            }
        });
        let running = Running {
            n,
            connected: switch,
            stop,
        };
        self.hubs.insert(name.to_owned(), running);
        Ok(address)
    }

    /// Writes on the node where its hub is, for people and for commands.
    async fn publish(&self, name: &str, address: Option<SocketAddr>) {
        let address = address.map(|address| address.to_string());
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { (keys::SIM_HUB): address } } }));
        let written = self.nodes.patch(name, &PatchParams::default(), &patch).await;
        if let Err(error) = written {
            tracing::warn!(node = name, %error, "the address of the hub is not written on its node");
        }
    }
}

/// The address of the n-th hub, counted from 0.
fn address(n: usize) -> Ipv4Addr {
    let number = |n: usize| u8::try_from(n.saturating_add(1)).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 0, number(n / PER_BLOCK), number(n % PER_BLOCK))
}

fn settings(node: &str, folder: &Path, config: &Config) -> Settings {
    let mut settings = Settings::new(node, folder.join(node));
    settings.reconnect_spread = settings.reconnect_spread.div_f64(config.time_scale);
    settings.heartbeat.interval = config.heartbeat;
    settings.seed = rand::random();
    // The clock of the machine is that of its owner.
    settings.clock_synced = Some(Arc::new(|| true));
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hub_has_an_address_of_its_own() {
        for (n, want) in [
            (0, "127.0.1.1"),
            (1, "127.0.1.2"),
            (249, "127.0.1.250"),
            (250, "127.0.2.1"),
            (4999, "127.0.20.250"),
        ] {
            assert_eq!(address(n).to_string(), want);
        }
    }

    #[test]
    fn a_wish_is_all_none_or_the_first() {
        assert_eq!("all".parse(), Ok(Wish(Some(Which::All))));
        assert_eq!("none".parse(), Ok(Wish(None)));
        assert_eq!("first:20".parse(), Ok(Wish(Some(Which::First(20)))));
        for text in ["", "first", "first:", "first:-1", "some"] {
            text.parse::<Wish>().unwrap_err();
        }
    }
}
