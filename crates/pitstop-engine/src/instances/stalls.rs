//! Updates in place that do not go on, or never will, and what is said of them.
//!
//! Source: inplace.md 13.8, 13.9, 13.13.

use pitstop_api::reasons;
use pitstop_api::view::PodView;

use crate::inplace::{Stage, UpdateSpec, WhyRecreate};
use crate::plan::Event;

/// Why the update of a pod does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stall {
    /// It never will be complete.
    Never(WhyRecreate),
    /// Something is in its way, and may go away.
    Obstacle(String),
}

impl Stall {
    /// Why an update at this stage does not go on, if it does not.
    pub(crate) fn of(stage: &Stage) -> Option<Self> {
        match stage {
            Stage::Impossible(why) => Some(Self::Never(why.clone())),
            Stage::Waiting(pending) => pending.obstacle().map(Self::Obstacle),
            Stage::Complete | Stage::Grace | Stage::Advancing => None,
        }
    }

    /// What is told of it: that it never will be complete once for each pod and revision, of an obstacle once for each
    /// revision and obstacle, of the first pod.
    pub(crate) fn event(&self, pod: &PodView, revision: &str) -> Event {
        let (text, once_per) = match self {
            Self::Never(why) => (
                format!("never completes: {why}"),
                format!("{}/{revision}", pod.uid),
            ),
            Self::Obstacle(obstacle) => (
                format!("does not go on: {obstacle}"),
                format!("{revision}/{obstacle}"),
            ),
        };
        Event {
            is_warning: true,
            reason: reasons::INPLACE_UPDATE_STALLED,
            message: format!("update of pod {} in-place {text}", pod.name).into(),
            once_per: Some(once_per),
        }
    }

    /// Does the update fail by it: is the pod neither replaced instead nor updated?
    pub(crate) fn is_failure(&self, may_replace: bool) -> bool {
        matches!(self, Self::Obstacle(_)) || !may_replace
    }
}

/// That init containers read what changes and do not run again; told once for each revision.
pub(crate) fn init_containers_stay(spec: &UpdateSpec) -> Option<Event> {
    let names: Vec<&str> = spec.init_readers.iter().map(String::as_str).collect();
    (!names.is_empty()).then(|| Event {
        is_warning: false,
        reason: reasons::INIT_CONTAINERS_STAY,
        message: format!(
            "labels or annotations change that are read by init containers ({}): these do not run again in pods that are \
             updated in-place",
            names.join(", ")
        )
        .into(),
        once_per: Some(spec.revision.clone()),
    })
}
