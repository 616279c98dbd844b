//! What changed in the metadata of a template, by key.

use std::collections::{BTreeMap, BTreeSet};

use pitstop_api::selector::Labels;
use serde_json::{Map, Value, json};

/// The labels, annotations and finalizers of a template.
#[derive(Debug, Clone, Default)]
pub(super) struct Metadata {
    pub(super) labels: Labels,
    pub(super) annotations: Labels,
    finalizers: Vec<String>,
}

impl Metadata {
    /// Reads `metadata` of a template. What else is there has no meaning for a pod.
    pub(super) fn of(template: &Value) -> Self {
        let texts = |key: &str| {
            let map = template.get("metadata").and_then(|m| m.get(key));
            let entries = map.and_then(Value::as_object).into_iter().flatten();
            let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
            entries.filter_map(text).collect()
        };
        let finalizers = template.pointer("/metadata/finalizers").and_then(Value::as_array);
        Self {
            labels: texts("labels"),
            annotations: texts("annotations"),
            finalizers: finalizers
                .into_iter()
                .flatten()
                .filter_map(|name| Some(name.as_str()?.to_owned()))
                .collect(),
        }
    }

    /// Are the two equal?
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.labels == other.labels
            && self.annotations == other.annotations
            && self.finalizers == other.finalizers
    }

    /// The strategic merge patch that makes this out of `old`; `{}` when they are equal.
    ///
    /// Source: inplace.md 3, step 7b.
    pub(super) fn patch_from(&self, old: &Self) -> Value {
        let mut patch = Map::new();
        for (key, old, new) in [
            ("labels", &old.labels, &self.labels),
            ("annotations", &old.annotations, &self.annotations),
        ] {
            let changes: Map<String, Value> = changed(old, new)
                .into_iter()
                .map(|(key, value)| (key, value.map_or(Value::Null, Value::from)))
                .collect();
            if !changes.is_empty() {
                patch.insert(key.to_owned(), Value::Object(changes));
            }
        }
        if self.finalizers != old.finalizers {
            let gone: Vec<&String> = without(&old.finalizers, &self.finalizers);
            let added: Vec<&String> = without(&self.finalizers, &old.finalizers);
            if !gone.is_empty() {
                patch.insert("$deleteFromPrimitiveList/finalizers".to_owned(), json!(gone));
            }
            patch.insert("$setElementOrder/finalizers".to_owned(), json!(self.finalizers));
            if !added.is_empty() {
                patch.insert("finalizers".to_owned(), json!(added));
            }
        }
        if patch.is_empty() {
            json!({})
        } else {
            json!({ "metadata": patch })
        }
    }
}

/// The keys whose values differ, and their new values; `None` for one that is gone.
pub(super) fn changed(old: &Labels, new: &Labels) -> BTreeMap<String, Option<String>> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| (key.clone(), new.get(key).cloned()))
        .collect()
}

fn without<'a>(list: &'a [String], other: &[String]) -> Vec<&'a String> {
    list.iter().filter(|name| !other.contains(name)).collect()
}
