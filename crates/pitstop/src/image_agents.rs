//! The agents that pull images ahead, one for each simulated node: NodeImages in, pulls and reports out.
//!
//! What an agent does next is decided by [`pitstop_engine::predownload::agent`]; who pulls is behind [`ImageRuntime`].
//! All agents share one watch of NodeImages and one of nodes. An agent whose node is cut off neither reads nor writes,
//! and its pulls go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kube::Client;
use pitstop_api::view::{MetaWire, NodeImageSpec, NodeImageStatus, SandboxConfig, SecretReference};
use pitstop_api::{SharedClock, Timestamp, keys};
use pitstop_cluster::informer::{self, Change, Form, Object};
use pitstop_cluster::node::{Images, Wish};
use pitstop_engine::predownload::agent::{Agent, Effect, Pull};
use pitstop_engine::predownload::throttle::Throttle;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tracing::debug;

mod requests;

/// Where the NodeImages are.
const PATH: &str = "/apis/apps.kruise.io/v1beta1/nodeimages";
/// How soon a report that failed is written again, at first and at most. Source: inplace.md 11.5.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(50));

/// A container runtime, as far as images are concerned: that of a simulated node, or the CRI of a real one.
pub trait ImageRuntime: Send + Sync + 'static {
    /// Pulls an image on a node, or finds it there. Returns its digest. Who drops the future gives the pull up.
    ///
    /// # Errors
    /// What the runtime says.
    fn pull(&self, wish: PullWish) -> BoxFuture<'_, Result<String, String>>;
}

/// An image that a node is to pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullWish {
    /// Name of the node.
    pub node: String,
    /// The image, as a runtime is asked for it.
    pub image: String,
    /// An image that the node has is taken as it is.
    pub unless_present: bool,
    /// Secrets that may have credentials for its registry.
    pub secrets: Vec<SecretReference>,
    /// What the runtime is told beside the image.
    pub sandbox: SandboxConfig,
}

impl ImageRuntime for Images {
    /// Simulated registries know no accounts, and simulated sandboxes no labels.
    fn pull(&self, wish: PullWish) -> BoxFuture<'_, Result<String, String>> {
        let wish = Wish {
            node: wish.node,
            image: wish.image,
            unless_present: wish.unless_present,
        };
        Box::pin(async move {
            let pulled = Self::pull(self, wish).await;
            pulled.map(|pulled| pulled.id).map_err(|error| error.to_string())
        })
    }
}

/// Is the agents of all simulated nodes of an API server, as long as it is polled; given up, it gives up what is being
/// pulled. Waits are `time_scale` times shorter. An API server that has no NodeImages is asked again now and then.
pub async fn run(client: Client, runtime: Arc<dyn ImageRuntime>, clock: SharedClock, time_scale: f64) {
    let agents = Agents {
        images: informer::watch(client.clone(), PATH),
        nodes: informer::watch(client.clone(), "/api/v1/nodes"),
        client,
        runtime,
        clock,
        time_scale,
        played: BTreeMap::new(),
        work: JoinSet::new(),
    };
    agents.run().await;
}

/// A NodeImage, as far as agents read it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct NodeImage {
    metadata: MetaWire,
    spec: NodeImageSpec,
    status: NodeImageStatus,
}

impl Object for NodeImage {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}

/// A node: only what it is called and how it is connected.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Node {
    metadata: MetaWire,
}

impl Object for Node {
    const FORM: Form = Form::Metadata;

    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}

impl Node {
    fn has(&self, key: &str, value: &str) -> bool {
        self.metadata
            .annotations
            .get(key)
            .is_some_and(|found| found == value)
    }
}

/// What is known of one node.
#[derive(Default)]
struct Played {
    agent: Agent,
    /// Is it one of ours? Agents of real nodes are real.
    is_simulated: bool,
    is_cut_off: bool,
    image: Option<Arc<NodeImage>>,
    pulls: BTreeMap<u64, AbortHandle>,
    throttle: Throttle,
    is_writing: bool,
    n_failures: u32,
}

/// Something that has ended.
enum Done {
    Pulled(String, u64, Result<String, String>),
    Woken(String, u64),
    /// With the NodeImage as it is after that, if it was written.
    Written(String, Option<Box<NodeImage>>),
    /// A report may be written again.
    Due(String),
    /// An event was posted, or not.
    Told,
}

struct Agents {
    images: mpsc::Receiver<Change<NodeImage>>,
    nodes: mpsc::Receiver<Change<Node>>,
    client: Client,
    runtime: Arc<dyn ImageRuntime>,
    clock: SharedClock,
    time_scale: f64,
    played: BTreeMap<String, Played>,
    work: JoinSet<Done>,
}

impl Agents {
    async fn run(mut self) {
        loop {
            tokio::select! {
                biased;
                Some(change) = self.nodes.recv() => self.on_node(change),
                Some(change) = self.images.recv() => self.on_image(change),
                // What was given up has nothing to tell.
                Some(done) = self.work.join_next() => {
                    if let Ok(done) = done {
                        self.on_done(done);
                    }
                }
                else => return,
            }
        }
    }

    fn on_node(&mut self, change: Change<Node>) {
        let now = self.now();
        let (name, is_simulated, is_short_of_disk, is_cut_off) = match change {
            Change::Applied(node) => (
                node.metadata.name.clone(),
                node.has(keys::SIM_SIMULATED, "true") && !node.has(keys::SIM_NO_AGENTS, "true"),
                node.has(keys::SIM_DISK_PRESSURE, "true"),
                node.has(keys::SIM_NETWORK, "disconnected"),
            ),
            Change::Deleted(node) => (node.metadata.name.clone(), false, false, false),
            Change::Synced => return,
        };
        if !is_simulated && !self.played.contains_key(&name) {
            return;
        }
        let played = self.played.entry(name.clone()).or_default();
        if !is_simulated {
            // With the node goes all that was under way there.
            played.pulls.values().for_each(AbortHandle::abort);
            let image = played.image.take();
            *played = Played {
                image,
                ..Played::default()
            };
            return;
        }
        let is_news = !played.is_simulated || played.is_cut_off != is_cut_off;
        (played.is_simulated, played.is_cut_off) = (true, is_cut_off);
        let effects = played.agent.set_disk_pressure(is_short_of_disk, now);
        self.carry_out(&name, effects);
        if is_news {
            self.sync(&name);
        } else {
            self.report(&name);
        }
    }

    fn on_image(&mut self, change: Change<NodeImage>) {
        let (name, image) = match change {
            Change::Applied(image) => (image.metadata.name.clone(), Some(image)),
            Change::Deleted(image) => (image.metadata.name.clone(), None),
            Change::Synced => return,
        };
        let played = self.played.entry(name.clone()).or_default();
        played.image = image;
        if played.image.is_none() && !played.is_simulated {
            self.played.remove(&name);
            return;
        }
        self.sync(&name);
    }

    /// Brings an agent up to date with its NodeImage, and reports. One whose node is cut off does not see it.
    fn sync(&mut self, name: &str) {
        let now = self.now();
        let Some(played) = self.played.get_mut(name) else {
            return;
        };
        if !played.is_simulated || played.is_cut_off {
            return;
        }
        let effects = match &played.image {
            Some(image) => played.agent.sync(&image.spec, &image.status, now),
            None => played
                .agent
                .sync(&NodeImageSpec::default(), &NodeImageStatus::default(), now),
        };
        self.carry_out(name, effects);
        self.report(name);
    }

    fn on_done(&mut self, done: Done) {
        let now = self.now();
        let (name, effects) = match done {
            Done::Told => return,
            Done::Due(name) => {
                let Some(played) = self.played.get_mut(&name) else {
                    return;
                };
                played.is_writing = false;
                (name, Vec::new())
            }
            Done::Pulled(name, run, result) => {
                let Some(played) = self.played.get_mut(&name) else {
                    return;
                };
                played.pulls.remove(&run);
                let effects = played.agent.pulled(run, result, now);
                (name, effects)
            }
            Done::Woken(name, run) => {
                let Some(played) = self.played.get_mut(&name) else {
                    return;
                };
                let effects = played.agent.woken(run, now);
                (name, effects)
            }
            Done::Written(name, written) => {
                let Some(played) = self.played.get_mut(&name) else {
                    return;
                };
                let Some(written) = written else {
                    let doubled = BACK_OFF.0.saturating_mul(2_u32.saturating_pow(played.n_failures));
                    played.n_failures = played.n_failures.saturating_add(1);
                    self.report_in(name, doubled.min(BACK_OFF.1));
                    return;
                };
                played.is_writing = false;
                played.n_failures = 0;
                let is_newer = |image: &Arc<NodeImage>| {
                    let (old, new) = (&image.metadata, &written.metadata);
                    old.uid == new.uid && old.version() < new.version()
                };
                if played.image.as_ref().is_some_and(is_newer) {
                    played.image = Some(Arc::from(written));
                }
                (name, Vec::new())
            }
        };
        self.carry_out(&name, effects);
        self.report(&name);
    }

    fn carry_out(&mut self, name: &str, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Pull(pull) => self.pull(name, pull),
                Effect::Cancel { run } => {
                    let played = self.played.get_mut(name);
                    if let Some(pull) = played.and_then(|played| played.pulls.remove(&run)) {
                        pull.abort();
                    }
                }
                Effect::Wake { run, after } => {
                    let (name, after) = (name.to_owned(), self.scaled(after));
                    self.work.spawn(async move {
                        tokio::time::sleep(after).await;
                        Done::Woken(name, run)
                    });
                }
                Effect::Tell(notice) => {
                    let Some(played) = self.played.get(name).filter(|played| !played.is_cut_off) else {
                        continue;
                    };
                    let Some(image) = &played.image else { continue };
                    let events = requests::events(&image.metadata, &notice, self.clock.now());
                    let client = self.client.clone();
                    self.work.spawn(async move {
                        requests::post(&client, events).await;
                        Done::Told
                    });
                }
            }
        }
    }

    fn pull(&mut self, name: &str, pull: Pull) {
        let Pull { run, timeout, .. } = pull;
        let wish = PullWish {
            node: name.to_owned(),
            image: pull.image.to_string(),
            unless_present: pull.unless_present,
            secrets: pull.secrets,
            sandbox: pull.sandbox,
        };
        let (name, runtime, limit) = (name.to_owned(), Arc::clone(&self.runtime), self.scaled(timeout));
        let node = name.clone();
        let handle = self.work.spawn(async move {
            let pulled = tokio::time::timeout(limit, runtime.pull(wish)).await;
            let result = pulled.unwrap_or_else(|_| {
                let seconds = timeout.as_secs();
                Err(format!("the image was not pulled within {seconds}s"))
            });
            Done::Pulled(name, run, result)
        });
        if let Some(played) = self.played.get_mut(&node) {
            played.pulls.insert(run, handle);
        }
    }

    /// Writes the status if it differs, one write at a time, and no more often than agents may.
    fn report(&mut self, name: &str) {
        let now = self.clock.now();
        let Some(played) = self.played.get_mut(name) else {
            return;
        };
        let Some(image) = played.image.clone() else { return };
        if !played.is_simulated || played.is_cut_off || played.is_writing {
            return;
        }
        let wanted = played.agent.status(&image.spec);
        let Some(body) = requests::status_body(&image.metadata, &image.status, &wanted) else {
            return;
        };
        played.is_writing = true;
        if let Err(wait) = played.throttle.take(now) {
            self.report_in(name.to_owned(), wait);
            return;
        }
        let (client, name) = (self.client.clone(), name.to_owned());
        self.work.spawn(async move {
            let path = format!("{PATH}/{name}/status");
            let written = requests::patch(&client, &path, &body).await;
            if let Err(error) = &written {
                debug!(node = name, %error, "what a node says of its images was not taken");
            }
            Done::Written(name, written.ok())
        });
    }

    /// Reports later; until then nothing is written.
    fn report_in(&mut self, name: String, wait: Duration) {
        self.work.spawn(async move {
            tokio::time::sleep(wait).await;
            Done::Due(name)
        });
    }

    /// The time as objects carry it: in whole seconds.
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    }

    fn scaled(&self, duration: Duration) -> Duration {
        Duration::try_from_secs_f64(duration.as_secs_f64() / self.time_scale).unwrap_or(duration)
    }
}
