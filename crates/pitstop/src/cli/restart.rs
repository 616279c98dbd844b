//! `pitstop restart`.

use anyhow::Context as _;
use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use pitstop_api::view::StrategyType;
use pitstop_api::{Clock as _, SystemClock, WorkloadKind, keys};
use pitstop_engine::daemonset::strategy::{self, Model};
use serde_json::{Value, json};

use crate::cli::held;
use crate::cli::target::{NamespaceArgs, Workload};
use crate::connect::ConnectArgs;
use crate::rollout::Found;
use crate::{failure, output, rollout};

/// Replace every pod of a workload, as its strategy allows
///
/// Marks the template, as `kubectl rollout restart` does. A CloneSet or StatefulSet that updates in place would only change
/// that mark on its pods: there each pod is marked to be replaced (label apps.kruise.io/specified-delete) instead, which keeps to
/// maxUnavailable too.
#[derive(Debug, Args)]
pub struct Restart {
    /// The workload, as ds/NAME, ads/NAME, clone/NAME or asts/NAME
    #[arg(value_name = "KIND/NAME")]
    pub name: Workload,
    /// Where to look.
    #[command(flatten)]
    pub scope: NamespaceArgs,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

impl Restart {
    /// Begins it.
    ///
    /// # Errors
    /// The workload is not there or is paused, or the API server refuses.
    pub async fn run(self) -> anyhow::Result<()> {
        let found = Found::at(&self.connect, &self.scope, &self.name).await?;
        let (name, title) = (&found.name, found.title());
        let objects = rollout::objects(&found.client, found.kind, &found.namespace);
        let object = objects.get(name).await;
        let object = serde_json::to_value(object.context("reading the workload")?)?;
        let rolling = &object["spec"]["updateStrategy"]["rollingUpdate"];
        if rolling["paused"] == true {
            return Err(failure::failed(
                format!("{title} is paused"),
                format!("let it go on first: pitstop resume {}/{name}", found.kind.short()),
            ));
        }
        if found.kind == WorkloadKind::AdvancedDaemonSet
            && rolling["rollingUpdateType"] == "InPlaceIfPossible"
        {
            return Err(failure::failed(
                format!(
                    "{title} updates its pods in place, and the mark of a restart would restart no container"
                ),
                "set updateStrategy.rollingUpdate.rollingUpdateType to Standard first",
            ));
        }
        let waits_for_hands = if found.kind == WorkloadKind::DaemonSet {
            expect_restarts(&object, &title)?
        } else {
            object["spec"]["updateStrategy"]["type"] == "OnDelete"
        };
        let policy = rolling["podUpdatePolicy"].as_str().unwrap_or_default();
        if found.kind != WorkloadKind::DaemonSet && policy.starts_with("InPlace") && !waits_for_hands {
            let n = mark_pods(&found.client, &found.namespace, &object).await?;
            return output::data(&format!("{title} restarted: {n} pods are marked to be replaced"));
        }
        let now = SystemClock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mark = |object: &mut Value| {
            let annotations = &mut object["spec"]["template"]["metadata"]["annotations"];
            annotations[keys::RESTARTED_AT] = now.as_str().into();
            Ok(())
        };
        found.change(mark).await?;
        output::data(&if waits_for_hands {
            format!("{title} is marked: its pods are replaced when somebody deletes them (OnDelete)")
        } else {
            format!("{title} restarted")
        })
    }
}

/// Of a DaemonSet of `apps`: is it for people to delete the pods that the mark of a restart makes outdated?
///
/// # Errors
/// The mark would restart nothing, or not now.
fn expect_restarts(object: &Value, title: &str) -> anyhow::Result<bool> {
    let view = held::view_of(object)?;
    let name = &view.name;
    let annotation = |key| view.annotations.get(key).map_or("", |value| value.trim());
    match strategy::read(&view).model {
        Model::Native => Ok(view.strategy.kind == StrategyType::OnDelete),
        Model::AdvancedRollingUpdate if annotation(keys::PAUSED) == "true" => Err(failure::failed(
            format!("{title} is paused"),
            format!("let it go on first: pitstop resume ds/{name}"),
        )),
        Model::AdvancedRollingUpdate if annotation(keys::POD_UPDATE_POLICY).starts_with("InPlace") => {
            Err(failure::failed(
                format!(
                    "{title} updates its pods in place, and the mark of a restart would restart no container"
                ),
                format!("set annotation {} to ReCreate first", keys::POD_UPDATE_POLICY),
            ))
        }
        Model::AdvancedRollingUpdate | Model::Ota | Model::Invalid => Ok(false),
    }
}

/// Marks every pod of a workload to be replaced, and says how many there are.
async fn mark_pods(client: &Client, namespace: &str, workload: &Value) -> anyhow::Result<usize> {
    let uid = workload["metadata"]["uid"].as_str();
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = api.list(&ListParams::default()).await.context("listing pods")?;
    let is_owned = |pod: &&Pod| {
        let mut owners = pod.owner_references().iter();
        pod.metadata.deletion_timestamp.is_none()
            && owners.any(|owner| owner.controller == Some(true) && Some(owner.uid.as_str()) == uid)
    };
    let mut n_marked = 0;
    for pod in pods.iter().filter(is_owned) {
        let name = pod.name_any();
        let patch =
            json!({"metadata": {"uid": pod.metadata.uid, "labels": {(keys::SPECIFIED_DELETE): "true"}}});
        match api
            .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
        {
            Ok(_) => n_marked += 1,
            // Gone in the meantime, or another pod has its name: that one is new.
            Err(kube::Error::Api(refusal)) if [404, 409].contains(&refusal.code) => {}
            Err(error) => return Err(error).with_context(|| format!("marking pod {name}")),
        }
    }
    Ok(n_marked)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mark of a restart replaces pods, is left to people, or is refused where it would do nothing.
    #[test]
    fn a_restart_says_what_it_does() {
        let model = keys::OPENYURT_UPDATE_STRATEGY;
        let advanced = |key: &str, value: &str| json!({ (model): "AdvancedRollingUpdate", (key): value });
        for (kind, annotations, want) in [
            ("RollingUpdate", json!({}), Ok(false)),
            ("OnDelete", json!({}), Ok(true)),
            ("OnDelete", advanced("x", "y"), Ok(false)),
            (
                "OnDelete",
                advanced(keys::POD_UPDATE_POLICY, "ReCreate"),
                Ok(false),
            ),
            (
                "OnDelete",
                advanced(keys::POD_UPDATE_POLICY, "InPlaceOnly"),
                Err("would restart no container"),
            ),
            (
                "OnDelete",
                advanced(keys::POD_UPDATE_POLICY, "InPlaceIfPossible"),
                Err("would restart no container"),
            ),
            ("OnDelete", advanced(keys::PAUSED, "true"), Err("is paused")),
            // Without the model the key has no effect.
            (
                "OnDelete",
                json!({ (keys::POD_UPDATE_POLICY): "InPlaceOnly" }),
                Ok(true),
            ),
        ] {
            let object = json!({
                "metadata": {
                    "name": "agent", "namespace": "edge", "uid": "00000000-0000-0000-0000-000000000001",
                    "annotations": annotations,
                },
                "spec": { "selector": {}, "template": { "spec": {} }, "updateStrategy": { "type": kind } },
            });
            match (expect_restarts(&object, "ds/agent"), want) {
                (Ok(is), Ok(want)) => assert_eq!(is, want, "{kind} {annotations}"),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
                (is, _) => panic!("{kind} {annotations}: {is:?}"),
            }
        }
    }
}
