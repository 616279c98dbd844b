//! How long one decision takes for a DaemonSet of 100,000 pods: `cargo bench -p pitstop-engine`.
//!
//! The goal is below 10 ms (design.md section 4). Printed are the machine and, for each model and state, the median, the
//! fastest and the slowest of 20 runs. Units: milliseconds.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program whose output is its purpose"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use pitstop_api::keys;
use pitstop_api::view::{ControllerRef, NodeSlot, OwnerKind, Phase, PodLabels, PodView, ReadyCondition, Uid};
use pitstop_engine::Snapshot;
use pitstop_engine::daemonset::{advanced, native};
use pitstop_engine::feature_gates::FeatureGates;
use pitstop_engine::plan::Plan;
use pitstop_engine::revision::{data_of, hash_of};
use pitstop_engine::snapshot::file::{AnySnapshot, Loaded, SnapshotFile, VERSION, Workload};
use serde_json::{Value, json};

const PODS: u32 = 100_000;
const RUNS: usize = 20;
const NOW: &str = "2026-01-01T12:00:00Z";

fn main() {
    println!("machine: {}", machine());
    println!("pods: {PODS}, nodes: {PODS}, runs: {RUNS}");
    println!(
        "{:<16} {:<12} {:>9} {:>9} {:>9}",
        "model", "state", "median", "fastest", "slowest"
    );
    for (state, updated) in [("steady", PODS), ("mid-rollout", PODS / 2), ("first step", 0)] {
        measure("native", state, &cluster(false, updated), native::plan);
        measure("advanced", state, &cluster(true, updated), advanced::plan);
    }
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model
        .and_then(|line| line.split_once(':'))
        .map(|(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{}, {cores} cores", model.unwrap_or("unknown"))
}

fn measure(model: &str, state: &str, loaded: &Loaded, plan: fn(&Snapshot<'_>) -> Plan) {
    let AnySnapshot::DaemonSet(snapshot) = loaded.snapshot() else {
        unreachable!("the file is of a DaemonSet")
    };
    let mut took: Vec<Duration> = (0..=RUNS)
        .map(|_| {
            let start = Instant::now();
            let decided = black_box(plan(black_box(&snapshot)));
            let took = start.elapsed();
            drop(decided);
            took
        })
        .skip(1)
        .collect();
    took.sort_unstable();
    let ms = |run: usize| took[run].as_secs_f64() * 1000.0;
    println!(
        "{model:<16} {state:<12} {:>9.2} {:>9.2} {:>9.2}",
        ms(RUNS / 2),
        ms(0),
        ms(RUNS - 1)
    );
}

fn template(version: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "agent" } },
        "spec": { "containers": [{ "name": "agent", "image": format!("agent:{version}") }] },
    })
}

fn uid(n: u32) -> String {
    Uid(u128::from(n)).to_string()
}

/// The first `updated` nodes have the new version, the others the old one; all are available.
fn cluster(is_advanced: bool, updated: u32) -> Loaded {
    let owner = json!([{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": uid(1), "controller": true }]);
    let mut annotations = json!({ keys::TEMPLATE_GENERATION: "2" });
    if is_advanced {
        annotations[keys::OPENYURT_UPDATE_STRATEGY] = json!("AdvancedRollingUpdate");
    }
    let strategy = if is_advanced {
        json!({ "type": "OnDelete" })
    } else {
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "10%", "maxSurge": 0 } })
    };
    let revision = |version: &str, n: u32| {
        let hash = hash_of(&template(version), None);
        json!({
            "metadata": { "name": format!("agent-{hash}"), "uid": uid(n.saturating_add(1)), "ownerReferences": owner,
                "labels": { "app": "agent", keys::REVISION_HASH: hash } },
            "revision": n, "data": data_of(&template(version)),
        })
    };
    let node = |n: u32| {
        json!({
            "metadata": { "name": name(n), "uid": uid(n.saturating_add(10)) },
            "status": { "conditions": [
                { "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" },
            ] },
        })
    };
    let file = SnapshotFile {
        version: VERSION,
        now: NOW.parse().unwrap(),
        workload: Workload::DaemonSet(json!({
            "metadata": { "name": "agent", "namespace": "default", "uid": uid(1), "generation": 2,
                "annotations": annotations },
            "spec": { "selector": { "matchLabels": { "app": "agent" } }, "template": template("v2"),
                "updateStrategy": strategy },
            "status": { "observedGeneration": 2 },
        })),
        revisions: vec![revision("v1", 1), revision("v2", 2)],
        pods: Vec::new(),
        claims: Vec::new(),
        classes: Vec::new(),
        nodes: (0..PODS).map(node).collect(),
        failed_pods: Vec::new(),
        pulls: None,
        resizes_in_place: false,
        gates: FeatureGates::default(),
    };
    let mut loaded = file.load().unwrap();
    loaded.pods = pods(&loaded, updated);
    loaded
}

fn name(n: u32) -> String {
    format!("node-{n:06}")
}

fn pods(loaded: &Loaded, updated: u32) -> Vec<PodView> {
    let labels = |version: &str| {
        PodLabels::from_iter([
            ("app".to_owned(), "agent".to_owned()),
            (keys::REVISION_HASH.to_owned(), hash_of(&template(version), None)),
        ])
    };
    let (old, new) = (labels("v1"), labels("v2"));
    let AnySnapshot::DaemonSet(snapshot) = loaded.snapshot() else {
        unreachable!("the file is of a DaemonSet")
    };
    let daemonset = snapshot.daemonset.uid;
    let namespace: Arc<str> = "default".into();
    let created_at: Timestamp = NOW.parse::<Timestamp>().unwrap() - SignedDuration::from_hours(1);
    let pod = |n: u32| PodView {
        namespace: Arc::clone(&namespace),
        name: format!("agent-{n:06}").into(),
        uid: Uid(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        resource_version: u64::from(n),
        labels: if n < updated { new.clone() } else { old.clone() },
        controller: Some(ControllerRef {
            uid: daemonset,
            kind: OwnerKind::DaemonSet,
        }),
        node: Some(NodeSlot(n)),
        bound: true,
        created_at,
        deleted_at: None,
        phase: Phase::Running,
        ready: Some(ReadyCondition {
            is_true: true,
            since: Some(created_at),
        }),
        images: Arc::new([]),
        trouble: None,
        are_containers_ready: true,
        has_images: false,
        upgrade: None,
        in_place: None,
    };
    (0..PODS).map(pod).collect()
}
