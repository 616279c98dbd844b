//! Values as Go prints them: `%v` of maps, and JSON of its types, whose fields have an order of their own.

use serde_json::{Map, Value};

use super::go_json::write_json;
use super::table::{Field, Message, Wrap};

/// As `%v` prints it: `map[a:1 b:[x y]]`.
pub(crate) fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(printed).collect();
            format!("[{}]", values.join(" "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}:{}", printed(value)))
                .collect();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

/// JSON of an object that a patch has changed: where it did, keys are sorted; elsewhere fields are in the order of
/// their type, which is that of their numbers in protobuf.
pub(crate) fn patched_json(message: Option<&'static Message>, value: &Value, touched: &Value) -> String {
    let mut out = Vec::new();
    write(&mut out, message, value, Some(touched));
    String::from_utf8(out).unwrap_or_default()
}

fn write(out: &mut Vec<u8>, message: Option<&'static Message>, value: &Value, touched: Option<&Value>) {
    match value {
        Value::Object(fields) => {
            out.push(b'{');
            let touched = touched.and_then(Value::as_object);
            for (index, (name, value)) in ordered(message, fields, touched.is_some())
                .into_iter()
                .enumerate()
            {
                if index > 0 {
                    out.push(b',');
                }
                write_json(out, name);
                out.push(b':');
                let field = message.and_then(|message| message.field(name));
                let below = touched.and_then(|touched| touched.get(name));
                write_field(out, field, value, below);
            }
            out.push(b'}');
        }
        Value::Array(values) => {
            out.push(b'[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(out, message, value, None);
            }
            out.push(b']');
        }
        other => write_json(out, other),
    }
}

/// A map has no order but that of its keys; its values are of the field's type.
fn write_field(out: &mut Vec<u8>, field: Option<&Field>, value: &Value, touched: Option<&Value>) {
    let message = field.and_then(Field::message);
    match (field.map(|field| field.wrap), value) {
        (Some(Wrap::Map), Value::Object(entries)) => {
            out.push(b'{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_json(out, key);
                out.push(b':');
                write(out, message, value, touched.and_then(|touched| touched.get(key)));
            }
            out.push(b'}');
        }
        _ => write(out, message, value, touched),
    }
}

fn ordered<'a>(
    message: Option<&Message>,
    fields: &'a Map<String, Value>,
    is_touched: bool,
) -> Vec<(&'a String, &'a Value)> {
    let mut fields: Vec<_> = fields.iter().collect();
    if let (Some(message), false) = (message, is_touched) {
        // Kind and version have no number: they come first.
        fields.sort_by_key(|(name, _)| message.field(name).map_or(u32::MAX, |field| field.number));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::table::table;
    use serde_json::json;

    #[test]
    fn maps_print_as_in_go() {
        let value = json!({"b": ["x", 1], "a": {"c": null, "d": true}});
        assert_eq!(printed(&value), "map[a:map[c:<nil> d:true] b:[x 1]]");
    }

    #[test]
    fn types_order_their_fields_and_patches_sort_what_they_touch() {
        let object = json!({
            "data": {"k": 1}, "kind": "ConfigMap", "metadata": {"uid": "u", "name": "a", "labels": {"b": "", "a": ""}},
        });
        let message = table().kind("", "v1", "ConfigMap");
        assert_eq!(
            patched_json(message, &object, &json!({"data": {"k": 1}})),
            r#"{"data":{"k":1},"kind":"ConfigMap","metadata":{"name":"a","uid":"u","labels":{"a":"","b":""}}}"#
        );
        assert_eq!(
            patched_json(message, &object, &json!({"metadata": {}})),
            r#"{"data":{"k":1},"kind":"ConfigMap","metadata":{"labels":{"a":"","b":""},"name":"a","uid":"u"}}"#
        );
    }
}
