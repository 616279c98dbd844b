//! All intents, in memory and on disk.
//!
//! Source: hub.md B7.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Intent, State};
use crate::journal::{Disk, Log, Torn};

/// Most intents that are open at once.
pub(crate) const MAX_OPEN: usize = 256;
/// Most ended intents that are kept, and for how long.
const MAX_ENDED: usize = 256;
const KEEP_ENDED: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Most bytes of all intents together.
const MAX_BYTES: usize = 1024 * 1024;
/// From this length on the log is written anew.
const COMPACT_ABOVE: u64 = 256 * 1024;
/// The file.
pub(crate) const FILE: &str = "intents.log";

/// One record of the log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Record {
    /// An intent as it is from now on.
    Intent(Box<Intent>),
    /// Uptime of all hubs of this folder so far, in seconds.
    Uptime(u64),
}

/// Why an intent is not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BookError {
    #[error("too many intents are waiting")]
    TooMany,
    #[error("{0}")]
    Disk(#[from] io::Error),
}

/// All intents.
pub(crate) struct Book {
    log: Log,
    intents: BTreeMap<String, Intent>,
    /// Records of a newer version, which are kept as they are.
    strange: Vec<Vec<u8>>,
    /// Uptime before this process, and when this process began.
    before: Duration,
    began: Instant,
    /// Memory knows more than the disk.
    behind: bool,
    /// Writes that failed since the start.
    pub(crate) errors: u64,
}

impl Book {
    /// Reads what survived.
    pub(crate) fn open(disk: Box<dyn Disk>, began: Instant) -> io::Result<(Self, Option<Torn>)> {
        let (log, records, torn) = Log::open(disk, FILE)?;
        let mut book = Self {
            log,
            intents: BTreeMap::new(),
            strange: Vec::new(),
            before: Duration::ZERO,
            began,
            behind: false,
            errors: 0,
        };
        for record in records {
            match serde_json::from_slice(&record) {
                Ok(Record::Intent(intent)) => {
                    book.intents.insert(intent.id.clone(), *intent);
                }
                // Uptime never runs backwards.
                Ok(Record::Uptime(seconds)) => book.before = book.before.max(Duration::from_secs(seconds)),
                Err(error) => {
                    tracing::warn!(%error, "keeping a record of the intent log that this version does not know");
                    book.strange.push(record);
                }
            }
        }
        Ok((book, torn))
    }

    /// Uptime of all hubs of this folder, in seconds.
    pub(crate) fn uptime(&self, now: Instant) -> u64 {
        (self.before + now.saturating_duration_since(self.began)).as_secs()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Intent> {
        self.intents.get(id)
    }

    /// All, the oldest first.
    pub(crate) fn all(&self) -> Vec<&Intent> {
        let mut all: Vec<&Intent> = self.intents.values().collect();
        all.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        all
    }

    /// Those that are not over, the oldest first.
    pub(crate) fn open_ones(&self) -> Vec<&Intent> {
        let mut open = self.all();
        open.retain(|intent| !intent.state.ended());
        open
    }

    fn record(record: &Record) -> Vec<u8> {
        serde_json::to_vec(record).unwrap_or_default()
    }

    fn everything(&self) -> Vec<Vec<u8>> {
        let uptime = Record::Uptime(self.before.as_secs());
        let intents = self
            .intents
            .values()
            .cloned()
            .map(|intent| Record::Intent(Box::new(intent)));
        let known = std::iter::once(uptime)
            .chain(intents)
            .map(|record| Self::record(&record));
        known.chain(self.strange.iter().cloned()).collect()
    }

    /// Writes the log anew if it is long, or if the disk is behind.
    fn tidy(&mut self) -> io::Result<()> {
        let must = self.log.broken() || self.behind;
        if !must && self.log.length() <= COMPACT_ABOVE {
            return Ok(());
        }
        let everything = self.everything();
        let bytes: usize = everything.iter().map(Vec::len).sum();
        if !must && self.log.length() <= 2 * bytes as u64 {
            return Ok(());
        }
        self.log.rewrite(&everything)?;
        self.behind = false;
        Ok(())
    }

    /// Makes an intent durable, then known.
    ///
    /// # Errors
    /// It is neither.
    pub(crate) fn put(&mut self, intent: Intent) -> Result<(), BookError> {
        let fresh = self.get(&intent.id).is_none_or(|known| known.state.ended());
        let record = Self::record(&Record::Intent(Box::new(intent.clone())));
        if fresh && !intent.state.ended() {
            self.room_for(record.len())?;
        }
        self.write(record)?;
        self.prune(intent.ended.unwrap_or(intent.created));
        self.intents.insert(intent.id.clone(), intent);
        Ok(())
    }

    /// Makes known what happened, on disk too if that works: what happened is so even if it cannot be written.
    pub(crate) fn settle(&mut self, intent: Intent) {
        let record = Self::record(&Record::Intent(Box::new(intent.clone())));
        self.intents.insert(intent.id.clone(), intent);
        if let Err(error) = self.write(record) {
            tracing::error!(%error, "writing what became of an intent; a restart will find it out again");
            self.behind = true;
        }
    }

    /// Adds a record to the log.
    ///
    /// # Errors
    /// It is not in the log.
    fn write(&mut self, record: Vec<u8>) -> io::Result<()> {
        let written = self.tidy().and_then(|()| self.log.append(&[record]));
        if written.is_err() {
            self.errors += 1;
            // What could not be cut off must not be found by the next process, which would take it for a promise.
            if self.log.broken()
                && let Err(error) = self.tidy()
            {
                tracing::warn!(%error, "writing the intent log anew");
            }
        }
        written
    }

    /// Ends an intent that has not begun; returns it as it is then, and whether that is cancelled.
    ///
    /// # Errors
    /// It could not be written, so it is not cancelled.
    pub(crate) fn cancel(&mut self, id: &str, now: Timestamp) -> Result<Option<Intent>, BookError> {
        let Some(mut intent) = self.get(id).cloned() else {
            return Ok(None);
        };
        if intent.state == State::Pending {
            intent.end(State::Cancelled, "Cancelled", now);
            self.put(intent.clone())?;
        }
        Ok(Some(intent))
    }

    fn room_for(&self, bytes: usize) -> Result<(), BookError> {
        let open = self.intents.values().filter(|intent| !intent.state.ended());
        let lengths = open.map(|intent| serde_json::to_vec(intent).map_or(0, |record| record.len()));
        let (count, used) = lengths.fold((0, 0), |(count, used), length| (count + 1, used + length));
        if count >= MAX_OPEN || used + bytes > MAX_BYTES {
            return Err(BookError::TooMany);
        }
        Ok(())
    }

    /// Forgets what ended long ago, and of what ended the oldest if there is too much of it.
    fn prune(&mut self, now: Timestamp) {
        let mut ended: Vec<(Timestamp, String)> = self
            .intents
            .values()
            .filter_map(|intent| Some((intent.ended?, intent.id.clone())))
            .collect();
        ended.sort();
        let surplus = ended.len().saturating_sub(MAX_ENDED);
        for (at, (when, id)) in ended.into_iter().enumerate() {
            if at < surplus || when.duration_until(now) > KEEP_ENDED {
                self.intents.remove(&id);
            }
        }
    }

    /// Once a minute: uptime becomes durable while something depends on it, and the disk catches up.
    pub(crate) fn minute(&mut self, now: Instant, wall: Timestamp) {
        self.prune(wall);
        if self.intents.values().any(|intent| !intent.state.ended()) {
            let uptime = Record::Uptime(self.uptime(now));
            let record = Self::record(&uptime);
            if let Err(error) = self.write(record) {
                tracing::warn!(%error, "writing uptime to the intent log");
            } else {
                self.before = self.before.max(Duration::from_secs(self.uptime(now)));
                self.began = now;
            }
        } else if (self.behind || self.log.broken())
            && let Err(error) = self.tidy()
        {
            tracing::warn!(%error, "writing the intent log anew");
            self.errors += 1;
        }
    }

    /// Writes what is not written.
    pub(crate) fn close(&mut self) {
        if (self.behind || self.log.broken())
            && let Err(error) = self.tidy()
        {
            tracing::error!(%error, "writing the intent log anew");
        }
    }

    #[cfg(test)]
    pub(crate) fn length(&self) -> u64 {
        self.log.length()
    }
}
