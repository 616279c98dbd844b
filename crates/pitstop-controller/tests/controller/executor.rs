//! Plans as requests. Sources: daemonset.md A5, A8, A11, A13, C5.6.

use std::collections::BTreeMap;
use std::sync::Arc;

use pitstop_api::view::{DaemonSetStatus, DaemonSetView, NodeSlot, Uid};
use pitstop_controller::api::{Api, Call, Gate, Resource, Verb};
use pitstop_controller::events::{About, Record, Recorder};
use pitstop_controller::executor::{Executor, Outcome, Parts, Whom, Work};
use pitstop_controller::metrics::Metrics;
use pitstop_controller::store::{Overlay, Stores};
use pitstop_engine::inplace::{Endpoint, PodWrite};
use pitstop_engine::instances::PatchWhy;
use pitstop_engine::plan::{Action, DeleteReason, NewRevision, OwnedObject, Plan};
use serde_json::{Value, json};

use crate::scripted::{Scripted, clock, daemonset_json, made, pod_json, refused, uid};

struct Bench {
    api: Arc<Scripted>,
    gate: Arc<Gate>,
    overlay: Arc<Overlay>,
    stores: Arc<Stores>,
    executor: Executor,
    recorder: Recorder,
    _writer: tokio::task::JoinHandle<()>,
}

fn mk_bench(api: Arc<Scripted>) -> Bench {
    let metrics = Arc::new(Metrics::new());
    let gate = Arc::new(Gate::new(Arc::clone(&api) as Arc<dyn Api>, Arc::clone(&metrics)));
    let (recorder, writer) = Recorder::new(Arc::clone(&gate) as Arc<dyn Api>, clock());
    let (overlay, stores) = (Arc::new(Overlay::default()), Arc::new(Stores::new()));
    let executor = Executor::new(Parts {
        api: Arc::clone(&gate) as Arc<dyn Api>,
        clock: clock(),
        stores: Arc::clone(&stores),
        overlay: Arc::clone(&overlay),
        recorder: recorder.clone(),
        metrics,
        seed: 7,
    });
    Bench {
        api,
        gate,
        overlay,
        stores,
        executor,
        recorder,
        _writer: tokio::spawn(writer.run()),
    }
}

impl Bench {
    async fn carry_out(&self, actions: Vec<Action>) -> Outcome {
        self.carry_out_plan(Plan {
            actions,
            ..Plan::default()
        })
        .await
    }

    async fn carry_out_plan(&self, plan: Plan) -> Outcome {
        let daemonset = DaemonSetView::from_json(daemonset_json().to_string().as_bytes()).unwrap();
        let node_names: BTreeMap<NodeSlot, Arc<str>> = (0..10)
            .map(|n| (NodeSlot(n), format!("node-{n}").into()))
            .collect();
        let work = Work {
            whom: Whom {
                controller: "native-daemonset",
                source: "daemonset-controller",
                about: About::from(&daemonset),
            },
            daemonset: Arc::new(daemonset),
            plan,
            node_names,
        };
        let outcome = self.executor.carry_out(&work).await;
        self.recorder.flush().await;
        outcome
    }
}

fn create(node: u32) -> Action {
    Action::CreatePod {
        node: NodeSlot(node),
        hash: "h2".into(),
    }
}

fn delete(n: u64) -> Action {
    Action::DeletePod {
        name: format!("agent-{n}").into(),
        uid: Uid(u128::from(n)),
        resource_version: None,
        node: Some(NodeSlot(0)),
        why: DeleteReason::Outdated,
    }
}

fn new_revision() -> Action {
    Action::CreateRevision(NewRevision {
        name: "agent-h2".into(),
        hash: "h2".into(),
        revision: 2,
        data: json!({ "spec": { "template": { "$patch": "replace" } } }),
    })
}

fn request(call: &Call) -> String {
    format!("{:?} {}", call.verb, call.path_and_query())
}

fn body(call: &Call) -> &Value {
    call.body.as_ref().unwrap()
}

#[tokio::test]
async fn a_created_pod_has_a_name_that_we_chose_and_is_noted_in_the_overlay() {
    let bench = mk_bench(Scripted::new(|call| Ok(made(call, 20))));
    let outcome = bench.carry_out(vec![create(0)]).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    let writes = bench.api.writes();
    assert_eq!(writes.len(), 1);
    assert_eq!(
        request(&writes[0]),
        "Create /api/v1/namespaces/default/pods?fieldManager=pitstop-controller"
    );
    let metadata = &body(&writes[0])["metadata"];
    let name = metadata["name"].as_str().unwrap();
    let suffix = name.strip_prefix("agent-").unwrap();
    assert!(
        suffix.len() == 5
            && suffix
                .chars()
                .all(|c| pitstop_api::keys::SAFE_ALPHABET.contains(c)),
        "{name}"
    );
    assert_eq!(metadata["generateName"], "agent-");
    assert_eq!(metadata["namespace"], "default");
    assert_eq!(
        bench.api.events(),
        [format!("SuccessfulCreate: Created pod: {name}")]
    );
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let in_flight = bench.overlay.in_flight(Uid(1), &bench.stores.read(), now);
    assert_eq!(in_flight.created.len(), 1);
    assert_eq!(
        (in_flight.created[0].uid, in_flight.created[0].node),
        (Uid(20), NodeSlot(0))
    );
}

#[tokio::test]
async fn n27_a_quota_that_denies_all_costs_one_attempt() {
    let bench = mk_bench(Scripted::new(|call| match call.resource {
        Resource::Pods => Err(refused(
            403,
            "Forbidden",
            "pods \"agent-x\" is forbidden: exceeded quota: q",
        )),
        _ => Ok(made(call, 20)),
    }));
    let outcome = bench.carry_out((0..10).map(create).collect()).await;
    assert!(outcome.failure.is_some());
    assert_eq!(bench.api.writes().len(), 1);
    assert_eq!(
        bench.api.events(),
        ["FailedCreate: Error creating: pods \"agent-x\" is forbidden: exceeded quota: q"]
    );
}

#[tokio::test]
async fn slow_start_doubles_the_batches_until_one_fails() {
    let mut n = 0;
    let bench = mk_bench(Scripted::new(move |call| {
        if call.resource == Resource::Events {
            return Ok(made(call, 99));
        }
        n += 1;
        // The batches are 1, 2 and 4; the fifth request is in the third.
        if n == 5 {
            Err(refused(500, "InternalError", "etcdserver: request timed out"))
        } else {
            Ok(made(call, 20 + n))
        }
    }));
    let outcome = bench.carry_out((0..10).map(create).collect()).await;
    assert!(outcome.failure.is_some());
    assert_eq!((bench.api.writes().len(), outcome.n_written), (7, 6));
}

#[tokio::test]
async fn a_terminating_namespace_is_passed_over_in_silence() {
    let bench = mk_bench(Scripted::new(|_| {
        let body = br#"{"reason":"Forbidden","details":{"causes":[{"reason":"NamespaceTerminating"}]}}"#;
        Err(pitstop_controller::CallError::from_answer(403, body))
    }));
    let outcome = bench.carry_out((0..10).map(create).collect()).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(bench.api.events(), [""; 0]);
    // One is asked for; the nine that would be refused too are not.
    assert_eq!((bench.api.writes().len(), outcome.n_written), (1, 0));
}

#[tokio::test]
async fn a_name_that_is_taken_is_replaced_by_another() {
    let mut taken = None;
    let bench = mk_bench(Scripted::new(move |call| match call.verb {
        Verb::Create if call.resource == Resource::Pods && taken.is_none() => {
            taken = Some(body(call)["metadata"]["name"].clone());
            Err(refused(409, "AlreadyExists", "already exists"))
        }
        Verb::Get => Ok(pod_json(3, "elsewhere", 3)),
        _ => Ok(made(call, 20)),
    }));
    let outcome = bench.carry_out(vec![create(0)]).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    let writes = bench.api.writes();
    assert_eq!(writes.len(), 2);
    assert_ne!(
        body(&writes[0])["metadata"]["name"],
        body(&writes[1])["metadata"]["name"]
    );
}

#[tokio::test]
async fn a_creation_without_an_answer_is_repeated_under_its_name_and_found() {
    let mut arrived: Option<Value> = None;
    let bench = mk_bench(Scripted::new(move |call| match (call.verb, call.resource) {
        (Verb::Create, Resource::Pods) if arrived.is_none() => {
            let mut pod = pod_json(20, "node-0", 20);
            pod["metadata"]["name"] = body(call)["metadata"]["name"].clone();
            pod["metadata"]["labels"]["controller-revision-hash"] = json!("h2");
            arrived = Some(pod);
            Err(pitstop_controller::CallError::Unreachable("reset".into()))
        }
        (Verb::Create, Resource::Pods) => Err(refused(409, "AlreadyExists", "already exists")),
        (Verb::Get, Resource::Pods) => Ok(arrived.clone().unwrap()),
        _ => Ok(made(call, 99)),
    }));
    assert!(bench.carry_out(vec![create(0)]).await.failure.is_some());
    let outcome = bench.carry_out(vec![create(0)]).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    let names: Vec<Value> = bench
        .api
        .writes()
        .iter()
        .map(|call| body(call)["metadata"]["name"].clone())
        .collect();
    assert_eq!(names.len(), 2);
    assert_eq!(names[0], names[1]);
}

/// inplace.md 4.1, S1: request by request; one without an answer may have taken the pod out of service, and counts until the
/// pod is seen at another version.
#[tokio::test]
async fn a_pod_is_changed_step_by_step_and_a_change_without_an_answer_counts() {
    let mut n = 0;
    let bench = mk_bench(Scripted::new(move |call| {
        if call.resource != Resource::Pods {
            return Ok(made(call, 99));
        }
        n += 1;
        let mut answer = pod_json(9, "node-0", 40 + n);
        answer["metadata"]["name"] = json!("agent-9");
        if n == 4 {
            Err(pitstop_controller::CallError::Unreachable("reset".into()))
        } else {
            Ok(answer)
        }
    }));
    let patch = |version| Action::PatchPod {
        name: "agent-9".into(),
        uid: Uid(9),
        resource_version: version,
        writes: [Endpoint::Status, Endpoint::Pod]
            .map(|endpoint| PodWrite {
                endpoint,
                patch: json!({}),
            })
            .into(),
        why: PatchWhy::UpdateInPlace {
            revision: "h2".into(),
        },
    };
    let outcome = bench.carry_out(vec![patch(40)]).await;
    assert_eq!((outcome.n_written, outcome.is_ok()), (2, true), "{outcome:?}");
    let versions: Vec<Value> = bench
        .api
        .writes()
        .iter()
        .filter(|call| call.resource == Resource::Pods)
        .map(|call| body(call)["metadata"]["resourceVersion"].clone())
        .collect();
    assert_eq!(versions, ["40", "41"]);
    assert_eq!(
        bench.api.events(),
        ["SuccessfulUpdatePodInPlace: successfully update pod agent-9 in-place(revision h2)"]
    );
    let outcome = bench.carry_out(vec![patch(42)]).await;
    assert_eq!(
        (outcome.n_written, outcome.failure.is_some()),
        (1, true),
        "{outcome:?}"
    );
    let in_doubt = || {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        bench
            .overlay
            .in_flight(Uid(1), &bench.stores.read(), now)
            .maybe_patched
    };
    assert_eq!(in_doubt(), [Uid(9)]);
    let mut seen = pod_json(9, "node-0", 60);
    seen["metadata"]["name"] = json!("agent-9");
    bench.stores.written(Resource::Pods, seen.to_string().as_bytes());
    assert!(in_doubt().is_empty() && bench.overlay.is_empty());
}

#[tokio::test]
async fn deletes_carry_the_uid() {
    let bench = mk_bench(Scripted::new(|call| Ok(made(call, 30))));
    let mut with_version = delete(8);
    if let Action::DeletePod { resource_version, .. } = &mut with_version {
        *resource_version = Some(44);
    }
    let outcome = bench.carry_out(vec![delete(7), with_version]).await;
    assert_eq!(outcome.n_written, 2);
    let writes = bench.api.writes();
    assert_eq!(
        request(&writes[0]),
        "Delete /api/v1/namespaces/default/pods/agent-7"
    );
    assert_eq!(
        *body(&writes[0]),
        json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": { "uid": uid(7) } })
    );
    assert_eq!(
        body(&writes[1])["preconditions"],
        json!({ "uid": uid(8), "resourceVersion": "44" })
    );
    assert_eq!(
        bench.api.events(),
        [
            "SuccessfulDelete: Deleted pod: agent-7",
            "SuccessfulDelete: Deleted pod: agent-8"
        ]
    );
}

#[tokio::test]
async fn what_comes_of_a_refused_delete_depends_on_why() {
    // Y33: a 404 is a ledger entry and no error. C5.6: a 409 is news, anything else is told and tried again.
    let cases: [(u16, bool, bool, &[&str]); 4] = [
        (404, false, false, &[]),
        (409, true, false, &[]),
        (403, false, true, &["FailedDelete: Error deleting: no"]),
        (500, false, true, &["FailedDelete: Error deleting: no"]),
    ];
    for (code, is_stale, is_failed, events) in cases {
        let bench = mk_bench(Scripted::new(move |call| match call.resource {
            Resource::Pods => Err(refused(code, "Reason", "no")),
            _ => Ok(made(call, 99)),
        }));
        // One failure does not hide the others: both are tried.
        let outcome = bench.carry_out(vec![delete(7), delete(8)]).await;
        assert_eq!(bench.api.writes().len(), 2, "{code}");
        assert_eq!(
            (outcome.is_stale, outcome.failure.is_some()),
            (is_stale, is_failed),
            "{code}"
        );
        let told = bench.api.events();
        assert_eq!(
            told.iter().collect::<std::collections::BTreeSet<_>>().len(),
            events.len()
        );
        assert!(
            told.iter().all(|event| events.contains(&event.as_str())),
            "{told:?}"
        );
        let n_noted = if matches!(code, 404 | 500) { 2 } else { 0 };
        assert_eq!(bench.overlay.len(), n_noted, "{code}");
    }
}

#[tokio::test]
async fn a_revision_comes_before_pods_and_carries_what_kubectl_reads() {
    let mut n = 40;
    let bench = mk_bench(Scripted::new(move |call| {
        n += 1;
        Ok(made(call, n))
    }));
    bench.carry_out(vec![create(0), new_revision()]).await;
    let writes = bench.api.writes();
    assert_eq!(
        request(&writes[0]),
        "Create /apis/apps/v1/namespaces/default/controllerrevisions?fieldManager=pitstop-controller"
    );
    assert_eq!(writes[1].resource, Resource::Pods);
    let revision = body(&writes[0]);
    assert_eq!(revision["revision"], 2);
    assert_eq!(
        revision["metadata"],
        json!({
            "name": "agent-h2",
            "namespace": "default",
            "labels": { "app": "agent", "controller-revision-hash": "h2" },
            "annotations": { "kubernetes.io/change-cause": "new image" },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": uid(1),
                "controller": true, "blockOwnerDeletion": true,
            }],
        })
    );
    assert_eq!(
        bench.stores.read().revisions_of(Uid(1)).count(),
        1,
        "own writes are read"
    );
}

/// A ControllerRevision `agent-h2` as the server has it.
fn existing_revision(data: &Value, owner: Option<u64>) -> Value {
    let owners: Vec<Value> = owner
        .into_iter()
        .map(|n| {
            json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": uid(n), "controller": true })
        })
        .collect();
    json!({
        "metadata": {
            "name": "agent-h2", "namespace": "default", "uid": uid(50), "resourceVersion": "50",
            "ownerReferences": owners,
        },
        "data": data,
        "revision": 1,
    })
}

#[tokio::test]
async fn n32_a_name_taken_by_other_data_raises_the_collision_count() {
    let bench = mk_bench(Scripted::new(|call| match (call.verb, call.resource) {
        (Verb::Create, Resource::ControllerRevisions) => Err(refused(409, "AlreadyExists", "exists")),
        (Verb::Get, Resource::ControllerRevisions) => Ok(existing_revision(&json!({ "other": 1 }), Some(1))),
        _ => Ok(daemonset_json()),
    }));
    let outcome = bench.carry_out(vec![new_revision(), create(0)]).await;
    assert!(outcome.is_stale && outcome.failure.is_none(), "{outcome:?}");
    let writes = bench.api.writes();
    assert_eq!(
        writes.iter().map(request).collect::<Vec<_>>(),
        [
            "Create /apis/apps/v1/namespaces/default/controllerrevisions?fieldManager=pitstop-controller",
            "MergePatch /apis/apps/v1/namespaces/default/daemonsets/agent/status?fieldManager=pitstop-controller",
        ],
        "no pod is made from a revision that is not there"
    );
    assert_eq!(
        *body(&writes[1]),
        json!({
            "metadata": { "uid": uid(1), "resourceVersion": "5" },
            "status": { "collisionCount": 1 },
        })
    );
}

#[tokio::test]
async fn a_name_taken_by_the_same_data_serves() {
    let data = json!({ "spec": { "template": { "$patch": "replace" } } });
    // Ours: go on. An orphan, or one of a predecessor: look again, nothing is made from it yet.
    for (owner, n_writes) in [(Some(1), 2), (None, 1), (Some(77), 1)] {
        let data = data.clone();
        let bench = mk_bench(Scripted::new(move |call| match (call.verb, call.resource) {
            (Verb::Create, Resource::ControllerRevisions) => Err(refused(409, "AlreadyExists", "exists")),
            (Verb::Get, _) => Ok(existing_revision(&data, owner)),
            _ => Ok(made(call, 60)),
        }));
        let outcome = bench.carry_out(vec![new_revision(), create(0)]).await;
        assert_eq!(bench.api.writes().len(), n_writes, "{owner:?}");
        assert_eq!(outcome.is_ok(), n_writes == 2, "{owner:?}");
    }
}

#[tokio::test]
async fn patches_name_only_our_fields_and_the_uid() {
    let (pod, hash): (Arc<str>, Arc<str>) = ("agent-7".into(), "h2".into());
    let owner = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": uid(1),
        "controller": true, "blockOwnerDeletion": true,
    });
    let cases = [
        (
            Action::Adopt {
                object: OwnedObject::Pod,
                name: Arc::clone(&pod),
                uid: Uid(7),
            },
            "StrategicPatch /api/v1/namespaces/default/pods/agent-7",
            json!({ "metadata": { "uid": uid(7), "ownerReferences": [owner] } }),
        ),
        (
            Action::Release {
                object: OwnedObject::Revision,
                name: "agent-h1".into(),
                uid: Uid(8),
            },
            "StrategicPatch /apis/apps/v1/namespaces/default/controllerrevisions/agent-h1",
            json!({ "metadata": { "uid": uid(8), "ownerReferences": [{ "$patch": "delete", "uid": uid(1) }] } }),
        ),
        (
            Action::RelabelPod {
                name: pod,
                uid: Uid(7),
                hash,
            },
            "MergePatch /api/v1/namespaces/default/pods/agent-7",
            json!({ "metadata": { "uid": uid(7), "labels": { "controller-revision-hash": "h2" } } }),
        ),
        (
            Action::RenumberRevision {
                name: "agent-h1".into(),
                uid: Uid(8),
                revision: 4,
                annotations: vec![("kubernetes.io/change-cause".into(), "undo".into())],
            },
            "MergePatch /apis/apps/v1/namespaces/default/controllerrevisions/agent-h1",
            json!({
                "metadata": { "uid": uid(8), "annotations": { "kubernetes.io/change-cause": "undo" } },
                "revision": 4,
            }),
        ),
    ];
    for (action, want, want_body) in cases {
        let bench = mk_bench(Scripted::new(|call| Ok(made(call, 70))));
        bench.carry_out(vec![action]).await;
        let writes = bench.api.writes();
        assert_eq!(
            request(&writes[0]),
            format!("{want}?fieldManager=pitstop-controller")
        );
        assert_eq!(*body(&writes[0]), want_body, "{want}");
    }
}

#[tokio::test]
async fn status_is_written_only_when_it_differs_and_zeros_are_removed() {
    let same = DaemonSetView::from_json(daemonset_json().to_string().as_bytes())
        .unwrap()
        .status;
    let next = DaemonSetStatus {
        observed_generation: 2,
        number_available: 3,
        number_unavailable: 0,
        ..same.clone()
    };
    for (status, n_writes) in [(None, 0), (Some(same), 0), (Some(next), 1)] {
        let bench = mk_bench(Scripted::new(|_| Ok(daemonset_json())));
        let plan = Plan {
            status,
            ..Plan::default()
        };
        bench.carry_out_plan(plan).await;
        let writes = bench.api.writes();
        assert_eq!(writes.len(), n_writes);
        if let Some(call) = writes.first() {
            assert_eq!(
                request(call),
                "MergePatch /apis/apps/v1/namespaces/default/daemonsets/agent/status?fieldManager=pitstop-controller"
            );
            assert_eq!(
                *body(call),
                json!({
                    "metadata": { "uid": uid(1), "resourceVersion": "5" },
                    "status": {
                        "currentNumberScheduled": 3, "numberMisscheduled": 0, "desiredNumberScheduled": 3,
                        "numberReady": 3, "observedGeneration": 2, "updatedNumberScheduled": 3,
                        "numberAvailable": 3, "numberUnavailable": null,
                    },
                })
            );
        }
    }
}

#[tokio::test]
async fn nothing_is_written_once_the_lease_is_lost() {
    let bench = mk_bench(Scripted::new(|call| Ok(made(call, 20))));
    bench.gate.close();
    let outcome = bench.carry_out(vec![new_revision(), create(0), delete(7)]).await;
    assert!(outcome.failure.is_some());
    assert_eq!(bench.api.calls(), []);
}

/// A condition leaves the others alone, and a template goes back only if nobody changed the DaemonSet since; each is a new
/// version of it, so they come one after the other.
#[tokio::test]
async fn a_daemonset_gets_a_condition_and_its_template_back() {
    use pitstop_api::view::PodCondition;
    let mut n = 50;
    let bench = mk_bench(Scripted::new(move |call| {
        n += 1;
        Ok(made(call, n))
    }));
    let data = json!({ "spec": { "template": { "$patch": "replace", "metadata": {} } } });
    let actions = vec![
        Action::RollBack {
            uid: Uid(1),
            resource_version: 44,
            hash: "h1".into(),
            data: Arc::new(data.clone()),
        },
        Action::SetCondition {
            kind: "Progressing",
            condition: PodCondition {
                status: false.into(),
                reason: "ProgressDeadlineExceeded".into(),
                message: "controllerrevision: h2; nothing has moved".into(),
                since: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            },
        },
    ];
    let outcome = bench.carry_out(actions).await;
    assert_eq!(outcome.n_written, 2, "{outcome:?}");
    let writes = bench.api.writes();
    assert_eq!(
        writes.iter().map(request).collect::<Vec<_>>(),
        [
            "StrategicPatch /apis/apps/v1/namespaces/default/daemonsets/agent?fieldManager=pitstop-controller",
            "StrategicPatch /apis/apps/v1/namespaces/default/daemonsets/agent/status?fieldManager=pitstop-controller",
        ]
    );
    assert_eq!(
        *body(&writes[0]),
        json!({ "metadata": { "uid": uid(1), "resourceVersion": "44" }, "spec": data["spec"] })
    );
    assert_eq!(
        *body(&writes[1]),
        json!({
            "metadata": { "uid": uid(1) },
            "status": { "conditions": [{
                "type": "Progressing",
                "status": "False",
                "reason": "ProgressDeadlineExceeded",
                "message": "controllerrevision: h2; nothing has moved",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }] },
        })
    );
}

/// daemonset.md A13: deletions are many, and do not drown what is rare.
#[tokio::test]
async fn a_warning_is_told_after_40_deletions_and_what_is_dropped_is_counted() {
    let bench = mk_bench(Scripted::new(|call| Ok(made(call, 20))));
    assert!(bench.carry_out((1..=40).map(delete).collect()).await.is_ok());
    assert_eq!(bench.recorder.n_dropped(), 15);
    let daemonset = DaemonSetView::from_json(daemonset_json().to_string().as_bytes()).unwrap();
    bench.recorder.publish(Record {
        source: "daemonset-controller",
        about: About::from(&daemonset),
        is_warning: true,
        reason: "RollingBack",
        message: "back".to_owned(),
    });
    bench.recorder.flush().await;
    let told = bench.api.events();
    assert_eq!(told.last().unwrap(), "RollingBack: back", "{told:?}");
    assert_eq!(bench.recorder.n_dropped(), 15);
}
