//! Plans for CloneSets become requests. Sources: cloneset.md 10-14, inplace.md 4.1.

use std::sync::Arc;

use pitstop_api::view::{CloneSetStatus, CloneSetView, Uid};
use pitstop_controller::api::{Api, Call, CallError, Resource, Verb};
use pitstop_controller::events::{About, Recorder};
use pitstop_controller::executor::{Executor, InstancesWork, Outcome, Parts, Whom};
use pitstop_controller::metrics::Metrics;
use pitstop_controller::store::{Overlay, Stores};
use pitstop_engine::cloneset::{Action, Failures, NewPod, PatchWhy, Plan, Removal};
use pitstop_engine::inplace::{Endpoint, PodWrite};
use serde_json::{Value, json};

use crate::scripted::{Scripted, clock, refused};

const WEB: Uid = Uid(1);

pub(crate) struct Bench {
    pub(crate) api: Arc<Scripted>,
    overlay: Arc<Overlay>,
    stores: Arc<Stores>,
    executor: Executor,
    recorder: Recorder,
}

pub(crate) fn mk_bench(answer: impl FnMut(&Call) -> Result<Value, CallError> + Send + 'static) -> Bench {
    let api = Scripted::new(answer);
    let (recorder, writer) = Recorder::new(Arc::clone(&api) as Arc<dyn Api>, clock());
    tokio::spawn(writer.run());
    let (overlay, stores) = (Arc::new(Overlay::default()), Arc::new(Stores::new()));
    let executor = Executor::new(Parts {
        api: Arc::clone(&api) as Arc<dyn Api>,
        clock: clock(),
        stores: Arc::clone(&stores),
        overlay: Arc::clone(&overlay),
        recorder: recorder.clone(),
        metrics: Arc::new(Metrics::new()),
        seed: 7,
    });
    Bench {
        api,
        overlay,
        stores,
        executor,
        recorder,
    }
}

fn cloneset() -> CloneSetView {
    let json = json!({
        "metadata": { "name": "web", "namespace": "default", "uid": WEB.to_string(), "resourceVersion": "5" },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [] } },
        },
        "status": { "replicas": 3, "updatedAvailableReplicas": 2, "collisionCount": 0 },
    });
    CloneSetView::from_json(json.to_string().as_bytes()).unwrap()
}

impl Bench {
    async fn carry_out(&self, plan: Plan) -> (Outcome, Failures) {
        let cloneset = cloneset();
        let whom = Whom {
            controller: "cloneset",
            source: "cloneset-controller",
            about: About::from(&cloneset),
        };
        let work = InstancesWork::of_cloneset(whom, &cloneset, plan);
        self.carry_out_work(&work).await
    }

    pub(crate) async fn carry_out_work(&self, work: &InstancesWork) -> (Outcome, Failures) {
        let done = self.executor.carry_out_instances(work).await;
        self.recorder.flush().await;
        done
    }

    async fn act(&self, actions: Vec<Action>) -> (Outcome, Failures) {
        let plan = Plan {
            actions,
            ..Plan::default()
        };
        self.carry_out(plan).await
    }

    /// Verb, path and, where there are any, preconditions of the writes.
    pub(crate) fn writes(&self) -> Vec<String> {
        let precondition = |call: &Call| {
            let body = call.body.as_ref()?;
            let of = body.get("metadata").or_else(|| body.get("preconditions"))?;
            let uid = of.get("uid")?.as_str()?.trim_start_matches(['0', '-']);
            let version = of.get("resourceVersion").and_then(Value::as_str).unwrap_or("-");
            Some(format!(" uid {uid} version {version}"))
        };
        let calls = self.api.writes();
        let line = |call: &Call| {
            let path = call.path_and_query();
            let path = path.split('?').next().unwrap();
            let path = path.trim_start_matches("/api/v1/namespaces/default/");
            format!(
                "{} {path}{}",
                call.verb.as_str(),
                precondition(call).unwrap_or_default()
            )
        };
        calls.iter().map(line).collect()
    }
}

fn new_pod(id: &str, claims: Vec<Value>) -> Action {
    Action::CreatePod(NewPod {
        name: format!("web-{id}").into(),
        instance: id.into(),
        revision: "web-1".into(),
        manifest: json!({ "metadata": { "name": format!("web-{id}") } }),
        claims,
    })
}

fn made(version: &str) -> Value {
    json!({ "metadata": {
        "name": "web-a", "namespace": "default", "resourceVersion": version, "uid": Uid(9).to_string(),
        "creationTimestamp": "2026-11-21T08:00:00Z",
        "ownerReferences": [{
            "apiVersion": "apps.kruise.io/v1beta1", "kind": "CloneSet", "name": "web",
            "uid": WEB.to_string(), "controller": true,
        }],
    } })
}

fn unanswered() -> CallError {
    CallError::Unreachable("cut".to_owned())
}

fn is_trial(call: &Call) -> bool {
    call.query
        .iter()
        .any(|(key, value)| *key == "dryRun" && value == "All")
}

/// inplace.md 4.1: out of service first, then the containers; each request for exactly what the one before left.
#[tokio::test]
async fn a_pod_is_changed_step_by_step_or_not_at_all() {
    let patch = |why: PatchWhy| Action::PatchPod {
        name: "web-a".into(),
        uid: Uid(9),
        resource_version: 40,
        writes: vec![
            PodWrite {
                endpoint: Endpoint::Status,
                patch: json!({ "metadata": { "annotations": { "a": "b" } }, "status": {} }),
            },
            PodWrite {
                endpoint: Endpoint::Pod,
                patch: json!({ "spec": {} }),
            },
            PodWrite {
                endpoint: Endpoint::Resize,
                patch: json!({ "spec": {} }),
            },
        ],
        why,
    };
    let in_place = || PatchWhy::UpdateInPlace {
        revision: "web-2".into(),
    };
    let mut version = 40;
    let bench = mk_bench(move |call| {
        version += i32::from(!is_trial(call));
        Ok(made(&version.to_string()))
    });
    let (outcome, failures) = bench.act(vec![patch(in_place())]).await;
    assert_eq!((outcome.n_written, failures), (3, Failures::default()));
    assert_eq!(
        bench.writes(),
        [
            // Only tried.
            "patch pods/web-a/resize uid 9 version 40",
            "patch pods/web-a/status uid 9 version 40",
            "patch pods/web-a uid 9 version 41",
            "patch pods/web-a/resize uid 9 version 42",
        ]
    );
    assert_eq!(
        bench.api.events(),
        ["SuccessfulUpdatePodInPlace: successfully update pod web-a in-place(revision web-2)"]
    );

    // Somebody changed the pod: nothing further is sent, and nothing is told.
    let bench = mk_bench(|call| match call.subresource {
        Some("status") => Ok(made("41")),
        _ if is_trial(call) => Ok(made("40")),
        _ => Err(refused(409, "Conflict", "changed")),
    });
    let (outcome, _) = bench.act(vec![patch(in_place())]).await;
    assert!(outcome.is_stale && outcome.n_written == 1);
    assert_eq!((bench.writes().len(), bench.api.events().len()), (3, 0));

    let bench = mk_bench(|call| match call.resource {
        Resource::Events => Ok(json!({})),
        _ => Err(refused(422, "Invalid", "spec: Forbidden")),
    });
    let (_, failures) = bench.act(vec![patch(in_place())]).await;
    assert!(failures.update.is_some() && failures.scale.is_none());
    let events = bench.api.events();
    let want = "FailedUpdatePodInPlace: failed to update pod web-a in-place(revision web-2): ";
    assert!(events[0].starts_with(want), "{events:?}");
}

/// inplace.md 13.9: what the server would refuse is learnt before the pod leaves service, and remembered.
#[tokio::test]
async fn a_resize_is_tried_before_the_pod_leaves_service() {
    let bench = mk_bench(|call| match call.resource {
        Resource::Events => Ok(json!({})),
        _ if is_trial(call) => Err(refused(
            422,
            "Invalid",
            "only cpu and memory resources are mutable",
        )),
        _ => Ok(made("41")),
    });
    bench
        .stores
        .written(Resource::Pods, made("40").to_string().as_bytes());
    let writes = [Endpoint::Status, Endpoint::Pod, Endpoint::Resize].map(|endpoint| PodWrite {
        endpoint,
        patch: json!({}),
    });
    let patch = Action::PatchPod {
        name: "web-a".into(),
        uid: Uid(9),
        resource_version: 40,
        writes: writes.into(),
        why: PatchWhy::UpdateInPlace {
            revision: "web-2".into(),
        },
    };
    let (_, failures) = bench.act(vec![patch]).await;
    assert!(failures.update.is_some());
    let paths: Vec<_> = bench.api.writes().iter().map(|call| call.subresource).collect();
    assert_eq!(paths, [Some("resize")], "nothing else is sent");
    let state = bench.stores.read();
    let in_flight = bench.overlay.in_flight_by_name(WEB, &state, clock().now());
    let refused = &in_flight.refused_resizes[0];
    assert_eq!((refused.pod, &*refused.revision), (Uid(9), "web-2"));
    assert_eq!(&*refused.message, "only cpu and memory resources are mutable");
}

/// S8: the server has at most one pod of a name, so a POST that was not answered is repeated before anything else.
#[tokio::test]
async fn a_creation_without_an_answer_is_repeated_under_its_name() {
    let mut n = 0;
    let bench = mk_bench(move |call| {
        n += i32::from(call.verb == Verb::Create && call.resource == Resource::Pods);
        if n == 1 { Err(unanswered()) } else { Ok(made("50")) }
    });
    let (outcome, failures) = bench.act(vec![new_pod("a", Vec::new())]).await;
    assert!(outcome.failure.is_some() && failures.scale.is_some());
    let in_flight = || {
        let state = bench.stores.read();
        bench.overlay.in_flight_by_name(WEB, &state, clock().now())
    };
    assert_eq!(&*in_flight().created[0].name, "web-a", "it counts as there");
    let (outcome, _) = bench.act(Vec::new()).await;
    assert!(outcome.is_stale, "what was decided meanwhile is decided again");
    let writes = bench.writes();
    assert_eq!(writes.len(), 2);
    assert_eq!(writes[0], writes[1]);
    assert!(in_flight().created.is_empty(), "the stores know it");
    assert!(bench.overlay.is_empty());
}

/// S1: a refusal of the second POST says nothing of the first, which may still be on its way.
#[tokio::test]
async fn a_creation_without_an_answer_counts_while_the_repetition_is_put_off() {
    for (code, reason, counts) in [
        (409, "Conflict", true),
        (429, "TooManyRequests", true),
        (403, "Forbidden", false),
    ] {
        let mut n = 0;
        let bench = mk_bench(move |call| {
            n += i32::from(call.verb == Verb::Create && call.resource == Resource::Pods);
            match n {
                1 => Err(unanswered()),
                _ => Err(refused(code, reason, "not now")),
            }
        });
        bench.act(vec![new_pod("a", Vec::new())]).await;
        bench.act(Vec::new()).await;
        let state = bench.stores.read();
        let in_flight = bench.overlay.in_flight_by_name(WEB, &state, clock().now());
        assert_eq!(!in_flight.created.is_empty(), counts, "{reason}");
    }
}

/// S1: the pod may have left service, so it counts as unavailable until its version says what became of the request.
#[tokio::test]
async fn a_change_without_an_answer_counts_until_the_pod_is_seen_changed() {
    let bench = mk_bench(|_| Err(unanswered()));
    bench
        .stores
        .written(Resource::Pods, made("40").to_string().as_bytes());
    let patch = Action::PatchPod {
        name: "web-a".into(),
        uid: Uid(9),
        resource_version: 40,
        writes: vec![PodWrite {
            endpoint: Endpoint::Status,
            patch: json!({ "status": {} }),
        }],
        why: PatchWhy::Prepare,
    };
    let (outcome, _) = bench.act(vec![patch]).await;
    assert!(outcome.failure.is_some());
    let in_doubt = || {
        let state = bench.stores.read();
        let in_flight = bench.overlay.in_flight_by_name(WEB, &state, clock().now());
        in_flight.maybe_patched
    };
    assert_eq!(in_doubt(), [Uid(9)]);
    bench
        .stores
        .written(Resource::Pods, made("41").to_string().as_bytes());
    assert!(in_doubt().is_empty() && bench.overlay.is_empty());
}

#[tokio::test]
async fn claims_come_before_their_pod_and_go_after_it() {
    let bench = mk_bench(|call| match (call.verb, call.resource) {
        (Verb::Create, Resource::Claims) => Err(refused(409, "AlreadyExists", "it is there")),
        _ => Ok(made("50")),
    });
    let claim = json!({ "metadata": { "name": "data-web-a" } });
    bench.act(vec![new_pod("a", vec![claim])]).await;
    assert_eq!(bench.writes(), ["create persistentvolumeclaims", "create pods"]);

    let bench = mk_bench(|_| Ok(made("50")));
    let delete = Action::DeletePod {
        name: "web-a".into(),
        uid: Uid(9),
        resource_version: Some(40),
        claims: vec![("data-web-a".into(), Uid(7))],
        why: Removal::ScaledDown,
    };
    bench.act(vec![delete]).await;
    assert_eq!(
        bench.writes(),
        [
            "delete pods/web-a uid 9 version 40",
            "delete persistentvolumeclaims/data-web-a uid 7 version -",
        ]
    );
    assert_eq!(
        bench.api.events(),
        ["SuccessfulDelete: succeed to delete pod web-a"]
    );

    // A claim that cannot be made: no pod, and a warning with the reason.
    let bench = mk_bench(|call| match call.resource {
        Resource::Claims => Err(refused(403, "Forbidden", "exceeded quota")),
        _ => Ok(made("50")),
    });
    let (_, failures) = bench
        .act(vec![new_pod("a", vec![json!({})]), new_pod("b", Vec::new())])
        .await;
    assert!(failures.scale.unwrap().contains("exceeded quota"));
    assert_eq!(
        bench.writes(),
        ["create persistentvolumeclaims"],
        "the rest waits for the next pass"
    );
    assert!(bench.api.events()[0].starts_with("FailedCreate: failed to create pvc: "));
}

/// Slow start: 1, 2, 4, ...; a failure leaves the rest to the next pass.
#[tokio::test]
async fn pods_are_created_in_growing_batches_until_one_fails() {
    let mut n = 0;
    let bench = mk_bench(move |call| {
        if call.resource != Resource::Pods {
            return Ok(json!({}));
        }
        n += 1;
        if n == 3 {
            Err(refused(403, "Forbidden", "exceeded quota"))
        } else {
            Ok(made("50"))
        }
    });
    let ids: Vec<String> = (0..8).map(|n| n.to_string()).collect();
    let (outcome, _) = bench
        .act(ids.iter().map(|id| new_pod(id, Vec::new())).collect())
        .await;
    assert_eq!(bench.writes().len(), 3);
    assert!(outcome.failure.is_some());
}

/// A name that somebody else has is looked at, and given up: the next decision takes another.
#[tokio::test]
async fn a_name_that_is_taken_is_given_up() {
    let bench = mk_bench(|call| match call.verb {
        Verb::Create => Err(refused(409, "AlreadyExists", "pods \"web-a\" already exists")),
        _ => Ok(made("50")),
    });
    let (outcome, failures) = bench.act(vec![new_pod("a", Vec::new())]).await;
    assert!(outcome.is_stale && outcome.failure.is_none() && failures.scale.is_none());
    assert!(bench.overlay.is_empty());
}

/// What the API leaves out when it is zero has to be removed by name; the collision count is left alone.
#[tokio::test]
async fn the_status_is_written_when_it_differs() {
    let bench = mk_bench(|_| Ok(json!({})));
    let status = CloneSetStatus {
        replicas: 4,
        collision_count: Some(0),
        ..CloneSetStatus::default()
    };
    let plan = |status| Plan {
        status: Some(status),
        ..Plan::default()
    };
    bench.carry_out(plan(status)).await;
    let writes = bench.api.writes();
    assert_eq!(
        writes[0].path_and_query().split('?').next(),
        Some("/apis/apps.kruise.io/v1beta1/namespaces/default/clonesets/web/status")
    );
    let status = &writes[0].body.as_ref().unwrap()["status"];
    assert_eq!(status["replicas"], 4);
    assert_eq!(status.get("updatedAvailableReplicas"), Some(&Value::Null));
    assert_eq!(status.get("collisionCount"), None);
    bench.carry_out(plan(cloneset().status)).await;
    assert_eq!(bench.api.writes().len(), 1, "the same status is not written");
}
