//! Who belongs to whom: objects of the selector without a controller are adopted, and those that left it are released.

use pitstop_api::selector::Selector;
use pitstop_api::view::MetaWire;
use serde_json::{Value, json};

use super::super::writes::Write;
use super::queue::{Sort, Step};

/// A controller of other objects.
#[derive(Debug, Clone, Copy)]
pub(super) struct Controller<'a> {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) meta: &'a MetaWire,
}

/// What a controller makes of the objects that there are.
#[derive(Debug)]
pub(super) struct Claim<'a, T> {
    /// Those that are its own.
    pub(super) owned: Vec<&'a T>,
    /// Those that it takes or lets go.
    pub(super) steps: Vec<Step>,
}

impl Controller<'_> {
    /// The reference that its objects carry.
    pub(super) fn reference(&self) -> Value {
        json!({
            "apiVersion": self.api_version, "kind": self.kind, "name": self.meta.name, "uid": self.meta.uid,
            "controller": true, "blockOwnerDeletion": true,
        })
    }

    /// Judges objects of its namespace. One that is being deleted takes nothing and lets nothing go.
    pub(super) fn claim<'a, T>(
        &self,
        selector: &Selector,
        sort: Sort,
        objects: impl Iterator<Item = &'a T>,
        meta: impl Fn(&T) -> &MetaWire,
        path: impl Fn(&T) -> String,
    ) -> Claim<'a, T> {
        let mut claim = Claim {
            owned: Vec::new(),
            steps: Vec::new(),
        };
        let is_deleting = self.meta.deletion_timestamp.is_some();
        for object in objects {
            let it = meta(object);
            let matches = selector.matches(&it.labels);
            let controller = it
                .owner_references
                .iter()
                .find(|owner| owner.controller == Some(true));
            let change = match controller {
                Some(owner) if owner.uid != self.meta.uid => continue,
                Some(_) if matches || is_deleting => {
                    claim.owned.push(object);
                    continue;
                }
                Some(_) => json!([{"$patch": "delete", "uid": self.meta.uid}]),
                None if matches && !is_deleting && it.deletion_timestamp.is_none() => {
                    json!([self.reference()])
                }
                None => continue,
            };
            let body = json!({"metadata": {"uid": it.uid, "ownerReferences": change}});
            claim
                .steps
                .push(Step::new(sort, Write::strategic(path(object), body)));
        }
        claim
    }
}
