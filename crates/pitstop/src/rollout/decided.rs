//! What is decided about a workload now, in the words of the commands.

use std::time::Duration;

use anyhow::Context as _;
use pitstop_api::fields::{list, text};
use pitstop_api::view::{PodUpdatePolicy, PodView, RevisionView, RollingType, StrategyType, Uid, UpdateType};
use pitstop_api::{Timestamp, WorkloadKind, reasons};
use pitstop_engine::daemonset::strategy::{self, Model};
use pitstop_engine::inplace::is_same_revision;
use pitstop_engine::instances::Action;
use pitstop_engine::plan::{Event, Progress, Waiting};
use pitstop_engine::snapshot::Nodes;
use pitstop_engine::snapshot::file::{AnySnapshot, SnapshotFile, StatefulSnapshot};
use pitstop_engine::{Plan, Snapshot, cloneset, daemonset, statefulset};
use serde_json::Value;

use super::revisions::{self, RevisionRow};
use super::rows::Facts;
use super::step::{self, ActionRow};
use super::{PodRow, Rollout};

/// A workload, and what its controller would do about it now.
#[derive(Debug, Clone)]
pub struct Decided {
    /// How far it is, and why each pod waits.
    pub rollout: Rollout,
    /// Its revisions, oldest first.
    pub revisions: Vec<RevisionRow>,
    /// What would be written, in order.
    pub actions: Vec<ActionRow>,
    /// Warnings that would be published.
    pub warnings: Vec<String>,
    /// When it would be decided again even if nothing happens.
    pub requeue_after: Option<Duration>,
}

/// Decides as the controller does.
///
/// # Errors
/// The file holds something that is no workload, pod, revision, claim or node.
pub fn decide(file: &SnapshotFile) -> anyhow::Result<Decided> {
    let loaded = file.load().context("reading the snapshot")?;
    let mut decided = match loaded.snapshot() {
        AnySnapshot::DaemonSet(snapshot) => of_daemonset(&snapshot),
        AnySnapshot::CloneSet(snapshot) => of_cloneset(&snapshot),
        AnySnapshot::StatefulSet(snapshot) => of_statefulset(&snapshot),
    };
    decided.rollout.unseen_generation = unseen_generation(file.workload.object());
    decided.rollout.failing = failing(file.workload.object());
    Ok(decided)
}

/// The generation of an object that its controller has not acted on yet. Every kind that rolls out says in its status which one
/// it did act on.
fn unseen_generation(object: &Value) -> Option<i64> {
    let number = |place| object.pointer(place).and_then(Value::as_i64).unwrap_or_default();
    let generation = number("/metadata/generation");
    (number("/status/observedGeneration") < generation).then_some(generation)
}

/// What failed when it was last tried, by the conditions that say so of the kinds that have them.
fn failing(object: &Value) -> Vec<String> {
    const KINDS: [&str; 4] = [
        reasons::FAILED_SCALE,
        reasons::FAILED_UPDATE,
        reasons::FAILED_CREATE_POD,
        reasons::FAILED_UPDATE_POD,
    ];
    let conditions = list(object, "/status/conditions").iter();
    let true_ones = conditions.filter(|condition| text(condition, "/status") == "True");
    let failing = true_ones.filter(|condition| KINDS.contains(&text(condition, "/type")));
    let words = |condition| format!("{}: {}", text(condition, "/type"), text(condition, "/message"));
    failing.map(words).collect()
}

fn of_daemonset(snapshot: &Snapshot<'_>) -> Decided {
    let plan = daemonset::plan(snapshot);
    let owner = snapshot.daemonset;
    let facts = Facts {
        now: snapshot.now,
        owner: owner.uid,
        pods: &snapshot.pods,
        nodes: snapshot.nodes,
        waiting: &plan.waiting,
    };
    let target = plan.progress.target.as_deref().map(str::to_owned);
    let owned = revisions::owned(&snapshot.revisions, owner.uid);
    let revisions = revisions::rows(owned, |revision| {
        let n_pods = facts.pods.iter().filter(|pod| super::rows::is_of(pod, owner.uid));
        let n_pods = n_pods
            .filter(|pod| pod.revision_hash() == Some(revision.hash()))
            .count();
        (
            revision.hash().to_owned(),
            n_pods,
            target.as_deref() == Some(revision.hash()),
        )
    });
    Decided {
        rollout: rollout_of_daemonset(snapshot, &plan, facts.rows()),
        revisions,
        actions: step::of_daemonset(snapshot, &plan),
        warnings: warnings(&plan.events),
        requeue_after: plan.requeue_after,
    }
}

fn rollout_of_daemonset(snapshot: &Snapshot<'_>, plan: &Plan, pods: Vec<PodRow>) -> Rollout {
    let daemonset = snapshot.daemonset;
    let rolling_type = daemonset
        .advanced
        .as_deref()
        .map(|advanced| &advanced.rolling_type);
    let model = match &daemonset.advanced {
        None => strategy::read(daemonset).model,
        // The annotations of OpenYurt have no meaning there.
        Some(_) => Model::Native,
    };
    let strategy = match (model, &daemonset.strategy.kind) {
        (Model::AdvancedRollingUpdate, _) => "AdvancedRollingUpdate",
        (Model::Ota, _) => "OTA",
        (Model::Invalid, _) => "Invalid",
        (Model::Native, StrategyType::RollingUpdate) => match rolling_type {
            None => "RollingUpdate",
            Some(RollingType::Standard) => "Standard",
            Some(RollingType::InPlaceIfPossible) => "InPlaceIfPossible",
            Some(RollingType::Other(other)) => other,
        },
        (Model::Native, StrategyType::OnDelete) => "OnDelete",
        (Model::Native, StrategyType::Other(other)) => other,
    };
    Rollout {
        kind: daemonset.workload_kind(),
        namespace: daemonset.namespace.to_string(),
        name: daemonset.name.to_string(),
        strategy: strategy.to_owned(),
        target: plan.progress.target.as_deref().map(str::to_owned),
        desired: plan.progress.pods,
        present: plan.progress.pods,
        updated: plan.progress.updated,
        available: daemonset.status.number_available,
        unavailable: plan.progress.unavailable,
        limit: plan.progress.limit,
        unseen_generation: None,
        failing: Vec::new(),
        not_ready_nodes: Rollout::not_ready(&pods),
        pods,
        warnings: warnings(&plan.events),
    }
}

/// What is decided about a workload whose pods have identities of their own.
struct Instances<'a> {
    kind: WorkloadKind,
    namespace: &'a str,
    name: &'a str,
    uid: Uid,
    now: Timestamp,
    pods: &'a [&'a PodView],
    revisions: &'a [&'a RevisionView],
    nodes: Nodes<'a>,
    strategy: String,
    desired: u32,
    available: u32,
    actions: &'a [Action],
    waiting: &'a [Waiting],
    events: &'a [Event],
    progress: &'a Progress,
    requeue_after: Option<Duration>,
}

impl Instances<'_> {
    fn decided(self) -> Decided {
        let facts = Facts {
            now: self.now,
            owner: self.uid,
            pods: self.pods,
            nodes: self.nodes,
            waiting: self.waiting,
        };
        let target = self.progress.target.as_deref().map(str::to_owned);
        let owned = revisions::owned(self.revisions, self.uid);
        let revisions = revisions::rows(owned, |revision| {
            let is_at = |label: &str| is_same_revision(label, &revision.name);
            let pods = self.pods.iter();
            let n_pods = pods.filter(|pod| pod.revision_hash().is_some_and(is_at)).count();
            (
                revision.name.to_string(),
                n_pods,
                target.as_deref().is_some_and(is_at),
            )
        });
        let pods = facts.rows();
        let rows = step::Instances {
            kind: self.kind,
            name: self.name,
            pods: self.pods,
            nodes: self.nodes,
        };
        Decided {
            rollout: Rollout {
                kind: self.kind,
                namespace: self.namespace.to_owned(),
                name: self.name.to_owned(),
                strategy: self.strategy,
                target,
                desired: self.desired,
                present: self.progress.pods,
                updated: self.progress.updated,
                available: self.available,
                unavailable: self.progress.unavailable,
                limit: self.progress.limit,
                unseen_generation: None,
                failing: Vec::new(),
                not_ready_nodes: Rollout::not_ready(&pods),
                pods,
                warnings: warnings(self.events),
            },
            revisions,
            actions: rows.rows(self.actions),
            warnings: warnings(self.events),
            requeue_after: self.requeue_after,
        }
    }
}

fn of_cloneset(snapshot: &cloneset::Snapshot<'_>) -> Decided {
    let plan = cloneset::plan(snapshot);
    let owner = snapshot.cloneset;
    let policy = owner
        .update
        .rolling
        .as_ref()
        .map(|rolling| &rolling.pod_update_policy);
    let decided = Instances {
        kind: WorkloadKind::CloneSet,
        namespace: &owner.namespace,
        name: &owner.name,
        uid: owner.uid,
        now: snapshot.now,
        pods: &snapshot.pods,
        revisions: &snapshot.revisions,
        nodes: snapshot.nodes,
        strategy: strategy_of(&owner.update.kind, policy),
        desired: owner.replicas,
        available: owner.status.available_replicas,
        actions: &plan.actions,
        waiting: &plan.waiting,
        events: &plan.events,
        progress: &plan.progress,
        requeue_after: plan.requeue_after,
    };
    decided.decided()
}

fn of_statefulset(file: &StatefulSnapshot<'_>) -> Decided {
    let snapshot = &file.decided_on;
    let plan = statefulset::plan(snapshot);
    let owner = snapshot.set;
    let policy = owner.rolling.as_ref().map(|rolling| &rolling.pod_update_policy);
    let decided = Instances {
        kind: WorkloadKind::StatefulSet,
        namespace: &owner.namespace,
        name: &owner.name,
        uid: owner.uid,
        now: snapshot.now,
        pods: &snapshot.pods,
        revisions: &snapshot.revisions,
        nodes: file.nodes,
        strategy: strategy_of(&owner.update, policy),
        desired: owner.replicas,
        available: owner.status.available_replicas,
        actions: &plan.actions,
        waiting: &plan.waiting,
        events: &plan.events,
        progress: &plan.progress,
        requeue_after: plan.requeue_after,
    };
    decided.decided()
}

fn strategy_of(kind: &UpdateType, policy: Option<&PodUpdatePolicy>) -> String {
    match (kind, policy) {
        (UpdateType::OnDelete, _) => "OnDelete",
        (UpdateType::Other(other), _) | (_, Some(PodUpdatePolicy::Other(other))) => other,
        (_, None | Some(PodUpdatePolicy::ReCreate)) => "ReCreate",
        (_, Some(PodUpdatePolicy::InPlaceIfPossible)) => "InPlaceIfPossible",
        (_, Some(PodUpdatePolicy::InPlaceOnly)) => "InPlaceOnly",
    }
    .to_owned()
}

fn warnings(events: &[Event]) -> Vec<String> {
    let warnings = events.iter().filter(|event| event.is_warning);
    warnings
        .map(|event| format!("{}: {}", event.reason, event.message))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_fails_is_told_by_its_condition() {
        let condition = |kind, status| json!({ "type": kind, "status": status, "message": "no" });
        let conditions = [
            condition("FailedCreatePod", "True"),
            condition("FailedUpdatePod", "False"),
            condition("UpdateBlocked", "True"),
            condition("FailedScale", "True"),
        ];
        assert_eq!(
            failing(&json!({ "status": { "conditions": conditions } })),
            ["FailedCreatePod: no", "FailedScale: no"]
        );
        assert!(failing(&json!({})).is_empty());
    }
}
