//! What home-made API servers get wrong. Source: embedded-cluster.md 22, by number.
//!
//! Some are elsewhere, where they can be seen: 4 and 6 in the examples 6 and 2, 13 in example 14; 18 and 31 with
//! the controllers and nodes (`tests/builtin.rs`, `tests/nodes.rs`: examples 17 to 21), 25 there too; 28 in `applied`;
//! 30 in example 21; 32 and 34 over sockets (`tests/https.rs`).

use super::*;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

/// A body in protobuf: the envelope names the type, and `raw` is its message.
fn protobuf(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).unwrap();
        assert!(length < 0x80, "one byte tells the length");
        [&[number << 3 | 2, length], bytes].concat()
    };
    let names = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &names), field(2, raw)].concat()
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|o| o["metadata"]["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn trap_1_protobuf_is_taken_and_asking_for_it_is_no_error() {
    let server = Server::new().await;
    let made = server.post(PODS, &pod("p")).await.expect(201);
    for accept in [format!("{PROTOBUF},application/json"), format!("{PROTOBUF}, */*")] {
        let answer = server.get_as(&format!("{PODS}/p"), &accept).await;
        let content_type = answer.headers.get(CONTENT_TYPE).unwrap().clone();
        assert_eq!(
            (answer.code, content_type.to_str().unwrap()),
            (200, "application/json"),
            "{accept}"
        );
        assert_eq!(answer.json(), made);
    }
    // ConfigMap: metadata 1, in which the name is 1.
    let body = protobuf("v1", "ConfigMap", b"\x0a\x03\x0a\x01m");
    let answer = server
        .call(Method::POST, MAPS, &[("content-type", PROTOBUF)], body)
        .await;
    assert_eq!(answer.expect(201)["metadata"]["name"], "m");
}

#[tokio::test]
async fn trap_2_content_types_parse_and_no_document_is_empty() {
    let server = Server::new().await;
    for accept in [
        "",
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        "application/json",
    ] {
        let answer = server.get_as("/openapi/v2", accept).await;
        let content_type = answer.headers.get(CONTENT_TYPE).unwrap().to_str().unwrap();
        assert!(
            answer.code == 200 && !content_type.contains('@'),
            "{accept}: {content_type}"
        );
        assert!(!answer.body.is_empty());
    }
    let index = server.get("/openapi/v3").await.expect(200);
    for (path, place) in index["paths"].as_object().unwrap() {
        let document = server
            .get(place["serverRelativeURL"].as_str().unwrap())
            .await
            .expect(200);
        assert!(
            document["paths"]
                .as_object()
                .is_some_and(|paths| !paths.is_empty()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn trap_3_one_counter_for_all_kinds() {
    let server = Server::new().await;
    let empty = server.get(PODS).await.expect(200);
    assert_ne!(empty["metadata"]["resourceVersion"], "0");
    let mut last = version_of(&empty);
    for (path, object) in [(PODS, pod("a")), (MAPS, config_map("a")), (SETS, daemon_set("a"))] {
        let made = version_of(&server.post(path, &object).await.expect(201));
        assert!(made > last, "{path}: {made} after {last}");
        last = made;
        for list in [PODS, MAPS, SETS] {
            let version = server.get(list).await.expect(200)["metadata"]["resourceVersion"].clone();
            assert_eq!(
                version,
                last.to_string(),
                "{list}: a plain decimal, the same for every kind"
            );
        }
    }
}

#[tokio::test]
async fn trap_4_a_deletion_has_a_version_of_its_own() {
    let server = Server::new().await;
    let made = server.post(MAPS, &config_map("m")).await.expect(201);
    let from = version_of(&made);
    server.delete(&format!("{MAPS}/m"), &json!({})).await.expect(200);
    let frames = server
        .frames(&format!("{MAPS}?watch=1&resourceVersion={from}"), "", 1)
        .await;
    assert_eq!(frames[0]["type"], "DELETED");
    assert!(version_of(&frames[0]["object"]) > from);
    // Who resumes there sees it no second time.
    let seen = version_of(&frames[0]["object"]);
    server.post(MAPS, &config_map("next")).await.expect(201);
    let frames = server
        .frames(&format!("{MAPS}?watch=1&resourceVersion={seen}"), "", 1)
        .await;
    assert_eq!(kinds_and_names(&frames), [("ADDED", "next")]);
}

#[tokio::test]
async fn trap_7_status_and_spec_are_written_apart() {
    let server = Server::new().await;
    server.post(SETS, &daemon_set("d")).await.expect(201);
    let path = format!("{SETS}/d");
    let status = json!({"status": {"numberReady": 3}});
    server
        .patch(&format!("{path}/status"), MERGE, &status)
        .await
        .expect(200);
    let mut set = server.get(&path).await.expect(200);
    for status in [Value::Null, json!({"numberReady": 9})] {
        set["status"] = status;
        set["spec"]["minReadySeconds"] = (set["spec"]["minReadySeconds"].as_i64().unwrap_or(0) + 1).into();
        set = server.put(&path, &set).await.expect(200);
        assert_eq!(set["status"]["numberReady"], 3);
    }
    // But a node brings its own.
    let node = json!({"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "4"}}});
    let made = server.post("/api/v1/nodes", &node).await.expect(201);
    assert_eq!(made["status"]["capacity"]["cpu"], "4");
}

#[tokio::test]
async fn trap_8_what_is_read_is_what_was_written() {
    let server = Server::new().await;
    for (path, object) in [(SETS, daemon_set("x")), (PODS, pod("x")), (MAPS, config_map("x"))] {
        let made = server.post(path, &object).await.expect(201);
        let own = format!("{path}/x");
        assert_eq!(server.get(&own).await.expect(200), made);
        let list = server.get(path).await.expect(200);
        for field in ["spec", "data", "metadata"] {
            assert_eq!(list["items"][0][field], made[field], "{path} {field}");
        }
        if path == PODS {
            // What a pod's admission has added cannot be taken away again.
            continue;
        }
        // Defaults that were added are no change when the object comes back without them, nor with them.
        let again = server.patch(&own, MERGE, &object).await.expect(200);
        assert_eq!(
            again["metadata"]["generation"], made["metadata"]["generation"],
            "{path}"
        );
        assert_eq!(again["spec"], made["spec"], "{path}");
    }
}

#[tokio::test]
async fn trap_9_parts_of_a_namespace_are_no_kinds_in_it() {
    let server = Server::new().await;
    let path = "/api/v1/namespaces/default";
    let status = server.get(&format!("{path}/status")).await.expect(200);
    assert_eq!(
        (&status["kind"], &status["metadata"]["name"]),
        (&json!("Namespace"), &json!("default"))
    );
    let finalize = server.put(&format!("{path}/finalize"), &status).await.expect(200);
    assert_eq!(finalize["kind"], "Namespace");
    server.get(&format!("{path}/nosuch")).await.expect(404);
}

#[tokio::test]
async fn trap_10_a_watch_answers_before_anything_happens_and_in_lines() {
    let server = Server::new().await;
    let response = server
        .send(Method::GET, &format!("{MAPS}?watch=1"), &[], Vec::new())
        .await;
    assert_eq!(response.status(), StatusCode::OK, "without waiting for a change");
    assert_eq!(response.headers().get(CONTENT_TYPE).unwrap(), "application/json");
    server.post(MAPS, &config_map("m")).await.expect(201);
    let line = response
        .into_body()
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_data()
        .unwrap();
    assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
}

#[tokio::test(start_paused = true)]
async fn trap_11_bookmarks_come_to_those_who_asked_and_say_of_what() {
    let server = Server::new().await;
    for (path, api_version, kind) in [
        (PODS, "v1", "Pod"),
        (SETS, "apps/v1", "DaemonSet"),
        (LEASES, "coordination.k8s.io/v1", "Lease"),
    ] {
        let watch = format!("{path}?watch=1&timeoutSeconds=90");
        assert!(
            server.frames(&watch, "", 9).await.is_empty(),
            "{kind}: nobody asked"
        );
        let frames = server
            .frames(&format!("{watch}&allowWatchBookmarks=true"), "", 9)
            .await;
        assert!(!frames.is_empty());
        for frame in frames {
            assert_eq!(frame["type"], "BOOKMARK");
            assert_eq!(
                (&frame["object"]["apiVersion"], &frame["object"]["kind"]),
                (&json!(api_version), &json!(kind))
            );
            assert_eq!(version_of(&frame["object"]), server.api.version());
        }
    }
}

#[tokio::test]
async fn trap_12_an_error_ends_the_watch() {
    let server = Server::with_history(3).await;
    server.post(MAPS, &config_map("m")).await.expect(201);
    let old = server.api.version();
    for i in 0..9 {
        let patch = json!({"data": {"k": i.to_string()}});
        server
            .patch(&format!("{MAPS}/m"), MERGE, &patch)
            .await
            .expect(200);
    }
    let frames = server
        .frames(&format!("{MAPS}?watch=1&resourceVersion={old}"), "", 9)
        .await;
    let [frame] = frames.as_slice() else {
        panic!("{frames:?}")
    };
    assert_eq!(
        (
            &frame["type"],
            &frame["object"]["kind"],
            &frame["object"]["code"],
            &frame["object"]["reason"]
        ),
        (&json!("ERROR"), &json!("Status"), &json!(410), &json!("Expired"))
    );
}

#[tokio::test]
async fn trap_14_a_field_that_cannot_be_selected_by_is_an_error() {
    let server = Server::new().await;
    for path in [PODS, MAPS, SETS, "/api/v1/nodes"] {
        for selector in [
            "spec.nosuch=x",
            "nodeName=n",
            "status.phase!=Running,spec.hostnme=x",
        ] {
            let url = format!("{path}?fieldSelector={}", selector.replace('=', "%3D"));
            let refused = server.get(&url).await.expect(400);
            // Kinds with fields of their own say it in the first way, all others in the second.
            let message = refused["message"].as_str().unwrap();
            assert!(
                message.contains("field label not supported")
                    || message.contains("is not a known field selector"),
                "{url}: {refused}"
            );
            server
                .call(Method::DELETE, &url, &[], Vec::new())
                .await
                .expect(400);
        }
    }
}

#[tokio::test]
async fn trap_15_what_lacks_the_label_is_not_equal_to_any_value() {
    let server = Server::new().await;
    for (name, labels) in [
        ("a", json!({"tier": "web"})),
        ("b", json!({"tier": "db"})),
        ("c", json!({})),
    ] {
        let map = json!({"metadata": {"name": name, "labels": labels}});
        server.post(MAPS, &map).await.expect(201);
    }
    for (selector, expected) in [
        ("tier!=web", vec!["b", "c"]),
        ("tier notin (web,db)", vec!["c"]),
        ("!tier", vec!["c"]),
        ("tier in (web,db)", vec!["a", "b"]),
        ("tier", vec!["a", "b"]),
    ] {
        let encoded = selector
            .replace(' ', "%20")
            .replace('=', "%3D")
            .replace('!', "%21");
        let list = server
            .get(&format!("{MAPS}?labelSelector={encoded}"))
            .await
            .expect(200);
        assert_eq!(names(&list), expected, "{selector}");
    }
}

#[tokio::test]
async fn traps_16_and_17_the_options_of_a_delete_count() {
    let server = Server::new().await;
    server.running_pod("p", &[]).await;
    let path = format!("{PODS}/p");
    let wrong = json!({"preconditions": {"uid": "another"}});
    server.delete(&path, &wrong).await.expect(409);
    // The end is when the time is up, not now.
    let options = json!({"gracePeriodSeconds": 20});
    let deleted = server.delete(&path, &options).await.expect(200);
    assert_eq!(deleted["metadata"]["deletionTimestamp"], "2026-01-02T03:04:25Z");
    assert_eq!(deleted["metadata"]["deletionGracePeriodSeconds"], 20);
    let set = server.post(SETS, &daemon_set("d")).await.expect(201);
    let options = json!({"propagationPolicy": "Orphan"});
    server.delete(&format!("{SETS}/d"), &options).await.expect(200);
    let set = server
        .get(&format!("{SETS}/{}", set["metadata"]["name"].as_str().unwrap()))
        .await
        .expect(200);
    assert_eq!(set["metadata"]["finalizers"], json!(["orphan"]));
}

#[tokio::test]
async fn trap_19_no_grace_at_all_in_protobuf_is_not_unset() {
    let server = Server::new().await;
    server.running_pod("p", &[]).await;
    // DeleteOptions: gracePeriodSeconds is 1.
    let body = protobuf("v1", "DeleteOptions", b"\x08\x00");
    let headers = [("content-type", PROTOBUF)];
    server
        .call(Method::DELETE, &format!("{PODS}/p"), &headers, body)
        .await
        .expect(200);
    server.get(&format!("{PODS}/p")).await.expect(404);
}

#[tokio::test]
async fn trap_20_each_kind_of_time_has_its_form() {
    let server = Server::new().await;
    let lease = json!({"metadata": {"name": "l"}, "spec": {"renewTime": "2026-01-02T03:04:05.123456Z"}});
    let made = server.post(LEASES, &lease).await.expect(201);
    assert_eq!(made["spec"]["renewTime"], "2026-01-02T03:04:05.123456Z");
    assert_eq!(made["metadata"]["creationTimestamp"], "2026-01-02T03:04:05Z");
    // Six digits also where fewer were sent.
    let patch = json!({"spec": {"renewTime": "2026-01-02T03:04:06Z"}});
    let patched = server
        .patch(&format!("{LEASES}/l"), MERGE, &patch)
        .await
        .expect(200);
    assert_eq!(patched["spec"]["renewTime"], "2026-01-02T03:04:06.000000Z");
}

#[tokio::test]
async fn trap_21_nulls_and_empty_parts_of_clients_are_nothing() {
    let server = Server::new().await;
    let mut pod = pod("p");
    pod["metadata"]["creationTimestamp"] = Value::Null;
    pod["status"] = json!({});
    pod["spec"]["nodeSelector"] = Value::Null;
    pod["spec"]["containers"][0]["resources"] = json!({});
    let strict = format!("{PODS}?fieldValidation=Strict");
    let made = server.post(&strict, &pod).await.expect(201);
    assert_eq!(made["metadata"]["creationTimestamp"], "2026-01-02T03:04:05Z");
    assert_eq!(made["spec"].get("nodeSelector"), None);
    let mut set = daemon_set("d");
    set["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
    set["status"] = json!({"currentNumberScheduled": 0});
    server
        .post(&format!("{SETS}?fieldValidation=Strict"), &set)
        .await
        .expect(201);
}

#[tokio::test]
async fn trap_22_an_empty_list_is_a_list() {
    let server = Server::new().await;
    for path in [PODS, SETS, LEASES, "/api/v1/nodes"] {
        assert_eq!(server.get(path).await.expect(200)["items"], json!([]), "{path}");
        let none = format!("{path}?labelSelector=no%3Dsuch");
        assert_eq!(server.get(&none).await.expect(200)["items"], json!([]), "{path}");
    }
}

#[tokio::test]
async fn trap_23_numbers_keep_their_digits() {
    let server = Server::new().await;
    // 2^53 + 1 has no double.
    let mut pod = pod("p");
    pod["spec"]["terminationGracePeriodSeconds"] = 9_007_199_254_740_993_i64.into();
    pod["spec"]["containers"][0]["resources"] =
        json!({"requests": {"cpu": "0.1", "memory": "9007199254740993"}});
    let made = server.post(PODS, &pod).await.expect(201);
    assert_eq!(
        made["spec"]["terminationGracePeriodSeconds"],
        9_007_199_254_740_993_i64
    );
    let requests = &made["spec"]["containers"][0]["resources"]["requests"];
    assert_eq!(
        (&requests["cpu"], &requests["memory"]),
        (&json!("100m"), &json!("9007199254740993"))
    );
    for (name, value) in [("number", json!(1)), ("percent", json!("25%"))] {
        let mut set = daemon_set(name);
        set["spec"]["updateStrategy"] = json!({"rollingUpdate": {"maxUnavailable": value}});
        let made = server.post(SETS, &set).await.expect(201);
        assert_eq!(
            made["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"],
            value
        );
    }
}

#[tokio::test]
async fn trap_26_discovery_changes_with_its_definitions() {
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let server = Server::new().await;
    let before = server.get_as("/apis", accept).await;
    let tag = before.headers.get(ETAG).unwrap().clone();
    let headers = [("accept", accept), ("if-none-match", tag.to_str().unwrap())];
    assert_eq!(
        server.call(Method::GET, "/apis", &headers, Vec::new()).await.code,
        304
    );
    let server = customs::with_widgets().await;
    let after = server.call(Method::GET, "/apis", &headers, Vec::new()).await;
    assert_eq!(after.code, 200);
    assert_ne!(after.headers.get(ETAG), Some(&tag));
    assert!(after.json().to_string().contains("widgets"));
}

#[tokio::test]
async fn trap_27_a_page_that_is_not_the_last_leads_on() {
    let server = Server::new().await;
    for name in ["a", "b", "c"] {
        server.post(MAPS, &config_map(name)).await.expect(201);
    }
    for (limit, is_last) in [(1, false), (2, false), (3, true), (4, true)] {
        let page = server.get(&format!("{MAPS}?limit={limit}")).await.expect(200);
        let token = page["metadata"]["continue"].as_str().unwrap_or_default();
        assert_eq!(token.is_empty(), is_last, "limit {limit}");
    }
}

#[tokio::test]
async fn trap_29_what_is_applied_may_be_json() {
    let server = Server::new().await;
    let path = format!("{MAPS}/m?fieldManager=x");
    let headers = [("content-type", "application/apply-patch+yaml")];
    for (body, code) in [
        (
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"a":"1"}}"#,
            201,
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\ndata:\n  a: '2'\n",
            200,
        ),
    ] {
        server
            .call(Method::PATCH, &path, &headers, body.into())
            .await
            .expect(code);
    }
}

#[tokio::test]
async fn trap_33_queries_are_decoded() {
    let server = Server::new().await;
    for (name, tier) in [("a", "web"), ("b", "db"), ("c", "x")] {
        let map = json!({"metadata": {"name": name, "labels": {"tier": tier}}});
        server.post(MAPS, &map).await.expect(201);
    }
    for (query, expected) in [
        ("labelSelector=tier%3Dweb", vec!["a"]),
        ("labelSelector=tier%20in%20%28web%2Cdb%29", vec!["a", "b"]),
        ("labelSelector=tier+in+(web,db)", vec!["a", "b"]),
        ("labelSelector=tier%21%3Dweb%2Ctier%21%3Ddb", vec!["c"]),
        ("fieldSelector=metadata.name%3Db", vec!["b"]),
    ] {
        let list = server.get(&format!("{MAPS}?{query}")).await.expect(200);
        assert_eq!(names(&list), expected, "{query}");
    }
}
