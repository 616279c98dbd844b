//! Everything, started and stopped.

use std::any::Any;
use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use pitstop_api::SharedClock;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::Error;
use crate::api::{Api, Gate, KubeApi, Learning, Resource};
use crate::controllers::daemonset::{self, DaemonSets, Model, NATIVE, POD_UPDATER};
use crate::events::Recorder;
use crate::executor::{self, Executor};
use crate::lease::{self, Holder};
use crate::metrics::{Gauges, Metrics, serve};
use crate::store::reflector::Reflector;
use crate::store::{Overlay, Stores};

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
}

impl Controller {
    fn model(self) -> Model {
        match self {
            Self::NativeDaemonSet => NATIVE,
            Self::DaemonPodUpdater => POD_UPDATER,
        }
    }

    /// Its name, as in flags.
    pub fn name(self) -> &'static str {
        self.model().name
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
    /// Seed of name suffixes and jitter.
    pub seed: u64,
    /// Who we are in the lease. One that stays the same over a restart takes its lease back at once.
    pub identity: String,
    /// Hold the lease `kube-system/pitstop-controller`. Without it nothing keeps a second one away.
    pub takes_lease: bool,
    /// How many workloads each controller works on at once. Range: 1..
    pub workers: usize,
    /// Where `/healthz`, `/readyz` and `/metrics` are served; `None`: nowhere.
    pub health_addr: Option<SocketAddr>,
}

impl Config {
    /// Both controllers, with a lease, without health endpoints.
    pub fn new(clock: SharedClock, identity: impl Into<String>, seed: u64) -> Self {
        Self {
            clock,
            controllers: BTreeSet::from([Controller::NativeDaemonSet, Controller::DaemonPodUpdater]),
            force_native: false,
            seed,
            identity: identity.into(),
            takes_lease: true,
            workers: 3,
            health_addr: None,
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
    controllers: Vec<Arc<DaemonSets>>,
    stores: Arc<Stores>,
    metrics: Arc<Metrics>,
    health_addr: Option<SocketAddr>,
}

impl Manager {
    /// Starts controllers against the API server of `client`.
    ///
    /// The client should be made with `default_retry = false` ([`KubeApi`]).
    ///
    /// # Errors
    /// Another pitstop controller is at work, the cluster has a DaemonSet controller of its own, the API server cannot
    /// be reached, or the health address is taken.
    pub async fn start(client: kube::Client, config: Config) -> Result<Self, Error> {
        Self::start_on(Arc::new(KubeApi::new(client)), config).await
    }

    /// As [`Manager::start`], through any [`Api`]: this is where faults are put in.
    ///
    /// # Errors
    /// As [`Manager::start`].
    pub async fn start_on(raw_api: Arc<dyn Api>, config: Config) -> Result<Self, Error> {
        if config.controllers.contains(&Controller::NativeDaemonSet)
            && !config.force_native
            && let Some(how) = lease::native_conflict(raw_api.as_ref(), config.clock.now()).await?
        {
            return Err(Error::NativeConflict(how));
        }
        let listener = match config.health_addr {
            Some(addr) => {
                let listening = TcpListener::bind(addr).await;
                Some(listening.map_err(|source| Error::Listen { addr, source })?)
            }
            None => None,
        };
        if config.takes_lease {
            Holder::new(raw_api.as_ref(), config.clock.clone(), &config.identity)
                .acquire()
                .await?;
        }
        let manager = Self::assemble(raw_api, config, listener);
        info!(controllers = ?manager.config.controllers, "controllers started");
        Ok(manager)
    }

    fn assemble(raw_api: Arc<dyn Api>, config: Config, listener: Option<TcpListener>) -> Self {
        let mut seeds = StdRng::seed_from_u64(config.seed);
        let metrics = Arc::new(Metrics::new());
        let learning: Arc<dyn Api> = Arc::new(Learning::new(Arc::clone(&raw_api), metrics.rights().clone()));
        let gate = Arc::new(Gate::new(learning, Arc::clone(&metrics)));
        let api: Arc<dyn Api> = Arc::clone(&gate) as _;
        let stores = Arc::new(Stores::new());
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
        let controllers: Vec<Arc<DaemonSets>> = config
            .controllers
            .iter()
            .map(|controller| {
                let parts = daemonset::Parts {
                    api: Arc::clone(&api),
                    clock: config.clock.clone(),
                    stores: Arc::clone(&stores),
                    overlay: Arc::clone(&overlay),
                    executor: Arc::clone(&executor),
                    recorder: recorder.clone(),
                    metrics: Arc::clone(&metrics),
                };
                Arc::new(DaemonSets::new(controller.model(), parts))
            })
            .collect();
        stores.listen(controllers.iter().map(|c| Arc::clone(c) as _).collect());
        metrics.add_collector(Gauges {
            stores: Arc::clone(&stores),
            overlay,
            recorder: recorder.clone(),
            controllers: controllers.clone(),
            gate: Arc::clone(&gate),
        });
        let (lost, lease_lost) = watch::channel(None);
        let health_addr = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let mut manager = Self {
            tasks: JoinSet::new(),
            workers: JoinSet::new(),
            lease_lost,
            writer: JoinSet::new(),
            recorder,
            gate,
            raw_api,
            config,
            controllers,
            stores,
            metrics,
            health_addr,
        };
        supervise(&mut manager.writer, "events", writer.run());
        manager.spawn_tasks(&api, &mut seeds, lost, listener);
        manager
    }

    fn spawn_tasks(
        &mut self,
        api: &Arc<dyn Api>,
        seeds: &mut StdRng,
        lost: watch::Sender<Option<String>>,
        listener: Option<TcpListener>,
    ) {
        for resource in Resource::WATCHED {
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
        if let Some(listener) = listener {
            let routes = serve::routes(Arc::clone(&self.metrics), Arc::clone(&self.stores));
            supervise(
                &mut self.tasks,
                "health endpoints",
                serve::serve(listener, routes),
            );
        }
        if self.config.takes_lease {
            let raw_api = Arc::clone(&self.raw_api);
            let gate = Arc::clone(&self.gate);
            let (clock, identity) = (self.config.clock.clone(), self.config.identity.clone());
            supervise(&mut self.tasks, "lease", async move {
                let why = Holder::new(raw_api.as_ref(), clock, &identity).keep().await;
                gate.close();
                // Nobody listens any more only when the manager itself is gone.
                let _ = lost.send(Some(why));
                std::future::pending::<()>().await;
            });
        }
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
        &self.metrics
    }

    /// The controllers that run.
    pub fn controllers(&self) -> &[Arc<DaemonSets>] {
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
            match lease_lost.wait_for(Option::is_some).await {
                Ok(why) => lease::lost(why.clone().unwrap_or_default()),
                // Without a lease the sender is gone from the start.
                Err(_) => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
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
            Holder::new(
                self.raw_api.as_ref(),
                self.config.clock.clone(),
                &self.config.identity,
            )
            .release()
            .await;
        }
        info!("controllers stopped");
    }

    async fn flush_events(&mut self) {
        if timeout(FLUSH_WITHIN, self.recorder.flush()).await.is_err() {
            warn!("not all events were written in time");
        }
        self.writer.abort_all();
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
