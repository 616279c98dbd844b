//! What the hub tells of itself and of its pods: status, the slim list, metrics.
//!
//! Source: hub.md B11, B12.

use http::HeaderValue;
use http_body_util::BodyExt as _;
use pitstop_api::reasons;
use serde_json::{Value, json};

use crate::answers::{self, Answer};
use crate::checks::{self, Action, Told};
use crate::intents::{State, intent_id};
use crate::metrics::Facts;
use crate::pod::PodView;
use crate::shared::Shared;

/// Seconds since pods were last known to be as the API server has them; 0 while connected.
pub(crate) fn cache_age(shared: &Shared) -> i64 {
    let link = shared.link.connectivity();
    if link.connected {
        return 0;
    }
    let age = link
        .last_sync
        .map_or(0, |last| shared.clock.now().as_second() - last.as_second());
    age.max(0)
}

/// `GET /pitstop/v1/status`.
pub(crate) fn status(shared: &Shared) -> Answer {
    answers::json(200, &status_of(shared))
}

pub(crate) fn status_of(shared: &Shared) -> Value {
    let link = shared.link.connectivity();
    let open = shared.book().open_ones().len();
    json!({
        "node": shared.settings.node,
        "mode": "companion",
        "identity": shared.settings.identity,
        "connected": link.connected,
        "since": link.since,
        "lastSync": link.last_sync,
        "cacheAgeSeconds": cache_age(shared),
        "pods": shared.cache().len(),
        "intents": open,
        "clockSynced": shared.clock_synced(),
        "version": env!("CARGO_PKG_VERSION"),
    })
}

/// `GET /pitstop/v1/pods`.
pub(crate) fn slim(shared: &Shared, as_json: bool) -> Answer {
    let views = {
        let cache = shared.cache();
        if !cache.synced() {
            let code = if as_json { 503 } else { 500 };
            return answers::failure(as_json, code, "NoCache", "Get pod list failed");
        }
        cache.views()
    };
    let items: Vec<Value> = views.iter().map(|pod| slim_of(shared, pod)).collect();
    answers::json(200, &json!({ "items": items }))
}

/// A pod as a button of a user interface needs it.
pub(crate) fn slim_of(shared: &Shared, pod: &PodView) -> Value {
    let image = pod.condition(reasons::POD_IMAGE_READY);
    let blocked: Vec<Value> = checks::blocked_by(pod, &shared.settings.node)
        .iter()
        .map(|refusal| {
            let told = Told {
                action: Action::Upgrade,
                namespace: &pod.namespace,
                name: &pod.name,
                refusal,
            };
            json!({ "reason": refusal.reason(), "message": told.to_string() })
        })
        .collect();
    let id = intent_id(Action::Upgrade, &pod.uid, pod.target());
    let intent = shared.book().get(&id).map(|intent| {
        json!({ "id": intent.id, "state": intent.state, "waiting": intent.waiting, "reason": intent.reason })
    });
    let method = pod.plan.as_ref().map_or("Recreate", |plan| plan.method.as_str());
    json!({
        "ns": pod.namespace,
        "name": pod.name,
        "uid": pod.uid,
        "owner": { "group": pod.owner.group, "kind": pod.owner.kind, "name": pod.owner.name },
        "needUpgrade": pod.needs_upgrade(),
        "current": pod.revision,
        "target": pod.target(),
        "method": method,
        "imageReady": image.map(|image| image.status.as_str()),
        "ready": pod.ready(),
        "intent": intent,
        "blockedBy": blocked,
    })
}

/// `GET /pitstop/v1/pulls`: what is known of images that were asked for. How far a pull is, only its runtime knows.
pub(crate) fn pulls(shared: &Shared) -> Answer {
    let views = shared.cache().views();
    let pull = |pod: &PodView| {
        let image = pod.condition(reasons::POD_IMAGE_READY)?;
        let failed = image.reason == reasons::PULL_IMAGE_FAIL;
        let phase = match image.status.as_str() {
            "True" => "Succeeded",
            _ if failed => "Failed",
            _ => "Pulling",
        };
        Some(json!({
            "id": intent_id(Action::ImagePull, &pod.uid, pod.target()),
            "ns": pod.namespace, "pod": pod.name, "target": pitstop_api::view::message_revision(&image.message),
            "phase": phase, "percent": Value::Null, "error": failed.then_some(&image.message),
        }))
    };
    let items: Vec<Value> = views.iter().filter_map(pull).collect();
    answers::json(200, &json!({ "items": items }))
}

/// Everything, for a client of the event stream that knows nothing.
pub(crate) fn everything(shared: &Shared) -> Value {
    let views = shared.cache().views();
    let pods: Vec<Value> = views.iter().map(|pod| slim_of(shared, pod)).collect();
    let book = shared.book();
    let intents: Vec<_> = book.open_ones();
    let intents = json!(intents);
    drop(book);
    let mut all = status_of(shared);
    all["intents"] = intents;
    all["pods"] = json!(pods);
    all
}

/// `/metrics`.
pub(crate) fn metrics(shared: &Shared) -> Answer {
    let now = shared.clock.now();
    let (intents, oldest, journal_errors) = {
        let book = shared.book();
        let all = book.all();
        let states: Vec<State> = all.iter().map(|intent| intent.state).collect();
        let waiting = all.iter().find(|intent| !intent.state.ended());
        let oldest = waiting.map_or(0, |intent| now.as_second() - intent.created.as_second());
        (states, oldest.max(0), book.errors)
    };
    let facts = Facts {
        connected: shared.link.connected(),
        cache_age: cache_age(shared),
        pods: shared.cache().len(),
        intents,
        oldest,
        journal_errors,
        policy_valid: shared.policy_valid(),
    };
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    let body = http_body_util::Full::new(shared.metrics.text(&facts).into());
    answers::stream(kind, body.boxed_unsync())
}
