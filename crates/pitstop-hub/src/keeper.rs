//! Looks after open intents: whenever something happened that may let one go on, it is tried.
//!
//! Source: hub.md B7, B12.

use std::time::Duration;

use rand::{SeedableRng as _, rngs::StdRng};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::carry::{self, Patience};
use crate::intents::{Intent, State, Step, World, step};
use crate::shared::Shared;

/// After which time a controller that was asked counts as silent. Source: hub.md B4.
const STALLED: Duration = Duration::from_secs(60);
/// How often open intents are looked at even if nothing happened: windows and gates open by themselves.
const LOOK: Duration = Duration::from_secs(1);
/// How often uptime is made durable.
const MINUTE: Duration = Duration::from_secs(60);

/// Carries out what waits, whenever something happened that may let it go on, until told to stop.
pub(crate) async fn run(shared: &Shared, stop: &CancellationToken) {
    tokio::select! {
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
            // Gates that have to be open for a while are followed even if nobody asks for anything yet.
            let look = if shared.look_at_gates() || shared.needs_looking() {
                LOOK
            } else {
                MINUTE
            };
            tokio::select! {
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
                shared.tell_stall(intent, STALLED);
            }
            false
        }
        Step::Wait(waiting) => intent.waiting != Some(waiting),
        _ => true,
    }
}
