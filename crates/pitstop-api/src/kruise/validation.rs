//! Rules that several kinds have.

use serde_json::{Value, json};

use crate::Amount;
use crate::fields::{integer, list, map_mut, text};
use crate::json_diff::{Operation, diff};
use crate::pod_template::{default_spec, nonnegative};
use crate::validate::{FieldError, label_selector_errors};

/// The object with a defaulted template that has a volume for each claim template; a volume of that name gives way.
pub(crate) fn with_claims(object: &Value) -> Value {
    let mut object = object.clone();
    let claims: Vec<Value> = list(&object, "/spec/volumeClaimTemplates")
        .iter()
        .map(|claim| text(claim, "/metadata/name"))
        .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}))
        .collect();
    let Some(pod) = object
        .pointer_mut("/spec/template/spec")
        .filter(|pod| pod.is_object())
    else {
        return object;
    };
    default_spec(pod);
    if !claims.is_empty() {
        let volumes = list(pod, "/volumes").iter();
        let others =
            volumes.filter(|volume| claims.iter().all(|claim| claim.get("name") != volume.get("name")));
        let all: Vec<Value> = claims.iter().chain(others).cloned().collect();
        map_mut(pod, &[]).insert("volumes".to_owned(), all.into());
    }
    object
}

/// The first change of a template's pods that they cannot take while they run. `resizes`: may their resources change?
pub(crate) fn not_in_place(object: &Value, old: &Value, resizes: bool) -> Option<Operation> {
    let pod = |object: &Value| {
        let mut pod = object.pointer("/spec/template/spec").cloned().unwrap_or_default();
        default_spec(&mut pod);
        pod
    };
    let changes = diff(&pod(old), &pod(object)).into_iter();
    let mut refused = changes.filter(|change| !is_in_place(change.op, &change.path, resizes));
    refused.next()
}

fn is_in_place(op: &str, path: &str, resizes: bool) -> bool {
    let mut parts = path.split('/').skip(1);
    let is_container = parts.next() == Some("containers") && parts.next().is_some();
    is_container
        && match (parts.next(), parts.next()) {
            (Some("image"), None) => op == "replace",
            (Some("resources"), _) => resizes,
            _ => false,
        }
}

/// `priorityStrategy`: the first thing that is wrong with it, as upstream; and `missingKey`, which is ours.
pub(crate) fn priority(rolling: &Value, path: &str) -> Vec<FieldError> {
    let path = format!("{path}.priorityStrategy");
    let weights = list(rolling, "/priorityStrategy/weightPriority");
    let orders = list(rolling, "/priorityStrategy/orderPriority");
    let mut errors = Vec::new();
    if let Some(why) = priority_problem(weights, orders) {
        errors.push(FieldError::required(&path, why));
    }
    for (index, term) in orders.iter().enumerate() {
        let missing = text(term, "/missingKey");
        if !["", "First", "Last"].contains(&missing) {
            let field = format!("{path}.orderPriority[{index}].missingKey");
            errors.push(FieldError::not_supported(field, missing, &["First", "Last"]));
        }
    }
    errors
}

fn priority_problem(weights: &[Value], orders: &[Value]) -> Option<String> {
    if !weights.is_empty() && !orders.is_empty() {
        return Some("only one of weightPriority and orderPriority can be used".to_owned());
    }
    for term in weights {
        if !(0..=100).contains(&integer(term, "/weight").unwrap_or_default()) {
            return Some("weight must be valid number in the range 1-100".to_owned());
        }
        let selector = term.get("matchSelector").unwrap_or(&Value::Null);
        let asks = |field: &str| match selector.get(field) {
            Some(Value::Object(labels)) => !labels.is_empty(),
            Some(Value::Array(expressions)) => !expressions.is_empty(),
            _ => false,
        };
        if !asks("matchLabels") && !asks("matchExpressions") {
            return Some("selector can not be empty".to_owned());
        }
        if let Some(error) = label_selector_errors(selector, "matchSelector").first() {
            return Some(format!("invalid selector {error}"));
        }
    }
    let has_no_key = orders.iter().any(|term| text(term, "/orderedKey").is_empty());
    has_no_key.then(|| "order key can not be empty".to_owned())
}

/// How images are pulled ahead; v1alpha1 has annotations for it, which are not judged.
///
/// Differs from upstream: percentages are taken (inplace.md 13.16).
pub(crate) fn pre_download(rolling: &Value, path: &str) -> Vec<FieldError> {
    const TIMEOUT: &str = "imagePreDownloadTimeoutSeconds";
    let path = format!("{path}.inPlaceUpdateStrategy");
    let pointer = |name: &str| format!("/inPlaceUpdateStrategy/{name}");
    let amounts = [
        "imagePreDownloadParallelism",
        "imagePreDownloadMinUpdatedReadyPods",
    ];
    let mut errors: Vec<FieldError> = amounts
        .iter()
        .filter_map(|name| {
            let value = rolling.pointer(&pointer(name)).filter(|value| !value.is_null())?;
            let number = match value {
                Value::String(text) => text.parse::<i32>().ok().map(i64::from),
                value => value.as_i64(),
            };
            let why = match (number, Amount::of_text(value)) {
                (Some(number), _) if number < 0 => "must be greater than or equal to 0".to_owned(),
                (_, Amount::Other(_)) => format!("must be {}", Amount::ACCEPTED),
                (_, Amount::Pods(_) | Amount::Percent(_)) => return None,
            };
            Some(FieldError::invalid(format!("{path}.{name}"), value.clone(), why))
        })
        .collect();
    errors.extend(nonnegative(
        rolling,
        &pointer(TIMEOUT),
        &format!("{path}.{TIMEOUT}"),
    ));
    errors
}
