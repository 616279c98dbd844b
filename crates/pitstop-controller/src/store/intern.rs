//! Equal label sets, image lists and strings are kept once.
//!
//! Thousands of pods of one workload carry the same labels and images. Kept once, a pod costs some 300 bytes instead
//! of 8 KB (design.md section 4).

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use pitstop_api::selector::Labels;
use pitstop_api::view::{InPlaceSpec, PodView, UpgradeConditions};

/// Shared values, forgotten some time after their last user.
#[derive(Debug, Default)]
pub(super) struct Interner {
    labels: Shared<Labels>,
    images: Shared<[Arc<str>]>,
    strings: Shared<str>,
    upgrades: Shared<UpgradeConditions>,
    specs: Shared<InPlaceSpec>,
}

impl Interner {
    /// Replaces what the pod owns alone by what is shared.
    pub(super) fn share(&mut self, pod: &mut PodView) {
        self.labels.share(pod.labels.shared_mut());
        self.strings.share(&mut pod.namespace);
        if !self.images.has(&pod.images) {
            pod.images = pod
                .images
                .iter()
                .map(|image| {
                    let mut image = Arc::clone(image);
                    self.strings.share(&mut image);
                    image
                })
                .collect();
        }
        self.images.share(&mut pod.images);
        if let Some(trouble) = &mut pod.trouble {
            self.strings.share(trouble);
        }
        if let Some(upgrade) = &mut pod.upgrade {
            self.upgrades.share(upgrade);
        }
        if let Some(in_place) = pod.in_place.as_mut().and_then(Arc::get_mut) {
            self.specs.share(&mut in_place.spec);
            for status in &mut in_place.statuses {
                self.strings.share(&mut status.name);
                self.strings.share(&mut status.image);
                self.strings.share(&mut status.image_id);
            }
            let conditions = [
                &mut in_place.update_ready,
                &mut in_place.kruise_ready,
                &mut in_place.resize_pending,
            ];
            for condition in conditions.into_iter().flatten() {
                self.strings.share(&mut condition.reason);
                if condition.message.is_empty() {
                    self.strings.share(&mut condition.message);
                }
            }
        }
    }

    /// The shared form of a string.
    pub(super) fn string(&mut self, text: &str) -> Arc<str> {
        let mut shared = Arc::from(text);
        self.strings.share(&mut shared);
        shared
    }
}

#[derive(Debug)]
struct Shared<T: ?Sized + Eq + Hash> {
    values: HashSet<Arc<T>>,
    sweep_at: usize,
}

impl<T: ?Sized + Eq + Hash> Default for Shared<T> {
    fn default() -> Self {
        Self {
            values: HashSet::new(),
            sweep_at: 64,
        }
    }
}

impl<T: ?Sized + Eq + Hash> Shared<T> {
    fn has(&self, value: &T) -> bool {
        self.values.contains(value)
    }

    fn share(&mut self, value: &mut Arc<T>) {
        if let Some(shared) = self.values.get(value) {
            *value = Arc::clone(shared);
            return;
        }
        if self.values.len() >= self.sweep_at {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.sweep_at = (self.values.len() * 2).max(64);
        }
        self.values.insert(Arc::clone(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_kept_once_and_forgotten_when_unused() {
        let mut shared = Shared::<str>::default();
        let mut a: Arc<str> = "x".into();
        let mut b: Arc<str> = "x".into();
        shared.share(&mut a);
        shared.share(&mut b);
        assert!(Arc::ptr_eq(&a, &b));
        for i in 0..1000 {
            shared.share(&mut Arc::from(i.to_string().as_str()));
        }
        assert!(shared.values.len() <= 65, "{}", shared.values.len());
        assert!(shared.has("x"));
    }
}
