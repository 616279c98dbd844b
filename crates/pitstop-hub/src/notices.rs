//! Events of the cluster about what owners of nodes decide, for those who look at the fleet with `kubectl`.
//!
//! They are told while the API server can be reached and otherwise not at all: the event stream and the audit log of the
//! node hold everything.
//!
//! Source: hub.md F (13), B3 (least role: events create).

use std::sync::Mutex;

use bytes::Bytes;
use jiff::Timestamp;
use pitstop_api::reasons;
use ring::digest::{SHA256, digest};
use serde_json::json;
use tokio::sync::mpsc;

use crate::intents::{Intent, State, Waiting, hex};
use crate::shared::Shared;

/// Notices that may wait; more are dropped.
const QUEUE: usize = 64;
/// Longest name of an object, less what is put behind the name of the pod.
const MAX_NAME: usize = 253 - 17;

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    ns: String,
    pod: String,
    uid: String,
    /// Makes the same notice the same object.
    key: String,
    warning: bool,
    reason: &'static str,
    message: String,
}

impl Notice {
    fn new(intent: &Intent, reason: &'static str, warning: bool, message: String) -> Self {
        let hash = digest(
            &SHA256,
            format!("{}|{}|{reason}|{message}", intent.id, intent.generation).as_bytes(),
        );
        Self {
            ns: intent.ns.clone(),
            pod: intent.name.clone(),
            uid: intent.uid.clone(),
            key: hex(hash.as_ref().get(..8).unwrap_or_default()),
            warning,
            reason,
            message,
        }
    }

    /// What an intent has to tell, if anything.
    pub(crate) fn of(intent: &Intent, node: &str) -> Option<Self> {
        let target = &intent.target;
        match (intent.state, intent.waiting) {
            (State::Executing, _) => {
                let message = format!("the owner of node {node} starts the upgrade to revision {target}");
                Some(Self::new(intent, reasons::UPGRADE_STARTED, false, message))
            }
            (State::Pending, Some(Waiting::Approval)) => {
                let target = intent.asks.as_ref().unwrap_or(target);
                let message = format!("the upgrade to revision {target} waits for consent on node {node}");
                Some(Self::new(intent, reasons::UPGRADE_NEEDS_CONSENT, false, message))
            }
            (State::Failed, _) => {
                let message = format!("the upgrade to revision {target} failed: {}", intent.reason);
                Some(Self::new(intent, reasons::UPGRADE_FAILED, true, message))
            }
            (State::Expired, _) => {
                let message = format!("the upgrade to revision {target} was not possible within its time");
                Some(Self::new(intent, reasons::UPGRADE_EXPIRED, true, message))
            }
            _ => None,
        }
    }

    /// That the controller does not react to what the owner asked for.
    pub(crate) fn stalled(intent: &Intent) -> Self {
        let message = format!(
            "no controller reacts to the upgrade to revision {} that the owner of the node asked for",
            intent.target
        );
        Self::new(intent, reasons::UPGRADE_STALLED, true, message)
    }

    fn event(&self, node: &str, now: Timestamp) -> Bytes {
        let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut name = self.pod.clone();
        name.truncate(MAX_NAME);
        let event = json!({
            "kind": "Event", "apiVersion": "v1",
            "metadata": { "namespace": self.ns, "name": format!("{name}.{}", self.key) },
            "involvedObject": {
                "kind": "Pod", "apiVersion": "v1", "namespace": self.ns, "name": self.pod, "uid": self.uid,
            },
            "type": if self.warning { "Warning" } else { "Normal" },
            "reason": self.reason, "message": self.message,
            "source": { "component": reasons::SOURCE_HUB, "host": node },
            "reportingComponent": reasons::SOURCE_HUB, "reportingInstance": node,
            "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        });
        event.to_string().into()
    }
}

/// Notices on their way.
#[derive(Debug)]
pub(crate) struct Notices {
    to: mpsc::Sender<Notice>,
    from: Mutex<Option<mpsc::Receiver<Notice>>>,
}

impl Notices {
    pub(crate) fn new() -> Self {
        let (to, from) = mpsc::channel(QUEUE);
        Self {
            to,
            from: Mutex::new(Some(from)),
        }
    }

    /// Tells, if there is room.
    pub(crate) fn tell(&self, notice: Notice) {
        if let Err(error) = self.to.try_send(notice) {
            tracing::debug!(%error, "dropping an event");
        }
    }
}

/// Tells the API server what is to be told, for ever.
pub(crate) async fn run(shared: &Shared) {
    let from = {
        let mut from = shared
            .notices
            .from
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        from.take()
    };
    let Some(mut from) = from else {
        return;
    };
    while let Some(notice) = from.recv().await {
        if !shared.link.connected() {
            continue;
        }
        let event = notice.event(&shared.settings.node, shared.clock.now());
        // Whoever may not write events, or wrote this one before, is not stopped by that.
        let limit = shared.settings.heartbeat.timeout;
        match tokio::time::timeout(limit, shared.cloud.create_event(&notice.ns, event)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "writing an event"),
            Err(_) => tracing::debug!("writing an event takes too long"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intents::tests::mk_intent;

    #[test]
    fn what_matters_to_a_fleet_is_told() {
        let mut intent = mk_intent();
        assert_eq!(Notice::of(&intent, "n1"), None);
        intent.wait(Waiting::Approval);
        intent.asks = Some("newer".to_owned());
        let consent = Notice::of(&intent, "n1").unwrap();
        assert_eq!((consent.reason, consent.warning), ("UpgradeNeedsConsent", false));
        assert!(consent.message.contains("revision newer"), "{}", consent.message);
        intent.state = State::Executing;
        let started = Notice::of(&intent, "n1").unwrap();
        assert_eq!((started.reason, started.warning), ("UpgradeStarted", false));
        intent.end(State::Failed, "ApplyFailed", intent.created);
        let failed = Notice::of(&intent, "n1").unwrap();
        assert_eq!((failed.reason, failed.warning), ("UpgradeFailed", true));
        assert_ne!(failed.key, started.key);
        intent.end(State::Succeeded, "Deleted", intent.created);
        assert_eq!(Notice::of(&intent, "n1"), None);
    }

    #[test]
    fn names_of_events_fit() {
        let mut intent = mk_intent();
        intent.name = "x".repeat(253);
        let event = Notice::stalled(&intent).event("n1", intent.created);
        let event: serde_json::Value = serde_json::from_slice(&event).unwrap();
        assert_eq!(event["metadata"]["name"].as_str().unwrap().len(), 253);
        assert_eq!(event["involvedObject"]["name"].as_str().unwrap().len(), 253);
    }
}
