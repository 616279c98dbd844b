//! The node agent: the owner of a node sees that a new version waits, and starts the upgrade.
//!
//! A hub answers on loopback only. It lists and watches the pods of its own node, tells whether a newer revision waits
//! for them, and carries out what their owner asks for: at once while the API server can be reached, and otherwise when
//! it can be reached again. The routes are those of the systems that pitstop replaces.
//!
//! Decisions are pure and apart from what touches the world: [`checks`] says whether a pod may be upgraded. What leaves
//! the node goes through [`Cloud`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

#[cfg(test)]
extern crate self as pitstop_hub;

pub use api::{AnswerBody, ApiServer, BodyError, ConnectError, Direct, Transport};
pub use cloud::{Change, Cloud, CloudError, Page, Reply};
pub use desk::{Answered, Desk};
pub use hub::{Hub, HubError};
pub use kubelet::FromKubelet;
pub use settings::{ClockSynced, Executor, FaultPoints, Heartbeat, Limits, LocalAuth, Profile, Settings};

pub mod certificate;
pub mod checks;
pub mod pod;

mod act;
mod answers;
mod api;
mod ask;
mod audit;
mod cache;
mod carry;
mod cloud;
mod consent;
mod desk;
mod events;
mod front;
#[cfg(test)]
mod fuzz;
mod guard;
#[cfg(test)]
mod histories;
mod hub;
mod intents;
mod journal;
mod keeper;
mod kubelet;
mod link;
mod listing;
mod metrics;
mod notices;
mod overview;
mod peer;
mod policy;
mod progress;
mod routes;
mod save;
mod settings;
mod shared;
mod timed;

/// Where the hub listens: 127.0.0.1:10267.
///
/// Source: daemonset.md C8.
pub const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10267);

/// The route that starts the upgrade of a pod.
///
/// Source: daemonset.md C8.
pub fn upgrade_path(namespace: &str, pod: &str) -> String {
    format!("/openyurt.io/v1/namespaces/{namespace}/pods/{pod}/upgrade")
}

/// The route that has the images of a pod's newer revision pulled ahead.
///
/// Source: daemonset.md C9.1.
pub fn pull_path(namespace: &str, pod: &str) -> String {
    format!("/openyurt.io/v1/namespaces/{namespace}/pods/{pod}/imagepull")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_upgrade_route_is_the_one_of_seed_001() {
        let url = format!(
            "{}{}",
            super::ADDRESS,
            super::upgrade_path("default", "nginx-daemonset-bwzss")
        );
        assert_eq!(
            url,
            "127.0.0.1:10267/openyurt.io/v1/namespaces/default/pods/nginx-daemonset-bwzss/upgrade"
        );
    }
}
