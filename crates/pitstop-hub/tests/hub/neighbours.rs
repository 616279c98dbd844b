//! Hubs and controllers are not upgraded together: what one of another version says is understood, or left alone.
//!
//! Each row is what a version writes, as it is on the wire. What is added in a later version goes into a new row; a row
//! never changes.
//!
//! Source: issue 6, delivery; hub.md A5 row 5, B4, B9.

use pitstop_api::view::{NodeNames, PodView, PodWire};
use pitstop_hub::Executor;
use pitstop_hub::checks::Method;
use serde_json::{Value, json};

use crate::client::post;
use crate::fake::Write;
use crate::rig::{P, Rig, nginx};

/// What a controller says about a pod that waits: the version, conditions, annotations, and the hash that is meant.
fn controllers() -> Vec<(&'static str, Value, Value, &'static str)> {
    vec![
        (
            "OpenYurt up to 1.5: no hash",
            json!([{ "type": "PodNeedUpgrade", "status": "True", "lastProbeTime": null, "lastTransitionTime": null }]),
            json!({}),
            "",
        ),
        (
            "OpenYurt 1.6",
            json!([{
                "type": "PodNeedUpgrade", "status": "True", "lastProbeTime": null,
                "lastTransitionTime": "2026-11-21T07:00:00Z", "message": "controllerrevision: 74fbcc88b5",
            }]),
            json!({}),
            "74fbcc88b5",
        ),
        (
            "pitstop 0.1",
            json!([{
                "type": "PodNeedUpgrade", "status": "True", "reason": "", "message": "controllerrevision: 74fbcc88b5",
                "lastTransitionTime": "2026-11-21T07:00:00Z",
            }]),
            json!({}),
            "74fbcc88b5",
        ),
        (
            "a later one: more is said, in fields, conditions and methods that are not known yet",
            json!([
                { "type": "pitstop.io/Tomorrow", "status": "Maybe", "observedGeneration": 7 },
                {
                    "type": "PodNeedUpgrade", "status": "True", "reason": "NewerRevision", "observedGeneration": 7,
                    "message": "controllerrevision: 74fbcc88b5; 2 of 3 images are new",
                    "lastTransitionTime": "2026-11-21T07:00:00.123456Z",
                },
            ]),
            json!({ "pitstop.io/upgrade-plan": r#"{"hash":"74fbcc88b5","method":"Teleport","since":"v0.9"}"# }),
            "74fbcc88b5",
        ),
    ]
}

/// What a hub says: the version, the condition, and the hash that the controller may act on.
fn hubs() -> Vec<(&'static str, Value, Option<&'static str>)> {
    let requested = |more: Value| {
        let mut condition = json!({ "type": "pitstop.io/UpgradeRequested", "status": "True" });
        condition
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        condition
    };
    vec![
        (
            "pitstop 0.1",
            requested(json!({ "reason": "LocalRequest", "message": "controllerrevision: 74fbcc88b5" })),
            Some("74fbcc88b5"),
        ),
        (
            "a later one",
            requested(json!({
                "reason": "Scheduled", "message": "controllerrevision: 74fbcc88b5; by unix:1000, window 22:00-06:00",
                "observedGeneration": 7,
            })),
            Some("74fbcc88b5"),
        ),
        (
            "without a hash: it asks for no revision",
            requested(json!({})),
            Some(""),
        ),
        (
            "taken back",
            json!({ "type": "pitstop.io/UpgradeRequested", "status": "False", "message": "controllerrevision: 74fbcc88b5" }),
            None,
        ),
        (
            "with a status of tomorrow",
            json!({ "type": "pitstop.io/UpgradeRequested", "status": "Deferred" }),
            None,
        ),
    ]
}

/// The pod as a controller of this version reads it.
fn as_controllers_read(pod: &Value) -> PodView {
    let mut pod = pod.clone();
    pod["metadata"]["uid"] = json!("11111111-2222-4333-8444-555555555555");
    pod["metadata"]["creationTimestamp"] = json!("2026-11-21T06:00:00Z");
    let wire: PodWire = serde_json::from_value(pod).unwrap();
    wire.view(&mut NodeNames::default()).unwrap()
}

/// This hub under controllers of all versions: it sees that something waits, and asks for exactly that.
#[tokio::test]
async fn a_hub_understands_controllers_of_other_versions() {
    for (version, conditions, annotations, hash) in controllers() {
        let rig = Rig::with(|settings| settings.executor = Executor::Always(Method::Request))
            .await
            .ready()
            .await;
        let mut pod = nginx();
        pod["status"]["conditions"] = conditions.clone();
        pod["metadata"]["annotations"] = annotations;
        rig.cloud.put(pod.clone());
        let said = post(rig.at, &format!("{P}/upgrade")).await;
        assert_eq!(
            (said.code, said.body.as_str()),
            (200, "Start updating pod default/nginx-a"),
            "{version}"
        );
        let writes = rig.cloud.writes();
        let [Write::Patch { name, patch }] = writes.as_slice() else {
            panic!("{version}: {writes:?}")
        };
        assert_eq!(name, "nginx-a", "{version}");
        // This controller acts on what this hub wrote.
        pod["status"]["conditions"]
            .as_array_mut()
            .unwrap()
            .extend(patch["status"]["conditions"].as_array().unwrap().iter().cloned());
        assert_eq!(
            as_controllers_read(&pod).requested_revision(),
            Some(hash),
            "{version}"
        );
        rig.stop().await;
    }
}

/// This controller under hubs of all versions: it acts on a request for the revision that waits, and on no other.
#[test]
fn a_controller_understands_hubs_of_other_versions() {
    for (version, condition, want) in hubs() {
        let mut pod = nginx();
        pod["status"]["conditions"]
            .as_array_mut()
            .unwrap()
            .push(condition);
        assert_eq!(as_controllers_read(&pod).requested_revision(), want, "{version}");
    }
}
