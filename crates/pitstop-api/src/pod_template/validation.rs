//! Rules of the pod spec. Messages are those of upstream.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{container, placement};

use crate::fields::{entries, integer, list, text};
use crate::quantity;
use crate::validate::{self, FieldError, FieldErrorReason, NameRule};

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: &[&str] = &["File", "FallbackToLogsOnError"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
pub(super) const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";

/// Rules of a template; `field` is its path, e.g. `spec.template`.
pub fn validate_template(template: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = validate::labels(template, "/metadata/labels", &format!("{field}.labels"));
    errors.extend(validate::annotations(
        template,
        "/metadata/annotations",
        &format!("{field}.annotations"),
    ));
    match template.get("spec") {
        Some(spec) => errors.extend(validate_spec(spec, &format!("{field}.spec"))),
        None => errors.push(FieldError::required(format!("{field}.spec.containers"), "")),
    }
    errors
}

/// Rules of a pod spec; `field` is its path, e.g. `spec`.
pub fn validate_spec(spec: &Value, field: &str) -> Vec<FieldError> {
    let volumes: BTreeSet<&str> = list(spec, "/volumes")
        .iter()
        .map(|volume| text(volume, "/name"))
        .collect();
    let mut errors = validate_volumes(spec, field);
    if list(spec, "/containers").is_empty() {
        errors.push(FieldError::required(format!("{field}.containers"), ""));
    }
    let mut names = BTreeSet::new();
    for list_name in ["containers", "initContainers"] {
        for (index, container) in list(spec, &format!("/{list_name}")).iter().enumerate() {
            let field = format!("{field}.{list_name}[{index}]");
            errors.extend(validate_container(container, &field, &volumes));
            let name = text(container, "/name");
            if !name.is_empty() && !names.insert(name) {
                errors.push(FieldError::duplicate(format!("{field}.name"), name));
            }
        }
    }
    errors.extend(one_of(
        spec,
        "/restartPolicy",
        &format!("{field}.restartPolicy"),
        RESTART_POLICIES,
    ));
    errors.extend(one_of(
        spec,
        "/dnsPolicy",
        &format!("{field}.dnsPolicy"),
        DNS_POLICIES,
    ));
    errors.extend(validate::labels(
        spec,
        "/nodeSelector",
        &format!("{field}.nodeSelector"),
    ));
    errors.extend(container::security(spec, field));
    errors.extend(placement::validate_node_affinity(spec, field));
    if text(spec, "/dnsPolicy") == "None" && spec.get("dnsConfig").is_none_or(Value::is_null) {
        let why = "must provide `dnsConfig` when `dnsPolicy` is None";
        errors.push(FieldError::required(format!("{field}.dnsConfig"), why));
    }
    errors.extend(nonnegative(
        spec,
        "/terminationGracePeriodSeconds",
        &format!("{field}.terminationGracePeriodSeconds"),
    ));
    if let Some(seconds) =
        integer(spec, "/activeDeadlineSeconds").filter(|s| !(1..=i64::from(i32::MAX)).contains(s))
    {
        let why = "must be between 1 and 2147483647, inclusive";
        errors.push(FieldError::invalid(
            format!("{field}.activeDeadlineSeconds"),
            seconds,
            why,
        ));
    }
    for (index, gate) in list(spec, "/readinessGates").iter().enumerate() {
        let kind = text(gate, "/conditionType");
        let field = format!("{field}.readinessGates[{index}].conditionType");
        errors.extend(
            validate::key_problems(kind)
                .into_iter()
                .map(|why| FieldError::invalid(&field, kind, why)),
        );
    }
    for (index, gate) in list(spec, "/schedulingGates").iter().enumerate() {
        let name = text(gate, "/name");
        let field = format!("{field}.schedulingGates[{index}]");
        let problems = validate::key_problems(name).into_iter();
        errors.extend(problems.map(|why| FieldError::invalid(&field, name, why)));
    }
    errors.extend(container::spread(spec, field));
    for name in ["hostname", "subdomain"] {
        let value = text(spec, &format!("/{name}"));
        if !value.is_empty() {
            errors.extend(label(value, &format!("{field}.{name}")));
        }
    }
    errors.extend(placement::validate_tolerations(spec, field));
    errors.extend(container::aliases(spec, field));
    errors
}

/// A number that may not be negative.
pub fn nonnegative(object: &Value, pointer: &str, field: &str) -> Option<FieldError> {
    let number = integer(object, pointer).filter(|number| *number < 0)?;
    Some(FieldError::invalid(
        field,
        number,
        "must be greater than or equal to 0",
    ))
}

fn one_of(object: &Value, pointer: &str, field: &str, supported: &[&str]) -> Option<FieldError> {
    match text(object, pointer) {
        "" => Some(FieldError::required(field, "")),
        value if supported.contains(&value) => None,
        value => Some(FieldError::not_supported(field, value, supported)),
    }
}

/// A required DNS label.
fn label(name: &str, field: &str) -> Vec<FieldError> {
    if name.is_empty() {
        return vec![FieldError::required(field, "")];
    }
    let problems = validate::name_problems(name, NameRule::Label);
    problems
        .into_iter()
        .map(|why| FieldError::invalid(field, name, why))
        .collect()
}

fn validate_volumes(spec: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut names = BTreeSet::new();
    for (index, volume) in list(spec, "/volumes").iter().enumerate() {
        let field = format!("{field}.volumes[{index}]");
        let name = text(volume, "/name");
        errors.extend(label(name, &format!("{field}.name")));
        if !name.is_empty() && !names.insert(name) {
            errors.push(FieldError::duplicate(format!("{field}.name"), name));
        }
        let path = volume.pointer("/hostPath").map(|path| text(path, "/path"));
        if path == Some("") {
            errors.push(FieldError::required(format!("{field}.hostPath.path"), ""));
        }
        for (source, _) in entries(volume, "")
            .filter(|(source, _)| *source != "name")
            .skip(1)
        {
            errors.push(FieldError::forbidden(
                format!("{field}.{source}"),
                "may not specify more than 1 volume type",
            ));
        }
    }
    errors
}

fn validate_container(owner: &Value, field: &str, volumes: &BTreeSet<&str>) -> Vec<FieldError> {
    let mut errors = label(text(owner, "/name"), &format!("{field}.name"));
    let image = text(owner, "/image");
    if image.is_empty() {
        errors.push(FieldError::required(format!("{field}.image"), ""));
    } else if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(format!("{field}.image"), image, why));
    }
    let policy = text(owner, "/terminationMessagePolicy");
    if !policy.is_empty() && !MESSAGE_POLICIES.contains(&policy) {
        let field = format!("{field}.terminationMessagePolicy");
        errors.push(FieldError::not_supported(field, policy, MESSAGE_POLICIES));
    }
    errors.extend(validate_ports(owner, field));
    errors.extend(container::variables(owner, field));
    errors.extend(validate_mounts(owner, field, volumes));
    errors.extend(one_of(
        owner,
        "/imagePullPolicy",
        &format!("{field}.imagePullPolicy"),
        PULL_POLICIES,
    ));
    errors.extend(container::resource_names(owner, field));
    errors.extend(validate_resources(owner, field));
    errors.extend(container::security(owner, field));
    errors.extend(container::hooks(owner, field));
    errors.extend(validate_probes(owner, field));
    errors
}

fn validate_ports(container: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut names = BTreeSet::new();
    for (index, port) in list(container, "/ports").iter().enumerate() {
        let field = format!("{field}.ports[{index}]");
        let name = text(port, "/name");
        if !name.is_empty() && !names.insert(name) {
            errors.push(FieldError::duplicate(format!("{field}.name"), name));
        }
        match integer(port, "/containerPort").unwrap_or_default() {
            0 => errors.push(FieldError::required(format!("{field}.containerPort"), "")),
            1..=65535 => {}
            number => errors.push(FieldError::invalid(
                format!("{field}.containerPort"),
                number,
                PORT_RANGE,
            )),
        }
        if let Some(number) = integer(port, "/hostPort").filter(|number| !(1..=65535).contains(number)) {
            errors.push(FieldError::invalid(
                format!("{field}.hostPort"),
                number,
                PORT_RANGE,
            ));
        }
        errors.extend(one_of(port, "/protocol", &format!("{field}.protocol"), PROTOCOLS));
    }
    errors
}

fn validate_mounts(container: &Value, field: &str, volumes: &BTreeSet<&str>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut paths = BTreeSet::new();
    for (index, mount) in list(container, "/volumeMounts").iter().enumerate() {
        let field = format!("{field}.volumeMounts[{index}]");
        let (name, path) = (text(mount, "/name"), text(mount, "/mountPath"));
        if name.is_empty() {
            errors.push(FieldError::required(format!("{field}.name"), ""));
        } else if !volumes.contains(name) {
            errors.push(FieldError {
                field: format!("{field}.name"),
                reason: FieldErrorReason::NotFound,
                value: Some(Value::from(name)),
                detail: String::new(),
            });
        }
        if path.is_empty() {
            errors.push(FieldError::required(format!("{field}.mountPath"), ""));
        } else if !paths.insert(path) {
            errors.push(FieldError::invalid(
                format!("{field}.mountPath"),
                path,
                "must be unique",
            ));
        }
    }
    errors
}

fn validate_probes(owner: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = owner.get(name) else {
            continue;
        };
        let field = format!("{field}.{name}");
        let handlers: Vec<&str> = ["exec", "httpGet", "tcpSocket", "grpc"]
            .into_iter()
            .filter(|handler| probe.get(handler).is_some())
            .collect();
        if handlers.is_empty() {
            errors.push(FieldError::required(&field, "must specify a handler type"));
        }
        for handler in handlers.iter().skip(1) {
            let why = "may not specify more than 1 handler type";
            errors.push(FieldError::forbidden(format!("{field}.{handler}"), why));
        }
        errors.extend(container::handler_errors(probe, &field));
        errors.extend(container::probe_numbers(probe, &field));
        if name != "readinessProbe" && integer(probe, "/successThreshold").is_some_and(|count| count > 1) {
            let count = integer(probe, "/successThreshold").unwrap_or_default();
            errors.push(FieldError::invalid(
                format!("{field}.successThreshold"),
                count,
                "must be 1",
            ));
        }
    }
    errors
}

/// Amounts may not be negative, and a request may not exceed its limit.
fn validate_resources(container: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for list_name in ["limits", "requests"] {
        for (resource, amount) in entries(container, &format!("/resources/{list_name}")) {
            let amount = amount.as_str().unwrap_or_default();
            if amount.starts_with('-') {
                let field = format!("{field}.resources.{list_name}[{resource}]");
                errors.push(FieldError::invalid(
                    field,
                    amount,
                    "must be greater than or equal to 0",
                ));
            }
        }
    }
    for (resource, request) in entries(container, "/resources/requests") {
        let limit = container
            .pointer("/resources/limits")
            .and_then(|limits| limits.get(resource));
        let Some(limit) = limit.and_then(Value::as_str) else {
            continue;
        };
        let request = request.as_str().unwrap_or_default();
        let exceeds = quantity::value(request).zip(quantity::value(limit));
        if exceeds.is_some_and(|(request, limit)| request > limit) {
            let why = format!("must be less than or equal to {resource} limit of {limit}");
            errors.push(FieldError::invalid(
                format!("{field}.resources.requests"),
                request,
                why,
            ));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_template::default_spec;
    use serde_json::json;

    fn errors(mut spec: Value) -> Vec<String> {
        default_spec(&mut spec);
        validate_spec(&spec, "spec")
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_plain_spec_is_valid() {
        let spec = json!({
            "containers": [{
                "name": "a", "image": "a:1", "ports": [{"containerPort": 80, "name": "http"}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "readinessProbe": {"tcpSocket": {"port": 80}},
                "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}},
            }],
            "volumes": [{"name": "v"}],
            "tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoSchedule"}],
        });
        assert_eq!(errors(spec), Vec::<String>::new());
    }

    #[test]
    fn wrong_specs_are_refused_in_upstreams_words() {
        let container = |extra: Value| {
            let mut container = json!({"name": "a", "image": "a:1"});
            container
                .as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            json!({"containers": [container]})
        };
        let cases = [
            (json!({}), "spec.containers: Required value"),
            (
                container(json!({"name": ""})),
                "spec.containers[0].name: Required value",
            ),
            (
                container(json!({"image": ""})),
                "spec.containers[0].image: Required value",
            ),
            (
                json!({"containers": [{"name": "a", "image": "a"}, {"name": "a", "image": "b"}]}),
                r#"spec.containers[1].name: Duplicate value: "a""#,
            ),
            (
                container(json!({"ports": [{"containerPort": 70000}]})),
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ),
            (
                container(json!({"ports": [{"containerPort": 1, "protocol": "X"}]})),
                r#"spec.containers[0].ports[0].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP""#,
            ),
            (
                container(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
                r#"spec.containers[0].volumeMounts[0].name: Not found: "v""#,
            ),
            (
                container(json!({"livenessProbe": {}})),
                "spec.containers[0].livenessProbe: Required value: must specify a handler type",
            ),
            (
                container(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}})),
                r#"spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1500m"#,
            ),
            (
                json!({"containers": [{"name": "a", "image": "a:1"}], "restartPolicy": "Sometimes"}),
                r#"spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never""#,
            ),
            (
                container(json!({"imagePullPolicy": "Maybe"})),
                r#"spec.containers[0].imagePullPolicy: Unsupported value: "Maybe": supported values: "Always", "IfNotPresent", "Never""#,
            ),
        ];
        for (spec, wanted) in cases {
            assert_eq!(errors(spec), [wanted]);
        }
    }
}
