//! DaemonSets of `apps.kruise.io` on a real API server, beside the native ones.

use super::Plane;
use super::cloneset::{asks_the_webhooks, forget_kinds};
use crate::kruise_daemons;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn daemonsets_of_openkruise_roll_out_on_a_real_control_plane() {
    let Some(plane) = Plane::take().await else { return };
    let kubectl = plane.kubectl();
    let world = World::real_with_kinds(plane, kubectl, &kruise_daemons::NODES).await;
    asks_the_webhooks(&world).await;
    kruise_daemons::story(&world).await;
    forget_kinds(&world.plane().kubectl(), &world.plane().kubeconfig()).await;
    world.stop().await;
}
