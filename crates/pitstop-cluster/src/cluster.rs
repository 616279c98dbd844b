//! One cluster: its store, its API, its built-in controllers and its nodes.

use std::path::PathBuf;
use std::time::Duration;

use pitstop_api::SharedClock;

/// How a cluster is made. [`Config::default`] is a memory-only cluster without nodes, for tests.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where objects are kept; `None`: in memory only.
    pub data: Option<PathBuf>,
    /// Where time comes from. Waiting uses the runtime's timers, so that paused time runs fast.
    pub clock: SharedClock,
    /// Seed of uids, name suffixes and jitter. `None`: from the operating system.
    pub seed: Option<u64>,
    /// How long a node may be silent before it is NotReady.
    ///
    /// Source: embedded-cluster.md 16.2, 40 s.
    pub node_grace: Duration,
    /// Simulated durations (start of containers, pulls, lease renewals, back-off, eviction) run this many times faster.
    ///
    /// Source: embedded-cluster.md 17.7. Timestamps stay as they are.
    pub time_scale: f64,
    /// Scheduler, node lifecycle, garbage collection, namespaces, service accounts, pod GC.
    pub builtin_controllers: bool,
}

/// A running cluster. Dropping it stops everything that belongs to it.
#[derive(Debug)]
pub struct Cluster {}
