//! What agents ask of the API server.

use http::Method;
use jiff::Timestamp;
use kube::Client;
use pitstop_api::image_pull::{API_VERSION, Kind};
use pitstop_api::reasons;
use pitstop_api::view::{MetaWire, NodeImageStatus};
use pitstop_cluster::informer;
use pitstop_engine::predownload::node::Notice;
use pitstop_engine::predownload::status::status_patch;
use serde_json::{Value, json};
use tracing::trace;

use super::NodeImage;

const MERGE: &str = "application/merge-patch+json";
/// Where events are kept about objects that live in no namespace.
const OF_CLUSTER: &str = "default";

/// What is sent to change a status, for exactly the NodeImage that was read; `None` when there is nothing to change.
pub(super) fn status_body(
    meta: &MetaWire,
    before: &NodeImageStatus,
    wanted: &NodeImageStatus,
) -> Option<Value> {
    let patch = status_patch(before, wanted)?;
    Some(json!({
        "metadata": { "uid": meta.uid, "resourceVersion": meta.resource_version }, "status": patch,
    }))
}

/// Changes a NodeImage, and returns it as it is then.
pub(super) async fn patch(client: &Client, path: &str, body: &Value) -> Result<Box<NodeImage>, kube::Error> {
    let answer = informer::request(client, Method::PATCH, path, Some(MERGE), Some(body)).await?;
    serde_json::from_value(answer).map_err(kube::Error::SerdeError)
}

/// Posts events. Those that are not taken are lost: they hold nothing up.
pub(super) async fn post(client: &Client, events: Vec<(String, Value)>) {
    for (path, event) in events {
        if let Err(error) = informer::request(client, Method::POST, &path, None, Some(&event)).await {
            trace!(%error, "an event of an agent was not taken");
        }
    }
}

/// Events about the NodeImage and about those who want the image, with where they are posted to.
pub(super) fn events(meta: &MetaWire, notice: &Notice, now: Timestamp) -> Vec<(String, Value)> {
    let owners = notice.owners.iter().map(|owner| {
        json!({
            "apiVersion": owner.api_version, "kind": owner.kind, "namespace": owner.namespace, "name": owner.name,
            "uid": owner.uid,
        })
    });
    let image = json!({
        "apiVersion": API_VERSION, "kind": Kind::NodeImage.name(), "name": meta.name, "uid": meta.uid,
    });
    owners
        .chain([image])
        .map(|about| event(&about, &meta.name, notice, now))
        .collect()
}

fn event(about: &Value, node: &str, notice: &Notice, now: Timestamp) -> (String, Value) {
    let text = |key: &str| about.get(key).and_then(Value::as_str).unwrap_or_default();
    let namespace = Some(text("namespace")).filter(|namespace| !namespace.is_empty());
    let namespace = namespace.unwrap_or(OF_CLUSTER);
    let at = format!("{now:.0}");
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"generateName": format!("{}-", text("name")), "namespace": namespace},
        "involvedObject": about,
        "reason": notice.reason, "message": format!("{node}: {}", notice.message),
        "type": if notice.is_warning { "Warning" } else { "Normal" },
        "source": {"component": reasons::SOURCE_IMAGE_AGENT, "host": node},
        "reportingComponent": reasons::SOURCE_IMAGE_AGENT, "reportingInstance": node,
        "firstTimestamp": at, "lastTimestamp": at, "count": 1,
    });
    (format!("/api/v1/namespaces/{namespace}/events"), event)
}
