//! Admission policies in CEL, which are only stored. Source: embedded-cluster.md 13.

use serde_json::{Value, json};

use super::fields::{list, list_mut, map_mut, or, set_missing, text};
use super::{Column, FieldError, Kind, Subresource, age};

const GROUP: &str = "admissionregistration.k8s.io";

pub(super) const POLICY: Kind = Kind {
    group: GROUP,
    namespaced: false,
    categories: &["api-extensions"],
    stored_as: (GROUP, "validatingadmissionpolicies"),
    subresources: &[Subresource::Status],
    has_generation: true,
    is_only_stored: true,
    default: |object| {
        let spec = map_mut(object, &["spec"]);
        set_missing(spec, "failurePolicy", "Fail");
        default_match(object, "matchConstraints");
    },
    prepare_create: |object, _| {
        map_mut(object, &[]).insert("status".to_owned(), json!({}));
    },
    validate: |object| {
        if object.pointer("/spec/matchConstraints").is_none() {
            return vec![FieldError::required("spec.matchConstraints", "")];
        }
        if list(object, "/spec/validations").is_empty() && list(object, "/spec/auditAnnotations").is_empty() {
            let why = "validations or auditAnnotations must contain at least one item";
            return vec![FieldError::required("spec.validations", why)];
        }
        Vec::new()
    },
    columns: &[
        Column::NAME,
        Column::integer("Validations"),
        Column::string("ParamKind"),
        Column::AGE,
    ],
    cells: |object, now| {
        let kind = text(object, "/spec/paramKind/kind");
        let params = if kind.is_empty() {
            "<unset>".to_owned()
        } else {
            format!("{}/{kind}", text(object, "/spec/paramKind/apiVersion"))
        };
        vec![
            age::name(object),
            Value::from(list(object, "/spec/validations").len()),
            Value::from(params),
            age::age(object, now),
        ]
    },
    ..Kind::plain(
        "ValidatingAdmissionPolicy",
        "validatingadmissionpolicies",
        "validatingadmissionpolicy",
    )
};

pub(super) const BINDING: Kind = Kind {
    group: GROUP,
    namespaced: false,
    categories: &["api-extensions"],
    stored_as: (GROUP, "validatingadmissionpolicybindings"),
    has_generation: true,
    is_only_stored: true,
    default: |object| default_match(object, "matchResources"),
    validate: |object| {
        let mut errors = Vec::new();
        if text(object, "/spec/policyName").is_empty() {
            errors.push(FieldError::required("spec.policyName", ""));
        }
        if list(object, "/spec/validationActions").is_empty() {
            errors.push(FieldError::required("spec.validationActions", ""));
        }
        errors
    },
    columns: &[
        Column::NAME,
        Column::string("PolicyName"),
        Column::string("ParamRef"),
        Column::AGE,
    ],
    cells: |object, now| {
        let (namespace, name) = (
            text(object, "/spec/paramRef/namespace"),
            text(object, "/spec/paramRef/name"),
        );
        let params = match (object.pointer("/spec/paramRef"), namespace, name) {
            (None, _, _) => "<unset>".to_owned(),
            (Some(_), _, "") => "*".to_owned(),
            (Some(_), "", name) => name.to_owned(),
            (Some(_), namespace, name) => format!("{namespace}/{name}"),
        };
        vec![
            age::name(object),
            Value::from(or(text(object, "/spec/policyName"), "<unset>")),
            Value::from(params),
            age::age(object, now),
        ]
    },
    ..Kind::plain(
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
        "validatingadmissionpolicybinding",
    )
};

/// What the rules are about, where nothing is said: everything, in every scope, through every version.
fn default_match(object: &mut Value, field: &str) {
    let pointer = format!("/spec/{field}");
    let Some(matched) = object.pointer_mut(&pointer) else {
        return;
    };
    let map = map_mut(matched, &[]);
    set_missing(map, "namespaceSelector", json!({}));
    set_missing(map, "objectSelector", json!({}));
    set_missing(map, "matchPolicy", "Equivalent");
    for rule in list_mut(object, &format!("{pointer}/resourceRules")) {
        set_missing(map_mut(rule, &[]), "scope", "*");
    }
}
