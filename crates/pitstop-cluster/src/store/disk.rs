//! The data folder: a lock, a format number and a database file.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::Value;

use super::OpenError;
use super::collection::{ChangeKind, Collection, CollectionSpec};
use super::object::{Draft, Key};
use super::writer::{BLOCK, Log, Record};
use crate::custom::lasting;
use crate::kinds::Durability;

/// Raised when older programs could misread what this one writes.
const FORMAT: u64 = 1;

/// Group, plural, namespace, name -> header and object.
const OBJECTS: TableDefinition<'_, (&str, &str, &str, &str), &[u8]> = TableDefinition::new("objects");
/// Group, plural -> resourceVersion of the last change, deletions too.
const COLLECTIONS: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("collections");
/// Numbers of the whole store.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");

const NUMBER_FORMAT: &str = "format";
const NUMBER_LAST: &str = "last resourceVersion";
const NUMBER_RESERVED: &str = "reserved resourceVersion";

/// Pages of the database that are kept in memory. Memory is the truth while the process runs: pages are read again only
/// to be written. Units: bytes.
const CACHE: usize = 16 << 20;

/// Bytes before the object in a value: resourceVersion and time of the write, little endian.
const VALUE_HEADER: usize = 16;

/// What was found in a data folder.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Where this process begins: never used before.
    pub(super) version: u64,
    /// The last change that is on disk.
    pub(super) last_persisted: u64,
    /// Set aside for this process.
    pub(super) reserved: u64,
}

/// An open data folder.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    database: Database,
    /// Held while the process works on the folder; the system lets go of it however the process ends.
    _lock: File,
}

impl Disk {
    /// Locks and opens a folder, which is made when it is not there.
    pub(super) fn open(folder: &Path) -> Result<Self, OpenError> {
        let lock = lock(folder)?;
        let unusable = |cause: String| OpenError::Unusable {
            folder: folder.to_owned(),
            cause,
        };
        let database = Database::builder()
            .set_cache_size(CACHE)
            .create(folder.join("objects.redb"))
            .map_err(|error| unusable(error.to_string()))?;
        let disk = Self {
            folder: folder.to_owned(),
            database,
            _lock: lock,
        };
        let found = disk.prepare().map_err(|error| unusable(error.to_string()))?;
        if found > FORMAT {
            return Err(OpenError::Newer {
                folder: folder.to_owned(),
                found,
                known: FORMAT,
            });
        }
        Ok(disk)
    }

    /// Makes the tables of a new folder; gives the format of the folder.
    fn prepare(&self) -> Result<u64, redb::Error> {
        let transaction = self.database.begin_write()?;
        let found = {
            let mut numbers = transaction.open_table(NUMBERS)?;
            let found = numbers.get(NUMBER_FORMAT)?.map(|n| n.value());
            if found.is_none() {
                numbers.insert(NUMBER_FORMAT, FORMAT)?;
            }
            transaction.open_table(OBJECTS)?;
            transaction.open_table(COLLECTIONS)?;
            found.unwrap_or(FORMAT)
        };
        transaction.commit()?;
        Ok(found)
    }

    /// Fills the collections and sets aside the first block of resourceVersions.
    pub(super) fn recover(
        &mut self,
        collections: &mut Vec<Collection>,
        history: usize,
        now: Timestamp,
    ) -> Result<Recovered, OpenError> {
        self.read_back(collections, history, now)
            .map_err(|error| OpenError::Unusable {
                folder: self.folder.clone(),
                cause: error.to_string(),
            })
    }

    fn read_back(
        &mut self,
        collections: &mut Vec<Collection>,
        history: usize,
        now: Timestamp,
    ) -> Result<Recovered, redb::Error> {
        let transaction = self.database.begin_read()?;
        let numbers = transaction.open_table(NUMBERS)?;
        let objects = transaction.open_table(OBJECTS)?;
        let last_changes = transaction.open_table(COLLECTIONS)?;
        // Kinds that are not built in were brought by definitions, which are among the objects.
        for entry in last_changes.iter()? {
            let (key, _) = entry?;
            let (group, plural) = key.value();
            if !collections.iter().any(|c| c.spec.stored_as == (group, plural)) {
                let spec = CollectionSpec {
                    stored_as: (lasting(group), lasting(plural)),
                    field_keys: &[],
                    durability: Durability::Sync,
                };
                collections.push(Collection::new(spec, history));
            }
        }
        for collection in collections {
            let (group, plural) = collection.spec.stored_as;
            let last = last_changes.get((group, plural))?.map_or(0, |n| n.value());
            collection.begin_history(last);
            for entry in objects.range((group, plural, "", "")..)? {
                let (key, value) = entry?;
                let (entry_group, entry_plural, namespace, name) = key.value();
                if (entry_group, entry_plural) != (group, plural) {
                    break;
                }
                let Some((version, at, object)) = split_value(value.value()) else {
                    tracing::warn!(group, plural, namespace, name, "an object on disk cannot be read");
                    continue;
                };
                let draft = Draft::new(&object, collection.spec.field_keys);
                let at = at.unwrap_or(now);
                let key = Key::new(namespace, name);
                collection.load(draft.stored(key, ChangeKind::Modified, version, at, None));
            }
        }
        let number = |name| -> Result<Option<u64>, redb::Error> { Ok(numbers.get(name)?.map(|n| n.value())) };
        let last_persisted = number(NUMBER_LAST)?.unwrap_or(1);
        let version = match number(NUMBER_RESERVED)? {
            // Ended cleanly: nothing was used beyond.
            Some(reserved) if reserved <= last_persisted => last_persisted,
            // Any of the block may have been used; one more, so that even its last was seen by nobody.
            Some(reserved) => reserved + 1,
            None => last_persisted,
        };
        drop((numbers, objects, last_changes, transaction));
        let reserved = version + BLOCK;
        self.write(&[], Some(reserved))?;
        Ok(Recovered {
            version,
            last_persisted,
            reserved,
        })
    }

    fn write(&mut self, records: &[Record], reserve: Option<u64>) -> Result<(), redb::Error> {
        // Transactions are durable when `commit` returns, which is the database's default.
        let transaction = self.database.begin_write()?;
        {
            let mut objects = transaction.open_table(OBJECTS)?;
            let mut numbers = transaction.open_table(NUMBERS)?;
            let mut last_changes = transaction.open_table(COLLECTIONS)?;
            let mut touched = BTreeMap::new();
            let mut value = Vec::new();
            for record in records {
                let (group, plural) = record.collection;
                let key = (group, plural, &*record.key.namespace, &*record.key.name);
                touched.insert(record.collection, record.version);
                match &record.object {
                    Some(object) => {
                        value.clear();
                        value.extend_from_slice(&record.version.to_le_bytes());
                        value.extend_from_slice(&record.at.as_microsecond().to_le_bytes());
                        value.extend_from_slice(object);
                        objects.insert(key, value.as_slice())?;
                    }
                    None => {
                        objects.remove(key)?;
                    }
                }
            }
            for (collection, version) in touched {
                last_changes.insert(collection, version)?;
            }
            if let Some(last) = records.last() {
                numbers.insert(NUMBER_LAST, last.version)?;
            }
            if let Some(reserve) = reserve {
                numbers.insert(NUMBER_RESERVED, reserve)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

impl Log for Disk {
    fn commit(&mut self, records: &[Record], reserve: Option<u64>) -> Result<(), String> {
        self.write(records, reserve).map_err(|error| error.to_string())
    }
}

fn split_value(value: &[u8]) -> Option<(u64, Option<Timestamp>, Value)> {
    let (header, object) = value.split_at_checked(VALUE_HEADER)?;
    let (version, at) = header.split_at_checked(8)?;
    let version = u64::from_le_bytes(version.try_into().ok()?);
    let at = i64::from_le_bytes(at.try_into().ok()?);
    Some((
        version,
        Timestamp::from_microsecond(at).ok(),
        serde_json::from_slice(object).ok()?,
    ))
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let unusable = |error: std::io::Error| OpenError::Unusable {
        folder: folder.to_owned(),
        cause: error.to_string(),
    };
    std::fs::create_dir_all(folder).map_err(unusable)?;
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(folder.join("lock"))
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            let read = file.read_to_string(&mut process);
            let process = match read.map(|_| process.trim()) {
                Ok(process) if !process.is_empty() => process.to_owned(),
                _ => "unknown".to_owned(),
            };
            return Err(OpenError::InUse {
                folder: folder.to_owned(),
                process,
            });
        }
        Err(TryLockError::Error(error)) => return Err(unusable(error)),
    }
    file.set_len(0).map_err(unusable)?;
    file.seek(SeekFrom::Start(0)).map_err(unusable)?;
    writeln!(file, "{}", std::process::id()).map_err(unusable)?;
    file.flush().map_err(unusable)?;
    Ok(file)
}
