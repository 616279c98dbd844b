//! What every controller remembers of a workload between reconciles, and how a reconcile ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pitstop_api::{Timestamp, reasons};
use pitstop_engine::plan::{Event, Progress, Reason, Waiting};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::api::{MissingRight, REMEDY};
use crate::events::{Record, Recorder};
use crate::executor::{Outcome, Whom};
use crate::metrics::Metrics;
use crate::queue::Done;

/// Every workload is looked at this often even if nothing happens. Source: daemonset.md C5.8.
pub(super) const RESYNC: Duration = Duration::from_mins(5);
/// A time as objects carry it.
pub(super) fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// How many "told once" are remembered for one workload.
const TOLD: usize = 100;

/// What is remembered of a workload. Losing it costs at most a repeated event.
#[derive(Debug, Default)]
pub(super) struct Noted {
    told: BTreeSet<(&'static str, String)>,
    waiting: BTreeMap<&'static str, usize>,
    stopped: Option<&'static str>,
    progress: Progress,
    marked_at: Option<Instant>,
}

impl Noted {
    /// Forgets everything but when it was marked: another object has its name.
    pub(super) fn renew(&mut self) {
        *self = Self {
            marked_at: self.marked_at,
            ..Self::default()
        };
    }

    /// Something happened to it.
    pub(super) fn mark(&mut self) {
        self.marked_at.get_or_insert_with(Instant::now);
    }

    /// When something happened to it first since this was asked last.
    pub(super) fn take_mark(&mut self) -> Option<Instant> {
        self.marked_at.take()
    }

    /// What a decision said about its pods.
    pub(super) fn decided(&mut self, waiting: &[Waiting], progress: &Progress) {
        self.waiting.clear();
        self.stopped = None;
        for Waiting { reason, .. } in waiting {
            *self.waiting.entry(reason.word()).or_default() += 1;
            if matches!(
                reason,
                Reason::NodesLost { until: None, .. } | Reason::DeadlineExceeded { .. }
            ) {
                self.stopped = Some(reason.word());
            }
        }
        self.progress.clone_from(progress);
    }

    /// Why it is stopped until somebody lets it go on, if it is.
    pub(super) fn stopped(&self) -> Option<&'static str> {
        self.stopped
    }

    /// What the last decision counted.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Adds the pods that are not at the target, by reason.
    pub(super) fn add_waiting(&self, sum: &mut BTreeMap<&'static str, usize>) {
        for (reason, n) in &self.waiting {
            *sum.entry(*reason).or_default() += n;
        }
    }

    /// The events that were not told yet, as far as they are told once only.
    pub(super) fn untold<'a>(&mut self, events: &'a [Event]) -> Vec<&'a Event> {
        if self.told.len() > TOLD {
            self.told.clear();
        }
        events
            .iter()
            .filter(|event| match &event.once_per {
                None => true,
                Some(value) => self.told.insert((event.reason, value.clone())),
            })
            .collect()
    }
}

/// Publishes events of a decision.
pub(super) fn tell(recorder: &Recorder, whom: &Whom, events: &[&Event]) {
    for event in events {
        recorder.publish(Record {
            source: whom.source,
            about: whom.about.clone(),
            is_warning: event.is_warning,
            reason: event.reason,
            message: event.message.clone().into_owned(),
        });
    }
}

/// Tells those who look at the workload; who runs the controllers is told by [`crate::api::Rights`].
pub(super) fn tell_missing(recorder: &Recorder, whom: &Whom, right: &MissingRight) {
    recorder.publish(Record {
        source: whom.source,
        about: whom.about.clone(),
        is_warning: true,
        reason: reasons::NOT_ALLOWED,
        message: format!("{right}; {REMEDY}"),
    });
}

/// The end of a reconcile.
pub(super) struct Ending<'a> {
    pub(super) whom: &'a Whom,
    pub(super) outcome: &'a Outcome,
    /// When to decide again even if nothing happens, says the plan.
    pub(super) requeue_after: Option<Duration>,
    pub(super) marked_at: Option<Instant>,
}

impl Ending<'_> {
    /// How to go on, and the word for metrics.
    pub(super) fn close(&self, recorder: &Recorder, metrics: &Metrics) -> (Done, &'static str) {
        let (whom, outcome) = (self.whom, self.outcome);
        let workload = format_args!("{}/{}", whom.about.namespace, whom.about.name);
        if let Some(marked_at) = self.marked_at.filter(|_| outcome.n_written > 0) {
            metrics.observe_event_to_action(whom.controller, marked_at.elapsed());
        }
        match &outcome.failure {
            Some(error) => match error.missing_right() {
                Some(right) => {
                    // What becomes of pods has events of its own.
                    if !right.is_about_pods() {
                        tell_missing(recorder, whom, &right);
                    }
                    (Done::NotAllowed, "not_allowed")
                }
                None => {
                    warn!(%workload, %error, "plan not carried out");
                    (Done::Failed(outcome.retry_after()), "failed")
                }
            },
            None if outcome.is_stale => {
                debug!(%workload, "the state has changed, deciding again");
                (Done::Failed(None), "stale")
            }
            None => {
                let wishes = [self.requeue_after, outcome.again_in, Some(RESYNC)];
                let after = wishes.into_iter().flatten().min();
                let result = if outcome.n_written > 0 {
                    "written"
                } else {
                    "unchanged"
                };
                (Done::Ok(after), result)
            }
        }
    }
}
