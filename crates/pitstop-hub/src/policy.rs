//! When the owner of this node allows an upgrade: consent, windows and gates.
//!
//! Source: hub.md B8.

use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Deserialize;

pub(crate) use gate::{Gate, Gates};
pub(crate) use window::Window;

use crate::intents::{By, Intent, Waiting};

mod gate;
mod window;

/// The rules of a file; the first that matches counts, and none allows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Rule {
    #[serde(rename = "match", default)]
    matches: Match,
    #[serde(default)]
    approval: Approval,
    #[serde(default)]
    windows: Vec<Window>,
    #[serde(default)]
    pub(crate) gates: Vec<Gate>,
    #[serde(default)]
    unsynced_clock: Unsynced,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Match {
    /// Patterns of namespaces; none means any.
    #[serde(default)]
    namespaces: Vec<String>,
    /// Patterns of `Kind/name`; none means any.
    #[serde(default)]
    owners: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Approval {
    #[serde(default)]
    required: bool,
    /// Who may consent: `uid:1000`, `token:headunit`.
    #[serde(default)]
    by: Vec<String>,
    /// Whether whoever asked cannot be the one who consents.
    #[serde(default)]
    distinct: bool,
}

/// What windows are while the clock cannot be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unsynced {
    #[default]
    Allow,
    Deny,
}

/// Whether a text is of a pattern in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(before) = last.replace(part) {
            match rest.split_once(before) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |end| rest.ends_with(end))
}

/// What a decision may look at.
pub(crate) struct Facts<'a> {
    pub(crate) now: Timestamp,
    pub(crate) clock_synced: bool,
    /// Whether a gate is open, and has been for as long as it must.
    pub(crate) open: &'a mut dyn FnMut(&Gate) -> bool,
}

impl Policy {
    /// Reads rules.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    /// Whether a file holds rules. One that is not there holds none.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(crate) fn check(file: &Path) -> Result<(), String> {
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(&text).map(drop),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The rule for an intent.
    fn rule(&self, intent: &Intent) -> Option<&Rule> {
        let owner = format!("{}/{}", intent.owner.kind, intent.owner.name);
        let any = |patterns: &[String], text: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, text))
        };
        self.rules
            .iter()
            .find(|rule| any(&rule.matches.namespaces, &intent.ns) && any(&rule.matches.owners, &owner))
    }

    /// What an intent waits for first, if it waits.
    pub(crate) fn waits(&self, intent: &Intent, facts: &mut Facts<'_>) -> Option<Waiting> {
        let rule = self.rule(intent)?;
        if rule.approval.required && intent.consent().is_none() {
            return Some(Waiting::Approval);
        }
        if !rule.windows.is_empty() {
            let believed = facts.clock_synced || rule.unsynced_clock == Unsynced::Allow;
            if !believed || !rule.windows.iter().any(|window| window.open(facts.now)) {
                return Some(Waiting::Window);
            }
        }
        // All gates are looked at, so that each knows how long it has been open.
        let closed = rule.gates.iter().filter(|gate| !(facts.open)(gate)).count();
        (closed > 0).then_some(Waiting::Gate)
    }

    /// Whether this caller's consent counts for an intent.
    pub(crate) fn may_approve(&self, intent: &Intent, by: &By) -> bool {
        let Some(rule) = self.rule(intent).filter(|rule| rule.approval.required) else {
            return true;
        };
        let listed = rule.approval.by.iter().any(|name| by.is(name));
        listed && !(rule.approval.distinct && by.same(&intent.by))
    }

    /// All gates that have to be open for a while.
    pub(crate) fn lasting_gates(&self) -> impl Iterator<Item = &Gate> {
        self.rules
            .iter()
            .flat_map(|rule| &rule.gates)
            .filter(|gate| gate.lasts())
    }
}

/// The file of the rules; a broken one leaves the last good rules.
#[derive(Debug)]
pub(crate) struct PolicyFile {
    policy: Policy,
    stamp: Option<(SystemTime, u64)>,
    valid: bool,
}

impl PolicyFile {
    pub(crate) fn new() -> Self {
        Self {
            policy: Policy::default(),
            stamp: None,
            valid: true,
        }
    }

    /// Reads the file again if it changed. One that is gone has no rules; one that cannot be read keeps the last good.
    pub(crate) fn refresh(&mut self, file: &Path) -> &Policy {
        let stamp = match std::fs::metadata(file).and_then(|meta| Ok((meta.modified()?, meta.len()))) {
            Ok(stamp) => Some(stamp),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                *self = Self::new();
                return &self.policy;
            }
            Err(_) => None,
        };
        if stamp.is_some() && stamp == self.stamp {
            return &self.policy;
        }
        let read = std::fs::read_to_string(file).map_err(|error| error.to_string());
        match read.and_then(|text| Policy::parse(&text)) {
            Ok(policy) => {
                self.policy = policy;
                self.valid = true;
            }
            Err(error) => {
                if self.valid || stamp != self.stamp {
                    tracing::error!(file = %file.display(), error, "keeping the policy that was read before");
                }
                self.valid = false;
            }
        }
        self.stamp = stamp;
        &self.policy
    }

    /// Whether the file of now is the one that counts.
    pub(crate) fn valid(&self) -> bool {
        self.valid
    }
}

#[cfg(test)]
mod tests;
