//! What Go clients showed to be otherwise on a real API server (1.34). The program is `tests/clients`.

use super::*;

/// Who watches sees the state that was stored, under the version of its end; who writes sees what was written.
#[tokio::test]
async fn the_last_finalizer_takes_the_object_along() {
    let server = Server::new().await;
    let mut held = config_map("m");
    held["metadata"]["finalizers"] = json!(["example.com/x"]);
    server.post(MAPS, &held).await.expect(201);
    let path = format!("{MAPS}/m");
    let marked = server.delete(&path, &json!({})).await.expect(200);
    let last = json!({"metadata": {"finalizers": null}, "data": {"k": "last words"}});
    let answer = server.patch(&path, MERGE, &last).await.expect(200);
    assert_eq!(answer["data"]["k"], "last words");
    assert_eq!(answer["metadata"].get("finalizers"), None);
    let watch = format!("{MAPS}?watch=1&resourceVersion={}", version_of(&marked));
    let frames = server.frames(&watch, "", 1).await;
    assert_eq!(kinds_and_names(&frames), [("DELETED", "m")]);
    let seen = &frames[0]["object"];
    assert_eq!(seen["data"]["k"], "v");
    assert_eq!(seen["metadata"]["finalizers"], json!(["example.com/x"]));
    assert_eq!(version_of(seen), server.api.version());
}

#[tokio::test]
async fn a_put_of_another_uid_is_a_conflict() {
    let server = Server::new().await;
    let mut object = server.post(MAPS, &config_map("m")).await.expect(201);
    let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
    object["metadata"]["uid"] = json!("other");
    let status = server.put(&format!("{MAPS}/m"), &object).await.expect(409);
    let expected = format!(
        "Operation cannot be fulfilled on configmaps \"m\": StorageError: invalid object, Code: 4, Key: \
         /registry/configmaps/default/m, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in \
         precondition: other, UID in object meta: {uid}"
    );
    assert_eq!(status["message"], expected);
}

#[tokio::test]
async fn a_patch_that_makes_no_object_of_the_kind_is_invalid() {
    let server = Server::new().await;
    server.post(MAPS, &config_map("m")).await.expect(201);
    let path = format!("{MAPS}/m");
    for (patch, code) in [
        (json!({"data": []}), 422),
        (json!({"data": {"k": 1}}), 422),
        (json!({"kind": "Secret"}), 422),
        (json!({"metadata": {"name": "other"}}), 400),
    ] {
        server.patch(&path, MERGE, &patch).await.expect(code);
    }
    let body = json!({"metadata": {"name": "n"}, "data": []});
    server.post(MAPS, &body).await.expect(400);
}

#[tokio::test]
async fn pods_run_as_service_accounts_that_are_there() {
    let server = Server::new().await;
    let mut agent = pod("agent");
    agent["spec"]["serviceAccountName"] = json!("agent");
    let status = server.post(PODS, &agent).await.expect(403);
    assert_eq!(
        status["message"],
        "pods \"agent\" is forbidden: error looking up service account default/agent: serviceaccount \"agent\" not found"
    );
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = json!({"metadata": {"name": "agent"}});
    server.post(accounts, &account).await.expect(201);
    server.post(PODS, &agent).await.expect(201);
    // That of every namespace comes by itself, a moment after the namespace.
    server.post(PODS, &pod("plain")).await.expect(201);
}

#[tokio::test]
async fn tolerations_of_lost_nodes_come_back() {
    let server = Server::new().await;
    let mut made = server.post(PODS, &pod("p")).await.expect(201);
    let given = made["spec"]["tolerations"].clone();
    let own = json!({"key": "own", "operator": "Exists"});
    made["spec"]["tolerations"] = json!([own]);
    let path = format!("{PODS}/p");
    let kept = server.put(&path, &made).await.expect(200);
    assert_eq!(kept["spec"]["tolerations"], json!([own, given[0], given[1]]));
    let mut less = kept.clone();
    less["spec"]["tolerations"] = given;
    let status = server.put(&path, &less).await.expect(422);
    assert_eq!(status["details"]["causes"][0]["field"], "spec.tolerations");
}

/// embedded-cluster.md 13: what the two APIs of events demand differs.
#[tokio::test]
async fn new_events_say_more() {
    let server = Server::new().await;
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    let bare =
        json!({"metadata": {"name": "e"}, "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}});
    let status = server.post(events, &bare).await.expect(422);
    assert_eq!(
        status["message"],
        "Event.events.k8s.io \"e\" is invalid: [eventTime: Required value, type: Invalid value: \"\": has invalid value: ]"
    );
    let core = json!({
        "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
    });
    let made = server.post("/api/v1/namespaces/default/events", &core).await;
    made.expect(201);
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-02T03:04:06.000000Z"}});
    let path = format!("{events}/e");
    server.patch(&path, MERGE, &series).await.expect(200);
    let status = server.patch(&path, MERGE, &json!({"reason": "Other"})).await;
    assert_eq!(
        status.expect(422)["details"]["causes"][0]["message"],
        "Invalid value: \"Other\": field is immutable"
    );
}

/// A claim asks for more only where its class lets volumes grow. What was given is told with its status.
#[tokio::test]
async fn claims_grow_where_their_class_allows_it() {
    let server = Server::new().await;
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let classes = "/apis/storage.k8s.io/v1/storageclasses";
    for (name, expands) in [
        ("grows", json!(true)),
        ("fixed", json!(false)),
        ("silent", Value::Null),
    ] {
        let mut class = json!({"metadata": {"name": name}, "provisioner": "example.com/disk"});
        if expands.is_boolean() {
            class["allowVolumeExpansion"] = expands;
        }
        server.post(classes, &class).await.expect(201);
    }
    let refusal = |name: &str| {
        format!(
            "persistentvolumeclaims \"{name}\" is forbidden: only dynamically provisioned pvc can be resized and the \
             storageclass that provisions the pvc must support resize"
        )
    };
    for (name, class, code) in [
        ("a", Some("grows"), 200),
        ("b", Some("fixed"), 403),
        ("c", Some("silent"), 403),
        ("d", Some("missing"), 403),
        ("e", Some(""), 403),
        ("f", None, 403),
    ] {
        let mut claim = json!({"metadata": {"name": name}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        }});
        if let Some(class) = class {
            claim["spec"]["storageClassName"] = json!(class);
        }
        server.post(claims, &claim).await.expect(201);
        let path = format!("{claims}/{name}");
        let size = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
        let same = server.patch(&path, MERGE, &size("1024Mi")).await;
        same.expect(200);
        let answer = server.patch(&path, MERGE, &size("2Gi")).await.expect(code);
        if code == 403 {
            assert_eq!(answer["message"], refusal(name));
        }
    }
}

/// A pod has the priority of its class, which has to be there.
#[tokio::test]
async fn pods_have_the_priority_of_their_class() {
    let server = Server::new().await;
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let with = |name: &str, class: &str| {
        let mut pod = pod(name);
        pod["spec"]["priorityClassName"] = class.into();
        pod
    };
    let priority = |pod: &Value| {
        (
            pod["spec"]["priority"].clone(),
            pod["spec"]["priorityClassName"].clone(),
        )
    };
    let plain = server.post(PODS, &pod("plain")).await.expect(201);
    assert_eq!(priority(&plain), (json!(0), Value::Null));
    assert_eq!(plain["spec"]["preemptionPolicy"], "PreemptLowerPriority");
    let refused = server.post(PODS, &with("early", "high")).await.expect(403);
    assert_eq!(
        refused["message"],
        "pods \"early\" is forbidden: no PriorityClass with name high was found"
    );
    for (name, value, is_default) in [("high", 1000, false), ("usual", 7, true), ("unusual", 9, true)] {
        let class = json!({"metadata": {"name": name}, "value": value, "globalDefault": is_default,
            "preemptionPolicy": "Never"});
        server.post(classes, &class).await.expect(201);
    }
    let high = server.post(PODS, &with("one", "high")).await.expect(201);
    assert_eq!(priority(&high), (json!(1000), json!("high")));
    assert_eq!(high["spec"]["preemptionPolicy"], "Never");
    let usual = server.post(PODS, &pod("two")).await.expect(201);
    assert_eq!(priority(&usual), (json!(7), json!("usual")));
    let mut wrong = with("three", "high");
    wrong["spec"]["priority"] = json!(5);
    let refused = server.post(PODS, &wrong).await.expect(403);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("the integer value of priority (5) must not be provided"),
        "{message}"
    );
}
