//! hub.md part D while the API server is cut off, and after.

use jiff::SignedDuration;
use pitstop_hub::CloudError;
use serde_json::json;

use crate::client::{get, post, post_json, send};
use crate::fake::{Line, Write, until};
use crate::rig::{P, Rig, condition, mk_pod, nginx, recreate};

const KEPT: &str = "Upgrade of pod default/nginx-a accepted, will start when allowed: Pending/Connection";

/// A hub that knows the pod of part D and is cut off.
async fn cut_off() -> Rig {
    let rig = Rig::start().await.ready().await;
    rig.cloud.put(nginx());
    until("the pod", async || {
        get(rig.at, "/pods").await.body.contains("nginx-a")
    })
    .await;
    rig.disconnect().await;
    rig
}

/// The same with an upgrade that waits.
async fn waiting() -> Rig {
    let rig = cut_off().await;
    let reply = post(rig.at, &format!("{P}/upgrade")).await;
    assert_eq!((reply.code, reply.body.as_str()), (202, KEPT));
    rig
}

// D22, D23, D28
#[tokio::test]
async fn a_kept_upgrade_survives_and_is_done_once() {
    let rig = waiting().await;
    let first = rig.intents().await;
    let again = post(rig.at, &format!("{P}/upgrade")).await;
    assert_eq!((again.code, again.body.as_str()), (202, KEPT));
    let id = first[0]["id"].as_str().unwrap();
    assert_eq!(
        again.header("location"),
        Some(format!("/pitstop/v1/intents/{id}").as_str())
    );
    assert_eq!(again.header("content-type"), Some("application/json"));
    assert_eq!(rig.intents().await, first, "D23");
    let status = post_json(rig.at, &format!("{P}/upgrade")).await;
    assert_eq!(
        (status.code, &status.json()["details"]["causes"][0]["message"]),
        (202, &json!(id))
    );

    let rig = rig.kill().await;
    assert_eq!(rig.intents().await, first);
    rig.connect().await;
    rig.stands("Succeeded", "Deleted").await;
    let rig = rig.kill().await.ready().await;
    rig.stands("Succeeded", "Deleted").await;
    assert_eq!(rig.cloud.deletes(), 1, "D28");
    rig.stop().await;
}

// D24, D25, D40
#[tokio::test]
async fn what_cannot_be_kept_is_refused() {
    let rig = cut_off().await;
    let text = "OTA upgrade is not allowed when node is disconnected to cloud";
    let reply = post(rig.at, &format!("{P}/upgrade?offline=reject")).await;
    assert_eq!((reply.code, reply.body.as_str()), (503, text), "D24");
    let other = P.replace("nginx-a", "nginx-b");
    let reply = post(rig.at, &format!("{other}/upgrade")).await;
    assert_eq!(
        (reply.code, reply.body.as_str()),
        (500, "Get pod failed, pods \"nginx-b\" not found"),
        "D25"
    );
    assert_eq!(
        post_json(rig.at, &format!("{other}/upgrade")).await.code,
        404,
        "D25"
    );
    assert!(rig.intents().await.is_empty());
    rig.stop().await;

    let rig = Rig::with(|settings| settings.offline_intents = false)
        .await
        .ready()
        .await;
    rig.cloud.put(nginx());
    rig.disconnect().await;
    let reply = post(rig.at, &format!("{P}/upgrade")).await;
    assert_eq!((reply.code, reply.body.as_str()), (503, text), "B2 (3)");
    rig.stop().await;
}

// D27: the link dies unseen; the client does not wait for the next probe.
#[tokio::test]
async fn a_request_that_gets_no_answer_finds_the_link_dead() {
    let rig = Rig::start().await.ready().await;
    rig.cloud.put(nginx());
    until("the pod", async || {
        get(rig.at, "/pods").await.body.contains("nginx-a")
    })
    .await;
    rig.cloud.line(Line::Silent);
    let reply = post(rig.at, &format!("{P}/upgrade")).await;
    assert_eq!((reply.code, reply.body.as_str()), (202, KEPT));
    assert_eq!(
        get(rig.at, "/pods").await.header("x-pitstop-cache"),
        Some("stale")
    );
    rig.stop().await;
}

// The answer to the delete is lost: whether it was done, the pod tells.
#[tokio::test]
async fn an_answer_that_is_lost_makes_no_second_delete() {
    let rig = Rig::start().await.ready().await;
    rig.cloud.put(nginx());
    rig.cloud.lose_answer();
    let reply = post(rig.at, &format!("{P}/upgrade")).await;
    assert_eq!(reply.code, 202, "{}", reply.body);
    rig.stands("Succeeded", "Deleting").await;
    assert_eq!(rig.cloud.deletes(), 1);
    rig.stop().await;
}

// D29
#[tokio::test]
async fn a_rollback_in_the_cloud_ends_it() {
    let rig = waiting().await;
    rig.cloud.change("nginx-a", |pod| {
        condition(pod, "PodNeedUpgrade", "False", "", "controllerrevision: old");
    });
    rig.connect().await;
    rig.stands("Obsolete", "NoLongerNeeded").await;
    assert_eq!(rig.cloud.writes(), []);
    rig.stop().await;
}

// D30
#[tokio::test]
async fn a_pod_that_is_there_already_ends_it_well() {
    let rig = waiting().await;
    rig.cloud.remove("nginx-a");
    recreate(&rig.cloud, "nginx-b", "u2");
    rig.connect().await;
    rig.stands("Succeeded", "AlreadyAtTarget").await;
    assert_eq!(rig.cloud.writes(), []);
    rig.stop().await;
}

// D31
#[tokio::test]
async fn after_three_days_it_expires() {
    let rig = waiting().await;
    rig.clock.advance(SignedDuration::from_hours(73));
    rig.connect().await;
    rig.stands("Expired", "Expired").await;
    // A clock that is set back revives nothing.
    rig.clock.set("2026-11-21T08:00:00Z");
    let rig = rig.kill().await.ready().await;
    rig.stands("Expired", "Expired").await;
    assert_eq!(rig.cloud.writes(), []);
    rig.stop().await;
}

// V4: another pod took the place.
#[tokio::test]
async fn a_replaced_pod_ends_it_or_hands_it_on() {
    let rig = waiting().await;
    rig.cloud.remove("nginx-a");
    rig.cloud.put(mk_pod("nginx-b", "u2"));
    rig.connect().await;
    rig.stands("Obsolete", "PodReplaced").await;
    assert_eq!(rig.cloud.writes(), []);
    rig.stop().await;

    let rig = cut_off().await;
    assert_eq!(post(rig.at, &format!("{P}/upgrade?follow=owner")).await.code, 202);
    rig.cloud.remove("nginx-a");
    rig.cloud.put(mk_pod("nginx-b", "u2"));
    rig.connect().await;
    until("the heir", async || rig.cloud.deletes() == 1).await;
    assert!(
        matches!(&rig.cloud.writes()[0], Write::Delete { name, uid, .. } if name == "nginx-b" && uid == "u2")
    );
    rig.stop().await;
}

// V7, S4: a revision that nobody has seen is not installed; consent is for one revision.
#[tokio::test]
async fn a_newer_revision_asks_again() {
    let rig = waiting().await;
    rig.cloud.change("nginx-a", |pod| {
        condition(pod, "PodNeedUpgrade", "True", "", "controllerrevision: newer");
    });
    rig.connect().await;
    rig.stands("Pending", "Approval").await;
    let intent = rig.intents().await.remove(0);
    assert_eq!(
        (&intent["target"], &intent["asks"]),
        (&json!("new"), &json!("newer"))
    );
    let path = format!("/pitstop/v1/intents/{}/approve", intent["id"].as_str().unwrap());
    let reply = post(rig.at, &format!("{path}?target=other")).await;
    assert_eq!(
        (reply.code, reply.json()["reason"].as_str()),
        (409, Some("OtherRevision"))
    );
    assert_eq!(rig.cloud.deletes(), 0);
    // Those who look at the fleet see what it waits for.
    let told = ["True", "Approval", "controllerrevision: newer"].map(str::to_owned);
    until("the cloud knows", async || {
        rig.cloud.patches("pitstop.io/UpgradePending")
            == [(told[0].clone(), told[1].clone(), told[2].clone())]
    })
    .await;
    let reply = post(rig.at, &format!("{path}?target=newer")).await;
    assert_eq!((reply.code, &reply.json()["state"]), (200, &json!("Succeeded")));
    assert_eq!(rig.cloud.deletes(), 1);
    until("events", async || {
        rig.cloud.events() == ["UpgradeNeedsConsent", "UpgradeStarted"]
    })
    .await;
    rig.stop().await;
}

// V8: images first, then the upgrade.
#[tokio::test]
async fn images_that_are_not_there_are_asked_for_first() {
    let rig = waiting().await;
    rig.cloud.change("nginx-a", |pod| {
        condition(
            pod,
            "PodImageReady",
            "False",
            "PullImageFail",
            "controllerrevision: new; no space",
        );
    });
    rig.connect().await;
    rig.stands("Pending", "Image").await;
    until("the request", async || {
        rig.cloud.patches("PodImageReady").len() == 1
    })
    .await;
    rig.cloud.change("nginx-a", |pod| {
        condition(
            pod,
            "PodImageReady",
            "True",
            "PullImageSuccess",
            "controllerrevision: new",
        );
    });
    rig.stands("Succeeded", "Deleted").await;
    rig.stop().await;
}

// V10: what the API server refuses for the moment is tried again.
#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let rig = waiting().await;
    rig.cloud.refuse(CloudError::Other {
        code: 429,
        message: "busy".to_owned(),
    });
    rig.connect().await;
    rig.stands("Succeeded", "Deleted").await;
    assert_eq!(rig.intents().await[0]["attempts"], 1);
    assert_eq!(rig.cloud.deletes(), 1);
    rig.stop().await;
}

// D32, D34
#[tokio::test]
async fn what_waits_can_be_cancelled() {
    let rig = waiting().await;
    let id = rig.intents().await[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/pitstop/v1/intents/{id}");
    for _ in 0..2 {
        let reply = send(rig.at, "DELETE", &path, &[]).await;
        assert_eq!(
            (reply.code, &reply.json()["state"]),
            (200, &json!("Cancelled")),
            "D32"
        );
    }
    assert_eq!(get(rig.at, &path).await.json()["state"], "Cancelled");
    for (method, path) in [("GET", "00"), ("DELETE", "00"), ("POST", "00/approve")] {
        let reply = send(rig.at, method, &format!("/pitstop/v1/intents/{path}"), &[]).await;
        assert_eq!(
            (reply.code, reply.json()["reason"].as_str()),
            (404, Some("NotFound")),
            "D34 {method}"
        );
    }
    let rig = rig.kill().await;
    rig.connect().await;
    rig.stands("Cancelled", "Cancelled").await;
    assert_eq!(rig.cloud.writes(), []);
    rig.stop().await;
}

// D39, B12: what was seen is served, with its age, also by the next process.
#[tokio::test]
async fn pods_are_served_as_they_were_last_seen() {
    let rig = cut_off().await;
    let before = get(rig.at, "/pods").await;
    rig.clock.advance(SignedDuration::from_secs(300));
    let reply = get(rig.at, "/pods").await;
    assert_eq!((reply.code, &reply.body), (200, &before.body));
    assert_eq!(
        (reply.header("x-pitstop-cache"), reply.header("age")),
        (Some("stale"), Some("300"))
    );
    let rig = rig.restart().await;
    let reply = get(rig.at, "/pods").await;
    assert_eq!((reply.code, &reply.body), (200, &before.body));
    assert_eq!(
        (reply.header("x-pitstop-cache"), reply.header("age")),
        (Some("stale"), Some("300"))
    );
    assert_eq!(post(rig.at, &format!("{P}/upgrade")).await.code, 202);
    rig.stop().await;
}

// D40, D52
#[tokio::test]
async fn before_the_first_list_it_is_alive_but_not_ready() {
    let rig = Rig::cut_off().await;
    assert_eq!(get(rig.at, "/v1/healthz").await.body, "OK");
    let reply = get(rig.at, "/v1/readyz").await;
    assert_eq!(
        (reply.code, reply.body.as_str()),
        (500, "pod cache is not synced\n"),
        "D52"
    );
    let reply = get(rig.at, "/pods").await;
    assert_eq!(
        (reply.code, reply.body.as_str()),
        (500, "Get pod list failed"),
        "D40"
    );
    let reply = send(rig.at, "GET", "/pods", &[("Accept", "application/json")]).await;
    assert_eq!(
        (reply.code, reply.json()["reason"].as_str()),
        (503, Some("NoCache")),
        "D40"
    );
    let reply = post_json(rig.at, &format!("{P}/upgrade")).await;
    assert_eq!(
        (reply.code, reply.json()["reason"].as_str()),
        (503, Some("NoCache")),
        "B6"
    );
    rig.connect().await;
    assert_eq!(get(rig.at, "/v1/readyz").await.code, 200);
    rig.stop().await;
}

// D26: the disk is full. Nothing is queued, nothing that was queued is lost, and room heals it.
#[tokio::test]
async fn a_full_disk_is_a_clear_refusal() {
    for as_json in [false, true] {
        let rig = cut_off().await;
        std::os::unix::fs::symlink("/dev/full", rig.path("hub").join("intents.log")).unwrap();
        let path = format!("{P}/upgrade");
        if as_json {
            let reply = post_json(rig.at, &path).await;
            assert_eq!(
                (reply.code, reply.json()["reason"].as_str()),
                (507, Some("StorageFull"))
            );
        } else {
            let reply = post(rig.at, &path).await;
            assert_eq!(
                (reply.code, reply.body.as_str()),
                (507, "Persist upgrade intent failed")
            );
        }
        assert!(rig.intents().await.is_empty());
        assert_eq!(post(rig.at, &path).await.code, 202);
        let rig = rig.kill().await;
        assert_eq!(rig.intents().await.len(), 1);
        assert_eq!(rig.cloud.writes(), []);
        rig.stop().await;
    }
}

// The Node authorizer of Kubernetes 1.32 and later: of a pod that is gone, a node is told that it may not know.
#[tokio::test]
async fn a_server_that_tells_nodes_nothing_of_strangers_is_understood() {
    let rig = waiting().await;
    rig.cloud.secretive();
    rig.cloud.remove("nginx-a");
    recreate(&rig.cloud, "nginx-b", "u2");
    rig.connect().await;
    rig.stands("Succeeded", "AlreadyAtTarget").await;
    let reply = post(rig.at, &format!("{P}/upgrade")).await;
    assert_eq!(
        (reply.code, reply.body.as_str()),
        (500, "Get pod failed, pods \"nginx-a\" not found")
    );
    assert_eq!(rig.cloud.writes(), []);
    rig.stop().await;
}

// B7: images that are asked for while cut off are asked for later.
#[tokio::test]
async fn images_can_be_asked_for_while_cut_off() {
    let rig = cut_off().await;
    let reply = post(rig.at, &format!("{P}/imagepull")).await;
    let text = "Image pre-pull of pod default/nginx-a accepted, will start when allowed: Pending/Connection";
    assert_eq!((reply.code, reply.body.as_str()), (202, text));
    rig.connect().await;
    rig.stands("Succeeded", "Requested").await;
    let asked = rig.cloud.patches("PodImageReady");
    assert_eq!(
        asked,
        [(
            "False".to_owned(),
            String::new(),
            "controllerrevision: new".to_owned()
        )]
    );
    assert_eq!(rig.cloud.deletes(), 0);
    rig.stop().await;
}
