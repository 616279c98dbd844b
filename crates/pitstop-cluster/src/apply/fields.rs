//! Sets of fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::structure::Type;

/// A set of paths as a trie, which is also its JSON form, `FieldsV1`.
///
/// The steps of a path are texts: `f:spec` is a field, `k:{"name":"a"}` the element of a list with that key, `v:"a"`
/// an element of a set, `i:0` the element at an index.
///
/// Source: embedded-cluster.md 9.4.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields(BTreeMap<Box<str>, Node>);

/// One step of a path: is the path that ends here in the set, and which longer ones are?
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Node {
    member: bool,
    below: Fields,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl Fields {
    /// No path at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads `FieldsV1`; `None` if it is not of that form.
    pub fn from_json(value: &Value) -> Option<Self> {
        let mut fields = BTreeMap::new();
        for (step, below) in value.as_object()?.iter().filter(|(step, _)| *step != ".") {
            let known = ["f:", "k:", "v:", "i:"]
                .iter()
                .any(|start| step.starts_with(start));
            let map = below.as_object().filter(|_| known)?;
            let node = Node {
                member: map.is_empty() || map.contains_key("."),
                below: Self::from_json(below)?,
            };
            fields.insert(step.as_str().into(), node);
        }
        Some(Self(fields))
    }

    /// `FieldsV1`.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        for (step, node) in &self.0 {
            let mut below = node.below.to_json();
            if let (true, false, Some(map)) = (node.member, node.below.is_empty(), below.as_object_mut()) {
                map.insert(".".to_owned(), Value::Object(Map::new()));
            }
            object.insert(step.as_ref().to_owned(), below);
        }
        Value::Object(object)
    }

    /// Adds a path. The empty path is no member of any set.
    pub fn insert<S: AsRef<str>>(&mut self, path: &[S]) {
        if let [first, rest @ ..] = path {
            let node = self.0.entry(first.as_ref().into()).or_default();
            if rest.is_empty() {
                node.member = true;
            } else {
                node.below.insert(rest);
            }
        }
    }

    /// Takes a path out, and leaves those that begin with it.
    pub fn remove(&mut self, path: &[&str]) {
        let [first, rest @ ..] = path else { return };
        let Some(node) = self.0.get_mut(*first) else {
            return;
        };
        if rest.is_empty() {
            node.member = false;
        } else {
            node.below.remove(rest);
        }
        if node.is_empty() {
            self.0.remove(*first);
        }
    }

    /// Is the path of one step in the set?
    pub(super) fn has(&self, step: &str) -> bool {
        self.0.get(step).is_some_and(|node| node.member)
    }

    /// The rest of all paths that begin with a step.
    pub(super) fn below(&self, step: &str) -> Option<&Self> {
        self.0
            .get(step)
            .map(|node| &node.below)
            .filter(|below| !below.is_empty())
    }

    /// Adds paths below a step, and the step itself if it is a member.
    pub(super) fn put(&mut self, step: &str, member: bool, below: Self) {
        let node = Node { member, below };
        if !node.is_empty() {
            self.0.insert(step.into(), node);
        }
    }

    /// Paths in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        union.extend(other);
        union
    }

    /// Adds the paths of another set.
    pub(super) fn extend(&mut self, other: &Self) {
        for (step, theirs) in &other.0 {
            match self.0.get_mut(step) {
                Some(ours) => {
                    ours.member |= theirs.member;
                    ours.below.extend(&theirs.below);
                }
                None => drop(self.0.insert(step.clone(), theirs.clone())),
            }
        }
    }

    /// Takes out the paths of another set, and leaves those that begin with them.
    pub(super) fn subtract(&mut self, other: &Self) {
        for (step, theirs) in &other.0 {
            let Some(ours) = self.0.get_mut(step) else {
                continue;
            };
            ours.member &= !theirs.member;
            ours.below.subtract(&theirs.below);
            if ours.is_empty() {
                self.0.remove(step);
            }
        }
    }

    /// Paths in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut difference = self.clone();
        difference.subtract(other);
        difference
    }

    /// Paths in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::default();
        for (step, ours) in &self.0 {
            if let Some(theirs) = other.0.get(step) {
                both.put(
                    step,
                    ours.member && theirs.member,
                    ours.below.intersection(&theirs.below),
                );
            }
        }
        both
    }

    /// Paths that neither are in the other set nor begin with one that is.
    #[must_use]
    pub fn without_below(&self, other: &Self) -> Self {
        self.zip(other, |ours, theirs| {
            if theirs.member {
                Node::default()
            } else {
                Node {
                    member: ours.member,
                    below: ours.below.without_below(&theirs.below),
                }
            }
        })
    }

    fn zip(&self, other: &Self, both: impl Fn(&Node, &Node) -> Node) -> Self {
        let mut result = BTreeMap::new();
        for (step, ours) in &self.0 {
            let node = match other.0.get(step) {
                Some(theirs) => both(ours, theirs),
                None => ours.clone(),
            };
            if !node.is_empty() {
                result.insert(step.clone(), node);
            }
        }
        Self(result)
    }

    /// The set with every field of a message that has members below: they go when all that is in them goes. Entries of
    /// maps and elements of lists stand for themselves.
    #[must_use]
    pub(super) fn with_named(&self, structure: Type<'_>) -> Self {
        let mut named = Self::default();
        for (step, node) in &self.0 {
            let declared = step
                .strip_prefix("f:")
                .is_some_and(|field| structure.declares(field));
            let member = node.member || (declared && !node.below.is_empty());
            named.put(step, member, node.below.with_named(structure.step(step)));
        }
        named
    }

    /// All paths as users read them, e.g. `.spec.template.spec.containers[name="a"].image`.
    pub fn paths(&self) -> BTreeSet<String> {
        let mut paths = BTreeSet::new();
        self.collect(&mut String::new(), &mut |path| {
            paths.insert(path.to_owned());
        });
        paths
    }

    fn collect(&self, path: &mut String, found: &mut dyn FnMut(&str)) {
        for (step, node) in &self.0 {
            let length = path.len();
            path.push_str(&readable(step));
            if node.member {
                found(path);
            }
            node.below.collect(path, found);
            path.truncate(length);
        }
    }
}

/// A step as users read it.
pub(super) fn readable(step: &str) -> String {
    if let Some(field) = step.strip_prefix("f:") {
        return format!(".{field}");
    }
    if let Some(value) = step.strip_prefix("v:") {
        return format!("[={value}]");
    }
    if let Some(Ok(Value::Object(keys))) = step.strip_prefix("k:").map(serde_json::from_str) {
        let keys: Vec<String> = keys
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        return format!("[{}]", keys.join(","));
    }
    format!("[{}]", step.strip_prefix("i:").unwrap_or(step))
}
