//! What differs, as `differences.txt` has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::Outcome;
use crate::compare::Difference;
use crate::normal;

/// What may differ for good, rules of the normaliser included.
pub(crate) const MAX_EXCEPTIONS: usize = 20;

const FILE: &str = include_str!("differences.txt");
/// Starts a difference that stays; the rest of the line is what a user is told.
const STAYS: &str = "stays because ";
/// Starts the differences that are still to be mended.
const OPEN: &str = "open";

/// The name of the sequences that were made from a seed, as far as the file is concerned.
pub(crate) const RANDOM: &str = "random";

/// The table of differences.
pub(crate) struct Exceptions {
    /// Each with its reason.
    pub(crate) staying: BTreeMap<&'static str, &'static str>,
    pub(crate) open: BTreeSet<&'static str>,
}

impl Exceptions {
    /// Reads the file.
    pub(crate) fn read() -> Self {
        let mut read = Self {
            staying: BTreeMap::new(),
            open: BTreeSet::new(),
        };
        let mut reason = None;
        for line in FILE
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            if let Some(given) = line.strip_prefix(STAYS) {
                reason = Some(given);
            } else if line == OPEN {
                reason = None;
            } else {
                let is_new = match reason {
                    Some(reason) => read.staying.insert(line, reason).is_none(),
                    None => read.open.insert(line),
                };
                assert!(is_new, "{line} stands twice in differences.txt");
            }
        }
        read
    }

    /// Does a difference of a sequence that was made from a seed stand in the file? Its line begins with `random:`, and
    /// its request has no number and no parameters.
    pub(crate) fn has_random(&self, difference: &Difference) -> bool {
        let mut words = difference.request.split(' ').skip(1);
        let method = words.next().unwrap_or_default();
        let path = words.next().unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let line = format!("{RANDOM}: {method} {path} {}", difference.path);
        self.staying.contains_key(line.as_str()) || self.open.contains(line.as_str())
    }

    /// Rules of the normaliser and differences that stay.
    pub(crate) fn count(&self) -> usize {
        normal::RULES.len() + self.staying.len()
    }

    /// Differences that are not in the file, and lines of the file that are no differences any more.
    pub(crate) fn judge(&self, outcomes: &[Outcome]) -> Vec<String> {
        let mut failures = Vec::new();
        let mut seen = BTreeSet::new();
        for outcome in outcomes {
            for difference in &outcome.differences {
                let at = format!("{}: {}", outcome.name, difference.at());
                if !self.staying.contains_key(at.as_str()) && !self.open.contains(at.as_str()) {
                    failures.push(format!("{}: {difference}", outcome.name));
                }
                seen.insert(at);
            }
        }
        let played: BTreeSet<&str> = outcomes.iter().map(|outcome| outcome.name.as_str()).collect();
        let lines = self.staying.keys().chain(&self.open);
        let gone = lines.filter(|line| played.contains(sequence_of(line)) && !seen.contains(**line));
        failures.extend(gone.map(|line| format!("{line}: is the same now, take it off differences.txt")));
        failures
    }

    /// The file as it would have to be, with every difference that has no reason to stay as an open one.
    pub(crate) fn rewritten(&self, outcomes: &[Outcome]) -> String {
        let mut text: String = FILE
            .lines()
            .take_while(|line| *line != OPEN)
            .fold(String::new(), |text, line| text + line + "\n");
        let _ = writeln!(text, "{OPEN}");
        for outcome in outcomes {
            for difference in &outcome.differences {
                let at = format!("{}: {}", outcome.name, difference.at());
                if !self.staying.contains_key(at.as_str()) {
                    let _ = writeln!(text, "{at}");
                }
            }
        }
        text
    }
}

/// The sequence that a line is about.
pub(crate) fn sequence_of(line: &str) -> &str {
    line.split(':').next().unwrap_or_default()
}
