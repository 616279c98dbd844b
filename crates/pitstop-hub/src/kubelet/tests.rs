//! Source: hub.md B3 (`--pods-source=kubelet`), part D row 53.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::api::AnswerBody;

/// A kubelet and an API server that have the same pods; the API server knows those of other nodes, too.
#[derive(Default)]
struct World {
    pods: Mutex<Vec<Value>>,
    kubelet_down: AtomicBool,
    link_down: AtomicBool,
    patches: Mutex<Vec<(String, String)>>,
}

#[derive(Clone)]
struct Side(Arc<World>);

fn pod(name: &str, uid: &str, phase: &str) -> Value {
    json!({
        "metadata": { "namespace": "default", "name": name, "uid": uid, "resourceVersion": "7" },
        "spec": { "nodeName": "n1" }, "status": { "phase": phase },
    })
}

impl Transport for Side {
    fn send(&self, request: Request<Full<Bytes>>) -> BoxFuture<'_, Result<Response<AnswerBody>, String>> {
        Box::pin(async move {
            assert_eq!(request.uri().path(), "/pods");
            if self.0.kubelet_down.load(Ordering::Relaxed) {
                return Err("connection refused".to_owned());
            }
            let list = json!({ "kind": "PodList", "metadata": {}, "items": *self.0.pods.lock().unwrap() });
            let body = Full::from(list.to_string()).map_err(|never| match never {});
            Ok(Response::new(body.boxed_unsync()))
        })
    }
}

impl Cloud for Side {
    fn get_pod<'a>(&'a self, _: &'a str, _: &'a str) -> Reply<'a, Bytes> {
        panic!("a hub with this source has no right to read pods");
    }
    fn list_pods<'a>(&'a self, _: u32, _: Option<&'a str>) -> Reply<'a, Page> {
        panic!("a hub with this source has no right to list pods");
    }
    fn watch_pods<'a>(&'a self, _: &'a str) -> Reply<'a, BoxStream<'static, Result<Change, CloudError>>> {
        panic!("a hub with this source has no right to watch pods");
    }
    fn delete_pod<'a>(&'a self, _: &'a str, _: &'a str, _: &'a str, _: &'a str) -> Reply<'a, ()> {
        Box::pin(async { Ok(()) })
    }
    fn patch_pod_status<'a>(&'a self, _: &'a str, name: &'a str, patch: Bytes) -> Reply<'a, Bytes> {
        Box::pin(async move {
            let text = String::from_utf8(patch.to_vec()).unwrap();
            self.0.patches.lock().unwrap().push((name.to_owned(), text));
            let pods = self.0.pods.lock().unwrap();
            match pods.iter().find(|pod| pod["metadata"]["name"] == name) {
                Some(pod) => Ok(pod.to_string().into()),
                None => Err(CloudError::Forbidden(
                    "a hub may only touch pods of its own node".to_owned(),
                )),
            }
        })
    }
    fn ready(&self) -> Reply<'_, ()> {
        let down = self.0.link_down.load(Ordering::Relaxed);
        Box::pin(async move {
            if down {
                Err(CloudError::Transport("no route".to_owned()))
            } else {
                Ok(())
            }
        })
    }
    fn may_delete<'a>(&'a self, _: &'a str, _: &'a str) -> Reply<'a, bool> {
        Box::pin(async { Ok(false) })
    }
    fn create_event<'a>(&'a self, _: &'a str, _: Bytes) -> Reply<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

fn world(pods: Vec<Value>) -> (Arc<World>, FromKubelet<Side>) {
    let world = Arc::new(World::default());
    *world.pods.lock().unwrap() = pods;
    let side = Side(Arc::clone(&world));
    let source = FromKubelet::new(side.clone(), "n1", Arc::new(side), Duration::from_secs(2));
    (world, source)
}

fn named(raw: &Bytes) -> String {
    PodView::read(raw).unwrap().name
}

#[tokio::test(start_paused = true)]
async fn pods_come_from_the_kubelet_and_static_ones_are_left_out() {
    let mut fixed = pod("etcd-n1", "3", "Running");
    fixed["metadata"]["annotations"] = json!({ CONFIG_SOURCE: "file" });
    let mut known = pod("b", "2", "Running");
    known["metadata"]["annotations"] = json!({ CONFIG_SOURCE: "api" });
    let (_, source) = world(vec![fixed, known, pod("a", "1", "Running")]);
    let page = source.list_pods(50, None).await.unwrap();
    let mut names: Vec<String> = page.pods.iter().map(named).collect();
    names.sort();
    assert_eq!(
        (names.as_slice(), page.next),
        (["a".to_owned(), "b".to_owned()].as_slice(), None)
    );
}

#[tokio::test(start_paused = true)]
async fn changes_are_seen_within_ten_seconds_and_after_our_own_at_once() {
    let (world, source) = world(vec![pod("a", "1", "Running"), pod("b", "2", "Running")]);
    let version = source.list_pods(50, None).await.unwrap().resource_version;
    let mut changes = source.watch_pods(&version).await.unwrap();
    // Nothing happens for a while.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        assert_eq!(
            changes.next().await.unwrap().unwrap(),
            Change::Bookmark(VERSION.to_owned())
        );
    }
    *world.pods.lock().unwrap() = vec![pod("a", "1", "Failed")];
    let start = Instant::now();
    let Change::Gone(gone) = changes.next().await.unwrap().unwrap() else {
        panic!()
    };
    let Change::Put(put) = changes.next().await.unwrap().unwrap() else {
        panic!()
    };
    assert_eq!((named(&gone), named(&put)), ("b".to_owned(), "a".to_owned()));
    assert!(start.elapsed() <= ASK.1, "{:?}", start.elapsed());
    for _ in 0..8 {
        changes.next().await.unwrap().unwrap();
    }
    let start = Instant::now();
    source
        .patch_pod_status("default", "a", Bytes::from_static(b"{}"))
        .await
        .unwrap();
    changes.next().await.unwrap().unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

/// A pod as the server has it now comes without a right to read pods; those of other nodes are not told of.
#[tokio::test(start_paused = true)]
async fn a_pod_is_read_by_a_patch_that_changes_nothing() {
    let (world, source) = world(vec![pod("a", "1", "Running")]);
    source.list_pods(50, None).await.unwrap();
    assert_eq!(named(&source.get_pod("default", "a").await.unwrap()), "a");
    assert_eq!(
        world.patches.lock().unwrap().as_slice(),
        [("a".to_owned(), "{}".to_owned())]
    );
    let error = source.get_pod("default", "of-n2").await.unwrap_err();
    assert_eq!(error, CloudError::NotFound("pods \"of-n2\" not found".to_owned()));
    // Refused for a pod of our own: the rights are missing, and that has to be said.
    world.pods.lock().unwrap().clear();
    let error = source.get_pod("default", "a").await.unwrap_err();
    assert!(matches!(error, CloudError::Forbidden(_)), "{error}");
}

/// Row 53: a kubelet that is stopped is not a link that is down; and a link that is down is noticed here, too.
#[tokio::test(start_paused = true)]
async fn the_link_is_the_one_to_the_api_server() {
    let (world, source) = world(vec![pod("a", "1", "Running")]);
    let version = source.list_pods(50, None).await.unwrap().resource_version;
    let mut changes = source.watch_pods(&version).await.unwrap();
    world.kubelet_down.store(true, Ordering::Relaxed);
    let silent = timeout(Duration::from_secs(60), changes.next()).await;
    assert!(silent.is_err(), "{silent:?}");
    let mut changes = source.watch_pods(&version).await.unwrap();
    world.link_down.store(true, Ordering::Relaxed);
    let error = changes.next().await.unwrap().unwrap_err();
    assert!(error.unreachable(), "{error}");
    assert!(source.list_pods(50, None).await.unwrap_err().unreachable());
}
