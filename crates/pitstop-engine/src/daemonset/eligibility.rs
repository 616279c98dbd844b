//! Which nodes should run a pod of a DaemonSet, and which may keep one.
//!
//! Source: daemonset.md A2.

use pitstop_api::keys;
use pitstop_api::placement::{NO_EXECUTE, NO_SCHEDULE, NodeConstraints, Taint, Toleration, untolerated};
use pitstop_api::view::{DaemonSetView, NodeView};

/// Tolerations that every pod of a DaemonSet has: `(key, effect)`; the last one only with `hostNetwork`.
const DEFAULT_TOLERATIONS: [(&str, &str); 7] = [
    (keys::TAINT_NOT_READY, NO_EXECUTE),
    (keys::TAINT_UNREACHABLE, NO_EXECUTE),
    (keys::TAINT_DISK_PRESSURE, NO_SCHEDULE),
    (keys::TAINT_MEMORY_PRESSURE, NO_SCHEDULE),
    (keys::TAINT_PID_PRESSURE, NO_SCHEDULE),
    (keys::TAINT_UNSCHEDULABLE, NO_SCHEDULE),
    (keys::TAINT_NETWORK_UNAVAILABLE, NO_SCHEDULE),
];

/// Whether a node should get a pod, and whether it may keep one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eligible {
    /// A pod is created where there is none.
    pub should_run: bool,
    /// A pod that is there stays.
    pub should_continue: bool,
}

/// Where the pods of one DaemonSet may run: the template's constraints with the default tolerations.
#[derive(Debug, Clone)]
pub struct Eligibility {
    constraints: NodeConstraints,
    selects_all: bool,
}

impl Eligibility {
    /// Reads the template once, for all nodes.
    pub fn of(daemonset: &DaemonSetView) -> Self {
        let mut constraints = daemonset.placement.clone();
        constraints.tolerations = tolerations(&constraints);
        let selects_all = constraints.node_selector.is_empty() && constraints.affinity.is_none();
        Self {
            constraints,
            selects_all,
        }
    }

    /// May this node get or keep a pod? Its readiness, its free resources and a cordon are not asked about.
    pub fn of_node(&self, node: &NodeView) -> Eligible {
        let named = self
            .constraints
            .node_name
            .as_deref()
            .is_none_or(|name| name.is_empty() || name == &*node.name);
        if !named || !(self.selects_all || self.constraints.selects(&node.name, &node.labels)) {
            return Eligible {
                should_run: false,
                should_continue: false,
            };
        }
        let tolerations = &self.constraints.tolerations;
        let should_run = untolerated(&node.taints, tolerations, &[NO_SCHEDULE, NO_EXECUTE]).is_none();
        let should_continue = should_run || untolerated(&node.taints, tolerations, &[NO_EXECUTE]).is_none();
        Eligible {
            should_run,
            should_continue,
        }
    }

    /// Is the node Ready, and does nothing keep a pod from it but a taint that says it is away?
    ///
    /// The condition and the taints are written one after the other, so for a moment a node that returns has both.
    pub fn is_returning(&self, node: &NodeView) -> bool {
        let is_away =
            |taint: &Taint| taint.key == keys::TAINT_NOT_READY || taint.key == keys::TAINT_UNREACHABLE;
        if !node.is_ready() || !node.taints.iter().any(is_away) || self.of_node(node).should_run {
            return false;
        }
        let mut back = node.clone();
        back.taints.retain(|taint| !is_away(taint));
        self.of_node(&back).should_run
    }
}

/// The tolerations of a pod of this template: its own, and the default ones. One with the same key, operator, value and
/// effect is updated in place, so that it has no time limit.
pub fn tolerations(template: &NodeConstraints) -> Vec<Toleration> {
    let mut tolerations = template.tolerations.clone();
    for (key, effect) in DEFAULT_TOLERATIONS {
        if key == keys::TAINT_NETWORK_UNAVAILABLE && !template.host_network {
            continue;
        }
        let default = Toleration {
            key: key.to_owned(),
            operator: "Exists".to_owned(),
            effect: effect.to_owned(),
            ..Toleration::default()
        };
        let same = |t: &&mut Toleration| {
            t.key == default.key
                && t.operator == default.operator
                && t.value == default.value
                && t.effect == default.effect
        };
        match tolerations.iter_mut().find(same) {
            Some(existing) => *existing = default,
            None => tolerations.push(default),
        }
    }
    tolerations
}
