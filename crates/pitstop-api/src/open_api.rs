//! Building blocks of the schemas of the kinds that pitstop brings. `why` is what `kubectl explain` says.

use serde_json::{Map, Value, json};

/// A selector of labels.
pub(crate) fn selector(why: &str) -> Value {
    let expression = object(
        "A requirement on one label.",
        &[
            ("key", text("Key of the label.")),
            ("operator", text("In, NotIn, Exists or DoesNotExist.")),
            ("values", list("Values for In and NotIn.", text("A value."))),
        ],
        &["key", "operator"],
    );
    let mut selector = object(
        why,
        &[
            ("matchLabels", texts("Labels that pods have, with these values.")),
            (
                "matchExpressions",
                list("Requirements that pods meet.", expression),
            ),
        ],
        &[],
    );
    insert(&mut selector, "x-kubernetes-map-type", "atomic".into());
    selector
}

/// A map with these fields.
pub(crate) fn object(why: &str, fields: &[(&str, Value)], required: &[&str]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    let mut schema = json!({"type": "object", "description": why, "properties": properties});
    if !required.is_empty() {
        insert(&mut schema, "required", required.into());
    }
    schema
}

/// A list.
pub(crate) fn list(why: &str, items: Value) -> Value {
    let mut schema = json!({"type": "array", "description": why});
    insert(&mut schema, "items", items);
    schema
}

/// A map that is not described, so that fields of newer versions survive.
pub(crate) fn template(why: &str) -> Value {
    json!({"type": "object", "description": why, "x-kubernetes-preserve-unknown-fields": true})
}

/// A map of texts.
pub(crate) fn texts(why: &str) -> Value {
    json!({"type": "object", "description": why, "additionalProperties": {"type": "string"}})
}

/// A text.
pub(crate) fn text(why: &str) -> Value {
    json!({"type": "string", "description": why})
}

/// A time.
pub(crate) fn time(why: &str) -> Value {
    json!({"type": "string", "format": "date-time", "description": why})
}

/// Yes or no.
pub(crate) fn flag(why: &str) -> Value {
    json!({"type": "boolean", "description": why})
}

/// A whole number, of format `int32` or `int64`.
pub(crate) fn int(why: &str, format: &str) -> Value {
    json!({"type": "integer", "format": format, "description": why})
}

/// A whole number, or a text.
pub(crate) fn amount(why: &str) -> Value {
    json!({
        "anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true, "description": why,
    })
}

/// Adds a key to a schema.
pub(crate) fn insert(schema: &mut Value, key: &str, value: Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert(key.to_owned(), value);
    }
}
