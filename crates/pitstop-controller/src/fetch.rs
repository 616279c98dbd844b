//! A snapshot by plain requests, for people who ask what would be decided and why.

use pitstop_api::selector::{LabelSelector, Selector};
use pitstop_api::view::{CloneSetView, DaemonSetView, MetaWire, NodeWire, PodWire, StatefulSetView, Uid};
use pitstop_api::{Clock, StorageClasses, SystemClock, Timestamp, WorkloadKind, keys};
use pitstop_engine::feature_gates::FeatureGates;
use pitstop_engine::snapshot::file::{AnySnapshot, PullOf, SnapshotFile, VERSION, Workload};
use pitstop_engine::statefulset;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;
use crate::api::{Api, Call, CallError, KubeApi, Resource, Verb};
use crate::{lease, offers};

/// How many objects a page of a list holds.
const PAGE: &str = "500";

/// What a decision about this workload would be made from now.
///
/// Pods and nodes hold only the fields that decisions look at, so that the file can be shown to others.
///
/// # Errors
/// There is no such workload, an object cannot be read, or the API server refuses.
pub async fn snapshot_file(
    client: &kube::Client,
    kind: WorkloadKind,
    namespace: &str,
    name: &str,
) -> Result<SnapshotFile, Error> {
    let api = KubeApi::new(client.clone());
    let mut file = snapshot_file_at(&api, SystemClock.now(), kind, namespace, name).await?;
    if !matches!(kind, WorkloadKind::DaemonSet | WorkloadKind::AdvancedDaemonSet) {
        file.resizes_in_place = offers::resizes_in_place(client).await;
        file.gates = lease::gates(&api).await;
    }
    file.classes = classes(&api, &file).await?;
    Ok(file)
}

/// The classes of storage, where it matters which there are, with no more than decisions look at.
///
/// # Errors
/// An object of the file cannot be read, or the API server refuses.
async fn classes(api: &dyn Api, file: &SnapshotFile) -> Result<Vec<Value>, Error> {
    let loaded = file.load().map_err(|error| unreadable("the snapshot", &error))?;
    let matter = match loaded.snapshot() {
        AnySnapshot::StatefulSet(snapshot) => statefulset::needs_classes(&snapshot.decided_on),
        AnySnapshot::DaemonSet(_) | AnySnapshot::CloneSet(_) => false,
    };
    if !matter {
        return Ok(Vec::new());
    }
    let classes = list(api, Resource::StorageClasses, None, "listing classes of storage").await?;
    Ok(classes.iter().map(StorageClasses::lean).collect())
}

/// As [`snapshot_file`], through any [`Api`] and as of any time.
///
/// # Errors
/// As [`snapshot_file`].
pub async fn snapshot_file_at(
    api: &dyn Api,
    now: Timestamp,
    kind: WorkloadKind,
    namespace: &str,
    name: &str,
) -> Result<SnapshotFile, Error> {
    let (mut object, uid, of_workload) = workload(api, kind, namespace, name).await?;
    strip(&mut object);
    let selector = of_workload.selector().filter(|selector| !selector.is_empty());
    let concerns = |object: &Value| is_of(object, uid, selector.as_ref());
    let namespace = Some(namespace);
    let mut pods = list(api, Resource::Pods, namespace, "listing pods").await?;
    let pulls = if has_preheat(&object) {
        Some(pulls(api, namespace, &pods).await?)
    } else {
        None
    };
    pods.retain(concerns);
    let mut revisions = list(
        api,
        Resource::ControllerRevisions,
        namespace,
        "listing ControllerRevisions",
    )
    .await?;
    revisions.retain(concerns);
    revisions.iter_mut().for_each(strip);
    let claims = match kind {
        WorkloadKind::DaemonSet | WorkloadKind::AdvancedDaemonSet => Vec::new(),
        WorkloadKind::CloneSet | WorkloadKind::StatefulSet => {
            let mut claims = list(api, Resource::Claims, namespace, "listing claims of volumes").await?;
            claims.retain(concerns);
            claims.iter_mut().for_each(strip);
            claims
        }
    };
    let nodes = list(api, Resource::Nodes, None, "listing nodes").await?;
    Ok(SnapshotFile {
        version: VERSION,
        now,
        workload: Workload::of(kind, object),
        revisions,
        pods: lean::<PodWire>("Pod", pods)?,
        claims,
        classes: Vec::new(),
        nodes: lean::<NodeWire>("Node", nodes)?,
        failed_pods: Vec::new(),
        pulls,
        resizes_in_place: false,
        gates: FeatureGates::default(),
    })
}

/// The pods of a workload, and those that it could adopt, as they are.
///
/// # Errors
/// The API server refuses, or its answer is no list.
pub(crate) async fn pods_of(
    api: &dyn Api,
    namespace: &str,
    workload: Uid,
    selector: &LabelSelector,
) -> Result<Vec<Value>, Error> {
    let selector = selector.selector().filter(|selector| !selector.is_empty());
    let mut pods = list(api, Resource::Pods, Some(namespace), "listing pods").await?;
    pods.retain(|pod| is_of(pod, workload, selector.as_ref()));
    Ok(pods)
}

/// Are images pulled ahead for its pods?
fn has_preheat(object: &Value) -> bool {
    let annotations = object.pointer("/metadata/annotations");
    annotations.is_some_and(|annotations| annotations.get(keys::PREHEAT).is_some())
}

/// The Jobs of a namespace that pull images, each with those of these pods that are its own.
async fn pulls(api: &dyn Api, namespace: Option<&str>, pods: &[Value]) -> Result<Vec<PullOf>, Error> {
    let mut jobs = list(api, Resource::Jobs, namespace, "listing Jobs").await?;
    jobs.iter_mut().for_each(strip);
    let own = |job: &Value| {
        let uid = job.pointer("/metadata/uid").and_then(Value::as_str);
        let uid = uid.and_then(Uid::parse);
        let own = pods
            .iter()
            .filter(|pod| uid.is_some_and(|uid| is_of(pod, uid, None)));
        lean::<PodWire>("Pod", own.cloned().collect())
    };
    let with_pods = |job: Value| {
        Ok(PullOf {
            pods: own(&job)?,
            job,
        })
    };
    jobs.into_iter().map(with_pods).collect()
}

/// The object as it is, and by what its own objects are known.
async fn workload(
    api: &dyn Api,
    kind: WorkloadKind,
    namespace: &str,
    name: &str,
) -> Result<(Value, Uid, LabelSelector), Error> {
    let doing = match kind {
        WorkloadKind::DaemonSet | WorkloadKind::AdvancedDaemonSet => "reading the DaemonSet",
        WorkloadKind::CloneSet => "reading the CloneSet",
        WorkloadKind::StatefulSet => "reading the StatefulSet",
    };
    let call = Call::object(Verb::Get, Resource::of(kind), Some(namespace), name);
    let answer = api.send(call).await.map_err(|source| match source {
        CallError::NotFound(_) => Error::NotFound {
            kind: kind.kind(),
            name: format!("{namespace}/{name}"),
        },
        source => Error::Api { doing, source },
    })?;
    let identity = match kind {
        WorkloadKind::DaemonSet => DaemonSetView::from_json(&answer).map(|view| (view.uid, view.selector)),
        WorkloadKind::AdvancedDaemonSet => {
            DaemonSetView::advanced_from_json(&answer).map(|view| (view.uid, view.selector))
        }
        WorkloadKind::CloneSet => CloneSetView::from_json(&answer).map(|view| (view.uid, view.selector)),
        WorkloadKind::StatefulSet => {
            StatefulSetView::from_json(&answer).map(|view| (view.uid, view.selector))
        }
    };
    let (uid, selector) =
        identity.map_err(|error| unreadable(&format!("{} {namespace}/{name}", kind.kind()), &error))?;
    Ok((parse(kind.kind(), &answer)?, uid, selector))
}

/// Does the workload control this object, or could it adopt it?
fn is_of(object: &Value, workload: Uid, selector: Option<&Selector>) -> bool {
    let metadata = object.get("metadata").cloned().unwrap_or_default();
    // What cannot be read is kept, so that it is reported where it is read.
    let Ok(metadata) = serde_json::from_value::<MetaWire>(metadata) else {
        return true;
    };
    match metadata.controller() {
        Some(controller) => controller.uid == workload,
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
        if let Some(label) = resource.label() {
            call = call.with_query("labelSelector", label);
        }
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
