use super::*;

fn budget(change: impl FnOnce(&mut Value)) -> Value {
    let mut budget = json!({
        "metadata": {"name": "b", "namespace": "default", "generation": 1},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}},
        "status": {
            "observedGeneration": 1, "disruptionsAllowed": 2, "currentHealthy": 3, "desiredHealthy": 1, "expectedPods": 3,
            "conditions": [{"type": "DisruptionAllowed", "status": "True", "reason": "SufficientPods"}],
        },
    });
    change(&mut budget);
    budget
}

fn pod(ready: &str) -> Value {
    json!({
        "metadata": {"name": "p", "labels": {"app": "a"}},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    })
}

/// What the budget says: how many disruptions are left, or why not.
fn verdict(budget: &Value, pod: &Value) -> String {
    match judge(budget, pod, Timestamp::UNIX_EPOCH) {
        Ok(Verdict::Free) => "free".to_owned(),
        Ok(Verdict::Counted(next)) => {
            assert_eq!(next["status"]["disruptedPods"]["p"], "1970-01-01T00:00:00Z");
            let condition = next["status"]["conditions"][0]["reason"].as_str().unwrap();
            format!("{} {condition}", next["status"]["disruptionsAllowed"])
        }
        Err(failure) => {
            let status = failure.to_status();
            assert_eq!(status["code"], 429);
            assert_eq!(status["reason"], "TooManyRequests");
            assert_eq!(status["message"], VIOLATED);
            assert_eq!(status["details"]["causes"][0]["reason"], "DisruptionBudget");
            status["details"]["causes"][0]["message"]
                .as_str()
                .unwrap()
                .to_owned()
        }
    }
}

/// embedded-cluster.md 10.4 and 20.25.
#[test]
fn a_budget_decides_about_each_pod() {
    let allowed = |n: i64| budget(|b| b["status"]["disruptionsAllowed"] = json!(n));
    let needs = "The disruption budget b needs 1 healthy pods and has 3 currently";
    let late = "The disruption budget b is still being processed by the server.";
    let unhealthy = budget(|b| {
        b["status"]["disruptionsAllowed"] = json!(0);
        b["status"]["currentHealthy"] = json!(0);
    });
    let always = budget(|b| {
        b["spec"]["unhealthyPodEvictionPolicy"] = json!("AlwaysAllow");
        b["status"]["disruptionsAllowed"] = json!(0);
        b["status"]["currentHealthy"] = json!(0);
    });
    let cases = [
        (allowed(2), "True", "1 SufficientPods"),
        (allowed(1), "True", "0 InsufficientPods"),
        (allowed(0), "True", needs),
        (budget(|b| b["metadata"]["generation"] = json!(2)), "True", late),
        (allowed(0), "False", "free"),
        (
            unhealthy,
            "False",
            "The disruption budget b needs 1 healthy pods and has 0 currently",
        ),
        (always, "False", "free"),
    ];
    for (budget, ready, wanted) in cases {
        assert_eq!(verdict(&budget, &pod(ready)), wanted);
    }
}

#[test]
fn nobody_is_asked_about_pods_that_do_not_run() {
    for (phase, wanted) in [
        ("Running", true),
        ("Unknown", true),
        ("Pending", false),
        ("Succeeded", false),
        ("Failed", false),
    ] {
        assert_eq!(
            needs_leave(&json!({"metadata": {}, "status": {"phase": phase}})),
            wanted,
            "{phase}"
        );
    }
    let going =
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}});
    assert!(!needs_leave(&going));
}

#[test]
fn a_budget_without_a_selector_takes_in_no_pod() {
    let labels = labels_of(&pod("True"));
    assert!(selects(&budget(|_| {}), &labels));
    assert!(selects(&budget(|b| b["spec"]["selector"] = json!({})), &labels));
    assert!(!selects(&budget(|b| b["spec"] = json!({})), &labels));
    assert!(!selects(
        &budget(|b| b["spec"]["selector"] = json!({"matchLabels": {"app": "b"}})),
        &labels
    ));
}
