//! Routes about what was asked for: list, look, cancel, consent.
//!
//! Source: hub.md B7, B11.

use serde_json::{Value, json};

use crate::answers::{self, Answer};
use crate::carry::{self, Patience};
use crate::intents::{By, Consent, Intent, State, Waiting};
use crate::routes::{Admitted, parameter};
use crate::shared::Shared;

fn shown(intent: &Intent) -> Value {
    let mut shown = serde_json::to_value(intent).unwrap_or_default();
    if let Some(fields) = shown.as_object_mut() {
        // How uptime is counted is the hub's own business.
        fields.remove("born");
        fields.remove("ttl");
    }
    shown
}

fn unknown() -> Answer {
    answers::failure(true, 404, "NotFound", "There is no such intent")
}

/// `GET /pitstop/v1/intents[?state=]`.
pub(crate) fn list(shared: &Shared, query: Option<&str>) -> Answer {
    let wanted = parameter(query, "state");
    let book = shared.book();
    let all = book.all().into_iter();
    let items: Vec<Value> = all
        .filter(|intent| wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(intent.state.as_str())))
        .map(shown)
        .collect();
    answers::json(200, &json!({ "items": items }))
}

/// `GET /pitstop/v1/intents/{id}`.
pub(crate) fn get(shared: &Shared, id: &str) -> Answer {
    match shared.book().get(id) {
        Some(intent) => answers::json(200, &shown(intent)),
        None => unknown(),
    }
}

/// `DELETE /pitstop/v1/intents/{id}`.
pub(crate) async fn cancel(shared: &Shared, id: &str) -> Answer {
    let (wanted, now) = (id.to_owned(), shared.clock.now());
    let before = shared.book().get(id).map(|intent| intent.state);
    match shared.with_book(move |book| book.cancel(&wanted, now)).await {
        Ok(None) => unknown(),
        Ok(Some(intent)) if intent.state == State::Executing => {
            answers::failure(true, 409, "AlreadyStarted", "The upgrade has already started")
        }
        Ok(Some(intent)) => {
            if before == Some(State::Pending) {
                shared.intent_changed(&intent);
            }
            answers::json(200, &shown(&intent))
        }
        Err(error) => {
            tracing::error!(%error, "cancelling an intent");
            answers::failure(true, 507, "StorageFull", "Persist cancellation failed")
        }
    }
}

/// `POST /pitstop/v1/intents/{id}/approve[?target=]`.
pub(crate) async fn approve(shared: &Shared, admitted: &Admitted, id: &str, query: Option<&str>) -> Answer {
    let Some(mut intent) = shared.book().get(id).cloned() else {
        return unknown();
    };
    let by = By::new(admitted.caller.peer, admitted.token.as_deref());
    if !shared.may_approve(&intent, &by) {
        return answers::failure(
            true,
            403,
            "Forbidden",
            "Caller is not allowed to approve this upgrade",
        );
    }
    if intent.state != State::Pending {
        let (reason, message) = match intent.state {
            State::Executing => ("AlreadyStarted", "The upgrade has already started"),
            _ => ("Ended", "The intent has ended"),
        };
        return answers::failure(true, 409, reason, message);
    }
    let target = intent.asks.take().unwrap_or_else(|| intent.target.clone());
    // Whoever says which revision he means does not agree to one that came meanwhile.
    if parameter(query, "target").is_some_and(|meant| meant != target) {
        return answers::failure(
            true,
            409,
            "OtherRevision",
            &format!("Revision {target} waits now"),
        );
    }
    intent.target.clone_from(&target);
    intent.approved = Some(Consent {
        by,
        at: shared.clock.now(),
        target,
    });
    intent.wait(Waiting::Connection);
    if let Err(answer) = store(shared, &intent).await {
        return answer;
    }
    if shared.link.connected() {
        let carried = Box::pin(carry::carry(shared, intent.clone(), None, Patience::Keeper)).await;
        if let Ok(carried) = carried {
            intent = carried;
        }
    }
    shared.stir.notify_one();
    answers::json(200, &shown(&intent))
}

/// Keeps a consent, unless the intent went on meanwhile.
async fn store(shared: &Shared, intent: &Intent) -> Result<(), Answer> {
    let copy = intent.clone();
    let kept = shared
        .with_book(move |book| {
            let pending = book
                .get(&copy.id)
                .is_some_and(|known| known.state == State::Pending);
            if pending {
                book.put(copy).map(|()| true)
            } else {
                Ok(false)
            }
        })
        .await;
    match kept {
        Ok(true) => {
            shared.intent_changed(intent);
            Ok(())
        }
        Ok(false) => Err(answers::failure(
            true,
            409,
            "Ended",
            "The intent went on meanwhile",
        )),
        Err(error) => {
            tracing::error!(%error, "keeping a consent");
            Err(answers::failure(
                true,
                507,
                "StorageFull",
                "Persist approval failed",
            ))
        }
    }
}
