//! What follows from labels that many pods have in common, worked out once for all of them.

use std::sync::Arc;

use pitstop_api::selector::{Labels, Selector};
use pitstop_api::view::{PodLabels, PodView};

/// How many sets of labels are remembered. Pods of a workload differ in their revision and in the state of their update,
/// so that there are a few of them at a time.
const REMEMBERED: usize = 8;

/// Answers by set of labels, the last few of them.
#[derive(Debug, Clone)]
pub(crate) struct OncePerSet<'a, T> {
    known: Vec<(&'a Arc<Labels>, T)>,
    /// The entry that goes next.
    oldest: usize,
}

impl<T> Default for OncePerSet<'_, T> {
    fn default() -> Self {
        Self {
            known: Vec::new(),
            oldest: 0,
        }
    }
}

impl<'a, T: Copy> OncePerSet<'a, T> {
    /// The answer for these labels, which must depend on nothing but those that pods share.
    pub(crate) fn of(&mut self, labels: &'a PodLabels, answer: impl FnOnce() -> T) -> T {
        let labels = labels.shared();
        if let Some((_, known)) = self.known.iter().find(|(known, _)| Arc::ptr_eq(known, labels)) {
            return *known;
        }
        let answer = answer();
        if self.known.len() < REMEMBERED {
            self.known.push((labels, answer));
        } else if let Some(place) = self.known.get_mut(self.oldest) {
            *place = (labels, answer);
            self.oldest = self.oldest.saturating_add(1).checked_rem(REMEMBERED).unwrap_or(0);
        }
        answer
    }
}

/// The revisions that pods have, by label, in order and each once; empty for pods that have no such label.
pub(crate) fn revisions_of<'a>(pods: impl IntoIterator<Item = &'a PodView>) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut seen = OncePerSet::default();
    for pod in pods {
        seen.of(&pod.labels, || {
            found.push(pod.revision_hash().unwrap_or_default());
        });
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Which pods a selector selects.
#[derive(Debug, Clone)]
pub(crate) struct Selected<'s, 'a> {
    /// `None` matches no pod.
    selector: Option<&'s Selector>,
    /// Does it ask for a label that tells pods of a workload apart?
    asks_for_own: bool,
    known: OncePerSet<'a, bool>,
}

impl<'s, 'a> Selected<'s, 'a> {
    pub(crate) fn by(selector: Option<&'s Selector>) -> Self {
        let mut requirements = selector.into_iter().flat_map(Selector::requirements);
        Self {
            selector,
            asks_for_own: requirements.any(|requirement| PodLabels::is_own(&requirement.key)),
            known: OncePerSet::default(),
        }
    }

    pub(crate) fn has(&mut self, labels: &'a PodLabels) -> bool {
        let matches = || self.selector.is_some_and(|selector| selector.matches(labels));
        if self.asks_for_own {
            matches()
        } else {
            self.known.of(labels, matches)
        }
    }
}

#[cfg(test)]
mod tests {
    use pitstop_api::keys;

    use super::*;

    fn labels(n: usize, id: &str) -> PodLabels {
        [
            ("n".to_owned(), n.to_string()),
            (keys::INSTANCE_ID.into(), id.into()),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn every_set_gets_its_own_answer_however_many_there_are() {
        let sets: Vec<PodLabels> = (0..3 * REMEMBERED).map(|n| labels(n, "a")).collect();
        let mut once = OncePerSet::default();
        for _ in 0..2 {
            for (n, set) in sets.iter().enumerate() {
                assert_eq!(once.of(set, || n), n);
                assert_eq!(once.of(set, || usize::MAX), n, "it is remembered");
            }
        }
    }

    #[test]
    fn a_selector_may_ask_for_what_tells_pods_apart() {
        let by_id = Selector::parse(&format!("{}=a", keys::INSTANCE_ID)).unwrap();
        let by_n = Selector::parse("n=1").unwrap();
        let a = labels(1, "a");
        let mut b = a.clone();
        b.insert(keys::INSTANCE_ID.into(), "b".into());
        assert!(Arc::ptr_eq(a.shared(), b.shared()));
        let mut selected = Selected::by(Some(&by_id));
        assert_eq!([selected.has(&a), selected.has(&b)], [true, false]);
        let mut selected = Selected::by(Some(&by_n));
        assert_eq!([selected.has(&a), selected.has(&b)], [true, true]);
        assert!(!Selected::by(None).has(&a));
    }
}
