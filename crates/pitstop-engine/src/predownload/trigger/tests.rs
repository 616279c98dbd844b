#![allow(
    clippy::needless_pass_by_value,
    reason = "tables read better with JSON as it is"
)]

use pitstop_api::selector::Labels;

use super::*;

fn template(images: &[(&str, &str)]) -> Value {
    let containers: Vec<Value> = images
        .iter()
        .map(|(name, image)| json!({"name": name, "image": image}))
        .collect();
    json!({
        "metadata": {"labels": {"app": "web"}, "annotations": {"a": "b"}},
        "spec": {"containers": containers, "imagePullSecrets": [{"name": "reg"}]},
    })
}

fn revision(marks: &[&str]) -> RevisionView {
    let mut labels = Labels::from([(keys::REVISION_DATA_HASH.to_owned(), "f8b4".to_owned())]);
    labels.extend(marks.iter().map(|mark| ((*mark).to_owned(), "true".to_owned())));
    let object = json!({
        "metadata": {"name": "web-f8b4", "uid": "00000000-0000-0000-0000-000000000007", "labels": labels},
        "revision": 2, "data": {},
    });
    RevisionView::from_json(object.to_string().as_bytes()).unwrap()
}

const IN_PLACE: Manner = Manner::Replicas {
    replicas: 5,
    updates_in_place: true,
    is_possible: true,
};

fn rollout<'a>(update: &'a RevisionView, old: &'a Value, new: &'a Value) -> Rollout<'a> {
    Rollout {
        namespace: "shop",
        owner: json!({"kind": "CloneSet", "name": "web"}),
        selector: json!({"matchLabels": {"app": "web"}, "matchExpressions": []}),
        update: Some(update),
        is_settled: false,
        template: new,
        old_templates: vec![old],
        manner: IN_PLACE,
        is_one_batch: false,
        min_updated_ready: 0,
        updated_ready: 0,
        parallelism: None,
        timeout_seconds: None,
    }
}

/// The word for a step, for tables.
fn word(step: &Step) -> &'static str {
    match step {
        Step::Nothing => "nothing",
        Step::DeleteJobs(_) => "delete",
        Step::Ignore(_) => "ignore",
        Step::Create(..) => "create",
    }
}

/// inplace.md 11.1, steps 1 to 4.
#[test]
#[allow(clippy::too_many_lines, reason = "one row a sentence")]
fn images_are_pulled_ahead_once_for_a_revision_that_is_worth_it() {
    let (old, new) = (template(&[("c", "nginx:1")]), template(&[("c", "nginx:2")]));
    let fresh = revision(&[]);
    let base = rollout(&fresh, &old, &new);
    let manner = |replicas, updates_in_place, is_possible| Manner::Replicas {
        replicas,
        updates_in_place,
        is_possible,
    };
    let cases = [
        ("as it is", base.clone(), "create"),
        (
            "too few updated pods are ready",
            Rollout {
                min_updated_ready: 2,
                updated_ready: 1,
                ..base.clone()
            },
            "nothing",
        ),
        (
            "enough are",
            Rollout {
                min_updated_ready: 2,
                updated_ready: 2,
                ..base.clone()
            },
            "create",
        ),
        (
            "the revision is not seen yet",
            Rollout {
                update: None,
                ..base.clone()
            },
            "nothing",
        ),
        (
            "ReCreate, OnDelete, no rollingUpdate",
            Rollout {
                manner: manner(5, false, true),
                ..base.clone()
            },
            "ignore",
        ),
        (
            "replicas 3",
            Rollout {
                manner: manner(3, true, true),
                ..base.clone()
            },
            "ignore",
        ),
        (
            "replicas 4",
            Rollout {
                manner: manner(4, true, true),
                ..base.clone()
            },
            "create",
        ),
        (
            "one batch",
            Rollout {
                is_one_batch: true,
                ..base.clone()
            },
            "ignore",
        ),
        (
            "not possible in place",
            Rollout {
                manner: manner(5, true, false),
                ..base.clone()
            },
            "ignore",
        ),
        (
            "a DaemonSet, whose pods come back to their node",
            Rollout {
                manner: Manner::Daemons,
                ..base.clone()
            },
            "create",
        ),
        (
            "a DaemonSet of one batch",
            Rollout {
                manner: Manner::Daemons,
                is_one_batch: true,
                ..base.clone()
            },
            "ignore",
        ),
    ];
    for (case, rollout, want) in cases {
        assert_eq!(word(&decide(&rollout, [])), want, "{case}");
    }
    let created = revision(&[keys::PRE_DOWNLOAD_CREATED]);
    assert_eq!(decide(&rollout(&created, &old, &new), []), Step::Nothing);
}

/// cloneset.md 18.26: what was not worth it for 3 replicas is for 5.
#[test]
fn a_revision_that_was_not_worth_it_may_become_so() {
    let (old, new) = (template(&[("c", "nginx:1")]), template(&[("c", "nginx:2")]));
    let ignored = revision(&[keys::PRE_DOWNLOAD_IGNORED]);
    let five = rollout(&ignored, &old, &new);
    let three = Rollout {
        manner: Manner::Replicas {
            replicas: 3,
            updates_in_place: true,
            is_possible: true,
        },
        ..five.clone()
    };
    assert_eq!(word(&decide(&three, [])), "nothing", "it is noted already");
    assert_eq!(word(&decide(&five, [])), "create");
}

/// inplace.md 11.1, step 1; cloneset.md 18.26.
#[test]
fn updated_pods_are_counted_by_the_field_or_by_the_annotation() {
    for (field, annotation, want) in [
        (None, None, 0),
        (Some(json!(2)), None, 2),
        (Some(json!(2)), Some("5"), 2),
        (Some(json!("30%")), None, 4),
        (None, Some("5"), 5),
        (None, Some("30%"), 4),
        (None, Some("a few"), 0),
        (None, Some("-1"), 0),
    ] {
        let key = keys::PRE_DOWNLOAD_MIN_UPDATED_READY_PODS.to_owned();
        let annotations = annotation
            .map(|text: &str| (key, text.to_owned()))
            .into_iter()
            .collect();
        assert_eq!(
            min_updated_ready(field.as_ref().map(Amount::of).as_ref(), &annotations, 11),
            want,
            "{field:?} {annotation:?}"
        );
    }
}

/// inplace.md 13.16: so many nodes at once.
#[test]
fn nodes_at_once_are_a_number_or_a_share_of_the_replicas() {
    for (written, want) in [
        (None, None),
        (Some("3"), Some(3)),
        (Some("0"), Some(1)),
        (Some("30%"), Some(4)),
        (Some("a few"), None),
    ] {
        let key = keys::PRE_DOWNLOAD_PARALLELISM.to_owned();
        let annotations = written.map(|text| (key, text.to_owned())).into_iter().collect();
        assert_eq!(parallelism(None, &annotations, 11), want, "{written:?}");
        let field = written.map(|text| Amount::of_text(&json!(text)));
        assert_eq!(
            parallelism(field.as_ref(), &Labels::new(), 11),
            want,
            "{written:?}"
        );
    }
}

/// inplace.md 11.1, step 4; 13.16: init containers too.
#[test]
fn a_job_for_each_container_whose_image_differs_or_is_new() {
    let old = template(&[("a", "nginx:1"), ("b", "redis:1")]);
    let mut new = template(&[("a", "nginx:2"), ("b", "redis:1"), ("c", "envoy:1")]);
    new["spec"]["initContainers"] = json!([{"name": "i", "image": "init:1"}]);
    let update = revision(&[]);
    let Step::Create(revision, jobs) = decide(&rollout(&update, &old, &new), []) else {
        panic!("no jobs");
    };
    assert_eq!(&*revision.name, "web-f8b4");
    let made: Vec<(&str, &str)> = jobs.iter().map(|job| (&*job.name, &*job.image)).collect();
    assert_eq!(
        made,
        [
            ("web-f8b4-i", "init:1"),
            ("web-f8b4-a", "nginx:2"),
            ("web-f8b4-c", "envoy:1")
        ]
    );
    // DaemonSets: images compared against all old revisions.
    let older = template(&[("a", "nginx:2")]);
    let mut rollout = rollout(&update, &old, &new);
    rollout.old_templates.push(&older);
    let Step::Create(_, jobs) = decide(&rollout, []) else {
        panic!("no jobs");
    };
    assert_eq!(jobs.len(), 2);
}

/// inplace.md 11.2.
#[test]
fn the_job_pulls_on_the_nodes_of_old_pods() {
    let (old, new) = (template(&[("c", "nginx:1")]), template(&[("c", "nginx:2")]));
    let update = revision(&[]);
    let Step::Create(_, jobs) = decide(&rollout(&update, &old, &new), []) else {
        panic!("no jobs");
    };
    let labels = json!({"app": "web", "controller.kubernetes.io/hash": "f8b4"});
    assert_eq!(
        jobs[0].manifest,
        json!({
            "apiVersion": "apps.kruise.io/v1beta1", "kind": "ImagePullJob",
            "metadata": {
                "name": "web-f8b4-c", "namespace": "shop", "labels": labels,
                "ownerReferences": [{"kind": "CloneSet", "name": "web"}],
            },
            "spec": {
                "image": "nginx:2", "pullSecrets": ["reg"],
                "podSelector": {
                    "matchLabels": {"app": "web"},
                    "matchExpressions": [
                        {"key": "controller-revision-hash", "operator": "NotIn", "values": ["web-f8b4", "f8b4"]},
                    ],
                },
                "parallelism": 1,
                "pullPolicy": {"backoffLimit": 1, "timeoutSeconds": 300},
                "completionPolicy": {"type": "Always", "ttlSecondsAfterFinished": 600},
                "sandboxConfig": {"labels": labels, "annotations": {"a": "b"}},
            },
        })
    );
    let configured = Rollout {
        parallelism: Some(4),
        timeout_seconds: Some(60),
        ..rollout(&update, &old, &new)
    };
    let Step::Create(_, jobs) = decide(&configured, []) else {
        panic!("no jobs");
    };
    let spec = &jobs[0].manifest["spec"];
    assert_eq!(
        (&spec["parallelism"], &spec["pullPolicy"]["timeoutSeconds"]),
        (&json!(4), &json!(60))
    );
}

/// inplace.md 11.1, step 5.
#[test]
fn when_the_rollout_is_over_its_jobs_go() {
    let template = template(&[("c", "nginx:2")]);
    let update = revision(&[keys::PRE_DOWNLOAD_CREATED]);
    let settled = Rollout {
        is_settled: true,
        ..rollout(&update, &template, &template)
    };
    assert_eq!(decide(&settled, []), Step::Nothing);
    let job = |name: &str, deleted: Value| {
        let job = json!({"metadata": {
            "name": name, "namespace": "shop", "uid": "00000000-0000-0000-0000-000000000009", "deletionTimestamp": deleted,
        }});
        ImagePullJobView::from_json(job.to_string().as_bytes()).unwrap()
    };
    let (stays, goes) = (job("a", json!(null)), job("b", json!("2026-01-01T00:00:00Z")));
    let want = vec![(Arc::from("a"), Uid(9))];
    assert_eq!(decide(&settled, [&stays, &goes]), Step::DeleteJobs(want));
}
