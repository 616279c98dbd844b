//! Metadata that all views share.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::selector::Labels;

/// Identity of one object; a recreated object of the same name has another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(pub u128);

impl Uid {
    /// Reads the usual form of 32 hexadecimal digits with hyphens.
    pub fn parse(text: &str) -> Option<Self> {
        let mut value: u128 = 0;
        let mut n_digits = 0;
        for c in text.chars().filter(|c| *c != '-') {
            value = value.checked_mul(16)? | u128::from(c.to_digit(16)?);
            n_digits += 1;
        }
        (n_digits == 32).then_some(Self(value))
    }
}

impl std::fmt::Display for Uid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hex = format!("{:032x}", self.0);
        for (i, c) in hex.chars().enumerate() {
            if matches!(i, 8 | 12 | 16 | 20) {
                f.write_str("-")?;
            }
            write!(f, "{c}")?;
        }
        Ok(())
    }
}

/// The owner with `controller: true`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControllerRef {
    /// Its uid.
    pub uid: Uid,
    /// Which kind it is of.
    pub kind: OwnerKind,
}

/// Which kind an owner is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OwnerKind {
    /// `DaemonSet` of group `apps`.
    DaemonSet,
    /// `DaemonSet` of group `apps.kruise.io`, of whichever version.
    AdvancedDaemonSet,
    /// `CloneSet` of group `apps.kruise.io`, of whichever version. Source: cloneset.md 1.1.
    CloneSet,
    /// `StatefulSet` of group `apps.kruise.io`, of whichever version.
    StatefulSet,
    /// Any other.
    Other,
}

/// `metadata` as far as views read it.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MetaWire {
    /// Name.
    pub name: String,
    /// Namespace, empty for cluster-scoped objects.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Uid.
    pub uid: String,
    /// Decimal number, opaque upstream.
    pub resource_version: String,
    /// Raised when the spec changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// When the server stored it first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Timestamp>,
    /// When it is to be gone; set means terminating.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Timestamp>,
    /// How long it was given then. Units: seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_grace_period_seconds: Option<i64>,
    /// Labels.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Annotations.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub annotations: Labels,
    /// What holds it after its deletion.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
    /// Owners.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<OwnerWire>,
}

/// One owner reference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerWire {
    /// Group and version of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// Uid of the owner.
    pub uid: String,
    /// Is the owner the controller of the object?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
    /// Does the owner, deleted in the foreground, wait for the object to go?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
}

/// An object that cannot be read as a view. It is skipped, and whoever depends on it is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ViewError {
    /// Path of the field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl MetaWire {
    /// The uid as a number.
    ///
    /// # Errors
    /// It is not a UUID.
    pub fn uid(&self) -> Result<Uid, ViewError> {
        Uid::parse(&self.uid).ok_or_else(|| ViewError {
            field: "metadata.uid",
            problem: format!("{:?} is not a uid", self.uid),
        })
    }

    /// When its deletion was asked for: `deletionTimestamp` is the end of the time that it was given.
    pub fn deletion_asked_at(&self) -> Option<Timestamp> {
        let given = SignedDuration::from_secs(self.deletion_grace_period_seconds.unwrap_or(0).max(0));
        let ends_at = self.deletion_timestamp?;
        Some(ends_at.checked_sub(given).unwrap_or(ends_at))
    }

    /// The resourceVersion as a number; 0 when it is none.
    pub fn version(&self) -> u64 {
        self.resource_version.parse().unwrap_or_default()
    }

    /// The owner that controls the object.
    pub fn controller(&self) -> Option<ControllerRef> {
        let owner = self
            .owner_references
            .iter()
            .find(|owner| owner.controller == Some(true))?;
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        Some(ControllerRef {
            uid: Uid::parse(&owner.uid)?,
            kind: match (group, owner.kind.as_str()) {
                ("apps", "DaemonSet") => OwnerKind::DaemonSet,
                (crate::daemonset::GROUP, crate::daemonset::KIND) => OwnerKind::AdvancedDaemonSet,
                (crate::cloneset::GROUP, "CloneSet") => OwnerKind::CloneSet,
                (crate::statefulset::GROUP, "StatefulSet") => OwnerKind::StatefulSet,
                _ => OwnerKind::Other,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deletion_is_asked_for_before_the_time_that_it_gives() {
        let of = |grace: serde_json::Value| -> Option<String> {
            let meta =
                json!({ "deletionTimestamp": "2026-01-01T00:01:00Z", "deletionGracePeriodSeconds": grace });
            let meta: MetaWire = serde_json::from_value(meta).unwrap();
            meta.deletion_asked_at().map(|at| at.to_string())
        };
        for (grace, want) in [
            (json!(60), "2026-01-01T00:00:00Z"),
            (json!(0), "2026-01-01T00:01:00Z"),
            (json!(null), "2026-01-01T00:01:00Z"),
            (json!(-1), "2026-01-01T00:01:00Z"),
            (json!(i64::MAX), "2026-01-01T00:01:00Z"),
        ] {
            assert_eq!(of(grace.clone()).as_deref(), Some(want), "{grace}");
        }
        assert_eq!(MetaWire::default().deletion_asked_at(), None);
    }
}
