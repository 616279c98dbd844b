use super::*;

fn service(change: impl FnOnce(&mut Value)) -> Service {
    let mut service = json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "s", "labels": {"team": "a"}},
        "spec": {
            "clusterIP": "10.0.0.1", "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    });
    change(&mut service);
    serde_json::from_value(service).unwrap()
}

fn pod(name: &str, change: impl FnOnce(&mut Value)) -> Pod {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}},
        "spec": {
            "nodeName": "n", "containers": [{"ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}],
        },
        "status": {
            "phase": "Running", "podIPs": [{"ip": format!("10.1.0.{}", name.len())}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    change(&mut pod);
    serde_json::from_value(pod).unwrap()
}

/// The bodies of what is written: of Endpoints, and of slices.
fn bodies(service: &Service, pods: &[Pod]) -> (Value, Vec<Value>) {
    let plan = decide(service, None, &[], pods.iter());
    let mut bodies = plan.steps.into_iter().map(|step| step.write.body.unwrap());
    (bodies.next().unwrap(), bodies.collect())
}

#[test]
fn ready_pods_are_addresses_and_others_are_listed_apart() {
    let pods = [
        pod("a", |_| {}),
        pod("bb", |pod| {
            pod["status"]["conditions"][0]["status"] = json!("False");
        }),
        pod("ccc", |pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }),
        pod("dddd", |pod| pod["status"]["phase"] = json!("Failed")),
        pod("eeeee", |pod| pod["status"]["podIPs"] = json!([])),
        pod("ffffff", |pod| pod["metadata"]["labels"] = json!({})),
    ];
    let (endpoints, slices) = bodies(&service(|_| {}), &pods);
    let subset = &endpoints["subsets"][0];
    let target = json!({"kind": "Pod", "namespace": "default", "name": "a", "uid": "a"});
    assert_eq!(
        subset["addresses"],
        json!([{"ip": "10.1.0.1", "nodeName": "n", "targetRef": target}])
    );
    assert_eq!(subset["notReadyAddresses"][0]["ip"], "10.1.0.2");
    assert_eq!(subset["notReadyAddresses"].as_array().unwrap().len(), 1);
    assert_eq!(
        subset["ports"],
        json!([{"name": "http", "port": 8080, "protocol": "TCP"}])
    );
    assert_eq!(
        endpoints["metadata"]["labels"],
        json!({"team": "a", "endpoints.kubernetes.io/managed-by": "endpoint-controller"})
    );
    let [slice] = slices.as_slice() else {
        panic!("{slices:?}")
    };
    let conditions: Vec<&Value> = slice["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|endpoint| &endpoint["conditions"])
        .collect();
    assert_eq!(
        conditions,
        [
            &json!({"ready": true, "serving": true, "terminating": false}),
            &json!({"ready": false, "serving": false, "terminating": false}),
            &json!({"ready": false, "serving": true, "terminating": true}),
        ]
    );
    assert_eq!(slice["metadata"]["generateName"], "web-");
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "web");
}

#[test]
fn a_service_without_pods_has_empty_lists() {
    let (endpoints, slices) = bodies(&service(|_| {}), &[]);
    assert_eq!(endpoints["subsets"], json!([]));
    assert_eq!(
        (&slices[0]["endpoints"], &slices[0]["ports"]),
        (&json!([]), &json!([]))
    );
}

#[test]
fn services_without_a_selector_are_left_to_others() {
    let without = service(|service| service["spec"]["selector"] = json!({}));
    assert!(
        decide(&without, None, &[], [pod("a", |_| {})].iter())
            .steps
            .is_empty()
    );
    let external = service(|service| service["spec"]["type"] = json!("ExternalName"));
    assert!(decide(&external, None, &[], [].iter()).steps.is_empty());
}

#[test]
fn what_is_right_stays_as_it_is() {
    let pods = [pod("a", |_| {})];
    let (endpoints, slices) = bodies(&service(|_| {}), &pods);
    let endpoints: Endpoints = serde_json::from_value(endpoints).unwrap();
    let slice: Slice = serde_json::from_value(slices[0].clone()).unwrap();
    assert!(
        decide(&service(|_| {}), Some(&endpoints), &[&slice], pods.iter())
            .steps
            .is_empty()
    );
    let plan = decide(&service(|_| {}), Some(&endpoints), &[&slice], [].iter());
    let methods: Vec<&str> = plan.steps.iter().map(|step| step.write.method.as_str()).collect();
    assert_eq!(methods, ["PUT", "PUT"]);
}

#[test]
fn a_slice_holds_a_hundred_addresses() {
    let pods: Vec<Pod> = (1..=250).map(|n| pod(&"x".repeat(n), |_| {})).collect();
    let (_, slices) = bodies(&service(|_| {}), &pods);
    let sizes: Vec<usize> = slices
        .iter()
        .map(|slice| slice["endpoints"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [100, 100, 50]);
}
