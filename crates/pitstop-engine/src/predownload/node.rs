//! NodeImages: one for each life of a node, without what nobody wants any more. Source: inplace.md 11.4.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::image_pull::{API_VERSION, GROUP, Kind};
use pitstop_api::selector::Labels;
use pitstop_api::view::{
    ImageTag, NodeImageSpec, NodeImageView, NodeView, ObjectReference, PullPhase, SecretReference, TagStatus,
    Uid,
};
use pitstop_api::{keys, reasons};
use serde_json::{Value, json};

use super::patch::merge_patch;
use super::status::{counted, status_patch};
use crate::availability::{later, until};

/// A node has a NodeImage so long after it became ready. Source: inplace.md 11.4.
pub const CREATE_AFTER: Duration = Duration::from_secs(30);
/// An agent that has said nothing for so long is taken for dead. Source: inplace.md 11.4.
const SILENCE: SignedDuration = SignedDuration::from_mins(10);
/// The same in words.
const SILENT: &str = "node has not responded for a long time (10m0s)";
/// A pull that its agent has not ended in time.
const OVERDUE: &str = "pulling exceeds the activeDeadlineSeconds";
/// A NodeImage is looked at again no sooner. Source: inplace.md 11.4.
const SOONEST: Duration = Duration::from_secs(5);

/// What a decision about one name is made from.
#[derive(Clone, Copy)]
pub struct Snapshot<'a> {
    /// The time of the decision.
    pub now: Timestamp,
    /// The node, if there is one.
    pub node: Option<&'a NodeView>,
    /// Its NodeImage, if there is one.
    pub image: Option<&'a NodeImageView>,
    /// Is this the reference to an ImagePullJob that there is?
    pub jobs: &'a dyn Fn(&ObjectReference) -> bool,
    /// Secrets in no namespace of ours that turned out to be gone.
    pub missing_secrets: &'a BTreeSet<SecretReference>,
    /// How long after it became ready a node gets a NodeImage.
    pub create_after: Duration,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Writes, in their order.
    pub actions: Vec<Action>,
    /// What is told, and to whom: the NodeImage is always among them.
    pub events: Vec<Notice>,
    /// Decide again after this long even if nothing happens.
    pub requeue_after: Option<Duration>,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make the NodeImage.
    Create(Value),
    /// Delete it: its node is gone, or is another one by now.
    Delete(Uid),
    /// Change labels and spec.
    Patch(Value),
    /// Change the status.
    PatchStatus(Value),
}

/// Something to tell the owners of a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The owners.
    pub owners: Vec<ObjectReference>,
    /// Is it a `Warning` rather than `Normal`?
    pub is_warning: bool,
    /// Reason.
    pub reason: &'static str,
    /// Text for people.
    pub message: String,
}

/// Decides for one name.
pub fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = Plan::default();
    match (snapshot.node, snapshot.image) {
        (_, Some(image)) if image.deleted_at.is_some() => {}
        (None, None) => {}
        (None, Some(image)) => {
            if !image.labels.contains_key(keys::FAKE_NODE_IMAGE) {
                plan.actions.push(Action::Delete(image.uid));
                return plan;
            }
            keep(snapshot, image, &mut plan);
        }
        (Some(node), None) => create(snapshot, node, &mut plan),
        // The node was made anew under its name: what its predecessor was to pull is nothing to it.
        (Some(node), Some(image)) if image.node.is_some_and(|of| of != node.uid) => {
            plan.actions.push(Action::Delete(image.uid));
        }
        (Some(_), Some(image)) => keep(snapshot, image, &mut plan),
    }
    plan
}

fn create(snapshot: &Snapshot<'_>, node: &NodeView, plan: &mut Plan) {
    let is_virtual = node
        .labels
        .get(keys::NODE_TYPE)
        .is_some_and(|kind| kind == "virtual-kubelet");
    if is_virtual || !node.is_ready() {
        return;
    }
    let since = node.ready_changed_at().unwrap_or(snapshot.now);
    let wait = SignedDuration::try_from(snapshot.create_after).unwrap_or_default();
    let due = since.saturating_add(wait).unwrap_or(since);
    if due > snapshot.now {
        plan.requeue_after = Some(until(snapshot.now, due));
        return;
    }
    plan.actions.push(Action::Create(json!({
        "apiVersion": API_VERSION, "kind": Kind::NodeImage.name(),
        "metadata": {
            "name": node.name, "labels": node.labels,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": node.name, "uid": node.uid.to_string()}],
        },
        "spec": {},
    })));
}

/// Labels, what goes, and verdicts about a silent agent.
fn keep(snapshot: &Snapshot<'_>, image: &NodeImageView, plan: &mut Plan) {
    let mut wake = Wake {
        now: snapshot.now,
        at: None,
    };
    let spec = without_relics(snapshot, image, &mut wake);
    let mut body = serde_json::Map::new();
    if let Some(labels) = snapshot
        .node
        .and_then(|node| label_patch(&image.labels, &node.labels))
    {
        body.insert("metadata".to_owned(), json!({ "labels": labels }));
    }
    let to_value = |spec: &NodeImageSpec| serde_json::to_value(spec).unwrap_or_default();
    if let Some(patch) = merge_patch(&to_value(&image.spec), &to_value(&spec)) {
        body.insert("spec".to_owned(), patch);
    }
    if !body.is_empty() {
        plan.actions.push(Action::Patch(Value::Object(body)));
    }
    judge(snapshot, image, &spec, plan, &mut wake);
    plan.requeue_after = wake.at.map(|at| until(snapshot.now, at).max(SOONEST));
}

/// The next moment at which something is due.
struct Wake {
    now: Timestamp,
    at: Option<Timestamp>,
}

impl Wake {
    /// Is it time? If not, it is noted.
    fn is_due(&mut self, at: Timestamp) -> bool {
        if at > self.now {
            self.at = Some(self.at.map_or(at, |other| other.min(at)));
        }
        at <= self.now
    }
}

/// The spec without what nobody wants any more.
fn without_relics(snapshot: &Snapshot<'_>, image: &NodeImageView, wake: &mut Wake) -> NodeImageSpec {
    let mut spec = image.spec.clone();
    for (repository, entry) in &mut spec.images {
        entry.pull_secrets.retain(|secret| {
            secret.mode == super::secret::BATCH || !snapshot.missing_secrets.contains(secret)
        });
        entry.tags.retain_mut(|tag| {
            let had_owners = !tag.owner_references.is_empty();
            tag.owner_references
                .retain(|owner| !is_job(owner) || (snapshot.jobs)(owner));
            let is_abandoned = had_owners && tag.owner_references.is_empty();
            let status = image.status.of(repository, &tag.tag);
            !is_abandoned && tag.created_at.is_some() && !is_expired(tag, status, wake)
        });
    }
    spec.images.retain(|_, entry| !entry.tags.is_empty());
    spec
}

fn is_job(owner: &ObjectReference) -> bool {
    let group = owner.api_version.split('/').next().unwrap_or_default();
    group == GROUP && owner.kind == Kind::Job.name()
}

fn is_expired(tag: &ImageTag, status: Option<&TagStatus>, wake: &mut Wake) -> bool {
    let ended_at = status
        .filter(|status| status.version == tag.version)
        .and_then(|status| status.completion_time);
    let ttl = tag
        .pull_policy
        .as_ref()
        .and_then(|policy| policy.ttl_seconds_after_finished);
    match (ended_at, ttl) {
        (Some(ended_at), Some(ttl)) => wake.is_due(later(ended_at, ttl.into())),
        _ => false,
    }
}

/// Labels to set and to remove, so that the NodeImage has those of its node.
fn label_patch(has: &Labels, wanted: &Labels) -> Option<Value> {
    let mut wanted: BTreeMap<&str, &str> = wanted.iter().map(|(key, value)| (&**key, &**value)).collect();
    if let Some(value) = has.get(keys::FAKE_NODE_IMAGE) {
        wanted.insert(keys::FAKE_NODE_IMAGE, value);
    }
    merge_patch(&json!(has), &json!(wanted))
}

/// Pulls that will not be reported any more have failed. A node that is not ready cannot report: it is waited for (13.17).
fn judge(
    snapshot: &Snapshot<'_>,
    image: &NodeImageView,
    spec: &NodeImageSpec,
    plan: &mut Plan,
    wake: &mut Wake,
) {
    let Some(heard_since) = heard_since(snapshot) else {
        return;
    };
    let mut verdicts: BTreeMap<(&str, &str), TagStatus> = BTreeMap::new();
    for (repository, entry) in &spec.images {
        for tag in &entry.tags {
            let Some(created_at) = tag.created_at else {
                continue;
            };
            let status = image.status.of(repository, &tag.tag);
            let status = status.filter(|status| status.version == tag.version);
            let Some(why) = verdict(tag, status, created_at.max(heard_since), wake) else {
                continue;
            };
            plan.events.push(Notice {
                owners: tag.owner_references.clone(),
                is_warning: true,
                reason: reasons::PULL_IMAGE_FAILED,
                message: format!("Image {repository}:{}: {why}", tag.tag),
            });
            let failed = TagStatus {
                tag: tag.tag.clone(),
                phase: PullPhase::Failed,
                version: tag.version,
                start_time: status.and_then(|status| status.start_time),
                completion_time: Some(snapshot.now),
                message: why.to_owned(),
                ..TagStatus::default()
            };
            verdicts.insert((repository, &tag.tag), failed);
        }
    }
    if verdicts.is_empty() {
        return;
    }
    let status = counted(spec, |repository, tag| {
        let judged = verdicts.get(&(repository, tag)).cloned();
        judged.or_else(|| image.status.of(repository, tag).cloned())
    });
    plan.actions
        .extend(status_patch(&image.status, &status).map(Action::PatchStatus));
}

/// Since when the node could have reported; `None` while it cannot.
fn heard_since(snapshot: &Snapshot<'_>) -> Option<Timestamp> {
    match snapshot.node {
        None => Some(Timestamp::MIN),
        Some(node) if node.is_ready() => Some(node.ready_changed_at().unwrap_or(Timestamp::MIN)),
        Some(_) => None,
    }
}

fn verdict(
    tag: &ImageTag,
    status: Option<&TagStatus>,
    since: Timestamp,
    wake: &mut Wake,
) -> Option<&'static str> {
    let patience = |at: Timestamp| at.saturating_add(SILENCE).unwrap_or(Timestamp::MAX);
    match status {
        None if wake.is_due(patience(since)) => Some(SILENT),
        Some(status) if status.completion_time.is_some() => None,
        _ => {
            let deadline = tag.pull_policy.as_ref()?.active_deadline_seconds?;
            wake.is_due(patience(later(since, deadline))).then_some(OVERDUE)
        }
    }
}

#[cfg(test)]
mod tests;
