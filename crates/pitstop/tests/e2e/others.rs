//! Programs that we did not write run unmodified on the embedded API server: the scheduler and the controllers of
//! Kubernetes in place of ours.

use crate::control_plane::programs;
use crate::world::{World, kubectl_is_there};
use crate::{rolling, workloads};

#[tokio::test(flavor = "multi_thread")]
async fn daemonsets_roll_with_the_real_controller_manager_and_scheduler() {
    let (true, Some(programs)) = (kubectl_is_there(), programs()) else {
        return;
    };
    rolling::seed_003(World::of_others(&programs, &rolling::NODES).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_jobs_and_drains_work_with_the_real_controller_manager_and_scheduler() {
    let (true, Some(programs)) = (kubectl_is_there(), programs()) else {
        return;
    };
    workloads::story(World::of_others(&programs, &workloads::NODES).await).await;
}
