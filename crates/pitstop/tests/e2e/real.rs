//! The same stories on real control planes, which this suite starts: each story has one for itself meanwhile.

use std::path::PathBuf;

use kube::Client;
use pitstop_controller::Controller;
use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit};

use crate::control_plane::{ControlPlane, Tuning, programs};
use crate::world::{World, kubectl_is_there};
use crate::{auto, rolling, workloads};

mod account;
mod asts;
pub(crate) mod cloneset;
mod daemon_rights;
mod faults;
mod hub;
mod kind_rights;
mod kruise_daemons;
mod kubelet;
mod leader;
pub(crate) mod site;
mod webhook;

/// How many control planes there are at once: of the stories that are played at once (`RUST_TEST_THREADS` in
/// `.cargo/config.toml`) some need none.
const N_PLANES: usize = 7;

/// The control planes of this process. Each is started by the first who needs it, and ends with the process.
static PLANES: [Mutex<Shared>; N_PLANES] = [const { Mutex::const_new(Shared::NONE) }; N_PLANES];
/// One permit for each of them.
static TURNS: Semaphore = Semaphore::const_new(N_PLANES);

struct Shared {
    plane: Option<ControlPlane>,
    /// Did the last test leave it as it found it?
    is_clean: bool,
}

impl Shared {
    const NONE: Self = Self {
        plane: None,
        is_clean: true,
    };
}

/// A control plane, for one test alone.
pub(crate) struct Plane {
    shared: MutexGuard<'static, Shared>,
    /// Given back after the lock, so that who has a permit finds one that is free.
    _turn: SemaphorePermit<'static>,
}

impl Plane {
    /// Waits for the turn of this test. `None`: there is no real control plane on this machine, which was said.
    pub(crate) async fn take() -> Option<Self> {
        let programs = programs()?;
        let turn = TURNS.acquire().await.unwrap();
        let mut shared = PLANES.iter().find_map(|plane| plane.try_lock().ok()).unwrap();
        let is_usable = shared.is_clean && shared.plane.as_ref().is_some_and(ControlPlane::is_whole);
        if !is_usable {
            shared.plane = None;
            shared.plane = Some(ControlPlane::start(programs, Tuning::default()).await);
        }
        shared.is_clean = false;
        Some(Self { shared, _turn: turn })
    }

    /// The control plane.
    pub(crate) fn control_plane(&mut self) -> &mut ControlPlane {
        self.shared.plane.as_mut().unwrap()
    }

    pub(crate) fn running(&self) -> &ControlPlane {
        self.shared.plane.as_ref().unwrap()
    }

    /// A client that may do everything.
    pub(crate) async fn client(&self) -> Client {
        self.running().client().await
    }

    /// The kubeconfig of somebody who may do everything.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.running().kubeconfig()
    }

    /// The kubeconfig of pitstop's service account.
    pub(crate) async fn controller_kubeconfig(&self) -> PathBuf {
        self.authorize(&[Controller::DaemonPodUpdater], None).await
    }

    /// The kubectl of the same release.
    pub(crate) fn kubectl(&self) -> PathBuf {
        self.running().programs().join("kubectl")
    }

    /// The next test may go on with this control plane.
    pub(crate) fn leave(mut self) {
        self.shared.is_clean = true;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn seed_001_with_the_kubectl_of_this_machine() {
    if !kubectl_is_there() {
        return;
    }
    let Some(plane) = Plane::take().await else { return };
    auto::seed_001(World::real(plane, "kubectl".into(), &auto::WORKERS, Some(auto::CONTROL_PLANE)).await)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seed_003_with_the_kubectl_of_the_same_release() {
    let Some(plane) = Plane::take().await else { return };
    let kubectl = plane.kubectl();
    rolling::seed_003(World::real(plane, kubectl, &rolling::NODES, None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_jobs_and_drains_with_the_kubectl_of_this_machine() {
    if !kubectl_is_there() {
        return;
    }
    let Some(plane) = Plane::take().await else { return };
    workloads::story(World::real(plane, "kubectl".into(), &workloads::NODES, None).await).await;
}
