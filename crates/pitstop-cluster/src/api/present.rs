//! The forms in which objects are shown: whole, as table rows, or only their metadata.
//!
//! Source: embedded-cluster.md 4.1 and 12.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::accept;
use super::params::Params;
use crate::custom::column;
use crate::kinds::{self, Kind, event};
use crate::store::Stored;

/// How objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Whole.
    Whole,
    /// Only `metadata`.
    Metadata,
    /// As rows.
    Table(Include),
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

/// The form that a request asks for. JSON is the answer whenever no clause is understood: clients decode by the
/// content type of the answer.
pub(super) fn form(accept: &str, params: &Params) -> Form {
    for clause in accept::clauses(accept) {
        if !clause.is_json() {
            continue;
        }
        match clause.parameter("as") {
            "" => return Form::Whole,
            "Table" if matches!(clause.parameter("v"), "v1" | "v1beta1") => {
                return Form::Table(match params.get("includeObject") {
                    Some("None") => Include::None,
                    Some("Object") => Include::Object,
                    _ => Include::Metadata,
                });
            }
            "PartialObjectMetadata" | "PartialObjectMetadataList" => return Form::Metadata,
            _ => {}
        }
    }
    Form::Whole
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
    } else if stores_own_form(kind) {
        value
    } else {
        event::from_core(value)
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
    kind.stored_as == (kind.group, kind.plural)
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
        Form::Table(include) => table(
            kind,
            &stored.version.to_string(),
            vec![row(kind, include, stored, now)],
            true,
        ),
    }
}

/// One object in a list or a metadata list.
pub(super) fn item(kind: &Kind, form: Form, stored: &Stored) -> Bytes {
    if form == Form::Metadata {
        metadata_only(stored)
    } else {
        whole(kind, stored)
    }
}

fn metadata_only(stored: &Stored) -> Bytes {
    let metadata = stored.metadata();
    let mut out = Vec::with_capacity(metadata.len() + 80);
    out.extend_from_slice(
        b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":",
    );
    out.extend_from_slice(&metadata);
    out.push(b'}');
    out.into()
}

/// A table.
pub(super) fn table(kind: &Kind, version: &str, rows: Vec<Value>, with_columns: bool) -> Bytes {
    table_of(kind, json!({"resourceVersion": version}), rows, with_columns)
}

/// A table with list metadata.
pub(super) fn table_of(kind: &Kind, metadata: Value, rows: Vec<Value>, with_columns: bool) -> Bytes {
    let columns: Vec<Value> = if with_columns { columns(kind) } else { Vec::new() };
    let mut table = Map::new();
    table.insert("kind".to_owned(), "Table".into());
    table.insert("apiVersion".to_owned(), "meta.k8s.io/v1".into());
    table.insert("metadata".to_owned(), metadata);
    table.insert("columnDefinitions".to_owned(), columns.into());
    table.insert("rows".to_owned(), rows.into());
    Value::Object(table).to_string().into()
}

fn columns(kind: &Kind) -> Vec<Value> {
    let column = |c: &kinds::Column| {
        json!({
            "name": c.name, "type": c.kind, "format": c.format, "description": "", "priority": c.priority,
        })
    };
    kind.columns.iter().map(column).collect()
}

/// One row of a table.
pub(super) fn row(kind: &Kind, include: Include, stored: &Stored, now: Timestamp) -> Value {
    let object = value(kind, stored);
    let cells = match kind.column_paths {
        Some(paths) => custom_cells(kind, paths, &object, now),
        None => (kind.cells)(&object, now),
    };
    let conditions = (kind.row_conditions)(&object);
    let object = match include {
        Include::None => Value::Null,
        Include::Object => object,
        Include::Metadata => json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": object.get("metadata"),
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

/// A bookmark's object.
///
/// Source: embedded-cluster.md 8, rule 5.
pub(super) fn bookmark(kind: &Kind, form: Form, version: u64, initial_events_end: bool) -> Bytes {
    let version = version.to_string();
    let mut metadata = json!({"resourceVersion": version, "creationTimestamp": null});
    if let (true, Some(metadata)) = (initial_events_end, metadata.as_object_mut()) {
        let mut annotations = Map::new();
        annotations.insert(pitstop_api::keys::INITIAL_EVENTS_END.to_owned(), "true".into());
        metadata.insert("annotations".to_owned(), annotations.into());
    }
    let (api_version, name) = match form {
        Form::Whole => (kind.api_version(), kind.kind),
        Form::Metadata => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata"),
        Form::Table(_) => {
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
            return table(kind, &version, rows, true);
        }
    };
    json!({"kind": name, "apiVersion": api_version, "metadata": metadata})
        .to_string()
        .into()
}
