//! A process that is killed loses no acknowledged write and reuses no resourceVersion.
//!
//! Source: embedded-cluster.md 18 and 20, example 22. The process is this very test program, started again with its
//! second test alone; the folder it works in tells it that it was meant.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use pitstop_cluster::{Cluster, Config};
use serde_json::json;

const MARK: &str = "this-is-the-writer";
const WRITERS: usize = 8;

/// After how many acknowledgements the process is killed, round by round, always on the same folder.
const ROUNDS: [usize; 12] = [1, 2, 5, 17, 40, 90, 3, 150, 260, 11, 400, 64];

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_a_process_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(MARK), "").expect("the mark");
    let mut newest_ever = 0;
    for (round, acknowledgements) in ROUNDS.into_iter().enumerate() {
        let told = run_and_kill(folder.path(), acknowledgements);
        assert!(
            told.n_acknowledged >= acknowledgements,
            "round {round} was cut short"
        );
        assert!(
            told.oldest_new > newest_ever,
            "round {round}: version {} is used twice",
            told.oldest_new
        );
        newest_ever = newest_ever.max(told.newest_seen);

        let cluster = start(folder.path()).await;
        assert!(
            cluster.resource_version() > newest_ever,
            "round {round}: a version could be used twice"
        );
        let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
        let list = maps.list(&ListParams::default()).await.expect("a list");
        let found: BTreeMap<String, u64> = list
            .items
            .into_iter()
            .filter_map(|map| {
                let count = map.data?.get("count")?.parse().ok()?;
                Some((map.metadata.name?, count))
            })
            .collect();
        for (name, state) in &told.acknowledged {
            match (state, found.get(name)) {
                // A later write may be there too: it was on its way when the process was killed.
                (Some(count), Some(found)) => assert!(found >= count, "round {round}: {name} lost {count}"),
                (Some(count), None) => {
                    assert!(is_deletable(name), "round {round}: {name} at {count} is gone");
                }
                (None, _) => assert!(!found.contains_key(name), "round {round}: {name} is back"),
            }
        }
        newest_ever = newest_ever.max(cluster.resource_version());
        cluster.shutdown().await;
    }
}

/// What a process said before it was killed.
#[derive(Default)]
struct Told {
    n_acknowledged: usize,
    /// Last acknowledged count of each object; `None`: deleted.
    acknowledged: BTreeMap<String, Option<u64>>,
    newest_seen: u64,
    oldest_new: u64,
}

/// Objects for one use are deleted as soon as they are made.
fn is_deletable(name: &str) -> bool {
    name.starts_with("once-")
}

fn run_and_kill(folder: &Path, acknowledgements: usize) -> Told {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .args(["--exact", "writer_process", "--ignored", "--nocapture"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child process");
    let mut told = Told {
        oldest_new: u64::MAX,
        ..Told::default()
    };
    let lines = BufReader::new(child.stdout.take().expect("its output"))
        .lines()
        .map_while(Result::ok);
    let mut killed = false;
    // After the kill, what the process had said is still in the pipe.
    for line in lines {
        take_in(&mut told, &line);
        if told.n_acknowledged >= acknowledgements && !killed {
            child.kill().expect("SIGKILL");
            killed = true;
        }
    }
    child.wait().expect("its end");
    told
}

fn take_in(told: &mut Told, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |text: &str| text.parse::<u64>().ok();
    match words.as_slice() {
        ["ack", name, count, version, "."] => {
            let Some(version) = number(version) else { return };
            told.n_acknowledged += 1;
            told.acknowledged.insert((*name).to_owned(), number(count));
            told.newest_seen = told.newest_seen.max(version);
            told.oldest_new = told.oldest_new.min(version);
        }
        ["seen", version, "."] => told.newest_seen = told.newest_seen.max(number(version).unwrap_or(0)),
        // The last line may be torn.
        _ => {}
    }
}

async fn start(folder: &Path) -> Cluster {
    let config = Config {
        data: Some(folder.join("data")),
        builtin_controllers: false,
        ..Config::default()
    };
    Cluster::start(config).await.expect("a cluster on disk")
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // When the reader is gone, so is the reason to write.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[test]
#[ignore = "the child process of the test above"]
fn writer_process() {
    let folder = std::env::current_dir().expect("a folder");
    if !folder.join(MARK).exists() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let cluster = start(&folder).await;
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            tasks.spawn(write_forever(cluster.client(), writer));
        }
        tasks.spawn(renew_forever(cluster.client()));
        tasks.spawn(watch_forever(cluster.client(), cluster.resource_version()));
        while let Some(ended) = tasks.join_next().await {
            ended.expect("writers go on until they are killed");
        }
    });
}

async fn write_forever(client: kube::Client, writer: usize) {
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let name = format!("count-{writer}");
    for round in 0.. {
        let found = maps.get_opt(&name).await.expect("an answer");
        let count: u64 = found
            .and_then(|map| map.data?.get("count")?.parse().ok())
            .unwrap_or(0)
            + 1;
        put(&maps, &name, count).await;
        if round % 3 == 0 {
            let once = format!("once-{writer}-{count}");
            put(&maps, &once, 1).await;
            // The version of the deletion is not in its answer; the watch tells it.
            maps.delete(&once, &DeleteParams::default())
                .await
                .expect("deleted");
            let current = maps
                .get(&name)
                .await
                .expect("an answer")
                .metadata
                .resource_version;
            say(&format!("ack {once} deleted {} .", current.unwrap_or_default()));
        }
    }
}

async fn put(maps: &Api<ConfigMap>, name: &str, count: u64) {
    let data = json!({"metadata": {"name": name}, "data": {"count": count.to_string()}});
    let written = if count == 1 {
        let map: ConfigMap = serde_json::from_value(data).expect("a ConfigMap");
        maps.create(&PostParams::default(), &map).await
    } else {
        maps.patch(name, &PatchParams::default(), &Patch::Merge(data))
            .await
    };
    let version = written
        .expect("written")
        .metadata
        .resource_version
        .unwrap_or_default();
    say(&format!("ack {name} {count} {version} ."));
}

/// Leases need not be on disk, but their versions are seen all the same.
async fn renew_forever(client: kube::Client) {
    let leases: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    let lease: Lease = serde_json::from_value(json!({"metadata": {"name": "node"}})).expect("a Lease");
    // It is there after the first round.
    let _ = leases.create(&PostParams::default(), &lease).await;
    for transitions in 0.. {
        let patch = Patch::Merge(json!({"spec": {"leaseTransitions": transitions}}));
        let renewed = leases
            .patch("node", &PatchParams::default(), &patch)
            .await
            .expect("renewed");
        say(&format!(
            "seen {} .",
            renewed.metadata.resource_version.unwrap_or_default()
        ));
        tokio::task::yield_now().await;
    }
}

async fn watch_forever(client: kube::Client, from: u64) {
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let watch = maps
        .watch(&WatchParams::default(), &from.to_string())
        .await
        .expect("a watch");
    let mut watch = std::pin::pin!(watch);
    while let Some(event) = watch.next().await {
        if let Ok(WatchEvent::Added(map) | WatchEvent::Modified(map) | WatchEvent::Deleted(map)) = event {
            say(&format!(
                "seen {} .",
                map.metadata.resource_version.unwrap_or_default()
            ));
        }
    }
}
