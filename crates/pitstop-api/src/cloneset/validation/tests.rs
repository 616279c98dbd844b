//! Every rejection of cloneset.md 1.6, with the field and the words, in both versions.

use serde_json::json;

use super::*;
use crate::cloneset::defaults::{Gates, default};
use crate::fields::map_mut;
use crate::keys;
use crate::kruise::is_spec_untouched;

const ALPHA: Version = Version::V1alpha1;
const BETA: Version = Version::V1beta1;

/// A CloneSet that is valid, with `extra` laid over its spec and `rolling` over the fields of rolling updates.
fn cloneset(version: Version, extra: &Value, rolling: &Value) -> Value {
    let mut object = json!({
        "apiVersion": version.api_version(), "kind": "CloneSet",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1"},
        "spec": {
            "replicas": 5, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "j:1"}]},
            },
        },
    });
    let path: &[&str] = match version {
        ALPHA => &["spec", "updateStrategy"],
        BETA => &["spec", "updateStrategy", "rollingUpdate"],
    };
    lay_over(map_mut(&mut object, &["spec"]), extra);
    lay_over(map_mut(&mut object, path), rolling);
    default(&mut object, None, Gates::default());
    object
}

/// A field that is `null` goes.
fn lay_over(map: &mut serde_json::Map<String, Value>, extra: &Value) {
    for (name, value) in extra.as_object().unwrap() {
        if value.is_null() {
            map.remove(name);
        } else {
            map.insert(name.clone(), value.clone());
        }
    }
}

fn texts(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn refusals(object: &Value, old: Option<&Value>) -> Vec<String> {
    texts(&validate(object, old, &Surroundings::default()))
}

fn of_spec(version: Version, extra: &Value) -> Vec<String> {
    refusals(&cloneset(version, extra, &json!({})), None)
}

fn of_rolling(version: Version, rolling: &Value) -> Vec<String> {
    refusals(&cloneset(version, &json!({}), rolling), None)
}

#[test]
fn a_plain_cloneset_is_valid_in_both_versions() {
    for version in Version::ALL {
        assert_eq!(of_spec(version, &json!({})), Vec::<String>::new());
        assert_eq!(of_spec(version, &json!({"replicas": 0})), Vec::<String>::new());
    }
}

#[test]
fn rules_of_the_spec() {
    // cloneset.md 1.2 and the first table of 1.6; for minReadySeconds and revisionHistoryLimit 18.11.
    let template = |spec: Value| json!({"template": {"metadata": {"labels": {"app": "web"}}, "spec": spec}});
    let containers = json!([{"name": "c", "image": "i:1"}]);
    let rows = [
        (
            json!({"replicas": -1}),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            json!({"selector": {}}),
            "spec.selector: Invalid value: {}: empty selector is invalid for cloneset",
        ),
        (
            json!({"selector": {"matchLabels": {"app": "other"}}}),
            r#"spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`"#,
        ),
        (
            json!({"selector": {"matchExpressions": [{"key": "app", "operator": "Near"}]}}),
            r#"spec.selector.matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator"#,
        ),
        (
            template(json!({})),
            "spec.template.spec.containers: Required value",
        ),
        (
            template(json!({"containers": [{"name": "", "image": "i"}]})),
            "spec.template.spec.containers[0].name: Required value",
        ),
        (
            template(json!({"containers": [{"name": "c"}]})),
            "spec.template.spec.containers[0].image: Required value",
        ),
        (
            template(json!({"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]})),
            r#"spec.template.spec.containers[1].name: Duplicate value: "c""#,
        ),
        (
            template(json!({"containers": containers, "restartPolicy": "Never"})),
            r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#,
        ),
        (
            template(json!({"containers": containers, "activeDeadlineSeconds": 5})),
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in cloneset is not Supported",
        ),
        (
            json!({"progressDeadlineSeconds": 30, "minReadySeconds": 30}),
            "spec.progressDeadlineSeconds: Invalid value: 30: must be greater than minReadySeconds",
        ),
        (
            json!({"minReadySeconds": -1}),
            "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            json!({"revisionHistoryLimit": -1}),
            "spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            json!({"scaleStrategy": {"podsToDelete": ["a", "b", "a"], "maxUnavailable": "x"}}),
            r#"spec.scaleStrategy.podsToDelete: Invalid value: ["a","b","a"]: duplicated items [a]"#,
        ),
        (
            json!({"scaleStrategy": {"maxUnavailable": "abc"}}),
            "spec.scaleStrategy.maxUnavailable: Invalid value: \"abc\": failed GetScaledValueFromIntOrPercent for \
             maxUnavailable: invalid value for IntOrString: invalid type: string is not a percentage",
        ),
    ];
    for version in Version::ALL {
        for (spec, want) in &rows {
            assert_eq!(of_spec(version, spec), [*want], "{version:?} {spec}");
        }
    }
    assert_eq!(
        of_spec(BETA, &json!({"progressDeadlineSeconds": -1})),
        [
            "spec.progressDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
            "spec.progressDeadlineSeconds: Invalid value: -1: must be greater than minReadySeconds",
        ]
    );
    let off = json!({"progressDeadlineSeconds": 2_147_483_647, "minReadySeconds": 2_147_483_647});
    assert_eq!(of_spec(BETA, &off), Vec::<String>::new());
}

#[test]
fn a_missing_selector_is_required() {
    let missing = of_spec(BETA, &json!({"selector": null}));
    assert_eq!(missing[0], "spec.selector: Required value");
}

#[test]
fn claim_templates_stand_in_for_volumes() {
    // cloneset.md 1.2: claim templates are mocked in, and a volume of the same name gives way.
    let mount = json!([{"name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]);
    let template = |volumes: Value| json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": mount, "volumes": volumes}});
    let claims = json!([{"metadata": {"name": "data"}, "spec": {}}]);
    for (spec, want) in [
        (
            json!({"template": template(json!([])), "volumeClaimTemplates": claims}),
            None,
        ),
        (
            json!({"template": template(json!([{"name": "data"}])), "volumeClaimTemplates": claims}),
            None,
        ),
        (
            json!({"template": template(json!([]))}),
            Some(r#"spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data""#),
        ),
    ] {
        assert_eq!(of_spec(ALPHA, &spec), Vec::from_iter(want), "{spec}");
    }
}

#[test]
fn rules_of_rolling_updates() {
    // cloneset.md 1.6; `@` stands for the path of the version.
    let rows = [
        (
            json!({"partition": "5"}),
            "@.partition: Invalid value: \"5\": failed GetScaledValueFromIntOrPercent for partition: invalid value for \
             IntOrString: invalid type: string is not a percentage",
        ),
        (
            json!({"maxSurge": "x%"}),
            "@.maxSurge: Invalid value: \"x%\": failed GetScaledValueFromIntOrPercent for maxSurge: invalid value for \
             IntOrString: invalid value \"x%\": strconv.ParseFloat: parsing \"x\": invalid syntax",
        ),
        (
            json!({"partition": -1}),
            "@.partition: Invalid value: -1: must be greater than or equal to 0",
        ),
        // 18.11: upstream lets it pass beside a surge.
        (
            json!({"maxUnavailable": -1, "maxSurge": 1}),
            "@.maxUnavailable: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            json!({"maxUnavailable": "-5%", "maxSurge": 1}),
            "@.maxUnavailable: Invalid value: \"-5%\": must be greater than or equal to 0",
        ),
        (
            json!({"maxUnavailable": 0}),
            "@.maxUnavailable: Invalid value: 0: maxUnavailable and maxSurge should not both be less than 1",
        ),
        (
            json!({"maxUnavailable": "0%", "maxSurge": "0%"}),
            "@.maxUnavailable: Invalid value: \"0%\": maxUnavailable and maxSurge should not both be less than 1",
        ),
        (
            json!({"priorityStrategy": {
                "weightPriority": [{"weight": 1, "matchSelector": {"matchLabels": {"a": "b"}}}],
                "orderPriority": [{"orderedKey": "k"}],
            }}),
            "@.priorityStrategy: Required value: only one of weightPriority and orderPriority can be used",
        ),
        (
            json!({"priorityStrategy": {"weightPriority": [
                {"weight": 101, "matchSelector": {"matchLabels": {"a": "b"}}},
            ]}}),
            "@.priorityStrategy: Required value: weight must be valid number in the range 1-100",
        ),
        (
            json!({"priorityStrategy": {"weightPriority": [{"weight": 1, "matchSelector": {}}]}}),
            "@.priorityStrategy: Required value: selector can not be empty",
        ),
        (
            json!({"priorityStrategy": {"orderPriority": [{"orderedKey": "a"}, {}]}}),
            "@.priorityStrategy: Required value: order key can not be empty",
        ),
        (
            json!({"priorityStrategy": {"orderPriority": [{"orderedKey": "a", "missingKey": "Middle"}]}}),
            "@.priorityStrategy.orderPriority[0].missingKey: Unsupported value: \"Middle\": supported values: \
             \"First\", \"Last\"",
        ),
        (
            json!({"scatterStrategy": [{"key": "", "value": "b"}]}),
            "@.scatterStrategy: Required value: key should not be empty",
        ),
        (
            json!({"scatterStrategy": [{"key": "a", "value": "b"}, {"key": "a", "value": "b"}]}),
            "@.scatterStrategy: Required value: duplicated key=a value=b",
        ),
    ];
    for version in Version::ALL {
        for (rolling, want) in &rows {
            let want = want.replacen('@', version.rolling_path(), 1);
            assert_eq!(of_rolling(version, rolling), [want], "{version:?} {rolling}");
        }
        for valid in [
            // 18.1: upstream refuses this in v1beta1.
            json!({"maxUnavailable": 0, "maxSurge": 1}),
            json!({"partition": "99.9%", "maxUnavailable": "12.5%"}),
            json!({"priorityStrategy": {"weightPriority": [
                {"weight": 0, "matchSelector": {"matchLabels": {"a": "b"}}},
            ]}}),
            json!({"priorityStrategy": {"orderPriority": [{"orderedKey": "a", "missingKey": "Last"}]}}),
            json!({"scatterStrategy": [{"key": "a", "value": "b"}, {"key": "a", "value": "c"}]}),
        ] {
            assert_eq!(
                of_rolling(version, &valid),
                Vec::<String>::new(),
                "{version:?} {valid}"
            );
        }
    }
}

#[test]
fn no_pod_can_be_unavailable_where_there_is_none() {
    let object = cloneset(ALPHA, &json!({"replicas": 0}), &json!({"maxUnavailable": 0}));
    assert_eq!(refusals(&object, None), Vec::<String>::new());
}

#[test]
fn surge_and_updates_in_place_exclude_each_other() {
    let alpha = of_rolling(ALPHA, &json!({"type": "InPlaceOnly", "maxSurge": 1}));
    let beta = of_rolling(
        BETA,
        &json!({"podUpdatePolicy": "InPlaceOnly", "maxSurge": "20%"}),
    );
    assert_eq!(
        alpha,
        [
            "spec.updateStrategy.maxSurge: Invalid value: 1: can not use maxSurge with strategy type InPlaceOnly"
        ]
    );
    assert_eq!(
        beta,
        [
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: \"20%\": can not use maxSurge with \
          podUpdatePolicy InPlaceOnly"
        ]
    );
}

#[test]
fn types_and_policies_of_the_versions() {
    for kind in ["ReCreate", "InPlaceIfPossible", "InPlaceOnly", "OnDelete"] {
        assert_eq!(
            of_rolling(ALPHA, &json!({"type": kind})),
            Vec::<String>::new(),
            "{kind}"
        );
    }
    assert_eq!(
        of_rolling(ALPHA, &json!({"type": "RollingUpdate"})),
        [
            "spec.updateStrategy.type: Unsupported value: \"RollingUpdate\": supported values: \"InPlaceIfPossible\", \
          \"InPlaceOnly\", \"OnDelete\", \"ReCreate\""
        ]
    );
    let kind = |kind: &str| of_spec(BETA, &json!({"updateStrategy": {"type": kind}}));
    assert_eq!(
        kind("OnDelete").len(),
        2,
        "partition and maxUnavailable of the rollingUpdate that is there"
    );
    assert_eq!(
        kind("InPlaceOnly")[0],
        "spec.updateStrategy.type: Unsupported value: \"InPlaceOnly\": supported values: \"OnDelete\", \
         \"RollingUpdate\""
    );
    assert_eq!(
        of_rolling(BETA, &json!({"podUpdatePolicy": "Never"})),
        [
            "spec.updateStrategy.rollingUpdate.podUpdatePolicy: Unsupported value: \"Never\": supported values: \
          \"InPlaceIfPossible\", \"InPlaceOnly\", \"ReCreate\""
        ]
    );
}

#[test]
fn on_delete_with_rolling_update_says_its_amounts_itself() {
    let mut object = cloneset(BETA, &json!({}), &json!({}));
    object["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    assert_eq!(refusals(&object, None), Vec::<String>::new());
    object["spec"]["updateStrategy"]["rollingUpdate"] = json!({"maxUnavailable": 1});
    default(&mut object, None, Gates::default());
    assert_eq!(
        refusals(&object, None),
        [
            "spec.updateStrategy.rollingUpdate.partition: Invalid value: null: failed GetScaledValueFromIntOrPercent for \
          partition: nil value for IntOrString"
        ]
    );
}

#[test]
fn image_pre_download_of_v1beta1() {
    let path = "spec.updateStrategy.rollingUpdate.inPlaceUpdateStrategy";
    for (field, value, want) in [
        (
            "imagePreDownloadParallelism",
            json!("some"),
            Some(
                "Invalid value: \"some\": must be a whole number of at least 0, or a percentage such as 10% or 12.5%",
            ),
        ),
        ("imagePreDownloadParallelism", json!("30%"), None),
        ("imagePreDownloadMinUpdatedReadyPods", json!("30%"), None),
        (
            "imagePreDownloadParallelism",
            json!(-1),
            Some("Invalid value: -1: must be greater than or equal to 0"),
        ),
        ("imagePreDownloadParallelism", json!("4"), None),
        ("imagePreDownloadParallelism", json!(4), None),
        (
            "imagePreDownloadTimeoutSeconds",
            json!(-1),
            Some("Invalid value: -1: must be greater than or equal to 0"),
        ),
        (
            "imagePreDownloadMinUpdatedReadyPods",
            json!(-2),
            Some("Invalid value: -2: must be greater than or equal to 0"),
        ),
        ("imagePreDownloadMinUpdatedReadyPods", json!(2), None),
    ] {
        let got = of_rolling(BETA, &json!({"inPlaceUpdateStrategy": {field: value}}));
        let want = want.map(|why| format!("{path}.{field}: {why}"));
        assert_eq!(got, Vec::from_iter(want), "{field} {value}");
    }
}

#[test]
fn the_selector_alone_is_immutable() {
    for version in Version::ALL {
        let old = cloneset(version, &json!({}), &json!({}));
        let both = json!({"app": "web", "tier": "front"});
        let changed = cloneset(
            version,
            &json!({
                "selector": {"matchLabels": both},
                "template": {"metadata": {"labels": both}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            }),
            &json!({}),
        );
        let refused = refusals(&changed, Some(&old));
        assert_eq!(refused.len(), 1);
        assert!(refused[0].starts_with("spec: Forbidden: updates to cloneset spec for fields other than"));
        let rest = json!({
            "replicas": 3, "lifecycle": {"preDelete": {}}, "scaleStrategy": {"maxUnavailable": 1}, "minReadySeconds": 1,
            "progressDeadlineSeconds": 600, "volumeClaimTemplates": [], "revisionHistoryLimit": 1,
        });
        let changed = cloneset(version, &rest, &json!({"paused": true}));
        assert_eq!(refusals(&changed, Some(&old)), Vec::<String>::new());
    }
}

#[test]
fn in_place_only_takes_what_pods_take_while_they_run() {
    let template = |extra: Value, container: Value| {
        let mut spec = json!({"containers": [container, {"name": "d", "image": "j:1"}]});
        lay_over(spec.as_object_mut().unwrap(), &extra);
        json!({"template": {"metadata": {"labels": {"app": "web"}, "annotations": {"new": "1"}}, "spec": spec}})
    };
    let why = |found: &str| {
        Some(format!(
            "spec: Forbidden: only allowed to update images in spec for InPlaceOnly, but found {found}"
        ))
    };
    let image = json!({"name": "c", "image": "i:2"});
    let bigger = json!({"name": "c", "image": "i:1", "resources": {"limits": {"cpu": "1"}}});
    let rows = [
        (template(json!({}), image.clone()), false, None),
        (
            template(json!({"hostNetwork": true}), image.clone()),
            false,
            why("add /hostNetwork"),
        ),
        (
            template(json!({"schedulerName": "x"}), image.clone()),
            false,
            why("replace /schedulerName"),
        ),
        (
            template(
                json!({"containers": [image, {"name": "d", "image": "j:1"}, {"name": "e", "image": "k"}]}),
                json!({}),
            ),
            false,
            why("add /containers/2"),
        ),
        (
            template(json!({}), bigger.clone()),
            false,
            why("add /containers/0/resources/limits"),
        ),
        (template(json!({}), bigger), true, None),
    ];
    for version in Version::ALL {
        let only = json!({version.policy(): "InPlaceOnly"});
        let old = cloneset(version, &json!({}), &json!({}));
        for (spec, resizes_in_place, want) in &rows {
            let surroundings = Surroundings {
                resizes_in_place: *resizes_in_place,
                ..Surroundings::default()
            };
            let new = cloneset(version, spec, &only);
            let got = texts(&validate(&new, Some(&old), &surroundings));
            assert_eq!(got, Vec::from_iter(want.clone()), "{version:?} {spec}");
            // The policy of the new object counts.
            let new = cloneset(version, spec, &json!({}));
            assert_eq!(refusals(&new, Some(&old)), Vec::<String>::new());
        }
    }
}

#[test]
fn defaults_that_came_later_are_no_change() {
    // The stored template has none of today's defaults; only its image changes.
    let mut old = cloneset(BETA, &json!({}), &json!({}));
    old["spec"]["template"]["spec"] = json!({
        "containers": [{"name": "c", "image": "i:0"}, {"name": "d", "image": "j:1"}],
    });
    let new = cloneset(BETA, &json!({}), &json!({"podUpdatePolicy": "InPlaceOnly"}));
    assert_eq!(refusals(&new, Some(&old)), Vec::<String>::new());
}

#[test]
fn pods_that_are_added_to_be_deleted_are_there_and_ours() {
    let pod = |uid: &str, deleted: Value| {
        Ok(json!({"metadata": {
            "deletionTimestamp": deleted, "ownerReferences": [{"uid": uid, "controller": true}],
        }}))
    };
    let surroundings = Surroundings {
        pods: BTreeMap::from([
            ("mine".to_owned(), pod("u-1", Value::Null)),
            ("going".to_owned(), pod("u-1", json!("2026-01-01T00:00:00Z"))),
            ("other".to_owned(), pod("u-2", Value::Null)),
            ("hidden".to_owned(), Err("no answer".to_owned())),
        ]),
        ..Surroundings::default()
    };
    let of = |version: Version, names: Value| {
        cloneset(
            version,
            &json!({"scaleStrategy": {"podsToDelete": names}}),
            &json!({}),
        )
    };
    for version in Version::ALL {
        let new = of(
            version,
            json!(["mine", "going", "other", "hidden", "gone", "before"]),
        );
        let old = of(version, json!(["before"]));
        assert_eq!(
            pods_to_look_up(&new, Some(&old)),
            ["mine", "going", "other", "hidden", "gone"]
        );
        let path = "spec.scaleStrategy.podsToDelete: Invalid value:";
        assert_eq!(
            texts(&validate(&new, Some(&old), &surroundings)),
            [
                format!("{path} \"going\": find pod going already terminating"),
                format!("{path} \"other\": find pod other owner is not this CloneSet"),
                format!("{path} \"hidden\": find pod hidden failed: no answer"),
                format!("{path} \"gone\": find pod gone failed: pods \"gone\" not found"),
            ]
        );
    }
}

#[test]
fn what_was_wrong_before_is_no_reason_to_refuse_a_change() {
    for version in Version::ALL {
        // Upstream admits both.
        let wrong = json!({"scaleStrategy": {"maxUnavailable": "abc"}, "minReadySeconds": -1});
        let old = cloneset(version, &wrong, &json!({}));
        assert_eq!(refusals(&old, None).len(), 2);
        let mut new = old.clone();
        new["spec"]["replicas"] = json!(3);
        assert_eq!(refusals(&new, Some(&old)), Vec::<String>::new());
        assert!(!is_spec_untouched(&new, Some(&old)) && is_spec_untouched(&old, Some(&old)));
        new["spec"]["minReadySeconds"] = json!(-2);
        assert_eq!(
            refusals(&new, Some(&old)),
            ["spec.minReadySeconds: Invalid value: -2: must be greater than or equal to 0"]
        );
    }
}

#[test]
fn what_is_no_cloneset_cannot_be_decoded() {
    let known = cloneset(ALPHA, &json!({}), &json!({}));
    assert_eq!(decode(&known), Ok(ALPHA));
    for (pointer, value, want) in [
        (
            "/kind",
            json!("DaemonSet"),
            "DaemonSet of apps.kruise.io/v1alpha1 is no CloneSet that is known here",
        ),
        (
            "/apiVersion",
            json!("apps.kruise.io/v2"),
            "CloneSet of apps.kruise.io/v2 is no CloneSet that is known here",
        ),
        (
            "/spec/template/spec/containers/0/image",
            json!(1),
            "spec.template.spec.containers[0].image: expected text",
        ),
    ] {
        let mut object = known.clone();
        *object.pointer_mut(pointer).unwrap() = value;
        assert_eq!(decode(&object).unwrap_err(), want);
    }
}

#[test]
fn causes_carry_field_reason_and_message() {
    let errors = validate(
        &cloneset(BETA, &json!({"replicas": -1}), &json!({})),
        None,
        &Surroundings::default(),
    );
    let error = &errors[0];
    assert_eq!(
        (error.field.as_str(), error.reason.cause()),
        ("spec.replicas", "FieldValueInvalid")
    );
    assert_eq!(
        error.message(),
        "Invalid value: -1: must be greater than or equal to 0"
    );
}

#[test]
fn annotations_of_v1alpha1_are_not_judged() {
    let mut object = cloneset(ALPHA, &json!({}), &json!({}));
    map_mut(&mut object, &["metadata", "annotations"])
        .insert(keys::PRE_DOWNLOAD_PARALLELISM.to_owned(), json!("30%"));
    assert_eq!(refusals(&object, None), Vec::<String>::new());
}
