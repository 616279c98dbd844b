//! What every pod has whose workload gives it an identity: labels, gates, volumes, claims.
//!
//! Source: cloneset.md 3; statefulset.md 3.

use pitstop_api::selector::Labels;
use serde_json::{Map, Value, json};

/// Claims that a workload makes from templates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClaimTemplates<'a> {
    /// Name of the workload.
    pub(crate) workload: &'a str,
    pub(crate) namespace: &'a str,
    /// `spec.volumeClaimTemplates`.
    pub(crate) templates: &'a [Value],
    /// `spec.selector.matchLabels`, which every claim carries.
    pub(crate) selected: &'a Labels,
}

impl<'a> ClaimTemplates<'a> {
    /// Names of volumes, and of the claims behind them, in the order of the templates.
    pub(crate) fn names(self, instance: &str) -> impl Iterator<Item = (&'a str, String)> {
        let names = self.templates.iter().filter_map(template_name);
        names.map(move |name| (name, format!("{name}-{}-{instance}", self.workload)))
    }

    /// The claims of an instance. Labels of the selector, and then these, win over those of the template.
    pub(crate) fn claims(self, instance: &str, labels: &[(&str, &str)], owners: &[Value]) -> Vec<Value> {
        let names = self.names(instance).map(|(_, name)| name);
        let templates = self
            .templates
            .iter()
            .filter(|template| template_name(template).is_some());
        let claims = templates.zip(names).map(|(template, name)| {
            let mut metadata = object(template.get("metadata"));
            let mut all = object(metadata.get("labels"));
            let selected = self.selected.iter().map(|(key, value)| (&**key, &**value));
            let selected = selected.chain(labels.iter().copied());
            all.extend(selected.map(|(key, value)| (key.to_owned(), Value::from(value))));
            metadata.retain(|key, _| key == "annotations");
            metadata.insert("labels".to_owned(), Value::Object(all));
            metadata.insert("name".to_owned(), Value::from(name));
            metadata.insert("namespace".to_owned(), json!(self.namespace));
            if !owners.is_empty() {
                metadata.insert("ownerReferences".to_owned(), json!(owners));
            }
            json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
                "spec": template.get("spec").cloned().unwrap_or_default(),
            })
        });
        claims.collect()
    }

    /// Mounts the claims of an instance: they come first, and replace volumes of their name.
    pub(crate) fn mount(self, instance: &str, spec: &mut Map<String, Value>) {
        let claimed: Vec<(&str, Value)> = self
            .names(instance)
            .map(|(volume, claim)| {
                let source = json!({ "claimName": claim, "readOnly": false });
                (volume, json!({ "name": volume, "persistentVolumeClaim": source }))
            })
            .collect();
        if claimed.is_empty() {
            return;
        }
        let is_replaced = |volume: &Value| {
            let name = volume.get("name").and_then(Value::as_str);
            claimed.iter().any(|(claimed, _)| Some(*claimed) == name)
        };
        let mut others = array(spec.get("volumes"));
        others.retain(|volume| !is_replaced(volume));
        let volumes = claimed.iter().map(|(_, volume)| volume.clone()).chain(others);
        spec.insert("volumes".to_owned(), volumes.collect());
    }
}

/// `metadata` of a pod: annotations and finalizers of the template, and its labels with these on top.
pub(crate) fn metadata(template: &Value, labels: &[(&str, &str)], owner: Value) -> Map<String, Value> {
    let mut metadata = object(template.get("metadata"));
    let mut all = object(metadata.get("labels"));
    all.extend(
        labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(*value))),
    );
    metadata.retain(|key, _| matches!(key.as_str(), "annotations" | "finalizers"));
    metadata.insert("labels".to_owned(), Value::Object(all));
    metadata.insert("ownerReferences".to_owned(), Value::Array(vec![owner]));
    metadata
}

/// Adds readiness gates that are missing.
pub(crate) fn add_gates(spec: &mut Map<String, Value>, conditions: &[&str]) {
    let mut gates = array(spec.get("readinessGates"));
    for condition in conditions {
        let is_it = |gate: &Value| gate.get("conditionType") == Some(&Value::from(*condition));
        if !gates.iter().any(is_it) {
            gates.push(json!({ "conditionType": condition }));
        }
    }
    spec.insert("readinessGates".to_owned(), Value::Array(gates));
}

/// The name of a template of claims.
pub(crate) fn template_name(template: &Value) -> Option<&str> {
    template.pointer("/metadata/name")?.as_str()
}

/// A map of a template; an empty one where there is none.
pub(crate) fn object(value: Option<&Value>) -> Map<String, Value> {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}

fn array(value: Option<&Value>) -> Vec<Value> {
    value.and_then(Value::as_array).cloned().unwrap_or_default()
}
