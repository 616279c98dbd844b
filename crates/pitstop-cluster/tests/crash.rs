//! A server that is killed from outside at any moment loses no acknowledged write and never goes back.
//!
//! Source: embedded-cluster.md 18 and 20, example 22. The server is this very test program, started again with its second
//! test alone; the folder that it is given tells it that it was meant.
#![allow(clippy::panic, reason = "a server that breaks its promises ends the test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, ResourceExt};
use pitstop_cluster::builtin::Selection;
use pitstop_cluster::{Cluster, Config, ServeConfig};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{interval, sleep, timeout};

/// How often the server is killed. Source: issue 5, section 3.
const KILLS: u32 = 200;
/// Every so many kills one comes while the server is still starting.
const EARLY: u32 = 5;
/// How long the server lives at most, counted from its start or from its first answer.
const LIFE: (Duration, Duration) = (Duration::from_millis(60), Duration::from_millis(150));
/// Writes a second, of all writers together. Source: issue 5, section 3.
const RATE: u32 = 1000;
const WRITERS: u32 = 12;
const INFORMERS: u32 = 3;
/// How long anything may take that must not take long, on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
const SEED: u64 = 22;

const FOLDER: &str = "PITSTOP_CRASH_FOLDER";
const ADDR: &str = "PITSTOP_CRASH_ADDR";
const READY: &str = "this server is ready";

/// Objects by name, with the count that they carry.
type Counts = BTreeMap<String, u64>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn example_22_nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let addr = free_address();
    let mut random = StdRng::seed_from_u64(SEED);
    let mut server = Server::start(folder.path(), addr);
    server.wait_until_ready().await;
    let client = client(&folder.path().join("kubeconfig")).await;
    let newest = Arc::new(AtomicU64::new(0));
    let mut writers: Vec<Writer> = (0..WRITERS).map(|n| Writer::new(n, &client, &newest)).collect();
    let informers: Vec<Informer> = (0..INFORMERS)
        .map(|_| Informer::start(&client, &newest))
        .collect();
    let began = Instant::now();
    let (mut alive, mut restarts, mut n_ready) = (Duration::ZERO, Duration::ZERO, 0_u32);
    for kill in 1..=KILLS {
        if kill % EARLY == 0 {
            sleep(LIFE.0.mul_f64(random.random())).await;
        } else {
            let started = Instant::now();
            server.wait_until_ready().await;
            restarts += started.elapsed();
            n_ready += 1;
            check(&client, &mut writers, &informers, &newest, kill).await;
            let life = LIFE.1.mul_f64(random.random());
            let running = writers.into_iter().map(|writer| tokio::spawn(writer.run()));
            let running: Vec<_> = running.collect();
            sleep(life).await;
            alive += life;
            server.kill();
            writers = Vec::new();
            for writer in running {
                writers.push(writer.await.expect("a writer that was only told the truth"));
            }
        }
        server.kill();
        server = Server::start(folder.path(), addr);
    }
    server.wait_until_ready().await;
    check(&client, &mut writers, &informers, &newest, KILLS + 1).await;
    let acknowledged: u64 = writers.iter().map(|writer| writer.acknowledged).sum();
    let total = |count: fn(&Seen) -> u64| -> u64 { informers.iter().map(|i| count(&i.seen())).sum() };
    let (resumed, relisted) = (total(|seen| seen.resumed), total(|seen| seen.relisted));
    // Not with eprintln: the test runner would swallow it.
    let _ = writeln!(
        std::io::stderr(),
        "{KILLS} kills in {:.1?}: {acknowledged} acknowledged writes, {:.0} a second; {:.0?} until the server answers; \
         informers resumed {resumed} times and listed anew {relisted} times",
        began.elapsed(),
        f64::from(u32::try_from(acknowledged).unwrap_or(u32::MAX)) / alive.as_secs_f64(),
        restarts / n_ready.max(1),
    );
    assert!(acknowledged > 1000, "too little was written to tell anything");
    assert!(
        resumed > 0 && relisted > 0,
        "both ways to go on must have been taken"
    );
}

/// Compares what the server has with what its writers were told, and with what informers believe.
async fn check(
    client: &Client,
    writers: &mut [Writer],
    informers: &[Informer],
    newest: &AtomicU64,
    kill: u32,
) {
    let floor = newest.load(Ordering::SeqCst);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let list = maps.list(&ListParams::default()).await.expect("a list");
    let version = version_of(list.metadata.resource_version.as_ref());
    assert!(
        version >= floor,
        "kill {kill}: the server went back from {floor} to {version}"
    );
    newest.fetch_max(version, Ordering::SeqCst);
    let found: Counts = list
        .items
        .iter()
        .map(|map| (map.name_any(), count_of(map)))
        .collect();
    let mut known = 0;
    for writer in writers {
        known += writer.compare(&found, kill);
    }
    assert_eq!(
        known,
        found.len(),
        "kill {kill}: there are objects that nobody wrote"
    );
    for informer in informers {
        let same = informer.wait_for(&found);
        if timeout(LIMIT, same).await.is_err() {
            let seen = informer.seen().counts.clone();
            panic!("kill {kill}: an informer believes {seen:?}, and there is {found:?}");
        }
    }
}

/// What a writer does to an object.
#[derive(Debug, Clone)]
enum Write {
    /// It has this count from now on.
    Put(String, u64),
    Delete(String),
}

/// Somebody who writes one object after the other, and remembers what the server has acknowledged.
struct Writer {
    n: u32,
    client: Client,
    newest: Arc<AtomicU64>,
    random: StdRng,
    acknowledged: u64,
    n_made: u64,
    counts: Counts,
    /// Its answer never came: it happened, or it did not.
    open: Option<Write>,
}

impl Writer {
    fn new(n: u32, client: &Client, newest: &Arc<AtomicU64>) -> Self {
        Self {
            n,
            client: client.clone(),
            newest: Arc::clone(newest),
            random: StdRng::seed_from_u64(SEED + 1 + u64::from(n)),
            acknowledged: 0,
            n_made: 0,
            counts: Counts::new(),
            open: None,
        }
    }

    /// Writes until the server does not answer any more.
    async fn run(mut self) -> Self {
        let mut turns = interval(Duration::from_secs(1) * WRITERS / RATE);
        loop {
            turns.tick().await;
            let floor = self.newest.load(Ordering::SeqCst);
            // Heartbeats need not be on disk, but their versions count.
            let beats = self.n == 0 && self.random.random_bool(0.5);
            let written = if beats {
                self.renew().await
            } else {
                let write = self.choose();
                self.open = Some(write.clone());
                let written = self.send(&write).await;
                if written.is_ok() {
                    apply(&mut self.counts, &write);
                    self.open = None;
                    self.acknowledged += 1;
                }
                written
            };
            match written {
                Ok(Some(version)) => {
                    assert!(
                        version > floor,
                        "version {version} was given after {floor} was seen"
                    );
                    self.newest.fetch_max(version, Ordering::SeqCst);
                }
                Ok(None) => {}
                Err(kube::Error::Api(status)) => panic!("the server refused: {status:?}"),
                Err(_) => return self,
            }
        }
    }

    fn choose(&mut self) -> Write {
        let n_known = self.counts.len();
        let dice = self.random.random_range(0..10);
        if n_known < 3 || (dice < 3 && n_known < 12) {
            self.n_made += 1;
            return Write::Put(format!("of-{}-{}", self.n, self.n_made), 1);
        }
        let chosen = self.random.random_range(0..n_known);
        let (name, count) = self.counts.iter().nth(chosen).expect("one of them");
        if dice < 5 {
            Write::Delete(name.clone())
        } else {
            Write::Put(name.clone(), count + 1)
        }
    }

    /// The version that the write made, where the answer tells it.
    async fn send(&self, write: &Write) -> Result<Option<u64>, kube::Error> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "default");
        let written = match write {
            Write::Delete(name) => {
                maps.delete(name, &DeleteParams::default()).await?;
                return Ok(None);
            }
            Write::Put(name, count) => {
                let body = json!({"metadata": {"name": name}, "data": {"count": count.to_string()}});
                if *count == 1 {
                    let map: ConfigMap = serde_json::from_value(body).expect("a ConfigMap");
                    maps.create(&PostParams::default(), &map).await?
                } else {
                    maps.patch(name, &PatchParams::default(), &Patch::Merge(body))
                        .await?
                }
            }
        };
        Ok(Some(version_of(written.metadata.resource_version.as_ref())))
    }

    async fn renew(&mut self) -> Result<Option<u64>, kube::Error> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        let spec = json!({"spec": {"leaseTransitions": self.random.random_range(0..1000)}});
        let renewed = match leases
            .patch("node", &PatchParams::default(), &Patch::Merge(&spec))
            .await
        {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let lease = serde_json::from_value(json!({"metadata": {"name": "node"}})).expect("a Lease");
                leases.create(&PostParams::default(), &lease).await?
            }
            other => other?,
        };
        // Two writes with the same content are one.
        let floor = self.newest.load(Ordering::SeqCst);
        let version = version_of(renewed.metadata.resource_version.as_ref());
        Ok(Some(version).filter(|version| *version > floor))
    }

    /// What was acknowledged is there, and nothing else but what was open. Returns how many objects are its own.
    fn compare(&mut self, found: &Counts, kill: u32) -> usize {
        let prefix = format!("of-{}-", self.n);
        let own = found.iter().filter(|(name, _)| name.starts_with(&prefix));
        let own: Counts = own.map(|(name, count)| (name.clone(), *count)).collect();
        let mut other = self.counts.clone();
        if let Some(open) = self.open.take() {
            apply(&mut other, &open);
        }
        assert!(
            own == self.counts || own == other,
            "kill {kill}: acknowledged was {:?}, perhaps {other:?}, and there is {own:?}",
            self.counts
        );
        self.counts = own;
        self.counts.len()
    }
}

fn apply(counts: &mut Counts, write: &Write) {
    match write {
        Write::Put(name, count) => drop(counts.insert(name.clone(), *count)),
        Write::Delete(name) => drop(counts.remove(name)),
    }
}

/// What an informer has seen.
#[derive(Debug, Clone, Default)]
struct Seen {
    counts: Counts,
    resumed: u64,
    relisted: u64,
}

/// Somebody who lists once, watches, and goes on where he was when the server is back.
struct Informer {
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Informer {
    fn start(client: &Client, newest: &Arc<AtomicU64>) -> Self {
        let (seen, changed) = (Arc::<Mutex<Seen>>::default(), Arc::<Notify>::default());
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
        let follow = follow(maps, Arc::clone(&seen), Arc::clone(&changed), Arc::clone(newest));
        Self {
            seen,
            changed,
            task: tokio::spawn(follow),
        }
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn wait_for(&self, counts: &Counts) {
        loop {
            assert!(!self.task.is_finished(), "an informer saw what must not be");
            let changed = self.changed.notified();
            if self.seen().counts == *counts {
                return;
            }
            // An informer that has failed tells nobody.
            let _ = timeout(Duration::from_millis(100), changed).await;
        }
    }
}

impl Drop for Informer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(maps: Api<ConfigMap>, seen: Arc<Mutex<Seen>>, changed: Arc<Notify>, newest: Arc<AtomicU64>) {
    let pause = || sleep(Duration::from_millis(5));
    let update = |work: &dyn Fn(&mut Seen)| {
        work(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_one();
    };
    let mut at = 0;
    'list: loop {
        let Ok(list) = maps.list(&ListParams::default()).await else {
            pause().await;
            continue;
        };
        let version = version_of(list.metadata.resource_version.as_ref());
        assert!(version >= at, "a list at {version} after {at} was seen");
        at = version;
        update(&|seen| {
            seen.counts = list
                .items
                .iter()
                .map(|map| (map.name_any(), count_of(map)))
                .collect();
            seen.relisted += 1;
        });
        loop {
            let events = match maps.watch(&WatchParams::default(), &at.to_string()).await {
                Ok(events) => events,
                Err(kube::Error::Api(status)) if status.code == 410 => continue 'list,
                Err(kube::Error::Api(status)) => panic!("a watch was refused: {status:?}"),
                Err(_) => {
                    pause().await;
                    continue;
                }
            };
            let mut events = std::pin::pin!(events);
            let mut is_first = true;
            while let Some(Ok(event)) = events.next().await {
                let (map, is_there) = match event {
                    WatchEvent::Added(map) | WatchEvent::Modified(map) => (map, true),
                    WatchEvent::Deleted(map) => (map, false),
                    WatchEvent::Bookmark(_) => continue,
                    WatchEvent::Error(status) if status.code == 410 => continue 'list,
                    WatchEvent::Error(status) => panic!("a watch failed: {status:?}"),
                };
                let version = version_of(map.metadata.resource_version.as_ref());
                assert!(version > at, "an event of {version} after {at} was seen");
                at = version;
                newest.fetch_max(version, Ordering::SeqCst);
                let resumed = u64::from(std::mem::take(&mut is_first));
                update(&|seen| {
                    seen.resumed += resumed;
                    if is_there {
                        seen.counts.insert(map.name_any(), count_of(&map));
                    } else {
                        seen.counts.remove(&map.name_any());
                    }
                });
            }
        }
    }
}

fn version_of(text: Option<&String>) -> u64 {
    text.and_then(|text| text.parse().ok())
        .expect("a resourceVersion")
}

fn count_of(map: &ConfigMap) -> u64 {
    let count = map.data.as_ref().and_then(|data| data.get("count")?.parse().ok());
    count.unwrap_or(0)
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .expect("a configuration");
    // Whether a write happened must be known for every try.
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}

/// The same for every start, so that clients find the server again.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address")
}

/// A server in a process of its own.
struct Server {
    child: Child,
    ready: Option<tokio::sync::oneshot::Receiver<()>>,
}

impl Server {
    fn start(folder: &Path, addr: SocketAddr) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(["--exact", "server_process", "--ignored", "--nocapture"])
            .env(FOLDER, folder)
            .env(ADDR, addr.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child process");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let (tell, ready) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut lines = output.lines().map_while(Result::ok);
            if lines.any(|line| line.contains(READY)) {
                let _ = tell.send(());
            }
            lines.for_each(drop);
        });
        Self {
            child,
            ready: Some(ready),
        }
    }

    /// Once; afterwards it does nothing.
    async fn wait_until_ready(&mut self) {
        if let Some(ready) = self.ready.take() {
            let answer = timeout(LIMIT, ready).await.expect("a server in time");
            answer.expect("a server that starts on what the last one left");
        }
    }

    /// SIGKILL; afterwards it does nothing.
    fn kill(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("its end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "the child process of the test above"]
fn server_process() {
    let (Some(folder), Some(addr)) = (
        std::env::var_os(FOLDER).map(PathBuf::from),
        std::env::var_os(ADDR),
    ) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let config = Config {
            data: Some(folder.join("data")),
            controllers: Selection::none(),
            ..Config::default()
        };
        let cluster = Cluster::start(config).await.expect("a cluster on disk");
        let serve = ServeConfig {
            addr: addr.to_string_lossy().parse().expect("an address"),
            kubeconfig: Some(folder.join("kubeconfig")),
        };
        let _serving = cluster.serve(serve).await.expect("a listener");
        let mut out = std::io::stdout().lock();
        writeln!(out, "{READY}")
            .and_then(|()| out.flush())
            .expect("somebody who listens");
        std::future::pending::<()>().await;
    });
}
