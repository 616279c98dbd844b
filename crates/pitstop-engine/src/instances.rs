//! What workloads share whose pods have identities and claims of their own: CloneSets and StatefulSets.
//!
//! | module | the rules in it |
//! |---|---|
//! | `action` | what is written |
//! | [`carry_on`] | how an update in place and a lifecycle go on by themselves |
//! | `consent` | whether a pod stays when it is updated, and what its owner is told of that |
//! | `history` | which revision is meant, which is current, which are surplus |
//! | `in_flight` | what we did that the stores may not show yet |
//! | `invalid` | fields that cannot be read |
//! | `pod` | what every pod of them has |
//! | `rounded_up` | percentages that are rounded up to every pod |
//! | `stalls` | updates in place that do not go on, and what is said of them |
//! | `waiting` | why a pod at its target is not available |

pub mod carry_on;

mod action;
pub(crate) mod consent;
pub(crate) mod history;
mod in_flight;
pub(crate) mod invalid;
pub(crate) mod pod;
pub(crate) mod rounded_up;
pub mod stalls;
pub(crate) mod waiting;

/// How many pods are made in one pass at most: the next one makes the others, so that the manifests of thousands are not held
/// at a time. Source: `BurstReplicas` of Kubernetes' controller of ReplicaSets.
pub(crate) const MOST_CREATED: usize = 500;

pub use action::{Action, ClaimWhy, NewPod, PatchWhy, Removal};
pub use in_flight::{CreatedPod, Failures, InFlight, RefusedResize, RefusedWrite};
