//! What simulated nodes ask of the API server, with bounded concurrency.

use std::sync::Arc;

use http::Method;
use jiff::Timestamp;
use kube::Client;
use pitstop_api::view::Uid;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::machine::{LEASE_NAMESPACE, lease};
use super::wire::PodObject;
use crate::informer::{encode, is_status, send};

/// Requests of one fleet about pods that are under way at once.
const CONCURRENCY: usize = 64;
/// Requests by which nodes are seen alive that are under way at once. They do not wait for those about pods: nodes that
/// have thousands of pods to report would be taken for dead.
const HEARTBEATS: usize = 16;
/// Events that wait to be posted; more are dropped, as kubelets do.
const EVENTS: usize = 10_000;

const STRATEGIC: &str = "application/strategic-merge-patch+json";
const MERGE: &str = "application/merge-patch+json";

/// Who asked for a write, so that its end can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Writer {
    Pod(Uid),
    Node(String),
    Lease(String),
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// The object is gone or another one: there is nothing to write to.
    Gone,
    /// It may work later.
    Failed,
}

/// An event that waits to be posted: where to, and its body.
type Posted = (String, Vec<u8>);

/// Sends writes.
#[derive(Clone)]
pub(super) struct Requests {
    client: Client,
    pods: Arc<Semaphore>,
    heartbeats: Arc<Semaphore>,
    outcomes: mpsc::UnboundedSender<(Writer, Outcome)>,
    events: mpsc::Sender<Posted>,
}

impl Requests {
    pub(super) fn new(client: Client) -> (Self, mpsc::UnboundedReceiver<(Writer, Outcome)>) {
        let (outcomes, receiver) = mpsc::unbounded_channel();
        let (events, queue) = mpsc::channel(EVENTS);
        tokio::spawn(post_events(client.clone(), queue));
        (
            Self {
                client,
                pods: Arc::new(Semaphore::new(CONCURRENCY)),
                heartbeats: Arc::new(Semaphore::new(HEARTBEATS)),
                outcomes,
                events,
            },
            receiver,
        )
    }

    fn send<F>(&self, writer: Writer, work: impl FnOnce(Client) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), kube::Error>> + Send,
    {
        let permits = match writer {
            Writer::Pod(_) => &self.pods,
            Writer::Node(_) | Writer::Lease(_) => &self.heartbeats,
        };
        let (client, permits, outcomes) = (self.client.clone(), Arc::clone(permits), self.outcomes.clone());
        tokio::spawn(async move {
            let Ok(_permit) = permits.acquire().await else {
                return;
            };
            // Thousands wait for their turn: what only those under way need is made when it is.
            let outcome = match Box::pin(work(client)).await {
                Ok(()) => Outcome::Done,
                // 422 is the answer to a patch for an object that was replaced by another of its name.
                Err(error) if [404, 409, 422].iter().any(|code| is_status(&error, *code)) => Outcome::Gone,
                Err(error) => {
                    tracing::debug!(%error, ?writer, "a write of a simulated node failed");
                    Outcome::Failed
                }
            };
            let _ = outcomes.send((writer, outcome));
        });
    }

    pub(super) fn pod_status(&self, pod: &PodObject, uid: Uid, status: &Value) {
        let path = format!("{}/status", pod_path(pod));
        let body = encode(&json!({ "metadata": { "uid": pod.metadata.uid }, "status": status }));
        self.send(Writer::Pod(uid), async move |client: Client| {
            send(&client, Method::PATCH, &path, Some(STRATEGIC), Some(body)).await
        });
    }

    /// Tells the API server that the pod is stopped, so that the object goes.
    pub(super) fn confirm_deletion(&self, pod: &PodObject, uid: Uid) {
        let path = pod_path(pod);
        let body = encode(&json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "gracePeriodSeconds": 0, "preconditions": { "uid": pod.metadata.uid },
        }));
        self.send(Writer::Pod(uid), async move |client: Client| {
            send(&client, Method::DELETE, &path, None, Some(body)).await
        });
    }

    /// Writes the network (once) and the status of a node.
    pub(super) fn node(&self, name: &str, pod_cidr: Option<String>, status: &Value) {
        let name = name.to_owned();
        let body = encode(&json!({ "status": status }));
        self.send(Writer::Node(name.clone()), async move |client: Client| {
            let path = format!("/api/v1/nodes/{name}");
            if let Some(cidr) = pod_cidr {
                let body = encode(&json!({ "spec": { "podCIDR": cidr, "podCIDRs": [cidr] } }));
                send(&client, Method::PATCH, &path, Some(STRATEGIC), Some(body)).await?;
            }
            send(
                &client,
                Method::PATCH,
                &format!("{path}/status"),
                Some(STRATEGIC),
                Some(body),
            )
            .await
        });
    }

    /// Renews the lease of a node, and makes it where there is none.
    pub(super) fn renew_lease(&self, node: &str, uid: &str, now: Timestamp) {
        let body = lease(node, uid, now);
        let name = node.to_owned();
        self.send(Writer::Lease(name.clone()), async move |client: Client| {
            let all = format!("/apis/coordination.k8s.io/v1/namespaces/{LEASE_NAMESPACE}/leases");
            let spec = encode(&json!({ "spec": body.get("spec") }));
            match send(
                &client,
                Method::PATCH,
                &format!("{all}/{name}"),
                Some(MERGE),
                Some(spec),
            )
            .await
            {
                Err(error) if is_status(&error, 404) => {
                    send(&client, Method::POST, &all, None, Some(encode(&body))).await
                }
                other => other,
            }
        });
    }

    /// Posts an event about a pod, if there is room: events never hold anything up.
    pub(super) fn pod_event(
        &self,
        pod: &PodObject,
        is_warning: bool,
        reason: &str,
        message: &str,
        now: Timestamp,
        sequence: u64,
    ) {
        let (meta, at) = (&pod.metadata, super::status::time(now));
        let path = format!("/api/v1/namespaces/{}/events", meta.namespace);
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {
                "name": format!("{}.{:x}{sequence:04x}", meta.name, now.as_nanosecond()),
                "namespace": meta.namespace,
            },
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "name": meta.name, "namespace": meta.namespace, "uid": meta.uid,
                "resourceVersion": meta.resource_version,
            },
            "reason": reason, "message": message, "type": if is_warning { "Warning" } else { "Normal" },
            "source": { "component": "kubelet", "host": pod.spec.node_name },
            "reportingComponent": "kubelet", "reportingInstance": pod.spec.node_name,
            "firstTimestamp": at, "lastTimestamp": at, "count": 1,
        });
        let _ = self.events.try_send((path, encode(&event)));
    }
}

fn pod_path(pod: &PodObject) -> String {
    format!(
        "/api/v1/namespaces/{}/pods/{}",
        pod.metadata.namespace, pod.metadata.name
    )
}

async fn post_events(client: Client, mut queue: mpsc::Receiver<Posted>) {
    let permits = Arc::new(Semaphore::new(8));
    while let Some((path, event)) = queue.recv().await {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let client = client.clone();
        tokio::spawn(async move {
            let sent = Box::pin(send(&client, Method::POST, &path, None, Some(event)));
            if let Err(error) = sent.await {
                tracing::trace!(%error, "an event of a simulated node was not taken");
            }
            drop(permit);
        });
    }
}
