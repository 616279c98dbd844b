use super::*;

fn pod(spec: &Value) -> Value {
    let mut pod = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": spec});
    default(&mut pod);
    pod
}

fn created(spec: &Value) -> Value {
    let mut pod = pod(spec);
    prepare_create(&mut pod, &Creation::at(jiff::Timestamp::UNIX_EPOCH));
    pod
}

fn plain() -> Value {
    json!({"containers": [{"name": "a", "image": "a:1"}]})
}

/// embedded-cluster.md 13.
#[test]
fn a_new_pod_is_admitted() {
    let pod = created(&plain());
    let spec = &pod["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["serviceAccount"], "default");
    assert_eq!(spec["enableServiceLinks"], true);
    assert_eq!(
        spec["tolerations"],
        json!([
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
        ])
    );
    assert_eq!(spec["volumes"][0]["name"], "kube-api-access-bcdfg");
    assert_eq!(
        spec["containers"][0]["volumeMounts"],
        json!([{
            "name": "kube-api-access-bcdfg", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
            "readOnly": true,
        }])
    );
    assert_eq!(
        pod["status"],
        json!({"phase": "Pending", "qosClass": "BestEffort"})
    );
    assert_eq!(validate(&pod), []);
    let mut again = pod.clone();
    default(&mut again);
    assert_eq!(again, pod);
    let clean = crate::schema::clean(&KIND, pod.clone()).unwrap();
    assert_eq!(clean.strict_errors, Vec::<String>::new());
}

#[test]
fn what_a_pod_says_itself_is_kept() {
    let pod = created(&json!({
        "containers": [{"name": "a", "image": "a:1"}], "automountServiceAccountToken": false,
        "serviceAccountName": "robot",
        "tolerations": [{"operator": "Exists"}],
    }));
    assert_eq!(pod["spec"]["tolerations"], json!([{"operator": "Exists"}]));
    assert_eq!(pod["spec"]["serviceAccount"], "robot");
    assert!(pod["spec"].get("volumes").is_none());
}

#[test]
fn limits_are_requested_and_decide_the_class() {
    let with = |resources: Value| {
        created(&json!({"containers": [{"name": "a", "image": "a:1", "resources": resources}]}))
    };
    let cases = [
        (json!({}), "BestEffort"),
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed"),
        (json!({"limits": {"cpu": "1"}}), "Burstable"),
        (json!({"requests": {"cpu": "1"}}), "Burstable"),
        (
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}),
            "Burstable",
        ),
        (json!({"limits": {"example.com/gpu": "1"}}), "BestEffort"),
    ];
    for (resources, class) in cases {
        assert_eq!(
            with(resources.clone())["status"]["qosClass"],
            class,
            "{resources}"
        );
    }
    let pod = with(json!({"limits": {"cpu": "1"}}));
    assert_eq!(
        pod["spec"]["containers"][0]["resources"]["requests"],
        json!({"cpu": "1"})
    );
}

#[test]
fn host_network_uses_host_ports() {
    let pod = pod(&json!({
        "hostNetwork": true, "containers": [{"name": "a", "image": "a:1", "ports": [{"containerPort": 80}]}],
    }));
    assert_eq!(pod["spec"]["containers"][0]["ports"][0]["hostPort"], 80);
}

type Change = fn(&mut Value);

const FORBIDDEN: &str = "spec: Forbidden: pod updates may not change fields other than \
     `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only \
     additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
     previously negative)";

/// embedded-cluster.md 6.6.
#[test]
fn only_a_few_fields_of_a_pod_may_change() {
    let old = created(&plain());
    let gated = {
        let mut pod = old.clone();
        pod["spec"]["schedulingGates"] = json!([{"name": "example.com/a"}]);
        pod
    };
    let negative = {
        let mut pod = old.clone();
        pod["spec"]["terminationGracePeriodSeconds"] = json!(-1);
        pod
    };
    let cases: [(&Value, Change, &[&str]); 13] = [
        (
            &old,
            |pod| pod["spec"]["containers"][0]["image"] = json!("a:2"),
            &[],
        ),
        (&old, |pod| pod["spec"]["activeDeadlineSeconds"] = json!(10), &[]),
        (&old, |pod| pod["metadata"]["labels"] = json!({"a": "b"}), &[]),
        (
            &old,
            |pod| {
                pod["spec"]["tolerations"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({"key": "a"}));
            },
            &[],
        ),
        (
            &old,
            |pod| pod["spec"]["tolerations"][0]["tolerationSeconds"] = json!(1),
            &[],
        ),
        (
            &old,
            |pod| pod["spec"]["tolerations"] = json!([]),
            &[
                "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
            ],
        ),
        (
            &old,
            |pod| pod["spec"]["containers"][0]["command"] = json!(["x"]),
            &[FORBIDDEN],
        ),
        (&old, |pod| pod["spec"]["nodeName"] = json!("n1"), &[FORBIDDEN]),
        (
            &old,
            |pod| pod["spec"]["containers"][0]["name"] = json!("b"),
            &[FORBIDDEN],
        ),
        (
            &old,
            |pod| pod["spec"]["containers"] = json!([]),
            &["spec.containers: Forbidden: pod updates may not add or remove containers"],
        ),
        (
            &negative,
            |pod| pod["spec"]["terminationGracePeriodSeconds"] = json!(1),
            &[],
        ),
        (&gated, |pod| pod["spec"]["nodeSelector"] = json!({"a": "b"}), &[]),
        (
            &old,
            |pod| pod["spec"]["schedulingGates"] = json!([{"name": "example.com/a"}]),
            &[
                "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate \
               'example.com/a'",
            ],
        ),
    ];
    for (index, (old, change, wanted)) in cases.into_iter().enumerate() {
        let mut new = old.clone();
        change(&mut new);
        let errors: Vec<String> = (KIND.validate_update)(&new, old)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(errors, wanted, "case {index}");
    }
}

fn row(spec: &Value, status: &Value, metadata: &Value) -> Vec<String> {
    let mut pod = json!({"spec": spec, "status": status, "metadata": metadata});
    pod["metadata"]["name"] = json!("p");
    let now = "2026-01-01T01:00:00Z".parse().unwrap();
    let cells = (KIND.cells)(&pod, now);
    assert_eq!(cells.len(), KIND.columns.len());
    cells[1..4]
        .iter()
        .map(|cell| cell.as_str().unwrap().to_owned())
        .collect()
}

/// Spec, status, metadata; Ready, Status, Restarts.
type Row = (Value, Value, Value, [&'static str; 3]);

fn check_rows(rows: &[Row]) {
    for (index, (spec, status, metadata, wanted)) in rows.iter().enumerate() {
        assert_eq!(row(spec, status, metadata), wanted, "row {index}");
    }
}

fn one() -> Value {
    json!({"containers": [{"name": "a"}]})
}

fn two() -> Value {
    json!({"containers": [{"name": "a"}, {"name": "b"}]})
}

fn running() -> Value {
    json!({"ready": true, "restartCount": 0, "state": {"running": {}}})
}

fn waiting(reason: &str) -> Value {
    json!({"restartCount": 0, "state": {"waiting": {"reason": reason}}})
}

fn ended(code: i64, reason: &str) -> Value {
    json!({"restartCount": 0, "state": {"terminated": {"exitCode": code, "reason": reason}}})
}

fn with(phase: &str, containers: &[Value]) -> Value {
    json!({"phase": phase, "containerStatuses": containers})
}

/// embedded-cluster.md 12, "Pod cells", 3.
#[test]
fn cells_follow_the_containers() {
    let crash = json!({
        "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"finishedAt": "2026-01-01T00:58:30Z"}},
    });
    let pulling = waiting("ImagePullBackOff");
    let completed = ended(0, "Completed");
    let none = || json!({});
    check_rows(&[
        (
            one(),
            with("Running", &[running()]),
            none(),
            ["1/1", "Running", "0"],
        ),
        (one(), with("Pending", &[]), none(), ["0/1", "Pending", "0"]),
        (
            one(),
            with("Pending", &[pulling]),
            none(),
            ["0/1", "ImagePullBackOff", "0"],
        ),
        (
            two(),
            with("Running", &[running(), crash]),
            none(),
            ["1/2", "CrashLoopBackOff", "3 (90s ago)"],
        ),
        (
            one(),
            with("Failed", &[ended(2, "")]),
            none(),
            ["0/1", "ExitCode:2", "0"],
        ),
        (
            one(),
            with("Failed", &[ended(2, "Error")]),
            none(),
            ["0/1", "Error", "0"],
        ),
        (
            two(),
            with("Running", &[running(), completed]),
            none(),
            ["1/2", "NotReady", "0"],
        ),
    ]);
}

/// embedded-cluster.md 12, "Pod cells", 1 and 4.
#[test]
fn cells_follow_the_pod() {
    let evicted = json!({"phase": "Failed", "reason": "Evicted"});
    let lost = json!({"phase": "Running", "reason": "NodeLost"});
    let gated =
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]});
    let deleting = || json!({"deletionTimestamp": "2026-01-01T01:00:30Z"});
    let completed = with("Succeeded", &[ended(0, "Completed")]);
    check_rows(&[
        (one(), evicted, json!({}), ["0/1", "Evicted", "0"]),
        (one(), gated, json!({}), ["0/1", "SchedulingGated", "0"]),
        (
            one(),
            with("Running", &[running()]),
            deleting(),
            ["1/1", "Terminating", "0"],
        ),
        (one(), lost, deleting(), ["0/1", "Unknown", "0"]),
        (one(), completed, deleting(), ["0/1", "Completed", "0"]),
    ]);
}

/// embedded-cluster.md 12, "Pod cells", 2.
#[test]
fn cells_follow_the_init_containers() {
    let init = || json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]});
    let sidecar =
        json!({"initContainers": [{"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "a"}]});
    let started =
        json!({"name": "s", "started": true, "ready": true, "restartCount": 2, "state": {"running": {}}});
    let beside =
        json!({"phase": "Running", "initContainerStatuses": [started], "containerStatuses": [running()]});
    let of = |statuses: &[Value]| json!({"phase": "Pending", "initContainerStatuses": statuses});
    let none = || json!({});
    check_rows(&[
        (
            init(),
            of(&[waiting("PodInitializing")]),
            none(),
            ["0/1", "Init:0/2", "0"],
        ),
        (
            init(),
            of(&[ended(0, ""), running()]),
            none(),
            ["0/1", "Init:1/2", "0"],
        ),
        (
            init(),
            of(&[ended(3, "")]),
            none(),
            ["0/1", "Init:ExitCode:3", "0"],
        ),
        (
            init(),
            of(&[waiting("ErrImagePull")]),
            none(),
            ["0/1", "Init:ErrImagePull", "0"],
        ),
        (sidecar, beside, none(), ["2/2", "Running", "2"]),
    ]);
}

#[test]
fn wide_cells_show_address_node_and_gates() {
    let pod = json!({
        "metadata": {"name": "p"},
        "spec": {"nodeName": "n1", "containers": [{}], "readinessGates": [{"conditionType": "a"}, {"conditionType": "b"}]},
        "status": {"podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "a", "status": "True"}]},
    });
    let cells = (KIND.cells)(&pod, jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(
        cells[5..],
        [json!("10.0.0.1"), json!("n1"), json!("<none>"), json!("1/2")]
    );
    assert_eq!(
        (KIND.row_conditions)(&json!({"status": {"phase": "Failed"}}))[0]["reason"],
        "Failed"
    );
    assert!((KIND.row_conditions)(&json!({"status": {"phase": "Running"}})).is_empty());
}
