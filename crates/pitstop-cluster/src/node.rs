//! Simulated nodes: ordinary clients of any API server.
//!
//! A [`Fleet`] plays every Node object that carries the annotation `sim.pitstop.io/simulated: "true"`, whoever made it.
//! All nodes of a fleet share one watch of pods and one of nodes. They run no containers: a pod is a state machine with
//! timers. Cut off by the annotation `sim.pitstop.io/network: disconnected`, a node neither reads nor writes, and its
//! containers go on.
//!
//! With [`FleetConfig::kubelets`] the API server can ask them for logs, and have commands run, as it asks kubelets; what
//! such a command sees is a small file system of its container, which may decide about readiness
//! ([`Profile::ready_file`]).
//!
//! Source: embedded-cluster.md 17.

mod containers;
mod digest;
mod fleet;
mod images;
mod inside;
mod kubelet;
mod machine;
mod pod_life;
mod profile;
mod requests;
mod resources;
mod serve;
mod status;
mod wire;

pub use containers::{Containers, NotDone, PodName, Runs};
pub use fleet::{Fleet, FleetConfig, FleetError};
pub use images::{Images, PullError, Pulled, Wish};
pub use machine::{KUBELET_VERSION, NodeSpec};
pub use profile::{Crash, Profile, PullFailure, Rule};
pub use serve::ListenError;

/// A number that is the same for the same bytes in every run, and spreads well.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}
