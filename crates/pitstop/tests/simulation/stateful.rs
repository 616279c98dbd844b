//! StatefulSets whose first version, or whose next, does not work: to the second, and nobody helps. Source: users.md W5, W6.

use std::time::Duration;

use http::Method;
use jiff::{SignedDuration, Timestamp};
use pitstop::embedded::kinds;
use pitstop_controller::Controller;
use pitstop_controller::api::Resource;
use pitstop_engine::feature_gates::FeatureGates;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::arbiter::{PATH, PORT};
use crate::instances::{ARBITER, SERVICES, arbiter_service};
use crate::mutant::Mutant;
use crate::stage::{self, Stage};
use crate::storm::Omitted;

const SETS: &str = "/apis/apps.kruise.io/v1beta1/namespaces/default/statefulsets";
const N_NODES: usize = 3;
const SEED: u64 = 5;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long a pod that does not work may be in the way. Source: statefulset.md 15.1 row 8.
const IN_THE_WAY: SignedDuration = SignedDuration::from_secs(30);
/// An image that is nowhere.
const BROKEN: &str = "bad/web:1";

async fn open() -> Stage {
    let mut stage = Stage::open(SEED, Mutant::Sound, Omitted::default(), N_NODES).await;
    kinds::install(&stage.cluster, &FeatureGates::default())
        .await
        .unwrap();
    stage.begin(&[Resource::Pods], &[Controller::StatefulSet]).await;
    stage.nothing_goes_wrong();
    stage
}

fn set(replicas: u32, management: &str, image: &str) -> Value {
    json!({
        "apiVersion": "apps.kruise.io/v1beta1", "kind": "StatefulSet", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "podManagementPolicy": management, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]},
            },
        },
    })
}

async fn make(stage: &Stage, object: &Value) {
    assert!(stage.call(Method::POST, SETS, None, Some(object)).await.is_some());
}

async fn change(stage: &Stage, change: &Value) {
    let kind = Some("application/json-patch+json");
    let path = format!("{SETS}/web");
    let changed = stage.call(Method::PATCH, &path, kind, Some(change)).await;
    assert!(changed.is_some(), "nobody takes {change}");
}

async fn change_image(stage: &Stage, image: &str) {
    let path = "/spec/template/spec/containers/0/image";
    change(stage, &json!([{"op": "replace", "path": path, "value": image}])).await;
}

/// Waits until all that is said of an object holds; when that was.
async fn until(stage: &Stage, path: &str, holds: impl Fn(&Value) -> bool) -> Timestamp {
    let deadline = stage.clock.now() + PATIENCE;
    loop {
        let object = stage
            .call(Method::GET, path, None, None)
            .await
            .unwrap_or_default();
        if holds(&object) {
            return stage.clock.now();
        }
        assert!(stage.clock.now() < deadline, "{PATIENCE:?} later: {object:#}");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn until_all_have(stage: &Stage, replicas: u32, image: &str) -> Timestamp {
    let path = format!("{SETS}/web");
    let at = until(stage, &path, |set| {
        let status = &set["status"];
        status["observedGeneration"] == set["metadata"]["generation"]
            && status["updatedReplicas"] == replicas
            && status["availableReplicas"] == replicas
    });
    let at = at.await;
    let pods = stage.pods().await;
    assert!(
        pods.iter()
            .all(|pod| pod["spec"]["containers"][0]["image"] == image)
    );
    at
}

fn waits_for_its_image(pod: &Value) -> bool {
    let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
    waiting == "ImagePullBackOff" || waiting == "ErrImagePull"
}

async fn reasons(stage: &Stage) -> Vec<String> {
    let path = "/api/v1/namespaces/default/events";
    let events = stage.call(Method::GET, path, None, None).await.unwrap();
    let events = events["items"].as_array().unwrap().iter();
    events
        .map(|event| event["reason"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// W5: native StatefulSets never recover from this; here the pod in the way is replaced after half a minute, with an event.
#[test]
fn w5_a_version_that_does_not_work_is_taken_back() {
    stage::block_on(async {
        let stage = open().await;
        make(&stage, &set(3, "OrderedReady", "web:1")).await;
        until_all_have(&stage, 3, "web:1").await;
        let before = stage.pods().await;
        change_image(&stage, BROKEN).await;
        let last = "/api/v1/namespaces/default/pods/web-2";
        let stuck_at = until(&stage, last, waits_for_its_image).await;
        change_image(&stage, "web:1").await;
        let mended_at = until_all_have(&stage, 3, "web:1").await;
        let took = mended_at.duration_since(stuck_at);
        // It was not ready from the moment on when it was made, shortly before.
        let early = IN_THE_WAY - SignedDuration::from_secs(20);
        assert!((early..IN_THE_WAY * 3).contains(&took), "{took:?}");
        assert!(reasons(&stage).await.contains(&"BrokenPodReplaced".to_owned()));
        let after = stage.pods().await;
        for pod in &before {
            let is_last = pod["metadata"]["name"] == "web-2";
            let stays = after
                .iter()
                .any(|other| other["metadata"]["uid"] == pod["metadata"]["uid"]);
            assert_ne!(is_last, stays, "{}", pod["metadata"]["name"]);
        }
    });
}

/// W6: the first version never worked; the second goes out all the same, in either order.
#[test]
fn w6_a_first_version_that_does_not_work_is_replaced() {
    for management in ["Parallel", "OrderedReady"] {
        stage::block_on(async {
            let stage = open().await;
            make(&stage, &set(1, management, BROKEN)).await;
            until(
                &stage,
                "/api/v1/namespaces/default/pods/web-0",
                waits_for_its_image,
            )
            .await;
            change_image(&stage, "web:2").await;
            until_all_have(&stage, 1, "web:2").await;
        });
    }
}

/// 16.4: an arbiter that takes its time holds up nothing but what waits for its word: pods come at once, and none goes before
/// it has said that it idles.
#[test]
fn a_slow_arbiter_holds_up_only_what_waits_for_its_word() {
    /// How long it takes to answer.
    const SLOW: Duration = Duration::from_secs(20);
    /// How long pods take that nothing holds up.
    const AT_ONCE: SignedDuration = SignedDuration::from_secs(10);
    stage::block_on(async {
        let stage = open().await;
        stage.add(SERVICES, &arbiter_service()).await;
        stage.arbiter.take_time(SLOW);
        let mut web = set(2, "Parallel", "web:1");
        // Whoever is silent lets everything go, but nobody was heard yet.
        web["spec"]["updateStrategy"] = json!({"rollingUpdate": {"protection": {"arbiter": {
            "http": {"service": {"name": ARBITER, "port": PORT}, "path": PATH}, "failurePolicy": "Ignore",
            "timeoutSeconds": 30, "staleAfterSeconds": 60,
        }}}});
        let began_at = stage.clock.now();
        make(&stage, &web).await;
        until_all_have(&stage, 2, "web:1").await;
        change_image(&stage, "web:2").await;
        change(
            &stage,
            &json!([{"op": "replace", "path": "/spec/replicas", "value": 4}]),
        )
        .await;
        let has_four = |set: &Value| set["status"]["availableReplicas"] == 4;
        let grown_at = until(&stage, &format!("{SETS}/web"), has_four).await;
        assert!(
            grown_at.duration_since(began_at) < AT_ONCE,
            "{began_at}, {grown_at}"
        );
        let updated_at = until_all_have(&stage, 4, "web:2").await;
        let first = stage.pods().await;
        let made = first
            .iter()
            .map(|pod| pod["metadata"]["creationTimestamp"].as_str());
        let replaced = made.filter_map(|at| at?.parse::<Timestamp>().ok());
        let replaced = replaced.filter(|at| *at > grown_at).min().unwrap();
        assert!(replaced.duration_since(began_at) >= SLOW.try_into().unwrap());
        assert!(updated_at > replaced);
    });
}
