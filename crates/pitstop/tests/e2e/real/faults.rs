//! Rollouts survive what happens to real API servers. The invariants are read from the audit log.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use pitstop_controller::Controller;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Plane;
use super::account::UPGRADER;
use super::site::{NAME, Site, V1, V2, V3, eventually};
use super::webhook::Webhook;
use crate::background::Background;
use crate::proxy::Proxy;

const N_NODES: usize = 6;

/// A rollout from version 1 to version 2 of which two pods are done.
async fn half_way(max_unavailable: usize) -> Option<(Site, Background)> {
    let site = Site::start(Plane::take().await?, N_NODES, max_unavailable).await;
    site.wait_all(V1).await;
    let controller = site.controller(&[]).await;
    site.set_image(V2).await;
    site.wait_running(V2, 2).await;
    Some((site, controller))
}

async fn ends_well(site: Site, controller: Background) {
    site.wait_all(V2).await;
    site.expect_well(&[UPGRADER]);
    controller.stop().await;
    site.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_crashes() {
    let Some((mut site, controller)) = half_way(1).await else {
        return;
    };
    site.plane.control_plane().kill_api_server();
    // What was written and not noted has to be known before the next deletion is judged by it.
    controller.signal("STOP").await;
    site.plane.control_plane().start_api_server().await;
    site.recover_lost_notes().await;
    controller.signal("CONT").await;
    site.wait_all(V2).await;
    // The one deletion that may have been under way.
    site.expect_well_but_for(&[UPGRADER], 1);
    controller.stop().await;
    site.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_crashes() {
    let Some((mut site, controller)) = half_way(2).await else {
        return;
    };
    site.plane.control_plane().crash_etcd();
    site.plane.control_plane().wait_until_ready().await;
    ends_well(site, controller).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_cut_again_and_again() {
    let Some(plane) = Plane::take().await else { return };
    let site = Site::start(plane, N_NODES, 2).await;
    site.wait_all(V1).await;
    let proxy = Proxy::start(site.plane.running().addr()).await;
    let kubeconfig = site.controller_kubeconfig_through(proxy.addr()).await;
    let controller = site.controller_as(&kubeconfig, &[]).await;
    site.set_image(V2).await;
    let cutting = async {
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            proxy.cut();
        }
    };
    tokio::select! {
        () = site.wait_all(V2) => {}
        () = cutting => {}
    }
    ends_well(site, controller).await;
}

/// The server forgets what was before its start, so a watch cannot go on where it was: 410, and a new list.
#[tokio::test(flavor = "multi_thread")]
async fn the_world_changes_while_nobody_looks() {
    let Some((mut site, controller)) = half_way(1).await else {
        return;
    };
    controller.signal("STOP").await;
    site.plane.control_plane().kill_api_server();
    site.plane.control_plane().start_api_server().await;
    site.recover_lost_notes().await;
    site.set_image(V3).await;
    // Their DaemonSet controller finds its way back to the server first: else the next pod would be of version 2.
    eventually("the DaemonSet controller has seen version 3", || async {
        let daemonset = site.daemonsets().get(NAME).await.unwrap();
        daemonset.status.and_then(|status| status.observed_generation) == daemonset.metadata.generation
    })
    .await;
    site.delete_one(V1).await;
    site.wait_running(V3, 1).await;
    // While the server was away no node could report, and whether one is Ready is not known to who does not look.
    site.wait_for_nodes().await;
    controller.signal("CONT").await;

    site.wait_all(V3).await;
    let said = controller.said();
    let findings = site.judge(&[UPGRADER]);
    assert_eq!(findings.violations, Vec::<String>::new(), "{said}");
    // On a slow machine all this takes longer than the lease lasts, and then everything is listed anew as well.
    assert!(
        said.contains("version expired, listing anew") || said.contains("lease"),
        "{said}"
    );
    controller.stop().await;
    site.leave().await;
}

/// 429 with Retry-After, from priority and fairness: our deletions share one seat, and a slow webhook makes each of them
/// keep it for a while.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_throttles() {
    let Some(plane) = Plane::take().await else { return };
    let site = Site::start(plane, N_NODES, 3).await;
    site.wait_all(V1).await;
    create::<PriorityLevelConfiguration>(&site, one_seat()).await;
    create::<FlowSchema>(&site, our_deletions()).await;
    let webhook = Webhook::slow(Duration::from_millis(1500)).await;
    let configuration = webhook.configuration_for("slow", "DELETE", UPGRADER);
    create::<ValidatingWebhookConfiguration>(&site, configuration).await;

    let controller = site.controller(&[]).await;
    site.set_image(V2).await;
    site.wait_all(V2).await;

    let mut refused: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
    for write in site.writes() {
        if write.is_pod_deletion() && write.response_status.code == 429 {
            refused
                .entry(write.object_ref.name)
                .or_default()
                .push(write.received_at);
        }
    }
    assert!(!refused.is_empty(), "nothing was throttled");
    for (pod, times) in &refused {
        for pair in times.windows(2) {
            let apart = pair[1].duration_since(pair[0]);
            // What Retry-After says; the clocks of two servers need not agree to the millisecond.
            assert!(
                apart >= SignedDuration::from_millis(950),
                "{pod} again after {apart}"
            );
        }
    }
    remove::<ValidatingWebhookConfiguration>(&site, "slow").await;
    remove::<FlowSchema>(&site, "our-deletions").await;
    remove::<PriorityLevelConfiguration>(&site, "one-seat").await;
    ends_well(site, controller).await;
}

fn one_seat() -> Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "one-seat"},
        "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0,
            "limitResponse": {"type": "Reject"},
        }},
    })
}

fn our_deletions() -> Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
        "metadata": {"name": "our-deletions"},
        "spec": {
            "matchingPrecedence": 50,
            "priorityLevelConfiguration": {"name": "one-seat"},
            "rules": [{
                "subjects": [{"kind": "User", "user": {"name": UPGRADER}}],
                "resourceRules": [{"verbs": ["delete"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["*"]}],
            }],
        },
    })
}

/// With our own DaemonSet controller, so that the creations are ours too.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_denies_every_third_creation() {
    let Some((site, controller)) = with_our_daemonset_controller().await else {
        return;
    };
    let webhook = Webhook::denying().await;
    create::<ValidatingWebhookConfiguration>(&site, webhook.configuration("every-third", "CREATE")).await;
    // The API server has to take notice of it.
    eventually("it denies", || async {
        let pods = site.pods();
        let probe = serde_json::from_value(json!({
            "metadata": {"name": "probe"}, "spec": {"containers": [{"name": "probe", "image": "probe"}]},
        }));
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let _ = pods.create(&dry_run, &probe.unwrap()).await;
        webhook.n_denied() > 0
    })
    .await;
    site.set_image(V2).await;
    site.wait_all(V2).await;
    assert!(webhook.n_denied() > 1, "it denied {}", webhook.n_denied());
    remove::<ValidatingWebhookConfiguration>(&site, "every-third").await;
    our_daemonset_controller_ends_well(site, controller).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_used_up() {
    let Some((site, controller)) = with_our_daemonset_controller().await else {
        return;
    };
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"pods": "3"}}});
    let quotas: Api<ResourceQuota> = Api::namespaced(site.client.clone(), "default");
    quotas
        .create(&PostParams::default(), &serde_json::from_value(quota).unwrap())
        .await
        .unwrap();
    eventually("the quota counts", || async {
        let quota = quotas.get("few").await.unwrap();
        let used = quota.status.and_then(|status| status.used).unwrap_or_default();
        used.get("pods").is_some_and(|used| used.0 == N_NODES.to_string())
    })
    .await;
    site.set_image(V2).await;
    // The first pod goes and cannot come back: the rollout stands still, and says why.
    site.wait_for_event("FailedCreate", "exceeded quota").await;
    assert_eq!(site.judge(&[UPGRADER]).most_down, 1);
    quotas
        .patch(
            "few",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"hard": {"pods": "100"}}})),
        )
        .await
        .unwrap();
    site.wait_all(V2).await;
    quotas.delete("few", &DeleteParams::default()).await.unwrap();
    our_daemonset_controller_ends_well(site, controller).await;
}

/// users.md W17: whoever comes after one that was killed between a deletion and the creation that follows learns from what is
/// there what to do, at once: nothing that was expected is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn the_controller_is_killed_after_a_deletion() {
    let Some((site, mut controller)) = with_our_daemonset_controller().await else {
        return;
    };
    let kubeconfig = site.plane.authorize(&OUR_RIGHTS, None).await;
    site.set_image(V2).await;
    for n_done in 1..=2 {
        eventually("a pod is on its way out", || async {
            let pods = site.pods().list(&ListParams::default()).await.unwrap();
            let mut goes = pods.iter().map(|pod| pod.metadata.deletion_timestamp.is_some());
            goes.any(|goes| goes)
        })
        .await;
        controller.kill().await;
        controller = site.controller_as(&kubeconfig, &BOTH).await;
        site.wait_running(V2, n_done).await;
    }
    site.wait_all(V2).await;
    our_daemonset_controller_ends_well(site, controller).await;
}

/// Ours in place of the control plane's, and what updates pods beside it.
const BOTH: [&str; 3] = ["--controllers", "native-daemonset,daemon-pod-updater", "--force"];
const OUR_RIGHTS: [Controller; 2] = [Controller::NativeDaemonSet, Controller::DaemonPodUpdater];

/// The control plane's own DaemonSet controller is off, ours does its work.
async fn with_our_daemonset_controller() -> Option<(Site, Background)> {
    let mut plane = Plane::take().await?;
    plane
        .control_plane()
        .restart_controller_manager(&["daemonset-controller"])
        .await;
    let site = Site::start(plane, N_NODES, 1).await;
    let kubeconfig = site.plane.authorize(&OUR_RIGHTS, None).await;
    let controller = site.controller_as(&kubeconfig, &BOTH).await;
    site.wait_all(V1).await;
    Some((site, controller))
}

async fn our_daemonset_controller_ends_well(mut site: Site, controller: Background) {
    site.expect_well(&[UPGRADER]);
    controller.stop().await;
    site.plane.control_plane().restart_controller_manager(&[]).await;
    site.leave().await;
}

async fn create<K>(site: &Site, object: Value)
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + std::fmt::Debug,
{
    let api: Api<K> = Api::all(site.client.clone());
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

async fn remove<K>(site: &Site, name: &str)
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + std::fmt::Debug,
{
    let api: Api<K> = Api::all(site.client.clone());
    api.delete(name, &DeleteParams::default()).await.unwrap();
}
