//! Every rejection of statefulset.md 2.2, 2.4, 15.1 and 16.1, with the field and the words.

use serde_json::{Map, json};

use super::*;
use crate::statefulset::defaults::{Gates, default};

const BETA: Version = Version::V1beta1;

/// A StatefulSet that is valid, with `extra` laid over its spec and `rolling` over the fields of rolling updates.
fn object(extra: &Value, rolling: &Value) -> Value {
    let mut object = json!({
        "apiVersion": BETA.api_version(), "kind": KIND,
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "replicas": 5, "selector": {"matchLabels": {"app": "web"}}, "podManagementPolicy": "Parallel",
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "j:1"}]},
            },
        },
    });
    lay_over(object["spec"].as_object_mut().unwrap(), extra);
    if let Some(rolling) = rolling.as_object().filter(|rolling| !rolling.is_empty()) {
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": rolling});
        object["spec"]["updateStrategy"] = strategy;
    }
    default(&mut object, None, Gates::default());
    object
}

/// A field that is `null` goes.
fn lay_over(map: &mut Map<String, Value>, extra: &Value) {
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

fn of_spec(extra: &Value) -> Vec<String> {
    refusals(&object(extra, &json!({})), None)
}

fn of_rolling(rolling: &Value) -> Vec<String> {
    refusals(&object(&json!({}), rolling), None)
}

/// Each is one error, in these words.
fn check(rows: Vec<(Vec<String>, &str)>) {
    for (errors, want) in rows {
        assert_eq!(errors, [want]);
    }
}

#[test]
fn what_is_right_passes() {
    let gate = json!({"template": {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i"}], "readinessGates": [{"conditionType": "InPlaceUpdateReady"}]}}});
    for (extra, rolling) in [
        (json!({}), json!({})),
        (json!({"reserveOrdinals": [0, "2-5", "7-7"]}), json!({})),
        (json!({"updateStrategy": {"type": "OnDelete"}}), json!({})),
        (json!({"scaleStrategy": {"maxUnavailable": "300%"}}), json!({})),
        (
            json!({"podManagementPolicy": "OrderedReady", "scaleStrategy": {"maxUnavailable": 1}}),
            json!({}),
        ),
        (
            json!({"podManagementPolicy": "OrderedReady"}),
            json!({"maxUnavailable": 3}),
        ),
        (
            json!({}),
            json!({"partition": 9, "minReadySeconds": 300, "maxUnavailable": "1%"}),
        ),
        (json!({}), json!({"partition": "60%"})),
        (json!({}), json!({"unorderedUpdate": {}})),
        (gate, json!({"podUpdatePolicy": "InPlaceOnly"})),
        (
            json!({}),
            json!({"protection": {"podSelector": {"matchLabels": {"a": "b"}}}}),
        ),
        (
            json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i",
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}}}),
            json!({}),
        ),
    ] {
        assert_eq!(
            refusals(&object(&extra, &rolling), None),
            Vec::<String>::new(),
            "{extra} {rolling}"
        );
    }
}

/// 2.4.1, 15.1 row 20
#[test]
fn names_fit_the_labels_of_pods() {
    let named = |name: &str| {
        let mut object = object(&json!({}), &json!({}));
        object["metadata"]["name"] = json!(name);
        refusals(&object, None)
    };
    assert_eq!(named(&"a".repeat(52)), Vec::<String>::new());
    let long = "a".repeat(53);
    check(vec![(
        named(&long),
        &format!(
            "metadata.name: Invalid value: \"{long}\": must be no more than 52 characters: pods carry it, and a hash, as \
             label of their revision"
        ),
    )]);
    assert!(
        named("a.b")[0].contains("a lowercase RFC 1123 label must consist of"),
        "{:?}",
        named("a.b")
    );
}

/// 2.4.2, 2.4.3, 2.2
#[test]
fn the_spec_is_judged() {
    check(vec![
        (
            of_spec(&json!({"podManagementPolicy": "Sometimes"})),
            "spec.podManagementPolicy: Invalid value: \"Sometimes\": must be 'OrderedReady' or 'Parallel'",
        ),
        (
            of_spec(&json!({"reserveOrdinals": [-1]})),
            "spec: Invalid value: [-1]: 0 th reserve ordinal is negative: -1",
        ),
        (
            of_spec(&json!({"reserveOrdinals": [1, "5-2"]})),
            "spec: Invalid value: [1,\"5-2\"]: 1 th reserve ordinal is invalid: 5-2, err = invalid range 5-2",
        ),
        (
            of_spec(&json!({"scaleStrategy": {"maxUnavailable": 0}})),
            "spec.scaleStrategy.maxUnavailable: Invalid value: 0: should not be less than 1",
        ),
        (
            of_spec(&json!({"podManagementPolicy": "OrderedReady", "scaleStrategy": {"maxUnavailable": 2}})),
            "spec.scaleStrategy.maxUnavailable: Invalid value: 2: can only work with Parallel PodManagementPolicyType",
        ),
        (
            of_spec(&json!({"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Never"}})),
            "spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: \"Never\": supported values: \
             \"Retain\", \"Delete\"",
        ),
        (
            of_spec(&json!({"replicas": -1})),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            of_spec(&json!({"ordinals": {"start": -1}})),
            "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            of_spec(&json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}})),
            "spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":1}: only allowed for updateStrategy \
             'RollingUpdate'",
        ),
        (
            of_spec(&json!({"updateStrategy": {"type": "Never"}})),
            "spec.updateStrategy: Invalid value: {\"type\":\"Never\"}: must be 'RollingUpdate' or 'OnDelete'",
        ),
    ]);
    for entry in ["12", "a-b", "1-2-3", ""] {
        let errors = of_spec(&json!({"reserveOrdinals": [entry]}));
        assert!(
            errors[0].ends_with(&format!("0 th reserve ordinal is not a valid range: {entry}")),
            "{errors:?}"
        );
        assert_eq!(errors.len(), 2, "and that it cannot be read");
    }
    for (selector, why) in [
        (json!({}), "empty selector is invalid for statefulset"),
        (
            json!({"matchLabels": {"app": "other"}}),
            "`selector` does not match template `labels`",
        ),
    ] {
        let errors = of_spec(&json!({"selector": selector}));
        assert!(errors.iter().any(|error| error.ends_with(why)), "{errors:?}");
    }
    let bare = of_spec(&json!({"template": {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never", "activeDeadlineSeconds": 5}}}));
    assert!(
        bare.contains(
            &"spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"".to_owned()
        ) && bare.contains(
            &"spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported"
                .to_owned()
        ),
        "{bare:?}"
    );
}

/// 2.4.4 to 2.4.7, 15.2
#[test]
fn rolling_updates_are_judged() {
    const PATH: &str = "spec.updateStrategy.rollingUpdate";
    let percent = "must be a whole number of at least 0, or a percentage from 0% to 100%";
    for (rolling, want) in [
        (json!({"partition": -1}), "partition: Invalid value: -1: must be greater than or equal to 0".to_owned()),
        (json!({"partition": "5"}), format!("partition: Invalid value: \"5\": {percent}")),
        (json!({"partition": "101%"}), format!("partition: Invalid value: \"101%\": {percent}")),
        (json!({"partition": "12.5%"}), format!("partition: Invalid value: \"12.5%\": {percent}")),
        (
            json!({"minReadySeconds": 301}),
            "minReadySeconds: Invalid value: 301: must be no more than 300 seconds".to_owned(),
        ),
        (
            json!({"minReadySeconds": -1}),
            "minReadySeconds: Invalid value: -1: must be greater than or equal to 0".to_owned(),
        ),
        (json!({"maxUnavailable": 0}), "maxUnavailable: Invalid value: 0: should not be less than 1".to_owned()),
        (json!({"maxUnavailable": "0%"}), "maxUnavailable: Invalid value: 0: should not be less than 1".to_owned()),
        (
            json!({"podUpdatePolicy": "Often"}),
            "podUpdatePolicy: Invalid value: \"Often\": must be 'ReCreate', InPlaceIfPossible or 'InPlaceOnly'".to_owned(),
        ),
        (
            json!({"pausedCreates": "Old"}),
            "pausedCreates: Unsupported value: \"Old\": supported values: \"Current\", \"Update\"".to_owned(),
        ),
        (
            json!({"unorderedUpdate": {"priorityStrategy": {"orderPriority": [{"orderedKey": ""}]}}}),
            "unorderedUpdate.priorityStrategy: Required value: order key can not be empty".to_owned(),
        ),
        (
            json!({"unorderedUpdate": {"priorityStrategy": {"weightPriority": [{"weight": 101,
                "matchSelector": {"matchLabels": {"a": "b"}}}]}}}),
            "unorderedUpdate.priorityStrategy: Required value: weight must be valid number in the range 1-100".to_owned(),
        ),
        (
            json!({"inPlaceUpdateStrategy": {"gracePeriodSeconds": -1}}),
            "inPlaceUpdateStrategy.gracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0".to_owned(),
        ),
    ] {
        assert_eq!(of_rolling(&rolling), [format!("{PATH}.{want}")]);
    }
    let errors = of_rolling(&json!({"maxUnavailable": "many"}));
    assert!(
        errors[0].contains("a valid percent string must be a numeric string"),
        "{errors:?}"
    );
    assert_eq!(
        of_rolling(&json!({"maxUnavailable": -1})).len(),
        2,
        "negative, and less than 1"
    );
    let gate = of_rolling(&json!({"podUpdatePolicy": "InPlaceIfPossible"}));
    check(vec![(
        gate,
        "spec.template.spec.readinessGates: Invalid value: []: must contains InPlaceUpdateReady when podUpdatePolicy is \
         InPlaceIfPossible",
    )]);
    let ordered = object(
        &json!({"podManagementPolicy": "OrderedReady"}),
        &json!({"unorderedUpdate": {}}),
    );
    check(vec![(
        refusals(&ordered, None),
        "spec.updateStrategy.rollingUpdate.unorderedUpdate: Required value: unorderedUpdate can only work with Parallel \
         PodManagementPolicyType",
    )]);
    let many = of_rolling(&json!({"partition": -1, "minReadySeconds": -1}));
    assert_eq!(many.len(), 2, "2.4.5: reported together");
}

/// 2.4.8
#[test]
fn selector_service_and_management_stay() {
    let old = object(&json!({"serviceName": "svc"}), &json!({}));
    let why = "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
               'reserveOrdinals', 'lifecycle', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy', \
               `volumeClaimTemplates`, `VolumeClaimUpdateStrategy` and 'updateStrategy' are forbidden";
    for extra in [
        json!({"serviceName": "other"}),
        json!({"serviceName": "svc", "podManagementPolicy": "OrderedReady"}),
        json!({"serviceName": "svc", "selector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}),
    ] {
        assert_eq!(
            refusals(&object(&extra, &json!({})), Some(&old)),
            [why],
            "{extra}"
        );
    }
    for extra in [
        json!({"replicas": 9}),
        json!({"ordinals": {"start": 3}}),
        json!({"reserveOrdinals": [1]}),
        json!({"lifecycle": {"preDelete": {"markPodNotReady": true}}}),
        json!({"revisionHistoryLimit": 1}),
        json!({"scaleStrategy": {"maxUnavailable": 2}}),
        json!({"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"}}),
        json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]}),
        json!({"updateStrategy": {"type": "OnDelete"}}),
    ] {
        let mut with = extra.clone();
        with["serviceName"] = json!("svc");
        assert_eq!(
            refusals(&object(&with, &json!({})), Some(&old)),
            Vec::<String>::new(),
            "{extra}"
        );
    }
    let mut broken = old.clone();
    broken["spec"]["ordinals"] = json!({"start": -1});
    let mut labelled = broken.clone();
    labelled["metadata"]["finalizers"] = json!([]);
    assert_eq!(
        refusals(&labelled, Some(&broken)),
        Vec::<String>::new(),
        "what was wrong before is no news"
    );
}

/// 2.4.9
#[test]
fn pods_that_have_to_stay_take_images_alone() {
    let with = |image: &str, command: &str| {
        object(
            &json!({"template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image, "command": [command]}],
                    "readinessGates": [{"conditionType": "InPlaceUpdateReady"}]}}}),
            &json!({"podUpdatePolicy": "InPlaceOnly"}),
        )
    };
    let old = with("i:1", "a");
    assert_eq!(refusals(&with("i:2", "a"), Some(&old)), Vec::<String>::new());
    check(vec![(
        refusals(&with("i:1", "b"), Some(&old)),
        "spec: Forbidden: invalid template modified with InPlaceOnly strategy: replace /containers/0/command/0, currently \
         only image update is allowed for InPlaceOnly",
    )]);
}

/// 2.4.10, its expected results; 15.1 row 16.
#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn templates_of_claims_only_grow_where_claims_follow() {
    let class = |name: &str, expands: Value| {
        let is_default = (name == "fixed").to_string();
        json!({"metadata": {"name": name, "annotations": {(crate::storage::DEFAULT_CLASS): is_default}},
            "allowVolumeExpansion": expands})
    };
    let classes = StorageClasses::of(&[
        class("fast", json!(true)),
        class("fixed", json!(false)),
        class("silent", Value::Null),
    ]);
    let surroundings = Surroundings {
        classes: Some(classes),
        ..Surroundings::default()
    };
    let with = |strategy: &str, class: Option<&str>, size: &str, mode: &str| {
        let claim = json!({"metadata": {"name": "data"}, "spec": {"storageClassName": class, "accessModes": [mode],
            "resources": {"requests": {"storage": size}}}});
        object(
            &json!({"volumeClaimTemplates": [claim], "volumeClaimUpdateStrategy": {"type": strategy}}),
            &json!({}),
        )
    };
    let (fast, fixed) = (Some("fast"), Some("fixed"));
    for (strategy, old, new, is_allowed) in [
        ("", (fast, "1Gi", "A"), (fixed, "1Gi", "A"), true),
        ("OnDelete", (fast, "1Gi", "A"), (fixed, "1Gi", "A"), true),
        (
            "OnPodRollingUpdate",
            (fast, "1Gi", "A"),
            (fixed, "1Gi", "A"),
            false,
        ),
        ("OnPodRollingUpdate", (fast, "1Gi", "A"), (fast, "2Gi", "A"), true),
        (
            "OnPodRollingUpdate",
            (fixed, "1Gi", "A"),
            (fixed, "2Gi", "A"),
            false,
        ),
        ("OnPodRollingUpdate", (fast, "2Gi", "A"), (fast, "1Gi", "A"), true),
        (
            "OnPodRollingUpdate",
            (fixed, "2Gi", "A"),
            (fixed, "1Gi", "A"),
            false,
        ),
        ("OnDelete", (fixed, "1Gi", "A"), (fixed, "2Gi", "A"), true),
        (
            "OnPodRollingUpdate",
            (None, "1Gi", "A"),
            (None, "2Gi", "A"),
            false,
        ),
        (
            "OnPodRollingUpdate",
            (fast, "1Gi", "A"),
            (fast, "1Gi", "B"),
            false,
        ),
        (
            "OnPodRollingUpdate",
            (fast, "1024Mi", "A"),
            (fast, "1Gi", "A"),
            true,
        ),
        (
            "OnPodRollingUpdate",
            (Some("silent"), "1Gi", "A"),
            (Some("silent"), "2Gi", "A"),
            true,
        ),
        (
            "OnPodRollingUpdate",
            (Some("gone"), "1Gi", "A"),
            (Some("gone"), "2Gi", "A"),
            false,
        ),
    ] {
        // The strategy of the new object counts.
        let before = with("OnDelete", old.0, old.1, old.2);
        let after = with(strategy, new.0, new.1, new.2);
        let errors = texts(&validate(&after, Some(&before), &surroundings));
        assert_eq!(
            errors.is_empty(),
            is_allowed,
            "{strategy} {old:?} {new:?}: {errors:?}"
        );
        assert_eq!(
            refusals(&after, Some(&before)),
            Vec::<String>::new(),
            "the gate is off"
        );
    }
    let before = with("OnPodRollingUpdate", fast, "1Gi", "A");
    let none = object(
        &json!({"volumeClaimUpdateStrategy": {"type": "OnPodRollingUpdate"}}),
        &json!({}),
    );
    let errors = texts(&validate(&none, Some(&before), &surroundings));
    assert!(
        errors[0].ends_with("volumeClaimTemplate can not be added or deleted when OnRollingUpdate"),
        "{errors:?}"
    );
}

/// 2.2: what becomes of claims is one of two.
#[test]
fn how_claims_are_updated_is_one_of_two() {
    let with = |kind: &str| object(&json!({"volumeClaimUpdateStrategy": {"type": kind}}), &json!({}));
    for kind in ["", "OnDelete", "OnPodRollingUpdate"] {
        assert_eq!(refusals(&with(kind), None), Vec::<String>::new(), "{kind}");
    }
    check(vec![(
        refusals(&with("Foo"), None),
        "spec.volumeClaimUpdateStrategy.type: Unsupported value: \"Foo\": supported values: \"OnPodRollingUpdate\", \
         \"OnDelete\"",
    )]);
}

/// 3: ordinals end at the largest int32, and every pod needs one.
#[test]
fn every_pod_has_an_ordinal() {
    let with = |start: i64, reserved: Value| {
        object(
            &json!({"replicas": 3, "ordinals": {"start": start}, "reserveOrdinals": reserved}),
            &json!({}),
        )
    };
    let last = i64::from(i32::MAX);
    for (start, reserved, room) in [
        (last - 2, json!([]), None),
        (last - 1, json!([]), Some(2)),
        (last - 4, json!([last, "7-9"]), None),
        (last - 3, json!([last - 1, last]), Some(2)),
        (0, json!([format!("2-{last}")]), Some(2)),
    ] {
        let why = |room: u32| {
            format!(
                "spec.ordinals.start: Invalid value: {start}: ordinals end at {last}: {room} are left from there on that are \
                 not reserved, and spec.replicas is 3"
            )
        };
        let errors = refusals(&with(start, reserved), None);
        assert_eq!(errors, Vec::from_iter(room.map(why)));
    }
}

const PROTECTION: &str = "spec.updateStrategy.rollingUpdate.protection";

/// This protection is refused for one thing.
fn refuses(protection: &Value, field: &str, why: &str) {
    let errors = of_rolling(&json!({"protection": protection}));
    let [error] = errors.as_slice() else {
        panic!("{protection}: {errors:?}")
    };
    assert!(
        error.starts_with(&format!("{PROTECTION}{field}: ")) && error.ends_with(why),
        "{error}"
    );
}

/// 16.1, 16.4: what an arbiter is asked with, and the label that its answers are written to.
#[test]
fn arbiters_are_judged() {
    const RESERVED: &str = "belongs to Kubernetes, OpenKruise or pitstop";
    let http = json!({"service": {"name": "a", "port": 80}});
    let labelled = |key: &str, protected: &str, idle: &str| {
        let label = json!({"key": key, "protectedValue": protected, "idleValue": idle});
        json!({"arbiter": {"http": http, "label": label}})
    };
    let service = |name: &str, port: i64, path: &str| {
        let service = json!({"name": name, "port": port});
        json!({"arbiter": {"http": {"service": service, "path": path}}})
    };
    for (protection, field, why) in [
        (
            labelled("app", "web", "idle"),
            ".arbiter.label.key",
            "is a key of spec.selector: pods would leave the StatefulSet",
        ),
        (
            labelled("controller-revision-hash", "a", "b"),
            ".arbiter.label.key",
            RESERVED,
        ),
        (
            labelled("statefulset.kubernetes.io/pod-name", "a", "b"),
            ".arbiter.label.key",
            RESERVED,
        ),
        (
            labelled("lifecycle.apps.kruise.io/state", "a", "b"),
            ".arbiter.label.key",
            RESERVED,
        ),
        (
            labelled("pitstop.io/partition", "a", "b"),
            ".arbiter.label.key",
            RESERVED,
        ),
        (
            labelled("/busy", "a", "b"),
            ".arbiter.label.key",
            "prefix part must be non-empty",
        ),
        (
            labelled("busy", "!", "b"),
            ".arbiter.label.protectedValue",
            "regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
        (
            labelled("busy", "a", "a"),
            ".arbiter.label.idleValue",
            "must differ from protectedValue",
        ),
        (
            service("a", 0, ""),
            ".arbiter.http.service.port",
            "must be between 1 and 65535, inclusive",
        ),
        (
            service("a", 65536, ""),
            ".arbiter.http.service.port",
            "must be between 1 and 65535, inclusive",
        ),
        (
            service("A_b", 80, ""),
            ".arbiter.http.service.name",
            "regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ),
        (
            service("a", 80, "/a b"),
            ".arbiter.http.path",
            "must begin with '/', without spaces, '?' and '#'",
        ),
        (
            service("a", 80, "a"),
            ".arbiter.http.path",
            "must begin with '/', without spaces, '?' and '#'",
        ),
        (
            json!({"arbiter": {"exec": {"container": "z", "command": ["x"]}}}),
            ".arbiter.exec.container",
            "must be a container of spec.template",
        ),
    ] {
        refuses(&protection, field, why);
    }
}

/// 16.1
#[test]
fn protection_is_judged() {
    const PATH: &str = PROTECTION;
    let working = json!({"matchLabels": {"working": "true"}});
    let http = json!({"service": {"name": "a", "port": 80}});
    for (protection, field, why) in [
        (json!({}), "", "podSelector or arbiter is required"),
        (
            json!({"podSelector": working, "partitionPolicy": "X"}),
            "",
            "partitionPolicy: unknown variant `X`, expected `Follow` or `Static`",
        ),
        (
            json!({"podSelector": working, "minProtected": -1}),
            "",
            "minProtected: invalid value: integer `-1`, expected a whole number from 0 on",
        ),
        (
            json!({"arbiter": {"http": http, "failurePolicy": "X"}}),
            "",
            "arbiter.failurePolicy: unknown variant `X`, expected one of `Protect`, `KeepLabel`, `Ignore`",
        ),
        (
            json!({"podSelector": {}}),
            "",
            "podSelector is empty; name the labels of pods that work",
        ),
        (
            json!({"arbiter": {"http": http, "exec": {"command": ["x"]}}}),
            "",
            "arbiter needs exactly one of http and exec",
        ),
        (
            json!({"arbiter": {}}),
            "",
            "arbiter needs exactly one of http and exec",
        ),
        (
            json!({"arbiter": {"http": {"service": {"name": "a", "port": 80}, "scheme": "ftp"}}}),
            "",
            "arbiter.http.scheme is http or https, not \"ftp\"",
        ),
        (
            json!({"arbiter": {"exec": {"command": []}}}),
            "",
            "arbiter.exec.command is empty; name a program, and its arguments",
        ),
        (
            json!({"arbiter": {"exec": {"command": ["x"]}, "claim": true}}),
            "",
            "arbiter.claim needs arbiter.http; a command is not asked for pods",
        ),
        (
            json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Sometimes"}]}}),
            ".podSelector.matchExpressions[0].operator",
            "not a valid selector operator",
        ),
        (
            json!({"arbiter": {"http": http, "periodSeconds": 301, "staleAfterSeconds": 400}}),
            ".arbiter.periodSeconds",
            "must be from 1 to 300",
        ),
        (
            json!({"arbiter": {"http": http, "timeoutSeconds": 0}}),
            ".arbiter.timeoutSeconds",
            "must be from 1 to 30",
        ),
        (
            json!({"arbiter": {"http": http, "failureThreshold": 0}}),
            ".arbiter.failureThreshold",
            "must be at least 1",
        ),
        (
            json!({"arbiter": {"http": http, "staleAfterSeconds": 5}}),
            ".arbiter.staleAfterSeconds",
            "must be at least periodSeconds, which is 10",
        ),
    ] {
        refuses(&protection, field, why);
    }
    let ordered = object(
        &json!({"podManagementPolicy": "OrderedReady"}),
        &json!({"protection": {"podSelector": working}}),
    );
    check(vec![(
        refusals(&ordered, None),
        &format!("{PATH}: Required value: protection can only work with Parallel PodManagementPolicyType"),
    )]);
    let many = object(
        &json!({}),
        &json!({"protection": {"podSelector": working, "minProtected": 6}}),
    );
    assert_eq!(refusals(&many, None), Vec::<String>::new());
    assert_eq!(
        warnings(&many),
        [format!(
            "{PATH}.minProtected: 6 is more than the 5 replicas, so no pod is ever updated"
        )]
    );
}

/// 15.2, 16.1: annotations that stand for fields are judged as the fields are, and named.
#[test]
fn annotations_are_judged_as_fields() {
    const PARTITION: &str = "metadata.annotations[pitstop.io/partition]";
    const ANNOTATION: &str = "metadata.annotations[pitstop.io/update-protection]";
    let with = |key: &str, value: &str, rolling: Value| {
        let mut object = object(&json!({}), &rolling);
        object["metadata"]["annotations"] = json!({ key: value });
        refusals(&object, None)
    };
    for (value, is_good) in [
        ("2", true),
        ("60%", true),
        ("100%", true),
        ("", false),
        ("-1", false),
    ]
    .into_iter()
    .chain([("101%", false), ("12.5%", false), ("60", true), ("x", false)])
    {
        let errors = with("pitstop.io/partition", value, json!({}));
        let is_told = errors
            .iter()
            .any(|error| error.starts_with(&format!("{PARTITION}: ")));
        assert_eq!(
            (errors.is_empty(), is_told),
            (is_good, !is_good),
            "{value}: {errors:?}"
        );
    }
    let key = "pitstop.io/update-protection";
    for (value, begins, ends) in [
        ("{", ANNOTATION, "column 1"),
        ("{}", ANNOTATION, "podSelector or arbiter is required"),
        (
            r#"{"arbiter": {"http": {"service": {"name": "a", "port": 0}}}}"#,
            "metadata.annotations[pitstop.io/update-protection].arbiter.http.service.port",
            "must be between 1 and 65535, inclusive",
        ),
    ] {
        let errors = with(key, value, json!({}));
        let [error] = errors.as_slice() else {
            panic!("{value}: {errors:?}")
        };
        assert!(
            error.starts_with(&format!("{begins}: ")) && error.ends_with(ends),
            "{error}"
        );
    }
    let field = json!({"protection": {"podSelector": {"matchLabels": {"working": "true"}}}});
    assert_eq!(with(key, "{", field), Vec::<String>::new(), "the field wins");
}

#[test]
fn what_is_no_statefulset_is_not_read() {
    for (object, why) in [
        (
            json!({"apiVersion": "apps/v1", "kind": "StatefulSet"}),
            Err("StatefulSet of apps/v1 is no StatefulSet that is known here".to_owned()),
        ),
        (
            json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "StatefulSet", "spec": {"template": []}}),
            Err("spec.template: expected an object".to_owned()),
        ),
        (
            json!({"apiVersion": "apps.kruise.io/v1alpha1", "kind": "StatefulSet"}),
            Ok(Version::V1alpha1),
        ),
    ] {
        assert_eq!(decode(&object), why);
    }
}
