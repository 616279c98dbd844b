//! Keeps one kind in the stores: list, then watch from there, for ever.
//!
//! A kind that may be listed but not watched is not in sync: nothing is decided on what cannot be followed.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, error, info, warn};

use super::object::WatchEvent;
use super::{Stores, Wire};
use crate::api::{Api, Call, CallError, Resource, Verb};

/// How many objects a page of a list holds. The pages of a start are what takes the most memory, and real pods have 5 to 10
/// KiB.
const PAGE: u32 = 200;
/// For how long a watch is asked for. Units: seconds. The server ends it; jitter keeps kinds from ending together.
const WATCH_FOR: std::ops::Range<u64> = 240..290;
/// How much longer than it was asked for a silent watch is waited for.
const SILENCE: Duration = Duration::from_secs(10);
/// Waits between attempts: doubled from the first to the last, with jitter.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));
/// After so many failures in a row a list is tried: perhaps it is the version that the server does not like.
const LIST_AFTER: u32 = 5;
/// A watch that held this long was a good one: the waits start afresh.
const GOOD_WATCH: Duration = Duration::from_secs(5);

/// Lists and watches one kind until the task is aborted.
pub struct Reflector {
    api: Arc<dyn Api>,
    stores: Arc<Stores>,
    resource: Resource,
    rng: StdRng,
    n_failures: u32,
    /// Was the last watch refused because the right to it is missing?
    may_not_watch: bool,
    /// Does the server not know the kind?
    is_unknown: bool,
}

/// What to do about a kind that is missing.
const DEFINED_BY: &str = "apply the output of `pitstop manifests --controllers cloneset`";

/// Why a watch ended.
enum Ended {
    /// The server closed it, as it does every few minutes.
    Closed,
    /// It broke.
    Failed(CallError),
    /// The version is too old: list again.
    Expired,
}

impl Reflector {
    /// A reflector of `resource` into `stores`. `seed` makes its jitter.
    pub fn new(api: Arc<dyn Api>, stores: Arc<Stores>, resource: Resource, seed: u64) -> Self {
        Self {
            api,
            stores,
            resource,
            rng: StdRng::seed_from_u64(seed),
            n_failures: 0,
            may_not_watch: false,
            is_unknown: false,
        }
    }

    /// Runs for ever.
    pub async fn run(mut self) {
        loop {
            match self.list().await {
                Ok(version) => {
                    if std::mem::take(&mut self.is_unknown) {
                        let resource = self.resource.plural();
                        warn!("the API server knows {resource} now");
                    }
                    self.watch_from(version).await;
                }
                Err(error) => {
                    self.complain(&error, "list failed");
                    self.back_off(error.retry_after()).await;
                }
            }
        }
    }

    /// Lists all pages and puts them into the store as one change. Returns the version they are of.
    async fn list(&mut self) -> Result<String, CallError> {
        let mut objects = Vec::new();
        let mut continue_at = String::new();
        loop {
            let mut call = self.call(Verb::List).with_query("limit", PAGE.to_string());
            if !continue_at.is_empty() {
                call = call.with_query("continue", continue_at.clone());
            }
            let answer = self.api.send(call).await?;
            let page: Page<'_> = serde_json::from_slice(&answer).map_err(|e| CallError::Unreadable {
                what: format!("list of {}", self.resource.plural()),
                problem: e.to_string(),
            })?;
            let wires = page
                .items
                .iter()
                .map(|item| self.decode(item.get().as_bytes()))
                .collect();
            objects.extend(self.stores.lean(wires));
            continue_at = page.metadata.continue_at.into_owned();
            if continue_at.is_empty() {
                let version = page.metadata.resource_version.into_owned();
                debug!(
                    resource = self.resource.plural(),
                    n = objects.len(),
                    version,
                    "listed"
                );
                let at = version.parse().unwrap_or_default();
                self.stores
                    .replace(self.resource, objects, at, !self.may_not_watch);
                return Ok(version);
            }
        }
    }

    fn call(&self, verb: Verb) -> Call {
        let call = Call::collection(verb, self.resource, None);
        match self.resource.label() {
            Some(label) => call.with_query("labelSelector", label),
            None => call,
        }
    }

    /// Watches, again and again, until a new list is needed.
    async fn watch_from(&mut self, mut version: String) {
        loop {
            let opened_at = Instant::now();
            let ended = self.watch_once(&mut version).await;
            if opened_at.elapsed() >= GOOD_WATCH {
                self.n_failures = 0;
            }
            self.stores.count_restart(self.resource);
            match ended {
                Ended::Expired => {
                    info!(
                        resource = self.resource.plural(),
                        version, "version expired, listing anew"
                    );
                    self.stores.set_synced(self.resource, false);
                    self.back_off(None).await;
                    return;
                }
                Ended::Closed if opened_at.elapsed() >= GOOD_WATCH => {}
                Ended::Closed => self.back_off(None).await,
                Ended::Failed(error) => {
                    self.complain(&error, "watch failed");
                    self.back_off(error.retry_after()).await;
                    if self.n_failures >= LIST_AFTER {
                        return;
                    }
                }
            }
        }
    }

    async fn watch_once(&mut self, version: &mut String) -> Ended {
        let seconds = self.rng.random_range(WATCH_FOR);
        let call = self
            .call(Verb::Watch)
            .with_query("watch", "1")
            .with_query("allowWatchBookmarks", "true")
            .with_query("resourceVersion", version.clone())
            .with_query("timeoutSeconds", seconds.to_string());
        let mut lines = match self.api.watch(call).await {
            Ok(lines) => lines,
            Err(CallError::Gone(_)) => return Ended::Expired,
            Err(error) => {
                if error.missing_right().is_some() {
                    self.may_not_watch = true;
                    self.stores.set_synced(self.resource, false);
                }
                return Ended::Failed(error);
            }
        };
        if std::mem::take(&mut self.may_not_watch) {
            self.stores.set_synced(self.resource, true);
        }
        let longest_silence = Duration::from_secs(seconds) + SILENCE;
        loop {
            match timeout(longest_silence, lines.next()).await {
                Err(_) => return Ended::Failed(CallError::Unreachable("the watch fell silent".to_owned())),
                Ok(None) => return Ended::Closed,
                Ok(Some(Err(CallError::Gone(_)))) => return Ended::Expired,
                Ok(Some(Err(error))) => return Ended::Failed(error),
                Ok(Some(Ok(line))) => {
                    if let ControlFlow::Break(ended) = self.take(&line, version) {
                        return ended;
                    }
                }
            }
        }
    }

    /// Takes in one line of a watch.
    fn take(&self, line: &[u8], version: &mut String) -> ControlFlow<Ended> {
        if let Some(event) = WatchEvent::read(self.resource, line) {
            self.apply(event.wire, event.is_deleted, Some(event.version), version);
            return ControlFlow::Continue(());
        }
        let event: Event<'_> = match serde_json::from_slice(line) {
            Ok(event) => event,
            // What it was about cannot be told, so only a list can tell what is true now.
            Err(error) => {
                warn!(resource = self.resource.plural(), %error, "watch event cannot be read");
                return ControlFlow::Break(Ended::Expired);
            }
        };
        let object = event.object.get().as_bytes();
        match event.kind.as_ref() {
            "ADDED" | "MODIFIED" => self.apply(self.decode(object), false, version_of(object), version),
            "DELETED" => self.apply(self.decode(object), true, version_of(object), version),
            "BOOKMARK" => {
                if let Some(at) = version_of(object) {
                    self.stores.change(|state| {
                        state.seen(self.resource, at.parse().unwrap_or_default());
                        None
                    });
                    *version = at;
                }
            }
            "ERROR" => {
                let code = serde_json::from_slice::<Code>(object).unwrap_or_default().code;
                return ControlFlow::Break(match CallError::from_answer(code, object) {
                    CallError::Gone(_) => Ended::Expired,
                    error => Ended::Failed(error),
                });
            }
            other => debug!(
                resource = self.resource.plural(),
                kind = other,
                "unknown watch event"
            ),
        }
        ControlFlow::Continue(())
    }

    /// Puts an object in or takes it out. The watch goes on from its version `at`, where it has one.
    fn apply(&self, wire: Wire, is_deleted: bool, at: Option<String>, version: &mut String) {
        self.stores.change(|state| {
            let object = state.lean(wire);
            let change = if is_deleted {
                state.remove(&object)
            } else {
                state.put(object)
            };
            if let Some(at) = at {
                state.seen(self.resource, at.parse().unwrap_or_default());
                *version = at;
            }
            change
        });
    }

    fn decode(&self, json: &[u8]) -> Wire {
        let wire = Wire::decode(self.resource, json);
        if let Wire::Unreadable(identity) = &wire {
            warn!(
                resource = identity.resource.plural(),
                namespace = identity.namespace,
                name = identity.name,
                problem = identity.problem,
                "object cannot be read; what depends on it is left alone"
            );
        }
        wire
    }

    /// Missing rights are told once, by [`crate::api::Rights`], and a kind that is missing once, here.
    fn complain(&mut self, error: &CallError, what: &'static str) {
        if let (CallError::NotFound(_), Some(definition)) = (error, self.resource.definition()) {
            if !std::mem::replace(&mut self.is_unknown, true) {
                let resource = self.resource.plural();
                error!(
                    "the API server does not know {resource}, of which nothing is done until it does: it lacks the \
                     definition {definition}; {DEFINED_BY}"
                );
            }
        } else if error.missing_right().is_none() {
            warn!(resource = self.resource.plural(), %error, "{what}");
        }
    }

    async fn back_off(&mut self, at_least: Option<Duration>) {
        let (first, last) = BACK_OFF;
        let wait = first.saturating_mul(1 << self.n_failures.min(16)).min(last);
        self.n_failures = self.n_failures.saturating_add(1);
        let jittered = wait.mul_f64(self.rng.random_range(0.5..1.0));
        sleep(jittered.max(at_least.unwrap_or_default())).await;
    }
}

fn version_of(object: &[u8]) -> Option<String> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Versioned<'a> {
        #[serde(borrow)]
        metadata: ListMeta<'a>,
    }
    let versioned: Versioned<'_> = serde_json::from_slice(object).ok()?;
    let version = versioned.metadata.resource_version;
    (!version.is_empty()).then(|| version.into_owned())
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Page<'a> {
    #[serde(borrow)]
    metadata: ListMeta<'a>,
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ListMeta<'a> {
    #[serde(borrow, rename = "resourceVersion")]
    resource_version: Cow<'a, str>,
    #[serde(borrow, rename = "continue")]
    continue_at: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Code {
    code: u16,
}
