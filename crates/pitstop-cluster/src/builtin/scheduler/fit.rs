//! Does a pod fit on a node?

use std::sync::Arc;

use pitstop_api::placement::{NO_EXECUTE, NO_SCHEDULE, NodeConstraints, Taint, untolerated};
use pitstop_api::{keys, quantity};

use super::super::wire::{Container, Node, Pod, Port, Quantities};

/// What of a node pods use up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    /// Units: thousandths of a processor.
    cpu: u64,
    /// Units: bytes.
    memory: u64,
    /// Units: pods.
    pub(super) pods: u64,
}

/// What one pod takes of its node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wants {
    amount: Amount,
    ports: Vec<Port>,
}

/// What all pods of a node take.
#[derive(Debug, Default)]
pub(super) struct Used {
    pub(super) amount: Amount,
    ports: Vec<Port>,
}

/// What a node offers.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) node: Arc<Node>,
    taints: Vec<Taint>,
    allocatable: Amount,
}

impl Place {
    pub(super) fn of(node: &Arc<Node>) -> Self {
        let mut taints: Vec<Taint> = node.spec.taints.iter().map(|t| t.taint.clone()).collect();
        if node.spec.unschedulable {
            taints.push(Taint {
                key: keys::TAINT_UNSCHEDULABLE.to_owned(),
                value: String::new(),
                effect: NO_SCHEDULE.to_owned(),
            });
        }
        let status = &node.status.allocatable;
        let allocatable = Amount {
            pods: units(&status.pods),
            ..Amount::of(status)
        };
        Self {
            node: Arc::clone(node),
            taints,
            allocatable,
        }
    }

    /// Would a pod that did not fit on the one fit on the other, as far as one can tell?
    pub(super) fn differs(&self, other: &Self) -> bool {
        self.taints != other.taints
            || self.allocatable != other.allocatable
            || self.node.metadata.labels != other.node.metadata.labels
    }

    /// Why a pod does not fit here: one or more reasons, as `kubectl describe` shows them.
    pub(super) fn problems(&self, placement: &NodeConstraints, wants: &Wants, used: &Used) -> Vec<String> {
        let meta = &self.node.metadata;
        if !placement.selects(&meta.name, &meta.labels) {
            return vec![super::NO_MATCH.to_owned()];
        }
        let (taints, tolerations) = (&self.taints, &placement.tolerations);
        if let Some(taint) = untolerated(taints, tolerations, &[NO_SCHEDULE, NO_EXECUTE]) {
            return vec![if taint.key == keys::TAINT_UNSCHEDULABLE {
                "node(s) were unschedulable".to_owned()
            } else {
                format!("node(s) had untolerated taint {{{}: {}}}", taint.key, taint.value)
            }];
        }
        if wants
            .ports
            .iter()
            .any(|port| used.ports.iter().any(|taken| collide(port, taken)))
        {
            return vec!["node(s) didn't have free ports for the requested pod ports".to_owned()];
        }
        let (wants, after) = (wants.amount, used.amount.plus(wants.amount));
        [
            (after.pods > self.allocatable.pods, "Too many pods"),
            (
                wants.cpu > 0 && after.cpu > self.allocatable.cpu,
                "Insufficient cpu",
            ),
            (
                wants.memory > 0 && after.memory > self.allocatable.memory,
                "Insufficient memory",
            ),
        ]
        .into_iter()
        .filter(|(is_short, _)| *is_short)
        .map(|(_, problem)| problem.to_owned())
        .collect()
    }
}

impl Used {
    pub(super) fn add(&mut self, wants: &Wants) {
        self.amount = self.amount.plus(wants.amount);
        self.ports.extend(wants.ports.iter().cloned());
    }

    pub(super) fn remove(&mut self, wants: &Wants) {
        self.amount = self.amount.minus(wants.amount);
        for port in &wants.ports {
            if let Some(at) = self.ports.iter().position(|taken| taken == port) {
                self.ports.swap_remove(at);
            }
        }
    }
}

impl Wants {
    /// Containers run together; each init container runs before them, beside the sidecars that started before it.
    pub(super) fn of(pod: &Pod) -> Self {
        let mut together = sum(&pod.spec.containers);
        let (mut sidecars, mut starting) = (Amount::default(), Amount::default());
        for container in pod.spec.init_containers.iter() {
            let amount = Amount::of(&container.resources.requests);
            starting = starting.max(sidecars.plus(amount));
            if container.restart_policy == "Always" {
                sidecars = sidecars.plus(amount);
                together = together.plus(amount);
            }
        }
        let amount = Amount {
            pods: 1,
            ..together.max(starting)
        };
        let containers = pod.spec.containers.iter().chain(pod.spec.init_containers.iter());
        let ports = containers.flat_map(|container| &container.ports);
        let ports = ports.filter(|port| port.number > 0).cloned().collect();
        Self { amount, ports }
    }
}

impl Amount {
    fn of(quantities: &Quantities) -> Self {
        Self {
            cpu: thousandths(&quantities.cpu),
            memory: units(&quantities.memory),
            pods: 0,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_add(other.cpu),
            memory: self.memory.saturating_add(other.memory),
            pods: self.pods.saturating_add(other.pods),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(other.cpu),
            memory: self.memory.saturating_sub(other.memory),
            pods: self.pods.saturating_sub(other.pods),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
            pods: self.pods.max(other.pods),
        }
    }
}

fn sum(containers: &[Container]) -> Amount {
    let amounts = containers.iter().map(|c| Amount::of(&c.resources.requests));
    amounts.fold(Amount::default(), Amount::plus)
}

/// Two pods cannot listen on one port of one address.
fn collide(one: &Port, other: &Port) -> bool {
    let everywhere = |port: &Port| matches!(port.host_ip.as_str(), "" | "0.0.0.0");
    let protocol = |port: &Port| match port.protocol.as_str() {
        "UDP" => 'u',
        "SCTP" => 's',
        _ => 't',
    };
    one.number == other.number
        && protocol(one) == protocol(other)
        && (everywhere(one) || everywhere(other) || one.host_ip == other.host_ip)
}

/// A quantity in thousandths, rounded up; 0 when it is none.
fn thousandths(quantity: &str) -> u64 {
    rounded_up(quantity, 1_000_000)
}

/// A quantity in whole units, rounded up; 0 when it is none.
fn units(quantity: &str) -> u64 {
    rounded_up(quantity, 1_000_000_000)
}

fn rounded_up(quantity: &str, billionths: u64) -> u64 {
    let value = quantity::value(quantity).and_then(|nanos| u128::try_from(nanos).ok());
    let units = value.unwrap_or(0).div_ceil(u128::from(billionths));
    u64::try_from(units).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_compared_by_value() {
        for (text, milli, whole) in [
            ("1", 1000, 1),
            ("100m", 100, 1),
            ("1.5", 1500, 2),
            ("16Gi", 17_179_869_184_000, 17_179_869_184),
            ("2k", 2_000_000, 2000),
            ("", 0, 0),
            ("many", 0, 0),
        ] {
            assert_eq!((thousandths(text), units(text)), (milli, whole), "{text}");
        }
    }

    fn wants(spec: &serde_json::Value) -> Wants {
        Wants::of(&serde_json::from_value(json!({ "spec": spec })).unwrap())
    }

    fn cpu(amount: &str) -> serde_json::Value {
        json!({"requests": {"cpu": amount}})
    }

    #[test]
    fn a_pod_wants_what_it_needs_at_its_peak() {
        for (why, inits, milli) in [
            ("containers run together", json!([]), 300),
            (
                "a small init container is covered",
                json!([{"resources": cpu("200m")}]),
                300,
            ),
            ("a large one is not", json!([{"resources": cpu("500m")}]), 500),
            (
                "a sidecar stays",
                json!([{"resources": cpu("50m"), "restartPolicy": "Always"}]),
                350,
            ),
            (
                "an init container runs beside the sidecars before it",
                json!([{"resources": cpu("50m"), "restartPolicy": "Always"}, {"resources": cpu("400m")}]),
                450,
            ),
        ] {
            let spec = json!({
                "containers": [{"resources": cpu("100m")}, {"resources": cpu("200m")}], "initContainers": inits,
            });
            assert_eq!(wants(&spec).amount.cpu, milli, "{why}");
        }
    }

    #[test]
    fn ports_of_the_node_collide_by_number_protocol_and_address() {
        let port = |number: i64, protocol: &str, ip: &str| Port {
            number,
            host_ip: ip.into(),
            protocol: protocol.into(),
            ..Port::default()
        };
        for (one, other, want) in [
            (port(80, "TCP", ""), port(80, "TCP", ""), true),
            (port(80, "", ""), port(80, "TCP", ""), true),
            (port(80, "TCP", ""), port(80, "UDP", ""), false),
            (port(80, "TCP", ""), port(81, "TCP", ""), false),
            (port(80, "TCP", "10.0.0.1"), port(80, "TCP", "10.0.0.2"), false),
            (port(80, "TCP", "0.0.0.0"), port(80, "TCP", "10.0.0.2"), true),
        ] {
            assert_eq!(collide(&one, &other), want, "{one:?} {other:?}");
        }
    }
}
