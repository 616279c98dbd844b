use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kinds;

fn apply(kind: &Kind, current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let patch = patch.as_object().ok_or_else(|| bad("no object"))?;
    super::apply(kind, current.clone(), patch)
}

fn daemon_sets() -> &'static Kind {
    kinds::find("apps", "v1", "daemonsets").unwrap()
}

fn pods() -> &'static Kind {
    kinds::find("", "v1", "pods").unwrap()
}

fn pod(current: &Value, patch: &Value) -> Value {
    apply(pods(), &json!({ "spec": current }), &json!({ "spec": patch })).unwrap()["spec"].take()
}

fn template(spec: &Value) -> Value {
    json!({"spec": {"template": {"spec": spec}}})
}

/// embedded-cluster.md 20, example 10.
#[test]
fn element_order_reorders() {
    let current =
        template(&json!({"containers": [{"name": "a", "image": "i1"}, {"name": "b", "image": "j"}]}));
    let patch = template(&json!({
        "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a", "image": "i2"}],
    }));
    let wanted =
        template(&json!({"containers": [{"name": "b", "image": "j"}, {"name": "a", "image": "i2"}]}));
    assert_eq!(apply(daemon_sets(), &current, &patch).unwrap(), wanted);
}

/// embedded-cluster.md 20, example 11: the patch itself removes; that pods refuse it is a rule of pods.
#[test]
fn elements_are_deleted_by_key() {
    let current = || json!({"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "j"}]});
    let patch = || json!({"containers": [{"name": "a", "$patch": "delete"}]});
    let wanted = json!({"containers": [{"name": "b", "image": "j"}]});
    assert_eq!(pod(&current(), &patch()), wanted);
    let object = apply(daemon_sets(), &template(&current()), &template(&patch())).unwrap();
    assert_eq!(object, template(&wanted));
}

/// embedded-cluster.md 9.3, "Required by rollback".
#[test]
fn a_revision_replaces_the_template() {
    let current = json!({"spec": {"minReadySeconds": 3, "template": {
        "metadata": {"labels": {"app": "x", "old": "y"}},
        "spec": {"containers": [{"name": "c", "image": "c:2"}], "hostNetwork": true},
    }}});
    let template = json!({
        "metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "c:1"}]},
    });
    let mut patch = json!({"spec": {"template": template}});
    patch["spec"]["template"]["$patch"] = json!("replace");
    let wanted = json!({"spec": {"minReadySeconds": 3, "template": template}});
    assert_eq!(apply(daemon_sets(), &current, &patch).unwrap(), wanted);
}

#[test]
fn lists_merge_by_their_key_or_are_replaced() {
    let cases = [
        // By name, and inside by containerPort.
        (
            json!({"containers": [{"name": "a", "image": "i", "ports": [{"containerPort": 1}, {"containerPort": 2}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 2, "name": "x"}]}]}),
            json!({"containers": [{
                "name": "a", "image": "i", "ports": [{"containerPort": 1}, {"containerPort": 2, "name": "x"}],
            }]}),
        ),
        // A new element stands before those the patch does not name.
        (
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"name": "c"}]}),
            json!({"containers": [{"name": "c"}, {"name": "a"}, {"name": "b"}]}),
        ),
        // Elements the patch does not name keep their place among those it does.
        (
            json!({"containers": [{"name": "a"}, {"name": "x"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}], "containers": [{"name": "c"}]}),
            json!({"containers": [{"name": "a"}, {"name": "x"}, {"name": "b"}, {"name": "c"}]}),
        ),
        // Only an order.
        (
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
            json!({"containers": [{"name": "b"}, {"name": "a"}]}),
        ),
        // Atomic lists.
        (
            json!({"tolerations": [{"key": "a"}, {"key": "b"}]}),
            json!({"tolerations": [{"key": "c"}]}),
            json!({"tolerations": [{"key": "c"}]}),
        ),
        (
            json!({"containers": [{"name": "a", "args": ["x", "y"]}]}),
            json!({"containers": [{"name": "a", "args": ["z"]}]}),
            json!({"containers": [{"name": "a", "args": ["z"]}]}),
        ),
        // Replaced by directive.
        (
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"$patch": "replace"}, {"name": "c", "resources": {"$patch": "replace", "x": 1}}]}),
            json!({"containers": [{"name": "c", "resources": {"x": 1}}]}),
        ),
        // Null deletes, also below a new element.
        (
            json!({"hostNetwork": true, "containers": [{"name": "a", "image": "i"}]}),
            json!({"hostNetwork": null, "containers": [{"name": "b", "image": null}]}),
            json!({"containers": [{"name": "b"}, {"name": "a", "image": "i"}]}),
        ),
        // retainKeys of volumes: the other source goes.
        (
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}),
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}),
        ),
        // Maps.
        (
            json!({"nodeSelector": {"a": "1", "b": "2"}, "securityContext": {"runAsUser": 1}}),
            json!({"nodeSelector": {"$patch": "replace", "c": "3"}, "securityContext": {"$patch": "delete"}}),
            json!({"nodeSelector": {"c": "3"}, "securityContext": {}}),
        ),
        (
            json!({"nodeSelector": {"a": "1"}}),
            json!({"nodeSelector": {"$patch": "merge", "b": "2"}}),
            json!({"nodeSelector": {"a": "1", "b": "2"}}),
        ),
    ];
    for (current, patch, wanted) in cases {
        assert_eq!(pod(&current, &patch), wanted, "{patch}");
    }
}

#[test]
fn sets_of_scalars_take_and_lose_members() {
    let object = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    let patch = |metadata: Value| json!({ "metadata": metadata });
    let cases = [
        (
            json!({"finalizers": ["c/c", "a/a"]}),
            json!(["c/c", "a/a", "b/b"]),
        ),
        (
            json!({"$deleteFromPrimitiveList/finalizers": ["a/a"]}),
            json!(["b/b"]),
        ),
        (
            json!({"$setElementOrder/finalizers": ["b/b", "a/a"]}),
            json!(["b/b", "a/a"]),
        ),
        (
            json!({
                "$setElementOrder/finalizers": ["b/b", "c/c"], "$deleteFromPrimitiveList/finalizers": ["a/a"],
                "finalizers": ["c/c"],
            }),
            json!(["b/b", "c/c"]),
        ),
    ];
    for (change, wanted) in cases {
        let result = apply(pods(), &object(json!(["a/a", "b/b"])), &patch(change.clone())).unwrap();
        assert_eq!(result, object(wanted), "{change}");
    }
}

/// The data of a revision holds directives that are meant for someone else.
#[test]
fn data_of_revisions_is_not_looked_into() {
    let revisions = kinds::find("apps", "v1", "controllerrevisions").unwrap();
    let data = json!({"spec": {"template": {"$patch": "replace"}}});
    let patched = apply(revisions, &json!({"data": {"old": 1}}), &json!({"data": data})).unwrap();
    assert_eq!(patched, json!({"data": data}));
    let relabelled = apply(
        revisions,
        &json!({"data": data}),
        &json!({"metadata": {"labels": {"a": "b"}}}),
    )
    .unwrap();
    assert_eq!(relabelled["data"], data);
}

#[test]
fn malformed_patches_are_refused() {
    let cases = [
        json!({"$foo": 1}),
        json!({"spec": {"$patch": "destroy"}}),
        json!({"spec": {"$patch": 1}}),
        json!({"spec": {"containers": [{"image": "i"}]}}),
        json!({"spec": {"containers": ["a"]}}),
        json!({"spec": {"containers": [{"$patch": "delete"}]}}),
        json!({"spec": {"$retainKeys": "a"}}),
        json!({"spec": {"$retainKeys": ["a"], "b": 1}}),
        json!({"metadata": {"$setElementOrder/finalizers": 1, "finalizers": ["a/b"]}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": 1}}),
        json!([]),
    ];
    for patch in cases {
        let result = apply(pods(), &json!({"metadata": {"finalizers": []}}), &patch);
        assert!(
            matches!(result, Err(PatchError::BadRequest(_) | PatchError::Untyped(_))),
            "{patch}: {result:?}"
        );
    }
}

fn any_patch() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i8>().prop_map(Value::from),
        prop::sample::select(vec!["replace", "delete", "merge", "a", "b"]).prop_map(Value::from),
    ];
    let name = prop::sample::select(vec![
        "spec",
        "metadata",
        "template",
        "containers",
        "volumes",
        "name",
        "ports",
        "containerPort",
        "finalizers",
        "labels",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
        "tolerations",
        "ownerReferences",
        "uid",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(6, 64, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn has_directive(value: &Value) -> bool {
    match value {
        Value::Object(map) => map
            .iter()
            .any(|(name, value)| name.starts_with('$') || has_directive(value)),
        Value::Array(values) => values.iter().any(has_directive),
        _ => false,
    }
}

proptest! {
    #[test]
    fn patching_never_panics_and_stores_no_directive(current in any_patch(), patch in any_patch()) {
        let current = if has_directive(&current) { json!({}) } else { current };
        for kind in [daemon_sets(), pods()] {
            if let Ok(result) = apply(kind, &current, &patch) {
                prop_assert!(!has_directive(&result), "{}", result);
            }
        }
    }
}
