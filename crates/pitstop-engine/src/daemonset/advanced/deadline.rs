//! `pitstop.io/progress-deadline-seconds` and `pitstop.io/on-failure`: when a rollout has failed, and what then.
//!
//! Whatever is remembered is in the condition `Progressing` of the DaemonSet, whose message names the revision that it is
//! about. When the rollout moved last follows from that and from its pods. So it does not matter when a controller starts.
//!
//! **It goes back once.** The condition says where the template goes before it does, and from then on, as long as the template
//! stays that and nobody resumes the rollout, which revision was left. Where that one does not move either, the fault is
//! hardly in a revision: a node may be unable to start any. Then it stays where it is.
//!
//! Source: spec/README.md, "Our own keys"; users.md W1.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::view::{ConditionStatus, DaemonSetView, PodCondition, RevisionView, revision_message};
use pitstop_api::{keys, reasons};

use crate::availability::later;
use crate::daemonset::own_keys::{OnFailure, OwnKeys};
use crate::daemonset::owned_pods;
use crate::plan::{Action, Event, Plan, Reason};
use crate::revision::{self, Current};
use crate::snapshot::Snapshot;

/// Where a rollout stands.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// What keeps every pod from being touched.
    pub(super) hold: Option<Reason>,
    /// Outdated pods that nothing but the budget keeps.
    pub(super) n_left: u32,
    /// Pods that are down and count.
    pub(super) n_unavailable: u32,
    /// Outdated pods outside the canary.
    pub(super) n_outside: u32,
    /// Outdated pods that the partition keeps.
    pub(super) n_kept: u32,
    /// Outdated pods that are left alone while they work.
    pub(super) n_protected: u32,
    /// Nodes with an outdated pod, or none, that are passed over.
    pub(super) n_excluded: u32,
    /// When a pod of the target was made, or became available, last.
    pub(super) moved_at: Option<Timestamp>,
}

/// What becomes of the rollout.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// What keeps every pod from being touched from now on.
    pub(super) blocked: Option<Reason>,
    /// When it would have failed.
    pub(super) wake_at: Option<Timestamp>,
}

/// What the condition is to say.
enum Told {
    /// As it is.
    AsItIs,
    /// This, since when it is said first.
    Say(ConditionStatus, &'static str, String),
}

/// Judges a rollout, and writes into the plan what is to be told and done.
pub(super) fn judge(
    snapshot: &Snapshot<'_>,
    current: &Current,
    keys: &OwnKeys,
    standing: &Standing,
    plan: &mut Plan,
) -> Verdict {
    let daemonset = snapshot.daemonset;
    let written = daemonset.conditions.get(reasons::PROGRESSING);
    let about_target = written.filter(|condition| condition.revision() == &*current.target);
    let Some(seconds) = keys.progress_deadline_seconds else {
        if written.is_some_and(|condition| condition.status != ConditionStatus::Unknown) {
            let text = format!("{} is not set", keys::PROGRESS_DEADLINE_SECONDS);
            let told = Told::Say(ConditionStatus::Unknown, reasons::NO_DEADLINE, text);
            tell(snapshot, current, about_target, told, plan);
        }
        return Verdict::default();
    };
    let mut verdict = Verdict::default();
    let told = match &standing.hold {
        Some(Reason::NotObserved) => Told::AsItIs,
        // Without times and numbers: what changes with every look would be written with every look.
        Some(hold) => Told::Say(
            ConditionStatus::Unknown,
            hold.word(),
            "no pod is touched".to_owned(),
        ),
        None => {
            let clock = Clock {
                now: snapshot.now,
                seconds,
                keys,
                condition: about_target,
            };
            clock.read(standing, &mut verdict)
        }
    };
    let left = Left::read(written, current, keys);
    let has_failed = matches!(&told, Told::Say(ConditionStatus::False, ..));
    let told = if has_failed || verdict.blocked.is_some() {
        let failed = Failed {
            snapshot,
            current,
            keys,
            seconds,
            left: left.as_ref(),
            goes_back_to: about_target.and_then(|condition| after_mark(&condition.message, BACK_TO)),
        };
        failed.act(plan).map_or(told, |back_to| {
            let text = format!("{}; {BACK_TO}{}", not_moved(seconds), back_to.hash());
            Told::Say(ConditionStatus::False, reasons::PROGRESS_DEADLINE_EXCEEDED, text)
        })
    } else {
        told
    };
    let told = match (told, left) {
        (Told::Say(status, reason, text), Some(left)) => {
            Told::Say(status, reason, format!("{text}; {BACK_FROM}{}", left.revision))
        }
        (told, _) => told,
    };
    tell(snapshot, current, about_target, told, plan);
    verdict
}

/// Before the hash of the revision that the template goes back to, in the message of the condition.
const BACK_TO: &str = "back to revision: ";
/// Before the hash of the revision that the template came back from.
const BACK_FROM: &str = "back from revision: ";

fn not_moved(seconds: u32) -> String {
    format!("nothing has moved for {seconds} s")
}

/// What stands after a mark in a message, up to the next semicolon.
fn after_mark<'a>(message: &'a str, mark: &str) -> Option<&'a str> {
    let mut parts = message.split("; ");
    parts.find_map(|part| part.strip_prefix(mark))
}

/// A revision that failed, and that the template went back from to the target.
#[derive(Debug)]
struct Left {
    revision: String,
}

impl Left {
    /// As it is written: with the target, or with the revision that was left, whose condition says that the target comes next.
    fn read(written: Option<&PodCondition>, current: &Current, keys: &OwnKeys) -> Option<Self> {
        let written = written?;
        let is_resumed = keys
            .resumed_at
            .zip(written.since)
            .is_some_and(|(at, since)| at >= since);
        if is_resumed {
            return None;
        }
        let revision = if written.revision() == &*current.target {
            after_mark(&written.message, BACK_FROM)
        } else {
            let next = after_mark(&written.message, BACK_TO);
            next.filter(|next| **next == *current.target)
                .map(|_| written.revision())
        };
        revision.map(|revision| Self {
            revision: revision.to_owned(),
        })
    }
}

/// How long nothing has moved.
struct Clock<'a> {
    now: Timestamp,
    seconds: u32,
    keys: &'a OwnKeys,
    condition: Option<&'a PodCondition>,
}

impl Clock<'_> {
    fn read(&self, standing: &Standing, verdict: &mut Verdict) -> Told {
        let since = self.condition.and_then(|condition| condition.since);
        let is_resumed = self
            .keys
            .resumed_at
            .zip(since)
            .is_some_and(|(at, since)| at >= since);
        let has_failed = self
            .condition
            .is_some_and(|condition| condition.status == ConditionStatus::False);
        if has_failed && !is_resumed {
            let goes_on = self.keys.on_failure == OnFailure::Report;
            if !goes_on {
                verdict.blocked = Some(self.exceeded());
                return Told::AsItIs;
            }
            let has_moved = standing.moved_at.zip(since).is_some_and(|(at, since)| at > since);
            if !has_moved && Self::is_running(standing, false) {
                return Told::AsItIs;
            }
        }
        let is_at_rest = self.condition.is_some_and(|condition| {
            condition.status == ConditionStatus::True && &*condition.reason != reasons::ROLLOUT_PROGRESSING
        });
        if !Self::is_running(standing, is_at_rest) {
            let (reason, text) = at_rest(standing);
            return Told::Say(ConditionStatus::True, reason, text);
        }
        let runs_since = since.filter(|_| {
            self.condition
                .is_some_and(|condition| &*condition.reason == reasons::ROLLOUT_PROGRESSING)
        });
        let progressing = Told::Say(
            ConditionStatus::True,
            reasons::ROLLOUT_PROGRESSING,
            "pods are replaced".to_owned(),
        );
        let Some(started_at) = runs_since else {
            verdict.wake_at = Some(later(self.now, self.seconds.into()));
            return progressing;
        };
        let moves = [Some(started_at), standing.moved_at, self.keys.resumed_at];
        let last = moves.into_iter().flatten().max().unwrap_or(started_at);
        let ends_at = later(last, self.seconds.into());
        if self.now < ends_at {
            verdict.wake_at = Some(ends_at);
            return progressing;
        }
        if self.keys.on_failure != OnFailure::Report {
            verdict.blocked = Some(self.exceeded());
        }
        Told::Say(
            ConditionStatus::False,
            reasons::PROGRESS_DEADLINE_EXCEEDED,
            not_moved(self.seconds),
        )
    }

    fn exceeded(&self) -> Reason {
        Reason::DeadlineExceeded {
            seconds: self.seconds,
        }
    }

    /// Is something to be expected? Pods that go down once a rollout is done are no part of it any more.
    fn is_running(standing: &Standing, is_at_rest: bool) -> bool {
        standing.n_left > 0 || (standing.n_unavailable > 0 && !is_at_rest)
    }
}

fn at_rest(standing: &Standing) -> (&'static str, String) {
    let Standing {
        n_outside,
        n_kept,
        n_protected,
        n_excluded,
        ..
    } = *standing;
    if n_outside > 0 {
        let text = format!("all nodes that {} selects are updated", keys::CANARY_NODES);
        (reasons::CANARY_AVAILABLE, text)
    } else if n_kept > 0 {
        let text = format!("all pods that {} lets go are updated", keys::PARTITION);
        (reasons::PARTITION_AVAILABLE, text)
    } else if n_protected > 0 {
        let text = format!("all pods that do not work are updated; protected={n_protected}");
        (reasons::ALL_REMAINING_PROTECTED, text)
    } else if n_excluded > 0 {
        let text = format!("all nodes that are ready are updated; excluded={n_excluded}");
        (reasons::NODES_EXCLUDED, text)
    } else {
        (reasons::ROLLOUT_COMPLETE, "all nodes are updated".to_owned())
    }
}

/// Writes the condition, when it is to say something else than it does.
fn tell(
    snapshot: &Snapshot<'_>,
    current: &Current,
    about_target: Option<&PodCondition>,
    told: Told,
    plan: &mut Plan,
) {
    let Told::Say(status, reason, text) = told else {
        return;
    };
    let message: Arc<str> = format!("{}; {text}", revision_message(&current.target)).into();
    let is_same = |is: &&PodCondition| is.status == status && *is.reason == *reason;
    let same = about_target.filter(is_same);
    if same.is_some_and(|is| is.message == message) {
        return;
    }
    let now = Timestamp::from_second(snapshot.now.as_second()).unwrap_or(snapshot.now);
    plan.actions.push(Action::SetCondition {
        kind: reasons::PROGRESSING,
        condition: PodCondition {
            status,
            reason: reason.into(),
            message,
            since: Some(same.and_then(|is| is.since).unwrap_or(now)),
        },
    });
}

/// A rollout whose deadline has passed.
struct Failed<'s, 'a> {
    snapshot: &'s Snapshot<'a>,
    current: &'s Current,
    keys: &'s OwnKeys,
    seconds: u32,
    left: Option<&'s Left>,
    /// What the condition says already.
    goes_back_to: Option<&'s str>,
}

impl<'s> Failed<'s, '_> {
    /// Tells it, and goes back where that is asked for: to the revision that is returned, as soon as the condition says so.
    fn act(&self, plan: &mut Plan) -> Option<&'s RevisionView> {
        let daemonset = self.snapshot.daemonset;
        let resume = format!(
            "it stays where it is until `pitstop resume ds/{}`, or until the template changes",
            daemonset.name
        );
        let exceeded = reasons::PROGRESS_DEADLINE_EXCEEDED;
        match self.keys.on_failure {
            OnFailure::Report => plan.events.push(self.event(exceeded, "the rollout goes on")),
            OnFailure::Pause => plan.events.push(self.event(exceeded, &resume)),
            OnFailure::Rollback => {
                if let Some(Left { revision }) = self.left {
                    let text = format!(
                        "it came back from revision {revision}, which did not move either, so the fault may be elsewhere: {resume}"
                    );
                    plan.events.push(self.event(exceeded, &text));
                    return None;
                }
                let Some(back_to) = serving(self.snapshot, self.current) else {
                    plan.events.push(self.event(exceeded, &resume));
                    return None;
                };
                let text = format!("the template goes back to revision {}", back_to.hash());
                plan.events.push(self.event(reasons::ROLLING_BACK, &text));
                if self.goes_back_to == Some(back_to.hash()) {
                    plan.actions.push(Action::RollBack {
                        uid: daemonset.uid,
                        resource_version: daemonset.resource_version,
                        hash: back_to.hash().into(),
                        data: Arc::clone(&back_to.data),
                    });
                }
                return Some(back_to);
            }
        }
        None
    }

    fn event(&self, reason: &'static str, text: &str) -> Event {
        let (daemonset, target) = (self.snapshot.daemonset, &self.current.target);
        Event {
            is_warning: true,
            reason,
            message: Cow::Owned(format!(
                "revision {target}: {} ({}); {text}",
                not_moved(self.seconds),
                keys::PROGRESS_DEADLINE_SECONDS
            )),
            once_per: Some(format!(
                "{}/{target}/{:?}",
                daemonset.generation, self.keys.resumed_at
            )),
        }
    }
}

/// The revision to go back to: of those that pods serve at, the one that most do, and of equals the newest. The revision
/// before the newest may be another that nothing ever served at.
fn serving<'s>(snapshot: &'s Snapshot<'_>, current: &Current) -> Option<&'s RevisionView> {
    let DaemonSetView {
        uid,
        min_ready_seconds,
        ..
    } = snapshot.daemonset;
    let others = snapshot.revisions.iter().copied().filter(|revision| {
        revision.controller.is_some_and(|owner| owner.uid == *uid)
            && revision::template_of(revision).is_some()
            && !current.accepted.iter().any(|hash| **hash == *revision.hash())
    });
    let serving = |revision: &RevisionView| {
        let pods = owned_pods(snapshot).filter(|pod| pod.revision_hash() == Some(revision.hash()));
        pods.filter(|pod| crate::availability::is_available(pod, *min_ready_seconds, snapshot.now))
            .count()
    };
    others
        .map(|revision| (serving(revision), revision.revision, revision))
        .filter(|(n, ..)| *n > 0)
        .max_by_key(|(n, number, _)| (*n, *number))
        .map(|(.., revision)| revision)
}
