//! Gates: small files that say whether this is a good moment.
//!
//! Source: hub.md B8.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use tokio::time::Instant;

/// Longest file that is read, in bytes.
const MAX: u64 = 64;

/// A file that has to hold a text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gate {
    /// What it is about, for people.
    pub(crate) name: String,
    file: PathBuf,
    equals: String,
    /// For how long without a break.
    #[serde(rename = "for", default, deserialize_with = "duration")]
    lasting: Duration,
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    let wrong = |_| D::Error::custom(format!("{text:?} is no duration: write it as 30s"));
    let signed: jiff::SignedDuration = text.parse().map_err(wrong)?;
    Duration::try_from(signed).map_err(|_| D::Error::custom("a gate cannot be open for less than no time"))
}

impl Gate {
    /// Whether it has to be open for a while.
    pub(crate) fn lasts(&self) -> bool {
        !self.lasting.is_zero()
    }
}

/// Whether a file holds a text, white space around it aside; anything but a small plain file does not.
fn holds(file: &Path, expected: &str) -> bool {
    let read = || -> std::io::Result<String> {
        // A pipe would hold us up when it is opened.
        let meta = std::fs::metadata(file)?;
        if !meta.is_file() || meta.len() > MAX {
            return Ok(String::new());
        }
        let mut text = String::new();
        File::open(file)?.take(MAX + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    read().is_ok_and(|text| text.len() as u64 <= MAX && !text.is_empty() && text.trim() == expected.trim())
}

/// Since when gates are open.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    since: BTreeMap<(PathBuf, String), Instant>,
}

impl Gates {
    /// Looks at a gate; whether it is open, and has been for as long as it must.
    pub(crate) fn open(&mut self, gate: &Gate, now: Instant) -> bool {
        let key = (gate.file.clone(), gate.equals.clone());
        if !holds(&gate.file, &gate.equals) {
            self.since.remove(&key);
            return false;
        }
        if !gate.lasts() {
            return true;
        }
        let since = *self.since.entry(key).or_insert(now);
        now.saturating_duration_since(since) >= gate.lasting
    }
}
