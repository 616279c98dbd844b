//! The node-loss guard: a rollout whose new version may be killing nodes is stopped.
//!
//! An updated node is *lost* when it turns NotReady within five minutes of its update, and is not back at once. From the
//! threshold on nothing is touched: the rollout waits until five minutes have passed since the last loss, so that the fate
//! of every node that was just updated is known. It is *stopped*, until somebody lets it go on, when so many losses are
//! clearly more than what happens to nodes that were not updated at the time. That keeps the ordinary flapping of edge
//! nodes from stopping rollouts, and nodes that a NotReady node costs no budget from being fed to a version that kills
//! them.
//!
//! **How it weighs.** Two explanations are compared by what they say of every updated node since the rollout began. One:
//! nodes are lost with the probability `q` with which nodes that were not updated turned NotReady at the time. The other:
//! the update costs a node with probability `p`; for `p` stand four values of equal weight. Survivors count by the part of
//! their five minutes that has passed. If the first explanation is true, the ratio of the two reaches 1,000 at any time of
//! a rollout with a probability of at most 1 in 1,000 (Ville's inequality), however often it is looked at.
//!
//! **What it remembers** is in objects: a loss in a condition of the pod, with `q` at the time, since the node may return
//! and the others recover; how many there were, and the stop, in a condition of the DaemonSet, since a node that dies may be
//! taken out of the cluster, and its pod with it. Both name the revision that they are about.
//!
//! Source: spec/README.md, `node-loss-guard`; users.md section 5, need 1, and W2.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::reasons;
use pitstop_api::view::{
    ConditionStatus, NodeView, PodCondition, PodView, RevisionView, Uid, revision_message,
};

use crate::availability::later;
use crate::daemonset::in_place::updated_at;
use crate::daemonset::own_keys::OwnKeys;
use crate::plan::{Action, Event, Reason};
use crate::revision::Current;
use crate::snapshot::Snapshot;

/// For how long after its update the loss of a node is put down to it, and before that the losses of others are looked at.
///
/// Units: seconds. Source: spec/README.md, `node-loss-guard`.
pub const WINDOW: SignedDuration = SignedDuration::from_mins(5);
/// How likely an ordinary node turns NotReady within the window, at least: somewhat more than with one outage a day (5 of
/// 1,440 minutes, 0.0035). Range: 0..1.
const USUAL: f64 = 0.005;
/// How many nodes seen weigh as much as what is usual. Units: nodes.
const USUAL_WEIGHS: f64 = 500.0;
/// How likely the update costs a node, if it does. Range: 0..1.
const DEADLY: [f64; 4] = [0.05, 0.2, 0.5, 0.9];
/// How much better the worse explanation has to be: a rollout is stopped by mistake with a probability of at most one in
/// so many. Source: spec/README.md, `node-loss-guard`; issue 9.
const CLEARLY: f64 = 1000.0;
/// A node that has been Ready since it is this old has never been away: nodes begin NotReady.
///
/// Units: seconds.
const BEGINS: SignedDuration = SignedDuration::from_mins(10);
/// Losses of others that are not further than this from one are near it: a storm takes many nodes at once, and then the
/// average over a window says too little.
///
/// Units: seconds. Range: up to half of [`WINDOW`]. The node controller marks the nodes of one cut within 10 s.
const NEAR: SignedDuration = SignedDuration::from_secs(30);
/// A node that is back within so long was not lost to a version: no machine dies and starts again as fast. An API server that
/// was away for a while finds nodes that could not report, marks them one after another, the updated ones maybe first, and they
/// are back with their next report. Until it is seen whether a node comes back it holds the rollout, and does not stop it.
///
/// Units: seconds. A kubelet reports every 10 s, and the node controller looks every 5 s.
const SETTLES: SignedDuration = SignedDuration::from_secs(20);
/// How many times as long a window is as what is near.
const NEAR_PER_WINDOW: f64 = 5.0;
/// From so many losses nearby on, or from half of the nodes on, they alone say how likely one was.
const STORM: u32 = 5;
/// A background that rose by this factor while a loss is fresh is written down anew.
const RISEN: f64 = 1.5;

/// An updated node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Updated {
    /// For how long it has run the new version. Units: seconds.
    pub for_seconds: f64,
    /// If it was lost: how likely nodes that were not updated were lost at the time. Range: 0..=1.
    pub lost_against: Option<f64>,
}

/// By how much better the losses are explained by the update than by what happens to nodes anyway, as a natural logarithm,
/// at most: survivors count as if nothing ever happened to nodes.
pub fn weigh(nodes: &[Updated]) -> f64 {
    let window = WINDOW.as_secs_f64();
    let ratio = |p: f64| {
        let of_node = |node: &Updated| match node.lost_against {
            Some(q) => (p / q).ln(),
            None => {
                let part = (node.for_seconds / window).clamp(0.0, 1.0);
                (1.0 - p * part).ln()
            }
        };
        nodes.iter().map(of_node).sum::<f64>()
    };
    let ratios = DEADLY.map(ratio);
    let highest = ratios.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let mean = ratios
        .into_iter()
        .map(|ratio| (ratio - highest).exp())
        .sum::<f64>()
        / 4.0;
    highest + mean.ln()
}

/// How likely a node that was not updated is lost within the window: of `n` such nodes, `n_lost` were. Range: 0..1.
pub fn background(n_lost: u32, n: u32) -> f64 {
    (f64::from(n_lost) + USUAL * USUAL_WEIGHS) / (f64::from(n) + USUAL_WEIGHS)
}

/// The same from how long nodes have been Ready: `n` of them came back some time, and all together they have been Ready for
/// so many `windows`. A few nodes that flap all the time show it in this way only.
fn habit(n: u32, windows: f64) -> f64 {
    if n == 0 {
        0.0
    } else {
        (f64::from(n) / windows.max(1.0)).min(1.0)
    }
}

/// A node that was lost after its update.
struct Loss<'a> {
    pod: &'a PodView,
    at: Timestamp,
    updated_at: Timestamp,
    /// The background that was written down for it.
    recorded: Option<f64>,
}

/// The losses of a rollout, those on nodes and of pods that are gone included.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Losses {
    n: u32,
    /// Of those: nothing is left that shows them.
    n_gone: u32,
    last_at: Timestamp,
    /// The highest background of them. Range: 0..=1.
    against: f64,
}

/// What comes before the time of the last loss in the message of the condition of a DaemonSet.
const LAST_AT: &str = "the last at ";
/// What comes before the number of losses there.
const LOST: &str = "lost: ";
/// What comes before the number of those that nothing is left of.
const GONE: &str = "gone: ";

impl Losses {
    /// As it is written in the condition of a DaemonSet about this revision, where nobody let the rollout go on since.
    fn read(written: Option<&PodCondition>, target: &str, resumed_at: Option<Timestamp>) -> Option<Self> {
        let message = &written.filter(|written| written.revision() == target)?.message;
        let part = |mark: &str| message.split("; ").find_map(|part| part.strip_prefix(mark));
        let losses = Self {
            n: part(LOST)?.parse().ok()?,
            n_gone: part(GONE)?.parse().ok()?,
            last_at: part(LAST_AT)?.parse().ok()?,
            against: background_in(message)?,
        };
        let is_over = resumed_at.is_some_and(|resumed_at| losses.last_at <= resumed_at);
        (!is_over).then_some(losses)
    }

    fn words(&self) -> String {
        let Self {
            n,
            n_gone,
            last_at,
            against,
        } = self;
        format!("{LOST}{n}; {GONE}{n_gone}; {LAST_AT}{last_at}; {BACKGROUND}{against:.4}")
    }
}

/// What is seen of a rollout.
pub(super) struct Sight<'a> {
    now: Timestamp,
    target: &'a Arc<str>,
    began_at: Timestamp,
    resumed_at: Option<Timestamp>,
    updated: u32,
    survivors: Vec<Updated>,
    losses: Vec<Loss<'a>>,
    /// When nodes turned NotReady that may be back at once.
    unsettled: Vec<Timestamp>,
    /// The losses that were written down.
    known: Option<Losses>,
    /// Nodes that were not updated of late: how many, how many turned NotReady within the window, and Ready.
    others: (u32, u32, u32),
    /// When others turned NotReady, of late. Sorted when all are there.
    others_lost_at: Vec<Timestamp>,
    /// Others that are Ready: how many came back some time, and for how many windows they all have been Ready.
    habit: (u32, f64),
}

/// What comes of it.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) blocked: Option<Reason>,
    pub(super) wake_at: Option<Timestamp>,
    pub(super) actions: Vec<Action>,
    pub(super) event: Option<Event>,
}

/// When the rollout began, at the earliest: no revision came later. A pod of the target that is older was not updated by
/// it, as after a rollback.
fn began_at(revisions: &[&RevisionView], owner: Uid) -> Timestamp {
    let owned = revisions.iter().filter(|revision| {
        revision
            .controller
            .is_some_and(|controller| controller.uid == owner)
    });
    owned
        .map(|revision| revision.created_at)
        .max()
        .unwrap_or(Timestamp::MIN)
}

impl<'a> Sight<'a> {
    pub(super) fn new(snapshot: &Snapshot<'_>, current: &'a Current, keys: &OwnKeys) -> Self {
        Self {
            now: snapshot.now,
            target: &current.target,
            began_at: began_at(&snapshot.revisions, snapshot.daemonset.uid),
            resumed_at: keys.resumed_at,
            updated: 0,
            survivors: Vec::new(),
            losses: Vec::new(),
            unsettled: Vec::new(),
            known: Losses::read(
                snapshot.daemonset.conditions.get(reasons::NODES_LOST),
                &current.target,
                keys.resumed_at,
            ),
            others: (0, 0, 0),
            others_lost_at: Vec::new(),
            habit: (0, 0.0),
        }
    }

    /// Takes in a node, and its pod of the target if it has one.
    pub(super) fn add(&mut self, node: &NodeView, pod: Option<&'a PodView>) {
        let pod = pod.map(|pod| (pod, updated_at(pod)));
        let Some((pod, updated_at)) = pod.filter(|(_, at)| *at >= self.began_at) else {
            self.add_other(node);
            return;
        };
        self.updated = self.updated.saturating_add(1);
        let recorded = pod
            .node_lost()
            .filter(|lost| lost.is_true() && lost.revision() == &**self.target);
        let seen = node
            .ready
            .filter(|ready| !ready.is_true)
            .and_then(|ready| ready.since);
        let seen = seen.filter(|at| *at > updated_at && at.duration_since(updated_at) <= WINDOW);
        let Some(at) = recorded.and_then(|lost| lost.since).or(seen) else {
            let for_ = self.now.duration_since(updated_at);
            // What was written down has no part in the losses of others any more.
            if for_ > WINDOW.saturating_mul(2) {
                self.add_other(node);
            }
            self.survivors.push(Updated {
                for_seconds: for_.as_secs_f64(),
                lost_against: None,
            });
            return;
        };
        if self.resumed_at.is_some_and(|resumed_at| at <= resumed_at) {
            return;
        }
        if recorded.is_none() && self.now.duration_since(at) < SETTLES {
            self.unsettled.push(at);
            return;
        }
        let recorded = recorded.and_then(|lost| background_in(&lost.message));
        self.losses.push(Loss {
            pod,
            at,
            updated_at,
            recorded,
        });
    }

    /// A node that turned Ready within the window was lost before: over time there are as many of those as of losses, and
    /// they show outages that ended soon. A node that turned NotReady shows those that begin now.
    fn add_other(&mut self, node: &NodeView) {
        let (n, n_lost, n_back) = &mut self.others;
        *n = n.saturating_add(1);
        let of_late = |at: Timestamp| self.now.duration_since(at) < WINDOW;
        let Some((is_ready, since)) = node.ready.and_then(|ready| Some((ready.is_true, ready.since?))) else {
            return;
        };
        // A node that has just come for the first time was not lost before.
        let has_returned = since.duration_since(node.created_at) > BEGINS;
        if is_ready {
            let (n_returned, windows) = &mut self.habit;
            *n_returned = n_returned.saturating_add(u32::from(has_returned));
            let age = self.now.duration_since(since).as_secs_f64().max(0.0);
            *windows += age / WINDOW.as_secs_f64();
        }
        if of_late(since) && (!is_ready || has_returned) {
            let count = if is_ready { n_back } else { n_lost };
            *count = count.saturating_add(1);
        }
        if !is_ready && self.now.duration_since(since) < WINDOW.saturating_add(NEAR) {
            self.others_lost_at.push(since);
        }
    }

    /// Judges the rollout.
    pub(super) fn judge(mut self, snapshot: &Snapshot<'_>, keys: &OwnKeys, n_old: u32) -> Verdict {
        self.others_lost_at.sort_unstable();
        let written = snapshot.daemonset.conditions.get(reasons::NODES_LOST);
        let stopped = written.filter(|condition| condition.is_true());
        let mut verdict = Verdict::default();
        let background = self.background();
        let losses = self.losses(background);
        let n_unsettled = u32::try_from(self.unsettled.len()).unwrap_or(u32::MAX);
        let lost = losses.map_or(0, |losses| losses.n);
        let settles_at = self
            .unsettled
            .iter()
            .min()
            .map(|at| later(*at, SETTLES.as_secs()));
        verdict.wake_at = settles_at;
        let updated = self
            .updated
            .saturating_add(losses.map_or(0, |losses| losses.n_gone));
        let threshold = keys.node_loss_guard.threshold(updated);
        let holds = stopped.is_some_and(|stopped| {
            let is_over = self
                .resumed_at
                .zip(stopped.since)
                .is_some_and(|(at, since)| at >= since);
            threshold.is_some() && stopped.revision() == &**self.target && !is_over
        });
        let reason = |until| Reason::NodesLost {
            lost: lost.saturating_add(n_unsettled),
            updated,
            until,
        };
        let counted = format!("{lost} of {updated} updated nodes turned NotReady within 5 minutes of it");
        let sentence =
            |threshold| format!("{counted} (the guard acts from {threshold} on), clearly more than others");
        if let Some((stopped, threshold)) = stopped.zip(threshold).filter(|_| holds) {
            verdict.blocked = Some(reason(None));
            // What is lost after the stop is counted, too, and written down, so that the number does not go back and forth
            // with the nodes.
            verdict.actions.extend(self.records(background));
            let message = self.message(&sentence(threshold), losses);
            if losses.is_some() && message != stopped.message {
                let condition = PodCondition {
                    message,
                    ..stopped.clone()
                };
                verdict.actions.push(condition_of(condition));
            }
            return verdict;
        }
        // Where nothing is left to update, there is nothing to stop.
        let threshold = threshold.filter(|_| n_old > 0);
        let told = losses.filter(|_| threshold.is_some());
        let is_news = told.is_some() && told != self.known;
        if is_news || stopped.is_some() {
            let text = if told.is_some() {
                counted.as_str()
            } else {
                "the rollout goes on"
            };
            let since = written
                .filter(|_| stopped.is_none())
                .and_then(|written| written.since);
            let goes_on = self.condition(false, reasons::ROLLOUT_GOES_ON, self.message(text, told));
            verdict.actions.push(condition_of(PodCondition {
                since: since.or(goes_on.since),
                ..goes_on
            }));
        }
        let Some(threshold) = threshold else {
            return verdict;
        };
        verdict.actions.extend(self.records(background));
        if lost.saturating_add(n_unsettled) < threshold {
            return verdict;
        }
        let enough = losses.filter(|losses| losses.n >= threshold);
        let clear = enough.filter(|losses| self.weight(background, losses) >= CLEARLY.ln());
        let times = self.unsettled.iter().copied();
        let last_at = times.chain(losses.map(|losses| losses.last_at)).max();
        let until = last_at.map_or(self.now, |at| later(at, WINDOW.as_secs()));
        if let Some(losses) = clear {
            verdict.blocked = Some(reason(None));
            let text = sentence(threshold);
            let is_set = |action: &Action| matches!(action, Action::SetCondition { .. });
            verdict.actions.retain(|action| !is_set(action));
            let message = self.message(&text, Some(losses));
            let stop = self.condition(true, reasons::NODES_LOST_AFTER_UPDATE, message);
            verdict.actions.push(condition_of(stop));
            verdict.event = Some(self.stop_event(snapshot, &text));
        } else if self.now < until {
            verdict.blocked = Some(reason(Some(until)));
            verdict.wake_at = Some(settles_at.map_or(until, |at| at.min(until)));
        }
        verdict
    }

    /// The losses so far: never fewer than were written down. A loss that came later than all of these is a new one; where
    /// fewer are seen than there were, the others are gone.
    fn losses(&self, background: f64) -> Option<Losses> {
        let n_seen = u32::try_from(self.losses.len()).unwrap_or(u32::MAX);
        let last_at = self.losses.iter().map(|loss| loss.at).max();
        let against = self
            .losses
            .iter()
            .map(|loss| self.counts_against(loss, background));
        let against = against.fold(0.0, f64::max);
        let Some(known) = self.known else {
            return Some(Losses {
                n: n_seen,
                n_gone: 0,
                last_at: last_at?,
                against,
            });
        };
        let later = self.losses.iter().filter(|loss| loss.at > known.last_at);
        let n_new = u32::try_from(later.count()).unwrap_or(u32::MAX);
        let n = known.n.saturating_add(n_new).max(n_seen);
        Some(Losses {
            n,
            n_gone: n.saturating_sub(n_seen),
            last_at: last_at.map_or(known.last_at, |at| at.max(known.last_at)),
            against: if against > known.against * RISEN {
                against
            } else {
                known.against
            },
        })
    }

    fn records(&self, background: f64) -> Vec<Action> {
        let losses = self.losses.iter();
        losses.filter_map(|loss| self.record(loss, background)).collect()
    }

    fn stop_event(&self, snapshot: &Snapshot<'_>, text: &str) -> Event {
        let name = &snapshot.daemonset.name;
        Event {
            is_warning: true,
            reason: reasons::NODES_LOST_AFTER_UPDATE,
            message: Cow::Owned(format!(
                "revision {}: {text}: the new version may cost nodes, and no other is touched; go back to the old image with \
                 `pitstop undo ds/{name}`, or go on with `pitstop resume ds/{name}`",
                self.target
            )),
            once_per: Some(format!(
                "{}/{}/{:?}",
                snapshot.daemonset.generation, self.target, self.resumed_at
            )),
        }
    }

    fn background(&self) -> f64 {
        let (n, n_lost, n_back) = self.others;
        let (n_returned, windows) = self.habit;
        background(n_lost.max(n_back), n)
            .max(habit(n_returned, windows))
            .max(USUAL)
    }

    /// How likely a node that was not updated was lost within the window, when this one was, as far as it is seen now.
    fn against(&self, loss: &Loss<'_>, background: f64) -> f64 {
        let times = &self.others_lost_at;
        let from = times.partition_point(|at| at.duration_since(loss.at) < -NEAR);
        let to = times.partition_point(|at| at.duration_since(loss.at) <= NEAR);
        let n_near = u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX);
        let (n, ..) = self.others;
        let per_window = f64::from(n_near) * NEAR_PER_WINDOW;
        let is_storm = n_near >= STORM || (n_near > 0 && n_near.saturating_mul(2) >= n);
        let near = if is_storm {
            per_window / f64::from(n)
        } else {
            (per_window + USUAL * USUAL_WEIGHS) / (f64::from(n) + USUAL_WEIGHS)
        };
        background.max(near).min(1.0)
    }

    fn is_fresh(&self, loss: &Loss<'_>) -> bool {
        self.now.duration_since(loss.at) < WINDOW
    }

    /// How likely a node that was not updated was lost when this one was: as written down, or more where others share it still.
    fn counts_against(&self, loss: &Loss<'_>, background: f64) -> f64 {
        match loss.recorded {
            Some(recorded) if !self.is_fresh(loss) => recorded,
            recorded => recorded.unwrap_or_default().max(self.against(loss, background)),
        }
    }

    fn weight(&self, background: f64, losses: &Losses) -> f64 {
        let seen = self.losses.iter().map(|loss| Updated {
            for_seconds: loss.at.duration_since(loss.updated_at).as_secs_f64(),
            lost_against: Some(self.counts_against(loss, background)),
        });
        let gone = Updated {
            for_seconds: 0.0,
            lost_against: Some(losses.against),
        };
        let gone = std::iter::repeat_n(gone, usize::try_from(losses.n_gone).unwrap_or(usize::MAX));
        let nodes: Vec<Updated> = seen.chain(gone).chain(self.survivors.iter().copied()).collect();
        weigh(&nodes)
    }

    /// Writes a loss down that is not yet, or that more others shared since.
    fn record(&self, loss: &Loss<'_>, background: f64) -> Option<Action> {
        let background = self.against(loss, background);
        let is_known = loss
            .recorded
            .is_some_and(|recorded| !self.is_fresh(loss) || background < recorded * RISEN);
        if is_known {
            return None;
        }
        let after = loss.at.duration_since(loss.updated_at).as_secs();
        let message = format!(
            "{}; its node turned NotReady {after} s after the update; {BACKGROUND}{background:.4}",
            revision_message(self.target)
        );
        Some(Action::SetPodCondition {
            name: Arc::clone(&loss.pod.name),
            uid: loss.pod.uid,
            kind: reasons::NODE_LOST,
            condition: PodCondition {
                status: ConditionStatus::True,
                reason: reasons::NODES_LOST_AFTER_UPDATE.into(),
                message: message.into(),
                since: Some(loss.at),
            },
        })
    }

    fn condition(&self, is_true: bool, reason: &str, message: Arc<str>) -> PodCondition {
        let now = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
        PodCondition {
            status: is_true.into(),
            reason: reason.into(),
            message,
            since: Some(now),
        }
    }

    fn message(&self, text: &str, losses: Option<Losses>) -> Arc<str> {
        let words = losses.map_or(String::new(), |losses| format!("; {}", losses.words()));
        format!("{}; {text}{words}", revision_message(self.target)).into()
    }
}

/// Writes the condition of a DaemonSet.
fn condition_of(condition: PodCondition) -> Action {
    Action::SetCondition {
        kind: reasons::NODES_LOST,
        condition,
    }
}

/// What comes before the background in the message of a recorded loss, and of those of a DaemonSet: the end of it.
const BACKGROUND: &str = "of others per window: ";

fn background_in(message: &str) -> Option<f64> {
    let (_, number) = message.rsplit_once(BACKGROUND)?;
    let background: f64 = number.parse().ok()?;
    (background > 0.0 && background <= 1.0).then_some(background)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(background: f64) -> Updated {
        Updated {
            for_seconds: 60.0,
            lost_against: Some(background),
        }
    }

    fn survivor(for_seconds: f64) -> Updated {
        Updated {
            for_seconds,
            lost_against: None,
        }
    }

    fn is_clear(n_lost: usize, survivors: &[f64], background: f64) -> bool {
        let losses = std::iter::repeat_n(lost(background), n_lost);
        let nodes: Vec<Updated> = losses.chain(survivors.iter().map(|s| survivor(*s))).collect();
        weigh(&nodes) >= CLEARLY.ln()
    }

    #[test]
    fn losses_are_weighed_against_those_of_others() {
        let (calm, usual, storm) = (background(0, 498), background(2, 498), background(100, 400));
        for (id, n_lost, survivors, background, want) in [
            ("both of two, as in W2", 2, vec![], calm, true),
            ("both of two on an ordinary day", 2, vec![], usual, true),
            (
                "both of two of a handful of nodes",
                2,
                vec![],
                background(0, 3),
                true,
            ),
            ("one says nothing", 1, vec![], calm, false),
            (
                "all in a storm, in which a fifth of the others go",
                2,
                vec![],
                storm,
                false,
            ),
            ("two of 50", 2, vec![300.0; 48], usual, false),
            ("two of 50 that have just begun", 2, vec![40.0; 48], usual, false),
            ("two of 500 over a day", 2, vec![300.0; 498], usual, false),
            ("10 of 50 on an ordinary day", 10, vec![300.0; 40], usual, true),
            ("10 of 50 in a storm", 10, vec![300.0; 40], storm, false),
            (
                "two of two that flap every 10 min",
                2,
                vec![],
                habit(5, 10.0),
                false,
            ),
            (
                "25 of 500: a twentieth is not usual",
                25,
                vec![300.0; 475],
                usual,
                true,
            ),
        ] {
            assert_eq!(is_clear(n_lost, &survivors, background), want, "{id}");
        }
    }

    #[test]
    fn habits_of_nodes_show_in_how_long_they_have_been_ready() {
        // 498 nodes with one outage a day have been Ready for half a day to a day each.
        let day = 24.0 * 12.0;
        assert!(habit(498, 498.0 * day) < USUAL);
        // Five that are away every 10 min.
        assert!(habit(5, 5.0 * 2.0) > 0.4);
        // None was ever away.
        assert!(habit(0, 0.1) < USUAL);
    }

    #[test]
    fn the_background_is_read_back_as_it_was_written() {
        for (message, want) in [
            (
                "controllerrevision: 123; its node turned NotReady 45 s after the update; of others per window: 0.0047",
                Some(0.0047),
            ),
            ("controllerrevision: 123", None),
            ("of others per window: x", None),
            ("of others per window: 0.0000", None),
            ("of others per window: 2", None),
            ("of others per window: NaN", None),
        ] {
            assert_eq!(background_in(message), want, "{message}");
        }
    }
}
