//! Rules of `spec.updateStrategy` and `spec.scaleStrategy`.

use serde_json::Value;

use super::replicas;
use crate::fields::{integer, list, text};
use crate::keys;
use crate::kruise::validation::{pre_download, priority};
use crate::pod_template::nonnegative;
use crate::reasons;
use crate::validate::{
    FieldError, NameRule, key_problems, label_selector_errors, label_value_problems, name_problems,
    percent_problem,
};
use crate::view::{Protection, is_partition_percent, label_key_problem};

const PATH: &str = "spec.updateStrategy.rollingUpdate";
const PARALLEL: &str = "Parallel";

pub(super) fn errors(object: &Value) -> Vec<FieldError> {
    const FIELD: &str = "spec.updateStrategy";
    let is_parallel = text(object, "/spec/podManagementPolicy") == PARALLEL;
    let scale = object.pointer("/spec/scaleStrategy/maxUnavailable");
    let mut errors = annotated(object, is_parallel);
    if let Some(scale) = scale.filter(|value| !value.is_null()) {
        let field = "spec.scaleStrategy.maxUnavailable";
        errors.extend(max_unavailable(scale, field));
        if !is_parallel && scale.as_i64() != Some(1) {
            let why = "can only work with Parallel PodManagementPolicyType";
            errors.push(FieldError::invalid(field, scale.clone(), why));
        }
    }
    let strategy = object.pointer("/spec/updateStrategy").unwrap_or(&Value::Null);
    let rolling = strategy
        .get("rollingUpdate")
        .filter(|rolling| rolling.is_object());
    match (text(strategy, "/type"), rolling) {
        ("", _) => errors.push(FieldError::required(FIELD, "")),
        ("OnDelete", Some(rolling)) => errors.push(FieldError::invalid(
            PATH,
            rolling.clone(),
            "only allowed for updateStrategy 'RollingUpdate'",
        )),
        ("RollingUpdate", Some(rolling)) => errors.extend(rolling_update(object, rolling, is_parallel)),
        ("OnDelete" | "RollingUpdate", None) => {}
        _ => errors.push(FieldError::invalid(
            FIELD,
            strategy.clone(),
            "must be 'RollingUpdate' or 'OnDelete'",
        )),
    }
    errors
}

fn rolling_update(object: &Value, rolling: &Value, is_parallel: bool) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = partition(rolling).into_iter().collect();
    let field = format!("{PATH}.minReadySeconds");
    errors.extend(nonnegative(rolling, "/minReadySeconds", &field));
    if let Some(seconds) = integer(rolling, "/minReadySeconds").filter(|seconds| *seconds > 300) {
        errors.push(FieldError::invalid(
            field,
            seconds,
            "must be no more than 300 seconds",
        ));
    }
    // Pods that come one after the other may go several at a time (15.1 row 24).
    let field = format!("{PATH}.maxUnavailable");
    match rolling.get("maxUnavailable").filter(|value| !value.is_null()) {
        None => errors.push(FieldError::required(field, "")),
        Some(written) => errors.extend(max_unavailable(written, &field)),
    }
    errors.extend(policy(object, rolling));
    if let Some(unordered) = rolling.get("unorderedUpdate").filter(|value| value.is_object()) {
        let path = format!("{PATH}.unorderedUpdate");
        if !is_parallel {
            let why = "unorderedUpdate can only work with Parallel PodManagementPolicyType";
            errors.push(FieldError::required(&path, why));
        }
        errors.extend(priority(unordered, &path));
    }
    errors.extend(pre_download(rolling, PATH));
    errors.extend(nonnegative(
        rolling,
        "/inPlaceUpdateStrategy/gracePeriodSeconds",
        &format!("{PATH}.inPlaceUpdateStrategy.gracePeriodSeconds"),
    ));
    let creates = text(rolling, "/pausedCreates");
    if !["", "Update", "Current"].contains(&creates) {
        let field = format!("{PATH}.pausedCreates");
        errors.push(FieldError::not_supported(field, creates, &["Current", "Update"]));
    }
    if let Some(protection) = rolling.get("protection").filter(|value| !value.is_null()) {
        let path = format!("{PATH}.protection");
        errors.extend(protection_errors(object, &path, protection, is_parallel));
    }
    errors
}

const PARTITION: &str = "must be a whole number of at least 0, or a percentage from 0% to 100%";

/// Annotations that stand for fields. Source: statefulset.md 15.2, 16.1.
fn annotated(object: &Value, is_parallel: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(written) = annotation(object, keys::PARTITION) {
        let is_number = written.parse::<i32>().is_ok_and(|number| number >= 0);
        if !is_number && !is_partition_percent(written) {
            let field = keys::annotation_field(keys::PARTITION);
            errors.push(FieldError::invalid(field, written, PARTITION));
        }
    }
    let field = "/spec/updateStrategy/rollingUpdate/protection";
    let has_field = object.pointer(field).is_some_and(|field| !field.is_null());
    // The field wins.
    if let Some(written) = annotation(object, keys::UPDATE_PROTECTION).filter(|_| !has_field) {
        let path = keys::annotation_field(keys::UPDATE_PROTECTION);
        match serde_json::from_str(written) {
            Ok(protection) => errors.extend(protection_errors(object, &path, &protection, is_parallel)),
            Err(error) => {
                let why = format!("must be the JSON of {PATH}.protection: {error}");
                errors.push(FieldError::invalid(path, written, why));
            }
        }
    }
    errors
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(key)?.as_str()
}

/// A number of at least 0, or a whole percentage up to 100. Source: statefulset.md 15.2.
fn partition(rolling: &Value) -> Option<FieldError> {
    let field = format!("{PATH}.partition");
    match rolling.get("partition").filter(|value| !value.is_null())? {
        Value::String(text) => {
            (!is_partition_percent(text)).then(|| FieldError::invalid(field, text.as_str(), PARTITION))
        }
        _ => nonnegative(rolling, "/partition", &field),
    }
}

/// A number of at least 1, or a percentage of more than 0. Source: statefulset.md 2.2; upstream's words.
fn max_unavailable(written: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let number = match written {
        Value::String(text) => match percent_problem(text) {
            Some(why) => {
                errors.push(FieldError::invalid(field, text.as_str(), why));
                let why = "getValueFromIntOrPercent error: invalid value for IntOrString: invalid type: string is not a \
                           percentage";
                errors.push(FieldError::invalid(field, 0, why));
                return errors;
            }
            // Of one pod, rounded up.
            None => i64::from(text.trim_end_matches('%').bytes().any(|digit| digit != b'0')),
        },
        written => written.as_i64().unwrap_or_default(),
    };
    if number < 0 {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(field, written.clone(), why));
    }
    if number < 1 {
        errors.push(FieldError::invalid(field, number, "should not be less than 1"));
    }
    errors
}

/// Source: statefulset.md 2.4.6.
fn policy(object: &Value, rolling: &Value) -> Option<FieldError> {
    let field = format!("{PATH}.podUpdatePolicy");
    match text(rolling, "/podUpdatePolicy") {
        "" => Some(FieldError::required(field, "")),
        "ReCreate" => None,
        policy @ ("InPlaceIfPossible" | "InPlaceOnly") => {
            let gate = reasons::INPLACE_UPDATE_READY;
            let gates = list(object, "/spec/template/spec/readinessGates");
            let has_gate = gates.iter().any(|entry| text(entry, "/conditionType") == gate);
            let why = format!("must contains {gate} when podUpdatePolicy is {policy}");
            let field = "spec.template.spec.readinessGates";
            (!has_gate).then(|| FieldError::invalid(field, gates.to_vec(), why))
        }
        other => Some(FieldError::invalid(
            field,
            other,
            "must be 'ReCreate', InPlaceIfPossible or 'InPlaceOnly'",
        )),
    }
}

/// Source: statefulset.md 16.1.
fn protection_errors(object: &Value, path: &str, written: &Value, is_parallel: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !is_parallel {
        let why = "protection can only work with Parallel PodManagementPolicyType";
        errors.push(FieldError::required(path, why));
    }
    let arbiter = written.get("arbiter").unwrap_or(&Value::Null);
    errors.extend(arbiter_errors(object, &format!("{path}.arbiter"), arbiter));
    if let Some(selector) = written.get("podSelector").filter(|selector| selector.is_object()) {
        errors.extend(label_selector_errors(selector, &format!("{path}.podSelector")));
    }
    let is_named = |error: &FieldError| error.field.len() > path.len();
    if let Err(why) = Protection::of(written)
        && !errors.iter().any(is_named)
    {
        errors.push(FieldError::invalid(path, written.clone(), why));
    }
    for (field, least, most) in [
        ("periodSeconds", 1, 300),
        ("timeoutSeconds", 1, 30),
        ("failureThreshold", 1, i64::from(i32::MAX)),
    ] {
        let written = integer(written, &format!("/arbiter/{field}"));
        if let Some(number) = written.filter(|number| !(least..=most).contains(number)) {
            let why = match field {
                "failureThreshold" => "must be at least 1".to_owned(),
                _ => format!("must be from {least} to {most}"),
            };
            errors.push(FieldError::invalid(
                format!("{path}.arbiter.{field}"),
                number,
                why,
            ));
        }
    }
    let period = integer(written, "/arbiter/periodSeconds").unwrap_or(10);
    let stale = integer(written, "/arbiter/staleAfterSeconds").unwrap_or(30);
    if written.get("arbiter").is_some() && stale < period {
        let why = format!("must be at least periodSeconds, which is {period}");
        errors.push(FieldError::invalid(
            format!("{path}.arbiter.staleAfterSeconds"),
            stale,
            why,
        ));
    }
    errors
}

/// What an arbiter is asked with, and the label that its answers are written to. Source: statefulset.md 16.1, 16.4.
fn arbiter_errors(object: &Value, path: &str, arbiter: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut refuse = |at: &str, value: Value, why: String| {
        let field = format!("{path}{at}");
        errors.push(FieldError::invalid(field, value, why));
    };
    for at in ["name", "namespace"] {
        let name = arbiter
            .pointer(&format!("/http/service/{at}"))
            .and_then(Value::as_str);
        for why in name.map_or_else(Vec::new, |name| name_problems(name, NameRule::Label)) {
            refuse(&format!(".http.service.{at}"), name.into(), why);
        }
    }
    if let Some(port) = integer(arbiter, "/http/service/port").filter(|port| !(1..=65535).contains(port)) {
        let why = "must be between 1 and 65535, inclusive".to_owned();
        refuse(".http.service.port", port.into(), why);
    }
    let path = text(arbiter, "/http/path");
    let is_part_of_path = |byte: u8| byte.is_ascii_graphic() && !b"?#".contains(&byte);
    if !path.is_empty() && (!path.starts_with('/') || !path.bytes().all(is_part_of_path)) {
        let why = "must begin with '/', without spaces, '?' and '#'".to_owned();
        refuse(".http.path", path.into(), why);
    }
    let container = text(arbiter, "/exec/container");
    let containers = list(object, "/spec/template/spec/containers");
    if !container.is_empty() && containers.iter().all(|one| text(one, "/name") != container) {
        let why = "must be a container of spec.template".to_owned();
        refuse(".exec.container", container.into(), why);
    }
    let Some(label) = arbiter.get("label").filter(|label| label.is_object()) else {
        return errors;
    };
    let key = text(label, "/key");
    let selector = object.pointer("/spec/selector").unwrap_or(&Value::Null);
    for why in key_problems(key) {
        refuse(".label.key", key.into(), why);
    }
    if let Some(why) = label_key_problem(key, selector) {
        refuse(".label.key", key.into(), why.to_owned());
    }
    let (protected, idle) = (text(label, "/protectedValue"), text(label, "/idleValue"));
    for (at, value) in [(".label.protectedValue", protected), (".label.idleValue", idle)] {
        for why in label_value_problems(value) {
            refuse(at, value.into(), why);
        }
    }
    if protected == idle {
        let why = "must differ from protectedValue".to_owned();
        refuse(".label.idleValue", idle.into(), why);
    }
    errors
}

/// What is allowed and still worth a warning. Source: statefulset.md 16.1.
pub(super) fn warnings(object: &Value) -> Vec<String> {
    let field = object.pointer("/spec/updateStrategy/rollingUpdate/protection");
    let (path, protection) = match field.filter(|field| !field.is_null()) {
        Some(field) => (format!("{PATH}.protection"), field.clone()),
        None => {
            let read = annotation(object, keys::UPDATE_PROTECTION).map(serde_json::from_str);
            let Some(Ok(annotated)) = read else {
                return Vec::new();
            };
            (keys::annotation_field(keys::UPDATE_PROTECTION), annotated)
        }
    };
    let wanted = integer(&protection, "/minProtected").unwrap_or_default();
    let replicas = replicas(object);
    if wanted > i64::from(replicas) {
        return vec![format!(
            "{path}.minProtected: {wanted} is more than the {replicas} replicas, so no pod is ever updated"
        )];
    }
    Vec::new()
}
