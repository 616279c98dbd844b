//! Plans and reasons in words.

use std::fmt::Write as _;

use jiff::{Timestamp, Unit};
use pitstop_api::keys;
use pitstop_api::view::NodeNames;

use super::{Action, Plan, ProtectedBy, Reason};

impl ProtectedBy {
    /// The sentence, and for a pod that works where that is written.
    fn explain(self) -> String {
        let place = match self {
            Self::Work => " (updateStrategy.rollingUpdate.protection, or pitstop.io/update-protection)",
            _ => "",
        };
        format!("{}{place}", self.sentence())
    }

    /// A sentence for people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Work => "it is protected while it works",
            Self::Person => "it is protected by its annotation pitstop.io/arbiter-override",
            Self::Unknown => {
                "it is protected while nobody knows whether it works: it has no label that protection asks for, or its \
                 arbiter does not say; annotation pitstop.io/arbiter-override=idle on it lets it go"
            }
            Self::Silence => {
                "it is protected while its arbiter does not answer; annotation pitstop.io/arbiter-override=idle on it lets \
                 it go"
            }
            Self::Question => "its arbiter is asked whether it may go now",
            Self::Refusal => {
                "it is protected while its arbiter does not let it go; it was asked for it, and is asked again"
            }
            Self::TooFew => "fewer pods are protected than minProtected: none is disrupted until then",
            Self::Unreadable => {
                "its update protection cannot be read: no pod is disrupted until it is mended"
            }
        }
    }
}

impl Reason {
    /// The word for tables, metrics and machines.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NodeNotReady { .. } => "NodeNotReady",
            Self::NodeInMaintenance { .. } => "NodeInMaintenance",
            Self::MaxUnavailable { .. } => "MaxUnavailable",
            Self::MaxSurge { .. } => "MaxSurge",
            Self::Updating => "Updating",
            Self::Replacing { .. } => "Replacing",
            Self::Terminating { .. } => "Terminating",
            Self::WaitingForPod => "WaitingForPod",
            Self::NotReady { .. } => "NotReady",
            Self::MinReadySeconds { .. } => "MinReadySeconds",
            Self::WaitingForSurge => "WaitingForSurge",
            Self::OnDelete => "OnDelete",
            Self::RevisionUnknown => "RevisionUnknown",
            Self::NotObserved => "NotObserved",
            Self::Invalid { .. } => "Invalid",
            Self::DuplicatePods => "DuplicatePods",
            Self::Burst => "Burst",
            Self::BackOff { .. } => "BackOff",
            Self::WaitingForOwner => "WaitingForOwner",
            Self::NodeGone => "NodeGone",
            Self::WorkloadTerminating => "WorkloadTerminating",
            Self::Partition { .. } => "Partition",
            Self::Paused => "Paused",
            Self::Canary => "Canary",
            Self::NotSelected => "NotSelected",
            Self::NodeUnsettled { .. } => "NodeUnsettled",
            Self::PoolMaxUnavailable { .. } => "PoolMaxUnavailable",
            Self::Pace { .. } => "Pace",
            Self::PullingImages { .. } => "PullingImages",
            Self::QueuedForImages => "QueuedForImages",
            Self::NodesLost { .. } => "NodesLostAfterUpdate",
            Self::DeadlineExceeded { .. } => "DeadlineExceeded",
            Self::Hook { .. } => "Hook",
            Self::GracePeriod { .. } => "GracePeriod",
            Self::InPlace { .. } => "InPlace",
            Self::NotInPlace { .. } => "NotInPlace",
            Self::DeleteLimit => "DeleteLimit",
            Self::Refused { .. } => "Refused",
            Self::Protected { .. } => "Protected",
            Self::Ordinal { .. } => "Ordinal",
            Self::InTheWay { .. } => "InTheWay",
            Self::VolumeClaim { .. } => "VolumeClaim",
        }
    }

    /// A sentence for people, as seen at `now`.
    pub fn explain(&self, now: Timestamp) -> String {
        let since = |at: Option<Timestamp>| at.map_or(String::new(), |at| format!(" for {}", span(at, now)));
        match self {
            Self::NodeNotReady {
                since: at,
                costs_budget,
            } => {
                let meanwhile = if *costs_budget {
                    "the pod counts as unavailable until the node returns"
                } else {
                    "this costs no budget, and the pod is caught up when the node returns"
                };
                format!("its node is not ready{}; {meanwhile}", since(*at))
            }
            Self::MaxUnavailable { used, limit } => max_unavailable(*used, *limit),
            Self::MaxSurge { used, limit } => {
                format!("{used} of {limit} surge pods are there; its turn comes when one has taken over")
            }
            Self::Updating => "its turn has come, and it is being updated".to_owned(),
            Self::Replacing { why } => format!("it is replaced, since it cannot be updated in place: {why}"),
            Self::Terminating { since: at } => format!(
                "it is terminating{}; what it makes room for waits until it is gone",
                since(*at)
            ),
            Self::WaitingForPod => "the node should run a pod and has none yet".to_owned(),
            Self::NotReady {
                trouble: Some(trouble),
                since: at,
            } => {
                format!("it is at the new revision but not ready{}: {trouble}", since(*at))
            }
            Self::NotReady {
                trouble: None,
                since: at,
            } => {
                format!("it is at the new revision but not ready{}", since(*at))
            }
            Self::MinReadySeconds { until } => {
                format!(
                    "it is ready, and counts as available in {} (minReadySeconds)",
                    span(now, *until)
                )
            }
            Self::WaitingForSurge => "a new pod on its node must become available first".to_owned(),
            Self::OnDelete => {
                "updateStrategy is OnDelete: it is replaced when somebody deletes it".to_owned()
            }
            Self::RevisionUnknown => {
                "the ControllerRevision of the current template is not written yet".to_owned()
            }
            Self::NotObserved => {
                "the DaemonSet's own controller has not seen the current spec yet".to_owned()
            }
            Self::Invalid { field } => format!("{field} is malformed; no pod is touched until it is mended"),
            Self::DuplicatePods => {
                "more than one pod of the DaemonSet is on its node; one goes first".to_owned()
            }
            Self::Burst => {
                "as many pods as one pass touches are taken; the next pass follows at once".to_owned()
            }
            Self::BackOff { until } => {
                format!(
                    "its phase is Failed; it is replaced in {} (back-off)",
                    span(now, *until)
                )
            }
            Self::WaitingForOwner => "the model is OTA: the owner of its node decides".to_owned(),
            Self::NodeGone => "its node does not exist any more; nothing waits for it".to_owned(),
            Self::WorkloadTerminating => "the workload is being deleted".to_owned(),
            Self::Partition { keeps: 1 } => "partition keeps 1 pod at its revision".to_owned(),
            Self::Partition { keeps } => format!("partition keeps {keeps} pods at their revision"),
            Self::Paused => "the rollout is paused".to_owned(),
            Self::NotSelected => "updateStrategy.rollingUpdate.selector does not select its node".to_owned(),
            Self::Canary
            | Self::NodeInMaintenance { .. }
            | Self::NodeUnsettled { .. }
            | Self::PoolMaxUnavailable { .. }
            | Self::Pace { .. }
            | Self::PullingImages { .. }
            | Self::QueuedForImages
            | Self::NodesLost { .. }
            | Self::DeadlineExceeded { .. } => self.explain_own_key(now),
            Self::Hook { state } => hook(state),
            Self::GracePeriod { until: Some(until) } => format!(
                "it is out of service, and its containers change in {} (gracePeriodSeconds)",
                span(now, *until)
            ),
            Self::GracePeriod { until: None } => {
                "it is out of service, and its containers change when its grace period ends".to_owned()
            }
            Self::InPlace { pending } => format!("it is being updated in place: {pending}"),
            Self::NotInPlace { why } => format!("it cannot be updated in place: {why}"),
            Self::DeleteLimit => "it is to be deleted, and as many pods as may be unavailable are".to_owned(),
            Self::Refused { message, until } => refused(message, *until, now),
            Self::Protected { by } => by.explain(),
            Self::Ordinal { pod } => {
                format!("podManagementPolicy is OrderedReady: {pod} has to be available or gone first")
            }
            Self::InTheWay { until, revision } => in_the_way(revision, *until, now),
            Self::VolumeClaim { pending } => format!("its volume: {pending}"),
        }
    }

    /// The sentence where one of our own annotations is the reason, or an administrator.
    fn explain_own_key(&self, now: Timestamp) -> String {
        match self {
            Self::Canary => format!(
                "{} does not select its node; its turn comes when that is removed",
                keys::CANARY_NODES
            ),
            Self::NodeUnsettled { until } => format!(
                "its node became ready a short time ago; its turn comes in {} ({})",
                span(now, *until),
                keys::MIN_NODE_READY_SECONDS
            ),
            Self::PoolMaxUnavailable { pool, used, limit } => format!(
                "{used} of {limit} pods that may be unavailable in node pool {pool} are ({})",
                keys::MAX_UNAVAILABLE_PER_POOL
            ),
            Self::Pace { used, limit } => format!(
                "{used} of {limit} pods that may be unavailable by now are; more may when pods serve at the new revision ({})",
                keys::PACE
            ),
            Self::NodeInMaintenance { since } => format!(
                "its node is in maintenance{}; this costs no budget, and the pod is caught up when that is over",
                since.map_or(String::new(), |at| format!(" for {}", span(at, now)))
            ),
            Self::PullingImages { failed_until: None } => format!(
                "the images of the new revision are being pulled on its node; it goes when they are there ({})",
                keys::PREHEAT
            ),
            Self::PullingImages {
                failed_until: Some(until),
            } => format!(
                "the images of the new revision could not be pulled on its node, so it stays; they are tried again in {} ({})",
                span(now, *until),
                keys::PREHEAT
            ),
            Self::QueuedForImages => format!(
                "images are pulled on the nodes before it first; its turn comes when pods there have gone ({})",
                keys::PREHEAT
            ),
            Self::NodesLost {
                lost,
                updated,
                until: None,
            } => format!(
                "the rollout was stopped: {lost} of {updated} updated nodes turned NotReady within 5 minutes of it, clearly \
                 more than others, so the new version may cost nodes; going back to the old image goes on, and so does \
                 `pitstop resume` ({})",
                keys::NODE_LOSS_GUARD
            ),
            Self::NodesLost {
                lost,
                updated,
                until: Some(until),
            } => format!(
                "{lost} of {updated} updated nodes turned NotReady within 5 minutes of it; the rollout waits to see whether \
                 they come back or others go, too, and goes on in {} at the earliest ({})",
                span(now, *until),
                keys::NODE_LOSS_GUARD
            ),
            Self::DeadlineExceeded { seconds } => format!(
                "the rollout was stopped because nothing moved for {seconds} s ({}); `pitstop resume` lets it go on, \
                 and so does another template",
                keys::PROGRESS_DEADLINE_SECONDS
            ),
            other => other.word().to_owned(),
        }
    }
}

/// The time between two moments in words such as `2h14m`; `0s` when the second is not later.
///
/// Units: as shown; seconds are left out above an hour.
pub fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to
        .since((Unit::Second, from))
        .map_or(0, |span| span.get_seconds())
        .max(0);
    let (hours, minutes, rest) = (seconds / 3600, seconds % 3600 / 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m"),
    }
}

/// A plan as lines, one for each action and each pod that waits, in a fixed order.
pub fn render(plan: &Plan, nodes: &NodeNames) -> String {
    let on = |node: Option<_>| node.map_or(String::new(), |slot| format!(" on {}", nodes.name(slot)));
    let mut lines: Vec<String> = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::CreateRevision(new) => format!("create revision {} as number {}", new.name, new.revision),
            Action::RenumberRevision { name, revision, .. } => {
                format!("renumber revision {name} to {revision}")
            }
            Action::LabelRevision { name, .. } => format!("label revision {name}"),
            Action::DeleteRevision { name, .. } => format!("delete revision {name}"),
            Action::Adopt { object, name, .. } => format!("adopt {object:?} {name}").to_lowercase(),
            Action::Release { object, name, .. } => format!("release {object:?} {name}").to_lowercase(),
            Action::RelabelPod { name, hash, .. } => format!("label pod {name} with {hash}"),
            Action::SetPodCondition {
                name,
                kind,
                condition,
                ..
            } => {
                let (status, message) = (condition.status.as_str(), &condition.message);
                format!("set {kind}={status} on pod {name}: {message}")
            }
            Action::SetCondition { kind, condition } => {
                let (status, reason, message) =
                    (condition.status.as_str(), &condition.reason, &condition.message);
                format!("set {kind}={status} ({reason}): {message}")
            }
            Action::RollBack { hash, .. } => format!("roll back to revision {hash}"),
            Action::CreateJob(job) => format!("create job {}{}", job.name, on(Some(job.node))),
            Action::DeleteJob { name, .. } => format!("delete job {name}"),
            Action::CreatePod { node, hash } => format!("create pod{} at {hash}", on(Some(*node))),
            Action::PatchPod { name, why, .. } => format!("change pod {name} ({})", why.as_str()),
            Action::DeletePod { name, node, why, .. } => {
                format!("delete pod {name}{} ({})", on(*node), why.as_str())
            }
        })
        .collect();
    lines.sort();
    let mut waiting: Vec<String> = plan
        .waiting
        .iter()
        .map(|w| {
            let pod = w
                .pod
                .as_ref()
                .map_or("no pod".to_owned(), |(name, _)| format!("pod {name}"));
            format!("{pod}{}: {}", on(w.node), w.reason.word())
        })
        .collect();
    waiting.sort();
    lines.append(&mut waiting);
    lines.into_iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    })
}

fn in_the_way(revision: &str, until: Timestamp, now: Timestamp) -> String {
    let left = span(now, until);
    format!(
        "it is not ready, and all others wait for it: it goes to revision {revision} in {left}, unless it is ready by then"
    )
}

fn refused(message: &str, until: Timestamp, now: Timestamp) -> String {
    let after = span(now, until);
    format!("the server refused the last write about it, which is tried again in {after}: {message}")
}

fn max_unavailable(used: u32, limit: u32) -> String {
    if used > limit {
        return format!(
            "{used} pods are not available where {limit} may be; its turn comes when enough are available again"
        );
    }
    format!("{used} of {limit} pods that may be unavailable are; its turn comes when one is available again")
}

/// What a lifecycle hook waits for, by the state that it holds a pod in. Source: inplace.md 8.
fn hook(state: &str) -> String {
    let waits_for = match state {
        "PreparingDelete" => "it goes when the labels or finalizers of lifecycle.preDelete are taken off it",
        "PreparingUpdate" => {
            "it is updated when the labels or finalizers of lifecycle.inPlaceUpdate are taken off it"
        }
        "Updated" | "PreparingNormal" => {
            "it counts again when it has the labels and finalizers of its lifecycle hook"
        }
        _ => "see lifecycle of its workload",
    };
    format!("a lifecycle hook holds it in state {state}: {waits_for}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let start = Timestamp::UNIX_EPOCH;
        for (seconds, want) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m0s"),
            (125, "2m5s"),
            (8040, "2h14m"),
            (-5, "0s"),
        ] {
            let end = start
                .checked_add(jiff::SignedDuration::from_secs(seconds))
                .unwrap();
            assert_eq!(span(start, end), want);
        }
    }
}
