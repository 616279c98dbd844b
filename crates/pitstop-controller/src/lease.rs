//! Only one pitstop controller at a time, by the Lease `kube-system/pitstop-controller`; and the question whether the
//! cluster has a DaemonSet controller of its own.
//!
//! What to do is decided by [`decide`], which is pure. The task around it reads, decides and writes; when it cannot
//! renew in time it says so, and the gate in front of all writes is closed before anybody else may take the lease.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::SharedClock;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, warn};

use crate::Error;
use crate::api::{Api, Call, CallError, FIELD_MANAGER, KubeApi, Resource, Verb};

/// Where leases of the control plane are.
const NAMESPACE: &str = "kube-system";
/// Our lease.
const NAME: &str = "pitstop-controller";
/// The lease of the controllers that are part of Kubernetes.
const KUBE_CONTROLLER_MANAGER: &str = "kube-controller-manager";
/// For how long the lease is ours without renewal. Units: seconds.
const DURATION_SECONDS: u32 = 15;
/// How often it is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// When it was not renewed for this long, it counts as lost: before others may take it.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

/// A lease, as far as it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LeaseView {
    metadata: Meta,
    spec: Spec,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    resource_version: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    holder_identity: Option<String>,
    lease_duration_seconds: Option<u32>,
    acquire_time: Option<Timestamp>,
    renew_time: Option<Timestamp>,
    lease_transitions: Option<u32>,
}

impl LeaseView {
    fn holder(&self) -> &str {
        self.spec.holder_identity.as_deref().unwrap_or_default()
    }

    /// When it was renewed last, and when it runs out; `None` when it was never held or says nothing.
    fn held(&self) -> Option<(Timestamp, Timestamp)> {
        let renewed_at = self.spec.renew_time?;
        let lasts = self.spec.lease_duration_seconds.unwrap_or(DURATION_SECONDS);
        let expires_at = renewed_at
            .checked_add(SignedDuration::from_secs(i64::from(lasts)))
            .unwrap_or(Timestamp::MAX);
        (!self.holder().is_empty()).then_some((renewed_at, expires_at))
    }

    /// Does somebody hold it at `now`?
    fn is_fresh(&self, now: Timestamp) -> bool {
        self.held().is_some_and(|(_, expires_at)| now < expires_at)
    }
}

/// What to do about a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// There is none: make it.
    Create,
    /// It is ours, or nobody's any more: write our name into this version of it.
    Write {
        /// The version that it must still have.
        resource_version: String,
        /// Since when it is ours; `None`: from now on.
        acquired_at: Option<Timestamp>,
        /// How often it changed hands.
        transitions: u32,
    },
    /// Somebody else holds it.
    HeldBy {
        /// Who.
        holder: String,
        /// When it was renewed last.
        renewed_at: Timestamp,
        /// When it runs out unless renewed.
        expires_at: Timestamp,
    },
}

/// What `me` does about a lease at `now`. An identity that comes back takes over at once.
pub fn decide(lease: Option<&LeaseView>, me: &str, now: Timestamp) -> Decision {
    let Some(lease) = lease else {
        return Decision::Create;
    };
    let transitions = lease.spec.lease_transitions.unwrap_or_default();
    let is_ours = lease.holder() == me;
    match lease.held() {
        Some((renewed_at, expires_at)) if !is_ours && now < expires_at => Decision::HeldBy {
            holder: lease.holder().to_owned(),
            renewed_at,
            expires_at,
        },
        _ => Decision::Write {
            resource_version: lease.metadata.resource_version.clone(),
            acquired_at: lease.spec.acquire_time.filter(|_| is_ours),
            transitions: if is_ours {
                transitions
            } else {
                transitions.saturating_add(1)
            },
        },
    }
}

/// The lease, held by us.
pub struct Holder<'a> {
    api: &'a dyn Api,
    clock: SharedClock,
    identity: String,
}

impl<'a> Holder<'a> {
    /// Speaks for `identity`. `api` must not be the gate that closes when the lease is lost.
    pub fn new(api: &'a dyn Api, clock: SharedClock, identity: &str) -> Self {
        Self {
            api,
            clock,
            identity: identity.to_owned(),
        }
    }

    /// Takes the lease.
    ///
    /// # Errors
    /// Somebody else holds it, or the API server refuses.
    pub async fn acquire(&self) -> Result<(), Error> {
        for _ in 0..3 {
            match self.write_once().await {
                Ok(()) => return Ok(()),
                // Somebody was faster: look who.
                Err(Failure::Call(error)) if error.is_news() => {}
                Err(Failure::Call(source)) => {
                    return Err(Error::Api {
                        doing: "acquiring the lease kube-system/pitstop-controller",
                        source,
                    });
                }
                Err(Failure::Held(error)) => return Err(error),
            }
        }
        match self.write_once().await {
            Ok(()) => Ok(()),
            Err(Failure::Held(error)) => Err(error),
            Err(Failure::Call(source)) => Err(Error::Api {
                doing: "acquiring the lease kube-system/pitstop-controller",
                source,
            }),
        }
    }

    /// Renews the lease until it is lost, and says how it came about.
    pub async fn keep(&self) -> String {
        let mut lost_at = Instant::now() + GIVE_UP_AFTER;
        let mut why = String::from("not renewed in time");
        loop {
            sleep(RENEW_EVERY.min(lost_at.saturating_duration_since(Instant::now()))).await;
            let begun_at = Instant::now();
            match timeout_at(lost_at, self.write_once()).await {
                Ok(Ok(())) => {
                    lost_at = begun_at + GIVE_UP_AFTER;
                    debug!("lease renewed");
                }
                Ok(Err(Failure::Held(error))) => return error.to_string(),
                Ok(Err(Failure::Call(error))) => {
                    warn!(%error, "lease not renewed");
                    why = error.to_string();
                }
                Err(_) => return why,
            }
            if Instant::now() >= lost_at {
                return why;
            }
        }
    }

    /// Gives the lease back, so that a successor need not wait. Failure is harmless: it runs out.
    pub async fn release(&self) {
        let Ok(Some(lease)) = read(self.api, NAME).await else {
            return;
        };
        if lease.holder() != self.identity {
            return;
        }
        let call = Call::object(Verb::MergePatch, Resource::Leases, Some(NAMESPACE), NAME)
            .with_query("fieldManager", FIELD_MANAGER)
            .with_body(json!({
                "metadata": { "resourceVersion": lease.metadata.resource_version },
                "spec": { "holderIdentity": null, "renewTime": null, "acquireTime": null },
            }));
        if let Err(error) = self.api.send(call).await {
            debug!(%error, "lease not released");
        }
    }

    async fn write_once(&self) -> Result<(), Failure> {
        let lease = read(self.api, NAME).await.map_err(Failure::Call)?;
        let now = self.clock.now();
        let spec = |acquired_at: Timestamp, transitions: u32| {
            json!({
                "holderIdentity": self.identity,
                "leaseDurationSeconds": DURATION_SECONDS,
                "acquireTime": format!("{acquired_at:.6}"),
                "renewTime": format!("{now:.6}"),
                "leaseTransitions": transitions,
            })
        };
        let call = match decide(lease.as_ref(), &self.identity, now) {
            Decision::Create => {
                Call::collection(Verb::Create, Resource::Leases, Some(NAMESPACE)).with_body(json!({
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    "metadata": { "name": NAME, "namespace": NAMESPACE },
                    "spec": spec(now, 0),
                }))
            }
            Decision::Write {
                resource_version,
                acquired_at,
                transitions,
            } => Call::object(Verb::MergePatch, Resource::Leases, Some(NAMESPACE), NAME).with_body(json!({
                "metadata": { "resourceVersion": resource_version },
                "spec": spec(acquired_at.unwrap_or(now), transitions),
            })),
            Decision::HeldBy {
                holder,
                renewed_at,
                expires_at,
            } => {
                return Err(Failure::Held(Error::LeaseHeld {
                    lease: lease_name(),
                    holder,
                    renewed_at,
                    expires_at,
                }));
            }
        };
        let call = call.with_query("fieldManager", FIELD_MANAGER);
        self.api.send(call).await.map(drop).map_err(Failure::Call)
    }
}

enum Failure {
    Held(Error),
    Call(CallError),
}

fn lease_name() -> String {
    format!("{NAMESPACE}/{NAME}")
}

/// What ends the controllers when the lease is lost.
pub(crate) fn lost(why: String) -> Error {
    Error::LeaseLost {
        lease: lease_name(),
        why,
    }
}

async fn read(api: &dyn Api, name: &str) -> Result<Option<LeaseView>, CallError> {
    let call = Call::object(Verb::Get, Resource::Leases, Some(NAMESPACE), name);
    match api.send(call).await {
        Ok(answer) => serde_json::from_slice(&answer)
            .map(Some)
            .map_err(|e| CallError::Unreadable {
                what: format!("Lease {NAMESPACE}/{name}"),
                problem: e.to_string(),
            }),
        Err(CallError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Does the cluster have a DaemonSet controller of its own? If so, the text says how that is known.
///
/// It has one while the Lease `kube-system/kube-controller-manager` is fresh.
///
/// # Errors
/// The lease cannot be read.
pub async fn native_daemonset_conflict(
    client: &kube::Client,
    clock: &SharedClock,
) -> Result<Option<String>, Error> {
    native_conflict(&KubeApi::new(client.clone()), clock.now()).await
}

/// As [`native_daemonset_conflict`], through any [`Api`].
pub(crate) async fn native_conflict(api: &dyn Api, now: Timestamp) -> Result<Option<String>, Error> {
    let lease = read(api, KUBE_CONTROLLER_MANAGER)
        .await
        .map_err(|source| Error::Api {
            doing: "reading the lease kube-system/kube-controller-manager",
            source,
        })?;
    Ok(lease.filter(|lease| lease.is_fresh(now)).map(|lease| {
        format!(
            "this cluster has a DaemonSet controller of its own: {:?} holds the lease \
             {NAMESPACE}/{KUBE_CONTROLLER_MANAGER}",
            lease.holder()
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_lease(holder: &str, renewed_at: &str) -> LeaseView {
        serde_json::from_value(json!({
            "metadata": { "resourceVersion": "7" },
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": 15,
                "acquireTime": "2026-01-01T00:00:00.000000Z",
                "renewTime": renewed_at,
                "leaseTransitions": 2,
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_lease_is_taken_when_nobody_holds_it() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let began: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let fresh = "2026-01-01T00:00:46Z";
        let stale = "2026-01-01T00:00:45Z";
        let write = |acquired_at, transitions| Decision::Write {
            resource_version: "7".into(),
            acquired_at,
            transitions,
        };
        let held = Decision::HeldBy {
            holder: "b".into(),
            renewed_at: fresh.parse().unwrap(),
            expires_at: "2026-01-01T00:01:01Z".parse().unwrap(),
        };
        for (case, lease, want) in [
            ("none", None, Decision::Create),
            ("ours, fresh", Some(mk_lease("a", fresh)), write(Some(began), 2)),
            ("ours, stale", Some(mk_lease("a", stale)), write(Some(began), 2)),
            ("other, fresh", Some(mk_lease("b", fresh)), held),
            ("other, stale", Some(mk_lease("b", stale)), write(None, 3)),
            ("released", Some(mk_lease("", fresh)), write(None, 3)),
        ] {
            assert_eq!(decide(lease.as_ref(), "a", now), want, "{case}");
        }
    }
}
