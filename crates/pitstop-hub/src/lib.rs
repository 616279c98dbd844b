//! The node agent: the owner of a node sees that a new version waits, and starts the upgrade.
//!
//! Its REST routes answer on loopback only. This crate holds the addresses that owners and their scripts rely on; they
//! are the same as those of the systems that pitstop replaces.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

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
