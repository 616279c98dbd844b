//! What goes wrong, drawn from a seed, counted and noted.
//!
//! Source: reliability.md section 1, F1 to F17.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use pitstop_api::SharedClock;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A class of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// F1: a request fails before it is carried out.
    Refused,
    /// F2: it is carried out, perhaps late, and the answer is lost.
    AnswerLost,
    /// F3: a conflict.
    Conflict,
    /// F4: somebody else was faster.
    Overtaken,
    /// F5: a watch lags behind, others do not.
    WatchLags,
    /// F6: a watch breaks, or its version has expired.
    WatchBreaks,
    /// F7: of several changes only the last is seen.
    Coalesced,
    /// F8: a crash right before or right after a write.
    Crash,
    /// F9: what a fresh process lists is old when it arrives.
    StaleList,
    /// F10: a replica is cut off from the API server for longer or shorter than its lease lasts.
    CutOff,
    /// F11: a node falls silent and comes back.
    NodeAway,
    /// F12: a node is removed, and another one gets its name.
    NodeReplaced,
    /// F13: people change templates, budgets, labels and pods.
    Edit,
    /// F14: a version that cannot run.
    BrokenVersion,
    /// F15: admission says no.
    Denied,
    /// F16: the hub of a node is killed, and started again.
    HubCrash,
    /// F16: the clock of a node or of a controller jumps.
    ClockJump,
    /// F17: everything changes at once, or all the time.
    Load,
}

impl Fault {
    pub(crate) const ALL: [Self; 18] = [
        Self::Refused,
        Self::AnswerLost,
        Self::Conflict,
        Self::Overtaken,
        Self::WatchLags,
        Self::WatchBreaks,
        Self::Coalesced,
        Self::Crash,
        Self::StaleList,
        Self::CutOff,
        Self::NodeAway,
        Self::NodeReplaced,
        Self::Edit,
        Self::BrokenVersion,
        Self::Denied,
        Self::HubCrash,
        Self::ClockJump,
        Self::Load,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = Self::ALL
            .iter()
            .position(|fault| fault == self)
            .unwrap_or_default()
            + 1;
        // A clock that jumps is F16 as well.
        let number = if number > 16 { number - 1 } else { number };
        write!(f, "F{number} {self:?}")
    }
}

/// One fault that was injected.
#[derive(Debug, Clone)]
pub(crate) struct Injected {
    /// Its place among those that the seed has drawn.
    pub(crate) index: usize,
    pub(crate) at: Timestamp,
    pub(crate) fault: Fault,
    pub(crate) what: String,
}

/// Which of the drawn faults are left out, to find out which matter.
#[derive(Debug, Clone, Default)]
pub(crate) struct Omitted(pub(crate) BTreeSet<usize>);

/// The weather of one run.
pub(crate) struct Storm {
    clock: SharedClock,
    is_over: AtomicBool,
    omitted: Omitted,
    inner: Mutex<Inner>,
}

struct Inner {
    random: StdRng,
    n_drawn: usize,
    injected: Vec<Injected>,
}

impl Storm {
    pub(crate) fn new(seed: u64, clock: SharedClock, omitted: Omitted) -> Self {
        Self {
            clock,
            is_over: AtomicBool::new(false),
            omitted,
            inner: Mutex::new(Inner {
                random: StdRng::seed_from_u64(seed),
                n_drawn: 0,
                injected: Vec::new(),
            }),
        }
    }

    /// From here on nothing goes wrong any more.
    pub(crate) fn ends(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Does this fault happen now? It does in one of `one_in` cases.
    pub(crate) fn strikes(&self, fault: Fault, one_in: u32, what: &str) -> bool {
        if self.is_over() {
            return false;
        }
        let is_drawn = self.lock().random.random_range(0..one_in) == 0;
        is_drawn && self.inject(fault, what)
    }

    /// This fault happens, unless it is left out.
    pub(crate) fn inject(&self, fault: Fault, what: &str) -> bool {
        let at = self.clock.now();
        let mut inner = self.lock();
        let index = inner.n_drawn;
        inner.n_drawn += 1;
        if self.omitted.0.contains(&index) {
            return false;
        }
        let what = what.to_owned();
        inner.injected.push(Injected {
            index,
            at,
            fault,
            what,
        });
        true
    }

    pub(crate) fn duration(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.lock().random.random_range(range))
    }

    pub(crate) fn pick(&self, n: usize) -> usize {
        self.lock().random.random_range(0..n.max(1))
    }

    pub(crate) fn injected(&self) -> Vec<Injected> {
        self.lock().injected.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

/// How often each class was injected.
pub(crate) fn count(injected: &[Injected]) -> BTreeMap<Fault, usize> {
    let mut counts = BTreeMap::new();
    for one in injected {
        *counts.entry(one.fault).or_default() += 1;
    }
    counts
}
