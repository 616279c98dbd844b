//! The same edits and node events on the embedded cluster and on a real control plane, drawn from a seed: what both come to
//! rest at must be the same, and on the way neither may break a promise.
//!
//! `cargo test -p pitstop --test histories`. Without a real control plane (`cargo xtask control-plane`) the comparison says
//! in one line that it did not run. `PITSTOP_HISTORIES=100` plays so many, `PITSTOP_HISTORIES=17..18` just that one.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use pitstop_cluster::builtin::Selection;

use control_plane::{ControlPlane, Tuning, programs};
use draw::story;
use play::{N_SHOWN, Outcome, Patience, play, shortest};
use stage::{NODE_GRACE, Stage};
use story::{Story, Topic};

mod compare;
#[path = "../e2e/control_plane.rs"]
#[allow(dead_code, reason = "the stories of tests/e2e use more of it")]
mod control_plane;
mod draw;
mod known;
mod normal;
mod play;
mod promises;
mod stage;
mod story;

/// How many histories a normal run plays.
const N_HISTORIES: u64 = 28;
/// How many are played at a time: each has a namespace and nodes of its own.
const AT_A_TIME: usize = 16;
/// A cluster without one of its controllers is found out within so many histories of a topic.
const N_HISTORIES_OF_A_MUTANT: u64 = 4;
/// Of so many histories that differ the shortest form is looked for.
const N_SHORTENED: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_come_to_rest_alike() {
    let Some(programs) = programs() else { return };
    let tuning = Tuning {
        node_grace: NODE_GRACE,
        ..Tuning::default()
    };
    let plane = ControlPlane::start(programs, tuning).await;
    let real = Stage::real(plane.client().await).await;
    let embedded = Stage::embedded(Selection::all(), true).await;
    let began = Instant::now();
    let stories: Vec<Story> = seeds().map(|seed| story(seed, Topic::of(seed))).collect();
    let played = stream::iter(&stories).map(|story| play([&embedded, &real], story, "", Patience::LONG));
    let outcomes: Vec<Outcome> = played.buffer_unordered(AT_A_TIME).collect().await;
    tell(&outcomes, &stories, began.elapsed());
    let mut text = String::new();
    for failed in outcomes
        .iter()
        .filter(|outcome| outcome.has_failed())
        .take(N_SHORTENED)
    {
        let story = stories.iter().find(|story| story.seed == failed.seed).unwrap();
        let _ = writeln!(text, "{}", shortest([&embedded, &real], story, failed).await);
    }
    assert!(text.is_empty(), "{text}");
}

/// Which controller is left out, and the topic of the histories that must not come out alike then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_one_of_its_controllers_is_found_out() {
    let whole = Stage::embedded(Selection::all(), true).await;
    let cases = [
        ("*,-deployment-controller", true, Topic::Deployment),
        ("*,-replicaset-controller", true, Topic::Deployment),
        ("*,-job-controller", true, Topic::Job),
        ("*,-garbage-collector-controller", true, Topic::Garbage),
        ("*,-node-lifecycle-controller", true, Topic::DaemonSet),
        ("*", false, Topic::DaemonSet),
    ];
    let whole = &whole;
    let played = stream::iter(cases.into_iter().enumerate()).map(async |(number, case)| {
        let (controllers, has_daemonsets, topic) = case;
        let broken = Stage::embedded(controllers.parse().unwrap(), has_daemonsets).await;
        for seed in 0..N_HISTORIES_OF_A_MUTANT {
            let story = story(seed, topic);
            // The whole cluster plays this history for others, too.
            let run = format!("-{number}");
            let outcome = play([&broken, whole], &story, &run, Patience::SHORT);
            if outcome.await.has_failed() {
                return None;
            }
        }
        Some(case)
    });
    let unnoticed = played.buffer_unordered(cases.len()).filter_map(async |case| case);
    let unnoticed: Vec<_> = unnoticed.collect().await;
    assert!(
        unnoticed.is_empty(),
        "controllers, DaemonSets, topic: {unnoticed:?}"
    );
}

/// Two clusters that are the same come to rest alike.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_cluster_is_not_suspected() {
    let stages = [
        Stage::embedded(Selection::all(), true).await,
        Stage::embedded(Selection::all(), true).await,
    ];
    let stories: Vec<Story> = (1000..1008).map(|seed| story(seed, Topic::of(seed))).collect();
    let played =
        stream::iter(&stories).map(|story| play([&stages[0], &stages[1]], story, "", Patience::LONG));
    let outcomes: Vec<Outcome> = played.buffer_unordered(AT_A_TIME).collect().await;
    let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.has_failed()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[allow(clippy::disallowed_methods, reason = "a test program has no flags of its own")]
fn seeds() -> Range<u64> {
    let Ok(given) = std::env::var("PITSTOP_HISTORIES") else {
        return 0..N_HISTORIES;
    };
    let (first, end) = given.split_once("..").unwrap_or(("0", given.as_str()));
    let number = |text: &str| {
        text.parse::<u64>().unwrap_or_else(|_| {
            panic!("PITSTOP_HISTORIES is {given:?}, which is neither a number nor a range like 17..18")
        })
    };
    number(first)..number(end)
}

/// Prints the figures, past the test runner.
fn tell(outcomes: &[Outcome], stories: &[Story], took: Duration) {
    let mut topics: BTreeMap<Topic, [usize; 5]> = BTreeMap::new();
    for outcome in outcomes {
        let figures = topics.entry(outcome.topic).or_default();
        let more = [
            1,
            outcome.n_edits,
            outcome.n_comparisons,
            outcome.differences.len(),
            outcome.broken.len(),
        ];
        for (figure, more) in figures.iter_mut().zip(more) {
            *figure += more;
        }
    }
    let mut text = String::new();
    let mut total = [0; 5];
    let mut line = |name: &str, [histories, edits, comparisons, differences, broken]: [usize; 5]| {
        let _ = writeln!(
            text,
            "{name:<11} {histories:>4} histories {edits:>5} edits {comparisons:>5} comparisons \
             {differences:>4} differences {broken:>3} broken promises"
        );
    };
    for (topic, figures) in topics {
        for (sum, more) in total.iter_mut().zip(figures) {
            *sum += more;
        }
        line(&format!("{topic:?}"), figures);
    }
    line("all", total);
    let _ = writeln!(text, "{:.1} s", took.as_secs_f64());
    for outcome in outcomes.iter().filter(|outcome| outcome.has_failed()) {
        let _ = writeln!(
            text,
            "seed {} failed after {:.0} s:",
            outcome.seed,
            outcome.took.as_secs_f64()
        );
        for story in stories.iter().filter(|story| story.seed == outcome.seed) {
            let _ = write!(text, "{story}");
        }
        for line in outcome.broken.iter().chain(&outcome.differences).take(N_SHOWN) {
            let _ = writeln!(text, "  {line}");
        }
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}
