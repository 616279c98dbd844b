//! Which images a node has, and how they behave there.

use std::collections::VecDeque;
use std::sync::Arc;

use pitstop_api::image_pull::Reference;

use super::super::pod_life::Images;
use super::super::profile::{self, Profile, Rule};
use super::super::wire::{NodeObject, PodObject};

/// Images as one node has them.
pub(super) struct NodeImages<'a> {
    pub(super) rules: Arc<[Rule]>,
    pub(super) cache: &'a mut VecDeque<(String, u64)>,
}

impl Images for NodeImages<'_> {
    fn profile(&self, image: &str) -> Profile {
        profile::of_image(image, self.rules.iter())
    }

    fn is_cached(&self, image: &str) -> bool {
        let has = |image: &str| self.cache.iter().any(|(cached, _)| cached == image);
        // What was pulled ahead has the name that runtimes are asked for.
        has(image) || Reference::parse(image).is_ok_and(|normal| has(&normal.to_string()))
    }

    fn cache(&mut self, image: &str) {
        if !self.is_cached(image) {
            let size = self.profile(image).size;
            self.cache.push_back((image.to_owned(), size));
        }
    }
}

/// Profiles of a node: those of its annotation before the shared ones.
pub(super) fn rules(node: &NodeObject, shared: &[Rule]) -> Arc<[Rule]> {
    own_rules(&node.metadata.name, node.image_profile())
        .into_iter()
        .chain(shared.iter().cloned())
        .collect()
}

/// Profiles of a pod: those of its annotation before those of its node.
pub(super) fn pod_rules(pod: &PodObject, of_node: &Arc<[Rule]>) -> Arc<[Rule]> {
    match pod.metadata.annotations.get(pitstop_api::keys::SIM_IMAGE_PROFILE) {
        None => Arc::clone(of_node),
        Some(text) => own_rules(&pod.metadata.name, text)
            .into_iter()
            .chain(of_node.iter().cloned())
            .collect(),
    }
}

fn own_rules(object: &str, text: &str) -> Vec<Rule> {
    if text.is_empty() {
        return Vec::new();
    }
    Rule::parse_list(text).unwrap_or_else(|error| {
        tracing::warn!(object, %error, "annotation {} is not a list of profiles", pitstop_api::keys::SIM_IMAGE_PROFILE);
        Vec::new()
    })
}
