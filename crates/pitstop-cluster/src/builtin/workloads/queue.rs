//! Which workloads are to be looked at, and when.
//!
//! A workload is left in peace while a step of its plan is under way, and until the watches have caught up with what
//! that step changed: so it never decides about a past that it has changed itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::view::MetaWire;
use serde_json::Value;

use super::super::writes::{Asked, Event, Write};

/// First and longest wait after a step failed.
const BACK_OFF: (SignedDuration, SignedDuration) =
    (SignedDuration::from_millis(50), SignedDuration::from_secs(60));

/// The kinds that controllers here look after, and those whose changes they wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Sort {
    Deployment,
    ReplicaSet,
    Budget,
    Job,
    Service,
    Endpoints,
    Slice,
    Pod,
}

/// One workload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Key {
    pub(super) sort: Sort,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// What a look at a workload comes to.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// When it is to be looked at again, whatever happens until then.
    pub(super) again: Option<Timestamp>,
}

/// One write of a plan.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) write: Write,
    /// What is written.
    pub(super) sort: Sort,
    /// What is told about it.
    pub(super) note: Option<Note>,
    /// What follows when it has worked.
    pub(super) then: Option<Box<Step>>,
}

/// Events about a step: what is told when it worked, and when not.
#[derive(Debug, Clone)]
pub(super) struct Note {
    pub(super) source: &'static str,
    pub(super) kind: &'static str,
    pub(super) about: Arc<MetaWire>,
    pub(super) done: (&'static str, String),
    /// Is what was done nothing good?
    pub(super) warns: bool,
    pub(super) failed: Option<(&'static str, String)>,
}

/// A step that was taken, on its way back.
#[derive(Debug, Clone)]
pub(in super::super) struct Taken {
    key: Key,
    sort: Sort,
    note: Option<Note>,
    pub(super) then: Option<Box<Step>>,
}

/// Why the last plan of a workload did not work out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: u16,
    /// Reason of the event: `FailedCreate` and so on, empty if there is none.
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) times: u32,
}

/// What is under way for a workload.
#[derive(Debug, Default)]
struct UnderWay {
    steps: usize,
    /// Versions that the watches have to reach.
    awaited: BTreeMap<Sort, u64>,
    has_failed: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    dirty: BTreeSet<Key>,
    under_way: BTreeMap<Key, UnderWay>,
    timers: BTreeSet<(Timestamp, Key)>,
    times: BTreeMap<Key, Timestamp>,
    failures: BTreeMap<Key, Failure>,
    /// The newest version that each watch has shown.
    progress: BTreeMap<Sort, u64>,
}

impl Key {
    pub(super) fn new(sort: Sort, namespace: &str, name: &str) -> Self {
        Self {
            sort,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl Plan {
    pub(super) fn of(steps: Vec<Step>) -> Self {
        Self { steps, again: None }
    }
}

impl Step {
    pub(super) fn new(sort: Sort, write: Write) -> Self {
        Self {
            write,
            sort,
            note: None,
            then: None,
        }
    }

    pub(super) fn noted(self, note: Note) -> Self {
        Self {
            note: Some(note),
            ..self
        }
    }

    pub(super) fn then(self, step: Self) -> Self {
        Self {
            then: Some(Box::new(step)),
            ..self
        }
    }

    fn begin(self, key: &Key) -> Write {
        let taken = Taken {
            key: key.clone(),
            sort: self.sort,
            note: self.note,
            then: self.then,
        };
        self.write.asked_by(Asked::Workload(Box::new(taken)))
    }
}

impl Note {
    /// The event; `{}` in its text stands for `what`.
    fn write(self, is_warning: bool, reason: &'static str, text: &str, what: &str, now: Timestamp) -> Write {
        Event {
            source: self.source,
            kind: self.kind,
            meta: &self.about,
            uid: &self.about.uid,
            is_warning,
            reason,
            message: text.replace("{}", what),
            now,
        }
        .write()
    }
}

impl Queue {
    /// A workload may have to do something.
    pub(super) fn touch(&mut self, key: Key) {
        self.dirty.insert(key);
    }

    /// A workload is gone.
    pub(super) fn forget(&mut self, key: &Key) {
        self.failures.remove(key);
        self.set_timer(key, None);
    }

    /// A watch has shown an object at this version.
    pub(super) fn progress(&mut self, sort: Sort, version: u64) {
        let newest = self.progress.entry(sort).or_default();
        *newest = version.max(*newest);
        let newest = *newest;
        self.release(
            |awaited| awaited.get(&sort).is_some_and(|version| *version <= newest),
            sort,
        );
    }

    /// A watch has listed everything: nothing older is to be waited for.
    pub(super) fn synced(&mut self, sort: Sort) {
        self.release(|awaited| awaited.contains_key(&sort), sort);
    }

    fn release(&mut self, is_met: impl Fn(&BTreeMap<Sort, u64>) -> bool, sort: Sort) {
        let mut settled = Vec::new();
        for (key, under_way) in &mut self.under_way {
            if is_met(&under_way.awaited) {
                under_way.awaited.remove(&sort);
                if under_way.steps == 0 && under_way.awaited.is_empty() {
                    settled.push(key.clone());
                }
            }
        }
        for key in settled {
            self.settle(&key);
        }
    }

    /// Why the last plan of a workload did not work out.
    pub(super) fn failure(&self, key: &Key) -> Option<&Failure> {
        self.failures.get(key)
    }

    /// The workloads to look at now.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<Key> {
        while let Some((at, _)) = self.timers.first()
            && *at <= now
            && let Some((_, key)) = self.timers.pop_first()
        {
            self.times.remove(&key);
            self.dirty.insert(key);
        }
        let (busy, free): (BTreeSet<Key>, BTreeSet<Key>) = std::mem::take(&mut self.dirty)
            .into_iter()
            .partition(|key| self.under_way.contains_key(key));
        self.dirty = busy;
        free.into_iter().collect()
    }

    /// When there is something to do next, if nothing happens until then.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Begins a plan.
    pub(super) fn begin(&mut self, key: &Key, plan: Plan, now: Timestamp) -> Vec<Write> {
        // What is over already was decided about just now.
        self.set_timer(key, plan.again.filter(|again| *again > now));
        if plan.steps.is_empty() {
            self.failures.remove(key);
            return Vec::new();
        }
        let under_way = UnderWay {
            steps: plan.steps.len(),
            ..UnderWay::default()
        };
        self.under_way.insert(key.clone(), under_way);
        plan.steps.into_iter().map(|step| step.begin(key)).collect()
    }

    /// A step was taken.
    pub(super) fn on_taken(
        &mut self,
        taken: Taken,
        result: Result<Value, u16>,
        message: String,
        now: Timestamp,
    ) -> Vec<Write> {
        let Taken {
            key,
            sort,
            note,
            then,
        } = taken;
        let newest = self.progress.get(&sort).copied().unwrap_or_default();
        let Some(under_way) = self.under_way.get_mut(&key) else {
            return Vec::new();
        };
        under_way.steps = under_way.steps.saturating_sub(1);
        let mut writes = Vec::new();
        match result {
            Ok(object) => {
                if let Some(version) = version_of(&object).filter(|version| *version > newest) {
                    let awaited = under_way.awaited.entry(sort).or_default();
                    *awaited = version.max(*awaited);
                }
                if let Some(note) = note {
                    let name = object.pointer("/metadata/name").and_then(Value::as_str);
                    let (reason, text) = note.done.clone();
                    let note_warns = note.warns;
                    writes.push(note.write(note_warns, reason, &text, name.unwrap_or_default(), now));
                }
                if let Some(then) = then {
                    under_way.steps = under_way.steps.saturating_add(1);
                    writes.push(then.begin(&key));
                }
            }
            Err(code) => {
                under_way.has_failed = true;
                writes.extend(self.on_failed(&key, code, note, message, now));
            }
        }
        let is_settled = self
            .under_way
            .get(&key)
            .is_some_and(|under_way| under_way.steps == 0 && under_way.awaited.is_empty());
        if is_settled {
            self.settle(&key);
        }
        writes
    }

    fn on_failed(
        &mut self,
        key: &Key,
        code: u16,
        note: Option<Note>,
        message: String,
        now: Timestamp,
    ) -> Option<Write> {
        let told = note.and_then(|note| Some((note.failed.clone()?, note)));
        let reason = told.as_ref().map_or("", |((reason, _), _)| *reason);
        let times = self
            .failures
            .get(key)
            .map_or(1, |before| before.times.saturating_add(1));
        let wait = BACK_OFF
            .0
            .saturating_mul(1_i32.checked_shl(times.min(20)).unwrap_or(i32::MAX));
        let write = told.map(|((reason, text), note)| note.write(true, reason, &text, &message, now));
        let failure = Failure {
            code,
            reason,
            message,
            times,
        };
        self.failures.insert(key.clone(), failure);
        self.set_timer(key, now.checked_add(wait.min(BACK_OFF.1)).ok());
        write
    }

    /// Nothing is under way any more: what came of it is looked at, after a failure once its wait is over.
    fn settle(&mut self, key: &Key) {
        let Some(under_way) = self.under_way.remove(key) else {
            return;
        };
        if !under_way.has_failed {
            self.failures.remove(key);
            self.dirty.insert(key.clone());
        }
    }

    fn set_timer(&mut self, key: &Key, at: Option<Timestamp>) {
        if let Some(before) = self.times.remove(key) {
            self.timers.remove(&(before, key.clone()));
        }
        if let Some(at) = at {
            self.times.insert(key.clone(), at);
            self.timers.insert((at, key.clone()));
        }
    }
}

fn version_of(object: &Value) -> Option<u64> {
    object
        .pointer("/metadata/resourceVersion")
        .and_then(Value::as_str)
        .and_then(|version| version.parse().ok())
}

#[cfg(test)]
mod tests;
