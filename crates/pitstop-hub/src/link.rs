//! The link to the API server: one list, one watch, and whether they are healthy.
//!
//! Source: hub.md B12.

use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::cloud::{Change, CloudError, Page, alive};
use crate::shared::Shared;

/// Pods of one page of a list. Source: hub.md B12.
const PAGE: u32 = 50;
/// How long one page may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Shortest time between two probes: a time that is scaled down to nothing is none.
const SHORTEST: Duration = Duration::from_millis(1);
/// Shortest and longest wait before the link is tried again. Source: hub.md B12.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What is known of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connectivity {
    /// Whether a list was complete and nothing failed since.
    pub(crate) connected: bool,
    /// Since when it is so.
    pub(crate) since: Timestamp,
    /// When pods were last known to be as the API server has them.
    pub(crate) last_sync: Option<Timestamp>,
}

/// The state of the link.
#[derive(Debug)]
pub(crate) struct Link {
    known: Mutex<Connectivity>,
    connected: watch::Sender<bool>,
    lost: Notify,
}

impl Link {
    /// Not connected, with what a process before this one knew.
    pub(crate) fn new(now: Timestamp, last_sync: Option<Timestamp>) -> Self {
        Self {
            known: Mutex::new(Connectivity {
                connected: false,
                since: now,
                last_sync,
            }),
            connected: watch::Sender::new(false),
            lost: Notify::new(),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Connectivity> {
        self.known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn connectivity(&self) -> Connectivity {
        *self.known()
    }

    pub(crate) fn connected(&self) -> bool {
        self.known().connected
    }

    /// Tells changes.
    pub(crate) fn follow(&self) -> watch::Receiver<bool> {
        self.connected.subscribe()
    }

    /// The pods are as the API server has them.
    fn synced(&self, now: Timestamp) {
        self.known().last_sync = Some(now);
    }

    fn up(&self, now: Timestamp) {
        let mut known = self.known();
        known.last_sync = Some(now);
        if !known.connected {
            known.connected = true;
            known.since = now;
        }
        drop(known);
        self.connected
            .send_if_modified(|connected| !std::mem::replace(connected, true));
    }

    fn down(&self, now: Timestamp) {
        let mut known = self.known();
        if known.connected {
            known.connected = false;
            known.since = now;
        }
        drop(known);
        self.connected
            .send_if_modified(|connected| std::mem::replace(connected, false));
    }

    /// A request of a client found the link dead: nobody has to wait for the next probe.
    pub(crate) fn failed(&self, now: Timestamp) {
        if self.connected() {
            self.down(now);
            self.lost.notify_one();
        }
    }
}

/// How following the pods ended.
enum End {
    /// The link is dead.
    Lost(String),
    /// It lives, but the pods have to be listed again.
    Relist,
}

/// Keeps the cache like the API server until told to stop.
pub(crate) async fn run(shared: &Shared, stop: &CancellationToken) {
    tokio::select! {
        // In a fixed order, so that a simulation can be repeated.
        biased;
        () = keep(shared) => {}
        () = stop.cancelled() => {}
    }
}

async fn keep(shared: &Shared) {
    let mut random = StdRng::seed_from_u64(shared.settings.seed);
    let mut wait = BACKOFF.0;
    loop {
        let end = match list(shared).await {
            Ok(version) => {
                wait = BACKOFF.0;
                follow(shared, version).await
            }
            Err(error) => End::Lost(error.to_string()),
        };
        match end {
            // A server that lets us list but ends every watch at once must not be asked in a circle.
            End::Relist => tokio::time::sleep(BACKOFF.0).await,
            End::Lost(error) => {
                let was = shared.link.connected();
                shared.link.down(shared.clock.now());
                if was {
                    tracing::warn!(error, "the API server is out of reach");
                } else {
                    tracing::debug!(error, "the API server is still out of reach");
                }
                tokio::time::sleep(jitter(&mut random, wait)).await;
                wait = (wait * 2).min(BACKOFF.1);
            }
        }
    }
}

/// Anything up to `most`.
pub(crate) fn jitter(random: &mut impl rand::Rng, most: Duration) -> Duration {
    most.mul_f64(random.random_range(0.0..=1.0))
}

/// Lists all pods of this node and takes them for the truth; returns where to watch from.
async fn list(shared: &Shared) -> Result<String, CloudError> {
    let mut pods = Vec::new();
    let mut from: Option<String> = None;
    loop {
        let page = shared.cloud.list_pods(PAGE, from.as_deref());
        let Page {
            pods: some,
            resource_version,
            next,
        } = timeout(PAGE_TIMEOUT, page)
            .await
            .map_err(|_| CloudError::Timeout(PAGE_TIMEOUT))??;
        pods.extend(some);
        from = next.filter(|next| !next.is_empty());
        if from.is_none() {
            let was = shared.link.connected();
            // A loss that was told while this list was under way is older than what it brought.
            let _ = futures::FutureExt::now_or_never(shared.link.lost.notified());
            shared.replace(&pods);
            shared.link.up(shared.clock.now());
            if !was {
                tracing::info!(pods = pods.len(), "connected to the API server");
            }
            return Ok(resource_version);
        }
    }
}

/// Follows changes from a version on.
async fn follow(shared: &Shared, mut version: String) -> End {
    let heartbeat = shared.settings.heartbeat;
    let mut heard = Instant::now();
    let mut probe = tokio::time::interval_at(heard + heartbeat.interval, heartbeat.interval.max(SHORTEST));
    probe.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let opened = timeout(PAGE_TIMEOUT, shared.cloud.watch_pods(&version)).await;
        let mut changes = match opened {
            Ok(Ok(changes)) => changes,
            Ok(Err(CloudError::Expired(_))) => return End::Relist,
            Ok(Err(error)) => return End::Lost(error.to_string()),
            Err(_) => return End::Lost(CloudError::Timeout(PAGE_TIMEOUT).to_string()),
        };
        let opened = Instant::now();
        let ended = loop {
            tokio::select! {
                // In a fixed order, so that a simulation can be repeated.
                biased;
                () = shared.link.lost.notified() => {
                    return End::Lost("a request found the link dead".to_owned());
                }
                change = changes.next() => match change {
                    Some(Ok(change)) => {
                        heard = Instant::now();
                        if let Some(now_at) = shared.apply(change) {
                            version = now_at;
                        }
                        shared.link.synced(shared.clock.now());
                    }
                    Some(Err(CloudError::Expired(_))) => return End::Relist,
                    Some(Err(error)) => return End::Lost(error.to_string()),
                    None => break Instant::now(),
                },
                _ = probe.tick() => {
                    if heard.elapsed() >= heartbeat.watch_silence {
                        return End::Relist;
                    }
                    if heard.elapsed() >= heartbeat.interval
                        && let Err(error) = alive(shared.cloud.as_ref(), heartbeat.timeout).await
                    {
                        return End::Lost(error.to_string());
                    }
                    shared.link.synced(shared.clock.now());
                }
            }
        };
        if ended.duration_since(opened) < Duration::from_secs(1) {
            return End::Relist;
        }
    }
}

/// The version that a change brings, and the pod in it.
pub(crate) fn version_of(change: &Change) -> Option<String> {
    match change {
        Change::Put(pod) | Change::Gone(pod) => crate::pod::PodView::read(pod)
            .ok()
            .map(|view| view.resource_version)
            .filter(|version| !version.is_empty()),
        Change::Bookmark(version) => Some(version.clone()),
    }
}
