//! Definitions of custom resources. Source: embedded-cluster.md 14, rule 1.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::fields::{entries, flag, list, map_mut, set_missing, text};
use super::webhook::validate_client;
use super::{Column, FieldError, Kind, NameRule, Subresource, age, metadata};
use crate::custom::definition::COLUMN_TYPES;
use crate::custom::validate::too_many;

const GROUP: &str = "apiextensions.k8s.io";

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

pub(super) const KIND: Kind = Kind {
    group: GROUP,
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
    stored_as: (GROUP, "customresourcedefinitions"),
    subresources: &[Subresource::Status],
    has_generation: true,
    default,
    prepare_create: |object, _| {
        let stored = storage_versions(object);
        let status = json!({
            "conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored,
        });
        map_mut(object, &[]).insert("status".to_owned(), status);
    },
    prepare_update: |new, old| {
        // A version that objects may be stored in is remembered until somebody says that none are.
        let mut stored: Vec<Value> = list(old, "/status/storedVersions").to_vec();
        stored.extend(
            storage_versions(new)
                .into_iter()
                .map(Value::from)
                .filter(|name| !list(old, "/status/storedVersions").contains(name)),
        );
        map_mut(new, &["status"]).insert("storedVersions".to_owned(), stored.into());
    },
    unheeded: |object| {
        let versions = list(object, "/spec/versions").iter().enumerate();
        versions
            .filter(|(_, version)| has_expressions(version))
            .map(|(index, _)| {
                format!("spec.versions[{index}].schema: x-kubernetes-validations are not evaluated")
            })
            .collect()
    },
    validate,
    validate_update: |new, old| {
        let immutable = |field: &str| {
            let pointer = format!("/spec/{field}");
            let field = format!("spec.{}", field.replace('/', "."));
            (new.pointer(&pointer) != old.pointer(&pointer))
                .then(|| FieldError::invalid(field, text(new, &pointer), "field is immutable"))
        };
        ["group", "scope", "names/plural", "names/kind"]
            .into_iter()
            .filter_map(immutable)
            .collect()
    },
    columns: &[
        Column::NAME,
        Column {
            name: "Created At",
            kind: "date",
            format: "",
            priority: 0,
        },
    ],
    cells: |object, _| {
        vec![
            age::name(object),
            Value::from(text(object, "/metadata/creationTimestamp")),
        ]
    },
    ..Kind::plain(
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "customresourcedefinition",
    )
};

/// Does a schema have rules in CEL? Source: embedded-cluster.md 14, rule 3.
fn has_expressions(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| name == "x-kubernetes-validations" || has_expressions(value)),
        Value::Array(values) => values.iter().any(has_expressions),
        _ => false,
    }
}

fn storage_versions(object: &Value) -> Vec<String> {
    let versions = list(object, "/spec/versions").iter();
    versions
        .filter(|version| flag(version, "/storage"))
        .map(|version| text(version, "/name").to_owned())
        .collect()
}

fn default(object: &mut Value) {
    let kind = text(object, "/spec/names/kind").to_owned();
    let names = map_mut(object, &["spec", "names"]);
    if !kind.is_empty() {
        set_missing(names, "singular", kind.to_lowercase());
        set_missing(names, "listKind", format!("{kind}List"));
    }
    let conversion = map_mut(object, &["spec", "conversion"]);
    set_missing(conversion, "strategy", "None");
    if object
        .pointer("/spec/conversion/webhook/clientConfig/service")
        .is_some()
    {
        let service = map_mut(
            object,
            &["spec", "conversion", "webhook", "clientConfig", "service"],
        );
        set_missing(service, "port", 443);
    }
}

fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (group, plural, name) = (
        text(object, "/spec/group"),
        text(object, "/spec/names/plural"),
        text(object, "/metadata/name"),
    );
    if name != format!("{plural}.{group}") {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", name, why));
    }
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid(
            "spec.group",
            group,
            "should be a domain with at least one dot",
        ));
    }
    match text(object, "/spec/scope") {
        "Cluster" | "Namespaced" => {}
        "" => errors.push(FieldError::required("spec.scope", "")),
        other => errors.push(FieldError::not_supported(
            "spec.scope",
            other,
            &["Cluster", "Namespaced"],
        )),
    }
    let storage = storage_versions(object);
    if storage.len() != 1 {
        let versions = object.pointer("/spec/versions").cloned().unwrap_or_default();
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", versions, why));
    }
    for (index, version) in list(object, "/spec/versions").iter().enumerate() {
        errors.extend(validate_version(version, index));
    }
    errors.extend(validate_names(object));
    errors.extend(validate_conversion(object));
    if storage.is_empty() {
        let why = "must have at least one stored version";
        errors.push(FieldError::invalid("status.storedVersions", Value::Null, why));
    }
    errors
}

fn validate_conversion(object: &Value) -> Vec<FieldError> {
    let field = |name: &str| format!("spec.conversion.{name}");
    let webhook = object.pointer("/spec/conversion/webhook");
    match (text(object, "/spec/conversion/strategy"), webhook) {
        ("None", Some(_)) => {
            let why = "should not be set when strategy is not set to Webhook";
            vec![FieldError::forbidden(field("webhook"), why)]
        }
        ("None", None) => Vec::new(),
        ("Webhook", None) => {
            let why = "required when strategy is set to Webhook";
            vec![FieldError::required(field("webhook"), why)]
        }
        ("Webhook", Some(webhook)) => {
            let mut errors = Vec::new();
            let versions = list(webhook, "/conversionReviewVersions");
            if webhook.get("clientConfig").is_none() {
                let why = "required when strategy is set to Webhook";
                errors.push(FieldError::required(field("webhook.clientConfig"), why));
            } else {
                errors.extend(validate_client(webhook, &field("webhook.clientConfig")));
            }
            let is_known = |version: &Value| version == "v1" || version == "v1beta1";
            if versions.is_empty() {
                errors.push(FieldError::required(
                    field("webhook.conversionReviewVersions"),
                    "",
                ));
            } else if !versions.iter().any(is_known) {
                let why = "must include at least one of v1, v1beta1";
                let field = field("webhook.conversionReviewVersions");
                errors.push(FieldError::invalid(field, versions.to_vec(), why));
            }
            errors
        }
        (other, _) => vec![FieldError::not_supported(
            field("strategy"),
            other,
            &["None", "Webhook"],
        )],
    }
}

fn validate_names(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["plural", "singular", "kind", "listKind"] {
        let name = text(object, &format!("/spec/names/{field}"));
        let path = format!("spec.names.{field}");
        if name.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        let mixed = field.ends_with("ind");
        let checked = if mixed {
            name.to_lowercase()
        } else {
            name.to_owned()
        };
        for why in metadata::name_problems(&checked, NameRule::Dns1035Label) {
            let why = if mixed {
                format!("may have mixed case, but should otherwise match: {why}")
            } else {
                why
            };
            errors.push(FieldError::invalid(path.clone(), name, why));
        }
    }
    errors
}

fn validate_version(version: &Value, index: usize) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let field = |name: &str| format!("spec.versions[{index}].{name}");
    for why in metadata::name_problems(text(version, "/name"), NameRule::Dns1035Label) {
        errors.push(FieldError::invalid(field("name"), text(version, "/name"), why));
    }
    match version.pointer("/schema/openAPIV3Schema") {
        None => errors.push(FieldError::required(field("schema.openAPIV3Schema"), "")),
        Some(schema) => {
            let root = "spec.validation.openAPIV3Schema";
            match text(schema, "/type") {
                "object" => errors.extend(structural(schema, root, true)),
                "" => errors.push(FieldError::required(
                    format!("{root}.type"),
                    "must not be empty at the root",
                )),
                other => errors.push(FieldError::invalid(
                    format!("{root}.type"),
                    other,
                    "must be object at the root",
                )),
            }
        }
    }
    for (at, column) in list(version, "/additionalPrinterColumns").iter().enumerate() {
        let field = |name: &str| format!("spec.additionalPrinterColumns[{at}].{name}");
        if text(column, "/name").is_empty() {
            errors.push(FieldError::required(field("name"), ""));
        }
        let kind = text(column, "/type");
        if !COLUMN_TYPES.contains(&kind) {
            let why = format!("must be one of {}", COLUMN_TYPES.join(","));
            errors.push(FieldError::invalid(field("type"), kind, why));
        }
        errors.extend(simple_path(column, "/jsonPath", field("JSONPath")));
    }
    errors.extend(validate_selectable(version));
    if let Some(scale) = version.pointer("/subresources/scale") {
        let field = |name: &str| format!("spec.subresources.scale.{name}");
        for (pointer, start) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
            let path = text(scale, &format!("/{pointer}"));
            let wrong = simple_path(scale, &format!("/{pointer}"), field(pointer));
            if wrong.is_none() && !path.starts_with(start) {
                let why = format!("should be a json path under {}", start.trim_end_matches('.'));
                errors.push(FieldError::invalid(field(pointer), path, why));
            }
            errors.extend(wrong);
        }
    }
    errors
}

/// How many fields of a version objects can be selected by. Source: Kubernetes 1.34.
const MOST_SELECTABLE: u64 = 8;

fn validate_selectable(version: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (at, selectable) in list(version, "/selectableFields").iter().enumerate() {
        let field = format!("spec.selectableFields[{at}].jsonPath");
        let path = text(selectable, "/jsonPath");
        if path.is_empty() {
            errors.push(FieldError::required(field, ""));
            continue;
        }
        let invalid = |why: &str| FieldError::invalid(field.as_str(), path, why);
        let found = match field_at(version, path) {
            Ok(found) => found,
            Err(why) => {
                errors.push(invalid(&format!("is an invalid path: {why}")));
                continue;
            }
        };
        if path.starts_with(".metadata.") {
            errors.push(invalid("must not point to fields in metadata"));
        }
        if !["string", "boolean", "integer"].contains(&text(found, "/type")) {
            errors.push(invalid(
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats \
                 are allowed.",
            ));
        }
        if !seen.insert(path) {
            errors.push(FieldError::duplicate(field, path));
        }
    }
    if seen.len() as u64 > MOST_SELECTABLE {
        errors.push(too_many("spec.selectableFields", seen.len(), MOST_SELECTABLE));
    }
    errors
}

/// The schema of the field at a path like `.spec.colour`.
fn field_at<'a>(version: &'a Value, path: &str) -> Result<&'a Value, String> {
    let Some(names) = path.strip_prefix('.') else {
        let first = path.split('.').next().unwrap_or_default();
        return Err(format!("expected [ or . but got: {first}"));
    };
    let schema = version.pointer("/schema/openAPIV3Schema").unwrap_or(&Value::Null);
    let found = names
        .split('.')
        .try_fold(schema, |schema, name| schema.get("properties")?.get(name));
    found.ok_or_else(|| "does not refer to a valid field".to_owned())
}

fn simple_path(value: &Value, pointer: &str, field: String) -> Option<FieldError> {
    let path = text(value, pointer);
    if path.is_empty() {
        return Some(FieldError::required(field, ""));
    }
    (!path.starts_with('.'))
        .then(|| FieldError::invalid(field, path, "must be a simple json path starting with ."))
}

/// A schema is structural when every value has one type.
fn structural(schema: &Value, path: &str, is_root: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let free = flag(schema, "/x-kubernetes-int-or-string")
        || flag(schema, "/x-kubernetes-preserve-unknown-fields")
        || flag(schema, "/x-kubernetes-embedded-resource");
    match text(schema, "/type") {
        "" if !free => {
            let why = "must not be empty for specified object fields";
            errors.push(FieldError::required(format!("{path}.type"), why));
        }
        "" => {}
        kind if TYPES.contains(&kind) => {}
        other => errors.push(FieldError::not_supported(format!("{path}.type"), other, &TYPES)),
    }
    if text(schema, "/type") == "array" && schema.get("items").is_none() {
        errors.push(FieldError::required(format!("{path}.items"), "must be specified"));
    }
    if text(schema, "/x-kubernetes-list-type") == "map"
        && list(schema, "/x-kubernetes-list-map-keys").is_empty()
    {
        let why = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError::required(
            format!("{path}.x-kubernetes-list-map-keys"),
            why,
        ));
    }
    for (name, property) in entries(schema, "/properties") {
        let path = format!("{path}.properties[{name}]");
        if is_root && name == "metadata" {
            let only_names =
                entries(property, "/properties").all(|(name, _)| matches!(name, "name" | "generateName"));
            if !only_names {
                let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
                errors.push(FieldError::forbidden(path, why));
            }
            continue;
        }
        errors.extend(structural(property, &path, false));
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(name).filter(|inner| inner.is_object()) {
            errors.extend(structural(inner, &format!("{path}.{name}"), false));
        }
    }
    errors
}
