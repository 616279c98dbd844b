//! Conversion of objects from one version of their kind to another, by a webhook.
//!
//! Source: embedded-cluster.md 14, rule 5; reviews and texts are those of kube-apiserver 1.34.

use std::time::Duration;

use serde_json::{Value, json};

use crate::webhook::Place;

/// How long a conversion may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A webhook that converts.
#[derive(Debug)]
pub(crate) struct Converter {
    pub(crate) place: Place,
    review_version: &'static str,
}

impl Converter {
    /// Reads `spec.conversion`; `None` when objects are the same in every version.
    pub(crate) fn of(conversion: &Value) -> Option<Self> {
        if conversion.get("strategy").and_then(Value::as_str) != Some("Webhook") {
            return None;
        }
        let webhook = conversion.get("webhook")?;
        let versions = webhook.get("conversionReviewVersions").and_then(Value::as_array);
        let known = versions
            .into_iter()
            .flatten()
            .find_map(|version| match version.as_str() {
                Some("v1") => Some("v1"),
                Some("v1beta1") => Some("v1beta1"),
                _ => None,
            });
        Some(Self {
            place: Place::of(webhook.get("clientConfig")?)?,
            review_version: known.unwrap_or("v1"),
        })
    }

    /// What it is asked.
    pub(crate) fn review(&self, objects: &[&Value], wanted: &str, uid: &str) -> Value {
        json!({
            "kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{}", self.review_version),
            "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects},
        })
    }

    /// The converted objects of an answer, each in the place of one of `objects`.
    pub(crate) fn converted(
        answer: &Value,
        uid: &str,
        objects: &[&Value],
        wanted: &str,
    ) -> Result<Vec<Value>, String> {
        let text = |pointer: &str| {
            answer
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        if answer.get("response").is_none_or(Value::is_null) {
            return Err("no response provided".to_owned());
        }
        if text("/response/uid") != uid {
            return Err(format!(
                "expected response.uid={uid:?}, got {:?}",
                text("/response/uid")
            ));
        }
        match (text("/response/result/status"), text("/response/result/message")) {
            ("Success", _) => {}
            (status, "") => return Err(format!("response.result.status was '{status}', not 'Success'")),
            (_, why) => return Err(why.to_owned()),
        }
        let list = answer
            .pointer("/response/convertedObjects")
            .and_then(Value::as_array);
        let list = list.map(Vec::as_slice).unwrap_or_default();
        if list.len() != objects.len() {
            return Err(format!(
                "returned {} objects, expected {}",
                list.len(),
                objects.len()
            ));
        }
        let pairs = list.iter().zip(objects).enumerate();
        pairs
            .map(|(index, (converted, original))| checked(converted, original, wanted, index))
            .collect()
    }
}

/// A webhook may change everything but who the object is, and of its metadata only labels and annotations.
fn checked(converted: &Value, original: &Value, wanted: &str, index: usize) -> Result<Value, String> {
    let text = |object: &Value, pointer: &str| -> String {
        let text = object.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let start = format!("returned invalid converted object at index {index}");
    let version = text(converted, "/apiVersion");
    if version != wanted {
        return Err(format!(
            "{start}: invalid groupVersion (expected {wanted}, received {version})"
        ));
    }
    let (kind, had) = (text(converted, "/kind"), text(original, "/kind"));
    if kind != had {
        return Err(format!("{start}: invalid kind (expected {had}, received {kind})"));
    }
    for field in ["name", "namespace", "uid"] {
        let pointer = format!("/metadata/{field}");
        let (now, before) = (text(converted, &pointer), text(original, &pointer));
        if now != before {
            return Err(format!(
                "returned invalid metadata in object at index {index}: metadata.{field}: must not be changed"
            ));
        }
    }
    let mut metadata = original.get("metadata").cloned().unwrap_or_else(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        for field in ["labels", "annotations"] {
            match converted.pointer(&format!("/metadata/{field}")) {
                Some(value) => metadata.insert(field.to_owned(), value.clone()),
                None => metadata.remove(field),
            };
        }
    }
    let mut object = converted.clone();
    if let Some(object) = object.as_object_mut() {
        object.insert("metadata".to_owned(), metadata);
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_checked_before_they_are_believed() {
        let original = json!({
            "apiVersion": "a/v1", "kind": "K", "metadata": {"name": "x", "uid": "u", "finalizers": ["f"]},
        });
        let converted = |object: &Value, status: &Value| {
            let answer = json!({"response": {"uid": "1", "convertedObjects": [object], "result": status}});
            Converter::converted(&answer, "1", &[&original], "a/v2")
        };
        let success = json!({"status": "Success"});
        let good = json!({
            "apiVersion": "a/v2", "kind": "K", "spec": 1,
            "metadata": {"name": "x", "uid": "u", "labels": {"a": "b"}, "finalizers": []},
        });
        let kept = converted(&good, &success).unwrap();
        assert_eq!(
            kept[0]["metadata"],
            json!({"name": "x", "uid": "u", "finalizers": ["f"], "labels": {"a": "b"}})
        );
        assert_eq!(kept[0]["spec"], 1);
        assert_eq!(
            converted(&original, &success).unwrap_err(),
            "returned invalid converted object at index 0: invalid groupVersion (expected a/v2, received a/v1)"
        );
        let mut renamed = good.clone();
        renamed["metadata"]["name"] = json!("y");
        assert_eq!(
            converted(&renamed, &success).unwrap_err(),
            "returned invalid metadata in object at index 0: metadata.name: must not be changed"
        );
        assert_eq!(
            converted(&good, &json!({"status": "Failed", "message": "why"})).unwrap_err(),
            "why"
        );
        assert_eq!(
            converted(&good, &json!({"status": "Failed"})).unwrap_err(),
            "response.result.status was 'Failed', not 'Success'"
        );
        let none = json!({"response": {"uid": "2"}});
        assert_eq!(
            Converter::converted(&none, "1", &[&original], "a/v2").unwrap_err(),
            "expected response.uid=\"1\", got \"2\""
        );
    }
}
