//! Which nodes a pod may run on: taints, tolerations, node selectors and required node affinity.
//!
//! The embedded scheduler and the DaemonSet decisions ask the same questions, so the rule lives here.
//! Source: daemonset.md A2, embedded-cluster.md 16.1.

use serde::{Deserialize, Serialize};

use crate::selector::{Labels, MatchExpression};

/// A taint of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Taint {
    /// Taint key.
    pub key: String,
    /// Taint value, often empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// A toleration of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Toleration {
    /// Taint key; empty with `Exists` means every key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// `Equal` (also when empty) or `Exists`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operator: String,
    /// Value that `Equal` compares.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Effect, empty for all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub effect: String,
    /// How long a `NoExecute` taint is tolerated. Units: seconds; absent: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

/// Effect of a taint that keeps new pods away.
pub const NO_SCHEDULE: &str = "NoSchedule";
/// Effect of a taint that also evicts running pods.
pub const NO_EXECUTE: &str = "NoExecute";

impl Toleration {
    /// Does it tolerate this taint?
    pub fn tolerates(&self, taint: &Taint) -> bool {
        if !self.effect.is_empty() && self.effect != taint.effect {
            return false;
        }
        if !self.key.is_empty() && self.key != taint.key {
            return false;
        }
        match self.operator.as_str() {
            "" | "Equal" => !self.key.is_empty() && self.value == taint.value,
            "Exists" => true,
            _ => false,
        }
    }
}

/// The first taint with one of these effects that no toleration covers.
pub fn untolerated<'a>(
    taints: &'a [Taint],
    tolerations: &[Toleration],
    effects: &[&str],
) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|taint| effects.contains(&taint.effect.as_str()))
        .find(|taint| !tolerations.iter().any(|t| t.tolerates(taint)))
}

/// The part of a pod spec that names nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeConstraints {
    /// `spec.nodeName`.
    pub node_name: Option<String>,
    /// `spec.nodeSelector`.
    pub node_selector: Labels,
    /// `spec.affinity`; of it only the required node affinity is read.
    pub affinity: Option<Affinity>,
    /// `spec.tolerations`.
    pub tolerations: Vec<Toleration>,
    /// `spec.hostNetwork`.
    pub host_network: bool,
}

/// `spec.affinity`, as far as it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Affinity {
    /// Node affinity.
    pub node_affinity: Option<NodeAffinity>,
}

/// Node affinity, as far as it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeAffinity {
    /// Terms of which at least one must hold.
    pub required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
}

/// Terms joined by "or".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSelector {
    /// The terms.
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// Expressions joined by "and". A term without any matches nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSelectorTerm {
    /// Conditions on labels of the node.
    pub match_expressions: Vec<MatchExpression>,
    /// Conditions on fields of the node; only `metadata.name` exists.
    pub match_fields: Vec<MatchExpression>,
}

impl NodeSelectorTerm {
    /// Does a node with this name and these labels match?
    pub fn matches(&self, node_name: &str, labels: &Labels) -> bool {
        if self.match_expressions.is_empty() && self.match_fields.is_empty() {
            return false;
        }
        let holds = |e: &MatchExpression, value: Option<&str>| {
            e.requirement()
                .is_some_and(|requirement| requirement.matches(value))
        };
        self.match_expressions
            .iter()
            .all(|e| holds(e, labels.get(&e.key).map(String::as_str)))
            && self
                .match_fields
                .iter()
                .all(|e| e.key == "metadata.name" && holds(e, Some(node_name)))
    }
}

impl NodeConstraints {
    /// Do the node selector and the required node affinity match this node?
    pub fn selects(&self, node_name: &str, labels: &Labels) -> bool {
        self.node_selector
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self
                .required_terms()
                .is_none_or(|terms| terms.iter().any(|t| t.matches(node_name, labels)))
    }

    fn required_terms(&self) -> Option<&[NodeSelectorTerm]> {
        let affinity = self.affinity.as_ref()?.node_affinity.as_ref()?;
        let required = affinity
            .required_during_scheduling_ignored_during_execution
            .as_ref()?;
        Some(&required.node_selector_terms)
    }

    /// The node that a DaemonSet pod is meant for: `spec.nodeName`, else the single value of the first
    /// `metadata.name In` field expression.
    pub fn target_node(&self) -> Option<&str> {
        if let Some(name) = self.node_name.as_deref().filter(|name| !name.is_empty()) {
            return Some(name);
        }
        let mut fields = self.required_terms()?.iter().flat_map(|term| &term.match_fields);
        let named = fields.find(|e| e.key == "metadata.name" && e.operator == "In")?;
        match named.values.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        Taint {
            key: key.into(),
            value: value.into(),
            effect: effect.into(),
        }
    }

    #[test]
    fn tolerations_cover_taints_as_upstream() {
        let toleration = |key: &str, operator: &str, value: &str, effect: &str| Toleration {
            key: key.into(),
            operator: operator.into(),
            value: value.into(),
            effect: effect.into(),
            toleration_seconds: None,
        };
        for (tolerating, want) in [
            (toleration("a", "Equal", "1", "NoSchedule"), true),
            (toleration("a", "", "1", ""), true),
            (toleration("a", "Equal", "2", ""), false),
            (toleration("a", "Exists", "", "NoExecute"), false),
            (toleration("a", "Exists", "", ""), true),
            (toleration("", "Exists", "", ""), true),
            (toleration("", "Equal", "1", ""), false),
            (toleration("b", "Exists", "", ""), false),
        ] {
            assert_eq!(
                tolerating.tolerates(&taint("a", "1", NO_SCHEDULE)),
                want,
                "{tolerating:?}"
            );
        }
    }

    #[test]
    fn the_target_of_a_daemon_pod_is_read_from_its_affinity() {
        let read = |json: &str| serde_json::from_str::<NodeConstraints>(json).unwrap();
        let affinity = |values: &str| {
            read(&format!(
                r#"{{"affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":
                {{"nodeSelectorTerms":[{{"matchFields":[{{"key":"metadata.name","operator":"In","values":{values}}}]}}]}}}}}}}}"#
            ))
        };
        assert_eq!(affinity(r#"["n1"]"#).target_node(), Some("n1"));
        assert_eq!(affinity(r#"["n1","n2"]"#).target_node(), None);
        assert_eq!(read(r#"{"nodeName":"n3"}"#).target_node(), Some("n3"));
        assert!(affinity(r#"["n1"]"#).selects("n1", &Labels::new()));
        assert!(!affinity(r#"["n1"]"#).selects("n2", &Labels::new()));
    }

    #[test]
    fn an_empty_term_matches_no_node() {
        assert!(!NodeSelectorTerm::default().matches("n1", &Labels::new()));
    }
}
