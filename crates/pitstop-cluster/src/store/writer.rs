//! The thread that brings changes to the disk: it takes whatever has queued up, writes it as one transaction and
//! acknowledges all of it.
//!
//! Source: embedded-cluster.md 18.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::WriteError;
use super::object::Key;
use crate::kinds::Durability;

/// Resourceversions are set aside in blocks of this size before they are used, so that none is ever used twice.
pub(super) const BLOCK: u64 = 10_000;

/// Longest wait of a relaxed write for company.
///
/// Source: embedded-cluster.md 18, "loss window <= 1 s"; half of it leaves room for a slow disk.
const RELAXED_WAIT: Duration = Duration::from_millis(500);

/// How long the others of a crowd are waited for. A transaction has a price of its own, whatever it writes.
///
/// Source: embedded-cluster.md 18, "fsync <= 5 ms batches".
const CROWD_WAIT: Duration = Duration::from_millis(2);

/// So many who waited for one transaction are a crowd: the next one has many, too.
const CROWD: usize = 8;

/// A transaction is cut at this size, so that memory stays bounded while a disk is slow.
const MAX_BATCH: usize = 4_096;

/// One change on its way to the disk.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) collection: (&'static str, &'static str),
    pub(super) key: Key,
    pub(super) version: u64,
    pub(super) at: Timestamp,
    /// `None`: deleted.
    pub(super) object: Option<Bytes>,
    pub(super) durability: Durability,
}

/// What a database has to do.
pub(super) trait Log: Send {
    /// Makes the records and, when given, a new limit of used resourceVersions durable, all or nothing.
    fn commit(&mut self, records: &[Record], reserve: Option<u64>) -> Result<(), String>;
}

/// Resolves when the write is on disk.
pub(super) type Acknowledgement = oneshot::Receiver<Result<(), WriteError>>;

#[derive(Debug)]
enum Message {
    Record(Box<Record>, Option<oneshot::Sender<Result<(), WriteError>>>),
    /// End cleanly: no resourceVersion above this one was used.
    Close(u64),
}

/// Handle of the thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Mutex<Option<Sender<Message>>>,
    reservation: Arc<Reservation>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Up to which resourceVersion the disk knows that they may have been used.
#[derive(Debug)]
struct Reservation {
    /// `None` once the disk has refused a write.
    limit: Mutex<Option<u64>>,
    grown: Condvar,
}

impl Reservation {
    fn set(&self, limit: Option<u64>) {
        *self.limit.lock().unwrap_or_else(PoisonError::into_inner) = limit;
        self.grown.notify_all();
    }
}

impl Writer {
    /// Starts the thread. Versions from `version` to `reserved` are free to use.
    pub(super) fn start(log: Box<dyn Log>, version: u64, reserved: u64) -> Self {
        let (queue, messages) = channel();
        let reservation = Arc::new(Reservation {
            limit: Mutex::new(Some(reserved)),
            grown: Condvar::new(),
        });
        let worker = Worker {
            log,
            messages,
            reservation: reservation.clone(),
            reserved,
            newest: version,
            is_crowded: false,
        };
        let thread = std::thread::Builder::new()
            .name("pitstop-store".to_owned())
            .spawn(move || worker.run());
        match thread {
            Ok(thread) => Self {
                queue: Mutex::new(Some(queue)),
                reservation,
                thread: Mutex::new(Some(thread)),
            },
            Err(error) => {
                tracing::error!(%error, "the thread that writes to disk cannot start");
                reservation.set(None);
                Self {
                    queue: Mutex::new(None),
                    reservation,
                    thread: Mutex::new(None),
                }
            }
        }
    }

    /// Blocks until a resourceVersion is set aside, which it nearly always is long before.
    pub(super) fn wait_until_reserved(&self, version: u64) -> Result<(), WriteError> {
        let limit = self
            .reservation
            .limit
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let limit = self
            .reservation
            .grown
            .wait_while(limit, |limit| limit.is_some_and(|limit| version > limit))
            .unwrap_or_else(PoisonError::into_inner);
        if limit.is_none() {
            Err(WriteError::Closed)
        } else {
            Ok(())
        }
    }

    /// Queues a change. Changes must come in resourceVersion order.
    pub(super) fn append(&self, record: Record) -> Result<Option<Acknowledgement>, WriteError> {
        let (acknowledge, acknowledgement) = match record.durability {
            Durability::Sync => {
                let (tx, rx) = oneshot::channel();
                (Some(tx), Some(rx))
            }
            Durability::Relaxed => (None, None),
        };
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else {
            return Err(WriteError::Closed);
        };
        let sent = queue.send(Message::Record(Box::new(record), acknowledge));
        sent.map(|()| acknowledgement).map_err(|_| WriteError::Closed)
    }

    /// Brings everything to the disk and ends the thread.
    pub(super) fn close(&self, version: u64) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(queue) = queue {
            // When the thread has ended already, there is nothing left to end.
            let _ = queue.send(Message::Close(version));
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes to disk has ended by a fault");
        }
    }
}

/// Does the thread go on after a transaction?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    No,
    /// The store went away without a word.
    Abandoned,
    /// A clean end: no resourceVersion above this one was used.
    Clean(u64),
}

struct Worker {
    log: Box<dyn Log>,
    messages: Receiver<Message>,
    reservation: Arc<Reservation>,
    reserved: u64,
    newest: u64,
    /// Did a crowd wait for the last transaction?
    is_crowded: bool,
}

impl Worker {
    fn run(mut self) {
        loop {
            let mut records = Vec::new();
            let mut waiting = Vec::new();
            let end = self.gather(&mut records, &mut waiting);
            let outcome = self.commit(&records, end);
            let failed = outcome.is_err();
            self.is_crowded = waiting.len() >= CROWD;
            for acknowledge in waiting {
                // A caller that went away does not need to know.
                let _ = acknowledge.send(outcome);
            }
            if failed || end != End::No {
                self.reservation.set(None);
                return;
            }
        }
    }

    /// Takes what is queued: at once when someone waits for it, soon when many do, else when enough has come together.
    fn gather(
        &mut self,
        records: &mut Vec<Record>,
        waiting: &mut Vec<oneshot::Sender<Result<(), WriteError>>>,
    ) -> End {
        let mut crowd_until = None;
        while records.len() < MAX_BATCH {
            if self.is_crowded && !waiting.is_empty() && crowd_until.is_none() {
                crowd_until = Some(Instant::now() + CROWD_WAIT);
            }
            let crowd = crowd_until.and_then(|until| until.checked_duration_since(Instant::now()));
            let next = if let (Some(wait), false) = (crowd, self.reservation_is_due()) {
                let next = self.messages.recv_timeout(wait);
                next.map_err(|e| e == RecvTimeoutError::Disconnected)
            } else if !waiting.is_empty() || self.reservation_is_due() {
                self.messages
                    .try_recv()
                    .map_err(|e| e == std::sync::mpsc::TryRecvError::Disconnected)
            } else if records.is_empty() {
                self.messages.recv().map_err(|_| true)
            } else {
                let wait = self.messages.recv_timeout(RELAXED_WAIT);
                wait.map_err(|e| e == RecvTimeoutError::Disconnected)
            };
            match next {
                Ok(Message::Record(record, acknowledge)) => {
                    self.newest = record.version;
                    records.push(*record);
                    waiting.extend(acknowledge);
                }
                Ok(Message::Close(version)) => return End::Clean(version),
                Err(true) => return End::Abandoned,
                Err(false) => return End::No,
            }
        }
        End::No
    }

    fn reservation_is_due(&self) -> bool {
        self.newest + BLOCK / 2 > self.reserved
    }

    fn commit(&mut self, records: &[Record], end: End) -> Result<(), WriteError> {
        let reserve = match end {
            // A clean end gives back what was set aside.
            End::Clean(version) => Some(version),
            End::No if self.reservation_is_due() => Some(self.newest + BLOCK),
            End::No | End::Abandoned => None,
        };
        if records.is_empty() && reserve.is_none() {
            return Ok(());
        }
        if let Err(error) = self.log.commit(records, reserve) {
            tracing::error!(%error, "the disk refused a write; no more writes are accepted");
            return Err(WriteError::Closed);
        }
        if let Some(reserve) = reserve {
            self.reserved = reserve;
            self.reservation.set(Some(reserve));
        }
        Ok(())
    }
}
