//! Reading and filling fields of objects by JSON pointer.

use serde_json::{Map, Value};

/// Text at `pointer`, empty if there is none.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Integer at `pointer`.
pub fn integer(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64)
}

/// Is there a `true` at `pointer`?
pub fn flag(value: &Value, pointer: &str) -> bool {
    value
        .pointer(pointer)
        .and_then(Value::as_bool)
        .unwrap_or_default()
}

/// Elements of the list at `pointer`, none if there is no list.
pub fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// Elements of the list at `pointer`, none if there is no list.
pub fn list_mut<'a>(value: &'a mut Value, pointer: &str) -> &'a mut [Value] {
    value
        .pointer_mut(pointer)
        .and_then(Value::as_array_mut)
        .map(Vec::as_mut_slice)
        .unwrap_or_default()
}

/// Names and values of the map at `pointer`, in the order of names.
pub fn entries<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    value
        .pointer(pointer)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
}

/// The map that `names` lead to; what is missing, or is no map, becomes one.
pub fn map_mut<'a>(value: &'a mut Value, names: &[&str]) -> &'a mut Map<String, Value> {
    let mut map = as_map(value);
    for name in names {
        map = as_map(map.entry(*name).or_insert(Value::Null));
    }
    map
}

fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it has just been made a map"),
    }
}

/// Sets `name` unless it is there.
pub fn set_missing(map: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    if !map.contains_key(name) {
        map.insert(name.to_owned(), value.into());
    }
}

/// Copies `name` from the old object's map at `pointer`, or removes it if the old object has none.
pub fn keep(new: &mut Value, old: &Value, names: &[&str], name: &str) {
    let pointer: String = names.iter().chain([&name]).flat_map(|name| ["/", name]).collect();
    if let Some(value) = old.pointer(&pointer) {
        map_mut(new, names).insert(name.to_owned(), value.clone());
        return;
    }
    let parent: String = names.iter().flat_map(|name| ["/", name]).collect();
    if let Some(map) = new.pointer_mut(&parent).and_then(Value::as_object_mut) {
        map.remove(name);
    }
}

/// Removes a field of the object itself.
pub fn remove(object: &mut Value, name: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(name);
    }
}

/// `text`, or `absent` if it is empty.
pub fn or<'a>(text: &'a str, absent: &'a str) -> &'a str {
    if text.is_empty() { absent } else { text }
}
