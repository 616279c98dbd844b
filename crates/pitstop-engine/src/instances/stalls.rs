//! Updates in place that do not go on, or never will, and what is said of them.
//!
//! Source: inplace.md 13.8, 13.9, 13.13.

use pitstop_api::reasons;
use pitstop_api::view::PodView;

use crate::inplace::{UpdateSpec, WhyRecreate};
use crate::plan::Event;

/// Why the update of a pod does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stall {
    /// It never will be complete.
    Never(WhyRecreate),
    /// Something is in its way, and may go away.
    Obstacle(String),
}

/// That the update of a pod never will be complete; told once for each pod and revision.
pub(crate) fn never_completes(pod: &PodView, revision: &str, why: &WhyRecreate) -> Event {
    Event {
        is_warning: true,
        reason: reasons::INPLACE_UPDATE_STALLED,
        message: format!("update of pod {} in-place never completes: {why}", pod.name).into(),
        once_per: Some(format!("{}/{revision}", pod.uid)),
    }
}

/// That something is in the way of the update of a pod; told once for each revision and obstacle, of the first pod.
pub(crate) fn does_not_go_on(pod: &PodView, revision: &str, obstacle: &str) -> Event {
    Event {
        is_warning: true,
        reason: reasons::INPLACE_UPDATE_STALLED,
        message: format!("update of pod {} in-place does not go on: {obstacle}", pod.name).into(),
        once_per: Some(format!("{revision}/{obstacle}")),
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
