//! Records that survive kill -9, a torn tail and a full disk.
//!
//! A log is a file of records `u32 length | u32 crc32c | bytes`, both numbers little-endian. It is read up to the first
//! record that is not whole, and cut off there. A record counts once the file is synced; one that could not be written
//! or synced is cut off again, and if even that fails nothing is appended until the whole file was written anew.
//!
//! Source: hub.md B7, B12.

use std::io;

pub(crate) use disk::{Counted, Disk, Folder};

mod disk;

/// Length and checksum before each record.
const HEADER: usize = 8;
/// Longest record that is read: more than the API server stores in one object.
const MAX_RECORD: usize = 4 * 1024 * 1024;

/// CRC-32C (Castagnoli), reflected.
const fn crc_table() -> [u32; 256] {
    let mut table = [0_u32; 256];
    let mut byte = 0;
    let mut number = 0_u32;
    while byte < 256 {
        let mut crc = number;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
        number += 1;
    }
    table
}

const CRC: [u32; 256] = crc_table();

/// CRC-32C of some bytes.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        let [low, ..] = crc.to_le_bytes();
        // A byte is always within the table.
        crc = CRC.get(usize::from(low ^ byte)).copied().unwrap_or(0) ^ (crc >> 8);
    }
    !crc
}

/// A record as it stands in the file.
fn framed(record: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + record.len());
    bytes.extend_from_slice(&u32::try_from(record.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&crc32c(record).to_le_bytes());
    bytes.extend_from_slice(record);
    bytes
}

/// The records of a file up to the first that is not whole, and where that one begins.
///
/// An empty record is not whole: eight zeros are what a file system may leave behind a torn tail.
pub(crate) fn parse(bytes: &[u8]) -> (Vec<&[u8]>, usize) {
    let mut records = Vec::new();
    let mut at = 0;
    while let Some((record, next)) = record_at(bytes, at) {
        records.push(record);
        at = next;
    }
    (records, at)
}

fn record_at(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let number = |from: usize| -> Option<u32> {
        let bytes = bytes.get(from..from.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let length = usize::try_from(number(at)?).ok()?;
    let start = at.checked_add(HEADER)?;
    if length == 0 || length > MAX_RECORD {
        return None;
    }
    let end = start.checked_add(length)?;
    let record = bytes.get(start..end)?;
    (crc32c(record) == number(at + 4)?).then_some((record, end))
}

/// What was cut off when a log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Torn {
    /// Where the first broken record began.
    pub(crate) at: usize,
    /// How many bytes were cut off.
    pub(crate) bytes: usize,
}

/// A log that is open.
pub(crate) struct Log {
    disk: Box<dyn Disk>,
    file: &'static str,
    /// Up to where the file is good.
    length: u64,
    /// What stands behind that is unknown: write the whole file before anything is appended.
    broken: bool,
}

impl Log {
    /// Reads a log; a tail that is not whole is cut off.
    pub(crate) fn open(
        mut disk: Box<dyn Disk>,
        file: &'static str,
    ) -> io::Result<(Self, Vec<Vec<u8>>, Option<Torn>)> {
        let bytes = disk.read(file)?;
        let (records, good) = parse(&bytes);
        let records = records.into_iter().map(<[u8]>::to_vec).collect();
        let torn = (good < bytes.len()).then(|| Torn {
            at: good,
            bytes: bytes.len() - good,
        });
        let mut log = Self {
            disk,
            file,
            length: good as u64,
            broken: false,
        };
        if torn.is_some() {
            log.cut();
        }
        Ok((log, records, torn))
    }

    /// Bytes of the log.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Whether the whole file has to be written before anything can be appended.
    pub(crate) fn broken(&self) -> bool {
        self.broken
    }

    /// Cuts off what is behind the good part.
    fn cut(&mut self) {
        let cut = self
            .disk
            .truncate(self.file, self.length)
            .and_then(|()| self.disk.sync(self.file));
        if let Err(error) = cut {
            tracing::warn!(file = self.file, %error, "cutting off a broken tail");
            self.broken = true;
        }
    }

    /// Adds records; they are on disk when this returns.
    ///
    /// # Errors
    /// None of them is in the log.
    pub(crate) fn append(&mut self, records: &[Vec<u8>]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("the log has to be written anew first"));
        }
        let bytes: Vec<u8> = records.iter().flat_map(|record| framed(record)).collect();
        let appended = self.disk.append(self.file, &bytes);
        match appended.and_then(|()| self.disk.sync(self.file)) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.cut();
                Err(error)
            }
        }
    }

    /// What the file lacks is not known: write it anew before anything is appended.
    pub(crate) fn doubt(&mut self) {
        self.broken = true;
    }

    /// Writes the whole log anew.
    ///
    /// # Errors
    /// The old file stands, or the new one; never a part of it.
    pub(crate) fn rewrite(&mut self, records: &[Vec<u8>]) -> io::Result<()> {
        let bytes: Vec<u8> = records.iter().flat_map(|record| framed(record)).collect();
        let new = format!("{}.new", self.file);
        self.disk.write(&new, &bytes)?;
        self.disk.sync(&new)?;
        if let Err(error) = self.disk.rename(&new, self.file) {
            self.broken = true;
            return Err(error);
        }
        self.length = bytes.len() as u64;
        // Which of the two files a crash would leave is open until the folder is synced.
        self.broken = true;
        self.disk.sync_folder()?;
        self.broken = false;
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod faulty;
#[cfg(test)]
mod tests;
