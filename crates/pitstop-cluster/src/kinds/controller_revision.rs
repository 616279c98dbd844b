//! Controller revisions: history of DaemonSets. Their data never changes, their number may.

use serde_json::Value;

use super::fields::{flag, integer, list, text};
use super::{Column, FieldError, Kind, age};

pub(super) const KIND: Kind = Kind {
    group: "apps",
    stored_as: ("apps", "controllerrevisions"),
    validate: |object| {
        let mut errors = Vec::new();
        if object.get("data").is_none() {
            errors.push(FieldError::required("data", "data is mandatory"));
        }
        if let Some(revision) = integer(object, "/revision").filter(|revision| *revision < 0) {
            errors.push(FieldError::invalid(
                "revision",
                revision,
                "must be greater than or equal to 0",
            ));
        }
        errors
    },
    validate_update: |new, old| {
        let mut errors = Vec::new();
        if new.get("data") != old.get("data") {
            let data = new.get("data").cloned().unwrap_or_default();
            errors.push(FieldError::invalid("data", data, "field is immutable"));
        }
        errors
    },
    columns: &[
        Column::NAME,
        Column::string("Controller"),
        Column::string("Revision"),
        Column::AGE,
    ],
    cells: |object, now| {
        let revision = integer(object, "/revision").unwrap_or_default();
        vec![
            age::name(object),
            Value::from(controller(object)),
            Value::from(revision),
            age::age(object, now),
        ]
    },
    ..Kind::plain("ControllerRevision", "controllerrevisions", "controllerrevision")
};

/// E.g. `daemonset.apps/ds1`.
fn controller(object: &Value) -> String {
    let owner = list(object, "/metadata/ownerReferences")
        .iter()
        .find(|owner| flag(owner, "/controller"));
    let Some(owner) = owner else {
        return "<none>".to_owned();
    };
    let kind = text(owner, "/kind").to_lowercase();
    let name = text(owner, "/name");
    match text(owner, "/apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// embedded-cluster.md 6.4.
    #[test]
    fn data_is_immutable_and_revision_is_not() {
        let revision = |number: i64, data: &str| json!({"metadata": {"name": "r"}, "revision": number, "data": {"a": data}});
        assert!((KIND.validate_update)(&revision(2, "x"), &revision(1, "x")).is_empty());
        assert_eq!(
            (KIND.validate_update)(&revision(1, "y"), &revision(1, "x"))[0].to_string(),
            r#"data: Invalid value: {"a":"y"}: field is immutable"#
        );
    }

    /// embedded-cluster.md 12.
    #[test]
    fn the_controller_is_shown_with_its_group() {
        let now = "2026-01-01T00:02:00Z".parse().unwrap();
        let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "ds1", "controller": true});
        let metadata =
            json!({"name": "r", "creationTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [owner]});
        let cells = (KIND.cells)(&json!({"metadata": metadata, "revision": 3}), now);
        assert_eq!(
            cells,
            [json!("r"), json!("daemonset.apps/ds1"), json!(3), json!("2m")]
        );
        let alone = (KIND.cells)(&json!({"metadata": {"name": "r"}}), now);
        assert_eq!(alone, [json!("r"), json!("<none>"), json!(0), json!("<unknown>")]);
    }
}
