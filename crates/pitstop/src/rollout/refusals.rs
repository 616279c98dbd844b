//! What the API server refused the controllers of late, from the events that they wrote.

use std::time::Duration;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;
use kube::Client;
use kube::api::{Api, ListParams};
use pitstop_api::{WorkloadKind, reasons};
use serde::Serialize;

use crate::output;

/// The events that tell of a refusal.
const REASONS: [&str; 5] = [
    reasons::NOT_ALLOWED,
    reasons::FAILED_CREATE,
    reasons::FAILED_DELETE,
    reasons::FAILED_UPDATE_IN_PLACE,
    reasons::FAILED_UPDATE_RECREATE,
];
/// An older one was overcome since: what is refused is tried again long before.
const RECENT: SignedDuration = SignedDuration::from_mins(20);
/// How long a listing of events may take: it only adds to the answer.
const WITHIN: Duration = Duration::from_secs(5);

/// Something that the API server refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Reason of the event.
    pub reason: String,
    /// What the controller, or the server, said.
    pub message: String,
    /// How often.
    pub count: i32,
    /// When it was refused last.
    pub last_at: Timestamp,
}

impl Refusal {
    /// One line for people.
    pub fn text(&self, now: Timestamp) -> String {
        let ago = output::age(now.duration_since(self.last_at).as_secs());
        let times = match self.count {
            ..=1 => String::new(),
            n => format!("{n} times, last "),
        };
        format!("refused ({}, {times}{ago} ago): {}", self.reason, self.message)
    }
}

/// What was refused of late for a workload, last first. Nothing where we may not read events.
pub async fn refusals(
    client: &Client,
    kind: WorkloadKind,
    namespace: &str,
    name: &str,
    now: Timestamp,
) -> Vec<Refusal> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let kind = kind.kind();
    let fields = format!("involvedObject.kind={kind},involvedObject.name={name},type=Warning");
    let params = ListParams::default().fields(&fields);
    let listing = async { api.list(&params).await.context("listing events") };
    match tokio::time::timeout(WITHIN, listing).await {
        Ok(Ok(list)) => of(&list.items, now),
        Ok(Err(error)) => {
            tracing::debug!(%error, "refusals are left out");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

fn of(events: &[Event], now: Timestamp) -> Vec<Refusal> {
    let mut refusals: Vec<Refusal> = events
        .iter()
        .filter_map(|event| {
            let reason = event
                .reason
                .clone()
                .filter(|reason| REASONS.contains(&reason.as_str()))?;
            let last_at = event.last_timestamp.as_ref()?.0;
            (now.duration_since(last_at) < RECENT).then(|| Refusal {
                reason,
                message: event.message.clone().unwrap_or_default(),
                count: event.count.unwrap_or(1),
                last_at,
            })
        })
        .collect();
    refusals.sort_by(|a, b| b.last_at.cmp(&a.last_at).then_with(|| a.message.cmp(&b.message)));
    refusals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(reason: &str, count: i32, last_at: &str) -> Event {
        serde_json::from_value(serde_json::json!({
            "metadata": {}, "involvedObject": {}, "reason": reason, "message": format!("{reason}!"),
            "count": count, "lastTimestamp": last_at,
        }))
        .unwrap()
    }

    #[test]
    fn recent_refusals_are_told_last_first() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let events = [
            event("FailedDelete", 7, "2026-01-01T00:59:30Z"),
            event("NotAllowed", 1, "2026-01-01T00:59:55Z"),
            event("FailedCreate", 1, "2026-01-01T00:40:00Z"),
            event("InvalidAnnotation", 1, "2026-01-01T00:59:55Z"),
        ];
        let lines: Vec<String> = of(&events, now).iter().map(|refusal| refusal.text(now)).collect();
        assert_eq!(
            lines,
            [
                "refused (NotAllowed, 5s ago): NotAllowed!",
                "refused (FailedDelete, 7 times, last 30s ago): FailedDelete!",
            ]
        );
    }
}
