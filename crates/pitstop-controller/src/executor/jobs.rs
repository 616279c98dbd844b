//! Jobs that pull images ahead.

use pitstop_api::view::Uid;
use pitstop_engine::plan::JobFor;
use serde_json::json;
use tracing::info;

use super::pods::delete_options;
use super::{Executor, Whom};
use crate::api::{Call, CallError, FIELD_MANAGER, Resource, Verb};

impl Executor {
    /// Posts a Job. One of that name that is there already is news: the stores will show it.
    pub(super) async fn create_job(&self, whom: &Whom, job: &JobFor) -> Result<(), CallError> {
        let namespace = Some(whom.namespace());
        let call = Call::collection(Verb::Create, Resource::Jobs, namespace)
            .with_query("fieldManager", FIELD_MANAGER)
            .with_body(job.manifest.clone());
        let answer = self.api.send(call).await?;
        self.stores.written(Resource::Jobs, &answer);
        info!(pod = &*job.pod, job = &*job.name, "images are pulled ahead");
        Ok(())
    }

    pub(super) async fn delete_job(&self, whom: &Whom, name: &str, uid: Uid) -> Result<(), CallError> {
        let mut options = delete_options(&json!({ "uid": uid.to_string() }));
        options["propagationPolicy"] = json!("Background");
        let call =
            Call::object(Verb::Delete, Resource::Jobs, Some(whom.namespace()), name).with_body(options);
        match self.api.send(call).await {
            Ok(_) | Err(CallError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
