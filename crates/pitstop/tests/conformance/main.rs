//! The same requests to the embedded server and to a real control plane; the answers must be the same.
//!
//! `cargo test -p pitstop --test conformance`. Without a real control plane (`cargo xtask control-plane`) the comparison
//! says in one line that it did not run. `PITSTOP_CONFORMANCE=WORD` plays only the sequences whose name has the word.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use pitstop_cluster::{Cluster, Config};
use serde_json::{Value, json};

use compare::Difference;
use control_plane::{ControlPlane, Tuning, programs};
use exceptions::{Exceptions, MAX_EXCEPTIONS, RANDOM, sequence_of};
use play::{Answer, Side};
use sequence::{Class, Sequence, seq};

mod broken;
mod classes;
mod compare;
#[path = "../e2e/control_plane.rs"]
#[allow(dead_code, reason = "the stories of tests/e2e use more of it")]
mod control_plane;
mod exceptions;
mod normal;
mod play;
mod random;
mod sequence;
mod table;

/// How many sequences are played at a time: each has a namespace of its own.
const AT_A_TIME: usize = 16;
/// The suite must not take longer, the start of the control plane aside.
const LIMIT: Duration = Duration::from_secs(90);

/// What became of one sequence.
struct Outcome {
    name: String,
    class: Class,
    requests: usize,
    differences: Vec<Difference>,
    /// What the real server answered, normalised.
    real: Vec<Answer>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_servers_give_the_same_answers() {
    let Some(programs) = programs() else { return };
    let sequences = wanted(table::all());
    let plane = ControlPlane::start(programs, without_writers()).await;
    let real = Side::of(plane.client().await);
    let cluster = Cluster::start(Config::default()).await.unwrap();
    let embedded = Side::of(cluster.client());

    let began = Instant::now();
    // What describes the kinds is read before anybody defines further ones.
    let (first, then): (Vec<_>, Vec<_>) = sequences
        .iter()
        .partition(|sequence| matches!(sequence.class, Class::Discovery | Class::OpenApi));
    let mut outcomes: Vec<Outcome> = Vec::new();
    for sequences in [first, then] {
        let played = stream::iter(sequences).map(|sequence| compare_on(&embedded, &real, sequence));
        outcomes.extend(played.buffered(AT_A_TIME).collect::<Vec<_>>().await);
    }
    let took = began.elapsed();

    let exceptions = Exceptions::read();
    let mut failures = exceptions.judge(&outcomes);
    failures.extend(broken::unnoticed(&sequences, &outcomes, &exceptions).await);
    tell(&outcomes, &exceptions, took);
    keep(&outcomes, &exceptions);
    assert!(
        failures.is_empty(),
        "{} failures\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(took < LIMIT, "took {took:?}");
}

/// Controllers that write to the objects of the sequences would make answers depend on who is faster.
fn without_writers() -> Tuning {
    let off = [
        "daemonset-controller",
        "deployment-controller",
        "replicaset-controller",
        "job-controller",
        "disruption-controller",
        "statefulset-controller",
        "cronjob-controller",
        "resourcequota-controller",
    ];
    Tuning {
        controller_manager: off.iter().map(|name| format!("--controllers=-{name}")).collect(),
        ..Tuning::default()
    }
}

fn wanted(all: Vec<Sequence>) -> Vec<Sequence> {
    let word = std::env::var_os("PITSTOP_CONFORMANCE").unwrap_or_default();
    let word = word.to_string_lossy();
    let is_wanted = |sequence: &Sequence| sequence.name.contains(&*word);
    all.into_iter().filter(is_wanted).collect()
}

async fn compare_on(embedded: &Side, real: &Side, sequence: &Sequence) -> Outcome {
    let (mut ours, mut theirs) = tokio::join!(embedded.play(sequence), real.play(sequence));
    normal::normalise(&mut ours);
    normal::normalise(&mut theirs);
    Outcome {
        name: sequence.name.clone(),
        class: sequence.class,
        requests: theirs.len(),
        differences: compare::answers(&ours, &theirs),
        real: theirs,
    }
}

/// Prints the figures, past the test runner.
fn tell(outcomes: &[Outcome], exceptions: &Exceptions, took: Duration) {
    let mut classes: BTreeMap<Class, (usize, usize, usize)> = BTreeMap::new();
    for outcome in outcomes {
        let figures = classes.entry(outcome.class).or_default();
        figures.0 += 1;
        figures.1 += outcome.requests;
        figures.2 += outcome.differences.len();
    }
    let mut text = String::new();
    let mut total = (0, 0, 0);
    for (class, (sequences, requests, differences)) in classes {
        total = (total.0 + sequences, total.1 + requests, total.2 + differences);
        let _ = writeln!(
            text,
            "{:<14} {sequences:>4} sequences {requests:>5} requests {differences:>4} differences",
            class.name()
        );
    }
    let _ = writeln!(
        text,
        "{} sequences, {} requests, {} differences ({} of them stay), {} rules of the normaliser, {:.1} s",
        total.0,
        total.1,
        total.2,
        exceptions.staying.len(),
        normal::RULES.len(),
        took.as_secs_f64()
    );
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Leaves the differences, with what both servers answered, and the table as it would have to be, for whoever mends them.
fn keep(outcomes: &[Outcome], exceptions: &Exceptions) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let values: String = outcomes
        .iter()
        .flat_map(|outcome| {
            outcome
                .differences
                .iter()
                .map(|difference| format!("{}: {difference}\n", outcome.name))
        })
        .collect();
    std::fs::write(folder.join("conformance-values.txt"), values).unwrap();
    let table = exceptions.rewritten(outcomes);
    std::fs::write(folder.join("conformance-differences.txt"), table).unwrap();
}

#[test]
fn names_are_distinct_and_exceptions_name_what_exists() {
    let sequences = table::all();
    let names: BTreeSet<&str> = sequences.iter().map(|sequence| sequence.name.as_str()).collect();
    assert_eq!(names.len(), sequences.len(), "two sequences have the same name");
    let exceptions = Exceptions::read();
    for line in exceptions.staying.keys().chain(&exceptions.open) {
        assert!(
            names.contains(sequence_of(line)) || sequence_of(line) == RANDOM,
            "{line}: there is no such sequence"
        );
        assert!(!line.contains('*'), "{line} is a wildcard");
    }
    for (line, reason) in &exceptions.staying {
        assert!(!reason.is_empty(), "{line} has no reason");
    }
    assert!(
        exceptions.count() <= MAX_EXCEPTIONS,
        "{} exceptions",
        exceptions.count()
    );
}

/// A server that answers one field wrong must not pass.
#[tokio::test]
async fn a_broken_server_is_found_out() {
    let right = Cluster::start(Config::default()).await.unwrap();
    let broken = Cluster::start(Config::default()).await.unwrap();
    let sequence = seq("broken", Class::Create)
        .post(
            "configmaps",
            json!({"metadata": {"name": "a"}, "data": {"k": "v"}}),
        )
        .get("configmaps/a");
    let lie = |answer: &mut Answer| {
        if let Some(value) = answer.body.pointer_mut("/data/k") {
            *value = Value::from("w");
        }
    };
    let (right, broken) = (Side::of(right.client()), Side::of(broken.client()).that_lies(lie));
    let honest = compare_on(&right, &right_again().await, &sequence).await;
    let exceptions = Exceptions::read();
    assert_eq!(exceptions.judge(&[honest]), Vec::<String>::new());
    let failures = exceptions.judge(&[compare_on(&broken, &right_again().await, &sequence).await]);
    assert_eq!(
        failures,
        [
            "broken: 0 POST configmaps /data/k: embedded \"w\", real \"v\"",
            "broken: 1 GET configmaps/a /data/k: embedded \"w\", real \"v\"",
        ]
    );
}

async fn right_again() -> Side {
    let cluster = Cluster::start(Config::default()).await.unwrap();
    let client = cluster.client();
    Side::holding(client, cluster)
}
