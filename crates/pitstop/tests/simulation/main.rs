//! A day in a second: the whole program in one process under virtual time and one seed, in a storm of faults.
//!
//! Cluster, nodes and two replicas of the controllers are the real ones. A seed is a run: the same seed brings the same
//! history, to the last field. `PITSTOP_SEEDS=1000` plays so many, `PITSTOP_SEEDS=17..18` just that one, with
//! `PITSTOP_TRIALS=0` without looking for the shortest story that fails.
//!
//! Source: reliability.md section 2, level 3.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod arbiter;
mod faulty;
mod history;
mod instances;
mod judge;
mod mutant;
#[path = "../e2e/objects.rs"]
mod objects;
mod owners;
#[path = "../e2e/seed_004.rs"]
mod seed_004;
#[path = "../e2e/skewed.rs"]
mod skewed;
mod stage;
mod stateful;
mod storm;
mod story;
mod worked;
mod worked_daemons;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::iter::once;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use jiff::SignedDuration;

use history::Entry;
use instances::N_FOCUSES;
use mutant::{Broken, Mutant};
use stage::{Play, Report};
use storm::{Fault, Omitted};

/// How many seeds of DaemonSets a normal run plays: 175 of the models that roll by themselves, and 25 of OTA. Source: reliability.md
/// section 2, level 3.
const N_SEEDS: u64 = 200;
/// How many of DaemonSets of `apps.kruise.io`.
const N_KRUISE_SEEDS: u64 = 16;
/// How many of CloneSets.
const N_CLONESET_SEEDS: u64 = 16;
/// How many of StatefulSets.
const N_STATEFULSET_SEEDS: u64 = 16;
/// How many faults a run has at least.
const N_FAULTS: usize = 10;
/// A broken controller is caught within so many seeds.
const N_SEEDS_OF_A_MUTANT: u64 = 60;
/// How many writes are shown of a run that failed.
const N_LAST_WRITES: usize = 60;
/// How many runs may be spent on finding out which faults matter, if `PITSTOP_TRIALS` does not say.
const N_TRIALS: usize = 40;

/// Stories of one kind.
struct Suite {
    name: &'static str,
    play: Play,
    n_seeds: u64,
    /// What cannot happen in them.
    without: &'static [Fault],
}

const DAEMONSETS: Suite = Suite {
    name: "DaemonSets",
    play: story::play,
    n_seeds: N_SEEDS,
    without: &[],
};

const KRUISE_DAEMONSETS: Suite = Suite {
    name: "DaemonSets of apps.kruise.io",
    play: story::play_kruise,
    n_seeds: N_KRUISE_SEEDS,
    // They have no hubs.
    without: &[Fault::HubCrash],
};

const CLONESETS: Suite = Suite {
    name: "CloneSets",
    play: instances::play_clonesets,
    n_seeds: N_CLONESET_SEEDS,
    // They have no hubs.
    without: &[Fault::HubCrash],
};

const STATEFULSETS: Suite = Suite {
    name: "StatefulSets",
    play: instances::play_statefulsets,
    n_seeds: N_STATEFULSET_SEEDS,
    // They have no hubs.
    without: &[Fault::HubCrash],
};

#[test]
fn invariants_of_daemonsets_hold_in_every_storm() {
    DAEMONSETS.holds();
}

#[test]
fn invariants_of_daemonsets_of_openkruise_hold_in_every_storm() {
    KRUISE_DAEMONSETS.holds();
}

#[test]
fn invariants_of_clonesets_hold_in_every_storm() {
    CLONESETS.holds();
}

#[test]
fn invariants_of_statefulsets_hold_in_every_storm() {
    STATEFULSETS.holds();
}

#[test]
fn the_same_seed_is_the_same_run() {
    // One of each model.
    let plays: [(Play, &[u64]); 4] = [
        (story::play, &[0, 1, 6, 7]),
        (story::play_kruise, &[1]),
        (instances::play_clonesets, &[1]),
        (instances::play_statefulsets, &[1]),
    ];
    for (play, seeds) in plays {
        let hashes: BTreeSet<u64> = seeds.iter().map(|seed| hash_of(play, *seed)).collect();
        assert_eq!(hashes.len(), seeds.len());
    }
}

/// The hash of a run that is the same when it is played again.
fn hash_of(play: Play, seed: u64) -> u64 {
    let [one, other] = [0, 1].map(|_| play(seed, Mutant::Sound, Omitted::default()));
    let mut pairs = one.entries.iter().zip(&other.entries);
    let differ = pairs.find(|(a, b)| a.object != b.object);
    let differ = differ.map(|(a, b)| format!("{a}: {}\n{b}: {}", a.object, b.object));
    let hash = one.hash();
    assert_eq!(hash, other.hash(), "seed {seed}: {}", differ.unwrap_or_default());
    hash
}

#[test]
fn broken_controllers_of_daemonsets_are_caught() {
    all_are_caught(story::play, &Mutant::BROKEN);
}

#[test]
fn broken_controllers_of_daemonsets_of_openkruise_are_caught() {
    all_are_caught(story::play_kruise, &Mutant::BROKEN_WITH_KRUISE);
}

#[test]
fn broken_controllers_of_clonesets_are_caught() {
    all_are_caught(instances::play_clonesets, &Mutant::BROKEN_WITH_CLONESETS);
}

#[test]
fn broken_controllers_of_statefulsets_are_caught() {
    all_are_caught(instances::play_statefulsets, &Mutant::BROKEN_WITH_STATEFULSETS);
}

fn all_are_caught(play: Play, mutants: &[Broken]) {
    let mut missed = Vec::new();
    for (mutant, invariant, first) in mutants {
        let catches = |seed: &u64| {
            let report = play(*seed, *mutant, Omitted::default());
            report
                .violations
                .iter()
                .any(|violation| violation.starts_with(invariant))
        };
        // Stories that are about the same first.
        let alike = (0..N_SEEDS_OF_A_MUTANT).filter(|seed| seed % N_FOCUSES == first % N_FOCUSES);
        let others = (0..N_SEEDS_OF_A_MUTANT).filter(|seed| seed % N_FOCUSES != first % N_FOCUSES);
        let caught = once(*first).chain(alike).chain(others).find(catches);
        match caught {
            Some(seed) => eprintln!("{mutant:?} is caught by {invariant} with seed {seed}"),
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

impl Suite {
    /// Plays the seeds, each on whichever processor is free.
    fn holds(&self) {
        let seeds = seeds(self.n_seeds);
        let next = AtomicU64::new(seeds.start);
        let total = Mutex::new(Total::default());
        let n_threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..n_threads {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end {
                            return;
                        }
                        let report = (self.play)(seed, Mutant::Sound, Omitted::default());
                        total.lock().unwrap().add(seed, &report);
                    }
                });
            }
        });
        let total = total.into_inner().unwrap();
        total.print(self.name, &seeds);
        if let Some(seed) = total.failed.iter().next() {
            panic!("{}", shortest(self.play, *seed, Mutant::Sound));
        }
        if seeds.end - seeds.start >= self.n_seeds {
            let is_missing =
                |fault: &&Fault| !total.faults.contains_key(fault) && !self.without.contains(fault);
            let missing: Vec<&Fault> = Fault::ALL.iter().filter(is_missing).collect();
            assert!(missing.is_empty(), "never injected: {missing:?}");
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a test program has no flags of its own")]
fn seeds(n_seeds: u64) -> Range<u64> {
    let Ok(given) = std::env::var("PITSTOP_SEEDS") else {
        return 0..n_seeds;
    };
    let (first, end) = given.split_once("..").unwrap_or(("0", given.as_str()));
    let number = |text: &str| {
        text.parse::<u64>().unwrap_or_else(|_| {
            panic!("PITSTOP_SEEDS is {given:?}, which is neither a number nor a range like 17..18")
        })
    };
    number(first)..number(end)
}

#[derive(Default)]
struct Total {
    faults: BTreeMap<Fault, usize>,
    lasted: SignedDuration,
    n_writes: usize,
    n_violations: usize,
    failed: BTreeSet<u64>,
}

impl Total {
    fn add(&mut self, seed: u64, report: &Report) {
        let n_faults = report.injected.len();
        assert!(n_faults >= N_FAULTS, "seed {seed} has only {n_faults} faults");
        for (fault, n) in storm::count(&report.injected) {
            *self.faults.entry(fault).or_default() += n;
        }
        self.lasted += report.lasted;
        self.n_writes += report.entries.len();
        self.n_violations += report.violations.len();
        if let Some(first) = report.violations.first() {
            let _ = writeln!(std::io::stderr(), "seed {seed}: {first}");
            self.failed.insert(seed);
        }
    }

    fn print(&self, of: &str, seeds: &Range<u64>) {
        let n_faults: usize = self.faults.values().sum();
        let hours = self.lasted.as_secs() / 3600;
        let mut text = format!(
            "simulation of {of}: {} seeds, {n_faults} faults injected, {hours} virtual hours, {} writes, {} violations\n",
            seeds.end - seeds.start,
            self.n_writes,
            self.n_violations
        );
        for (fault, n) in &self.faults {
            let _ = writeln!(text, "  {n:6} {fault}");
        }
        // Not with println: the test runner would swallow it.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// The shortest story that can be found in which a seed still fails: faults are left out as long as it does.
fn shortest(play: Play, seed: u64, mutant: Mutant) -> String {
    let mut omitted = Omitted::default();
    let mut report = play(seed, mutant, omitted.clone());
    // The same one has to fail: another may need no fault at all.
    let invariant = report
        .violations
        .first()
        .map_or_else(String::new, |first| first.chars().take(2).collect());
    let most = most_trials();
    let mut step = report.injected.len().div_ceil(2);
    let mut n_trials = 0;
    while step > 0 && n_trials < most {
        let indices: Vec<usize> = report.injected.iter().map(|one| one.index).collect();
        let mut has_helped = false;
        for chunk in indices.chunks(step) {
            n_trials += 1;
            let mut more = omitted.clone();
            more.0.extend(chunk);
            let shorter = play(seed, mutant, more.clone());
            let mut violations = shorter.violations.iter();
            let fails = violations.any(|violation| violation.starts_with(&invariant));
            if fails && shorter.injected.len() < report.injected.len() {
                (omitted, report, has_helped) = (more, shorter, true);
                break;
            }
            if n_trials >= most {
                break;
            }
        }
        if !has_helped {
            step /= 2;
        }
    }
    let faults = report
        .injected
        .iter()
        .map(|one| format!("  {} {}: {}", one.at, one.fault, one.what));
    let faults: Vec<String> = faults.collect();
    format!(
        "seed {seed} fails, with {} faults:\n{}\nthe last writes before:\n{}\n{}",
        faults.len(),
        faults.join("\n"),
        last_writes(&report).join("\n"),
        report.violations.join("\n")
    )
}

#[allow(clippy::disallowed_methods, reason = "a test program has no flags of its own")]
fn most_trials() -> usize {
    let given = std::env::var("PITSTOP_TRIALS");
    given.map_or(N_TRIALS, |given| {
        given
            .parse()
            .unwrap_or_else(|_| panic!("PITSTOP_TRIALS is {given:?}, not a number"))
    })
}

/// What happened to pods and nodes right before the first violation.
fn last_writes(report: &Report) -> Vec<String> {
    let first = report.violations.first().cloned().unwrap_or_default();
    let end = report
        .entries
        .iter()
        .position(|entry| first.contains(&entry.to_string()));
    let before = &report.entries[..end.map_or(report.entries.len(), |end| end + 1)];
    let mut lines: Vec<String> = before.iter().map(Entry::detail).collect();
    lines.drain(..lines.len().saturating_sub(N_LAST_WRITES));
    lines
}
