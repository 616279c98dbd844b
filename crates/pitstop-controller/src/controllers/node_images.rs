//! NodeImages: the loop around the decisions of `pitstop_engine::predownload::node`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use pitstop_api::reasons;
use pitstop_api::view::{NodeImageView, ObjectReference, SecretReference, Uid};
use pitstop_engine::predownload::node::{Notice, Plan, Snapshot, plan};
use pitstop_engine::predownload::secret::BATCH;

use crate::api::{Call, CallError, Resource, Verb};
use crate::controllers::Running;
use crate::controllers::daemonset::Parts;
use crate::controllers::noted::{Ending, whole_seconds};
use crate::events::{About, Record};
use crate::executor::Whom;
use crate::metrics::Metrics;
use crate::queue::{COALESCE, Done, Queue};
use crate::store::{Change, Key, Listener, State};

/// Its name in metrics.
pub const NAME: &str = "nodeimage";
/// Nodes change labels and readiness, and none of it is urgent here.
const PATIENCE: Duration = Duration::from_millis(50);

/// The controller of NodeImages. A key is the name of a node, without a namespace.
pub struct NodeImages {
    parts: Parts,
    create_after: Duration,
    queue: Queue<Key>,
    /// Secrets that were not there when they were looked for.
    missing: Mutex<BTreeSet<SecretReference>>,
}

impl NodeImages {
    /// The controller. A node gets a NodeImage so long after it became ready.
    pub fn new(parts: Parts, create_after: Duration) -> Self {
        Self {
            parts,
            create_after,
            queue: Queue::new(),
            missing: Mutex::default(),
        }
    }

    async fn decide(&self, key: &Key) -> (Done, &'static str) {
        let now = whole_seconds(self.parts.clock.now());
        let image = self.parts.stores.read().node_image(&key.name).cloned();
        if let Some(image) = &image
            && let Err(error) = self.look_for_secrets(image).await
        {
            return (Done::Failed(error.retry_after()), "failed");
        }
        let (plan, image) = {
            let state = self.parts.stores.read();
            let image = state.node_image(&key.name).cloned();
            let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
            let plan = plan(&Snapshot {
                now,
                node: state.nodes().named(&key.name),
                image: image.as_deref(),
                jobs: &|owner| is_there(&state, owner),
                missing_secrets: &missing,
                create_after: self.create_after,
            });
            (plan, image)
        };
        let whom = whom(key, image.as_deref());
        self.tell(&whom, &plan);
        let outcome = self
            .parts
            .executor
            .carry_out_node_image(&whom, image.as_deref(), &plan)
            .await;
        let ending = Ending {
            whom: &whom,
            outcome: &outcome,
            requeue_after: plan.requeue_after,
            marked_at: None,
        };
        ending.close(&self.parts.recorder, &self.parts.metrics)
    }

    /// Are the secrets there that are not copies of ours?
    async fn look_for_secrets(&self, image: &NodeImageView) -> Result<(), CallError> {
        let secrets = image.spec.images.values().flat_map(|image| &image.pull_secrets);
        for secret in secrets.filter(|secret| secret.mode != BATCH) {
            let call = Call::object(
                Verb::Get,
                Resource::Secrets,
                Some(&secret.namespace),
                &secret.name,
            );
            let is_missing = match self.parts.api.send(call).await {
                Ok(_) => false,
                Err(CallError::NotFound(_)) => true,
                Err(error) => return Err(error),
            };
            let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
            if is_missing {
                missing.insert(secret.clone());
            } else {
                missing.remove(secret);
            }
        }
        Ok(())
    }

    /// Tells the NodeImage, and whoever wanted the image.
    fn tell(&self, whom: &Whom, plan: &Plan) {
        for notice in &plan.events {
            let owners = notice.owners.iter().filter_map(about_owner);
            for about in owners.chain([whom.about.clone()]) {
                self.parts.recorder.publish(record(about, notice));
            }
        }
    }

    fn mark(&self, name: &str, within: Duration) {
        self.queue.mark(&Key::new("", name), within);
    }
}

fn record(about: About, notice: &Notice) -> Record {
    Record {
        source: reasons::SOURCE_NODE_IMAGE,
        about,
        is_warning: notice.is_warning,
        reason: notice.reason,
        message: notice.message.clone(),
    }
}

/// Is there such a job? It is the same one only if it has the uid.
fn is_there(state: &State, owner: &ObjectReference) -> bool {
    let job = state.image_pull_job(&Key::new(&owner.namespace, &owner.name));
    job.is_some_and(|job| job.uid.to_string() == owner.uid)
}

fn about_owner(owner: &ObjectReference) -> Option<About> {
    use pitstop_api::image_pull::{API_VERSION, Kind};
    (owner.kind == Kind::Job.name()).then(|| About {
        kind: Kind::Job.name(),
        api_version: API_VERSION,
        namespace: owner.namespace.as_str().into(),
        name: owner.name.as_str().into(),
        uid: Uid::parse(&owner.uid).unwrap_or_default(),
    })
}

fn whom(key: &Key, image: Option<&NodeImageView>) -> Whom {
    use pitstop_api::image_pull::{API_VERSION, Kind};
    let about = image.map_or_else(
        || About {
            kind: Kind::NodeImage.name(),
            api_version: API_VERSION,
            namespace: Arc::from(""),
            name: Arc::clone(&key.name),
            uid: Uid::default(),
        },
        About::from,
    );
    Whom {
        controller: NAME,
        source: reasons::SOURCE_NODE_IMAGE,
        about,
    }
}

impl Listener for NodeImages {
    fn changed(&self, state: &State, change: &Change) {
        match change {
            Change::Node { before, after } => {
                if let Some(node) = after.as_ref().or(before.as_ref()) {
                    self.mark(&node.name, PATIENCE);
                }
            }
            Change::NodeImage { before, after } => {
                if let Some(image) = after.as_ref().or(before.as_ref()) {
                    self.mark(&image.name, COALESCE);
                }
            }
            Change::ImagePullJob {
                uid, is_gone: true, ..
            } => {
                let uid = uid.to_string();
                for image in state.node_images().filter(|image| is_wanted_by(image, &uid)) {
                    self.mark(&image.name, PATIENCE);
                }
            }
            _ => {}
        }
    }

    fn relisted(&self, state: &State, resource: Resource) {
        if matches!(
            resource,
            Resource::Nodes | Resource::NodeImages | Resource::ImagePullJobs
        ) {
            let nodes = state.nodes();
            let names = nodes.iter().map(|node| &node.name);
            for name in names.chain(state.node_images().map(|image| &image.name)) {
                self.mark(name, PATIENCE);
            }
        }
    }
}

fn is_wanted_by(image: &NodeImageView, uid: &str) -> bool {
    let tags = image.spec.images.values().flat_map(|image| &image.tags);
    tags.flat_map(|tag| &tag.owner_references)
        .any(|owner| owner.uid == uid)
}

impl Running for NodeImages {
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
