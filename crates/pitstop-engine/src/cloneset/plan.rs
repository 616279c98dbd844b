//! What a decision about a CloneSet consists of.

use std::time::Duration;

use pitstop_api::view::CloneSetStatus;

pub use crate::instances::{Action, NewPod, PatchWhy, Removal};
use crate::plan::{Event, Progress, Waiting};

/// The outcome of a decision. An empty plan with the same status means that nothing is written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Writes, in the order in which they have to succeed: revisions first. Actions on different pods are independent.
    pub actions: Vec<Action>,
    /// The status to write, when it differs from the object's.
    pub status: Option<CloneSetStatus>,
    /// Events about the CloneSet itself. Events about single pods come from the outcome of actions.
    pub events: Vec<Event>,
    /// Decide again after this long even if nothing happens.
    pub requeue_after: Option<Duration>,
    /// For every pod that is not at the target: why.
    pub waiting: Vec<Waiting>,
    /// What the decision counted, for people and metrics.
    pub progress: Progress,
}
