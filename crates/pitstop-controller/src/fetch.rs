//! A snapshot by plain requests, for people who ask what would be decided and why.

use pitstop_api::selector::Selector;
use pitstop_api::view::{DaemonSetView, MetaWire, NodeWire, PodWire, Uid};
use pitstop_api::{Clock, SystemClock, Timestamp, keys};
use pitstop_engine::snapshot::file::{SnapshotFile, VERSION};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;
use crate::api::{Api, Call, CallError, KubeApi, Resource, Verb};

/// How many objects a page of a list holds.
const PAGE: &str = "500";

/// What a decision about this DaemonSet would be made from now.
///
/// Pods and nodes hold only the fields that decisions look at, so that the file can be shown to others.
///
/// # Errors
/// There is no such DaemonSet, an object cannot be read, or the API server refuses.
pub async fn snapshot_file(
    client: &kube::Client,
    namespace: &str,
    name: &str,
) -> Result<SnapshotFile, Error> {
    snapshot_file_at(&KubeApi::new(client.clone()), SystemClock.now(), namespace, name).await
}

/// As [`snapshot_file`], through any [`Api`] and as of any time.
///
/// # Errors
/// As [`snapshot_file`].
pub async fn snapshot_file_at(
    api: &dyn Api,
    now: Timestamp,
    namespace: &str,
    name: &str,
) -> Result<SnapshotFile, Error> {
    let call = Call::object(Verb::Get, Resource::DaemonSets, Some(namespace), name);
    let answer = api.send(call).await.map_err(|source| match source {
        CallError::NotFound(_) => Error::NotFound {
            kind: "DaemonSet",
            name: format!("{namespace}/{name}"),
        },
        source => Error::Api {
            doing: "reading the DaemonSet",
            source,
        },
    })?;
    let view = DaemonSetView::from_json(&answer)
        .map_err(|e| unreadable(&format!("DaemonSet {namespace}/{name}"), &e))?;
    let mut daemonset: Value = parse("DaemonSet", &answer)?;
    strip(&mut daemonset);
    let selector = view.selector.selector().filter(|selector| !selector.is_empty());
    let concerns = |object: &Value| is_of(object, view.uid, selector.as_ref());
    let namespace = Some(namespace);
    let mut revisions = list(
        api,
        Resource::ControllerRevisions,
        namespace,
        "listing ControllerRevisions",
    )
    .await?;
    revisions.retain(concerns);
    revisions.iter_mut().for_each(strip);
    let mut pods = list(api, Resource::Pods, namespace, "listing pods").await?;
    pods.retain(concerns);
    let nodes = list(api, Resource::Nodes, None, "listing nodes").await?;
    Ok(SnapshotFile {
        version: VERSION,
        now,
        daemonset,
        revisions,
        pods: lean::<PodWire>("Pod", pods)?,
        nodes: lean::<NodeWire>("Node", nodes)?,
        failed_pods: Vec::new(),
    })
}

/// Does the DaemonSet control this object, or could it adopt it?
fn is_of(object: &Value, daemonset: Uid, selector: Option<&Selector>) -> bool {
    let metadata = object.get("metadata").cloned().unwrap_or_default();
    // What cannot be read is kept, so that it is reported where it is read.
    let Ok(metadata) = serde_json::from_value::<MetaWire>(metadata) else {
        return true;
    };
    match metadata.controller() {
        Some(controller) => controller.uid == daemonset,
        None => selector.is_some_and(|selector| selector.matches(&metadata.labels)),
    }
}

async fn list(
    api: &dyn Api,
    resource: Resource,
    namespace: Option<&str>,
    doing: &'static str,
) -> Result<Vec<Value>, Error> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Page {
        metadata: PageMeta,
        items: Vec<Value>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct PageMeta {
        #[serde(rename = "continue")]
        continue_at: String,
    }
    let mut items = Vec::new();
    let mut continue_at = String::new();
    loop {
        let mut call = Call::collection(Verb::List, resource, namespace).with_query("limit", PAGE);
        if !continue_at.is_empty() {
            call = call.with_query("continue", continue_at);
        }
        let answer = api
            .send(call)
            .await
            .map_err(|source| Error::Api { doing, source })?;
        let page: Page = parse(resource.plural(), &answer)?;
        items.extend(page.items);
        continue_at = page.metadata.continue_at;
        if continue_at.is_empty() {
            return Ok(items);
        }
    }
}

/// Only the fields that decisions look at.
fn lean<T: DeserializeOwned + Serialize>(kind: &str, objects: Vec<Value>) -> Result<Vec<Value>, Error> {
    objects
        .into_iter()
        .map(|object| {
            let name = object
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let what = format!("{kind} {name}");
            let wire: T = serde_json::from_value(object).map_err(|e| unreadable(&what, &e))?;
            serde_json::to_value(wire).map_err(|e| unreadable(&what, &e))
        })
        .collect()
}

/// Drops what only bloats the file.
fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(keys::LAST_APPLIED);
        }
    }
}

fn parse<T: DeserializeOwned>(what: &str, json: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|e| unreadable(what, &e))
}

fn unreadable(what: &str, problem: &dyn std::fmt::Display) -> Error {
    Error::Unreadable {
        what: what.to_owned(),
        problem: problem.to_string(),
    }
}
