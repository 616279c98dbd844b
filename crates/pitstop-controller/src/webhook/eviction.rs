//! Evictions of pods that work, where their StatefulSet has `evictionGuard`. Source: statefulset.md 16.1.
//!
//! All that this is judged by is read when it is asked, past all caches, and an arbiter is asked right then: also a replica
//! that stands by answers. What cannot be found out keeps the pod; whoever evicts tries again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pitstop_api::statefulset::definition::EVICTION_WEBHOOK_SECONDS;
use pitstop_api::view::{MetaWire, NodeNames, OwnerKind, PodView, PodWire, Protection, StatefulSetView, Uid};
use pitstop_api::{Clock as _, StorageClasses, SystemClock};
use pitstop_engine::instances::{Failures, InFlight};
use pitstop_engine::statefulset::{ArbiterAnswers, Features, Snapshot, asked_container, eviction_refusal};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::review::{Admission, Verdict};
use crate::api::{Api, Call, CallError, Resource, Verb};
use crate::controllers::statefulset::arbiter::{self, Asked};
use crate::fetch;

/// A StatefulSet whose pod somebody wants evicted, and the pods that this depends on.
struct Asks {
    set: StatefulSetView,
    pod: Uid,
    pods: Vec<PodView>,
}

/// A judgement may take no longer: a webhook that does not answer in its own time is taken to allow everything.
const JUDGED_WITHIN: Duration = Duration::from_secs(EVICTION_WEBHOOK_SECONDS.saturating_sub(5) as u64);

/// May the pod go?
pub(super) async fn judge(api: &dyn Api, admission: &Admission<'_>) -> Verdict {
    let name = admission.name;
    let refusal = async {
        match find(api, admission.namespace, name).await {
            Ok(None) => None,
            Ok(Some(asks)) => asks.refusal(api).await,
            Err(why) => Some(format!("it cannot be told whether it is protected: {why}")),
        }
    };
    let refusal = timeout(JUDGED_WITHIN, refusal).await.unwrap_or_else(|_| {
        Some(format!(
            "it cannot be told whether it is protected: no answer within {} s",
            JUDGED_WITHIN.as_secs()
        ))
    });
    refusal.map_or(Verdict::ALLOWED, |why| Verdict::disruption(name, &why))
}

/// `None`: nobody protects the pod.
async fn find(api: &dyn Api, namespace: &str, name: &str) -> Result<Option<Asks>, String> {
    let Some(object) = get(api, Resource::Pods, namespace, name).await? else {
        return Ok(None);
    };
    let object: Value = serde_json::from_slice(&object).map_err(|error| error.to_string())?;
    let metadata: MetaWire = read(object.get("metadata").cloned().unwrap_or_default())?;
    let Some(owner) = metadata
        .controller()
        .filter(|owner| owner.kind == OwnerKind::StatefulSet)
    else {
        return Ok(None);
    };
    // A pod is one of a StatefulSet by name, too. Source: statefulset.md 3.1.
    let set_name = name.rsplit_once('-').map_or(name, |(set, _)| set);
    let Some(set) = get(api, Resource::StatefulSets, namespace, set_name).await? else {
        return Ok(None);
    };
    let set = StatefulSetView::from_json(&set).map_err(|error| error.to_string())?;
    let guards = match &set.protection {
        Some(Ok(protection)) => protection.guards_evictions,
        Some(Err(_)) => true,
        None => false,
    };
    if set.uid != owner.uid || !guards {
        return Ok(None);
    }
    let counts = |protection: &Protection| protection.min_protected > 0;
    let objects = if set.protection.iter().flatten().any(|read| counts(read)) {
        let pods = fetch::pods_of(api, namespace, set.uid, &set.selector).await;
        pods.map_err(|error| error.to_string())?
    } else {
        vec![object]
    };
    let mut nodes = NodeNames::default();
    let pods = objects.into_iter().map(|pod| {
        let pod: PodWire = read(pod)?;
        pod.view(&mut nodes).map_err(|error| error.to_string())
    });
    let pods: Vec<PodView> = pods.collect::<Result<_, String>>()?;
    let pod = metadata.uid().map_err(|error| error.to_string())?;
    Ok(Some(Asks { set, pod, pods }))
}

impl Asks {
    async fn refusal(&self, api: &dyn Api) -> Option<String> {
        let now = SystemClock.now();
        let snapshot = Snapshot {
            now,
            set: &self.set,
            revisions: Vec::new(),
            pods: self.pods.iter().collect(),
            claims: Vec::new(),
            classes: StorageClasses::default(),
            in_flight: InFlight::default(),
            arbiter: self.answers(api).await,
            features: Features::default(),
            failures: Failures::default(),
            may_adopt: false,
        };
        eviction_refusal(&snapshot, self.pod)
    }

    /// What the arbiter says now. There is no time to ask as often as `failureThreshold` allows: once is enough to know
    /// nothing.
    async fn answers(&self, api: &dyn Api) -> ArbiterAnswers {
        let protection = self.set.protection.as_ref().and_then(|read| read.as_ref().ok());
        let Some(arbiter) = protection.and_then(|protection| protection.arbiter.as_ref()) else {
            return ArbiterAnswers::default();
        };
        let pods: BTreeMap<Arc<str>, Uid> = {
            let pods = self.pods.iter();
            pods.map(|pod| (Arc::clone(&pod.name), pod.uid)).collect()
        };
        let about = arbiter::About {
            namespace: &self.set.namespace,
            name: &self.set.name,
            update_revision: &self.set.status.update_revision,
            running: &arbiter::running(&self.set, self.pods.iter()),
            container: asked_container(&self.set).unwrap_or_default(),
        };
        let answer = arbiter::ask(api, arbiter, about).await;
        let mut asked = Asked::default();
        asked.take(answer, &pods, SystemClock.now());
        asked.answers
    }
}

/// `None`: there is none.
async fn get(
    api: &dyn Api,
    resource: Resource,
    namespace: &str,
    name: &str,
) -> Result<Option<Bytes>, String> {
    let call = Call::object(Verb::Get, resource, Some(namespace), name);
    match api.send(call).await {
        Ok(body) => Ok(Some(body)),
        Err(CallError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn read<T: DeserializeOwned>(object: Value) -> Result<T, String> {
    serde_json::from_value(object).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
