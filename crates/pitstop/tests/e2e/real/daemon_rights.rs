//! The controllers get exactly the rights that `pitstop manifests` asks for: each is taken away in turn, and each is missed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use pitstop::manifests::{self, Rule, Scope};
use pitstop_api::{keys, reasons};
use pitstop_controller::Controller;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{Duration, sleep};

use super::Plane;
use super::account::UPGRADER;
use super::site::{NAME, Site, V1, eventually};
use super::webhook::Webhook;
use crate::background::Background;

/// A DaemonSet under OTA.
const OTA: &str = "owned";
/// A DaemonSet whose rollouts fail.
const STUCK: &str = "stuck";
/// A DaemonSet whose pods stay.
const STAYS: &str = "stays";
/// Few nodes and a large budget: the rights are the same.
const N_NODES: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn each_right_of_the_upgrade_is_needed() {
    let Some(plane) = Plane::take().await else { return };
    let site = Site::start(plane, N_NODES, N_NODES).await;
    site.wait_all(V1).await;
    let rules: Vec<&Rule> = manifests::rules_for(&[Controller::DaemonPodUpdater]).collect();
    take_each_away(&site, &[Controller::DaemonPodUpdater], &rules, &[]).await;
    for name in [OTA, STUCK, STAYS] {
        let deleted = site.daemonsets().delete(name, &DeleteParams::background()).await;
        deleted.unwrap();
    }
    site.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_of_the_daemonset_controller_is_needed() {
    let Some(mut plane) = Plane::take().await else {
        return;
    };
    let theirs = ["daemonset-controller"];
    plane.control_plane().restart_controller_manager(&theirs).await;
    let mut site = Site::start(plane, N_NODES, N_NODES).await;
    let arguments = ["--controllers", "native-daemonset,daemon-pod-updater"];
    let both = [Controller::NativeDaemonSet, Controller::DaemonPodUpdater];
    let patch = json!({"spec": {"revisionHistoryLimit": 1}});
    site.daemonsets()
        .patch(NAME, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    // The other rules are those of the upgrade, which has shown that it needs them.
    let of_the_upgrade: Vec<&Rule> = manifests::rules_for(&[Controller::DaemonPodUpdater]).collect();
    let mut rules: Vec<&Rule> = manifests::rules_for(&both).collect();
    rules.retain(|rule| !of_the_upgrade.contains(rule));
    assert!(!rules.is_empty());
    take_each_away(&site, &both, &rules, &arguments).await;
    site.plane.control_plane().restart_controller_manager(&[]).await;
    for name in [OTA, STUCK, STAYS] {
        let deleted = site.daemonsets().delete(name, &DeleteParams::background()).await;
        deleted.unwrap();
    }
    site.leave().await;
}

async fn take_each_away(site: &Site, controllers: &[Controller], rules: &[&Rule], arguments: &[&str]) {
    let is_native = controllers.contains(&Controller::NativeDaemonSet);
    let controller = start_without(site, controllers, arguments, None).await;
    let steps = Steps::default();
    for _ in 0..4 {
        steps.take(site, is_native).await;
    }
    let said = controller.said();
    assert!(!said.contains("not allowed to"), "with all rights: {said}");
    controller.kill().await;
    for rule in rules {
        // What became of a pod is looked up only when it is in doubt.
        let makes_doubts = (rule.verb, rule.path().as_str()) == ("get", "pods");
        let in_the_way = if makes_doubts {
            Some(in_the_way_of_deletions(site).await)
        } else {
            None
        };
        let controller = start_without(site, controllers, arguments, Some(rule)).await;
        let missed = format!("{} of {}", rule.verb, rule.path());
        let notices = eventually(&missed, || async { is_missed(rule, &controller.said()) });
        let going_on = async {
            loop {
                steps.take(site, is_native).await;
            }
        };
        tokio::select! {
            () = notices => {}
            () = going_on => {}
        }
        if in_the_way.is_some() {
            let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(site.client.clone());
            webhooks.delete("broken", &DeleteParams::default()).await.unwrap();
        }
        controller.kill().await;
    }
}

/// A webhook that answers our deletions with errors by turns.
async fn in_the_way_of_deletions(site: &Site) -> Webhook {
    let webhook = Webhook::broken().await;
    let configuration = webhook.configuration_for("broken", "DELETE", UPGRADER);
    let configuration = serde_json::from_value(configuration).unwrap();
    Api::<ValidatingWebhookConfiguration>::all(site.client.clone())
        .create(&PostParams::default(), &configuration)
        .await
        .unwrap();
    webhook
}

/// Does it say that this right is missing?
pub(super) fn is_missed(rule: &Rule, said: &str) -> bool {
    let group = rule.group;
    said.contains(&format!(
        "lacks verb \"{}\" on resource \"{}\" (API group \"{group}\")",
        rule.verb,
        rule.path()
    ))
}

async fn start_without(
    site: &Site,
    controllers: &[Controller],
    arguments: &[&str],
    without: Option<&Rule>,
) -> Background {
    let leases: Api<Lease> = Api::namespaced(site.client.clone(), "kube-system");
    // Only then it is made anew.
    let _ = leases
        .delete("pitstop-controller", &DeleteParams::default())
        .await;
    let kubeconfig = site.plane.authorize(controllers, without).await;
    if let Some(rule) = without {
        eventually("the right is taken away", || is_denied(&site.client, rule)).await;
    }
    let mut all = arguments.to_vec();
    // The other lease is there, although that DaemonSet controller is off; it is read only by those who respect it.
    let respects = without.is_some_and(|rule| rule.name == "kube-controller-manager");
    if controllers.contains(&Controller::NativeDaemonSet) && !respects {
        all.push("--force");
    }
    site.spawn_controller(&kubeconfig, &all)
}

pub(super) async fn is_denied(client: &Client, rule: &Rule) -> bool {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let namespace = match rule.scope {
        Scope::Cluster => None,
        Scope::Namespace(namespace) => text(namespace),
    };
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(UPGRADER.to_owned()),
            resource_attributes: Some(ResourceAttributes {
                verb: text(rule.verb),
                group: text(rule.group),
                resource: text(rule.resource),
                subresource: text(rule.subresource),
                name: text(rule.name),
                namespace,
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await.unwrap();
    !answer.status.is_some_and(|status| status.allowed)
}

/// What people do to a DaemonSet, one thing after the other, over and over.
#[derive(Default)]
struct Steps {
    taken: AtomicUsize,
    names: Names,
}

/// Names of revisions that were there.
#[derive(Default)]
pub(super) struct Names(Mutex<BTreeSet<String>>);

impl Steps {
    async fn take(&self, site: &Site, is_native: bool) {
        let step = self.taken.fetch_add(1, Ordering::Relaxed);
        // Forth and back over more versions than the history keeps.
        site.set_image(&format!("example.com/agent:{}", step % 4)).await;
        an_owner_wants_images(site, step).await;
        a_rollout_fails(site, step).await;
        pods_stay(site, step).await;
        if is_native {
            if step.is_multiple_of(3) {
                orphan_a_pod(site).await;
            }
            let revisions = Api::namespaced(site.client.clone(), "default");
            self.names.take(&revisions).await;
        }
        // Time for the controller, which may not be able to finish.
        sleep(Duration::from_millis(1500)).await;
    }
}

impl Names {
    /// Somebody else's objects have the names that revisions had which the history no longer keeps.
    pub(super) async fn take(&self, revisions: &Api<ControllerRevision>) {
        let list = revisions.list(&ListParams::default()).await.unwrap();
        let there: BTreeSet<String> = list.iter().map(ResourceExt::name_any).collect();
        let mut seen = self.0.lock().await;
        for name in seen.difference(&there) {
            let other = json!({"metadata": {"name": name}, "revision": 1, "data": {"of": "somebody else"}});
            let other = serde_json::from_value(other).unwrap();
            // The controller may be faster.
            let _ = revisions.create(&PostParams::default(), &other).await;
        }
        seen.extend(there);
    }
}

/// A DaemonSet under OTA whose newest version cannot be pulled, and the owner of a node who asks for its images again and
/// again: pods say that it waits, and Jobs come and go.
async fn an_owner_wants_images(site: &Site, step: usize) {
    let template = json!({
        "metadata": {"labels": {"app": OTA}},
        "spec": {"containers": [{"name": "c", "image": format!("bad/owned:{}", step / 2 % 3)}]},
    });
    let daemonset = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": OTA, "annotations": {(keys::OPENYURT_UPDATE_STRATEGY): "OTA"}},
        "spec": {
            "selector": {"matchLabels": {"app": OTA}}, "updateStrategy": {"type": "OnDelete"}, "template": template,
        },
    });
    let force = PatchParams::apply("e2e").force();
    site.daemonsets()
        .patch(OTA, &force, &Patch::Apply(daemonset))
        .await
        .unwrap();
    let list = ListParams::default().labels(&format!("app={OTA}"));
    for pod in site.pods().list(&list).await.unwrap().iter().take(1) {
        let status = pod.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let need = conditions
            .iter()
            .find(|c| c.type_ == reasons::POD_NEED_UPGRADE && c.status == "True");
        let Some(need) = need else { continue };
        let wish = json!({
            "type": reasons::POD_IMAGE_READY, "status": "False", "reason": null, "message": need.message,
        });
        let patch = json!({"status": {"conditions": [wish]}});
        // It may be gone meanwhile.
        let _ = site
            .pods()
            .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch))
            .await;
    }
}

/// A DaemonSet whose newest version cannot be pulled every so often, which goes back then by itself.
async fn a_rollout_fails(site: &Site, step: usize) {
    let image = if step % 6 < 2 {
        "example.com/stuck:1"
    } else {
        "bad/stuck:2"
    };
    let daemonset = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": STUCK, "annotations": {
            (keys::OPENYURT_UPDATE_STRATEGY): "AdvancedRollingUpdate",
            (keys::PROGRESS_DEADLINE_SECONDS): "1",
            (keys::ON_FAILURE): "Rollback",
        }},
        "spec": {
            "selector": {"matchLabels": {"app": STUCK}},
            "updateStrategy": {"type": "OnDelete"},
            "template": {
                "metadata": {"labels": {"app": STUCK}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
        },
    });
    let force = PatchParams::apply("e2e").force();
    site.daemonsets()
        .patch(STUCK, &force, &Patch::Apply(daemonset))
        .await
        .unwrap();
}

/// A DaemonSet that is updated in place, forth and back.
async fn pods_stay(site: &Site, step: usize) {
    let image = format!("example.com/stays:{}", step / 2 % 2);
    let daemonset = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": STAYS, "annotations": {
            (keys::OPENYURT_UPDATE_STRATEGY): "AdvancedRollingUpdate",
            (keys::POD_UPDATE_POLICY): "InPlaceOnly",
        }},
        "spec": {
            "selector": {"matchLabels": {"app": STAYS}},
            "updateStrategy": {"type": "OnDelete"},
            "template": {
                "metadata": {"labels": {"app": STAYS}},
                "spec": {
                    "readinessGates": [{"conditionType": reasons::INPLACE_UPDATE_READY}],
                    "containers": [{"name": "c", "image": image}],
                },
            },
        },
    });
    let force = PatchParams::apply("e2e").force();
    site.daemonsets()
        .patch(STAYS, &force, &Patch::Apply(daemonset))
        .await
        .unwrap();
}

/// A pod without an owner that the DaemonSet selects: it is adopted.
async fn orphan_a_pod(site: &Site) {
    let list = ListParams::default().labels(&format!("app={NAME}"));
    let pods = site.pods().list(&list).await.unwrap();
    if let Some(pod) = pods.iter().find(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let patch = json!({"metadata": {"ownerReferences": null}});
        // It may be gone meanwhile.
        let _ = site
            .pods()
            .patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch))
            .await;
    }
}
