//! What an event has to say. Source: embedded-cluster.md 13; rules and texts are those of Kubernetes 1.34 on the wire.
//!
//! All rules speak of core events; errors name the fields as the events API does, where that is how they were written.

use serde_json::Value;

use crate::kinds::fields::{integer, text};
use crate::kinds::{FieldError, metadata};

/// Longest action, reason and name of a reporter, in bytes.
const MAX_WORD: usize = 128;
/// Longest message, in bytes.
const MAX_MESSAGE: usize = 1024;

/// Fields of old that events of the new API leave alone.
const RETIRED: &[(&str, &str)] = &[
    ("/firstTimestamp", "firstTimestamp"),
    ("/lastTimestamp", "lastTimestamp"),
    ("/count", "count"),
    ("/source", "source"),
];

/// Fields of an event that never change.
const FIXED: &[&str] = &[
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
];

/// Rules of every event. Those that have an event time say who reports, what was done, and why.
pub(super) fn validate(event: &Value, is_core: bool) -> Vec<FieldError> {
    let mut errors = Vec::from_iter(namespace_of_involved(event));
    if text(event, "/eventTime").is_empty() {
        return errors;
    }
    let reporter = text(event, "/reportingComponent");
    let field = if is_core {
        "reportingComponent"
    } else {
        "reportingController"
    };
    if reporter.is_empty() {
        errors.push(FieldError::required(field, ""));
    }
    let problems = metadata::key_problems(reporter);
    errors.extend(
        problems
            .into_iter()
            .map(|why| FieldError::invalid(field, reporter, why)),
    );
    for (pointer, field) in [
        ("/reportingInstance", "reportingInstance"),
        ("/action", "action"),
        ("/reason", "reason"),
    ] {
        let word = text(event, pointer);
        if word.is_empty() {
            errors.push(FieldError::required(field, ""));
        }
        errors.extend(too_long(field, word, MAX_WORD));
    }
    errors.extend(too_long("message", text(event, "/message"), MAX_MESSAGE));
    errors
}

/// Rules of a new event of the events API.
pub(super) fn validate_new(event: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if text(event, "/eventTime").is_empty() {
        errors.push(FieldError::required("eventTime", ""));
    }
    errors.extend(series(event));
    let kind = text(event, "/type");
    if !["Normal", "Warning"].contains(&kind) {
        errors.push(FieldError::invalid(
            "type",
            "",
            format!("has invalid value: {kind}"),
        ));
    }
    let is_set = |pointer| event.pointer(pointer).is_some_and(|value| !is_empty(value));
    let set = RETIRED.iter().filter(|(pointer, _)| is_set(pointer));
    errors.extend(set.map(|(_, field)| FieldError::invalid(*field, "", "needs to be unset")));
    errors
}

/// Only the series of an event of the events API goes on.
pub(super) fn validate_change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if new.get("series") != old.get("series") {
        errors.extend(series(new));
    }
    let changed = FIXED
        .iter()
        .filter(|field| !is_same(new.get(**field), old.get(**field)));
    errors.extend(changed.map(|field| {
        let value = new.get(*field).cloned().unwrap_or_else(|| Value::from(""));
        FieldError::invalid(*field, value, "field is immutable")
    }));
    errors
}

/// One API writes empty fields that the other leaves out.
fn is_same(new: Option<&Value>, old: Option<&Value>) -> bool {
    new == old || (new.is_none_or(is_empty) && old.is_none_or(is_empty))
}

/// A series is of several, the last of which was at some time.
fn series(event: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if event.get("series").is_none_or(Value::is_null) {
        return errors;
    }
    if integer(event, "/series/count").unwrap_or_default() < 2 {
        errors.push(FieldError::invalid("series.count", "", "should be at least 2"));
    }
    if text(event, "/series/lastObservedTime").is_empty() {
        errors.push(FieldError::required("series.lastObservedTime", ""));
    }
    errors
}

/// An event lives in the namespace of its object; those of cluster-wide objects live in `default`.
fn namespace_of_involved(event: &Value) -> Option<FieldError> {
    let namespace = text(event, "/metadata/namespace");
    let involved = text(event, "/involvedObject/namespace");
    let fits =
        involved == namespace || (involved.is_empty() && matches!(namespace, "default" | "kube-system" | ""));
    (!fits).then(|| {
        FieldError::invalid(
            "involvedObject.namespace",
            involved,
            "does not match event.namespace",
        )
    })
}

fn too_long(field: &str, value: &str, limit: usize) -> Option<FieldError> {
    (value.len() > limit)
        .then(|| FieldError::invalid(field, "", format!("can have at most {limit} characters")))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(_) | Value::Array(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(errors: &[FieldError]) -> Vec<&str> {
        errors.iter().map(|error| error.field.as_str()).collect()
    }

    #[test]
    fn an_event_lives_beside_its_object() {
        let event = |namespace: &str, involved: &str| json!({"metadata": {"name": "e", "namespace": namespace}, "involvedObject": {"namespace": involved}});
        for (namespace, involved, valid) in [
            ("a", "a", true),
            ("default", "", true),
            ("a", "b", false),
            ("default", "b", false),
            ("a", "", false),
        ] {
            let errors = validate(&event(namespace, involved), true);
            assert_eq!(errors.is_empty(), valid, "{namespace} {involved}");
        }
    }

    #[test]
    fn an_event_with_a_time_says_who_did_what_and_why() {
        let timed = json!({"eventTime": "2026-01-01T00:00:00.000000Z"});
        assert!(validate(&json!({}), true).is_empty());
        for (is_core, reporter) in [(true, "reportingComponent"), (false, "reportingController")] {
            let errors = validate(&timed, is_core);
            let wanted = [
                reporter,
                reporter,
                reporter,
                "reportingInstance",
                "action",
                "reason",
            ];
            assert_eq!(fields(&errors), wanted);
        }
        let long = "x".repeat(MAX_WORD + 1);
        let errors = validate(
            &json!({
                "eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "example.com/c", "action": long,
                "reportingInstance": "i", "reason": "R", "message": "x".repeat(MAX_MESSAGE + 1),
            }),
            true,
        );
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let wanted = [
            "action: Invalid value: \"\": can have at most 128 characters",
            "message: Invalid value: \"\": can have at most 1024 characters",
        ];
        assert_eq!(texts, wanted);
    }

    #[test]
    fn a_new_event_of_the_events_api_leaves_old_fields_alone() {
        let texts =
            |event: Value| -> Vec<String> { validate_new(&event).iter().map(ToString::to_string).collect() };
        assert_eq!(
            texts(json!({"source": {}, "count": 0})),
            [
                "eventTime: Required value",
                "type: Invalid value: \"\": has invalid value: "
            ]
        );
        let old = json!({
            "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "count": 2, "source": {"component": "c"},
            "firstTimestamp": "2026-01-01T00:00:00Z", "series": {"count": 1},
        });
        let wanted = [
            "series.count: Invalid value: \"\": should be at least 2",
            "series.lastObservedTime: Required value",
            "firstTimestamp: Invalid value: \"\": needs to be unset",
            "count: Invalid value: \"\": needs to be unset",
            "source: Invalid value: \"\": needs to be unset",
        ];
        assert_eq!(texts(old), wanted);
    }

    #[test]
    fn nothing_but_the_series_changes() {
        let old = json!({"reason": "R", "message": "m", "type": "Normal"});
        let later = json!({
            "reason": "R", "message": "m", "type": "Normal",
            "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"},
        });
        assert!(validate_change(&later, &old).is_empty());
        let from_core = json!({
            "reason": "R", "message": "m", "type": "Normal", "reportingComponent": "", "source": {}, "eventTime": null,
        });
        assert!(validate_change(&later, &from_core).is_empty());
        let other = json!({"reason": "Other", "message": "m", "type": "Normal", "action": "A"});
        assert_eq!(fields(&validate_change(&other, &old)), ["reason", "action"]);
        assert_eq!(
            validate_change(&other, &old)[0].to_string(),
            "reason: Invalid value: \"Other\": field is immutable"
        );
    }
}
