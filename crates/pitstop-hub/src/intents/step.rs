//! The next step of an intent.
//!
//! Source: hub.md B7, rules V1 to V10.

use jiff::Timestamp;

use super::{Follow, Intent, State, Waiting};
use crate::checks::{self, Action, Method, Refusal};
use crate::pod::PodView;

/// What can be seen once the pods of this node are known.
#[derive(Debug, Clone)]
pub(crate) struct World<'a> {
    pub(crate) node: &'a str,
    pub(crate) now: Timestamp,
    /// Uptime of all hubs of this folder, in seconds.
    pub(crate) uptime: u64,
    /// The pod of that name, whoever it is.
    pub(crate) pod: Option<&'a PodView>,
    /// All other pods of this node.
    pub(crate) others: &'a [PodView],
    /// What the policy of the owner of this node waits for first.
    pub(crate) policy: Option<Waiting>,
}

/// The next step of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing has changed.
    Stay,
    /// It waits for this.
    Wait(Waiting),
    /// Another revision waits; nobody agreed to that one.
    AskAgain(String),
    /// It is over.
    End(State, &'static str),
    /// It is over; another one for this pod takes its place.
    Follow(Box<PodView>),
    /// Ask for the images.
    Pull,
    /// Do it.
    Act,
}

impl Intent {
    /// Whether its time is over, by the wall clock or by uptime, whichever comes first.
    pub(crate) fn expired(&self, now: Timestamp, uptime: u64) -> bool {
        now >= self.expires || uptime.saturating_sub(self.born) >= self.ttl
    }
}

/// The next step of an intent, by the first rule that applies.
pub(crate) fn step(intent: &Intent, world: &World<'_>) -> Step {
    if intent.state.ended() {
        return Step::Stay;
    }
    let executing = intent.state == State::Executing;
    let same = world.pod.filter(|pod| pod.uid == intent.uid);
    // V2
    if executing && let Some(step) = resumed(intent, same) {
        return step;
    }
    // V1, after V2 for what was begun: consent of last week is none, but what was done was done.
    if intent.expired(world.now, world.uptime) {
        return Step::End(State::Expired, "Expired");
    }
    let Some(pod) = same else {
        return replaced(intent, world);
    };
    // V5
    if pod.deleting {
        return Step::End(State::Obsolete, "Deleting");
    }
    // A pod keeps its node for life, so this is an intent that was written by hand.
    if pod.node != world.node {
        return Step::End(State::Obsolete, "OtherNode");
    }
    // V6
    if !pod.needs_upgrade() {
        return Step::End(State::Obsolete, "NoLongerNeeded");
    }
    // V7
    if pod.target() != intent.target {
        let asked = intent.asks.as_deref() == Some(pod.target()) && intent.waiting == Some(Waiting::Approval);
        return if asked && !executing {
            Step::Stay
        } else {
            Step::AskAgain(pod.target().to_owned())
        };
    }
    // V8
    if intent.action == Action::Upgrade && checks::check_image(pod).is_err() {
        return image(intent, pod);
    }
    if intent.action == Action::Upgrade
        && let Err(refusal) = checks::check_owner(pod)
    {
        return Step::End(
            State::Failed,
            match refusal {
                Refusal::NoOwner => "NoOwner",
                Refusal::HelperMissing => "HelperMissing",
                _ => "UnsupportedKind",
            },
        );
    }
    // V9; what has begun is not held up by a gate that closes.
    if !executing && let Some(waiting) = world.policy {
        return Step::Wait(waiting);
    }
    // V10
    Step::Act
}

/// V2: what was begun before a crash, or is still under way.
fn resumed(intent: &Intent, pod: Option<&PodView>) -> Option<Step> {
    let Some(pod) = pod else {
        return Some(Step::End(State::Succeeded, "Replaced"));
    };
    if pod.deleting {
        return Some(Step::End(State::Succeeded, "Deleting"));
    }
    if intent.method != Some(Method::Request) {
        return None;
    }
    if !pod.needs_upgrade() {
        return Some(Step::End(State::Succeeded, "Upgraded"));
    }
    (pod.requested() && pod.target() == intent.target).then_some(Step::Stay)
}

/// V3 and V4: the pod is not there any more.
fn replaced(intent: &Intent, world: &World<'_>) -> Step {
    let of_owner = |pod: &&PodView| {
        !pod.deleting
            && pod.node == world.node
            && !pod.owner.uid.is_empty()
            && pod.owner.uid == intent.owner.uid
    };
    let others: Vec<&PodView> = world
        .pod
        .into_iter()
        .chain(world.others)
        .filter(of_owner)
        .collect();
    // V3
    let at_target = |pod: &&PodView| {
        let upgraded =
            pod.condition(pitstop_api::reasons::POD_NEED_UPGRADE).is_some() && !pod.needs_upgrade();
        upgraded || (!intent.target.is_empty() && pod.revision == intent.target)
    };
    if others.iter().any(at_target) {
        return Step::End(State::Succeeded, "AlreadyAtTarget");
    }
    // V4
    match others.into_iter().find(|pod| pod.needs_upgrade()) {
        Some(pod) if intent.follow == Follow::Owner => Step::Follow(Box::new(pod.clone())),
        _ => Step::End(State::Obsolete, "PodReplaced"),
    }
}

/// How often images are asked for again by the hub itself. Source: hub.md F6.
const MAX_PULLS: u32 = 3;

/// V8: the images are not there.
fn image(intent: &Intent, pod: &PodView) -> Step {
    let under_way = pod
        .condition(pitstop_api::reasons::POD_IMAGE_READY)
        .is_some_and(|image| {
            let this = pitstop_api::view::message_revision(&image.message) == pod.target();
            image.status == "False" && this && image.reason != pitstop_api::reasons::PULL_IMAGE_FAIL
        });
    if !under_way && intent.pulls < MAX_PULLS {
        Step::Pull
    } else if intent.waiting == Some(Waiting::Image) {
        Step::Stay
    } else {
        Step::Wait(Waiting::Image)
    }
}
