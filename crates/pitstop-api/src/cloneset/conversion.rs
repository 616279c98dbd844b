//! CloneSets from one version to the other. Source: cloneset.md 2, 18.3.
//!
//! Nothing is lost on the way there and back. What one version cannot say is kept in an annotation of the object's form
//! in that version; where a field of one version is an annotation or a label of the other, the field wins, and what is
//! stale goes. Where upstream loses something it says so in the table of section 2.

use serde_json::{Map, Value};

use super::{KIND, Version};
use crate::Amount;
use crate::fields::map_mut;
use crate::keys;
use crate::kruise;
pub use crate::kruise::ConversionError;

#[cfg(test)]
mod tests;

/// Fields that stand under `updateStrategy` in v1alpha1 and under `rollingUpdate` in v1beta1.
const ROLLING: [&str; 7] = [
    "partition",
    "maxUnavailable",
    "maxSurge",
    "paused",
    "priorityStrategy",
    "scatterStrategy",
    "inPlaceUpdateStrategy",
];

/// Fields of `inPlaceUpdateStrategy` of v1beta1, and the annotations that v1alpha1 has in their place.
const PRE_DOWNLOAD: [(&str, &str); 3] = [
    (PARALLELISM, keys::PRE_DOWNLOAD_PARALLELISM),
    (
        "imagePreDownloadTimeoutSeconds",
        keys::PRE_DOWNLOAD_TIMEOUT_SECONDS,
    ),
    (MIN_UPDATED_READY, keys::PRE_DOWNLOAD_MIN_UPDATED_READY_PODS),
];

/// The one of them that may be any text.
const PARALLELISM: &str = "imagePreDownloadParallelism";
/// The one of them that may also be a percentage.
const MIN_UPDATED_READY: &str = "imagePreDownloadMinUpdatedReadyPods";

/// A CloneSet in another version. Of its metadata, labels and annotations may change.
///
/// # Errors
/// It is no CloneSet, or one of the versions is not known.
pub fn convert(object: Value, wanted: &str) -> Result<Value, ConversionError> {
    kruise::convert(object, KIND, wanted, |object, wanted| {
        let mut marks = Marks::take(object);
        let spec = map_mut(object, &["spec"]);
        match wanted {
            Version::V1beta1 => to_v1beta1(spec, &mut marks),
            Version::V1alpha1 => to_v1alpha1(spec, &mut marks),
        }
        marks.put(object);
    })
}

/// Labels and annotations, while they are worked on.
struct Marks {
    labels: Map<String, Value>,
    annotations: Map<String, Value>,
}

impl Marks {
    fn take(object: &mut Value) -> Self {
        let mut map = |pointer: &str| match object.pointer_mut(pointer).map(Value::take) {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        Self {
            labels: map("/metadata/labels"),
            annotations: map("/metadata/annotations"),
        }
    }

    fn put(self, object: &mut Value) {
        for (name, map) in [("labels", self.labels), ("annotations", self.annotations)] {
            if !map.is_empty() {
                map_mut(object, &["metadata"]).insert(name.to_owned(), map.into());
            } else if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove(name);
            }
        }
    }

    fn annotation(&self, key: &str) -> &str {
        self.annotations
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// What an annotation of ours keeps; it is taken away.
    fn kept(&mut self, key: &str) -> Option<Map<String, Value>> {
        let kept = self.annotations.remove(key)?;
        serde_json::from_str(kept.as_str()?).ok()
    }

    fn keep(&mut self, key: &str, map: Map<String, Value>) {
        let text = Value::from(map).to_string();
        self.annotations.insert(key.to_owned(), text.into());
    }
}

fn to_v1beta1(spec: &mut Map<String, Value>, marks: &mut Marks) {
    let mut scale = taken(spec, "scaleStrategy");
    let disabled = scale.remove("disablePVCReuse") == Some(Value::Bool(true));
    scale.insert("enablePVCReuse".to_owned(), (!disabled).into());
    if marks.labels.get(keys::EXCLUDE_PREPARING_DELETE) == Some(&Value::from("true")) {
        scale.insert("excludePreparingDelete".to_owned(), true.into());
    }
    spec.insert("scaleStrategy".to_owned(), scale.into());

    let mut strategy = taken(spec, "updateStrategy");
    let mut rolling = moved(&mut strategy);
    let kept = marks.kept(keys::CLONESET_V1BETA1);
    let kind = strategy.get("type").and_then(Value::as_str).unwrap_or_default();
    if kind == "OnDelete" {
        match kept {
            Some(kept) => {
                rolling.extend(kept);
                pre_download_from_annotations(&mut rolling, marks);
                strategy.insert("rollingUpdate".to_owned(), rolling.into());
            }
            None if rolling.is_empty() => {}
            None => marks.keep(keys::CLONESET_V1ALPHA1, rolling),
        }
    } else {
        let policy = if kind.is_empty() { "ReCreate" } else { kind };
        rolling.insert("podUpdatePolicy".to_owned(), policy.into());
        pre_download_from_annotations(&mut rolling, marks);
        strategy.insert("type".to_owned(), "RollingUpdate".into());
        strategy.insert("rollingUpdate".to_owned(), rolling.into());
    }
    spec.insert("updateStrategy".to_owned(), strategy.into());
}

fn to_v1alpha1(spec: &mut Map<String, Value>, marks: &mut Marks) {
    let mut scale = taken(spec, "scaleStrategy");
    if scale.remove("enablePVCReuse") != Some(Value::Bool(true)) {
        scale.insert("disablePVCReuse".to_owned(), true.into());
    }
    let is_excluded = scale.remove("excludePreparingDelete") == Some(Value::Bool(true));
    let label = keys::EXCLUDE_PREPARING_DELETE;
    if is_excluded {
        marks.labels.insert(label.to_owned(), "true".into());
    } else if marks.labels.get(label) == Some(&Value::from("true")) {
        marks.labels.remove(label);
    }
    if !scale.is_empty() {
        spec.insert("scaleStrategy".to_owned(), scale.into());
    }

    let mut strategy = taken(spec, "updateStrategy");
    let rolling = match strategy.remove("rollingUpdate") {
        Some(Value::Object(rolling)) => Some(rolling),
        _ => None,
    };
    let kept = marks.kept(keys::CLONESET_V1ALPHA1);
    let kind = strategy.get("type").and_then(Value::as_str).unwrap_or_default();
    let is_on_delete = kind == "OnDelete";
    let kind = kind.to_owned();
    match rolling {
        None if is_on_delete => strategy.extend(kept.unwrap_or_default()),
        rolling => {
            let mut rolling = rolling.unwrap_or_default();
            pre_download_to_annotations(&mut rolling, marks);
            let policy = rolling.remove("podUpdatePolicy");
            if is_on_delete {
                let beyond = policy.map(|policy| ("podUpdatePolicy".to_owned(), policy));
                marks.keep(keys::CLONESET_V1BETA1, beyond.into_iter().collect());
            } else {
                let policy = policy.as_ref().and_then(Value::as_str).unwrap_or_default();
                // A type that is not known stays unknown, so that nobody acts on it.
                let name = match (kind.as_str(), policy) {
                    ("" | "RollingUpdate", "") => "ReCreate",
                    ("" | "RollingUpdate", policy) => policy,
                    (unknown, _) => unknown,
                };
                strategy.insert("type".to_owned(), name.into());
            }
            strategy.extend(rolling);
        }
    }
    spec.insert("updateStrategy".to_owned(), strategy.into());
}

/// The map at a key, taken out; empty where there is none.
fn taken(map: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match map.remove(key) {
        Some(Value::Object(inner)) => inner,
        _ => Map::new(),
    }
}

/// The fields of rolling updates, taken out of the strategy.
fn moved(strategy: &mut Map<String, Value>) -> Map<String, Value> {
    ROLLING
        .into_iter()
        .filter_map(|field| Some((field.to_owned(), strategy.remove(field)?)))
        .collect()
}

/// What an annotation says as a field; `None` when it is empty, or no number where only numbers may be.
fn read_pre_download(field: &str, annotation: &str) -> Option<Value> {
    match annotation.parse::<i32>() {
        Ok(number) => Some(number.into()),
        Err(_) if field == PARALLELISM && !annotation.is_empty() => Some(annotation.into()),
        Err(_) if field == MIN_UPDATED_READY => {
            let value = Value::from(annotation);
            matches!(Amount::of(&value), Amount::Percent(_)).then_some(value)
        }
        Err(_) => None,
    }
}

fn pre_download_from_annotations(rolling: &mut Map<String, Value>, marks: &Marks) {
    for (field, annotation) in PRE_DOWNLOAD {
        if let Some(value) = read_pre_download(field, marks.annotation(annotation)) {
            let strategy = rolling
                .entry("inPlaceUpdateStrategy")
                .or_insert_with(|| Map::new().into());
            map_mut(strategy, &[]).insert(field.to_owned(), value);
        }
    }
}

/// An annotation that says nothing readable stays as it is: no field stands for it.
fn pre_download_to_annotations(rolling: &mut Map<String, Value>, marks: &mut Marks) {
    let policy = rolling.get("podUpdatePolicy").and_then(Value::as_str);
    let is_recreate = matches!(policy, None | Some("" | "ReCreate"));
    let mut strategy = rolling
        .get_mut("inPlaceUpdateStrategy")
        .and_then(Value::as_object_mut);
    let mut n_moved = 0;
    for (field, annotation) in PRE_DOWNLOAD {
        let written = read_pre_download(field, marks.annotation(annotation));
        let value = strategy.as_mut().and_then(|strategy| strategy.remove(field));
        let value = value.filter(|value| !value.is_null());
        n_moved += usize::from(value.is_some());
        match value {
            value if value == written => {}
            Some(Value::String(text)) => drop(marks.annotations.insert(annotation.to_owned(), text.into())),
            Some(value) => {
                let text = value.to_string();
                marks.annotations.insert(annotation.to_owned(), text.into());
            }
            None => drop(marks.annotations.remove(annotation)),
        }
    }
    let is_empty = strategy.is_some_and(|strategy| strategy.is_empty());
    if n_moved > 0 && is_empty && is_recreate {
        rolling.remove("inPlaceUpdateStrategy");
    }
}
