//! Looks after open intents: whenever something happened that may let one go on, it is tried.
//!
//! Source: hub.md B7, B12.

use std::time::Duration;

use pitstop_api::view::revision_message;
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::act::{self, Pending};
use crate::carry::{self, Patience};
use crate::checks::Action;
use crate::intents::{Intent, State, Step, Waiting, World, step};
use crate::pod::PodView;
use crate::shared::Shared;

/// How often open intents are looked at even if nothing happened: windows and gates open by themselves.
const LOOK: Duration = Duration::from_secs(1);
/// How often uptime is made durable.
const MINUTE: Duration = Duration::from_secs(60);

/// Carries out what waits, whenever something happened that may let it go on, until told to stop.
pub(crate) async fn run(shared: &Shared, stop: &CancellationToken) {
    tokio::select! {
        // In a fixed order, so that a simulation can be repeated.
        biased;
        () = keep_going(shared) => {}
        () = keep_time(shared) => {}
        () = stop.cancelled() => {}
    }
}

async fn keep_time(shared: &Shared) {
    let mut minute = tokio::time::interval(MINUTE);
    minute.tick().await;
    loop {
        minute.tick().await;
        let now = shared.clock.now();
        shared
            .with_book(move |book| book.minute(Instant::now(), now))
            .await;
    }
}

async fn keep_going(shared: &Shared) {
    // Another sequence than the link's: fleets that share a seed file still differ by node.
    let mut random = StdRng::seed_from_u64(shared.settings.seed ^ 0x6b65_6570);
    let mut connected = shared.link.follow();
    loop {
        if connected.wait_for(|connected| *connected).await.is_err() {
            return;
        }
        if !shared.book().open_ones().is_empty() {
            sleep(crate::link::jitter(&mut random, shared.settings.reconnect_spread)).await;
        }
        while *connected.borrow_and_update() {
            pass(shared).await;
            publish(shared).await;
            // Gates that have to be open for a while are followed even if nobody asks for anything yet.
            let look = if shared.look_at_gates() || shared.needs_looking() {
                LOOK
            } else {
                MINUTE
            };
            tokio::select! {
                // In a fixed order, so that a simulation can be repeated.
                biased;
                () = shared.stir.notified() => {}
                () = sleep(look) => {}
                changed = connected.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Looks at every open intent once.
async fn pass(shared: &Shared) {
    let open: Vec<Intent> = shared.book().open_ones().into_iter().cloned().collect();
    for intent in open {
        if !shared.link.connected() {
            return;
        }
        if shared.retry_due(&intent.id, Instant::now()) && worth_a_try(shared, &intent) {
            // What cannot be kept is tried again at the next look.
            if let Err(refusal) = Box::pin(carry::carry(shared, intent, None, Patience::Keeper)).await {
                tracing::warn!(?refusal, "an intent does not go on");
            }
        }
    }
}

/// Whether the pods that we know of let an intent go on; only then the API server is asked.
fn worth_a_try(shared: &Shared, intent: &Intent) -> bool {
    let busy = |other: &&Intent| {
        other.state == State::Executing && other.id != intent.id && other.owner.uid == intent.owner.uid
    };
    if intent.state == State::Pending && shared.book().open_ones().iter().any(busy) {
        return false;
    }
    let views = shared.cache().views();
    let (mut named, others): (Vec<_>, Vec<_>) = views
        .into_iter()
        .partition(|pod| pod.namespace == intent.ns && pod.name == intent.name);
    let named = named.pop();
    let policy = shared.policy_waits(intent);
    let world = World {
        node: &shared.settings.node,
        now: shared.clock.now(),
        uptime: shared.uptime(),
        pod: named.as_ref(),
        others: &others,
        policy,
    };
    match step(intent, &world) {
        Step::Stay => {
            if intent.state == State::Executing {
                shared.tell_stall(intent, shared.settings.stalled_after);
            }
            false
        }
        Step::Wait(waiting) => intent.waiting != Some(waiting),
        _ => true,
    }
}

/// How long the cloud is not told anything after it did not want to hear it.
const QUIET: Duration = Duration::from_secs(30);

/// What the cloud should know of a pod: what its upgrade waits for, or that none waits any more.
///
/// Nothing, as long as there is nothing that it would have to know.
fn to_tell(pod: &PodView, intents: &[Intent]) -> Option<Pending> {
    let known = Pending::of(pod);
    let of_pod = |intent: &&Intent| intent.uid == pod.uid && intent.action == Action::Upgrade;
    let newest = intents.iter().rev().find(of_pod);
    let pending = intents
        .iter()
        .find(|intent| of_pod(intent) && intent.state == State::Pending);
    let wanted = match pending {
        // Connection is what it waited for until now.
        Some(intent) => Pending {
            waits: true,
            reason: format!(
                "{:?}",
                intent.waiting.filter(|waiting| *waiting != Waiting::Connection)?
            ),
            message: revision_message(intent.asks.as_ref().unwrap_or(&intent.target)),
        },
        None => {
            // Only what was said has to be taken back.
            let known = known.as_ref().filter(|known| known.waits)?;
            Pending {
                waits: false,
                reason: newest
                    .map_or("Unknown", |intent| intent.state.as_str())
                    .to_owned(),
                message: known.message.clone(),
            }
        }
    };
    (known.as_ref() != Some(&wanted)).then_some(wanted)
}

/// Tells the cloud what upgrades wait for, so that those who look at the fleet see it.
async fn publish(shared: &Shared) {
    let intents: Vec<Intent> = shared.book().all().into_iter().cloned().collect();
    if !shared.said() && !intents.iter().any(|intent| intent.state == State::Pending) {
        return;
    }
    let pods = shared.cache().views();
    for pod in pods {
        if !shared.link.connected() {
            return;
        }
        if pod.deleting || pod.node != shared.settings.node || !shared.retry_due(&pod.uid, Instant::now()) {
            continue;
        }
        let Some(wanted) = to_tell(&pod, &intents) else {
            shared.retry_forget(&pod.uid);
            continue;
        };
        // Until the watch brings what was written, it is not written again.
        shared.retry_at(&pod.uid, Instant::now() + QUIET);
        if let Err(error) = carry::bounded(shared, act::publish(shared, &pod, &wanted)).await {
            tracing::debug!(pod = pod.name, %error, "telling the cloud what an upgrade waits for");
        }
    }
}

#[cfg(test)]
mod tests {
    use pitstop_api::reasons;

    use super::*;
    use crate::intents::tests::{mk_intent, mk_pod};
    use crate::pod::Condition;

    fn waiting(waiting: Waiting) -> Intent {
        let mut intent = mk_intent();
        intent.wait(waiting);
        intent
    }

    fn saying(status: &str, reason: &str) -> PodView {
        let mut pod = mk_pod("1", "True", "new");
        pod.conditions.push(Condition {
            kind: reasons::UPGRADE_PENDING.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: "controllerrevision: new".to_owned(),
        });
        pod
    }

    #[test]
    fn the_cloud_is_told_what_it_does_not_know() {
        let silent = || mk_pod("1", "True", "new");
        let mut cancelled = mk_intent();
        cancelled.end(State::Cancelled, "Cancelled", cancelled.created);
        let told = |waits: bool, reason: &str| {
            Some(Pending {
                waits,
                reason: reason.to_owned(),
                message: "controllerrevision: new".to_owned(),
            })
        };
        for (what, pod, intents, expected) in [
            ("nothing", silent(), vec![], None),
            (
                "new",
                silent(),
                vec![waiting(Waiting::Window)],
                told(true, "Window"),
            ),
            (
                "known",
                saying("True", "Window"),
                vec![waiting(Waiting::Window)],
                None,
            ),
            (
                "another",
                saying("True", "Window"),
                vec![waiting(Waiting::Gate)],
                told(true, "Gate"),
            ),
            ("on its way", silent(), vec![waiting(Waiting::Connection)], None),
            (
                "taken back",
                saying("True", "Window"),
                vec![cancelled.clone()],
                told(false, "Cancelled"),
            ),
            (
                "forgotten",
                saying("True", "Window"),
                vec![],
                told(false, "Unknown"),
            ),
            (
                "taken back before",
                saying("False", "Cancelled"),
                vec![cancelled.clone()],
                None,
            ),
            (
                "again",
                saying("False", "Cancelled"),
                vec![waiting(Waiting::Gate)],
                told(true, "Gate"),
            ),
            (
                "of another",
                mk_pod("2", "True", "new"),
                vec![waiting(Waiting::Gate)],
                None,
            ),
        ] {
            assert_eq!(to_tell(&pod, &intents), expected, "{what}");
        }
    }
}
