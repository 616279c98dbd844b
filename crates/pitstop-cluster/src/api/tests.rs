//! The API as a client sees it, without sockets. Numbers are those of the examples in embedded-cluster.md 20.

use std::sync::Mutex;

use http::header::{ETAG, IF_NONE_MATCH};
use jiff::Timestamp;
use pitstop_api::Clock;
use pitstop_api::keys::SAFE_ALPHABET;
use serde_json::{Value, json};

use super::*;

mod access;
mod admission;
mod applied;
mod clients;
mod customs;
mod examples;
mod hook;
mod inside;
mod traps;
mod versions;

#[derive(Debug)]
struct HandClock(Mutex<Timestamp>);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

struct Server {
    api: Arc<Api>,
    clock: Arc<HandClock>,
}

/// An answer, read whole.
struct Answer {
    code: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    #[track_caller]
    fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }
}

const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

impl Server {
    async fn new() -> Self {
        Self::with_history(HISTORY).await
    }

    async fn with_history(history: usize) -> Self {
        Self::start(history, Authorization::AlwaysAllow).await
    }

    async fn authorizing(authorization: Authorization) -> Self {
        Self::start(HISTORY, authorization).await
    }

    async fn start(history: usize, authorization: Authorization) -> Self {
        let clock = Arc::new(HandClock(Mutex::new("2026-01-02T03:04:05Z".parse().unwrap())));
        let setup = Setup {
            data: None,
            clock: clock.clone(),
            seed: Some(1),
            authorization,
        };
        let api = Arc::new(Api::open_with_history(setup, history).unwrap());
        let server = Self { api, clock };
        let default = json!({"metadata": {"name": "default"}});
        server.post("/api/v1/namespaces", &default).await.expect(201);
        server
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        self.api.clone().handle(request).await
    }

    async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let response = self.send(method, path, headers, body).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], Vec::new()).await
    }

    async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.call(Method::GET, path, &[("accept", accept)], Vec::new())
            .await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, &[], body.to_string().into_bytes())
            .await
    }

    async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path, &[], body.to_string().into_bytes())
            .await
    }

    async fn patch(&self, path: &str, patch_type: &str, body: &Value) -> Answer {
        let headers = [("content-type", patch_type)];
        self.call(Method::PATCH, path, &headers, body.to_string().into_bytes())
            .await
    }

    async fn delete(&self, path: &str, options: &Value) -> Answer {
        self.call(Method::DELETE, path, &[], options.to_string().into_bytes())
            .await
    }

    /// Frames of a watch until `n` have come.
    async fn frames(&self, path: &str, accept: &str, n: usize) -> Vec<Value> {
        let response = self
            .send(Method::GET, path, &[("accept", accept)], Vec::new())
            .await;
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body();
        let mut frames = Vec::new();
        while frames.len() < n {
            let Some(frame) = body.frame().await else { break };
            let bytes = frame.unwrap().into_data().unwrap();
            assert!(bytes.ends_with(b"\n"), "kube-rs splits on lines");
            frames.push(serde_json::from_slice(&bytes).unwrap());
        }
        frames
    }

    fn advance(&self, seconds: i64) {
        *self.clock.0.lock().unwrap() += SignedDuration::from_secs(seconds);
    }

    /// A pod that runs on a node.
    async fn running_pod(&self, name: &str, finalizers: &[&str]) {
        let mut pod = pod(name);
        pod["metadata"]["finalizers"] = finalizers.into();
        self.post(PODS, &pod).await.expect(201);
        let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}});
        self.post(&format!("{PODS}/{name}/binding"), &binding)
            .await
            .expect(201);
        let status = json!({"status": {"phase": "Running"}});
        self.patch(&format!("{PODS}/{name}/status"), MERGE, &status)
            .await
            .expect(200);
    }
}

fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "nginx:1"}]},
    })
}

fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": "v"}})
}

fn daemon_set(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": "x"}},
            "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {"containers": [{"name": "c", "image": "nginx:1"}]},
            },
        },
    })
}

fn version_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

fn kinds_and_names(frames: &[Value]) -> Vec<(&str, &str)> {
    frames
        .iter()
        .map(|f| {
            (
                f["type"].as_str().unwrap_or_default(),
                f["object"]["metadata"]["name"].as_str().unwrap_or_default(),
            )
        })
        .collect()
}

#[tokio::test]
async fn example_1_a_generated_name() {
    let server = Server::new().await;
    let mut pod = pod("");
    pod["metadata"] = json!({"generateName": "web-", "labels": {"app": "x"}});
    let from = server.api.version();
    let made = server.post(PODS, &pod).await.expect(201);
    let suffix = made["metadata"]["name"]
        .as_str()
        .unwrap()
        .strip_prefix("web-")
        .unwrap();
    assert!(
        suffix.len() == 5 && suffix.chars().all(|c| SAFE_ALPHABET.contains(c)),
        "{suffix}"
    );
    assert_eq!(version_of(&made), server.api.version());
    let frames = server
        .frames(&format!("{PODS}?watch=1&resourceVersion={from}"), "", 1)
        .await;
    assert_eq!(frames[0], json!({"type": "ADDED", "object": made}));
}

#[tokio::test]
async fn example_2_a_put_that_changes_nothing_is_no_write() {
    let server = Server::new().await;
    let made = server.post(PODS, &pod("a")).await.expect(201);
    let before = server.api.version();
    let again = server.put(&format!("{PODS}/a"), &made).await.expect(200);
    assert_eq!(
        (version_of(&again), server.api.version()),
        (version_of(&made), before)
    );
}

#[tokio::test]
async fn examples_3_and_4_a_status_write_changes_status_and_metadata_alone() {
    let server = Server::new().await;
    let made = server.post(SETS, &daemon_set("d")).await.expect(201);
    let patch = json!({
        "metadata": {"labels": {"x": "y"}}, "spec": {"minReadySeconds": 9},
        "status": {"observedGeneration": 1},
    });
    let patched = server
        .patch(&format!("{SETS}/d/status"), MERGE, &patch)
        .await
        .expect(200);
    assert_eq!(patched["spec"], made["spec"]);
    assert_eq!(patched["metadata"]["generation"], 1);
    assert_eq!(patched["metadata"]["labels"]["x"], "y");
    assert_eq!(patched["status"]["observedGeneration"], 1);
    assert_eq!(version_of(&patched), version_of(&made) + 1);
}

#[tokio::test]
async fn generation_follows_the_spec_and_nothing_else() {
    let server = Server::new().await;
    let path = format!("{SETS}/d");
    server.post(SETS, &daemon_set("d")).await.expect(201);
    let cases = [
        (json!({"metadata": {"labels": {"a": "b"}}}), 1),
        (json!({"metadata": {"generation": 7}}), 1),
        (json!({"status": {"numberReady": 3}}), 1),
        (json!({"spec": {"minReadySeconds": 3}}), 2),
    ];
    for (patch, generation) in cases {
        let patched = server.patch(&path, MERGE, &patch).await.expect(200);
        assert_eq!(patched["metadata"]["generation"], generation, "{patch}");
        assert_eq!(
            patched["status"]["numberReady"], 0,
            "main writes leave status alone"
        );
    }
}

#[tokio::test]
async fn example_5_a_stale_version_conflicts() {
    let server = Server::new().await;
    let made = server.post(SETS, &daemon_set("d")).await.expect(201);
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    server
        .patch(&format!("{SETS}/d"), MERGE, &patch)
        .await
        .expect(200);
    let status = server.put(&format!("{SETS}/d"), &made).await.expect(409);
    assert_eq!(
        status["message"],
        "Operation cannot be fulfilled on daemonsets.apps \"d\": the object has been modified; please apply your \
         changes to the latest version and try again"
    );
    assert_eq!(status["reason"], "Conflict");
    assert_eq!(
        status["details"],
        json!({"name": "d", "group": "apps", "kind": "daemonsets"})
    );
}

#[tokio::test]
async fn example_6_objects_come_and_go_as_they_match() {
    let server = Server::new().await;
    server.post(PODS, &pod("a")).await.expect(201);
    let mut b = pod("b");
    b["metadata"]["labels"]["app"] = "other".into();
    server.post(PODS, &b).await.expect(201);
    let from = server.api.version();
    let label = |app: &str| json!({"metadata": {"labels": {"app": app}}});
    server
        .patch(&format!("{PODS}/a"), MERGE, &label("z"))
        .await
        .expect(200);
    server
        .patch(&format!("{PODS}/b"), MERGE, &label("a"))
        .await
        .expect(200);
    let watch = format!("{PODS}?watch=true&labelSelector=app%3Da&resourceVersion={from}");
    let frames = server.frames(&watch, "", 2).await;
    assert_eq!(kinds_and_names(&frames), [("DELETED", "a"), ("ADDED", "b")]);
    assert_eq!(
        frames[0]["object"]["metadata"]["labels"]["app"], "a",
        "the last state that matched"
    );
    assert_eq!(version_of(&frames[0]["object"]), from + 1);
}

#[tokio::test]
async fn example_7_grace_only_gets_shorter() {
    let server = Server::new().await;
    server.running_pod("a", &[]).await;
    let path = format!("{PODS}/a");
    let steps = [
        (json!({}), "2026-01-02T03:04:35Z", 30),
        (json!({"gracePeriodSeconds": 5}), "2026-01-02T03:04:10Z", 5),
        (json!({"gracePeriodSeconds": 60}), "2026-01-02T03:04:10Z", 5),
    ];
    let mut generation = 0;
    for (options, deadline, grace) in steps {
        let pod = server.delete(&path, &options).await.expect(200);
        assert_eq!(pod["metadata"]["deletionTimestamp"], deadline, "{options}");
        assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], grace, "{options}");
        let now = pod["metadata"]["generation"].as_i64().unwrap();
        assert!(
            generation == 0 || generation == now,
            "only the first delete raises it"
        );
        generation = now;
    }
    let before = server.api.version();
    server
        .delete(&path, &json!({"gracePeriodSeconds": 0}))
        .await
        .expect(200);
    let frames = server
        .frames(&format!("{PODS}?watch=1&resourceVersion={before}"), "", 1)
        .await;
    assert_eq!(frames[0]["type"], "DELETED");
    assert_eq!(version_of(&frames[0]["object"]), before + 1);
    server.get(&path).await.expect(404);
}

#[tokio::test]
async fn a_shorter_grace_that_is_over_already_leaves_a_second() {
    let server = Server::new().await;
    server.running_pod("a", &[]).await;
    server.delete(&format!("{PODS}/a"), &json!({})).await.expect(200);
    server.advance(20);
    let pod = server
        .delete(&format!("{PODS}/a"), &json!({"gracePeriodSeconds": 5}))
        .await
        .expect(200);
    assert_eq!(pod["metadata"]["deletionTimestamp"], "2026-01-02T03:04:25Z");
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 1);
}

#[tokio::test]
async fn pods_that_run_nowhere_go_at_once() {
    let server = Server::new().await;
    server.post(PODS, &pod("a")).await.expect(201);
    let answer = server.delete(&format!("{PODS}/a"), &json!({})).await.expect(200);
    assert_eq!(answer["kind"], "Pod");
    server.get(&format!("{PODS}/a")).await.expect(404);
}

#[tokio::test]
async fn example_8_a_finalizer_holds() {
    let server = Server::new().await;
    let path = format!("{PODS}/a");
    server.running_pod("a", &["example.com/x"]).await;
    let held = server
        .delete(&path, &json!({"gracePeriodSeconds": 0}))
        .await
        .expect(200);
    assert_eq!(held["metadata"]["deletionTimestamp"], "2026-01-02T03:04:05Z");
    assert_eq!(held["metadata"]["deletionGracePeriodSeconds"], 0);
    let add = json!({"metadata": {"finalizers": ["example.com/x", "example.com/y"]}});
    server.patch(&path, MERGE, &add).await.expect(422);
    let from = server.api.version();
    let free = json!({"metadata": {"finalizers": null}});
    server.patch(&path, MERGE, &free).await.expect(200);
    let frames = server
        .frames(&format!("{PODS}?watch=1&resourceVersion={from}"), "", 1)
        .await;
    assert_eq!(frames[0]["type"], "DELETED");
    server.get(&path).await.expect(404);
}

/// Example 9, as far as the server takes part: the collector does the rest.
#[tokio::test]
async fn example_9_propagation_becomes_a_finalizer() {
    let cases = [
        ("Orphan", json!(["orphan"])),
        ("Foreground", json!(["foregroundDeletion"])),
        ("Background", Value::Null),
    ];
    for (policy, finalizers) in cases {
        let server = Server::new().await;
        server.post(SETS, &daemon_set("d")).await.expect(201);
        let answer = server
            .delete(&format!("{SETS}/d"), &json!({"propagationPolicy": policy}))
            .await
            .expect(200);
        assert_eq!(answer["metadata"]["finalizers"], finalizers, "{policy}");
        assert_eq!(answer["kind"] == "Status", finalizers.is_null(), "{policy}");
    }
}

#[tokio::test]
async fn preconditions_of_a_delete() {
    let server = Server::new().await;
    let made = server.post(MAPS, &config_map("m")).await.expect(201);
    let options = json!({"preconditions": {"uid": "other"}});
    let status = server.delete(&format!("{MAPS}/m"), &options).await.expect(409);
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let expected = format!(
        "Operation cannot be fulfilled on ConfigMap \"m\": the UID in the precondition (other) does not match the UID in \
         record ({uid}). The object might have been deleted and then recreated"
    );
    assert_eq!(status["message"], expected);
    let options = json!({"preconditions": {"uid": uid, "resourceVersion": "1"}});
    server.delete(&format!("{MAPS}/m"), &options).await.expect(409);
    let status = server
        .delete(&format!("{MAPS}/m"), &json!({"preconditions": {"uid": uid}}))
        .await
        .expect(200);
    assert_eq!(
        status["details"],
        json!({"name": "m", "kind": "configmaps", "uid": uid})
    );
}

#[tokio::test]
async fn example_14_pages_share_a_version() {
    let server = Server::new().await;
    for name in ["a", "b", "c", "d", "e"] {
        server.post(PODS, &pod(name)).await.expect(201);
    }
    let mut page = server.get(&format!("{PODS}?limit=2")).await.expect(200);
    let version = page["metadata"]["resourceVersion"].clone();
    assert_eq!(page["metadata"]["remainingItemCount"], 3);
    server.delete(&format!("{PODS}/d"), &json!({})).await.expect(200);
    server.post(PODS, &pod("bb")).await.expect(201);
    let mut names = Vec::new();
    loop {
        assert_eq!(page["metadata"]["resourceVersion"], version);
        names.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|o| o["metadata"]["name"].clone()),
        );
        let Some(token) = page["metadata"]["continue"].as_str() else {
            break;
        };
        page = server
            .get(&format!("{PODS}?limit=2&continue={token}"))
            .await
            .expect(200);
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn example_15_versions_that_are_not_kept() {
    let server = Server::with_history(10).await;
    server.post(MAPS, &config_map("m")).await.expect(201);
    let old = server.api.version();
    for i in 0..12 {
        let patch = json!({"data": {"k": i.to_string()}});
        server
            .patch(&format!("{MAPS}/m"), MERGE, &patch)
            .await
            .expect(200);
    }
    let frames = server
        .frames(&format!("{MAPS}?watch=1&resourceVersion={old}"), "", 9)
        .await;
    assert_eq!(frames.len(), 1, "the stream ends");
    let status = &frames[0]["object"];
    assert_eq!(
        (&frames[0]["type"], &status["code"]),
        (&json!("ERROR"), &json!(410))
    );
    assert_eq!(
        status["message"],
        format!("too old resource version: {old} ({})", old + 2)
    );
    let list = format!("{MAPS}?resourceVersion={old}&resourceVersionMatch=Exact");
    assert_eq!(server.get(&list).await.expect(410)["reason"], "Expired");
    // Better than upstream: the future is not waited for.
    let future = server.api.version() + 1;
    let frames = server
        .frames(&format!("{MAPS}?watch=1&resourceVersion={future}"), "", 9)
        .await;
    assert_eq!(frames[0]["object"]["code"], 410);
}

#[tokio::test]
async fn example_16_a_streaming_list() {
    let server = Server::new().await;
    for name in ["a", "b", "c"] {
        server.post(PODS, &pod(name)).await.expect(201);
    }
    let query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersion=0";
    let watch = format!("{PODS}?{query}&resourceVersionMatch=NotOlderThan");
    let api = server.api.clone();
    let response = server.send(Method::GET, &watch, &[], Vec::new()).await;
    server.post(PODS, &pod("late")).await.expect(201);
    let mut body = response.into_body();
    let mut frames: Vec<Value> = Vec::new();
    while frames.len() < 5 {
        let bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
        frames.push(serde_json::from_slice(&bytes).unwrap());
    }
    let expected = [
        ("ADDED", "a"),
        ("ADDED", "b"),
        ("ADDED", "c"),
        ("BOOKMARK", ""),
        ("ADDED", "late"),
    ];
    assert_eq!(kinds_and_names(&frames), expected);
    let bookmark = &frames[3]["object"];
    assert_eq!(
        (&bookmark["kind"], &bookmark["apiVersion"]),
        (&json!("Pod"), &json!("v1"))
    );
    assert_eq!(
        bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    assert_eq!(version_of(bookmark), api.version() - 1);

    let status = server.get(&format!("{PODS}?{query}")).await.expect(422);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    );
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_each_minute_and_before_the_end_and_the_watch_ends_in_time() {
    let server = Server::new().await;
    let version = server.api.version();
    let path = format!("{PODS}?watch=1&resourceVersion={version}&timeoutSeconds=150");
    let begun = tokio::time::Instant::now();
    let frames = server
        .frames(&format!("{path}&allowWatchBookmarks=true"), "", 99)
        .await;
    assert_eq!(begun.elapsed().as_secs(), 150);
    let expected = [("BOOKMARK", ""), ("BOOKMARK", ""), ("BOOKMARK", "")];
    assert_eq!(kinds_and_names(&frames), expected, "at 60, 120 and 148 s");
    assert!(
        server.frames(&path, "", 99).await.is_empty(),
        "nobody asked for bookmarks"
    );
}

#[tokio::test]
async fn a_closing_server_ends_watches() {
    let server = Server::new().await;
    let watch = format!("{PODS}?watch=1");
    let (frames, ()) = tokio::join!(server.frames(&watch, "", 1), async { server.api.end_watches() });
    assert!(frames.is_empty());
}

#[tokio::test]
async fn example_23_what_kubectl_create_ns_sends() {
    let server = Server::new().await;
    let hex = "6b387300 0a0f 0a027631 1209 4e616d657370616365 121c 0a14 0a04 7465616d 1200 1a00 2200 2a00 3200 3800 4200 \
               1200 1a02 0a00 1a00 2200";
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    let body = digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect();
    let headers = [("content-type", "application/vnd.kubernetes.protobuf")];
    let made = server
        .call(Method::POST, "/api/v1/namespaces", &headers, body)
        .await
        .expect(201);
    assert_eq!(made["metadata"]["name"], "team");
    assert_eq!(made["metadata"]["generateName"], Value::Null);
    assert_eq!(made["metadata"]["labels"]["kubernetes.io/metadata.name"], "team");
    assert_eq!(made["status"]["phase"], "Active");
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
}

#[tokio::test]
async fn example_24_the_documents_that_kubectl_needs_for_apply() {
    let server = Server::new().await;
    let accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let answer = server.get_as("/openapi/v2", accept).await;
    let content_type = answer.headers.get(CONTENT_TYPE).unwrap();
    assert_eq!(
        content_type,
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    );
    assert_eq!(&answer.body[..7], b"\x0a\x032.0\x12\x15");
    assert_eq!(answer.body.len(), 28);
    let index = server.get("/openapi/v3").await.expect(200);
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap();
    let document = server.get(url).await.expect(200);
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}"]["patch"];
    assert_eq!(patch["parameters"][0]["name"], "fieldValidation");
    let gvk = json!({"group": "apps", "version": "v1", "kind": "DaemonSet"});
    assert_eq!(patch["x-kubernetes-group-version-kind"], gvk);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let set = &schemas["io.k8s.api.apps.v1.DaemonSet"];
    assert_eq!(set["x-kubernetes-group-version-kind"], json!([gvk]));
    let ports = &schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"];
    assert_eq!(
        ports["x-kubernetes-list-map-keys"],
        json!(["containerPort", "protocol"])
    );
    let selector = &schemas["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"];
    assert_eq!(selector["x-kubernetes-map-type"], "atomic");
    // Every reference leads somewhere.
    for part in document.to_string().split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn unknown_fields_are_refused_told_or_dropped() {
    for (mode, code, warned) in [
        ("Strict", 400, false),
        ("Warn", 201, true),
        ("Ignore", 201, false),
        ("", 201, true),
    ] {
        let server = Server::new().await;
        let mut set = daemon_set("d");
        set["spec"]["foo"] = 1.into();
        let answer = server.post(&format!("{SETS}?fieldValidation={mode}"), &set).await;
        let warning = answer
            .headers
            .get("warning")
            .map(|v| v.to_str().unwrap().to_owned());
        assert_eq!(warning.is_some(), warned, "{mode}");
        if let Some(warning) = warning {
            assert_eq!(warning, "299 - \"unknown field \\\"spec.foo\\\"\"");
        }
        let body = answer.expect(code);
        assert_eq!(body["spec"]["foo"], Value::Null, "{mode}");
        if code == 400 {
            let expected = "DaemonSet in version \"v1\" cannot be handled as a DaemonSet: strict decoding error: unknown \
                            field \"spec.foo\"";
            assert_eq!(body["message"], expected);
        }
    }
}

#[tokio::test]
async fn example_27_both_kinds_of_events_are_one() {
    let server = Server::new().await;
    let event = json!({
        "metadata": {"name": "e"}, "eventTime": "2026-01-02T03:04:05.000000Z", "action": "Do", "reason": "Why",
        "note": "text", "type": "Normal", "reportingController": "ctl", "reportingInstance": "ctl-1",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p", "uid": "u-1"},
    });
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    let made = server.post(events, &event).await.expect(201);
    assert_eq!(
        (&made["note"], &made["apiVersion"]),
        (&json!("text"), &json!("events.k8s.io/v1"))
    );
    let core = "/api/v1/namespaces/default/events";
    let list = server
        .get(&format!("{core}?fieldSelector=involvedObject.uid%3Du-1"))
        .await
        .expect(200);
    let found = &list["items"][0];
    assert_eq!(
        (&found["message"], &found["apiVersion"]),
        (&json!("text"), &Value::Null),
        "items of a list do not say of what kind they are"
    );
    assert_eq!(found["reportingComponent"], "ctl");
    for (selector, n) in [
        ("regarding.name=p", 1),
        ("regarding.name!=p", 0),
        ("reportingController=ctl", 1),
    ] {
        let list = server
            .get(&format!("{events}?fieldSelector={selector}"))
            .await
            .expect(200);
        assert_eq!(list["items"].as_array().unwrap().len(), n, "{selector}");
    }
    let patch = json!({"series": {"count": 2, "lastObservedTime": "2026-01-02T03:04:06.000000Z"}});
    let patched = server
        .patch(&format!("{events}/e"), MERGE, &patch)
        .await
        .expect(200);
    assert_eq!(
        (&patched["series"]["count"], &patched["note"]),
        (&json!(2), &json!("text"))
    );
}

#[tokio::test(start_paused = true)]
async fn events_live_for_an_hour() {
    let server = Server::new().await;
    let events = "/api/v1/namespaces/default/events";
    for name in ["old", "renewed"] {
        let event = json!({
            "metadata": {"name": name}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        });
        server.post(events, &event).await.expect(201);
    }
    server.advance(3000);
    server
        .patch(&format!("{events}/renewed"), MERGE, &json!({"count": 2}))
        .await
        .expect(200);
    server.advance(700);
    let sweep = tokio::spawn(server.api.clone().expire_events());
    tokio::time::sleep(EVENT_SWEEP).await;
    sweep.abort();
    server.get(&format!("{events}/old")).await.expect(404);
    server.get(&format!("{events}/renewed")).await.expect(200);
}

#[tokio::test]
async fn errors_say_what_upstream_says() {
    let server = Server::new().await;
    server.post(MAPS, &config_map("m")).await.expect(201);
    let cases = [
        (
            Method::GET,
            "/api/v1/nowhere",
            json!(null),
            404,
            "the server could not find the requested resource",
        ),
        (
            Method::GET,
            "/apis/apps/v1/things",
            json!(null),
            404,
            "the server could not find the requested resource",
        ),
        (
            Method::GET,
            "/api/v1/namespaces/default/pods/x",
            json!(null),
            404,
            "pods \"x\" not found",
        ),
        (
            Method::POST,
            MAPS,
            config_map("m"),
            409,
            "configmaps \"m\" already exists",
        ),
        (
            Method::POST,
            "/api/v1/configmaps",
            config_map("n"),
            405,
            "the server does not allow this method on the requested resource",
        ),
        (
            Method::POST,
            "/api/v1/namespaces/none/configmaps",
            config_map("m"),
            404,
            "namespaces \"none\" not found",
        ),
        (
            Method::PUT,
            "/api/v1/namespaces/default/configmaps/m",
            config_map("n"),
            400,
            "the name of the object (n) does not match the name on the URL (m)",
        ),
        (
            Method::DELETE,
            "/api/v1/namespaces/default",
            json!({}),
            403,
            "namespaces \"default\" is forbidden: this namespace may not be deleted",
        ),
        (
            Method::GET,
            "/api/v1/pods?fieldSelector=spec.bogus%3D1",
            json!(null),
            400,
            "field label not supported: spec.bogus",
        ),
        (
            Method::POST,
            MAPS,
            json!({"metadata": {"name": "v", "resourceVersion": "5"}}),
            500,
            "resourceVersion should not be set on objects to be created",
        ),
        (
            Method::POST,
            MAPS,
            json!({"metadata": {"name": "v", "namespace": "other"}}),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ];
    for (method, path, body, code, message) in cases {
        let status = server
            .call(method.clone(), path, &[], body.to_string().into_bytes())
            .await
            .expect(code);
        assert_eq!(status["message"], message, "{method} {path}");
        assert_eq!(
            (&status["kind"], &status["code"]),
            (&json!("Status"), &json!(code)),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_selector_that_does_not_parse_is_refused() {
    let server = Server::new().await;
    let status = server
        .get(&format!("{PODS}?labelSelector=a%28"))
        .await
        .expect(400);
    let message = status["message"].as_str().unwrap();
    assert_eq!(
        message.matches("unable to parse requirement: ").count(),
        1,
        "{message}"
    );
}

#[tokio::test]
async fn unknown_patches_are_415() {
    let server = Server::new().await;
    server.post(MAPS, &config_map("m")).await.expect(201);
    for patch_type in ["application/apply-patch+json", "text/plain"] {
        let status = server
            .patch(&format!("{MAPS}/m"), patch_type, &json!({}))
            .await
            .expect(415);
        assert_eq!(status["reason"], "UnsupportedMediaType");
    }
}

#[tokio::test]
async fn a_patch_can_carry_preconditions() {
    let server = Server::new().await;
    let made = server.post(MAPS, &config_map("m")).await.expect(201);
    let path = format!("{MAPS}/m");
    let patch = |metadata: Value| json!({"metadata": metadata, "data": {"k": "w"}});
    server
        .patch(&path, MERGE, &patch(json!({"resourceVersion": "1"})))
        .await
        .expect(409);
    let status = server
        .patch(&path, STRATEGIC, &patch(json!({"uid": "other"})))
        .await
        .expect(422);
    let expected = "ConfigMap \"m\" is invalid: metadata.uid: Invalid value: \"other\": field is immutable";
    assert_eq!(status["message"], expected);
    let uid = made["metadata"]["uid"].as_str().unwrap();
    server
        .patch(&path, MERGE, &patch(json!({"uid": uid})))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let server = Server::new().await;
    let before = server.api.version();
    let made = server
        .post(&format!("{MAPS}?dryRun=All"), &config_map("m"))
        .await
        .expect(201);
    assert!(made["metadata"]["uid"].is_string());
    server.get(&format!("{MAPS}/m")).await.expect(404);
    server.post(MAPS, &config_map("m")).await.expect(201);
    let patch = json!({"data": {"k": "w"}});
    let patched = server
        .patch(&format!("{MAPS}/m?dryRun=All"), MERGE, &patch)
        .await
        .expect(200);
    assert_eq!(patched["data"]["k"], "w");
    server
        .delete(&format!("{MAPS}/m"), &json!({"dryRun": ["All"]}))
        .await
        .expect(200);
    assert_eq!(
        server.get(&format!("{MAPS}/m")).await.expect(200)["data"]["k"],
        "v"
    );
    assert_eq!(server.api.version(), before + 1);
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let server = Server::new().await;
    server.post(PODS, &pod("a")).await.expect(201);
    let binding = json!({"metadata": {"name": "a", "annotations": {"x": "y"}}, "target": {"kind": "Node", "name": "n1"}});
    server
        .post(&format!("{PODS}/a/binding"), &binding)
        .await
        .expect(201);
    let pod = server.get(&format!("{PODS}/a")).await.expect(200);
    assert_eq!(
        (&pod["spec"]["nodeName"], &pod["metadata"]["annotations"]["x"]),
        (&json!("n1"), &json!("y"))
    );
    assert_eq!(pod["status"]["conditions"][0]["type"], "PodScheduled");
    let status = server
        .post(&format!("{PODS}/a/binding"), &binding)
        .await
        .expect(409);
    let expected =
        "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"n1\"";
    assert_eq!(status["message"], expected);
    let by_node = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1%2Cstatus.phase!%3DSucceeded";
    assert_eq!(
        server.get(by_node).await.expect(200)["items"][0]["metadata"]["name"],
        "a"
    );
}

#[tokio::test]
async fn a_namespace_goes_when_it_is_finalized() {
    let server = Server::new().await;
    let path = "/api/v1/namespaces/team";
    server
        .post("/api/v1/namespaces", &json!({"metadata": {"name": "team"}}))
        .await
        .expect(201);
    let mut going = server.delete(path, &json!({})).await.expect(200);
    assert_eq!(going["status"]["phase"], "Terminating");
    let refused = server
        .post("/api/v1/namespaces/team/configmaps", &config_map("m"))
        .await
        .expect(403);
    assert_eq!(refused["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let kept = server
        .patch(path, MERGE, &json!({"spec": {"finalizers": null}}))
        .await
        .expect(200);
    assert_eq!(
        kept["spec"]["finalizers"],
        json!(["kubernetes"]),
        "only /finalize may"
    );
    going["spec"] = json!({});
    server.put(&format!("{path}/finalize"), &going).await.expect(200);
    server.get(path).await.expect(404);
}

#[tokio::test]
async fn deletecollection_takes_selectors() {
    let server = Server::new().await;
    for name in ["a", "b", "c"] {
        server.post(PODS, &pod(name)).await.expect(201);
    }
    let list = server
        .delete(&format!("{PODS}?labelSelector=app!%3Db"), &json!({}))
        .await
        .expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let left = server.get(PODS).await.expect(200);
    assert_eq!(left["items"][0]["metadata"]["name"], "b");
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn forms_of_answers() {
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let metadata = "application/json; g=meta.k8s.io; v=v1; as=PartialObjectMetadata";
    let server = Server::new().await;
    server.post(MAPS, &config_map("m")).await.expect(201);
    let list = server.get_as(MAPS, table).await.expect(200);
    assert_eq!(
        (&list["kind"], &list["columnDefinitions"][0]["format"]),
        (&json!("Table"), &json!("name"))
    );
    assert_eq!(list["rows"][0]["cells"], json!(["m", 1, "0s"]));
    assert_eq!(list["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let one = server
        .get_as(&format!("{MAPS}/m?includeObject=Object"), table)
        .await
        .expect(200);
    assert_eq!(one["rows"][0]["object"]["data"]["k"], "v");
    let list = server.get_as(MAPS, metadata).await.expect(200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["metadata"]["name"], "m");
    assert_eq!(list["items"][0]["data"], Value::Null);
    for accept in [
        "application/vnd.kubernetes.protobuf,application/json",
        "application/cbor,application/json",
        "*/*",
        "",
    ] {
        assert_eq!(
            server.get_as(MAPS, accept).await.expect(200)["kind"],
            "ConfigMapList",
            "{accept}"
        );
    }
    let missing = server.get_as(&format!("{MAPS}/none"), table).await.expect(404);
    assert_eq!(missing["kind"], "Status", "never wrapped");
    let from = server.api.version();
    server.post(MAPS, &config_map("n")).await.expect(201);
    let frames = server
        .frames(&format!("{MAPS}?watch=1&resourceVersion={from}"), table, 1)
        .await;
    assert_eq!(
        (&frames[0]["type"], &frames[0]["object"]["rows"][0]["cells"][0]),
        (&json!("ADDED"), &json!("n"))
    );
}

#[tokio::test]
async fn options_of_lists_that_do_not_go_together() {
    let server = Server::new().await;
    let cases = [
        (
            "resourceVersionMatch=Exact",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            "resourceVersion=0&resourceVersionMatch=Exact",
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        ),
        (
            "sendInitialEvents=true",
            "sendInitialEvents is forbidden for list",
        ),
    ];
    for (query, message) in cases {
        let status = server.get(&format!("{PODS}?{query}")).await.expect(422);
        assert!(
            status["message"].as_str().unwrap().contains(message),
            "{query}: {status}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_waits_a_little_for_the_future() {
    let server = Server::new().await;
    let status = server
        .get(&format!("{PODS}?resourceVersion=999"))
        .await
        .expect(504);
    let current = server.api.version();
    assert_eq!(
        status["message"],
        format!("Timeout: Too large resource version: 999, current: {current}")
    );
    assert_eq!(
        status["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );
}

#[tokio::test]
async fn discovery_in_both_forms() {
    let server = Server::new().await;
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer,application/json";
    for path in ["/api", "/apis"] {
        let answer = server.get_as(path, accept).await;
        let etag = answer.headers.get(ETAG).unwrap().to_str().unwrap().to_owned();
        assert_eq!(answer.expect(200)["kind"], "APIGroupDiscoveryList");
        let headers = [("accept", accept), (IF_NONE_MATCH.as_str(), etag.as_str())];
        let again = server.call(Method::GET, path, &headers, Vec::new()).await;
        assert_eq!((again.code, again.body.len()), (304, 0));
    }
    assert_eq!(server.get("/api").await.expect(200)["versions"], json!(["v1"]));
    let groups = server.get("/apis").await.expect(200);
    assert!(
        groups["groups"]
            .as_array()
            .unwrap()
            .iter()
            .any(|g| g["name"] == "apps")
    );
    let core = server.get("/api/v1").await.expect(200);
    let entry = |name: &str| {
        core["resources"]
            .as_array()
            .unwrap()
            .iter()
            .find(|r| r["name"] == name)
            .cloned()
            .unwrap_or_default()
    };
    assert_eq!(entry("pods")["shortNames"], json!(["po"]));
    assert_eq!(entry("pods/binding")["kind"], "Binding");
    assert_eq!(entry("namespaces/finalize")["verbs"], json!(["update"]));
    assert_eq!(
        server.get("/version").await.expect(200)["gitVersion"],
        "v1.34.2+pitstop"
    );
}

/// Source: embedded-cluster.md 18, rule 1. What a node says besides being alive may not be lost.
#[test]
fn only_heartbeats_are_relaxed() {
    let node = |beat: &str, ready: &str| json!({"status": {"conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": beat}]}});
    assert!(update::only_heartbeats_differ(
        &node("1", "True"),
        &node("2", "True")
    ));
    assert!(!update::only_heartbeats_differ(
        &node("1", "True"),
        &node("2", "False")
    ));
    assert!(!update::only_heartbeats_differ(
        &json!({"status": {}}),
        &json!({"status": {}})
    ));
}
