//! Asking the arbiter of a StatefulSet which of its pods work. Source: statefulset.md 16.4.
//!
//! What goes wrong here counts as no answer; what that means for pods is the engine's decision.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::http::Method;
use bytes::Bytes;
use jiff::SignedDuration;
use pitstop_api::Timestamp;
use pitstop_api::view::{Arbiter, ArbiterProbe, HttpProbe, PodView, StatefulSetView, Uid};
use pitstop_engine::statefulset::{Action, ArbiterAnswers, Claimed, Observation, Observed, can_be_asked};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::api::Api;
use http::Url;

mod exec;
mod http;

/// What is remembered of an arbiter between decisions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// What it said.
    pub(crate) answers: ArbiterAnswers,
    /// When it was asked last.
    at: Option<Timestamp>,
    /// What is to be said to it of pods that are to be disrupted, or are back.
    words: Vec<Action>,
    /// Was it asked in vain, last time, whether pods may be disrupted?
    claims_fail: bool,
}

/// Did it begin or cease to answer?
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It does not answer any more, and why.
    Silent(String),
    /// It answers again.
    Back,
}

impl Asked {
    /// What decisions know of it.
    pub(super) fn known(self) -> ArbiterAnswers {
        let is_awaited = self.answers.heard_at.is_none() && self.answers.failures == 0;
        ArbiterAnswers {
            is_awaited,
            ..self.answers
        }
    }

    /// This is to be said to it. What it grants no more is used no more from now on, whenever it hears of it.
    pub(super) fn is_to_hear(&mut self, words: Vec<Action>) {
        self.keep_releases();
        for word in &words {
            if let Action::ReleasePods { pods, .. } = word {
                self.release(pods);
            }
        }
        self.words.extend(words);
    }

    /// What is to be said to it now, in this order.
    pub(super) fn take_words(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.words)
    }

    /// Is nothing to be said to it?
    pub(super) fn is_told(&self) -> bool {
        self.words.is_empty()
    }

    /// What was asked for before it was heard is asked for again where it is still of use.
    pub(super) fn keep_releases(&mut self) {
        self.words
            .retain(|word| matches!(word, Action::ReleasePods { .. }));
    }

    /// It is asked now.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.at = Some(now);
    }

    /// How long until it is to be asked.
    pub(super) fn due_in(&self, arbiter: &Arbiter, now: Timestamp) -> Duration {
        let period = SignedDuration::from_secs(i64::from(arbiter.period_seconds));
        let due = self.at.and_then(|at| at.checked_add(period).ok());
        let left = due.map(|due| due.duration_since(now));
        left.and_then(|left| Duration::try_from(left).ok())
            .unwrap_or_default()
    }

    /// Takes in an answer to what was asked at this time.
    pub(crate) fn take(
        &mut self,
        answer: Result<Answer, String>,
        pods: &BTreeMap<Arc<str>, Uid>,
        at: Timestamp,
    ) -> Option<Turn> {
        self.at = Some(at);
        let was_silent = self.answers.failures > 0;
        match answer {
            Ok(answer) => {
                let states: BTreeMap<&str, Observed> = answer
                    .instances
                    .iter()
                    .map(|instance| (&*instance.name, instance.observed()))
                    .collect();
                let before = std::mem::take(&mut self.answers.observations);
                let observed = pods.iter().filter_map(|(name, uid)| {
                    let state = match (states.get(&**name), answer.others) {
                        (Some(state), _) => *state,
                        (None, Others::AreUnknown) => Observed::Unknown,
                        (None, Others::StayAsTheyWere) => {
                            return before.iter().find(|seen| seen.pod == *uid).copied();
                        }
                    };
                    Some(Observation {
                        pod: *uid,
                        state,
                        at,
                        ttl_seconds: answer.ttl_seconds,
                    })
                });
                self.answers.observations = observed.collect();
                self.answers.failures = 0;
                self.answers.heard_at = Some(at);
                was_silent.then_some(Turn::Back)
            }
            Err(why) => {
                self.answers.failures = self.answers.failures.saturating_add(1);
                (!was_silent).then_some(Turn::Silent(why))
            }
        }
    }

    /// Takes in whether pods may be disrupted. Those that may not are asked for again after a period.
    pub(super) fn take_claim(
        &mut self,
        claim: &Claim<'_>,
        granted: &[String],
        arbiter: &Arbiter,
        now: Timestamp,
    ) {
        for pod in claim.pods {
            let is_granted = granted.iter().any(|name| **name == **pod);
            let seconds = if is_granted {
                claim.ttl_seconds
            } else {
                arbiter.period_seconds
            };
            self.remember(pod, claim.token, is_granted, seconds, now);
        }
    }

    /// Takes in whether it could be asked for pods; says whether that is another word than before.
    pub(super) fn is_news(&mut self, fails: bool) -> bool {
        std::mem::replace(&mut self.claims_fail, fails) != fails
    }

    /// An arbiter that could not be asked grants nobody for a period, and what it granted before counts to its end.
    pub(super) fn not_asked<'a>(
        &mut self,
        pods: impl Iterator<Item = &'a Arc<str>>,
        claim: &Claim<'_>,
        arbiter: &Arbiter,
        now: Timestamp,
    ) {
        for pod in pods {
            let mut claimed = self.answers.claimed.iter();
            if !claimed.any(|known| known.pod == *pod && known.is_granted && known.until > now) {
                self.remember(pod, claim.token, false, arbiter.period_seconds, now);
            }
        }
    }

    fn remember(&mut self, pod: &Arc<str>, token: &Arc<str>, is_granted: bool, seconds: u32, now: Timestamp) {
        let until = now.checked_add(SignedDuration::from_secs(i64::from(seconds)));
        self.answers.claimed.retain(|claim| claim.pod != *pod);
        self.answers.claimed.push(Claimed {
            pod: Arc::clone(pod),
            is_granted,
            until: until.unwrap_or(now),
            token: Arc::clone(token),
        });
    }

    /// Claims have ended.
    fn release(&mut self, pods: &[Arc<str>]) {
        self.answers.claimed.retain(|claim| !pods.contains(&claim.pod));
    }

    /// Forgets what was said of pods by names that are no more, and claims that ended by themselves.
    pub(super) fn forget_claims(&mut self, pods: &BTreeMap<Arc<str>, Uid>, now: Timestamp) {
        self.answers
            .claimed
            .retain(|claim| claim.until > now || (!claim.is_granted && pods.contains_key(&claim.pod)));
    }
}

/// What an arbiter says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    instances: Vec<Instance>,
    #[serde(default)]
    ttl_seconds: Option<u32>,
    /// What of pods that it does not name.
    #[serde(skip)]
    others: Others,
}

/// What an answer means for pods that it does not name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Others {
    /// Whoever answers does not know them.
    #[default]
    AreUnknown,
    /// They did not answer now: what they said before counts until it is stale.
    StayAsTheyWere,
}

#[derive(Debug, Deserialize)]
struct Instance {
    name: String,
    state: String,
}

impl Instance {
    fn observed(&self) -> Observed {
        match self.state.as_str() {
            "working" => Observed::Working,
            "idle" => Observed::Idle,
            _ => Observed::Unknown,
        }
    }
}

/// A question whether pods may be disrupted.
pub(super) struct Claim<'a> {
    /// Names of the pods.
    pub(super) pods: &'a [Arc<str>],
    /// By what the arbiter knows it.
    pub(super) token: &'a Arc<str>,
    /// For how long. Units: seconds.
    pub(super) ttl_seconds: u32,
}

#[derive(Deserialize)]
struct Grants {
    granted: Vec<String>,
}

/// The StatefulSet that an arbiter is asked about.
pub(crate) struct About<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// The revision that pods are brought to.
    pub(crate) update_revision: &'a str,
    /// Those of its pods that run: no command runs in others.
    pub(crate) running: &'a [Arc<str>],
    /// The container in which a command runs.
    pub(crate) container: &'a str,
}

/// The names of those pods in which a command can run.
pub(crate) fn running<'a>(set: &StatefulSetView, pods: impl Iterator<Item = &'a PodView>) -> Vec<Arc<str>> {
    let running = pods.filter(|pod| can_be_asked(set, pod));
    running.map(|pod| Arc::clone(&pod.name)).collect()
}

/// Asks which pods work.
///
/// # Errors
/// It cannot be reached, does not answer in time, or says something else.
pub(crate) async fn ask(api: &dyn Api, arbiter: &Arbiter, about: About<'_>) -> Result<Answer, String> {
    let About {
        namespace,
        name,
        update_revision,
        running,
        container,
    } = about;
    if let ArbiterProbe::Exec { command, .. } = &arbiter.probe {
        let what = (container, command.as_slice());
        return exec::ask(api, (namespace, running), what, limit(arbiter)).await;
    }
    let query = format!("?namespace={namespace}&name={name}&updateRevision={update_revision}");
    send(api, arbiter, namespace, Method::GET, &query, None).await
}

/// Asks whether pods may be disrupted now: the names of those that may.
///
/// # Errors
/// As [`ask`].
pub(super) async fn claim(
    api: &dyn Api,
    arbiter: &Arbiter,
    namespace: &str,
    claim: &Claim<'_>,
) -> Result<Vec<String>, String> {
    let body = json!({ "pods": claim.pods, "token": claim.token, "ttlSeconds": claim.ttl_seconds });
    let grants: Grants = send(api, arbiter, namespace, Method::POST, "/claim", Some(body)).await?;
    Ok(grants.granted)
}

/// Tells that pods are back.
///
/// # Errors
/// It cannot be reached, does not answer in time, or refuses.
pub(super) async fn release(
    api: &dyn Api,
    arbiter: &Arbiter,
    namespace: &str,
    pods: &[Arc<str>],
    token: &str,
) -> Result<(), String> {
    let body = json!({ "pods": pods, "token": token });
    let url = Url::of(api, http_of(arbiter)?, namespace).await?;
    in_time(arbiter, url.send(api, Method::POST, "/release", Some(body))).await?;
    Ok(())
}

async fn send<T: serde::de::DeserializeOwned>(
    api: &dyn Api,
    arbiter: &Arbiter,
    namespace: &str,
    method: Method,
    more: &str,
    body: Option<Value>,
) -> Result<T, String> {
    let url = Url::of(api, http_of(arbiter)?, namespace).await?;
    let answer = in_time(arbiter, url.send(api, method, more, body)).await?;
    serde_json::from_slice(&answer).map_err(|error| format!("its answer cannot be read: {error}"))
}

/// How long an answer may take.
fn limit(arbiter: &Arbiter) -> Duration {
    Duration::from_secs(u64::from(arbiter.timeout_seconds))
}

/// Only a service is asked for pods. Source: statefulset.md 16.4, claim.
fn http_of(arbiter: &Arbiter) -> Result<&HttpProbe, String> {
    match &arbiter.probe {
        ArbiterProbe::Http(probe) => Ok(probe),
        ArbiterProbe::Exec { .. } => Err("arbiter.claim needs arbiter.http".to_owned()),
    }
}

/// Waits for as long as an answer may take.
async fn in_time(
    arbiter: &Arbiter,
    answer: impl Future<Output = Result<Bytes, String>>,
) -> Result<Bytes, String> {
    let answer = timeout(limit(arbiter), answer).await;
    answer.unwrap_or_else(|_| Err(format!("no answer within {} s", arbiter.timeout_seconds)))
}

#[cfg(test)]
mod tests;
