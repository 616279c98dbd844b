//! Rules of what is inside containers: variables, resources, hooks, probes and security.
//!
//! Source: the answers of Kubernetes 1.34.

use std::net::IpAddr;

use serde_json::Value;

use super::validation::{PORT_RANGE, nonnegative};
use crate::fields::{entries, flag, integer, list, text};
use crate::validate::FieldError;

/// What a variable may be taken from.
const SOURCES: [&str; 5] = [
    "fieldRef",
    "resourceFieldRef",
    "configMapKeyRef",
    "secretKeyRef",
    "fileKeyRef",
];
/// Fields of pods that can be shown in a container.
const SHOWN: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Resources of containers without a domain.
const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const ID_RANGE: &str = "must be between 0 and 2147483647, inclusive";
const BAD_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// Variables of a container.
pub(super) fn variables(container: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, variable) in list(container, "/env").iter().enumerate() {
        let field = format!("{field}.env[{index}]");
        let name = text(variable, "/name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{field}.name"), ""));
        } else if !name
            .bytes()
            .all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=')
        {
            let why = "a valid environment variable name must consist only of printable ASCII characters other than '='";
            errors.push(FieldError::invalid(format!("{field}.name"), name, why));
        }
        if let Some(source) = variable.get("valueFrom").filter(|source| source.is_object()) {
            errors.extend(source_of_variable(
                variable,
                source,
                &format!("{field}.valueFrom"),
            ));
        }
    }
    for (index, source) in list(container, "/envFrom").iter().enumerate() {
        let given = ["configMapRef", "secretRef"]
            .into_iter()
            .find(|name| source.get(name).is_some_and(Value::is_object));
        match given {
            Some(given) if text(source, &format!("/{given}/name")).is_empty() => {
                let field = format!("{field}.envFrom[{index}].{given}.name");
                errors.push(FieldError::required(field, ""));
            }
            Some(_) => {}
            None => {
                let why = "must specify one of: `configMapRef` or `secretRef`";
                errors.push(FieldError::invalid(format!("{field}.envFrom"), "", why));
            }
        }
    }
    errors
}

fn source_of_variable(variable: &Value, source: &Value, field: &str) -> Option<FieldError> {
    if !SOURCES
        .iter()
        .any(|name| source.get(name).is_some_and(Value::is_object))
    {
        let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
        return Some(FieldError::invalid(field, "", why));
    }
    if !text(variable, "/value").is_empty() {
        let why = "may not be specified when `value` is not empty";
        return Some(FieldError::invalid(field, "", why));
    }
    let path = text(source, "/fieldRef/fieldPath");
    let is_shown = SHOWN.contains(&path)
        || ["metadata.labels", "metadata.annotations"]
            .iter()
            .any(|map| path.starts_with(map));
    if source.get("fieldRef").is_none() || is_shown {
        return None;
    }
    let field = format!("{field}.fieldRef.fieldPath");
    if path.is_empty() {
        return Some(FieldError::required(field, ""));
    }
    let why = format!("error converting fieldPath: field label not supported: {path}");
    Some(FieldError::invalid(field, path, why))
}

/// Names of resources: those of containers, or of somebody's domain, of which nobody gets more than was set aside.
pub(super) fn resource_names(container: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut lacks_limit = false;
    for sort in ["limits", "requests"] {
        for (name, _) in entries(container, &format!("/resources/{sort}")) {
            let field = format!("{field}.resources.{sort}[{name}]");
            let is_standard = STANDARD.contains(&name) || name.starts_with("hugepages-");
            if !name.contains('/') && !is_standard {
                let why = "must be a standard resource type or fully qualified";
                errors.push(FieldError::invalid(&field, name, why));
                let why = "must be a standard resource for containers";
                errors.push(FieldError::invalid(&field, name, why));
            }
            let is_scarce = name.contains('/') && !name.starts_with("kubernetes.io/");
            let limit = container
                .pointer("/resources/limits")
                .and_then(|limits| limits.get(name));
            lacks_limit |= is_scarce && limit.is_none();
        }
    }
    if lacks_limit {
        let why = "Limit must be set for non overcommitable resources";
        errors.push(FieldError::required(format!("{field}.resources.limits"), why));
    }
    errors
}

/// Hooks of a container.
pub(super) fn hooks(container: &Value, field: &str) -> Vec<FieldError> {
    const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];
    let mut errors = Vec::new();
    for hook in ["postStart", "preStop"] {
        let Some(handler) = container.pointer(&format!("/lifecycle/{hook}")) else {
            continue;
        };
        let field = format!("{field}.lifecycle.{hook}");
        if handler.is_object() && !HANDLERS.iter().any(|name| handler.get(name).is_some()) {
            errors.push(FieldError::required(&field, "must specify a handler type"));
        }
        errors.extend(handler_errors(handler, &field));
    }
    errors
}

/// What asks or runs in a probe or a hook.
pub(super) fn handler_errors(handler: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if handler.get("exec").is_some_and(Value::is_object) && list(handler, "/exec/command").is_empty() {
        errors.push(FieldError::required(format!("{field}.exec.command"), ""));
    }
    for sort in ["httpGet", "tcpSocket", "grpc"] {
        let port = integer(handler, &format!("/{sort}/port"));
        if let Some(port) = port.filter(|port| !(1..=65535).contains(port)) {
            let field = format!("{field}.{sort}.port");
            errors.push(FieldError::invalid(field, port, PORT_RANGE));
        }
    }
    let scheme = text(handler, "/httpGet/scheme");
    if !matches!(scheme, "" | "HTTP" | "HTTPS") {
        let field = format!("{field}.httpGet.scheme");
        errors.push(FieldError::not_supported(field, scheme, &["HTTP", "HTTPS"]));
    }
    errors
}

/// Users and groups of a pod or container, and what a container may become.
pub(super) fn security(owner: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let field = format!("{field}.securityContext");
    for name in ["runAsUser", "runAsGroup", "fsGroup"] {
        let id = integer(owner, &format!("/securityContext/{name}"));
        if let Some(id) = id.filter(|id| !(0..=i64::from(i32::MAX)).contains(id)) {
            errors.push(FieldError::invalid(format!("{field}.{name}"), id, ID_RANGE));
        }
    }
    let allows = owner.pointer("/securityContext/allowPrivilegeEscalation");
    if flag(owner, "/securityContext/privileged") && allows == Some(&Value::Bool(false)) {
        let context = owner.get("securityContext").cloned().unwrap_or_default();
        let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(FieldError::invalid(field, context, why));
    }
    errors
}

/// Names of hosts that a pod knows.
pub(super) fn aliases(spec: &Value, field: &str) -> Vec<FieldError> {
    let aliases = list(spec, "/hostAliases").iter().enumerate();
    let wrong = aliases.filter_map(|(index, alias)| {
        let address = text(alias, "/ip");
        let is_wrong = address.parse::<IpAddr>().is_err();
        is_wrong
            .then(|| FieldError::invalid(format!("{field}.hostAliases[{index}].ip"), address, BAD_ADDRESS))
    });
    wrong.collect()
}

/// How pods are spread.
pub(super) fn spread(spec: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, constraint) in list(spec, "/topologySpreadConstraints").iter().enumerate() {
        let field = format!("{field}.topologySpreadConstraints[{index}]");
        let skew = integer(constraint, "/maxSkew").unwrap_or_default();
        if skew <= 0 {
            let why = "must be greater than zero";
            errors.push(FieldError::invalid(format!("{field}.maxSkew"), skew, why));
        }
        if text(constraint, "/topologyKey").is_empty() {
            let field = format!("{field}.topologyKey");
            errors.push(FieldError::required(field, "can not be empty"));
        }
        let ways = ["DoNotSchedule", "ScheduleAnyway"];
        let way = text(constraint, "/whenUnsatisfiable");
        if !ways.contains(&way) {
            let field = format!("{field}.whenUnsatisfiable");
            errors.push(FieldError::not_supported(field, way, &ways));
        }
    }
    errors
}

/// Numbers of a probe, in the order of their names in messages.
pub(super) fn probe_numbers(probe: &Value, field: &str) -> Vec<FieldError> {
    let names = [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ];
    let numbers = names
        .iter()
        .filter_map(|number| nonnegative(probe, &format!("/{number}"), &format!("{field}.{number}")));
    numbers.collect()
}
