//! The agent of a node: it pulls what the NodeImage lists. Source: inplace.md 11.5, 13.18.
//!
//! A state machine without a clock and without a runtime: what is to be done comes out as [`Effect`]s, and what came of it
//! goes in again. Whoever drives it has a container runtime at hand, real or simulated.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use pitstop_api::image_pull::Reference;
use pitstop_api::view::{
    ImageSpec, ImageTag, NodeImageSpec, NodeImageStatus, ObjectReference, PullPhase, SandboxConfig,
    SecretReference, TagStatus,
};
use pitstop_api::{keys, reasons};

use super::node::Notice;
use super::status::counted;
use crate::availability::later;

/// First pause after a failed attempt; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Why a pull was given up whose time is over.
const OVERDUE: &str = "pulling exceeds the activeDeadlineSeconds";
/// Why a pull waits where there is no room. Source: inplace.md 13.18.
const NO_ROOM: &str = "the node is short of disk (DiskPressure); it is pulled when there is room again";
/// Who pulls, as the runtime is told.
const NAME: &str = "kruise-daemon";

/// Repository and tag.
type Key = (String, String);

/// What an agent knows.
#[derive(Debug, Clone, Default)]
pub struct Agent {
    most_workers: Option<usize>,
    workers: BTreeMap<Key, Worker>,
    /// What has ended, for versions that are still wanted.
    done: BTreeMap<Key, TagStatus>,
    next_run: u64,
    is_short_of_disk: bool,
}

/// One pull under way.
#[derive(Debug, Clone)]
struct Worker {
    run: u64,
    stage: Stage,
    status: TagStatus,
    tag: ImageTag,
    secrets: Vec<SecretReference>,
    sandbox: SandboxConfig,
    n_failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has no place yet.
    Waiting,
    /// The runtime pulls.
    Pulling,
    /// An attempt has failed, and the next one waits.
    Pausing,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Ask the runtime, and tell [`Agent::pulled`] what came of it.
    Pull(Pull),
    /// Nobody wants that any more: what comes of it is not heard.
    Cancel {
        /// Which.
        run: u64,
    },
    /// Call [`Agent::woken`] then.
    Wake {
        /// For which.
        run: u64,
        /// In how long.
        after: Duration,
    },
    /// Tell the owners, and the NodeImage.
    Tell(Notice),
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// Which.
    pub run: u64,
    /// The image, as a runtime is asked for it.
    pub image: Reference,
    /// An image that the node has already is taken as it is.
    pub unless_present: bool,
    /// How long it may take.
    pub timeout: Duration,
    /// Secrets that may have credentials. Those for the repository are tried in turn, and then none at all.
    pub secrets: Vec<SecretReference>,
    /// What the runtime is told beside the image.
    pub sandbox: SandboxConfig,
}

impl Agent {
    /// An agent that pulls so many images at once; `None`: any number. Flag `--max-workers-for-pull-image`.
    pub fn new(most_workers: Option<usize>) -> Self {
        Self {
            most_workers,
            ..Self::default()
        }
    }

    /// Takes in whether the node is short of disk. While it is nothing is begun; what is under way goes on.
    pub fn set_disk_pressure(&mut self, is_short: bool, now: Timestamp) -> Vec<Effect> {
        if self.is_short_of_disk == is_short {
            return Vec::new();
        }
        self.is_short_of_disk = is_short;
        self.fill(now)
    }

    /// Takes in the NodeImage as it is now. What its status says has ended is not done again, also after a restart of the
    /// agent.
    pub fn sync(&mut self, spec: &NodeImageSpec, status: &NodeImageStatus, now: Timestamp) -> Vec<Effect> {
        for (repository, tag) in wanted(spec) {
            let ended = status
                .of(repository, &tag.tag)
                .filter(|status| status.completion_time.is_some());
            if let Some(ended) = ended.filter(|ended| ended.version == tag.version) {
                let key = (repository.clone(), tag.tag.clone());
                self.done.entry(key).or_insert_with(|| ended.clone());
            }
        }
        let done = &mut self.done;
        done.retain(|(repository, tag), ended| {
            spec.of(repository, tag)
                .is_some_and(|wanted| wanted.version == ended.version)
        });
        let mut effects = Vec::new();
        self.workers.retain(|key, worker| {
            let (repository, tag) = key;
            let wanted = spec.of(repository, tag);
            let goes_on =
                wanted.is_some_and(|wanted| wanted.version == worker.tag.version) && !done.contains_key(key);
            if !goes_on {
                effects.push(Effect::Cancel { run: worker.run });
            }
            goes_on
        });
        for (repository, image) in &spec.images {
            for tag in &image.tags {
                self.take_on(repository, image, tag);
            }
        }
        effects.extend(self.fill(now));
        effects
    }

    /// A worker for a version; one that is there learns of new secrets and a new policy, and goes on.
    fn take_on(&mut self, repository: &str, image: &ImageSpec, tag: &ImageTag) {
        let key = (repository.to_owned(), tag.tag.clone());
        if self.done.contains_key(&key) {
            return;
        }
        let next_run = &mut self.next_run;
        let worker = self.workers.entry(key).or_insert_with(|| {
            *next_run = next_run.saturating_add(1);
            Worker {
                run: *next_run,
                stage: Stage::Waiting,
                status: TagStatus {
                    tag: tag.tag.clone(),
                    version: tag.version,
                    ..TagStatus::default()
                },
                tag: tag.clone(),
                secrets: Vec::new(),
                sandbox: SandboxConfig::default(),
                n_failures: 0,
            }
        });
        worker.tag.clone_from(tag);
        worker.secrets.clone_from(&image.pull_secrets);
        worker.sandbox = image.sandbox_config.clone().unwrap_or_default();
    }

    /// Gives free places to those that wait, the first come first.
    fn fill(&mut self, now: Timestamp) -> Vec<Effect> {
        let message = if self.is_short_of_disk { NO_ROOM } else { "" };
        let waiting = self.workers.values_mut();
        for worker in waiting.filter(|worker| worker.stage == Stage::Waiting) {
            message.clone_into(&mut worker.status.message);
        }
        if self.is_short_of_disk {
            return Vec::new();
        }
        let mut effects = Vec::new();
        let n_busy = self
            .workers
            .values()
            .filter(|worker| worker.stage != Stage::Waiting)
            .count();
        let free = self
            .most_workers
            .map_or(usize::MAX, |most| most.saturating_sub(n_busy));
        let mut waiting: Vec<(u64, Key)> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.stage == Stage::Waiting)
            .map(|(key, worker)| (worker.run, key.clone()))
            .collect();
        waiting.sort_unstable();
        for (_, key) in waiting.into_iter().take(free) {
            if let Some(worker) = self.workers.get_mut(&key) {
                worker.status.phase = PullPhase::Pulling;
                worker.status.start_time.get_or_insert(now);
            }
            effects.extend(self.attempt(&key, now));
        }
        effects
    }

    fn attempt(&mut self, key: &Key, now: Timestamp) -> Vec<Effect> {
        let Some(worker) = self.workers.get_mut(key) else {
            return Vec::new();
        };
        let policy = worker.tag.pull_policy.clone().unwrap_or_default();
        let mut timeout = Duration::from_secs(policy.timeout().into());
        if let (Some(created_at), Some(seconds)) = (worker.tag.created_at, policy.active_deadline_seconds) {
            let left = Duration::try_from(later(created_at, seconds).duration_since(now)).unwrap_or_default();
            if left.is_zero() {
                return self.end(key, Err(OVERDUE.to_owned()), now);
            }
            timeout = timeout.min(left);
        }
        worker.stage = Stage::Pulling;
        let mut sandbox = worker.sandbox.clone();
        sandbox
            .annotations
            .insert(keys::PULLING_IMAGE_BY.to_owned(), NAME.to_owned());
        let (repository, tag) = key.clone();
        vec![Effect::Pull(Pull {
            run: worker.run,
            image: Reference { repository, tag },
            // An empty policy is that of the kind (13.18).
            unless_present: matches!(worker.tag.image_pull_policy.as_str(), "" | "IfNotPresent"),
            timeout,
            secrets: worker.secrets.clone(),
            sandbox,
        })]
    }

    /// What the runtime said: the image's id, or what went wrong.
    pub fn pulled(&mut self, run: u64, result: Result<String, String>, now: Timestamp) -> Vec<Effect> {
        let Some(key) = self.key_of(run, Stage::Pulling) else {
            return Vec::new();
        };
        let Some(worker) = self.workers.get_mut(&key) else {
            return Vec::new();
        };
        if result.is_ok() {
            return self.end(&key, result, now);
        }
        let retries = worker.tag.pull_policy.clone().unwrap_or_default().retries();
        if worker.n_failures >= retries {
            return self.end(&key, result, now);
        }
        let after = FIRST_PAUSE
            .saturating_mul(2_u32.saturating_pow(worker.n_failures))
            .min(LONGEST_PAUSE);
        worker.n_failures = worker.n_failures.saturating_add(1);
        worker.stage = Stage::Pausing;
        worker.status.message = result.err().unwrap_or_default();
        vec![Effect::Wake { run, after }]
    }

    /// The pause is over.
    pub fn woken(&mut self, run: u64, now: Timestamp) -> Vec<Effect> {
        let Some(key) = self.key_of(run, Stage::Pausing) else {
            return Vec::new();
        };
        if !self.is_short_of_disk {
            return self.attempt(&key, now);
        }
        if let Some(worker) = self.workers.get_mut(&key) {
            worker.stage = Stage::Waiting;
            worker.status.phase = PullPhase::Waiting;
        }
        self.fill(now)
    }

    fn end(&mut self, key: &Key, result: Result<String, String>, now: Timestamp) -> Vec<Effect> {
        let Some(worker) = self.workers.remove(key) else {
            return Vec::new();
        };
        let (repository, tag) = key;
        let mut status = TagStatus {
            completion_time: Some(now),
            ..worker.status
        };
        let (is_warning, reason, message) = match result {
            Ok(id) => {
                status.phase = PullPhase::Succeeded;
                status.progress = 100;
                status.image_id = format!("{repository}@{id}");
                status.message = String::new();
                let took = status.start_time.map(|at| now.duration_since(at).as_secs());
                let text = format!(
                    "Image {repository}:{tag}, pulled in {}s",
                    took.unwrap_or_default()
                );
                (false, reasons::PULL_IMAGE_SUCCEED, text)
            }
            Err(error) => {
                status.phase = PullPhase::Failed;
                status.message.clone_from(&error);
                (
                    true,
                    reasons::PULL_IMAGE_FAILED,
                    format!("Image {repository}:{tag}: {error}"),
                )
            }
        };
        self.done.insert(key.clone(), status);
        let mut effects = vec![Effect::Tell(Notice {
            owners: owners(&worker.tag),
            is_warning,
            reason,
            message,
        })];
        effects.extend(self.fill(now));
        effects
    }

    /// What is to be reported.
    pub fn status(&self, spec: &NodeImageSpec) -> NodeImageStatus {
        counted(spec, |repository, tag| {
            let key = (repository.to_owned(), tag.to_owned());
            let worker = || self.workers.get(&key).map(|worker| worker.status.clone());
            self.done.get(&key).cloned().or_else(worker)
        })
    }

    /// Does it do nothing?
    pub fn is_idle(&self) -> bool {
        self.workers.is_empty()
    }

    fn key_of(&self, run: u64, stage: Stage) -> Option<Key> {
        let mut workers = self.workers.iter();
        let found = workers.find(|(_, worker)| worker.run == run && worker.stage == stage);
        found.map(|(key, _)| key.clone())
    }
}

fn wanted(spec: &NodeImageSpec) -> impl Iterator<Item = (&String, &ImageTag)> {
    let images = spec.images.iter();
    images.flat_map(|(repository, image)| image.tags.iter().map(move |tag| (repository, tag)))
}

fn owners(tag: &ImageTag) -> Vec<ObjectReference> {
    tag.owner_references.clone()
}

#[cfg(test)]
mod tests;
