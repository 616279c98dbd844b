//! What is wrong with an object, by its schema. Texts are those of kube-apiserver 1.34.
//!
//! Source: embedded-cluster.md 14, rule 3.

use serde_json::Value;

use super::schema::{ListType, Rules, Schema};
use crate::kinds::{FieldError, FieldErrorReason};

impl Schema {
    /// Every violation, in the order of fields.
    pub(crate) fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        self.check(object, "", &mut errors);
        self.check_lists(object, "", &mut errors);
        errors
    }

    fn check(&self, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
        if value.is_null() && (self.is_nullable || self.kind.is_empty()) {
            return;
        }
        if !self.is_of_type(value) {
            let wanted = if self.is_int_or_string {
                "integer,string"
            } else {
                &self.kind
            };
            errors.push(type_error(path, wanted, &Value::from(type_name(value))));
            return;
        }
        self.rules.check(value, path, errors);
        match value {
            Value::Object(fields) => {
                for name in self
                    .rules
                    .required
                    .iter()
                    .filter(|name| !fields.contains_key(*name))
                {
                    errors.push(FieldError::required(below(path, name), ""));
                }
                for (name, value) in fields {
                    if path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                        continue;
                    }
                    if let Some(schema) = self.properties.get(name).or(self.additional.as_deref()) {
                        schema.check(value, &below(path, name), errors);
                    }
                }
            }
            Value::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    if let Some(items) = &self.items {
                        items.check(element, &format!("{path}[{index}]"), errors);
                    }
                }
            }
            _ => {}
        }
    }

    fn is_of_type(&self, value: &Value) -> bool {
        if self.is_int_or_string {
            return value.is_string() || value.is_i64() || value.is_u64();
        }
        match self.kind.as_str() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "number" => value.is_number(),
            "integer" => {
                value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            _ => true,
        }
    }

    /// Lists of distinct elements: these come after everything else.
    fn check_lists(&self, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if let Some(schema) = self.properties.get(name).or(self.additional.as_deref()) {
                        schema.check_lists(value, &below(path, name), errors);
                    }
                }
            }
            Value::Array(elements) => {
                let mut seen: Vec<Value> = Vec::new();
                for (index, element) in elements.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    if let Some(key) = self.key_of(element) {
                        if seen.contains(&key) {
                            errors.push(FieldError::duplicate(path.clone(), key));
                        } else {
                            seen.push(key);
                        }
                    }
                    if let Some(items) = &self.items {
                        items.check_lists(element, &path, errors);
                    }
                }
            }
            _ => {}
        }
    }

    /// What tells an element of a list from the others.
    fn key_of(&self, element: &Value) -> Option<Value> {
        match self.list_type {
            ListType::Atomic => None,
            ListType::Set => Some(element.clone()),
            ListType::Map => {
                let keys = self.list_map_keys.iter();
                let key = keys.filter_map(|key| Some((key.clone(), element.get(key)?.clone())));
                Some(Value::Object(key.collect()))
            }
        }
    }

    fn accepts(&self, value: &Value) -> bool {
        let mut errors = Vec::new();
        self.check(value, "x", &mut errors);
        errors.is_empty()
    }
}

impl Rules {
    fn check(&self, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
        match value {
            Value::String(text) => self.check_text(text, path, errors),
            Value::Number(_) => self.check_number(value, path, errors),
            Value::Array(elements) => self.check_list(value, elements.len(), path, errors),
            Value::Object(fields) => {
                if self.max_properties.is_some_and(|most| fields.len() as u64 > most) {
                    errors.push(too_many(
                        path,
                        fields.len(),
                        self.max_properties.unwrap_or_default(),
                    ));
                }
                if let Some(least) = self.min_properties.filter(|least| (fields.len() as u64) < *least) {
                    errors.push(in_body(
                        path,
                        fields.len(),
                        &format!("should have at least {least} properties"),
                    ));
                }
            }
            _ => {}
        }
        if !self.choices.is_empty() && !self.choices.contains(value) {
            errors.push(unsupported(path, value, &self.choices));
        }
        self.check_combined(value, path, errors);
    }

    fn check_text(&self, text: &str, path: &str, errors: &mut Vec<FieldError>) {
        let length = text.chars().count() as u64;
        if let Some(least) = self.min_length.filter(|least| length < *least) {
            errors.push(in_body(
                path,
                text,
                &format!("should be at least {least} chars long"),
            ));
        }
        if let Some(most) = self.max_length.filter(|most| length > *most) {
            errors.push(FieldError {
                field: path.to_owned(),
                reason: FieldErrorReason::TooLong,
                value: None,
                detail: format!("may not be more than {most} bytes"),
            });
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            errors.push(in_body(path, text, &format!("should match '{pattern}'")));
        }
        if !has_format(text, &self.format) {
            errors.push(type_error(path, &self.format, &Value::from(text)));
        }
    }

    fn check_number(&self, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
        let number = value.as_f64().unwrap_or_default();
        let of = |bound: &Value| bound.as_f64().unwrap_or_default();
        if let Some((bound, exclusive)) = &self.minimum {
            let (wrong, words) = match exclusive {
                true => (number <= of(bound), "greater than"),
                false => (number < of(bound), "greater than or equal to"),
            };
            if wrong {
                errors.push(in_body(
                    path,
                    value.clone(),
                    &format!("should be {words} {bound}"),
                ));
            }
        }
        if let Some((bound, exclusive)) = &self.maximum {
            let (wrong, words) = match exclusive {
                true => (number >= of(bound), "less than"),
                false => (number > of(bound), "less than or equal to"),
            };
            if wrong {
                errors.push(in_body(
                    path,
                    value.clone(),
                    &format!("should be {words} {bound}"),
                ));
            }
        }
        if let Some(factor) = self
            .multiple_of
            .as_ref()
            .filter(|factor| (number / of(factor)).fract() != 0.0)
        {
            errors.push(in_body(
                path,
                value.clone(),
                &format!("should be a multiple of {factor}"),
            ));
        }
    }

    fn check_list(&self, value: &Value, count: usize, path: &str, errors: &mut Vec<FieldError>) {
        if let Some(least) = self.min_items.filter(|least| (count as u64) < *least) {
            errors.push(in_body(
                path,
                count,
                &format!("should have at least {least} items"),
            ));
        }
        if let Some(most) = self.max_items.filter(|most| count as u64 > *most) {
            errors.push(too_many(path, count, most));
        }
        let elements = value.as_array().map(Vec::as_slice).unwrap_or_default();
        let repeats =
            |(index, element): (usize, &Value)| elements.iter().take(index).any(|other| other == element);
        if self.is_unique && elements.iter().enumerate().any(repeats) {
            errors.push(in_body(path, value.clone(), "shouldn't contain duplicates"));
        }
    }

    fn check_combined(&self, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
        let mut wrong = |why: String| errors.push(FieldError::invalid("<nil>", "", why));
        if !self.all_of.iter().all(|schema| schema.accepts(value)) {
            wrong(format!("\"{path}\" must validate all the schemas (allOf)"));
        }
        if !self.any_of.is_empty() && !self.any_of.iter().any(|schema| schema.accepts(value)) {
            wrong(format!("\"{path}\" must validate at least one schema (anyOf)"));
        }
        let matching = self.one_of.iter().filter(|schema| schema.accepts(value)).count();
        if !self.one_of.is_empty() && matching != 1 {
            let found = if matching == 0 {
                "Found none valid".to_owned()
            } else {
                format!("Found {matching} valid alternatives")
            };
            wrong(format!(
                "\"{path}\" must validate one and only one schema (oneOf). {found}"
            ));
        }
        if self.not.as_ref().is_some_and(|schema| schema.accepts(value)) {
            wrong(format!("\"{path}\" must not validate the schema (not)"));
        }
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn in_body(path: &str, value: impl Into<Value>, why: &str) -> FieldError {
    FieldError::invalid(path, value, format!("{path} in body {why}"))
}

fn type_error(path: &str, wanted: &str, found: &Value) -> FieldError {
    FieldError {
        field: path.to_owned(),
        reason: FieldErrorReason::TypeInvalid,
        value: Some(found.clone()),
        detail: format!("{path} in body must be of type {wanted}: {found}"),
    }
}

/// A list or map with more than it may have.
pub(crate) fn too_many(path: &str, found: usize, most: u64) -> FieldError {
    let items = if most == 1 { "item" } else { "items" };
    FieldError {
        field: path.to_owned(),
        reason: FieldErrorReason::TooMany,
        value: Some(Value::from(found)),
        detail: format!("must have at most {most} {items}"),
    }
}

fn unsupported(path: &str, value: &Value, choices: &[Value]) -> FieldError {
    let choices: Vec<String> = choices.iter().map(Value::to_string).collect();
    FieldError {
        field: path.to_owned(),
        reason: FieldErrorReason::NotSupported,
        value: Some(value.clone()),
        detail: format!("supported values: {}", choices.join(", ")),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Formats that nobody knows are no rule.
fn has_format(text: &str, format: &str) -> bool {
    use base64::Engine as _;
    match format {
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok(),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Schema and objects are those that were given to a real server; the texts are its answers.
    #[test]
    #[allow(clippy::too_many_lines, reason = "a table")]
    fn violations_read_as_upstreams() {
        let schema = Schema::parse(
            &json!({"type": "object", "required": ["spec"], "properties": {"spec": {
                "type": "object", "required": ["must"], "properties": {
                    "must": {"type": "string"},
                    "replicas": {"type": "integer", "minimum": 0, "maximum": 10},
                    "e": {"type": "string", "enum": ["a", "b"]},
                    "p": {"type": "string", "pattern": "^a+$", "minLength": 2, "maxLength": 4},
                    "l": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
                    "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                    "m": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}},
                    "ios": {"x-kubernetes-int-or-string": true},
                    "map": {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 1},
                    "n": {"type": "number", "multipleOf": 2},
                    "f": {"type": "string", "format": "date-time"},
                    "one": {"type": "object", "properties": {"x": {"type": "string"}}, "oneOf": [{"required": ["x"]}, {"required": ["y"]}]},
                    "xm": {"type": "integer", "minimum": 1, "exclusiveMinimum": true},
                },
            }}}),
        );
        let cases = [
            (
                json!({"replicas": "a", "must": "a"}),
                r#"spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string""#,
            ),
            (
                json!({"replicas": 1.5, "must": "a"}),
                r#"spec.replicas: Invalid value: "number": spec.replicas in body must be of type integer: "number""#,
            ),
            (json!({}), "spec.must: Required value"),
            (
                json!("x"),
                r#"spec: Invalid value: "string": spec in body must be of type object: "string""#,
            ),
            (
                json!({"must": "a", "map": {"a": 1, "b": 2}}),
                "spec.map: Too many: 2: must have at most 1 item",
            ),
            (
                json!({"must": "a", "map": {"a": "x"}}),
                r#"spec.map.a: Invalid value: "string": spec.map.a in body must be of type integer: "string""#,
            ),
            (
                json!({"must": "a", "ios": true}),
                r#"spec.ios: Invalid value: "boolean": spec.ios in body must be of type integer,string: "boolean""#,
            ),
            (
                json!({"must": "a", "xm": 1}),
                "spec.xm: Invalid value: 1: spec.xm in body should be greater than 1",
            ),
            (
                json!({"must": "a", "n": 3}),
                "spec.n: Invalid value: 3: spec.n in body should be a multiple of 2",
            ),
            (
                json!({"must": "a", "one": {}}),
                r#"<nil>: Invalid value: "": "spec.one" must validate one and only one schema (oneOf). Found none valid"#,
            ),
            (
                json!({"must": "a", "f": "x"}),
                r#"spec.f: Invalid value: "x": spec.f in body must be of type date-time: "x""#,
            ),
            (
                json!({"must": "a", "e": "c"}),
                r#"spec.e: Unsupported value: "c": supported values: "a", "b""#,
            ),
            (
                json!({"must": "a", "p": "a"}),
                r#"spec.p: Invalid value: "a": spec.p in body should be at least 2 chars long"#,
            ),
            (
                json!({"must": "a", "p": "bb"}),
                r#"spec.p: Invalid value: "bb": spec.p in body should match '^a+$'"#,
            ),
            (
                json!({"must": "a", "p": "aaaaaa"}),
                "spec.p: Too long: may not be more than 4 bytes",
            ),
            (
                json!({"must": "a", "l": []}),
                "spec.l: Invalid value: 0: spec.l in body should have at least 1 items",
            ),
            (
                json!({"must": "a", "l": ["a", "b", "c"]}),
                "spec.l: Too many: 3: must have at most 2 items",
            ),
            (
                json!({"must": "a", "replicas": 11}),
                "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
            ),
            (
                json!({"must": "a", "set": ["a", "a"]}),
                r#"spec.set[1]: Duplicate value: "a""#,
            ),
            (
                json!({"must": "a", "m": [{"name": "q"}, {"name": "q"}]}),
                r#"spec.m[1]: Duplicate value: {"name":"q"}"#,
            ),
            (json!({"must": "a", "m": [{}]}), "spec.m[0].name: Required value"),
        ];
        for (spec, wanted) in cases {
            let errors: Vec<String> = schema
                .validate(&json!({"spec": spec}))
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(errors, [wanted], "{spec}");
        }
        assert_eq!(
            schema
                .validate(&json!({"spec": {"must": "a", "ios": "50%", "n": 4, "f": "2026-01-01T00:00:00Z"}})),
            []
        );
    }
}
