//! The worked examples about patches and server-side apply. Source: embedded-cluster.md 20; the others are beside what
//! they show: see the tests whose names begin with `example`.

use super::*;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn containers(object: &Value) -> Vec<(&str, &str)> {
    let template = object.pointer("/spec/template/spec/containers");
    let list = template.or_else(|| object.pointer("/spec/containers")).unwrap();
    list.as_array()
        .unwrap()
        .iter()
        .map(|c| (c["name"].as_str().unwrap(), c["image"].as_str().unwrap()))
        .collect()
}

fn with_containers(mut set: Value, containers: &[(&str, &str)]) -> Value {
    let list = containers
        .iter()
        .map(|(name, image)| json!({"name": name, "image": image}));
    set["spec"]["template"]["spec"]["containers"] = list.collect();
    set
}

/// A Deployment as `kubectl create deployment` and `kubectl apply` write it.
fn deployment(replicas: Option<i64>, image: &str) -> Value {
    let mut deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "nginx", "image": image}]},
            },
        },
    });
    if let Some(replicas) = replicas {
        deployment["spec"]["replicas"] = replicas.into();
    }
    deployment
}

#[tokio::test]
async fn example_10_a_strategic_patch_orders_what_it_names() {
    let server = Server::new().await;
    let set = with_containers(daemon_set("d"), &[("a", "i1"), ("b", "j")]);
    server.post(SETS, &set).await.expect(201);
    let patch = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
        "containers": [{"name": "a", "image": "i2"}],
    }}}});
    let patched = server
        .patch(&format!("{SETS}/d"), STRATEGIC, &patch)
        .await
        .expect(200);
    assert_eq!(containers(&patched), [("b", "j"), ("a", "i2")]);
}

#[tokio::test]
async fn example_11_a_container_goes_from_a_template_and_not_from_a_pod() {
    let server = Server::new().await;
    let two = [("a", "i"), ("b", "j")];
    let mut pod = pod("p");
    pod["spec"]["containers"] =
        with_containers(daemon_set("d"), &two)["spec"]["template"]["spec"]["containers"].clone();
    server.post(PODS, &pod).await.expect(201);
    let remove = json!({"containers": [{"name": "a", "$patch": "delete"}]});
    let refused = server
        .patch(&format!("{PODS}/p"), STRATEGIC, &json!({"spec": remove}))
        .await
        .expect(422);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("pod updates may not add or remove containers"),
        "{message}"
    );

    let set = with_containers(daemon_set("d"), &two);
    server.post(SETS, &set).await.expect(201);
    let patch = json!({"spec": {"template": {"spec": remove}}});
    let patched = server
        .patch(&format!("{SETS}/d"), STRATEGIC, &patch)
        .await
        .expect(200);
    assert_eq!(containers(&patched), [("b", "j")]);
}

#[tokio::test]
async fn example_12_apply_asks_before_it_takes_a_field_back() {
    let server = Server::new().await;
    let path = format!("{DEPLOYMENTS}/web");
    let apply = "fieldManager=a";
    server
        .apply(&path, apply, &deployment(Some(2), "nginx:1"))
        .await
        .expect(201);
    let set_image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "nginx", "image": "nginx:2"}]}}}});
    server
        .patch(&format!("{path}?fieldManager=kubectl-set"), STRATEGIC, &set_image)
        .await
        .expect(200);
    let wanted = deployment(Some(2), "nginx:1");
    let refused = server.apply(&path, apply, &wanted).await.expect(409);
    let cause = &refused["details"]["causes"][0];
    assert_eq!(
        cause["field"],
        ".spec.template.spec.containers[name=\"nginx\"].image"
    );
    assert_eq!(cause["message"], "conflict with \"kubectl-set\" using apps/v1");
    let forced = server
        .apply(&path, "fieldManager=a&force=true", &wanted)
        .await
        .expect(200);
    assert_eq!(containers(&forced), [("nginx", "nginx:1")]);
    let owners = forced["metadata"]["managedFields"].as_array().unwrap();
    let managers: Vec<&Value> = owners.iter().map(|entry| &entry["manager"]).collect();
    assert_eq!(managers, ["a"], "kubectl-set owns nothing any more");
}

#[tokio::test]
async fn example_13_what_is_not_applied_any_more_goes_and_is_defaulted() {
    let server = Server::new().await;
    let path = format!("{DEPLOYMENTS}/web");
    let apply = "fieldManager=a";
    let made = server.apply(&path, apply, &deployment(Some(3), "nginx:1")).await;
    assert_eq!(made.expect(201)["spec"]["replicas"], 3);
    let without = server.apply(&path, apply, &deployment(None, "nginx:1")).await;
    assert_eq!(without.expect(200)["spec"]["replicas"], 1);
}

#[tokio::test]
async fn example_26_unknown_fields_of_custom_objects() {
    let server = customs::with_widgets().await;
    let cases = [
        ("strict", "Strict", 400, false),
        ("warn", "Warn", 201, true),
        ("ignore", "Ignore", 201, false),
    ];
    for (name, mode, code, is_warned) in cases {
        let mut widget = customs::widget(&json!({"must": "x", "nosuch": 1}));
        widget["metadata"]["name"] = name.into();
        let url = format!("{}?fieldValidation={mode}", customs::WIDGETS);
        let answer = server.post(&url, &widget).await;
        assert_eq!(answer.headers.get("warning").is_some(), is_warned, "{mode}");
        let made = answer.expect(code);
        assert_eq!(made["spec"]["nosuch"], Value::Null, "{mode}");
    }
}
