//! Patches: what an object becomes. Source: embedded-cluster.md 9.1-9.3.
//!
//! The result is a tree that still has to be brought into canonical form by [`crate::schema::clean`], which also finds
//! the fields that the patch should not have set.

pub mod strategic;

use json_patch::PatchErrorKind;
use serde_json::Value;

use crate::kinds::Kind;

/// How many operations a JSON patch may have.
const MAX_OPERATIONS: usize = 10_000;

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
    /// 413: the patch has too many operations.
    #[error("{0}")]
    TooLarge(String),
}

/// Applies the body of a PATCH to the current object.
pub fn apply(kind: &Kind, patch_type: PatchType, current: &Value, body: &[u8]) -> Result<Value, PatchError> {
    match patch_type {
        PatchType::Json => json(current, body),
        PatchType::Merge => {
            let patch = object(body)?;
            let mut patched = current.clone();
            json_patch::merge(&mut patched, &patch);
            Ok(patched)
        }
        PatchType::Strategic => strategic::apply(kind, current, &object(body)?),
    }
}

fn json(current: &Value, body: &[u8]) -> Result<Value, PatchError> {
    let operations: Vec<Value> = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "the allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let patch: json_patch::Patch =
        serde_json::from_value(Value::Array(operations)).map_err(|error| malformed(&error))?;
    let mut patched = current.clone();
    json_patch::patch(&mut patched, &patch).map_err(|error| {
        PatchError::Invalid(match error.kind {
            PatchErrorKind::TestFailed => format!("testing value {} failed: test failed", error.path),
            kind => format!("operation {} at {} failed: {kind}", error.operation, error.path),
        })
    })?;
    Ok(patched)
}

fn object(body: &[u8]) -> Result<Value, PatchError> {
    let patch: Value = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    if patch.is_object() {
        Ok(patch)
    } else {
        Err(PatchError::BadRequest("a patch must be a JSON object".to_owned()))
    }
}

fn malformed(error: &serde_json::Error) -> PatchError {
    PatchError::BadRequest(format!("error decoding patch: {error}"))
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
        ];
        for patch in failing {
            assert!(
                matches!(patched(PatchType::Json, &patch), Err(PatchError::Invalid(_))),
                "{patch}"
            );
        }
        for patch in [json!([{"op": "jump", "path": "/"}]), json!({}), json!([1])] {
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
