//! What has to be written so that one map becomes another.

use serde_json::{Map, Value};

/// The merge patch (RFC 7386) that turns `before` into `after`; `None` when they are equal.
pub(super) fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    if before == after {
        return None;
    }
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return Some(after.clone());
    };
    let mut patch = Map::new();
    for (key, value) in after {
        let change = match before.get(key) {
            Some(old) => merge_patch(old, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        for (before, after, want) in [
            (json!({"a": 1}), json!({"a": 1}), None),
            (json!({"a": 1}), json!({"b": 2}), Some(json!({"a": null, "b": 2}))),
            (
                json!({"a": {"x": [1], "y": 2}}),
                json!({"a": {"x": [1, 2], "y": 2}}),
                Some(json!({"a": {"x": [1, 2]}})),
            ),
            (
                json!({"a": [1]}),
                json!({"a": {"b": 1}}),
                Some(json!({"a": {"b": 1}})),
            ),
        ] {
            assert_eq!(merge_patch(&before, &after), want, "{before} {after}");
        }
    }
}
