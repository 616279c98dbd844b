//! What the API serves, as lean views: kept up to date by list and watch, indexed by what decisions ask for.
//!
//! Invariants:
//! * An object that cannot be read is not in the store, not even as it was when it could be read last. A workload that
//!   depends on it is frozen ([`State::unreadable_for`]).
//! * A view is replaced only by a newer one of the same object, wherever it comes from (watch, list or the answer to
//!   a write of ours).
//! * While a kind is not in sync (first list, or a list anew), nothing is decided ([`Stores::is_synced`]).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

pub use change::{Change, Key, Owned};
pub use object::{Identity, Object, Wire};
pub use overlay::{Overdue, Overlay, PostAnswer, Seen, SentCreate, SentDelete};
pub use state::{DaemonSetIndex, State};

use crate::api::Resource;

mod change;
mod intern;
mod object;
mod overlay;
mod pods;
pub mod reflector;
mod state;

/// Hears of every change, in order, while the store is locked: it must be quick and must not call back.
pub trait Listener: Send + Sync {
    /// One change, already in the state.
    fn changed(&self, state: &State, change: &Change);

    /// Objects of a kind were listed anew: anything may have changed.
    fn relisted(&self, state: &State, resource: Resource);
}

/// The stores of all kinds, behind one lock that is held for microseconds.
#[derive(Default)]
pub struct Stores {
    state: RwLock<State>,
    synced: [AtomicBool; Resource::WATCHED.len()],
    restarts: [AtomicU64; Resource::WATCHED.len()],
    listeners: OnceLock<Vec<Arc<dyn Listener>>>,
    /// Kinds that nobody looks at, and that are therefore not kept.
    left_out: Vec<Resource>,
}

impl Stores {
    /// Empty stores of all kinds that nobody listens to yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empty stores of the kinds for which this says yes.
    pub fn following(follows: impl Fn(Resource) -> bool) -> Self {
        let all = Resource::WATCHED.into_iter();
        Self {
            left_out: all.filter(|resource| !follows(*resource)).collect(),
            ..Self::default()
        }
    }

    /// Is this kind kept?
    pub fn follows(&self, resource: Resource) -> bool {
        Resource::WATCHED.contains(&resource) && !self.left_out.contains(&resource)
    }

    /// Who hears of changes. Only the first call counts.
    pub fn listen(&self, listeners: Vec<Arc<dyn Listener>>) {
        // A second caller would be a second manager on the same stores, which start() rules out.
        let _ = self.listeners.set(listeners);
    }

    /// The views, for as long as the guard lives. Do not keep it over an await.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Were all kinds listed that decisions need, and is none of them being listed anew?
    pub fn is_synced(&self) -> bool {
        self.unsynced().is_empty()
    }

    /// The kinds that decisions need and that are not in sync.
    pub fn unsynced(&self) -> Vec<Resource> {
        Resource::WATCHED
            .into_iter()
            .zip(&self.synced)
            .filter(|(resource, _)| resource.is_needed() && self.follows(*resource))
            .filter(|(_, synced)| !synced.load(Ordering::Acquire))
            .map(|(resource, _)| resource)
            .collect()
    }

    /// Is this kind in sync?
    pub fn has(&self, resource: Resource) -> bool {
        self.synced
            .get(index(resource))
            .is_some_and(|synced| synced.load(Ordering::Acquire))
    }

    /// How often the watch of each kind was opened again.
    pub fn watch_restarts(&self) -> impl Iterator<Item = (Resource, u64)> + '_ {
        Resource::WATCHED
            .into_iter()
            .zip(self.restarts.iter().map(|n| n.load(Ordering::Relaxed)))
    }

    /// Takes in the answer to a write of ours, unless the watch has passed it already.
    ///
    /// An answer that cannot be read is ignored: the watch will tell.
    pub fn written(&self, resource: Resource, answer: &[u8]) {
        let wire = Wire::decode(resource, answer);
        if matches!(wire, Wire::Unreadable(_)) {
            return;
        }
        self.change(|state| {
            let object = state.lean(wire);
            let is_ahead = object.version() > state.version(resource);
            is_ahead.then(|| state.put(object))?
        });
    }

    fn set_synced(&self, resource: Resource, synced: bool) {
        if let Some(flag) = self.synced.get(index(resource)) {
            flag.store(synced, Ordering::Release);
        }
    }

    fn count_restart(&self, resource: Resource) {
        if let Some(n) = self.restarts.get(index(resource)) {
            n.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn change(&self, apply: impl FnOnce(&mut State) -> Option<Change>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(change) = apply(&mut state) {
            for listener in self.listeners.get().into_iter().flatten() {
                listener.changed(&state, &change);
            }
        }
    }

    /// Lean objects of one page of a list.
    fn lean(&self, wires: Vec<Wire>) -> Vec<Object> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        wires.into_iter().map(|wire| state.lean(wire)).collect()
    }

    /// Takes in a list. Does it count as in sync from now on?
    fn replace(&self, resource: Resource, objects: Vec<Object>, version: u64, is_synced: bool) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.replace(resource, objects, version);
        self.set_synced(resource, is_synced);
        for listener in self.listeners.get().into_iter().flatten() {
            listener.relisted(&state, resource);
        }
    }
}

/// The position of a watched kind in arrays by kind. Kinds that are not watched have none and fall off the end.
fn index(resource: Resource) -> usize {
    Resource::WATCHED
        .iter()
        .position(|watched| *watched == resource)
        .unwrap_or(usize::MAX)
}
