//! How each kind tells what became of its pods. Sources: cloneset.md 13; statefulset.md 10.1.

use pitstop_api::WorkloadKind;
use pitstop_api::reasons;
use pitstop_engine::instances::ClaimWhy;
use serde_json::Value;

use crate::api::CallError;

/// An event to publish: its reason and its text.
pub(super) type Told = (&'static str, String);

/// The words of one workload.
#[derive(Debug, Clone, Copy)]
pub(in crate::executor) struct Words<'a> {
    pub(in crate::executor) kind: WorkloadKind,
    /// Name of the workload.
    pub(in crate::executor) name: &'a str,
}

impl Words<'_> {
    fn is_stateful(self) -> bool {
        self.kind == WorkloadKind::StatefulSet
    }

    fn of_pod(self, verb: &str, pod: &str) -> String {
        format!("{verb} Pod {pod} in StatefulSet {}", self.name)
    }

    pub(super) fn created(self, pod: &str) -> Told {
        let text = if self.is_stateful() {
            format!("{} successful", self.of_pod("create", pod))
        } else {
            format!("succeed to create pod {pod}")
        };
        (reasons::SUCCESSFUL_CREATE, text)
    }

    pub(super) fn not_created(self, pod: &str, error: &CallError, manifest: &Value) -> Told {
        let text = if self.is_stateful() {
            format!("{} failed error: {error}", self.of_pod("create", pod))
        } else {
            format!("failed to create pod: {error}, pod: {manifest}")
        };
        (reasons::FAILED_CREATE, text)
    }

    pub(super) fn deleted(self, pod: &str) -> Told {
        let text = if self.is_stateful() {
            format!("{} successful", self.of_pod("delete", pod))
        } else {
            format!("succeed to delete pod {pod}")
        };
        (reasons::SUCCESSFUL_DELETE, text)
    }

    pub(super) fn not_deleted(self, pod: &str, error: &CallError) -> Told {
        let text = if self.is_stateful() {
            format!("{} failed error: {error}", self.of_pod("delete", pod))
        } else {
            format!("failed to delete pod {pod}: {error}")
        };
        (reasons::FAILED_DELETE, text)
    }

    /// StatefulSets tell of a failure twice.
    pub(super) fn not_deleted_again(self, pod: &str, error: &CallError) -> Option<Told> {
        let text = format!("failed to delete pod {pod}: {error}");
        self.is_stateful().then_some((reasons::FAILED_DELETE, text))
    }

    /// CloneSets do not tell of claims that they made.
    pub(super) fn claim_created(self, claim: &str, pod: &str) -> Option<Told> {
        let text = format!(
            "create Claim {claim} Pod {pod} in StatefulSet {} success",
            self.name
        );
        self.is_stateful().then_some((reasons::SUCCESSFUL_CREATE, text))
    }

    pub(super) fn claim_not_created(self, claim: &Value, pod: &str, error: &CallError) -> Told {
        let text = if self.is_stateful() {
            let claim = super::claims::name_of(claim);
            let set = self.name;
            format!("create Claim {claim} for Pod {pod} in StatefulSet {set} failed error: {error}")
        } else {
            format!("failed to create pvc: {error}, pvc: {claim}")
        };
        (reasons::FAILED_CREATE, text)
    }

    /// A claim was changed. With whom it goes is nobody's news.
    pub(super) fn claim_changed(self, claim: &str, pod: &str, why: ClaimWhy) -> Option<Told> {
        let text = format!(
            "resize Claim {claim} Pod {pod} in StatefulSet {} success",
            self.name
        );
        (why == ClaimWhy::Resize).then_some((reasons::SUCCESSFUL_RESIZE, text))
    }

    pub(super) fn claim_not_changed(self, claim: &str, pod: &str, why: ClaimWhy, error: &CallError) -> Told {
        let set = self.name;
        let text =
            |verb| format!("{verb} Claim {claim} for Pod {pod} in StatefulSet {set} failed error: {error}");
        match why {
            ClaimWhy::Owners => (reasons::FAILED_UPDATE, text("update")),
            ClaimWhy::Resize => (reasons::FAILED_RESIZE, text("resize")),
        }
    }

    /// A pod is updated in place, as `text` says. DaemonSets leave the revision out. Source: daemonset.md D2.
    pub(super) fn updated_in_place(self, pod: &str, text: String) -> Told {
        let text = match self.kind {
            WorkloadKind::AdvancedDaemonSet => format!("successfully update pod {pod} in-place"),
            WorkloadKind::DaemonSet | WorkloadKind::CloneSet | WorkloadKind::StatefulSet => text,
        };
        (reasons::SUCCESSFUL_UPDATE_IN_PLACE, text)
    }

    /// A pod of a StatefulSet has its identity again.
    pub(super) fn identified(self, pod: &str) -> Told {
        let text = format!("{} successful", self.of_pod("update", pod));
        (reasons::SUCCESSFUL_UPDATE, text)
    }

    pub(super) fn not_identified(self, pod: &str, error: &CallError) -> Told {
        let text = format!("{} failed error: {error}", self.of_pod("update", pod));
        (reasons::FAILED_UPDATE, text)
    }
}
