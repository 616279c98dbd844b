//! Objects that have not changed for a while are kept as what they differ in from another one of their sort: thousands of
//! pods of one workload differ in names, times and addresses.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::object::Stored;
use crate::kinds::FieldKey;

/// Fields that tell sorts apart, besides labels: events have none.
const TELLING: [&str; 1] = ["reason"];

/// Sorts of which one object is known. When there are more all are forgotten, and learnt again.
const SORTS: usize = 64;

/// One object of each sort.
#[derive(Debug)]
pub(super) struct Siblings {
    telling: Vec<usize>,
    known: BTreeMap<u64, Arc<Stored>>,
}

impl Siblings {
    pub(super) fn new(keys: &[FieldKey]) -> Self {
        let telling = keys.iter().enumerate();
        let telling = telling.filter(|(_, key)| TELLING.contains(&key.key));
        Self {
            telling: telling.map(|(index, _)| index).collect(),
            known: BTreeMap::new(),
        }
    }

    /// Makes an object small beside one of its sort, or remembers it as the first.
    pub(super) fn pack(&mut self, object: &Arc<Stored>) {
        let sort = self.sort_of(object);
        match self.known.get(&sort) {
            Some(first) if first.is_whole() => object.pack_beside(first),
            // What was remembered is itself a difference from the version after it by now.
            _ => {
                if self.known.len() >= SORTS {
                    self.known.clear();
                }
                self.known.insert(sort, Arc::clone(object));
            }
        }
    }

    /// Objects of the same sort are likely to have most in common; that they have is not relied on.
    fn sort_of(&self, object: &Stored) -> u64 {
        let mut hasher = DefaultHasher::new();
        object.labels().hash(&mut hasher);
        for field in &self.telling {
            object.field(*field).hash(&mut hasher);
        }
        hasher.finish()
    }
}
