//! Carries out intents: one at a time, each on what the API server says now.
//!
//! Source: hub.md B5, B7 (V1 to V10), B12.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::act;
use crate::checks::{self, Action, Method, Methods, Refusal};
use crate::cloud::CloudError;
use crate::intents::{Book, BookError, Follow, Intent, State, Step, Waiting, World, step};
use crate::pod::PodView;
use crate::shared::Shared;

/// Attempts of one intent that the API server may refuse for the moment. Source: hub.md B7 (V10).
const MAX_ATTEMPTS: u32 = 20;
/// Longest wait between two of them.
const MAX_RETRY: Duration = Duration::from_secs(60);
/// How often a pod may change under our hands before we try again later.
const MAX_CONFLICTS: u32 = 5;

/// Who waits for the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// A client: what the API server refuses has failed.
    Client,
    /// Nobody: what may succeed later is tried again.
    Keeper,
}

/// The pod as the API server has it now.
///
/// # Errors
/// It could not be read; a link that is dead is told so.
pub(crate) async fn live(shared: &Shared, namespace: &str, name: &str) -> Result<PodView, CloudError> {
    let raw = match bounded(shared, shared.cloud.get_pod(namespace, name)).await {
        // Nodes are told nothing of pods that are not theirs, not even whether they exist; the list of ours has all that
        // are. One that is in it is just coming or going.
        Err(CloudError::Forbidden(message)) => {
            return Err(if shared.cache().seen(namespace, name).is_none() {
                CloudError::NotFound(message)
            } else {
                CloudError::Other { code: 503, message }
            });
        }
        raw => raw?,
    };
    PodView::read(&raw).map_err(|error| CloudError::Other {
        code: 500,
        message: error.to_string(),
    })
}

/// A call that a client may be waiting for.
pub(crate) async fn bounded<T>(
    shared: &Shared,
    call: impl Future<Output = Result<T, CloudError>>,
) -> Result<T, CloudError> {
    let limit = shared.settings.heartbeat.timeout;
    let result = timeout(limit, call)
        .await
        .unwrap_or(Err(CloudError::Timeout(limit)));
    if let Err(error) = &result
        && error.unreachable()
    {
        tracing::debug!(%error, "a request found the link dead");
        shared.link.failed(shared.clock.now());
    }
    result
}

/// What became of an attempt.
enum Tried {
    /// The intent is as far as it comes now.
    Settled(Intent),
    /// The pod changed meanwhile: look again.
    Changed(Intent),
}

/// Brings an intent as far as it comes now; `seen` is the pod if the caller has just read it.
///
/// # Errors
/// It could not be kept, or a client waits and the API server refused.
pub(crate) async fn carry(
    shared: &Shared,
    mut intent: Intent,
    mut seen: Option<PodView>,
    patience: Patience,
) -> Result<Intent, Refusal> {
    let _turn = shared.acting.lock().await;
    let id = intent.id.clone();
    if let Some(known) = shared.book().get(&id).cloned() {
        if known.generation == intent.generation && (known.state.ended() || known.state == State::Executing) {
            // Someone else was faster, or it was cancelled.
            if known.state.ended() || patience == Patience::Client {
                return Ok(known);
            }
        }
        if known.generation >= intent.generation {
            intent = known;
        }
    }
    for _ in 0..MAX_CONFLICTS {
        let pod = match seen.take() {
            Some(pod) => Some(pod),
            None => match live(shared, &intent.ns, &intent.name).await {
                Ok(pod) => Some(pod),
                Err(CloudError::NotFound(_)) => None,
                Err(error) => return Box::pin(postpone(shared, intent, &error, patience)).await,
            },
        };
        match Box::pin(advance(shared, intent, pod, patience)).await? {
            Tried::Settled(intent) => return Ok(intent),
            Tried::Changed(now) => intent = now,
        }
    }
    let error = CloudError::Conflict("the pod keeps changing".to_owned());
    Box::pin(postpone(shared, intent, &error, patience)).await
}

/// One step on one sight of the pod.
async fn advance(
    shared: &Shared,
    mut intent: Intent,
    pod: Option<PodView>,
    patience: Patience,
) -> Result<Tried, Refusal> {
    let now = shared.clock.now();
    let others = if pod.as_ref().is_some_and(|pod| pod.uid == intent.uid) {
        Vec::new()
    } else {
        shared.cache().views()
    };
    let next = {
        let policy = shared.policy_waits(&intent);
        let world = World {
            node: &shared.settings.node,
            now,
            uptime: shared.uptime(),
            pod: pod.as_ref(),
            others: &others,
            policy,
        };
        step(&intent, &world)
    };
    match next {
        Step::Stay => {}
        Step::Wait(waiting) => {
            if intent.standing() == format!("Pending/{waiting:?}") && shared.book().get(&intent.id).is_some()
            {
                return Ok(Tried::Settled(intent));
            }
            intent.asks = None;
            intent.wait(waiting);
            keep(shared, &intent).await?;
        }
        Step::AskAgain(hash) => {
            intent.asks = Some(hash);
            intent.approved = None;
            intent.method = None;
            intent.wait(Waiting::Approval);
            keep(shared, &intent).await?;
        }
        Step::End(state, reason) => {
            intent.end(state, reason, now);
            settle(shared, &intent).await;
        }
        Step::Follow(successor) => {
            let heir = heir_of(&intent, &successor);
            keep(shared, &heir).await?;
            intent.end(State::Superseded, "Followed", now);
            settle(shared, &intent).await;
        }
        Step::Pull => {
            let Some(pod) = pod else {
                return Ok(Tried::Changed(intent));
            };
            intent.pulls += 1;
            intent.wait(Waiting::Image);
            keep(shared, &intent).await?;
            match bounded(shared, act::pull(shared, &pod)).await {
                Err(CloudError::Conflict(_)) => return Ok(Tried::Changed(intent)),
                Err(error) => {
                    return Box::pin(postpone(shared, intent, &error, patience))
                        .await
                        .map(Tried::Settled);
                }
                Ok(()) => {}
            }
        }
        Step::Act => {
            let Some(pod) = pod else {
                return Ok(Tried::Changed(intent));
            };
            return Box::pin(act(shared, intent, &pod, patience)).await;
        }
    }
    Ok(Tried::Settled(intent))
}

/// The intent for the pod that took the place of another: for the same revision, and it is not handed on again.
fn heir_of(intent: &Intent, successor: &PodView) -> Intent {
    let mut heir = intent.clone();
    heir.id = crate::intents::intent_id(intent.action, &successor.uid, &intent.target);
    heir.name.clone_from(&successor.name);
    heir.uid.clone_from(&successor.uid);
    heir.follow = Follow::Pod;
    heir.generation = 0;
    heir.attempts = 0;
    heir.method = None;
    heir.wait(Waiting::Connection);
    heir
}

/// V10: durable first, then the act, then what came of it.
async fn act(
    shared: &Shared,
    mut intent: Intent,
    pod: &PodView,
    patience: Patience,
) -> Result<Tried, Refusal> {
    let method = match intent.action {
        Action::ImagePull => None,
        Action::Upgrade => {
            // The checks of the step have found an owner that allows a method.
            let methods = checks::check_owner(pod).unwrap_or(Methods::RequestOnly);
            match bounded(shared, act::choose(shared, pod, methods)).await {
                Ok(method) => Some(method),
                Err(error) => {
                    return Box::pin(postpone(shared, intent, &error, patience))
                        .await
                        .map(Tried::Settled);
                }
            }
        }
    };
    intent.state = State::Executing;
    intent.waiting = None;
    intent.asks = None;
    intent.method = method;
    if let Some(ended) = begin(shared, &intent).await? {
        return Ok(Tried::Settled(ended));
    }
    let done = match method {
        Some(method) => bounded(shared, act::upgrade(shared, pod, method)).await,
        None => bounded(shared, act::pull(shared, pod)).await,
    };
    let now = shared.clock.now();
    match done {
        Ok(()) if method == Some(Method::Request) => {
            shared.watch_stall(&intent.id);
            return Ok(Tried::Settled(intent));
        }
        Ok(()) => {
            let reason = if method.is_some() { "Deleted" } else { "Requested" };
            intent.end(State::Succeeded, reason, now);
        }
        Err(CloudError::NotFound(_)) => intent.end(State::Succeeded, "Replaced", now),
        Err(CloudError::Conflict(_)) => return Ok(Tried::Changed(intent)),
        Err(error) => {
            return Box::pin(postpone(shared, intent, &error, patience))
                .await
                .map(Tried::Settled);
        }
    }
    settle(shared, &intent).await;
    Ok(Tried::Settled(intent))
}

/// The API server could not be asked, or refused.
async fn postpone(
    shared: &Shared,
    mut intent: Intent,
    error: &CloudError,
    patience: Patience,
) -> Result<Intent, Refusal> {
    let now = shared.clock.now();
    if error.unreachable() {
        // What was begun may have been done: it stays Executing, and the pod will tell.
        if intent.state == State::Pending {
            intent.wait(Waiting::Connection);
            if shared.book().get(&intent.id) != Some(&intent) {
                keep(shared, &intent).await?;
            }
        }
        return Ok(intent);
    }
    let later = error.passing() || matches!(error, CloudError::Conflict(_));
    if patience == Patience::Keeper && later && intent.attempts < MAX_ATTEMPTS {
        let wait = Duration::from_secs(1 << intent.attempts.min(6)).min(MAX_RETRY);
        intent.attempts += 1;
        shared.retry_at(&intent.id, Instant::now() + wait);
        settle(shared, &intent).await;
        return Ok(intent);
    }
    tracing::warn!(intent = intent.id, %error, "the API server refuses an upgrade");
    intent.end(State::Failed, "ApplyFailed", now);
    settle(shared, &intent).await;
    if patience == Patience::Client {
        return Err(Refusal::ApplyFailed(error.to_string()));
    }
    Ok(intent)
}

fn not_kept(error: BookError) -> Refusal {
    match error {
        BookError::TooMany => Refusal::TooManyIntents,
        BookError::Disk(error) => {
            tracing::error!(%error, "an intent cannot be written");
            Refusal::StorageFull
        }
    }
}

/// Makes an intent durable.
///
/// # Errors
/// It is not.
pub(crate) async fn keep(shared: &Shared, intent: &Intent) -> Result<(), Refusal> {
    let copy = intent.clone();
    shared
        .with_book(move |book| book.put(copy))
        .await
        .map_err(not_kept)?;
    shared.intent_changed(intent);
    Ok(())
}

/// Makes it durable that an intent is begun, unless it has ended meanwhile; then that is returned.
async fn begin(shared: &Shared, intent: &Intent) -> Result<Option<Intent>, Refusal> {
    let copy = intent.clone();
    let begun = move |book: &mut Book| {
        let known = book.get(&copy.id);
        if let Some(ended) = known.filter(|known| known.generation == copy.generation && known.state.ended())
        {
            return Ok(Some(ended.clone()));
        }
        if known == Some(&copy) {
            return Ok(None);
        }
        book.put(copy).map(|()| None)
    };
    let ended = shared.with_book(begun).await.map_err(not_kept)?;
    if ended.is_none() {
        shared.intent_changed(intent);
    }
    Ok(ended)
}

/// What happened is so, whether it can be written or not.
async fn settle(shared: &Shared, intent: &Intent) {
    let copy = intent.clone();
    shared.with_book(move |book| book.settle(copy)).await;
    shared.intent_changed(intent);
}
