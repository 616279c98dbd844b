//! How a decision is carried out about a workload whose pods have identities of their own.

use pitstop_engine::instances::Failures;
use pitstop_engine::predownload::trigger::Step;

use super::daemonset::Parts;
use super::memory::Memories;
use super::noted::{self, Ending};
use crate::executor::InstancesWork;
use crate::queue::Done;
use crate::store::Key;

/// What remembers how the last plan went.
pub(super) trait Fails: Default {
    /// What went wrong.
    fn failures(&mut self) -> &mut Failures;
}

impl Fails for Failures {
    fn failures(&mut self) -> &mut Failures {
        self
    }
}

/// Carries out a decision, and what becomes of images that are pulled ahead: how to go on, and the word for metrics.
pub(super) async fn carry_out<T: Fails>(
    parts: &Parts,
    memories: &Memories<T>,
    key: &Key,
    work: &InstancesWork,
    pre_download: &Step,
) -> (Done, &'static str) {
    let untold = memories.untold(key, &work.events);
    noted::tell(&parts.recorder, &work.whom, &untold);
    let (mut outcome, failures) = parts.executor.carry_out_instances(work).await;
    if outcome.is_ok() {
        let pre_download = parts.executor.carry_out_pre_download(&work.whom, pre_download);
        outcome.merge(pre_download.await);
    }
    let is_ok = outcome.is_ok();
    memories.change(key, |known| {
        // The condition that says that something failed goes with the next decision, for which nothing else may ask.
        let known = known.failures();
        outcome.is_stale |= is_ok && *known != failures;
        *known = failures;
    });
    let ending = Ending {
        whom: &work.whom,
        outcome: &outcome,
        requeue_after: work.requeue_after,
        marked_at: memories.take_mark(key),
    };
    ending.close(&parts.recorder, &parts.metrics)
}
