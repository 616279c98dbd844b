use serde_json::json;

use super::*;

/// statefulset.md 3, the table of ranges; 15.1 row 17.
#[test]
fn ordinals_pass_over_what_is_reserved() {
    for (replicas, start, reserved, want) in [
        (4, 0, json!([1, 3]), vec![0, 2, 4, 5]),
        (4, 2, json!([1, 3]), vec![2, 4, 5, 6]),
        (4, 3, json!([1, 3]), vec![4, 5, 6, 7]),
        (4, 4, json!([1, 3]), vec![4, 5, 6, 7]),
        (3, 2, json!([]), vec![2, 3, 4]),
        (3, 2, json!([0, 4]), vec![2, 3, 5]),
        (3, 2, json!([0, 2, 3, 4, 5]), vec![6, 7, 8]),
        (4, 1, json!([1, 3, 4]), vec![2, 5, 6, 7]),
        (4, 0, json!(["2-5", 7]), vec![0, 1, 6, 8]),
        (0, 3, json!([1]), vec![]),
        (2, 0, json!(["0-2147483646"]), vec![2_147_483_647]),
        (2, 0, json!(["5-9", "0-4", "3-7", 10]), vec![11, 12]),
        (
            2,
            0,
            json!(["12", "5-2", "a-b", "1-2-3", -1, "-1-2", 1.5, 1]),
            vec![0, 2],
        ),
    ] {
        let found = Reserved::of(reserved.as_array().unwrap());
        assert_eq!(
            found.live(start, replicas),
            want,
            "{replicas} from {start} without {reserved}"
        );
        assert!(want.iter().all(|ordinal| !found.contains(*ordinal)), "{reserved}");
    }
    let found = Reserved::of(&[json!("2-5"), json!("x"), json!(7)]);
    assert_eq!(found.malformed(), [Arc::from("\"x\"")]);
    for (ordinal, want) in [
        (1, false),
        (2, true),
        (5, true),
        (6, false),
        (7, true),
        (8, false),
    ] {
        assert_eq!(found.contains(ordinal), want, "{ordinal}");
    }
}

fn view(spec: &Value, annotations: &Value) -> StatefulSetView {
    let object = json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "00000000-0000-0000-0000-000000000001",
            "annotations": annotations },
        "spec": spec,
    });
    StatefulSetView::from_json(object.to_string().as_bytes()).unwrap()
}

/// statefulset.md 2.2, 15.1 row 21: what is absent has its default, also where admission did not run.
#[test]
fn what_is_absent_has_its_default() {
    let plain = view(&json!({}), &json!({}));
    assert_eq!(
        (plain.replicas, plain.start, plain.revision_history_limit),
        (1, 0, 10)
    );
    assert!(!plain.is_parallel && !plain.is_unordered() && !plain.is_paused());
    assert_eq!((plain.update, plain.rolling), (UpdateType::RollingUpdate, None));
    let rolling = json!({ "updateStrategy": { "rollingUpdate": { "unorderedUpdate": {} } } });
    let bare = view(&rolling, &json!({}));
    assert!(bare.is_unordered() && bare.min_ready_seconds() == 0);
    assert_eq!(bare.rolling.unwrap().partition, None);
}

/// statefulset.md 15.2: the annotation overrides the field.
#[test]
fn the_partition_is_that_of_the_annotation() {
    let rolling = json!({ "updateStrategy": { "rollingUpdate": { "partition": 2 } } });
    for (annotations, want) in [
        (json!({}), Amount::Pods(2)),
        (json!({ "pitstop.io/partition": "60%" }), Amount::percent(60)),
        (json!({ "pitstop.io/partition": "4" }), Amount::Pods(4)),
        // Accepted: `^[0-9]+%$`, from 0 to 100.
        (
            json!({ "pitstop.io/partition": "12.5%" }),
            Amount::Other("\"12.5%\"".into()),
        ),
        (
            json!({ "pitstop.io/partition": "101%" }),
            Amount::Other("\"101%\"".into()),
        ),
        (
            json!({ "pitstop.io/partition": "x" }),
            Amount::Other("\"x\"".into()),
        ),
    ] {
        let found = view(&rolling, &annotations).rolling.unwrap().partition;
        assert_eq!(found, Some(want), "{annotations}");
    }
}

/// statefulset.md 15.2, the table.
#[test]
fn percentages_of_partitions_round_up() {
    let percents = [0, 1, 20, 50, 60, 61, 81, 99, 100];
    for (replicas, want) in [
        (5, [0, 1, 1, 3, 3, 4, 4, 4, 5]),
        (1, [0, 1, 1, 1, 1, 1, 1, 1, 1]),
        (3, [0, 1, 1, 2, 2, 2, 2, 2, 3]),
        (0, [0; 9]),
    ] {
        for (percent, want) in percents.into_iter().zip(want) {
            let got = crate::amount::partition(Some(&Amount::percent(percent)), replicas);
            assert_eq!(got, Ok(want), "{percent}% of {replicas}");
        }
    }
}

/// statefulset.md 16.1: the field wins over the annotation, and what cannot be read is said.
#[test]
fn protection_comes_from_the_field_or_the_annotation() {
    let field =
        |protection: Value| json!({ "updateStrategy": { "rollingUpdate": { "protection": protection } } });
    let working = json!({ "podSelector": { "matchLabels": { "working": "true" } }, "minProtected": 3 });
    let annotation =
        json!({ "pitstop.io/update-protection": r#"{"podSelector":{"matchLabels":{"a":"b"}}}"# });
    let read = view(&field(working), &annotation).protection.unwrap().unwrap();
    assert_eq!(
        (read.min_protected, read.follows, read.protects_unknown),
        (3, true, true)
    );
    assert!(read.blocks_scale_down && !read.forces_at_deadline && read.deadline_seconds.is_none());
    let read = view(&json!({}), &annotation).protection.unwrap().unwrap();
    assert_eq!(
        read.labels_say(&Labels::from([("a".into(), "b".into())])),
        Some(true)
    );
    for wrong in [
        json!({}),
        json!({ "podSelector": {} }),
        json!({ "podSelector": { "matchExpressions": [{ "key": "a", "operator": "Sometimes" }] } }),
        json!({ "arbiter": {} }),
        json!({ "podSelector": 3 }),
        json!({ "podSelector": { "matchLabels": { "a": "b" } }, "unknownPolicy": "Maybe" }),
    ] {
        let read = view(&field(wrong.clone()), &json!({})).protection.unwrap();
        assert!(read.is_err(), "{wrong}");
    }
    let read = view(&json!({}), &json!({ "pitstop.io/update-protection": "{" }));
    assert!(read.protection.unwrap().is_err());
}

/// statefulset.md 16.2, step 4.
#[test]
fn labels_say_whether_a_pod_works_unless_none_of_the_keys_is_there() {
    let of = |selector: Value| Protection::of(&json!({ "podSelector": selector })).unwrap();
    let labels = |text: &str| -> Labels {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    let equal = json!({ "matchLabels": { "working": "true" } });
    let either = json!({ "matchExpressions": [
        { "key": "role", "operator": "In", "values": ["leader"] }, { "key": "busy", "operator": "Exists" }] });
    let absent = json!({ "matchExpressions": [{ "key": "idle", "operator": "DoesNotExist" }] });
    for (selector, text, want) in [
        (&equal, "working=true", Some(true)),
        (&equal, "working=false", Some(false)),
        (&equal, "app=web", None),
        (&either, "role=leader busy=1", Some(true)),
        (&either, "role=leader", Some(false)),
        (&either, "app=web", None),
        (&absent, "app=web", Some(true)),
        (&absent, "idle=1", Some(false)),
    ] {
        assert_eq!(
            of(selector.clone()).labels_say(&labels(text)),
            want,
            "{selector}: {text}"
        );
    }
}

/// 16.5: where the definition of the kind lacks `status.protection`, an annotation says the same.
#[test]
fn the_status_of_protection_comes_from_the_field_or_the_annotation() {
    let read = |status: Value, annotations: Value| {
        let object = json!({
            "metadata": { "name": "web", "namespace": "shop", "uid": "00000000-0000-0000-0000-000000000001", "annotations": annotations },
            "spec": { "template": {} }, "status": status,
        });
        StatefulSetView::from_json(object.to_string().as_bytes()).unwrap()
    };
    let annotation =
        json!({ "pitstop.io/protection-status": r#"{"protected":3,"waiting":["web-1"]}"#, "a": "b" });
    for (status, annotations, protected, is_annotated) in [
        (json!({}), json!({}), None, false),
        (json!({}), annotation.clone(), Some(3), true),
        (
            json!({ "protection": { "protected": 2 } }),
            annotation,
            Some(2),
            true,
        ),
        (
            json!({}),
            json!({ "pitstop.io/protection-status": "{" }),
            None,
            true,
        ),
    ] {
        let view = read(status, annotations.clone());
        let found = view.status.protection.as_ref().map(|status| status.protected);
        assert_eq!(
            (found, view.annotates_protection),
            (protected, is_annotated),
            "{annotations}"
        );
        assert!(
            !view.annotations.contains_key("pitstop.io/protection-status"),
            "revisions do not get it"
        );
    }
}
