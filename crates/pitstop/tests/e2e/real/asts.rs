//! StatefulSets of `apps.kruise.io` on a real API server, beside the native ones.

use super::Plane;
use super::cloneset::{asks_the_webhooks, forget_kinds};
use crate::protection::Scheme;
use crate::world::World;
use crate::{protection, stateful};

/// Seed 002, images in place, and protection.
#[tokio::test(flavor = "multi_thread")]
async fn seed_002_instances_that_work_are_left_alone_on_a_real_control_plane() {
    let Some(plane) = Plane::take().await else { return };
    let kubectl = plane.kubectl();
    let world = World::real_with_kinds(plane, kubectl, &stateful::NODES).await;
    asks_the_webhooks(&world).await;
    stateful::story(&world).await;
    stateful::in_place(&world).await;
    protection::by_labels(&world).await;
    protection::guarded(&world).await;
    protection::by_commands(&world).await;
    protection::by_arbiter(&world, Scheme::Http).await;
    protection::by_arbiter(&world, Scheme::Https).await;
    // The last: it takes fields out of the definition.
    protection::by_annotations(&world).await;
    forget_kinds(&world.plane().kubectl(), &world.plane().kubeconfig()).await;
    world.stop().await;
}
