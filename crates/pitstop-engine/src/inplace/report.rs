//! What an agent on the node says of the containers that run.
//!
//! Source: inplace.md 2.3, 6.2, 6.3.

use pitstop_api::keys;
use pitstop_api::view::{ContainerSpec, ContainerStatus, MetadataKey};
use serde::{Deserialize, Serialize};

use super::Live;
use super::hash::{container_hash, env_hash};

/// Annotation `apps.kruise.io/runtime-containers-meta`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    containers: Vec<Reported>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Reported {
    name: String,
    #[serde(rename = "containerID")]
    container_id: String,
    restart_count: i32,
    hashes: Hashes,
}

/// What an agent tells of a container that runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Hashes {
    /// Of what it was started from.
    pub(super) plain_hash: u64,
    /// Of the part of its environment that is made of labels and annotations; 0 while that is unknown.
    pub(super) extracted_env_from_metadata_hash: u64,
}

impl Hashes {
    /// Is the environment the one that the metadata of the pod gives the container? One that is unknown counts as such.
    pub(super) fn have_env_of(self, live: Live<'_>, container: &ContainerSpec) -> bool {
        let hash = self.extracted_env_from_metadata_hash;
        hash == 0 || hash == u64::from(expected_env(live, container))
    }
}

impl Report {
    /// The report about a pod; `None` where there is none.
    pub(super) fn of(live: Live<'_>) -> Result<Option<Self>, serde_json::Error> {
        let text = live.view.annotation(&[keys::RUNTIME_CONTAINERS]);
        text.map(serde_json::from_str).transpose()
    }

    /// What it tells of the container that a status is about, unless the environment is unknown.
    pub(super) fn hashes_of(&self, status: &ContainerStatus) -> Option<Hashes> {
        let is_this = |told: &&Reported| *told.container_id == *status.container_id;
        let told = self.containers.iter().find(is_this)?.hashes;
        (told.extracted_env_from_metadata_hash != 0).then_some(told)
    }

    /// Tells of a container.
    pub(super) fn tell(&mut self, status: &ContainerStatus, hashes: Hashes) {
        self.containers.push(Reported {
            name: status.name.to_string(),
            container_id: status.container_id.to_string(),
            restart_count: status.restart_count,
            hashes,
        });
    }

    /// Are all containers those that the spec describes? A hash of a kubelet before 1.31, which covers the whole
    /// container, is not recognised: it counts as unknown.
    pub(super) fn is_current(&self, live: Live<'_>) -> bool {
        self.agrees(live, |container, hashes| {
            hashes.plain_hash == u64::from(container_hash(&container.name, &container.image))
        })
    }

    /// Have all containers the environment that the metadata of the pod gives them?
    pub(super) fn has_current_env(&self, live: Live<'_>) -> bool {
        self.agrees(live, |container, hashes| {
            hashes.extracted_env_from_metadata_hash == u64::from(expected_env(live, container))
        })
    }

    fn agrees(&self, live: Live<'_>, agrees: impl Fn(&ContainerSpec, Hashes) -> bool) -> bool {
        live.view.spec.containers.iter().all(|container| {
            let status = live.view.status(&container.name);
            let reported = self.containers.iter().find(|r| *r.name == *container.name);
            status.zip(reported).is_some_and(|(status, reported)| {
                *status.container_id == *reported.container_id && agrees(container, reported.hashes)
            })
        })
    }
}

/// The hash of the environment that the metadata of the pod gives a container.
fn expected_env(live: Live<'_>, container: &ContainerSpec) -> u32 {
    let value = |key: &MetadataKey| match key {
        MetadataKey::Label(key) => live.pod.labels.get(key),
        MetadataKey::Annotation(key) => live.view.annotations.get(key),
    };
    let mut variables: Vec<(&str, &str)> = container
        .env
        .iter()
        .map(|env| (&*env.name, value(&env.key).map_or("", String::as_str)))
        .collect();
    variables.sort_by_key(|(name, _)| *name);
    env_hash(&variables)
}
