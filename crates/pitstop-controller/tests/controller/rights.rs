//! A missing right: who is told, what stands still meanwhile, and that it goes on when the right is granted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pitstop_controller::api::{Api, Call, Resource, Verb};
use pitstop_controller::queue::UNTIL_GRANTED;
use pitstop_controller::store::Stores;
use pitstop_controller::store::reflector::Reflector;
use pitstop_controller::{Config, Controller, Manager};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::loops::{get, list};
use crate::scripted::{Scripted, clock, daemonset_json, made, node_json, not_allowed, pod_json, refused};

/// A server with one DaemonSet and an outdated pod. What `is_denied` says is refused by RBAC while `denies` is set.
fn server(denies: &Arc<AtomicBool>, is_denied: fn(&Call) -> bool) -> Arc<Scripted> {
    let denies = Arc::clone(denies);
    let mut n = 100;
    Scripted::new(move |call| {
        n += 1;
        if is_denied(call) && denies.load(Ordering::SeqCst) {
            return Err(not_allowed(call));
        }
        match (call.verb, call.resource) {
            (Verb::List, Resource::DaemonSets) => {
                let mut daemonset = daemonset_json();
                daemonset["metadata"]["annotations"]["apps.openyurt.io/update-strategy"] =
                    json!("AdvancedRollingUpdate");
                daemonset["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
                daemonset["status"]["observedGeneration"] = json!(2);
                Ok(list(&[daemonset], "10", ""))
            }
            (Verb::List, Resource::ControllerRevisions) => Ok(list(&[revision()], "10", "")),
            (Verb::List, Resource::Pods) => Ok(list(&[pod_json(2, "a", 2)], "10", "")),
            (Verb::List, Resource::Nodes) => Ok(list(&[node_json(3, "a", 3, true)], "10", "")),
            (Verb::List, _) => Ok(list(&[], "10", "")),
            (Verb::Get, _) => Err(refused(404, "NotFound", "no")),
            _ => Ok(made(call, n)),
        }
    })
}

/// The newest revision of the DaemonSet; its pod is of an older one.
fn revision() -> serde_json::Value {
    json!({
        "metadata": {
            "name": "agent-h2", "namespace": "default", "uid": crate::scripted::uid(7), "resourceVersion": "7",
            "labels": { "app": "agent", "controller-revision-hash": "h2" },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": crate::scripted::uid(1),
                "controller": true,
            }],
        },
        "revision": 2,
        "data": { "spec": { "template": {
            "$patch": "replace",
            "metadata": { "labels": { "app": "agent" } },
            "spec": { "containers": [{ "name": "c", "image": "agent:2" }] },
        } } },
    })
}

fn config(controller: Controller) -> Config {
    let mut config = Config::new(clock(), "me", 1);
    config.controllers = [controller].into();
    config.takes_lease = false;
    config
}

fn denies() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

fn is_list_of_pods(call: &Call) -> bool {
    (call.verb, call.resource) == (Verb::List, Resource::Pods)
}

fn is_delete(call: &Call) -> bool {
    call.verb == Verb::Delete
}

fn is_status(call: &Call) -> bool {
    call.subresource == Some("status")
}

#[tokio::test]
async fn who_runs_the_controllers_sees_what_is_missing_and_when_it_is_granted() {
    let denies = denies();
    let mut config = config(Controller::DaemonPodUpdater);
    config.health_addr = Some("127.0.0.1:0".parse().unwrap());
    let manager = Manager::start_on(server(&denies, is_list_of_pods), config)
        .await
        .unwrap();
    let rights = manager.metrics().rights().clone();
    timeout(Duration::from_secs(20), async {
        while rights.missing().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let addr = manager.health_addr().unwrap();
    let text = get(addr, "/readyz").await;
    assert!(text.starts_with("HTTP/1.1 503"), "{text}");
    let want = "not allowed to list pods in all namespaces: user \"us\" lacks verb \"list\" on resource \"pods\" (API \
                group \"\")";
    assert!(
        text.contains("not in sync: pods") && text.contains(want),
        "{text}"
    );
    let gauge = "pitstop_missing_rights{verb=\"list\",resource=\"pods\"} 1";
    assert!(get(addr, "/metrics").await.contains(gauge));
    denies.store(false, Ordering::SeqCst);
    timeout(Duration::from_secs(60), async {
        while !manager.is_ready() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert!(rights.missing().is_empty());
    assert!(!get(addr, "/metrics").await.contains(gauge));
    assert!(get(addr, "/readyz").await.starts_with("HTTP/1.1 200"));
    manager.shutdown().await;
}

/// Everything but a lease that is held for ever, on paused time.
async fn run_for(manager: &mut Manager, time: Duration) {
    assert!(timeout(time, manager.wait()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_may_not_be_deleted_is_told_and_goes_when_the_right_is_granted() {
    let denies = denies();
    let api = server(&denies, is_delete);
    let mut manager = Manager::start_on(api.clone(), config(Controller::DaemonPodUpdater))
        .await
        .unwrap();
    run_for(&mut manager, Duration::from_mins(5)).await;
    let deletes = |api: &Scripted| api.writes().iter().filter(|call| is_delete(call)).count();
    let n = deletes(&api);
    assert!((10..30).contains(&n), "tried again, but not in a storm: {n}");
    let told = api.events();
    assert_eq!(
        told[0],
        "FailedDelete: Error deleting: not allowed to delete pods in namespace \"default\": user \"us\" lacks verb \
         \"delete\" on resource \"pods\" (API group \"\")"
    );
    assert!(told.iter().all(|event| *event == told[0]), "{told:?}");
    denies.store(false, Ordering::SeqCst);
    run_for(&mut manager, UNTIL_GRANTED + Duration::from_secs(1)).await;
    assert_eq!(deletes(&api), n + 1);
    assert!(manager.metrics().rights().missing().is_empty());
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn any_other_write_that_is_not_allowed_is_told_at_the_workload() {
    let api = server(&denies(), is_status);
    let mut native = config(Controller::NativeDaemonSet);
    native.force_native = true;
    let mut manager = Manager::start_on(api.clone(), native).await.unwrap();
    run_for(&mut manager, Duration::from_mins(1)).await;
    let told = api.events();
    let want = "NotAllowed: not allowed to patch daemonsets/status in namespace \"default\": user \"us\" lacks verb \
                \"patch\" on resource \"daemonsets/status\" (API group \"\"); apply the output of `pitstop manifests` \
                again";
    assert!(told.iter().any(|event| event == want), "{told:#?}");
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_is_no_missing_right() {
    let api = Scripted::new(|_| Err(refused(403, "Forbidden", "pods is forbidden: exceeded quota: q")));
    let mut manager = Manager::start_on(api, config(Controller::DaemonPodUpdater))
        .await
        .unwrap();
    run_for(&mut manager, Duration::from_mins(1)).await;
    assert!(manager.metrics().rights().missing().is_empty());
    manager.shutdown().await;
}

/// What cannot be followed is not decided on: it may be long out of date.
#[tokio::test(start_paused = true)]
async fn a_kind_that_may_be_listed_but_not_watched_is_not_in_sync_until_it_may() {
    let api = Scripted::new(|_| Ok(list(&[pod_json(2, "a", 2)], "10", "")));
    let watch = Call::collection(Verb::Watch, Resource::Pods, None);
    api.refuse_watches(Some((Resource::Pods, not_allowed(&watch))));
    let stores = Arc::new(Stores::new());
    let reflector = Reflector::new(
        Arc::clone(&api) as Arc<dyn Api>,
        Arc::clone(&stores),
        Resource::Pods,
        1,
    );
    let task = tokio::spawn(reflector.run());
    for _ in 0..60 {
        sleep(Duration::from_secs(1)).await;
        assert!(stores.unsynced().contains(&Resource::Pods));
    }
    let n_lists = |api: &Scripted| api.calls().iter().filter(|call| is_list_of_pods(call)).count();
    assert!(n_lists(&api) > 1, "listed again and again: {}", n_lists(&api));
    api.refuse_watches(None);
    sleep(Duration::from_secs(31)).await;
    assert!(!stores.unsynced().contains(&Resource::Pods));
    task.abort();
}

/// A cluster may lack the kind when we start: that is no concern of other kinds, and it is followed when it is there.
#[tokio::test(start_paused = true)]
async fn a_kind_that_the_server_does_not_know_is_followed_when_it_does() {
    let is_known = Arc::new(AtomicBool::new(false));
    let knows = Arc::clone(&is_known);
    let api = Scripted::new(move |_| {
        if knows.load(Ordering::Relaxed) {
            Ok(list(&[], "10", ""))
        } else {
            Err(refused(
                404,
                "NotFound",
                "the server could not find the requested resource",
            ))
        }
    });
    let stores = Arc::new(Stores::new());
    let followed = Arc::clone(&stores);
    let task = tokio::spawn(Reflector::new(api, followed, Resource::CloneSets, 1).run());
    sleep(Duration::from_mins(5)).await;
    assert!(!stores.has(Resource::CloneSets));
    is_known.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(31)).await;
    assert!(stores.has(Resource::CloneSets));
    task.abort();
}
