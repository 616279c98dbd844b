//! Schemas of the built-in types, from the field tables, and of custom ones, from their definitions.
//!
//! Source: embedded-cluster.md 3.4.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::descriptions;
use crate::custom::Custom;
use crate::kinds::Kind;
use crate::schema::table::{Element, Field, ListRule, Message, Wrap, table};

/// The type of every object's metadata.
const METADATA: &str = "meta/v1.ObjectMeta";

/// `components.schemas`: every type that objects of these kinds are made of.
pub(super) fn schemas<'k>(
    kinds: impl Iterator<Item = &'k Kind>,
    customs: impl Iterator<Item = &'k Custom>,
) -> Map<String, Value> {
    let mut found: BTreeMap<&'static str, Value> = BTreeMap::new();
    let customs: Vec<(String, Value)> = customs
        .map(|custom| (custom_name(custom.kind), custom_schema(custom)))
        .collect();
    if !customs.is_empty() {
        add(&mut found, table().message(METADATA));
    }
    for kind in kinds {
        let Some(message) = table().kind(kind.group, kind.version, kind.kind) else {
            continue;
        };
        add(&mut found, Some(message));
        if let Some(schema) = found.get_mut(message.name).and_then(Value::as_object_mut) {
            schema.insert(
                "x-kubernetes-group-version-kind".to_owned(),
                json!([type_of(kind)]),
            );
        }
    }
    let mut schemas: Map<String, Value> = found
        .into_iter()
        .map(|(name, schema)| (full_name(name), schema))
        .collect();
    for (name, schema) in scalars() {
        schemas.insert(name.to_owned(), schema);
    }
    for (name, schema) in &mut schemas {
        descriptions::describe(name, schema);
    }
    schemas.extend(customs);
    schemas
}

/// Adds a type and all that it consists of.
fn add(found: &mut BTreeMap<&'static str, Value>, message: Option<&'static Message>) {
    let mut todo: Vec<&'static Message> = message.into_iter().collect();
    while let Some(message) = todo.pop() {
        if !found.contains_key(message.name) {
            found.insert(message.name, schema(message));
            todo.extend(message.fields().iter().filter_map(Field::message));
        }
    }
}

/// `Widget` of `example.com/v1` is known as `com.example.v1.Widget`.
fn custom_name(kind: &Kind) -> String {
    let group: Vec<&str> = kind.group.split('.').rev().collect();
    format!("{}.{}.{}", group.join("."), kind.version, kind.kind)
}

/// What a definition says, with what all objects have.
fn custom_schema(custom: &Custom) -> Value {
    let mut schema = custom.described.clone();
    let Some(map) = schema.as_object_mut() else {
        return schema;
    };
    map.insert(
        "x-kubernetes-group-version-kind".to_owned(),
        json!([type_of(custom.kind)]),
    );
    let properties = map.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        for field in ["apiVersion", "kind"] {
            properties
                .entry(field)
                .or_insert_with(|| json!({"type": "string", "description": descriptions::common(field)}));
        }
        let metadata = json!({
            "allOf": [reference_to(METADATA)], "description": descriptions::common("metadata"),
        });
        properties.insert("metadata".to_owned(), metadata);
    }
    schema
}

/// The value of `x-kubernetes-group-version-kind`.
pub(super) fn type_of(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

/// A reference to the schema of a kind; `None` for one without a table.
pub(super) fn reference(kind: &Kind) -> Option<Value> {
    if kind.is_custom() {
        let name = custom_name(kind);
        return Some(json!({"$ref": format!("#/components/schemas/{name}")}));
    }
    table()
        .kind(kind.group, kind.version, kind.kind)
        .map(|message| reference_to(message.name))
}

fn reference_to(message: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{}", full_name(message))})
}

/// `core/v1.Pod` is known as `io.k8s.api.core.v1.Pod`.
pub(super) fn full_name(message: &str) -> String {
    let root = match message.split('/').next() {
        Some("meta") => "io.k8s.apimachinery.pkg.apis",
        Some("apiextensions") => "io.k8s.apiextensions-apiserver.pkg.apis",
        _ => "io.k8s.api",
    };
    format!("{root}.{}", message.replace('/', "."))
}

fn schema(message: &Message) -> Value {
    let fields = message.fields().iter();
    let properties: Map<String, Value> = fields
        .map(|field| (field.name.to_owned(), property(field)))
        .collect();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    if !properties.is_empty() {
        schema.insert("properties".to_owned(), properties.into());
    }
    if !message.required.is_empty() {
        schema.insert("required".to_owned(), json!(message.required));
    }
    if message.atomic {
        schema.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    schema.into()
}

fn property(field: &Field) -> Value {
    let mut property = match field.wrap {
        Wrap::One => return value(field),
        Wrap::List => json!({"type": "array", "items": value(field)}),
        Wrap::Map => json!({"type": "object", "additionalProperties": value(field)}),
    };
    let Some(map) = property.as_object_mut() else {
        return property;
    };
    let mut put = |name: &str, value: Value| drop(map.insert(name.to_owned(), value));
    match (&field.list, field.wrap) {
        (ListRule::Set, _) => put("x-kubernetes-list-type", "set".into()),
        (ListRule::Keyed(keys), _) => {
            put("x-kubernetes-list-type", "map".into());
            let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
            put("x-kubernetes-list-map-keys", json!(names));
        }
        (ListRule::Whole, Wrap::List) => put("x-kubernetes-list-type", "atomic".into()),
        (ListRule::Whole, _) if field.atomic => put("x-kubernetes-map-type", "atomic".into()),
        (ListRule::Whole, _) => {}
    }
    property
}

const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";

/// Scalars with a name of their own.
fn scalars() -> [(&'static str, Value); 4] {
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    [
        (INT_OR_STRING, json!({"format": "int-or-string", "oneOf": either})),
        (
            QUANTITY,
            json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        ),
        (TIME, json!({"type": "string", "format": "date-time"})),
        (MICRO_TIME, json!({"type": "string", "format": "date-time"})),
    ]
}

fn named(scalar: &str) -> Value {
    json!({"allOf": [{"$ref": format!("#/components/schemas/{scalar}")}]})
}

/// The schema of one value.
fn value(field: &Field) -> Value {
    match field.element {
        Element::String | Element::Duration => json!({"type": "string"}),
        Element::Bool => json!({"type": "boolean"}),
        Element::Int32 => json!({"type": "integer", "format": "int32"}),
        Element::Int64 => json!({"type": "integer", "format": "int64"}),
        Element::Float64 => json!({"type": "number", "format": "double"}),
        Element::Bytes => json!({"type": "string", "format": "byte"}),
        Element::Time => named(TIME),
        Element::MicroTime => named(MICRO_TIME),
        Element::Quantity => named(QUANTITY),
        Element::IntOrString => named(INT_OR_STRING),
        Element::Raw => json!({"type": "object"}),
        Element::Strings(_) => json!({"type": "array", "items": {"type": "string"}}),
        Element::Message(name) => json!({"allOf": [reference_to(name)]}),
    }
}
