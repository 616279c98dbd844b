use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(10_000).unwrap()
}

fn pod(name: &str, ready: &str) -> Pod {
    let pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    });
    serde_json::from_value(pod).unwrap()
}

fn budget(spec: &Value) -> Budget {
    let metadata = json!({"name": "b", "namespace": "default", "generation": 3, "resourceVersion": "9"});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

fn status(plan: &Plan) -> Value {
    plan.steps[0].write.body.as_ref().unwrap()[1]["value"].clone()
}

/// Four pods of a workload of five, three of them ready.
#[test]
fn as_many_may_go_as_are_healthy_beyond_those_that_are_needed() {
    let pods = [
        pod("a", "True"),
        pod("b", "True"),
        pod("c", "True"),
        pod("d", "False"),
    ];
    let members: Vec<Member<'_>> = pods
        .iter()
        .map(|pod| Member {
            pod,
            part_of: PartOf::Scaled("web", 5),
        })
        .collect();
    // spec, expected, desired, allowed
    let cases = [
        (json!({"minAvailable": 2}), 4, 2, 1),
        (json!({"minAvailable": 3}), 4, 3, 0),
        (json!({"minAvailable": 9}), 4, 9, 0),
        (json!({"minAvailable": "50%"}), 5, 3, 0),
        (json!({"minAvailable": "20%"}), 5, 1, 2),
        (json!({"maxUnavailable": 3}), 5, 2, 1),
        (json!({"maxUnavailable": "50%"}), 5, 2, 1),
        (json!({"maxUnavailable": 0}), 5, 5, 0),
        (json!({}), 4, 0, 3),
    ];
    for (spec, expected, desired, allowed) in cases {
        let status = status(&decide(&budget(&spec), &members, now()));
        let numbers = [
            "expectedPods",
            "desiredHealthy",
            "disruptionsAllowed",
            "currentHealthy",
        ];
        let found = numbers.map(|name| status[name].as_i64().unwrap());
        assert_eq!(found, [expected, desired, allowed, 3], "{spec}");
        assert_eq!(status["observedGeneration"], 3);
        let reason = if allowed > 0 {
            "SufficientPods"
        } else {
            "InsufficientPods"
        };
        assert_eq!(status["conditions"][0]["reason"], reason);
    }
}

#[test]
fn without_pods_none_may_go() {
    let status = status(&decide(&budget(&json!({"maxUnavailable": 1})), &[], now()));
    assert_eq!(status["disruptionsAllowed"], 0);
}

#[test]
fn a_pod_that_was_allowed_to_go_does_not_count_until_it_has_stayed_for_two_minutes() {
    let pods = [pod("a", "True"), pod("b", "True")];
    let members: Vec<Member<'_>> = pods
        .iter()
        .map(|pod| Member {
            pod,
            part_of: PartOf::Alone,
        })
        .collect();
    for (seconds, healthy) in [(119, 1), (120, 2)] {
        let mut budget = budget(&json!({"minAvailable": 1}));
        let since = now().checked_sub(SignedDuration::from_secs(seconds)).unwrap();
        budget.status.disrupted_pods.insert("a".to_owned(), since);
        budget.status.disrupted_pods.insert("gone".to_owned(), now());
        let plan = decide(&budget, &members, now());
        assert_eq!(status(&plan)["currentHealthy"], healthy, "{seconds} s");
        assert_eq!(status(&plan)["disruptedPods"].get("gone"), None);
        assert_eq!(plan.again.is_some(), healthy == 1);
    }
}

#[test]
fn percentages_need_something_to_be_a_part_of() {
    let pods = [pod("a", "True")];
    let part_of = PartOf::Unscaled("daemonsets.apps".to_owned());
    let members = [Member {
        pod: &pods[0],
        part_of,
    }];
    let status = status(&decide(&budget(&json!({"maxUnavailable": 1})), &members, now()));
    assert_eq!(status["conditions"][0]["reason"], "SyncFailed");
    assert_eq!(status["disruptionsAllowed"], 0);
}
