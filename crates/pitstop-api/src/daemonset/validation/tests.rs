//! Every rejection of daemonset.md D1, with the field and the words.

use serde_json::json;

use super::*;
use crate::daemonset::defaults::default;

/// A DaemonSet that is valid, with `extra` laid over its spec.
fn object(version: Version, extra: &Value) -> Value {
    let mut object = json!({
        "apiVersion": version.api_version(), "kind": KIND, "metadata": {"name": "agent", "namespace": "edge"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "c", "image": "i:1"}]},
            },
        },
    });
    for (name, value) in extra.as_object().unwrap() {
        object["spec"][name] = value.clone();
    }
    default(&mut object, None);
    object
}

fn refusals(version: Version, extra: &Value) -> Vec<String> {
    let errors = validate(&object(version, extra), None);
    errors.iter().map(ToString::to_string).collect()
}

fn rolling(fields: &Value) -> Value {
    json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": fields}})
}

#[test]
fn what_is_right_is_admitted() {
    for version in Version::ALL {
        for extra in [
            json!({}),
            json!({"updateStrategy": {"type": "OnDelete"}, "revisionHistoryLimit": 0, "burstReplicas": "10%"}),
            rolling(&json!({"maxSurge": 1})),
            rolling(&json!({"maxSurge": "100%", "maxUnavailable": 0})),
            rolling(&json!({"rollingUpdateType": "InPlaceIfPossible", "maxUnavailable": 2})),
            rolling(
                &json!({"partition": "50%", "selector": {"matchLabels": {"tier": "canary"}}, "paused": true}),
            ),
            json!({"lifecycle": {"preDelete": {"labelsHandler": {"a": "b"}}}}),
        ] {
            assert_eq!(refusals(version, &extra), [""; 0], "{version:?} {extra}");
        }
    }
    let surging = rolling(&json!({"rollingUpdateType": "Surging"}));
    assert_eq!(refusals(Version::V1alpha1, &surging), [""; 0], "D19");
}

/// daemonset.md D1, A1.2, D18.
#[test]
fn what_is_wrong_is_named() {
    let r = "spec.updateStrategy.rollingUpdate";
    for (extra, want) in [
        (
            rolling(&json!({"maxUnavailable": 1, "maxSurge": 1})),
            format!("{r}.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"),
        ),
        (
            rolling(&json!({"maxUnavailable": 0, "maxSurge": 0})),
            format!("{r}.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"),
        ),
        (
            rolling(&json!({"maxUnavailable": 0})),
            format!("{r}.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"),
        ),
        (
            rolling(&json!({"maxUnavailable": "101%"})),
            format!("{r}.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"),
        ),
        (
            rolling(&json!({"maxUnavailable": 0, "maxSurge": -1})),
            format!("{r}.maxSurge: Invalid value: -1: must be greater than or equal to 0"),
        ),
        (
            rolling(&json!({"rollingUpdateType": "InPlaceIfPossible", "maxSurge": 1})),
            format!("{r}.maxSurge: Required value: must be 0 for InPlaceIfPossible type"),
        ),
        (
            rolling(&json!({"partition": -1})),
            format!("{r}.partition: Invalid value: -1: must be greater than or equal to 0"),
        ),
        (
            rolling(&json!({"partition": "101%"})),
            format!("{r}.partition: Invalid value: \"101%\": must not be greater than 100%"),
        ),
        (
            rolling(&json!({"selector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}})),
            format!("{r}.selector.matchExpressions[0].operator: Invalid value: \"Like\": not a valid selector operator"),
        ),
        (
            json!({"updateStrategy": {"type": "Sometimes"}}),
            "spec.updateStrategy: Unsupported value: \"Sometimes\": supported values: \"RollingUpdate\", \"OnDelete\""
                .to_owned(),
        ),
        (
            json!({"burstReplicas": -1}),
            "spec.burstReplicas: Invalid value: -1: must be greater than or equal to 0".to_owned(),
        ),
        (
            json!({"minReadySeconds": -1}),
            "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0".to_owned(),
        ),
        (
            json!({"lifecycle": {"inPlaceUpdate": {"labelsHandler": {"a": "b"}}}}),
            "spec.lifecycle.inPlaceUpdate: Forbidden: inPlaceUpdate hook has not supported yet".to_owned(),
        ),
        (
            json!({"selector": {}}),
            "spec.selector: Invalid value: {}: empty selector is invalid for daemonset".to_owned(),
        ),
    ] {
        for version in Version::ALL {
            assert_eq!(refusals(version, &extra), [want.as_str()], "{version:?} {extra}");
        }
    }
}

/// daemonset.md D1: which types there are depends on the version.
#[test]
fn types_of_rolling_updates_are_those_of_the_version() {
    let r = "spec.updateStrategy.rollingUpdate";
    let of = |version, fields: Value| refusals(version, &rolling(&fields));
    assert_eq!(
        of(
            Version::V1beta1,
            json!({"rollingUpdateType": "Surging", "maxSurge": 1})
        ),
        [format!(
            "{r}.rollingUpdateType: Unsupported value: \"Surging\": supported values: \"Standard\", \"InPlaceIfPossible\""
        )]
    );
    assert_eq!(
        of(Version::V1alpha1, json!({"rollingUpdateType": "Fast"})),
        [format!(
            "{r}.rollingUpdateType: Unsupported value: \"Fast\": supported values: \"Standard\", \"Surging\", \
             \"InPlaceIfPossible\""
        )]
    );
}

/// daemonset.md D1: an amount that is no number is wrong, and says so once.
#[test]
fn a_text_that_is_no_amount_is_refused() {
    let refused = refusals(Version::V1beta1, &rolling(&json!({"maxUnavailable": "some"})));
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(
        refused[0].starts_with("spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"some\"")
    );
}

#[test]
fn the_selector_stays() {
    for (version, scale) in [(Version::V1alpha1, ""), (Version::V1beta1, "'scaleStrategy', ")] {
        let old = object(version, &json!({}));
        let mut new = old.clone();
        new["spec"]["selector"] = json!({"matchLabels": {"app": "agent"}, "matchExpressions": []});
        let refused: Vec<String> = validate(&new, Some(&old))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            refused,
            [format!(
                "spec: Forbidden: updates to daemonset spec for fields other than 'BurstReplicas', 'template', \
                 'lifecycle', {scale}'updateStrategy', 'minReadySeconds', and 'revisionHistoryLimit' are forbidden"
            )]
        );
    }
}

/// An object that others admitted can still be changed, to let go of its finalizers.
#[test]
fn what_was_wrong_before_is_no_reason_to_refuse() {
    let old = object(Version::V1beta1, &rolling(&json!({"partition": -1})));
    let mut new = old.clone();
    new["spec"]["minReadySeconds"] = json!(5);
    assert_eq!(validate(&new, Some(&old)), []);
    new["spec"]["minReadySeconds"] = json!(-5);
    assert_eq!(validate(&new, Some(&old)).len(), 1);
}
