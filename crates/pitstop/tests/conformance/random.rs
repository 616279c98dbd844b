//! Sequences that nobody has thought of: made from a seed, played on both servers, and shortened where they differ.
//!
//! `PITSTOP_CONFORMANCE_SEED=n` plays others (the seed is printed, and is part of the name of each sequence),
//! `PITSTOP_CONFORMANCE_REQUESTS=n` more or fewer of them, `PITSTOP_CONFORMANCE=random-1-17` that one alone, and
//! `PITSTOP_CONFORMANCE_SHRINK=n` shortens so many kinds of differences instead of a few.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use pitstop_cluster::builtin::Selection;
use pitstop_cluster::{Cluster, Config};

use crate::Outcome;
use crate::compare::Difference;
use crate::control_plane::{ControlPlane, Tuning, programs};
use crate::exceptions::Exceptions;
use crate::play::Side;
use crate::sequence::Sequence;
use subjects::Subject;

mod generate;
mod shrink;
mod subjects;

/// Requests to each server.
const REQUESTS: usize = 10_000;
const SEED: u64 = 1;
/// How many sequences are played at a time.
const AT_A_TIME: usize = 12;
/// How many kinds of differences are shortened.
const SHORTENED: usize = 5;
/// How many shorter sequences are tried for one.
const TRIES: usize = 150;
/// The suite must not take longer, the start of the control plane aside.
const LIMIT: Duration = Duration::from_secs(120);

/// A number that a variable of the environment may change.
fn setting<N: std::str::FromStr>(name: &str, or: N) -> N {
    let given = std::env::var_os(name);
    given.map_or(or, |given| {
        let given = given.to_string_lossy();
        given
            .parse()
            .unwrap_or_else(|_| panic!("{name}={given} is no number"))
    })
}

struct Game {
    embedded: Side,
    real: Side,
    requests: AtomicUsize,
    /// Shorter sequences that were played.
    shortened: AtomicUsize,
}

impl Game {
    async fn play(&self, sequence: &Sequence) -> Outcome {
        let outcome = crate::compare_on(&self.embedded, &self.real, sequence).await;
        self.requests.fetch_add(outcome.requests, Ordering::Relaxed);
        outcome
    }

    /// The shortest sequence with such a difference that we find, and the difference in it.
    async fn shorten(&self, sequence: &Sequence, difference: &Difference) -> (Sequence, Difference) {
        let sign = shrink::sign(difference);
        let at = difference
            .request
            .split(' ')
            .next()
            .and_then(|index| index.parse().ok());
        let mut shortest = (
            shrink::until(sequence, at.unwrap_or(usize::MAX - 1)),
            difference.clone(),
        );
        let mut tries = 0;
        let mut has_shortened = true;
        while std::mem::take(&mut has_shortened) {
            for mut shorter in shrink::shorter(&shortest.0) {
                if tries >= TRIES {
                    return shortest;
                }
                tries += 1;
                let number = self.shortened.fetch_add(1, Ordering::Relaxed);
                shorter.name = format!("{}-{number}", sequence.name);
                let outcome = self.play(&shorter).await;
                let same = outcome
                    .differences
                    .into_iter()
                    .find(|found| shrink::sign(found) == sign);
                if let Some(found) = same {
                    shortest = (shorter, found);
                    has_shortened = true;
                    break;
                }
            }
        }
        shortest
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_sequences_give_the_same_answers() {
    let Some(programs) = programs() else { return };
    let seed = setting("PITSTOP_CONFORMANCE_SEED", SEED);
    let wanted = setting("PITSTOP_CONFORMANCE_REQUESTS", REQUESTS);
    let sequences = made(seed, wanted);

    let mut plane = ControlPlane::start(programs, Tuning::default()).await;
    // Nobody but the sequences writes.
    plane.stop_managers();
    let config = Config {
        controllers: Selection::none(),
        ..Config::default()
    };
    let cluster = Cluster::start(config).await.unwrap();
    let game = Game {
        embedded: Side::of(cluster.client()).that_makes_accounts(),
        real: Side::of(plane.client().await).that_makes_accounts(),
        requests: AtomicUsize::new(0),
        shortened: AtomicUsize::new(0),
    };

    let began = Instant::now();
    let played = stream::iter(&sequences).map(|sequence| game.play(sequence));
    let mut outcomes: Vec<Outcome> = played.buffered(AT_A_TIME).collect().await;
    let exceptions = Exceptions::read();
    for outcome in &mut outcomes {
        outcome
            .differences
            .retain(|difference| !exceptions.has_random(difference));
    }
    let took = began.elapsed();
    let requests = game.requests.load(Ordering::Relaxed);
    let differences: usize = outcomes.iter().map(|outcome| outcome.differences.len()).sum();
    let _ = writeln!(
        std::io::stderr(),
        "random         {} sequences, {requests} requests, {differences} differences, seed {seed}, {:.1} s",
        outcomes.len(),
        took.as_secs_f64()
    );
    keep(&sequences, &outcomes);
    let failures = failures(&game, &sequences, &outcomes).await;
    assert!(
        failures.is_empty(),
        "{differences} differences under seed {seed}\n{failures}"
    );
    assert!(
        took < LIMIT * u32::try_from(wanted.div_ceil(REQUESTS)).unwrap_or(u32::MAX),
        "took {took:?}"
    );
}

/// So many sequences that they have as many requests.
fn made(seed: u64, requests: usize) -> Vec<Sequence> {
    let word = std::env::var_os("PITSTOP_CONFORMANCE").unwrap_or_default();
    let word = word.to_string_lossy();
    let subjects: Vec<Subject> = subjects::all();
    if word.starts_with("field") {
        let all = generate::every_field(&subjects).into_iter();
        return all
            .filter(|sequence| word == "field" || sequence.name == *word)
            .collect();
    }
    let mut count = 0;
    let all = (0..).map(|number| generate::sequence(&subjects, seed, number));
    all.take_while(|sequence| {
        let is_wanted = count < requests;
        count += sequence.steps.len();
        is_wanted
    })
    .filter(|sequence| sequence.name.contains(&*word) || !word.starts_with("random"))
    .collect()
}

/// One shortened sequence for each kind of difference.
async fn failures(game: &Game, sequences: &[Sequence], outcomes: &[Outcome]) -> String {
    let mut first: BTreeMap<String, (&Sequence, &Difference, usize)> = BTreeMap::new();
    for (sequence, outcome) in sequences.iter().zip(outcomes) {
        // The others may follow from the first.
        if let Some(difference) = outcome.differences.first() {
            let sign = shrink::sign(difference);
            first.entry(sign).or_insert((sequence, difference, 0)).2 += 1;
        }
    }
    let mut text = String::new();
    let shortened = setting("PITSTOP_CONFORMANCE_SHRINK", SHORTENED);
    let few =
        stream::iter(first.iter().take(shortened)).map(async |(sign, (sequence, difference, count))| {
            let (shortest, difference) = game.shorten(sequence, difference).await;
            format!(
                "\n{count} sequences differ in {sign}, among them {}\n{};\n// {difference}\n",
                sequence.name,
                shrink::written(&shortest)
            )
        });
    for found in few.buffered(AT_A_TIME).collect::<Vec<_>>().await {
        text += &found;
    }
    for (sign, (sequence, difference, count)) in first.iter().skip(shortened) {
        let _ = writeln!(
            text,
            "\n{count} sequences differ in {sign}, among them {}\n// {difference}",
            sequence.name
        );
    }
    text
}

/// Leaves the differences for whoever mends them.
fn keep(sequences: &[Sequence], outcomes: &[Outcome]) {
    let values = sequences.iter().zip(outcomes).flat_map(|(sequence, outcome)| {
        outcome.differences.iter().map(move |difference| {
            let at: Option<usize> = difference
                .request
                .split(' ')
                .next()
                .and_then(|index| index.parse().ok());
            let step = at.and_then(|at| sequence.steps.get(at));
            let body = step
                .map(|step| String::from_utf8_lossy(&step.body))
                .unwrap_or_default();
            format!("{}: {difference}\t{body}\n", outcome.name)
        })
    });
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance-random.txt");
    std::fs::write(path, values.collect::<String>()).unwrap();
}

#[test]
fn the_same_seed_makes_the_same_sequences() {
    let written = |seed| -> Vec<String> { made(seed, 500).iter().map(shrink::written).collect() };
    assert_eq!(written(7), written(7));
    assert_ne!(written(7), written(8));
}
