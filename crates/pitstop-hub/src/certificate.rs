//! A client certificate of the hub's own, in the name of its node.
//!
//! Where the kubelet's certificate cannot be shared, the hub asks the cluster for one as kubelets do: with the rights of
//! a bootstrap kubeconfig, and ahead of its end with those that it has. While it has none the hub works as if cut off.
//!
//! Source: hub.md B3, `csr`; Kubernetes documentation, "TLS bootstrapping".

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use pitstop_api::SharedClock;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::request::{Issued, Request};
use self::stored::{Certificate, Files};
use crate::api::kubeconfig::Access;
use crate::api::{ApiServer, ConnectError, Direct, Transport};
use crate::link::jitter;

mod request;
mod stored;
#[cfg(test)]
mod tests;

/// Which part of its life a certificate is used for, at least and at most. Chosen anew for each, so that nodes that were
/// made together do not all ask at once.
///
/// Source: client-go's certificate manager, which kubelets use.
const USED_FOR: (f64, f64) = (0.7, 0.9);
/// Shortest and longest wait before another try.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long to wait after somebody said no: an hour at most brings six requests that he has to look at.
const DENIED: Duration = Duration::from_secs(600);
/// Longest sleep: the clock of the machine may be set meanwhile.
const LOOK: Duration = Duration::from_secs(3600);

/// The kubeconfig that leads to the certificate, in the folder of state.
const KUBECONFIG: &str = "hub.kubeconfig";

/// Why there is no certificate yet.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Somebody with the right to say so does not want it, or the signer cannot.
    #[error("{0}")]
    Denied(String),
    /// Anything that may be better with the next try.
    #[error("{0}")]
    Passing(String),
}

/// Keeps the certificate of a node fresh.
///
/// What it writes is `pki/hub-client.pem` (certificate and key), which the kubeconfig of [`kubeconfig`] names.
pub struct Certificates<T> {
    files: Files,
    node: String,
    /// Somebody who may ask in the name of nodes, if there is such a kubeconfig.
    bootstrap: Option<ApiServer<T>>,
    own: ApiServer<T>,
    clock: SharedClock,
    random: Mutex<StdRng>,
}

impl<T> std::fmt::Debug for Certificates<T> {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Certificates")
            .field("node", &self.node)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Whether a hub with this folder of state asked for a certificate of its own before.
pub fn is_kept(state: &Path) -> bool {
    state.join(KUBECONFIG).exists()
}

/// Writes the kubeconfig of a hub whose certificate is its own, into its folder of state, and returns its path.
///
/// The cluster is that of the bootstrap kubeconfig; without one, what was written before stays. Certificate and key are
/// there once the cluster gave them.
///
/// # Errors
/// The bootstrap kubeconfig cannot be used, there is none and never was, or the folder cannot be written.
pub fn kubeconfig(state: &Path, bootstrap: Option<&Path>) -> Result<PathBuf, ConnectError> {
    let path = state.join(KUBECONFIG);
    let Some(bootstrap) = bootstrap else {
        let none =
            "there is no certificate of this hub's own yet, and no bootstrap kubeconfig to ask for one with";
        return path
            .exists()
            .then_some(path)
            .ok_or_else(|| ConnectError::new(none));
    };
    let access = Access::read(bootstrap, None).map_err(ConnectError::new)?;
    let Some(authorities) = &access.authorities else {
        return Err(ConnectError::new(format!(
            "{} names no certificate authority",
            bootstrap.display()
        )));
    };
    let mut cluster = json!({
        "server": access.url(),
        "certificate-authority-data": base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            authorities,
        ),
    });
    if let Some(name) = &access.server_name {
        cluster["tls-server-name"] = json!(name);
    }
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "hub",
        "contexts": [{ "name": "hub", "context": { "cluster": "cluster", "user": "hub" } }],
        "clusters": [{ "name": "cluster", "cluster": cluster }],
        "users": [{ "name": "hub", "user": {
            "client-certificate": Files::CERTIFICATE, "client-key": Files::CERTIFICATE,
        } }],
    });
    let text = format!("{text:#}\n");
    stored::replace(state, KUBECONFIG, text.as_bytes())
        .map_err(|error| ConnectError::new(format!("writing {}: {error}", path.display())))?;
    Ok(path)
}

impl Certificates<Direct> {
    /// For the node in whose folder [`kubeconfig`] wrote: who may ask in the name of nodes, and the hub as itself.
    pub fn new(
        state: &Path,
        node: &str,
        bootstrap: Option<Direct>,
        own: Direct,
        clock: SharedClock,
        seed: u64,
    ) -> Self {
        Self::over(Files::new(state), node, bootstrap, own, clock, seed)
    }
}

impl<T: Transport> Certificates<T> {
    fn over(files: Files, node: &str, bootstrap: Option<T>, own: T, clock: SharedClock, seed: u64) -> Self {
        Self {
            files,
            node: node.to_owned(),
            bootstrap: bootstrap.map(|bootstrap| ApiServer::new(bootstrap, node)),
            own: ApiServer::new(own, node),
            clock,
            random: Mutex::new(StdRng::seed_from_u64(seed)),
        }
    }

    /// Asks for certificates until told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::select! {
            // In a fixed order, so that a simulation can be repeated.
            biased;
            () = self.keep() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn keep(&self) {
        let mut wait = BACKOFF.0;
        // When the certificate of that end is replaced.
        let mut planned: Option<(Timestamp, Timestamp)> = None;
        loop {
            let now = self.clock.now();
            let stored = self.stored();
            let renew_at = stored.as_ref().map(|certificate| match planned {
                Some((of, at)) if of == certificate.ends => at,
                _ => {
                    let at = self.renewal(certificate);
                    planned = Some((certificate.ends, at));
                    at
                }
            });
            if let Some(left) = renew_at.and_then(|at| left(now, at)) {
                wait = BACKOFF.0;
                tokio::time::sleep(left.min(LOOK)).await;
                continue;
            }
            let is_valid = stored.is_some_and(|certificate| now < certificate.ends);
            match self.ask(is_valid).await {
                Ok(()) => tracing::info!("the cluster gave this hub a certificate"),
                Err(failure) => {
                    tracing::warn!(%failure, "this hub has no new certificate yet");
                    let pause = match failure {
                        Failure::Denied(_) => DENIED,
                        Failure::Passing(_) => self.random(|random| jitter(random, wait)),
                    };
                    wait = (wait * 2).min(BACKOFF.1);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// The certificate on disk, if it is one of this node.
    fn stored(&self) -> Option<Certificate> {
        match self.files.certificate(&self.node) {
            Ok(certificate) => certificate,
            Err(why) => {
                tracing::warn!(why, "the certificate of this hub is of no use");
                None
            }
        }
    }

    fn random<R>(&self, draw: impl FnOnce(&mut StdRng) -> R) -> R {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn renewal(&self, certificate: &Certificate) -> Timestamp {
        let life = certificate.ends.duration_since(certificate.begins);
        let part = self.random(|random| random.random_range(USED_FOR.0..=USED_FOR.1));
        let used = Duration::try_from(life).unwrap_or_default().mul_f64(part);
        certificate
            .begins
            .saturating_add(used)
            .unwrap_or(certificate.ends)
    }

    /// One certificate, from the question to the files.
    async fn ask(&self, own_is_valid: bool) -> Result<(), Failure> {
        let server = match (&self.bootstrap, own_is_valid) {
            (_, true) => &self.own,
            (Some(bootstrap), false) => bootstrap,
            (None, false) => {
                return Err(Failure::Passing(
                    "the certificate of this hub ended, and there is no bootstrap kubeconfig".to_owned(),
                ));
            }
        };
        let disk = |error: std::io::Error| Failure::Passing(format!("keeping a key: {error}"));
        let request = Request::new(&self.node, self.files.next_key().map_err(disk)?)?;
        match request.ask(server).await {
            Ok(Issued { chain }) => self.files.keep(&self.node, &request.key, &chain),
            Err(failure) => {
                if matches!(failure, Failure::Denied(_)) {
                    // The same question would have the same answer.
                    self.files.forget_key();
                }
                Err(failure)
            }
        }
    }
}

/// How long it is from one moment to a later one.
fn left(from: Timestamp, to: Timestamp) -> Option<Duration> {
    Duration::try_from(to.duration_since(from))
        .ok()
        .filter(|left| !left.is_zero())
}
