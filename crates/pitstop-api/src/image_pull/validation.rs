//! Which ImagePullJobs and NodeImages are refused, and in which words. Source: inplace.md 11.3, 11.4.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Kind, MOST_IMAGES, Reference};
use crate::fields::{entries, integer, list, text};
use crate::kruise::is_spec_untouched;
use crate::pod_template::nonnegative;
use crate::validate::{FieldError, immutable, label_selector_errors};
use crate::view::{ImagePullJobSpec, NodeImageSpec};

/// What makes an object none of the two kinds: it is of another kind or version, or a field has a wrong type.
///
/// # Errors
/// The field, and what it should be.
pub fn decode(object: &Value) -> Result<Kind, String> {
    let kind = Kind::of_object(object).ok_or_else(|| {
        let (kind, version) = (text(object, "/kind"), text(object, "/apiVersion"));
        format!("{kind} of {version} is not known here")
    })?;
    let spec = object.get("spec").cloned().unwrap_or_default();
    if spec.is_null() {
        return Ok(kind);
    }
    let read = match kind {
        Kind::Job => serde_json::from_value::<ImagePullJobSpec>(spec).map(drop),
        Kind::NodeImage => serde_json::from_value::<NodeImageSpec>(spec).map(drop),
    };
    read.map(|()| kind).map_err(|error| format!("spec: {error}"))
}

/// Everything that is wrong with an object. `old` is what is stored, on updates.
pub fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    if is_spec_untouched(object, old) {
        return Vec::new();
    }
    match Kind::of_object(object) {
        Some(Kind::Job) => job_errors(object, old),
        Some(Kind::NodeImage) => node_image_errors(object),
        None => Vec::new(),
    }
}

fn job_errors(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let image = text(object, "/spec/image");
    if image.is_empty() {
        errors.push(FieldError::required("spec.image", ""));
    } else if let Err(error) = Reference::parse(image) {
        errors.push(FieldError::invalid("spec.image", image, error.to_string()));
    }
    errors.extend(selector_errors(object));
    errors.extend(parallelism(object));
    let timeout = "spec.pullPolicy.timeoutSeconds";
    errors.extend(nonnegative(object, "/spec/pullPolicy/timeoutSeconds", timeout));
    let policy = text(object, "/spec/imagePullPolicy");
    if !["", "Always", "IfNotPresent"].contains(&policy) {
        let known = &["Always", "IfNotPresent"];
        errors.push(FieldError::not_supported("spec.imagePullPolicy", policy, known));
    }
    errors.extend(completion(object));
    if let Some(old) = old {
        errors.extend(immutable(object, old, "/spec/pullSecrets", "spec.pullSecrets"));
    }
    errors
}

/// `selector` or `podSelector`, and in `selector` names or labels.
fn selector_errors(object: &Value) -> Vec<FieldError> {
    let given = |pointer: &str| object.pointer(pointer).filter(|value| !value.is_null());
    let (selector, pod_selector) = (given("/spec/selector"), given("/spec/podSelector"));
    let mut errors = Vec::new();
    if selector.is_some() && pod_selector.is_some() {
        let why = "may not be set beside selector";
        errors.push(FieldError::forbidden("spec.podSelector", why));
    }
    if let Some(selector) = selector {
        let asks_labels = entries(selector, "/matchLabels").next().is_some()
            || !list(selector, "/matchExpressions").is_empty();
        if !list(selector, "/names").is_empty() && asks_labels {
            let why = "may not be set beside matchLabels or matchExpressions";
            errors.push(FieldError::forbidden("spec.selector.names", why));
        }
        errors.extend(label_selector_errors(selector, "spec.selector"));
    }
    if let Some(selector) = pod_selector {
        errors.extend(label_selector_errors(selector, "spec.podSelector"));
    }
    errors
}

fn parallelism(object: &Value) -> Option<FieldError> {
    let value = object
        .pointer("/spec/parallelism")
        .filter(|value| !value.is_null())?;
    let number = match value {
        Value::String(text) => text.parse::<i32>().ok().map(i64::from),
        value => value.as_i64(),
    };
    let why = match number {
        None => "must be a whole number, a percentage is not supported",
        Some(number) if number < 0 => "must be greater than or equal to 0",
        Some(_) => return None,
    };
    Some(FieldError::invalid("spec.parallelism", value.clone(), why))
}

fn completion(object: &Value) -> Vec<FieldError> {
    const PATH: &str = "spec.completionPolicy";
    const POINTER: &str = "/spec/completionPolicy";
    let fields = ["activeDeadlineSeconds", "ttlSecondsAfterFinished"];
    let number = |name: &str| integer(object, &format!("{POINTER}/{name}"));
    let mut errors = Vec::new();
    for name in fields {
        errors.extend(nonnegative(
            object,
            &format!("{POINTER}/{name}"),
            &format!("{PATH}.{name}"),
        ));
    }
    match text(object, &format!("{POINTER}/type")) {
        "" | "Always" => {
            let timeout = integer(object, "/spec/pullPolicy/timeoutSeconds").unwrap_or_default();
            if let Some(deadline) = number("activeDeadlineSeconds").filter(|deadline| *deadline < timeout) {
                let why = format!("must be at least pullPolicy.timeoutSeconds, {timeout}");
                errors.push(FieldError::invalid(
                    format!("{PATH}.activeDeadlineSeconds"),
                    deadline,
                    why,
                ));
            }
        }
        "Never" => {
            for name in fields {
                if number(name).is_some() {
                    let why = "may not be set where type is Never";
                    errors.push(FieldError::forbidden(format!("{PATH}.{name}"), why));
                }
            }
        }
        other => errors.push(FieldError::not_supported(
            format!("{PATH}.type"),
            other,
            &["Always", "Never"],
        )),
    }
    errors
}

fn node_image_errors(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let n = entries(object, "/spec/images").count();
    if n > MOST_IMAGES {
        let why = format!("must have at most {MOST_IMAGES} items");
        errors.push(FieldError::invalid("spec.images", n, why));
    }
    for (name, image) in entries(object, "/spec/images") {
        let path = format!("spec.images[{name}]");
        if !Reference::parse(name).is_ok_and(|image| image.repository == name) {
            let why = "must be the familiar name of a repository, without a tag";
            errors.push(FieldError::invalid(&path, name, why));
        }
        let mut seen = BTreeSet::new();
        for (index, tag) in list(image, "/tags").iter().enumerate() {
            errors.extend(tag_errors(tag, &format!("{path}.tags[{index}]"), &mut seen));
        }
    }
    errors
}

fn tag_errors<'a>(tag: &'a Value, path: &str, seen: &mut BTreeSet<&'a str>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let name = text(tag, "/tag");
    if !Reference::is_version(name) {
        errors.push(FieldError::invalid(
            format!("{path}.tag"),
            name,
            "must be a tag or a digest",
        ));
    }
    if !seen.insert(name) {
        errors.push(FieldError::duplicate(format!("{path}.tag"), name));
    }
    errors.extend(nonnegative(tag, "/version", &format!("{path}.version")));
    let policy = format!("{path}.pullPolicy");
    if tag.get("pullPolicy").is_some_and(|policy| !policy.is_null())
        && integer(tag, "/pullPolicy/ttlSecondsAfterFinished").is_none()
    {
        errors.push(FieldError::required(
            format!("{policy}.ttlSecondsAfterFinished"),
            "",
        ));
    }
    for name in [
        "timeoutSeconds",
        "ttlSecondsAfterFinished",
        "activeDeadlineSeconds",
    ] {
        errors.extend(nonnegative(
            tag,
            &format!("/pullPolicy/{name}"),
            &format!("{policy}.{name}"),
        ));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(spec: &Value) -> Value {
        json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "ImagePullJob", "metadata": {"name": "j"}, "spec": spec})
    }

    fn said(object: &Value, old: Option<&Value>) -> Vec<String> {
        validate(object, old).iter().map(ToString::to_string).collect()
    }

    /// inplace.md 11.3, validation.
    #[test]
    fn jobs_that_cannot_be_meant_are_refused() {
        let none: Option<&str> = None;
        for (spec, want) in [
            (json!({"image": "nginx:1"}), none),
            (json!({"image": "nginx:1", "parallelism": 0}), none),
            (json!({"image": "nginx:1", "parallelism": "3"}), none),
            (
                json!({"image": "nginx:1", "podSelector": {"matchLabels": {"a": "b"}}}),
                none,
            ),
            (json!({"image": "nginx:1", "selector": {"names": ["n"]}}), none),
            (
                json!({"image": "nginx:1", "pullPolicy": {"backoffLimit": -1}}),
                none,
            ),
            (json!({}), Some("spec.image: Required value")),
            (
                json!({"image": "Nginx"}),
                Some("spec.image: Invalid value: \"Nginx\": \"Nginx\" is not a reference to an image"),
            ),
            (
                json!({"image": "a", "selector": {"names": ["n"]}, "podSelector": {"matchLabels": {"a": "b"}}}),
                Some("spec.podSelector: Forbidden: may not be set beside selector"),
            ),
            (
                json!({"image": "a", "selector": {"names": ["n"], "matchLabels": {"a": "b"}}}),
                Some("spec.selector.names: Forbidden: may not be set beside matchLabels or matchExpressions"),
            ),
            (
                json!({"image": "a", "parallelism": "30%"}),
                Some(
                    "spec.parallelism: Invalid value: \"30%\": must be a whole number, a percentage is not supported",
                ),
            ),
            (
                json!({"image": "a", "parallelism": -1}),
                Some("spec.parallelism: Invalid value: -1: must be greater than or equal to 0"),
            ),
            (
                json!({"image": "a", "imagePullPolicy": "Never"}),
                Some(
                    "spec.imagePullPolicy: Unsupported value: \"Never\": supported values: \"Always\", \"IfNotPresent\"",
                ),
            ),
            (
                json!({"image": "a", "pullPolicy": {"timeoutSeconds": 600}, "completionPolicy": {"type": "Always", "activeDeadlineSeconds": 599}}),
                Some(
                    "spec.completionPolicy.activeDeadlineSeconds: Invalid value: 599: must be at least pullPolicy.timeoutSeconds, 600",
                ),
            ),
            (
                json!({"image": "a", "completionPolicy": {"type": "Never", "activeDeadlineSeconds": 1}}),
                Some(
                    "spec.completionPolicy.activeDeadlineSeconds: Forbidden: may not be set where type is Never",
                ),
            ),
            (
                json!({"image": "a", "completionPolicy": {"type": "Never", "ttlSecondsAfterFinished": 1}}),
                Some(
                    "spec.completionPolicy.ttlSecondsAfterFinished: Forbidden: may not be set where type is Never",
                ),
            ),
            (
                json!({"image": "a", "completionPolicy": {"type": "Sometimes"}}),
                Some(
                    "spec.completionPolicy.type: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\"",
                ),
            ),
        ] {
            let want: Vec<&str> = want.into_iter().collect();
            assert_eq!(said(&job(&spec), None), want, "{spec}");
        }
    }

    /// inplace.md 11.3: `pullSecrets` immutable; the rest may change, and what is stored already is not judged again.
    #[test]
    fn the_secrets_of_a_job_stay() {
        let old = job(&json!({"image": "nginx", "pullSecrets": ["a"]}));
        let other = job(&json!({"image": "nginx", "pullSecrets": ["a", "b"], "parallelism": 3}));
        let want = ["spec.pullSecrets: Invalid value: [\"a\",\"b\"]: field is immutable"];
        assert_eq!(said(&other, Some(&old)), want);
        let broken = job(&json!({"image": "Nginx"}));
        assert!(said(&broken, Some(&broken)).is_empty());
    }

    /// inplace.md 11.4.
    #[test]
    fn node_images_list_each_tag_once_and_say_when_it_may_go() {
        let node = |images: Value| json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "NodeImage", "spec": {"images": images}});
        let policy = json!({"ttlSecondsAfterFinished": 1});
        let many: serde_json::Map<String, Value> = (0..257)
            .map(|i| (format!("image-{i}"), json!({"tags": []})))
            .collect();
        for (images, want) in [
            (
                json!({"nginx": {"tags": [{"tag": "1", "pullPolicy": policy}, {"tag": "2"}]}}),
                None,
            ),
            (
                Value::Object(many),
                Some("spec.images: Invalid value: 257: must have at most 256 items"),
            ),
            (
                json!({"nginx": {"tags": [{"tag": "1"}, {"tag": "1"}]}}),
                Some("spec.images[nginx].tags[1].tag: Duplicate value: \"1\""),
            ),
            (
                json!({"nginx": {"tags": [{"tag": "1", "pullPolicy": {}}]}}),
                Some("spec.images[nginx].tags[0].pullPolicy.ttlSecondsAfterFinished: Required value"),
            ),
            (
                json!({"nginx": {"tags": [{"tag": ""}]}}),
                Some("spec.images[nginx].tags[0].tag: Invalid value: \"\": must be a tag or a digest"),
            ),
            (
                json!({"docker.io/library/nginx": {"tags": []}}),
                Some(
                    "spec.images[docker.io/library/nginx]: Invalid value: \"docker.io/library/nginx\": must be the familiar name of a repository, without a tag",
                ),
            ),
            (
                json!({"nginx": {"tags": [{"tag": "1", "version": -1}]}}),
                Some(
                    "spec.images[nginx].tags[0].version: Invalid value: -1: must be greater than or equal to 0",
                ),
            ),
        ] {
            let want: Vec<&str> = want.into_iter().collect();
            assert_eq!(said(&node(images), None), want);
        }
    }

    #[test]
    fn what_is_no_object_of_the_kinds_is_told() {
        assert_eq!(decode(&job(&json!({"image": "a"}))), Ok(Kind::Job));
        let strange = json!({"apiVersion": "apps.kruise.io/v2", "kind": "ImagePullJob"});
        assert_eq!(
            decode(&strange).unwrap_err(),
            "ImagePullJob of apps.kruise.io/v2 is not known here"
        );
        assert!(
            decode(&job(&json!({"image": 7})))
                .unwrap_err()
                .starts_with("spec: ")
        );
    }
}
