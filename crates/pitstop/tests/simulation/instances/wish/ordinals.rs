//! What people wish for in a StatefulSet beside what they wish for in a CloneSet.

use std::collections::BTreeSet;

use pitstop_api::reasons;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{Policy, WORKS};
use crate::arbiter::{HOST, PATH, PORT};

/// The service before the arbiter.
pub(crate) const ARBITER: &str = "arbiter";
/// How often an arbiter is asked. Units: seconds.
const ASKED_EVERY: u32 = 5;
/// How long its answers count. Units: seconds.
const STALE_AFTER: u32 = 12;
/// How long an update may be blocked before pods are taken for idle. Units: seconds.
const FORCED_AFTER: u32 = 30;
/// The class whose volumes grow.
pub(in crate::instances) const CLASS: &str = "disks";
/// So many pods seldom work at a time.
const MANY: usize = 4;
/// How large a claim becomes at most. Units: Gi.
const LARGEST: u32 = 4;

/// The service, for those who ask its arbiter.
pub(crate) fn arbiter_service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": ARBITER},
        "spec": {"type": "ExternalName", "externalName": HOST},
    })
}

/// The class of the claims.
pub(in crate::instances) fn class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": CLASS},
        "provisioner": "example.com/disk", "allowVolumeExpansion": true,
    })
}

/// How far from 0 the first ordinal may be.
const START: usize = 2;
/// Ordinals that may be reserved are below.
const RESERVED_BELOW: usize = 6;
/// How many are reserved at most.
const N_RESERVED: usize = 2;

/// What stories of StatefulSets are about is the same after so many seeds.
pub(crate) const N_FOCUSES: u64 = 5;

/// What a story is about beside what is drawn for it, by its seed: what is rare in all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::instances) enum Focus {
    Nothing,
    /// Pods that stay at an old version.
    Partition,
    /// How many pods have to work for any to be disrupted.
    Least,
    /// An update that is blocked until its deadline.
    Deadline,
    /// Whoever is asked which pods work.
    Arbiter(Source),
    /// Claims that grow with new versions.
    Growth,
    /// Pods that idle go first.
    Priorities,
    /// Pods that nothing replaces.
    InPlace,
    /// Somebody who wants to be heard before a deletion.
    Hook,
}

impl Focus {
    pub(super) fn of(seed: u64) -> Self {
        let turn = seed / N_FOCUSES;
        match seed % N_FOCUSES {
            0 => match turn % 4 {
                0 => Self::Hook,
                1 => Self::Partition,
                2 => Self::Priorities,
                _ => Self::InPlace,
            },
            1 => Self::Least,
            2 => Self::Deadline,
            3 => Self::Arbiter(match turn % 3 {
                0 => Source::Http { claims: true },
                1 => Source::Http { claims: false },
                _ => Source::Exec,
            }),
            _ => Self::Growth,
        }
    }
}

/// The spec of a StatefulSet, as far as stories change it.
#[derive(Debug, Clone)]
pub(in crate::instances) struct Ordinals {
    focus: Focus,
    /// Is it `OrderedReady`?
    in_order: bool,
    is_unordered: bool,
    /// Do pods that idle go first, where the order is free?
    prefers_idle: bool,
    /// Do claims grow before their pods are updated?
    resizes: bool,
    /// What claims ask for. Units: Gi.
    claim: u32,
    /// Is the partition written as a percentage?
    in_percent: bool,
    protection: Option<Protection>,
    start: usize,
    reserved: BTreeSet<usize>,
}

/// What is not done to pods that work.
#[derive(Debug, Clone, Copy)]
struct Protection {
    source: Source,
    follows: bool,
    blocks_scale_down: bool,
    min_protected: usize,
    /// Are pods taken for idle when an update was blocked for long?
    forces: bool,
}

/// Who says which pods work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::instances) enum Source {
    /// Their labels.
    Labels,
    /// A service.
    Http {
        /// Is it asked again right before a pod is disrupted?
        claims: bool,
    },
    /// A command in each of them.
    Exec,
}

impl Source {
    fn draw(random: &mut StdRng) -> Self {
        match random.random_range(0..6) {
            0..=2 => Self::Labels,
            3 => Self::Http { claims: false },
            4 => Self::Http { claims: true },
            _ => Self::Exec,
        }
    }

    fn arbiter(self) -> Value {
        let mut arbiter = json!({
            "periodSeconds": ASKED_EVERY, "staleAfterSeconds": STALE_AFTER, "failureThreshold": 3,
            "claim": self == Self::Http { claims: true },
        });
        match self {
            Self::Labels => return Value::Null,
            Self::Http { .. } => {
                arbiter["http"] = json!({"service": {"name": ARBITER, "port": PORT}, "path": PATH});
            }
            Self::Exec => arbiter["exec"] = json!({"command": ["test", "!", "-e", "/busy"]}),
        }
        arbiter
    }
}

impl Protection {
    fn draw(random: &mut StdRng) -> Self {
        let source = Source::draw(random);
        Self {
            source,
            follows: random.random_range(0..3) > 0,
            blocks_scale_down: random.random_range(0..3) > 0,
            min_protected: least(random, source),
            forces: random.random_range(0..4) == 0,
        }
    }

    fn written(self) -> Value {
        let mut written = json!({
            "partitionPolicy": if self.follows { "Follow" } else { "Static" },
            "onScaleDown": if self.blocks_scale_down { "Block" } else { "Delete" },
            "minProtected": self.min_protected,
            "onDeadline": if self.forces { "Force" } else { "Event" },
            "deadlineSeconds": FORCED_AFTER,
        });
        match self.source {
            Source::Labels => written["podSelector"] = json!({"matchLabels": {(WORKS): "true"}}),
            source => written["arbiter"] = source.arbiter(),
        }
        written
    }
}

/// How many pods have to be protected for anything to be disrupted; of an arbiter's pods it is not known to others how many
/// are.
fn least(random: &mut StdRng, source: Source) -> usize {
    let least = [0, 0, 0, 1, 2][random.random_range(0..5)];
    if source == Source::Labels { least } else { 0 }
}

impl Ordinals {
    pub(super) fn draw(random: &mut StdRng, policy: Policy, focus: Focus) -> Self {
        let in_order = random.random_range(0..3) == 0;
        let may_protect = !in_order && policy != Policy::OnDelete;
        let protection = Protection::draw(random);
        let mut drawn = Self {
            focus,
            in_order,
            is_unordered: random.random::<bool>() && !in_order,
            prefers_idle: random.random(),
            resizes: random.random_range(0..4) > 0,
            claim: 1,
            in_percent: random.random(),
            protection: (may_protect && random.random_range(0..4) > 0).then_some(protection),
            start: [0, 0, START][random.random_range(0..3)],
            reserved: BTreeSet::new(),
        };
        match focus {
            Focus::Partition | Focus::Growth => drawn.protection = None,
            Focus::Least => drawn.is_guarded(Protection {
                source: Source::Labels,
                forces: false,
                ..protection
            }),
            Focus::Deadline => {
                let (source, forces) = (Source::Labels, true);
                drawn.is_guarded(Protection {
                    source,
                    forces,
                    min_protected: 0,
                    ..protection
                });
            }
            Focus::Arbiter(source) => {
                drawn.is_guarded(Protection {
                    source,
                    forces: false,
                    min_protected: 0,
                    ..protection
                });
            }
            Focus::Priorities => {
                drawn.protection = None;
                drawn.in_order = false;
            }
            Focus::InPlace | Focus::Hook | Focus::Nothing => {}
        }
        drawn.keep_focus();
        drawn
    }

    /// What the story is about stays.
    pub(super) fn keep_focus(&mut self) {
        match (self.focus, &mut self.protection) {
            (Focus::Least, Some(protection)) => {
                (protection.min_protected, protection.forces) = (MANY, false);
            }
            (Focus::Deadline, Some(protection)) => {
                (protection.min_protected, protection.forces) = (0, true);
            }
            (Focus::Growth, _) => self.resizes = true,
            (Focus::Priorities, _) => (self.is_unordered, self.prefers_idle) = (true, true),
            _ => {}
        }
    }

    fn is_guarded(&mut self, protection: Protection) {
        self.in_order = false;
        self.protection = Some(protection);
    }

    /// One of many that are small.
    pub(super) fn of_the_crowd() -> Self {
        Self {
            focus: Focus::Nothing,
            in_order: false,
            is_unordered: false,
            prefers_idle: false,
            resizes: false,
            claim: 1,
            in_percent: false,
            protection: None,
            start: 0,
            reserved: BTreeSet::new(),
        }
    }

    /// Somebody changes something: says what.
    pub(super) fn change(&mut self, random: &mut StdRng) -> String {
        match random.random_range(0..8) {
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
                self.prefers_idle = random.random();
                format!(
                    "in any order: {}, first those that idle: {}",
                    self.is_unordered, self.prefers_idle
                )
            }
            5 | 6 if self.claim < LARGEST => {
                self.claim += 1;
                format!("claims of {} Gi", self.claim)
            }
            _ => {
                if let Some(protection) = &mut self.protection {
                    *protection = Protection {
                        source: protection.source,
                        follows: !protection.follows,
                        blocks_scale_down: random.random(),
                        min_protected: least(random, protection.source),
                        forces: random.random(),
                    };
                }
                format!("protection {:?}", self.protection)
            }
        }
    }

    /// Are pods that work left alone?
    pub(super) fn protects(&self) -> bool {
        self.protection.is_some()
    }

    /// What the story is about.
    pub(super) fn focus(&self) -> Focus {
        self.focus
    }

    /// A new version needs larger claims.
    pub(super) fn new_version(&mut self) {
        if self.focus == Focus::Growth {
            self.claim = (self.claim + 1).min(LARGEST);
        }
    }

    /// Does it matter which pods work?
    pub(super) fn has_work(&self) -> bool {
        self.protects() || self.prefers_idle
    }

    /// Who says which pods work.
    pub(super) fn source(&self) -> Source {
        self.protection
            .map_or(Source::Labels, |protection| protection.source)
    }

    /// Pods may be disrupted however few work, and none that works for all that.
    pub(super) fn is_quiet(&mut self) {
        if let Some(protection) = &mut self.protection {
            protection.min_protected = 0;
            protection.forces = false;
        }
    }

    /// What claims are to ask for. Units: Gi. `None`: they do not grow.
    pub(super) fn claims_grow_to(&self) -> Option<u32> {
        self.resizes.then_some(self.claim)
    }

    /// The claim that each pod is to have.
    pub(super) fn claim(&self) -> Value {
        json!({
            "accessModes": ["ReadWriteOnce"], "storageClassName": CLASS,
            "resources": {"requests": {"storage": format!("{}Gi", self.claim)}},
        })
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

    /// `unorderedUpdate`.
    fn order(&self) -> Value {
        let term = |weight: u32, works: &str| json!({"weight": weight, "matchSelector": {"matchLabels": {WORKS: works}}});
        let weights = json!({"weightPriority": [term(30, "true"), term(50, "false")]});
        json!({"priorityStrategy": if self.prefers_idle { weights } else { Value::Null }})
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
        let resizes = if self.resizes {
            "OnPodRollingUpdate"
        } else {
            "OnDelete"
        };
        spec["volumeClaimUpdateStrategy"] = json!({"type": resizes});
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
        rolling["unorderedUpdate"] = if self.is_unordered {
            self.order()
        } else {
            Value::Null
        };
        rolling["protection"] = self.protection.map_or(Value::Null, Protection::written);
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
