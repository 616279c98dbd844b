//! What the agent of a node does about the containers of a pod: it tells what runs, and has a container started again
//! whose environment is older than the metadata that it is made of.
//!
//! Where OpenKruise runs, its own agents do this; simulated nodes have this one. Source: inplace.md 2.3, 6.3.

use std::collections::BTreeMap;
use std::sync::Arc;

use pitstop_api::view::{ContainerSpec, ContainerState, OwnerKind};

use super::Live;
use super::hash::{container_hash, env_hash, go_json};
pub use super::report::Hashes;
use super::report::Report;

/// What runs, by container ID: none changes while its container runs.
pub type Known = BTreeMap<String, Hashes>;

/// A container by its name and its ID.
pub type Named = (Arc<str>, Arc<str>);

/// What there is to do about a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Containers that the runtime has to be asked about first. Nothing is reported before that.
    pub unread: Vec<Named>,
    /// Annotation `apps.kruise.io/runtime-containers-meta`, where it is to say something else.
    pub report: Option<String>,
    /// Containers that have to start again.
    pub outdated: Vec<Named>,
}

/// Looks at a pod.
///
/// Differs from upstream, whose agents tell of every pod of its workloads: only those are told of that have a container
/// which reads labels or annotations. Of others nobody needs to know.
pub fn look(live: Live<'_>, known: &Known) -> Look {
    let owner = live.pod.controller.map(|owner| owner.kind);
    let is_kruise = matches!(
        owner,
        Some(OwnerKind::CloneSet | OwnerKind::StatefulSet | OwnerKind::AdvancedDaemonSet)
    );
    let containers = &live.view.spec.containers;
    if !is_kruise || containers.iter().all(|container| container.env.is_empty()) {
        return Look::default();
    }
    // One that cannot be read is written anew.
    let before = Report::of(live).ok().flatten().unwrap_or_default();
    let is_closed = live
        .view
        .update_ready
        .as_ref()
        .is_some_and(|gate| !gate.is_true());
    let mut look = Look::default();
    let mut now = Report::default();
    for container in containers {
        let status = live.view.status(&container.name);
        let Some(status) = status.filter(|status| !status.container_id.is_empty()) else {
            continue;
        };
        let named = || (Arc::clone(&container.name), Arc::clone(&status.container_id));
        let is_running = matches!(status.state, ContainerState::Running { .. });
        let told = before.hashes_of(status);
        match told.or_else(|| known.get(&*status.container_id).copied()) {
            Some(hashes) => {
                if is_running && is_closed && !hashes.have_env_of(live, container) {
                    look.outdated.push(named());
                }
                now.tell(status, hashes);
            }
            None if is_running => look.unread.push(named()),
            None => {}
        }
    }
    if look.unread.is_empty() && now != before {
        look.report = Some(go_json(&now));
    }
    look
}

/// What runs: a container that was started with this image and this environment.
pub fn read(container: &ContainerSpec, image: &str, environment: &[(String, String)]) -> Hashes {
    let value = |name: &str| {
        let mut all = environment.iter();
        all.find_map(|(known, value)| (known == name).then_some(value.as_str()))
            .unwrap_or_default()
    };
    let mut variables: Vec<(&str, &str)> = container
        .env
        .iter()
        .map(|env| (&*env.name, value(&env.name)))
        .collect();
    variables.sort_by_key(|(name, _)| *name);
    Hashes {
        plain_hash: container_hash(&container.name, image).into(),
        extracted_env_from_metadata_hash: env_hash(&variables).into(),
    }
}
