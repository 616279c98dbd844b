//! The kinds that pitstop brings, on a real API server: it asks a controller that stands by, and gets the same answers.

use std::path::Path;

use pitstop::manifests;
use pitstop_controller::Controller;
use tokio::process::Command;

use super::Plane;
use super::site::eventually;
use crate::background::Background;
use crate::cloneset::play;
use crate::seed_004::FIRST;
use crate::world::World;
use crate::{commands, inplace, predownload};

const CONTROLLERS: [Controller; 2] = [Controller::DaemonPodUpdater, Controller::CloneSet];

#[tokio::test(flavor = "multi_thread")]
async fn clonesets_are_kept_as_openkruise_keeps_them_on_a_real_control_plane() {
    let Some(plane) = Plane::take().await else { return };
    let kubectl = plane.kubectl();
    let world = World::real(plane, kubectl, &["node-1"], None).await;
    let account = world.plane().authorize(&CONTROLLERS, None).await;
    let arguments = [
        "controller",
        "--feature-gates=ResourcesDeletionProtection=true",
        "--metrics-addr=127.0.0.1:0",
        "--webhook-addr=127.0.0.1:0",
        "--webhook-host=127.0.0.1",
    ];
    let webhooks = Background::spawn(world.folder.path(), &account, &arguments);
    eventually("the API server knows the webhooks", || async {
        webhooks.said().contains("webhooks on https://127.0.0.1:")
    })
    .await;
    asks_the_webhooks(&world).await;
    // The manifests are applied again, as those of a controller that runs outside of the cluster.
    let said = webhooks.said();
    let port = said
        .split("webhooks on https://127.0.0.1:")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap();
    let outside = manifests::Options {
        controllers: CONTROLLERS.to_vec(),
        webhook_url: Some(format!("https://127.0.0.1:{port}")),
        ..manifests::Options::default()
    };
    world.plane().install(&outside, None).await;
    asks_the_webhooks(&world).await;
    play(&world).await;
    // Without them nothing of the kind can be written, or read in another version.
    webhooks.stop().await;
    let said = world.kubectl_with(&["apply", "-f", "-"], FIRST).await;
    assert!(said.stderr.contains("failed calling webhook"), "{}", said.stderr);
    forget_kinds(&world.plane().kubectl(), &world.plane().kubeconfig()).await;
    world.stop().await;
}

/// Seed 004: the containers restart, the pods stay; and the commands on a CloneSet.
#[tokio::test(flavor = "multi_thread")]
async fn seed_004_the_container_restarts_and_the_pod_stays_on_a_real_control_plane() {
    let Some(plane) = Plane::take().await else { return };
    let kubectl = plane.kubectl();
    let world = World::real_with_kinds(plane, kubectl, &inplace::NODES).await;
    asks_the_webhooks(&world).await;
    inplace::story(&world, inplace::MIN_READY).await;
    inplace::policies_and_limits(&world).await;
    inplace::resizes(&world).await;
    commands::story(&world).await;
    forget_kinds(&world.plane().kubectl(), &world.plane().kubeconfig()).await;
    world.stop().await;
}

/// Images are there before the containers that need them restart, with the rights that are printed and no others.
#[tokio::test(flavor = "multi_thread")]
async fn images_are_pulled_before_containers_restart_on_a_real_control_plane() {
    let Some(plane) = Plane::take().await else { return };
    let kubectl = plane.kubectl();
    let world = World::real_with_pulls(plane, kubectl, &predownload::NODES).await;
    asks_the_webhooks(&world).await;
    predownload::story(&world).await;
    for crd in [
        "crd/imagepulljobs.apps.kruise.io",
        "crd/nodeimages.apps.kruise.io",
    ] {
        world.kubectl(&["delete", crd, "--timeout=60s"]).await;
    }
    forget_kinds(&world.plane().kubectl(), &world.plane().kubeconfig()).await;
    world.stop().await;
}

/// What the kinds have brought is taken away again.
pub(crate) async fn forget_kinds(kubectl: &Path, kubeconfig: &Path) {
    for kind in [
        "crd/daemonsets.apps.kruise.io",
        "crd/clonesets.apps.kruise.io",
        "crd/statefulsets.apps.kruise.io",
        "mutatingwebhookconfigurations/pitstop-webhooks",
        "validatingwebhookconfigurations/pitstop-webhooks",
    ] {
        let deleted = Command::new(kubectl)
            .env("KUBECONFIG", kubeconfig)
            .args(["delete", kind, "--ignore-not-found", "--timeout=60s"])
            .output()
            .await
            .unwrap();
        assert!(
            deleted.status.success(),
            "{}",
            String::from_utf8_lossy(&deleted.stderr)
        );
    }
}

pub(super) async fn asks_the_webhooks(world: &World) {
    let dry = [
        "apply",
        "--dry-run=server",
        "-f",
        "-",
        "-o",
        "jsonpath={.spec.revisionHistoryLimit}",
    ];
    eventually("it asks them", || async {
        world.kubectl_with(&dry, FIRST).await.stdout == "10"
    })
    .await;
}
