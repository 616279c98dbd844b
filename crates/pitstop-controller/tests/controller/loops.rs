//! List and watch; the manager. Sources: research/crates.md section 2, embedded-cluster.md watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use pitstop_api::view::Uid;
use pitstop_controller::api::{Api, CallError, Resource, Verb};
use pitstop_controller::store::Stores;
use pitstop_controller::store::reflector::Reflector;
use pitstop_controller::{Config, Controller, Manager};
use serde_json::{Value, json};

use crate::scripted::{Scripted, clock, daemonset_json, made, pod_json, refused, uid};

pub(crate) fn list(items: &[Value], version: &str, continue_at: &str) -> Value {
    json!({ "metadata": { "resourceVersion": version, "continue": continue_at }, "items": items })
}

fn event(kind: &str, object: &Value) -> Value {
    json!({ "type": kind, "object": object })
}

fn bookmark(version: &str) -> Value {
    event("BOOKMARK", &json!({ "metadata": { "resourceVersion": version } }))
}

fn names(stores: &Stores) -> Vec<String> {
    let state = stores.read();
    let mut names: Vec<String> = state
        .pods_of(Uid(1))
        .iter()
        .map(|pod| pod.name.to_string())
        .collect();
    names.sort();
    names
}

/// Runs a reflector of pods until nothing happens any more.
async fn reflect(api: Arc<Scripted>) -> Arc<Stores> {
    let stores = Arc::new(Stores::new());
    let reflector = Reflector::new(api as Arc<dyn Api>, Arc::clone(&stores), Resource::Pods, 1);
    // The time is paused: this is over as soon as only the silent watch is left.
    let _ = tokio::time::timeout(Duration::from_mins(2), reflector.run()).await;
    stores
}

#[tokio::test(start_paused = true)]
async fn all_pages_are_listed_and_the_watch_starts_from_their_version() {
    let api = Scripted::new(|call| {
        let page = call.query.iter().find(|(key, _)| *key == "continue");
        Ok(match page {
            None => list(&[pod_json(2, "a", 2), pod_json(3, "b", 3)], "10", "p2"),
            Some((_, page)) => {
                assert_eq!(page, "p2");
                list(&[pod_json(4, "c", 4)], "10", "")
            }
        })
    });
    api.watch_shows(vec![
        event("MODIFIED", &pod_json(2, "a", 11)),
        event("ADDED", &pod_json(5, "d", 12)),
        event("DELETED", &pod_json(3, "b", 13)),
        bookmark("20"),
    ]);
    let stores = reflect(Arc::clone(&api)).await;
    assert_eq!(names(&stores), ["agent-2", "agent-4", "agent-5"]);
    let state = stores.read();
    assert_eq!(state.pod(Uid(2)).unwrap().resource_version, 11);
    assert_eq!(state.version(Resource::Pods), 20);
    let paths: Vec<String> = api
        .calls()
        .iter()
        .map(pitstop_controller::Call::path_and_query)
        .collect();
    assert_eq!(paths[0], "/api/v1/pods?limit=200");
    assert_eq!(paths[1], "/api/v1/pods?limit=200&continue=p2");
    assert!(
        paths[2].starts_with("/api/v1/pods?watch=1&allowWatchBookmarks=true&resourceVersion=10&"),
        "{}",
        paths[2]
    );
    assert!(
        paths[3].contains("resourceVersion=20&"),
        "goes on from the bookmark: {}",
        paths[3]
    );
}

#[tokio::test(start_paused = true)]
async fn a_version_that_expired_leads_to_a_list_and_what_is_gone_is_gone() {
    let mut n_lists = 0;
    let api = Scripted::new(move |_| {
        n_lists += 1;
        Ok(if n_lists == 1 {
            list(&[pod_json(2, "a", 2), pod_json(3, "b", 3)], "10", "")
        } else {
            list(&[pod_json(3, "b", 30), pod_json(4, "c", 31)], "40", "")
        })
    });
    api.watch_shows(vec![event("ERROR", &json!({ "code": 410, "reason": "Expired" }))]);
    let stores = reflect(Arc::clone(&api)).await;
    assert_eq!(names(&stores), ["agent-3", "agent-4"]);
    assert_eq!(stores.read().pod(Uid(3)).unwrap().resource_version, 30);
    assert_eq!(stores.read().version(Resource::Pods), 40);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_be_read_freezes_its_workload_until_it_can() {
    let mut broken = pod_json(2, "a", 11);
    broken["status"]["phase"] = json!({ "not": "text" });
    let api = Scripted::new(|_| Ok(list(&[pod_json(2, "a", 2)], "10", "")));
    api.watch_shows(vec![event("MODIFIED", &broken)]);
    let stores = reflect(Arc::clone(&api)).await;
    assert_eq!(names(&stores), [""; 0], "its last readable form is not acted on");
    assert_eq!(stores.read().unreadable_for(Uid(1)).unwrap().name, "agent-2");

    let mut broken = pod_json(2, "a", 11);
    broken["status"]["phase"] = json!({ "not": "text" });
    let api = Scripted::new(|_| Ok(list(&[], "10", "")));
    api.watch_shows(vec![
        event("ADDED", &broken),
        event("MODIFIED", &pod_json(2, "a", 12)),
    ]);
    let stores = reflect(api).await;
    assert_eq!(names(&stores), ["agent-2"]);
    assert!(stores.read().unreadable_for(Uid(1)).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_failing_list_is_tried_again() {
    let mut n = 0;
    let api = Scripted::new(move |_| {
        n += 1;
        if n < 5 {
            Err(CallError::Unreachable("connection refused".into()))
        } else {
            Ok(list(&[pod_json(2, "a", 2)], "10", ""))
        }
    });
    assert_eq!(names(reflect(api).await.as_ref()), ["agent-2"]);
}

#[tokio::test(start_paused = true)]
async fn what_we_wrote_is_seen_at_once_and_an_older_event_does_not_undo_it() {
    let api = Scripted::new(|_| Ok(list(&[pod_json(2, "a", 2)], "10", "")));
    let stores = reflect(Arc::clone(&api)).await;
    let mut relabelled = pod_json(2, "a", 12);
    relabelled["metadata"]["labels"]["controller-revision-hash"] = json!("h2");
    stores.written(Resource::Pods, relabelled.to_string().as_bytes());
    assert_eq!(stores.read().pod(Uid(2)).unwrap().revision_hash(), Some("h2"));
    // An answer that the watch has passed already says nothing new.
    stores.written(Resource::Pods, pod_json(9, "z", 10).to_string().as_bytes());
    assert!(stores.read().pod(Uid(9)).is_none());
}

/// A server with one DaemonSet and a lease.
fn server() -> Arc<Scripted> {
    let lease = std::sync::Mutex::new(None::<Value>);
    let n = AtomicUsize::new(100);
    Scripted::new(move |call| {
        let version = n.fetch_add(1, Ordering::SeqCst) as u64;
        match (call.verb, call.resource) {
            (Verb::List, Resource::DaemonSets) => Ok(list(&[daemonset_json()], "10", "")),
            (Verb::List, _) => Ok(list(&[], "10", "")),
            (Verb::Get, Resource::Leases) if call.name.as_deref() == Some("pitstop-controller") => lease
                .lock()
                .unwrap()
                .clone()
                .ok_or_else(|| refused(404, "NotFound", "no")),
            (Verb::Get, _) => Err(refused(404, "NotFound", "no")),
            (_, Resource::Leases) => {
                let written = made(call, version);
                *lease.lock().unwrap() = Some(written.clone());
                Ok(written)
            }
            _ => Ok(made(call, version)),
        }
    })
}

fn config() -> Config {
    let mut config = Config::new(clock(), "me", 1);
    config.controllers.remove(&Controller::NativeDaemonSet);
    config
}

#[tokio::test(start_paused = true)]
async fn the_native_controller_is_refused_beside_another_one_unless_forced() {
    let lease = json!({
        "metadata": { "resourceVersion": "1" },
        "spec": { "holderIdentity": "kcm_1", "leaseDurationSeconds": 15, "renewTime": "2025-12-31T23:59:58Z" },
    });
    for (renewed_at, force, is_refused) in [
        ("2025-12-31T23:59:58Z", false, true),
        ("2025-12-31T23:59:58Z", true, false),
        ("2025-12-31T23:59:40Z", false, false),
    ] {
        let mut lease = lease.clone();
        lease["spec"]["renewTime"] = json!(renewed_at);
        let inner = server();
        let api = Scripted::new(move |call| {
            if call.name.as_deref() == Some("kube-controller-manager") {
                return Ok(lease.clone());
            }
            let answer = inner.send(call.clone()).now_or_never().unwrap()?;
            Ok(serde_json::from_slice(&answer).unwrap())
        });
        let mut config = Config::new(clock(), "me", 1);
        config.force_native = force;
        let started = Manager::start_on(api, config).await;
        assert_eq!(started.is_err(), is_refused, "{renewed_at} force={force}");
        if let Err(error) = started {
            assert_eq!(
                error.to_string(),
                "this cluster has a DaemonSet controller of its own: \"kcm_1\" holds the lease \
                 kube-system/kube-controller-manager; use --force to run the native DaemonSet controller beside it"
            );
        }
    }
}

#[tokio::test]
async fn health_readiness_and_metrics_are_served() {
    let api = server();
    let mut config = config();
    config.health_addr = Some("127.0.0.1:0".parse().unwrap());
    let manager = Manager::start_on(api, config).await.unwrap();
    while !manager.is_ready() {
        tokio::task::yield_now().await;
    }
    let addr = manager.health_addr().unwrap();
    for (path, want) in [
        ("/healthz", "ok"),
        ("/readyz", "ok"),
        ("/metrics", "# EOF"),
        ("/metrics", "pitstop_store_objects{resource=\"daemonsets\"} 1"),
        ("/metrics", "pitstop_lease_held 1"),
        (
            "/metrics",
            "pitstop_queue_depth{controller=\"daemon-pod-updater\"} 0",
        ),
    ] {
        let text = get(addr, path).await;
        assert!(text.starts_with("HTTP/1.1 200"), "{path}: {text}");
        assert!(text.contains(want), "{path}: no {want:?} in\n{text}");
    }
    manager.shutdown().await;
}

pub(crate) async fn get(addr: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[test]
fn the_uids_of_tests_are_uids() {
    assert_eq!(Uid::parse(&uid(7)), Some(Uid(7)));
}

#[tokio::test]
async fn the_table_of_metrics_names_every_metric() {
    let manager = Manager::start_on(server(), config()).await.unwrap();
    let metrics = manager.metrics();
    metrics.count_reconcile("c", "written", Duration::ZERO);
    metrics.observe_plan("c", Duration::ZERO);
    metrics.observe_event_to_action("c", Duration::ZERO);
    metrics.count_action("c", "create_pod", "ok");
    metrics.count_write(Verb::Create, Resource::Pods, "ok");
    let text = metrics.text();
    let mut exposed: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            _ => name.to_owned(),
        })
        .collect();
    let mut documented: Vec<String> = include_str!("../../src/metrics.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    exposed.sort();
    documented.sort();
    assert_eq!(exposed, documented);
    manager.shutdown().await;
}
