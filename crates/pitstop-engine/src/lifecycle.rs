//! The states between which users may hold a pod, and the way from one to the next.
//!
//! Source: inplace.md 7, with 13.4 (no hold is left behind) and 13.6 (no detour where there is no hook).

use jiff::Timestamp;
use pitstop_api::keys;
use pitstop_api::view::{Lifecycle, LifecycleHook, PodView};
use serde_json::{Value, json};

use crate::inplace::readiness::{Hold, hold};
use crate::inplace::{Change, Live};

/// Who holds a pod out of service for a hook, in condition `KruisePodReady`.
const USER_AGENT: &str = "Lifecycle";
/// Why, before a deletion.
const PRE_DELETE: &str = "preDeleteHook";
/// Why, before an update.
const PRE_UPDATE: &str = "preUpdateHook";

/// Label `lifecycle.apps.kruise.io/state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum State {
    /// None: the pod is older than the label. It counts as Normal.
    #[default]
    Unset,
    /// It is new, and does not count yet.
    PreparingNormal,
    /// It counts.
    Normal,
    /// It waits for its hook before an update.
    PreparingUpdate,
    /// It is being updated in place.
    Updating,
    /// It waits for its hook after an update.
    Updated,
    /// It waits for its hook before it is deleted.
    PreparingDelete,
    /// Something that this version does not know: such a pod is left alone.
    Other,
}

impl State {
    /// The state of a pod.
    pub fn of(pod: &PodView) -> Self {
        let label = pod.labels.get(keys::LIFECYCLE_STATE);
        label.map_or(Self::Unset, |value| Self::read(value))
    }

    /// The state that a value of the label stands for.
    pub fn read(value: &str) -> Self {
        match value {
            "" => Self::Unset,
            "PreparingNormal" => Self::PreparingNormal,
            "Normal" => Self::Normal,
            "PreparingUpdate" => Self::PreparingUpdate,
            "Updating" => Self::Updating,
            "Updated" => Self::Updated,
            "PreparingDelete" => Self::PreparingDelete,
            _ => Self::Other,
        }
    }

    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset | Self::Other => "",
            Self::PreparingNormal => "PreparingNormal",
            Self::Normal => "Normal",
            Self::PreparingUpdate => "PreparingUpdate",
            Self::Updating => "Updating",
            Self::Updated => "Updated",
            Self::PreparingDelete => "PreparingDelete",
        }
    }

    /// May a pod in this state be available?
    pub fn counts(self) -> bool {
        matches!(self, Self::Unset | Self::Normal)
    }
}

/// Is a finalizer on the pod?
fn has_finalizer(live: Live<'_>, name: &str) -> bool {
    live.view.finalizers.iter().any(|finalizer| **finalizer == *name)
}

/// Is one of the hook's labels, with its value, or one of its finalizers on the pod?
pub fn is_hooked(hook: Option<&LifecycleHook>, live: Live<'_>) -> bool {
    hook.is_some_and(|hook| {
        let has = |(key, value): (&String, &String)| live.pod.labels.get(key) == Some(value);
        hook.labels.iter().any(has) || hook.finalizers.iter().any(|name| has_finalizer(live, name))
    })
}

/// Are all of the hook's labels and finalizers on the pod? Not where there is no hook.
pub fn is_all_hooked(hook: Option<&LifecycleHook>, live: Live<'_>) -> bool {
    hook.is_some_and(|hook| {
        let has = |(key, value): (&String, &String)| live.pod.labels.get(key) == Some(value);
        hook.labels.iter().all(has) && hook.finalizers.iter().all(|name| has_finalizer(live, name))
    })
}

/// What a step depends on beside the pod and the hooks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// Does a new pod wait for its node before it counts, as those of CloneSets do?
    pub waits_for_node: bool,
    /// Is the pod at the revision that it is meant to have?
    pub is_at_target: bool,
    /// Is no update in place under way?
    pub is_complete: bool,
}

/// The state that the pod goes to by itself, if any.
pub fn step(live: Live<'_>, lifecycle: &Lifecycle, facts: Facts) -> Option<State> {
    let hook = lifecycle.in_place_update.as_ref();
    let is_held_after = hook.is_some() && !is_all_hooked(hook, live);
    match State::of(live.pod) {
        State::PreparingNormal => {
            let may_count = match &lifecycle.pre_normal {
                None => !facts.waits_for_node || live.pod.bound,
                hook @ Some(_) => is_all_hooked(hook.as_ref(), live),
            };
            may_count.then_some(State::Normal)
        }
        // It was rolled back while it waited. Whoever prepared it sees it end in the usual way (13.4).
        State::PreparingUpdate if facts.is_at_target && hook.is_some() => Some(State::Updated),
        State::PreparingUpdate if facts.is_at_target => Some(State::Normal),
        State::Updating if facts.is_complete && is_held_after => Some(State::Updated),
        State::Updating if facts.is_complete => Some(State::Normal),
        State::Updated if !is_held_after => Some(State::Normal),
        State::Unset
        | State::PreparingUpdate
        | State::Updating
        | State::Updated
        | State::Normal
        | State::PreparingDelete
        | State::Other => None,
    }
}

/// What a pod whose turn has come to be updated in place does first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeforeUpdate {
    /// It is updated now.
    Update,
    /// It goes to `PreparingUpdate`, and its hook is asked.
    Prepare,
    /// As [`BeforeUpdate::Prepare`], and the hook's labels and finalizers are put on it again.
    PrepareAgain,
    /// Its hook holds it.
    Wait,
    /// It is not updated in the state that it is in.
    Refuse,
}

/// Source: inplace.md 7; cloneset.md 10.2.
pub fn before_update(live: Live<'_>, lifecycle: &Lifecycle) -> BeforeUpdate {
    let hook = lifecycle.in_place_update.as_ref();
    let is_held = is_hooked(hook, live);
    match State::of(live.pod) {
        State::Unset | State::PreparingNormal | State::Normal if is_held => BeforeUpdate::Prepare,
        State::PreparingUpdate if is_held => BeforeUpdate::Wait,
        State::Updated if hook.is_some() => BeforeUpdate::PrepareAgain,
        State::Unset
        | State::PreparingNormal
        | State::Normal
        | State::PreparingUpdate
        | State::Updating
        | State::Updated => BeforeUpdate::Update,
        State::PreparingDelete | State::Other => BeforeUpdate::Refuse,
    }
}

/// Writes a state, when it became so, and who holds the pod out of service in it. Source: inplace.md 7.
pub fn enter(live: Live<'_>, state: State, lifecycle: &Lifecycle, now: Timestamp, change: &mut Change) {
    if State::of(live.pod) != state {
        change.label(keys::LIFECYCLE_STATE, state.as_str());
        let at = Timestamp::from_second(now.as_second()).unwrap_or(now);
        change.annotation(keys::LIFECYCLE_TIMESTAMP, &at.to_string());
    }
    let marks = |hook: &Option<LifecycleHook>| hook.as_ref().is_some_and(|hook| hook.marks_not_ready);
    let (delete, update) = (
        Hold::new(USER_AGENT, PRE_DELETE),
        Hold::new(USER_AGENT, PRE_UPDATE),
    );
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    match state {
        State::PreparingDelete if marks(&lifecycle.pre_delete) => added.push(delete),
        State::PreparingUpdate if marks(&lifecycle.in_place_update) => {
            added.push(update);
            removed.push(delete);
        }
        State::PreparingUpdate | State::Updating => removed.push(delete),
        State::PreparingNormal | State::Normal | State::Updated => removed.extend([delete, update]),
        State::PreparingDelete | State::Unset | State::Other => {}
    }
    hold(live, &added, &removed, now, change);
}

/// Puts the labels and finalizers of a hook on the pod again, for an update that follows right after another.
pub fn hook_again(live: Live<'_>, hook: Option<&LifecycleHook>, change: &mut Change) {
    let Some(hook) = hook else {
        return;
    };
    hook.labels
        .iter()
        .for_each(|(key, value)| change.label(key, value));
    let missing = hook.finalizers.iter().filter(|name| !has_finalizer(live, name));
    let missing: Vec<Value> = missing.map(|name| json!(name)).collect();
    if !missing.is_empty() {
        change
            .metadata
            .insert("finalizers".to_owned(), Value::Array(missing));
    }
}
