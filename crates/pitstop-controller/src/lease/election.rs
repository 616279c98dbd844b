//! Who leads: what one candidate does next, decided without clock, client or randomness.
//!
//! A [`Candidate`] is told what its requests brought and says which one comes next. Times are [`Moment`]s of its own
//! monotonic clock. No time that another machine wrote is ever compared with them: another's lease has run out when
//! *we* have seen it unchanged for as long as it lasts. So the clocks of two machines may differ by any amount; only
//! their rates matter, and those may differ by a seventh.
//!
//! Why there are never two that may write:
//!
//! * every write of the lease names the version that it changes, so of two writes of the same version one is refused;
//! * a holder may write until [`Timing::write_for`] after the *begin* of its last successful renewal, which is before
//!   the lease changed on the server; another one takes it [`Timing::lasts`] or more after it *received* that change,
//!   which is after it. The difference of the two, 3 s, is left to writes that are under way;
//! * each term has a number, `leaseTransitions`. A holder that finds another number has lost, even if the name is its
//!   own.
//!
//! How long a hand-over takes: a standby sees the last renewal of a leader that crashed at most
//! [`Timing::poll_every`] late and waits [`Timing::lasts`] from there: 12 s + 1 s, and the time of two requests, so that
//! it stays below 15 s while a request takes less than 1 s. A lease that was given back is seen at the next look and
//! taken with one more request: below 2 s while a request takes less than 0.5 s.
//!
//! A leader that cannot renew stops writing, but has not lost: as long as the lease is as it left it, nobody else has
//! written under it, and the next renewal makes it go on. What it knows is then no older than what a leader knows whose
//! watches were away for the same time.
//!
//! Source: reliability.md F9, F10.

use std::fmt;
use std::time::Duration;

/// Time on the candidate's own monotonic clock, since any fixed point.
pub type Moment = Duration;

/// The times of an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timing {
    /// For how long others leave a lease alone that they see unchanged. Units: whole seconds, as in the API.
    pub lasts: Duration,
    /// From the begin of one renewal to the begin of the next.
    pub renew_every: Duration,
    /// For how long after the begin of a successful renewal its holder may write. Range: below `lasts` by what a write
    /// under way may take.
    pub write_for: Duration,
    /// How often a standby looks, from begin to begin.
    pub poll_every: Duration,
    /// From the begin of a request that failed to the next attempt.
    pub retry_after: Duration,
    /// The longest wait that a server may ask for: a lease that is renewed too late is no help to it.
    pub retry_after_at_most: Duration,
}

/// The times of the lease of pitstop's controllers.
pub const TIMING: Timing = Timing {
    lasts: Duration::from_secs(12),
    renew_every: Duration::from_secs(2),
    write_for: Duration::from_secs(9),
    poll_every: Duration::from_secs(1),
    retry_after: Duration::from_secs(1),
    retry_after_at_most: Duration::from_secs(3),
};

/// A lease, as far as an election looks at it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// Its version.
    pub resource_version: String,
    /// Who holds it; empty: nobody.
    pub holder: String,
    /// For how long it lasts unchanged; `None`: it does not say.
    pub lasts: Option<Duration>,
    /// The number of the term.
    pub transitions: u32,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read the lease.
    Read,
    /// There is none: make it, in our name, with term 0.
    Create,
    /// It is nobody's any more, or ours from an earlier life: write our name into this version of it.
    TakeOver {
        /// The version that it must still have.
        resource_version: String,
        /// The number of the term that begins.
        transitions: u32,
    },
    /// It is ours: renew this version of it.
    Renew {
        /// The version that it must still have.
        resource_version: String,
        /// The number of the term.
        transitions: u32,
    },
    /// Nothing, until then.
    WaitUntil(Moment),
    /// The term is over. Final.
    Lost(Loss),
}

/// How a lease was lost.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Somebody else has it; empty: nobody.
    Taken(String),
    /// It has our name, but another term.
    OtherTerm,
    /// It does not exist any more.
    Removed,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(holder) if holder.is_empty() => f.write_str("somebody gave it back in our name"),
            Self::Taken(holder) => write!(f, "{holder:?} has taken it"),
            Self::OtherTerm => f.write_str("another process has taken it under our name"),
            Self::Removed => f.write_str("somebody removed it"),
        }
    }
}

/// What was seen last, and since when it has been so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Seen {
    record: Option<Record>,
    /// When the answer came that showed it first.
    changed_at: Moment,
    /// When the last request was begun that showed it.
    asked_at: Moment,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Standing {
    Standby,
    Leading { transitions: u32, renewed_at: Moment },
    Lost(Loss),
}

/// One process that wants the lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Candidate {
    identity: String,
    timing: Timing,
    standing: Standing,
    seen: Option<Seen>,
    /// A write was refused as outdated, or its answer is not known.
    must_read: bool,
    /// Conflicts since the last success.
    n_conflicts: u32,
    not_before: Moment,
}

impl Candidate {
    /// A standby that has seen nothing yet. An identity that is used by one process at a time, and stays the same over
    /// its restart, takes its lease back at once.
    pub fn new(identity: &str, timing: Timing) -> Self {
        Self {
            identity: identity.to_owned(),
            timing,
            standing: Standing::Standby,
            seen: None,
            must_read: false,
            n_conflicts: 0,
            not_before: Moment::ZERO,
        }
    }

    /// What to do at `now`. Requests are made one at a time: each is announced by [`Candidate::begins`] and answered by
    /// one of [`Candidate::read`], [`Candidate::wrote`], [`Candidate::conflicted`] and [`Candidate::failed`], or by
    /// nothing, if it was given up.
    pub fn next(&self, now: Moment) -> Step {
        if let Standing::Lost(loss) = &self.standing {
            return Step::Lost(loss.clone());
        }
        if now < self.not_before {
            return Step::WaitUntil(self.not_before);
        }
        let Some(seen) = self.seen.as_ref().filter(|_| !self.must_read) else {
            return Step::Read;
        };
        match (&self.standing, &seen.record) {
            (Standing::Leading { renewed_at, .. }, _) if now < *renewed_at + self.timing.renew_every => {
                Step::WaitUntil(*renewed_at + self.timing.renew_every)
            }
            (Standing::Leading { transitions, .. }, Some(record)) => Step::Renew {
                resource_version: record.resource_version.clone(),
                transitions: *transitions,
            },
            (_, None) => Step::Create,
            (_, Some(record)) => self.as_standby(seen, record, now),
        }
    }

    fn as_standby(&self, seen: &Seen, record: &Record, now: Moment) -> Step {
        let is_others = !record.holder.is_empty() && record.holder != self.identity;
        let free_at = self.free_at(seen, record);
        if is_others && now < free_at {
            let poll_at = seen.asked_at + self.timing.poll_every;
            // The last look would only delay the attempt, which finds out as well whether anything has changed.
            let wait_until = if poll_at + self.timing.poll_every > free_at {
                free_at
            } else {
                poll_at
            };
            return if now < wait_until {
                Step::WaitUntil(wait_until)
            } else {
                Step::Read
            };
        }
        Step::TakeOver {
            resource_version: record.resource_version.clone(),
            transitions: record.transitions.wrapping_add(1),
        }
    }

    /// When somebody else's lease has run out. One that says that it lasts shorter than ours is not believed: its
    /// holder counts with what it wrote, not with what somebody else made of it.
    fn free_at(&self, seen: &Seen, record: &Record) -> Moment {
        let lasts = record.lasts.unwrap_or_default().max(self.timing.lasts);
        seen.changed_at.saturating_add(lasts)
    }

    /// Until when we may write; `None`: not at all.
    pub fn writes_until(&self) -> Option<Moment> {
        match self.standing {
            Standing::Leading { renewed_at, .. } => Some(renewed_at + self.timing.write_for),
            Standing::Standby | Standing::Lost(_) => None,
        }
    }

    /// Do we hold the lease, as far as we know?
    pub fn is_leading(&self) -> bool {
        matches!(self.standing, Standing::Leading { .. })
    }

    /// Who else holds it; `None`: nobody, or nothing was seen yet.
    pub fn holder(&self) -> Option<&str> {
        let record = self.seen.as_ref()?.record.as_ref()?;
        let holder = record.holder.as_str();
        (!holder.is_empty() && holder != self.identity).then_some(holder)
    }

    /// Was the lease seen, or seen to be missing?
    pub fn has_seen(&self) -> bool {
        self.seen.is_some()
    }

    /// A request is about to be sent. Until a write is answered, it is not known what the lease is.
    pub fn begins(&mut self, step: &Step) {
        if matches!(step, Step::Create | Step::TakeOver { .. } | Step::Renew { .. }) {
            self.must_read = true;
        }
    }

    /// The lease was read with a request that was begun at `begun_at` and answered at `now`.
    pub fn read(&mut self, record: Option<Record>, begun_at: Moment, now: Moment) {
        self.must_read = false;
        if let Standing::Leading { transitions, .. } = self.standing {
            let loss = match &record {
                None => Some(Loss::Removed),
                Some(record) if record.holder != self.identity => Some(Loss::Taken(record.holder.clone())),
                Some(record) if record.transitions != transitions => Some(Loss::OtherTerm),
                Some(_) => None,
            };
            if let Some(loss) = loss {
                self.standing = Standing::Lost(loss);
            }
        }
        self.note(record, begun_at, now);
    }

    /// The lease was made, taken or renewed with a request that was begun at `begun_at` and answered at `now`.
    pub fn wrote(&mut self, record: Record, begun_at: Moment, now: Moment) {
        self.must_read = false;
        self.n_conflicts = 0;
        if !matches!(self.standing, Standing::Lost(_)) {
            self.standing = Standing::Leading {
                transitions: record.transitions,
                renewed_at: begun_at,
            };
        }
        self.note(Some(record), begun_at, now);
    }

    /// A write was refused because the lease is not what we thought. The first time this is looked into at once.
    pub fn conflicted(&mut self, begun_at: Moment) {
        self.must_read = true;
        if self.n_conflicts > 0 {
            self.not_before = begun_at + self.timing.retry_after;
        }
        self.n_conflicts = self.n_conflicts.saturating_add(1);
    }

    /// A request that was begun at `begun_at` failed; the server asks to wait this long from `now` on.
    pub fn failed(&mut self, begun_at: Moment, now: Moment, asked: Option<Duration>) {
        let asked = asked.map(|wait| now + wait.min(self.timing.retry_after_at_most));
        self.not_before = (begun_at + self.timing.retry_after).max(asked.unwrap_or_default());
    }

    fn note(&mut self, record: Option<Record>, begun_at: Moment, now: Moment) {
        let version = |record: &Option<Record>| record.as_ref().map(|r| r.resource_version.clone());
        let unchanged_since = self
            .seen
            .as_ref()
            .filter(|seen| version(&seen.record) == version(&record))
            .map(|seen| seen.changed_at);
        self.seen = Some(Seen {
            record,
            changed_at: unchanged_since.unwrap_or(now),
            asked_at: begun_at,
        });
    }
}

#[cfg(test)]
mod tests;
