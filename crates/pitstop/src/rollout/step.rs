//! The next writes, as rows.

use pitstop_api::WorkloadKind;
use pitstop_api::view::PodView;
use pitstop_engine::plan::DeleteReason;
use pitstop_engine::snapshot::Nodes;
use pitstop_engine::{Action, Plan, Snapshot, instances};
use serde::Serialize;

/// One write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionRow {
    /// What is done: `delete pod`, `create pod`, ...
    pub action: String,
    /// To which object; absent when its name is not known before it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// On which node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Why, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

fn row(action: &str, name: Option<String>) -> ActionRow {
    ActionRow {
        action: action.to_owned(),
        name,
        node: None,
        why: None,
    }
}

/// The writes of a plan for a DaemonSet.
pub(super) fn of_daemonset(snapshot: &Snapshot<'_>, plan: &Plan) -> Vec<ActionRow> {
    plan.actions
        .iter()
        .map(|action| daemonset_row(snapshot, action))
        .collect()
}

fn daemonset_row(snapshot: &Snapshot<'_>, action: &Action) -> ActionRow {
    match action {
        Action::CreateRevision(revision) => row("create revision", Some(revision.name.clone())),
        Action::RenumberRevision { name, revision, .. } => ActionRow {
            why: Some(format!("becomes revision {revision}")),
            ..row("renumber revision", Some(name.to_string()))
        },
        Action::LabelRevision { name, .. } => row("label revision", Some(name.to_string())),
        Action::DeleteRevision { name, .. } => row("delete revision", Some(name.to_string())),
        Action::Adopt { name, .. } => row("adopt", Some(name.to_string())),
        Action::Release { name, .. } => row("release", Some(name.to_string())),
        Action::RelabelPod { name, .. } => row("relabel pod", Some(name.to_string())),
        Action::SetPodCondition {
            name,
            kind,
            condition,
            ..
        } => ActionRow {
            why: Some(format!(
                "{kind}={}: {}",
                condition.status.as_str(),
                condition.message
            )),
            ..row("set condition", Some(name.to_string()))
        },
        Action::SetCondition { kind, condition } => ActionRow {
            why: Some(format!(
                "{kind}={}: {}",
                condition.status.as_str(),
                condition.reason
            )),
            ..row("set condition", None)
        },
        Action::RollBack { hash, .. } => row("roll back", Some(hash.to_string())),
        Action::CreateJob(job) => ActionRow {
            node: Some(snapshot.nodes.names.name(job.node).to_owned()),
            why: Some(format!("pulls images for {}", job.pod)),
            ..row("create job", Some(job.name.to_string()))
        },
        Action::DeleteJob { name, .. } => row("delete job", Some(name.to_string())),
        Action::CreatePod { node, .. } => ActionRow {
            node: Some(snapshot.nodes.names.name(*node).to_owned()),
            ..row("create pod", None)
        },
        Action::PatchPod { name, uid, why, .. } => ActionRow {
            node: snapshot
                .pods
                .iter()
                .find(|pod| pod.uid == *uid)
                .and_then(|pod| Some(snapshot.nodes.names.name(pod.node?).to_owned())),
            why: Some(why.as_str().to_owned()),
            ..row("change pod", Some(name.to_string()))
        },
        Action::DeletePod { name, node, why, .. } => ActionRow {
            node: node.map(|slot| snapshot.nodes.names.name(slot).to_owned()),
            why: Some(DeleteReason::as_str(*why).to_owned()),
            ..row("delete pod", Some(name.to_string()))
        },
    }
}

/// What rows of a workload are made from whose pods have identities of their own.
pub(super) struct Instances<'a> {
    /// Its kind.
    pub(super) kind: WorkloadKind,
    /// Its name.
    pub(super) name: &'a str,
    /// Its pods.
    pub(super) pods: &'a [&'a PodView],
    /// The nodes.
    pub(super) nodes: Nodes<'a>,
}

impl Instances<'_> {
    /// The writes of its plan.
    pub(super) fn rows(&self, actions: &[instances::Action]) -> Vec<ActionRow> {
        actions.iter().map(|action| instance_row(self, action)).collect()
    }
}

fn instance_row(snapshot: &Instances<'_>, action: &instances::Action) -> ActionRow {
    use instances::Action;
    let node_of = |name: &str| {
        let pod = snapshot.pods.iter().find(|pod| &*pod.name == name)?;
        Some(snapshot.nodes.names.name(pod.node?).to_owned())
    };
    match action {
        Action::CreateRevision { name, .. } => row("create revision", Some(name.to_string())),
        Action::RenumberRevision { name, revision, .. } => ActionRow {
            why: Some(format!("becomes revision {revision}")),
            ..row("renumber revision", Some(name.to_string()))
        },
        Action::DeleteRevision { name, .. } => row("delete revision", Some(name.to_string())),
        Action::ReleasePod { name, .. } => row("release pod", Some(name.to_string())),
        Action::PatchPod { name, why, .. } => ActionRow {
            node: node_of(name),
            why: Some(why.as_str().to_owned()),
            ..row("change pod", Some(name.to_string()))
        },
        Action::CreatePod(pod) => ActionRow {
            why: Some(format!("at {}", pod.revision)),
            // The name of a pod of a CloneSet is made up when it is made.
            ..row(
                "create pod",
                (snapshot.kind == WorkloadKind::StatefulSet).then(|| pod.name.to_string()),
            )
        },
        Action::DeletePod { name, why, .. } => ActionRow {
            node: node_of(name),
            why: Some(why.as_str().to_owned()),
            ..row("delete pod", Some(name.to_string()))
        },
        Action::Adopt { name, .. } => row("adopt", Some(name.to_string())),
        Action::CreateClaim { pod, .. } => ActionRow {
            why: Some(format!("for {pod}")),
            ..row("create claim", None)
        },
        Action::PatchClaim { name, why, .. } => ActionRow {
            why: Some(why.as_str().to_owned()),
            ..row("change claim", Some(name.to_string()))
        },
        Action::ClaimPods { pods, .. } => row("ask arbiter", Some(pods.join(", "))),
        Action::ReleasePods { pods, .. } => row("tell arbiter", Some(pods.join(", "))),
        Action::DeleteClaim { name, .. } => row("delete claim", Some(name.to_string())),
        Action::LeaveClaim { name, pod, .. } => ActionRow {
            why: Some(format!("goes with {pod}")),
            ..row("change claim", Some(name.to_string()))
        },
        Action::PrunePodsToDelete { .. } => ActionRow {
            why: Some("podsToDelete names pods that are gone".to_owned()),
            ..row("change cloneset", Some(snapshot.name.to_owned()))
        },
    }
}
