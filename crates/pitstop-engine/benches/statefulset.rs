//! How long one decision takes for a StatefulSet of 10,000 and of 100,000 pods:
//! `cargo bench -p pitstop-engine --bench statefulset`.
//!
//! The goal is below 10 ms for 100,000 (design.md section 4). Printed are, for each state, the median, the fastest and the slowest of 20
//! runs, and the actions of the plan. Units: milliseconds.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program whose output is its purpose"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use pitstop_api::view::{NodeNames, PodView, PodWire, RevisionView, StatefulSetView, Uid};
use pitstop_api::{StorageClasses, keys};
use pitstop_engine::statefulset::{ArbiterAnswers, Failures, Features, InFlight, Snapshot, plan};
use serde_json::{Value, json};

const SIZES: [u32; 2] = [10_000, 100_000];
const RUNS: usize = 20;
const NOW: &str = "2026-01-01T12:00:00Z";
const OWNER: &str = "00000000-0000-0000-0000-000000000001";

fn main() {
    println!("runs: {RUNS}");
    println!(
        "{:>7} {:<12} {:>9} {:>9} {:>9} {:>9}",
        "pods", "state", "median", "fastest", "slowest", "actions"
    );
    for n in SIZES {
        for (state, updated) in [
            ("steady", n),
            ("mid-rollout", n / 2),
            ("first step", 0),
            ("protected", n / 2),
        ] {
            measure(n, state, updated);
        }
    }
}

fn measure(n: u32, state: &str, updated: u32) {
    let set = set(n, updated, state == "protected");
    let set = StatefulSetView::from_json(set.to_string().as_bytes()).unwrap();
    let revisions = [revision("web-old", "foo1", 1), revision("web-new", "foo2", 2)];
    let revisions = revisions.map(|json| RevisionView::from_json(json.to_string().as_bytes()).unwrap());
    let pods = pods(n, updated);
    let snapshot = Snapshot {
        now: NOW.parse().unwrap(),
        set: &set,
        revisions: revisions.iter().collect(),
        pods: pods.iter().collect(),
        claims: Vec::new(),
        classes: StorageClasses::default(),
        in_flight: InFlight::default(),
        arbiter: ArbiterAnswers::default(),
        features: Features::default(),
        failures: Failures::default(),
        may_adopt: true,
    };
    let mut n_actions = 0;
    let mut took: Vec<Duration> = (0..=RUNS)
        .map(|_| {
            let start = Instant::now();
            let decided = black_box(plan(black_box(&snapshot)));
            let took = start.elapsed();
            n_actions = decided.actions.len();
            took
        })
        .skip(1)
        .collect();
    took.sort_unstable();
    let ms = |run: usize| took[run].as_secs_f64() * 1000.0;
    let (median, fastest, slowest) = (ms(RUNS / 2), ms(0), ms(RUNS - 1));
    println!("{n:>7} {state:<12} {median:>9.2} {fastest:>9.2} {slowest:>9.2} {n_actions:>9}");
}

fn template(image: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "c1", "image": image }] },
    })
}

fn revision(name: &str, image: &str, number: u32) -> Value {
    json!({
        "metadata": { "name": name, "uid": Uid(u128::from(number)).to_string(), "labels": { "app": "web" },
            "ownerReferences": [owner()] },
        "data": { "spec": { "template": template(image) } }, "revision": number,
    })
}

fn owner() -> Value {
    json!({ "apiVersion": "apps.kruise.io/v1beta1", "kind": "StatefulSet", "name": "web", "uid": OWNER, "controller": true })
}

fn set(n: u32, updated: u32, is_protected: bool) -> Value {
    let mut rolling = json!({ "podUpdatePolicy": "InPlaceIfPossible", "maxUnavailable": 1, "unorderedUpdate": {
        "priorityStrategy": { "weightPriority": [
            { "weight": 30, "matchSelector": { "matchLabels": { "working": "true" } } },
            { "weight": 50, "matchSelector": { "matchLabels": { "working": "false" } } }] } } });
    if is_protected {
        rolling["protection"] = json!({ "podSelector": { "matchLabels": { "working": "true" } } });
    }
    json!({
        "metadata": { "name": "web", "namespace": "default", "uid": OWNER, "generation": 2 },
        "spec": {
            "replicas": n, "selector": { "matchLabels": { "app": "web" } }, "template": template("foo2"),
            "podManagementPolicy": "Parallel",
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": rolling },
        },
        "status": { "currentRevision": if updated == n { "web-new" } else { "web-old" } },
    })
}

/// The first `updated` pods have the new revision, the others the old one; all are available, and every third works.
fn pods(n: u32, updated: u32) -> Vec<PodView> {
    let pod = |revision: &str, image: &str| -> PodView {
        let condition = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": NOW });
        let wire: PodWire = serde_json::from_value(json!({
            "metadata": { "name": "web", "namespace": "default", "uid": OWNER, "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [owner()],
                "labels": { "app": "web", keys::REVISION_HASH: revision, keys::LIFECYCLE_STATE: "Normal",
                    keys::POD_INDEX: "0", keys::STATEFUL_POD_NAME: "web-0", "working": "false" } },
            "spec": { "nodeName": "n1", "containers": [{ "name": "c1", "image": image }],
                "readinessGates": [{ "conditionType": "InPlaceUpdateReady" }] },
            "status": { "phase": "Running", "conditions": [condition("Ready"), condition("InPlaceUpdateReady")],
                "containerStatuses": [{ "name": "c1", "image": image, "imageID": "x", "containerID": "y", "ready": true,
                    "state": { "running": { "startedAt": NOW } } }] },
        }))
        .unwrap();
        wire.view(&mut NodeNames::default()).unwrap()
    };
    let (old, new) = (pod("web-old", "foo1"), pod("web-new", "foo2"));
    let labels = |like: &PodView, ordinal: u32| {
        let mut labels = like.labels.clone();
        labels.insert(keys::POD_INDEX.to_owned(), ordinal.to_string());
        labels.insert(keys::STATEFUL_POD_NAME.to_owned(), format!("web-{ordinal}"));
        labels.insert("working".to_owned(), ordinal.is_multiple_of(3).to_string());
        labels
    };
    (0..n)
        .map(|ordinal| {
            let like = if ordinal < updated { &new } else { &old };
            PodView {
                name: format!("web-{ordinal}").into(),
                uid: Uid(u128::from(ordinal).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                labels: labels(like, ordinal),
                ..like.clone()
            }
        })
        .collect()
}
