//! Rules of `metadata`, the same for every kind.
//!
//! Source: embedded-cluster.md 6.1 to 6.4.

use jiff::Timestamp;
use pitstop_api::keys::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use pitstop_api::selector::{is_dns_label, is_dns_subdomain, is_label_key, is_label_value};
use serde_json::{Map, Value};

use super::status::Failure;
use crate::kinds::{FieldError, FieldErrorReason, Kind, NameRule, Subresource};

/// A generated name is cut so that the suffix fits.
///
/// Source: embedded-cluster.md 6.1.
const MAX_GENERATED_PREFIX: usize = 58;

/// Source: embedded-cluster.md 6.4.
const MAX_ANNOTATIONS: usize = 262_144;

/// Fields that clients cannot set on create.
const SERVER_FIELDS: [&str; 8] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
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
    in_spec || !finalizers(object).is_empty()
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
    if !text(object, "resourceVersion").is_empty() {
        return Err(Failure::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let Some(metadata) = metadata_mut(object) else {
        return Ok(());
    };
    for field in SERVER_FIELDS {
        metadata.remove(field);
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
    metadata.remove("managedFields");
    metadata.remove("selfLink");
    let fields = [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "generation",
        "resourceVersion",
    ];
    for field in fields {
        keep(metadata, old, field);
    }
    if metadata.get("deletionGracePeriodSeconds").is_none() || !is_deleting(old) {
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

/// What is wrong with `metadata`.
pub(super) fn validate(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    validate_name(kind, text(object, "name"), &mut errors);
    validate_labels(object, &mut errors);
    validate_annotations(object, &mut errors);
    validate_owners(object, &mut errors);
    validate_finalizers(object, &mut errors);
    errors
}

/// What is wrong with a change of `metadata`.
pub(super) fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    if !is_deleting(old) {
        return Vec::new();
    }
    let known = finalizers(old);
    let added: Vec<&str> = finalizers(new)
        .into_iter()
        .filter(|f| !known.contains(f))
        .collect();
    if added.is_empty() {
        return Vec::new();
    }
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
    );
    vec![forbidden("metadata.finalizers", detail)]
}

fn validate_name(kind: &Kind, name: &str, errors: &mut Vec<FieldError>) {
    let (valid, detail) = match kind.name_rule {
        NameRule::Subdomain => (
            is_dns_subdomain(name),
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
             must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ),
        NameRule::Label => (
            is_dns_label(name),
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
             and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ),
        NameRule::Dns1035Label => (
            is_dns_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase()),
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
             validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
        ),
        NameRule::PathSegment => (
            !name.is_empty() && !matches!(name, "." | "..") && !name.contains(['/', '%']),
            "may not be '.' or '..' or contain '/' or '%'",
        ),
    };
    if !valid {
        errors.push(invalid("metadata.name", name, detail));
    }
}

fn validate_labels(object: &Value, errors: &mut Vec<FieldError>) {
    for (key, value) in entries(object, "/metadata/labels") {
        if !is_label_key(key) {
            errors.push(invalid("metadata.labels", key, QUALIFIED_NAME));
        }
        if value.as_str().is_some_and(|value| !is_label_value(value)) {
            let detail = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
                          '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
                          'my_value',  or '12345', regex used for validation is \
                          '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
            errors.push(invalid(
                "metadata.labels",
                value.as_str().unwrap_or_default(),
                detail,
            ));
        }
    }
}

fn validate_annotations(object: &Value, errors: &mut Vec<FieldError>) {
    let mut total = 0_usize;
    for (key, value) in entries(object, "/metadata/annotations") {
        if !is_label_key(&key.to_lowercase()) {
            errors.push(invalid("metadata.annotations", key, QUALIFIED_NAME));
        }
        total = total
            .saturating_add(key.len())
            .saturating_add(value.as_str().map_or(0, str::len));
    }
    if total > MAX_ANNOTATIONS {
        errors.push(FieldError {
            field: "metadata.annotations".to_owned(),
            reason: FieldErrorReason::TooLong,
            value: None,
            detail: format!("may not be more than {MAX_ANNOTATIONS} bytes"),
        });
    }
}

fn validate_owners(object: &Value, errors: &mut Vec<FieldError>) {
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let mut controllers: Vec<&str> = Vec::new();
    for (i, owner) in owners.into_iter().flatten().enumerate() {
        let field = |name: &str| owner.get(name).and_then(Value::as_str).unwrap_or_default();
        for name in ["apiVersion", "kind", "name", "uid"] {
            if field(name).is_empty() {
                errors.push(FieldError {
                    field: format!("metadata.ownerReferences[{i}].{name}"),
                    reason: FieldErrorReason::Required,
                    value: None,
                    detail: "must not be empty".to_owned(),
                });
            }
        }
        if (field("apiVersion"), field("kind")) == ("v1", "Event") {
            let detail = "is disallowed from being an owner";
            errors.push(invalid(
                &format!("metadata.ownerReferences[{i}]"),
                "v1, Kind=Event",
                detail,
            ));
        }
        if owner.get("controller").and_then(Value::as_bool) == Some(true) {
            controllers.push(field("name"));
        }
    }
    if let [first, second, ..] = controllers.as_slice() {
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and \
             {second}"
        );
        errors.push(FieldError {
            field: "metadata.ownerReferences".to_owned(),
            reason: FieldErrorReason::Invalid,
            value: owners.cloned().map(Value::Array),
            detail,
        });
    }
}

fn validate_finalizers(object: &Value, errors: &mut Vec<FieldError>) {
    let finalizers = finalizers(object);
    for finalizer in &finalizers {
        let standard = [FINALIZER_FOREGROUND, FINALIZER_ORPHAN].contains(finalizer);
        if !is_label_key(finalizer) {
            errors.push(invalid("metadata.finalizers", finalizer, QUALIFIED_NAME));
        } else if !standard && !finalizer.contains('/') {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(invalid("metadata.finalizers", finalizer, detail));
        }
    }
    if finalizers.contains(&FINALIZER_ORPHAN) && finalizers.contains(&FINALIZER_FOREGROUND) {
        let detail = format!("finalizer {FINALIZER_ORPHAN} and {FINALIZER_FOREGROUND} cannot be both set");
        errors.push(invalid("metadata.finalizers", FINALIZER_ORPHAN, &detail));
    }
}

const QUALIFIED_NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and \
                              end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', \
                              regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

fn entries<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    object
        .pointer(pointer)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

fn invalid(field: &str, value: &str, detail: &str) -> FieldError {
    FieldError {
        field: field.to_owned(),
        reason: FieldErrorReason::Invalid,
        value: Some(value.into()),
        detail: detail.to_owned(),
    }
}

fn forbidden(field: &str, detail: String) -> FieldError {
    FieldError {
        field: field.to_owned(),
        reason: FieldErrorReason::Forbidden,
        value: None,
        detail,
    }
}
