//! Everything, started and stopped: [`Manager`] is one term of leading, [`replica::Replica`] one term after the other.

use std::any::Any;
use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use pitstop_api::SharedClock;
use pitstop_engine::feature_gates::{Allowed, FeatureGates};
use pitstop_engine::predownload::node::CREATE_AFTER;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::Error;
use crate::api::{Api, Gate, KubeApi, Learning, Resource};
use crate::controllers::Running;
use crate::controllers::cloneset::{self, CloneSets};
use crate::controllers::daemonset::{self, ADVANCED, DaemonSets, NATIVE, POD_UPDATER};
use crate::controllers::image_pull_jobs::{self, ImagePullJobs};
use crate::controllers::node_images::NodeImages;
use crate::controllers::statefulset::{self, StatefulSets};
use crate::events::Recorder;
use crate::executor::{self, Executor};
use crate::lease::{self, Keeper, LEASE};
use crate::metrics::serve::{self, Standing};
use crate::metrics::{Gauges, Metrics};
use crate::offers;
use crate::store::reflector::Reflector;
use crate::store::{Listener, Overlay, Stores};

pub mod replica;

/// How long workers may take to finish what they are doing when they are told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// How long events that still wait may take to be written.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// A controller that can be switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// The native DaemonSet controller. Only for API servers that have none.
    NativeDaemonSet,
    /// `AdvancedRollingUpdate` and its aliases on native DaemonSets.
    DaemonPodUpdater,
    /// DaemonSets of `apps.kruise.io`.
    AdvancedDaemonSet,
    /// CloneSets of `apps.kruise.io`.
    CloneSet,
    /// StatefulSets of `apps.kruise.io`.
    StatefulSet,
    /// ImagePullJobs and NodeImages of `apps.kruise.io`. Where it runs, CloneSets and StatefulSets have their images pulled
    /// ahead.
    ImagePullJob,
}

impl Controller {
    /// Every controller there is.
    pub const ALL: [Self; 6] = [
        Self::NativeDaemonSet,
        Self::DaemonPodUpdater,
        Self::AdvancedDaemonSet,
        Self::CloneSet,
        Self::StatefulSet,
        Self::ImagePullJob,
    ];

    /// Its name, as in flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::NativeDaemonSet => NATIVE.name,
            Self::DaemonPodUpdater => POD_UPDATER.name,
            Self::AdvancedDaemonSet => ADVANCED.name,
            Self::CloneSet => cloneset::NAME,
            Self::StatefulSet => statefulset::NAME,
            Self::ImagePullJob => image_pull_jobs::NAME,
        }
    }

    /// Does it look at objects of this kind?
    fn follows(self, resource: Resource) -> bool {
        match resource {
            Resource::Pods | Resource::Nodes | Resource::ControllerRevisions => true,
            Resource::DaemonSets => matches!(self, Self::NativeDaemonSet | Self::DaemonPodUpdater),
            Resource::AdvancedDaemonSets => self == Self::AdvancedDaemonSet,
            Resource::Jobs => self == Self::DaemonPodUpdater,
            Resource::CloneSets => self == Self::CloneSet,
            Resource::StatefulSets => self == Self::StatefulSet,
            Resource::Claims => matches!(self, Self::CloneSet | Self::StatefulSet),
            Resource::ImagePullJobs | Resource::NodeImages => self == Self::ImagePullJob,
            Resource::Events
            | Resource::Leases
            | Resource::Secrets
            | Resource::Services
            | Resource::StorageClasses => false,
        }
    }

    fn start(self, parts: daemonset::Parts, config: &Config, seeds: &mut StdRng) -> Vec<Arc<dyn Running>> {
        match self {
            Self::NativeDaemonSet => vec![Arc::new(DaemonSets::new(NATIVE, parts))],
            Self::DaemonPodUpdater => vec![Arc::new(DaemonSets::new(POD_UPDATER, parts))],
            Self::AdvancedDaemonSet => {
                let pulls =
                    config.allowed.daemonsets_pull_ahead && config.controllers.contains(&Self::ImagePullJob);
                vec![Arc::new(DaemonSets::new(ADVANCED, parts).pulling_ahead(pulls))]
            }
            Self::CloneSet => {
                let pre_downloads = config.pulls_ahead();
                vec![Arc::new(CloneSets::new(
                    parts,
                    config.allowed.clonesets,
                    pre_downloads,
                    seeds.random(),
                ))]
            }
            Self::StatefulSet => {
                let pre_downloads = config.pulls_ahead();
                vec![Arc::new(StatefulSets::new(
                    parts,
                    config.allowed.statefulsets,
                    pre_downloads,
                ))]
            }
            Self::ImagePullJob => vec![
                Arc::new(ImagePullJobs::new(parts.clone(), seeds.random())),
                Arc::new(NodeImages::new(parts, config.node_image_after)),
            ],
        }
    }
}

/// How the controllers run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where "now" comes from. Waiting uses the runtime's timers.
    pub clock: SharedClock,
    /// Which controllers run.
    pub controllers: BTreeSet<Controller>,
    /// Run [`Controller::NativeDaemonSet`] even if the cluster has a DaemonSet controller of its own.
    pub force_native: bool,
    /// The feature gates that made `allowed` what it is, as far as they were given; see [`Config::set_gates`].
    pub gates: FeatureGates,
    /// What workloads may do. Whether containers that run are resized follows what the server offers; images are pulled ahead
    /// only where [`Controller::ImagePullJob`] runs.
    pub allowed: Allowed,
    /// Seed of name suffixes and jitter.
    pub seed: u64,
    /// Who we are in the lease. One that stays the same over a restart takes its lease back at once.
    pub identity: String,
    /// Hold the lease `kube-system/pitstop-controller`. Without it nothing keeps a second one away.
    pub takes_lease: bool,
    /// How many workloads each controller works on at once. Range: 1..
    pub workers: usize,
    /// How long after a node became ready it gets a NodeImage.
    pub node_image_after: Duration,
    /// Where `/healthz`, `/readyz` and `/metrics` are served; `None`: nowhere.
    pub health_addr: Option<SocketAddr>,
}

impl Config {
    /// The controllers of DaemonSets, with a lease, without health endpoints.
    pub fn new(clock: SharedClock, identity: impl Into<String>, seed: u64) -> Self {
        Self {
            clock,
            controllers: BTreeSet::from([Controller::NativeDaemonSet, Controller::DaemonPodUpdater]),
            force_native: false,
            gates: FeatureGates::default(),
            allowed: Allowed::default(),
            seed,
            identity: identity.into(),
            takes_lease: true,
            workers: 3,
            node_image_after: CREATE_AFTER,
            health_addr: None,
        }
    }

    /// Are images pulled ahead for CloneSets and StatefulSets?
    fn pulls_ahead(&self) -> bool {
        self.allowed.pulls_ahead && self.controllers.contains(&Controller::ImagePullJob)
    }

    /// Switches features on and off.
    pub fn set_gates(&mut self, gates: FeatureGates) {
        gates.apply(&mut self.allowed);
        self.gates = gates;
    }

    /// Asks the server what it offers.
    async fn learn_offers(&mut self, client: &kube::Client) {
        let kinds = [Controller::CloneSet, Controller::StatefulSet];
        if kinds.iter().any(|kind| self.controllers.contains(kind)) {
            let resizes = offers::resizes_in_place(client).await;
            self.allowed.clonesets.in_place.vertical_scaling = resizes;
            self.allowed.statefulsets.in_place.vertical_scaling = resizes;
        }
    }
}

/// Running controllers. Dropping it stops them without giving the lease back.
pub struct Manager {
    tasks: JoinSet<Error>,
    workers: JoinSet<Error>,
    lease_lost: watch::Receiver<Option<String>>,
    writer: JoinSet<Error>,
    recorder: Recorder,
    gate: Arc<Gate>,
    raw_api: Arc<dyn Api>,
    config: Config,
    controllers: Vec<Arc<dyn Running>>,
    stores: Arc<Stores>,
    front: Front,
    health_addr: Option<SocketAddr>,
}

/// What people and probes see of this process; it outlives a term.
#[derive(Clone)]
struct Front {
    metrics: Arc<Metrics>,
    standing: Standing,
}

impl Front {
    /// `api`, with its refusals noted.
    fn learning(&self, api: &Arc<dyn Api>) -> Arc<dyn Api> {
        Arc::new(Learning::new(Arc::clone(api), self.metrics.rights().clone()))
    }

    /// Serves it, if there is an address. Returns where.
    async fn open(config: &Config, tasks: &mut JoinSet<Error>) -> Result<(Self, Option<SocketAddr>), Error> {
        let front = Self {
            metrics: Arc::new(Metrics::new()),
            standing: Standing::default(),
        };
        let Some(addr) = config.health_addr else {
            return Ok((front, None));
        };
        let listening = TcpListener::bind(addr).await;
        let listener = listening.map_err(|source| Error::Listen { addr, source })?;
        let addr = listener.local_addr().ok();
        let routes = serve::routes(Arc::clone(&front.metrics), front.standing.clone());
        supervise(tasks, "health endpoints", serve::serve(listener, routes));
        Ok((front, addr))
    }
}

impl Manager {
    /// Starts controllers against the API server of `client`.
    ///
    /// The client should be made with `default_retry = false` ([`KubeApi`]).
    ///
    /// # Errors
    /// Another pitstop controller is at work, the cluster has a DaemonSet controller of its own, the API server cannot
    /// be reached, or the health address is taken.
    pub async fn start(client: kube::Client, mut config: Config) -> Result<Self, Error> {
        config.learn_offers(&client).await;
        Self::start_on(Arc::new(KubeApi::new(client)), config).await
    }

    /// As [`Manager::start`], through any [`Api`]: this is where faults are put in.
    ///
    /// # Errors
    /// As [`Manager::start`].
    pub async fn start_on(raw_api: Arc<dyn Api>, config: Config) -> Result<Self, Error> {
        refuse_beside_native(raw_api.as_ref(), &config).await?;
        let mut tasks = JoinSet::new();
        let (front, health_addr) = Front::open(&config, &mut tasks).await?;
        let mut keeper = None;
        if config.takes_lease {
            let identity = &config.identity;
            let mut candidate =
                Keeper::new(front.learning(&raw_api), config.clock.clone(), identity).telling(&config.gates);
            candidate.acquire().await?;
            keeper = Some(candidate);
        }
        let mut manager = Self::begin(raw_api, config, keeper, front, tasks);
        manager.health_addr = health_addr;
        Ok(manager)
    }

    /// Starts everything afresh under a lease that was just taken: the first lists are begun after that, so no
    /// decision is made on what was true before. Source: reliability.md F9.
    fn begin(
        raw_api: Arc<dyn Api>,
        config: Config,
        keeper: Option<Keeper>,
        front: Front,
        tasks: JoinSet<Error>,
    ) -> Self {
        let manager = Self::assemble(raw_api, config, keeper, front, tasks);
        manager.front.metrics.count_lease_taken();
        manager.front.standing.leading(Arc::clone(&manager.stores));
        info!(controllers = ?manager.config.controllers, "controllers started");
        manager
    }

    fn assemble(
        raw_api: Arc<dyn Api>,
        config: Config,
        keeper: Option<Keeper>,
        front: Front,
        tasks: JoinSet<Error>,
    ) -> Self {
        let mut seeds = StdRng::seed_from_u64(config.seed);
        let metrics = Arc::clone(&front.metrics);
        let inner = front.learning(&raw_api);
        let (counter, clock) = (Arc::clone(&metrics), config.clock.clone());
        let gate = match keeper.as_ref().and_then(Keeper::permission) {
            Some(permission) => Gate::with_permission(inner, counter, clock, permission),
            None => Gate::new(inner, counter),
        };
        let gate = Arc::new(gate);
        let api: Arc<dyn Api> = Arc::clone(&gate) as _;
        let follows = |resource| {
            config
                .controllers
                .iter()
                .any(|controller| controller.follows(resource))
        };
        let stores = Arc::new(Stores::following(follows));
        let overlay = Arc::new(Overlay::default());
        let (recorder, writer) = Recorder::new(Arc::clone(&api), config.clock.clone());
        let executor = Arc::new(Executor::new(executor::Parts {
            api: Arc::clone(&api),
            clock: config.clock.clone(),
            stores: Arc::clone(&stores),
            overlay: Arc::clone(&overlay),
            recorder: recorder.clone(),
            metrics: Arc::clone(&metrics),
            seed: seeds.random(),
        }));
        let controllers: Vec<Arc<dyn Running>> = config
            .controllers
            .iter()
            .flat_map(|controller| {
                let parts = daemonset::Parts {
                    api: Arc::clone(&api),
                    clock: config.clock.clone(),
                    stores: Arc::clone(&stores),
                    overlay: Arc::clone(&overlay),
                    executor: Arc::clone(&executor),
                    recorder: recorder.clone(),
                    metrics: Arc::clone(&metrics),
                };
                controller.start(parts, &config, &mut seeds)
            })
            .collect();
        stores.listen(
            controllers
                .iter()
                .map(|c| Arc::clone(c) as Arc<dyn Listener>)
                .collect(),
        );
        metrics.show(Some(Gauges {
            stores: Arc::clone(&stores),
            overlay,
            recorder: recorder.clone(),
            controllers: controllers.clone(),
            gate: Arc::clone(&gate),
        }));
        let (lost, lease_lost) = watch::channel(None);
        let mut manager = Self {
            tasks,
            workers: JoinSet::new(),
            lease_lost,
            writer: JoinSet::new(),
            recorder,
            gate,
            raw_api,
            config,
            controllers,
            stores,
            front,
            health_addr: None,
        };
        supervise(&mut manager.writer, "events", writer.run());
        manager.spawn_tasks(&api, &mut seeds);
        if let Some(keeper) = keeper {
            manager.spawn_keeper(keeper, lost);
        }
        manager
    }

    fn spawn_tasks(&mut self, api: &Arc<dyn Api>, seeds: &mut StdRng) {
        let stores = Arc::clone(&self.stores);
        for resource in Resource::WATCHED
            .into_iter()
            .filter(|resource| stores.follows(*resource))
        {
            let reflector = Reflector::new(
                Arc::clone(api),
                Arc::clone(&self.stores),
                resource,
                seeds.random(),
            );
            supervise(&mut self.tasks, resource.plural(), reflector.run());
        }
        for controller in &self.controllers {
            for _ in 0..self.config.workers.max(1) {
                let work = Arc::clone(controller).work();
                supervise(&mut self.workers, controller.name(), work);
            }
        }
    }

    fn spawn_keeper(&mut self, mut keeper: Keeper, lost: watch::Sender<Option<String>>) {
        let gate = Arc::clone(&self.gate);
        supervise(&mut self.tasks, "lease", async move {
            let why = keeper.keep(&gate).await;
            gate.close();
            info!(lease = LEASE, why, "the lease is lost; all writes have stopped");
            // Nobody listens any more only when the manager itself is gone.
            let _ = lost.send(Some(why));
            std::future::pending::<()>().await;
        });
    }

    /// Are all stores in sync?
    pub fn is_ready(&self) -> bool {
        self.stores.is_synced()
    }

    /// What is known of the cluster.
    pub fn stores(&self) -> &Arc<Stores> {
        &self.stores
    }

    /// What was counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.front.metrics
    }

    /// The controllers that run.
    pub fn controllers(&self) -> &[Arc<dyn Running>] {
        &self.controllers
    }

    /// Where the health endpoints are served.
    pub fn health_addr(&self) -> Option<SocketAddr> {
        self.health_addr
    }

    /// Waits until the controllers cannot go on. Cancelling the wait changes nothing.
    ///
    /// # Errors
    /// Always: the lease is lost, or a task ended that must not.
    pub async fn wait(&mut self) -> Error {
        let mut lease_lost = self.lease_lost.clone();
        let lost = async {
            let why = lease_lost.wait_for(Option::is_some).await.map(|why| why.clone());
            match why {
                Ok(why) => lease::lost(why.unwrap_or_default()),
                // Without a lease the sender is gone from the start.
                Err(_) => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            biased;
            error = lost => return error,
            Some(ended) = self.tasks.join_next() => ended,
            Some(ended) = self.workers.join_next() => ended,
            Some(ended) = self.writer.join_next() => ended,
        };
        self.gate.close();
        ended.unwrap_or_else(|cancelled| Error::TaskEnded {
            task: "a task".to_owned(),
            how: cancelled.to_string(),
        })
    }

    /// Stops cleanly: no new work, writes under way are finished, events are written, the lease is given back.
    pub async fn shutdown(mut self) {
        for controller in &self.controllers {
            controller.queue().close();
        }
        let stopped = timeout(STOP_WITHIN, async {
            while self.workers.join_next().await.is_some() {}
        });
        if stopped.await.is_err() {
            warn!("workers did not stop in time");
            self.workers.abort_all();
        }
        let may_release = self.config.takes_lease && !self.gate.is_closed();
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        self.flush_events().await;
        self.gate.close();
        if may_release {
            let clock = self.config.clock.clone();
            Keeper::new(Arc::clone(&self.raw_api), clock, &self.config.identity)
                .release()
                .await;
        }
        info!("controllers stopped");
    }

    /// Ends a term that was lost: nothing is finished, nothing is written. Whatever ran has ended when this returns.
    async fn abandon(&mut self) {
        self.gate.close();
        self.front.metrics.show(None);
        self.workers.shutdown().await;
        self.tasks.shutdown().await;
        self.writer.shutdown().await;
    }

    async fn flush_events(&mut self) {
        if timeout(FLUSH_WITHIN, self.recorder.flush()).await.is_err() {
            warn!("not all events were written in time");
        }
        self.writer.abort_all();
    }
}

/// Where the cluster has a DaemonSet controller of its own, ours does not run beside it unless forced.
async fn refuse_beside_native(api: &dyn Api, config: &Config) -> Result<(), Error> {
    if !config.controllers.contains(&Controller::NativeDaemonSet) || config.force_native {
        return Ok(());
    }
    match lease::native_conflict(api, config.clock.now()).await? {
        Some(how) => Err(Error::NativeConflict(how)),
        None => Ok(()),
    }
}

/// Runs a task that must run for ever; [`Manager::wait`] tells when it does not, and how it ended.
fn supervise(
    tasks: &mut JoinSet<Error>,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    tasks.spawn(async move {
        let how = match AssertUnwindSafe(task).catch_unwind().await {
            Ok(()) => "returned".to_owned(),
            Err(panic) => format!("panicked: {}", panic_message(panic.as_ref())),
        };
        Error::TaskEnded {
            task: name.to_owned(),
            how,
        }
    });
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_or_panics_says_which_and_how() {
        let mut tasks = JoinSet::new();
        supervise(&mut tasks, "pods", async {});
        let ended = tasks.join_next().await.unwrap().unwrap();
        assert_eq!(
            ended.to_string(),
            "task \"pods\" ended (returned); this is a bug of pitstop"
        );
        supervise(&mut tasks, "nodes", async { panic!("no node {}", 7) });
        let ended = tasks.join_next().await.unwrap().unwrap();
        assert_eq!(
            ended.to_string(),
            "task \"nodes\" ended (panicked: no node 7); this is a bug of pitstop"
        );
    }
}
