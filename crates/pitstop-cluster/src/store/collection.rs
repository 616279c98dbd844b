//! The objects of one kind in memory: an ordered map, indexes for selectors, and the changes that watches resume from.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::ListQuery;
use super::filter::Filter;
use super::object::{Key, Stored};
use super::siblings::Siblings;
use crate::kinds::{Durability, FieldKey};

/// What a collection holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CollectionSpec {
    /// Group and plural.
    pub(crate) stored_as: (&'static str, &'static str),
    /// Field selector keys.
    pub(crate) field_keys: &'static [FieldKey],
    /// Changes of relaxed kinds are many and soon stale: they are kept for a shorter time.
    pub(crate) durability: Durability,
}

/// Field keys with an index: `describe node` and every kubelet select pods by node, `describe` selects events by
/// object.
const INDEXED: [&str; 2] = ["spec.nodeName", "involvedObject.name"];

/// How long changes are kept at most.
///
/// Source: embedded-cluster.md 8, end.
const HISTORY: SignedDuration = SignedDuration::from_mins(10);
const HISTORY_RELAXED: SignedDuration = SignedDuration::from_mins(2);

/// Changes that every watch is expected to have read after so many more. Older ones are made small.
const FRESH: usize = 1024;

/// Of a collection with so many objects those that do not change are made small too.
const MANY: usize = 1024;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    /// It came into being.
    Added,
    /// It became another.
    Modified,
    /// It went.
    Deleted,
}

impl ChangeKind {
    /// How a watch frame of such a change begins.
    pub(crate) fn frame_start(self) -> &'static str {
        match self {
            Self::Added => "{\"type\":\"ADDED\",\"object\":",
            Self::Modified => "{\"type\":\"MODIFIED\",\"object\":",
            Self::Deleted => "{\"type\":\"DELETED\",\"object\":",
        }
    }
}

/// One entry of the history.
#[derive(Debug)]
pub(crate) struct Change {
    /// The resourceVersion that the change made.
    pub(crate) version: u64,
    /// What happened.
    pub(crate) kind: ChangeKind,
    /// The version before.
    pub(crate) old: Option<Arc<Stored>>,
    /// The version after; of a deleted object, its last state under the resourceVersion of the deletion.
    pub(crate) new: Arc<Stored>,
    pub(super) at: Timestamp,
}

/// A list of one state.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) version: u64,
    pub(super) items: Vec<Arc<Stored>>,
    pub(super) more_after: Option<Key>,
    pub(super) remaining: Option<usize>,
}

/// Objects whose indexed field, by its place in the kind's table, has a value.
type Index = BTreeMap<(usize, Box<str>), BTreeSet<Key>>;

static NO_KEYS: BTreeSet<Key> = BTreeSet::new();

#[derive(Debug)]
pub(super) struct Collection {
    pub(super) spec: CollectionSpec,
    objects: BTreeMap<Key, Arc<Stored>>,
    indexed: Vec<usize>,
    index: Index,
    history: VecDeque<Arc<Change>>,
    history_limit: usize,
    /// How many changes at the end of the history are still as they came.
    fresh: usize,
    siblings: Siblings,
    /// All changes after this resourceVersion are in the history.
    oldest: u64,
}

impl Collection {
    pub(super) fn new(spec: CollectionSpec, history_limit: usize) -> Self {
        let indexed = spec
            .field_keys
            .iter()
            .enumerate()
            .filter(|(_, k)| INDEXED.contains(&k.key));
        Self {
            indexed: indexed.map(|(i, _)| i).collect(),
            spec,
            objects: BTreeMap::new(),
            index: BTreeMap::new(),
            history: VecDeque::new(),
            history_limit,
            fresh: 0,
            siblings: Siblings::new(spec.field_keys),
            oldest: 0,
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Stored>> {
        self.objects.get(key).cloned()
    }

    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Takes in an object read from disk.
    pub(super) fn load(&mut self, object: Stored) {
        let object = Arc::new(object);
        self.index_add(&object);
        self.objects.insert(object.key.clone(), object);
    }

    /// The history begins here: what led to it was before this process.
    pub(super) fn begin_history(&mut self, version: u64) {
        self.oldest = version;
    }

    pub(super) fn apply(&mut self, change: Change) {
        if let Some(old) = &change.old {
            self.index_remove(old);
        }
        if change.kind == ChangeKind::Deleted {
            self.objects.remove(&change.new.key);
        } else {
            self.index_add(&change.new);
            self.objects.insert(change.new.key.clone(), change.new.clone());
        }
        let now = change.at;
        self.history.push_back(Arc::new(change));
        self.fresh += 1;
        self.pack();
        self.forget(now);
    }

    /// Makes the newest change that no watch is likely to be still at small.
    fn pack(&mut self) {
        if self.fresh <= FRESH {
            return;
        }
        let change = self.history.get(self.history.len() - self.fresh);
        self.fresh -= 1;
        let Some(change) = change else { return };
        if let Some(old) = &change.old {
            old.pack(&change.new);
        }
        let current = self.objects.get(&change.new.key);
        if self.objects.len() > MANY && current.is_some_and(|current| Arc::ptr_eq(current, &change.new)) {
            self.siblings.pack(&change.new);
        }
    }

    fn forget(&mut self, now: Timestamp) {
        let age = match self.spec.durability {
            Durability::Sync => HISTORY,
            Durability::Relaxed => HISTORY_RELAXED,
        };
        while let Some(first) = self.history.front() {
            if self.history.len() <= self.history_limit && now.duration_since(first.at) <= age {
                break;
            }
            self.oldest = first.version;
            self.history.pop_front();
        }
        self.fresh = self.fresh.min(self.history.len());
    }

    pub(super) fn changes_after(&self, version: u64, max: usize) -> Vec<Arc<Change>> {
        let start = self.history.partition_point(|change| change.version <= version);
        self.history.range(start..).take(max).cloned().collect()
    }

    pub(super) fn written_before(&self, instant: Timestamp) -> Vec<Arc<Stored>> {
        self.objects
            .values()
            .filter(|o| o.at < instant)
            .cloned()
            .collect()
    }

    /// The objects at a resourceVersion whose later changes are all in the history.
    pub(super) fn snapshot(&self, query: &ListQuery<'_>, filter: &Filter, version: u64) -> Snapshot {
        let undone = self.undo_to(version);
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        let mut items: Vec<Arc<Stored>> = Vec::new();
        let mut more = false;
        self.visit(query, filter, &undone, |object| {
            if !filter.matches(object) {
                return true;
            }
            more = items.len() == limit;
            if !more {
                items.push(object.clone());
            }
            !more
        });
        let more_after = if more {
            items.last().map(|o| o.key.clone())
        } else {
            None
        };
        let remaining = match &more_after {
            Some(last) if filter.is_empty() => Some(self.count_after(query, last, &undone)),
            _ => None,
        };
        Snapshot {
            version,
            items,
            more_after,
            remaining,
        }
    }

    /// What the keys changed after a resourceVersion were at that resourceVersion.
    fn undo_to(&self, version: u64) -> BTreeMap<&Key, Option<&Arc<Stored>>> {
        let start = self.history.partition_point(|change| change.version <= version);
        let mut undone = BTreeMap::new();
        for change in self.history.range(start..) {
            undone.entry(&change.new.key).or_insert(change.old.as_ref());
        }
        undone
    }

    /// Visits the objects of a state in order, by the narrowest way that the filter allows, until `each` has enough.
    fn visit<'a>(
        &'a self,
        query: &ListQuery<'_>,
        filter: &Filter,
        undone: &BTreeMap<&'a Key, Option<&'a Arc<Stored>>>,
        mut each: impl FnMut(&Arc<Stored>) -> bool,
    ) {
        let namespace = query.namespace.or_else(|| filter.namespace());
        if undone.is_empty() {
            if let (Some(namespace), Some(name)) = (namespace, filter.name()) {
                let key = Key::new(namespace, name);
                if query.after.as_ref().is_none_or(|after| key > *after)
                    && let Some(object) = self.objects.get(&key)
                {
                    each(object);
                }
                return;
            }
            if let Some(keys) = self.narrowest(filter) {
                let wanted = |key: &&Key| {
                    namespace.is_none_or(|n| *key.namespace == *n)
                        && query.after.as_ref().is_none_or(|after| *key > after)
                };
                for key in keys.iter().filter(wanted) {
                    if self.objects.get(key).is_some_and(|object| !each(object)) {
                        return;
                    }
                }
                return;
            }
        }
        let from = lower_bound(namespace, query.after.as_ref());
        let in_range = |key: &Key| namespace.is_none_or(|n| *key.namespace == *n);
        let mut now = self.objects.range((from.clone(), Bound::Unbounded)).peekable();
        let mut before = undone
            .range::<Key, _>((from.as_ref(), Bound::Unbounded))
            .peekable();
        loop {
            // Merge: where a key was changed later, its state before counts.
            let object = match (now.peek(), before.peek()) {
                (None, None) => return,
                (Some((key, _)), Some((changed, _))) if key < *changed => now.next().map(|(_, o)| o),
                (Some(_), None) => now.next().map(|(_, o)| o),
                (now_at, Some((changed, was))) => {
                    if now_at.is_some_and(|(key, _)| key == *changed) {
                        now.next();
                    }
                    let was = **was;
                    before.next();
                    match was {
                        Some(was) => Some(was),
                        None => continue,
                    }
                }
            };
            let Some(object) = object else { return };
            if !in_range(&object.key) || !each(object) {
                return;
            }
        }
    }

    /// Keys from an index, when the filter asks for one value of an indexed field.
    fn narrowest(&self, filter: &Filter) -> Option<&BTreeSet<Key>> {
        let (field, value) = filter
            .required_values()
            .find(|(field, _)| self.indexed.contains(field))?;
        Some(self.index.get(&(field, Box::from(value))).unwrap_or(&NO_KEYS))
    }

    fn count_after(
        &self,
        query: &ListQuery<'_>,
        last: &Key,
        undone: &BTreeMap<&Key, Option<&Arc<Stored>>>,
    ) -> usize {
        let rest = ListQuery {
            namespace: query.namespace,
            after: Some(last.clone()),
            at: None,
            limit: 0,
        };
        let mut count = 0;
        self.visit(&rest, &Filter::default(), undone, |_| {
            count += 1;
            true
        });
        count
    }

    fn index_add(&mut self, object: &Stored) {
        for field in &self.indexed {
            let place = (*field, Box::from(object.field(*field)));
            self.index.entry(place).or_default().insert(object.key.clone());
        }
    }

    fn index_remove(&mut self, object: &Stored) {
        for field in &self.indexed {
            let place = (*field, Box::from(object.field(*field)));
            if let Some(keys) = self.index.get_mut(&place) {
                keys.remove(&object.key);
                if keys.is_empty() {
                    self.index.remove(&place);
                }
            }
        }
    }
}

fn lower_bound(namespace: Option<&str>, after: Option<&Key>) -> Bound<Key> {
    let first = namespace.map(|n| Key::new(n, ""));
    match (first, after) {
        (Some(first), Some(after)) if *after < first => Bound::Included(first),
        (_, Some(after)) => Bound::Excluded(after.clone()),
        (Some(first), None) => Bound::Included(first),
        (None, None) => Bound::Unbounded,
    }
}
