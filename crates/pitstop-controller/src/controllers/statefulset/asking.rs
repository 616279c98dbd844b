//! When arbiters are asked, and told: beside decisions, each at its own pace.
//!
//! Source: statefulset.md 16.4.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use pitstop_api::reasons;
use pitstop_api::view::{Arbiter, StatefulSetView, Uid};
use pitstop_engine::plan::Event;
use pitstop_engine::statefulset::{Action, asked_container};
use tracing::{debug, warn};

use super::arbiter::{self, Claim, Turn};
use super::{StatefulSets, whom};
use crate::controllers::noted;
use crate::queue::{COALESCE, Done};
use crate::store::Key;

/// How many arbiters one worker waits for at a time. Each answers, or is given up, within `timeoutSeconds`.
const AT_ONCE: usize = 16;

impl StatefulSets {
    /// Asks arbiters for as long as there is work.
    pub(super) async fn go_on_asking(&self) {
        let due = stream::unfold((), |()| async move { Some((self.asking.next().await?, ())) });
        due.for_each_concurrent(AT_ONCE, |key| async move {
            let next_in = self.turn(&key).await;
            self.asking.done(&key, Done::Ok(next_in));
        })
        .await;
    }

    /// Says what is to be said, and asks where it is time to. Says how long until the next time.
    async fn turn(&self, key: &Key) -> Option<Duration> {
        let (set, protection) = self.protected(key)?;
        let arbiter = protection.arbiter.as_ref()?;
        let asked = self.memories.recall(key, set.uid).asked;
        let is_due = asked.due_in(arbiter, self.parts.clock.now()).is_zero();
        if is_due || !asked.is_told() {
            let mut words = Vec::new();
            self.memories
                .change(key, |memory| words = memory.asked.take_words());
            self.say(key, &set, arbiter, &words).await;
            // What was decided meanwhile was decided without what was heard here.
            self.memories.change(key, |memory| memory.asked.keep_releases());
            if is_due {
                self.ask(key, &set, arbiter).await;
            }
            self.queue.mark(key, COALESCE);
        }
        let asked = self.memories.recall(key, set.uid).asked;
        Some(asked.due_in(arbiter, self.parts.clock.now()))
    }

    /// Asks which pods work.
    async fn ask(&self, key: &Key, set: &StatefulSetView, arbiter: &Arbiter) {
        let now = self.parts.clock.now();
        self.memories.change(key, |memory| memory.asked.begin(now));
        let (pods, running) = {
            let state = self.parts.stores.read();
            let pods = state.pods_of(set.uid).iter();
            let uids: BTreeMap<Arc<str>, Uid> =
                pods.clone().map(|pod| (Arc::clone(&pod.name), pod.uid)).collect();
            (uids, arbiter::running(set, pods))
        };
        let about = arbiter::About {
            namespace: &set.namespace,
            name: &set.name,
            update_revision: &set.status.update_revision,
            running: &running,
            container: asked_container(set).unwrap_or_default(),
        };
        let answer = arbiter::ask(self.parts.api.as_ref(), arbiter, about).await;
        debug!(statefulset = %key, ?answer, "the arbiter was asked");
        if !self.is_there(key, set) {
            return;
        }
        let mut turn = None;
        self.memories.change(key, |memory| {
            turn = memory.asked.take(answer, &pods, now);
            memory.asked.forget_claims(&pods, now);
        });
        let (is_warning, message) = match turn {
            Some(Turn::Silent(why)) => (true, format!("the arbiter does not answer: {why}")),
            Some(Turn::Back) => (false, "the arbiter answers again".to_owned()),
            None => return,
        };
        self.tell(set, is_warning, message);
    }

    /// The arbiter began or ceased to answer.
    fn tell(&self, set: &StatefulSetView, is_warning: bool, message: String) {
        let event = Event {
            is_warning,
            reason: reasons::ARBITER_PROBE_FAILED,
            message: message.into(),
            once_per: None,
        };
        noted::tell(&self.parts.recorder, &whom(set), &[&event]);
    }

    /// Asks whether pods may be disrupted, and tells which are back. It is decided again afterwards: whoever was granted goes,
    /// and where one was refused the next is asked for.
    async fn say(&self, key: &Key, set: &StatefulSetView, arbiter: &Arbiter, words: &[Action]) {
        let api = self.parts.api.as_ref();
        for word in words {
            match word {
                Action::ClaimPods {
                    pods,
                    token,
                    ttl_seconds,
                } => {
                    // What is granted counts from when it was asked for.
                    let now = self.parts.clock.now();
                    let claim = Claim {
                        pods,
                        token,
                        ttl_seconds: *ttl_seconds,
                    };
                    let answer = arbiter::claim(api, arbiter, &set.namespace, &claim).await;
                    debug!(statefulset = %key, ?pods, ?answer, "the arbiter was asked for pods");
                    if !self.is_there(key, set) {
                        return;
                    }
                    let mut is_news = false;
                    match answer {
                        Ok(granted) => {
                            self.memories.change(key, |memory| {
                                memory.asked.take_claim(&claim, &granted, arbiter, now);
                                is_news = memory.asked.is_news(false);
                            });
                            if is_news {
                                let message = "the arbiter answers again when it is asked for pods";
                                self.tell(set, false, message.to_owned());
                            }
                        }
                        Err(why) => {
                            warn!(statefulset = %key, why, "the arbiter was asked for pods in vain");
                            let known = self.pods_of(set.uid);
                            self.memories.change(key, |memory| {
                                memory.asked.not_asked(known.keys(), &claim, arbiter, now);
                                is_news = memory.asked.is_news(true);
                            });
                            if is_news {
                                let message =
                                    format!("the arbiter does not answer when it is asked for pods: {why}");
                                self.tell(set, true, message);
                            }
                        }
                    }
                }
                Action::ReleasePods { pods, token } => {
                    let told = arbiter::release(api, arbiter, &set.namespace, pods, token).await;
                    if let Err(why) = told {
                        // The claim ends by itself.
                        warn!(statefulset = %key, why, "the arbiter was not told which pods are back");
                    }
                }
                _ => {}
            }
        }
    }

    /// Is it still this StatefulSet that has the name? What was said of another one says nothing of its pods.
    fn is_there(&self, key: &Key, set: &StatefulSetView) -> bool {
        let there = self.protected(key);
        there.is_some_and(|(there, _)| there.uid == set.uid)
    }
}
