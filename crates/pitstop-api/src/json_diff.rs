//! What has to be done to one JSON document so that it becomes another, as JSON patch (RFC 6902).

use serde_json::{Map, Value, json};

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// `add`, `remove` or `replace`.
    pub op: &'static str,
    /// JSON pointer.
    pub path: String,
    /// The new value; `None` for `remove`.
    pub value: Option<Value>,
}

impl Operation {
    /// As an element of a patch.
    pub fn to_json(&self) -> Value {
        let mut operation = json!({"op": self.op, "path": self.path});
        if let (Some(value), Some(map)) = (&self.value, operation.as_object_mut()) {
            map.insert("value".to_owned(), value.clone());
        }
        operation
    }
}

/// The steps from one document to another, each about the smallest part that differs. Elements of lists are compared
/// place by place.
pub fn diff(before: &Value, after: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    compare(before, after, "", &mut operations);
    operations
}

/// The smallest merge patch (RFC 7386) that turns one object into another; `None` when they are equal. Lists that differ
/// are sent whole, so that whoever sends it has to make sure that nobody changed them in between. A null in `after` cannot
/// be written in such a patch: it becomes an absent key.
pub fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return (before != after).then(|| after.clone());
    };
    let removed = old.keys().filter(|key| !new.contains_key(*key));
    let mut patch: Map<String, Value> = removed.map(|key| (key.clone(), Value::Null)).collect();
    for (key, value) in new {
        let change = match old.get(key) {
            Some(old) => merge_patch(old, value),
            None => Some(value.clone()),
        };
        patch.extend(change.map(|change| (key.clone(), change)));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn compare(before: &Value, after: &Value, path: &str, operations: &mut Vec<Operation>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Value::Object(before), Value::Object(after)) => compare_maps(before, after, path, operations),
        (Value::Array(before), Value::Array(after)) => compare_lists(before, after, path, operations),
        (_, after) => operations.push(step("replace", path.to_owned(), Some(after))),
    }
}

fn compare_maps(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    path: &str,
    operations: &mut Vec<Operation>,
) {
    let below = |key: &str| format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        operations.push(step("remove", below(key), None));
    }
    for (key, value) in after {
        match before.get(key) {
            Some(old) => compare(old, value, &below(key), operations),
            None => operations.push(step("add", below(key), Some(value))),
        }
    }
}

fn compare_lists(before: &[Value], after: &[Value], path: &str, operations: &mut Vec<Operation>) {
    for (index, (old, new)) in before.iter().zip(after).enumerate() {
        compare(old, new, &format!("{path}/{index}"), operations);
    }
    // From the end, so that what is left keeps its place.
    for index in (after.len()..before.len()).rev() {
        operations.push(step("remove", format!("{path}/{index}"), None));
    }
    for (index, value) in after.iter().enumerate().skip(before.len()) {
        operations.push(step("add", format!("{path}/{index}"), Some(value)));
    }
}

fn step(op: &'static str, path: String, value: Option<&Value>) -> Operation {
    Operation {
        op,
        path,
        value: value.cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_about_the_smallest_part() {
        let steps = |before: Value, after: Value| -> Vec<Value> {
            diff(&before, &after).iter().map(Operation::to_json).collect()
        };
        for (before, after, want) in [
            (json!({"a": 1}), json!({"a": 1}), json!([])),
            (
                json!({"a": 1, "b/c": 2}),
                json!({"a": {"x": 1}, "d~": null}),
                json!([
                    {"op": "remove", "path": "/b~1c"}, {"op": "replace", "path": "/a", "value": {"x": 1}},
                    {"op": "add", "path": "/d~0", "value": null},
                ]),
            ),
            (
                json!({"l": [{"i": "a"}, 2, 3]}),
                json!({"l": [{"i": "b"}]}),
                json!([
                    {"op": "replace", "path": "/l/0/i", "value": "b"}, {"op": "remove", "path": "/l/2"},
                    {"op": "remove", "path": "/l/1"},
                ]),
            ),
            (
                json!([1]),
                json!([1, 2, 3]),
                json!([
                    {"op": "add", "path": "/1", "value": 2}, {"op": "add", "path": "/2", "value": 3},
                ]),
            ),
        ] {
            assert_eq!(
                Value::from(steps(before.clone(), after.clone())),
                want,
                "{before} to {after}"
            );
        }
    }
    #[test]
    fn merge_patches_hold_what_differs() {
        for (before, after, want) in [
            (json!({"a": 1}), json!({"a": 1}), None),
            (
                json!({"a": {"x": 1, "y": 2}, "b": 1}),
                json!({"a": {"x": 1, "y": 3}}),
                Some(json!({"a": {"y": 3}, "b": null})),
            ),
            (json!({"l": [1, 2]}), json!({"l": [1]}), Some(json!({"l": [1]}))),
            (
                json!({"a": {"x": 1}}),
                json!({"a": 5, "n": {"m": 1}}),
                Some(json!({"a": 5, "n": {"m": 1}})),
            ),
        ] {
            assert_eq!(merge_patch(&before, &after), want, "{before} to {after}");
        }
    }
}
