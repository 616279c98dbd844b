//! Field tables of the built-in kinds: strict decoding, protobuf, merge keys.
//!
//! One data file, `schema/kubernetes.tsv`, says which fields exist. JSON, YAML and protobuf bodies become the same tree,
//! and `shape` brings every tree into one canonical form, so that equal objects have equal bytes whatever client
//! wrote them.

pub(crate) mod columns;
mod go_json;
pub(crate) mod go_syntax;
pub(crate) mod go_text;
mod protobuf;
mod shape;
pub(crate) mod table;
mod time;
mod tree;

pub(crate) use go_json::write_json;
pub(crate) use shape::{base64_offset, go_kind};

use serde_json::{Map, Value};

use crate::kinds::Kind;
use table::Message;

/// A decoded request body.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The object, in canonical form.
    pub object: Value,
    /// What `fieldValidation=Strict` refuses: `unknown field "spec.foo"`, `duplicate field "spec.foo"`.
    ///
    /// Source: embedded-cluster.md 6.5.
    pub strict_errors: Vec<String>,
}

/// Why a body is no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// 415: no decoder for this content type.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// 400: syntax, another kind than the URL names.
    #[error("{0}")]
    Malformed(String),
    /// A value of the wrong type: 400 in a body, 422 in what a patch made.
    #[error("{context}: {problem}")]
    WrongType {
        /// Which object cannot be handled as what.
        context: String,
        /// What Go's decoder says.
        problem: String,
    },
}

/// Decodes the body of a create or an update of `kind`.
///
/// A missing content type means JSON. Source: embedded-cluster.md 4.2, 4.3.
pub fn decode(kind: &Kind, content_type: Option<&str>, body: &[u8]) -> Result<Decoded, DecodeError> {
    // Of a group, there is one form for every version.
    let message = table::table()
        .kind(kind.group, kind.version, kind.kind)
        .or_else(|| table::table().kind(kind.group, "v1", kind.kind))
        .ok_or_else(|| no_table(kind.kind))?;
    let tree = parse(message, kind.kind, content_type, body)?;
    check_object(kind.kind, &tree.value, body)?;
    finish(kind, message, tree, body)
}

/// Decodes a body that is not a stored object, by message name, e.g. `meta/v1.DeleteOptions` or `core/v1.Binding`.
///
/// `apiVersion` and `kind` are neither required nor compared.
pub fn decode_as(message: &str, content_type: Option<&str>, body: &[u8]) -> Result<Decoded, DecodeError> {
    let message = table::table().message(message).ok_or_else(|| no_table(message))?;
    let tree = parse(message, message.short_name(), content_type, body)?;
    let shaped =
        shape::shape(message, tree.value).map_err(|error| wrong_type(message.short_name(), "", &error))?;
    Ok(decoded(shaped, &tree.duplicates))
}

/// An object of a kind of which nothing has been said yet.
pub(crate) fn zero(kind: &Kind) -> Value {
    let message = table::table().kind(kind.group, kind.version, kind.kind);
    message.map_or(Value::Null, shape::zero)
}

/// A YAML or JSON document as it was written, and `duplicate field` texts for keys that came twice.
pub(crate) fn parse_yaml(body: &[u8]) -> Result<(Value, Vec<String>), String> {
    // Every JSON document is one of YAML; the JSON parser names duplicates.
    let tree = tree::from_json(body).or_else(|_| tree::from_yaml(body))?;
    let duplicates = tree
        .duplicates
        .iter()
        .map(|path| format!("duplicate field \"{path}\""));
    Ok((tree.value, duplicates.collect()))
}

/// Brings the result of a patch into canonical form; its strict errors name the fields that the patch brought in.
pub fn clean(kind: &Kind, value: Value) -> Result<Decoded, DecodeError> {
    let message = table::table()
        .kind(kind.group, kind.version, kind.kind)
        .ok_or_else(|| no_table(kind.kind))?;
    finish(
        kind,
        message,
        tree::Tree {
            value,
            duplicates: Vec::new(),
        },
        &[],
    )
}

/// A body without a table: its tree, and what came twice in it.
pub(crate) fn parse_untyped(
    kind: &str,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<(Value, Vec<String>), DecodeError> {
    let media_type = content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let tree = match media_type.to_ascii_lowercase().as_str() {
        "" | "application/json" => tree::from_json(body).map_err(|_| {
            let problem = go_syntax::problem(body);
            format!("couldn't get version/kind; json parse error: {problem}")
        }),
        "application/yaml" => tree::from_yaml(body),
        _ => {
            return Err(DecodeError::UnsupportedMediaType(
                "the body of the request was in an unknown format - accepted media types include: application/json, \
                 application/yaml"
                    .to_owned(),
            ));
        }
    };
    let tree = tree.map_err(|error| unrecognized(kind, &error, body))?;
    check_object(kind, &tree.value, body)?;
    let duplicates = tree
        .duplicates
        .iter()
        .map(|path| format!("duplicate field \"{path}\""))
        .collect();
    Ok((tree.value, duplicates))
}

/// Checks the type that an object names and sets it.
pub(crate) fn set_type(kind: &Kind, value: &mut Value) -> Result<(), DecodeError> {
    let api_version = kind.api_version();
    let Value::Object(fields) = value else {
        let problem = format!(
            "json: cannot unmarshal {} into Go value of type {TYPE_META}",
            go_kind(value)
        );
        return Err(unrecognized(kind.kind, &problem, &[]));
    };
    check_type(kind, &api_version, fields)?;
    fields.insert("apiVersion".to_owned(), Value::from(api_version));
    fields.insert("kind".to_owned(), Value::from(kind.kind));
    Ok(())
}

/// Brings the metadata of an object without a table into canonical form; names its unknown fields.
pub(crate) fn clean_metadata(kind: &Kind, value: &mut Value) -> Result<Vec<String>, DecodeError> {
    let name = "meta/v1.ObjectMeta";
    let message = table::table().message(name).ok_or_else(|| no_table(name))?;
    let Some(fields) = value.as_object_mut() else {
        return Ok(Vec::new());
    };
    let given = fields.remove("metadata").filter(|metadata| !metadata.is_null());
    let given = given.unwrap_or_else(|| Value::Object(Map::new()));
    let shaped = shape::shape(message, given).map_err(|error| wrong_type(kind.kind, kind.version, &error))?;
    fields.insert("metadata".to_owned(), shaped.value);
    let unknown = shaped.unknown.iter();
    Ok(unknown
        .map(|path| format!("unknown field \"metadata.{path}\""))
        .collect())
}

/// A body has to be an object that says of what type it is in texts.
fn check_object(kind: &str, value: &Value, body: &[u8]) -> Result<(), DecodeError> {
    let refuse = |problem: String| {
        let problem =
            format!("couldn't get version/kind; json parse error: json: cannot unmarshal {problem}");
        Err(unrecognized(kind, &problem, body))
    };
    let fields = match value {
        Value::Null => return Ok(()),
        Value::Object(fields) => fields,
        other => {
            return refuse(format!("{} into Go value of type {TYPE_META}", go_kind(other)));
        }
    };
    for name in ["apiVersion", "kind"] {
        if let Some(other) = fields
            .get(name)
            .filter(|value| !value.is_string() && !value.is_null())
        {
            let found = go_kind(other);
            return refuse(format!("{found} into Go struct field .{name} of type string"));
        }
    }
    match fields.get("apiVersion").and_then(Value::as_str) {
        Some(version) if version.matches('/').count() > 1 => {
            let problem = format!("unexpected GroupVersion string: {version}");
            Err(unrecognized(kind, &problem, body))
        }
        _ => Ok(()),
    }
}

/// The type by which Go finds out of what type a body is.
const TYPE_META: &str =
    r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

fn finish(
    kind: &Kind,
    message: &'static Message,
    mut tree: tree::Tree,
    body: &[u8],
) -> Result<Decoded, DecodeError> {
    let api_version = kind.api_version();
    if tree.value.is_null() {
        tree.value = Value::Object(Map::new());
    }
    let Value::Object(fields) = &mut tree.value else {
        let found = go_kind(&tree.value);
        let problem = format!("json: cannot unmarshal {found} into Go value of type {TYPE_META}");
        return Err(unrecognized(kind.kind, &problem, body));
    };
    check_type(kind, &api_version, fields)?;
    fields.insert("apiVersion".to_owned(), Value::from(api_version));
    fields.insert("kind".to_owned(), Value::from(kind.kind));
    let shaped =
        shape::shape(message, tree.value).map_err(|error| wrong_type(kind.kind, kind.version, &error))?;
    Ok(decoded(shaped, &tree.duplicates))
}

/// The type a body names must be that of its URL; a body that names none is of the type of its URL.
fn check_type(kind: &Kind, api_version: &str, fields: &Map<String, Value>) -> Result<(), DecodeError> {
    let given = |name: &str| {
        fields
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let group_version = given("apiVersion").unwrap_or(api_version);
    let name = given("kind").unwrap_or(kind.kind);
    if group_version == api_version && name == kind.kind {
        return Ok(());
    }
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    let problem = if table::table().kind(group, version, name).is_some() {
        let expected = package(kind.group);
        format!(
            "converting ({version}.{name}) to ({expected}.{}): unknown conversion",
            kind.kind
        )
    } else {
        format!(
            "no kind \"{name}\" is registered for version \"{group_version}\" in scheme \"pkg/runtime/scheme.go:110\""
        )
    };
    Err(DecodeError::Malformed(format!(
        "{name} in version \"{version}\" cannot be handled as a {}: {problem}",
        kind.kind
    )))
}

/// What type the result of a patch names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PatchedType {
    /// That of its URL, or another one of which it may be.
    Right,
    /// None that there is, with what is said of it.
    Wrong(String),
    /// One without a version.
    Unversioned,
}

/// Finds out what type the result of a JSON or merge patch names.
///
/// Source: the answers of Kubernetes 1.34.
pub(crate) fn patched_type(kind: &Kind, patched: &Value) -> PatchedType {
    let given = |name: &str| patched.get(name).filter(|value| !value.is_null());
    for name in ["apiVersion", "kind"] {
        if let Some(other) = given(name).filter(|value| !value.is_string()) {
            return PatchedType::Wrong(format!(
                "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go struct field .{name} of \
                 type string",
                go_kind(other)
            ));
        }
    }
    let text = |name: &str| given(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, name) = (text("apiVersion"), text("kind"));
    if api_version.is_empty() {
        return PatchedType::Unversioned;
    }
    let name = if name.is_empty() { kind.kind } else { name };
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if let Some(message) = table::table().kind(group, version, name) {
        let expected = package(kind.group);
        if name == kind.kind && package(group) == expected {
            return PatchedType::Right;
        }
        // It is read as what it says it is, and is then not what was asked for.
        return PatchedType::Wrong(match shape::shape(message, patched.clone()) {
            Err(problem) => problem,
            Ok(_) => format!(
                "converting ({version}.{name}) to ({expected}.{}): unknown conversion",
                kind.kind
            ),
        });
    }
    PatchedType::Wrong(format!(
        "no kind \"{name}\" is registered for version \"{api_version}\" in scheme \"pkg/runtime/scheme.go:110\""
    ))
}

/// The Go package of the types of a group.
fn package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        other => other.split('.').next().unwrap_or_default(),
    }
}

fn parse(
    message: &'static Message,
    kind: &str,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<tree::Tree, DecodeError> {
    let media_type = content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    match media_type.to_ascii_lowercase().as_str() {
        "" | "application/json" => tree::from_json(body).map_err(|_| {
            let problem = go_syntax::problem(body);
            unrecognized(kind, &format!("couldn't get version/kind; json parse error: {problem}"), body)
        }),
        "application/yaml" => tree::from_yaml(body).map_err(|error| unrecognized(kind, &error, body)),
        "application/vnd.kubernetes.protobuf" => protobuf::decode(message, body)
            .map(|value| tree::Tree { value, duplicates: Vec::new() })
            .map_err(|error| unrecognized(kind, &error, body)),
        _ => Err(DecodeError::UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: application/json, \
             application/yaml, application/vnd.kubernetes.protobuf"
                .to_owned(),
        )),
    }
}

fn decoded(shaped: shape::Shaped, duplicates: &[String]) -> Decoded {
    let mut strict_errors: Vec<String> = duplicates
        .iter()
        .map(|path| format!("duplicate field \"{path}\""))
        .collect();
    strict_errors.extend(
        shaped
            .unknown
            .iter()
            .map(|path| format!("unknown field \"{path}\"")),
    );
    Decoded {
        object: shaped.value,
        strict_errors,
    }
}

fn wrong_type(kind: &str, version: &str, error: &str) -> DecodeError {
    DecodeError::WrongType {
        context: format!("{kind} in version \"{version}\" cannot be handled as a {kind}"),
        problem: error.to_owned(),
    }
}

fn unrecognized(kind: &str, error: &str, body: &[u8]) -> DecodeError {
    DecodeError::Malformed(format!(
        "the object provided is unrecognized (must be of type {kind}): {error} ({})",
        summary(body)
    ))
}

/// The beginning of a body: as it is when it looks like JSON, else in hexadecimal digits.
fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let shown = body.get(..SHOWN).unwrap_or(body);
    let rest = if body.len() > SHOWN { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{rest}", String::from_utf8_lossy(shown)),
        Some(_) => {
            let digits: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}{rest}", digits.concat())
        }
    }
}

fn no_table(name: &str) -> DecodeError {
    DecodeError::UnsupportedMediaType(format!("no decoder for {name}"))
}

#[cfg(test)]
mod tests;
