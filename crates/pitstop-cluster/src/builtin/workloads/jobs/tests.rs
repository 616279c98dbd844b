use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn job(spec: &Value, status: &Value) -> Job {
    let mut job = json!({
        "metadata": {"name": "pi", "namespace": "default", "uid": "1", "resourceVersion": "5"},
        "spec": {
            "parallelism": 1, "completions": 1, "backoffLimit": 6, "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"restartPolicy": "Never", "containers": [{}]}},
        },
        "status": {"startTime": at(0)},
    });
    for (into, from) in [("spec", spec), ("status", status)] {
        for (key, value) in from.as_object().unwrap() {
            job[into][key] = value.clone();
        }
    }
    serde_json::from_value(job).unwrap()
}

/// A pod that ended (or not) at second 90.
fn pod(name: &str, phase: &str) -> Pod {
    let pod = json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "labels": {"app": "a"},
            "finalizers": ["batch.kubernetes.io/job-tracking"],
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "pi", "uid": "1", "controller": true}],
        },
        "spec": {"nodeName": "n"},
        "status": {
            "phase": phase, "containerStatuses": [{"state": {"terminated": {"finishedAt": at(90)}}}],
        },
    });
    serde_json::from_value(pod).unwrap()
}

/// What is written, in short, and the status that is.
fn look(job: &Job, pods: &[Pod], now: i64) -> (Vec<&'static str>, Value) {
    let pods: Vec<&Pod> = pods.iter().collect();
    let plan = decide(job, &pods, at(now));
    let mut status = Value::Null;
    let short = plan.steps.iter().map(|step| {
        let is_status = step.write.path.ends_with("/status");
        if is_status {
            status = step.write.body.as_ref().unwrap()[1]["value"].clone();
        }
        match step.write.method.as_str() {
            "POST" => "create",
            "DELETE" => "delete",
            "PATCH" if is_status => "status",
            // Let go, so that it counts as nothing, and deleted.
            _ if step
                .then
                .as_ref()
                .is_some_and(|then| then.write.method == "DELETE") =>
            {
                "send home"
            }
            _ => "release",
        }
    });
    (short.collect(), status)
}

#[test]
fn as_many_pods_run_as_are_wanted_and_allowed() {
    // completions, parallelism, succeeded, active, creates, deletes
    let cases = [
        (Some(5), 2, 0, 0, 2, 0),
        (Some(5), 2, 4, 0, 1, 0),
        (Some(5), 9, 2, 1, 2, 0),
        (Some(5), 1, 0, 3, 0, 2),
        (None, 3, 0, 1, 2, 0),
        (None, 3, 1, 2, 0, 0),
    ];
    for (completions, parallelism, succeeded, active, creates, deletes) in cases {
        let spec = json!({"completions": completions, "parallelism": parallelism});
        let job = job(&spec, &json!({"succeeded": succeeded}));
        let pods: Vec<Pod> = (0..active).map(|n| pod(&n.to_string(), "Running")).collect();
        let (writes, _) = look(&job, &pods, 100);
        let n = |kind: &str| writes.iter().filter(|write| **write == kind).count();
        assert_eq!(
            (n("create"), n("send home")),
            (creates, deletes),
            "{spec} {succeeded} {active}"
        );
    }
}

/// A pod that has ended is put on record, let go, and then counted.
#[test]
fn every_pod_is_counted_once() {
    let ended = [pod("a", "Succeeded")];
    let (writes, status) = look(&job(&json!({"completions": 2}), &json!({})), &ended, 100);
    assert_eq!(writes, ["create", "status"]);
    assert_eq!(status["uncountedTerminatedPods"]["succeeded"], json!(["a"]));
    assert_eq!(status["succeeded"], 0);
    let recorded = json!({"uncountedTerminatedPods": {"succeeded": ["a"]}, "active": 1});
    let ended = [pod("a", "Succeeded"), pod("b", "Running")];
    let (writes, _) = look(&job(&json!({"completions": 2}), &recorded), &ended, 100);
    assert_eq!(writes, ["release"]);
    let mut released = pod("a", "Succeeded");
    released.metadata.finalizers.clear();
    let (_, status) = look(
        &job(&json!({"completions": 2}), &recorded),
        &[released, pod("b", "Running")],
        100,
    );
    assert_eq!(status["succeeded"], 1);
    assert_eq!(status["uncountedTerminatedPods"]["succeeded"], json!([]));
}

#[test]
fn the_end_is_announced_and_comes_when_no_pod_is_left() {
    let reasons = |status: &Value| -> Vec<String> {
        let conditions = status["conditions"].as_array().unwrap();
        conditions
            .iter()
            .map(|c| {
                format!(
                    "{} {}",
                    c["type"].as_str().unwrap(),
                    c["reason"].as_str().unwrap()
                )
            })
            .collect()
    };
    let (_, status) = look(&job(&json!({}), &json!({"succeeded": 1})), &[], 100);
    assert_eq!(reasons(&status), ["SuccessCriteriaMet CompletionsReached"]);
    let announced = json!({"succeeded": 1, "conditions": status["conditions"]});
    let (writes, status) = look(&job(&json!({}), &announced), &[], 100);
    assert_eq!(writes, ["status"]);
    assert_eq!(
        reasons(&status),
        [
            "SuccessCriteriaMet CompletionsReached",
            "Complete CompletionsReached"
        ]
    );
    assert_eq!(status["completionTime"], "1970-01-01T00:01:40Z");
    let (writes, status) = look(
        &job(
            &json!({"backoffLimit": 0, "parallelism": 2, "completions": 2}),
            &json!({"failed": 1}),
        ),
        &[pod("b", "Running")],
        100,
    );
    assert_eq!(writes, ["delete", "status"]);
    assert_eq!(reasons(&status), ["FailureTarget BackoffLimitExceeded"]);
    let (writes, status) = look(
        &job(&json!({"activeDeadlineSeconds": 100}), &json!({})),
        &[pod("b", "Running")],
        100,
    );
    assert_eq!(writes, ["delete", "status"]);
    assert_eq!(reasons(&status), ["FailureTarget DeadlineExceeded"]);
}

/// Waits of 10, 20, 40 s and so on after the failures.
#[test]
fn a_failed_pod_is_replaced_after_a_while() {
    for (n_failed, wait) in [(1, 10), (2, 20), (3, 40)] {
        let pods: Vec<Pod> = (0..n_failed).map(|n| pod(&n.to_string(), "Failed")).collect();
        let uids: Vec<String> = (0..n_failed).map(|n| n.to_string()).collect();
        let known = json!({"uncountedTerminatedPods": {"failed": uids}});
        let job = job(&json!({}), &known);
        let n_created = |now: i64| {
            look(&job, &pods, now)
                .0
                .iter()
                .filter(|write| **write == "create")
                .count()
        };
        assert_eq!(n_created(90 + wait - 1), 0, "{n_failed}");
        assert_eq!(n_created(90 + wait), 1, "{n_failed}");
    }
}

#[test]
fn a_suspended_job_has_no_pods_and_goes_on_later() {
    let (writes, status) = look(
        &job(&json!({"suspend": true}), &json!({})),
        &[pod("b", "Running")],
        100,
    );
    assert_eq!(writes, ["send home", "status"]);
    assert_eq!(status["conditions"][0]["reason"], "JobSuspended");
    let (writes, status) = look(
        &job(&json!({}), &json!({"conditions": status["conditions"]})),
        &[],
        200,
    );
    assert_eq!(writes, ["create", "status"]);
    assert_eq!(status["conditions"][0]["reason"], "JobResumed");
    assert_eq!(status["startTime"], "1970-01-01T00:03:20Z");
}

#[test]
fn a_job_that_has_ended_goes_when_its_time_is_over() {
    let ended =
        json!({"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": at(100)}]});
    let job = job(&json!({"ttlSecondsAfterFinished": 60}), &ended);
    assert_eq!(decide(&job, &[], at(159)).again, Some(at(160)));
    assert_eq!(look(&job, &[], 159).0, Vec::<&str>::new());
    assert_eq!(look(&job, &[], 160).0, ["delete"]);
}

#[test]
fn an_indexed_job_runs_each_completion() {
    let spec = json!({"completionMode": "Indexed", "completions": 4, "parallelism": 3});
    let indexed = job(&spec, &json!({"completedIndexes": "0", "succeeded": 1}));
    let mut running = pod("b", "Running");
    running
        .metadata
        .annotations
        .insert(keys::JOB_COMPLETION_INDEX.to_owned(), "2".to_owned());
    let plan = decide(&indexed, &[&running], at(100));
    let made = plan.steps.iter().filter(|step| step.write.method == "POST");
    let made: Vec<&Value> = made.map(|step| step.write.body.as_ref().unwrap()).collect();
    let names: Vec<&str> = made
        .iter()
        .map(|pod| pod["metadata"]["generateName"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["pi-1-", "pi-3-"]);
    assert_eq!(made[0]["spec"]["hostname"], "pi-1");
    assert_eq!(
        made[0]["spec"]["containers"][0]["env"][0]["name"],
        "JOB_COMPLETION_INDEX"
    );
    assert_eq!(made[0]["metadata"]["labels"][keys::JOB_COMPLETION_INDEX], "1");
}

/// Whoever still runs when a Job has failed has failed with it.
#[test]
fn pods_of_a_job_that_has_failed_count_as_failed() {
    let target =
        json!({"conditions": [{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}]});
    let (_, status) = look(&job(&json!({}), &target), &[pod("b", "Running")], 100);
    assert_eq!(status["uncountedTerminatedPods"]["failed"], json!(["b"]));
}

#[test]
fn a_job_that_is_suspended_keeps_the_time_of_its_start() {
    let started = json!({"startTime": at(50)});
    let (_, status) = look(&job(&json!({"suspend": true}), &started), &[], 100);
    assert_eq!(status["startTime"], json!(at(50)));
}
