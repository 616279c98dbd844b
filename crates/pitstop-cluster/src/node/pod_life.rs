//! The life of a pod on its node, as a state machine: steps in, effects out. No client, no clock, no timer.
//!
//! Source: embedded-cluster.md 17.2-17.5.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use pitstop_api::view::Uid;

use super::inside::{Files, Inside, Said};
use super::profile::{Profile, PullFailure};
use super::resources;
use super::status::Addresses;
use super::wire::{ContainerSpec, PodObject};
use crate::alike::Alike;

pub(super) use container::{Container, Role, State, Terminated};

mod container;

/// From bound to a sandbox with an address. Source: embedded-cluster.md 17.2 step 2.
const SANDBOX: Duration = Duration::from_millis(500);
/// From the wish to stop to stopped. Source: embedded-cluster.md 17.3, 17.5.
const STOP: Duration = Duration::from_secs(1);
/// The exit code of a container that was stopped by force.
const STOPPED: i32 = 137;
/// The exit code of a container whose program could not be started. Source: containerd.
const NOT_STARTED: i32 = 128;
/// Programs that end well at once.
const DOES_NOTHING: [&str; 2] = ["true", "/bin/true"];
/// How soon.
const AT_ONCE: Duration = Duration::from_millis(50);
/// How long an init container runs.
const INIT: Duration = Duration::from_millis(300);
/// What `imagePullPolicy: Always` costs where the image is there. Source: embedded-cluster.md 17.4.
const ALWAYS: Duration = Duration::from_millis(200);
/// First and longest back-off, of pulls and of crashes alike. Source: embedded-cluster.md 17.3, 17.4.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));
/// A container that ran so long starts its back-off afresh. Source: embedded-cluster.md 17.4.
const RESET: i64 = 600;

/// Something that happens to a pod on its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The sandbox is there.
    Sandbox,
    /// The pull of a container's image is over.
    Pulled(usize),
    /// A container becomes ready.
    Ready(usize),
    /// The readiness probe of a container has noticed what became of its file.
    Probed(usize),
    /// A container ends by itself with this code.
    Exited(usize, i32),
    /// The error of a pull has been shown; now the back-off is.
    BackingOff(usize),
    /// The back-off of a container is over.
    Retry(usize),
    /// A container whose definition changed has stopped.
    Killed(usize),
    /// A container has its new cpu and memory.
    Resized(usize),
    /// Every container has stopped, since the pod is deleted.
    Stopped,
}

/// What a step leads to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effect {
    /// Another step after this long; it is dropped when the container has moved on.
    After(Duration, Step),
    /// Pull the image of a container, then [`Step::Pulled`]; pulls of a node wait for each other.
    Pull(usize, Duration),
    /// An event about the pod.
    Event {
        is_warning: bool,
        reason: &'static str,
        message: String,
    },
    /// The pod is stopped: confirm its deletion.
    Gone,
}

/// What the node knows about the images that it runs.
pub(super) trait Images {
    /// The profile of an image for this pod.
    fn profile(&self, image: &str) -> Profile;
    /// Is it in the node's cache?
    fn is_cached(&self, image: &str) -> bool;
    /// It was pulled.
    fn cache(&mut self, image: &str);
}

/// A pod on its node.
#[derive(Debug, Clone)]
pub(super) struct PodLife {
    pub(super) uid: Uid,
    pub(super) containers: Vec<Container>,
    pub(super) restart_policy: String,
    pub(super) started_at: Timestamp,
    pub(super) has_sandbox: bool,
    pub(super) is_stopping: bool,
    /// Why the node cannot give what is asked for.
    pub(super) infeasible: Option<String>,
    /// The generation of the object that was acted on.
    pub(super) observed: i64,
    fail_ready: bool,
    run_for: Option<Duration>,
    fields: Fields,
}

/// What the fields of a pod say that its containers have as variables, by path.
type Fields = BTreeMap<String, String>;

type Effects = Vec<(Option<u32>, Effect)>;

impl PodLife {
    /// A pod that was just bound.
    pub(super) fn new(pod: &PodObject, uid: Uid, now: Timestamp) -> Self {
        let mut containers: Vec<Container> = specs(pod)
            .map(|(role, spec)| Container::new(spec.clone(), role))
            .collect();
        let has_init = containers.iter().any(|c| c.role == Role::Init);
        for container in containers.iter_mut().filter(|c| has_init && c.role == Role::Main) {
            container.state = State::Waiting {
                reason: "PodInitializing",
                message: String::new(),
            };
        }
        Self {
            uid,
            containers,
            restart_policy: pod.spec.restart_policy.clone(),
            started_at: now,
            has_sandbox: false,
            is_stopping: false,
            infeasible: None,
            observed: pod.generation(),
            fail_ready: pod.fails_readiness(),
            run_for: pod.run_for(),
            fields: Fields::new(),
        }
    }

    /// Looks at the fields that containers show, for those that start from now on.
    pub(super) fn look_at_fields(&mut self, pod: &PodObject, addresses: &Addresses<'_>) {
        let value = |path: &str| match path {
            "status.hostIP" | "status.hostIPs" => addresses.host.to_owned(),
            "status.podIP" | "status.podIPs" => addresses.pod.to_owned(),
            _ => pod.field(path),
        };
        let paths = pod.shown_fields();
        self.fields = paths.map(|path| (path.to_owned(), value(path))).collect();
    }

    /// A pod that ran before this process began: it goes on with its containers as its status tells.
    ///
    /// Source: embedded-cluster.md 18.6.
    pub(super) fn resume(pod: &PodObject, uid: Uid, now: Timestamp) -> Self {
        let mut life = Self::new(pod, uid, now);
        life.started_at = pod.status.start_time.unwrap_or(now);
        life.has_sandbox = !pod.status.pod_ip.is_empty();
        let statuses = pod
            .status
            .init_container_statuses
            .iter()
            .chain(&pod.status.container_statuses)
            .chain(&pod.status.ephemeral_container_statuses);
        for status in statuses {
            let Some(container) = life.containers.iter_mut().find(|c| c.spec.name == *status.name) else {
                continue;
            };
            container.restarts = status.restart_count;
            container.was_started = !status.container_id.is_empty();
            container.resources = status.resources.clone();
            if let Some(since) = status.running_since() {
                container.state = State::Running { since };
                container.running_image.clone_from(&status.image);
                container.is_ready = status.ready;
                container.begun = true;
            } else if let Some((code, started_at, finished_at)) = status.terminated() {
                container.state = State::Terminated(Terminated {
                    code,
                    started_at,
                    finished_at,
                    container_id: status.container_id.clone(),
                    image: status.image.to_string(),
                    run: status.restart_count,
                });
                container.begun = true;
            }
        }
        life
    }

    /// The first effects of a pod on its node.
    pub(super) fn begin(&mut self, images: &mut dyn Images, now: Timestamp) -> Effects {
        if !self.has_sandbox {
            return vec![(None, Effect::After(SANDBOX, Step::Sandbox))];
        }
        let mut effects = Vec::new();
        for i in 0..self.containers.len() {
            let Some(container) = self.containers.get(i) else {
                continue;
            };
            if container.is_running() {
                effects.extend(self.recall(i, &*images));
            }
        }
        effects.extend(self.start_all(images, now));
        effects
    }

    /// A container that ran before this process began: it goes on if it runs what the object names, by the name that the
    /// runtime has for that, and is restarted otherwise.
    fn recall(&mut self, i: usize, images: &dyn Images) -> Effects {
        let Some(container) = self.containers.get_mut(i) else {
            return Vec::new();
        };
        let image = container.spec.image.clone();
        // What it read at its start is not told anywhere.
        container.read_fields(&self.fields);
        let profile = images.profile(&image);
        let name = profile.reported_as.as_ref().unwrap_or(&image);
        if *name == container.running_image {
            container.runs(image, &profile);
            return self.after_start(i, images);
        }
        container.replace(i, images)
    }

    /// Does the step still hold for the container that it was planned for?
    pub(super) fn is_current(&self, step: Step, epoch: Option<u32>) -> bool {
        let index = match step {
            Step::Sandbox => return !self.has_sandbox && !self.is_stopping,
            Step::Stopped => return self.is_stopping,
            Step::Pulled(i)
            | Step::Ready(i)
            | Step::Probed(i)
            | Step::Exited(i, _)
            | Step::BackingOff(i)
            | Step::Retry(i)
            | Step::Killed(i)
            | Step::Resized(i) => i,
        };
        !self.is_stopping && self.containers.get(index).is_some_and(|c| Some(c.epoch) == epoch)
    }

    /// Takes a step.
    pub(super) fn step(&mut self, step: Step, images: &mut dyn Images, now: Timestamp) -> Effects {
        match step {
            Step::Sandbox => {
                self.has_sandbox = true;
                self.start_all(images, now)
            }
            Step::Pulled(i) => self.pulled(i, images, now),
            Step::Ready(i) => {
                if let Some(container) = self.containers.get_mut(i) {
                    container.is_ready = !self.fail_ready && container.passes_probe(images);
                }
                Vec::new()
            }
            Step::Probed(i) => {
                if let Some(container) = self.containers.get_mut(i).filter(|c| c.is_probed()) {
                    container.is_ready = !self.fail_ready && container.passes_probe(images);
                }
                Vec::new()
            }
            Step::Exited(i, code) => self.exited(i, code, images, now),
            Step::BackingOff(i) => {
                if let Some(container) = self.containers.get_mut(i) {
                    let message = format!("Back-off pulling image \"{}\"", container.spec.image);
                    container.state = State::Waiting {
                        reason: "ImagePullBackOff",
                        message,
                    };
                }
                Vec::new()
            }
            Step::Retry(i) => self.start(i, &*images),
            Step::Killed(i) => self.killed(i, &*images, now),
            Step::Resized(i) => {
                if let Some(container) = self.containers.get_mut(i) {
                    container.resources = container.spec.resources.clone();
                    container.is_resizing = false;
                }
                Vec::new()
            }
            Step::Stopped => {
                for container in &mut self.containers {
                    if let State::Running { since } = container.state {
                        container.state = State::Terminated(end(container, self.uid, 0, since, now));
                    }
                    container.is_ready = false;
                }
                vec![(None, Effect::Gone)]
            }
        }
    }

    /// The object changed: images, cpu and memory, readiness switches.
    ///
    /// Source: embedded-cluster.md 17.3; inplace.md 1.3.
    pub(super) fn update(&mut self, pod: &PodObject, images: &dyn Images) -> Effects {
        let mut effects = Vec::new();
        self.observed = pod.generation();
        let fail_ready = pod.fails_readiness();
        let readiness_changed = fail_ready != self.fail_ready;
        self.fail_ready = fail_ready;
        let mut pairs = self.containers.iter().zip(specs(pod));
        let is_resized = pairs
            .any(|(container, (_, spec))| container.is_running() && container.resources != spec.resources);
        let wanted: Vec<_> = specs(pod).map(|(_, spec)| &spec.resources).collect();
        self.infeasible = is_resized.then(|| resources::beyond_capacity(&wanted)).flatten();
        for (i, (role, spec)) in specs(pod).enumerate() {
            let Some(container) = self.containers.get_mut(i) else {
                self.containers.push(Container::new(spec.clone(), role));
                effects.extend(self.start_late(i, images));
                continue;
            };
            let image_changed = container.spec.image != spec.image;
            container.spec = spec.clone();
            if image_changed && container.is_running() {
                container.is_told_to_stop = false;
                container.epoch = container.epoch.wrapping_add(1);
                if container.running_image == spec.image {
                    continue;
                }
                effects.extend(container.replace(i, images));
            } else if image_changed && container.begun && !matches!(container.state, State::Terminated(_)) {
                container.epoch = container.epoch.wrapping_add(1);
                container.back_off = BACK_OFF.0;
                effects.extend(self.start(i, images));
            } else {
                if readiness_changed && container.is_running() {
                    container.is_ready = !fail_ready && container.passes_probe(images);
                }
                if self.infeasible.is_none() {
                    effects.extend(container.resize(i));
                }
            }
        }
        effects
    }

    /// Runs a command in a container that runs; `None`: it does not.
    pub(super) fn run(
        &mut self,
        i: usize,
        hostname: &str,
        command: &[String],
        images: &dyn Images,
    ) -> Option<(Said, Effects)> {
        let container = self.containers.get_mut(i).filter(|c| c.is_running())?;
        let profile = images.profile(&container.running_image);
        let had_file = container.has_ready_file(&profile);
        let variables = container.environment();
        let variables: Vec<(String, String)> = variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let files = container.files.get_or_insert_with(|| {
            let (image, ready_file) = (&container.running_image, profile.ready_file.as_deref());
            Box::new(Files::of_image(image, hostname, ready_file))
        });
        let mut inside = Inside {
            files,
            image: &container.running_image,
            hostname,
            variables: variables
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
        };
        let said = inside.run(command);
        let has_file = container.has_ready_file(&profile);
        let effects = match &container.spec.readiness_probe {
            Some(probe) if has_file != had_file => {
                let noticed = Effect::After(probe.delay(has_file), Step::Probed(i));
                vec![(Some(container.epoch), noticed)]
            }
            _ => Vec::new(),
        };
        Some((said, effects))
    }

    /// Somebody beside the kubelet has the runtime stop a container that runs, and the kubelet starts it again where the
    /// pod says so. `None`: it does not run, or another one does.
    pub(super) fn stop_one(&mut self, i: usize, id: &str) -> Option<Effects> {
        let (uid, is_restarted) = (self.uid, self.restart_policy == "Always");
        let container = self.containers.get_mut(i)?;
        let is_it = container.is_running() && container.id(uid) == id;
        if self.is_stopping || !is_it || container.is_told_to_stop {
            return None;
        }
        container.is_told_to_stop = true;
        container.epoch = container.epoch.wrapping_add(1);
        let step = if is_restarted {
            Step::Killed(i)
        } else {
            Step::Exited(i, STOPPED)
        };
        Some(vec![(Some(container.epoch), Effect::After(STOP, step))])
    }

    /// The pod is being deleted: its containers stop within its grace.
    pub(super) fn stop(&mut self, grace: Duration) -> Effects {
        self.is_stopping = true;
        let running = self.containers.iter().filter(|c| c.is_running());
        let stopping = running.map(|c| {
            (
                None,
                event(false, "Killing", format!("Stopping container {}", c.spec.name)),
            )
        });
        let mut effects: Effects = stopping.collect();
        effects.push((None, Effect::After(STOP.min(grace), Step::Stopped)));
        effects
    }

    /// What can be started: ephemeral containers wait for no other.
    fn start_all(&mut self, images: &mut dyn Images, now: Timestamp) -> Effects {
        let late = self.containers.iter().enumerate();
        let late = late.filter(|(_, c)| c.role == Role::Ephemeral && !c.begun);
        let late: Vec<usize> = late.map(|(i, _)| i).collect();
        let mut effects = self.start_next(images, now);
        effects.extend(late.into_iter().flat_map(|i| self.start(i, &*images)));
        effects
    }

    fn start_next(&mut self, images: &mut dyn Images, _now: Timestamp) -> Effects {
        let next_init = self
            .containers
            .iter()
            .position(|c| c.role == Role::Init && !c.has_passed());
        if let Some(i) = next_init {
            let begun = self.containers.get(i).is_some_and(|c| c.begun);
            return if begun {
                Vec::new()
            } else {
                self.start(i, &*images)
            };
        }
        let waiting = self
            .containers
            .iter()
            .enumerate()
            .filter(|(_, c)| c.role == Role::Main && !c.begun);
        let waiting: Vec<usize> = waiting.map(|(i, _)| i).collect();
        waiting
            .into_iter()
            .flat_map(|i| self.start(i, &*images))
            .collect()
    }

    /// Starts a container that was added to a pod which has its sandbox; others come with the sandbox.
    fn start_late(&mut self, i: usize, images: &dyn Images) -> Effects {
        if self.has_sandbox && !self.is_stopping {
            self.start(i, images)
        } else {
            Vec::new()
        }
    }

    fn start(&mut self, i: usize, images: &dyn Images) -> Effects {
        let Some(container) = self.containers.get_mut(i) else {
            return Vec::new();
        };
        container.begun = true;
        let image = container.spec.image.clone();
        let profile = images.profile(&image);
        let waiting = matches!(
            container.state,
            State::Waiting {
                reason: "ImagePullBackOff" | "ErrImagePull",
                ..
            }
        );
        if !waiting
            && !matches!(
                container.state,
                State::Waiting {
                    reason: "CrashLoopBackOff",
                    ..
                }
            )
        {
            container.state = State::Waiting {
                reason: "ContainerCreating",
                message: String::new(),
            };
        }
        let epoch = Some(container.epoch);
        let cached = images.is_cached(&image) && profile.fail.is_none();
        match (cached, container.spec.image_pull_policy.as_str()) {
            (true, "Always") => vec![(epoch, Effect::Pull(i, ALWAYS))],
            (true, _) => {
                let message = format!("Container image \"{image}\" already present on machine");
                vec![
                    (None, event(false, "Pulled", message)),
                    (epoch, Effect::After(Duration::ZERO, Step::Pulled(i))),
                ]
            }
            (false, "Never") => {
                let message = format!("Container image \"{image}\" is not present with pull policy of Never");
                container.state = State::Waiting {
                    reason: "ErrImageNeverPull",
                    message: message.clone(),
                };
                vec![(None, event(true, "ErrImageNeverPull", message))]
            }
            (false, _) => vec![
                (
                    None,
                    event(false, "Pulling", format!("Pulling image \"{image}\"")),
                ),
                (epoch, Effect::Pull(i, profile.pull)),
            ],
        }
    }

    fn pulled(&mut self, i: usize, images: &mut dyn Images, now: Timestamp) -> Effects {
        let uid = self.uid;
        let Some(container) = self.containers.get_mut(i) else {
            return Vec::new();
        };
        let image = container.spec.image.clone();
        let profile = images.profile(&image);
        if let Some(failure) = profile.fail {
            return pull_failed(container, i, failure);
        }
        let mut effects = Vec::new();
        if !images.is_cached(&image) {
            images.cache(&image);
            let took = profile.pull.as_secs_f64();
            let message = format!(
                "Successfully pulled image \"{image}\" in {took:.3}s ({took:.3}s including waiting). Image size: {} bytes.",
                profile.size
            );
            effects.push((None, event(false, "Pulled", message)));
        }
        if container.was_started {
            container.restarts = container.restarts.saturating_add(1);
        }
        container.was_started = true;
        container.runs(image, &profile);
        container.read_fields(&self.fields);
        container.resources = container.spec.resources.clone();
        container.is_resizing = false;
        container.is_told_to_stop = false;
        container.state = State::Running { since: now };
        container.is_ready = false;
        container.files = None;
        let name = container.spec.name.clone();
        tracing::trace!(pod = %uid, container = name, "started");
        effects.push((
            None,
            event(false, "Created", format!("Created container: {name}")),
        ));
        effects.push((None, event(false, "Started", format!("Started container {name}"))));
        effects.extend(self.after_start(i, &*images));
        if self.containers.get(i).is_some_and(Container::is_sidecar) {
            effects.extend(self.start_next(images, now));
        }
        effects
    }

    /// What follows by itself once a container runs.
    fn after_start(&mut self, i: usize, images: &dyn Images) -> Effects {
        let (fail_ready, run_for) = (self.fail_ready, self.run_for);
        let is_batch = self.restart_policy != "Always";
        let Some(container) = self.containers.get_mut(i) else {
            return Vec::new();
        };
        let epoch = Some(container.epoch);
        if container.role == Role::Init && !container.is_sidecar() {
            return vec![(epoch, Effect::After(INIT, Step::Exited(i, 0)))];
        }
        let profile = images.profile(&container.running_image);
        let command = &container.spec.command;
        if profile.bare && !command.is_empty() {
            return vec![(epoch, Effect::After(Duration::ZERO, Step::Exited(i, NOT_STARTED)))];
        }
        let mut effects = Vec::new();
        if matches!(command.as_slice(), [program] if DOES_NOTHING.contains(&program.as_str())) {
            effects.push((epoch, Effect::After(AT_ONCE, Step::Exited(i, 0))));
        }
        if let Some(crash) = profile.crash {
            effects.push((epoch, Effect::After(crash.after, Step::Exited(i, crash.code))));
        }
        let run_for = run_for.or(profile.done_after.filter(|_| is_batch));
        if let Some(run_for) = run_for.filter(|_| container.role == Role::Main) {
            effects.push((epoch, Effect::After(run_for, Step::Exited(i, 0))));
        }
        if container.role != Role::Ephemeral && !container.is_ready && !profile.never_ready && !fail_ready {
            let probe = Duration::from_secs(container.spec.initial_delay());
            let delay = profile.ready_after.max(probe);
            if delay.is_zero() {
                container.is_ready = true;
            } else {
                effects.push((epoch, Effect::After(delay, Step::Ready(i))));
            }
        }
        effects
    }

    fn exited(&mut self, i: usize, code: i32, images: &mut dyn Images, now: Timestamp) -> Effects {
        let (uid, policy) = (self.uid, self.restart_policy.clone());
        let Some(container) = self.containers.get_mut(i) else {
            return Vec::new();
        };
        let State::Running { since } = container.state else {
            return Vec::new();
        };
        let ended = end(container, uid, code, since, now);
        container.is_ready = false;
        container.epoch = container.epoch.wrapping_add(1);
        let is_done = container.role == Role::Init && !container.is_sidecar() && code == 0;
        let stays =
            policy == "Never" || (policy == "OnFailure" && code == 0) || container.role == Role::Ephemeral;
        if is_done || (stays && !container.is_sidecar()) {
            container.state = State::Terminated(ended);
            return if is_done {
                self.start_next(images, now)
            } else {
                Vec::new()
            };
        }
        if now.duration_since(since).as_secs() >= RESET {
            container.back_off = BACK_OFF.0;
        }
        let delay = container.back_off;
        container.back_off = delay.saturating_mul(2).min(BACK_OFF.1);
        let name = &container.spec.name;
        let message = format!(
            "back-off {}s restarting failed container={name} pod={uid}",
            delay.as_secs()
        );
        container.last = Some(ended);
        container.state = State::Waiting {
            reason: "CrashLoopBackOff",
            message,
        };
        let text = format!("Back-off restarting failed container {name}");
        vec![
            (None, event(true, "BackOff", text)),
            (Some(container.epoch), Effect::After(delay, Step::Retry(i))),
        ]
    }

    fn killed(&mut self, i: usize, images: &dyn Images, now: Timestamp) -> Effects {
        let uid = self.uid;
        let Some(container) = self.containers.get_mut(i) else {
            return Vec::new();
        };
        if let State::Running { since } = container.state {
            container.last = Some(end(container, uid, 0, since, now));
        }
        container.is_ready = false;
        container.back_off = BACK_OFF.0;
        container.state = State::Waiting {
            reason: "ContainerCreating",
            message: String::new(),
        };
        self.start(i, images)
    }

    /// `status.phase`.
    pub(super) fn phase(&self) -> &'static str {
        let mains = || self.containers.iter().filter(|c| c.role == Role::Main);
        if mains().all(|c| matches!(&c.state, State::Terminated(_))) {
            let failed = mains().any(|c| matches!(&c.state, State::Terminated(end) if end.code != 0));
            return if failed { "Failed" } else { "Succeeded" };
        }
        let inits_passed = self
            .containers
            .iter()
            .filter(|c| c.role == Role::Init)
            .all(Container::has_passed);
        let all_started = mains().all(|c| c.was_started);
        if inits_passed && all_started {
            "Running"
        } else {
            "Pending"
        }
    }

    /// Have all init containers done their work?
    pub(super) fn is_initialized(&self) -> bool {
        self.containers
            .iter()
            .filter(|c| c.role == Role::Init)
            .all(Container::has_passed)
    }
}

/// The containers of a pod with what they are for, in an order in which none changes its place.
fn specs(pod: &PodObject) -> impl Iterator<Item = (Role, &Alike<ContainerSpec>)> {
    let with = |role| move |spec| (role, spec);
    let inits = pod.spec.init_containers.iter().map(with(Role::Init));
    let mains = pod.spec.containers.iter().map(with(Role::Main));
    inits
        .chain(mains)
        .chain(pod.spec.ephemeral_containers.iter().map(with(Role::Ephemeral)))
}

fn pull_failed(container: &mut Container, i: usize, failure: PullFailure) -> Effects {
    let image = &container.spec.image;
    let message = failure.message(image);
    let delay = container.back_off;
    container.back_off = delay.saturating_mul(2).min(BACK_OFF.1);
    let text = format!("Failed to pull image \"{image}\": {message}");
    container.state = State::Waiting {
        reason: "ErrImagePull",
        message,
    };
    let epoch = Some(container.epoch);
    vec![
        (None, event(true, "Failed", text)),
        (None, event(true, "Failed", "Error: ErrImagePull".to_owned())),
        (epoch, Effect::After(delay / 5, Step::BackingOff(i))),
        (epoch, Effect::After(delay, Step::Retry(i))),
    ]
}

fn end(
    container: &Container,
    pod: Uid,
    code: i32,
    started_at: Timestamp,
    finished_at: Timestamp,
) -> Terminated {
    Terminated {
        code,
        started_at,
        finished_at,
        container_id: container.id(pod),
        image: container.running_image.clone(),
        run: container.restarts,
    }
}

fn event(is_warning: bool, reason: &'static str, message: String) -> Effect {
    Effect::Event {
        is_warning,
        reason,
        message,
    }
}
