//! Rules of `metadata` that hold for every kind. Source: embedded-cluster.md 6.4.

use pitstop_api::keys;
use serde_json::Value;

pub(super) use pitstop_api::validate::{
    annotations, key_problems, label_value_problems, labels, name_problems,
};

use super::fields::{flag, list, text};
use super::{FieldError, NameRule};

/// Rules of an object whose name follows `rule`.
pub(super) fn validate(object: &Value, rule: NameRule) -> Vec<FieldError> {
    let name = text(object, "/metadata/name");
    let mut errors = Vec::new();
    let prefix = text(object, "/metadata/generateName");
    if !prefix.is_empty() {
        let problems = name_problems(&without_last_dash(prefix), rule).into_iter();
        errors.extend(problems.map(|why| FieldError::invalid("metadata.generateName", prefix, why)));
    }
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else {
        errors.extend(
            name_problems(name, rule)
                .into_iter()
                .map(|why| FieldError::invalid("metadata.name", name, why)),
        );
    }
    errors.extend(labels(object, "/metadata/labels", "metadata.labels"));
    errors.extend(annotations(
        object,
        "/metadata/annotations",
        "metadata.annotations",
    ));
    errors.extend(owners(object));
    errors.extend(finalizers(object));
    errors
}

/// Finalizers without a domain are those that everybody knows.
pub(super) fn standard_finalizers(object: &Value) -> Vec<FieldError> {
    let finalizers = list(object, "/metadata/finalizers").iter().enumerate();
    let names = finalizers.filter_map(|(index, finalizer)| Some((index, finalizer.as_str()?)));
    names
        .filter(|(_, name)| {
            let standard = ["kubernetes", keys::FINALIZER_ORPHAN, keys::FINALIZER_FOREGROUND];
            !name.contains('/') && !standard.contains(name)
        })
        .map(|(index, name)| {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            FieldError::invalid(format!("metadata.finalizers[{index}]"), name, why)
        })
        .collect()
}

/// A prefix may end with a dash.
fn without_last_dash(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => {
            let mut rest: String = rest.to_owned();
            rest.pop();
            rest + "a"
        }
        _ => prefix.to_owned(),
    }
}

/// A deleting object takes no new finalizers.
pub(super) fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = finalizers_and_deletion(new, old);
    errors.extend(labels(new, "/metadata/labels", "metadata.labels"));
    errors.extend(annotations(new, "/metadata/annotations", "metadata.annotations"));
    errors.extend(owners(new));
    errors
}

fn finalizers_and_deletion(new: &Value, old: &Value) -> Vec<FieldError> {
    if text(old, "/metadata/deletionTimestamp").is_empty() {
        let fields = ["deletionTimestamp", "deletionGracePeriodSeconds"].into_iter();
        let given = fields.filter_map(|field| Some((field, new.pointer("/metadata")?.get(field)?)));
        return given
            .map(|(field, value)| {
                FieldError::invalid(format!("metadata.{field}"), value.clone(), "field is immutable")
            })
            .collect();
    }
    let before = list(old, "/metadata/finalizers");
    let added: Vec<String> = list(new, "/metadata/finalizers")
        .iter()
        .filter(|finalizer| !before.contains(finalizer))
        .map(ToString::to_string)
        .collect();
    if added.is_empty() {
        return Vec::new();
    }
    vec![FieldError::forbidden(
        "metadata.finalizers",
        format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.join(", ")
        ),
    )]
}

fn owners(object: &Value) -> Vec<FieldError> {
    const FIELD: &str = "metadata.ownerReferences";
    let owners = list(object, "/metadata/ownerReferences");
    let mut errors = Vec::new();
    for owner in owners {
        for (name, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if text(owner, &format!("/{name}")).is_empty() {
                errors.push(FieldError::invalid(format!("{FIELD}.{name}"), "", why));
            }
        }
        if text(owner, "/apiVersion") == "v1" && text(owner, "/kind") == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(FIELD, owner.clone(), why));
        }
    }
    let controllers: Vec<&Value> = owners.iter().filter(|owner| flag(owner, "/controller")).collect();
    if let [first, second, ..] = controllers.as_slice() {
        let shown = |owner: &Value| format!("{}/{}", text(owner, "/kind"), text(owner, "/name"));
        let (first, second) = (shown(first), shown(second));
        let why = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"
        );
        errors.push(FieldError::invalid(FIELD, owners.to_vec(), why));
    }
    errors
}

fn finalizers(object: &Value) -> Vec<FieldError> {
    const FIELD: &str = "metadata.finalizers";
    let finalizers = list(object, "/metadata/finalizers");
    let mut errors = Vec::new();
    for finalizer in finalizers.iter().filter_map(Value::as_str) {
        let problems = key_problems(finalizer).into_iter();
        errors.extend(problems.map(|why| FieldError::invalid(FIELD, finalizer, why)));
    }
    if [keys::FINALIZER_ORPHAN, keys::FINALIZER_FOREGROUND]
        .iter()
        .all(|wanted| finalizers.iter().any(|finalizer| finalizer == wanted))
    {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(FIELD, finalizers.to_vec(), why));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(metadata: &Value) -> Vec<String> {
        validate(&json!({ "metadata": metadata }), NameRule::Subdomain)
            .iter()
            .map(|error| error.field.clone())
            .collect()
    }

    #[test]
    fn labels_and_annotations_have_qualified_keys() {
        assert!(problems(&json!({"name": "a", "labels": {"example.com/App_1": "v1.0", "x": ""}})).is_empty());
        for labels in [
            json!({"a b": ""}),
            json!({"a": "-"}),
            json!({"/a": ""}),
            json!({"a/b/c": ""}),
            json!({"a": "x".repeat(64)}),
            json!({"": ""}),
            json!({"Example.com/a": ""}),
        ] {
            assert!(
                problems(&json!({"name": "a", "labels": labels})).contains(&"metadata.labels".to_owned())
            );
        }
        assert!(problems(&json!({"name": "a", "annotations": {"Example.com/a": "any thing"}})).is_empty());
        let large = json!({"name": "a", "annotations": {"a": "x".repeat(262_144)}});
        assert_eq!(problems(&large), ["metadata.annotations"]);
    }

    #[test]
    fn one_controller_owns_an_object() {
        let owner = |name: &str| json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": "u", "controller": true});
        assert!(problems(&json!({"name": "a", "ownerReferences": [owner("b")]})).is_empty());
        let both = problems(&json!({"name": "a", "ownerReferences": [owner("b"), owner("c")]}));
        assert_eq!(both, ["metadata.ownerReferences"]);
        let event = json!({"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"});
        assert_eq!(
            problems(&json!({"name": "a", "ownerReferences": [event]})),
            ["metadata.ownerReferences"]
        );
        assert_eq!(problems(&json!({"name": "a", "ownerReferences": [{}]})).len(), 4);
    }

    #[test]
    fn finalizers_are_qualified_and_not_added_while_deleting() {
        assert!(problems(&json!({"name": "a", "finalizers": ["example.com/x", "orphan"]})).is_empty());
        let unqualified = json!({"metadata": {"name": "a", "finalizers": ["example.com/x", "x"]}});
        let fields: Vec<String> = standard_finalizers(&unqualified)
            .into_iter()
            .map(|error| error.field)
            .collect();
        assert_eq!(fields, ["metadata.finalizers[1]"]);
        assert_eq!(
            problems(&json!({"name": "a", "finalizers": [""]})),
            ["metadata.finalizers", "metadata.finalizers"]
        );
        let both = json!({"name": "a", "finalizers": ["orphan", "foregroundDeletion"]});
        assert_eq!(problems(&both), ["metadata.finalizers"]);
        let deleting =
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}});
        let more = json!({"metadata": {"finalizers": ["a/b", "a/c"]}});
        assert_eq!(
            validate_update(&more, &deleting)[0].to_string(),
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
             finalizers []string{\"a/c\"}"
        );
        assert!(validate_update(&json!({"metadata": {}}), &deleting).is_empty());
    }
}
