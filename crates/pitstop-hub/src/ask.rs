//! What becomes of a request for an upgrade, or for its images.
//!
//! Source: hub.md A5, A6, B5.

use crate::act;
use crate::answers::{self, Answer, Done};
use crate::carry::{self, Patience};
use crate::checks::{self, Action, Method, Refusal};
use crate::cloud::CloudError;
use crate::intents::{Age, By, Follow, Intent, State, Waiting, intent_id};
use crate::pod::PodView;
use crate::routes::{Admitted, parameter};
use crate::shared::Shared;

/// What was asked for.
pub(crate) struct Asked {
    pub(crate) action: Action,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) query: Option<String>,
}

/// What is done about it.
enum Outcome {
    /// It was begun; by the intent, if there is one.
    Started(String, Option<String>),
    /// It is kept.
    Kept(Box<Intent>),
}

/// Does what was asked for, keeps it, or says why not.
pub(crate) async fn answer(shared: &Shared, admitted: &Admitted, asked: Asked, as_json: bool) -> Answer {
    let Asked {
        action,
        namespace,
        name,
        ..
    } = &asked;
    let outcome = Box::pin(attempt(shared, admitted, &asked)).await;
    let (code, message, uid, intent) = match &outcome {
        Ok(Outcome::Started(uid, intent)) => {
            let message = match action {
                Action::Upgrade => format!("Start updating pod {namespace}/{name}"),
                Action::ImagePull => format!("Image pre-pull requested for pod {namespace}/{name}"),
            };
            shared.metrics.asked(*action, "started");
            (200, message, uid, intent.as_deref())
        }
        Ok(Outcome::Kept(intent)) => {
            let what = match action {
                Action::Upgrade => "Upgrade",
                Action::ImagePull => "Image pre-pull",
            };
            let standing = intent.standing();
            let message =
                format!("{what} of pod {namespace}/{name} accepted, will start when allowed: {standing}");
            shared.metrics.asked(*action, "kept");
            (202, message, &intent.uid, Some(intent.id.as_str()))
        }
        Err(refusal) => {
            shared.metrics.asked(*action, refusal.reason());
            return answers::refusal(as_json, *action, namespace, name, refusal);
        }
    };
    let done = Done {
        code,
        message,
        name,
        uid,
        intent,
    };
    done.answer(as_json)
}

async fn attempt(shared: &Shared, admitted: &Admitted, asked: &Asked) -> Result<Outcome, Refusal> {
    if !checks::is_dns_name(&asked.namespace) || !checks::is_dns_name(&asked.name) {
        return Err(Refusal::BadName);
    }
    if shared.link.connected() {
        match carry::live(shared, &asked.namespace, &asked.name).await {
            Ok(pod) => return Box::pin(connected(shared, admitted, asked, pod)).await,
            Err(CloudError::NotFound(_)) => return Err(Refusal::NotFound),
            // The link has just been found dead: go on as if we had known.
            Err(error) if error.unreachable() => {}
            Err(error) => return Err(Refusal::Backend(error.to_string())),
        }
    }
    disconnected(shared, admitted, asked).await
}

fn check(shared: &Shared, asked: &Asked, pod: &PodView) -> Result<(), Refusal> {
    let node = &shared.settings.node;
    match asked.action {
        Action::Upgrade => checks::check_upgrade(pod, node).map(drop),
        Action::ImagePull => checks::check_state(pod, node),
    }
}

fn dry(asked: &Asked) -> bool {
    parameter(asked.query.as_deref(), "dryRun") == Some("true")
}

/// The intent for a pod: the one that there is, the same opened again, or a new one.
fn intent_for(shared: &Shared, admitted: &Admitted, asked: &Asked, pod: &PodView, live: bool) -> Intent {
    let by = By::new(admitted.caller.peer, admitted.token.as_deref());
    let follow = match parameter(asked.query.as_deref(), "follow") {
        Some("owner") => Follow::Owner,
        _ => Follow::Pod,
    };
    let age = Age {
        now: shared.clock.now(),
        uptime: shared.uptime(),
        ttl: shared.settings.intent_ttl,
    };
    let id = intent_id(asked.action, &pod.uid, pod.target());
    let known = shared.book().get(&id).cloned();
    let Some(known) = known else {
        return Intent::new(asked.action, pod, by, follow, age);
    };
    // A pod that was upgraded in place can come to need the same revision again; the API server itself has just said
    // that it does. A pod that we deleted cannot.
    let again = known.state != State::Succeeded
        || (live && (known.method == Some(Method::Request) || known.action == Action::ImagePull));
    if known.state.ended() && again {
        return Intent {
            generation: known.generation.saturating_add(1),
            ..Intent::new(asked.action, pod, by, follow, age)
        };
    }
    known
}

async fn connected(
    shared: &Shared,
    admitted: &Admitted,
    asked: &Asked,
    pod: PodView,
) -> Result<Outcome, Refusal> {
    check(shared, asked, &pod)?;
    let uid = pod.uid.clone();
    if dry(asked) {
        return Ok(Outcome::Started(uid, None));
    }
    if asked.action == Action::ImagePull {
        return Box::pin(pull(shared, asked, pod)).await;
    }
    let intent = intent_for(shared, admitted, asked, &pod, true);
    supersede(shared, &intent).await;
    let id = intent.id.clone();
    let carried = Box::pin(carry::carry(shared, intent, Some(pod), Patience::Client)).await?;
    shared.stir.notify_one();
    match carried.state {
        State::Executing if shared.link.connected() => Ok(Outcome::Started(uid, Some(id))),
        State::Succeeded => Ok(Outcome::Started(uid, Some(id))),
        State::Pending | State::Executing => Ok(Outcome::Kept(Box::new(carried))),
        // The pod changed between our look and our hand.
        _ => Err(match carried.reason.as_str() {
            "Deleting" => Refusal::Deleting,
            "NoLongerNeeded" => Refusal::NotUpdatable,
            "PodReplaced" => Refusal::NotFound,
            reason => Refusal::ApplyFailed(reason.to_owned()),
        }),
    }
}

/// How often a pod may change between our look and our hand.
const TRIES: u32 = 5;

/// Asks for images at once; there is nothing to keep, because asking again does no harm.
async fn pull(shared: &Shared, asked: &Asked, mut pod: PodView) -> Result<Outcome, Refusal> {
    let mut error = CloudError::Conflict(String::new());
    for _ in 0..TRIES {
        check(shared, asked, &pod)?;
        match carry::bounded(shared, act::pull(shared, &pod)).await {
            Ok(()) => return Ok(Outcome::Started(pod.uid, None)),
            Err(conflict @ CloudError::Conflict(_)) => error = conflict,
            Err(other) => return Err(Refusal::ApplyFailed(other.to_string())),
        }
        pod = match carry::live(shared, &asked.namespace, &asked.name).await {
            Ok(pod) => pod,
            Err(CloudError::NotFound(_)) => return Err(Refusal::NotFound),
            Err(error) => return Err(Refusal::Backend(error.to_string())),
        };
    }
    Err(Refusal::ApplyFailed(error.to_string()))
}

async fn disconnected(shared: &Shared, admitted: &Admitted, asked: &Asked) -> Result<Outcome, Refusal> {
    let reject = parameter(asked.query.as_deref(), "offline") == Some("reject");
    if reject || !shared.settings.offline_intents {
        return Err(Refusal::Disconnected);
    }
    let pod = {
        let cache = shared.cache();
        if !cache.synced() {
            return Err(Refusal::NoCache);
        }
        cache
            .view(&asked.namespace, &asked.name)
            .ok_or(Refusal::NotFound)?
    };
    check(shared, asked, &pod)?;
    if dry(asked) {
        return Ok(Outcome::Started(pod.uid, None));
    }
    let mut intent = intent_for(shared, admitted, asked, &pod, false);
    let known = shared.book().get(&intent.id) == Some(&intent);
    if !known {
        supersede(shared, &intent).await;
        intent.wait(Waiting::Connection);
        carry::keep(shared, &intent).await?;
    }
    if intent.state == State::Succeeded {
        return Ok(Outcome::Started(pod.uid, Some(intent.id)));
    }
    Ok(Outcome::Kept(Box::new(intent)))
}

/// Intents for another revision of the same pod are over: its owner has asked for this one.
async fn supersede(shared: &Shared, intent: &Intent) {
    let older: Vec<String> = {
        let book = shared.book();
        let same = |other: &&&Intent| {
            other.id != intent.id
                && other.uid == intent.uid
                && other.action == intent.action
                && other.state == State::Pending
        };
        let open = book.open_ones();
        open.iter().filter(same).map(|other| other.id.clone()).collect()
    };
    for id in older {
        let now = shared.clock.now();
        let superseded = shared
            .with_book(move |book| {
                let mut other = book
                    .get(&id)
                    .filter(|other| other.state == State::Pending)?
                    .clone();
                other.end(State::Superseded, "AskedForAnother", now);
                book.settle(other.clone());
                Some(other)
            })
            .await;
        if let Some(other) = superseded {
            shared.intent_changed(&other);
        }
    }
}
