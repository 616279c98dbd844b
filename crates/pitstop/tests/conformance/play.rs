//! Plays a sequence on one server.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use pitstop_cluster::{Cluster, Defect};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::sequence::{Sequence, Step};

/// An answer takes no longer, on a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How often a request is sent again that found its connection closed.
const RETRIES: usize = 8;
/// How long controllers may take, and how often we look.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS: usize = 100;

/// What is compared of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// Number, method and path of the request, as the sequence has it.
    pub(crate) request: String,
    /// What names were to be made of.
    pub(crate) prefix: Option<String>,
    pub(crate) code: u16,
    pub(crate) content_type: String,
    pub(crate) warnings: Vec<String>,
    /// JSON as it is; a watch is the list of its events; anything else is a string.
    pub(crate) body: Value,
}

/// One of the two servers.
pub(crate) struct Side {
    client: Client,
    lie: Option<fn(&mut Answer)>,
    /// What the embedded server is to do wrong.
    defect: Option<Defect>,
    /// Does nobody else make the service account of a namespace?
    makes_accounts: bool,
    /// Kept running.
    _cluster: Option<Cluster>,
}

impl Side {
    pub(crate) fn of(client: Client) -> Self {
        Self {
            client,
            lie: None,
            defect: None,
            makes_accounts: false,
            _cluster: None,
        }
    }

    /// A side that keeps its cluster running.
    pub(crate) fn holding(client: Client, cluster: Cluster) -> Self {
        Self {
            _cluster: Some(cluster),
            ..Self::of(client)
        }
    }

    /// A side that changes every answer.
    pub(crate) fn that_lies(self, lie: fn(&mut Answer)) -> Self {
        Self {
            lie: Some(lie),
            ..self
        }
    }

    /// A side whose server does something wrong.
    pub(crate) fn broken_by(self, defect: Defect) -> Self {
        Self {
            defect: Some(defect),
            ..self
        }
    }

    /// A side without controllers.
    pub(crate) fn that_makes_accounts(self) -> Self {
        Self {
            makes_accounts: true,
            ..self
        }
    }

    /// The answers, one for each step.
    pub(crate) async fn play(&self, sequence: &Sequence) -> Vec<Answer> {
        let namespace = format!("c-{}", sequence.name);
        self.make_namespace(&namespace).await;
        let mut kept = BTreeMap::from([("ns", namespace)]);
        let mut answers = Vec::new();
        for (index, step) in sequence.steps.iter().enumerate() {
            let mut answer = self.answer(step, &kept).await;
            for _ in 0..LOOKS {
                if step.until.is_none_or(|code| code == answer.code) {
                    break;
                }
                sleep(LOOK_EVERY).await;
                answer = self.answer(step, &kept).await;
            }
            for (name, pointer) in &step.keeps {
                let value = match answer.body.pointer(pointer) {
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                    None => String::new(),
                };
                kept.insert(name, value);
            }
            answer.request = format!("{index} {} {}", step.method, step.path);
            if let Some(lie) = self.lie {
                lie(&mut answer);
            }
            answers.push(answer);
        }
        answers
    }

    /// With its service account, which pods need.
    async fn make_namespace(&self, name: &str) {
        let create = async |path: &str, body: Value| {
            let request = Request::post(path).header("content-type", "application/json");
            let answer = self
                .send(request.body(body.to_string().into_bytes()).unwrap())
                .await;
            assert_eq!(answer.status(), 201, "{name}");
        };
        create("/api/v1/namespaces", json!({"metadata": {"name": name}})).await;
        if self.makes_accounts {
            let path = format!("/api/v1/namespaces/{name}/serviceaccounts");
            create(&path, json!({"metadata": {"name": "default"}})).await;
            return;
        }
        for _ in 0..LOOKS {
            let path = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
            if self
                .send(Request::get(path).body(Vec::new()).unwrap())
                .await
                .status()
                == 200
            {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
        panic!("{name} has no service account");
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let once = async || {
            let request = Request::from_parts(head.clone(), Body::from(body.clone()));
            timeout(ANSWER_WITHIN, self.client.send(request)).await.unwrap()
        };
        // The server may have closed the connection just before, and others of those that are kept.
        for _ in 0..RETRIES {
            if let Ok(answer) = once().await {
                return answer;
            }
        }
        let asked = format!("{} {} {}", head.method, head.uri, String::from_utf8_lossy(&body));
        once()
            .await
            .unwrap_or_else(|error| panic!("{asked}: no answer: {error}"))
    }

    async fn answer(&self, step: &Step, kept: &BTreeMap<&str, String>) -> Answer {
        let mut request = Request::builder()
            .method(step.method.clone())
            .uri(fill(&absolute(&step.path), kept));
        if step.method == Method::GET && !step.headers.iter().any(|(name, _)| *name == "accept") {
            request = request.header("accept", "application/json");
        }
        for (name, value) in &step.headers {
            request = request.header(*name, *value);
        }
        let body = match std::str::from_utf8(&step.body) {
            Ok(text) => fill(text, kept).into_bytes(),
            Err(_) => step.body.clone(),
        };
        let mut request = request.body(body).unwrap();
        if let Some(defect) = self.defect {
            request.extensions_mut().insert(defect);
        }
        let response = self.send(request).await;
        let (head, body) = response.into_parts();
        let is_watch = step.events.is_some() && head.status == 200;
        let body = match step.events {
            Some(events) if is_watch => read_events(body, events).await,
            _ => {
                let bytes = timeout(ANSWER_WITHIN, body.collect())
                    .await
                    .unwrap()
                    .unwrap()
                    .to_bytes();
                serde_json::from_slice(&bytes)
                    .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned()))
            }
        };
        Answer {
            request: String::new(),
            prefix: prefix_of(&step.body).map(|prefix| fill(&prefix, kept)),
            code: head.status.as_u16(),
            content_type: all(&head.headers, "content-type").join(", "),
            warnings: all(&head.headers, "warning"),
            body,
        }
    }
}

fn prefix_of(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    Some(body.pointer("/metadata/generateName")?.as_str()?.to_owned())
}

fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).into_iter();
    values
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect()
}

/// Events until there are enough, or until the server ends the stream.
async fn read_events(body: Body, wanted: usize) -> Value {
    let mut events = Vec::new();
    let mut pending = Vec::new();
    let mut chunks = body.into_data_stream();
    while events.len() < wanted {
        let Ok(Some(Ok(chunk))) = timeout(ANSWER_WITHIN, chunks.next()).await else {
            break;
        };
        pending.extend_from_slice(&chunk);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).unwrap_or(Value::Null);
            let ends_list = event.pointer("/object/metadata/annotations").is_some();
            if event.get("type") != Some(&Value::from("BOOKMARK")) || ends_list {
                events.push(event);
            }
        }
    }
    Value::Array(events)
}

/// `configmaps/a` is in the core group, `apps/daemonsets/a` in version v1 of a named group.
fn absolute(path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let groups = ["apps", "batch", "policy", "coordination.k8s.io", "example.com"];
    match path.split_once('/') {
        Some((group, rest)) if groups.contains(&group) => {
            format!("/apis/{group}/v1/namespaces/$(ns)/{rest}")
        }
        _ => format!("/api/v1/namespaces/$(ns)/{path}"),
    }
}

fn fill(text: &str, kept: &BTreeMap<&str, String>) -> String {
    let mut filled = text.to_owned();
    for (name, value) in kept {
        filled = filled.replace(&format!("$({name})"), value);
    }
    filled
}
