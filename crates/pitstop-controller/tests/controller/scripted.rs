//! An API server that answers as a test says, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use pitstop_api::{Clock, SharedClock};
use pitstop_controller::api::{Api, Call, CallError, Lines, Resource, Verb};
use pitstop_controller::controllers::daemonset::{DaemonSets, Model, Parts};
use pitstop_controller::events::Recorder;
use pitstop_controller::executor::{self, Executor};
use pitstop_controller::metrics::Metrics;
use pitstop_controller::store::{Overlay, Stores};
use serde_json::{Value, json};

type Answer = Box<dyn FnMut(&Call) -> Result<Value, CallError> + Send>;

/// Answers with a function of the call.
pub(crate) struct Scripted {
    answer: Mutex<Answer>,
    calls: Mutex<Vec<Call>>,
    watches: Mutex<VecDeque<Vec<Value>>>,
    refused_watch: Mutex<Option<(Resource, CallError)>>,
}

impl Scripted {
    pub(crate) fn new(answer: impl FnMut(&Call) -> Result<Value, CallError> + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            answer: Mutex::new(Box::new(answer)),
            calls: Mutex::default(),
            watches: Mutex::default(),
            refused_watch: Mutex::default(),
        })
    }

    /// The next watch of pods shows these events and is then closed; after the last script it stays open in silence.
    pub(crate) fn watch_shows(&self, events: Vec<Value>) {
        self.watches.lock().unwrap().push_back(events);
    }

    /// Watches of this kind are refused, or none any more.
    pub(crate) fn refuse_watches(&self, refused: Option<(Resource, CallError)>) {
        *self.refused_watch.lock().unwrap() = refused;
    }

    /// What was asked, oldest first.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// The calls that change something, events left out.
    pub(crate) fn writes(&self) -> Vec<Call> {
        let is_event = |call: &Call| call.resource == Resource::Events;
        let calls = self.calls();
        calls
            .into_iter()
            .filter(|call| call.verb.is_write() && !is_event(call))
            .collect()
    }

    /// `reason: message` of each event that was made.
    pub(crate) fn events(&self) -> Vec<String> {
        self.calls()
            .iter()
            .filter(|call| call.resource == Resource::Events && call.verb == Verb::Create)
            .filter_map(|call| {
                let body = call.body.as_ref()?;
                Some(format!(
                    "{}: {}",
                    body["reason"].as_str()?,
                    body["message"].as_str()?
                ))
            })
            .collect()
    }
}

impl Api for Scripted {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Bytes, CallError>> {
        self.calls.lock().unwrap().push(call.clone());
        let answer = (self.answer.lock().unwrap())(&call);
        Box::pin(async move { answer.map(|value| Bytes::from(value.to_string())) })
    }

    fn watch(&self, call: Call) -> BoxFuture<'_, Result<Lines, CallError>> {
        self.calls.lock().unwrap().push(call.clone());
        let refused = self.refused_watch.lock().unwrap().clone();
        if let Some((_, error)) = refused.filter(|(resource, _)| *resource == call.resource) {
            return Box::pin(async move { Err(error) });
        }
        let script = match call.resource {
            Resource::Pods => self.watches.lock().unwrap().pop_front(),
            _ => None,
        };
        Box::pin(async move {
            Ok(match script {
                Some(events) => stream::iter(events)
                    .map(|event| Ok(Bytes::from(event.to_string())))
                    .boxed(),
                None => stream::pending().boxed(),
            })
        })
    }
}

/// A controller that is wired as the program wires it, and what it reads.
pub(crate) struct Wired {
    pub(crate) stores: Arc<Stores>,
    pub(crate) overlay: Arc<Overlay>,
    pub(crate) controller: Arc<DaemonSets>,
}

impl Wired {
    /// Its events are written; nothing is decided before somebody calls `work`.
    pub(crate) fn new(model: Model, api: &Arc<Scripted>, clock: &SharedClock) -> Self {
        let api = Arc::clone(api) as Arc<dyn Api>;
        let (stores, overlay) = (Arc::new(Stores::new()), Arc::new(Overlay::default()));
        let metrics = Arc::new(Metrics::new());
        let (recorder, writer) = Recorder::new(Arc::clone(&api), Arc::clone(clock));
        tokio::spawn(writer.run());
        let executor = Arc::new(Executor::new(executor::Parts {
            api: Arc::clone(&api),
            clock: Arc::clone(clock),
            stores: Arc::clone(&stores),
            overlay: Arc::clone(&overlay),
            recorder: recorder.clone(),
            metrics: Arc::clone(&metrics),
            seed: 1,
        }));
        let parts = Parts {
            api,
            clock: Arc::clone(clock),
            stores: Arc::clone(&stores),
            overlay: Arc::clone(&overlay),
            executor,
            recorder,
            metrics,
        };
        let controller = Arc::new(DaemonSets::new(model, parts));
        stores.listen(vec![Arc::clone(&controller) as _]);
        Self {
            stores,
            overlay,
            controller,
        }
    }
}

/// A refusal with this code and reason.
pub(crate) fn refused(code: u16, reason: &str, message: &str) -> CallError {
    let body = json!({ "kind": "Status", "reason": reason, "message": message });
    CallError::from_answer(code, body.to_string().as_bytes())
}

/// What RBAC answers when a right is missing.
pub(crate) fn not_allowed(call: &Call) -> CallError {
    let status = call
        .subresource
        .map(|name| format!("/{name}"))
        .unwrap_or_default();
    let plural = call.resource.plural();
    let place = match &call.namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    let message = format!(
        "{plural} is forbidden: User \"us\" cannot {} resource \"{plural}{status}\" in API group \"\" {place}",
        call.verb.as_str()
    );
    refused(403, "Forbidden", &message)
}

/// What a server answers to a create: the object, with a uid and a version.
pub(crate) fn made(call: &Call, n: u64) -> Value {
    let mut object = call.body.clone().unwrap_or_default();
    object["metadata"]["uid"] = json!(uid(n));
    object["metadata"]["resourceVersion"] = json!(n.to_string());
    object
}

/// The uid of number `n`.
pub(crate) fn uid(n: u64) -> String {
    format!("00000000-0000-0000-0000-{n:012x}")
}

/// A clock that stands still.
#[derive(Debug)]
pub(crate) struct Fixed(pub(crate) Timestamp);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        self.0
    }
}

pub(crate) fn clock() -> SharedClock {
    Arc::new(Fixed("2026-01-01T00:00:00Z".parse().unwrap()))
}

/// A DaemonSet `default/agent` with uid 1 that selects `app=agent`.
pub(crate) fn daemonset_json() -> Value {
    json!({
        "metadata": {
            "name": "agent", "namespace": "default", "uid": uid(1), "resourceVersion": "5", "generation": 2,
            "annotations": { "kubernetes.io/change-cause": "new image" },
        },
        "spec": {
            "selector": { "matchLabels": { "app": "agent" } },
            "template": {
                "metadata": { "labels": { "app": "agent" } },
                "spec": { "containers": [{ "name": "c", "image": "agent:2" }] },
            },
        },
        "status": {
            "currentNumberScheduled": 3, "numberMisscheduled": 0, "desiredNumberScheduled": 3, "numberReady": 3,
            "observedGeneration": 1, "updatedNumberScheduled": 3, "numberAvailable": 2, "numberUnavailable": 1,
        },
    })
}

/// A pod of `default/agent` on a node.
pub(crate) fn pod_json(n: u64, node: &str, version: u64) -> Value {
    json!({
        "metadata": {
            "name": format!("agent-{n}"), "namespace": "default", "uid": uid(n),
            "resourceVersion": version.to_string(), "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "app": "agent", "controller-revision-hash": "h1" },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": uid(1), "controller": true,
            }],
        },
        "spec": { "nodeName": node, "containers": [{ "name": "c", "image": "agent:1" }] },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] },
    })
}

pub(crate) fn node_json(n: u64, name: &str, version: u64, is_ready: bool) -> Value {
    json!({
        "metadata": { "name": name, "uid": uid(n), "resourceVersion": version.to_string() },
        "status": { "conditions": [{ "type": "Ready", "status": if is_ready { "True" } else { "False" } }] },
    })
}
