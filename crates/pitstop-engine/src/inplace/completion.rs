//! When an update in place is complete: it never is before the new containers run, and always is some time after.
//!
//! A container is known by its id and by what its runtime calls its image. Where that leaves a doubt, because two tags name
//! one digest or because the container may be that of an update in between, the generation that the kubelet acted on
//! decides, and in the end time: a kubelet that had not seen the change would have replaced the container since.
//!
//! Source: inplace.md 6, 13.1.

use std::fmt;

use jiff::Timestamp;
use pitstop_api::view::{ContainerState, ContainerStatus, RestartPolicy};
use serde::Serialize;

use super::change::missing_resources;
use super::image::are_same;
use super::report::Report;
use super::state::{GraceState, Replaced, UpdateState};
use super::{Features, Live, WhyRecreate};
use crate::availability::later;

/// How long a container in doubt has to run where its kubelet says which generation it acted on. Units: seconds.
///
/// A kubelet that acted on the change stops the old container at once; one that had crashed and come back with the old
/// image just before is still seen for that long.
const OBSERVED_FOR: i64 = 10;

/// How long a container in doubt has to run otherwise. Units: seconds. Source: inplace.md 13.1.
const RUNNING_FOR: i64 = 90;

/// How long to wait after the change for a container that says that it is older. Units: seconds.
///
/// Its node may be cut off, or its clock may be slow.
const OLDER_FOR: i64 = 600;

/// How long to wait for the first report of an agent. Units: seconds. Source: inplace.md 13.8.
pub(super) const REPORT_WITHIN: i64 = 60;

/// How far an update in place is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completion {
    /// It is complete.
    Done,
    /// It is not.
    Waiting {
        /// What for.
        why: Pending,
        /// When to look again even if nothing happens.
        recheck_at: Option<Timestamp>,
    },
    /// It never will be.
    Impossible(WhyRecreate),
}

/// What an update in place waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Pending {
    /// The end of the grace period.
    Grace,
    /// Containers whose turn comes later.
    NextBatch,
    /// A container of this batch has to be ready first.
    NotReady(String),
    /// A container of this batch has to be reported first.
    NotReported(String),
    /// The container was not replaced yet.
    NotReplaced(String),
    /// The container does not run; what its kubelet says of it.
    NotRunning(String, String),
    /// The container runs, and may still be one from before.
    InDoubt(String),
    /// The kubelet reports nothing of these containers.
    NoStatus(Vec<String>),
    /// The kubelet reports nothing of some container.
    SomeStatus,
    /// The container runs with other resources.
    Resources(String),
    /// The node has no room for the new resources now.
    Deferred(String),
    /// The agent of the node has reported nothing.
    NoReport,
    /// A container has another environment than the pod says.
    Environment,
    /// An annotation cannot be read.
    Malformed(String),
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grace => f.write_str("still in grace period of in-place update"),
            Self::NextBatch => f.write_str("existing containers to in-place update in next batches"),
            Self::NotReady(name) => write!(f, "waiting container {name} to be ready"),
            Self::NotReported(name) => write!(f, "not found container {name} in pod status"),
            Self::NotReplaced(name) => write!(f, "container {name} imageID not changed"),
            Self::NotRunning(name, reason) if reason.is_empty() => {
                write!(f, "container {name} is not running")
            }
            Self::NotRunning(name, reason) => write!(f, "container {name} is not running: {reason}"),
            Self::InDoubt(name) => {
                write!(f, "container {name} runs, and may be one from before the update")
            }
            Self::NoStatus(names) => write!(f, "not found statuses of containers {}", names.join(", ")),
            Self::SomeStatus => f.write_str("some container status is not reported"),
            Self::Resources(name) => write!(f, "container {name} resources not changed"),
            Self::Deferred(message) => write!(f, "its node has no room for the new resources: {message}"),
            Self::NoReport => f.write_str(
                "waiting for all containers hash consistent, but runtime-container-meta not found",
            ),
            Self::Environment => f.write_str("waiting for all containers hash consistent"),
            Self::Malformed(problem) => f.write_str(problem),
        }
    }
}

/// What a container waits for that starts soon. Source: Kubernetes, the kubelet's reasons.
const STARTS_SOON: [&str; 3] = ["", "ContainerCreating", "PodInitializing"];
/// Why a container waits whose image its node does not have. Source: Kubernetes, the kubelet's reasons.
const NO_IMAGE: [&str; 5] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "RegistryUnavailable",
];

impl Pending {
    /// What is in the way of an update that may not go on by itself. The words stay while their kubelet tries again.
    ///
    /// Source: inplace.md 13.13.
    pub fn obstacle(&self) -> Option<String> {
        match self {
            Self::NotRunning(name, reason) if NO_IMAGE.contains(&reason.as_str()) => {
                Some(format!("the new image of container {name} cannot be pulled"))
            }
            Self::NotRunning(name, reason) => (!STARTS_SOON.contains(&reason.as_str()))
                .then(|| format!("container {name} does not start: {reason}")),
            Self::Deferred(_) | Self::Malformed(_) => Some(self.to_string()),
            Self::Grace
            | Self::NextBatch
            | Self::NotReady(_)
            | Self::NotReported(_)
            | Self::NotReplaced(_)
            | Self::InDoubt(_)
            | Self::NoStatus(_)
            | Self::SomeStatus
            | Self::Resources(_)
            | Self::NoReport
            | Self::Environment => None,
        }
    }
}

impl From<Pending> for Completion {
    fn from(why: Pending) -> Self {
        Self::Waiting {
            why,
            recheck_at: None,
        }
    }
}

/// Is the update in place of this pod complete? A pod that was never updated in place is. Source: inplace.md 6.4.
pub fn completion(live: Live<'_>, features: Features, now: Timestamp) -> Completion {
    let malformed = |problem: super::state::Malformed| Pending::Malformed(problem.to_string()).into();
    match GraceState::of(live.view) {
        Ok(None) => {}
        Ok(Some(_)) => return Pending::Grace.into(),
        Err(problem) => return malformed(problem),
    }
    match UpdateState::of(live.view) {
        Ok(None) => Completion::Done,
        Ok(Some(state)) if state.has_next() => Pending::NextBatch.into(),
        Ok(Some(state)) => containers_done(live, &state, features, now),
        Err(problem) => malformed(problem),
    }
}

/// Were all containers that were changed so far replaced? Source: inplace.md 6.1.
pub fn containers_done(
    live: Live<'_>,
    state: &UpdateState,
    features: Features,
    now: Timestamp,
) -> Completion {
    if state.proof.completed_at.is_some() {
        return Completion::Done;
    }
    let report = match Report::of(live) {
        Ok(report) => report,
        Err(error) => return Pending::Malformed(error.to_string()).into(),
    };
    if state.update_env_from_metadata {
        match &report {
            None => return no_report(state, now),
            Some(report) if !report.has_current_env(live) => return Pending::Environment.into(),
            Some(_) => {}
        }
    }
    if state.update_resources
        && features.vertical_scaling
        && let Some(waiting) = resources_pending(live, state)
    {
        return waiting;
    }
    if report.is_some_and(|report| report.is_current(live)) {
        return Completion::Done;
    }
    images_done(live, state, now)
}

/// Does a container not run, and has it not been started since an update changed it, or ever? Then nothing of the version
/// that it waits for has run.
pub(crate) fn is_unstarted(live: Live<'_>, name: &str) -> bool {
    let Some(status) = live.view.status(name) else {
        return false;
    };
    if matches!(status.state, ContainerState::Running { .. }) {
        return false;
    }
    if status.container_id.is_empty() && status.restart_count == 0 {
        return true;
    }
    let state = UpdateState::of(live.view).ok().flatten();
    let before = state.as_ref().and_then(|state| state.proof.containers.get(name));
    before.is_some_and(|before| *before.container_id == *status.container_id)
}

fn no_report(state: &UpdateState, now: Timestamp) -> Completion {
    let until = state.began_at().map(|at| later(at, REPORT_WITHIN));
    match until {
        Some(until) if until <= now => Completion::Impossible(WhyRecreate::NoAgent),
        recheck_at => Completion::Waiting {
            why: Pending::NoReport,
            recheck_at,
        },
    }
}

/// What is missing until containers have their new resources.
///
/// Only cpu and memory of the containers that were changed count, and none is as good as an empty list; of an update that
/// upstream began, those of all containers. Source: inplace.md 6.1, step 3; 13.9.
fn resources_pending(live: Live<'_>, state: &UpdateState) -> Option<Completion> {
    if let Some(pending) = &live.view.resize_pending {
        let message = pending.message.to_string();
        return Some(match &*pending.reason {
            "Infeasible" => Completion::Impossible(WhyRecreate::Infeasible(message)),
            _ => Pending::Deferred(message).into(),
        });
    }
    if live.view.statuses.len() != live.view.spec.containers.len() {
        return Some(Pending::SomeStatus.into());
    }
    let noted = &state.proof.resources;
    for container in &live.view.spec.containers {
        let wanted = match noted.get(&*container.name) {
            Some(wanted) => wanted,
            None if noted.is_empty() => &container.resources,
            None => continue,
        };
        let actual = live
            .view
            .status(&container.name)
            .and_then(|s| s.resources.as_ref());
        let is_there = match actual {
            Some(actual) => missing_resources(actual, wanted).is_empty(),
            None => wanted.is_empty(),
        };
        if !is_there {
            return Some(Pending::Resources(container.name.to_string()).into());
        }
    }
    None
}

fn images_done(live: Live<'_>, state: &UpdateState, now: Timestamp) -> Completion {
    let lasts = state.last_container_statuses.iter().flatten();
    let noted = lasts.map(|(name, _)| name).chain(state.proof.containers.keys());
    let mut missing: Vec<String> = noted
        .filter(|name| live.view.status(name).is_none())
        .cloned()
        .collect();
    missing.sort();
    missing.dedup();
    for (name, replaced) in &state.proof.containers {
        if let Some(status) = live.view.status(name) {
            let judged = Judged::new(live, status, state, now).replaced(replaced);
            if judged != Completion::Done {
                return judged;
            }
        }
    }
    for (name, last) in state.last_container_statuses.iter().flatten() {
        let is_upstreams = !state.proof.containers.contains_key(name);
        if let Some(status) = live.view.status(name).filter(|_| is_upstreams) {
            let judged = Judged::new(live, status, state, now).since_upstream(&last.image_id);
            if judged != Completion::Done {
                return judged;
            }
        }
    }
    if missing.is_empty() {
        Completion::Done
    } else {
        Pending::NoStatus(missing).into()
    }
}

/// One container under judgement.
struct Judged<'a> {
    live: Live<'a>,
    status: &'a ContainerStatus,
    state: &'a UpdateState,
    now: Timestamp,
    /// The image that the spec names.
    image: &'a str,
}

impl<'a> Judged<'a> {
    fn new(live: Live<'a>, status: &'a ContainerStatus, state: &'a UpdateState, now: Timestamp) -> Self {
        let container = live.view.container(&status.name);
        Self {
            live,
            status,
            state,
            now,
            image: container.map_or("", |container| &container.image),
        }
    }

    fn name(&self) -> String {
        self.status.name.to_string()
    }

    /// Does the runtime call its image by this name?
    fn is_called(&self, image: &str) -> bool {
        are_same(&self.status.image, image)
    }

    /// Has the kubelet said that it has not acted on the change yet?
    fn is_unobserved(&self) -> bool {
        let observed = self.live.view.observed_generation;
        observed.is_some_and(|observed| observed < self.state.proof.generation)
    }

    /// Since when it runs, or what it does otherwise.
    fn running_since(&self) -> Result<Option<Timestamp>, Completion> {
        match &self.status.state {
            ContainerState::Running { since } => Ok(*since),
            ContainerState::Waiting { reason } => {
                Err(Pending::NotRunning(self.name(), reason.to_string()).into())
            }
            ContainerState::Terminated { exit_code, reason } => {
                let is_restarted = match self.live.view.spec.restart_policy {
                    RestartPolicy::Always => true,
                    RestartPolicy::OnFailure => *exit_code != 0,
                    RestartPolicy::Never => false,
                };
                Err(if is_restarted {
                    Pending::NotRunning(self.name(), reason.to_string()).into()
                } else {
                    Completion::Impossible(WhyRecreate::ContainerEnded(self.name()))
                })
            }
        }
    }

    /// Is it done, by what was noted of it before? Source: inplace.md 13.1.
    fn replaced(&self, before: &Replaced) -> Completion {
        let since = match self.running_since() {
            Ok(since) => since,
            Err(waiting) => return waiting,
        };
        if *self.status.container_id == *before.container_id {
            return self.not_replaced(before);
        }
        let is_taken_back = *before.from_image == *self.image && !self.is_unobserved();
        let tells_them_apart = !are_same(&before.from_image, self.image);
        if self.is_called(self.image) && (is_taken_back || tells_them_apart) {
            return Completion::Done;
        }
        let is_called_as_before =
            self.is_called(&before.from_image) || before.superseded.iter().any(|image| self.is_called(image));
        let id = &*self.status.image_id;
        let is_other_image = !id.is_empty()
            && !before.image_ids.is_empty()
            && before.image_ids.iter().all(|known| known != id);
        if is_other_image && !is_called_as_before && before.superseded.is_empty() {
            return Completion::Done;
        }
        self.settled(since, before.superseded.is_empty())
    }

    /// It still runs as it did before: right only if nothing is to change any more.
    ///
    /// A kubelet that saw the update in between may be stopping the container just now, and start the one of that update
    /// next. It has not, if it says that it acted on the change that took the update back; otherwise time tells. The same
    /// holds for another name of the image that runs, for which a kubelet restarts the container as well.
    fn not_replaced(&self, before: &Replaced) -> Completion {
        let is_taken_back = *before.from_image == *self.image;
        let is_first = *self.status.container_id == *before.from_container_id
            || before
                .image_ids
                .first()
                .is_some_and(|id| **id == *self.status.image_id);
        let has_image = self.is_called(self.image) || (is_taken_back && is_first);
        if !has_image || self.is_unobserved() {
            return Pending::NotReplaced(self.name()).into();
        }
        let is_observed = self.live.view.observed_generation.is_some() && self.state.proof.generation > 0;
        if is_taken_back && is_observed {
            return Completion::Done;
        }
        self.until(self.state.proof.written_at, RUNNING_FOR)
    }

    /// It was replaced by something; when that has run long enough, it is what the spec says.
    fn settled(&self, since: Option<Timestamp>, is_only_change: bool) -> Completion {
        if self.is_unobserved() {
            return Pending::InDoubt(self.name()).into();
        }
        let written_at = self.state.proof.written_at;
        match (since, written_at) {
            (Some(since), Some(written_at)) if since < written_at => self.until(Some(written_at), OLDER_FOR),
            (since, written_at) => {
                let is_observed = self.live.view.observed_generation.is_some();
                let seconds = if is_observed && self.state.proof.generation > 0 && is_only_change {
                    OBSERVED_FOR
                } else {
                    RUNNING_FOR
                };
                self.until(since.or(written_at), seconds)
            }
        }
    }

    fn until(&self, from: Option<Timestamp>, seconds: i64) -> Completion {
        match from.map(|from| later(from, seconds)) {
            Some(at) if at > self.now => Completion::Waiting {
                why: Pending::InDoubt(self.name()),
                recheck_at: Some(at),
            },
            _ => Completion::Done,
        }
    }

    /// Is it done, by the digest that upstream noted? Source: inplace.md 6.1, step 5.
    fn since_upstream(&self, last_id: &str) -> Completion {
        let is_other_image = !last_id.is_empty() && *self.status.image_id != *last_id;
        if is_other_image || self.is_called(self.image) {
            return Completion::Done;
        }
        let since = match self.running_since() {
            Ok(since) => since,
            Err(waiting) => return waiting,
        };
        match (since, self.state.update_timestamp) {
            // One digest behind two tags: the container was made after the change and stays.
            (Some(since), Some(began_at)) if since > began_at => self.until(Some(since), RUNNING_FOR),
            _ => Pending::NotReplaced(self.name()).into(),
        }
    }
}
