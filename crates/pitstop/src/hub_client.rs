//! The hub of a node, as its clients see it.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::client::Body;
use pitstop_api::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::{self, Failure, Kind};

/// A pod of a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodRow {
    /// Its node, in lists of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// `kind/name` of who owns it.
    pub(crate) owner: String,
    pub(crate) needs_upgrade: bool,
    pub(crate) is_ready: bool,
    /// The revision that it is at.
    pub(crate) current: String,
    /// The revision that waits; empty when none does.
    pub(crate) target: String,
    /// Are the images of that revision there: `pulled`, `pulling`, `failed`, or `-` where nobody asked.
    pub(crate) image: String,
    /// What may be done: `upgradable`, `up to date`, or what is in the way.
    pub(crate) state: String,
    /// What is in the way, in a sentence.
    pub(crate) why: String,
}

/// Something that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IntentRow {
    /// The node, in lists of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
    pub(crate) id: String,
    pub(crate) action: String,
    pub(crate) namespace: String,
    pub(crate) pod: String,
    /// The revision that was asked for.
    pub(crate) target: String,
    /// `Pending/Connection`, `Executing` and the like.
    pub(crate) state: String,
    pub(crate) reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) age_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<String>,
}

impl IntentRow {
    /// Does nothing become of it any more?
    pub(crate) fn has_ended(&self) -> bool {
        !is_open(&self.state)
    }
}

/// May something still become of an intent in this state?
fn is_open(state: &str) -> bool {
    state.starts_with("Pending") || state == "Executing"
}

/// What a hub did with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) message: String,
    pub(crate) intent: Option<String>,
    /// Was it kept for later?
    pub(crate) is_kept: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Pod {
    ns: String,
    name: String,
    uid: String,
    owner: Owner,
    need_upgrade: bool,
    current: String,
    target: String,
    image_ready: Option<String>,
    ready: bool,
    intent: Option<Intent>,
    blocked_by: Vec<Blocked>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Owner {
    kind: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Blocked {
    reason: String,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Intent {
    id: String,
    action: String,
    ns: String,
    name: String,
    target: String,
    state: String,
    waiting: Option<String>,
    reason: String,
    created: Option<Timestamp>,
    expires: Option<Timestamp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Items<T> {
    items: Vec<T>,
}

impl Intent {
    fn state(&self) -> String {
        match &self.waiting {
            Some(waiting) if self.state == "Pending" => format!("Pending/{waiting}"),
            _ => self.state.clone(),
        }
    }
}

impl From<Intent> for IntentRow {
    fn from(intent: Intent) -> Self {
        let now = SystemClock.now();
        let age = |at: Timestamp| now.duration_since(at).as_secs();
        Self {
            node: None,
            state: intent.state(),
            id: intent.id,
            action: intent.action,
            namespace: intent.ns,
            pod: intent.name,
            target: intent.target,
            reason: intent.reason,
            age_seconds: intent.created.map(age),
            expires: intent.expires.map(|at| at.to_string()),
        }
    }
}

impl From<Pod> for PodRow {
    fn from(pod: Pod) -> Self {
        let waits = pod.intent.as_ref().filter(|intent| is_open(&intent.state));
        let blocked = pod.blocked_by.first();
        let (state, why) = match (waits, blocked) {
            (Some(intent), _) => (intent.state(), intent.reason.clone()),
            (None, _) if !pod.need_upgrade => ("up to date".to_owned(), String::new()),
            (None, Some(blocked)) => (blocked.reason.clone(), blocked.message.clone()),
            (None, None) => ("upgradable".to_owned(), String::new()),
        };
        let image = match pod.image_ready.as_deref() {
            Some("True") => "pulled",
            Some(_) if blocked.is_some_and(|blocked| blocked.message.contains("PullImageFail")) => "failed",
            Some(_) => "pulling",
            None => "-",
        };
        Self {
            node: None,
            namespace: pod.ns,
            name: pod.name,
            uid: pod.uid,
            owner: format!("{}/{}", pod.owner.kind, pod.owner.name).to_lowercase(),
            needs_upgrade: pod.need_upgrade,
            is_ready: pod.ready,
            current: pod.current,
            target: if pod.need_upgrade {
                pod.target
            } else {
                String::new()
            },
            image: image.to_owned(),
            state,
            why,
        }
    }
}

/// Talks to one hub.
pub(crate) struct HubClient {
    client: kube::Client,
    address: String,
}

impl HubClient {
    pub(crate) fn new(address: &str) -> anyhow::Result<Self> {
        let url = if address.contains("://") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        let malformed = |problem: String| {
            failure::usage(
                format!("--hub \"{address}\": {problem}"),
                "write it like 127.0.0.1:10267",
            )
        };
        let uri: http::Uri = url
            .parse()
            .map_err(|error: http::uri::InvalidUri| malformed(error.to_string()))?;
        let config = kube::Config::new(uri);
        let client = kube::Client::try_from(config).map_err(|error| malformed(error.to_string()))?;
        Ok(Self { client, address: url })
    }

    pub(crate) async fn pods(&self) -> anyhow::Result<Vec<PodRow>> {
        let list: Items<Pod> = self.read(Method::GET, "/pitstop/v1/pods").await?;
        let mut rows: Vec<PodRow> = list.items.into_iter().map(Into::into).collect();
        rows.retain(|pod| pod.needs_upgrade || !pod.current.is_empty());
        rows.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Ok(rows)
    }

    pub(crate) async fn pending(&self) -> anyhow::Result<Vec<IntentRow>> {
        let list: Items<Intent> = self.read(Method::GET, "/pitstop/v1/intents").await?;
        let rows = list.items.into_iter().map(IntentRow::from);
        Ok(rows.filter(|intent| !intent.has_ended()).collect())
    }

    pub(crate) async fn intent(&self, id: &str) -> anyhow::Result<IntentRow> {
        let intent: Intent = self
            .read(Method::GET, &format!("/pitstop/v1/intents/{id}"))
            .await?;
        Ok(intent.into())
    }

    pub(crate) async fn cancel(&self, id: &str) -> anyhow::Result<IntentRow> {
        let intent: Intent = self
            .read(Method::DELETE, &format!("/pitstop/v1/intents/{id}"))
            .await?;
        Ok(intent.into())
    }

    pub(crate) async fn upgrade(&self, namespace: &str, pod: &str, dry_run: bool) -> anyhow::Result<Done> {
        let mut path = pitstop_hub::upgrade_path(namespace, pod);
        if dry_run {
            path.push_str("?dryRun=true");
        }
        self.act(&path).await
    }

    pub(crate) async fn pull(&self, namespace: &str, pod: &str) -> anyhow::Result<Done> {
        self.act(&pitstop_hub::pull_path(namespace, pod)).await
    }

    /// What a client gets that does not ask for JSON, such as `curl`: code and text.
    pub(crate) async fn post_as_curl(&self, path: &str) -> anyhow::Result<(StatusCode, String)> {
        let (code, body) = self.exchange(Method::POST, path, "*/*").await?;
        Ok((code, String::from_utf8_lossy(&body).into_owned()))
    }

    async fn act(&self, path: &str) -> anyhow::Result<Done> {
        let (code, body) = self.ask(Method::POST, path).await?;
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let causes = body.pointer("/details/causes").and_then(Value::as_array);
        let intent = causes
            .into_iter()
            .flatten()
            .find(|cause| cause.get("reason").and_then(Value::as_str) == Some("Intent"))
            .and_then(|cause| cause.get("message")?.as_str());
        Ok(Done {
            message: text("/message").unwrap_or_default(),
            intent: intent.map(str::to_owned),
            is_kept: code == StatusCode::ACCEPTED,
        })
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, method: Method, path: &str) -> anyhow::Result<T> {
        let (_, body) = self.ask(method, path).await?;
        serde_json::from_value(body).map_err(|error| {
            failure::failed(
                format!(
                    "the hub at {} answered something else than expected: {error}",
                    self.address
                ),
                "is it a hub of pitstop of about this version? see `pitstop --version`",
            )
        })
    }

    /// Asks, and returns what is no refusal.
    async fn ask(&self, method: Method, path: &str) -> anyhow::Result<(StatusCode, Value)> {
        let (code, bytes) = self.exchange(method, path, "application/json").await?;
        let value: Value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        if code.is_success() {
            return Ok((code, value));
        }
        Err(refusal(code, &value))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        accept: &str,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let unreachable = |problem: String| {
            failure::failed(
                format!("the hub at {} does not answer: {problem}", self.address),
                "is `pitstop hub` running on this node? another address is chosen with --hub, a simulated node with --node",
            )
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("accept", accept);
        let request = request
            .body(Body::empty())
            .map_err(|error| unreachable(error.to_string()))?;
        let answer = self.client.send(request).await;
        let answer =
            answer.map_err(|error| unreachable(anyhow::Error::from(error).root_cause().to_string()))?;
        let code = answer.status();
        let body = answer
            .into_body()
            .collect()
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        Ok((code, body.to_bytes()))
    }
}

/// What a refusal means for who asked.
fn refusal(code: StatusCode, body: &Value) -> anyhow::Error {
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let message = match text("message") {
        "" => body.as_str().unwrap_or_default(),
        message => message,
    };
    let (kind, advice) = match (text("reason"), code.as_u16()) {
        ("NotFound", _) | (_, 404) => (
            Kind::NothingMatched,
            "see what is there with `pitstop ota list` and `pitstop ota pending`",
        ),
        ("NotUpdatable", _) => (
            Kind::Failed,
            "no newer revision waits for it; see `pitstop ota list`",
        ),
        ("ImageNotReady", _) => (
            Kind::Failed,
            "pull its images first: `pitstop ota pull POD --wait`",
        ),
        ("Deleting", _) => (
            Kind::Failed,
            "its successor comes when it is gone; see `pitstop ota list`",
        ),
        ("OtherNode", _) => (Kind::Failed, "ask the hub of that node: --hub or --node"),
        ("AlreadyStarted", _) => (
            Kind::Failed,
            "it cannot be taken back any more; watch it with `pitstop ota list`",
        ),
        ("Disconnected", _) => (
            Kind::Failed,
            "the node is cut off and its hub keeps no requests; try again when it is back",
        ),
        ("StorageFull", _) => (
            Kind::Failed,
            "make room on the disk of the node; nothing was kept",
        ),
        ("TooManyRequests", _) => (Kind::Failed, "wait a few seconds and ask again"),
        ("Forbidden" | "Unauthorized", _) => (
            Kind::Failed,
            "the owner of this node lets others change it: see the hub's --local-auth",
        ),
        _ => (Kind::Failed, "see the log of the hub for more"),
    };
    Failure::new(kind, message, advice).into()
}
