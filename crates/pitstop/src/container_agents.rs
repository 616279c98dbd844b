//! The agents that look after the environment of containers, one for each simulated node: they tell in an annotation of a
//! pod what runs in it, and have a container started again whose environment is older than the labels and annotations that
//! it is made of.
//!
//! What an agent does is decided by [`pitstop_engine::inplace::agent`]. Source: inplace.md 2.3, 6.3.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use kube::Client;
use pitstop_api::keys;
use pitstop_api::view::{NodeNames, PodWire};
use pitstop_cluster::informer;
use pitstop_cluster::node::{Containers, PodName};
use pitstop_engine::inplace::Live;
use pitstop_engine::inplace::agent::{Known, look, read};
use serde_json::json;
use tokio::task::JoinSet;
use tracing::debug;

/// After what went wrong, a pod is looked at again this much later. Source: inplace.md 2.3.
const RETRY: Duration = Duration::from_secs(3);
/// Pods that are looked at at once.
const AT_ONCE: usize = 16;

/// Is all of them, for all simulated nodes of a fleet, as long as it is polled. Waits are `time_scale` times shorter.
pub async fn run(client: Client, containers: Containers, time_scale: f64) {
    let mut changed = containers.pods().await;
    let retry = Duration::try_from_secs_f64(RETRY.as_secs_f64() / time_scale).unwrap_or(RETRY);
    let mut waiting: BTreeSet<PodName> = BTreeSet::new();
    let mut busy: BTreeSet<PodName> = BTreeSet::new();
    let mut work: JoinSet<(PodName, bool)> = JoinSet::new();
    let mut rests: JoinSet<PodName> = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(done) = work.join_next() => {
                let Ok((pod, is_done)) = done else { continue };
                busy.remove(&pod);
                if !is_done {
                    rests.spawn(async move {
                        tokio::time::sleep(retry).await;
                        pod
                    });
                }
            }
            Some(Ok(pod)) = rests.join_next() => drop(waiting.insert(pod)),
            pod = changed.recv() => match pod {
                Some(pod) => drop(waiting.insert(pod)),
                None => return,
            }
        }
        while busy.len() < AT_ONCE {
            let Some(pod) = waiting.iter().find(|pod| !busy.contains(pod)).cloned() else {
                break;
            };
            waiting.remove(&pod);
            busy.insert(pod.clone());
            let (client, containers) = (client.clone(), containers.clone());
            work.spawn(async move {
                let looked = attend(&client, &containers, &pod).await;
                if let Err(problem) = &looked {
                    debug!(
                        problem,
                        pod = pod.name,
                        namespace = pod.namespace,
                        "not looked after"
                    );
                }
                (pod, looked.is_ok())
            });
        }
    }
}

/// Looks at a pod once, and does what there is to do.
async fn attend(client: &Client, containers: &Containers, pod: &PodName) -> Result<(), String> {
    let path = format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name);
    let pod_now = match informer::request(client, Method::GET, &path, None, None).await {
        Ok(found) => found,
        // It is gone, and there is nothing to look after.
        Err(error) if informer::is_status(&error, 404) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    let read_pod: PodWire = serde_json::from_value(pod_now).map_err(|error| error.to_string())?;
    let uid = read_pod.metadata.uid.clone();
    let view = read_pod.view(&mut NodeNames::default());
    let view = view.map_err(|error| error.to_string())?;
    let Some(live) = Live::of(&view) else {
        return Ok(());
    };
    let mut known = Known::new();
    let mut seen = look(live, &known);
    for (name, id) in std::mem::take(&mut seen.unread) {
        let runs = containers
            .inspect(pod, &name)
            .await
            .map_err(|error| error.to_string())?;
        // Another one has been started since: the pod is going to say so.
        let container = live.view.container(&name).filter(|_| *runs.id == *id);
        if let Some(container) = container {
            known.insert(runs.id, read(container, &runs.image, &runs.environment));
        }
    }
    if !known.is_empty() {
        seen = look(live, &known);
    }
    if let Some(report) = &seen.report {
        let body = json!({"metadata": {
            "uid": uid,
            "annotations": {(keys::RUNTIME_CONTAINERS): report},
        }});
        let strategic = Some("application/strategic-merge-patch+json");
        let status = format!("{path}/status");
        let written = informer::request(client, Method::PATCH, &status, strategic, Some(&body)).await;
        written.map_err(|error| error.to_string())?;
    }
    for (name, id) in &seen.outdated {
        // One that is stopping already, or has been replaced since, is no problem.
        if let Err(error) = containers.stop(pod, name, id).await {
            debug!(%error, pod = pod.name, container = %name, "not stopped");
        }
    }
    Ok(())
}
