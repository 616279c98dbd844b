//! What all parts of one hub share.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pitstop_api::SharedClock;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cache::{Cache, Event};
use crate::cloud::{Change, Cloud};
use crate::guard::{Rates, Tokens};
use crate::intents::{Book, By, Intent, State, Waiting};
use crate::link::{self, Link};
use crate::metrics::Metrics;
use crate::policy::{Facts, Gates, PolicyFile};
use crate::save::{Saved, Saver};
use crate::settings::Settings;

/// What all parts of one hub share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) cloud: Arc<dyn Cloud>,
    pub(crate) clock: SharedClock,
    pub(crate) link: Link,
    pub(crate) metrics: Metrics,
    cache: Mutex<Cache>,
    rates: Mutex<Rates>,
    tokens: Mutex<Tokens>,
    /// Something happened that may let an intent go on.
    pub(crate) stir: Notify,
    /// Held by whoever carries out an intent.
    pub(crate) acting: tokio::sync::Mutex<()>,
    book: Arc<Mutex<Book>>,
    saver: Arc<Mutex<Saver>>,
    rules: Mutex<(PolicyFile, Gates)>,
    /// When what the API server refused may be tried again.
    retries: Mutex<BTreeMap<String, Instant>>,
    /// Since when a controller is asked; none once its silence was told.
    asked: Mutex<BTreeMap<String, Option<Instant>>>,
}

/// Where time services leave a mark once the clock is right.
const CLOCK_MARK: &str = "/run/systemd/timesync/synchronized";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something that waits for the disk on a thread for that.
async fn aside<S: Send + 'static, T: Send + 'static>(
    what: &Arc<Mutex<S>>,
    change: impl FnOnce(&mut S) -> T + Send + 'static,
) -> T {
    let what = Arc::clone(what);
    match tokio::task::spawn_blocking(move || change(&mut lock(&what))).await {
        Ok(value) => value,
        // The thread died of a panic, which is ours as much as its own.
        Err(died) => std::panic::resume_unwind(died.into_panic()),
    }
}

impl Shared {
    pub(crate) fn new(settings: Settings, cloud: Arc<dyn Cloud>, clock: SharedClock, found: Found) -> Self {
        let now = clock.now();
        Self {
            link: Link::new(now, found.saved.last_sync),
            metrics: Metrics::new(settings.legacy_metrics),
            cache: Mutex::new(Cache::load(found.saved.pods, found.saved.last_sync.is_some())),
            rates: Mutex::new(Rates::new(settings.limits, Instant::now())),
            tokens: Mutex::default(),
            stir: Notify::new(),
            acting: tokio::sync::Mutex::new(()),
            book: Arc::new(Mutex::new(found.book)),
            saver: Arc::new(Mutex::new(found.saver)),
            rules: Mutex::new((PolicyFile::new(), Gates::default())),
            retries: Mutex::default(),
            asked: Mutex::default(),
            settings,
            cloud,
            clock,
        }
    }

    pub(crate) fn cache(&self) -> MutexGuard<'_, Cache> {
        lock(&self.cache)
    }

    pub(crate) fn rates(&self) -> MutexGuard<'_, Rates> {
        lock(&self.rates)
    }

    /// The name of a token, if a token file is set and knows it.
    pub(crate) fn token_name(&self, file: &Path, token: &str) -> Option<String> {
        let mut tokens = lock(&self.tokens);
        tokens.refresh(file);
        tokens.name_of(token).map(str::to_owned)
    }

    /// Takes a complete list for the truth.
    pub(crate) fn replace(&self, pods: &[Bytes]) {
        let events = self.cache().replace(pods);
        self.told(events);
    }

    /// Takes in a change; returns the version that it brings.
    pub(crate) fn apply(&self, change: Change) -> Option<String> {
        let version = link::version_of(&change);
        let event = match change {
            Change::Put(pod) => self.cache().put(&pod),
            Change::Gone(pod) => self.cache().gone(&pod),
            Change::Bookmark(_) => None,
        };
        self.told(event);
        version
    }

    /// The intents, to look at. What has to reach the disk goes through [`Self::with_book`].
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    /// The cache on disk, to note what has to be written.
    pub(crate) fn saver(&self) -> MutexGuard<'_, Saver> {
        lock(&self.saver)
    }

    /// Changes the intents where waiting for the disk holds up nobody else.
    pub(crate) async fn with_book<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Book) -> T + Send + 'static,
    ) -> T {
        let began = Instant::now();
        let changed = aside(&self.book, change).await;
        self.metrics.journaled(began.elapsed());
        changed
    }

    /// Writes the cache where waiting for the disk holds up nobody else.
    pub(crate) async fn with_saver<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Saver) -> T + Send + 'static,
    ) -> T {
        aside(&self.saver, change).await
    }

    /// Uptime of all hubs of this folder, in seconds.
    pub(crate) fn uptime(&self) -> u64 {
        self.book().uptime(Instant::now())
    }

    pub(crate) fn clock_synced(&self) -> bool {
        match &self.settings.clock_synced {
            Some(synced) => synced(),
            None => Path::new(CLOCK_MARK).exists(),
        }
    }

    /// What the policy of the owner of this node waits for first.
    pub(crate) fn policy_waits(&self, intent: &Intent) -> Option<Waiting> {
        let file = self.settings.policy.as_deref()?;
        let now = Instant::now();
        let (mut facts_now, synced) = (self.clock.now(), self.clock_synced());
        let mut rules = lock(&self.rules);
        let (rules, gates) = &mut *rules;
        let policy = rules.refresh(file);
        let mut facts = Facts {
            now: std::mem::take(&mut facts_now),
            clock_synced: synced,
            open: &mut |gate| gates.open(gate, now),
        };
        policy.waits(intent, &mut facts)
    }

    /// Whether this caller's consent counts for an intent.
    pub(crate) fn may_approve(&self, intent: &Intent, by: &By) -> bool {
        let Some(file) = self.settings.policy.as_deref() else {
            return true;
        };
        lock(&self.rules).0.refresh(file).may_approve(intent, by)
    }

    /// Whether the policy in force is the one of the file.
    pub(crate) fn policy_valid(&self) -> bool {
        lock(&self.rules).0.valid()
    }

    /// Looks at the gates that have to be open for a while; whether there are any.
    pub(crate) fn look_at_gates(&self) -> bool {
        let Some(file) = self.settings.policy.as_deref() else {
            return false;
        };
        let now = Instant::now();
        let mut rules = lock(&self.rules);
        let (rules, gates) = &mut *rules;
        let policy = rules.refresh(file);
        policy.lasting_gates().fold(false, |_, gate| {
            gates.open(gate, now);
            true
        })
    }

    /// Whether something may go on by itself: open intents wait for windows and gates.
    pub(crate) fn needs_looking(&self) -> bool {
        !self.book().open_ones().is_empty()
    }

    pub(crate) fn retry_at(&self, id: &str, at: Instant) {
        lock(&self.retries).insert(id.to_owned(), at);
    }

    pub(crate) fn retry_due(&self, id: &str, now: Instant) -> bool {
        lock(&self.retries).get(id).is_none_or(|at| *at <= now)
    }

    /// A controller was asked; its silence will be told.
    pub(crate) fn watch_stall(&self, id: &str) {
        lock(&self.asked).insert(id.to_owned(), Some(Instant::now()));
    }

    /// Tells once that a controller is silent.
    pub(crate) fn tell_stall(&self, intent: &Intent, after: Duration) {
        let mut asked = lock(&self.asked);
        let since = asked
            .entry(intent.id.clone())
            .or_insert_with(|| Some(Instant::now()));
        if since.is_some_and(|since| since.elapsed() >= after) {
            *since = None;
            tracing::warn!(
                intent = intent.id,
                "the controller does not react to a requested upgrade"
            );
        }
    }

    /// An intent changed.
    pub(crate) fn intent_changed(&self, intent: &Intent) {
        tracing::info!(
            intent = intent.id,
            pod = format!("{}/{}", intent.ns, intent.name),
            state = intent.standing(),
            reason = intent.reason,
            "an intent changed"
        );
        if intent.state.ended() {
            lock(&self.retries).remove(&intent.id);
            lock(&self.asked).remove(&intent.id);
        }
        debug_assert!(intent.state != State::Pending || intent.waiting.is_some());
    }

    fn told(&self, events: impl IntoIterator<Item = Event>) {
        let mut saver = self.saver();
        let mut any = false;
        for event in events {
            saver.note(&event);
            any = true;
        }
        drop(saver);
        if any {
            self.stir.notify_one();
        }
    }
}

/// What a process before this one left behind.
pub(crate) struct Found {
    pub(crate) book: Book,
    pub(crate) saver: Saver,
    pub(crate) saved: Saved,
}
