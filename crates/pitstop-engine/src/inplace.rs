//! Update in place: the containers of a pod restart with another image, and the pod stays what and where it is.
//!
//! One module for every kind of workload: nothing here knows whose pod it is. A workload asks [`diff()`] whether two
//! revisions differ only in what can change in a live pod, lets [`begin`] write the change, and calls [`refresh`] for
//! every pod in every pass, which carries the update on until it ends. What comes out is a [`Change`], which the workload
//! may add its own labels to and which becomes requests with preconditions.
//!
//! Guarantee: S6 (name, uid, node and address stay), and every update ends or says what it waits for.
//! Rely: every request of a [`Change`] carries the resourceVersion that was judged, so that a decision made on an old
//! view of the pod comes to nothing.
//!
//! Source: inplace.md.

use pitstop_api::view::{InPlaceView, PodView};

pub mod agent;
pub mod batch;
pub mod change;
pub mod completion;
pub mod diff;
pub mod hash;
mod image;
mod metadata;
pub mod progress;
mod quantity;
pub mod readiness;
mod report;
pub mod state;
pub mod update;

pub use change::{Change, Endpoint, PodWrite};
pub use completion::{Completion, Pending, completion};
pub use diff::{UpdateSpec, Verdict, Version, WhyRecreate, diff};
pub use progress::{Refreshed, Stage, refresh};
pub use update::{begin, cancel, eligibility, rebuild};

/// A live pod, and what an update in place looks at.
#[derive(Debug, Clone, Copy)]
pub struct Live<'a> {
    /// The pod.
    pub pod: &'a PodView,
    /// What an update in place looks at.
    pub view: &'a InPlaceView,
}

impl<'a> Live<'a> {
    /// The live pod; `None` for one that is not updated in place.
    pub fn of(pod: &'a PodView) -> Option<Self> {
        let view = pod.in_place.as_deref()?;
        Some(Self { pod, view })
    }
}

/// What the cluster and its administrator allow. Source: inplace.md 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// `InPlaceUpdateEnvFromMetadata`: containers that read a label or annotation are restarted when it changes. It needs
    /// an agent on the nodes.
    pub env_from_metadata: bool,
    /// `InPlaceWorkloadVerticalScaling`: cpu and memory change in place, where the server offers it.
    pub vertical_scaling: bool,
    /// `RecreatePodWhenChangeVCTInCloneSetGate`: pods whose claim templates changed are replaced.
    pub recreate_on_claim_change: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            env_from_metadata: true,
            vertical_scaling: false,
            recreate_on_claim_change: false,
        }
    }
}

/// Are these the same revision: equal, or with the same hash behind the last hyphen? Source: inplace.md 3.
pub fn is_same_revision(a: &str, b: &str) -> bool {
    a == b || (short_revision(a) == short_revision(b) && !short_revision(a).is_empty())
}

/// The hash in the name of a revision: what is behind the last hyphen.
pub fn short_revision(name: &str) -> &str {
    name.rsplit_once('-').map_or(name, |(_, hash)| hash)
}
