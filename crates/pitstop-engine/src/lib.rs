//! The decisions of pitstop: `plan(&Snapshot) -> Plan`.
//!
//! Nothing here reads a clock, calls an API, rolls dice or awaits. What a log line would say is in the [`Plan`]: a
//! [`Reason`] for every pod that is not at the target. The shell fetches snapshots and carries out plans.
//!
//! | module | the rules in it |
//! |---|---|
//! | [`availability`] | ready, available, `minReadySeconds` |
//! | [`budget`] | how many pods may be down: `maxUnavailable`, `maxSurge` |
//! | [`revision`] | what a version is: data, hash, equality, history, collision |
//! | [`daemonset`] | native rolling update, OnDelete, AdvancedRollingUpdate |
//! | [`inplace`] | update in place: comparison, writes, completion |
//! | [`instances`] | what CloneSets and StatefulSets share: their writes, revisions, and pods under way |
//! | [`lifecycle`] | hooks and the states between them |
//! | [`ota`] | owners of nodes who decide when their pods are updated |
//! | [`order`] | who is updated first, who is deleted first |
//! | [`cloneset`] | CloneSets: scale, update, status |
//! | [`statefulset`] | StatefulSets of `apps.kruise.io`: identities, scale, update, protection, status |
//! | [`predownload`] | images that are pulled before they are needed |
//! | [`plan`] | what a decision consists of |
//! | [`snapshot`] | what a decision is made from |

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

pub mod availability;
pub mod budget;
pub mod cloneset;
pub mod daemonset;
pub mod feature_gates;
pub mod inplace;
pub mod instances;
pub mod lifecycle;
pub mod order;
pub mod ota;
pub mod plan;
pub mod predownload;
pub mod revision;
mod shared_labels;
pub mod snapshot;
pub mod statefulset;

pub use plan::{Action, Plan, Reason};
pub use snapshot::Snapshot;
