//! How fast nodes of a zone may be evicted.
//!
//! Source: embedded-cluster.md 16.2, rule 2.

use std::collections::BTreeMap;
use std::time::Duration;

/// Time between two nodes. Source: embedded-cluster.md 16.2, 0.1 a second.
const INTERVAL: Duration = Duration::from_secs(10);
/// The same in a large zone of which most is silent. Source: embedded-cluster.md 16.2, 0.01 a second.
const SLOW_INTERVAL: Duration = Duration::from_secs(100);
/// A zone is in trouble when this share of it is silent. Units: per cent.
const UNHEALTHY: usize = 55;
/// So few silent nodes are no trouble in themselves. Units: nodes. Source: upstream's node lifecycle controller.
const FEW: usize = 2;
/// A zone above this size is large. Units: nodes.
const LARGE: usize = 50;

/// The nodes of a zone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Zone {
    pub(super) n_nodes: usize,
    pub(super) n_silent: usize,
}

/// How fast nodes may be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// One node in each such time, unscaled.
    Every(Duration),
    /// No further ones.
    Stopped,
}

impl Zone {
    /// How fast its nodes may be evicted, if not all zones are silent.
    pub(super) fn pace(&self) -> Pace {
        let is_troubled = self.n_silent < self.n_nodes
            && self.n_silent > FEW
            && self.n_silent.saturating_mul(100) >= self.n_nodes.saturating_mul(UNHEALTHY);
        match (is_troubled, self.n_nodes > LARGE) {
            (false, _) => Pace::Every(INTERVAL),
            (true, true) => Pace::Every(SLOW_INTERVAL),
            (true, false) => Pace::Stopped,
        }
    }
}

/// Counts nodes by zone.
pub(super) fn count(nodes: impl Iterator<Item = (String, bool)>) -> BTreeMap<String, Zone> {
    let mut zones: BTreeMap<String, Zone> = BTreeMap::new();
    for (zone, is_ready) in nodes {
        let zone = zones.entry(zone).or_default();
        zone.n_nodes += 1;
        zone.n_silent += usize::from(!is_ready);
    }
    zones
}

/// Is no node of any zone ready?
pub(super) fn is_all_silent(zones: &BTreeMap<String, Zone>) -> bool {
    zones.values().all(|zone| zone.n_silent == zone.n_nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eviction_slows_down_where_much_is_silent() {
        for (n_nodes, n_silent, want) in [
            (3, 1, Pace::Every(INTERVAL)),
            (3, 2, Pace::Every(INTERVAL)),
            (5, 3, Pace::Stopped),
            (20, 10, Pace::Every(INTERVAL)),
            (20, 11, Pace::Stopped),
            (50, 28, Pace::Stopped),
            (100, 54, Pace::Every(INTERVAL)),
            (100, 55, Pace::Every(SLOW_INTERVAL)),
            (5, 5, Pace::Every(INTERVAL)),
        ] {
            let zone = Zone { n_nodes, n_silent };
            assert_eq!(zone.pace(), want, "{n_silent} of {n_nodes}");
        }
    }
}
