//! Feature gates: what an administrator switches on or off for all workloads, by upstream's names.
//!
//! Source: cloneset.md 16, 18.8, 18.22; statefulset.md 2.2, 15.1; the defaults are upstream's where upstream has the gate,
//! but for those of StatefulSets that statefulset.md wants on.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use pitstop_api::kruise::defaults::Gates;
use serde::{Deserialize, Serialize};

use crate::{cloneset, statefulset};

/// What workloads may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowed {
    /// CloneSets.
    pub clonesets: cloneset::Features,
    /// StatefulSets.
    pub statefulsets: statefulset::Features,
    /// `PreDownloadImageForDaemonSetUpdate`: do DaemonSets of `apps.kruise.io` have their images pulled ahead?
    pub daemonsets_pull_ahead: bool,
    /// `PreDownloadImageForInPlaceUpdate`: do CloneSets and StatefulSets have their images pulled ahead?
    pub pulls_ahead: bool,
    /// What webhooks have to know.
    pub webhooks: Gates,
}

/// A gate.
#[derive(Debug)]
struct Gate {
    /// As it is written.
    name: &'static str,
    /// What it does, for people.
    about: &'static str,
    /// What it means where nobody says.
    default: bool,
    set: fn(bool, &mut Allowed),
}

const GATES: [Gate; 15] = [
    Gate {
        name: "CloneSetPartitionRollback",
        about: "when partition is raised, updated pods of CloneSets go back",
        default: false,
        set: |on, allowed| allowed.clonesets.partition_rollback = on,
    },
    Gate {
        name: "CloneSetShortHash",
        about: "pods of CloneSets carry the hash of their revision instead of its name",
        default: false,
        set: |on, allowed| allowed.clonesets.short_hash = on,
    },
    Gate {
        name: "CloneSetPausedScalingAsUpstream",
        about: "CloneSets that are paused make missing pods at the new revision, as OpenKruise does",
        default: false,
        set: |on, allowed| allowed.clonesets.scales_while_paused_as_upstream = on,
    },
    Gate {
        name: "InPlaceUpdateEnvFromMetadata",
        about: "containers that read a label or annotation restart in place when it changes",
        default: true,
        set: |on, allowed| {
            allowed.clonesets.in_place.env_from_metadata = on;
            allowed.statefulsets.in_place.env_from_metadata = on;
        },
    },
    Gate {
        name: "PodIndexLabel",
        about: "pods of StatefulSets carry their ordinal as a label",
        default: true,
        set: |on, allowed| allowed.statefulsets.labels_index = on,
    },
    Gate {
        name: "PreDownloadImageForDaemonSetUpdate",
        about: "DaemonSets of apps.kruise.io have their images pulled ahead, where the controller imagepulljob runs",
        default: false,
        set: |on, allowed| allowed.daemonsets_pull_ahead = on,
    },
    Gate {
        name: "PreDownloadImageForInPlaceUpdate",
        about: "CloneSets and StatefulSets have their images pulled ahead, where the controller imagepulljob runs",
        default: false,
        set: |on, allowed| allowed.pulls_ahead = on,
    },
    Gate {
        name: "PreparingUpdateAsUpdate",
        about: "pods that prepare for their update count as updated; off for CloneSets, on for StatefulSets unless it is given",
        default: false,
        set: |on, allowed| {
            allowed.clonesets.preparing_update_as_update = on;
            allowed.statefulsets.preparing_update_as_update = on;
        },
    },
    Gate {
        name: "RecreatePodWhenChangeVCTInCloneSetGate",
        about: "pods of CloneSets whose claim templates changed are replaced",
        default: false,
        set: |on, allowed| {
            allowed.clonesets.in_place.recreate_on_claim_change = on;
            allowed.statefulsets.in_place.recreate_on_claim_change = on;
        },
    },
    Gate {
        name: "ResourcesDeletionProtection",
        about: "CloneSets and StatefulSets with the label policy.kruise.io/delete-protection are not deleted",
        default: false,
        set: |on, allowed| allowed.webhooks.protects_deletion = on,
    },
    Gate {
        name: "StatefulSetAutoDeletePVC",
        about: "claims of StatefulSets go by persistentVolumeClaimRetentionPolicy",
        default: true,
        set: |on, allowed| {
            allowed.statefulsets.deletes_claims = on;
            allowed.webhooks.deletes_claims = on;
        },
    },
    Gate {
        name: "StatefulSetAutoResizePVCGate",
        about: "claims of StatefulSets grow with their templates, where volumeClaimUpdateStrategy asks for it",
        default: false,
        set: |on, allowed| {
            allowed.statefulsets.resizes_claims = on;
            allowed.webhooks.resizes_claims = on;
        },
    },
    Gate {
        name: "StatefulSetStartOrdinal",
        about: "ordinals.start of StatefulSets counts",
        default: true,
        set: |on, allowed| allowed.statefulsets.start_ordinal = on,
    },
    Gate {
        name: "StatefulSetUpdateThrottlingAsUpstream",
        about: "scaleStrategy.maxUnavailable also limits how fast pods come back from an update, as in OpenKruise",
        default: false,
        set: |on, allowed| allowed.statefulsets.throttles_updates_as_upstream = on,
    },
    Gate {
        name: "TemplateNoDefaults",
        about: "templates of CloneSets and StatefulSets stay as they are written, without the defaults of pods and claims",
        default: false,
        set: |on, allowed| allowed.webhooks.leaves_templates = on,
    },
];

/// Gates of upstream that are off there, and that nothing here could switch on, each with the reason.
const ALWAYS_OFF: [(&str, &str); 4] = [
    (
        "CloneSetEventHandlerOptimization",
        "there are no handlers of events to leave out, as upstream has them",
    ),
    (
        "ForceDeleteTimeoutExpectationGate",
        "nothing waits for expectations that could time out: what a write came to is read from the server",
    ),
    (
        "KruisePodReadinessGate",
        "no webhook of pitstop sees pods; those of its own workloads have the readiness gate KruisePodReady anyway",
    ),
    (
        "PodUnavailableBudgetUpdateGate",
        "PodUnavailableBudgets are not read, so that an update would not ask them",
    ),
];

/// The gates that somebody set, as `Name=true,Other=false`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FeatureGates(BTreeMap<&'static str, bool>);

/// Why a text names no gates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// There is no gate of this name.
    #[error("there is no feature gate {0:?}; there are {known}", known = names().join(", "))]
    Unknown(String),
    /// It is neither on nor off.
    #[error("feature gate {0} is {1:?}; write {0}=true or {0}=false")]
    NotBool(String, String),
    /// It cannot be on.
    #[error("feature gate {0} cannot be true: {1}")]
    AlwaysOff(&'static str, &'static str),
}

fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = GATES.iter().map(|gate| gate.name).collect();
    names.extend(ALWAYS_OFF.map(|(name, _)| name));
    names
}

impl FeatureGates {
    /// Does nobody set any?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets what workloads may do.
    pub fn apply(&self, allowed: &mut Allowed) {
        for gate in &GATES {
            if let Some(on) = self.0.get(gate.name) {
                (gate.set)(*on, allowed);
            }
        }
    }

    /// What webhooks have to know of them.
    pub fn of_webhooks(&self) -> Gates {
        let mut allowed = Allowed::default();
        self.apply(&mut allowed);
        allowed.webhooks
    }

    /// A line for each gate, for people: its name, what it is where nobody says, and what it does.
    pub fn help() -> String {
        let line = |gate: &Gate| {
            let default = if gate.default { "on" } else { "off" };
            format!("  {} ({default}): {}", gate.name, gate.about)
        };
        let off = |(name, why): &(&str, &str)| format!("  {name} (off, and cannot be on): {why}");
        let lines = GATES.iter().map(line).chain(ALWAYS_OFF.iter().map(off));
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl FromStr for FeatureGates {
    type Err = GateError;

    fn from_str(text: &str) -> Result<Self, GateError> {
        let mut gates = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (name.trim(), value.trim());
            let gate = GATES.iter().find(|gate| gate.name == name).map(|gate| gate.name);
            let off = ALWAYS_OFF.iter().find(|(known, _)| *known == name);
            let gate = gate.or(off.map(|(known, _)| *known));
            let gate = gate.ok_or_else(|| GateError::Unknown(name.to_owned()))?;
            let on = match value.to_ascii_lowercase().as_str() {
                "true" => true,
                "false" => false,
                _ => return Err(GateError::NotBool(name.to_owned(), value.to_owned())),
            };
            if let Some((known, why)) = off.filter(|_| on) {
                return Err(GateError::AlwaysOff(known, why));
            }
            gates.insert(gate, on);
        }
        Ok(Self(gates))
    }
}

impl fmt::Display for FeatureGates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(name, on)| format!("{name}={on}")).collect();
        f.write_str(&parts.join(","))
    }
}

impl TryFrom<String> for FeatureGates {
    type Error = GateError;

    fn try_from(text: String) -> Result<Self, GateError> {
        text.parse()
    }
}

impl From<FeatureGates> for String {
    fn from(gates: FeatureGates) -> Self {
        gates.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn applied(text: &str) -> Allowed {
        let mut allowed = Allowed::default();
        text.parse::<FeatureGates>().unwrap().apply(&mut allowed);
        allowed
    }

    #[test]
    fn each_gate_changes_something_and_its_default_nothing() {
        let defaults = applied("");
        for gate in &GATES {
            let by = |on: bool| applied(&format!("{}={on}", gate.name));
            assert_ne!(by(!gate.default), defaults, "{}", gate.name);
            // One gate has a default for each kind.
            if gate.name != "PreparingUpdateAsUpdate" {
                assert_eq!(by(gate.default), defaults, "{}", gate.name);
            }
        }
    }

    #[test]
    fn they_are_read_as_they_are_written() {
        let text = "CloneSetPartitionRollback=true,PodIndexLabel=false";
        let gates: FeatureGates = text.parse().unwrap();
        assert_eq!(gates.to_string(), text);
        let spaced: FeatureGates = " PodIndexLabel = False , CloneSetPartitionRollback=true,"
            .parse()
            .unwrap();
        assert_eq!(spaced, gates);
    }

    #[test]
    fn what_is_no_gate_is_refused() {
        let refused = |text: &str| text.parse::<FeatureGates>().unwrap_err().to_string();
        assert!(refused("Nonsense=true").starts_with(
            "there is no feature gate \"Nonsense\"; there are CloneSetPartitionRollback, CloneSetShortHash, "
        ));
        assert_eq!(
            refused("PodIndexLabel=on"),
            "feature gate PodIndexLabel is \"on\"; write PodIndexLabel=true or PodIndexLabel=false"
        );
        assert_eq!(
            refused("PodIndexLabel"),
            "feature gate PodIndexLabel is \"\"; write PodIndexLabel=true or PodIndexLabel=false"
        );
    }

    /// Gates of upstream that pitstop has nothing for: off is what they are, and on would be a promise that is not kept.
    #[test]
    fn gates_that_nothing_stands_behind_cannot_be_on() {
        for (name, _) in ALWAYS_OFF {
            let off: FeatureGates = format!("{name}=false").parse().unwrap();
            let mut allowed = Allowed::default();
            off.apply(&mut allowed);
            assert_eq!(
                (off.to_string(), allowed),
                (format!("{name}=false"), Allowed::default())
            );
        }
        assert_eq!(
            "PodUnavailableBudgetUpdateGate=true"
                .parse::<FeatureGates>()
                .unwrap_err()
                .to_string(),
            "feature gate PodUnavailableBudgetUpdateGate cannot be true: PodUnavailableBudgets are not read, so that an \
             update would not ask them"
        );
    }
}
