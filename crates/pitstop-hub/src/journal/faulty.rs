//! A disk of memory that fails or dies at a system call by number.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::Disk;

/// What happens at a fault point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call fails; of what it would have written this many bytes are there.
    Fail(usize),
    /// The power goes: this and every later call fails, and of what was not synced this many bytes are left.
    Die(usize),
}

#[derive(Debug, Clone, Default)]
struct FileState {
    /// What a process reads.
    seen: Vec<u8>,
    /// What survives a loss of power.
    durable: Vec<u8>,
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<String, FileState>,
    /// Names as a loss of power leaves them.
    durable_names: BTreeMap<String, Vec<u8>>,
    calls: usize,
    faults: BTreeMap<usize, Fault>,
    dead: Option<usize>,
    full: bool,
}

/// A disk of memory; clones share it, as processes one after another do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faulty(Arc<Mutex<Inner>>);

impl Faulty {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// At this call from now on, counted from zero, this happens.
    pub(crate) fn at(&self, call: usize, fault: Fault) {
        let mut inner = self.inner();
        let call = inner.calls + call;
        inner.faults.insert(call, fault);
    }

    /// No more space, or space again.
    pub(crate) fn full(&self, full: bool) {
        self.inner().full = full;
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> usize {
        self.inner().calls
    }

    pub(crate) fn dead(&self) -> bool {
        self.inner().dead.is_some()
    }

    /// The bytes of a file.
    pub(crate) fn bytes(&self, file: &str) -> Vec<u8> {
        self.inner()
            .files
            .get(file)
            .map(|file| file.seen.clone())
            .unwrap_or_default()
    }

    /// A file with this content, synced.
    pub(crate) fn put(&self, file: &str, bytes: &[u8]) {
        let state = FileState {
            seen: bytes.to_vec(),
            durable: bytes.to_vec(),
        };
        let mut inner = self.inner();
        inner.files.insert(file.to_owned(), state);
        inner.durable_names.insert(file.to_owned(), bytes.to_vec());
    }

    /// The machine is on again. With `power` what was not synced is gone, but for the number of bytes of the fault;
    /// without, only the process died.
    pub(crate) fn restart(&self, power: bool) {
        let mut inner = self.inner();
        let kept = inner.dead.take().unwrap_or(0);
        inner.faults.clear();
        if power {
            let names = std::mem::take(&mut inner.durable_names);
            let files = std::mem::take(&mut inner.files);
            for (name, durable) in names {
                let mut bytes = durable.clone();
                // What was appended since may have come through in part.
                if let Some(state) = files.get(&name)
                    && state.seen.starts_with(&durable)
                {
                    let more = &state.seen[durable.len()..];
                    bytes.extend_from_slice(&more[..kept.min(more.len())]);
                }
                inner.durable_names.insert(name.clone(), bytes.clone());
                inner.files.insert(
                    name,
                    FileState {
                        seen: bytes.clone(),
                        durable: bytes,
                    },
                );
            }
        }
    }

    /// Counts a call; the number of bytes that a failing one still writes.
    fn call(&self) -> Result<(), (usize, io::Error)> {
        let mut inner = self.inner();
        let call = inner.calls;
        inner.calls += 1;
        if inner.dead.is_some() {
            return Err((0, io::Error::other("dead")));
        }
        match inner.faults.remove(&call) {
            Some(Fault::Fail(bytes)) => Err((bytes, io::Error::other("fault"))),
            Some(Fault::Die(bytes)) => {
                inner.dead = Some(bytes);
                Err((bytes, io::Error::other("dying")))
            }
            None if inner.full => Err((0, io::ErrorKind::StorageFull.into())),
            None => Ok(()),
        }
    }
}

/// Makes bytes like others, mostly by adding what is new.
fn catch_up(bytes: &mut Vec<u8>, like: &[u8]) {
    match like.strip_prefix(bytes.as_slice()) {
        Some(new) => bytes.extend_from_slice(new),
        None => *bytes = like.to_vec(),
    }
}

impl Disk for Faulty {
    fn read(&mut self, file: &str) -> io::Result<Vec<u8>> {
        self.call().map_err(|(_, error)| error)?;
        Ok(self.bytes(file))
    }

    fn append(&mut self, file: &str, bytes: &[u8]) -> io::Result<()> {
        let called = self.call();
        let mut inner = self.inner();
        inner.durable_names.entry(file.to_owned()).or_default();
        let state = inner.files.entry(file.to_owned()).or_default();
        match called {
            Ok(()) => {
                state.seen.extend_from_slice(bytes);
                Ok(())
            }
            Err((some, error)) => {
                state.seen.extend_from_slice(&bytes[..some.min(bytes.len())]);
                Err(error)
            }
        }
    }

    fn sync(&mut self, file: &str) -> io::Result<()> {
        self.call().map_err(|(_, error)| error)?;
        let mut inner = self.inner();
        let Inner {
            files, durable_names, ..
        } = &mut *inner;
        let state = files.entry(file.to_owned()).or_default();
        catch_up(&mut state.durable, &state.seen);
        if let Some(durable) = durable_names.get_mut(file) {
            catch_up(durable, &state.durable);
        }
        Ok(())
    }

    fn truncate(&mut self, file: &str, length: u64) -> io::Result<()> {
        self.call().map_err(|(_, error)| error)?;
        let mut inner = self.inner();
        let state = inner.files.entry(file.to_owned()).or_default();
        state.seen.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(())
    }

    fn write(&mut self, file: &str, bytes: &[u8]) -> io::Result<()> {
        let called = self.call();
        let some = called.as_ref().map_or_else(|(some, _)| *some, |()| bytes.len());
        let state = FileState {
            seen: bytes[..some.min(bytes.len())].to_vec(),
            durable: Vec::new(),
        };
        self.inner().files.insert(file.to_owned(), state);
        called.map_err(|(_, error)| error)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.call().map_err(|(_, error)| error)?;
        let mut inner = self.inner();
        let state = inner.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.files.insert(to.to_owned(), state);
        Ok(())
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        self.call().map_err(|(_, error)| error)?;
        let mut inner = self.inner();
        inner.durable_names = inner
            .files
            .iter()
            .map(|(name, state)| (name.clone(), state.durable.clone()))
            .collect();
        Ok(())
    }
}
