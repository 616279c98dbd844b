//! Structural schemas: what is kept, what is filled in.
//!
//! Source: embedded-cluster.md 14, rule 3.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

/// How a list is merged by server-side apply, and what must not be in it twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ListType {
    /// Replaced whole.
    #[default]
    Atomic,
    /// Distinct scalars.
    Set,
    /// Objects that are told apart by keys.
    Map,
}

/// What is known of one value.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    /// `object`, `integer` and so on; empty: anything.
    pub(super) kind: String,
    pub(super) properties: BTreeMap<String, Schema>,
    pub(super) additional: Option<Box<Schema>>,
    pub(super) items: Option<Box<Schema>>,
    pub(super) preserves_unknown: bool,
    pub(super) is_embedded: bool,
    pub(super) is_int_or_string: bool,
    pub(super) is_nullable: bool,
    pub(super) default: Option<Value>,
    pub(super) rules: Rules,
    pub(super) list_type: ListType,
    pub(super) list_map_keys: Vec<String>,
}

/// What values have to be like besides their type.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) required: Vec<String>,
    pub(super) choices: Vec<Value>,
    pub(super) minimum: Option<(Value, bool)>,
    pub(super) maximum: Option<(Value, bool)>,
    pub(super) multiple_of: Option<Value>,
    pub(super) min_length: Option<u64>,
    pub(super) max_length: Option<u64>,
    pub(super) pattern: Option<Regex>,
    pub(super) format: String,
    pub(super) min_items: Option<u64>,
    pub(super) max_items: Option<u64>,
    pub(super) is_unique: bool,
    pub(super) min_properties: Option<u64>,
    pub(super) max_properties: Option<u64>,
    pub(super) all_of: Vec<Schema>,
    pub(super) any_of: Vec<Schema>,
    pub(super) one_of: Vec<Schema>,
    pub(super) not: Option<Box<Schema>>,
}

impl Schema {
    /// Reads `openAPIV3Schema`.
    pub(crate) fn parse(value: &Value) -> Self {
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let flag = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or_default();
        let one = |name: &str| {
            value
                .get(name)
                .filter(|v| v.is_object())
                .map(|v| Box::new(Self::parse(v)))
        };
        let properties = value.get("properties").and_then(Value::as_object);
        let additional = match value.get("additionalProperties") {
            Some(Value::Bool(true)) => Some(Box::new(Self {
                preserves_unknown: true,
                ..Self::default()
            })),
            _ => one("additionalProperties"),
        };
        Self {
            kind: text("type").to_owned(),
            properties: properties
                .into_iter()
                .flatten()
                .map(|(name, schema)| (name.clone(), Self::parse(schema)))
                .collect(),
            additional,
            items: one("items"),
            preserves_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            is_embedded: flag("x-kubernetes-embedded-resource"),
            is_int_or_string: flag("x-kubernetes-int-or-string"),
            is_nullable: flag("nullable"),
            default: value.get("default").cloned(),
            rules: Rules::parse(value),
            list_type: match text("x-kubernetes-list-type") {
                "map" => ListType::Map,
                "set" => ListType::Set,
                _ => ListType::Atomic,
            },
            list_map_keys: texts(value.get("x-kubernetes-list-map-keys")),
        }
    }

    /// Drops what is not known, and nulls where none may be. Returns the paths of what was not known.
    pub(crate) fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut unknown = Vec::new();
        self.prune_at(object, "", true, &mut unknown);
        unknown
    }

    fn prune_at(&self, value: &mut Value, path: &str, is_root: bool, unknown: &mut Vec<String>) {
        match value {
            Value::Object(fields) => self.prune_fields(fields, path, is_root, unknown),
            Value::Array(elements) => {
                if let Some(items) = &self.items {
                    for (index, element) in elements.iter_mut().enumerate() {
                        items.prune_at(element, &format!("{path}[{index}]"), false, unknown);
                    }
                }
            }
            _ => {}
        }
    }

    fn prune_fields(
        &self,
        fields: &mut Map<String, Value>,
        path: &str,
        is_root: bool,
        unknown: &mut Vec<String>,
    ) {
        let is_object =
            |name: &str| (is_root || self.is_embedded) && matches!(name, "apiVersion" | "kind" | "metadata");
        fields.retain(|name, value| {
            if is_object(name) {
                return true;
            }
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            let schema = self.properties.get(name).or(self.additional.as_deref());
            let Some(schema) = schema else {
                if !self.preserves_unknown {
                    unknown.push(path);
                }
                return self.preserves_unknown;
            };
            if value.is_null() && !schema.is_nullable && !schema.preserves_unknown {
                return false;
            }
            schema.prune_at(value, &path, false, unknown);
            true
        });
    }

    /// Is there anything to fill in?
    pub(crate) fn has_defaults(&self) -> bool {
        let mut parts = self.properties.values().chain(self.additional.as_deref());
        self.default.is_some()
            || parts.any(Self::has_defaults)
            || self.items.as_deref().is_some_and(Self::has_defaults)
    }

    /// Fills in what is missing.
    pub(crate) fn fill(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, schema) in &self.properties {
                    if let (Some(default), false) = (&schema.default, fields.contains_key(name)) {
                        fields.insert(name.clone(), default.clone());
                    }
                }
                for (name, value) in fields.iter_mut() {
                    if let Some(schema) = self.properties.get(name).or(self.additional.as_deref()) {
                        schema.fill(value);
                    }
                }
            }
            Value::Array(elements) => {
                if let Some(items) = &self.items {
                    for element in elements {
                        items.fill(element);
                    }
                }
            }
            _ => {}
        }
    }
}

impl Rules {
    fn parse(value: &Value) -> Self {
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        let flag = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or_default();
        let bound = |name: &str, exclusive: &str| {
            let bound = value.get(name).filter(|bound| bound.is_number())?;
            Some((bound.clone(), flag(exclusive)))
        };
        let schemas = |name: &str| -> Vec<Schema> {
            let list = value.get(name).and_then(Value::as_array);
            list.into_iter().flatten().map(Schema::parse).collect()
        };
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        Self {
            required: texts(value.get("required")),
            choices: value
                .get("enum")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: value.get("multipleOf").filter(|v| v.is_number()).cloned(),
            min_length: number("minLength"),
            max_length: number("maxLength"),
            pattern: Some(text("pattern"))
                .filter(|p| !p.is_empty())
                .and_then(|p| Regex::new(p).ok()),
            format: text("format").to_owned(),
            min_items: number("minItems"),
            max_items: number("maxItems"),
            is_unique: flag("uniqueItems"),
            min_properties: number("minProperties"),
            max_properties: number("maxProperties"),
            all_of: schemas("allOf"),
            any_of: schemas("anyOf"),
            one_of: schemas("oneOf"),
            not: value.get("not").map(|not| Box::new(Schema::parse(not))),
        }
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_fields_go_and_missing_ones_come() {
        let schema = Schema::parse(&json!({"type": "object", "properties": {"spec": {
            "type": "object",
            "properties": {
                "replicas": {"type": "integer", "default": 1},
                "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "list": {"type": "array", "items": {"type": "object", "properties": {
                    "name": {"type": "string"}, "v": {"type": "integer", "default": 5},
                }}},
                "free": {"type": "string", "nullable": true},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
                "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
            },
        }}}));
        let mut object = json!({
            "apiVersion": "a/v1", "kind": "K", "metadata": {"name": "x"}, "foo": 1,
            "spec": {
                "replicas": null, "unknown": 1, "any": {"z": null}, "list": [{"name": "q", "zz": 1}], "free": null,
                "map": {"k": {"a": "b", "c": 1}}, "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "x": 1},
            },
        });
        let unknown = schema.prune(&mut object);
        assert_eq!(
            unknown,
            [
                "foo",
                "spec.list[0].zz",
                "spec.map.k.c",
                "spec.pod.x",
                "spec.unknown"
            ]
        );
        schema.fill(&mut object);
        assert_eq!(
            object,
            json!({
                "apiVersion": "a/v1", "kind": "K", "metadata": {"name": "x"},
                "spec": {
                    "replicas": 1, "any": {"z": null}, "list": [{"name": "q", "v": 5}], "free": null,
                    "map": {"k": {"a": "b"}}, "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {}},
                },
            })
        );
    }
}
