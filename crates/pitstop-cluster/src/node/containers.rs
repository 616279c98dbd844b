//! What an agent beside the kubelet can ask the container runtime of a simulated node.
//!
//! Source: inplace.md 2.3, 6.3.

use tokio::sync::mpsc;

use super::inside::{Place, Visitor};

/// Asks the container runtimes of a [`Fleet`](super::Fleet).
#[derive(Debug, Clone)]
pub struct Containers {
    visitor: Visitor,
}

/// A pod by its names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs {
    /// Its ID: another after each start.
    pub id: String,
    /// The image, as the pod named it when the container was started.
    pub image: String,
    /// The variables that the pod sets.
    pub environment: Vec<(String, String)>,
}

/// Why the runtime does not do it: its node is cut off, or no such container runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotDone(String);

impl Containers {
    pub(super) fn new(visitor: Visitor) -> Self {
        Self { visitor }
    }

    /// The pods whose containers show labels or annotations of theirs, on nodes that have agents: each once now, and again
    /// whenever it changes.
    pub async fn pods(&self) -> mpsc::UnboundedReceiver<PodName> {
        self.visitor.pods_that_show_metadata().await
    }

    /// What runs in a container.
    ///
    /// # Errors
    /// The node is cut off, or no such container runs.
    pub async fn inspect(&self, pod: &PodName, container: &str) -> Result<Runs, NotDone> {
        let answer = self.visitor.inspect(&place(pod, container)).await;
        answer.map_err(|refusal| NotDone(refusal.to_string()))
    }

    /// Stops the container with this ID; its kubelet starts another one where the pod says so.
    ///
    /// # Errors
    /// The node is cut off, or this container does not run.
    pub async fn stop(&self, pod: &PodName, container: &str, id: &str) -> Result<(), NotDone> {
        let answer = self.visitor.stop(&place(pod, container), id).await;
        answer.map_err(|refusal| NotDone(refusal.to_string()))
    }
}

fn place(pod: &PodName, container: &str) -> Place {
    Place {
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        container: container.to_owned(),
    }
}
