//! Kinds that come and go with their definitions.
//!
//! What is served follows from the definitions that are stored: it is looked up again whenever one of them has changed.
//!
//! Source: embedded-cluster.md 14.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::delete::DeleteOptions;
use super::update::Next;
use super::{Api, Collected, discovery, metadata};
use crate::custom::{Custom, definition};
use crate::kinds::{self, Durability, Kind};
use crate::store::{CollectionSpec, Filter, ListQuery};

/// Where definitions are stored.
pub(super) const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");

/// How often a definition is looked at whose last objects are on their way out.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Everything that is served besides the built-in kinds.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// By definition: the resourceVersion that was read, and its served versions.
    by_definition: BTreeMap<String, (u64, Vec<Arc<Custom>>)>,
    collections: BTreeMap<(&'static str, &'static str), Collected>,
    pub(super) documents: discovery::Documents,
}

impl Served {
    fn customs(&self) -> impl Iterator<Item = &Arc<Custom>> {
        self.by_definition.values().flat_map(|(_, versions)| versions)
    }

    /// A custom kind by its place in URLs.
    pub(super) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Custom>> {
        let (_, versions) = self.by_definition.get(&format!("{plural}.{group}"))?;
        versions.iter().find(|custom| custom.kind.version == version)
    }

    /// The other served versions of a custom kind.
    pub(super) fn versions_of(&self, kind: &Kind) -> Vec<&'static Kind> {
        self.customs()
            .map(|custom| custom.kind)
            .filter(|other| other.stored_as == kind.stored_as && !std::ptr::eq(*other, kind))
            .collect()
    }

    /// All served versions of a custom kind.
    pub(super) fn all_of(&self, kind: &Kind) -> Vec<Arc<Custom>> {
        self.customs()
            .filter(|custom| custom.kind.stored_as == kind.stored_as)
            .cloned()
            .collect()
    }

    /// Where a custom kind is stored.
    pub(super) fn collection(&self, stored_as: (&str, &str)) -> Option<Collected> {
        self.collections
            .iter()
            .find(|(key, _)| **key == stored_as)
            .map(|(_, found)| *found)
    }
}

/// What is served, as of the last look at the definitions.
#[derive(Debug)]
pub(super) struct Customs(Mutex<State>);

#[derive(Debug)]
struct State {
    source: Option<watch::Receiver<u64>>,
    served: Option<Arc<Served>>,
}

impl Customs {
    /// `source` wakes when a definition changes.
    pub(super) fn new(source: Option<watch::Receiver<u64>>) -> Self {
        Self(Mutex::new(State { source, served: None }))
    }
}

impl Api {
    /// What is served now.
    pub(super) fn served(&self) -> Arc<Served> {
        let mut state = self.customs.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = state.source.as_mut().is_some_and(|source| {
            let changed = source.has_changed().unwrap_or(false);
            // Seen before it is read: what changes in between is read again the next time.
            source.borrow_and_update();
            changed
        });
        if let (Some(served), false) = (&state.served, changed) {
            return served.clone();
        }
        let served = Arc::new(self.read_definitions(state.served.as_deref()));
        state.served = Some(served.clone());
        served
    }

    fn read_definitions(&self, before: Option<&Served>) -> Served {
        let mut served = Served::default();
        let Ok(collected) = self.collected(DEFINITIONS) else {
            return served;
        };
        let page = self
            .store
            .list(collected.id, &ListQuery::default(), &Filter::default());
        for stored in page.map(|page| page.items).unwrap_or_default() {
            let name = stored.key.name.to_string();
            let known = before.and_then(|before| before.by_definition.get(&name));
            let entry = match known {
                Some((version, versions)) if *version == stored.version => (*version, versions.clone()),
                _ => (stored.version, definition::served(&stored.decode())),
            };
            served.by_definition.insert(name, entry);
        }
        let customs: Vec<Arc<Custom>> = served.customs().cloned().collect();
        let kinds: Vec<&'static Kind> = customs.iter().map(|custom| custom.kind).collect();
        for kind in &kinds {
            let id = self.store.ensure(CollectionSpec {
                stored_as: kind.stored_as,
                field_keys: &[],
                durability: Durability::Sync,
            });
            served
                .collections
                .entry(kind.stored_as)
                .or_insert(Collected { id, kind });
        }
        served.documents = discovery::Documents::new(kinds::all().iter().chain(kinds).collect(), customs);
        served
    }

    /// Gives definitions their status and ends those that are deleted, for as long as it is polled.
    pub(crate) async fn keep_definitions(self: Arc<Self>) {
        let Some(mut changed) = self
            .collected(DEFINITIONS)
            .ok()
            .and_then(|c| self.store.subscribe(c.id))
        else {
            return;
        };
        loop {
            changed.borrow_and_update();
            let waits = self.settle_definitions().await;
            let again = async {
                if waits {
                    tokio::time::sleep(LOOK_AGAIN).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                result = changed.changed() => if result.is_err() { return },
                () = again => {}
            }
        }
    }

    /// One round of it. Does one wait for its last objects?
    pub(super) async fn settle_definitions(&self) -> bool {
        let Ok(collected) = self.collected(DEFINITIONS) else {
            return false;
        };
        let mut waits = false;
        let list = || {
            let page = self
                .store
                .list(collected.id, &ListQuery::default(), &Filter::default());
            page.map(|page| page.items).unwrap_or_default()
        };
        for stored in list() {
            let old = stored.decode();
            let others: Vec<Value> = list().iter().map(|other| other.decode()).collect();
            let now = metadata::seconds(self.clock.now());
            let mut new = definition::settled(&old, &others, &now);
            let mut next = Next::Same;
            if definition::is_terminating(&old) && definition::is_condition(&old, "Terminating") {
                if self.clear(&old).await {
                    let mut finalizers: Vec<String> = metadata::finalizers(&new)
                        .into_iter()
                        .map(str::to_owned)
                        .collect();
                    finalizers.retain(|finalizer| finalizer != definition::FINALIZER);
                    let is_free = finalizers.is_empty();
                    if let Some(metadata) = metadata::metadata_mut(&mut new) {
                        metadata.insert("finalizers".to_owned(), finalizers.into());
                    }
                    if is_free {
                        next = Next::Remove(new.clone());
                    }
                } else {
                    waits = true;
                }
            }
            if matches!(next, Next::Same) && new != old {
                next = Next::Replace(new);
            }
            if !matches!(next, Next::Same) {
                // Somebody else was faster, or storage is closed: the change wakes this again.
                let _ = self.store_next(collected.kind, &stored, &old, next, false).await;
            }
        }
        waits
    }

    /// Deletes the objects of a definition. Are they all gone?
    async fn clear(&self, definition: &Value) -> bool {
        let text = |pointer: &str| {
            definition
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let stored_as = (text("/spec/group"), text("/spec/names/plural"));
        let Ok(collected) = self.collected(stored_as) else {
            return true;
        };
        let all = || {
            let page = self
                .store
                .list(collected.id, &ListQuery::default(), &Filter::default());
            page.map(|page| page.items).unwrap_or_default()
        };
        for stored in all() {
            if !metadata::is_deleting(&stored.decode()) {
                let _ = self
                    .delete_one(collected.kind, stored, &DeleteOptions::default())
                    .await;
            }
        }
        all().is_empty()
    }
}
