//! JSON patches, with what upstream's library makes of RFC 6902.
//!
//! It is more lenient: `replace` of a field that is not there adds it, `copy` of such a field gives null, and negative
//! indices count from the end of a list. Source: the answers of Kubernetes 1.34.

use serde_json::{Map, Value};

use crate::broken::{self, Defect};

/// Does what one operation says; `None` when it does not fit the object.
pub(super) fn operate(object: &mut Value, operation: &Map<String, Value>) -> Option<()> {
    let text = |name: &str| operation.get(name).and_then(Value::as_str);
    let path = Path::parse(text("path")?)?;
    let value = || operation.get("value").cloned().unwrap_or_default();
    match text("op")? {
        "add" => path.add(object, value()),
        "replace" => path.replace(object, value()),
        "remove" => path.remove(object).map(drop),
        "test" => {
            let found = path.get(object)?;
            let has_value = operation.contains_key("value");
            let holds = found == value() && (has_value || found.is_null());
            (holds || broken::is(Defect::PassingTest)).then_some(())
        }
        "move" => {
            let moved = Path::parse(text("from")?)?.remove(object)?;
            path.add(object, moved)
        }
        "copy" => {
            let copied = Path::parse(text("from")?)?.get(object)?;
            path.add(object, copied)
        }
        _ => None,
    }
}

/// A field of an object or a place in a list, and the way to what it is in.
struct Path {
    parents: Vec<String>,
    last: String,
}

impl Path {
    /// The whole object is no place in it.
    fn parse(text: &str) -> Option<Self> {
        let (_, below) = text.split_once('/')?;
        let mut parents: Vec<String> = below
            .split('/')
            .map(|key| key.replace("~1", "/").replace("~0", "~"))
            .collect();
        let last = parents.pop()?;
        Some(Self { parents, last })
    }

    fn parent<'o>(&self, object: &'o mut Value) -> Option<&'o mut Value> {
        let mut at = object;
        for key in &self.parents {
            at = match at {
                Value::Object(fields) => fields.get_mut(key)?,
                Value::Array(values) => {
                    let index = index(key, values.len())?;
                    values.get_mut(index)?
                }
                _ => return None,
            };
        }
        Some(at)
    }

    /// What is there: null for a field that is not.
    fn get(&self, object: &mut Value) -> Option<Value> {
        match self.parent(object)? {
            Value::Object(fields) => Some(fields.get(&self.last).cloned().unwrap_or_default()),
            Value::Array(values) => values.get(index(&self.last, values.len())?).cloned(),
            _ => None,
        }
    }

    fn add(&self, object: &mut Value, value: Value) -> Option<()> {
        match self.parent(object)? {
            Value::Object(fields) => drop(fields.insert(self.last.clone(), value)),
            Value::Array(values) if self.last == "-" => values.push(value),
            Value::Array(values) => {
                let index = index(&self.last, values.len() + 1)?;
                (index <= values.len()).then(|| values.insert(index, value))?;
            }
            _ => return None,
        }
        Some(())
    }

    fn replace(&self, object: &mut Value, value: Value) -> Option<()> {
        match self.parent(object)? {
            Value::Object(fields) => drop(fields.insert(self.last.clone(), value)),
            Value::Array(values) => {
                let index = index(&self.last, values.len())?;
                *values.get_mut(index)? = value;
            }
            _ => return None,
        }
        Some(())
    }

    fn remove(&self, object: &mut Value) -> Option<Value> {
        match self.parent(object)? {
            Value::Object(fields) => fields.remove(&self.last),
            Value::Array(values) => {
                let index = index(&self.last, values.len())?;
                (index < values.len()).then(|| values.remove(index))
            }
            _ => None,
        }
    }
}

/// A place in a list of so many; negative ones count from its end.
fn index(key: &str, length: usize) -> Option<usize> {
    let given: isize = key.parse().ok()?;
    if given < 0 {
        length.checked_sub(given.unsigned_abs())
    } else {
        usize::try_from(given).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The answers of Kubernetes 1.34.
    #[test]
    fn operations_do_what_upstream_does() {
        let start = || json!({"data": {"k": "v"}, "list": ["a", "b"], "none": null});
        let changed = |pointer: &str, value: Value| {
            let mut object = start();
            *object.pointer_mut(pointer).unwrap() = value;
            Some(object)
        };
        let data = |value| changed("/data", value);
        let list = |value| changed("/list", value);
        let cases = [
            (
                json!({"op": "add", "path": "/data/x", "value": 1}),
                data(json!({"k": "v", "x": 1})),
            ),
            (
                json!({"op": "add", "path": "/data/x"}),
                data(json!({"k": "v", "x": null})),
            ),
            (json!({"op": "add", "path": "/none/x", "value": 1}), None),
            (json!({"op": "add", "path": "", "value": {}}), None),
            (json!({"op": "add", "path": "x", "value": 1}), None),
            (
                json!({"op": "add", "path": "/list/-", "value": "c"}),
                list(json!(["a", "b", "c"])),
            ),
            (
                json!({"op": "add", "path": "/list/-1", "value": "c"}),
                list(json!(["a", "b", "c"])),
            ),
            (
                json!({"op": "add", "path": "/list/2", "value": "c"}),
                list(json!(["a", "b", "c"])),
            ),
            (json!({"op": "add", "path": "/list/3", "value": "c"}), None),
            (
                json!({"op": "replace", "path": "/data/x", "value": 1}),
                data(json!({"k": "v", "x": 1})),
            ),
            (json!({"op": "replace", "path": "/list/2", "value": 1}), None),
            (json!({"op": "remove", "path": "/data/x"}), None),
            (json!({"op": "remove", "path": "/list/-1"}), list(json!(["a"]))),
            (json!({"op": "remove", "path": ""}), None),
            (
                json!({"op": "test", "path": "/data/x", "value": null}),
                Some(start()),
            ),
            (json!({"op": "test", "path": "/data/x"}), Some(start())),
            (json!({"op": "test", "path": "/data/k"}), None),
            (
                json!({"op": "test", "path": "/data/k", "value": "v"}),
                Some(start()),
            ),
            (
                json!({"op": "copy", "from": "/data/x", "path": "/data/k"}),
                data(json!({"k": null})),
            ),
            (
                json!({"op": "copy", "from": "/nothing/x", "path": "/data/k"}),
                None,
            ),
            (json!({"op": "copy", "path": "/data/k"}), None),
            (json!({"op": "move", "from": "/data/x", "path": "/data/k"}), None),
            (
                json!({"op": "move", "from": "/data/k", "path": "/data/x"}),
                data(json!({"x": "v"})),
            ),
            (json!({"op": "bad", "path": "/data/k"}), None),
            (json!({"path": "/data/k"}), None),
        ];
        for (operation, wanted) in cases {
            let mut object = start();
            let done = operate(&mut object, operation.as_object().unwrap());
            assert_eq!(done.map(|()| object), wanted, "{operation}");
        }
    }
}
