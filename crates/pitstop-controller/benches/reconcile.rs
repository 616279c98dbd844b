//! What one pod event costs in a large DaemonSet, from its bytes to the plan: decode, store, snapshot, decision.
//!
//! `cargo bench -p pitstop-controller --bench reconcile`. Goal: below 1 ms at 10,000 pods (issue "The whole way
//! through", 6).
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its figures and stops when it cannot"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pitstop_controller::api::Resource;
use pitstop_controller::snapshot::{Beside, gather};
use pitstop_controller::store::{Key, Stores};
use pitstop_engine::daemonset::{advanced, native};
use pitstop_engine::revision;
use serde_json::{Value, json};

const ROUNDS: usize = 200;

fn main() {
    println!("{}", machine());
    println!("{:>9}  {:<22}  {:>11}  {:>11}", "pods", "model", "median", "p99");
    for n in [1_000, 10_000] {
        for advanced in [false, true] {
            let (median, p99) = measure(n, advanced);
            let model = if advanced {
                "AdvancedRollingUpdate"
            } else {
                "RollingUpdate"
            };
            println!("{n:>9}  {model:<22}  {median:>11.1?}  {p99:>11.1?}");
        }
    }
}

fn measure(n: u32, is_advanced: bool) -> (Duration, Duration) {
    let stores = Stores::new();
    let (old, new) = (template("nginx:1.19.4"), template("nginx:1.19.5"));
    stores.written(Resource::DaemonSets, &bytes(&daemonset(&new, is_advanced)));
    for (i, template) in [&old, &new].into_iter().enumerate() {
        stores.written(
            Resource::ControllerRevisions,
            &bytes(&controller_revision(template, i)),
        );
    }
    for i in 0..n {
        stores.written(Resource::Nodes, &bytes(&node(i)));
        stores.written(Resource::Pods, &bytes(&pod(i, &revision::hash_of(&old, None), 1)));
    }
    let key = Key::new("default", "agent");
    let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|round| {
            let version = 10 + u64::try_from(round).unwrap();
            let event = bytes(&pod(n / 2, &revision::hash_of(&old, None), version));
            let start = Instant::now();
            stores.written(Resource::Pods, &event);
            let state = stores.read();
            let view = state.daemonsets().get(&key).unwrap();
            let beside = Beside {
                now,
                in_flight: pitstop_engine::snapshot::InFlight::default(),
                failed_pods: &[],
                knows_pulls: false,
                may_adopt: false,
            };
            let snapshot = gather(&state, &key, view, beside);
            black_box(if is_advanced {
                advanced::plan(&snapshot)
            } else {
                native::plan(&snapshot)
            });
            start.elapsed()
        })
        .collect();
    times.sort();
    (times[ROUNDS / 2], times[ROUNDS * 99 / 100])
}

fn bytes(object: &Value) -> Vec<u8> {
    object.to_string().into_bytes()
}

fn uid(kind: u32, n: u32) -> String {
    format!("{kind:08x}-0000-4000-8000-{n:012x}")
}

fn template(image: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "agent" } },
        "spec": { "containers": [{ "name": "agent", "image": image }] },
    })
}

fn daemonset(template: &Value, is_advanced: bool) -> Value {
    let strategy = if is_advanced { "OnDelete" } else { "RollingUpdate" };
    let annotations = if is_advanced {
        json!({ "apps.openyurt.io/update-strategy": "auto" })
    } else {
        json!({})
    };
    json!({
        "metadata": {
            "name": "agent", "namespace": "default", "uid": uid(1, 0), "resourceVersion": "1", "generation": 2,
            "annotations": annotations,
        },
        "spec": {
            "selector": { "matchLabels": { "app": "agent" } },
            "template": template,
            "updateStrategy": { "type": strategy },
        },
        "status": { "observedGeneration": 2 },
    })
}

fn owner() -> Value {
    json!([{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": uid(1, 0), "controller": true }])
}

fn controller_revision(template: &Value, i: usize) -> Value {
    let hash = revision::hash_of(template, None);
    json!({
        "metadata": {
            "name": format!("agent-{hash}"), "namespace": "default", "uid": uid(2, u32::try_from(i).unwrap()),
            "resourceVersion": "2", "labels": { "app": "agent", "controller-revision-hash": hash },
            "ownerReferences": owner(),
        },
        "revision": i + 1,
        "data": revision::data_of(template),
    })
}

fn node(i: u32) -> Value {
    json!({
        "metadata": {
            "name": format!("node-{i:06}"), "uid": uid(3, i), "resourceVersion": (3 + i).to_string(),
            "labels": { "kubernetes.io/hostname": format!("node-{i:06}") },
        },
        "status": { "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
    })
}

fn pod(i: u32, hash: &str, version: u64) -> Value {
    json!({
        "metadata": {
            "name": format!("agent-{i:05}"), "namespace": "default", "uid": uid(4, i),
            "resourceVersion": (1_000_000 * version + u64::from(i)).to_string(),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "app": "agent", "controller-revision-hash": hash, "pod-template-generation": "1" },
            "ownerReferences": owner(),
        },
        "spec": { "nodeName": format!("node-{i:06}"), "containers": [{ "name": "agent", "image": "nginx:1.19.4" }] },
        "status": {
            "phase": "Running",
            "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z" }],
        },
    })
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or(": unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!(
        "{} ({cores} cores), {}",
        model.trim_start_matches([' ', '\t', ':']),
        std::env::consts::OS
    )
}
