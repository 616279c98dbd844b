//! The conditions of a pod by which controllers and node hubs talk about its upgrade.
//!
//! Source: daemonset.md C8, C9; hub.md A5, A6, B4.

use std::sync::Arc;

use jiff::Timestamp;

use super::pod::ConditionWire;
use crate::reasons;

/// What comes before the hash in the message of these conditions.
const PREFIX: &str = "controllerrevision: ";

/// The message of a condition about a revision: `controllerrevision: <hash>`.
pub fn revision_message(hash: &str) -> String {
    format!("{PREFIX}{hash}")
}

/// The hash in such a message: without the prefix, where it has one, and without what is said after a semicolon.
///
/// A message that names no revision is its own hash, as upstream reads it: two such messages agree when they are equal.
/// Source: hub.md A5 row 5, B9.
pub fn message_revision(message: &str) -> &str {
    let rest = message.strip_prefix(PREFIX).unwrap_or(message);
    rest.split_once(';').map_or(rest, |(hash, _)| hash)
}

/// `status` of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ConditionStatus {
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`, or anything else.
    #[default]
    Unknown,
}

impl ConditionStatus {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }

    fn read(text: &str) -> Self {
        match text {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(is_true: bool) -> Self {
        if is_true { Self::True } else { Self::False }
    }
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodCondition {
    /// `status`.
    pub status: ConditionStatus,
    /// `reason`; empty where there is none.
    pub reason: Arc<str>,
    /// `message`; empty where there is none.
    pub message: Arc<str>,
    /// `lastTransitionTime`.
    pub since: Option<Timestamp>,
}

impl PodCondition {
    /// Is the status `True`?
    pub fn is_true(&self) -> bool {
        self.status == ConditionStatus::True
    }

    /// The revision that its message names. See [`message_revision`].
    pub fn revision(&self) -> &str {
        message_revision(&self.message)
    }
}

impl From<&ConditionWire> for PodCondition {
    fn from(wire: &ConditionWire) -> Self {
        Self {
            status: ConditionStatus::read(&wire.status),
            reason: wire.reason.as_str().into(),
            message: wire.message.as_str().into(),
            since: wire.last_transition_time,
        }
    }
}

/// The conditions about the upgrade of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct UpgradeConditions {
    /// `PodNeedUpgrade`: a newer revision waits for the owner of the node.
    pub need_upgrade: Option<PodCondition>,
    /// `PodImageReady`: the images of that revision are on the node.
    pub image_ready: Option<PodCondition>,
    /// `pitstop.io/UpgradeRequested`: the owner has asked for a revision through a hub that may not delete pods.
    pub upgrade_requested: Option<PodCondition>,
    /// `pitstop.io/NodeLost`: the node turned NotReady shortly after an update of the pod.
    pub node_lost: Option<PodCondition>,
}

impl UpgradeConditions {
    /// Those among others; `None` when there are none.
    pub(super) fn among(conditions: &[ConditionWire]) -> Option<Self> {
        let mut found = Self::default();
        for condition in conditions {
            let place = match condition.kind.as_str() {
                reasons::POD_NEED_UPGRADE => &mut found.need_upgrade,
                reasons::POD_IMAGE_READY => &mut found.image_ready,
                reasons::UPGRADE_REQUESTED => &mut found.upgrade_requested,
                reasons::NODE_LOST => &mut found.node_lost,
                _ => continue,
            };
            *place = Some(condition.into());
        }
        (found != Self::default()).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_revisions_and_say_more_after_a_semicolon() {
        for (message, want) in [
            ("controllerrevision: 74fbcc88b5", "74fbcc88b5"),
            (
                "controllerrevision: 123; pull image job image-pre-pull-a-123 failed",
                "123",
            ),
            ("", ""),
            ("123", "123"),
            ("Failed to pull image", "Failed to pull image"),
        ] {
            assert_eq!(message_revision(message), want, "{message:?}");
        }
        assert_eq!(message_revision(&revision_message("123")), "123");
    }
}
