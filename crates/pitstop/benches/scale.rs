//! What 5,000 nodes and 50,000 pods cost: memory, pods Ready a second, a list of all pods, writes, and 100 watchers of
//! 1,000 changes a second; the same questions to a real API server and etcd with as many pods.
//!
//! `cargo bench -p pitstop --bench scale [-- NODES [PODS_ON_EACH [REAL_PODS]]] [embedded|real] [start]`. The embedded part
//! is one process with a data folder: server, nodes and controllers. The real part needs `cargo xtask control-plane`.
//! Watchers are a process of their own. With `start` it ends when all pods are Ready, for profiles.
//! Goals: issue "The embedded cluster", 3; embedded-cluster.md 17.8.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "a benchmark prints its figures and stops when it cannot"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{AsyncBufReadExt as _, StreamExt as _, stream};
use http::Request;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use pitstop_api::{Clock as _, SystemClock};
use pitstop_cluster::node::{Fleet, FleetConfig, NodeSpec};
use pitstop_cluster::{Cluster, ServeConfig};
use pitstop_controller::Manager;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, sleep};

use control_plane::{ControlPlane, Tuning, programs};
use mimalloc::MiMalloc;
use process::{Usage, machine};

#[path = "../tests/e2e/control_plane.rs"]
#[allow(dead_code, reason = "written for tests, which use more of it")]
mod control_plane;
#[path = "real_cluster/process.rs"]
mod process;

/// As the program has it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Starts and stops of pods are this much shorter, so that the figures are of the program and not of its waits.
const TIME_SCALE: f64 = 10.0;
/// Heartbeats are as often as in life. Source: embedded-cluster.md 17.1.
const HEARTBEAT: Duration = Duration::from_secs(10);
const WATCHERS: usize = 100;
/// Changes a second that the watchers follow, for how long, by how many writers, to how many objects.
const RATE: u32 = 1_000;
const STORM: Duration = Duration::from_secs(10);
const WRITERS: u32 = 16;
const OBJECTS: usize = 100;
/// Writes one after the other.
const WRITES: usize = 1_000;
/// Creates under way at once.
const CREATES: usize = 32;
/// The argument by which this program becomes the watchers.
const WATCH: &str = "watch-from";

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, kubeconfig] = arguments.as_slice()
        && word == WATCH
    {
        return watch_all(Path::new(kubeconfig)).await;
    }
    let mut numbers = arguments.iter().filter_map(|a| a.parse::<usize>().ok());
    let nodes = numbers.next().unwrap_or(5_000);
    let sets = numbers.next().unwrap_or(10);
    let real_pods = numbers.next().unwrap_or(nodes * sets);
    let only_start = arguments.iter().any(|argument| argument == "start");
    let is_wanted = |word: &str| {
        let given = |word: &str| arguments.iter().any(|argument| argument == word);
        given(word) || !(given("embedded") || given("real"))
    };
    println!("{}", machine());
    if is_wanted("embedded") {
        embedded(nodes, sets, only_start).await;
    }
    if is_wanted("real") && !only_start {
        match programs() {
            Some(programs) => real(programs, real_pods).await,
            None => println!("no real control plane to compare with"),
        }
    }
}

/// Everything in this process.
async fn embedded(nodes: usize, sets: usize, only_start: bool) {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let config = pitstop_cluster::Config {
        data: Some(folder.path().join("data")),
        ..pitstop_cluster::Config::default()
    };
    let cluster = Cluster::start(config).await.unwrap();
    let serve = ServeConfig {
        addr: "127.0.0.1:0".parse().unwrap(),
        kubeconfig: Some(kubeconfig.clone()),
    };
    let serving = cluster.serve(serve).await.unwrap();
    let local = cluster.client();
    let config = FleetConfig {
        time_scale: TIME_SCALE,
        heartbeat: Some(HEARTBEAT),
        ..FleetConfig::default()
    };
    let begin = Instant::now();
    let fleet = Fleet::start(local.clone(), config).await.unwrap();
    let names = (0..nodes).map(|i| format!("node-{i:05}"));
    let added = stream::iter(names).map(|name| fleet.add(NodeSpec::new(&name)));
    added
        .buffer_unordered(CREATES)
        .for_each(async |done| done.unwrap())
        .await;
    println!("embedded: {nodes} nodes registered in {:.1?}", begin.elapsed());
    let config = pitstop_controller::Config::new(Arc::new(SystemClock), "bench", 7);
    let manager = Manager::start(local.clone(), config).await.unwrap();

    let (before, version) = (Usage::of(std::process::id()), cluster.resource_version());
    let begin = Instant::now();
    let api: Api<DaemonSet> = Api::default_namespaced(local);
    for i in 0..sets {
        api.create(&PostParams::default(), &daemonset(i)).await.unwrap();
    }
    until_available(&api, sets, i32::try_from(nodes).unwrap()).await;
    let (took, pods) = (begin.elapsed(), nodes * sets);
    let per_second = pods as f64 / took.as_secs_f64();
    println!("embedded: {pods} pods Ready in {took:.1?}, {per_second:.0} pods/s");
    let usage = Usage::of(std::process::id());
    println!(
        "embedded: {:.2} ms CPU and {:.1} writes for each pod, events and heartbeats included",
        (usage.cpu - before.cpu) * 1e3 / pods as f64,
        (cluster.resource_version() - version) as f64 / pods as f64
    );
    println!(
        "embedded: {:.0} MiB resident (peak {:.0}): server, nodes and controllers",
        usage.resident, usage.peak
    );
    if !only_start {
        measure("embedded", &kubeconfig, &[std::process::id()]).await;
    }
    manager.shutdown().await;
    fleet.stop().await;
    serving.shutdown().await;
    cluster.shutdown().await;
}

/// A real API server with as many pods, which nobody schedules.
async fn real(programs: PathBuf, pods: usize) {
    let tuning = Tuning {
        api_server: vec![
            "--max-requests-inflight=2000".into(),
            "--max-mutating-requests-inflight=2000".into(),
        ],
        garbage: 100,
        ..Tuning::default()
    };
    let plane = ControlPlane::start(programs, tuning).await;
    let api: Api<Pod> = Api::default_namespaced(plane.client().await);
    let begin = Instant::now();
    let made = stream::iter(0..pods).map(|i| {
        let api = api.clone();
        async move { api.create(&PostParams::default(), &pod(i)).await }
    });
    made.buffer_unordered(CREATES)
        .for_each(async |made| drop(made.unwrap()))
        .await;
    let took = begin.elapsed();
    let per_second = pods as f64 / took.as_secs_f64();
    println!("real: {pods} pods created in {took:.1?}, {per_second:.0} pods/s");
    let pids = plane.store_pids();
    for (name, pid) in ["kube-apiserver", "etcd"].iter().zip(pids) {
        let usage = Usage::of(pid);
        println!(
            "real: {name} {:.0} MiB resident (peak {:.0}), {:.0} CPU s",
            usage.resident, usage.peak, usage.cpu
        );
    }
    measure("real", &plane.kubeconfig(), &pids).await;
}

/// The questions that both are asked. `pids`: who answers them.
async fn measure(label: &str, kubeconfig: &Path, pids: &[u32]) {
    let client = client(kubeconfig).await;
    let cpu = || pids.iter().map(|pid| Usage::of(*pid).cpu).sum::<f64>();
    let mut times = Vec::new();
    let mut size = 0;
    for _ in 0..3 {
        let begin = Instant::now();
        let request = Request::get("/api/v1/pods").body(Vec::new()).unwrap();
        size = client.request_text(request).await.unwrap().len();
        times.push(begin.elapsed());
    }
    times.sort();
    println!(
        "{label}: list of all pods in {:.2?}, {} MiB of JSON (median of 3)",
        times[1],
        size >> 20
    );
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    for i in 0..OBJECTS {
        let map = serde_json::from_value(json!({"metadata": {"name": format!("map-{i}")}})).unwrap();
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    let mut times = Vec::new();
    for i in 0..WRITES {
        times.push(write(&maps, i % OBJECTS).await);
    }
    println!("{label}: a write alone takes {}", quantiles(times));

    let program = std::env::current_exe().unwrap();
    let mut watchers = Command::new(program)
        .args([WATCH, &kubeconfig.display().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(watchers.stdout.take().unwrap());
    let mut ready = String::new();
    said.read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    let (before, begin) = (cpu(), Instant::now());
    let writers = (0..WRITERS).map(|n| tokio::spawn(storm(maps.clone(), n)));
    let writers: Vec<_> = writers.collect();
    let mut times = Vec::new();
    for writer in writers {
        times.extend(writer.await.unwrap());
    }
    let (used, took) = (cpu() - before, begin.elapsed());
    println!(
        "{label}: {:.0} writes/s under {WATCHERS} watchers, {:.2} cores used; a write takes {}",
        times.len() as f64 / took.as_secs_f64(),
        used / took.as_secs_f64(),
        quantiles(times)
    );
    sleep(Duration::from_secs(1)).await;
    drop(watchers.stdin.take());
    let mut seen = String::new();
    said.read_to_string(&mut seen).unwrap();
    watchers.wait().unwrap();
    print!("{label}: {seen}");
}

/// A write that tells when it was sent.
async fn write(maps: &Api<ConfigMap>, i: usize) -> Duration {
    let begin = Instant::now();
    let at = SystemClock.now().as_microsecond().to_string();
    let patch = Patch::Merge(json!({"data": {"at": at}}));
    maps.patch(&format!("map-{i}"), &PatchParams::default(), &patch)
        .await
        .unwrap();
    begin.elapsed()
}

async fn storm(maps: Api<ConfigMap>, n: u32) -> Vec<Duration> {
    let mut turns = interval(Duration::from_secs(1) * WRITERS / RATE);
    turns.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (begin, mut times) = (Instant::now(), Vec::new());
    let own: Vec<usize> = (0..OBJECTS)
        .filter(|i| i % WRITERS as usize == n as usize)
        .collect();
    for i in own.into_iter().cycle() {
        turns.tick().await;
        if begin.elapsed() > STORM {
            break;
        }
        times.push(write(&maps, i).await);
    }
    times
}

/// The other process: says `ready`, follows until its input ends, and says what it saw.
async fn watch_all(kubeconfig: &Path) {
    let client = client(kubeconfig).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let version = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let watched = Arc::<Mutex<Watched>>::default();
    for _ in 0..WATCHERS {
        tokio::spawn(watch_one(client.clone(), version.clone(), Arc::clone(&watched)));
    }
    sleep(Duration::from_secs(2)).await;
    println!("ready");
    let wait = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(wait).await.unwrap().unwrap();
    let Watched { delays, ended } = std::mem::take(&mut *watched.lock().unwrap());
    let n = delays.len() / WATCHERS;
    println!(
        "{n} events at each of {WATCHERS} watchers, from sent to seen {}; {ended} watches were ended and resumed",
        quantiles(delays)
    );
}

/// What all watchers have seen together.
#[derive(Debug, Default)]
struct Watched {
    delays: Vec<Duration>,
    /// Watches that the server ended, as servers do with watchers that are too slow for it.
    ended: usize,
}

/// Follows for ever, and goes on where it was when the server ends its watch.
async fn watch_one(client: Client, mut version: String, watched: Arc<Mutex<Watched>>) {
    loop {
        let path = format!("/api/v1/namespaces/default/configmaps?watch=1&resourceVersion={version}");
        let request = Request::get(path).body(Vec::new()).unwrap();
        let mut lines = client.request_stream(request).await.unwrap().lines();
        while let Some(Ok(line)) = lines.next().await {
            let text = |key: &str| line.split_once(key)?.1.split('"').next();
            let Some(sent) = text("\"at\":\"") else { continue };
            let delay = SystemClock.now().as_microsecond() - sent.parse::<i64>().unwrap();
            let delay = Duration::from_micros(u64::try_from(delay).unwrap_or(0));
            watched.lock().unwrap().delays.push(delay);
            text("\"resourceVersion\":\"").unwrap().clone_into(&mut version);
        }
        watched.lock().unwrap().ended += 1;
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

async fn until_available(api: &Api<DaemonSet>, sets: usize, wanted: i32) {
    loop {
        let listed = api.list(&ListParams::default()).await.unwrap();
        let available = |ds: &&DaemonSet| ds.status.as_ref().and_then(|s| s.number_available) == Some(wanted);
        if listed.items.iter().filter(available).count() == sets {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: usize| times.get((times.len() * part / 100).min(times.len().saturating_sub(1)));
    let [p50, p99] = [50, 99].map(|part| at(part).copied().unwrap_or_default());
    format!("{p50:.1?} (p50), {p99:.1?} (p99)")
}

fn daemonset(i: usize) -> DaemonSet {
    let name = format!("agent-{i}");
    serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "agent", "image": "agent:1"}]},
            },
        },
    }))
    .unwrap()
}

fn pod(i: usize) -> Pod {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{i:05}"), "labels": {"app": "agent"}},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "agent", "image": "agent:1"}]},
    }))
    .unwrap()
}
