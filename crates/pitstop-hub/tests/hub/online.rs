//! hub.md part D while the API server can be reached.

use serde_json::{Value, json};

use crate::client::{Reply, get, post, post_json, send};
use crate::fake::Write;
use crate::rig::{P, Rig, condition, mk_pod, nginx};
use pitstop_hub::CloudError;

const PRE: &str = "Pre check update pod failed, Failed to check pod default/nginx-a";

/// One row: the pod, and what text and JSON clients get.
struct Row {
    number: u32,
    change: fn(&mut Value),
    code: u16,
    text: String,
    json_code: u16,
    reason: &'static str,
}

fn row(number: u32, change: fn(&mut Value), text: (u16, String), json: (u16, &'static str)) -> Row {
    Row {
        number,
        change,
        code: text.0,
        text: text.1,
        json_code: json.0,
        reason: json.1,
    }
}

fn refusals() -> Vec<Row> {
    let status = |inner: &str| (403, format!("{PRE} status, error: {inner}, can not be updated"));
    let image = |inner: &str| {
        let text = format!("{PRE} image ready, error: Pod: default/nginx-a image is not ready, {inner}");
        (403, text)
    };
    vec![
        row(
            5,
            |pod| pod["metadata"]["deletionTimestamp"] = json!("2026-11-21T08:00:00Z"),
            status("Pod default/nginx-a is deleting"),
            (409, "Deleting"),
        ),
        row(
            6,
            |pod| pod["spec"]["nodeName"] = json!("n2"),
            status("Pod: default/nginx-a is running on n2"),
            (403, "OtherNode"),
        ),
        row(
            7,
            |pod| condition(pod, "PodNeedUpgrade", "False", "", ""),
            status("Pod: default/nginx-a update status is False"),
            (409, "NotUpdatable"),
        ),
        row(
            7,
            |pod| condition(pod, "PodNeedUpgrade", "", "", ""),
            status("Pod: default/nginx-a update status is False"),
            (409, "NotUpdatable"),
        ),
        row(
            8,
            |pod| {
                pod["metadata"]["deletionTimestamp"] = json!("2026-11-21T08:00:00Z");
                pod["spec"]["nodeName"] = json!("n2");
                condition(pod, "PodNeedUpgrade", "", "", "");
            },
            status("Pod default/nginx-a is deleting"),
            (409, "Deleting"),
        ),
        row(
            9,
            |pod| {
                condition(
                    pod,
                    "PodImageReady",
                    "False",
                    "ImagePullBackOff",
                    "Failed to pull image",
                );
            },
            image("reason: ImagePullBackOff, message: Failed to pull image"),
            (409, "ImageNotReady"),
        ),
        row(
            10,
            |pod| condition(pod, "PodImageReady", "True", "Ready", "controllerrevision: old"),
            image("reason: Ready, message: controllerrevision: old"),
            (409, "ImageNotReady"),
        ),
        row(
            13,
            |pod| pod["metadata"]["ownerReferences"] = json!([]),
            (400, "Pod has no owner references".to_owned()),
            (422, "NoOwner"),
        ),
        row(
            14,
            |pod| {
                pod["metadata"]["ownerReferences"] = json!([]);
                pod["spec"]["nodeName"] = json!("n2");
            },
            status("Pod: default/nginx-a is running on n2"),
            (403, "OtherNode"),
        ),
        row(
            15,
            |pod| pod["metadata"]["ownerReferences"][0]["kind"] = json!("ReplicaSet"),
            (400, "Not support ota upgrade pod type ReplicaSet".to_owned()),
            (422, "UnsupportedKind"),
        ),
    ]
}

fn assert_text(reply: &Reply, code: u16, text: &str, what: &str) {
    assert_eq!((reply.code, reply.body.as_str()), (code, text), "{what}");
    let kind = if code < 300 {
        "application/json"
    } else {
        "text/plain; charset=utf-8"
    };
    assert_eq!(reply.header("content-type"), Some(kind), "{what}");
}

// D5 to D10, D13 to D15: the order of the checks, their texts, and the table of B6.
#[tokio::test]
async fn refusals_have_the_texts_of_upstream_and_the_codes_of_the_table() {
    let rig = Rig::start().await.ready().await;
    for row in refusals() {
        let mut pod = nginx();
        (row.change)(&mut pod);
        rig.cloud.put(pod);
        let what = format!("D{}", row.number);
        let reply = post(rig.at, &format!("{P}/upgrade")).await;
        assert_text(&reply, row.code, &row.text, &what);
        let reply = post_json(rig.at, &format!("{P}/upgrade")).await;
        let status = reply.json();
        assert_eq!(reply.code, row.json_code, "{what}");
        assert_eq!(status["kind"], "Status", "{what}");
        assert_eq!(status["status"], "Failure", "{what}");
        assert_eq!(status["message"], row.text, "{what}");
        assert_eq!(status["reason"], row.reason, "{what}");
        assert_eq!(status["code"], row.json_code, "{what}");
        assert_eq!(status["details"]["name"], "nginx-a", "{what}");
        if row.reason == "ImageNotReady" {
            assert_eq!(status["details"]["retryAfterSeconds"], 10, "{what}");
        }
    }
    assert_eq!(rig.cloud.writes(), []);
    assert!(rig.intents().await.is_empty());
    rig.stop().await;
}

// D3, D4
#[tokio::test]
async fn a_pod_that_is_not_there_is_not_found() {
    let rig = Rig::start().await.ready().await;
    let reply = post(rig.at, &format!("{P}/upgrade")).await;
    assert_text(&reply, 500, "Get pod failed, pods \"nginx-a\" not found", "D3");
    let reply = post_json(rig.at, &format!("{P}/upgrade")).await;
    assert_eq!(
        (reply.code, reply.json()["reason"].as_str()),
        (404, Some("NotFound")),
        "D4"
    );
    rig.stop().await;
}

// D1, D2, D11, D12
#[tokio::test]
async fn an_upgrade_is_one_delete_of_that_very_object() {
    let ready: fn(&mut Value) = |pod| {
        condition(
            pod,
            "PodImageReady",
            "True",
            "PullImageSuccess",
            "controllerrevision: new",
        );
    };
    let no_message: fn(&mut Value) = |pod| condition(pod, "PodNeedUpgrade", "True", "", "");
    for (what, change, as_json) in [
        ("D1", (|_| {}) as fn(&mut Value), false),
        ("D2", |_| {}, true),
        ("D11", ready, false),
        ("D12", no_message, false),
    ] {
        let rig = Rig::start().await.ready().await;
        let mut pod = nginx();
        change(&mut pod);
        rig.cloud.put(pod);
        let path = format!("{P}/upgrade");
        if as_json {
            let reply = post_json(rig.at, &path).await;
            let status = reply.json();
            assert_eq!((reply.code, &status["code"]), (200, &json!(200)), "{what}");
            assert_eq!(status["status"], "Success", "{what}");
            assert_eq!(status["message"], "Start updating pod default/nginx-a", "{what}");
            assert_eq!(status["details"]["uid"], "u1", "{what}");
            assert_eq!(status["details"]["causes"][0]["reason"], "Intent", "{what}");
            assert_eq!(
                status["details"]["causes"][0]["message"],
                rig.intents().await[0]["id"],
                "{what}"
            );
        } else {
            let reply = post(rig.at, &path).await;
            assert_text(&reply, 200, "Start updating pod default/nginx-a", what);
        }
        let expected = Write::Delete {
            name: "nginx-a".to_owned(),
            uid: "u1".to_owned(),
            version: "101".to_owned(),
        };
        assert_eq!(rig.cloud.writes(), [expected], "{what}");
        rig.stands("Succeeded", "Deleted").await;
        rig.stop().await;
    }
}

// D53: a hub looks at its own link, never at the leases of a kubelet.
#[tokio::test]
async fn a_kubelet_that_is_silent_is_no_reason_to_refuse() {
    let rig = Rig::start().await.ready().await;
    let mut pod = nginx();
    condition(&mut pod, "Ready", "Unknown", "NodeStatusUnknown", "");
    rig.cloud.put(pod);
    rig.clock.advance(jiff::SignedDuration::from_secs(60));
    let reply = post(rig.at, &format!("{P}/upgrade")).await;
    assert_text(&reply, 200, "Start updating pod default/nginx-a", "D53");
    rig.stop().await;
}

// D21, B6
#[tokio::test]
async fn what_the_api_server_refuses_has_failed() {
    for (as_json, code) in [(false, 500), (true, 502)] {
        let rig = Rig::start().await.ready().await;
        rig.cloud.put(nginx());
        rig.cloud
            .refuse(CloudError::Forbidden("pods is forbidden".to_owned()));
        let path = format!("{P}/upgrade");
        if as_json {
            let reply = post_json(rig.at, &path).await;
            let status = reply.json();
            assert_eq!(
                (reply.code, status["reason"].as_str()),
                (code, Some("ApplyFailed"))
            );
            assert_eq!(status["details"]["causes"][0]["message"], "pods is forbidden");
        } else {
            assert_text(&post(rig.at, &path).await, code, "Apply update failed", "D21");
        }
        rig.stands("Failed", "ApplyFailed").await;
        // Asking again opens the same intent again.
        assert_eq!(post(rig.at, &path).await.code, 200);
        rig.stands("Succeeded", "Deleted").await;
        assert_eq!(rig.intents().await[0]["generation"], 1);
        rig.stop().await;
    }
}

// D36, D37, A6
#[tokio::test]
async fn images_are_asked_for_with_one_condition() {
    let rig = Rig::start().await.ready().await;
    let mut pod = nginx();
    condition(
        &mut pod,
        "PodImageReady",
        "False",
        "PullImageFail",
        "pull image job x failed",
    );
    rig.cloud.put(pod);
    let reply = post(rig.at, &format!("{P}/imagepull")).await;
    assert_text(
        &reply,
        200,
        "Image pre-pull requested for pod default/nginx-a",
        "D36",
    );
    let writes = rig.cloud.writes();
    let [Write::Patch { patch, .. }] = &writes[..] else {
        panic!("{writes:?}");
    };
    let expected = json!({
        "metadata": {"uid": "u1", "resourceVersion": "101"},
        "status": {"conditions": [
            {"type": "PodImageReady", "status": "False", "reason": "", "message": "controllerrevision: new"}
        ]},
    });
    assert_eq!(*patch, expected);

    let mut pod = nginx();
    pod["spec"]["nodeName"] = json!("n2");
    rig.cloud.put(pod);
    let reply = post(rig.at, &format!("{P}/imagepull")).await;
    let text = "Failed to check pod status default/nginx-a, error: Pod: default/nginx-a is running on n2, can not be \
                updated";
    assert_text(&reply, 403, text, "D37");
    rig.cloud.put(nginx());
    rig.cloud.refuse(CloudError::Forbidden("no".to_owned()));
    let reply = post(rig.at, &format!("{P}/imagepull")).await;
    assert_text(&reply, 500, "Patch pod status for imagepull failed", "A6");
    rig.stop().await;
}

// B4: without the right to delete, the controller is asked; exactly one condition, on that very object.
#[tokio::test]
async fn without_the_right_to_delete_the_controller_is_asked() {
    let rig = Rig::start().await.ready().await;
    rig.cloud.may_delete(false);
    rig.cloud.put(nginx());
    assert_eq!(post(rig.at, &format!("{P}/upgrade")).await.code, 200);
    let writes = rig.cloud.writes();
    let [Write::Patch { patch, .. }] = &writes[..] else {
        panic!("{writes:?}");
    };
    let expected = json!({
        "metadata": {"uid": "u1", "resourceVersion": "101"},
        "status": {"conditions": [{
            "type": "pitstop.io/UpgradeRequested", "status": "True", "reason": "LocalRequest",
            "message": "controllerrevision: new", "lastTransitionTime": "2026-11-21T08:00:00Z",
        }]},
    });
    assert_eq!(*patch, expected);
    rig.stands("Executing", "").await;
    // D33, and asking again changes nothing.
    assert_eq!(post(rig.at, &format!("{P}/upgrade")).await.code, 200);
    let id = rig.intents().await[0]["id"].as_str().unwrap().to_owned();
    let reply = send(rig.at, "DELETE", &format!("/pitstop/v1/intents/{id}"), &[]).await;
    assert_eq!(
        (reply.code, reply.json()["reason"].as_str()),
        (409, Some("AlreadyStarted"))
    );
    assert_eq!(rig.cloud.writes().len(), 1);
    // The controller deletes the pod.
    rig.cloud.remove("nginx-a");
    rig.stands("Succeeded", "Replaced").await;
    rig.stop().await;
}

// D38, A4, B2 (4)
#[tokio::test]
async fn pods_are_listed_in_order_without_managed_fields() {
    let rig = Rig::start().await.ready().await;
    let reply = get(rig.at, "/pods").await;
    assert_eq!(
        reply.body,
        "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{},\"items\":[]}\n"
    );
    rig.cloud.put(mk_pod("b", "2"));
    rig.cloud.put(mk_pod("a", "1"));
    crate::fake::until("two pods", async || {
        get(rig.at, "/pods").await.json()["items"]
            .as_array()
            .unwrap()
            .len()
            == 2
    })
    .await;
    let reply = get(rig.at, "/pods").await;
    assert_eq!(reply.code, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("x-pitstop-cache"), Some("live"));
    assert_eq!(reply.header("age"), Some("0"));
    assert!(reply.body.ends_with("]}\n"));
    let list = reply.json();
    assert_eq!(list["items"][0]["metadata"]["name"], "a");
    assert_eq!(list["items"][1]["metadata"]["name"], "b");
    assert_eq!(list["items"][0]["metadata"]["managedFields"], Value::Null);
    assert_eq!(list["items"][0]["spec"]["containers"][0]["env"][0]["value"], "b");
    rig.stop().await;
}

// D41 to D43, D50, D51, A3
#[tokio::test]
async fn the_router_answers_as_upstream_does() {
    let rig = Rig::start().await.ready().await;
    let p = format!("{P}/upgrade");
    for (method, path, code, body) in [
        ("HEAD", "/pods", 405, ""),
        ("PUT", "/pods", 405, ""),
        ("GET", p.as_str(), 405, ""),
        ("OPTIONS", p.as_str(), 405, ""),
        ("GET", "/nope", 404, "404 page not found\n"),
        ("GET", "/pods/", 404, "404 page not found\n"),
        ("POST", "/v1/token", 404, "404 page not found\n"),
        ("GET", "/debug/pprof/", 404, "404 page not found\n"),
        // E: nothing is passed on to the API server with the certificate of the node.
        ("GET", "/api/v1/secrets", 404, "404 page not found\n"),
        ("GET", "//pods", 301, ""),
        ("GET", "/v1/healthz", 200, "OK"),
        ("GET", "/v1/readyz", 200, "OK"),
        (
            "POST",
            "/openyurt.io/v1/namespaces/%2e%2e/pods/a/upgrade",
            400,
            "Invalid namespace or pod name",
        ),
        (
            "POST",
            "/openyurt.io/v1/namespaces/default/pods/a_b/upgrade",
            400,
            "Invalid namespace or pod name",
        ),
        (
            "POST",
            "/openyurt.io/v1/namespaces/default/pods/a%2fb/upgrade",
            400,
            "Invalid namespace or pod name",
        ),
    ] {
        let reply = send(rig.at, method, path, &[]).await;
        assert_eq!((reply.code, reply.body.as_str()), (code, body), "{method} {path}");
        assert_eq!(reply.header("allow"), None, "{method} {path}");
    }
    assert_eq!(get(rig.at, "//pods").await.header("location"), Some("/pods"));
    assert_eq!(rig.cloud.gets(), 0);
    rig.stop().await;
}

// D44, D45: not executed.
#[tokio::test]
async fn what_a_browser_was_made_to_send_is_not_executed() {
    let rig = Rig::start().await.ready().await;
    rig.cloud.put(nginx());
    let path = format!("{P}/upgrade");
    for (header, code, text) in [
        (("Host", "evil.example"), 421, "Host not allowed"),
        (
            ("Origin", "http://evil.example"),
            403,
            "Cross-origin request refused",
        ),
        (("Origin", "null"), 403, "Cross-origin request refused"),
        (
            ("Sec-Fetch-Site", "cross-site"),
            403,
            "Cross-origin request refused",
        ),
    ] {
        let reply = send(rig.at, "POST", &path, &[header]).await;
        assert_eq!((reply.code, reply.body.as_str()), (code, text), "{header:?}");
        assert_eq!(reply.header("access-control-allow-origin"), None);
        let reply = send(rig.at, "GET", "/pods", &[header]).await;
        assert_eq!(reply.code, code, "{header:?}");
    }
    assert_eq!((rig.cloud.writes(), rig.cloud.gets()), (vec![], 0));
    rig.stop().await;
}

// Between our look and our hand the cloud marks a newer revision: S4.
#[tokio::test]
async fn a_newer_revision_that_comes_meanwhile_is_asked_about() {
    let rig = Rig::start().await.ready().await;
    rig.cloud.put(nginx());
    rig.cloud.meanwhile(|cloud| {
        cloud.change("nginx-a", |pod| {
            condition(pod, "PodNeedUpgrade", "True", "", "controllerrevision: newer");
        });
    });
    let reply = post(rig.at, &format!("{P}/upgrade")).await;
    assert_eq!(reply.code, 202);
    assert!(
        reply
            .body
            .ends_with("accepted, will start when allowed: Pending/Approval"),
        "{}",
        reply.body
    );
    assert_eq!(rig.cloud.deletes(), 0);
    assert_eq!(rig.intents().await[0]["asks"], "newer");
    // Asking again is consent to the newer one.
    assert_eq!(post(rig.at, &format!("{P}/upgrade")).await.code, 200);
    assert_eq!(rig.cloud.deletes(), 1);
    let states: Vec<Value> = rig
        .intents()
        .await
        .iter()
        .map(|intent| intent["state"].clone())
        .collect();
    assert_eq!(states, ["Superseded", "Succeeded"]);
    rig.stop().await;
}

// A kubelet that writes its status meanwhile is no reason to fail.
#[tokio::test]
async fn a_status_that_changes_meanwhile_is_looked_at_again() {
    let rig = Rig::start().await.ready().await;
    rig.cloud.put(nginx());
    rig.cloud
        .meanwhile(|cloud| cloud.change("nginx-a", |pod| pod["status"]["phase"] = json!("Running")));
    assert_eq!(post(rig.at, &format!("{P}/upgrade")).await.code, 200);
    assert_eq!((rig.cloud.deletes(), rig.cloud.gets()), (1, 2));
    rig.stop().await;
}

#[tokio::test]
async fn a_dry_run_checks_and_does_nothing() {
    let rig = Rig::start().await.ready().await;
    rig.cloud.put(nginx());
    let reply = post(rig.at, &format!("{P}/upgrade?dryRun=true")).await;
    assert_text(&reply, 200, "Start updating pod default/nginx-a", "B11");
    rig.cloud
        .change("nginx-a", |pod| pod["spec"]["nodeName"] = json!("n2"));
    assert_eq!(post(rig.at, &format!("{P}/upgrade?dryRun=true")).await.code, 403);
    assert_eq!(rig.cloud.writes(), []);
    assert!(rig.intents().await.is_empty());
    rig.stop().await;
}
