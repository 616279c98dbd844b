//! Reading CloneSets: every field of cloneset.md 1.2 and 1.3 once, absent fields, and fields of a wrong type.

use serde_json::json;

use super::super::update_order::{MissingKey, WeightTerm};
use super::*;

fn view(spec: &Value, status: &Value) -> Result<CloneSetView, ViewError> {
    let object = json!({
        "apiVersion": "apps.kruise.io/v1beta1", "kind": "CloneSet",
        "metadata": {
            "namespace": "shop", "name": "web", "uid": "00000000-0000-0000-0000-00000000000a", "resourceVersion": "7",
            "generation": 3, "labels": {"team": "a"}, "annotations": {"note": "b"},
        },
        "spec": spec, "status": status,
    });
    CloneSetView::from_json(object.to_string().as_bytes())
}

fn update_of(update: &Value) -> CloneSetUpdateStrategy {
    view(&json!({"updateStrategy": update}), &json!({}))
        .unwrap()
        .update
}

#[test]
fn absent_fields_have_the_defaults_of_the_kind() {
    let view = view(&json!({"replicas": null}), &Value::Null).unwrap();
    assert_eq!((view.replicas, view.revision_history_limit), (1, 10));
    assert_eq!(
        (view.min_ready_seconds, view.progress_deadline_seconds),
        (0, None)
    );
    assert_eq!(view.scale, ScaleStrategy::default());
    assert_eq!(view.update, CloneSetUpdateStrategy::default());
    assert_eq!(view.lifecycle, Lifecycle::default());
    assert_eq!(view.status, CloneSetStatus::default());
    assert_eq!(
        (&*view.namespace, &*view.name, view.uid),
        ("shop", "web", Uid(10))
    );
    assert_eq!((view.resource_version, view.generation), (7, 3));
    assert_eq!((&*view.labels["team"], &*view.annotations["note"]), ("a", "b"));
    assert!(!view.is_paused());
}

#[test]
fn every_field_of_the_spec_is_read() {
    let spec = json!({
        "replicas": 5, "minReadySeconds": 30, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"aFieldOfTomorrow": [1]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
        "lifecycle": {
            "preDelete": {"labelsHandler": {"hold": "true"}, "markPodNotReady": true},
            "inPlaceUpdate": {"finalizersHandler": ["example.com/hold"]},
            "preNormal": {},
        },
        "scaleStrategy": {
            "podsToDelete": ["web-a"], "maxUnavailable": "50%", "enablePVCReuse": true, "excludePreparingDelete": true,
        },
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {
            "podUpdatePolicy": "InPlaceIfPossible", "partition": "99.9%", "maxUnavailable": 2, "maxSurge": "x",
            "paused": true, "scatterStrategy": [{"key": "k", "value": "v"}],
            "inPlaceUpdateStrategy": {
                "gracePeriodSeconds": 10, "imagePreDownloadParallelism": "4", "imagePreDownloadTimeoutSeconds": 60,
                "imagePreDownloadMinUpdatedReadyPods": 2,
            },
        }},
    });
    let view = view(&spec, &json!({})).unwrap();
    assert_eq!((view.replicas, view.min_ready_seconds), (5, 30));
    assert_eq!(view.progress_deadline_seconds, Some(600));
    assert_eq!(view.revision_history_limit, 2);
    assert_eq!(*view.template, spec["template"]);
    assert_eq!(view.claim_templates[0], spec["volumeClaimTemplates"][0]);
    assert_eq!(view.selector.match_labels["app"], "web");
    let pre_delete = view.lifecycle.pre_delete.as_ref().unwrap();
    assert_eq!(pre_delete.labels["hold"], "true");
    assert!(pre_delete.marks_not_ready);
    let in_place = view.lifecycle.in_place_update.as_ref().unwrap();
    assert_eq!(&*in_place.finalizers[0], "example.com/hold");
    assert!(view.lifecycle.pre_normal.is_some());
    assert_eq!(&*view.scale.pods_to_delete[0], "web-a");
    assert_eq!(view.scale.max_unavailable, Some(Amount::percent(50)));
    assert!(view.scale.reuses_claims && view.scale.excludes_preparing_delete && view.is_paused());
    let rolling = view.update.rolling.as_ref().unwrap();
    assert_eq!(rolling.pod_update_policy, PodUpdatePolicy::InPlaceIfPossible);
    assert_eq!(rolling.partition.as_ref().unwrap().to_string(), "99.9%");
    assert_eq!(rolling.max_unavailable, Some(Amount::Pods(2)));
    assert_eq!(rolling.max_surge, Some(Amount::Other("\"x\"".into())));
    assert_eq!((&*rolling.scatter[0].key, &*rolling.scatter[0].value), ("k", "v"));
    let in_place = InPlaceUpdateStrategy {
        grace_period_seconds: 10,
        image_pre_download_parallelism: Some(Amount::Pods(4)),
        image_pre_download_timeout_seconds: Some(60),
        image_pre_download_min_updated_ready_pods: Some(Amount::Pods(2)),
    };
    assert_eq!(rolling.in_place, in_place);
}

#[test]
fn the_largest_deadline_is_none() {
    let view = view(&json!({"progressDeadlineSeconds": 2_147_483_647}), &json!({})).unwrap();
    assert_eq!(view.progress_deadline_seconds, None);
}

#[test]
fn types_and_policies_that_are_unknown_are_kept_as_such() {
    assert_eq!(update_of(&json!({"type": "OnDelete"})).kind, UpdateType::OnDelete);
    assert_eq!(
        update_of(&json!({"type": "Sometimes"})).kind,
        UpdateType::Other("Sometimes".to_owned())
    );
    for (policy, want) in [
        ("", PodUpdatePolicy::ReCreate),
        ("ReCreate", PodUpdatePolicy::ReCreate),
        ("InPlaceOnly", PodUpdatePolicy::InPlaceOnly),
        ("Maybe", PodUpdatePolicy::Other("Maybe".to_owned())),
    ] {
        let update = update_of(&json!({"type": "OnDelete", "rollingUpdate": {"podUpdatePolicy": policy}}));
        assert_eq!(update.rolling.unwrap().pod_update_policy, want, "{policy:?}");
    }
}

#[test]
fn priorities_are_weights_or_keys_in_order() {
    let priority = |strategy: Value| {
        let update = update_of(&json!({"rollingUpdate": {"priorityStrategy": strategy}}));
        update.rolling.unwrap().priority
    };
    assert_eq!(priority(Value::Null), PriorityStrategy::None);
    let weight = json!({"weight": 50, "matchSelector": {"matchLabels": {"a": "b"}}});
    let broken =
        json!({"weight": 101, "matchSelector": {"matchExpressions": [{"key": "a", "operator": "?"}]}});
    let weights =
        priority(json!({"weightPriority": [weight, broken], "orderPriority": [{"orderedKey": "k"}]}));
    let PriorityStrategy::Weight(terms) = weights else {
        panic!("{weights:?}")
    };
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    let seen: Vec<_> = terms
        .iter()
        .map(|term: &WeightTerm| (term.weight, term.matches(&labels)))
        .collect();
    assert_eq!(seen, [(50, true), (100, false)]);
    // inplace.md 13.14: one term that says Last is enough.
    for (missing, want) in [
        (json!({"orderedKey": "b"}), MissingKey::First),
        (
            json!({"orderedKey": "b", "missingKey": "First"}),
            MissingKey::First,
        ),
        (json!({"orderedKey": "b", "missingKey": "Last"}), MissingKey::Last),
    ] {
        let order = PriorityStrategy::Order {
            keys: vec!["a".into(), "b".into()],
            missing_key: want,
        };
        assert_eq!(
            priority(json!({"orderPriority": [{"orderedKey": "a"}, missing]})),
            order
        );
    }
}

#[test]
fn errors_name_the_field() {
    for (spec, field) in [
        (json!({"replicas": "3"}), "spec.replicas"),
        (json!({"selector": 1}), "spec.selector"),
        (json!({"volumeClaimTemplates": {}}), "spec.volumeClaimTemplates"),
        (
            json!({"scaleStrategy": {"enablePVCReuse": 1}}),
            "spec.scaleStrategy.enablePVCReuse",
        ),
        (
            json!({"updateStrategy": {"rollingUpdate": {"paused": "yes"}}}),
            "spec.updateStrategy.rollingUpdate.paused",
        ),
        (
            json!({"updateStrategy": {"rollingUpdate": {"inPlaceUpdateStrategy": {"gracePeriodSeconds": "1"}}}}),
            "spec.updateStrategy.rollingUpdate.inPlaceUpdateStrategy",
        ),
    ] {
        assert_eq!(view(&spec, &json!({})).unwrap_err().field, field);
    }
    assert_eq!(CloneSetView::from_json(b"[").unwrap_err().field, "CloneSet");
    assert_eq!(CloneSetView::from_json(b"{}").unwrap_err().field, "metadata.uid");
}

#[test]
fn the_status_is_written_as_it_is_read() {
    let status = json!({
        "observedGeneration": 3, "replicas": 5, "readyReplicas": 4, "availableReplicas": 3, "updatedReplicas": 2,
        "updatedReadyReplicas": 1, "updatedAvailableReplicas": 1, "expectedUpdatedReplicas": 5,
        "updateRevision": "web-b", "currentRevision": "web-a", "collisionCount": 0, "labelSelector": "app=web",
        "conditions": [{
            "type": "Progressing", "status": "True", "reason": "CloneSetUpdated", "message": "CloneSet is progressing",
            "lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    });
    let view = view(&json!({}), &status).unwrap();
    assert_eq!(serde_json::to_value(&view.status).unwrap(), status);
    assert_eq!(
        view.status.condition("Progressing").unwrap().reason,
        "CloneSetUpdated"
    );
    // cloneset.md 1.3: five counters are always written.
    let none = json!({
        "replicas": 0, "readyReplicas": 0, "availableReplicas": 0, "updatedReplicas": 0, "updatedReadyReplicas": 0,
    });
    assert_eq!(serde_json::to_value(CloneSetStatus::default()).unwrap(), none);
}
