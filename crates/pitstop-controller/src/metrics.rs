//! What was done, for Prometheus; health and readiness.
//!
//! Labels are bounded sets: controllers, kinds, verbs, reasons, results. Never names of pods or nodes. What can be read
//! from the stores is read from them when somebody asks, so no number can fall out of step.
//!
//! | metric | labels | |
//! |---|---|---|
//! | `pitstop_reconciles_total` | controller, result | reconciles by how they ended |
//! | `pitstop_reconcile_duration_seconds` | controller | how long they took, writes included |
//! | `pitstop_plan_duration_seconds` | controller | how long the decisions alone took |
//! | `pitstop_event_to_action_seconds` | controller | from the first change that marked a workload to the first write |
//! | `pitstop_actions_total` | controller, kind, result | actions of plans |
//! | `pitstop_writes_total` | verb, resource, result | requests that change something, leases and events included |
//! | `pitstop_queue_depth` | controller | workloads that are due |
//! | `pitstop_queue_age_seconds` | controller | for how long the first of them has been due |
//! | `pitstop_pods` | controller, reason | pods that are not at the target, by reason |
//! | `pitstop_rollouts_stopped` | controller, reason | rollouts that the node-loss guard or the progress deadline has stopped |
//! | `pitstop_store_objects` | resource | objects that are kept |
//! | `pitstop_store_unreadable` | | objects that cannot be read |
//! | `pitstop_watch_restarts_total` | resource | watches opened again |
//! | `pitstop_overlay_entries` | | own writes that the stores do not show yet |
//! | `pitstop_events_dropped_total` | | events dropped: the queue was full, or too much was told about an object |
//! | `pitstop_missing_rights` | verb, resource | 1 for each right that turned out to be missing |
//! | `pitstop_lease_held` | | 1 while we may write |
//! | `pitstop_lease_taken_total` | | how often this process began to lead |

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::api::{Gate, Resource, Rights, Verb};
use crate::controllers::Running;
use crate::events::Recorder;
use crate::store::{Overlay, Stores};

pub mod serve;

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Histograms = Family<Labels<1>, Histogram, fn() -> Histogram>;

/// The metrics of one process.
pub struct Metrics {
    registry: Mutex<Registry>,
    reconciles: Family<Labels<2>, Counter>,
    reconcile_seconds: Histograms,
    plan_seconds: Histograms,
    event_to_action_seconds: Histograms,
    actions: Family<Labels<3>, Counter>,
    writes: Family<Labels<3>, Counter>,
    rights: Rights,
    lease_taken: Counter,
    gauges: Shown,
}

/// Where the gauges of the term that runs are found; between terms there are none.
type Shown = Arc<Mutex<Option<Gauges>>>;

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics of which nothing was counted yet.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("pitstop");
        let metrics = Self {
            registry: Mutex::new(Registry::default()),
            reconciles: Family::default(),
            reconcile_seconds: Family::new_with_constructor(milliseconds_to_minutes),
            plan_seconds: Family::new_with_constructor(microseconds_to_seconds),
            event_to_action_seconds: Family::new_with_constructor(milliseconds_to_minutes),
            actions: Family::default(),
            writes: Family::default(),
            rights: Rights::default(),
            lease_taken: Counter::default(),
            gauges: Shown::default(),
        };
        registry.register(
            "reconciles",
            "Reconciles by how they ended",
            metrics.reconciles.clone(),
        );
        registry.register(
            "reconcile_duration_seconds",
            "How long reconciles took, writes included",
            metrics.reconcile_seconds.clone(),
        );
        registry.register(
            "plan_duration_seconds",
            "How long the decisions alone took",
            metrics.plan_seconds.clone(),
        );
        registry.register(
            "event_to_action_seconds",
            "From the first change that marked a workload to its first write",
            metrics.event_to_action_seconds.clone(),
        );
        registry.register("actions", "Actions of plans by result", metrics.actions.clone());
        registry.register("writes", "Requests that change something", metrics.writes.clone());
        registry.register_collector(Box::new(metrics.rights.clone()));
        registry.register(
            "lease_taken",
            "How often this process began to lead",
            metrics.lease_taken.clone(),
        );
        registry.register_collector(Box::new(Current(Arc::clone(&metrics.gauges))));
        *metrics.registry() = registry;
        metrics
    }

    /// The rights that turned out to be missing.
    pub fn rights(&self) -> &Rights {
        &self.rights
    }

    /// One reconcile ended.
    pub fn count_reconcile(&self, controller: &'static str, result: &'static str, took: Duration) {
        self.reconciles
            .get_or_create(&[("controller", controller), ("result", result)])
            .inc();
        self.reconcile_seconds
            .get_or_create(&[("controller", controller)])
            .observe(took.as_secs_f64());
    }

    /// One decision was made.
    pub fn observe_plan(&self, controller: &'static str, took: Duration) {
        self.plan_seconds
            .get_or_create(&[("controller", controller)])
            .observe(took.as_secs_f64());
    }

    /// A decision wrote something, so long after the change that it answers.
    pub fn observe_event_to_action(&self, controller: &'static str, took: Duration) {
        self.event_to_action_seconds
            .get_or_create(&[("controller", controller)])
            .observe(took.as_secs_f64());
    }

    /// One action of a plan was tried.
    pub fn count_action(&self, controller: &'static str, kind: &'static str, result: &'static str) {
        self.actions
            .get_or_create(&[("controller", controller), ("kind", kind), ("result", result)])
            .inc();
    }

    /// One request that changes something was sent.
    pub fn count_write(&self, verb: Verb, resource: Resource, result: &'static str) {
        self.writes
            .get_or_create(&[
                ("verb", verb.as_str()),
                ("resource", resource.word()),
                ("result", result),
            ])
            .inc();
    }

    /// All metrics in the text format of Prometheus.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry());
        text
    }

    /// A term of leading began.
    pub fn count_lease_taken(&self) {
        self.lease_taken.inc();
    }

    /// From here on these are shown; `None`: none.
    pub(crate) fn show(&self, gauges: Option<Gauges>) {
        *lock(&self.gauges) = gauges;
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        lock(&self.registry)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn milliseconds_to_minutes() -> Histogram {
    Histogram::new([
        0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0,
    ])
}

fn microseconds_to_seconds() -> Histogram {
    Histogram::new([0.000_01, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 1.0])
}

/// What is read when somebody asks.
pub(crate) struct Gauges {
    pub(crate) stores: Arc<Stores>,
    pub(crate) overlay: Arc<Overlay>,
    pub(crate) recorder: Recorder,
    pub(crate) controllers: Vec<Arc<dyn Running>>,
    pub(crate) gate: Arc<Gate>,
}

/// Reads the gauges of the term that runs.
struct Current(Shown);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}

impl Collector for Current {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gauges = lock(&self.0);
        let is_held = gauges.as_ref().is_some_and(|gauges| gauges.gate.is_open());
        let held = ConstGauge::new(i64::from(is_held));
        let help = "Whether writing is allowed";
        held.encode(encoder.encode_descriptor("lease_held", help, None, MetricType::Gauge)?)?;
        gauges
            .as_ref()
            .map_or(Ok(()), |gauges| gauges.encode(&mut encoder))
    }
}

impl Gauges {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.encode_controllers(encoder)?;
        self.encode_stores(encoder)?;
        let help = "Own writes that the stores do not show yet";
        let overlay = ConstGauge::new(count(self.overlay.len()));
        overlay.encode(encoder.encode_descriptor("overlay_entries", help, None, MetricType::Gauge)?)?;
        let dropped = ConstCounter::new(self.recorder.n_dropped());
        let help = "Events dropped: the queue was full, or too much was told about an object";
        dropped.encode(encoder.encode_descriptor("events_dropped", help, None, MetricType::Counter)?)
    }

    fn encode_controllers(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Workloads that are due";
        let mut metric = encoder.encode_descriptor("queue_depth", help, None, MetricType::Gauge)?;
        for controller in &self.controllers {
            let gauge = ConstGauge::new(count(controller.queue().depth().n_due));
            gauge.encode(metric.encode_family(&[("controller", controller.name())])?)?;
        }
        let help = "For how long the first of them has been due";
        let mut metric = encoder.encode_descriptor("queue_age_seconds", help, None, MetricType::Gauge)?;
        for controller in &self.controllers {
            let gauge = ConstGauge::new(controller.queue().depth().oldest_for.as_secs_f64());
            gauge.encode(metric.encode_family(&[("controller", controller.name())])?)?;
        }
        let help = "Pods that are not at the target, by reason";
        let mut metric = encoder.encode_descriptor("pods", help, None, MetricType::Gauge)?;
        for controller in &self.controllers {
            for (reason, n) in controller.waiting() {
                let labels = [("controller", controller.name()), ("reason", reason)];
                ConstGauge::new(count(n)).encode(metric.encode_family(&labels)?)?;
            }
        }
        let help = "Rollouts that are stopped until somebody lets them go on, by reason";
        let mut metric = encoder.encode_descriptor("rollouts_stopped", help, None, MetricType::Gauge)?;
        for controller in &self.controllers {
            for (reason, n) in controller.stopped() {
                let labels = [("controller", controller.name()), ("reason", reason)];
                ConstGauge::new(count(n)).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn encode_stores(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Objects that are kept";
        let mut metric = encoder.encode_descriptor("store_objects", help, None, MetricType::Gauge)?;
        for resource in Resource::WATCHED {
            let n = self.stores.read().count(resource);
            ConstGauge::new(count(n)).encode(metric.encode_family(&[("resource", resource.word())])?)?;
        }
        let help = "Watches opened again";
        let mut metric = encoder.encode_descriptor("watch_restarts", help, None, MetricType::Counter)?;
        for (resource, n) in self.stores.watch_restarts() {
            ConstCounter::new(n).encode(metric.encode_family(&[("resource", resource.word())])?)?;
        }
        let help = "Objects that cannot be read";
        let n = count(self.stores.read().count_unreadable());
        ConstGauge::new(n).encode(encoder.encode_descriptor(
            "store_unreadable",
            help,
            None,
            MetricType::Gauge,
        )?)
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
