//! Labels and annotations of a pod, in a form of which a store can hold very many.
//!
//! Thousands of pods of one workload carry the same labels, but for those that say which pod it is. Kept apart, the others
//! are held once for all of them, and what follows from them need be worked out only once.
//!
//! Source: design.md section 4, the budget of a pod.

use std::borrow::Cow;
use std::sync::Arc;

use crate::keys;
use crate::selector::{LabelValues, Labels};

/// The labels by which a pod differs from the others of its workload. Source: cloneset.md 7; statefulset.md 4.
const OWN: [&str; 3] = [keys::INSTANCE_ID, keys::STATEFUL_POD_NAME, keys::POD_INDEX];

/// The labels of a pod: those that others of its workload have too, and its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodLabels {
    shared: Arc<Labels>,
    own: KeyValues,
}

impl PodLabels {
    /// Is this the key of a label that tells the pods of a workload apart?
    pub fn is_own(key: &str) -> bool {
        OWN.contains(&key)
    }

    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&String> {
        self.own.get(key).or_else(|| self.shared.get(key))
    }

    /// Is there a label of this key?
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// All labels, each once.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let shared = self.shared.iter();
        shared
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .chain(self.own.iter())
    }

    /// Sets a label.
    pub fn insert(&mut self, key: String, value: String) {
        if Self::is_own(&key) {
            self.own.insert(key, value);
        } else {
            Arc::make_mut(&mut self.shared).insert(key, value);
        }
    }

    /// Takes a label away.
    pub fn remove(&mut self, key: &str) {
        self.own.remove(key);
        if self.shared.contains_key(key) {
            Arc::make_mut(&mut self.shared).remove(key);
        }
    }

    /// The labels that are not its own; pods that share them point to the same ones.
    pub fn shared(&self) -> &Arc<Labels> {
        &self.shared
    }

    /// The same, to be replaced by equal ones that others point to already.
    pub fn shared_mut(&mut self) -> &mut Arc<Labels> {
        &mut self.shared
    }
}

impl From<Labels> for PodLabels {
    fn from(labels: Labels) -> Self {
        let is_own = |(key, _): &(String, String)| Self::is_own(key);
        let (own, shared): (Vec<_>, Vec<_>) = labels.into_iter().partition(is_own);
        Self {
            shared: Arc::new(shared.into_iter().collect()),
            own: own.into_iter().collect(),
        }
    }
}

impl FromIterator<(String, String)> for PodLabels {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(labels: I) -> Self {
        labels.into_iter().collect::<Labels>().into()
    }
}

impl LabelValues for PodLabels {
    fn value_of(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

/// A few keys and values, in the order of the keys. The keys that this program knows take no memory of their own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyValues(Vec<(Cow<'static, str>, String)>);

impl KeyValues {
    /// None.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&String> {
        // There are few, most of different length: that tells them apart without their bytes being read.
        let found = self.0.iter().find(|(there, _)| **there == *key);
        found.map(|(_, value)| value)
    }

    /// Is there this key?
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, value.as_str()))
    }

    /// Sets a value.
    pub fn insert(&mut self, key: String, value: String) {
        match self.0.binary_search_by(|(there, _)| (**there).cmp(&*key)) {
            Ok(at) => {
                if let Some((_, place)) = self.0.get_mut(at) {
                    *place = value;
                }
            }
            Err(at) => self.0.insert(at, (known(key), value)),
        }
    }

    /// Takes a key away.
    pub fn remove(&mut self, key: &str) {
        self.0.retain(|(there, _)| **there != *key);
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl FromIterator<(String, String)> for KeyValues {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let mut found = Self::new();
        for (key, value) in pairs {
            found.insert(key, value);
        }
        found.0.shrink_to_fit();
        found
    }
}

fn known(key: String) -> Cow<'static, str> {
    let mut known = OWN.into_iter().chain(super::inplace::READ);
    known
        .find(|known| *known == key)
        .map_or(Cow::Owned(key), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> PodLabels {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn what_tells_pods_apart_is_kept_apart_and_found_all_the_same() {
        let of = |id: &str| labels(&format!("app=web {}={id}", keys::INSTANCE_ID));
        let (mut a, b) = (of("a"), of("b"));
        assert_eq!(a.shared(), b.shared());
        assert_ne!(a, b);
        assert_eq!(a.get(keys::INSTANCE_ID).map(String::as_str), Some("a"));
        assert_eq!(a.value_of("app"), Some("web"));
        let all: Vec<(&str, &str)> = a.iter().collect();
        assert_eq!(all, [("app", "web"), (keys::INSTANCE_ID, "a")]);

        a.insert(keys::INSTANCE_ID.into(), "b".into());
        assert_eq!(a, b);
        a.remove(keys::INSTANCE_ID);
        a.remove("app");
        assert_eq!(a, PodLabels::default());
        assert!(b.contains_key("app"), "others keep theirs");
    }

    #[test]
    fn few_values_stand_in_the_order_of_their_keys() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let found: KeyValues = [pair("b", "1"), pair("a", "2"), pair("b", "3")]
            .into_iter()
            .collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        assert_eq!(found, [pair("b", "3"), pair("a", "2")].into_iter().collect());
    }
}
