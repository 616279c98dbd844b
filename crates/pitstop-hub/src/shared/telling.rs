//! Who is told what happens: intents that may go on, user interfaces, and the cloud.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{Need, Shared, lock};
use crate::cache::Event;
use crate::checks::Method;
use crate::events::Kind;
use crate::intents::{Intent, State};
use crate::notices::Notice;
use crate::overview;
use crate::progress::{Phase, Reached};

impl Shared {
    /// A controller was asked; its silence will be told.
    pub(crate) fn watch_stall(&self, id: &str) {
        let now = Instant::now();
        lock(&self.asked).insert(id.to_owned(), Some(now));
        let reached = lock(&self.progress).tell(id, Phase::Patched, now);
        self.tell_progress(reached);
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
            self.notices.tell(Notice::stalled(intent));
            let reached = lock(&self.progress).tell(&intent.id, Phase::Stalled, Instant::now());
            self.tell_progress(reached);
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
        if let Some(notice) = Notice::of(intent, &self.settings.node) {
            self.notices.tell(notice);
        }
        self.events.tell(
            Kind::Intent,
            &json!({
                "id": intent.id, "ns": intent.ns, "pod": intent.name, "action": intent.action, "state": intent.state,
                "waiting": intent.waiting, "reason": intent.reason, "target": intent.target, "asks": intent.asks,
            }),
        );
        let now = Instant::now();
        let reached = match intent.state {
            State::Executing => lock(&self.progress).begin(intent, now),
            State::Failed => lock(&self.progress).tell(&intent.id, Phase::Failed, now),
            State::Succeeded if intent.method == Some(Method::Direct) => {
                lock(&self.progress).tell(&intent.id, Phase::Deleting, now)
            }
            _ => None,
        };
        self.tell_progress(reached);
    }

    /// Tells how far upgrades are.
    fn tell_progress(&self, reached: impl IntoIterator<Item = Reached>) {
        for reached in reached {
            if reached.phase == Phase::Ready {
                self.metrics.upgraded(reached.method, reached.elapsed);
            }
            let mut data = json!({
                "ns": reached.ns, "pod": reached.pod, "phase": reached.phase, "target": reached.target,
                "elapsedMs": u64::try_from(reached.elapsed.as_millis()).unwrap_or(u64::MAX),
            });
            if let Some(replaces) = reached.replaces {
                data["replaces"] = json!(replaces);
            }
            self.events.tell(Kind::Upgrade, &data);
        }
    }

    /// Tells when a pod comes to need an upgrade, needs another one, or none any more.
    fn tell_need(&self, event: &Event) {
        match event {
            Event::Gone { uid, .. } => {
                lock(&self.needs).remove(uid);
                self.retry_forget(uid);
            }
            Event::Put(pod) => {
                let need = Need::of(pod);
                let before = lock(&self.needs).insert(pod.uid.clone(), need.clone());
                if before.unwrap_or_default().upgrade != need.upgrade {
                    self.events.tell(Kind::Upgradable, &overview::slim_of(self, pod));
                }
            }
        }
    }

    /// Whether some pod says that its upgrade waits for something.
    pub(crate) fn said(&self) -> bool {
        lock(&self.needs).values().any(|need| need.said)
    }

    pub(super) fn told(&self, events: impl IntoIterator<Item = Event>) {
        let mut saver = self.saver();
        let events: Vec<Event> = events.into_iter().collect();
        for event in &events {
            saver.note(event);
        }
        drop(saver);
        let now = Instant::now();
        for event in &events {
            let reached = lock(&self.progress).observe(event, now);
            self.tell_progress(reached);
            self.tell_need(event);
        }
        if !events.is_empty() {
            self.stir.notify_one();
        }
    }
}
