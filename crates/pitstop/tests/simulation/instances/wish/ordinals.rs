//! What people wish for in a StatefulSet beside what they wish for in a CloneSet.

use std::collections::BTreeSet;

use pitstop_api::reasons;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{Policy, WORKS};

/// How far from 0 the first ordinal may be.
const START: usize = 2;
/// Ordinals that may be reserved are below.
const RESERVED_BELOW: usize = 6;
/// How many are reserved at most.
const N_RESERVED: usize = 2;

/// The spec of a StatefulSet, as far as stories change it.
#[derive(Debug, Clone)]
pub(in crate::instances) struct Ordinals {
    /// Is it `OrderedReady`?
    in_order: bool,
    is_unordered: bool,
    /// Is the partition written as a percentage?
    in_percent: bool,
    protection: Option<Protection>,
    start: usize,
    reserved: BTreeSet<usize>,
}

/// What is not done to pods that work.
#[derive(Debug, Clone, Copy)]
struct Protection {
    follows: bool,
    blocks_scale_down: bool,
}

impl Ordinals {
    pub(super) fn draw(random: &mut StdRng, policy: Policy) -> Self {
        let in_order = random.random_range(0..3) == 0;
        let may_protect = !in_order && policy != Policy::OnDelete;
        let protection = Protection {
            follows: random.random_range(0..3) > 0,
            blocks_scale_down: random.random_range(0..3) > 0,
        };
        Self {
            in_order,
            is_unordered: random.random::<bool>() && !in_order,
            in_percent: random.random(),
            protection: (may_protect && random.random_range(0..4) > 0).then_some(protection),
            start: [0, 0, START][random.random_range(0..3)],
            reserved: BTreeSet::new(),
        }
    }

    /// One of many that are small.
    pub(super) fn of_the_crowd() -> Self {
        Self {
            in_order: false,
            is_unordered: false,
            in_percent: false,
            protection: None,
            start: 0,
            reserved: BTreeSet::new(),
        }
    }

    /// Somebody changes something: says what.
    pub(super) fn change(&mut self, random: &mut StdRng) -> String {
        match random.random_range(0..6) {
            0 | 1 => {
                let ordinal = random.random_range(0..RESERVED_BELOW);
                if !self.reserved.remove(&ordinal) && self.reserved.len() < N_RESERVED {
                    self.reserved.insert(ordinal);
                }
                format!("reserved are {:?}", self.reserved)
            }
            2 => {
                self.start = START - self.start;
                format!("the first ordinal is {}", self.start)
            }
            3 => {
                self.in_percent = !self.in_percent;
                format!("the partition in percent: {}", self.in_percent)
            }
            4 if !self.in_order => {
                self.is_unordered = !self.is_unordered;
                format!("in any order: {}", self.is_unordered)
            }
            _ => {
                if let Some(protection) = &mut self.protection {
                    protection.follows = !protection.follows;
                    protection.blocks_scale_down = random.random();
                }
                format!("protection {:?}", self.protection)
            }
        }
    }

    /// Are pods that work left alone?
    pub(super) fn protects(&self) -> bool {
        self.protection.is_some()
    }

    /// Do pods that work stay when they are too many?
    pub(super) fn blocks_scale_down(&self) -> bool {
        self.protection
            .is_some_and(|protection| protection.blocks_scale_down)
    }

    /// The ordinals that have a pod.
    pub(super) fn live(&self, replicas: usize) -> Vec<i64> {
        let reserved: Vec<i64> = self.reserved.iter().map(|ordinal| number(*ordinal)).collect();
        live(number(self.start), &reserved, number(replicas))
    }

    /// The partition as it is written: so many of all.
    pub(super) fn partition(&self, partition: usize, replicas: usize) -> Value {
        if self.in_percent {
            let percent = (partition * 100 / replicas.max(1)).min(100);
            json!(format!("{percent}%"))
        } else {
            json!(partition)
        }
    }

    /// Turns the spec of a CloneSet into that of a StatefulSet.
    pub(super) fn shape(&self, spec: &mut Value, policy: Policy, deletes_claims: bool) {
        let min_ready = spec["minReadySeconds"].take();
        let Some(fields) = spec.as_object_mut() else {
            return;
        };
        fields.remove("minReadySeconds");
        fields.remove("progressDeadlineSeconds");
        let management = if self.in_order { "OrderedReady" } else { "Parallel" };
        spec["podManagementPolicy"] = json!(management);
        spec["ordinals"] = json!({"start": self.start});
        spec["reserveOrdinals"] = json!(self.reserved);
        let scaled = if deletes_claims { "Delete" } else { "Retain" };
        spec["persistentVolumeClaimRetentionPolicy"] = json!({"whenScaled": scaled, "whenDeleted": "Retain"});
        // Pods that come one after the other have no budget for that.
        let budget = spec["scaleStrategy"]["maxUnavailable"].take();
        spec["scaleStrategy"] = json!({"maxUnavailable": if self.in_order { Value::Null } else { budget }});
        let template = &mut spec["template"];
        template["spec"]["readinessGates"] = json!([{"conditionType": reasons::INPLACE_UPDATE_READY}]);
        template["metadata"]["labels"][WORKS] = json!("false");
        let strategy = &mut spec["updateStrategy"];
        if policy == Policy::OnDelete {
            strategy["rollingUpdate"] = Value::Null;
            return;
        }
        let rolling = &mut strategy["rollingUpdate"];
        let Some(fields) = rolling.as_object_mut() else {
            return;
        };
        fields.remove("maxSurge");
        rolling["minReadySeconds"] = min_ready;
        rolling["unorderedUpdate"] = if self.is_unordered { json!({}) } else { Value::Null };
        rolling["protection"] = self.protection.map_or(Value::Null, |protection| {
            json!({
                "podSelector": {"matchLabels": {(WORKS): "true"}},
                "partitionPolicy": if protection.follows { "Follow" } else { "Static" },
                "onScaleDown": if protection.blocks_scale_down { "Block" } else { "Delete" },
            })
        });
    }
}

fn number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or_default()
}

/// The first so many ordinals that are not reserved. Source: statefulset.md 3.
pub(in crate::instances) fn live(start: i64, reserved: &[i64], replicas: i64) -> Vec<i64> {
    let free = (start..).filter(|ordinal| !reserved.contains(ordinal));
    free.take(usize::try_from(replicas).unwrap_or_default()).collect()
}
