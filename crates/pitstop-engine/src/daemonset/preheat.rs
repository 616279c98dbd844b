//! Image preheat: pulls the images of the revision that waits before the owner of the node lets it in.
//!
//! The owner's hub sets `PodImageReady` to False for a revision; a Job on that node pulls its images; the condition tells
//! how it went, and until then the hub lets no upgrade begin. An image counts by its presence on the node, whatever
//! becomes of the container that pulled it: many images have no shell and no `true`.
//!
//! Source: daemonset.md C9, Better than upstream 13; hub.md A6, B9.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::view::{ConditionStatus, DaemonSetView, PodCondition, PodView, revision_message};
use pitstop_api::{keys, reasons};
use serde_json::{Map, Value, json};

use super::eligibility::tolerations;
use crate::availability::later;
use crate::plan::{Action, Event, JobFor};
use crate::revision::{Current, short_hash};
use crate::snapshot::{Pull, Snapshot};

/// How long the pulls of one node may take. Units: seconds. Source: daemonset.md C9.3.
const ACTIVE_DEADLINE: u32 = 600;
/// How long a finished Job is kept for people to look at. Units: seconds. Source: daemonset.md C9.3.
const KEPT_FOR: u32 = 30;
/// The longest name of a Job, whose pods carry it as a label, and of a container. Units: bytes.
const LONGEST_NAME: usize = 63;
/// Why a container that did what it had to has ended.
const COMPLETED: &str = "Completed";
/// What a container waits for when its image cannot be had. The kubelet tries again, so it may come yet.
const PULL_FAILURES: [&str; 4] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
];

/// The name of the Job that pulls the images of a revision for a pod. Source: daemonset.md C9.3.
pub fn job_name(pod: &str, hash: &str) -> String {
    within_limit(format!("image-pre-pull-{pod}-{hash}"))
}

/// A name that is too long is cut, and a hash of the whole keeps it apart from others.
fn within_limit(name: String) -> String {
    if name.len() <= LONGEST_NAME {
        return name;
    }
    let hash = short_hash(name.as_bytes());
    let room = LONGEST_NAME.saturating_sub(hash.len().saturating_add(1));
    let start = name.get(..room).unwrap_or_default();
    format!("{}-{hash}", start.trim_end_matches(['-', '.']))
}

/// What is to be done about images, and what to tell of it.
///
/// With `by_itself` no owner has to know of the revision that waits: its images are pulled ahead of a pod's turn.
pub(super) fn steps(
    snapshot: &Snapshot<'_>,
    current: &Current,
    by_itself: bool,
) -> (Vec<Action>, Vec<Event>) {
    let (mut actions, mut events) = (Vec::new(), Vec::new());
    let Some(pulls) = &snapshot.pulls else {
        return (actions, events);
    };
    for pod in super::owned_pods(snapshot).filter(|pod| !pod.is_terminating()) {
        let of_pod = || pulls.iter().filter(|pull| pull.job.pod == Some(pod.uid));
        let Some(wish) = Wish::of(pod, current, by_itself) else {
            actions.extend(of_pod().filter_map(discard));
            continue;
        };
        let name = job_name(&pod.name, &current.target);
        let (mut ours, mut outdated) = (None, Vec::new());
        for pull in of_pod() {
            if *pull.job.name == *name {
                ours = Some(pull);
            } else {
                outdated.extend(discard(pull));
            }
        }
        actions.append(&mut outdated);
        let (action, event) = wish.step(snapshot, &name, ours);
        actions.extend(action);
        events.extend(event);
    }
    (actions, events)
}

/// After how long images that could not be pulled are tried again, from when they were asked for. Units: seconds.
const RETRY: u32 = ACTIVE_DEADLINE;

/// How far the images of the target are on the node of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Images {
    /// All are there, or the pod runs them already.
    There,
    /// They are being pulled.
    Pulling,
    /// They could not be had, and are tried again then.
    Failed(Timestamp),
    /// Nobody asked for them, or it is time to ask again.
    NotAskedFor,
}

/// How far they are, as the condition `PodImageReady` of the pod tells.
pub(super) fn images(snapshot: &Snapshot<'_>, current: &Current, pod: &PodView) -> Images {
    let needed = image_names(&snapshot.daemonset.template);
    if needed
        .iter()
        .all(|image| pod.images.iter().any(|is| **is == **image))
    {
        return Images::There;
    }
    let told = pod
        .image_ready()
        .filter(|told| told.revision() == &*current.target);
    let Some(told) = told else {
        return Images::NotAskedFor;
    };
    if told.is_true() {
        return Images::There;
    }
    if &*told.reason != reasons::PULL_IMAGE_FAIL {
        return Images::Pulling;
    }
    let retry_at = later(told.since.unwrap_or(snapshot.now), RETRY.into());
    if snapshot.now < retry_at {
        Images::Failed(retry_at)
    } else {
        Images::NotAskedFor
    }
}

/// Asks for the images of the target, as the owner of a node does through his hub. Source: daemonset.md C9.1.
pub(super) fn ask(pod: &PodView, current: &Current, now: Timestamp) -> Action {
    Action::SetPodCondition {
        name: Arc::clone(&pod.name),
        uid: pod.uid,
        kind: reasons::POD_IMAGE_READY,
        condition: PodCondition {
            status: ConditionStatus::False,
            reason: Arc::from(""),
            message: revision_message(&current.target).into(),
            since: Some(now),
        },
    }
}

/// The images that a template names.
fn image_names(template: &Value) -> Vec<&str> {
    let list = |field: &str| {
        let list = template.pointer(field).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(|one| one.get("image")?.as_str())
    };
    list("/spec/containers")
        .chain(list("/spec/initContainers"))
        .collect()
}

/// Deletes a Job whose images nobody waits for. One that has ended, or is about to, goes by itself.
fn discard(pull: &Pull<'_>) -> Option<Action> {
    let job = pull.job;
    let is_ending = pull.has_images && pull.trouble.is_none_or(|trouble| trouble == COMPLETED);
    (!job.is_finished() && !is_ending && job.deleted_at.is_none()).then(|| delete(pull))
}

fn delete(pull: &Pull<'_>) -> Action {
    Action::DeleteJob {
        name: Arc::clone(&pull.job.name),
        uid: pull.job.uid,
    }
}

/// A pod whose owner asked for the images of the target.
struct Wish<'a> {
    pod: &'a PodView,
    is: &'a PodCondition,
    hash: &'a str,
}

impl<'a> Wish<'a> {
    /// Source: daemonset.md C9.2.
    fn of(pod: &'a PodView, current: &'a Current, by_itself: bool) -> Option<Self> {
        let is = pod.image_ready()?;
        let hash = &*current.target;
        let is_needed = || {
            pod.need_upgrade()
                .is_some_and(|needed| needed.is_true() && needed.revision() == hash)
        };
        let is_asked_for =
            is.status == ConditionStatus::False && is.revision() == hash && (by_itself || is_needed());
        is_asked_for.then_some(Self { pod, is, hash })
    }

    fn step(
        &self,
        snapshot: &Snapshot<'_>,
        name: &str,
        pull: Option<&Pull<'_>>,
    ) -> (Option<Action>, Option<Event>) {
        let has_failed_before = &*self.is.reason == reasons::PULL_IMAGE_FAIL;
        let is_new_wish = self.is.reason.is_empty();
        let Some(pull) = pull else {
            // One that was told to have failed waits for the owner to ask again.
            let job = (!has_failed_before).then(|| self.create(snapshot, name));
            return (job.flatten(), None);
        };
        let job = pull.job;
        if job.deleted_at.is_some() {
            return (None, None);
        }
        if job.has_succeeded || pull.has_images {
            let message = revision_message(self.hash);
            return (
                self.say(snapshot, true, reasons::PULL_IMAGE_SUCCESS, message),
                None,
            );
        }
        let trouble = pull.trouble.filter(|trouble| PULL_FAILURES.contains(trouble));
        if job.has_failed || trouble.is_some() {
            if is_new_wish {
                return (Some(delete(pull)), None);
            }
            let what = format!("pull image job {name} failed");
            let message = format!("{}; {what}", revision_message(self.hash));
            let event = Event {
                is_warning: true,
                reason: reasons::PULL_IMAGE_FAIL,
                message: Cow::Owned(match trouble {
                    Some(trouble) => format!("pod {}: {what}: {trouble}", self.pod.name),
                    None => format!("pod {}: {what}", self.pod.name),
                }),
                once_per: Some(format!("{}/{}", self.pod.uid, job.uid)),
            };
            let action = self.say(snapshot, false, reasons::PULL_IMAGE_FAIL, message);
            return (action, Some(event));
        }
        if has_failed_before {
            return (None, None);
        }
        let message = revision_message(self.hash);
        (self.say(snapshot, false, reasons::WAIT_PULL_IMAGE, message), None)
    }

    /// `None` when it is said already.
    fn say(
        &self,
        snapshot: &Snapshot<'_>,
        is_ready: bool,
        reason: &'static str,
        message: String,
    ) -> Option<Action> {
        let status: ConditionStatus = is_ready.into();
        let is = self.is;
        if is.status == status && *is.reason == *reason && *is.message == *message {
            return None;
        }
        let since = is.since.filter(|_| is.status == status).unwrap_or(snapshot.now);
        Some(Action::SetPodCondition {
            name: Arc::clone(&self.pod.name),
            uid: self.pod.uid,
            kind: reasons::POD_IMAGE_READY,
            condition: PodCondition {
                status,
                reason: reason.into(),
                message: message.into(),
                since: Some(since),
            },
        })
    }

    /// `None` when the pod is on no node yet: there is nowhere to pull to.
    fn create(&self, snapshot: &Snapshot<'_>, name: &str) -> Option<Action> {
        let node = self.pod.node.filter(|_| self.pod.bound)?;
        Some(Action::CreateJob(JobFor {
            name: name.into(),
            pod: Arc::clone(&self.pod.name),
            node,
            manifest: manifest(
                snapshot.daemonset,
                self.pod,
                name,
                snapshot.nodes.names.name(node),
            ),
        }))
    }
}

/// The Job. Source: daemonset.md C9.3, with one container for each image.
fn manifest(daemonset: &DaemonSetView, pod: &PodView, name: &str, node: &str) -> Value {
    let none = Value::Null;
    let spec = daemonset.template.get("spec").unwrap_or(&none);
    let mut template = Map::new();
    template.insert("nodeName".into(), json!(node));
    template.insert("restartPolicy".into(), json!("OnFailure"));
    template.insert("automountServiceAccountToken".into(), json!(false));
    template.insert("tolerations".into(), json!(tolerations(&daemonset.placement)));
    template.insert("containers".into(), Value::Array(containers(spec)));
    // An account may name secrets of its own.
    for field in ["imagePullSecrets", "serviceAccountName"] {
        if let Some(value) = spec.get(field).filter(|value| !value.is_null()) {
            template.insert(field.to_owned(), value.clone());
        }
    }
    let labels = json!({ (keys::IMAGE_PRE_PULL): "true" });
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": &*daemonset.namespace,
            "labels": labels,
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Pod", "name": &*pod.name, "uid": pod.uid.to_string(),
                "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "activeDeadlineSeconds": ACTIVE_DEADLINE,
            "backoffLimit": pitstop_api::view::PULL_BACKOFF_LIMIT,
            "ttlSecondsAfterFinished": KEPT_FOR,
            "template": { "metadata": { "labels": labels }, "spec": template },
        },
    })
}

/// One container for each image, named after the first container that uses it.
fn containers(spec: &Value) -> Vec<Value> {
    let list = |field: &str| spec.get(field).and_then(Value::as_array).into_iter().flatten();
    let named = list("containers")
        .map(|container| ("prepull-", container))
        .chain(list("initContainers").map(|container| ("prepull-init-", container)));
    let mut seen: Vec<&str> = Vec::new();
    let mut made = Vec::new();
    for (prefix, container) in named {
        let text = |field: &str| container.get(field).and_then(Value::as_str).unwrap_or_default();
        let image = text("image");
        if image.is_empty() || seen.contains(&image) {
            continue;
        }
        seen.push(image);
        made.push(json!({
            "name": within_limit(format!("{prefix}{}", text("name"))),
            "image": image,
            "imagePullPolicy": "Always",
            "command": ["true"],
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
        }));
    }
    made
}
