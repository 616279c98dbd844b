//! Each row of cloneset.md 2, and that nothing is lost on the way there and back (18.3).

use proptest::option::of;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const ALPHA: &str = "apps.kruise.io/v1alpha1";
const BETA: &str = "apps.kruise.io/v1beta1";

fn object(api_version: &str, marks: Value, spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": api_version, "kind": "CloneSet",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u", "finalizers": ["a/b"]},
        "status": {"replicas": 3, "conditions": [{"type": "Progressing"}]},
    });
    object["spec"] = spec;
    let Value::Object(marks) = marks else {
        panic!("{marks}")
    };
    map_mut(&mut object, &["metadata"]).extend(marks);
    object
}

fn to(wanted: &str, object: &Value) -> Value {
    convert(object.clone(), wanted).unwrap()
}

/// `(labels and annotations, spec)` of a CloneSet in the other version.
fn converted(given: &str, marks: Value, spec: Value) -> (Value, Value) {
    let wanted = if given == ALPHA { BETA } else { ALPHA };
    let mut result = to(wanted, &object(given, marks, spec));
    let mut marks = json!({});
    for name in ["labels", "annotations"] {
        if let Some(map) = result["metadata"].get(name) {
            marks[name] = map.clone();
        }
    }
    (marks, result["spec"].take())
}

#[test]
fn what_both_versions_have_is_copied() {
    let spec = json!({
        "replicas": 3, "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"aFieldOfTomorrow": 1}},
        "volumeClaimTemplates": [{"metadata": {"name": "d"}}], "revisionHistoryLimit": 1, "minReadySeconds": 2,
        "lifecycle": {"preDelete": {}}, "progressDeadlineSeconds": 9,
        "scaleStrategy": {"podsToDelete": ["x"], "maxUnavailable": "5%"},
    });
    let given = object(
        ALPHA,
        json!({"labels": {"l": "1"}, "annotations": {"a": "2"}}),
        spec.clone(),
    );
    let beta = to(BETA, &given);
    assert_eq!(
        (&beta["metadata"], &beta["status"]),
        (&given["metadata"], &given["status"])
    );
    for (field, value) in spec
        .as_object()
        .unwrap()
        .iter()
        .filter(|(field, _)| *field != "scaleStrategy")
    {
        assert_eq!(beta["spec"][field], *value);
    }
    assert_eq!(
        beta["spec"]["scaleStrategy"],
        json!({"podsToDelete": ["x"], "maxUnavailable": "5%", "enablePVCReuse": true})
    );
}

#[test]
fn reuse_of_claims_is_inverted() {
    for (alpha, beta) in [
        (json!({}), true),
        (json!({"disablePVCReuse": false}), true),
        (json!({"disablePVCReuse": true}), false),
    ] {
        let (_, spec) = converted(ALPHA, json!({}), json!({"scaleStrategy": alpha}));
        assert_eq!(spec["scaleStrategy"], json!({"enablePVCReuse": beta}));
    }
    for (beta, alpha) in [
        (json!({"enablePVCReuse": true}), json!(null)),
        (json!({"enablePVCReuse": false}), json!({"disablePVCReuse": true})),
        (json!({}), json!({"disablePVCReuse": true})),
    ] {
        let (_, spec) = converted(BETA, json!({}), json!({"scaleStrategy": beta}));
        assert_eq!(spec.get("scaleStrategy").unwrap_or(&Value::Null), &alpha);
    }
}

#[test]
fn excluding_pods_that_prepare_for_deletion_is_a_label_of_v1alpha1() {
    let label = json!({"labels": {(keys::EXCLUDE_PREPARING_DELETE): "true"}});
    let (marks, spec) = converted(ALPHA, label.clone(), json!({}));
    assert_eq!(
        (&marks, &spec["scaleStrategy"]["excludePreparingDelete"]),
        (&label, &json!(true))
    );
    // 18.3: the field wins, both ways.
    let (marks, _) = converted(
        BETA,
        json!({}),
        json!({"scaleStrategy": {"excludePreparingDelete": true}}),
    );
    assert_eq!(marks, label);
    let (marks, _) = converted(
        BETA,
        label,
        json!({"scaleStrategy": {"excludePreparingDelete": false}}),
    );
    assert_eq!(marks, json!({}));
    let other = json!({"labels": {(keys::EXCLUDE_PREPARING_DELETE): "no"}});
    let (marks, spec) = converted(ALPHA, other.clone(), json!({}));
    assert_eq!(
        (marks, spec["scaleStrategy"].get("excludePreparingDelete")),
        (other, None)
    );
}

#[test]
fn types_of_v1alpha1_are_policies_of_v1beta1() {
    for (kind, policy) in [
        (json!("ReCreate"), "ReCreate"),
        (json!("InPlaceIfPossible"), "InPlaceIfPossible"),
        (json!("InPlaceOnly"), "InPlaceOnly"),
        (json!(""), "ReCreate"),
        (json!(null), "ReCreate"),
    ] {
        let (_, spec) = converted(
            ALPHA,
            json!({}),
            json!({"updateStrategy": {"type": kind, "paused": true}}),
        );
        assert_eq!(
            spec["updateStrategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"podUpdatePolicy": policy, "paused": true}})
        );
    }
    for (strategy, kind) in [
        (json!({}), "ReCreate"),
        (json!({"type": "RollingUpdate"}), "ReCreate"),
        (
            json!({"type": "RollingUpdate", "rollingUpdate": {"podUpdatePolicy": ""}}),
            "ReCreate",
        ),
        (
            json!({"rollingUpdate": {"podUpdatePolicy": "InPlaceOnly"}}),
            "InPlaceOnly",
        ),
        (json!({"type": "OnDelete"}), "OnDelete"),
        // Upstream makes ReCreate of what it does not know, which acts.
        (json!({"rollingUpdate": {"podUpdatePolicy": "Gently"}}), "Gently"),
        (json!({"type": "Sometimes"}), "Sometimes"),
    ] {
        let (_, spec) = converted(BETA, json!({}), json!({"updateStrategy": strategy}));
        assert_eq!(spec["updateStrategy"], json!({"type": kind}), "{strategy}");
    }
}

#[test]
fn on_delete_keeps_what_the_other_version_cannot_say() {
    // 18.3: upstream loses the parameters.
    let parameters = json!({"type": "OnDelete", "partition": 2, "maxUnavailable": "20%"});
    let (marks, spec) = converted(ALPHA, json!({}), json!({"updateStrategy": parameters}));
    assert_eq!(spec["updateStrategy"], json!({"type": "OnDelete"}));
    assert_eq!(
        marks["annotations"][keys::CLONESET_V1ALPHA1],
        r#"{"maxUnavailable":"20%","partition":2}"#
    );
    let (marks, spec) = converted(BETA, marks, spec);
    assert_eq!((marks, &spec["updateStrategy"]), (json!({}), &parameters));

    let rolling = json!({"podUpdatePolicy": "InPlaceOnly", "paused": true});
    let both = json!({"type": "OnDelete", "rollingUpdate": rolling});
    let (marks, spec) = converted(BETA, json!({}), json!({"updateStrategy": both}));
    assert_eq!(
        spec["updateStrategy"],
        json!({"type": "OnDelete", "paused": true})
    );
    assert_eq!(
        marks["annotations"][keys::CLONESET_V1BETA1],
        r#"{"podUpdatePolicy":"InPlaceOnly"}"#
    );
    let (marks, spec) = converted(ALPHA, marks, spec);
    assert_eq!((marks, &spec["updateStrategy"]), (json!({}), &both));
}

#[test]
fn what_was_kept_goes_when_the_strategy_is_another() {
    let kept = json!({"annotations": {(keys::CLONESET_V1ALPHA1): r#"{"partition":2}"#}});
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"podUpdatePolicy": "ReCreate"}});
    let (marks, spec) = converted(BETA, kept, json!({"updateStrategy": rolling}));
    assert_eq!(
        (marks, &spec["updateStrategy"]),
        (json!({}), &json!({"type": "ReCreate"}))
    );
    let kept = json!({"annotations": {(keys::CLONESET_V1BETA1): "{}"}});
    let (marks, _) = converted(ALPHA, kept, json!({"updateStrategy": {"type": "ReCreate"}}));
    assert_eq!(marks, json!({}));
}

#[test]
fn image_pre_download_is_annotations_of_v1alpha1() {
    let annotations = |parallelism: &str, timeout: &str, ready: &str| {
        json!({"annotations": {
            (keys::PRE_DOWNLOAD_PARALLELISM): parallelism, (keys::PRE_DOWNLOAD_TIMEOUT_SECONDS): timeout,
            (keys::PRE_DOWNLOAD_MIN_UPDATED_READY_PODS): ready,
        }})
    };
    let in_place = |spec: &Value| spec["updateStrategy"]["rollingUpdate"]["inPlaceUpdateStrategy"].clone();
    let kind = json!({"updateStrategy": {"type": "InPlaceOnly"}});
    for (marks, want) in [
        (
            annotations("4", "60", "2"),
            json!({
                "imagePreDownloadParallelism": 4, "imagePreDownloadTimeoutSeconds": 60,
                "imagePreDownloadMinUpdatedReadyPods": 2,
            }),
        ),
        // What is no number is text for the first, may be a percentage in the last, and says nothing otherwise.
        (
            annotations("30%", "soon", "30%"),
            json!({"imagePreDownloadParallelism": "30%", "imagePreDownloadMinUpdatedReadyPods": "30%"}),
        ),
        (
            annotations("a few", "soon", "a few"),
            json!({"imagePreDownloadParallelism": "a few"}),
        ),
        (annotations("", "", ""), json!(null)),
    ] {
        let (same, spec) = converted(ALPHA, marks.clone(), kind.clone());
        assert_eq!((&same, in_place(&spec)), (&marks, want));
        // 18.3: what cannot be said in v1beta1 is still there afterwards.
        assert_eq!(converted(BETA, same, spec).0, marks);
    }
    let rolling = |strategy: Value| {
        json!({"updateStrategy": {"rollingUpdate": {
            "podUpdatePolicy": "InPlaceIfPossible", "inPlaceUpdateStrategy": strategy,
        }}})
    };
    let strategy = json!({"gracePeriodSeconds": 5, "imagePreDownloadParallelism": "8", "imagePreDownloadTimeoutSeconds": 9});
    let (marks, spec) = converted(BETA, annotations("4", "60", "2"), rolling(strategy));
    assert_eq!(
        marks,
        json!({"annotations": {(keys::PRE_DOWNLOAD_PARALLELISM): "8", (keys::PRE_DOWNLOAD_TIMEOUT_SECONDS): "9"}}),
        "the fields win, and what they no longer say goes"
    );
    assert_eq!(
        spec["updateStrategy"]["inPlaceUpdateStrategy"],
        json!({"gracePeriodSeconds": 5})
    );
}

#[test]
fn only_clonesets_of_known_versions_are_converted() {
    let beta = object(BETA, json!({}), json!({}));
    assert_eq!(to(BETA, &beta), beta);
    assert_eq!(
        convert(beta.clone(), "apps.kruise.io/v2")
            .unwrap_err()
            .to_string(),
        "CloneSets have no version apps.kruise.io/v2"
    );
    let other = json!({"apiVersion": BETA, "kind": "StatefulSet"});
    assert_eq!(
        convert(other, ALPHA).unwrap_err().to_string(),
        "StatefulSet of apps.kruise.io/v1beta1 is no CloneSet that can be converted"
    );
    // Parts of objects, as the server makes them for the owners of fields.
    let part = json!({"apiVersion": BETA, "kind": "CloneSet", "metadata": {"name": "a"}});
    assert_eq!(to(ALPHA, &part)["metadata"], part["metadata"]);
    assert_eq!(to(ALPHA, &part).get("spec"), None);
}

/// The fields that move, as admission leaves them.
fn rolling_fields() -> impl Strategy<Value = Map<String, Value>> {
    let amount = || {
        prop_oneof![
            (0..200_u32).prop_map(Value::from),
            (0..=100_u32).prop_map(|n| json!(format!("{n}%")))
        ]
    };
    let terms = prop_oneof![
        Just(json!({"orderPriority": [{"orderedKey": "a", "missingKey": "Last"}]})),
        Just(json!({"weightPriority": [{"weight": 5, "matchSelector": {"matchLabels": {"a": "b"}}}]})),
    ];
    (
        amount(),
        amount(),
        amount(),
        of(any::<bool>()),
        of(terms),
        any::<bool>(),
    )
        .prop_map(|(partition, unavailable, surge, paused, priority, scattered)| {
            let mut map = Map::new();
            map.insert("partition".to_owned(), partition);
            map.insert("maxUnavailable".to_owned(), unavailable);
            map.insert("maxSurge".to_owned(), surge);
            map.extend(paused.map(|paused| ("paused".to_owned(), paused.into())));
            map.extend(priority.map(|terms| ("priorityStrategy".to_owned(), terms)));
            if scattered {
                map.insert("scatterStrategy".to_owned(), json!([{"key": "a", "value": "b"}]));
            }
            map
        })
}

fn texts() -> impl Strategy<Value = Option<String>> {
    of(prop_oneof![
        Just("7".to_owned()),
        Just("30%".to_owned()),
        Just("0012".to_owned()),
        Just("soon".to_owned()),
    ])
}

prop_compose! {
    /// A CloneSet of v1alpha1 with all that it can say.
    fn alpha()(
        kind in prop::sample::select(vec!["ReCreate", "InPlaceIfPossible", "InPlaceOnly", "OnDelete"]),
        rolling in rolling_fields(), grace in of(0..60_u32), disabled in any::<bool>(), excluded in any::<bool>(),
        pods in of(Just(json!(["a"]))), annotations in [texts(), texts(), texts()], own in any::<bool>(),
    ) -> Value {
        let mut strategy = rolling;
        strategy.insert("type".to_owned(), kind.into());
        let grace = grace.filter(|grace| kind != "ReCreate" || *grace > 0);
        let is_in_place = kind.starts_with("InPlace");
        if grace.is_some() || is_in_place {
            let grace = grace.map_or(json!({}), |grace| json!({"gracePeriodSeconds": grace}));
            strategy.insert("inPlaceUpdateStrategy".to_owned(), grace);
        }
        let mut spec = json!({"updateStrategy": strategy});
        if disabled {
            map_mut(&mut spec, &["scaleStrategy"]).insert("disablePVCReuse".to_owned(), true.into());
        }
        if let Some(pods) = pods {
            map_mut(&mut spec, &["scaleStrategy"]).insert("podsToDelete".to_owned(), pods);
        }
        let mut marks = json!({});
        for ((_, key), text) in PRE_DOWNLOAD.into_iter().zip(annotations) {
            if let Some(text) = text {
                map_mut(&mut marks, &["annotations"]).insert(key.to_owned(), text.into());
            }
        }
        if excluded {
            map_mut(&mut marks, &["labels"]).insert(keys::EXCLUDE_PREPARING_DELETE.to_owned(), "true".into());
        }
        if own {
            map_mut(&mut marks, &["annotations"]).insert("own".to_owned(), "1".into());
        }
        object(ALPHA, marks, spec)
    }
}

prop_compose! {
    /// A CloneSet of v1beta1 with all that it can say.
    fn beta()(
        policy in prop::sample::select(vec!["ReCreate", "InPlaceIfPossible", "InPlaceOnly"]),
        rolling in rolling_fields(), on_delete in any::<bool>(), without in any::<bool>(), reuse in any::<bool>(),
        excluded in any::<bool>(), grace in of(1..60_u32), parallelism in of(prop_oneof![Just(json!(4)), Just(json!("30%"))]),
        timeout in of(0..99_u32), ready in of(0..99_u32),
    ) -> Value {
        let mut in_place = json!({});
        let fields = [
            ("gracePeriodSeconds", grace.map(Value::from)), (PARALLELISM, parallelism),
            ("imagePreDownloadTimeoutSeconds", timeout.map(Value::from)),
            ("imagePreDownloadMinUpdatedReadyPods", ready.map(Value::from)),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                map_mut(&mut in_place, &[]).insert(name.to_owned(), value);
            }
        }
        let mut rolling = rolling;
        rolling.insert("podUpdatePolicy".to_owned(), policy.into());
        rolling.insert("inPlaceUpdateStrategy".to_owned(), in_place);
        let strategy = match (on_delete, without) {
            (true, true) => json!({"type": "OnDelete"}),
            (true, false) => json!({"type": "OnDelete", "rollingUpdate": rolling}),
            (false, _) => json!({"type": "RollingUpdate", "rollingUpdate": rolling}),
        };
        let mut scale = json!({"enablePVCReuse": reuse});
        if excluded {
            scale["excludePreparingDelete"] = true.into();
        }
        object(BETA, json!({}), json!({"updateStrategy": strategy, "scaleStrategy": scale}))
    }
}

proptest! {
    #[test]
    fn v1alpha1_comes_back_as_it_was(alpha in alpha()) {
        prop_assert_eq!(to(ALPHA, &to(BETA, &alpha)), alpha);
    }

    /// Labels and annotations may stay behind, of the fields that v1alpha1 has none for.
    #[test]
    fn v1beta1_comes_back_with_its_spec_as_it_was(beta in beta()) {
        let back = to(BETA, &to(ALPHA, &beta));
        prop_assert_eq!(&back["spec"], &beta["spec"]);
        prop_assert_eq!(to(ALPHA, &back), to(ALPHA, &beta));
        prop_assert_eq!(&back["metadata"]["annotations"].get(keys::CLONESET_V1BETA1), &None);
    }

    #[test]
    fn a_change_in_one_version_is_seen_in_the_other(beta in beta(), replicas in 0..9_u32) {
        let mut alpha = to(ALPHA, &beta);
        alpha["spec"]["replicas"] = replicas.into();
        let mut want = beta;
        want["spec"]["replicas"] = replicas.into();
        prop_assert_eq!(&to(BETA, &alpha)["spec"], &want["spec"]);
    }
}
