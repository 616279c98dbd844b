//! All simulated nodes of a process.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use kube::Client;
use pitstop_api::{SharedClock, SystemClock, keys};
use serde_json::json;
use tokio::task::JoinHandle;

use super::containers::Containers;
use super::images::Images;
use super::inside::Visitor;
use super::kubelet::Kubelets;
use super::machine::NodeSpec;
use super::profile::Rule;
use super::serve::{ListenError, Listener};
use crate::informer::{encode, is_status, send};

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
    /// Serve logs and commands to the API server, on a port of loopback that the nodes' status names. An API server on
    /// another machine does not reach it.
    pub kubelets: bool,
}

/// Why a fleet could not start.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The API server does not answer.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// The kubelets cannot be served.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            time_scale: 1.0,
            heartbeat: None,
            profiles: Vec::new(),
            kubelets: false,
        }
    }
}

/// Simulated nodes. Dropped, they fall silent, as nodes do that lose their power.
pub struct Fleet {
    client: Client,
    visitor: Visitor,
    task: JoinHandle<()>,
    kubelets: Option<JoinHandle<()>>,
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
    /// The API server does not answer, or there is no port for the kubelets.
    pub async fn start(client: Client, config: FleetConfig) -> Result<Self, FleetError> {
        send(&client, Method::GET, "/api/v1/nodes?limit=1", None, None).await?;
        let (visitor, questions) = Visitor::new();
        let listener = if config.kubelets {
            Some(Listener::bind().await?)
        } else {
            None
        };
        let port = listener.as_ref().map(|listener| listener.port);
        let clock = config.clock.clone();
        let task = tokio::spawn(Kubelets::new(client.clone(), config, port, questions).run());
        let kubelets = listener.map(|listener| tokio::spawn(listener.run(visitor.clone(), clock)));
        Ok(Self {
            client,
            visitor,
            task,
            kubelets,
        })
    }

    /// What pulls images on its nodes.
    pub fn images(&self) -> Images {
        Images::new(self.visitor.clone())
    }

    /// What runs on its nodes, as agents see it.
    pub fn containers(&self) -> Containers {
        Containers::new(self.visitor.clone())
    }

    /// Registers a node. One that is there already is marked as simulated and played from now on.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn add(&self, spec: NodeSpec) -> Result<(), kube::Error> {
        match send(
            &self.client,
            Method::POST,
            "/api/v1/nodes",
            None,
            Some(encode(&spec.object())),
        )
        .await
        {
            Err(error) if is_status(&error, 409) => {
                let mark = json!({ "metadata": { "annotations": { keys::SIM_SIMULATED: "true" } } });
                let path = format!("/api/v1/nodes/{}", spec.name);
                let merge = Some("application/merge-patch+json");
                send(&self.client, Method::PATCH, &path, merge, Some(encode(&mark))).await
            }
            other => other,
        }
    }

    /// Takes a node out of the cluster.
    ///
    /// # Errors
    /// There is no such node, or the API server refuses.
    pub async fn remove(&self, name: &str) -> Result<(), kube::Error> {
        send(
            &self.client,
            Method::DELETE,
            &format!("/api/v1/nodes/{name}"),
            None,
            None,
        )
        .await
    }

    /// Stops playing; the objects stay.
    pub async fn stop(mut self) {
        let tasks = std::iter::once(&mut self.task).chain(&mut self.kubelets);
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(kubelets) = &self.kubelets {
            kubelets.abort();
        }
    }
}
