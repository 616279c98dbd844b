//! The forms in which objects are shown: whole, as table rows, or only their metadata.
//!
//! Source: embedded-cluster.md 4.1 and 12.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::accept;
use super::params::Params;
use super::status::Failure;
use crate::broken::{self, Defect};
use crate::custom::column;
use crate::kinds::{self, FieldError, Kind};
use crate::schema::columns;
use crate::store::Stored;

/// How objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Whole.
    Whole,
    /// Only `metadata`.
    Metadata,
    /// As rows, in the beta version of the table if that is asked for.
    Table(Include, bool),
}

/// What a row carries besides its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Include {
    /// Nothing.
    None,
    /// The object's metadata.
    Metadata,
    /// The object.
    Object,
}

/// The form that a request asks for. JSON is the answer to who takes one of the other representations: clients decode
/// by the content type of the answer. Who takes none of them is refused.
pub(super) fn form(accept: &str, params: &Params, offered: &[&str]) -> Result<Form, Failure> {
    let mut takes_json = false;
    let mut takes_other = accept.is_empty() || offered.is_empty();
    for clause in accept::clauses(accept) {
        if !clause.is_json() {
            // Another encoding of a form that is known.
            takes_other |= offered.contains(&clause.media_type) && is_known_form(clause.parameter("as"));
            continue;
        }
        takes_json = true;
        let version = clause.parameter("v");
        match clause.parameter("as") {
            // Discovery looks at the header itself.
            "" | "APIGroupDiscoveryList" => return Ok(Form::Whole),
            "Table" if matches!(version, "v1" | "v1beta1") => {
                let include = match params.get("includeObject") {
                    Some("None") => Include::None,
                    Some("Object") => Include::Object,
                    Some("Metadata") | None => Include::Metadata,
                    Some(other) => return Err(unknown_include(other)),
                };
                return Ok(Form::Table(include, version == "v1beta1"));
            }
            "PartialObjectMetadata" | "PartialObjectMetadataList" => return Ok(Form::Metadata),
            _ => {}
        }
    }
    if takes_other {
        Ok(Form::Whole)
    } else {
        Err(Failure::not_acceptable(offered, takes_json))
    }
}

fn is_known_form(name: &str) -> bool {
    matches!(
        name,
        "" | "Table" | "PartialObjectMetadata" | "PartialObjectMetadataList"
    )
}

fn unknown_include(given: &str) -> Failure {
    let error = FieldError::invalid(
        "includeObject",
        given,
        "must be 'Metadata', 'Object', 'None', or empty",
    );
    Failure::bad_request(format!("Unable to convert to Table as requested: {error}"))
}

/// The object in the form of a kind that may not be the one it is stored as.
pub(super) fn value(kind: &Kind, stored: &Stored) -> Value {
    let mut value = stored.decode();
    if kind.is_custom() {
        // Stored in one version, shown in any.
        if let Some(value) = value.as_object_mut() {
            value.insert("apiVersion".to_owned(), kind.api_version().into());
        }
        value
    } else {
        match kind.conversion {
            Some(conversion) => (conversion.from_stored)(value),
            None => value,
        }
    }
}

/// The object in a kind's form, as JSON.
pub(super) fn whole(kind: &Kind, stored: &Stored) -> Bytes {
    if is_stored_as_shown(kind, stored) {
        stored.bytes()
    } else {
        value(kind, stored).to_string().into()
    }
}

/// Is the kind stored in its own form, and not in that of another kind?
pub(super) fn stores_own_form(kind: &Kind) -> bool {
    kind.conversion.is_none()
}

/// Are the bytes in the store those that are shown?
pub(super) fn is_stored_as_shown(kind: &Kind, stored: &Stored) -> bool {
    if kind.is_custom() {
        let start = format!("{{\"apiVersion\":\"{}\",", kind.api_version());
        return stored.bytes().starts_with(start.as_bytes());
    }
    stores_own_form(kind)
}

/// One object as the body of an answer.
pub(super) fn one(kind: &Kind, form: Form, stored: &Stored, now: Timestamp) -> Bytes {
    match form {
        Form::Whole => whole(kind, stored),
        Form::Metadata => metadata_only(stored),
        Form::Table(include, beta) => table(
            kind,
            beta,
            &stored.version.to_string(),
            vec![row(kind, include, beta, stored, now)],
        ),
    }
}

/// An object that was not stored: it has no version.
pub(super) fn unstored(kind: &Kind, form: Form, stored: &Stored, now: Timestamp) -> Bytes {
    let body = one(kind, form, stored, now);
    let Ok(mut object) = serde_json::from_slice::<Value>(&body) else {
        return body;
    };
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    object.to_string().into()
}

/// One object in a list or a metadata list.
pub(super) fn item(kind: &Kind, form: Form, stored: &Stored) -> Bytes {
    if form == Form::Metadata {
        metadata_only(stored)
    } else if kind.is_custom() {
        whole(kind, stored)
    } else {
        within_list(&whole(kind, stored))
    }
}

/// An object of a built-in kind does not say among others of what kind it is.
fn within_list(object: &Bytes) -> Bytes {
    const METADATA: &[u8] = b"\"metadata\":";
    // The layout of stored objects: their type, then their metadata.
    match object.windows(METADATA.len()).position(|part| part == METADATA) {
        Some(at) => [b"{", object.get(at..).unwrap_or_default()].concat().into(),
        None => object.clone(),
    }
}

/// The same as a value.
pub(super) fn nested(kind: &Kind, stored: &Stored) -> Value {
    let mut object = value(kind, stored);
    if let (Some(fields), false) = (object.as_object_mut(), kind.is_custom()) {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    object
}

fn metadata_only(stored: &Stored) -> Bytes {
    let metadata = shown_metadata(stored);
    let mut out = Vec::with_capacity(metadata.len() + 80);
    out.extend_from_slice(
        b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":",
    );
    out.extend_from_slice(&metadata);
    out.push(b'}');
    out.into()
}

/// Metadata by itself. An annotation that stands for a field of older versions is none there.
fn shown_metadata(stored: &Stored) -> Bytes {
    let metadata = stored.metadata();
    let counter = pitstop_api::keys::TEMPLATE_GENERATION.as_bytes();
    if !metadata.windows(counter.len()).any(|part| part == counter) {
        return Bytes::copy_from_slice(&metadata);
    }
    let object = json!({"metadata": serde_json::from_slice::<Value>(&metadata).unwrap_or_default()});
    row_metadata(&object).unwrap_or_default().to_string().into()
}

/// A table.
fn table(kind: &Kind, beta: bool, version: &str, rows: Vec<Value>) -> Bytes {
    table_of(kind, beta, json!({"resourceVersion": version}), rows)
}

/// A table with list metadata.
pub(super) fn table_of(kind: &Kind, beta: bool, metadata: Value, rows: Vec<Value>) -> Bytes {
    let mut table = Map::new();
    table.insert("kind".to_owned(), "Table".into());
    table.insert("apiVersion".to_owned(), meta_version(beta).into());
    table.insert("metadata".to_owned(), metadata);
    let mut columns = columns(kind);
    if broken::is(Defect::LostColumn) {
        columns.pop();
    }
    table.insert("columnDefinitions".to_owned(), columns.into());
    // Nothing prints kinds without columns of their own: an empty list of them has no rows at all.
    let has_printer = !kind.columns.contains(&kinds::Column::CREATED_AT);
    let rows = if rows.is_empty() && !has_printer {
        Value::Null
    } else {
        rows.into()
    };
    table.insert("rows".to_owned(), rows);
    Value::Object(table).to_string().into()
}

fn meta_version(beta: bool) -> &'static str {
    if beta {
        "meta.k8s.io/v1beta1"
    } else {
        "meta.k8s.io/v1"
    }
}

fn columns(kind: &Kind) -> Vec<Value> {
    let column = |c: &kinds::Column| {
        json!({
            "name": c.name, "type": c.kind, "format": c.format, "priority": c.priority,
            "description": columns::description(kind.group, kind.plural, c.name),
        })
    };
    kind.columns.iter().map(column).collect()
}

/// One row of a table.
pub(super) fn row(kind: &Kind, include: Include, beta: bool, stored: &Stored, now: Timestamp) -> Value {
    let shown = value(kind, stored);
    // Rows show what is stored, in whatever version they were asked for.
    let own = kind.conversion.map(|_| stored.decode());
    let object = own.as_ref().unwrap_or(&shown);
    let cells = match kind.column_paths {
        Some(paths) => custom_cells(kind, paths, object, now),
        None => (kind.cells)(object, now),
    };
    let conditions = (kind.row_conditions)(object);
    let object = match include {
        Include::None => Value::Null,
        Include::Object => shown,
        Include::Metadata => json!({
            "kind": "PartialObjectMetadata", "apiVersion": meta_version(beta),
            "metadata": row_metadata(object),
        }),
    };
    let mut row = json!({"cells": cells, "object": object});
    if let (Some(row), false) = (row.as_object_mut(), conditions.is_empty()) {
        row.insert("conditions".to_owned(), conditions.into());
    }
    row
}

fn custom_cells(kind: &Kind, paths: &[&str], object: &Value, now: Timestamp) -> Vec<Value> {
    let name = object.pointer("/metadata/name").cloned().unwrap_or_default();
    let columns = kind.columns.iter().skip(1).zip(paths);
    std::iter::once(name)
        .chain(columns.map(|(of, path)| column::cell(of, path, object, now)))
        .collect()
}

/// Metadata in a row. An annotation that stands for a field of older versions is none there.
fn row_metadata(object: &Value) -> Option<Value> {
    let mut metadata = object.get("metadata").cloned();
    let annotations = metadata
        .as_mut()
        .and_then(|metadata| metadata.get_mut("annotations"))
        .and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.remove(pitstop_api::keys::TEMPLATE_GENERATION);
        if annotations.is_empty()
            && let Some(metadata) = metadata.as_mut().and_then(Value::as_object_mut)
        {
            metadata.remove("annotations");
        }
    }
    metadata
}

/// A bookmark's object.
///
/// Source: embedded-cluster.md 8, rule 5.
pub(super) fn bookmark(kind: &Kind, form: Form, version: u64, initial_events_end: bool) -> Bytes {
    let version = version.to_string();
    let mut metadata = json!({"resourceVersion": version});
    if let (true, Some(metadata)) = (initial_events_end, metadata.as_object_mut()) {
        let mut annotations = Map::new();
        annotations.insert(pitstop_api::keys::INITIAL_EVENTS_END.to_owned(), "true".into());
        metadata.insert("annotations".to_owned(), annotations.into());
    }
    let (api_version, name) = match form {
        Form::Whole => (kind.api_version(), kind.kind),
        Form::Metadata => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata"),
        Form::Table(_, beta) => {
            // The marker is looked for in a row's object; a table without rows carries only the version.
            let rows = if initial_events_end {
                let object = json!({
                    "kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata,
                });
                let cells: Vec<Value> = kind.columns.iter().map(|_| Value::Null).collect();
                vec![json!({"cells": cells, "object": object})]
            } else {
                Vec::new()
            };
            return table(kind, beta, &version, rows);
        }
    };
    json!({"kind": name, "apiVersion": api_version, "metadata": metadata})
        .to_string()
        .into()
}
