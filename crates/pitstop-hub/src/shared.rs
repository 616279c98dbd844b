//! What all parts of one hub share.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use pitstop_api::SharedClock;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::act::Pending;
use crate::audit::{Audit, Entry};
use crate::cache::Cache;
use crate::cloud::{Change, Cloud};
use crate::events::Events;
use crate::guard::{Rates, Tokens};
use crate::intents::{Book, By, Intent, Waiting};
use crate::link::{self, Link};
use crate::metrics::Metrics;
use crate::notices::Notices;
use crate::pod::PodView;
use crate::policy::{Facts, Gates, PolicyFile};
use crate::progress::Progress;
use crate::save::{Saved, Saver};
use crate::settings::Settings;

mod telling;

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
    audit: Option<Arc<Mutex<Audit>>>,
    pub(crate) events: Events,
    pub(crate) notices: Notices,
    progress: Mutex<Progress>,
    /// What pods need, by identity, to tell when that changes.
    needs: Mutex<BTreeMap<String, Need>>,
    rules: Mutex<(PolicyFile, Gates)>,
    /// When what the API server refused may be tried again.
    retries: Mutex<BTreeMap<String, Instant>>,
    /// Since when a controller is asked; none once its silence was told.
    asked: Mutex<BTreeMap<String, Option<Instant>>>,
}

/// What a pod needs, as far as others are told of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Need {
    /// The revision that waits.
    upgrade: Option<String>,
    /// Whether it says that its upgrade waits for something.
    said: bool,
}

impl Need {
    fn of(pod: &PodView) -> Self {
        Self {
            upgrade: pod.needs_upgrade().then(|| pod.target().to_owned()),
            said: Pending::of(pod).is_some_and(|pending| pending.waits),
        }
    }
}

/// Where time services leave a mark once the clock is right.
const CLOCK_MARK: &str = "/run/systemd/timesync/synchronized";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something that waits for the disk on a thread for that, unless this one `waits` itself.
async fn aside<S: Send + 'static, T: Send + 'static>(
    what: &Arc<Mutex<S>>,
    waits: bool,
    change: impl FnOnce(&mut S) -> T + Send + 'static,
) -> T {
    if waits {
        return change(&mut lock(what));
    }
    let what = Arc::clone(what);
    match tokio::task::spawn_blocking(move || change(&mut lock(&what))).await {
        Ok(value) => value,
        // The thread died of a panic, which is ours as much as its own.
        Err(died) => std::panic::resume_unwind(died.into_panic()),
    }
}

/// A name for this run of the hub, so that numbers of events of another run are not taken for ours.
fn epoch(now: Timestamp, seed: u64) -> String {
    let text = format!("{now}|{seed}");
    let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    crate::intents::hex(hash.as_ref().get(..4).unwrap_or_default())
}

impl Shared {
    pub(crate) fn new(settings: Settings, cloud: Arc<dyn Cloud>, clock: SharedClock, found: Found) -> Self {
        let now = clock.now();
        let cache = Cache::load(found.saved.pods, found.saved.last_sync.is_some());
        let needs = cache
            .views()
            .iter()
            .map(|pod| (pod.uid.clone(), Need::of(pod)))
            .collect();
        Self {
            link: Link::new(now, found.saved.last_sync),
            metrics: Metrics::new(settings.legacy_metrics),
            cache: Mutex::new(cache),
            rates: Mutex::new(Rates::new(settings.limits, Instant::now())),
            tokens: Mutex::default(),
            stir: Notify::new(),
            acting: tokio::sync::Mutex::new(()),
            book: Arc::new(Mutex::new(found.book)),
            saver: Arc::new(Mutex::new(found.saver)),
            audit: found.audit.map(|audit| Arc::new(Mutex::new(audit))),
            notices: Notices::new(),
            events: Events::new(epoch(now, settings.seed), settings.limits),
            progress: Mutex::default(),
            needs: Mutex::new(needs),
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
        let changed = aside(&self.book, self.settings.waits_for_disk, change).await;
        self.metrics.journaled(began.elapsed());
        changed
    }

    /// Writes the cache where waiting for the disk holds up nobody else.
    pub(crate) async fn with_saver<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Saver) -> T + Send + 'static,
    ) -> T {
        aside(&self.saver, self.settings.waits_for_disk, change).await
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

    pub(crate) fn retry_forget(&self, id: &str) {
        lock(&self.retries).remove(id);
    }

    /// Records who did or tried what. With `durable` it is on disk when this returns.
    pub(crate) async fn record(&self, entry: Entry, durable: bool) {
        let Some(audit) = &self.audit else {
            return;
        };
        let waits = self.settings.waits_for_disk;
        if let Err(error) = aside(audit, waits, move |audit| audit.write(&entry, durable)).await {
            tracing::error!(%error, "writing the audit log");
        }
    }

    pub(crate) fn audited(&self) -> bool {
        self.audit.is_some()
    }
}

/// What a process before this one left behind.
pub(crate) struct Found {
    pub(crate) book: Book,
    pub(crate) saver: Saver,
    pub(crate) saved: Saved,
    pub(crate) audit: Option<Audit>,
}
