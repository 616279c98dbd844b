//! The API server of a real control plane asks the kubelets of simulated nodes.

use super::Plane;
use crate::containers;
use crate::world::{World, kubectl_is_there};

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_exec_with_the_kubectl_of_this_machine() {
    if !kubectl_is_there() {
        return;
    }
    let Some(plane) = Plane::take().await else { return };
    containers::logs_and_exec(World::real(plane, "kubectl".into(), &containers::NODES, None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_exec_with_the_kubectl_of_the_same_release() {
    let Some(plane) = Plane::take().await else { return };
    let kubectl = plane.kubectl();
    containers::logs_and_exec(World::real(plane, kubectl, &containers::NODES, None).await).await;
}
