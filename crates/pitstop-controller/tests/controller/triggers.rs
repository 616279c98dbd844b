//! Which changes touch which workloads, and what a reconcile does around a decision. Sources: daemonset.md A3, C5.8.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pitstop_api::WorkloadKind;
use pitstop_api::view::Uid;
use pitstop_controller::api::{Api, Resource};
use pitstop_controller::controllers::Running as _;
use pitstop_controller::controllers::daemonset::{DaemonSets, Model, POD_UPDATER};
use pitstop_controller::store::Stores;
use pitstop_engine::plan::{Event, Plan};
use serde_json::{Value, json};

use crate::scripted::{Scripted, Wired, clock, daemonset_json, made, node_json, pod_json, uid};

const HEEDS_READINESS: Model = Model {
    kind: WorkloadKind::DaemonSet,
    name: "test",
    source: "test",
    plan: |_| Plan::default(),
    retire: |_, _, _, _| {},
    concerns: |_| true,
    is_news: |_, _| true,
    patience: pitstop_controller::queue::COALESCE,
    adopts: true,
    heeds_readiness: true,
};

struct Bench {
    stores: Arc<Stores>,
    controller: Arc<DaemonSets>,
    api: Arc<Scripted>,
}

fn mk_bench(model: Model) -> Bench {
    let api = Scripted::new(|call| Ok(made(call, 1000)));
    let wired = Wired::new(model, &api, &clock());
    Bench {
        stores: wired.stores,
        controller: wired.controller,
        api,
    }
}

impl Bench {
    fn put(&self, resource: Resource, object: &Value) {
        self.stores.written(resource, object.to_string().as_bytes());
    }

    /// Takes what is marked off the queue and returns it.
    async fn marked(&self) -> Vec<String> {
        let mut marked = Vec::new();
        while let Ok(Some(key)) =
            tokio::time::timeout(Duration::from_millis(10), self.controller.queue().next()).await
        {
            marked.push(key.to_string());
            self.controller
                .queue()
                .done(&key, pitstop_controller::queue::Done::Ok(None));
        }
        marked
    }
}

fn other_daemonset() -> Value {
    let mut other = daemonset_json();
    other["metadata"]["name"] = json!("other");
    other["metadata"]["uid"] = json!(uid(100));
    other["spec"]["selector"] = json!({ "matchLabels": { "app": "other" } });
    other["spec"]["template"]["spec"]["nodeSelector"] = json!({ "disk": "ssd" });
    other
}

#[tokio::test(start_paused = true)]
async fn an_object_touches_its_owner_and_an_orphan_whoever_selects_it() {
    let bench = mk_bench(HEEDS_READINESS);
    bench.put(Resource::DaemonSets, &daemonset_json());
    bench.put(Resource::DaemonSets, &other_daemonset());
    assert_eq!(bench.marked().await, ["default/agent", "default/other"]);

    bench.put(Resource::Pods, &pod_json(2, "a", 10));
    assert_eq!(bench.marked().await, ["default/agent"]);

    bench.put(Resource::Pods, &pod_json(2, "a", 10));
    assert_eq!(bench.marked().await, [""; 0], "the same version is no news");

    let mut orphan = pod_json(3, "a", 11);
    orphan["metadata"]["ownerReferences"] = json!([]);
    orphan["metadata"]["labels"] = json!({ "app": "other" });
    bench.put(Resource::Pods, &orphan);
    assert_eq!(bench.marked().await, ["default/other"]);

    let mut strangers = pod_json(4, "a", 12);
    strangers["metadata"]["ownerReferences"][0]["kind"] = json!("ReplicaSet");
    bench.put(Resource::Pods, &strangers);
    assert_eq!(bench.marked().await, [""; 0]);
    assert!(
        bench.stores.read().pod(Uid(4)).is_none(),
        "pods of others are not kept"
    );

    let mut revision = json!({ "metadata": {
        "name": "agent-1", "namespace": "default", "uid": uid(50), "resourceVersion": "13",
    } });
    revision["metadata"]["ownerReferences"] = pod_json(2, "a", 10)["metadata"]["ownerReferences"].clone();
    bench.put(Resource::ControllerRevisions, &revision);
    assert_eq!(bench.marked().await, ["default/agent"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_touches_whoever_is_or_could_be_there() {
    for heeds_readiness in [true, false] {
        let bench = mk_bench(Model {
            heeds_readiness,
            ..HEEDS_READINESS
        });
        bench.put(Resource::DaemonSets, &daemonset_json());
        bench.put(Resource::DaemonSets, &other_daemonset());
        bench.marked().await;

        bench.put(Resource::Nodes, &node_json(200, "a", 20, true));
        assert_eq!(bench.marked().await, ["default/agent"], "a node came");

        let heartbeat = node_json(200, "a", 21, true);
        bench.put(Resource::Nodes, &heartbeat);
        assert_eq!(bench.marked().await, [""; 0], "a heartbeat");

        bench.put(Resource::Nodes, &node_json(200, "a", 22, false));
        let want: &[&str] = if heeds_readiness { &["default/agent"] } else { &[] };
        assert_eq!(bench.marked().await, want, "C5.8: readiness");

        let mut in_maintenance = node_json(200, "a", 23, false);
        let conditions = in_maintenance["status"]["conditions"].as_array_mut().unwrap();
        conditions.push(json!({ "type": "MaintenanceInProgress", "status": "True" }));
        bench.put(Resource::Nodes, &in_maintenance);
        assert_eq!(bench.marked().await, want, "W15: maintenance");

        let mut labelled = node_json(200, "a", 24, false);
        labelled["metadata"]["labels"] = json!({ "disk": "ssd" });
        bench.put(Resource::Nodes, &labelled);
        assert_eq!(bench.marked().await, ["default/agent", "default/other"], "labels");

        bench.put(Resource::Nodes, &node_json(200, "a", 25, false));
        assert_eq!(
            bench.marked().await,
            ["default/agent", "default/other"],
            "it could be there before"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_not_concerned_is_not_marked_by_what_it_owns() {
    let bench = mk_bench(Model {
        concerns: |_| false,
        ..HEEDS_READINESS
    });
    bench.put(Resource::DaemonSets, &daemonset_json());
    assert_eq!(bench.marked().await, ["default/agent"], "once, to forget it");
    bench.put(Resource::Pods, &pod_json(2, "a", 10));
    bench.put(Resource::Nodes, &node_json(200, "a", 20, true));
    assert_eq!(bench.marked().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_no_decision_looks_at_touches_nobody() {
    let bench = mk_bench(Model {
        is_news: POD_UPDATER.is_news,
        ..HEEDS_READINESS
    });
    let (mut daemonset, mut pod) = (daemonset_json(), pod_json(2, "a", 10));
    bench.put(Resource::DaemonSets, &daemonset);
    bench.put(Resource::Pods, &pod);
    bench.marked().await;
    let mut version = 20;
    let mut changed = |object: &mut Value, pointer: &str, field: &str, value: Value| {
        version += 1;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        object.pointer_mut(pointer).unwrap()[field] = value;
    };

    changed(&mut pod, "/status", "podIP", json!("10.244.0.7"));
    bench.put(Resource::Pods, &pod);
    assert_eq!(bench.marked().await, [""; 0], "an address");
    let is_stored = bench.stores.read().pod(Uid(2)).unwrap().resource_version == 21;
    assert!(is_stored, "its version is kept all the same");
    changed(
        &mut pod,
        "/metadata",
        "deletionTimestamp",
        json!("2026-01-01T00:00:10Z"),
    );
    bench.put(Resource::Pods, &pod);
    assert_eq!(bench.marked().await, ["default/agent"], "it terminates");

    changed(&mut daemonset, "/status", "numberReady", json!(1));
    bench.put(Resource::DaemonSets, &daemonset);
    assert_eq!(bench.marked().await, [""; 0], "a count");
    for (pointer, field, value) in [
        ("/status", "observedGeneration", json!(77)),
        ("/status", "collisionCount", json!(1)),
        ("/metadata", "generation", json!(78)),
        (
            "/metadata",
            "annotations",
            json!({ "apps.openyurt.io/max-unavailable": "2" }),
        ),
    ] {
        changed(&mut daemonset, pointer, field, value);
        bench.put(Resource::DaemonSets, &daemonset);
        assert_eq!(bench.marked().await, ["default/agent"], "{pointer}/{field}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_pod_that_turns_ready_is_urgent_to_who_has_patience() {
    let bench = mk_bench(Model {
        patience: POD_UPDATER.patience,
        ..HEEDS_READINESS
    });
    bench.put(Resource::DaemonSets, &daemonset_json());
    bench.marked().await;
    let is_ready = |mut pod: Value, is_ready: &str| {
        pod["status"]["conditions"] = json!([{ "type": "Ready", "status": is_ready }]);
        pod
    };

    bench.put(Resource::Pods, &is_ready(pod_json(2, "a", 10), "False"));
    assert_eq!(bench.marked().await, [""; 0], "it came");
    bench.put(Resource::Pods, &is_ready(pod_json(2, "a", 11), "True"));
    assert_eq!(bench.marked().await, ["default/agent"], "it turned Ready");
    bench.put(Resource::Pods, &is_ready(pod_json(2, "a", 12), "False"));
    assert_eq!(bench.marked().await, [""; 0], "it turned unready");
    tokio::time::advance(POD_UPDATER.patience).await;
    assert_eq!(
        bench.marked().await,
        ["default/agent"],
        "all the same, a little later"
    );
}

static N_PLANS: AtomicUsize = AtomicUsize::new(0);

#[tokio::test(start_paused = true)]
async fn nothing_is_decided_before_all_stores_are_in_sync() {
    let bench = mk_bench(Model {
        plan: |_| {
            N_PLANS.fetch_add(1, Ordering::SeqCst);
            Plan::default()
        },
        ..HEEDS_READINESS
    });
    bench.put(Resource::DaemonSets, &daemonset_json());
    let worker = tokio::spawn(Arc::clone(&bench.controller).work());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(N_PLANS.load(Ordering::SeqCst), 0);
    bench.controller.queue().close();
    worker.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_told_once_is_told_once() {
    let bench = mk_bench(Model {
        plan: |snapshot| Plan {
            events: vec![Event {
                is_warning: true,
                reason: "InvalidAnnotation",
                message: "bad".into(),
                once_per: Some(format!("{}", snapshot.daemonset.generation)),
            }],
            ..Plan::default()
        },
        ..HEEDS_READINESS
    });
    let mut daemonset = daemonset_json();
    bench.stores_are_synced().await;
    let worker = tokio::spawn(Arc::clone(&bench.controller).work());
    for (version, generation) in [(30, 2), (31, 2), (32, 3), (33, 3)] {
        daemonset["metadata"]["resourceVersion"] = json!(version.to_string());
        daemonset["metadata"]["generation"] = json!(generation);
        bench.put(Resource::DaemonSets, &daemonset);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bench.api.events().len(), 1);
    let n_told: usize = bench
        .api
        .calls()
        .iter()
        .filter(|call| call.resource == Resource::Events)
        .count();
    assert_eq!(n_told, 2, "the second generation raises the count");
    bench.controller.queue().close();
    worker.await.unwrap();
}

impl Bench {
    /// Lists all kinds once, empty.
    async fn stores_are_synced(&self) {
        let empty = Scripted::new(|_| Ok(json!({ "metadata": { "resourceVersion": "1" }, "items": [] })));
        for resource in Resource::WATCHED {
            let reflector = pitstop_controller::store::reflector::Reflector::new(
                Arc::clone(&empty) as Arc<dyn Api>,
                Arc::clone(&self.stores),
                resource,
                1,
            );
            let _ = tokio::time::timeout(Duration::from_millis(1), reflector.run()).await;
        }
        assert!(self.stores.is_synced());
    }
}
