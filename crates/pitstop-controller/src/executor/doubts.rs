//! Live reads that settle what became of a write without an answer. What an answer means is for the overlay to say.

use pitstop_api::view::{MetaWire, NodeSlot};
use pitstop_engine::snapshot::DeletedPod;
use tracing::info;

use super::pods::{Made, unreadable};
use super::{Executor, Outcome, Whom, side_by_side};
use crate::api::{Call, CallError, Resource, Verb};
use crate::store::{Seen, SentCreate, SentDelete};

impl Executor {
    /// Reads the pods that writes without an answer were about, once those writes are too old to be carried out yet.
    ///
    /// Whatever else the plan did was decided with the writes counted as done, so it need not wait for this.
    pub(super) async fn settle_overdue(&self, whom: &Whom) -> Outcome {
        let (owner, mut outcome) = (whom.uid(), Outcome::default());
        let overdue = self.overlay.overdue(owner, self.clock.now());
        let deletes = overdue.deletes.iter().map(|sent| self.look_for(whom, sent));
        for result in side_by_side(deletes).await {
            outcome.is_stale = true;
            outcome.failure = outcome.failure.or(result.err());
        }
        let creates = overdue.creates.iter();
        let creates = creates.map(|(node, sent)| self.look_for_created(whom, *node, sent));
        for result in side_by_side(creates).await {
            outcome.is_stale = true;
            outcome.failure = outcome.failure.or(result.err());
        }
        outcome.again_in = self.overlay.overdue_in(owner, self.clock.now());
        outcome
    }

    /// Reads a pod that may have been deleted, and takes in what that shows.
    pub(super) async fn look_for(&self, whom: &Whom, sent: &SentDelete) -> Result<(), CallError> {
        let body = self.read_pod(whom, &sent.name).await?;
        let seen = body
            .as_ref()
            .map(|metadata| seen(&sent.name, metadata))
            .transpose()?;
        self.overlay
            .looked_for(whom.uid(), sent.uid, seen, self.clock.now());
        Ok(())
    }

    /// Reads a pod that may have been created. It is there, and then the stores know it from now on; or it never will be.
    async fn look_for_created(
        &self,
        whom: &Whom,
        node: NodeSlot,
        sent: &SentCreate,
    ) -> Result<(), CallError> {
        self.read_pod(whom, &sent.name).await?;
        self.overlay.create_settled(whom.uid(), node);
        Ok(())
    }

    /// Reads a pod past all caches; `None`: there is none of this name.
    pub(super) async fn read_pod(&self, whom: &Whom, name: &str) -> Result<Option<MetaWire>, CallError> {
        let call = Call::object(Verb::Get, Resource::Pods, Some(whom.namespace()), name);
        let body = match self.api.send(call).await {
            Ok(body) => body,
            Err(CallError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.stores.written(Resource::Pods, &body);
        let made: Made = serde_json::from_slice(&body).map_err(|e| unreadable(name, &e))?;
        Ok(Some(made.metadata))
    }

    /// A DELETE was answered, or it was not. Notes what that means for the budget, and after a conflict finds out whether
    /// it was an earlier DELETE without an answer that changed the pod.
    pub(super) async fn note_delete(
        &self,
        whom: &Whom,
        sent: SentDelete,
        result: Result<(), &CallError>,
    ) -> Result<(), CallError> {
        let owner = whom.uid();
        match result {
            Ok(()) | Err(CallError::NotFound(_)) => {
                let SentDelete { uid, node, at, .. } = sent;
                self.overlay.deleted(owner, DeletedPod { uid, node, at });
            }
            Err(CallError::Conflict(_)) => {
                if let Some(earlier) = self.overlay.delete_in_doubt(owner, sent.uid) {
                    self.look_for(whom, &earlier).await?;
                    info!(
                        workload = &*whom.about.name,
                        pod = &*sent.name,
                        "what became of a delete is known"
                    );
                }
            }
            Err(error) if error.is_ambiguous() => self.overlay.maybe_deleted(owner, sent),
            Err(_) => {}
        }
        Ok(())
    }
}

fn seen(name: &str, metadata: &MetaWire) -> Result<Seen, CallError> {
    Ok(Seen {
        uid: metadata.uid().map_err(|e| unreadable(name, &e))?,
        version: metadata.version(),
        is_terminating: metadata.deletion_timestamp.is_some(),
    })
}
