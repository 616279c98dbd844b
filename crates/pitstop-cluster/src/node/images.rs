//! Pulling images on simulated nodes before a container needs them, as an agent beside the kubelet has a container runtime
//! do it.
//!
//! Such a pull takes its turn among those for containers, as long as the profile of the image says, and a container that
//! is started later finds the image. Source: embedded-cluster.md 17.4.

use super::inside::Visitor;

/// Asks the simulated nodes of a [`Fleet`](super::Fleet) to pull images.
#[derive(Debug, Clone)]
pub struct Images {
    visitor: Visitor,
}

/// An image that a node is to pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Name of the node.
    pub node: String,
    /// The image, as a runtime is asked for it.
    pub image: String,
    /// An image that the node has is taken as it is.
    pub unless_present: bool,
}

/// An image that a node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Its digest.
    pub id: String,
}

/// Why a node does not have it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// The node is not played here.
    #[error("the node does not answer")]
    Unreachable,
    /// What the runtime says.
    #[error("{0}")]
    Failed(String),
}

impl Images {
    pub(super) fn new(visitor: Visitor) -> Self {
        Self { visitor }
    }

    /// Has a node pull an image, and waits until it has. Who drops this gives the pull up.
    ///
    /// # Errors
    /// The node is not there, or the image cannot be pulled.
    pub async fn pull(&self, wish: Wish) -> Result<Pulled, PullError> {
        self.visitor.pull(wish).await
    }
}
