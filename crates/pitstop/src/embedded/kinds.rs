//! The kinds that pitstop brings, in a cluster of this process: the API server asks the webhooks without a socket.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::BoxFuture;
use futures::{StreamExt as _, pin_mut};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, WatchEvent, WatchParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use pitstop_cluster::{Cluster, WebhookService};
use pitstop_controller::webhook::{SERVICE, Webhooks};
use pitstop_controller::{Controller, KubeApi};
use pitstop_engine::feature_gates::FeatureGates;
use serde_json::{Value, json};

use crate::manifests::{self, kinds};

/// How long the server may take to serve a kind that it was told of.
const SERVED_WITHIN: Duration = Duration::from_secs(30);
/// Who we are in `managedFields`.
const MANAGER: &str = "pitstop-up";

/// The webhooks, as the API server of this process asks them.
struct Inside(Webhooks);

impl WebhookService for Inside {
    fn answer<'a>(&'a self, path: &'a str, review: &'a Value) -> BoxFuture<'a, Option<Value>> {
        Box::pin(self.0.answer(path, review))
    }
}

/// Tells the cluster of the kinds, and answers for them. Those of an earlier start are brought up to date. When this
/// returns, they are served.
///
/// # Errors
/// The cluster refuses a definition or a webhook, or does not serve the kinds in time.
pub async fn install(cluster: &Cluster, gates: &FeatureGates) -> anyhow::Result<()> {
    let client = cluster.client();
    // The simulated nodes resize containers that run.
    let webhooks =
        Webhooks::new(Arc::new(KubeApi::new(client.clone())), true).with_gates(gates.of_webhooks());
    cluster.answer_webhooks(manifests::NAMESPACE, SERVICE, Arc::new(Inside(webhooks)));
    let here = |path: &str| {
        let service = json!({"namespace": manifests::NAMESPACE, "name": SERVICE, "path": path});
        json!({"service": service})
    };
    let objects = [kinds::secrets_namespace()].into_iter();
    for object in objects.chain(kinds::objects(here, &Controller::ALL, manifests::NAMESPACE)) {
        apply(&client, object).await?;
    }
    for name in kinds::definitions(&Controller::ALL) {
        let served = tokio::time::timeout(SERVED_WITHIN, wait_until_served(&client, &name)).await;
        served.with_context(|| format!("waiting until {name} are served"))??;
    }
    Ok(())
}

async fn apply(client: &Client, object: Value) -> anyhow::Result<()> {
    let object: DynamicObject = serde_json::from_value(object)?;
    let types = object.types.clone().unwrap_or_default();
    let resource = ApiResource::from_gvk(&kind_of(&types)?);
    let name = object.metadata.name.clone().unwrap_or_default();
    let parameters = PatchParams::apply(MANAGER).force();
    Api::<DynamicObject>::all_with(client.clone(), &resource)
        .patch(&name, &parameters, &Patch::Apply(object))
        .await
        .with_context(|| format!("making {} {name}", types.kind))?;
    Ok(())
}

fn kind_of(types: &TypeMeta) -> anyhow::Result<GroupVersionKind> {
    GroupVersionKind::try_from(types).context("reading the type of a manifest")
}

async fn wait_until_served(client: &Client, name: &str) -> anyhow::Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let parameters = WatchParams::default().fields(&format!("metadata.name={name}"));
    let events = definitions.watch(&parameters, "0").await?;
    pin_mut!(events);
    while let Some(event) = events.next().await {
        if let WatchEvent::Added(definition) | WatchEvent::Modified(definition) = event?
            && is_established(&definition)
        {
            return Ok(());
        }
    }
    anyhow::bail!("the watch of definitions ended")
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == "Established" && condition.status == "True")
}
