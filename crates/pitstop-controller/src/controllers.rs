//! One loop for each kind of workload: mark, gather, decide, carry out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;
use tracing::{Instrument as _, debug_span};

use crate::metrics::Metrics;
use crate::queue::{Done, Queue};
use crate::store::{Key, Listener};

pub mod cloneset;
pub mod daemonset;
pub mod image_pull_jobs;
mod instances;
pub(crate) mod live;
mod memory;
pub mod node_images;
mod noted;
pub mod statefulset;

/// How soon a workload is looked at again while the stores are not in sync.
const UNSYNCED: Duration = Duration::from_millis(100);

/// A controller that runs.
pub trait Running: Listener + 'static {
    /// Its name, for flags and metrics.
    fn name(&self) -> &'static str;

    /// What waits to be looked at.
    fn queue(&self) -> &Queue<Key>;

    /// How many pods are not at the target, by reason.
    fn waiting(&self) -> BTreeMap<&'static str, usize>;

    /// How many rollouts are stopped until somebody lets them go on, by reason.
    fn stopped(&self) -> BTreeMap<&'static str, usize> {
        BTreeMap::new()
    }

    /// Where reconciles are counted.
    fn metrics(&self) -> &Metrics;

    /// Is everything known that its decisions look at?
    fn is_synced(&self) -> bool;

    /// One reconcile: how to go on, and the word for metrics.
    fn reconcile<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, (Done, &'static str)>;

    /// Works until the queue is closed. Any number of workers may run.
    fn work(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { work_off(&*self).await })
    }
}

/// Reconciles what is due until the queue is closed.
async fn work_off<R: Running + ?Sized>(running: &R) {
    while let Some(key) = running.queue().next().await {
        if !running.is_synced() {
            running.queue().done(&key, Done::Ok(Some(UNSYNCED)));
            continue;
        }
        let span = debug_span!(
            "reconcile",
            controller = running.name(),
            namespace = &*key.namespace,
            name = &*key.name,
            attempt = running.queue().n_failures(&key),
        );
        let begun_at = Instant::now();
        let (done, result) = running.reconcile(&key).instrument(span).await;
        running
            .metrics()
            .count_reconcile(running.name(), result, begun_at.elapsed());
        running.queue().done(&key, done);
    }
}
