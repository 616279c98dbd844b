//! Asking the arbiter of a StatefulSet which of its pods work. Source: statefulset.md 16.4.
//!
//! What goes wrong here counts as no answer; what that means for pods is the engine's decision.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use pitstop_api::Timestamp;
use pitstop_api::fields::text;
use pitstop_api::view::{Arbiter, ArbiterProbe, Uid};
use pitstop_engine::statefulset::{ArbiterAnswers, Claimed, Observation, Observed};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::api::{Api, Call, Resource, Verb};

/// The largest answer that is read. Units: bytes.
const LARGEST: usize = 4 << 20;

/// What is remembered of an arbiter between decisions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// What it said.
    pub(crate) answers: ArbiterAnswers,
    /// When it was asked last.
    at: Option<Timestamp>,
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
    /// How long until it is to be asked.
    pub(super) fn due_in(&self, arbiter: &Arbiter, now: Timestamp) -> Duration {
        let period = SignedDuration::from_secs(i64::from(arbiter.period_seconds));
        let due = self.at.and_then(|at| at.checked_add(period).ok());
        let left = due.map(|due| due.duration_since(now));
        left.and_then(|left| Duration::try_from(left).ok())
            .unwrap_or_default()
    }

    /// Takes in an answer to what was asked at this time. Pods that it does not name are unknown to it.
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
                let observed = pods.iter().map(|(name, uid)| Observation {
                    pod: *uid,
                    state: states.get(&**name).copied().unwrap_or(Observed::Unknown),
                    at,
                    ttl_seconds: answer.ttl_seconds,
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

    /// Takes in whether pods may be disrupted. Those that may not, or of which nothing was heard, are asked for again with
    /// the next question.
    pub(super) fn take_claim(
        &mut self,
        pods: &[Arc<str>],
        granted: &[String],
        ttl_seconds: u32,
        arbiter: &Arbiter,
        now: Timestamp,
    ) {
        for pod in pods {
            let is_granted = granted.iter().any(|name| **name == **pod);
            let seconds = if is_granted {
                ttl_seconds
            } else {
                arbiter.period_seconds
            };
            let until = now.checked_add(SignedDuration::from_secs(i64::from(seconds)));
            self.answers.claimed.retain(|claim| claim.pod != *pod);
            self.answers.claimed.push(Claimed {
                pod: Arc::clone(pod),
                is_granted,
                until: until.unwrap_or(now),
            });
        }
    }

    /// Pods are back, or a claim has ended.
    pub(super) fn release(&mut self, pods: &[Arc<str>], now: Timestamp) {
        self.answers
            .claimed
            .retain(|claim| claim.until > now && !pods.contains(&claim.pod));
    }
}

/// What an arbiter says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    instances: Vec<Instance>,
    #[serde(default)]
    ttl_seconds: Option<u32>,
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
    } = about;
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
    pods: &[Arc<str>],
    token: &str,
    ttl_seconds: u32,
) -> Result<Vec<String>, String> {
    let body = json!({ "pods": pods, "token": token, "ttlSeconds": ttl_seconds });
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
    let url = Url::of(api, arbiter, namespace).await?;
    in_time(arbiter, url.send(Method::POST, "/release", Some(body))).await?;
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
    let url = Url::of(api, arbiter, namespace).await?;
    let answer = in_time(arbiter, url.send(method, more, body)).await?;
    serde_json::from_slice(&answer).map_err(|error| format!("its answer cannot be read: {error}"))
}

/// Waits for as long as an answer may take.
async fn in_time(
    arbiter: &Arbiter,
    answer: impl Future<Output = Result<Bytes, String>>,
) -> Result<Bytes, String> {
    let limit = Duration::from_secs(u64::from(arbiter.timeout_seconds));
    let answer = timeout(limit, answer).await;
    answer.unwrap_or_else(|_| Err(format!("no answer within {} s", arbiter.timeout_seconds)))
}

/// Where an arbiter is.
struct Url {
    /// Name or address, and port.
    authority: String,
    path: Arc<str>,
}

impl Url {
    /// The address of its service; a service without one is asked by name. What is outside of the cluster is a service of
    /// type `ExternalName`.
    async fn of(api: &dyn Api, arbiter: &Arbiter, namespace: &str) -> Result<Self, String> {
        let (service, own, port, is_https, path) = match &arbiter.probe {
            ArbiterProbe::Http {
                service,
                namespace,
                port,
                is_https,
                path,
                ..
            } => (service, namespace, port, *is_https, path),
            ArbiterProbe::Exec { .. } => {
                return Err(
                    "arbiter.exec is not asked by this version; use arbiter.http or labels".to_owned(),
                );
            }
        };
        if is_https {
            return Err("arbiter.http.scheme https is not asked by this version; use http".to_owned());
        }
        let namespace = own.as_deref().unwrap_or(namespace);
        let call = Call::object(Verb::Get, Resource::Services, Some(namespace), service);
        let found = api.send(call).await.map_err(|error| error.to_string())?;
        let found: Value = serde_json::from_slice(&found).map_err(|error| error.to_string())?;
        let host = match (text(&found, "/spec/type"), text(&found, "/spec/clusterIP")) {
            ("ExternalName", _) => text(&found, "/spec/externalName").to_owned(),
            (_, "" | "None") => format!("{service}.{namespace}.svc"),
            (_, address) if address.contains(':') => format!("[{address}]"),
            (_, address) => address.to_owned(),
        };
        Ok(Self {
            authority: format!("{host}:{port}"),
            path: Arc::clone(path),
        })
    }

    async fn send(&self, method: Method, more: &str, body: Option<Value>) -> Result<Bytes, String> {
        let stream = TcpStream::connect(&self.authority).await;
        let stream = stream.map_err(|error| format!("{}: {error}", self.authority))?;
        let broken = |error: hyper::Error| format!("{}: {error}", self.authority);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let path = format!("/{}{more}", self.path.trim_matches('/'));
        let mut request = Request::builder()
            .method(method)
            .uri(path.replace("//", "/"))
            .header(http::header::HOST, &self.authority);
        if body.is_some() {
            request = request.header(http::header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(broken)?;
            if answer.status() != http::StatusCode::OK {
                return Err(format!("it answered {}", answer.status()));
            }
            let body = Limited::new(answer.into_body(), LARGEST).collect().await;
            Ok(body.map_err(|error| error.to_string())?.to_bytes())
        };
        // The connection is driven here: it ends with the answer, or with whoever waits for it.
        let mut connection = std::pin::pin!(connection);
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            ended = &mut connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(broken(error)),
            },
        }
    }
}

#[cfg(test)]
mod tests;
