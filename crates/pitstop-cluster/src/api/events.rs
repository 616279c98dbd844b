//! Core `events` and `events.k8s.io/events` are one store, in the core form.
//!
//! Source: embedded-cluster.md 13.

use serde_json::{Map, Value};

/// Fields of `events.k8s.io/v1` and their names in core `v1`. The others are called the same.
const FIELDS: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// The core form of an `events.k8s.io` event.
pub(super) fn to_core(event: Value) -> Value {
    rename(event, "v1", |name| {
        FIELDS.iter().find(|(new, _)| *new == name).map(|(_, core)| *core)
    })
}

/// The `events.k8s.io` form of a core event.
pub(super) fn from_core(event: Value) -> Value {
    rename(event, "events.k8s.io/v1", |name| {
        FIELDS.iter().find(|(_, core)| *core == name).map(|(new, _)| *new)
    })
}

/// The core name of a field selector key of `events.k8s.io`; `None` when it is called the same.
pub(super) fn core_field(key: &str) -> Option<&'static str> {
    match key {
        "reportingController" => Some("reportingComponent"),
        "regarding.kind" => Some("involvedObject.kind"),
        "regarding.namespace" => Some("involvedObject.namespace"),
        "regarding.name" => Some("involvedObject.name"),
        "regarding.uid" => Some("involvedObject.uid"),
        "regarding.apiVersion" => Some("involvedObject.apiVersion"),
        "regarding.resourceVersion" => Some("involvedObject.resourceVersion"),
        "regarding.fieldPath" => Some("involvedObject.fieldPath"),
        _ => None,
    }
}

fn rename(event: Value, api_version: &str, name_of: impl Fn(&str) -> Option<&'static str>) -> Value {
    let Value::Object(fields) = event else {
        return event;
    };
    let mut renamed: Map<String, Value> = fields
        .into_iter()
        .map(|(name, value)| (name_of(&name).map_or(name, str::to_owned), value))
        .collect();
    renamed.insert("apiVersion".to_owned(), api_version.into());
    Value::Object(renamed)
}
