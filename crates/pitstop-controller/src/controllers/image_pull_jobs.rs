//! ImagePullJobs: the loop around the decisions of `pitstop_engine::predownload::job`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use pitstop_api::reasons;
use pitstop_api::selector::LabelSelector;
use pitstop_api::view::{
    CloneSetView, ImagePullJobView, NodeImageView, NodeView, PodView, SecretReference, Uid,
};
use pitstop_engine::order::update_order;
use pitstop_engine::predownload::job::{Snapshot, Target, plan, select};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Deserialize;
use tokio::time::Instant;
use tracing::warn;

use crate::api::{Call, CallError, Resource, Verb};
use crate::controllers::Running;
use crate::controllers::daemonset::Parts;
use crate::controllers::noted::{Ending, RESYNC, whole_seconds};
use crate::events::About;
use crate::executor::{PullJobWork, Whom};
use crate::metrics::Metrics;
use crate::queue::{COALESCE, Done, Queue};
use crate::store::{Change, Key, Listener, State};

/// Its name, for flags and metrics.
pub const NAME: &str = "imagepulljob";
/// How often the pods are looked at that say which nodes are meant, and the secrets that the nodes need.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How many pods a page of a list holds.
const PAGE: u32 = 500;

/// The controller of ImagePullJobs.
pub struct ImagePullJobs {
    parts: Parts,
    queue: Queue<Key>,
    memory: Mutex<BTreeMap<Key, Memory>>,
    /// Spreads the expiry of entries.
    seeds: Mutex<StdRng>,
}

/// What is remembered of a job between reconciles.
#[derive(Debug, Clone, Default)]
struct Memory {
    uid: Uid,
    seed: u64,
    /// Nodes of pods that the stores do not keep, and copies of its secrets, as of then.
    looked: Option<(Instant, Looked)>,
}

/// What only requests tell.
#[derive(Debug, Clone, Default)]
struct Looked {
    nodes: Vec<Arc<str>>,
    secrets: Vec<SecretReference>,
}

impl ImagePullJobs {
    /// The controller. `seed` spreads the expiry of entries.
    pub fn new(parts: Parts, seed: u64) -> Self {
        Self {
            parts,
            queue: Queue::new(),
            memory: Mutex::default(),
            seeds: Mutex::new(StdRng::seed_from_u64(seed)),
        }
    }

    async fn decide(&self, key: &Key) -> (Done, &'static str) {
        let Some(job) = self.parts.stores.read().image_pull_job(key).cloned() else {
            self.memory().remove(key);
            return (Done::Ok(None), "nothing");
        };
        let whom = Whom {
            controller: NAME,
            source: reasons::SOURCE_IMAGE_PULL_JOB,
            about: About::from(job.as_ref()),
        };
        let (seed, looked) = match self.look_around(key, &whom, &job).await {
            Ok(looked) => looked,
            Err(error) => {
                warn!(job = %key, %error, "an image pull job waits");
                return (Done::Failed(error.retry_after()), "failed");
            }
        };
        let plan = self.plan(&job, seed, &looked);
        let is_running = !job.is_finished() && job.deleted_at.is_none();
        let looks_at_pods =
            is_running && (job.spec.pod_selector.is_some() || !job.spec.pull_secrets.is_empty());
        let work = PullJobWork { whom, job, plan };
        let outcome = self.parts.executor.carry_out_pull_job(&work).await;
        let ending = Ending {
            whom: &work.whom,
            outcome: &outcome,
            requeue_after: [work.plan.requeue_after, looks_at_pods.then_some(LOOK_EVERY)]
                .into_iter()
                .flatten()
                .min()
                .or(Some(RESYNC)),
            marked_at: None,
        };
        ending.close(&self.parts.recorder, &self.parts.metrics)
    }

    fn plan(
        &self,
        job: &ImagePullJobView,
        seed: u64,
        looked: &Looked,
    ) -> pitstop_engine::predownload::job::Plan {
        let state = self.parts.stores.read();
        let kept = nodes_of_kept_pods(&state, job);
        let nodes = kept.as_ref().unwrap_or(&looked.nodes);
        let get = |name: &str| state.node_image(name).map(Arc::as_ref);
        let images = select(&job.spec, state.node_images().map(Arc::as_ref), get, nodes);
        let is_ready = |image: &NodeImageView| {
            // One that stays without a node is ready when its agent answers.
            state.nodes().named(&image.name).is_none_or(NodeView::is_ready)
        };
        let targets = images.into_iter().map(|image| Target {
            image,
            is_ready: is_ready(image),
        });
        plan(&Snapshot {
            now: whole_seconds(self.parts.clock.now()),
            job,
            targets: targets.collect(),
            secrets: &looked.secrets,
            seed,
        })
    }

    /// Asks for what the stores do not keep, now and then.
    async fn look_around(
        &self,
        key: &Key,
        whom: &Whom,
        job: &ImagePullJobView,
    ) -> Result<(u64, Looked), CallError> {
        let known = self.remembered(key, job.uid);
        let is_fresh = |at: &Instant| at.elapsed() < LOOK_EVERY;
        if let Some((_, looked)) = known.looked.filter(|(at, _)| is_fresh(at)) {
            return Ok((known.seed, looked));
        }
        let mut looked = Looked::default();
        if !job.is_finished() && job.deleted_at.is_none() {
            let is_kept = nodes_of_kept_pods(&self.parts.stores.read(), job).is_some();
            if !is_kept {
                looked.nodes = self.list_nodes_of_pods(job).await?;
            }
            looked.secrets = self.parts.executor.sync_secrets(whom, job).await?;
        }
        if let Some(memory) = self.memory().get_mut(key) {
            memory.looked = Some((Instant::now(), looked.clone()));
        }
        Ok((known.seed, looked))
    }

    /// Nodes of the active pods that a job selects, by name of the pods.
    async fn list_nodes_of_pods(&self, job: &ImagePullJobView) -> Result<Vec<Arc<str>>, CallError> {
        let Some(selector) = job.spec.pod_selector.as_ref().and_then(LabelSelector::selector) else {
            return Ok(Vec::new());
        };
        let mut nodes = Vec::new();
        let mut next = String::new();
        loop {
            let mut call = Call::collection(Verb::List, Resource::Pods, Some(&job.namespace))
                .with_query("labelSelector", selector.to_string())
                .with_query("limit", PAGE.to_string());
            if !next.is_empty() {
                call = call.with_query("continue", next);
            }
            let answer = self.parts.api.send(call).await?;
            let page: Page = serde_json::from_slice(&answer).map_err(|error| CallError::Unreadable {
                what: "list of pods".to_owned(),
                problem: error.to_string(),
            })?;
            let active = page.items.into_iter().filter(|pod| {
                let has_ended = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
                !has_ended && pod.metadata.deletion_timestamp.is_none() && !pod.spec.node_name.is_empty()
            });
            nodes.extend(active.map(|pod| Arc::from(pod.spec.node_name)));
            next = page.metadata.next;
            if next.is_empty() {
                return Ok(nodes);
            }
        }
    }

    /// What is known of a job, afresh where another one has its name.
    fn remembered(&self, key: &Key, uid: Uid) -> Memory {
        let seed = self.seeds.lock().unwrap_or_else(PoisonError::into_inner).random();
        let mut memories = self.memory();
        let memory = memories.entry(key.clone()).or_default();
        if memory.uid != uid {
            *memory = Memory {
                uid,
                seed,
                looked: None,
            };
        }
        memory.clone()
    }

    fn memory(&self) -> MutexGuard<'_, BTreeMap<Key, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The jobs that a change touches.
    fn touched(state: &State, change: &Change) -> BTreeSet<Key> {
        let running = || {
            let jobs = state.image_pull_jobs().filter(|(_, job)| !job.is_finished());
            jobs.map(|(key, _)| key.clone()).collect()
        };
        match change {
            Change::ImagePullJob { key, .. } => BTreeSet::from([key.clone()]),
            // It may be among the nodes of any job, or is not any more.
            Change::NodeImage { before: None, .. } | Change::NodeImage { after: None, .. } => running(),
            Change::NodeImage {
                before: Some(before),
                after: Some(after),
            } if before.labels != after.labels => running(),
            Change::NodeImage { before, after } => {
                let images = before
                    .iter()
                    .chain(after)
                    .flat_map(|image| image.spec.images.values());
                let owners = images
                    .flat_map(|image| &image.tags)
                    .flat_map(|tag| &tag.owner_references);
                let keys = owners.map(|owner| Key::new(&owner.namespace, &owner.name));
                keys.filter(|key| state.image_pull_job(key).is_some_and(|job| !job.is_finished()))
                    .collect()
            }
            Change::Node { before, after } => {
                let is_ready = |node: &Option<Arc<NodeView>>| node.as_ref().map(|node| node.is_ready());
                if is_ready(before) == is_ready(after) {
                    BTreeSet::new()
                } else {
                    running()
                }
            }
            _ => BTreeSet::new(),
        }
    }
}

/// The nodes of the pods that a job selects, in the order in which these are updated; `None` where the pods are not kept:
/// those of no CloneSet.
fn nodes_of_kept_pods(state: &State, job: &ImagePullJobView) -> Option<Vec<Arc<str>>> {
    let Some(selector) = &job.spec.pod_selector else {
        return Some(Vec::new());
    };
    let cloneset: &CloneSetView = state.cloneset(state.cloneset_key(job.controller?.uid)?)?;
    let selector = selector.selector()?;
    let pods: Vec<&PodView> = state.pods_of(cloneset.uid).iter().collect();
    let candidates = pods.iter().enumerate().filter(|(_, pod)| {
        pod.bound && !pod.is_terminal() && pod.deleted_at.is_none() && selector.matches(&pod.labels)
    });
    let candidates: Vec<usize> = candidates.map(|(i, _)| i).collect();
    let rolling = cloneset.update.rolling.clone().unwrap_or_default();
    let most = candidates.len();
    let order = update_order(&pods, candidates, most, &rolling.priority, &rolling.scatter);
    let nodes = order.into_iter().filter_map(|i| pods.get(i)?.node);
    let nodes = nodes.filter_map(|slot| state.nodes().get(slot));
    Some(nodes.map(|node| Arc::clone(&node.name)).collect())
}

#[derive(Deserialize)]
struct Page {
    metadata: PageMeta,
    items: Vec<Pod>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PageMeta {
    #[serde(rename = "continue")]
    next: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Pod {
    metadata: pitstop_api::view::MetaWire,
    spec: PodSpec,
    status: PodStatus,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PodStatus {
    phase: String,
}

impl Listener for ImagePullJobs {
    fn changed(&self, state: &State, change: &Change) {
        for key in Self::touched(state, change) {
            self.queue.mark(&key, COALESCE);
        }
    }

    fn relisted(&self, state: &State, resource: Resource) {
        if matches!(
            resource,
            Resource::Nodes | Resource::NodeImages | Resource::ImagePullJobs
        ) {
            let known: Vec<Key> = self.memory().keys().cloned().collect();
            let all = state.image_pull_jobs().map(|(key, _)| key.clone());
            for key in all.chain(known).collect::<BTreeSet<_>>() {
                self.queue.mark(&key, COALESCE);
            }
        }
    }
}

impl Running for ImagePullJobs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn waiting(&self) -> BTreeMap<&'static str, usize> {
        BTreeMap::new()
    }

    fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    fn is_synced(&self) -> bool {
        let stores = &self.parts.stores;
        stores.is_synced() && stores.has(Resource::NodeImages) && stores.has(Resource::ImagePullJobs)
    }

    fn reconcile<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, (Done, &'static str)> {
        Box::pin(self.decide(key))
    }
}
