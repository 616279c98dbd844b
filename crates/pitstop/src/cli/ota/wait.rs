//! Waiting until what was asked for has happened.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::failure;
use crate::hub_client::{Done, HubClient, PodRow};
use crate::output::talk;

/// How often a waiting command looks again.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Waits until the successor of a pod is ready.
pub(super) async fn upgraded(
    hub: &HubClient,
    before: &[PodRow],
    (namespace, name): (&str, &str),
    done: &Done,
    deadline: Instant,
) -> anyhow::Result<()> {
    let old = before
        .iter()
        .find(|pod| pod.namespace == namespace && pod.name == name);
    let mut told = String::new();
    loop {
        let state = match &done.intent {
            Some(id) => Some(hub.intent(id).await?),
            None => None,
        };
        if let Some(intent) = state
            .as_ref()
            .filter(|intent| intent.has_ended() && intent.state != "Succeeded")
        {
            return Err(failure::failed(
                format!(
                    "the upgrade of pod \"{name}\" ended as {}: {}",
                    intent.state, intent.reason
                ),
                "see what waits now with `pitstop ota list`",
            ));
        }
        let has_begun = state
            .as_ref()
            .is_none_or(|intent| !intent.state.starts_with("Pending"));
        let pods = hub.pods().await?;
        let phase = if has_begun {
            match phase(&pods, old, namespace, name) {
                Phase::Ready(successor) => {
                    talk(&format!("pod/{name}: replaced by {successor}, which is ready"));
                    return Ok(());
                }
                Phase::Starting(successor) => format!("{successor} is starting"),
                Phase::Going => "it is going".to_owned(),
                Phase::Gone => "it is gone, its successor is not there yet".to_owned(),
            }
        } else {
            state.map_or_else(String::new, |intent| format!("waits: {}", intent.state))
        };
        if phase != told {
            talk(&format!("pod/{name}: {phase}"));
            told = phase;
        }
        if Instant::now() >= deadline {
            return Err(failure::timed_out(
                format!("pod \"{name}\" is not upgraded yet: {told}"),
                "it goes on by itself; watch it with `pitstop ota list` and `pitstop ota pending`",
            ));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// How far a replacement is.
#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Going,
    Gone,
    Starting(String),
    Ready(String),
}

/// The successor is the pod of the same owner that was not there before.
fn phase(pods: &[PodRow], old: Option<&PodRow>, namespace: &str, name: &str) -> Phase {
    let is_old = |pod: &PodRow| match old {
        Some(old) => pod.uid == old.uid,
        None => pod.namespace == namespace && pod.name == name,
    };
    if pods.iter().any(is_old) {
        return Phase::Going;
    }
    let Some(old) = old else { return Phase::Gone };
    let mut successors = pods
        .iter()
        .filter(|pod| pod.namespace == old.namespace && pod.owner == old.owner);
    match successors.next() {
        Some(pod) if pod.is_ready => Phase::Ready(pod.name.clone()),
        Some(pod) => Phase::Starting(pod.name.clone()),
        None => Phase::Gone,
    }
}

/// Waits until the images for a pod are on the node.
pub(super) async fn pulled(
    hub: &HubClient,
    (namespace, name): (&str, &str),
    deadline: Instant,
) -> anyhow::Result<()> {
    let mut told = String::new();
    loop {
        let pods = hub.pods().await?;
        let Some(pod) = pods
            .iter()
            .find(|pod| pod.namespace == namespace && pod.name == name)
        else {
            return Err(failure::nothing_matched(
                format!("pod \"{name}\" is gone"),
                "see what is there with `pitstop ota list`",
            ));
        };
        match pod.image.as_str() {
            "pulled" => {
                talk(&format!("pod/{name}: its images are on the node"));
                return Ok(());
            }
            "failed" => {
                return Err(failure::failed(
                    format!("the images for pod \"{name}\" cannot be pulled: {}", pod.why),
                    "mend the image or the registry, and ask again",
                ));
            }
            image if image != told => {
                image.clone_into(&mut told);
                talk(&format!("pod/{name}: {told}"));
            }
            _ => {}
        }
        if Instant::now() >= deadline {
            return Err(failure::timed_out(
                format!("the images for pod \"{name}\" are not on the node yet"),
                "it goes on by itself; watch it with `pitstop ota list`",
            ));
        }
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, uid: &str, is_ready: bool) -> PodRow {
        PodRow {
            node: None,
            namespace: "default".into(),
            name: name.into(),
            uid: uid.into(),
            owner: "daemonset/agent".into(),
            needs_upgrade: false,
            is_ready,
            current: "1".into(),
            target: String::new(),
            image: "-".into(),
            state: String::new(),
            why: String::new(),
        }
    }

    #[test]
    fn a_replacement_goes_through_its_phases() {
        let old = pod("a", "1", true);
        let of = |pods: &[PodRow]| phase(pods, Some(&old), "default", "a");
        assert_eq!(of(std::slice::from_ref(&old)), Phase::Going);
        assert_eq!(of(&[]), Phase::Gone);
        assert_eq!(of(&[pod("b", "2", false)]), Phase::Starting("b".into()));
        assert_eq!(of(&[pod("b", "2", true)]), Phase::Ready("b".into()));
        assert_eq!(
            of(&[pod("a", "2", true)]),
            Phase::Ready("a".into()),
            "the same name, another pod"
        );
    }
}
