//! Rules of `metadata`, the same for every kind.
//!
//! Source: embedded-cluster.md 6.1 to 6.3. What is valid is for the kinds to say.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::status::Failure;
use crate::broken::{self, Defect};
use crate::kinds::{Kind, Subresource};

/// A generated name is cut so that the suffix fits.
///
/// Source: embedded-cluster.md 6.1.
const MAX_GENERATED_PREFIX: usize = 58;

/// Fields that clients cannot set on create.
const SERVER_FIELDS: [&str; 7] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "managedFields",
    "resourceVersion",
];

/// `metadata`, which is made when it is not there.
pub(super) fn metadata_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let object = object.as_object_mut()?;
    object
        .entry("metadata")
        .or_insert_with(|| Map::new().into())
        .as_object_mut()
}

/// A text of `metadata`, empty when it is not there.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object
        .get("metadata")
        .and_then(|m| m.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Is the object being deleted?
pub(super) fn is_deleting(object: &Value) -> bool {
    !text(object, "deletionTimestamp").is_empty()
}

/// `metadata.finalizers`.
pub(super) fn finalizers(object: &Value) -> Vec<&str> {
    let list = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Does anything still hold the object? Namespaces are also held by `spec.finalizers`.
pub(super) fn is_held(kind: &Kind, object: &Value) -> bool {
    let in_spec = kind.subresources.contains(&Subresource::Finalize)
        && object
            .pointer("/spec/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|f| !f.is_empty());
    (in_spec || !finalizers(object).is_empty()) && !broken::is(Defect::WeakFinalizers)
}

/// Whole-second time, as metadata carries it.
pub(super) fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

/// Raises `metadata.generation` if the object has one.
pub(super) fn raise_generation(object: &mut Value) {
    if let Some(metadata) = metadata_mut(object)
        && let Some(generation) = metadata.get("generation").and_then(Value::as_i64)
        && generation > 0
    {
        metadata.insert("generation".to_owned(), generation.saturating_add(1).into());
    }
}

/// The namespace of the URL goes into the object; another one is an error.
pub(super) fn place(kind: &Kind, object: &mut Value, namespace: Option<&str>) -> Result<(), Failure> {
    let Some(metadata) = metadata_mut(object) else {
        return Err(Failure::bad_request("metadata must be an object"));
    };
    let Some(namespace) = namespace.filter(|_| kind.namespaced) else {
        metadata.remove("namespace");
        return Ok(());
    };
    let given = metadata
        .get("namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !given.is_empty() && given != namespace {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    metadata.insert("namespace".to_owned(), namespace.into());
    Ok(())
}

/// What a new object's `metadata` starts with, but for its name.
pub(super) fn begin(kind: &Kind, object: &mut Value, uid: String, now: Timestamp) -> Result<(), Failure> {
    // What is no version at all is no version of anything.
    if text(object, "resourceVersion")
        .parse()
        .is_ok_and(|version: u64| version > 0)
    {
        return Err(Failure::untyped(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let Some(metadata) = metadata_mut(object) else {
        return Ok(());
    };
    for field in SERVER_FIELDS {
        metadata.remove(field);
    }
    if metadata
        .get("generation")
        .is_some_and(|generation| generation == 0)
    {
        metadata.remove("generation");
    }
    metadata.insert("uid".to_owned(), uid.into());
    metadata.insert("creationTimestamp".to_owned(), seconds(now).into());
    if kind.has_generation {
        metadata.insert("generation".to_owned(), 1.into());
    }
    Ok(())
}

/// A name made of a prefix and a suffix.
pub(super) fn generated_name(prefix: &str, suffix: &str) -> String {
    let cut: String = prefix.chars().take(MAX_GENERATED_PREFIX).collect();
    format!("{cut}{suffix}")
}

/// Takes over from the stored object what a writer cannot change.
///
/// Source: embedded-cluster.md 6.3, rule 5.
pub(super) fn keep_server_fields(new: &mut Value, old: &Value) {
    let Some(metadata) = metadata_mut(new) else { return };
    metadata.remove("selfLink");
    let fields = [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "generation",
        "resourceVersion",
        "managedFields",
    ];
    for field in fields {
        keep(metadata, old, field);
    }
    // One that a client makes up is refused.
    if is_deleting(old) {
        keep(metadata, old, "deletionTimestamp");
    }
    if metadata.get("deletionGracePeriodSeconds").is_none() {
        keep(metadata, old, "deletionGracePeriodSeconds");
    }
}

/// Takes over one field of `metadata`.
pub(super) fn keep(metadata: &mut Map<String, Value>, old: &Value, field: &str) {
    match old.get("metadata").and_then(|m| m.get(field)) {
        Some(value) => metadata.insert(field.to_owned(), value.clone()),
        None => metadata.remove(field),
    };
}
