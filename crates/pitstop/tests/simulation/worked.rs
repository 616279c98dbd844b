//! Worked rollouts as they are written, to the second: nothing goes wrong, and minutes take no time.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use jiff::{SignedDuration, Timestamp};
use pitstop::embedded::kinds;
use pitstop_api::keys;
use pitstop_controller::Controller;
use pitstop_controller::api::Resource;
use pitstop_engine::feature_gates::FeatureGates;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::history::Entry;
use crate::mutant::Mutant;
use crate::objects::{is_ready, text};
use crate::seed_004::{FIRST, SECOND};
use crate::stage::{self, MERGE, Stage};
use crate::storm::Omitted;

const CLONESETS: &str = "/apis/apps.kruise.io/v1alpha1/namespaces/default/clonesets";
const N_NODES: usize = 3;
const SEED: u64 = 4;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(10);
/// From the moment at which the next pod may be changed to the write, by the clocks of this cluster: nothing waits for a
/// round of polling.
const REACTS_WITHIN: SignedDuration = SignedDuration::from_secs(1);

async fn open() -> Stage {
    let mut stage = Stage::open(SEED, Mutant::Sound, Omitted::default(), N_NODES).await;
    kinds::install(&stage.cluster, &FeatureGates::default())
        .await
        .unwrap();
    stage.begin(&[Resource::Pods], &[Controller::CloneSet]).await;
    stage.nothing_goes_wrong();
    stage
}

/// Waits until a CloneSet is as it should be.
async fn until(stage: &Stage, name: &str, is_so: impl Fn(&Value) -> bool) {
    let path = format!("{CLONESETS}/{name}");
    let deadline = stage.clock.now() + PATIENCE;
    loop {
        let object = stage.call(Method::GET, &path, None, None).await.unwrap();
        if object["status"]["observedGeneration"] == object["metadata"]["generation"]
            && is_so(&object["status"])
        {
            return;
        }
        assert!(stage.clock.now() < deadline, "{PATIENCE:?} later: {object:#}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// The states that each pod went through, by its uid.
fn lives(entries: &[Entry]) -> BTreeMap<String, Vec<&Entry>> {
    let mut lives: BTreeMap<String, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        let uid = text(&entry.object["metadata"]["uid"]);
        lives.entry(uid).or_default().push(entry);
    }
    lives
}

fn image(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap()
}

/// Seed 004: one pod goes, four stay; one at a time, each 30 s after the one before has become ready.
#[test]
fn seed_004_waits_its_thirty_seconds() {
    stage::block_on(async {
        let stage = open().await;
        let manifest = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();
        let answer = stage
            .call(Method::POST, CLONESETS, None, Some(&manifest(FIRST)))
            .await;
        assert!(answer.is_some());
        until(&stage, "nginxweb1", |status| status["availableReplicas"] == 5).await;
        let changed_at = stage.clock.now();
        let path = format!("{CLONESETS}/nginxweb1");
        let answer = stage
            .call(Method::PATCH, &path, MERGE, Some(&manifest(SECOND)))
            .await;
        assert!(answer.is_some());
        until(&stage, "nginxweb1", |status| {
            status["replicas"] == 4 && status["updatedAvailableReplicas"] == 4
        })
        .await;

        let entries = stage.history.take();
        let lives = lives(&entries);
        assert_eq!(lives.len(), 5, "no pod was replaced");
        let mut steps: Vec<(Timestamp, Timestamp)> = Vec::new();
        for life in lives.values() {
            let Some(changed) = life
                .iter()
                .position(|entry| image(&entry.object) == "nginx:latest")
            else {
                assert_eq!(
                    life.last().unwrap().event,
                    "DELETED",
                    "the one that goes is not updated first"
                );
                continue;
            };
            let ready = life[changed..]
                .iter()
                .rfind(|entry| !is_ready(&entry.object))
                .unwrap();
            let (first, last) = (&life[0].object, &life.last().unwrap().object);
            assert_eq!(first["metadata"]["name"], last["metadata"]["name"]);
            assert_eq!(last["status"]["containerStatuses"][0]["restartCount"], 1);
            let placed = life
                .iter()
                .find(|entry| !entry.object["status"]["podIP"].is_null())
                .unwrap();
            assert_eq!(placed.object["status"]["podIP"], last["status"]["podIP"]);
            assert_eq!(placed.object["spec"]["nodeName"], last["spec"]["nodeName"]);
            let ready_at = life
                .iter()
                .find(|entry| entry.version > ready.version)
                .unwrap()
                .at;
            steps.push((life[changed].at, ready_at));
        }
        steps.sort_unstable();
        assert_eq!(steps.len(), 4);
        assert!(steps[0].0.duration_since(changed_at) >= SignedDuration::ZERO);
        for pair in steps.windows(2) {
            let apart = pair[1].0.duration_since(pair[0].1);
            let wanted = SignedDuration::from_secs(30);
            // A kubelet tells times in whole seconds, so that it may have become ready up to one earlier.
            let range = wanted - SignedDuration::from_secs(1)..=wanted + REACTS_WITHIN;
            assert!(range.contains(&apart), "{apart:?} apart: {steps:?}");
        }
    });
}

/// users.md W9: two tags name one image. What differs is what the runtime does with that.
#[test]
fn w9_two_tags_of_one_digest() {
    // What the image does, whether its container restarts, what it is called then, and within how many seconds it is done.
    let cases = [
        (json!({}), true, "app:v37", 3),
        // It calls the container by the other tag: the generation that the kubelet acted on decides.
        (json!({"reportedAs": "app:v36"}), true, "app:v36", 13),
        // Nobody can say that the kubelet will not restart it yet, but time. Source: inplace.md 13.1.
        (json!({"keepsRunning": true}), false, "app:v37", 95),
    ];
    for (more, is_restarted, reported, within) in cases {
        stage::block_on(async {
            let stage = open().await;
            let mut new = json!({"image": "app:v37", "content": "one"});
            new.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let profiles = json!([{"image": "app:v36", "content": "one"}, new]).to_string();
            let object = json!({
                "apiVersion": "apps.kruise.io/v1alpha1", "kind": "CloneSet", "metadata": {"name": "app"},
                "spec": {
                    "replicas": 1, "selector": {"matchLabels": {"app": "app"}},
                    "updateStrategy": {"type": "InPlaceOnly"},
                    "template": {
                        "metadata": {"labels": {"app": "app"}, "annotations": {(keys::SIM_IMAGE_PROFILE): profiles}},
                        "spec": {"containers": [{"name": "app", "image": "app:v36"}]},
                    },
                },
            });
            let answer = stage.call(Method::POST, CLONESETS, None, Some(&object)).await;
            assert!(answer.is_some());
            until(&stage, "app", |status| status["readyReplicas"] == 1).await;
            let before = stage.pods().await.remove(0);

            let changed_at = stage.clock.now();
            let change = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "app:v37"}]);
            let path = format!("{CLONESETS}/app");
            let kind = Some("application/json-patch+json");
            let answer = stage.call(Method::PATCH, &path, kind, Some(&change)).await;
            assert!(answer.is_some());
            until(&stage, "app", |status| status["updatedAvailableReplicas"] == 1).await;
            let took = stage.clock.now().duration_since(changed_at);
            assert!(took <= SignedDuration::from_secs(within), "{new}: {took:?}");

            let after = stage.pods().await.remove(0);
            assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
            let [was, is] = [&before, &after].map(|pod| &pod["status"]["containerStatuses"][0]);
            assert_eq!(was["imageID"], is["imageID"], "{new}");
            assert_eq!(is["image"], reported);
            assert_eq!(is["restartCount"], u32::from(is_restarted), "{new}");
            assert_eq!(was["containerID"] != is["containerID"], is_restarted, "{new}");
        });
    }
}
