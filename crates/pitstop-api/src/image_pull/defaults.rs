//! What is filled in when the objects are written. Source: inplace.md 11.3, 11.4.

use serde_json::{Map, Value, json};

use super::{BACKOFF_LIMIT, Kind, TIMEOUT_SECONDS};
use crate::fields::map_mut;

/// Fills in the defaults of an ImagePullJob or a NodeImage.
pub fn default(object: &mut Value) {
    match Kind::of_object(object) {
        Some(Kind::Job) => default_job(object),
        Some(Kind::NodeImage) => default_node_image(object),
        None => {}
    }
}

fn default_job(object: &mut Value) {
    set_empty(map_mut(object, &["spec", "completionPolicy"]), "type", "Always");
    set_empty(map_mut(object, &["spec"]), "imagePullPolicy", "IfNotPresent");
    default_pull_policy(map_mut(object, &["spec", "pullPolicy"]));
}

fn default_node_image(object: &mut Value) {
    let images = object.pointer_mut("/spec/images").and_then(Value::as_object_mut);
    let tags = images
        .into_iter()
        .flat_map(|images| images.values_mut())
        .filter_map(|image| image.get_mut("tags").and_then(Value::as_array_mut))
        .flatten();
    for tag in tags {
        // Without a policy there is nothing that says when the entry may go: validation asks for it.
        if let Some(policy) = tag.get_mut("pullPolicy").filter(|policy| policy.is_object()) {
            default_pull_policy(map_mut(policy, &[]));
        }
    }
}

fn default_pull_policy(policy: &mut Map<String, Value>) {
    for (name, value) in [
        ("timeoutSeconds", json!(TIMEOUT_SECONDS)),
        ("backoffLimit", json!(BACKOFF_LIMIT)),
    ] {
        if policy.get(name).is_none_or(Value::is_null) {
            policy.insert(name.to_owned(), value);
        }
    }
}

/// Sets what is absent, null or empty.
fn set_empty(map: &mut Map<String, Value>, name: &str, value: &str) {
    let given = map.get(name).and_then(Value::as_str).unwrap_or_default();
    if given.is_empty() {
        map.insert(name.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// inplace.md 11.3, defaults; both versions alike.
    #[test]
    fn a_job_completes_tries_thrice_and_pulls_what_is_missing() {
        for version in ["v1alpha1", "v1beta1"] {
            let mut job = json!({"apiVersion": format!("apps.kruise.io/{version}"), "kind": "ImagePullJob", "spec": {"image": "nginx"}});
            default(&mut job);
            let want = json!({
                "image": "nginx", "completionPolicy": {"type": "Always"}, "imagePullPolicy": "IfNotPresent",
                "pullPolicy": {"timeoutSeconds": 600, "backoffLimit": 3},
            });
            assert_eq!(job["spec"], want);
        }
        let given = json!({
            "apiVersion": "apps.kruise.io/v1beta1", "kind": "ImagePullJob",
            "spec": {
                "image": "nginx", "completionPolicy": {"type": "Never"}, "imagePullPolicy": "Always",
                "pullPolicy": {"timeoutSeconds": 1, "backoffLimit": 0},
            },
        });
        let mut job = given.clone();
        default(&mut job);
        assert_eq!(job, given);
    }

    /// inplace.md 11.4.
    #[test]
    fn a_tag_has_its_own_policy() {
        let mut node = json!({
            "apiVersion": "apps.kruise.io/v1beta1", "kind": "NodeImage",
            "spec": {"images": {"nginx": {"tags": [{"tag": "1"}, {"tag": "2", "pullPolicy": {"ttlSecondsAfterFinished": 9}}]}}},
        });
        default(&mut node);
        let tags = json!([
            {"tag": "1"},
            {"tag": "2", "pullPolicy": {"ttlSecondsAfterFinished": 9, "timeoutSeconds": 600, "backoffLimit": 3}},
        ]);
        assert_eq!(node["spec"]["images"]["nginx"]["tags"], tags);
    }
}
