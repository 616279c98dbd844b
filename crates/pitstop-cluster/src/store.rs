//! Objects as bytes, one global resourceVersion, watch history, durability.
//!
//! Memory is the truth while the process runs: every object is held once, as the bytes that clients read, beside the
//! few fields that selectors ask for; old versions as what they differ in from the version after, and what has not
//! changed for a while as what it differs in from another object of its sort. With a data folder every change also goes to a log in resourceVersion order, and
//! is acknowledged when it is on disk.
//!
//! Source: embedded-cluster.md 7, 8, 17.8 and 18.

mod collection;
mod delta;
mod disk;
mod filter;
mod frame;
mod object;
mod siblings;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use jiff::Timestamp;
use pitstop_api::SharedClock;
use tokio::sync::{Notify, watch};

pub(crate) use self::collection::{Change, ChangeKind, CollectionSpec};
use self::collection::{Collection, Snapshot};
pub(crate) use self::filter::{FieldTerm, FieldTerms, Filter};
pub(crate) use self::object::{Draft, Key, Stored};
use self::writer::{Acknowledgement, Record, Writer};
use crate::kinds::Durability;

/// What a store is made with.
#[derive(Debug)]
pub(crate) struct Options {
    /// Where objects are kept; `None`: in memory only.
    pub(crate) data: Option<PathBuf>,
    /// Stamps writes, so that history and events age.
    pub(crate) clock: SharedClock,
    /// Changes kept per collection for watches that resume.
    pub(crate) history: usize,
    /// What is stored.
    pub(crate) collections: Vec<CollectionSpec>,
}

/// Why the store could not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process works on the folder.
    #[error("the data folder {} is in use by another pitstop (process {process})", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// Process id as the other one wrote it, or `unknown`.
        process: String,
    },
    /// The folder was written by a newer version.
    #[error("the data folder {} was written by a newer pitstop (format {found}, this one reads up to {known})", folder.display())]
    Newer {
        /// The folder.
        folder: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format that this program reads.
        known: u64,
    },
    /// The folder or its database cannot be read or written.
    #[error("the data folder {} cannot be used: {cause}", folder.display())]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// What the system or the database says.
        cause: String,
    },
}

/// Why a write did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WriteError {
    /// The object is there already.
    #[error("already exists")]
    Exists,
    /// The object is not there.
    #[error("not found")]
    Missing,
    /// The object was changed in between.
    #[error("changed in between")]
    Conflict,
    /// The disk refused a write; nothing is accepted any more.
    #[error("storage is closed")]
    Closed,
}

/// A resourceVersion whose changes are not kept (any more).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone {
    /// What was asked for.
    pub(crate) requested: u64,
    /// The oldest resourceVersion from which changes are known.
    pub(crate) oldest: u64,
}

/// Index of a collection, given out by [`Store::collection`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CollectionId(usize);

/// What has to hold for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// No such object.
    Absent,
    /// The object, at this resourceVersion.
    Version(u64),
}

/// A write that is in memory and on its way to the disk.
#[derive(Debug)]
#[must_use = "a write is acknowledged only when `durable` returns"]
pub(crate) struct Commit {
    stored: Arc<Stored>,
    acknowledgement: Option<Acknowledgement>,
}

impl Commit {
    /// Waits until the write is as durable as it was asked to be.
    pub(crate) async fn durable(self) -> Result<Arc<Stored>, WriteError> {
        if let Some(acknowledgement) = self.acknowledgement {
            acknowledgement.await.map_err(|_| WriteError::Closed)??;
        }
        Ok(self.stored)
    }
}

/// Changes of one collection, in order, up to a resourceVersion.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The changes.
    pub(crate) changes: Vec<Arc<Change>>,
    /// Everything up to here is in this batch or in those before.
    pub(crate) upto: u64,
}

/// Part of a list: one state of the collection, from a key on.
#[derive(Debug)]
pub(crate) struct Page {
    /// The resourceVersion of the state.
    pub(crate) version: u64,
    /// Matching objects, by namespace and name.
    pub(crate) items: Vec<Arc<Stored>>,
    /// The last key of this page, when more follows.
    pub(crate) more_after: Option<Key>,
    /// How many objects follow this page, when nothing was filtered.
    pub(crate) remaining: Option<usize>,
}

/// Which part of which state to list.
#[derive(Debug, Default)]
pub(crate) struct ListQuery<'a> {
    /// Objects of one namespace; `Some("")` for cluster-scoped kinds.
    pub(crate) namespace: Option<&'a str>,
    /// The state at exactly this resourceVersion; the current one when absent.
    pub(crate) at: Option<u64>,
    /// Only keys after this one.
    pub(crate) after: Option<Key>,
    /// At most this many; 0: all.
    pub(crate) limit: usize,
}

/// All objects of one cluster.
#[derive(Debug)]
pub(crate) struct Store {
    state: RwLock<State>,
    signals: RwLock<Vec<Signal>>,
    history: usize,
    newest: watch::Sender<u64>,
    writer: Option<Writer>,
    clock: SharedClock,
}

/// Tells that a collection has changed.
#[derive(Debug, Default)]
struct Signal {
    /// The version of the newest change, for those who look from time to time.
    version: watch::Sender<u64>,
    /// For those who wait: they are woken in the order in which they came, so that a simulation can be repeated. (A watch
    /// channel wakes its receivers in a random order.)
    arrival: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    version: u64,
    /// Versions in this open interval may have been used before a crash, by changes that are lost.
    lost: (u64, u64),
    collections: Vec<Collection>,
}

impl Store {
    /// Opens a store and reads back what its folder holds.
    pub(crate) fn open(options: Options) -> Result<Self, OpenError> {
        let Options {
            data,
            clock,
            history,
            collections,
        } = options;
        let now = clock.now();
        let mut collections: Vec<Collection> = collections
            .into_iter()
            .map(|spec| Collection::new(spec, history))
            .collect();
        let signals = |count: usize| RwLock::new((0..count).map(|_| Signal::default()).collect());
        let Some(folder) = data else {
            let signals = signals(collections.len());
            let state = State {
                version: 1,
                lost: (1, 1),
                collections,
            };
            return Ok(Self {
                state: RwLock::new(state),
                signals,
                history,
                newest: watch::Sender::new(1),
                writer: None,
                clock,
            });
        };
        let mut disk = disk::Disk::open(&folder)?;
        let recovered = disk.recover(&mut collections, history, now)?;
        let signals = signals(collections.len());
        let writer = Writer::start(Box::new(disk), recovered.version, recovered.reserved);
        let state = State {
            version: recovered.version,
            lost: (recovered.last_persisted, recovered.version),
            collections,
        };
        Ok(Self {
            state: RwLock::new(state),
            signals,
            history,
            newest: watch::Sender::new(recovered.version),
            writer: Some(writer),
            clock,
        })
    }

    /// The collection in which objects of a group and plural are kept.
    pub(crate) fn collection(&self, stored_as: (&str, &str)) -> Option<CollectionId> {
        self.read()
            .collections
            .iter()
            .position(|c| c.spec.stored_as == stored_as)
            .map(CollectionId)
    }

    /// The newest resourceVersion.
    pub(crate) fn version(&self) -> u64 {
        self.read().version
    }

    /// One object.
    pub(crate) fn get(&self, collection: CollectionId, key: &Key) -> Option<Arc<Stored>> {
        self.read().collections.get(collection.0)?.get(key)
    }

    /// Objects in order of namespace and name.
    pub(crate) fn list(
        &self,
        collection: CollectionId,
        query: &ListQuery<'_>,
        filter: &Filter,
    ) -> Result<Page, Gone> {
        let snapshot = {
            let state = self.read();
            let requested = query.at.unwrap_or(state.version);
            state.check_kept(collection, requested)?;
            let Some(c) = state.collections.get(collection.0) else {
                return Ok(Page {
                    version: requested,
                    items: Vec::new(),
                    more_after: None,
                    remaining: None,
                });
            };
            c.snapshot(query, filter, requested)
        };
        let Snapshot {
            version,
            items,
            more_after,
            remaining,
        } = snapshot;
        Ok(Page {
            version,
            items,
            more_after,
            remaining,
        })
    }

    /// Creates or replaces an object.
    pub(crate) fn put(
        &self,
        collection: CollectionId,
        key: &Key,
        draft: Draft,
        expect: Expect,
        durability: Durability,
    ) -> Result<Commit, WriteError> {
        self.write(collection, key, expect, durability, |old, version, now| {
            let kind = if old.is_some() {
                ChangeKind::Modified
            } else {
                ChangeKind::Added
            };
            Ok((kind, Arc::new(draft.stored(key.clone(), kind, version, now, old))))
        })
    }

    /// What a write would store, for a dry run.
    pub(crate) fn preview(&self, key: Key, draft: Draft, version: u64) -> Stored {
        draft.stored(key, ChangeKind::Modified, version, self.clock.now(), None)
    }

    /// Removes an object that is at a resourceVersion. Watchers see what was stored, at the version of the removal.
    pub(crate) fn remove(
        &self,
        collection: CollectionId,
        key: &Key,
        at: u64,
        durability: Durability,
    ) -> Result<Commit, WriteError> {
        self.write(
            collection,
            key,
            Expect::Version(at),
            durability,
            |old, version, now| {
                let old = old.ok_or(WriteError::Missing)?;
                let kind = ChangeKind::Deleted;
                Ok((kind, Arc::new(old.restamped(kind, version, now))))
            },
        )
    }

    fn write(
        &self,
        collection: CollectionId,
        key: &Key,
        expect: Expect,
        durability: Durability,
        make: impl FnOnce(Option<&Stored>, u64, Timestamp) -> Result<(ChangeKind, Arc<Stored>), WriteError>,
    ) -> Result<Commit, WriteError> {
        let now = self.clock.now();
        let mut guard = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        let c = state
            .collections
            .get_mut(collection.0)
            .ok_or(WriteError::Missing)?;
        let old = c.get(key);
        match (expect, &old) {
            (Expect::Absent, Some(_)) => return Err(WriteError::Exists),
            (Expect::Version(_), None) => return Err(WriteError::Missing),
            (Expect::Version(at), Some(old)) if old.version != at => return Err(WriteError::Conflict),
            _ => {}
        }
        let version = state.version + 1;
        if let Some(writer) = &self.writer {
            writer
                .wait_until_reserved(version)
                .map_err(|_| WriteError::Closed)?;
        }
        let (kind, stored) = make(old.as_deref(), version, now)?;
        // The record is queued under the lock: the log is in resourceVersion order.
        let acknowledgement = match &self.writer {
            Some(writer) => writer
                .append(Record {
                    collection: c.spec.stored_as,
                    key: key.clone(),
                    version,
                    at: now,
                    object: (kind != ChangeKind::Deleted).then(|| stored.bytes()),
                    durability,
                })
                .map_err(|_| WriteError::Closed)?,
            None => None,
        };
        state.version = version;
        c.apply(Change {
            version,
            kind,
            old,
            new: stored.clone(),
            at: now,
        });
        self.signal(collection, version);
        self.newest.send_replace(version);
        drop(guard);
        Ok(Commit {
            stored,
            acknowledgement,
        })
    }

    /// Wakes all who wait when a collection changes, in the order in which they came.
    pub(crate) fn arrivals(&self, collection: CollectionId) -> Option<Arc<Notify>> {
        let signals = self.signals.read().unwrap_or_else(PoisonError::into_inner);
        signals
            .get(collection.0)
            .map(|signal| Arc::clone(&signal.arrival))
    }

    /// Shows when a collection has changed.
    pub(crate) fn subscribe(&self, collection: CollectionId) -> Option<watch::Receiver<u64>> {
        let signals = self.signals.read().unwrap_or_else(PoisonError::into_inner);
        signals.get(collection.0).map(|signal| signal.version.subscribe())
    }

    fn signal(&self, collection: CollectionId, version: u64) {
        let signals = self.signals.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(signal) = signals.get(collection.0) {
            signal.version.send_replace(version);
            signal.arrival.notify_waiters();
        }
    }

    /// The collection of a kind that came while the store was open; made if there is none.
    pub(crate) fn ensure(&self, spec: CollectionSpec) -> CollectionId {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let known = state
            .collections
            .iter()
            .position(|c| c.spec.stored_as == spec.stored_as);
        if let Some(known) = known {
            return CollectionId(known);
        }
        let mut collection = Collection::new(spec, self.history);
        collection.begin_history(state.version);
        state.collections.push(collection);
        let mut signals = self.signals.write().unwrap_or_else(PoisonError::into_inner);
        signals.push(Signal::default());
        CollectionId(state.collections.len() - 1)
    }

    /// Waits until a resourceVersion is reached, which may be never.
    pub(crate) async fn reached(&self, version: u64) {
        let mut newest = self.newest.subscribe();
        // An error means that the store is gone, and it is borrowed.
        let _ = newest.wait_for(|newest| *newest >= version).await;
    }

    /// May a watch start after a resourceVersion?
    pub(crate) fn check_resume(&self, collection: CollectionId, version: u64) -> Result<(), Gone> {
        self.read().check_kept(collection, version)
    }

    /// The next changes after a resourceVersion, at most `max`.
    pub(crate) fn changes_after(
        &self,
        collection: CollectionId,
        version: u64,
        max: usize,
    ) -> Result<Batch, Gone> {
        let state = self.read();
        let Some(c) = state.collections.get(collection.0) else {
            return Ok(Batch {
                changes: Vec::new(),
                upto: version,
            });
        };
        if version < c.oldest() {
            return Err(Gone {
                requested: version,
                oldest: c.oldest(),
            });
        }
        let changes = c.changes_after(version, max);
        // A full batch may have been cut short, so it proves nothing beyond its last change.
        let upto = match changes.last() {
            Some(last) if changes.len() == max => last.version,
            _ => state.version,
        };
        Ok(Batch { changes, upto })
    }

    /// Keys of objects last written before an instant.
    pub(crate) fn written_before(&self, collection: CollectionId, instant: Timestamp) -> Vec<Arc<Stored>> {
        self.read()
            .collections
            .get(collection.0)
            .map_or_else(Vec::new, |c| c.written_before(instant))
    }

    /// Writes everything that waits to the disk and stops accepting writes.
    pub(crate) fn close(&self) {
        // Taking the lock first: no write may slip in between the last record and the mark of a clean end.
        let state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = &self.writer {
            writer.close(state.version);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

impl State {
    /// Are all changes of a collection after a resourceVersion known?
    fn check_kept(&self, collection: CollectionId, requested: u64) -> Result<(), Gone> {
        let oldest = self.collections.get(collection.0).map_or(0, Collection::oldest);
        let (last_persisted, start) = self.lost;
        let lost = requested > last_persisted && requested < start;
        if requested < oldest || requested > self.version || lost {
            let oldest = if lost { start } else { oldest };
            return Err(Gone { requested, oldest });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
