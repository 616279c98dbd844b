//! Configurations of admission webhooks. Source: embedded-cluster.md 13; rules and texts are those of Kubernetes 1.34.

use http::Uri;
use pitstop_api::selector::is_dns_subdomain;
use serde_json::{Value, json};

use super::fields::{integer, list, list_mut, map_mut, set_missing, text};
use super::workload::label_selector_errors;
use super::{Column, FieldError, Kind, age};

const GROUP: &str = "admissionregistration.k8s.io";
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const MAX_TIMEOUT: i64 = 30;
const URL_FORMAT: &str = "desired format: https://host[/path]";

const COLUMNS: [Column; 3] = [Column::NAME, Column::integer("Webhooks"), Column::AGE];

/// Both kinds, but for their names.
const fn configuration(kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind {
        group: GROUP,
        categories: &["api-extensions"],
        namespaced: false,
        stored_as: (GROUP, plural),
        has_generation: true,
        prepare_update: count_change,
        validate,
        unheeded,
        columns: &COLUMNS,
        cells: |object, now| {
            vec![
                age::name(object),
                list(object, "/webhooks").len().into(),
                age::age(object, now),
            ]
        },
        ..Kind::plain(kind, plural, singular)
    }
}

pub(super) const MUTATING: Kind = Kind {
    default: |object| {
        default(object);
        for webhook in list_mut(object, "/webhooks") {
            set_missing(map_mut(webhook, &[]), "reinvocationPolicy", "Never");
        }
    },
    ..configuration(
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        "mutatingwebhookconfiguration",
    )
};

pub(super) const VALIDATING: Kind = Kind {
    default,
    ..configuration(
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        "validatingwebhookconfiguration",
    )
};

fn default(object: &mut Value) {
    for webhook in list_mut(object, "/webhooks") {
        let map = map_mut(webhook, &[]);
        set_missing(map, "failurePolicy", "Fail");
        set_missing(map, "matchPolicy", "Equivalent");
        set_missing(map, "namespaceSelector", json!({}));
        set_missing(map, "objectSelector", json!({}));
        set_missing(map, "timeoutSeconds", 10);
        for rule in list_mut(webhook, "/rules") {
            set_missing(map_mut(rule, &[]), "scope", "*");
        }
        if webhook.pointer("/clientConfig/service").is_some() {
            set_missing(map_mut(webhook, &["clientConfig", "service"]), "port", 443);
        }
    }
}

/// A configuration has no spec: any change of its webhooks counts.
fn count_change(new: &mut Value, old: &Value) {
    let generation = integer(old, "/metadata/generation");
    if let Some(generation) = generation.filter(|_| new.get("webhooks") != old.get("webhooks")) {
        map_mut(new, &["metadata"]).insert("generation".to_owned(), generation.saturating_add(1).into());
    }
}

fn unheeded(object: &Value) -> Vec<String> {
    let webhooks = list(object, "/webhooks").iter().enumerate();
    webhooks
        .filter(|(_, webhook)| !list(webhook, "/matchConditions").is_empty())
        .map(|(index, _)| {
            format!(
                "webhooks[{index}].matchConditions: not evaluated, every request that the rules match is sent"
            )
        })
        .collect()
}

fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let mut twice = Vec::new();
    for (index, webhook) in list(object, "/webhooks").iter().enumerate() {
        let field = format!("webhooks[{index}]");
        errors.extend(validate_one(webhook, &field));
        let name = text(webhook, "/name");
        if names.contains(&name) {
            twice.push(FieldError::duplicate(format!("{field}.name"), name));
        }
        names.push(name);
    }
    errors.extend(twice);
    errors
}

fn validate_one(webhook: &Value, field: &str) -> Vec<FieldError> {
    let at = |name: &str| format!("{field}.{name}");
    let mut errors = Vec::new();
    let name = text(webhook, "/name");
    if name.is_empty() {
        errors.push(FieldError::required(at("name"), ""));
    } else if !is_dns_subdomain(name) || name.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        errors.push(FieldError::invalid(at("name"), name, why));
    }
    for (index, rule) in list(webhook, "/rules").iter().enumerate() {
        errors.extend(validate_rule(rule, &at(&format!("rules[{index}]"))));
    }
    for (choice, allowed) in [
        ("failurePolicy", ["Fail", "Ignore"]),
        ("matchPolicy", ["Equivalent", "Exact"]),
        ("sideEffects", ["None", "NoneOnDryRun"]),
        ("reinvocationPolicy", ["IfNeeded", "Never"]),
    ] {
        match webhook.get(choice).and_then(Value::as_str) {
            None if choice == "sideEffects" => {
                errors.push(FieldError::required(
                    at(choice),
                    "must specify one of None, NoneOnDryRun",
                ));
            }
            Some(value) if !allowed.contains(&value) => {
                errors.push(FieldError::not_supported(at(choice), value, &allowed));
            }
            _ => {}
        }
    }
    let timeout = integer(webhook, "/timeoutSeconds").unwrap_or(1);
    if !(1..=MAX_TIMEOUT).contains(&timeout) {
        let why = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(at("timeoutSeconds"), timeout, why));
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        if let Some(value) = webhook.get(selector) {
            errors.extend(label_selector_errors(value, &at(selector)));
        }
    }
    errors.extend(validate_client(webhook, &at("clientConfig")));
    errors.extend(validate_versions(webhook, &at("admissionReviewVersions")));
    errors
}

fn validate_versions(webhook: &Value, field: &str) -> Option<FieldError> {
    let versions = list(webhook, "/admissionReviewVersions");
    if versions.is_empty() {
        return Some(FieldError::required(field, "must specify one of v1, v1beta1"));
    }
    let is_known = |version: &Value| {
        version
            .as_str()
            .is_some_and(|version| VERSIONS.contains(&version))
    };
    let why = "must include at least one of v1, v1beta1";
    (!versions.iter().any(is_known)).then(|| FieldError::invalid(field, versions.to_vec(), why))
}

fn validate_rule(rule: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (name, what) in [
        ("operations", "operations"),
        ("apiGroups", "API groups"),
        ("apiVersions", "API versions"),
    ] {
        let values = list(rule, &format!("/{name}"));
        if values.is_empty() {
            errors.push(FieldError::required(format!("{field}.{name}"), ""));
        } else if values.len() > 1 && values.iter().any(|value| value == "*") {
            let why = format!("if '*' is present, must not specify other {what}");
            errors.push(FieldError::invalid(
                format!("{field}.{name}"),
                values.to_vec(),
                why,
            ));
        }
        if name != "operations" {
            continue;
        }
        for (index, operation) in values.iter().filter_map(Value::as_str).enumerate() {
            if !OPERATIONS.contains(&operation) {
                let field = format!("{field}.operations[{index}]");
                errors.push(FieldError::not_supported(field, operation, &OPERATIONS));
            }
        }
    }
    let resources = list(rule, "/resources");
    if resources.is_empty() {
        errors.push(FieldError::required(format!("{field}.resources"), ""));
    } else if resources.len() > 1 && resources.iter().any(|value| value == "*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        errors.push(FieldError::invalid(
            format!("{field}.resources"),
            resources.to_vec(),
            why,
        ));
    }
    let scope = text(rule, "/scope");
    if !["*", "Cluster", "Namespaced", ""].contains(&scope) {
        let field = format!("{field}.scope");
        errors.push(FieldError::not_supported(
            field,
            scope,
            &["*", "Cluster", "Namespaced"],
        ));
    }
    errors
}

/// What is wrong with where a webhook is.
pub(super) fn validate_client(webhook: &Value, field: &str) -> Vec<FieldError> {
    let url = webhook.pointer("/clientConfig/url").and_then(Value::as_str);
    let service = webhook.pointer("/clientConfig/service");
    let mut errors = Vec::new();
    match (url, service) {
        (Some(url), None) => errors.extend(validate_url(url, &format!("{field}.url"))),
        (None, Some(service)) => {
            for (name, why) in [
                ("name", "service name is required"),
                ("namespace", "service namespace is required"),
            ] {
                if text(service, &format!("/{name}")).is_empty() {
                    errors.push(FieldError::required(format!("{field}.service.{name}"), why));
                }
            }
            let path = text(service, "/path");
            if !path.is_empty() && !path.starts_with('/') {
                let why = "must start with a '/'";
                errors.push(FieldError::invalid(format!("{field}.service.path"), path, why));
            }
            let port = integer(service, "/port").unwrap_or(443);
            if !(1..=65535).contains(&port) {
                let why = "port is not valid: must be between 1 and 65535, inclusive";
                errors.push(FieldError::invalid(format!("{field}.service.port"), port, why));
            }
        }
        _ => errors.push(FieldError::required(
            field,
            "exactly one of url or service is required",
        )),
    }
    errors
}

fn validate_url(url: &str, field: &str) -> Vec<FieldError> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let mut errors = Vec::new();
    let mut wrong = |value: &str, why: &str| {
        errors.push(FieldError::invalid(field, value, format!("{why}; {URL_FORMAT}")));
    };
    if scheme != "https" {
        wrong(scheme, "'https' is the only allowed URL scheme");
    }
    if url.parse::<Uri>().is_err() && !rest.contains('#') {
        wrong(url, "url must be a valid URL");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        wrong("", "host must be specified");
    }
    if let Some((user, _)) = authority.split_once('@') {
        wrong(user, "user information is not permitted in the URL");
    }
    if let Some((_, fragment)) = rest.split_once('#') {
        wrong(fragment, "fragments are not permitted in the URL");
    } else if let Some((_, query)) = rest.split_once('?') {
        wrong(query, "query parameters are not permitted in the URL");
    }
    errors
}
