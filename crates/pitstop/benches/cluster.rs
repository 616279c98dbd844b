//! Figures of the embedded cluster, printed with the machine: how soon it answers, how many pods become Ready a second,
//! what they cost in memory, and how long a rollout takes.
//!
//! `cargo bench -p pitstop --bench cluster [-- NODES DAEMONSETS]`. Goals: first answered list of a 3-node cluster within
//! 300 ms; 1,000 nodes and 10,000 pods (issue "The whole way through", 6; embedded-cluster.md 17.8).
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its figures and stops when it cannot"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use pitstop_api::SystemClock;
use pitstop_cluster::node::{Fleet, FleetConfig, NodeSpec};
use pitstop_cluster::{Cluster, Config};
use pitstop_controller::Manager;
use serde_json::json;

/// Simulated waits are this much shorter, so that the figures are more of the program than of the profile. Leases are
/// renewed as much oftener: a larger value measures the leases of 1,000 nodes.
const TIME_SCALE: f64 = 10.0;

struct World {
    client: Client,
    cluster: Cluster,
    fleet: Fleet,
    manager: Manager,
}

async fn world(nodes: usize) -> World {
    let cluster = Cluster::start(Config::default()).await.unwrap();
    let client = cluster.client();
    let config = FleetConfig {
        time_scale: TIME_SCALE,
        ..FleetConfig::default()
    };
    let fleet = Fleet::start(client.clone(), config).await.unwrap();
    for i in 0..nodes {
        fleet.add(NodeSpec::new(&format!("node-{i:05}"))).await.unwrap();
    }
    let config = pitstop_controller::Config::new(Arc::new(SystemClock), "bench", 7);
    let manager = Manager::start(client.clone(), config).await.unwrap();
    World {
        client,
        cluster,
        fleet,
        manager,
    }
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|a| a.parse::<usize>().ok());
    let nodes = arguments.next().unwrap_or(1_000);
    let sets = arguments.next().unwrap_or(10);
    println!("{}", machine());
    start().await;
    load(nodes, sets).await;
}

/// From nothing to the answer of the first list of a 3-node cluster.
async fn start() {
    let mut times = Vec::new();
    for _ in 0..11 {
        let begin = Instant::now();
        let world = world(3).await;
        let listed = Api::<Node>::all(world.client.clone())
            .list(&ListParams::default())
            .await
            .unwrap();
        assert_eq!(listed.items.len(), 3);
        times.push(begin.elapsed());
        end(world).await;
    }
    times.sort();
    println!(
        "3 nodes: first answered list after {:.1?} (median of {})",
        times[times.len() / 2],
        times.len()
    );
}

async fn load(nodes: usize, sets: usize) {
    let before = resident();
    let begin = Instant::now();
    let world = world(nodes).await;
    println!("{nodes} nodes registered in {:.1?}", begin.elapsed());
    let api: Api<DaemonSet> = Api::default_namespaced(world.client.clone());
    let begin = Instant::now();
    for i in 0..sets {
        api.create(&PostParams::default(), &daemonset(i)).await.unwrap();
    }
    let wanted = i32::try_from(nodes).unwrap();
    until(&api, sets, |status| status.number_available == Some(wanted)).await;
    let took = begin.elapsed();
    let pods = nodes * sets;
    println!(
        "{pods} pods Ready in {took:.1?}: {:.0} pods/s",
        per_second(pods, took)
    );
    let grown = resident().saturating_sub(before);
    println!(
        "memory: {} MiB more, {} KiB a pod, server, nodes and controllers together",
        grown >> 20,
        (grown >> 10) / pods.max(1)
    );

    let begin = Instant::now();
    let version = world.cluster.resource_version();
    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "agent", "image": "agent:2"}]}}}});
    api.patch("agent-0", &PatchParams::default(), &Patch::Strategic(image))
        .await
        .unwrap();
    until_updated(&api, "agent-0", wanted).await;
    let took = begin.elapsed();
    let writes = world.cluster.resource_version() - version;
    println!(
        "rollout of {nodes} pods, maxUnavailable 10%: {took:.1?}, {:.0} pods/s, {writes} writes in all",
        per_second(nodes, took)
    );
    end(world).await;
}

async fn until(
    api: &Api<DaemonSet>,
    sets: usize,
    done: impl Fn(&k8s_openapi::api::apps::v1::DaemonSetStatus) -> bool,
) {
    loop {
        let listed = api.list(&ListParams::default()).await.unwrap();
        if listed
            .items
            .iter()
            .filter(|ds| ds.status.as_ref().is_some_and(&done))
            .count()
            == sets
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until_updated(api: &Api<DaemonSet>, name: &str, wanted: i32) {
    loop {
        let object = api.get(name).await.unwrap();
        let status = object.status.unwrap_or_default();
        let is_observed = status.observed_generation >= object.metadata.generation;
        if is_observed
            && status.updated_number_scheduled == Some(wanted)
            && status.number_available == Some(wanted)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn end(world: World) {
    world.manager.shutdown().await;
    world.fleet.stop().await;
    world.cluster.shutdown().await;
}

fn daemonset(i: usize) -> DaemonSet {
    let name = format!("agent-{i}");
    serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "agent", "image": "agent:1"}]},
            },
        },
    }))
    .unwrap()
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_second(n: usize, took: Duration) -> f64 {
    n as f64 / took.as_secs_f64()
}

/// Resident memory of this process. Units: bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or(0) * 1024
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
