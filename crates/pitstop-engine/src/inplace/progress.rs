//! What carries an update in place on, from one pass to the next, until it ends.
//!
//! It is asked for every pod in every pass, whether the rollout is paused or not: a new pod gets its readiness gate open
//! here, too. Source: inplace.md 4.3, 5.3, 13.19.

use jiff::Timestamp;
use pitstop_api::view::PodCondition;
use pitstop_api::{keys, reasons};
use serde_json::Value;

use super::batch::{Wanted, add_metadata, advance};
use super::change::missing_resources;
use super::completion::{Completion, Pending, containers_done};
use super::readiness::updated;
use super::state::{GraceState, UpdateState};
use super::update::{begin, drop_grace, rebuild};
use super::{Change, Features, Live, UpdateSpec, WhyRecreate, is_same_revision};

/// Where the update of a pod is, and what is to be written for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refreshed {
    /// What is to be written.
    pub change: Change,
    /// Where the update is.
    pub stage: Stage,
    /// When to look again even if nothing happens.
    pub wake_at: Option<Timestamp>,
}

/// Where the update of a pod is.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// No update is under way.
    Complete,
    /// The pod is out of service, and its containers change when its grace period ends.
    Grace,
    /// It waits.
    Waiting(Pending),
    /// Containers change by this very change.
    Advancing,
    /// It will never be complete.
    Impossible(WhyRecreate),
}

impl Refreshed {
    fn quiet(stage: Stage) -> Self {
        Self {
            change: Change::default(),
            stage,
            wake_at: None,
        }
    }

    /// Is no update under way?
    pub fn is_complete(&self) -> bool {
        self.stage == Stage::Complete
    }
}

/// Carries the update of a pod on. `template` is that of the revision in the pod's label, where it is known: only a pod
/// whose own notes cannot be read needs it.
///
/// Its own output, applied, leads to no further output while the pod stays as it is.
pub fn refresh(live: Live<'_>, template: Option<&Value>, features: Features, now: Timestamp) -> Refreshed {
    let state = UpdateState::of(live.view);
    match (GraceState::of(live.view), state) {
        (Ok(Some(grace)), Ok(Some(state))) => in_grace(live, grace, state, now),
        (Ok(None), Ok(None)) => complete(live, None, now),
        (Ok(None), Ok(Some(state))) => under_way(live, state, features, now),
        (_, Err(problem)) | (Err(problem), _) => {
            mend(live, template, features, now).unwrap_or_else(|| Refreshed::quiet(malformed(&problem)))
        }
        (Ok(Some(_)), Ok(None)) => {
            let problem = format!(
                "pod has {} but {} not found",
                keys::INPLACE_GRACE,
                keys::INPLACE_STATE
            );
            mend(live, template, features, now)
                .unwrap_or_else(|| Refreshed::quiet(Stage::Waiting(Pending::Malformed(problem))))
        }
    }
}

fn malformed(problem: &super::state::Malformed) -> Stage {
    Stage::Waiting(Pending::Malformed(problem.to_string()))
}

/// Begins the update again that the notes of the pod do not tell of any more. Source: inplace.md 13.11.
fn mend(live: Live<'_>, template: Option<&Value>, features: Features, now: Timestamp) -> Option<Refreshed> {
    let revision = live.pod.revision_hash()?;
    let spec: UpdateSpec = rebuild(live, revision, template?);
    let mut change = begin(live, &spec, features, now);
    drop_grace(live, &mut change);
    Some(Refreshed {
        change,
        stage: Stage::Advancing,
        wake_at: None,
    })
}

/// Source: inplace.md 5.3.
fn in_grace(live: Live<'_>, grace: GraceState, mut state: UpdateState, now: Timestamp) -> Refreshed {
    let label = live.pod.revision_hash().unwrap_or_default();
    if !is_same_revision(label, &grace.revision) {
        let mut change = Change::default();
        drop_grace(live, &mut change);
        return Refreshed {
            change,
            stage: Stage::Advancing,
            wake_at: None,
        };
    }
    if let Some(ends_at) = grace.ends_at(&state).filter(|ends_at| *ends_at > now) {
        return Refreshed {
            wake_at: Some(ends_at),
            ..Refreshed::quiet(Stage::Grace)
        };
    }
    state.proof.from_revision.clear();
    let spec = UpdateSpec::from(grace);
    let mut change = Change::default();
    drop_grace(live, &mut change);
    add_metadata(&mut change, spec.metadata_patch.as_ref());
    change.merge(advance(live, Wanted::of(&spec), &mut state, now));
    change.annotation(keys::INPLACE_STATE, &state.to_json());
    Refreshed {
        change,
        stage: Stage::Advancing,
        wake_at: None,
    }
}

fn under_way(live: Live<'_>, mut state: UpdateState, features: Features, now: Timestamp) -> Refreshed {
    if let Some(again) = resize_again(live, &state, features) {
        return again;
    }
    match containers_done(live, &state, features, now) {
        Completion::Done => {}
        Completion::Waiting { why, recheck_at } => {
            return Refreshed {
                wake_at: recheck_at,
                ..Refreshed::quiet(Stage::Waiting(why))
            };
        }
        Completion::Impossible(why) => return Refreshed::quiet(Stage::Impossible(why)),
    }
    if !state.has_next() {
        return complete(live, Some(state), now);
    }
    if let Some(why) = before_next(live, &state) {
        return Refreshed::quiet(Stage::Waiting(why));
    }
    let wanted = Wanted::take_next(&mut state);
    let mut change = advance(live, wanted, &mut state, now);
    change.annotation(keys::INPLACE_STATE, &state.to_json());
    Refreshed {
        change,
        stage: Stage::Advancing,
        wake_at: None,
    }
}

/// What keeps the next batch from its turn. Source: inplace.md 4.3.
fn before_next(live: Live<'_>, state: &UpdateState) -> Option<Pending> {
    let required = state.pre_check_before_next.iter();
    required
        .flat_map(|check| &check.containers_required_ready)
        .find_map(|name| match live.view.status(name) {
            None => Some(Pending::NotReported(name.clone())),
            Some(status) if !status.is_ready => Some(Pending::NotReady(name.clone())),
            Some(_) => None,
        })
}

/// A resize that was noted and never arrived, since whoever began the update stopped in between, is sent again.
fn resize_again(live: Live<'_>, state: &UpdateState, features: Features) -> Option<Refreshed> {
    let is_finished = state.proof.completed_at.is_some() || !features.vertical_scaling;
    let is_missing = |(name, wanted): (&String, &pitstop_api::view::Resources)| {
        let container = live.view.container(name);
        container.is_some_and(|container| !missing_resources(&container.resources, wanted).is_empty())
    };
    (!is_finished && state.proof.resources.iter().any(is_missing)).then(|| Refreshed {
        change: Change {
            resources: state.proof.resources.clone(),
            ..Change::default()
        },
        stage: Stage::Advancing,
        wake_at: None,
    })
}

/// Nothing is under way: the readiness gate opens.
///
/// Only the status of the condition counts, not its reason, which others may write (13.20).
fn complete(live: Live<'_>, state: Option<UpdateState>, now: Timestamp) -> Refreshed {
    let mut change = Change::default();
    let is_open = live.view.update_ready.as_ref().is_some_and(PodCondition::is_true);
    let opens = live.view.has_gate(reasons::INPLACE_UPDATE_READY) && !is_open;
    if opens {
        change.condition(reasons::INPLACE_UPDATE_READY, updated(now));
    }
    // Of a resize that left the pod ready nothing else tells when it was complete.
    if let Some(state) = state.filter(|state| opens || !state.proof.resources.is_empty()) {
        note_completion(&mut change, state, now);
    }
    Refreshed {
        change,
        stage: Stage::Complete,
        wake_at: None,
    }
}

/// Notes in the state that the update is complete, so that it is not judged again. Source: inplace.md 13.1.
pub fn note_completion(change: &mut Change, mut state: UpdateState, now: Timestamp) {
    if state.proof.completed_at.is_none() {
        state.proof.completed_at = Some(now);
        state.proof.containers.clear();
        change.annotation(keys::INPLACE_STATE, &state.to_json());
    }
}
