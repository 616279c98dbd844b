//! Whether a pod may be upgraded, and what its owner is told if not.
//!
//! Pure: a view of a pod in, a verdict out. The order of the checks and every text are those of the systems that
//! pitstop replaces, because scripts on nodes match them.
//!
//! Source: hub.md A5, A6, B4, B6.

use std::fmt;

use pitstop_api::reasons;
use pitstop_api::view::message_revision;
use serde::{Deserialize, Serialize};

use crate::pod::PodView;

/// What is asked of the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Bring the pod to the revision that waits.
    Upgrade,
    /// Bring the images of that revision to the node first.
    ImagePull,
}

impl Action {
    /// How routes and records call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upgrade => "upgrade",
            Self::ImagePull => "imagepull",
        }
    }
}

/// How the upgrade of a pod is done.
///
/// Source: hub.md B4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The hub deletes the pod; its controller makes one of the new revision.
    Direct,
    /// The hub writes the condition `pitstop.io/UpgradeRequested`; the controller does the rest.
    Request,
}

/// Which methods the owner of a pod allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Methods {
    /// Either.
    Any,
    /// Only the controller knows how.
    RequestOnly,
}

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The path names no pod.
    BadName,
    /// There is no such pod.
    NotFound,
    /// The pod could not be read: the error.
    Backend(String),
    /// The pod is being deleted.
    Deleting,
    /// The pod runs on this other node.
    OtherNode(String),
    /// No newer revision waits.
    NotUpdatable,
    /// The images are not on the node.
    ImageNotReady {
        /// Reason of the condition.
        reason: String,
        /// Message of the condition.
        message: String,
    },
    /// The pod belongs to nobody.
    NoOwner,
    /// Deleting a pod of this kind of owner upgrades nothing.
    UnsupportedKind(String),
    /// Only the privileged helper can do this, and it is not running.
    HelperMissing,
    /// The API server refused the act: its words.
    ApplyFailed(String),
    /// No API server, and nothing is kept for later.
    Disconnected,
    /// No API server, and the pods of this node were never seen.
    NoCache,
    /// What was asked for could not be written to disk.
    StorageFull,
    /// Too much is waiting already.
    TooManyIntents,
}

/// A refusal as it is told: the words depend on what was asked for.
///
/// Source: hub.md A5, A6, B6.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// What was asked for.
    pub action: Action,
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// Name of the pod.
    pub name: &'a str,
    /// Why it is not done.
    pub refusal: &'a Refusal,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, .. } = self;
        match self.refusal {
            Refusal::BadName => to.write_str("Invalid namespace or pod name"),
            Refusal::NotFound => write!(to, "Get pod failed, pods \"{name}\" not found"),
            Refusal::Backend(error) => write!(to, "Get pod failed, {error}"),
            Refusal::Deleting => self.status(to, &format!("Pod {namespace}/{name} is deleting")),
            Refusal::OtherNode(node) => {
                self.status(to, &format!("Pod: {namespace}/{name} is running on {node}"))
            }
            Refusal::NotUpdatable => {
                self.status(to, &format!("Pod: {namespace}/{name} update status is False"))
            }
            Refusal::ImageNotReady { reason, message } => write!(
                to,
                "Pre check update pod failed, Failed to check pod {namespace}/{name} image ready, error: \
                 Pod: {namespace}/{name} image is not ready, reason: {reason}, message: {message}"
            ),
            Refusal::NoOwner => to.write_str("Pod has no owner references"),
            Refusal::UnsupportedKind(kind) => write!(to, "Not support ota upgrade pod type {kind}"),
            Refusal::HelperMissing => {
                to.write_str("Static pods need the privileged helper, which is not running")
            }
            Refusal::ApplyFailed(_) => to.write_str(match self.action {
                Action::Upgrade => "Apply update failed",
                Action::ImagePull => "Patch pod status for imagepull failed",
            }),
            Refusal::Disconnected => {
                to.write_str("OTA upgrade is not allowed when node is disconnected to cloud")
            }
            Refusal::NoCache => to.write_str("Get pod failed, the pods of this node were never listed"),
            Refusal::StorageFull => write!(to, "Persist {} intent failed", self.action.as_str()),
            Refusal::TooManyIntents => to.write_str("Too many intents are waiting"),
        }
    }
}

impl Told<'_> {
    fn status(&self, to: &mut fmt::Formatter<'_>, inner: &str) -> fmt::Result {
        let Self { namespace, name, .. } = self;
        match self.action {
            Action::Upgrade => write!(
                to,
                "Pre check update pod failed, Failed to check pod {namespace}/{name} status, error: \
                 {inner}, can not be updated"
            ),
            Action::ImagePull => write!(
                to,
                "Failed to check pod status {namespace}/{name}, error: {inner}, can not be updated"
            ),
        }
    }
}

/// How often a client should come back for images, in seconds. Source: hub.md B6.
const IMAGE_RETRY_SECONDS: u32 = 10;

impl Refusal {
    /// Status code for clients that do not ask for JSON.
    pub fn text_code(&self) -> u16 {
        match self {
            Self::NotFound | Self::Backend(_) | Self::ApplyFailed(_) => 500,
            Self::Deleting | Self::OtherNode(_) | Self::NotUpdatable | Self::ImageNotReady { .. } => 403,
            Self::BadName | Self::NoOwner | Self::UnsupportedKind(_) => 400,
            Self::HelperMissing => 501,
            Self::Disconnected | Self::NoCache => 503,
            Self::StorageFull => 507,
            Self::TooManyIntents => 429,
        }
    }

    /// Status code for clients that ask for JSON.
    pub fn json_code(&self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::Backend(_) | Self::ApplyFailed(_) => 502,
            Self::Deleting | Self::NotUpdatable | Self::ImageNotReady { .. } => 409,
            Self::NoOwner | Self::UnsupportedKind(_) => 422,
            Self::OtherNode(_)
            | Self::BadName
            | Self::HelperMissing
            | Self::Disconnected
            | Self::NoCache
            | Self::StorageFull
            | Self::TooManyIntents => self.text_code(),
        }
    }

    /// One word for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadName => "BadRequest",
            Self::NotFound => "NotFound",
            Self::Backend(_) => "BackendError",
            Self::Deleting => "Deleting",
            Self::OtherNode(_) => "OtherNode",
            Self::NotUpdatable => "NotUpdatable",
            Self::ImageNotReady { .. } => "ImageNotReady",
            Self::NoOwner => "NoOwner",
            Self::UnsupportedKind(_) => "UnsupportedKind",
            Self::HelperMissing => "HelperMissing",
            Self::ApplyFailed(_) => "ApplyFailed",
            Self::Disconnected => "Disconnected",
            Self::NoCache => "NoCache",
            Self::StorageFull => "StorageFull",
            Self::TooManyIntents => "TooManyIntents",
        }
    }

    /// When to come back, in seconds, where that helps.
    pub fn retry_after(&self) -> Option<u32> {
        matches!(self, Self::ImageNotReady { .. }).then_some(IMAGE_RETRY_SECONDS)
    }

    /// What the client's machine log should know beyond the text: the server's own words.
    pub fn cause(&self) -> Option<&str> {
        match self {
            Self::ApplyFailed(cause) => Some(cause),
            _ => None,
        }
    }
}

/// Whether a text can be the name of a pod or a namespace: a DNS-1123 subdomain of at most 253 characters.
///
/// Source: hub.md B5 step 2.
pub fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Checks 2 to 4: the state of the pod.
///
/// # Errors
/// The first check that fails.
///
/// Source: hub.md A5.
pub fn check_state(pod: &PodView, node: &str) -> Result<(), Refusal> {
    if pod.deleting {
        return Err(Refusal::Deleting);
    }
    if pod.node != node {
        return Err(Refusal::OtherNode(pod.node.clone()));
    }
    if !pod.needs_upgrade() {
        return Err(Refusal::NotUpdatable);
    }
    Ok(())
}

/// Check 5: the images.
///
/// # Errors
/// The condition `PodImageReady` is there and not True for the revision that waits.
///
/// Source: hub.md A5.
pub fn check_image(pod: &PodView) -> Result<(), Refusal> {
    match pod.condition(reasons::POD_IMAGE_READY) {
        None => Ok(()),
        Some(image) if image.status == "True" && message_revision(&image.message) == pod.target() => Ok(()),
        Some(image) => Err(Refusal::ImageNotReady {
            // A condition that is True for another revision has no reason of its own to tell.
            reason: if image.reason.is_empty() && image.status == "True" {
                reasons::READY.to_owned()
            } else {
                image.reason.clone()
            },
            message: image.message.clone(),
        }),
    }
}

/// Checks 6 and 7: the owner.
///
/// # Errors
/// The pod has no owner, or one of a kind whose pods are not upgraded this way.
///
/// Source: hub.md A5, B4.
pub fn check_owner(pod: &PodView) -> Result<Methods, Refusal> {
    if pod.owners == 0 {
        return Err(Refusal::NoOwner);
    }
    match (pod.owner.group.as_str(), pod.owner.kind.as_str()) {
        ("apps" | "apps.kruise.io", "DaemonSet") => Ok(Methods::Any),
        ("apps" | "apps.kruise.io", "StatefulSet") | ("apps.kruise.io", "CloneSet") => {
            Ok(Methods::RequestOnly)
        }
        ("", "Node") => Err(Refusal::HelperMissing),
        (_, kind) => Err(Refusal::UnsupportedKind(kind.to_owned())),
    }
}

/// All checks of an upgrade, in order; the first that fails wins.
///
/// # Errors
/// The first check that fails.
///
/// Source: hub.md A5.
pub fn check_upgrade(pod: &PodView, node: &str) -> Result<Methods, Refusal> {
    check_state(pod, node)?;
    check_image(pod)?;
    check_owner(pod)
}

/// Everything that stands in the way of an upgrade, not only the first.
///
/// Source: hub.md B11 (`blockedBy`).
pub fn blocked_by(pod: &PodView, node: &str) -> Vec<Refusal> {
    let mut found = Vec::new();
    found.extend(pod.deleting.then_some(Refusal::Deleting));
    found.extend((pod.node != node).then(|| Refusal::OtherNode(pod.node.clone())));
    found.extend((!pod.needs_upgrade()).then_some(Refusal::NotUpdatable));
    found.extend(check_image(pod).err());
    found.extend(check_owner(pod).err());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_names() {
        for good in ["a", "nginx-bwzss", "a.b", "0", &"a".repeat(253)] {
            assert!(is_dns_name(good), "{good}");
        }
        for bad in [
            "",
            "..",
            ".",
            "a_b",
            "A",
            "-a",
            "a-",
            "a..b",
            "a/b",
            "ä",
            "a\0",
            &"a".repeat(254),
        ] {
            assert!(!is_dns_name(bad), "{bad}");
        }
    }
}
