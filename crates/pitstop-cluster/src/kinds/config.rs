//! Config maps and secrets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::fields::{entries, flag, map_mut, remove, set_missing, text};
use super::{Column, FieldError, FieldKey, Kind, age};

pub(super) const CONFIG_MAP: Kind = Kind {
    short_names: &["cm"],
    validate: |object| data_keys(object, &["data", "binaryData"]),
    validate_update: |new, old| immutable(new, old, &["data", "binaryData"]),
    columns: &[Column::NAME, Column::string("Data"), Column::AGE],
    cells: |object, now| {
        let data = entries(object, "/data").count() + entries(object, "/binaryData").count();
        vec![age::name(object), Value::from(data), age::age(object, now)]
    },
    ..Kind::plain("ConfigMap", "configmaps", "configmap")
};

pub(super) const SECRET: Kind = Kind {
    field_keys: &[FieldKey {
        key: "type",
        pointers: &["/type"],
        absent: "",
    }],
    default: default_secret,
    validate: |object| data_keys(object, &["data"]),
    validate_update: |new, old| {
        let mut errors = immutable(new, old, &["data"]);
        if new.get("type") != old.get("type") {
            errors.push(FieldError::invalid(
                "type",
                text(new, "/type"),
                "field is immutable",
            ));
        }
        errors
    },
    columns: &[
        Column::NAME,
        Column::string("Type"),
        Column::string("Data"),
        Column::AGE,
    ],
    cells: |object, now| {
        let data = entries(object, "/data").count();
        vec![
            age::name(object),
            Value::from(text(object, "/type")),
            Value::from(data),
            age::age(object, now),
        ]
    },
    ..Kind::plain("Secret", "secrets", "secret")
};

/// `stringData` can only be written: it becomes part of `data`.
fn default_secret(object: &mut Value) {
    let plain: Vec<(String, String)> = entries(object, "/stringData")
        .filter_map(|(name, value)| Some((name.to_owned(), STANDARD.encode(value.as_str()?))))
        .collect();
    remove(object, "stringData");
    if !plain.is_empty() {
        map_mut(object, &["data"]).extend(plain.into_iter().map(|(name, value)| (name, Value::from(value))));
    }
    set_missing(map_mut(object, &[]), "type", "Opaque");
}

fn data_keys(object: &Value, fields: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in fields {
        for (key, _) in entries(object, &format!("/{field}")) {
            let valid = key
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if key.is_empty() || key.len() > 253 || !valid || key == "." || key.starts_with("..") {
                let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
                           'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                errors.push(FieldError::invalid(format!("{field}[{key}]"), key, why));
            }
        }
    }
    errors
}

fn immutable(new: &Value, old: &Value, fields: &[&str]) -> Vec<FieldError> {
    if !flag(old, "/immutable") {
        return Vec::new();
    }
    let why = "field is immutable when `immutable` is set";
    let changed = ["immutable"]
        .iter()
        .chain(fields)
        .filter(|field| new.get(field) != old.get(field));
    changed.map(|field| FieldError::forbidden(*field, why)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn string_data_becomes_data() {
        let mut secret = json!({"data": {"a": "MQ=="}, "stringData": {"a": "2", "b": "3"}});
        (SECRET.default)(&mut secret);
        assert_eq!(
            secret,
            json!({"type": "Opaque", "data": {"a": "Mg==", "b": "Mw=="}})
        );
    }

    #[test]
    fn immutable_data_stays() {
        let old = json!({"metadata": {"name": "a"}, "immutable": true, "data": {"a": "1"}});
        let new = json!({"metadata": {"name": "a"}, "immutable": true, "data": {"a": "2"}});
        assert_eq!(
            (CONFIG_MAP.validate_update)(&new, &old)[0].to_string(),
            "data: Forbidden: field is immutable when `immutable` is set"
        );
        assert!((CONFIG_MAP.validate_update)(&old, &old).is_empty());
        let opaque = json!({"type": "Opaque"});
        let tls = json!({"type": "kubernetes.io/tls"});
        assert_eq!(
            (SECRET.validate_update)(&tls, &opaque)[0].to_string(),
            "type: Invalid value: \"kubernetes.io/tls\": field is immutable"
        );
    }
}
