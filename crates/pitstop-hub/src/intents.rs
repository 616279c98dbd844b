//! What the owner of this node asked for, and what becomes of it: a pure function of what can be seen.
//!
//! Source: hub.md B7.

use jiff::Timestamp;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

pub(crate) use book::{Book, BookError};
pub(crate) use step::{Step, World, step};

use crate::checks::{Action, Method};
use crate::peer::{Peer, Via};
use crate::pod::{Owner, PodView};

mod book;
mod step;

/// What an intent waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Waiting {
    /// The API server.
    Connection,
    /// Someone's consent.
    Approval,
    /// A time of the week.
    Window,
    /// Something of this machine.
    Gate,
    /// The images of the revision.
    Image,
}

/// How far an intent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum State {
    Pending,
    Executing,
    Succeeded,
    Failed,
    Cancelled,
    Expired,
    Obsolete,
    Superseded,
}

impl State {
    pub(crate) const ALL: [Self; 8] = [
        Self::Pending,
        Self::Executing,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::Obsolete,
        Self::Superseded,
    ];

    /// Whether nothing more will come of it.
    pub(crate) fn ended(self) -> bool {
        !matches!(self, Self::Pending | Self::Executing)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Executing => "Executing",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::Expired => "Expired",
            Self::Obsolete => "Obsolete",
            Self::Superseded => "Superseded",
        }
    }
}

/// What happens when the pod is replaced before its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Follow {
    /// The intent was for that pod and ends with it.
    #[default]
    Pod,
    /// The intent goes on for the pod that took its place, once.
    Owner,
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct By {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exe: Option<String>,
    pub(crate) via: Via,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
}

/// Longest path of a program that is recorded, in characters.
const MAX_EXE: usize = 256;

impl By {
    pub(crate) fn new(peer: Peer, token: Option<&str>) -> Self {
        let exe = peer
            .pid
            .and_then(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok());
        Self {
            uid: peer.uid,
            pid: peer.pid,
            exe: exe.map(|exe| exe.to_string_lossy().chars().take(MAX_EXE).collect()),
            via: peer.via,
            token: token.map(str::to_owned),
        }
    }

    /// Whether a name of a policy means this caller: `uid:1000`, `token:headunit`.
    pub(crate) fn is(&self, name: &str) -> bool {
        match name.split_once(':') {
            Some(("uid", uid)) => self.uid.is_some_and(|mine| uid.parse() == Ok(mine)),
            Some(("token", token)) => self.token.as_deref() == Some(token),
            _ => false,
        }
    }

    /// Whether it is the same person as another caller, as far as one can tell.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (&self.token, &other.token) {
            (Some(mine), Some(theirs)) => mine == theirs,
            _ => self.uid == other.uid,
        }
    }
}

/// Someone's consent to one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Consent {
    pub(crate) by: By,
    pub(crate) at: Timestamp,
    /// The revision.
    pub(crate) target: String,
}

/// Something that the owner of this node asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) id: String,
    pub(crate) action: Action,
    /// How often it was opened again after it had ended.
    #[serde(default)]
    pub(crate) generation: u32,
    pub(crate) ns: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) owner: Owner,
    /// The revision that was agreed to.
    pub(crate) target: String,
    /// Another revision that waits now, to which nobody agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asks: Option<String>,
    pub(crate) created: Timestamp,
    pub(crate) expires: Timestamp,
    /// Uptime of all hubs of this folder when it was made, in seconds.
    pub(crate) born: u64,
    /// Uptime that it may live, in seconds.
    pub(crate) ttl: u64,
    pub(crate) by: By,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) approved: Option<Consent>,
    pub(crate) state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waiting: Option<Waiting>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<Method>,
    #[serde(default)]
    pub(crate) attempts: u32,
    /// How often images were asked for again.
    #[serde(default)]
    pub(crate) pulls: u32,
    #[serde(default)]
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) follow: Follow,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<Timestamp>,
}

/// The name of an intent: the same request twice is the same intent.
///
/// Source: hub.md B7.
pub(crate) fn intent_id(action: Action, uid: &str, target: &str) -> String {
    let mut context = Context::new(&SHA256);
    for part in [action.as_str(), "|", uid, "|", target] {
        context.update(part.as_bytes());
    }
    hex(context.finish().as_ref().get(..8).unwrap_or_default())
}

/// Bytes as text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// How long an intent lives, and where uptime stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Age {
    pub(crate) now: Timestamp,
    /// Uptime of all hubs of this folder, in seconds.
    pub(crate) uptime: u64,
    pub(crate) ttl: Duration,
}

impl Intent {
    /// A new intent that waits for the connection.
    pub(crate) fn new(action: Action, pod: &PodView, by: By, follow: Follow, age: Age) -> Self {
        let ttl = jiff::SignedDuration::try_from(age.ttl).unwrap_or(jiff::SignedDuration::MAX);
        Self {
            id: intent_id(action, &pod.uid, pod.target()),
            action,
            generation: 0,
            ns: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            owner: pod.owner.clone(),
            target: pod.target().to_owned(),
            asks: None,
            created: age.now,
            expires: age.now.saturating_add(ttl).unwrap_or(Timestamp::MAX),
            born: age.uptime,
            ttl: age.ttl.as_secs(),
            by,
            approved: None,
            state: State::Pending,
            waiting: Some(Waiting::Connection),
            method: None,
            attempts: 0,
            pulls: 0,
            reason: String::new(),
            follow,
            ended: None,
        }
    }

    /// State and what it waits for: `Pending/Connection`.
    pub(crate) fn standing(&self) -> String {
        match self.waiting {
            Some(waiting) if self.state == State::Pending => format!("{}/{waiting:?}", self.state.as_str()),
            _ => self.state.as_str().to_owned(),
        }
    }

    /// Whether someone whose word counts agreed to the revision of now.
    pub(crate) fn consent(&self) -> Option<&Consent> {
        self.approved
            .as_ref()
            .filter(|consent| consent.target == self.target)
    }

    pub(crate) fn wait(&mut self, waiting: Waiting) {
        self.state = State::Pending;
        self.waiting = Some(waiting);
    }

    pub(crate) fn end(&mut self, state: State, reason: &str, now: Timestamp) {
        self.state = state;
        self.waiting = None;
        self.asks = None;
        reason.clone_into(&mut self.reason);
        self.ended = Some(now);
    }
}

#[cfg(test)]
pub(crate) mod tests;
