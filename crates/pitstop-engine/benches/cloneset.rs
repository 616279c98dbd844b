//! How long one decision takes for a CloneSet of 100,000 pods: `cargo bench -p pitstop-engine --bench cloneset`.
//!
//! The goal is below 10 ms (design.md section 4). Printed are, for each state, the median, the fastest and the slowest of 20
//! runs, and the actions of the plan. Units: milliseconds.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program whose output is its purpose"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pitstop_api::keys;
use pitstop_api::view::{CloneSetView, NodeNames, PodView, PodWire, RevisionView, Uid};
use pitstop_engine::cloneset::{Failures, Features, InFlight, Snapshot, plan};
use pitstop_engine::snapshot::Nodes;
use serde_json::{Value, json};

const PODS: u32 = 100_000;
const RUNS: usize = 20;
const NOW: &str = "2026-01-01T12:00:00Z";
const OWNER: &str = "00000000-0000-0000-0000-000000000001";

fn main() {
    println!("pods: {PODS}, runs: {RUNS}");
    println!(
        "{:<12} {:>9} {:>9} {:>9} {:>9}",
        "state", "median", "fastest", "slowest", "actions"
    );
    for (state, updated) in [("steady", PODS), ("mid-rollout", PODS / 2), ("first step", 0)] {
        measure(state, updated);
    }
}

fn measure(state: &str, updated: u32) {
    let cloneset = CloneSetView::from_json(cloneset(updated).to_string().as_bytes()).unwrap();
    let revisions = [revision("web-old", "foo1", 1), revision("web-new", "foo2", 2)];
    let revisions = revisions.map(|json| RevisionView::from_json(json.to_string().as_bytes()).unwrap());
    let pods = pods(updated);
    let names = NodeNames::default();
    let snapshot = Snapshot {
        now: NOW.parse().unwrap(),
        cloneset: &cloneset,
        revisions: revisions.iter().collect(),
        pods: pods.iter().collect(),
        claims: Vec::new(),
        nodes: Nodes {
            names: &names,
            by_slot: &[],
            by_name: &[],
        },
        in_flight: InFlight::default(),
        features: Features::default(),
        seed: 0,
        failures: Failures::default(),
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
    println!("{state:<12} {median:>9.2} {fastest:>9.2} {slowest:>9.2} {n_actions:>9}");
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
    json!({ "apiVersion": "apps.kruise.io/v1beta1", "kind": "CloneSet", "name": "web", "uid": OWNER, "controller": true })
}

fn cloneset(updated: u32) -> Value {
    json!({
        "metadata": { "name": "web", "namespace": "default", "uid": OWNER, "generation": 2 },
        "spec": {
            "replicas": PODS, "selector": { "matchLabels": { "app": "web" } }, "template": template("foo2"),
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": {
                "podUpdatePolicy": "InPlaceIfPossible", "maxUnavailable": 1 } },
        },
        "status": { "currentRevision": if updated == PODS { "web-new" } else { "web-old" } },
    })
}

/// The first `updated` pods have the new revision, the others the old one; all are available.
fn pods(updated: u32) -> Vec<PodView> {
    let pod = |revision: &str, image: &str| -> PodView {
        let condition = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": NOW });
        let wire: PodWire = serde_json::from_value(json!({
            "metadata": { "name": "web", "namespace": "default", "uid": OWNER, "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [owner()],
                "labels": { "app": "web", keys::REVISION_HASH: revision, keys::LIFECYCLE_STATE: "Normal",
                    keys::POD_TEMPLATE_HASH: "new", keys::INSTANCE_ID: "x2b4c" } },
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
    (0..PODS)
        .map(|n| {
            let like = if n < updated { &new } else { &old };
            // As in the stores, each has what tells it apart and the state of its update for itself.
            let mut labels = like.labels.clone();
            labels.insert(keys::INSTANCE_ID.to_owned(), format!("{n:06}"));
            PodView {
                name: format!("web-{n:06}").into(),
                uid: Uid(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                in_place: like.in_place.as_deref().cloned().map(Arc::new),
                labels,
                ..like.clone()
            }
        })
        .collect()
}
