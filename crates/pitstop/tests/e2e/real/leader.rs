//! Two controllers, one lease: there are never two that write, whatever happens to the one that leads.
//!
//! Source: design.md section 5, S1 and S8; the times of a hand-over: `lease::election` of the controllers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::DeleteParams;
use pitstop_api::{Clock, SystemClock};
use pitstop_controller::{Config, Controller, Phase, Replica};
use tokio::task::JoinHandle;

use super::Plane;
use super::account::UPGRADER;
use super::site::{Site, V1, V2, V3, eventually};
use crate::audit::Write;
use crate::background::Background;
use crate::skewed::Skewed;

const N_NODES: usize = 8;
const OTHER: &str = "system:serviceaccount:pitstop-system:other";
const BOTH: [&str; 2] = [UPGRADER, OTHER];
const AFTER_A_CRASH: SignedDuration = SignedDuration::from_secs(15);
const AFTER_A_STOP: SignedDuration = SignedDuration::from_secs(2);
const WAITING: &str = "waiting for the lease kube-system/pitstop-controller, held by ";

/// A rollout on which a leader works, and a second controller that waits for its lease.
struct Two {
    site: Site,
    leader: Background,
    standby: Background,
}

impl Two {
    async fn half_way() -> Option<Self> {
        let site = Site::start(Plane::take().await?, N_NODES, 1).await;
        site.wait_all(V1).await;
        let leader = site.controller(&[]).await;
        let other = site.plane.second_account("other").await;
        let standby = stand_by(&site, &other).await;
        site.set_image(V2).await;
        site.wait_running(V2, 2).await;
        Some(Self {
            site,
            leader,
            standby,
        })
    }
}

async fn stand_by(site: &Site, kubeconfig: &Path) -> Background {
    let standby = site.spawn_controller(kubeconfig, &[]);
    eventually("it stands by", || async { standby.said().contains(WAITING) }).await;
    standby
}

#[tokio::test(flavor = "multi_thread")]
async fn another_takes_over_from_one_that_crashed() {
    let Some(two) = Two::half_way().await else { return };
    let killed_at = SystemClock.now();
    two.leader.kill().await;
    taken_over_within(AFTER_A_CRASH, killed_at, two.site, two.standby).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_takes_over_at_once_from_one_that_ends() {
    let Some(two) = Two::half_way().await else { return };
    let told_at = SystemClock.now();
    two.leader.stop().await;
    taken_over_within(AFTER_A_STOP, told_at, two.site, two.standby).await;
}

/// The standby leads so soon after the other one went, and ends the rollout.
async fn taken_over_within(limit: SignedDuration, gone_at: Timestamp, site: Site, mut standby: Background) {
    standby.starts_to_lead().await;
    let taken_at = takeover(&site.writes(), OTHER).answered_at;
    assert!(
        taken_at.duration_since(gone_at) < limit,
        "gone at {gone_at}, taken at {taken_at}"
    );
    site.wait_all(V2).await;
    site.expect_well(&BOTH);
    standby.stop().await;
    site.leave().await;
}

/// As on a machine that was suspended, or that swaps: it goes on where it was, and does not know that time has passed.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_stopped_writes_nothing_when_it_goes_on() {
    let Some(two) = Two::half_way().await else { return };
    let (site, mut first, mut second) = (two.site, two.leader, two.standby);
    first.signal("STOP").await;
    second.starts_to_lead().await;
    // The new leader is at work when the old one wakes up.
    let n_done = site.n_running(V2).await;
    site.wait_running(V2, n_done + 1).await;
    first.signal("CONT").await;
    eventually("it has noticed", || async { first.said().contains("is lost") }).await;
    site.wait_all(V2).await;
    expect_silent(&site.writes(), UPGRADER, &takeover(&site.writes(), OTHER));

    // And the other way round: the one that lost it is as good a standby as any.
    site.set_image(V3).await;
    site.wait_running(V3, 1).await;
    second.signal("STOP").await;
    let stopped_at = SystemClock.now();
    first.starts_to_lead().await;
    let n_done = site.n_running(V3).await;
    site.wait_running(V3, n_done + 1).await;
    second.signal("CONT").await;
    eventually("it has noticed", || async { second.said().contains("is lost") }).await;
    site.wait_all(V3).await;
    let writes = site.writes();
    let again = writes.partition_point(|write| write.answered_at < stopped_at);
    expect_silent(&writes, OTHER, &takeover(&writes[again..], UPGRADER));

    site.expect_well(&BOTH);
    first.stop().await;
    second.stop().await;
    site.leave().await;
}

/// The clock of one machine is 5 s ahead, that of the other 5 s behind, and then they are set right.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_may_differ() {
    let Some(plane) = Plane::take().await else { return };
    let site = Site::start(plane, N_NODES, 1).await;
    site.wait_all(V1).await;
    let kubeconfig = site.plane.controller_kubeconfig().await;
    let other = site.plane.second_account("other").await;
    let (ahead, behind) = (skewed_by(5), skewed_by(-5));
    let first = Candidate::start(&site, kubeconfig, &ahead).await;
    eventually("the first leads", || async { holder(&site).await == first.name }).await;
    let second = Candidate::start(&site, other.clone(), &behind).await;
    site.set_image(V2).await;
    site.wait_running(V2, 1).await;
    expect_skew(&site, &first.name, 5).await;
    // Set right in the middle of a term, once forth and once back.
    ahead.set(0);
    behind.set(0);
    site.wait_running(V2, 3).await;
    ahead.set(5);
    behind.set(-5);

    // A crash, as far as the lease is concerned: nobody gives it back.
    let crashed_at = SystemClock.now();
    first.crash().await;
    eventually("the second leads", || async {
        holder(&site).await == second.name
    })
    .await;
    expect_skew(&site, &second.name, -5).await;
    let taken = takeover(&site.writes(), OTHER);
    assert!(
        taken.answered_at.duration_since(crashed_at) < AFTER_A_CRASH,
        "{taken:?}"
    );
    // Nobody else ever wrote the lease meanwhile: no clock made the second one take it from a leader that was alive.
    let before = site.writes();
    let stolen = before.iter().any(|write| {
        write.is_of_the_lease() && write.user.username == OTHER && write.received_at < crashed_at
    });
    assert!(!stolen, "it was taken from a leader that was alive");

    // From one whose clock is behind to one whose clock is ahead.
    let third = Candidate::start(&site, site.plane.controller_kubeconfig().await, &ahead).await;
    site.wait_running(V2, 5).await;
    second.crash().await;
    eventually("the third leads", || async { holder(&site).await == third.name }).await;
    site.wait_all(V2).await;
    site.expect_well(&BOTH);
    third.crash().await;
    // The next one need not wait for it.
    let leases = leases(&site);
    leases
        .delete("pitstop-controller", &DeleteParams::default())
        .await
        .unwrap();
    site.leave().await;
}

fn skewed_by(seconds: i64) -> Arc<Skewed> {
    Skewed::by(seconds, Arc::new(SystemClock))
}

/// The first write with which `user` has the lease.
fn takeover(writes: &[Write], user: &str) -> Write {
    let mut of_the_lease = writes.iter().filter(|write| write.is_of_the_lease());
    of_the_lease
        .find(|write| write.user.username == user && write.is_done())
        .cloned()
        .unwrap()
}

/// After that write, `user` has changed nothing: all that it sent was its renewal, and that was refused.
fn expect_silent(writes: &[Write], user: &str, taken: &Write) {
    let after: Vec<&Write> = writes
        .iter()
        .filter(|write| write.user.username == user && write.received_at >= taken.answered_at)
        .collect();
    for write in after {
        let is_refused_renewal = write.is_of_the_lease() && write.response_status.code == 409;
        assert!(
            is_refused_renewal,
            "{user} wrote after it had lost the lease: {write:?}"
        );
    }
    // It did write before.
    let before = |write: &&Write| write.user.username == user && write.answered_at < taken.answered_at;
    assert!(writes.iter().any(|write| before(&write)));
}

fn leases(site: &Site) -> Api<Lease> {
    Api::namespaced(site.client.clone(), "kube-system")
}

async fn holder(site: &Site) -> String {
    let lease = leases(site).get_opt("pitstop-controller").await.unwrap();
    let holder = lease.and_then(|lease| lease.spec?.holder_identity);
    holder.unwrap_or_default()
}

/// The lease was renewed by this clock indeed.
async fn expect_skew(site: &Site, name: &str, seconds: i64) {
    let spec = leases(site)
        .get("pitstop-controller")
        .await
        .unwrap()
        .spec
        .unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some(name));
    let renewed_at = spec.renew_time.unwrap().0;
    let off = renewed_at.duration_since(SystemClock.now());
    // Renewed 2 s ago at most, and some time for a busy machine.
    let range = SignedDuration::from_secs(seconds - 4)..=SignedDuration::from_secs(seconds);
    assert!(range.contains(&off), "renewed {off:#} from now");
}

/// A controller in this process, with a clock of its own.
struct Candidate {
    name: String,
    task: JoinHandle<()>,
}

impl Candidate {
    async fn start(site: &Site, kubeconfig: PathBuf, clock: &Arc<Skewed>) -> Self {
        let name = format!("with-skew-{}", clock.seconds());
        let clock: Arc<dyn Clock> = Arc::<Skewed>::clone(clock);
        let mut config = Config::new(clock, name.clone(), 1);
        config.controllers = BTreeSet::from([Controller::DaemonPodUpdater]);
        let client = site.plane.running().client_of(&kubeconfig).await;
        let mut replica = Replica::start(client, config).await.unwrap();
        let is_free = holder(site).await.is_empty();
        let first = replica.next().await.unwrap();
        assert_eq!(matches!(first, Phase::Leading), is_free, "{first:?}");
        let task = tokio::spawn(async move {
            loop {
                replica.next().await.unwrap();
            }
        });
        Self { name, task }
    }

    /// Ends it without a word to anybody.
    async fn crash(self) {
        self.task.abort();
        let ended = self.task.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()), "it failed before");
    }
}
