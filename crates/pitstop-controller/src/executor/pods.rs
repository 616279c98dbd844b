//! Creating, deleting, adopting and relabelling pods.

use std::sync::{Arc, PoisonError};

use pitstop_api::view::{MetaWire, NodeNames, NodeSlot, PodWire, Uid};
use pitstop_api::{keys, reasons};
use pitstop_engine::Action;
use pitstop_engine::daemonset::pod_for_node;
use pitstop_engine::plan::OwnedObject;
use pitstop_engine::snapshot::CreatedPod;
use rand::RngExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::{Executor, Outcome, Whom, Work, ends_with_namespace, side_by_side};
use crate::api::{Call, CallError, FIELD_MANAGER, Resource, Verb};
use crate::store::{SentCreate, SentDelete};

/// The longest name of a pod that we create, so that it is a legal host name too.
const LONGEST_NAME: usize = 63;
/// How many random characters end a name.
const SUFFIX: usize = 5;
/// How many names are tried before the next pass tries again.
const NAMES_TRIED: usize = 5;

/// Who has a name that we wanted to give.
enum Taken {
    /// A pod for this very node that we created without getting an answer: its uid and version, and its revision, which
    /// is an older one if the template changed since.
    ByOurs((Uid, u64), Arc<str>),
    /// A pod for this very node that the stores know, or know from now on.
    ByKnown,
    /// Another pod.
    ByOther,
    /// Nobody any more.
    NoMore,
}

impl Executor {
    /// Slow start: 1, 2, 4, ... at a time, until one fails. Source: daemonset.md A8.
    ///
    /// A namespace that is being deleted takes none of them: that is nobody's failure, and ends by itself.
    pub(super) async fn create_pods(&self, work: &Work, actions: &[&Action]) -> Outcome {
        let mut outcome = Outcome::default();
        let mut rest = actions;
        let mut size = 1;
        let mut goes_on = true;
        while !rest.is_empty() && goes_on && outcome.failure.is_none() {
            let (batch, later) = rest.split_at(size.min(rest.len()));
            let requests = batch.iter().map(|action| self.create_pod(work, action));
            for result in side_by_side(requests).await {
                self.count(&work.whom, "create_pod", &result);
                goes_on &= !ends_with_namespace(&result);
                outcome.add(result);
            }
            rest = later;
            size = size.saturating_mul(2);
        }
        outcome
    }

    /// All side by side: one failure does not hide the others.
    pub(super) async fn delete_pods(&self, work: &Work, actions: &[&Action]) -> Outcome {
        let mut outcome = Outcome::default();
        let requests = actions.iter().map(|action| self.delete_pod(work, action));
        for result in side_by_side(requests).await {
            self.count(&work.whom, "delete_pod", &result);
            outcome.add(result);
        }
        outcome
    }

    async fn create_pod(&self, work: &Work, action: &Action) -> Result<(), CallError> {
        let Action::CreatePod { node, hash } = action else {
            return Ok(());
        };
        let (node, daemonset) = (*node, &work.daemonset);
        let Some(node_name) = work.node_names.get(&node) else {
            return Ok(());
        };
        let mut manifest = pod_for_node(daemonset, node_name, hash);
        let result = self.post_pod(work, node, node_name, hash, &mut manifest).await;
        match &result {
            Ok(name) => {
                info!(
                    daemonset = &*daemonset.name,
                    pod = name,
                    node = &**node_name,
                    "pod created"
                );
                self.tell(
                    &work.whom,
                    false,
                    reasons::SUCCESSFUL_CREATE,
                    format!("Created pod: {name}"),
                );
            }
            Err(CallError::LeaseLost) => {}
            Err(error) if error.is_namespace_terminating() => {}
            Err(error) => {
                if error.missing_right().is_none() {
                    warn!(daemonset = &*daemonset.name, node = &**node_name, %error, "pod not created");
                }
                self.tell(
                    &work.whom,
                    true,
                    reasons::FAILED_CREATE,
                    format!("Error creating: {error}"),
                );
            }
        }
        result.map(drop)
    }

    /// Posts a pod under a name that is free.
    ///
    /// An attempt that was not answered is repeated under the same name until something is known of it, so that there is
    /// never a second pod. Upholds S8.
    async fn post_pod(
        &self,
        work: &Work,
        node: NodeSlot,
        node_name: &str,
        hash: &Arc<str>,
        manifest: &mut Value,
    ) -> Result<String, CallError> {
        let daemonset = &work.daemonset;
        let mut taken = CallError::Unreachable("no name was tried".to_owned());
        // A request that comes late finds its name taken, or is the pod.
        let late = self.overlay.name_of_late(daemonset.uid, node, self.clock.now());
        let mut late = late.filter(|name| {
            let state = self.stores.read();
            !state.pods_of(daemonset.uid).iter().any(|pod| *pod.name == **name)
        });
        for _ in 0..NAMES_TRIED {
            let in_doubt = self.overlay.name_in_doubt(daemonset.uid, node);
            let is_repeated = in_doubt.is_some();
            let name = in_doubt
                .or_else(|| late.take())
                .unwrap_or_else(|| self.pod_name(&daemonset.name));
            if let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.insert("name".to_owned(), json!(name));
                metadata.insert("generateName".to_owned(), json!(format!("{}-", daemonset.name)));
                metadata.insert("namespace".to_owned(), json!(daemonset.namespace));
            }
            let call = Call::collection(Verb::Create, Resource::Pods, Some(&daemonset.namespace))
                .with_query("fieldManager", FIELD_MANAGER)
                .with_body(manifest.clone());
            match self.api.send(call).await {
                Ok(body) => {
                    let made = self.read_made(work, node, &name, &body)?;
                    self.note_created(work, node, &name, Arc::clone(hash), &made);
                    return Ok(name);
                }
                Err(error @ CallError::AlreadyExists(_)) => taken = error,
                Err(error) => {
                    if error.is_ambiguous() {
                        self.note_unanswered(work, node, &name);
                    }
                    return Err(error);
                }
            }
            match self.find_own(work, node, &name, node_name).await? {
                Taken::ByOurs(made, its_hash) => {
                    self.note_created(work, node, &name, its_hash, &made);
                    return Ok(name);
                }
                // What was decided without this pod is decided anew: the stores know it now.
                Taken::ByKnown if is_repeated => {
                    self.overlay.create_settled(daemonset.uid, node);
                    return Err(taken);
                }
                Taken::ByKnown | Taken::ByOther => self.overlay.create_settled(daemonset.uid, node),
                Taken::NoMore => {}
            }
        }
        Err(taken)
    }

    fn note_created(
        &self,
        work: &Work,
        node: NodeSlot,
        name: &str,
        hash: Arc<str>,
        (uid, version): &(Uid, u64),
    ) {
        let pod = CreatedPod {
            uid: *uid,
            name: name.into(),
            node,
            hash,
            at: self.clock.now(),
        };
        self.overlay.created(work.daemonset.uid, pod, *version);
    }

    fn note_unanswered(&self, work: &Work, node: NodeSlot, name: &str) {
        let sent = SentCreate {
            name: name.to_owned(),
            at: self.clock.now(),
        };
        self.overlay.maybe_created(work.daemonset.uid, node, sent);
    }

    /// Uid and version of a pod in an answer to its POST. One that cannot be read is no answer.
    fn read_made(
        &self,
        work: &Work,
        node: NodeSlot,
        name: &str,
        body: &[u8],
    ) -> Result<(Uid, u64), CallError> {
        let read = || {
            let made: Made = serde_json::from_slice(body).map_err(|e| unreadable(name, &e))?;
            let uid = made.metadata.uid().map_err(|e| unreadable(name, &e))?;
            Ok((uid, made.metadata.version()))
        };
        read().inspect_err(|_| self.note_unanswered(work, node, name))
    }

    /// Who has this name? Perhaps a pod that we just created without getting an answer.
    async fn find_own(
        &self,
        work: &Work,
        node: NodeSlot,
        name: &str,
        node_name: &str,
    ) -> Result<Taken, CallError> {
        let owner = work.daemonset.uid;
        let call = Call::object(Verb::Get, Resource::Pods, Some(&work.daemonset.namespace), name);
        let body = match self.api.send(call).await {
            Ok(body) => body,
            Err(CallError::NotFound(_)) => return Ok(Taken::NoMore),
            Err(error) => {
                self.note_unanswered(work, node, name);
                return Err(error);
            }
        };
        let mut names = NodeNames::default();
        let wire: PodWire = serde_json::from_slice(&body).map_err(|e| unreadable(name, &e))?;
        let pod = wire.view(&mut names).map_err(|e| unreadable(name, &e))?;
        let is_ours = pod.controller.is_some_and(|controller| controller.uid == owner)
            && pod.node.is_some_and(|slot| names.name(slot) == node_name);
        if !is_ours {
            return Ok(Taken::ByOther);
        }
        let is_new = self.stores.read().pod(pod.uid).is_none() && !self.overlay.has_created(owner, pod.uid);
        match pod.revision_hash() {
            Some(hash) if is_new && !pod.is_terminating() => {
                Ok(Taken::ByOurs((pod.uid, pod.resource_version), hash.into()))
            }
            _ => {
                self.stores.written(Resource::Pods, &body);
                Ok(Taken::ByKnown)
            }
        }
    }

    async fn delete_pod(&self, work: &Work, action: &Action) -> Result<(), CallError> {
        let Action::DeletePod {
            name,
            uid,
            resource_version,
            node,
            why,
        } = action
        else {
            return Ok(());
        };
        let doomed = Doomed {
            name,
            uid: *uid,
            version: *resource_version,
            node: *node,
            why: why.as_str(),
        };
        let result = self.send_delete(&work.whom, doomed).await;
        match &result {
            Ok(true) => self.tell(
                &work.whom,
                false,
                reasons::SUCCESSFUL_DELETE,
                format!("Deleted pod: {name}"),
            ),
            Ok(false) | Err(CallError::Conflict(_) | CallError::LeaseLost) => {}
            Err(error) => self.tell(
                &work.whom,
                true,
                reasons::FAILED_DELETE,
                format!("Error deleting: {error}"),
            ),
        }
        result.map(drop)
    }

    /// Deletes a pod, and notes what that means for the budget. `false`: it was gone already, which is what was wanted.
    pub(super) async fn send_delete(&self, whom: &Whom, pod: Doomed<'_>) -> Result<bool, CallError> {
        let mut preconditions = json!({ "uid": pod.uid.to_string() });
        if let Some(version) = pod.version {
            preconditions["resourceVersion"] = json!(version.to_string());
        }
        let call = Call::object(Verb::Delete, Resource::Pods, Some(whom.namespace()), pod.name)
            .with_body(delete_options(&preconditions));
        let result = self.api.send(call).await;
        let sent = SentDelete {
            name: Arc::clone(pod.name),
            uid: pod.uid,
            version: pod.version,
            node: pod.node,
            at: self.clock.now(),
        };
        self.note_delete(whom, sent, result.as_ref().map(drop)).await?;
        let workload = &*whom.about.name;
        match result {
            Ok(_) => {
                info!(workload, pod = &**pod.name, why = pod.why, "pod deleted");
                Ok(true)
            }
            Err(CallError::NotFound(_)) => Ok(false),
            Err(error) => {
                let is_news = matches!(error, CallError::Conflict(_) | CallError::LeaseLost);
                if !is_news && error.missing_right().is_none() {
                    warn!(workload, pod = &**pod.name, %error, "pod not deleted");
                }
                Err(error)
            }
        }
    }

    pub(super) async fn adopt(
        &self,
        whom: &Whom,
        object: OwnedObject,
        name: &str,
        uid: Uid,
    ) -> Result<(), CallError> {
        let owners = json!([whom.owner_reference()]);
        self.patch_owners(whom, object, name, uid, &owners).await
    }

    pub(super) async fn release(
        &self,
        whom: &Whom,
        object: OwnedObject,
        name: &str,
        uid: Uid,
    ) -> Result<(), CallError> {
        let owners = json!([{ "$patch": "delete", "uid": whom.uid().to_string() }]);
        match self.patch_owners(whom, object, name, uid, &owners).await {
            Err(CallError::NotFound(_)) => Ok(()),
            result => result,
        }
    }

    async fn patch_owners(
        &self,
        whom: &Whom,
        object: OwnedObject,
        name: &str,
        uid: Uid,
        owners: &Value,
    ) -> Result<(), CallError> {
        let resource = match object {
            OwnedObject::Pod => Resource::Pods,
            OwnedObject::Revision => Resource::ControllerRevisions,
        };
        let body = json!({ "metadata": { "uid": uid.to_string(), "ownerReferences": owners } });
        self.patch(whom, Verb::StrategicPatch, resource, name, body).await
    }

    pub(super) async fn relabel_pod(
        &self,
        whom: &Whom,
        name: &str,
        uid: Uid,
        hash: &str,
    ) -> Result<(), CallError> {
        let body = json!({ "metadata": {
            "uid": uid.to_string(),
            "labels": { (keys::REVISION_HASH): hash },
        } });
        self.patch(whom, Verb::MergePatch, Resource::Pods, name, body)
            .await
    }

    /// Patches an object of the workload's namespace and takes in the answer.
    pub(super) async fn patch(
        &self,
        whom: &Whom,
        verb: Verb,
        resource: Resource,
        name: &str,
        body: Value,
    ) -> Result<(), CallError> {
        let call = Call::object(verb, resource, Some(whom.namespace()), name)
            .with_query("fieldManager", FIELD_MANAGER)
            .with_body(body);
        let answer = self.api.send(call).await?;
        self.stores.written(resource, &answer);
        Ok(())
    }

    /// `<workload>-` and five characters, cut so that it stays a legal host name. Source: daemonset.md A4.
    fn pod_name(&self, daemonset: &str) -> String {
        let mut rng = self.suffixes.lock().unwrap_or_else(PoisonError::into_inner);
        let room = (LONGEST_NAME - SUFFIX - 1).min(daemonset.len());
        let base = daemonset.get(..room).unwrap_or(daemonset);
        let mut name = format!("{}-", base.trim_end_matches(['-', '.']));
        for _ in 0..SUFFIX {
            let at = rng.random_range(0..keys::SAFE_ALPHABET.len());
            name.push_str(keys::SAFE_ALPHABET.get(at..=at).unwrap_or_default());
        }
        name
    }
}

/// A pod that is to be deleted.
#[derive(Clone, Copy)]
pub(super) struct Doomed<'a> {
    pub(super) name: &'a Arc<str>,
    pub(super) uid: Uid,
    /// The version that was decided on, where a changed pod must not be deleted.
    pub(super) version: Option<u64>,
    pub(super) node: Option<NodeSlot>,
    /// Why, for logs.
    pub(super) why: &'static str,
}

/// What is read of a pod where only its identity matters.
#[derive(Deserialize)]
pub(super) struct Made {
    pub(super) metadata: MetaWire,
}

pub(super) fn delete_options(preconditions: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions })
}

pub(super) fn unreadable(pod: &str, problem: &dyn std::fmt::Display) -> CallError {
    CallError::Unreadable {
        what: format!("Pod {pod}"),
        problem: problem.to_string(),
    }
}
