//! The controller of Deployments: one ReplicaSet per template, and the way from one to the next.
//!
//! Each look takes one step of a rollout and tells how it stands. Source: embedded-cluster.md 16; the rules are those of
//! Kubernetes 1.34.

mod history;
mod numbers;
mod progress;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::keys;
use serde_json::{Value, json};

use super::super::wire::Pod;
use super::super::writes::Write;
use super::objects::{Condition, Deployment, ReplicaSet, set_condition};
use super::ownership::Controller;
use super::queue::{Failure, Note, Plan, Sort, Step};

/// Event source.
const SOURCE: &str = "deployment-controller";

/// A Deployment with its ReplicaSets.
struct Rollout<'a> {
    deployment: &'a Deployment,
    /// The set of the current template.
    new: Option<&'a ReplicaSet>,
    /// The others, the oldest first.
    old: Vec<&'a ReplicaSet>,
    failure: Option<&'a Failure>,
    now: Timestamp,
}

/// What a Deployment does next. `candidates` are the ReplicaSets of its namespace, `pods` those that one of them
/// controls, by the uid of the set.
pub(super) fn decide(
    deployment: &Deployment,
    candidates: &[&ReplicaSet],
    pods: &BTreeMap<&str, Vec<&Pod>>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Plan {
    let Some(selector) = deployment.spec.selector.selector() else {
        return Plan::default();
    };
    let controller = Controller {
        api_version: "apps/v1",
        kind: "Deployment",
        meta: &deployment.metadata,
    };
    let sets = candidates.iter().copied();
    let claim = controller.claim(
        &selector,
        Sort::ReplicaSet,
        sets,
        |set| &set.metadata,
        ReplicaSet::path,
    );
    if !claim.steps.is_empty() {
        return Plan::of(claim.steps);
    }
    let rollout = Rollout::new(deployment, claim.owned, failure, now);
    if deployment.metadata.deletion_timestamp.is_some() {
        return Plan::of(rollout.plain_status().into_iter().collect());
    }
    if let Some(step) = rollout.note_pause() {
        return Plan::of(vec![step]);
    }
    if deployment.spec.paused || rollout.is_scaling() {
        return Plan::of(rollout.sync());
    }
    let steps = rollout.prepare(|rollout| match deployment.spec.strategy.kind.as_str() {
        "Recreate" => rollout.recreate(pods),
        _ => rollout.roll(),
    });
    Plan {
        steps,
        again: rollout.deadline(),
    }
}

impl<'a> Rollout<'a> {
    fn new(
        deployment: &'a Deployment,
        mut sets: Vec<&'a ReplicaSet>,
        failure: Option<&'a Failure>,
        now: Timestamp,
    ) -> Self {
        sets.sort_by(|a, b| {
            let age = |set: &ReplicaSet| set.metadata.creation_timestamp;
            age(a)
                .cmp(&age(b))
                .then_with(|| a.metadata.name.cmp(&b.metadata.name))
        });
        let new = sets
            .iter()
            .copied()
            .find(|set| without_hash(&set.spec.template) == without_hash(&deployment.spec.template));
        let is_new = |set: &ReplicaSet| new.is_some_and(|new| new.metadata.uid == set.metadata.uid);
        sets.retain(|set| !is_new(set));
        Self {
            deployment,
            new,
            old: sets,
            failure,
            now,
        }
    }

    /// All sets.
    fn all(&self) -> impl Iterator<Item = &'a ReplicaSet> {
        self.old.iter().copied().chain(self.new)
    }

    fn wanted(&self) -> i64 {
        self.deployment.spec.replicas
    }

    /// How many pods may be there beyond those that are wanted, and how many of these may be missing.
    fn bounds(&self) -> (i64, i64) {
        numbers::bounds(&self.deployment.spec)
    }

    fn is_rolling(&self) -> bool {
        self.deployment.spec.strategy.kind == "RollingUpdate"
    }

    /// Was the Deployment itself scaled since its sets were?
    fn is_scaling(&self) -> bool {
        self.all()
            .filter(|set| set.spec.replicas > 0)
            .filter_map(|set| set.number(keys::DEPLOYMENT_DESIRED_REPLICAS))
            .any(|desired| desired != self.wanted())
    }

    /// Says once that a rollout is paused, and once that it goes on.
    fn note_pause(&self) -> Option<Step> {
        self.progress_deadline()?;
        let known = self.progressing().map_or("", |condition| &condition.reason);
        let (reason, message) = match (self.deployment.spec.paused, known) {
            (_, "ProgressDeadlineExceeded") => return None,
            (true, reason) if reason != "DeploymentPaused" => ("DeploymentPaused", "Deployment is paused"),
            (false, "DeploymentPaused") => ("DeploymentResumed", "Deployment is resumed"),
            _ => return None,
        };
        let mut status = self.deployment.status.clone();
        let condition = self.condition("Progressing", "Unknown", reason, message.to_owned());
        set_condition(&mut status.conditions, condition);
        self.write_status(&status, None)
    }

    /// A paused Deployment, or one that was scaled in the middle of a rollout.
    fn sync(&self) -> Vec<Step> {
        if let Some(step) = self.new.and_then(|set| self.describe(set)) {
            return vec![step];
        }
        let mut steps = self.scale_all();
        if steps.is_empty() && self.deployment.spec.paused {
            steps = self.forget_history();
        }
        steps.extend(self.plain_status());
        steps
    }

    /// Brings the new set's annotations and the Deployment's revision up to date before anything else.
    fn prepare(&self, go_on: impl Fn(&Self) -> Vec<Step>) -> Vec<Step> {
        let Some(new) = self.new else {
            return go_on(self);
        };
        if let Some(step) = self.describe(new) {
            return vec![step];
        }
        let revision = new.metadata.annotations.get(keys::DEPLOYMENT_REVISION);
        let is_told = revision
            == self
                .deployment
                .metadata
                .annotations
                .get(keys::DEPLOYMENT_REVISION);
        let is_found = self.progress_deadline().is_none() || self.progressing().is_some();
        if is_told && is_found {
            return go_on(self);
        }
        let mut status = self.deployment.status.clone();
        if !is_found {
            let message = format!("Found new replica set \"{}\"", new.metadata.name);
            let condition = self.condition("Progressing", "True", "FoundNewReplicaSet", message);
            set_condition(&mut status.conditions, condition);
        }
        let step = self.write_status(&status, revision.map(String::as_str));
        step.into_iter().collect()
    }

    /// One step of a rolling update: up with the new as far as there is room, then down with the old as far as enough
    /// are there.
    fn roll(&self) -> Vec<Step> {
        let Some(new) = self.new else {
            let n = numbers::room_for_new(self, 0);
            return self.create_new(n);
        };
        let target = if new.spec.replicas > self.wanted() {
            self.wanted()
        } else {
            numbers::room_for_new(self, new.spec.replicas)
        };
        let mut steps: Vec<Step> = self.resize(new, target).into_iter().collect();
        if steps.is_empty() {
            let targets = numbers::shrink_old(self, new);
            steps.extend(targets.into_iter().filter_map(|(set, n)| self.resize(set, n)));
        }
        self.finish(steps)
    }

    /// One step of a Recreate: the old go, and the new come when no pod of the old is left.
    fn recreate(&self, pods: &BTreeMap<&str, Vec<&Pod>>) -> Vec<Step> {
        let active = self.old.iter().filter(|set| set.spec.replicas > 0);
        let steps: Vec<Step> = active.filter_map(|set| self.resize(set, 0)).collect();
        if !steps.is_empty() {
            return self.finish(steps);
        }
        let is_left = |set: &&&ReplicaSet| {
            let pods = pods.get(set.metadata.uid.as_str());
            pods.into_iter().flatten().any(|pod| !pod.is_terminal())
        };
        if self.old.iter().any(|set| is_left(&set)) {
            return self.finish(Vec::new());
        }
        match self.new {
            None => self.create_new(self.wanted()),
            Some(new) => self.finish(self.resize(new, self.wanted()).into_iter().collect()),
        }
    }

    /// Ends a look: what is too old goes when the rollout is through, and the status tells how it stands.
    fn finish(&self, mut steps: Vec<Step>) -> Vec<Step> {
        if steps.is_empty() && self.is_complete(&self.status()) {
            steps = self.forget_history();
        }
        steps.extend(self.rollout_status());
        steps
    }

    /// Scales the sets with the Deployment: the only one that counts, or each by its part.
    fn scale_all(&self) -> Vec<Step> {
        let active: Vec<&ReplicaSet> = self.all().filter(|set| set.spec.replicas > 0).collect();
        let sole = match active.as_slice() {
            [] => self.new.or(self.old.last().copied()),
            [one] => Some(*one),
            _ => None,
        };
        if let Some(set) = sole {
            return self.resize(set, self.wanted()).into_iter().collect();
        }
        if self
            .new
            .is_some_and(|new| numbers::is_saturated(new, self.wanted()))
        {
            let old = self.old.iter().filter(|set| set.spec.replicas > 0);
            return old.filter_map(|set| self.resize(set, 0)).collect();
        }
        if !self.is_rolling() {
            return Vec::new();
        }
        let targets = numbers::by_part(self, &active);
        targets
            .into_iter()
            .filter_map(|(set, n)| self.resize_and_mark(set, n))
            .collect()
    }

    /// Gives a set another number of replicas. One that has it already keeps its marks, however old they are.
    fn resize(&self, set: &ReplicaSet, replicas: i64) -> Option<Step> {
        let is_there = set.spec.replicas == replicas;
        (!is_there).then(|| self.resize_and_mark(set, replicas)).flatten()
    }

    /// Gives a set its number of replicas, and notes what its Deployment wanted then.
    fn resize_and_mark(&self, set: &ReplicaSet, replicas: i64) -> Option<Step> {
        let (surge, _) = self.bounds();
        let marks = [
            (keys::DEPLOYMENT_DESIRED_REPLICAS, self.wanted()),
            (keys::DEPLOYMENT_MAX_REPLICAS, self.wanted().saturating_add(surge)),
        ];
        let is_marked = marks.iter().all(|(key, n)| set.number(key) == Some(*n));
        let before = set.spec.replicas;
        if is_marked && before == replicas {
            return None;
        }
        let annotations: BTreeMap<&str, String> =
            marks.into_iter().map(|(key, n)| (key, n.to_string())).collect();
        let body = json!({
            "metadata": {"resourceVersion": set.metadata.resource_version, "annotations": annotations},
            "spec": {"replicas": replicas},
        });
        let step = Step::new(Sort::ReplicaSet, Write::merge(set.path(), body));
        if before == replicas {
            return Some(step);
        }
        let direction = if before < replicas { "up" } else { "down" };
        let name = &set.metadata.name;
        let message = format!("Scaled {direction} replica set {name} from {before} to {replicas}");
        Some(step.noted(self.note(message, None)))
    }

    fn note(&self, message: String, failed: Option<(&'static str, String)>) -> Note {
        Note {
            source: SOURCE,
            kind: "Deployment",
            about: Arc::new(self.deployment.metadata.clone()),
            warns: false,
            done: ("ScalingReplicaSet", message),
            failed,
        }
    }

    /// Makes the set of the current template.
    fn create_new(&self, replicas: i64) -> Vec<Step> {
        let collisions = self.collisions();
        let hash = history::template_hash(&self.deployment.spec.template, collisions);
        let meta = &self.deployment.metadata;
        let name = format!("{}-{hash}", meta.name);
        let revision = self.next_revision();
        let note = self.note(
            format!("Scaled up replica set {name} from 0 to {replicas}"),
            Some((
                "ReplicaSetCreateError",
                format!("Failed to create new replica set \"{name}\": {{}}"),
            )),
        );
        let path = format!("/apis/apps/v1/namespaces/{}/replicasets", meta.namespace);
        let body = self.new_set(&name, &hash, replicas, &revision);
        let mut status = self.deployment.status.clone();
        status.collision_count = Some(collisions).filter(|n| *n > 0);
        if self.progress_deadline().is_some() {
            let message = format!("Created new replica set \"{name}\"");
            let condition = self.condition("Progressing", "True", "NewReplicaSetCreated", message);
            set_condition(&mut status.conditions, condition);
        }
        let step = Step::new(Sort::ReplicaSet, Write::post(path, body)).noted(note);
        let told = self.write_status(&status, Some(&revision));
        let failed = self.failure.filter(|failure| failure.code != 409);
        let mut steps = vec![match told {
            Some(told) => step.then(told),
            None => step,
        }];
        if let Some(failure) = failed.filter(|_| self.progress_deadline().is_some()) {
            let mut status = self.deployment.status.clone();
            let message = failure.message.clone();
            let condition = self.condition("Progressing", "False", "ReplicaSetCreateError", message);
            set_condition(&mut status.conditions, condition);
            steps.extend(self.write_status(&status, None));
        }
        steps
    }

    /// How often a new set's name was taken by another one.
    fn collisions(&self) -> i64 {
        let known = self.deployment.status.collision_count.unwrap_or_default();
        let is_taken = self
            .failure
            .filter(|failure| failure.code == 409 && !failure.reason.is_empty());
        known.saturating_add(is_taken.map_or(0, |failure| failure.times.into()))
    }

    fn new_set(&self, name: &str, hash: &str, replicas: i64, revision: &str) -> Value {
        let Deployment { metadata, spec, .. } = self.deployment;
        let controller = Controller {
            api_version: "apps/v1",
            kind: "Deployment",
            meta: metadata,
        };
        let (surge, _) = self.bounds();
        let mut annotations = history::copied(&metadata.annotations);
        annotations.insert(keys::DEPLOYMENT_REVISION.to_owned(), revision.to_owned());
        annotations.insert(
            keys::DEPLOYMENT_DESIRED_REPLICAS.to_owned(),
            spec.replicas.to_string(),
        );
        let most = spec.replicas.saturating_add(surge);
        annotations.insert(keys::DEPLOYMENT_MAX_REPLICAS.to_owned(), most.to_string());
        let mut template = spec.template.clone();
        set_label(&mut template, hash);
        let mut selector = spec.selector.clone();
        selector
            .match_labels
            .insert(keys::POD_TEMPLATE_HASH.to_owned(), hash.to_owned());
        json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": name, "annotations": annotations, "labels": template.pointer("/metadata/labels"),
                "ownerReferences": [controller.reference()],
            },
            "spec": {
                "replicas": replicas, "minReadySeconds": spec.min_ready_seconds, "selector": selector,
                "template": template,
            },
        })
    }

    fn condition(&self, kind: &str, status: &str, reason: &str, message: String) -> Condition {
        let now = Timestamp::from_second(self.now.as_second()).ok();
        Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            last_update_time: now,
            last_transition_time: now,
            reason: reason.to_owned(),
            message,
        }
    }
}

fn set_label(template: &mut Value, hash: &str) {
    if let Some(metadata) = template
        .as_object_mut()
        .map(|map| map.entry("metadata").or_insert_with(|| json!({})))
        && let Some(labels) = metadata
            .as_object_mut()
            .map(|map| map.entry("labels").or_insert_with(|| json!({})))
            .and_then(Value::as_object_mut)
    {
        labels.insert(keys::POD_TEMPLATE_HASH.to_owned(), hash.into());
    }
}

/// A template without the label that tells its sets apart.
fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    let labels = template
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut);
    if let Some(labels) = labels {
        labels.remove(keys::POD_TEMPLATE_HASH);
    }
    template
}

#[cfg(test)]
mod tests;
