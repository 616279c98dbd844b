//! The kinds of workloads that are rolled out.

use serde::Serialize;

use crate::kruise::Version;
use crate::{cloneset, daemonset, statefulset};

/// A kind of workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum WorkloadKind {
    /// `apps/v1` DaemonSet.
    DaemonSet,
    /// `apps.kruise.io` DaemonSet.
    AdvancedDaemonSet,
    /// `apps.kruise.io` CloneSet.
    CloneSet,
    /// `apps.kruise.io` StatefulSet.
    StatefulSet,
}

impl WorkloadKind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [
        Self::DaemonSet,
        Self::AdvancedDaemonSet,
        Self::CloneSet,
        Self::StatefulSet,
    ];

    /// `kind` of the objects of these, each once.
    pub fn kinds(of: &[Self]) -> Vec<&'static str> {
        let mut kinds: Vec<&str> = of.iter().map(|kind| kind.kind()).collect();
        kinds.dedup();
        kinds
    }

    /// `kind` of its objects.
    pub fn kind(self) -> &'static str {
        match self {
            Self::DaemonSet => "DaemonSet",
            Self::AdvancedDaemonSet => daemonset::KIND,
            Self::CloneSet => cloneset::KIND,
            Self::StatefulSet => statefulset::KIND,
        }
    }

    /// The group.
    pub fn group(self) -> &'static str {
        match self {
            Self::DaemonSet => "apps",
            Self::AdvancedDaemonSet => daemonset::GROUP,
            Self::CloneSet => cloneset::GROUP,
            Self::StatefulSet => statefulset::GROUP,
        }
    }

    /// The version that is read and written. Source: cloneset.md 1.1; statefulset.md 2.1;
    /// daemonset.md D1.
    pub fn version(self) -> &'static str {
        match self {
            Self::DaemonSet => "v1",
            Self::AdvancedDaemonSet | Self::CloneSet | Self::StatefulSet => "v1beta1",
        }
    }

    /// `apiVersion` of its objects.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::DaemonSet => "apps/v1",
            Self::AdvancedDaemonSet | Self::CloneSet | Self::StatefulSet => Version::V1beta1.api_version(),
        }
    }

    /// The name in paths.
    pub fn plural(self) -> &'static str {
        match self {
            Self::DaemonSet => "daemonsets",
            Self::AdvancedDaemonSet => daemonset::definition::PLURAL,
            Self::CloneSet => cloneset::definition::PLURAL,
            Self::StatefulSet => statefulset::definition::PLURAL,
        }
    }

    /// The short name that commands show, as the server lists it. Source: cloneset.md 1.1; statefulset.md 2.1;
    /// daemonset.md D1.
    pub fn short(self) -> &'static str {
        match self {
            Self::DaemonSet => "ds",
            Self::AdvancedDaemonSet => "ads",
            Self::CloneSet => "clone",
            Self::StatefulSet => "asts",
        }
    }

    /// Another short name. To kubectl `sts` is the native kind, where a cluster serves it; no command of ours is about that
    /// one.
    fn other_short(self) -> Option<&'static str> {
        match self {
            Self::AdvancedDaemonSet => Some("daemon"),
            Self::StatefulSet => Some("sts"),
            Self::DaemonSet | Self::CloneSet => None,
        }
    }

    /// The kind as kubectl writes it before a name: `daemonset.apps`.
    pub fn qualified(self) -> String {
        format!("{}.{}", self.kind().to_ascii_lowercase(), self.group())
    }

    /// The kind that somebody means by `ds`, `DaemonSet`, `daemonsets.apps`, `clone`, `cloneset.apps.kruise.io`, ...
    pub fn named(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (name, group) = match text.split_once('.') {
            Some((name, group)) => (name, Some(group)),
            None => (text.as_str(), None),
        };
        Self::ALL.into_iter().find(|kind| {
            let is_group = group.is_none_or(|group| {
                let versioned = format!("{}.{}", kind.version(), kind.group());
                group == kind.group() || group == versioned
            });
            let singular = kind.kind().to_ascii_lowercase();
            let is_short = name == kind.short() || Some(name) == kind.other_short();
            is_group && (is_short && group.is_none() || name == kind.plural() || name == singular)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_as_kubectl_names_them() {
        for (text, want) in [
            ("ds", Some(WorkloadKind::DaemonSet)),
            ("DaemonSet", Some(WorkloadKind::DaemonSet)),
            ("daemonsets.apps", Some(WorkloadKind::DaemonSet)),
            ("daemonsets.v1.apps", Some(WorkloadKind::DaemonSet)),
            ("daemonsets.apps.kruise.io", Some(WorkloadKind::AdvancedDaemonSet)),
            (
                "daemonset.v1beta1.apps.kruise.io",
                Some(WorkloadKind::AdvancedDaemonSet),
            ),
            ("ads", Some(WorkloadKind::AdvancedDaemonSet)),
            ("daemon", Some(WorkloadKind::AdvancedDaemonSet)),
            ("ads.apps.kruise.io", None),
            ("clone", Some(WorkloadKind::CloneSet)),
            ("clonesets", Some(WorkloadKind::CloneSet)),
            ("cloneset.apps.kruise.io", Some(WorkloadKind::CloneSet)),
            ("clone.apps.kruise.io", None),
            ("asts", Some(WorkloadKind::StatefulSet)),
            ("sts", Some(WorkloadKind::StatefulSet)),
            ("statefulsets.apps.kruise.io", Some(WorkloadKind::StatefulSet)),
            ("statefulsets.apps", None),
            ("deployment", None),
            ("", None),
        ] {
            assert_eq!(WorkloadKind::named(text), want, "{text}");
        }
        assert_eq!(WorkloadKind::CloneSet.qualified(), "cloneset.apps.kruise.io");
    }
}
