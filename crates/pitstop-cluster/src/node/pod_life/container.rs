//! A container on a simulated node: what it runs, what it did, and what its runtime says of it.

use std::time::Duration;

use jiff::Timestamp;
use pitstop_api::view::Uid;

use super::{BACK_OFF, Effect, Effects, Fields, Images, NOT_STARTED, STOP, Step, event};
use crate::alike::Alike;
use crate::node::digest::{digest, image_id};
use crate::node::inside::{Files, normal};
use crate::node::profile::Profile;
use crate::node::resources::{self, Resources};
use crate::node::wire::ContainerSpec;

/// The state of a container.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::node) enum State {
    /// It does not run, for this reason.
    Waiting { reason: &'static str, message: String },
    /// It runs.
    Running { since: Timestamp },
    /// It ended and stays so.
    Terminated(Terminated),
}

/// What a container is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) enum Role {
    /// Before the main ones; as a sidecar beside them.
    Init,
    /// What the pod is there for.
    Main,
    /// Added later by somebody who looks into the pod: it is never started again, and nothing waits for it.
    Ephemeral,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::node) struct Terminated {
    pub(in crate::node) code: i32,
    pub(in crate::node) started_at: Timestamp,
    pub(in crate::node) finished_at: Timestamp,
    pub(in crate::node) container_id: String,
    /// The image that ran, where it is known.
    pub(in crate::node) image: String,
    /// Which run it was: 0, 1, ...
    pub(in crate::node) run: u32,
}

impl Terminated {
    pub(in crate::node) fn reason(&self) -> &'static str {
        match self.code {
            0 => "Completed",
            NOT_STARTED => "StartError",
            _ => "Error",
        }
    }
}

/// A container on the node.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::node) struct Container {
    pub(in crate::node) spec: Alike<ContainerSpec>,
    pub(in crate::node) role: Role,
    /// The image that runs, or ran last.
    pub(in crate::node) running_image: String,
    /// What its runtime says of that image, where it is not what the name alone says.
    reported: Option<Box<Reported>>,
    /// Its variables that show fields of the pod, as they were when it was started.
    pub(super) shown: Vec<(String, String)>,
    /// Cpu and memory that it runs with.
    pub(in crate::node) resources: Resources,
    /// Are others on their way?
    pub(super) is_resizing: bool,
    /// Was it told to stop by somebody beside its kubelet?
    pub(super) is_told_to_stop: bool,
    pub(in crate::node) state: State,
    pub(in crate::node) last: Option<Terminated>,
    pub(in crate::node) is_ready: bool,
    pub(in crate::node) restarts: u32,
    /// Was it ever started? Then the next start is a restart.
    pub(in crate::node) was_started: bool,
    /// Has its start begun?
    pub(super) begun: bool,
    /// Its file system, once somebody has looked into it; each run has a new one.
    pub(super) files: Option<Box<Files>>,
    pub(super) back_off: Duration,
    /// Raised when what was planned for it does not hold any more.
    pub(super) epoch: u32,
}

impl Container {
    pub(super) fn new(spec: Alike<ContainerSpec>, role: Role) -> Self {
        Self {
            spec,
            role,
            running_image: String::new(),
            reported: None,
            shown: Vec::new(),
            resources: Resources::default(),
            is_resizing: false,
            is_told_to_stop: false,
            state: State::Waiting {
                reason: "ContainerCreating",
                message: String::new(),
            },
            last: None,
            is_ready: false,
            restarts: 0,
            was_started: false,
            begun: false,
            files: None,
            back_off: BACK_OFF.0,
            epoch: 0,
        }
    }

    /// Cpu and memory follow the object, while it runs or by starting it again.
    pub(super) fn resize(&mut self, i: usize) -> Effects {
        if !self.is_running() || self.is_resizing || self.resources == self.spec.resources {
            return Vec::new();
        }
        self.is_resizing = true;
        if !resources::restarts(&self.spec.resize_policy, &self.resources, &self.spec.resources) {
            return vec![(
                Some(self.epoch),
                Effect::After(resources::DELAY, Step::Resized(i)),
            )];
        }
        self.epoch = self.epoch.wrapping_add(1);
        let message = format!("Container {} resize requires restart", self.spec.name);
        vec![
            (None, event(false, "Killing", message)),
            (Some(self.epoch), Effect::After(STOP, Step::Killed(i))),
        ]
    }

    pub(in crate::node) fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// Is it an init container that goes on beside the others?
    pub(in crate::node) fn is_sidecar(&self) -> bool {
        self.role == Role::Init && self.spec.restart_policy == "Always"
    }

    /// Is its readiness left to the probe? Not while the delay before the first probe is on, which [`Step::Ready`] ends.
    pub(super) fn is_probed(&self) -> bool {
        self.is_running() && self.spec.readiness_probe.is_some()
    }

    /// Does it run, and would its readiness probe succeed?
    pub(super) fn passes_probe(&self, images: &dyn Images) -> bool {
        let profile = images.profile(&self.running_image);
        self.is_running() && !profile.never_ready && self.has_ready_file(&profile)
    }

    pub(super) fn has_ready_file(&self, profile: &Profile) -> bool {
        match (&self.spec.readiness_probe, &profile.ready_file, &self.files) {
            (Some(_), Some(path), Some(files)) => files.exists(&normal("/", path)),
            // Nobody has touched a file.
            _ => true,
        }
    }

    pub(super) fn has_passed(&self) -> bool {
        match &self.state {
            State::Terminated(end) => end.code == 0,
            State::Running { .. } => self.is_sidecar(),
            State::Waiting { .. } => false,
        }
    }

    /// The image that runs, ran last, or is to run; and its id, once it has run. As the runtime tells them.
    pub(in crate::node) fn image(&self) -> (&str, String) {
        if !self.was_started {
            return (&self.spec.image, String::new());
        }
        match &self.reported {
            Some(reported) => (&reported.image, image_id(&reported.image, &reported.digest)),
            None => {
                let image = &self.running_image;
                (image, image_id(image, &digest(image)))
            }
        }
    }

    /// It is to run the image of its definition, which is another one: it is restarted, unless the runtime takes both for
    /// the same.
    pub(super) fn replace(&mut self, i: usize, images: &dyn Images) -> Effects {
        let image = self.spec.image.clone();
        let profile = images.profile(&image);
        let digest = images.profile(&self.running_image).digest(&self.running_image);
        if profile.keeps_running && digest == profile.digest(&image) {
            self.runs(image, &profile);
            return Vec::new();
        }
        let message = format!(
            "Container {} definition changed, will be restarted",
            self.spec.name
        );
        vec![
            (None, event(false, "Killing", message)),
            (Some(self.epoch), Effect::After(STOP, Step::Killed(i))),
        ]
    }

    /// It runs this image.
    pub(super) fn runs(&mut self, image: String, profile: &Profile) {
        self.reported = Reported::new(&image, profile);
        self.running_image = image;
    }

    /// It reads the fields of its pod, which it does once, at its start.
    pub(super) fn read_fields(&mut self, fields: &Fields) {
        let variables = self.spec.env.iter();
        self.shown = variables
            .filter_map(|variable| {
                let value = fields.get(variable.field()?).cloned().unwrap_or_default();
                Some((variable.name.clone(), value))
            })
            .collect();
    }

    /// The variables that its pod sets, in order.
    pub(in crate::node) fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.spec.env.iter().map(|variable| {
            let is_this = |(name, _): &&(String, String)| *name == variable.name;
            let shown = variable.field().and_then(|_| self.shown.iter().find(is_this));
            let value = shown.map_or(&variable.value, |(_, value)| value);
            (variable.name.as_str(), value.as_str())
        })
    }

    /// `containerd://` and 64 hexadecimal digits that change with every start.
    pub(in crate::node) fn id(&self, pod: Uid) -> String {
        let seed = format!("{pod}/{}/{}", self.spec.name, self.restarts);
        format!("containerd://{}", digest(&seed))
    }
}

/// What a runtime says of an image that has another name as well, or a content that others have too.
#[derive(Debug, Clone, PartialEq)]
struct Reported {
    /// The name.
    image: String,
    /// 64 hexadecimal digits.
    digest: String,
}

impl Reported {
    fn new(image: &str, profile: &Profile) -> Option<Box<Self>> {
        let is_plain = profile.content.is_none() && profile.reported_as.is_none();
        let reported = || Self {
            image: profile.reported_as.as_deref().unwrap_or(image).to_owned(),
            digest: profile.digest(image),
        };
        (!is_plain).then(|| Box::new(reported()))
    }
}
