//! All simulated nodes of a process.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use kube::Client;
use pitstop_api::{SharedClock, SystemClock, keys};
use serde_json::json;
use tokio::task::JoinHandle;

use super::kubelet::Kubelets;
use super::machine::NodeSpec;
use super::profile::Rule;
use crate::informer::{is_status, request};

/// How a fleet runs.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    /// Where "now" comes from; waiting uses the runtime's timers.
    pub clock: SharedClock,
    /// Simulated durations run this many times faster. Range: above 0.
    pub time_scale: f64,
    /// How often a node renews its lease, however fast the rest runs; an unchanged status is reported 30 times more
    /// seldom. `None`: every 10 s, which run `time_scale` times faster.
    pub heartbeat: Option<Duration>,
    /// Image profiles that come before the shipped ones; those of annotations come before these.
    pub profiles: Vec<Rule>,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            time_scale: 1.0,
            heartbeat: None,
            profiles: Vec::new(),
        }
    }
}

/// Simulated nodes. Dropped, they fall silent, as nodes do that lose their power.
pub struct Fleet {
    client: Client,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").finish_non_exhaustive()
    }
}

impl Fleet {
    /// Plays the marked nodes of an API server, those that are there and those that come.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn start(client: Client, config: FleetConfig) -> Result<Self, kube::Error> {
        request(&client, Method::GET, "/api/v1/nodes?limit=1", None, None).await?;
        let kubelets = Kubelets::new(client.clone(), config);
        let task = tokio::spawn(kubelets.run());
        Ok(Self { client, task })
    }

    /// Registers a node. One that is there already is marked as simulated and played from now on.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn add(&self, spec: NodeSpec) -> Result<(), kube::Error> {
        match request(
            &self.client,
            Method::POST,
            "/api/v1/nodes",
            None,
            Some(&spec.object()),
        )
        .await
        {
            Err(error) if is_status(&error, 409) => {
                let mark = json!({ "metadata": { "annotations": { keys::SIM_SIMULATED: "true" } } });
                let path = format!("/api/v1/nodes/{}", spec.name);
                let merge = Some("application/merge-patch+json");
                request(&self.client, Method::PATCH, &path, merge, Some(&mark))
                    .await
                    .map(drop)
            }
            other => other.map(drop),
        }
    }

    /// Takes a node out of the cluster.
    ///
    /// # Errors
    /// There is no such node, or the API server refuses.
    pub async fn remove(&self, name: &str) -> Result<(), kube::Error> {
        request(
            &self.client,
            Method::DELETE,
            &format!("/api/v1/nodes/{name}"),
            None,
            None,
        )
        .await
        .map(drop)
    }

    /// Stops playing; the objects stay.
    pub async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.task.abort();
    }
}
