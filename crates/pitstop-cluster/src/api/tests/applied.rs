//! Server-side apply and the record of owners. Source: embedded-cluster.md 9.4; texts are those of Kubernetes 1.34.

use super::*;

const APPLY: &str = "application/apply-patch+yaml";

fn map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
}

impl Server {
    pub(super) async fn apply(&self, path: &str, query: &str, body: &Value) -> Answer {
        self.patch(&format!("{path}?{query}"), APPLY, body).await
    }

    async fn patch_as(&self, agent: &str, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", MERGE), ("user-agent", agent)];
        self.call(Method::PATCH, path, &headers, body.to_string().into_bytes())
            .await
    }
}

/// Manager, operation, subresource and fields of every entry.
fn owners(object: &Value) -> Vec<(String, String, String, Value)> {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let entry = |e: &Value| {
        (
            text(e, "manager"),
            text(e, "operation"),
            text(e, "subresource"),
            e["fieldsV1"].clone(),
        )
    };
    entries.iter().map(entry).collect()
}

fn owner(
    manager: &str,
    operation: &str,
    subresource: &str,
    fields: Value,
) -> (String, String, String, Value) {
    (
        manager.to_owned(),
        operation.to_owned(),
        subresource.to_owned(),
        fields,
    )
}

#[tokio::test]
async fn an_apply_makes_what_is_not_there_and_owns_what_it_says() {
    let server = Server::new().await;
    let path = format!("{MAPS}/m");
    let made = server
        .apply(&path, "fieldManager=x", &map(&json!({"a": "1", "b": "1"})))
        .await
        .expect(201);
    assert_eq!(made["data"], json!({"a": "1", "b": "1"}));
    assert_eq!(
        made["metadata"]["managedFields"],
        json!([{
            "manager": "x", "operation": "Apply", "apiVersion": "v1", "time": "2026-01-02T03:04:05Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}, "f:b": {}}},
        }])
    );
    // Applying the same again writes nothing; what is left out goes.
    let same = server
        .apply(&path, "fieldManager=x", &map(&json!({"a": "1", "b": "1"})))
        .await
        .expect(200);
    assert_eq!(version_of(&same), version_of(&made));
    let less = server
        .apply(&path, "fieldManager=x", &map(&json!({"b": "1"})))
        .await
        .expect(200);
    assert_eq!(less["data"], json!({"b": "1"}));
}

#[tokio::test]
async fn conflicts_name_the_owners() {
    let server = Server::new().await;
    let path = format!("{MAPS}/m");
    server
        .apply(&path, "fieldManager=x", &map(&json!({"a": "1", "b": "1"})))
        .await
        .expect(201);
    server
        .apply(&path, "fieldManager=y", &map(&json!({"c": "1"})))
        .await
        .expect(200);
    server
        .patch_as("curl/8.0 (linux)", &path, &json!({"data": {"a": "2"}}))
        .await
        .expect(200);
    let status = server
        .apply(&path, "fieldManager=y", &map(&json!({"a": "3", "b": "3"})))
        .await
        .expect(409);
    assert_eq!(
        status,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 409, "reason": "Conflict",
            "message": "Apply failed with 2 conflicts: conflicts with \"curl\" using v1:\n- .data.a\n\
                        conflicts with \"x\":\n- .data.b",
            "details": {"causes": [
                {"reason": "FieldManagerConflict", "message": "conflict with \"curl\" using v1", "field": ".data.a"},
                {"reason": "FieldManagerConflict", "message": "conflict with \"x\"", "field": ".data.b"},
            ]},
        })
    );
    let forced = server
        .apply(
            &path,
            "fieldManager=y&force=true",
            &map(&json!({"a": "3", "b": "3"})),
        )
        .await
        .expect(200);
    assert_eq!(
        owners(&forced),
        [owner("y", "Apply", "", json!({"f:data": {"f:a": {}, "f:b": {}}}))]
    );
    assert_eq!(forced["data"], json!({"a": "3", "b": "3"}));
}

#[tokio::test]
async fn every_write_records_its_owner() {
    let server = Server::new().await;
    let pod = json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = server
        .post(&format!("{PODS}?fieldManager=maker"), &pod)
        .await
        .expect(201);
    let fields = &owners(&made)[0].3;
    assert_eq!(fields["f:metadata"], json!({"f:labels": {".": {}, "f:a": {}}}));
    // The maker owns the defaults, and not what the server adds or what another endpoint writes.
    assert_eq!(fields["f:spec"]["f:restartPolicy"], json!({}));
    assert_eq!(fields["f:spec"].get("f:volumes"), None);
    // As Go writes an empty pod, it has a spec with a list of containers.
    assert_eq!(fields["f:spec"].get("."), None);
    assert_eq!(fields["f:spec"]["f:containers"].get("."), None);
    assert_eq!(fields.get("f:status"), None);
    let path = format!("{PODS}/p/status?fieldManager=kubelet");
    let patch = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let ready = server.patch(&path, STRATEGIC, &patch).await.expect(200);
    let fields = json!({"f:status": {"f:conditions": {
        ".": {}, "k:{\"type\":\"Ready\"}": {".": {}, "f:status": {}, "f:type": {}, "f:lastProbeTime": {}, "f:lastTransitionTime": {}},
    }}});
    let kubelet = owners(&ready)
        .into_iter()
        .find(|entry| entry.0 == "kubelet")
        .unwrap();
    assert_eq!((kubelet.1.as_str(), kubelet.2.as_str()), ("Update", "status"));
    assert_eq!(
        kubelet.3["f:status"]["f:conditions"]["k:{\"type\":\"Ready\"}"]["f:status"],
        fields["f:status"]["f:conditions"]["k:{\"type\":\"Ready\"}"]["f:status"]
    );
    // Who writes what is there already owns nothing, and nothing is written.
    let again = server
        .patch_as(
            "idle",
            &format!("{PODS}/p"),
            &json!({"metadata": {"labels": {"a": "b"}}}),
        )
        .await;
    assert_eq!(version_of(&again.expect(200)), version_of(&ready));
    // A client that knows nothing of owners does not delete them.
    let mut object = ready.clone();
    object["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("managedFields");
    let put = server.put(&format!("{PODS}/p"), &object).await.expect(200);
    assert_eq!(owners(&put), owners(&ready));
}

#[tokio::test]
async fn owners_can_be_forgotten() {
    for reset in [json!([]), json!([{}])] {
        let server = Server::new().await;
        let path = format!("{MAPS}/m");
        server
            .apply(&path, "fieldManager=x", &map(&json!({"a": "1"})))
            .await
            .expect(201);
        let object = server
            .patch(&path, MERGE, &json!({"metadata": {"managedFields": reset}}))
            .await
            .expect(200);
        assert_eq!(object["metadata"].get("managedFields"), None);
        // From here on nobody is recorded until somebody applies.
        let object = server
            .patch_as("u", &path, &json!({"data": {"b": "1"}}))
            .await
            .expect(200);
        assert_eq!(object["metadata"].get("managedFields"), None);
        let object = server
            .apply(&path, "fieldManager=y", &map(&json!({"c": "1"})))
            .await
            .expect(200);
        assert_eq!(
            owners(&object),
            [
                owner("y", "Apply", "", json!({"f:data": {"f:c": {}}})),
                owner(
                    "before-first-apply",
                    "Update",
                    "",
                    json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}})
                ),
            ]
        );
    }
}

#[tokio::test]
async fn kubectl_renews_what_client_side_apply_has_left() {
    let server = Server::new().await;
    let last = "kubectl.kubernetes.io/last-applied-configuration";
    let mut made = map(&json!({"a": "1"}));
    made["metadata"]["annotations"] = json!({last: made.to_string()});
    server
        .post(&format!("{MAPS}?fieldManager=kubectl-client-side-apply"), &made)
        .await
        .expect(201);
    let applied = map(&json!({"a": "2"}));
    let object = server
        .apply(&format!("{MAPS}/m"), "fieldManager=kubectl", &applied)
        .await
        .expect(200);
    assert_eq!(object["metadata"]["annotations"][last], format!("{applied}\n"));
    assert_eq!(object["data"]["a"], "2");
}

#[tokio::test]
async fn leases_and_events_have_no_owners_until_somebody_applies() {
    let server = Server::new().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let made = server
        .post(
            leases,
            &json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}}),
        )
        .await
        .expect(201);
    assert!(owners(&made).is_empty());
    let body = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"leaseDurationSeconds": 3},
    });
    let applied = server
        .apply(&format!("{leases}/l"), "fieldManager=x", &body)
        .await
        .expect(200);
    assert_eq!(owners(&applied).len(), 2);
}

#[tokio::test]
async fn a_dry_run_shows_and_stores_nothing() {
    let server = Server::new().await;
    let path = format!("{MAPS}/m");
    server
        .apply(&path, "fieldManager=x&dryRun=All", &map(&json!({"a": "1"})))
        .await
        .expect(201);
    server.get(&path).await.expect(404);
    server
        .apply(&path, "fieldManager=x", &map(&json!({"a": "1"})))
        .await
        .expect(201);
    let shown = server
        .apply(&path, "fieldManager=x&dryRun=All", &map(&json!({"a": "2"})))
        .await
        .expect(200);
    assert_eq!(shown["data"]["a"], "2");
    assert_eq!(server.get(&path).await.expect(200)["data"]["a"], "1");
}

#[tokio::test]
async fn status_is_applied_where_it_is_written() {
    let server = Server::new().await;
    let node = |status: Value| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "status": status});
    let path = "/api/v1/nodes/n";
    let status = json!({"capacity": {"cpu": "2"}});
    server
        .apply(&format!("{path}/status"), "fieldManager=x", &node(status.clone()))
        .await
        .expect(404);
    server
        .post("/api/v1/nodes", &json!({"metadata": {"name": "n"}}))
        .await
        .expect(201);
    server
        .apply(path, "fieldManager=x", &node(status.clone()))
        .await
        .expect(200);
    let unchanged = server.get(path).await.expect(200);
    assert_eq!(unchanged["status"].get("capacity"), None);
    let applied = server
        .apply(&format!("{path}/status"), "fieldManager=x", &node(status))
        .await
        .expect(200);
    assert_eq!(applied["status"]["capacity"], json!({"cpu": "2"}));
    let fields = json!({"f:status": {"f:capacity": {"f:cpu": {}}}});
    assert!(owners(&applied).contains(&owner("x", "Apply", "status", fields)));
}

#[tokio::test]
async fn what_cannot_be_applied() {
    let server = Server::new().await;
    server.post(MAPS, &map(&json!({"a": "1"}))).await.expect(201);
    let with = |path: &str, value: Value| {
        let mut body = map(&json!({"a": "1"}));
        *body.pointer_mut(path).unwrap() = value;
        body
    };
    let metadata = |value: Value| with("/metadata", value);
    let cases = [
        (
            "m",
            "",
            map(&json!({})),
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ),
        (
            "m",
            "fieldManager=x",
            json!([]),
            400,
            "error decoding YAML: the document is no object",
        ),
        (
            "m",
            "fieldManager=x",
            with("/apiVersion", "v2".into()),
            400,
            "invalid object type: /v2, Kind=ConfigMap",
        ),
        (
            "m",
            "fieldManager=x",
            with("/apiVersion", Value::Null),
            400,
            "invalid object type: /, Kind=ConfigMap",
        ),
        (
            "m",
            "fieldManager=x",
            with("/kind", "Pod".into()),
            400,
            "invalid object type: /v1, Kind=Pod",
        ),
        (
            "m",
            "fieldManager=x",
            metadata(json!({"name": "m", "managedFields": []})),
            400,
            "metadata.managedFields must be nil",
        ),
        (
            "m",
            "fieldManager=x",
            metadata(json!({"name": "m", "uid": "u"})),
            422,
            "ConfigMap \"m\" is invalid: metadata.uid: Invalid value: \"u\": field is immutable",
        ),
        (
            "n",
            "fieldManager=x",
            metadata(json!({"name": "n", "uid": "u"})),
            409,
            "Operation cannot be fulfilled on configmaps \"n\": uid mismatch: the provided object specified uid u, and no existing object was found",
        ),
        (
            "m",
            "fieldManager=x",
            metadata(json!({"name": "m", "resourceVersion": "1"})),
            409,
            "Operation cannot be fulfilled on configmaps \"m\": the object has been modified; please apply your changes to the latest version and try again",
        ),
        (
            "n",
            "fieldManager=x",
            metadata(json!({})),
            400,
            "the name of the object (n based on URL) was undeterminable: name must be provided",
        ),
        (
            "m",
            "fieldManager=x",
            metadata(json!({"name": "m", "foo": 1})),
            500,
            "failed to create typed patch object (/m; /v1, Kind=ConfigMap): .metadata.foo: field not declared in schema",
        ),
    ];
    for (name, query, body, code, message) in cases {
        let status = server
            .apply(&format!("{MAPS}/{name}"), query, &body)
            .await
            .expect(code);
        assert_eq!(status["message"], message);
    }
    // A resourceVersion is no condition of what is made.
    let made = metadata(json!({"name": "n", "resourceVersion": "5"}));
    server
        .apply(&format!("{MAPS}/n"), "fieldManager=x", &made)
        .await
        .expect(201);
}

#[tokio::test]
async fn yaml_can_be_applied() {
    let server = Server::new().await;
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\ndata:\n  a: \"1\"\n";
    let headers = [("content-type", "application/apply-patch+yaml; charset=utf-8")];
    let path = format!("{MAPS}/m?fieldManager=x");
    let made = server
        .call(Method::PATCH, &path, &headers, body.into())
        .await
        .expect(201);
    assert_eq!(made["data"], json!({"a": "1"}));
}

/// embedded-cluster.md 9.4 and 10.2: replicas have one owner, whatever way they are applied.
#[tokio::test]
async fn replicas_are_applied_through_scale() {
    let server = Server::new().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template},
    });
    let apply = "application/apply-patch+yaml";
    let path = format!("{deployments}/d?fieldManager=whole");
    server.patch(&path, apply, &deployment).await.expect(201);
    let scale = json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 3},
    });
    let path = format!("{deployments}/d/scale?fieldManager=scaler");
    let said = server.patch(&path, apply, &scale).await.expect(409);
    assert_eq!(
        said["message"],
        "Apply failed with 1 conflict: conflict with \"whole\": .spec.replicas"
    );
    let scaled = server
        .patch(&format!("{path}&force=true"), apply, &scale)
        .await
        .expect(200);
    assert_eq!(scaled["kind"], "Scale");
    assert_eq!(scaled["spec"], json!({"replicas": 3}));
    let object = server.get(&format!("{deployments}/d")).await.expect(200);
    assert_eq!(object["spec"]["replicas"], 3);
    let owners = object["metadata"]["managedFields"].as_array().unwrap();
    let scaler = owners.iter().find(|owner| owner["manager"] == "scaler").unwrap();
    assert_eq!(scaler["subresource"], "scale");
    assert_eq!(scaler["operation"], "Apply");
    assert_eq!(scaler["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    server
        .patch(&format!("{deployments}/d/scale"), apply, &scale)
        .await
        .expect(422);
}
