//! ImagePullJobs: which nodes are meant, who is next, and how far it is. Source: inplace.md 11.3.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pitstop_api::image_pull::protection::is_protected;
use pitstop_api::image_pull::{API_VERSION, Kind, MOST_IMAGES, Reference};
use pitstop_api::keys;
use pitstop_api::view::{
    ImagePullJobSpec, ImagePullJobStatus, ImagePullJobView, ImageSpec, ImageTag, NodeImageSpec,
    NodeImageView, ObjectReference, PullPhase, PullPolicy, SecretReference, Uid,
};
use serde_json::{Value, json};

use super::patch::merge_patch;
use crate::availability::{later, until};

/// How long the entry of a finished pull stays on top of what the job says. Units: seconds. Source: inplace.md 11.3, flag
/// `--default-ttlseconds-for-always-nodeimage`.
const EXTRA_TTL: u32 = 300;
/// Entries of one job expire within so long of each other. Units: seconds. Source: inplace.md 11.3.
const TTL_SPREAD: u64 = 300;
/// Jobs that never end pull again after about this time, give or take [`NEVER_SPREAD`]. Units: seconds.
const NEVER_TTL: u32 = 24 * 3600;
/// Units: seconds.
const NEVER_SPREAD: u32 = 600;
/// Shortest deadline of a pull for a job that never ends. Units: seconds. Source: inplace.md 11.3.
const NEVER_DEADLINE: u32 = 1800;
/// A job is looked at again no sooner. Source: inplace.md 11.3.
const SOONEST: Duration = Duration::from_secs(1);

/// What a decision about a job is made from.
#[derive(Debug, Clone)]
pub struct Snapshot<'a> {
    /// The time of the decision.
    pub now: Timestamp,
    /// The job.
    pub job: &'a ImagePullJobView,
    /// The nodes that are meant, the next first, as far as they have a NodeImage.
    pub targets: Vec<Target<'a>>,
    /// The copies of its secrets that nodes may read.
    pub secrets: &'a [SecretReference],
    /// Spreads the expiry of entries: any number.
    pub seed: u64,
}

/// A node that is meant.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Its NodeImage.
    pub image: &'a NodeImageView,
    /// Is the node ready? One that is not takes no place from others, and is not called failed (13.17).
    pub is_ready: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Writes, in their order.
    pub actions: Vec<Action>,
    /// The status to write, when it differs from the object's.
    pub status: Option<ImagePullJobStatus>,
    /// Decide again after this long even if nothing happens.
    pub requeue_after: Option<Duration>,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Hold the job until its secrets are released.
    AddFinalizer(Vec<String>),
    /// Release its secrets, and then let it go. These finalizers stay.
    Release(Vec<String>),
    /// Delete the job: it ended long ago.
    Delete,
    /// Change what a node is to pull.
    Want {
        /// Name of the node.
        node: Arc<str>,
        /// Uid of its NodeImage, as precondition.
        uid: Uid,
        /// The version that was decided on, as precondition.
        resource_version: u64,
        /// Merge patch of `spec`.
        patch: Value,
    },
}

/// The NodeImages that a job means, the next first. `nodes_of_pods`: the nodes of the active pods that its pod selector
/// selects, in the order in which pods are updated.
pub fn select<'a>(
    spec: &ImagePullJobSpec,
    all: impl Iterator<Item = &'a NodeImageView>,
    get: impl Fn(&str) -> Option<&'a NodeImageView>,
    nodes_of_pods: &[Arc<str>],
) -> Vec<&'a NodeImageView> {
    let is_alive = |image: &&NodeImageView| image.deleted_at.is_none();
    if spec.pod_selector.is_some() {
        let mut seen = BTreeSet::new();
        let nodes = nodes_of_pods.iter().filter(|node| seen.insert((*node).clone()));
        return nodes.filter_map(|node| get(node)).filter(is_alive).collect();
    }
    let Some(selector) = &spec.selector else {
        return all.filter(is_alive).collect();
    };
    if !selector.names.is_empty() {
        let names: BTreeSet<&String> = selector.names.iter().collect();
        return names
            .into_iter()
            .filter_map(|name| get(name))
            .filter(is_alive)
            .collect();
    }
    let Some(labels) = selector.labels.selector() else {
        return Vec::new();
    };
    all.filter(is_alive)
        .filter(|image| labels.matches(&image.labels))
        .collect()
}

/// Decides what is written for a job now.
pub fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let Snapshot { now, job, .. } = snapshot;
    let is_held = job
        .finalizers
        .iter()
        .any(|finalizer| finalizer == keys::FINALIZER_IMAGE_PULL_JOB);
    let others = || -> Vec<String> {
        let finalizers = job.finalizers.iter();
        finalizers
            .filter(|finalizer| *finalizer != keys::FINALIZER_IMAGE_PULL_JOB)
            .cloned()
            .collect()
    };
    let mut plan = Plan::default();
    let ended_at = job.status.completion_time;
    if job.deleted_at.is_some() || ended_at.is_some() {
        if is_held {
            plan.actions.push(Action::Release(others()));
        }
        let ttl = job.spec.completion_policy.ttl_seconds_after_finished;
        let stays = job
            .labels
            .get(keys::DELETE_PROTECTION)
            .is_some_and(|label| is_protected(label));
        if let (None, Some(ended_at), Some(ttl), false) = (job.deleted_at, ended_at, ttl, stays) {
            let goes_at = later(ended_at, ttl.into());
            if goes_at <= *now {
                plan.actions.push(Action::Delete);
            } else {
                plan.requeue_after = Some(until(*now, goes_at));
            }
        }
        return plan;
    }
    let Ok(image) = Reference::parse(&job.spec.image) else {
        // Admission does not let it in; one that came past it waits for a better image.
        let message = format!("{:?} is not a reference to an image", job.spec.image);
        let status = ImagePullJobStatus {
            message,
            ..job.status.clone()
        };
        plan.status = (status != job.status).then_some(status);
        return plan;
    };
    if !is_held {
        let mut finalizers = others();
        finalizers.push(keys::FINALIZER_IMAGE_PULL_JOB.to_owned());
        plan.actions.push(Action::AddFinalizer(finalizers));
    }
    let progress = Progress::of(snapshot, &image);
    let status = progress.status(snapshot);
    if status.completion_time.is_none() {
        plan.actions.extend(extend(snapshot, &image, &progress));
        plan.requeue_after = deadline(snapshot, &status).map(|at| until(*now, at).max(SOONEST));
    }
    plan.status = (status != job.status).then_some(status);
    plan
}

/// When the job ends at the latest.
fn deadline(snapshot: &Snapshot<'_>, status: &ImagePullJobStatus) -> Option<Timestamp> {
    let policy = &snapshot.job.spec.completion_policy;
    let seconds = policy.active_deadline_seconds.filter(|_| !policy.is_never())?;
    Some(later(status.start_time.unwrap_or(snapshot.now), seconds))
}

/// Where each node is.
struct Progress<'a> {
    succeeded: Vec<&'a NodeImageView>,
    failed: Vec<&'a NodeImageView>,
    pulling: Vec<Target<'a>>,
    /// Those that do not know of the job yet, or lack one of its secrets: the latter pull as well.
    unsynced: Vec<Target<'a>>,
}

impl<'a> Progress<'a> {
    fn of(snapshot: &Snapshot<'a>, image: &Reference) -> Self {
        let mut progress = Self {
            succeeded: Vec::new(),
            failed: Vec::new(),
            pulling: Vec::new(),
            unsynced: Vec::new(),
        };
        let uid = snapshot.job.uid.to_string();
        for target in &snapshot.targets {
            let node = target.image;
            let tag = node.spec.of(&image.repository, &image.tag);
            let Some(tag) = tag.filter(|tag| is_owned(tag, &uid)) else {
                progress.unsynced.push(*target);
                continue;
            };
            if lacks_secrets(node, image, snapshot.secrets) {
                progress.unsynced.push(*target);
            }
            let status = node.status.of(&image.repository, &image.tag);
            match status
                .filter(|status| status.version == tag.version)
                .map(|status| status.phase)
            {
                Some(PullPhase::Succeeded) => progress.succeeded.push(node),
                Some(PullPhase::Failed) => progress.failed.push(node),
                _ => progress.pulling.push(*target),
            }
        }
        progress
    }

    fn status(&self, snapshot: &Snapshot<'_>) -> ImagePullJobStatus {
        let policy = &snapshot.job.spec.completion_policy;
        let mut failed_nodes: BTreeSet<&str> = self.failed.iter().map(|node| &*node.name).collect();
        let mut status = ImagePullJobStatus {
            start_time: snapshot.job.status.start_time.or(Some(snapshot.now)),
            desired: count(snapshot.targets.len()),
            active: count(self.pulling.len()),
            succeeded: count(self.succeeded.len()),
            ..ImagePullJobStatus::default()
        };
        let is_overdue = deadline(snapshot, &status).is_some_and(|at| at <= snapshot.now);
        let n_done = self.succeeded.len().saturating_add(self.failed.len());
        if is_overdue {
            let rest = self.pulling.iter().chain(&self.unsynced);
            let succeeded: BTreeSet<&str> = self.succeeded.iter().map(|node| &*node.name).collect();
            let rest = rest
                .map(|target| &*target.image.name)
                .filter(|name| !succeeded.contains(name));
            failed_nodes.extend(rest);
            status.active = 0;
            status.completion_time = Some(snapshot.now);
            "job exceeds activeDeadlineSeconds".clone_into(&mut status.message);
        } else if !policy.is_never() && n_done == snapshot.targets.len() {
            status.completion_time = Some(snapshot.now);
            "job has completed".clone_into(&mut status.message);
        } else {
            status.message = self.message(n_done, snapshot.targets.len());
        }
        status.failed = count(failed_nodes.len());
        status.failed_nodes = failed_nodes.into_iter().map(str::to_owned).collect();
        status
    }

    fn message(&self, n_done: usize, n: usize) -> String {
        let waiting = self.pulling.iter().chain(&self.unsynced);
        let away: BTreeSet<&str> = waiting
            .filter(|target| !target.is_ready)
            .map(|target| &*target.image.name)
            .collect();
        let tenths = n_done.saturating_mul(1000).saturating_add(n / 2).checked_div(n);
        let mut message = match tenths {
            None => "job is running, no progress".to_owned(),
            Some(tenths) => format!("job is running, progress {}.{}%", tenths / 10, tenths % 10),
        };
        match away.len() {
            0 => {}
            1 => message.push_str(", waiting for 1 node that is not ready"),
            n => {
                let more = format!(", waiting for {n} nodes that are not ready");
                message.push_str(&more);
            }
        }
        message
    }
}

/// Writes for nodes whose turn it is, and later edits of the policy for those that know of the job (13.16).
fn extend(snapshot: &Snapshot<'_>, image: &Reference, progress: &Progress<'_>) -> Vec<Action> {
    let spec = &snapshot.job.spec;
    let n_active = progress.pulling.iter().filter(|target| target.is_ready).count();
    let at_once = usize::try_from(spec.nodes_at_once()).unwrap_or(usize::MAX);
    let budget = at_once.saturating_sub(n_active);
    let has_room = |target: &&Target<'_>| {
        let images = &target.image.spec.images;
        images.contains_key(&image.repository) || images.len() < MOST_IMAGES
    };
    let next = progress
        .unsynced
        .iter()
        .filter(|target| target.is_ready)
        .filter(has_room)
        .take(budget);
    let mut actions: Vec<Action> = next
        .filter_map(|target| want(target.image, &wanted(snapshot, image, target.image)))
        .collect();
    let edited = progress.pulling.iter().filter_map(|target| {
        let spec = edited(snapshot, image, target.image)?;
        want(target.image, &spec)
    });
    let has_action = |node: &Arc<str>| {
        let mut actions = actions.iter();
        actions.any(|action| matches!(action, Action::Want { node: other, .. } if other == node))
    };
    let edited: Vec<Action> = edited
        .filter(|action| matches!(action, Action::Want { node, .. } if !has_action(node)))
        .collect();
    actions.extend(edited);
    actions
}

/// What a node is to pull when this job is added, its secrets or its owner alone where the rest is there.
fn wanted(snapshot: &Snapshot<'_>, image: &Reference, node: &NodeImageView) -> NodeImageSpec {
    let job = snapshot.job;
    let mut spec = node.spec.clone();
    let entry = spec.images.entry(image.repository.clone()).or_default();
    for secret in snapshot.secrets {
        if !entry.pull_secrets.contains(secret) {
            entry.pull_secrets.push(secret.clone());
        }
    }
    let uid = job.uid.to_string();
    match entry.tags.iter_mut().find(|tag| tag.tag == image.tag) {
        Some(tag) if is_owned(tag, &uid) => {}
        Some(tag) => {
            tag.version = tag.version.saturating_add(1);
            tag.owner_references.push(owner(job));
            tag.created_at = Some(snapshot.now);
            tag.image_pull_policy.clone_from(&job.spec.image_pull_policy);
        }
        None => {
            let before = node.status.of(&image.repository, &image.tag);
            entry.tags.push(ImageTag {
                tag: image.tag.clone(),
                version: before.map_or(0, |status| status.version.saturating_add(1)),
                created_at: Some(snapshot.now),
                image_pull_policy: job.spec.image_pull_policy.clone(),
                owner_references: vec![owner(job)],
                pull_policy: Some(policy_of(job, node, snapshot.seed)),
            });
            entry.tags.sort_by(|a, b| a.tag.cmp(&b.tag));
            if job.spec.sandbox_config.is_some() {
                entry.sandbox_config.clone_from(&job.spec.sandbox_config);
            }
        }
    }
    spec
}

/// The spec with the job's policy as it is now, where the entry is the job's alone and has another.
fn edited(snapshot: &Snapshot<'_>, image: &Reference, node: &NodeImageView) -> Option<NodeImageSpec> {
    let mut spec = node.spec.clone();
    let entry: &mut ImageSpec = spec.images.get_mut(&image.repository)?;
    let tag = entry.tags.iter_mut().find(|tag| tag.tag == image.tag)?;
    if tag.owner_references.len() != 1 {
        return None;
    }
    let wanted = policy_of(snapshot.job, node, snapshot.seed);
    let has = tag.pull_policy.clone().unwrap_or_default();
    let limits = |policy: &PullPolicy| {
        (
            policy.timeout(),
            policy.backoff_limit,
            policy.active_deadline_seconds,
        )
    };
    if limits(&has) == limits(&wanted) {
        return None;
    }
    tag.pull_policy = Some(PullPolicy {
        ttl_seconds_after_finished: has.ttl_seconds_after_finished,
        ..wanted
    });
    Some(spec)
}

fn want(node: &NodeImageView, spec: &NodeImageSpec) -> Option<Action> {
    let json = |spec: &NodeImageSpec| serde_json::to_value(spec).unwrap_or_default();
    let patch = merge_patch(&json(&node.spec), &json(spec))?;
    Some(Action::Want {
        node: Arc::clone(&node.name),
        uid: node.uid,
        resource_version: node.resource_version,
        patch: json!({ "spec": patch }),
    })
}

/// How patient a node is with this job. Source: inplace.md 11.3, 13.16.
fn policy_of(job: &ImagePullJobView, node: &NodeImageView, seed: u64) -> PullPolicy {
    let policy = &job.spec.pull_policy;
    let completion = &job.spec.completion_policy;
    let (timeout, retries) = (policy.timeout(), policy.retries());
    let drawn =
        |below: u64| u32::try_from(spread(seed, &node.name).checked_rem(below).unwrap_or(0)).unwrap_or(0);
    let (ttl, deadline) = if completion.is_never() {
        let around = drawn(u64::from(NEVER_SPREAD).saturating_mul(2).saturating_add(1));
        let ttl = NEVER_TTL.saturating_sub(NEVER_SPREAD).saturating_add(around);
        let all_attempts = timeout.saturating_mul(retries.saturating_add(1));
        (ttl, Some(i64::from(NEVER_DEADLINE.max(all_attempts))))
    } else {
        let deadline = completion.active_deadline_seconds;
        let base = completion
            .ttl_seconds_after_finished
            .or_else(|| deadline.and_then(|seconds| u32::try_from(seconds).ok()))
            .unwrap_or_else(|| timeout.saturating_mul(retries));
        let ttl = base.saturating_add(EXTRA_TTL).saturating_add(drawn(TTL_SPREAD));
        (ttl, deadline)
    };
    PullPolicy {
        timeout_seconds: Some(timeout),
        backoff_limit: Some(
            policy
                .backoff_limit
                .unwrap_or(pitstop_api::image_pull::BACKOFF_LIMIT),
        ),
        ttl_seconds_after_finished: Some(ttl),
        active_deadline_seconds: deadline,
    }
}

/// A number for a node, the same for the same seed.
fn spread(seed: u64, name: &str) -> u64 {
    let mixed = name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mixed ^ (mixed >> 33)
}

fn owner(job: &ImagePullJobView) -> ObjectReference {
    ObjectReference {
        api_version: API_VERSION.to_owned(),
        kind: Kind::Job.name().to_owned(),
        namespace: job.namespace.to_string(),
        name: job.name.to_string(),
        uid: job.uid.to_string(),
    }
}

fn is_owned(tag: &ImageTag, uid: &str) -> bool {
    tag.owner_references.iter().any(|owner| owner.uid == uid)
}

fn lacks_secrets(node: &NodeImageView, image: &Reference, secrets: &[SecretReference]) -> bool {
    let known = node
        .spec
        .images
        .get(&image.repository)
        .map(|entry| &entry.pull_secrets);
    secrets
        .iter()
        .any(|secret| !known.is_some_and(|known| known.contains(secret)))
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
