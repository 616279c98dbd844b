//! Plans for images that are pulled ahead.

use std::sync::Arc;

use bytes::Bytes;
use pitstop_api::view::{ImagePullJobView, NodeImageView, SecretReference};
use pitstop_api::{keys, reasons};
use pitstop_engine::predownload::job::{self, Action};
use pitstop_engine::predownload::node;
use pitstop_engine::predownload::secret::{self, Step as SecretStep, copy_of};
use pitstop_engine::predownload::trigger::{NewJob, Revision, Step};
use serde_json::{Value, json};

use super::pods::delete_options;
use super::{Executor, Outcome, Whom};
use crate::api::{Call, CallError, FIELD_MANAGER, Resource, Verb};

/// A plan for an ImagePullJob.
#[derive(Debug)]
pub struct PullJobWork {
    /// Whose it is.
    pub whom: Whom,
    /// The job as it was decided on.
    pub job: Arc<ImagePullJobView>,
    /// What to do.
    pub plan: job::Plan,
}

impl Executor {
    /// Does what the plan says, and then writes the status if it differs.
    pub async fn carry_out_pull_job(&self, work: &PullJobWork) -> Outcome {
        let mut outcome = Outcome::default();
        for action in &work.plan.actions {
            let (kind, result) = match action {
                Action::AddFinalizer(finalizers) => {
                    ("hold_pull_job", self.write_finalizers(work, finalizers).await)
                }
                Action::Release(finalizers) => ("release_pull_job", self.release_job(work, finalizers).await),
                Action::Delete => (
                    "delete_pull_job",
                    self.delete_pull_job(&work.whom, &work.job).await,
                ),
                Action::Want {
                    node,
                    uid,
                    resource_version,
                    patch,
                } => {
                    let mut body = patch.clone();
                    body["metadata"] = json!({
                        "uid": uid.to_string(), "resourceVersion": resource_version.to_string(),
                    });
                    let call = node_image(Verb::MergePatch, node).with_body(body);
                    ("want_image", self.write(call).await)
                }
            };
            self.count(&work.whom, kind, &result);
            outcome.add(result);
        }
        let Some(status) = work.plan.status.as_ref().filter(|_| outcome.failure.is_none()) else {
            return outcome;
        };
        let to_value = |status| serde_json::to_value(status).unwrap_or_default();
        let mut body = to_value(status);
        if let (Some(body), Value::Object(before)) = (body.as_object_mut(), to_value(&work.job.status)) {
            // What the API leaves out has to be removed by name.
            for (key, _) in before {
                body.entry(key).or_insert(Value::Null);
            }
        }
        let patch = self.patch_status(
            &work.whom,
            Resource::ImagePullJobs,
            work.job.resource_version,
            &body,
        );
        let result = patch.await.map(drop);
        self.count(&work.whom, "status", &result);
        outcome.add(result);
        outcome
    }

    async fn write_finalizers(&self, work: &PullJobWork, finalizers: &[String]) -> Result<(), CallError> {
        let body = json!({ "metadata": {
            "uid": work.job.uid.to_string(), "resourceVersion": work.job.resource_version.to_string(),
            "finalizers": finalizers,
        } });
        let name = &work.whom.about.name;
        self.patch(&work.whom, Verb::MergePatch, Resource::ImagePullJobs, name, body)
            .await
    }

    /// The copies of its secrets are let go of first: afterwards nobody would know of them.
    async fn release_job(&self, work: &PullJobWork, finalizers: &[String]) -> Result<(), CallError> {
        let job = &work.job;
        for name in &job.spec.pull_secrets {
            let reference = copy_of(&job.namespace, name);
            let Some(copy) = self.read_secret(&reference.namespace, &reference.name).await? else {
                continue;
            };
            self.write_copy(&reference, secret::release(&copy, job.uid))
                .await?;
        }
        self.write_finalizers(work, finalizers).await
    }

    /// Copies the secrets of a job to where nodes may read them, and says which copies those are. A secret that is not
    /// there is told, and left out.
    ///
    /// # Errors
    /// One of them cannot be read, or its copy not be written.
    pub async fn sync_secrets(
        &self,
        whom: &Whom,
        job: &ImagePullJobView,
    ) -> Result<Vec<SecretReference>, CallError> {
        let mut copies = Vec::new();
        for name in &job.spec.pull_secrets {
            let Some(source) = self.read_secret(&job.namespace, name).await? else {
                let message = format!(
                    "secret {}/{name} is not there; the image is pulled without it",
                    job.namespace
                );
                self.tell(whom, true, reasons::MISSING_SECRET, message);
                continue;
            };
            let reference = copy_of(&job.namespace, name);
            let copy = self.read_secret(&reference.namespace, &reference.name).await?;
            let step = secret::sync(&source, copy.as_ref(), job.uid);
            self.write_copy(&reference, step).await?;
            copies.push(reference);
        }
        Ok(copies)
    }

    async fn read_secret(&self, namespace: &str, name: &str) -> Result<Option<Value>, CallError> {
        let call = Call::object(Verb::Get, Resource::Secrets, Some(namespace), name);
        match self.api.send(call).await {
            Ok(answer) => serde_json::from_slice(&answer)
                .map(Some)
                .map_err(|error| CallError::Unreadable {
                    what: format!("Secret {namespace}/{name}"),
                    problem: error.to_string(),
                }),
            Err(CallError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write_copy(&self, copy: &SecretReference, step: SecretStep) -> Result<(), CallError> {
        let namespace = Some(copy.namespace.as_str());
        let named = |verb| Call::object(verb, Resource::Secrets, namespace, &copy.name);
        let call = match step {
            SecretStep::Nothing => return Ok(()),
            SecretStep::Create(manifest) => Call::collection(Verb::Create, Resource::Secrets, namespace)
                .with_query("fieldManager", FIELD_MANAGER)
                .with_body(manifest),
            SecretStep::Patch(patch) => named(Verb::MergePatch)
                .with_query("fieldManager", FIELD_MANAGER)
                .with_body(patch),
            SecretStep::Delete => named(Verb::Delete),
        };
        match self.api.send(call).await {
            Ok(_) | Err(CallError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes a job. One that is gone is as wanted.
    async fn delete_pull_job(&self, whom: &Whom, job: &ImagePullJobView) -> Result<(), CallError> {
        let options = delete_options(&json!({ "uid": job.uid.to_string() }));
        let call = Call::object(
            Verb::Delete,
            Resource::ImagePullJobs,
            Some(whom.namespace()),
            &job.name,
        );
        match self.api.send(call.with_body(options)).await {
            Ok(_) | Err(CallError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes for a NodeImage.
    pub async fn carry_out_node_image(
        &self,
        whom: &Whom,
        image: Option<&NodeImageView>,
        plan: &node::Plan,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let name = &*whom.about.name;
        let exactly = |body: &Value| {
            let mut body = body.clone();
            if let Some(image) = image {
                body["metadata"]["uid"] = image.uid.to_string().into();
                body["metadata"]["resourceVersion"] = image.resource_version.to_string().into();
            }
            body
        };
        for action in &plan.actions {
            let (kind, call) = match action {
                node::Action::Create(manifest) => (
                    "create_node_image",
                    Call::collection(Verb::Create, Resource::NodeImages, None)
                        .with_query("fieldManager", FIELD_MANAGER)
                        .with_body(manifest.clone()),
                ),
                node::Action::Delete(uid) => (
                    "delete_node_image",
                    Call::object(Verb::Delete, Resource::NodeImages, None, name)
                        .with_body(delete_options(&json!({ "uid": uid.to_string() }))),
                ),
                node::Action::Patch(body) => (
                    "patch_node_image",
                    node_image(Verb::MergePatch, name).with_body(exactly(body)),
                ),
                node::Action::PatchStatus(status) => {
                    let body = exactly(&json!({ "status": status }));
                    (
                        "judge_node_image",
                        node_image(Verb::MergePatch, name).status().with_body(body),
                    )
                }
            };
            let result = match self.write(call).await {
                Err(CallError::NotFound(_)) => Ok(()),
                result => result,
            };
            self.count(whom, kind, &result);
            outcome.add(result);
            if !outcome.is_ok() {
                // The version that the next one names is not the live one any more.
                break;
            }
        }
        outcome
    }

    /// Jobs that pull the images of a workload ahead. What fails here holds nothing else up: it is told, and tried again
    /// with the next pass.
    pub async fn carry_out_pre_download(&self, whom: &Whom, step: &Step) -> Outcome {
        let mut outcome = Outcome::default();
        match step {
            Step::Nothing => {}
            Step::DeleteJobs(jobs) => {
                for (name, uid) in jobs {
                    let options = delete_options(&json!({ "uid": uid.to_string() }));
                    let namespace = Some(whom.namespace());
                    let call = Call::object(Verb::Delete, Resource::ImagePullJobs, namespace, name);
                    let result = match self.api.send(call.with_body(options)).await {
                        Ok(_) | Err(CallError::NotFound(_)) => Ok(()),
                        Err(error) => Err(error),
                    };
                    self.count(whom, "delete_pull_job", &result);
                    note(&mut outcome, &result);
                }
            }
            Step::Ignore(revision) => {
                let result = self
                    .mark(whom, revision, json!({ keys::PRE_DOWNLOAD_IGNORED: "true" }))
                    .await;
                note(&mut outcome, &result);
            }
            Step::Create(revision, jobs) => {
                let mut are_there = true;
                for job in jobs {
                    let result = self.create_pull_job(whom, job).await;
                    self.count(whom, "create_pull_job", &result);
                    are_there &= result.is_ok();
                    note(&mut outcome, &result);
                }
                // Only when all are there (13.16).
                if are_there {
                    let marks =
                        json!({ keys::PRE_DOWNLOAD_CREATED: "true", keys::PRE_DOWNLOAD_IGNORED: null });
                    let result = self.mark(whom, revision, marks).await;
                    note(&mut outcome, &result);
                }
            }
        }
        outcome
    }

    async fn create_pull_job(&self, whom: &Whom, job: &NewJob) -> Result<(), CallError> {
        let namespace = Some(whom.namespace());
        let call = Call::collection(Verb::Create, Resource::ImagePullJobs, namespace)
            .with_query("fieldManager", FIELD_MANAGER)
            .with_body(job.manifest.clone());
        let (name, image) = (&job.name, &job.image);
        match self.api.send(call).await {
            Ok(answer) => {
                self.stores.written(Resource::ImagePullJobs, &answer);
                let message = format!("created ImagePullJob {name} for image: {image}");
                self.tell(whom, false, reasons::CREATED_IMAGE_PULL_JOB, message);
                Ok(())
            }
            Err(CallError::AlreadyExists(_)) => Ok(()),
            Err(error) if error.is_namespace_terminating() => Ok(()),
            Err(error) => {
                let message = format!("failed to create ImagePullJob {name}: {error}");
                // Differs from upstream, which tells it as Normal (cloneset.md 18.26).
                self.tell(whom, true, reasons::FAILED_CREATE_IMAGE_PULL_JOB, message);
                Err(error)
            }
        }
    }

    /// Notes on a revision what came of pulling its images ahead.
    async fn mark(&self, whom: &Whom, revision: &Revision, marks: Value) -> Result<(), CallError> {
        let body = json!({ "metadata": { "uid": revision.uid.to_string(), "labels": marks } });
        let result = self
            .patch(
                whom,
                Verb::MergePatch,
                Resource::ControllerRevisions,
                &revision.name,
                body,
            )
            .await;
        self.count(whom, "mark_revision", &result);
        result
    }

    async fn write(&self, call: Call) -> Result<(), CallError> {
        let (resource, is_deletion) = (call.resource, call.verb == Verb::Delete);
        let answer: Bytes = self.api.send(call).await?;
        if !is_deletion {
            self.stores.written(resource, &answer);
        }
        Ok(())
    }
}

fn node_image(verb: Verb, name: &str) -> Call {
    Call::object(verb, Resource::NodeImages, None, name).with_query("fieldManager", FIELD_MANAGER)
}

/// Takes in how a write went that may fail.
fn note(outcome: &mut Outcome, result: &Result<(), CallError>) {
    match result {
        Ok(()) => outcome.n_written += 1,
        Err(_) => outcome.again_in = Some(RETRY_AFTER),
    }
}

/// How soon what failed is tried again.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(10);
