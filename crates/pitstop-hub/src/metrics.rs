//! What the hub counts.
//!
//! No names of pods in labels: the number of series does not grow with what runs on the node.
//!
//! Source: hub.md B12.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::checks::{Action, Method};
use crate::intents::State;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Check {
    check: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Way {
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Standing {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Server {
    server: &'static str,
}

/// What is looked up when someone asks.
pub(crate) struct Facts {
    pub(crate) connected: bool,
    pub(crate) cache_age: i64,
    pub(crate) pods: usize,
    pub(crate) intents: Vec<State>,
    pub(crate) oldest: i64,
    pub(crate) journal_errors: u64,
    pub(crate) policy_valid: bool,
}

/// What the hub counts.
pub(crate) struct Metrics {
    registry: Registry,
    rejections: Family<Check, Counter>,
    upgrades: Family<Outcome, Counter>,
    durations: Family<Way, Histogram>,
    fsync: Histogram,
    connected: Gauge,
    healthy: Family<Server, Gauge>,
    cache_age: Gauge,
    pods: Gauge,
    intents: Family<Standing, Gauge>,
    oldest: Gauge,
    journal_errors: Gauge,
    policy_valid: Gauge,
}

/// Upgrades take from a second to half an hour.
fn durations() -> Histogram {
    Histogram::new([1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1800.0])
}

impl Metrics {
    pub(crate) fn new(legacy: bool) -> Self {
        let metrics = Self {
            registry: Registry::default(),
            rejections: Family::default(),
            upgrades: Family::default(),
            durations: Family::new_with_constructor(durations),
            fsync: Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0]),
            connected: Gauge::default(),
            healthy: Family::default(),
            cache_age: Gauge::default(),
            pods: Gauge::default(),
            intents: Family::default(),
            oldest: Gauge::default(),
            journal_errors: Gauge::default(),
            policy_valid: Gauge::default(),
        };
        metrics.registered(legacy)
    }

    fn registered(mut self, legacy: bool) -> Self {
        if legacy {
            let yurt = self.registry.sub_registry_with_prefix("node_yurthub");
            yurt.register(
                "server_healthy_status",
                "Whether the API server is healthy",
                self.healthy.clone(),
            );
        }
        let ours = self.registry.sub_registry_with_prefix("pitstop_hub");
        ours.register(
            "guard_rejections",
            "Requests that were refused before anything was looked at",
            self.rejections.clone(),
        );
        ours.register(
            "upgrade_requests",
            "Answers to requests for an upgrade",
            self.upgrades.clone(),
        );
        ours.register(
            "upgrade_duration_seconds",
            "From the request to a pod that is ready",
            self.durations.clone(),
        );
        ours.register(
            "journal_fsync_seconds",
            "How long it takes until an intent is on disk",
            self.fsync.clone(),
        );
        ours.register(
            "connected",
            "Whether the API server is in reach",
            self.connected.clone(),
        );
        ours.register(
            "backend_healthy",
            "Whether the API server is healthy",
            self.healthy.clone(),
        );
        ours.register(
            "cache_age_seconds",
            "Age of what is known of pods",
            self.cache_age.clone(),
        );
        ours.register("cached_pods", "Pods that are known", self.pods.clone());
        ours.register("intents", "Intents by state", self.intents.clone());
        ours.register(
            "intent_oldest_seconds",
            "Age of the oldest intent that waits",
            self.oldest.clone(),
        );
        ours.register(
            "journal_errors",
            "Writes of intents that failed since the start",
            self.journal_errors.clone(),
        );
        ours.register(
            "policy_valid",
            "Whether the policy in force is the one of the file",
            self.policy_valid.clone(),
        );
        self
    }

    /// A request was refused by a check of the guard.
    pub(crate) fn rejected(&self, check: &'static str) {
        self.rejections.get_or_create(&Check { check }).inc();
    }

    /// A request was answered.
    pub(crate) fn asked(&self, action: Action, result: &'static str) {
        if action == Action::Upgrade {
            self.upgrades.get_or_create(&Outcome { result }).inc();
        }
    }

    /// An upgrade ended with a pod that is ready.
    pub(crate) fn upgraded(&self, method: Method, after: Duration) {
        let method = match method {
            Method::Direct => "direct",
            Method::Request => "request",
        };
        self.durations
            .get_or_create(&Way { method })
            .observe(after.as_secs_f64());
    }

    /// Something was written to the journal.
    pub(crate) fn journaled(&self, after: Duration) {
        self.fsync.observe(after.as_secs_f64());
    }

    /// Everything as text.
    pub(crate) fn text(&self, facts: &Facts) -> String {
        self.connected.set(i64::from(facts.connected));
        self.healthy
            .get_or_create(&Server { server: "api" })
            .set(i64::from(facts.connected));
        self.cache_age.set(facts.cache_age);
        self.pods.set(i64::try_from(facts.pods).unwrap_or(i64::MAX));
        for state in State::ALL {
            let count = facts.intents.iter().filter(|known| **known == state).count();
            let gauge = self.intents.get_or_create(&Standing {
                state: state.as_str(),
            });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.oldest.set(facts.oldest);
        self.journal_errors
            .set(i64::try_from(facts.journal_errors).unwrap_or(i64::MAX));
        self.policy_valid.set(i64::from(facts.policy_valid));
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
