use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(100_000).unwrap()
}

fn deployment(replicas: i64, strategy: &Value) -> Deployment {
    let deployment = json!({
        "metadata": {"name": "a", "namespace": "default", "uid": "1", "resourceVersion": "5", "generation": 2},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "a"}}, "strategy": strategy,
            "template": template("v2"), "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2,
        },
    });
    serde_json::from_value(deployment).unwrap()
}

fn template(version: &str) -> Value {
    json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": version}]}})
}

fn rolling(unavailable: &Value, surge: &Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
}

/// A set of version `v<n>`; the higher, the younger.
fn set(version: u32, replicas: i64, available: i64, most: i64) -> ReplicaSet {
    let set = json!({
        "metadata": {
            "name": format!("a-{version}"), "namespace": "default", "uid": format!("set-{version}"),
            "creationTimestamp": Timestamp::from_second(version.into()).unwrap(),
            "annotations": {
                keys::DEPLOYMENT_MAX_REPLICAS: most.to_string(), keys::DEPLOYMENT_REVISION: version.to_string(),
            },
        },
        "spec": {"replicas": replicas, "selector": {}, "template": template(&format!("v{version}"))},
        "status": {"replicas": replicas, "availableReplicas": available, "readyReplicas": available},
    });
    serde_json::from_value(set).unwrap()
}

#[test]
fn percentages_are_rounded_towards_safety() {
    // replicas, maxUnavailable, maxSurge, surge, unavailable
    let cases = [
        (4, json!("25%"), json!("25%"), 1, 1),
        (10, json!("25%"), json!("25%"), 3, 2),
        (1, json!("25%"), json!("25%"), 1, 0),
        (3, json!("10%"), json!("0%"), 0, 1),
        (3, json!(1), json!(2), 2, 1),
        (3, json!(9), json!(0), 0, 3),
        (0, json!("25%"), json!("25%"), 0, 0),
    ];
    for (replicas, unavailable, surge, wanted_surge, wanted_unavailable) in cases {
        let deployment = deployment(replicas, &rolling(&unavailable, &surge));
        let found = numbers::bounds(&deployment.spec);
        assert_eq!(
            found,
            (wanted_surge, wanted_unavailable),
            "{replicas} {unavailable} {surge}"
        );
    }
    assert_eq!(
        numbers::bounds(&deployment(3, &json!({"type": "Recreate"})).spec),
        (0, 0)
    );
}

/// Steps of a rolling update of 4 pods with one more and one fewer: (old, old available, new, new available) and what
/// follows, the new or the old set scaled.
#[test]
fn a_rolling_update_goes_step_by_step() {
    let deployment = deployment(4, &rolling(&json!(1), &json!(1)));
    let cases = [
        ((4, 4, 0, 0), Some(1), vec![]),
        ((4, 4, 1, 0), None, vec![3]),
        ((3, 3, 1, 0), Some(2), vec![]),
        ((3, 3, 2, 0), None, vec![]),
        ((3, 3, 2, 1), None, vec![2]),
        ((2, 2, 2, 2), Some(3), vec![]),
        ((1, 1, 4, 4), None, vec![0]),
        // Those that do not serve go first.
        ((4, 2, 1, 0), None, vec![3]),
        ((0, 0, 4, 4), None, vec![]),
        // What is about to go serves nobody any more.
        ((3, 4, 1, 1), Some(2), vec![]),
        ((3, 4, 2, 1), None, vec![2]),
        // More than are wanted.
        ((0, 0, 6, 6), Some(4), vec![]),
    ];
    for ((old, old_available, new, new_available), grows, shrinks) in cases {
        let (old, new) = (set(1, old, old_available, 5), set(2, new, new_available, 5));
        let rollout = Rollout::new(&deployment, vec![&old, &new], None, now());
        let target = if new.spec.replicas > 4 {
            4
        } else {
            numbers::room_for_new(&rollout, new.spec.replicas)
        };
        let label = format!("{:?} {:?}", old.spec.replicas, new.spec.replicas);
        assert_eq!(Some(target).filter(|n| *n != new.spec.replicas), grows, "{label}");
        if grows.is_none() {
            let found: Vec<i64> = numbers::shrink_old(&rollout, &new)
                .into_iter()
                .map(|(_, n)| n)
                .collect();
            assert_eq!(found, shrinks, "{label}");
        }
    }
}

/// Scaling in the middle of a rollout: each set keeps its part.
#[test]
fn a_change_of_the_whole_is_spread_by_size() {
    // wanted, [(replicas, what was the most)], then
    let cases = [
        // 10 of which 8 are old: to 15, as upstream's documentation tells of a stuck rollout of 10 with 3 more.
        (15, vec![(8, 13), (5, 13)], vec![11, 7]),
        (10, vec![(5, 10), (5, 10)], vec![5, 5]),
        // What rounding takes too little of is taken from the older.
        (5, vec![(5, 10), (5, 10)], vec![2, 3]),
        (0, vec![(8, 13), (5, 13)], vec![0, 0]),
    ];
    for (wanted, sizes, then) in cases {
        let surge = if wanted == 15 { json!(3) } else { json!(0) };
        let deployment = deployment(wanted, &rolling(&json!(2), &surge));
        let sets: Vec<ReplicaSet> = (1_u32..)
            .zip(&sizes)
            .map(|(version, (size, most))| set(version, *size, *size, *most))
            .collect();
        let active: Vec<&ReplicaSet> = sets.iter().collect();
        let rollout = Rollout::new(&deployment, active.clone(), None, now());
        let mut found = numbers::by_part(&rollout, &active);
        found.sort_by_key(|(set, _)| set.metadata.creation_timestamp);
        let found: Vec<i64> = found.into_iter().map(|(_, n)| n).collect();
        assert_eq!(found.iter().sum::<i64>(), then.iter().sum::<i64>(), "{wanted}");
        assert_eq!(found, then, "{wanted}");
    }
}

#[test]
fn a_template_has_one_name_and_another_after_a_collision() {
    let hash = history::template_hash(&template("v1"), 0);
    assert_eq!(hash, history::template_hash(&template("v1"), 0));
    assert_ne!(hash, history::template_hash(&template("v2"), 0));
    assert_ne!(hash, history::template_hash(&template("v1"), 1));
    assert!((1..=10).contains(&hash.len()), "{hash}");
    assert!(hash.chars().all(|c| keys::SAFE_ALPHABET.contains(c)), "{hash}");
}

#[test]
fn old_revisions_go_when_they_are_idle() {
    let deployment = deployment(1, &rolling(&json!(1), &json!(1)));
    let sets = [
        set(1, 0, 0, 1),
        set(3, 0, 0, 1),
        set(4, 1, 1, 1),
        set(5, 0, 0, 1),
        set(2, 1, 1, 1),
    ];
    let rollout = Rollout::new(&deployment, sets.iter().collect(), None, now());
    let gone = rollout.forget_history();
    let gone: Vec<&str> = gone.iter().map(|step| step.write.path.as_str()).collect();
    assert_eq!(
        gone,
        [
            "/apis/apps/v1/namespaces/default/replicasets/a-1",
            "/apis/apps/v1/namespaces/default/replicasets/a-3"
        ],
        "two are kept, and the current one is not among them"
    );
}

#[test]
fn an_old_template_that_comes_back_gets_a_new_number() {
    let deployment = deployment(1, &rolling(&json!(1), &json!(1)));
    let (old, mut again) = (set(7, 0, 0, 1), set(2, 1, 1, 1));
    let rollout = Rollout::new(&deployment, vec![&old, &again], None, now());
    let body = rollout.describe(&again).unwrap().write.body.unwrap();
    assert_eq!(body["metadata"]["annotations"][keys::DEPLOYMENT_REVISION], "8");
    assert_eq!(
        body["metadata"]["annotations"][keys::DEPLOYMENT_REVISION_HISTORY],
        "2"
    );
    again
        .metadata
        .annotations
        .insert(keys::DEPLOYMENT_REVISION.to_owned(), "8".to_owned());
    let rollout = Rollout::new(&deployment, vec![&old, &again], None, now());
    assert!(rollout.describe(&again).is_none());
}

/// How a rollout stands, by (replicas, updated, available) before and the set's numbers now.
#[test]
fn progress_completion_and_standstill_are_told_apart() {
    let condition = |reason: &str, since: i64| {
        json!({
            "type": "Progressing", "status": "True", "reason": reason,
            "lastUpdateTime": Timestamp::from_second(since).unwrap(),
        })
    };
    let cases = [
        (
            2,
            json!([condition("ReplicaSetUpdated", 99_990)]),
            "NewReplicaSetAvailable",
        ),
        (
            1,
            json!([condition("NewReplicaSetCreated", 99_990)]),
            "ReplicaSetUpdated",
        ),
        (
            0,
            json!([condition("ReplicaSetUpdated", 99_990)]),
            "ReplicaSetUpdated",
        ),
        (
            0,
            json!([condition("ReplicaSetUpdated", 99_000)]),
            "ProgressDeadlineExceeded",
        ),
    ];
    for (available, conditions, wanted) in cases {
        let mut deployment = deployment(2, &rolling(&json!(1), &json!(1)));
        deployment.status.conditions = serde_json::from_value(conditions).unwrap();
        deployment.status.replicas = 2;
        deployment.status.updated_replicas = 2;
        let set = set(2, 2, available, 3);
        let rollout = Rollout::new(&deployment, vec![&set], None, now());
        let body = rollout.rollout_status().unwrap().write.body.unwrap();
        let conditions = body["status"]["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|c| c["type"] == "Progressing").unwrap();
        assert_eq!(found["reason"], wanted, "{available} available");
    }
}
