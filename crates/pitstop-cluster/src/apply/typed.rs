//! Is a configuration of its kind's type? The texts are those of Kubernetes 1.34.

use serde_json::Value;

use super::structure::{Key, Scalar, Type, View};
use crate::schema::go_text;

/// What keeps a configuration from being of a type: fields that the type does not have, or else the first value of a
/// wrong type.
pub fn problems(object: &Value, structure: Type<'_>) -> Vec<String> {
    let mut walk = Walk::default();
    walk.value(object, structure, "");
    if walk.undeclared.is_empty() {
        walk.wrong.into_iter().take(1).collect()
    } else {
        walk.undeclared
    }
}

#[derive(Default)]
struct Walk {
    undeclared: Vec<String>,
    wrong: Vec<String>,
}

impl Walk {
    fn value(&mut self, value: &Value, of: Type<'_>, path: &str) {
        if value.is_null() {
            return;
        }
        if of.is_list() {
            match value.as_array() {
                Some(values) => self.list(values, of, path),
                None => self.expected(path, "list", value),
            }
        } else if of.is_map() {
            match value.as_object() {
                Some(fields) => {
                    for (name, value) in fields {
                        let path = format!("{path}.{name}");
                        if of.has_field(name) {
                            self.value(value, of.field(name), &path);
                        } else {
                            self.undeclared
                                .push(format!("{path}: field not declared in schema"));
                        }
                    }
                }
                None => self.expected(path, "map", value),
            }
        } else {
            self.scalar(value, of, path);
        }
    }

    fn list(&mut self, values: &[Value], of: Type<'_>, path: &str) {
        let view = of.view(&Value::Null);
        for (index, value) in values.iter().enumerate() {
            let step = match view {
                View::Keyed(keys) if !value.is_object() && !keys.is_empty() => {
                    self.wrong.push(format!(
                        "{path}: element {index}: associative list with keys may not have non-map elements"
                    ));
                    continue;
                }
                View::Keyed(keys) => named(value, keys).unwrap_or_else(|| format!("[{index}]")),
                View::Set => format!("[={value}]"),
                View::Whole | View::Named => format!("[{index}]"),
            };
            self.value(value, of.element(), &format!("{path}{step}"));
        }
    }

    fn scalar(&mut self, value: &Value, of: Type<'_>, path: &str) {
        match of.scalar() {
            Some(Scalar::Text) if !value.is_string() => self.wrong.push(format!(
                "{path}: expected string, got &value.valueUnstructured{{Value:{}}}",
                go_value(value)
            )),
            Some(Scalar::Boolean) if !value.is_boolean() => self.expected(path, "boolean", value),
            Some(Scalar::Number) if !value.is_number() => {
                let found = match value {
                    Value::String(_) => "string",
                    Value::Bool(_) => "bool",
                    Value::Array(_) => "[]interface {}",
                    _ => "map[string]interface {}",
                };
                self.wrong
                    .push(format!("{path}: expected numeric (int or float), got {found}"));
            }
            _ => {}
        }
    }

    fn expected(&mut self, path: &str, wanted: &str, found: &Value) {
        self.wrong.push(format!(
            "{path}: expected {wanted}, got &{{{}}}",
            go_text::printed(found)
        ));
    }
}

/// `[name="c"]`; nothing for an element that has none of the keys.
fn named(element: &Value, keys: &[Key]) -> Option<String> {
    let mut shown = Vec::new();
    for key in keys {
        let value = element.get(&key.name).or(key.default.as_ref())?;
        shown.push(format!("{}={value}", key.name));
    }
    Some(format!("[{}]", shown.join(",")))
}

/// As `%#v` prints it.
fn go_value(value: &Value) -> String {
    match value {
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(go_value).collect();
            format!("[]interface {{}}{{{}}}", values.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name:?}:{}", go_value(value)))
                .collect();
            format!("map[string]interface {{}}{{{}}}", fields.join(", "))
        }
        Value::Null => "interface {}(nil)".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    /// The answers of Kubernetes 1.34.
    #[test]
    fn the_first_value_of_a_wrong_type_is_named_as_upstream_names_it() {
        let kind = kinds::find_kind("apps", "v1", "DaemonSet").unwrap();
        let container = |field: &str, value: Value| json!({"spec": {"template": {"spec": {"containers": [{"name": "c", field: value}]}}}});
        let below = ".spec.template.spec.containers";
        let cases = [
            (json!({"spec": 5}), ".spec: expected map, got &{5}".to_owned()),
            (
                json!({"metadata": []}),
                ".metadata: expected map, got &{[]}".to_owned(),
            ),
            (
                json!({"spec": {"minReadySeconds": "x"}}),
                ".spec.minReadySeconds: expected numeric (int or float), got string".to_owned(),
            ),
            (
                container("image", json!(5)),
                format!(
                    "{below}[name=\"c\"].image: expected string, got &value.valueUnstructured{{Value:5}}"
                ),
            ),
            (
                container("unknown", json!(1)),
                format!("{below}[name=\"c\"].unknown: field not declared in schema"),
            ),
            (
                container("tty", json!("x")),
                format!("{below}[name=\"c\"].tty: expected boolean, got &{{x}}"),
            ),
            (
                container("ports", json!("x")),
                format!("{below}[name=\"c\"].ports: expected list, got &{{x}}"),
            ),
            (
                container("command", json!([1])),
                format!(
                    "{below}[name=\"c\"].command[0]: expected string, got &value.valueUnstructured{{Value:1}}"
                ),
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": {}}}}}),
                format!("{below}: expected list, got &{{map[]}}"),
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": ["x"]}}}}),
                format!("{below}: element 0: associative list with keys may not have non-map elements"),
            ),
            (
                json!({"metadata": {"finalizers": [5]}}),
                ".metadata.finalizers[=5]: expected string, got &value.valueUnstructured{Value:5}".to_owned(),
            ),
        ];
        for (object, wanted) in cases {
            assert_eq!(problems(&object, Type::of(kind)), [wanted], "{object}");
        }
        assert!(problems(&container("image", Value::Null), Type::of(kind)).is_empty());
    }
}
