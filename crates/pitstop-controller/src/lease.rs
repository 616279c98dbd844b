//! Only one pitstop controller at a time, by the Lease `kube-system/pitstop-controller`; and the question whether the
//! cluster has a DaemonSet controller of its own.
//!
//! What to do is decided by [`election`], which is pure; `keeper` carries it out. The [`Gate`](crate::api::Gate) in
//! front of all writes knows until when may be written and asks its clock before each of them, so a process that was
//! stopped and continued writes nothing before it has renewed.
//!
//! Needed rights: `get`, `create` and `patch` on `leases` of `coordination.k8s.io` in `kube-system`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::SharedClock;
use pitstop_api::keys::FEATURE_GATES;
use pitstop_engine::feature_gates::FeatureGates;
use serde::Deserialize;

use crate::Error;
use crate::api::{Api, Call, CallError, KubeApi, Resource, Verb};

pub mod election;
mod keeper;

pub use keeper::HeldBy;
pub(crate) use keeper::{Keeper, Turn, acquiring};

/// Where leases of the control plane are.
const NAMESPACE: &str = "kube-system";
/// Our lease.
const NAME: &str = "pitstop-controller";
/// `namespace/name` of the lease that pitstop's controllers exclude each other with, inside and outside of a cluster.
pub const LEASE: &str = "kube-system/pitstop-controller";
/// The lease of the controllers that are part of Kubernetes.
const KUBE_CONTROLLER_MANAGER: &str = "kube-controller-manager";
/// For how long a lease lasts that does not say it. Units: seconds.
const DEFAULT_SECONDS: u32 = 15;

/// A lease, as far as it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct LeaseView {
    metadata: Meta,
    spec: Spec,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    resource_version: String,
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    holder_identity: Option<String>,
    lease_duration_seconds: Option<u32>,
    renew_time: Option<Timestamp>,
    lease_transitions: Option<u32>,
}

impl LeaseView {
    fn from_json(json: &[u8]) -> Result<Self, CallError> {
        serde_json::from_slice(json).map_err(|e| CallError::Unreadable {
            what: format!("Lease {LEASE}"),
            problem: e.to_string(),
        })
    }

    fn holder(&self) -> &str {
        self.spec.holder_identity.as_deref().unwrap_or_default()
    }

    fn record(&self) -> election::Record {
        election::Record {
            resource_version: self.metadata.resource_version.clone(),
            holder: self.holder().to_owned(),
            lasts: self
                .spec
                .lease_duration_seconds
                .map(|seconds| std::time::Duration::from_secs(seconds.into())),
            transitions: self.spec.lease_transitions.unwrap_or_default(),
        }
    }

    /// When it runs out, by its holder's clock; `None` when it was never held or says nothing.
    fn expires_at(&self) -> Option<Timestamp> {
        let renewed_at = self.spec.renew_time.filter(|_| !self.holder().is_empty())?;
        let lasts = self.spec.lease_duration_seconds.unwrap_or(DEFAULT_SECONDS);
        let expires_at = renewed_at.checked_add(SignedDuration::from_secs(lasts.into()));
        Some(expires_at.unwrap_or(Timestamp::MAX))
    }

    /// Does somebody seem to hold it at `now`, if the holder's clock goes like ours?
    fn is_fresh(&self, now: Timestamp) -> bool {
        self.expires_at().is_some_and(|expires_at| now < expires_at)
    }
}

/// The feature gates of whoever holds the lease, as it says itself. Those who may not read the lease take none to be set.
pub(crate) async fn gates(api: &dyn Api) -> FeatureGates {
    let lease = read(api, NAME).await.ok().flatten();
    let said = lease.and_then(|lease| lease.metadata.annotations.get(FEATURE_GATES)?.parse().ok());
    said.unwrap_or_default()
}

/// What ends the controllers when the lease is lost.
pub(crate) fn lost(why: String) -> Error {
    Error::LeaseLost {
        lease: LEASE.to_owned(),
        why,
    }
}

async fn read(api: &dyn Api, name: &str) -> Result<Option<LeaseView>, CallError> {
    let call = Call::object(Verb::Get, Resource::Leases, Some(NAMESPACE), name);
    match api.send(call).await {
        Ok(answer) => LeaseView::from_json(&answer).map(Some),
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
