//! Patches: what an object becomes. Source: embedded-cluster.md 9.1-9.3.
//!
//! The result is a tree that still has to be brought into canonical form by [`crate::schema::clean`], which also finds
//! the fields that the patch should not have set.

mod operations;
pub mod strategic;

use serde_json::{Map, Value};

use crate::kinds::Kind;
use crate::schema::table::table;
use crate::schema::{go_kind, go_syntax, go_text};

/// How many operations a JSON patch may have.
const MAX_OPERATIONS: usize = 10_000;

/// Begins what is said of a body that is no patch.
const NOT_DECODED: &str = "error decoding patch: ";

/// What the body of a PATCH is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// `application/json-patch+json`, RFC 6902.
    Json,
    /// `application/merge-patch+json`, RFC 7386.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
}

impl PatchType {
    /// The patch type of a content type, whatever its parameters; `None` if it is none that is served.
    pub fn of(content_type: &str) -> Option<Self> {
        match content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
            .as_str()
        {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            _ => None,
        }
    }
}

/// Why a patch can not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// 400: the patch is not well formed.
    #[error("{0}")]
    BadRequest(String),
    /// 422: the patch does not fit the object.
    #[error("{0}")]
    Invalid(String),
    /// 422: an operation of a JSON patch does not fit the object.
    #[error("an operation does not fit the object")]
    Rejected,
    /// 500 without a reason, as Kubernetes answers to what it cannot type.
    #[error("{0}")]
    Untyped(String),
    /// 413: the patch has too many operations.
    #[error("{0}")]
    TooLarge(String),
}

/// Applies the body of a PATCH to the current object.
pub fn apply(kind: &Kind, patch_type: PatchType, current: &Value, body: &[u8]) -> Result<Value, PatchError> {
    apply_to(kind, patch_type, body, |_| current.clone(), current)
}

/// Applies the body of a PATCH to the current object as far as it reaches: the record of owners is in the result only
/// where the patch is about it, and with `only_status` the other parts of the object are only where the patch names one
/// of them. Most of a large object is neither copied nor looked at then. Tells whether the other parts are there.
pub fn apply_where_it_reaches(
    kind: &Kind,
    patch_type: PatchType,
    current: &Value,
    body: &[u8],
    only_status: bool,
) -> Result<(Value, bool), PatchError> {
    let mut is_whole = true;
    let start = |patch: &Map<String, Value>| {
        is_whole = !only_status || !patch.keys().all(|name| WITH_STATUS.contains(&name.as_str()));
        reached(current, patch, is_whole)
    };
    let patched = apply_to(kind, patch_type, body, start, current)?;
    Ok((patched, is_whole))
}

/// `start` is what a patch that is an object begins with.
fn apply_to(
    kind: &Kind,
    patch_type: PatchType,
    body: &[u8],
    start: impl FnOnce(&Map<String, Value>) -> Value,
    current: &Value,
) -> Result<Value, PatchError> {
    match patch_type {
        PatchType::Json => json(current, body),
        PatchType::Merge => {
            let patch = object(body)?;
            let mut patched = start(&patch);
            json_patch::merge(&mut patched, &Value::Object(patch));
            Ok(patched)
        }
        PatchType::Strategic => {
            let patch = object(body).map_err(|error| match error {
                PatchError::BadRequest(message) => PatchError::BadRequest(undecorated(&message)),
                other => other,
            })?;
            strategic::apply(kind, start(&patch), &patch)
        }
    }
}

/// Members of an object that a write of its status is about.
const WITH_STATUS: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

fn reached(current: &Value, patch: &Map<String, Value>, is_whole: bool) -> Value {
    let Some(members) = current.as_object() else {
        return current.clone();
    };
    let in_status = |name: &str| WITH_STATUS.contains(&name);
    let owners = "managedFields";
    let keeps_owners = match patch.get("metadata") {
        Some(Value::Object(metadata)) => metadata.contains_key(owners),
        Some(_) => true,
        None => false,
    };
    let copy = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::Object(metadata) if name == "metadata" && !keeps_owners => {
                let fields = metadata.iter().filter(|(field, _)| *field != owners);
                let fields = fields.map(|(field, value)| (field.clone(), value.clone()));
                Value::Object(fields.collect())
            }
            other => other.clone(),
        };
        (name.clone(), value)
    };
    let wanted = members.iter().filter(|(name, _)| is_whole || in_status(name));
    Value::Object(wanted.map(copy).collect())
}

/// What a refused patch has made, for messages. It is made again when somebody asks: hardly any patch is refused.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    kind: &'a Kind,
    patch_type: PatchType,
    current: &'a Value,
    body: &'a [u8],
}

impl<'a> Shown<'a> {
    /// What `body` makes of `current`.
    pub fn new(kind: &'a Kind, patch_type: PatchType, current: &'a Value, body: &'a [u8]) -> Self {
        Self {
            kind,
            patch_type,
            current,
            body,
        }
    }

    /// What Kubernetes says of a value of a wrong type: it does not go by way of JSON from a strategic merge patch.
    pub fn problem(&self, problem: &str) -> String {
        let is_strategic = self.patch_type == PatchType::Strategic;
        let parts = problem
            .strip_prefix("json: cannot unmarshal ")
            .and_then(|rest| rest.split_once(" into Go struct field "))
            .and_then(|(found, field)| Some((found.split(' ').next()?, field.rsplit(' ').next()?)));
        let (Some((found, wanted)), true) = (parts, is_strategic) else {
            let is_bytes = is_strategic && problem.starts_with("illegal base64");
            let before = if is_bytes {
                "error decoding from json: "
            } else {
                ""
            };
            return format!("{before}{problem}");
        };
        let found = match found {
            "object" => "map",
            "array" => "slice",
            "number" => "int64",
            other => other,
        };
        match wanted {
            list if list.starts_with("[]") => format!("cannot restore slice from {found}"),
            map if map.starts_with("map[") => format!("cannot restore map from {found}"),
            "string" if found == "int64" => "cannot convert int64 to string".to_owned(),
            "string" | "bool" | "int32" | "int64" | "float64" => format!("unrecognized type: {wanted}"),
            _ => format!("cannot restore struct from: {found}"),
        }
    }

    /// As Kubernetes shows it: of a strategic patch the patch itself, of the others what they made.
    pub fn text(&self) -> String {
        let patch: Value = serde_json::from_slice(self.body).unwrap_or_default();
        let patch = match self.patch_type {
            PatchType::Strategic => return go_text::printed(&patch),
            PatchType::Json => touched(&patch, self.current),
            PatchType::Merge => patch,
        };
        let patched = apply(self.kind, self.patch_type, self.current, self.body).unwrap_or_default();
        let message = table().kind(self.kind.group, self.kind.version, self.kind.kind);
        go_text::patched_json(message, &patched, &patch)
    }
}

/// The objects that the operations of a JSON patch reach into, as an object of the same shape.
fn touched(operations: &Value, current: &Value) -> Value {
    let mut touched = Value::Object(Map::new());
    let operations = operations.as_array().into_iter().flatten();
    for path in operations.filter_map(|operation| operation.get("path")?.as_str()) {
        let Some((parent, _)) = path.rsplit_once('/') else {
            continue;
        };
        let (mut at, mut known) = (&mut touched, Some(current));
        for name in parent.split('/').skip(1) {
            known = known.and_then(|known| known.get(name));
            let Some(fields) = at.as_object_mut().filter(|_| known.is_some_and(Value::is_object)) else {
                break;
            };
            at = fields.entry(name).or_insert_with(|| Value::Object(Map::new()));
        }
    }
    touched
}

fn json(current: &Value, body: &[u8]) -> Result<Value, PatchError> {
    let operations = match parsed(body)? {
        Value::Array(operations) => operations,
        Value::Null => Vec::new(),
        other => return Err(undecodable(&other, "[]handlers.jsonPatchOp")),
    };
    if let Some(other) = operations.iter().find(|operation| !operation.is_object()) {
        return Err(undecodable(other, "handlers.jsonPatchOp"));
    }
    for name in ["op", "path", "from"] {
        let mut given = operations.iter().filter_map(|operation| operation.get(name));
        if let Some(other) = given.find(|value| !value.is_string() && !value.is_null()) {
            return Err(PatchError::BadRequest(format!(
                "error decoding patch: json: cannot unmarshal {} into Go struct field jsonPatchOp.{name} of type string",
                go_kind(other)
            )));
        }
    }
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "the allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut patched = current.clone();
    for operation in operations {
        let Value::Object(operation) = operation else {
            return Err(PatchError::Rejected);
        };
        operations::operate(&mut patched, &operation).ok_or(PatchError::Rejected)?;
    }
    Ok(patched)
}

fn object(body: &[u8]) -> Result<Map<String, Value>, PatchError> {
    match parsed(body)? {
        Value::Object(patch) => Ok(patch),
        other => Err(undecodable(&other, "map[string]interface {}")),
    }
}

/// Of a strategic merge patch it is not said that it is a patch that cannot be decoded.
fn undecorated(message: &str) -> String {
    message.trim_start_matches(NOT_DECODED).to_owned()
}

fn parsed(body: &[u8]) -> Result<Value, PatchError> {
    serde_json::from_slice(body)
        .map_err(|_| PatchError::BadRequest(format!("{NOT_DECODED}{}", go_syntax::problem(body))))
}

fn undecodable(found: &Value, wanted: &str) -> PatchError {
    PatchError::BadRequest(format!(
        "{NOT_DECODED}json: cannot unmarshal {} into Go value of type {wanted}",
        go_kind(found)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use serde_json::json;

    fn config_map() -> &'static Kind {
        kinds::find("", "v1", "configmaps").unwrap()
    }

    fn patched(patch_type: PatchType, patch: &Value) -> Result<Value, PatchError> {
        let current =
            json!({"metadata": {"name": "a", "labels": {"a": "1", "b": "2"}}, "data": {"x/y": "1"}});
        apply(config_map(), patch_type, &current, patch.to_string().as_bytes())
    }

    /// embedded-cluster.md 9.2.
    #[test]
    fn merge_patches_delete_by_null() {
        let object = patched(
            PatchType::Merge,
            &json!({"metadata": {"labels": {"a": null, "c": "3"}}}),
        )
        .unwrap();
        assert_eq!(object["metadata"]["labels"], json!({"b": "2", "c": "3"}));
        assert!(matches!(
            patched(PatchType::Merge, &json!([])),
            Err(PatchError::BadRequest(_))
        ));
    }

    /// What a patch does not reach is not copied, and makes no difference where it is.
    #[test]
    fn a_patch_of_the_status_leaves_the_rest_alone() {
        let pod = kinds::find("", "v1", "pods").unwrap();
        let current = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "labels": {"a": "1"}, "managedFields": [{"manager": "m"}]},
            "spec": {"nodeName": "n"}, "status": {"phase": "Pending"},
        });
        let without = |names: &[&str]| {
            let mut object = current.clone();
            for name in names {
                object.as_object_mut().unwrap().remove(*name);
            }
            object["metadata"]
                .as_object_mut()
                .unwrap()
                .remove("managedFields");
            object
        };
        let cases = [
            (
                json!({"metadata": {"uid": "u"}, "status": {"phase": "Running"}}),
                true,
                without(&["spec"]),
            ),
            (json!({"status": {"phase": "Running"}}), false, without(&[])),
            (
                json!({"status": {"phase": "Running"}, "spec": {"nodeName": "o"}}),
                true,
                without(&[]),
            ),
            (
                json!({"status": null, "$retainKeys": ["metadata"]}),
                true,
                without(&[]),
            ),
            (json!({"metadata": {"managedFields": []}}), false, current.clone()),
            (json!({"metadata": null}), false, current.clone()),
        ];
        for (patch, only_status, start) in cases {
            for patch_type in [PatchType::Merge, PatchType::Strategic] {
                let body = patch.to_string();
                let wanted = apply(pod, patch_type, &start, body.as_bytes());
                let patched = apply_where_it_reaches(pod, patch_type, &current, body.as_bytes(), only_status);
                let patched = patched.map(|(patched, is_whole)| {
                    assert_eq!(is_whole, start.get("spec").is_some(), "{patch}");
                    patched
                });
                assert_eq!(patched, wanted, "{patch}");
            }
        }
    }

    /// embedded-cluster.md 9.1.
    #[test]
    fn json_patches_have_six_operations() {
        let object = patched(
            PatchType::Json,
            &json!([
                {"op": "test", "path": "/data/x~1y", "value": "1"},
                {"op": "add", "path": "/data/z", "value": "2"},
                {"op": "copy", "from": "/data/z", "path": "/data/w"},
                {"op": "move", "from": "/data/z", "path": "/data/v"},
                {"op": "replace", "path": "/data/x~1y", "value": "3"},
                {"op": "remove", "path": "/metadata/labels"},
            ]),
        )
        .unwrap();
        assert_eq!(
            object,
            json!({"metadata": {"name": "a"}, "data": {"x/y": "3", "w": "2", "v": "2"}})
        );
        let failing = [
            json!([{"op": "test", "path": "/data/x~1y", "value": "2"}]),
            json!([{"op": "remove", "path": "/data/none"}]),
            json!([{"op": "jump", "path": "/"}]),
            json!([{"op": "replace", "path": "/none/none", "value": 1}]),
        ];
        for patch in failing {
            assert!(
                matches!(patched(PatchType::Json, &patch), Err(PatchError::Rejected)),
                "{patch}"
            );
        }
        for patch in [json!({}), json!([1])] {
            assert!(
                matches!(patched(PatchType::Json, &patch), Err(PatchError::BadRequest(_))),
                "{patch}"
            );
        }
        let many = vec![json!({"op": "test", "path": "", "value": 1}); MAX_OPERATIONS + 1];
        assert!(matches!(
            patched(PatchType::Json, &Value::from(many)),
            Err(PatchError::TooLarge(_))
        ));
    }

    #[test]
    fn content_types_name_patch_types() {
        assert_eq!(
            PatchType::of("application/merge-patch+json; charset=utf-8"),
            Some(PatchType::Merge)
        );
        assert_eq!(PatchType::of("application/apply-patch+yaml"), None);
    }
}
