//! How an update in place and a lifecycle go on by themselves, pass by pass.
//!
//! Source: inplace.md 4.3, 7, 13.19.

use jiff::Timestamp;
use pitstop_api::view::{Lifecycle, PodCondition};
use serde_json::Value;

use super::stalls::Stall;
use crate::inplace::{Change, Features, Live, WhyRecreate, refresh};
use crate::lifecycle::{Facts, State, enter, step};

/// A pod, and what its way depends on.
#[derive(Debug, Clone, Copy)]
pub struct UnderWay<'a> {
    /// The pod.
    pub live: Live<'a>,
    /// The state in its label.
    pub state: State,
    /// Is it at the revision that it is meant to have?
    pub is_at_target: bool,
    /// Does a new pod wait for its node before it counts, as those of CloneSets do?
    pub waits_for_node: bool,
    /// The template of the revision in its label, where that is known.
    pub template: Option<&'a Value>,
    /// What the server said when it refused to change its resources.
    pub refused_resize: Option<&'a str>,
    /// `spec.lifecycle` of its workload.
    pub lifecycle: &'a Lifecycle,
    /// What the cluster allows.
    pub features: Features,
    /// The time of the decision.
    pub now: Timestamp,
}

/// How a pod goes on.
#[derive(Debug, Clone)]
pub struct Carried {
    /// What is written.
    pub change: Change,
    /// The state that it gets by that, if it is another one.
    pub new_state: Option<State>,
    /// When to look again even if nothing happens.
    pub wake_at: Option<Timestamp>,
    /// Why its update in place does not go on.
    pub stalled: Option<Stall>,
}

/// A pod at rest needs no look at its notes: its gate is open, and no hook is under way. This is most pods in most passes.
pub fn needs_refresh(live: Live<'_>, state: State) -> bool {
    let update_ready = live.view.update_ready.as_ref();
    let is_open = update_ready.is_some_and(PodCondition::is_true);
    !is_open
        || live.view.grace().is_some()
        || !matches!(state, State::Unset | State::Normal | State::PreparingDelete)
}

/// Carries the update of a pod on, and its state.
pub fn carry_on(pod: &UnderWay<'_>) -> Carried {
    let refreshed = refresh(pod.live, pod.template, pod.features, pod.now);
    let is_complete = refreshed.is_complete();
    let mut change = refreshed.change;
    let mut stalled = None;
    if let Some(message) = pod.refused_resize.filter(|_| pod.state == State::Updating) {
        change = Change::default();
        stalled = Some(Stall::Never(WhyRecreate::ResizeRefused(message.to_owned())));
    }
    let facts = Facts {
        waits_for_node: pod.waits_for_node,
        is_at_target: pod.is_at_target,
        is_complete,
    };
    let state = step(pod.live, pod.lifecycle, facts);
    if let Some(state) = state {
        enter(pod.live, state, pod.lifecycle, pod.now, &mut change);
    }
    let stalled = match Stall::of(&refreshed.stage) {
        Some(Stall::Never(why)) => Some(Stall::Never(why)),
        other => stalled.or(other),
    };
    Carried {
        change,
        new_state: state,
        wake_at: refreshed.wake_at,
        stalled,
    }
}
