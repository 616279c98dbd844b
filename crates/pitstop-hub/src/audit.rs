//! Who changed or tried what: one line of JSON each, each with the hash of the line before.
//!
//! A line that was taken out or changed shows: the chain breaks there.
//!
//! Source: hub.md B10.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde::Serialize;

use crate::intents::{By, hex};

/// Longest file, and how many there are.
const MAX_BYTES: u64 = 2 * 1024 * 1024;
const FILES: u32 = 5;
/// Longest path that is recorded, in characters.
const MAX_PATH: usize = 512;
/// How much of the end of a file is read to find its last line.
const TAIL: u64 = 16 * 1024;

/// What is recorded.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    /// Seconds.
    pub(crate) uptime: u64,
    pub(crate) by: By,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) intent: Option<String>,
    /// `allowed`, or the check that refused.
    pub(crate) decision: &'static str,
    pub(crate) code: u16,
}

#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    ts: Timestamp,
    uptime: u64,
    #[serde(flatten)]
    by: &'a By,
    method: &'a str,
    path: &'a str,
    intent: Option<&'a str>,
    decision: &'static str,
    code: u16,
    prev: &'a str,
}

/// The file, and where its chain stands.
pub(crate) struct Audit {
    path: PathBuf,
    file: File,
    length: u64,
    seq: u64,
    prev: String,
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

impl Audit {
    /// Opens the file and goes on with its chain.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = open(path)?;
        let length = file.metadata()?.len();
        file.seek(io::SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        let (mut seq, mut prev) = (0, String::new());
        if let Some(last) = tail.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()) {
            prev = hash(last);
            seq = serde_json::from_slice::<serde_json::Value>(last)
                .ok()
                .and_then(|line| line.get("seq")?.as_u64())
                .unwrap_or(0);
        }
        let mut audit = Self {
            path: path.to_owned(),
            file,
            length,
            seq,
            prev,
        };
        // A line that a crash cut off must not swallow the next one.
        if !tail.is_empty() && !tail.ends_with(b"\n") {
            audit.file.write_all(b"\n")?;
            audit.length += 1;
        }
        Ok(audit)
    }

    /// Writes one line; with `durable` it is on disk when this returns.
    pub(crate) fn write(&mut self, entry: &Entry, durable: bool) -> io::Result<()> {
        if self.length >= MAX_BYTES {
            self.turn()?;
        }
        let path: String = entry.path.chars().take(MAX_PATH).collect();
        let line = Line {
            seq: self.seq + 1,
            ts: entry.at,
            uptime: entry.uptime,
            by: &entry.by,
            method: &entry.method,
            path: &path,
            intent: entry.intent.as_deref(),
            decision: entry.decision,
            code: entry.code,
            prev: &self.prev,
        };
        let mut line = serde_json::to_vec(&line)?;
        let hash = hash(&line);
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.length += line.len() as u64;
        self.seq += 1;
        self.prev = hash;
        if durable {
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Begins a new file; the oldest goes.
    fn turn(&mut self) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..FILES - 1).rev() {
            match std::fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, numbered(1))?;
        self.file = open(&self.path)?;
        self.length = 0;
        Ok(())
    }
}

fn hash(line: &[u8]) -> String {
    hex(digest(&SHA256, line).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_entry(path: &str) -> Entry {
        Entry {
            at: "2026-11-21T08:00:00Z".parse().unwrap(),
            uptime: 7,
            by: By {
                uid: Some(1000),
                ..By::default()
            },
            method: "POST".to_owned(),
            path: path.to_owned(),
            intent: None,
            decision: "allowed",
            code: 200,
        }
    }

    fn lines(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn check(lines: &[String], mut prev: String) -> String {
        for line in lines {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["prev"], prev);
            prev = hash(line.as_bytes());
        }
        prev
    }

    #[test]
    fn each_line_holds_the_hash_of_the_one_before_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        for _ in 0..3 {
            let mut audit = Audit::open(&path).unwrap();
            audit.write(&mk_entry("/a"), true).unwrap();
            audit.write(&mk_entry("/b"), false).unwrap();
        }
        let lines = lines(&path);
        assert_eq!(lines.len(), 6);
        check(&lines, String::new());
        let last: serde_json::Value = serde_json::from_str(&lines[5]).unwrap();
        assert_eq!(
            (&last["seq"], &last["uid"], &last["via"]),
            (&6.into(), &1000.into(), &"tcp".into())
        );
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_swallow_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        std::fs::write(&path, "{\"seq\":1,\"half").unwrap();
        Audit::open(&path).unwrap().write(&mk_entry("/a"), true).unwrap();
        let lines = lines(&path);
        assert_eq!(lines.len(), 2);
        check(&lines[1..], hash(lines[0].as_bytes()));
    }

    #[test]
    fn five_files_of_two_mebibytes_are_kept_in_one_chain() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut audit = Audit::open(&path).unwrap();
        let entry = mk_entry(&"x".repeat(5000));
        for _ in 0..18_000 {
            audit.write(&entry, false).unwrap();
        }
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        assert_eq!(names.len(), 5, "{names:?}");
        let total: u64 = names.iter().map(|name| name.metadata().unwrap().len()).sum();
        assert!(total < 5 * MAX_BYTES + 5 * 2048, "{total}");
        let first = lines(&names[1]);
        let end = check(&first[1..], hash(first[0].as_bytes()));
        check(&lines(&names[0]), end);
    }
}
