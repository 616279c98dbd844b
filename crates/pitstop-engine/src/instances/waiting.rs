//! Why a pod at its target is not available.

use jiff::Timestamp;
use pitstop_api::view::PodView;

use crate::availability::available_at;
use crate::inplace::state::{GraceState, UpdateState};
use crate::inplace::{Completion, Features, Live, completion};
use crate::lifecycle::State;
use crate::plan::Reason;

/// A pod that is not available.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unavailable<'a> {
    pub(crate) pod: &'a PodView,
    pub(crate) state: State,
    /// Does it run and serve, however short?
    pub(crate) is_ready: bool,
    /// Does it run and serve for `minReadySeconds`, whatever hook holds it?
    pub(crate) is_settled: bool,
    /// Units: seconds.
    pub(crate) min_ready_seconds: u32,
    pub(crate) features: Features,
    pub(crate) now: Timestamp,
}

/// What the update in place of a pod waits for, if one is under way.
pub(crate) fn under_way(
    live: Live<'_>,
    is_updating: bool,
    features: Features,
    now: Timestamp,
) -> Option<Reason> {
    if let Ok(Some(grace)) = GraceState::of(live.view) {
        let state = UpdateState::of(live.view).ok().flatten();
        let until = state.and_then(|state| grace.ends_at(&state));
        return Some(Reason::GracePeriod { until });
    }
    match is_updating.then(|| completion(live, features, now))? {
        Completion::Waiting { why, .. } => Some(Reason::InPlace {
            pending: why.to_string(),
        }),
        Completion::Done | Completion::Impossible(_) => None,
    }
}

/// What it waits for. Source: design.md L3; inplace.md 13.13.
pub(crate) fn why_not_available(of: &Unavailable<'_>) -> Reason {
    if let Some(live) = Live::of(of.pod) {
        let is_updating = of.state == State::Updating;
        if let Some(reason) = under_way(live, is_updating, of.features, of.now) {
            return reason;
        }
    }
    match available_at(of.pod, of.min_ready_seconds) {
        Some(until) if of.is_ready && !of.is_settled => Reason::MinReadySeconds { until },
        _ if of.is_settled => Reason::Hook {
            state: of.state.as_str(),
        },
        _ => Reason::NotReady {
            trouble: of.pod.trouble.clone(),
            since: of
                .pod
                .ready
                .filter(|ready| !ready.is_true)
                .and_then(|ready| ready.since),
        },
    }
}
