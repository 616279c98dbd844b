//! One loop for each kind of workload: mark, gather, decide, carry out.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::queue::Queue;
use crate::store::{Key, Listener};

pub mod cloneset;
pub mod daemonset;
mod noted;

/// A controller that runs.
pub trait Running: Listener {
    /// Its name, for flags and metrics.
    fn name(&self) -> &'static str;

    /// What waits to be looked at.
    fn queue(&self) -> &Queue<Key>;

    /// How many pods are not at the target, by reason.
    fn waiting(&self) -> BTreeMap<&'static str, usize>;

    /// Works until the queue is closed. Any number of workers may run.
    fn work(self: Arc<Self>) -> BoxFuture<'static, ()>;
}
