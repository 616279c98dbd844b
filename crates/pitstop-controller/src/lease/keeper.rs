//! Carries out what a [`Candidate`] decides.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::SharedClock;
use pitstop_api::keys::FEATURE_GATES;
use pitstop_engine::feature_gates::FeatureGates;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::election::{Candidate, Loss, Moment, Step, TIMING};
use super::{LEASE, LeaseView, NAME, NAMESPACE, read};
use crate::Error;
use crate::api::{Api, Call, CallError, FIELD_MANAGER, Gate, Permission, Resource, Verb};

/// How long one request about the lease may take. Longer than a busy server needs, short enough for a second attempt
/// before writes have to stop.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// How long giving the lease back may take in all.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);
/// How often a lease that is fought over, or that cannot be read, is tried before a program that does not wait is told.
const ATTEMPTS: u32 = 4;

/// Somebody else's lease, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBy {
    /// Who.
    pub holder: String,
    /// When it was renewed last, by the holder's clock; `None`: it does not say.
    pub renewed_at: Option<Timestamp>,
    /// When it runs out unless renewed, by the holder's clock.
    pub expires_at: Option<Timestamp>,
}

/// What one step brought.
pub(crate) enum Turn {
    /// It went well, or it was a wait.
    Done,
    /// The request failed; there will be another attempt.
    Failed(CallError),
    /// The term is over.
    Lost(Loss),
}

/// Holds the lease for one process, or waits for it.
pub(crate) struct Keeper {
    api: Arc<dyn Api>,
    clock: SharedClock,
    identity: String,
    /// Feature gates, for those who ask what would be decided.
    gates: String,
    candidate: Candidate,
    origin: Instant,
    /// What the lease was when it was seen last.
    lease: Option<LeaseView>,
    /// When our term began.
    acquired_at: Option<Timestamp>,
    /// Until when may be written.
    permission: Option<Permission>,
}

impl Keeper {
    /// Speaks for `identity`. `api` must not be the gate that closes when the lease is lost.
    pub(crate) fn new(api: Arc<dyn Api>, clock: SharedClock, identity: &str) -> Self {
        Self {
            api,
            clock,
            identity: identity.to_owned(),
            gates: String::new(),
            candidate: Candidate::new(identity, TIMING),
            origin: Instant::now(),
            lease: None,
            acquired_at: None,
            permission: None,
        }
    }

    /// As it is, with these gates written into the lease while it is held.
    pub(crate) fn telling(mut self, gates: &FeatureGates) -> Self {
        self.gates = gates.to_string();
        self
    }

    fn now(&self) -> Moment {
        self.origin.elapsed()
    }

    /// Until when may be written; `None`: the lease is not ours.
    pub(crate) fn permission(&self) -> Option<Permission> {
        self.permission.filter(|_| self.candidate.is_leading())
    }

    /// Was the lease seen, or seen to be missing?
    pub(crate) fn has_seen(&self) -> bool {
        self.candidate.has_seen()
    }

    /// Who else holds the lease.
    pub(crate) fn held_by(&self) -> Option<HeldBy> {
        let holder = self.candidate.holder()?.to_owned();
        let lease = self.lease.as_ref()?;
        Some(HeldBy {
            holder,
            renewed_at: lease.spec.renew_time,
            expires_at: lease.expires_at(),
        })
    }

    /// Takes the lease, or says who has it. Waits only for one whose holder seems to be gone.
    ///
    /// # Errors
    /// Somebody else holds it, or the API server refuses.
    pub(crate) async fn acquire(&mut self) -> Result<(), Error> {
        let mut seen_first: Option<LeaseView> = None;
        let mut n_news = 0;
        while self.permission().is_none() {
            match self.turn().await {
                Turn::Done => {}
                Turn::Failed(error) if error.is_news() && n_news < ATTEMPTS => n_news += 1,
                Turn::Failed(error) => return Err(acquiring(error)),
                Turn::Lost(loss) => return Err(super::lost(loss.to_string())),
            }
            let (Some(held), Some(lease)) = (self.held_by(), &self.lease) else {
                continue;
            };
            // Whether the time in the lease seems recent may differ from the truth by the clocks' difference. It
            // decides only between refusing at once and watching for a while; it never takes a lease.
            let is_alive =
                lease.is_fresh(self.clock.now()) || seen_first.as_ref().is_some_and(|l| l != lease);
            if is_alive {
                return Err(held.into());
            }
            if seen_first.is_none() {
                info!(
                    holder = held.holder,
                    "its holder seems to be gone: watching the lease until it has run out"
                );
                seen_first.clone_from(&self.lease);
            }
        }
        Ok(())
    }

    /// Renews the lease until it is lost, and says how it came about. The gate learns of each renewal.
    pub(crate) async fn keep(&mut self, gate: &Gate) -> String {
        loop {
            match self.turn().await {
                Turn::Done => {
                    if let Some(permission) = self.permission() {
                        gate.renewed(permission);
                    }
                }
                Turn::Failed(error) if error.is_news() => debug!(%error, "lease changed, looking again"),
                Turn::Failed(error) => {
                    let may_write = gate.is_open();
                    warn!(%error, may_write, "lease not renewed");
                }
                Turn::Lost(loss) => return loss.to_string(),
            }
        }
    }

    /// Gives the lease back, so that a successor need not wait. Failure is harmless: it runs out. Nothing may be
    /// written any more when this is called.
    pub(crate) async fn release(&mut self) {
        self.permission = None;
        let release = async {
            // What was sent before may still arrive and change the version once.
            for _ in 0..ATTEMPTS {
                match self.release_once().await {
                    Ok(()) => return,
                    Err(error) if error.is_news() => {}
                    Err(error) => return debug!(%error, "lease not released"),
                }
            }
        };
        if timeout(RELEASE_WITHIN, release).await.is_err() {
            debug!("lease not released in time");
        }
    }

    async fn release_once(&self) -> Result<(), CallError> {
        let Some(lease) = read(self.api.as_ref(), NAME).await? else {
            return Ok(());
        };
        if lease.holder() != self.identity {
            return Ok(());
        }
        let spec = json!({ "holderIdentity": null, "renewTime": null, "acquireTime": null });
        let call = patch(&lease.metadata.resource_version, &spec, "");
        self.api.send(call).await?;
        info!(lease = LEASE, "lease given back");
        Ok(())
    }

    /// Carries out the next step.
    pub(crate) async fn turn(&mut self) -> Turn {
        let step = self.candidate.next(self.now());
        match &step {
            Step::WaitUntil(until) => {
                sleep_until(self.origin + *until).await;
                return Turn::Done;
            }
            Step::Lost(loss) => return Turn::Lost(loss.clone()),
            Step::Read | Step::Create | Step::TakeOver { .. } | Step::Renew { .. } => {}
        }
        let begun_at = self.now();
        self.candidate.begins(&step);
        let answer = timeout(ANSWER_WITHIN, self.ask(&step, begun_at)).await;
        match answer.unwrap_or_else(|_| Err(unanswered())) {
            Ok(()) => Turn::Done,
            Err(error) => {
                if error.is_news() {
                    self.candidate.conflicted(begun_at);
                } else {
                    let now = self.now();
                    self.candidate.failed(begun_at, now, error.retry_after());
                }
                Turn::Failed(error)
            }
        }
    }

    async fn ask(&mut self, step: &Step, begun_at: Moment) -> Result<(), CallError> {
        let wall = self.clock.now();
        let permission = Permission {
            until: self.origin + begun_at + TIMING.write_for,
            until_wall: wall.checked_add(TIMING.write_for).unwrap_or(Timestamp::MAX),
        };
        let call = match step {
            Step::Create => create(&self.spec(wall, wall, 0), &self.gates),
            Step::TakeOver {
                resource_version,
                transitions,
            } => patch(
                resource_version,
                &self.spec(wall, wall, *transitions),
                &self.gates,
            ),
            Step::Renew {
                resource_version,
                transitions,
            } => {
                let acquired_at = self.acquired_at.unwrap_or(wall);
                patch(
                    resource_version,
                    &self.spec(acquired_at, wall, *transitions),
                    &self.gates,
                )
            }
            Step::Read | Step::WaitUntil(_) | Step::Lost(_) => {
                let lease = read(self.api.as_ref(), NAME).await?;
                let record = lease.as_ref().map(LeaseView::record);
                self.lease = lease;
                self.candidate.read(record, begun_at, self.now());
                return Ok(());
            }
        };
        let lease = LeaseView::from_json(&self.api.send(call).await?)?;
        let was_leading = self.candidate.is_leading();
        self.candidate.wrote(lease.record(), begun_at, self.now());
        self.permission = Some(permission);
        if was_leading {
            debug!("lease renewed");
        } else {
            self.acquired_at = Some(wall);
            info!(
                lease = LEASE,
                identity = self.identity,
                term = lease.spec.lease_transitions,
                "lease taken"
            );
        }
        self.lease = Some(lease);
        Ok(())
    }

    /// What we write. The time of renewal always differs from the one before: a write that changes nothing makes no
    /// new version, and others would think that we are gone.
    fn spec(&self, acquired_at: Timestamp, now: Timestamp, transitions: u32) -> Value {
        let before = self.lease.as_ref().and_then(|lease| lease.spec.renew_time);
        let is_same = before.is_some_and(|before| micros(before) == micros(now));
        let renewed_at = if is_same {
            now.checked_add(SignedDuration::from_micros(1)).unwrap_or(now)
        } else {
            now
        };
        json!({
            "holderIdentity": self.identity,
            "leaseDurationSeconds": TIMING.lasts.as_secs(),
            "acquireTime": format!("{acquired_at:.6}"),
            "renewTime": format!("{renewed_at:.6}"),
            "leaseTransitions": transitions,
        })
    }
}

/// As precise as the API keeps it.
fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

fn create(spec: &Value, gates: &str) -> Call {
    let mut metadata = json!({ "name": NAME, "namespace": NAMESPACE });
    if !gates.is_empty() {
        metadata["annotations"] = json!({ FEATURE_GATES: gates });
    }
    Call::collection(Verb::Create, Resource::Leases, Some(NAMESPACE))
        .with_body(json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": spec,
        }))
        .with_query("fieldManager", FIELD_MANAGER)
}

fn patch(resource_version: &str, spec: &Value, gates: &str) -> Call {
    let gates = (!gates.is_empty()).then_some(gates);
    let metadata = json!({ "resourceVersion": resource_version, "annotations": { FEATURE_GATES: gates } });
    Call::object(Verb::MergePatch, Resource::Leases, Some(NAMESPACE), NAME)
        .with_body(json!({ "metadata": metadata, "spec": spec }))
        .with_query("fieldManager", FIELD_MANAGER)
}

fn unanswered() -> CallError {
    CallError::Unreachable(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))
}

/// What a program is told that cannot get the lease.
pub(crate) fn acquiring(source: CallError) -> Error {
    Error::Api {
        doing: "acquiring the lease kube-system/pitstop-controller",
        source,
    }
}

impl From<HeldBy> for Error {
    fn from(held: HeldBy) -> Self {
        Self::LeaseHeld {
            lease: LEASE.to_owned(),
            holder: held.holder,
            renewed_at: held.renewed_at.unwrap_or_default(),
            expires_at: held.expires_at.unwrap_or_default(),
        }
    }
}
