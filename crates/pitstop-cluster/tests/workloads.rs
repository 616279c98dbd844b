//! Deployments and ReplicaSets on simulated nodes, under virtual time. Source: embedded-cluster.md 10.2, 16, 19.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "shared/world.rs"]
mod world;

use std::time::Duration;

use http::Method;
use pitstop_cluster::informer::{is_status, request};
use serde_json::{Value, json};

use crate::world::{PODS, World};

const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";
const REVISION: &str = "deployment.kubernetes.io/revision";

/// Waits until `kubectl rollout status` would say that the Deployment is rolled out.
async fn until_rolled_out(world: &World) -> Value {
    world.until(WEB, "rolled out", is_rolled_out).await
}

async fn set_of_revision(world: &World, revision: &str) -> Option<Value> {
    let sets = world.items(SETS).await;
    let is_it = |set: &Value| set["metadata"]["annotations"][REVISION] == revision;
    sets.into_iter().find(is_it)
}

async fn reasons_of(world: &World, name: &str) -> Vec<String> {
    let events = world.items("/api/v1/namespaces/default/events").await;
    let about = events
        .iter()
        .filter(|event| event["involvedObject"]["name"] == name);
    about
        .map(|event| event["message"].as_str().unwrap().to_owned())
        .collect()
}

fn is_rolled_out(web: &Value) -> bool {
    let number = |pointer: &str| web.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    let wanted = number("/spec/replicas");
    let reached = |name: &str| number(&format!("/status/{name}")) == wanted;
    number("/status/observedGeneration") == number("/metadata/generation")
        && ["replicas", "updatedReplicas", "availableReplicas"]
            .into_iter()
            .all(reached)
}

fn reason(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    found
        .map_or("", |condition| condition["reason"].as_str().unwrap())
        .to_owned()
}

fn web(replicas: i64, change: impl FnOnce(&mut Value)) -> Value {
    let mut web = json!({
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "nginx", "image": "nginx:1.19.4"}]},
            },
        },
    });
    change(&mut web);
    web
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "nginx", "image": image}]}}}})
}

async fn deploy(world: &World, web: Value) {
    world
        .post("/apis/apps/v1/namespaces/default/deployments", web)
        .await;
    until_rolled_out(world).await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_makes_a_set_that_makes_pods() {
    let world = World::start(&["n0", "n1"]).await;
    deploy(&world, web(3, |_| {})).await;
    let web = world
        .until(WEB, "complete", |web| {
            reason(web, "Progressing") == "NewReplicaSetAvailable"
        })
        .await;
    assert_eq!(web["metadata"]["annotations"][REVISION], "1");
    assert_eq!(reason(&web, "Available"), "MinimumReplicasAvailable");
    let sets = world.items(SETS).await;
    let [set] = sets.as_slice() else {
        panic!("{sets:#?}")
    };
    let hash = set["metadata"]["labels"]["pod-template-hash"].as_str().unwrap();
    assert_eq!(set["metadata"]["name"], format!("web-{hash}"));
    assert_eq!(set["spec"]["selector"]["matchLabels"]["pod-template-hash"], hash);
    assert_eq!(
        set["metadata"]["ownerReferences"][0]["uid"],
        web["metadata"]["uid"]
    );
    assert_eq!(set["status"]["fullyLabeledReplicas"], 3);
    for pod in world.items(PODS).await {
        assert_eq!(pod["metadata"]["generateName"], format!("web-{hash}-"));
        assert_eq!(pod["metadata"]["labels"]["pod-template-hash"], hash);
        assert_eq!(
            pod["metadata"]["ownerReferences"][0]["uid"],
            set["metadata"]["uid"]
        );
    }
    assert_eq!(
        reasons_of(&world, "web").await,
        [format!("Scaled up replica set web-{hash} from 0 to 3")]
    );
    let version = web["metadata"]["resourceVersion"].clone();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let later = world.get(WEB).await;
    assert_eq!(later["metadata"]["resourceVersion"], version, "it is at rest");
}

/// Never more than the surge allows, never fewer than may be missing: with 4 pods and 25 %, from 3 to 5.
#[tokio::test(start_paused = true)]
async fn a_rolling_update_keeps_within_its_bounds_and_can_be_undone() {
    let world = World::start(&["n0", "n1", "n2"]).await;
    deploy(&world, web(4, |_| {})).await;
    world.merge(WEB, image("nginx:1.19.5")).await;
    for _ in 0..20_000 {
        let web = world.get(WEB).await;
        let pods = world.items(PODS).await;
        let alive = pods
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let ready = alive.clone().filter(|pod| reason_is_ready(pod)).count();
        assert!(alive.count() <= 5, "the surge is one pod");
        assert!(ready >= 3, "one pod may be missing");
        if is_rolled_out(&web) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until_rolled_out(&world).await;
    assert_eq!(world.get(WEB).await["metadata"]["annotations"][REVISION], "2");
    assert_eq!(set_of_revision(&world, "1").await.unwrap()["spec"]["replicas"], 0);
    let first = set_of_revision(&world, "1").await.unwrap()["metadata"]["name"].clone();
    // What `kubectl rollout undo` sends in the end: the old template.
    world.merge(WEB, image("nginx:1.19.4")).await;
    world
        .until(WEB, "third", |web| {
            web["metadata"]["annotations"][REVISION] == "3" && is_rolled_out(web)
        })
        .await;
    let third = set_of_revision(&world, "3").await.unwrap();
    assert_eq!(
        third["metadata"]["name"], first,
        "the set of the old template is taken again"
    );
    assert_eq!(
        third["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"],
        "1"
    );
}

fn reason_is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

#[tokio::test(start_paused = true)]
async fn recreate_takes_the_old_down_before_the_new_come() {
    let world = World::start(&["n0", "n1"]).await;
    deploy(
        &world,
        web(3, |web| web["spec"]["strategy"] = json!({"type": "Recreate"})),
    )
    .await;
    world.merge(WEB, image("nginx:1.19.5")).await;
    for _ in 0..20_000 {
        let pods = world.items(PODS).await;
        let mut images: Vec<&str> = pods
            .iter()
            .map(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap())
            .collect();
        images.dedup();
        assert!(images.len() <= 1, "never both");
        if is_rolled_out(&world.get(WEB).await) && images == ["nginx:1.19.5"] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it was never rolled out");
}

/// embedded-cluster.md 10.2.
#[tokio::test(start_paused = true)]
async fn scale_is_one_form_of_the_number_of_replicas() {
    let world = World::start(&["n0"]).await;
    deploy(&world, web(1, |_| {})).await;
    let path = format!("{WEB}/scale");
    let scale = world.get(&path).await;
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(scale["apiVersion"], "autoscaling/v1");
    assert_eq!(scale["spec"], json!({"replicas": 1}));
    assert_eq!(scale["status"], json!({"replicas": 1, "selector": "app=web"}));
    let generation = world.get(WEB).await["metadata"]["generation"].as_i64().unwrap();
    world.merge(&path, json!({"spec": {"replicas": 3}})).await;
    let web = until_rolled_out(&world).await;
    assert_eq!(web["metadata"]["generation"], generation + 1);
    assert_eq!(world.items(PODS).await.len(), 3);
    let mut stale = scale.clone();
    stale["spec"]["replicas"] = json!(9);
    let refused = request(&world.client, Method::PUT, &path, None, Some(&stale))
        .await
        .unwrap_err();
    assert!(is_status(&refused, 409), "{refused}");
    world.merge(&path, json!({"spec": {"replicas": 0}})).await;
    world.until_count(PODS, 0).await;
    let negative = json!({"spec": {"replicas": -1}});
    let merge = Some("application/merge-patch+json");
    let refused = request(&world.client, Method::PATCH, &path, merge, Some(&negative))
        .await
        .unwrap_err();
    assert!(is_status(&refused, 422), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_stands_still_is_said_to() {
    let world = World::start(&["n0"]).await;
    deploy(
        &world,
        web(2, |web| web["spec"]["progressDeadlineSeconds"] = json!(60)),
    )
    .await;
    world.merge(WEB, image("bad/nginx:1")).await;
    let web = world
        .until(WEB, "overdue", |web| {
            reason(web, "Progressing") == "ProgressDeadlineExceeded"
        })
        .await;
    assert_eq!(web["status"]["availableReplicas"], 2, "the old go on");
    world.merge(WEB, image("nginx:1.19.6")).await;
    until_rolled_out(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_deployment_waits() {
    let world = World::start(&["n0"]).await;
    deploy(&world, web(2, |_| {})).await;
    let mut change = image("nginx:1.19.5");
    change["spec"]["paused"] = json!(true);
    world.merge(WEB, change).await;
    world
        .until(WEB, "paused", |web| {
            reason(web, "Progressing") == "DeploymentPaused"
        })
        .await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.items(SETS).await.len(), 1);
    world.merge(WEB, json!({"spec": {"paused": null}})).await;
    world
        .until(WEB, "second", |web| {
            web["metadata"]["annotations"][REVISION] == "2"
        })
        .await;
    until_rolled_out(&world).await;
}

#[tokio::test(start_paused = true)]
async fn old_revisions_are_kept_up_to_the_limit() {
    let world = World::start(&["n0"]).await;
    deploy(
        &world,
        web(1, |web| web["spec"]["revisionHistoryLimit"] = json!(1)),
    )
    .await;
    for n in 5..8 {
        world.merge(WEB, image(&format!("nginx:1.19.{n}"))).await;
        let revision = (n - 3).to_string();
        let is_told = |web: &Value| web["metadata"]["annotations"][REVISION] == revision;
        world.until(WEB, "told", is_told).await;
        until_rolled_out(&world).await;
    }
    world.until_count(SETS, 2).await;
    assert!(set_of_revision(&world, "3").await.is_some());
    assert!(set_of_revision(&world, "4").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn pods_are_adopted_and_released_by_their_labels() {
    let world = World::start(&["n0"]).await;
    let orphan = json!({
        "metadata": {"name": "orphan", "labels": {"app": "db"}},
        "spec": {"containers": [{"name": "c", "image": "nginx:1.19.4"}]},
    });
    world.post(PODS, orphan).await;
    let set = json!({
        "metadata": {"name": "db"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "c", "image": "nginx:1.19.4"}]},
            },
        },
    });
    let set = world.post(SETS, set).await;
    let path = format!("{SETS}/db");
    world
        .until(&path, "ready", |set| set["status"]["readyReplicas"] == 2)
        .await;
    assert_eq!(world.items(PODS).await.len(), 2, "one of them is the orphan");
    let orphan = format!("{PODS}/orphan");
    let adopted = world.get(&orphan).await;
    assert_eq!(
        adopted["metadata"]["ownerReferences"][0]["uid"],
        set["metadata"]["uid"]
    );
    world
        .merge(&orphan, json!({"metadata": {"labels": {"app": "other"}}}))
        .await;
    world
        .until(&orphan, "released", |pod| {
            pod["metadata"]["ownerReferences"].is_null()
        })
        .await;
    world.until_count(PODS, 3).await;
}

/// A deleted Deployment takes its sets and their pods along.
#[tokio::test(start_paused = true)]
async fn a_deleted_deployment_takes_everything_along() {
    let world = World::start(&["n0"]).await;
    deploy(&world, web(2, |_| {})).await;
    world.delete(WEB, "Background").await;
    world.until_count(SETS, 0).await;
    world.until_count(PODS, 0).await;
}

const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

async fn evict(world: &World, pod: &Value) -> Result<Value, kube::Error> {
    let name = pod["metadata"]["name"].as_str().unwrap();
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    request(
        &world.client,
        Method::POST,
        &format!("{PODS}/{name}/eviction"),
        None,
        Some(&eviction),
    )
    .await
}

/// embedded-cluster.md 10.4, 20.25: with one of two pods needed, the second eviction waits for a replacement.
#[tokio::test(start_paused = true)]
async fn example_25_evictions_respect_disruption_budgets() {
    let world = World::start(&["n0", "n1"]).await;
    deploy(&world, web(2, |_| {})).await;
    let budget = json!({
        "metadata": {"name": "web"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    });
    world.post(BUDGETS, budget).await;
    let path = format!("{BUDGETS}/web");
    let allows = |budget: &Value| budget["status"]["disruptionsAllowed"] == 1;
    world.until(&path, "allows one", allows).await;
    let pods = world.items(PODS).await;
    let done = evict(&world, &pods[0]).await.unwrap();
    assert_eq!(done["status"], "Success");
    let going = world.items(PODS).await;
    let target = going
        .iter()
        .find(|pod| pod["metadata"]["uid"] == pods[0]["metadata"]["uid"])
        .unwrap();
    assert!(target["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(reason(target, "DisruptionTarget"), "EvictionByEvictionAPI");
    let refused = evict(&world, &pods[1]).await.unwrap_err();
    let kube::Error::Api(status) = &refused else {
        panic!("{refused}")
    };
    assert_eq!(status.code, 429);
    let details = serde_json::to_value(&status.details).unwrap();
    assert_eq!(details["causes"][0]["reason"], "DisruptionBudget");
    world.until(&path, "allows one again", allows).await;
    evict(&world, &pods[1]).await.unwrap();
    let second = world
        .post(
            BUDGETS,
            json!({"metadata": {"name": "all"}, "spec": {"selector": {}}}),
        )
        .await;
    assert_eq!(second["status"]["disruptionsAllowed"], 0);
    until_rolled_out(&world).await;
    let refused = evict(&world, &world.items(PODS).await[0]).await.unwrap_err();
    assert!(is_status(&refused, 500), "two budgets: {refused}");
}

const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";

fn job(change: impl FnOnce(&mut Value)) -> Value {
    let mut job = json!({
        "metadata": {"name": "pi"},
        "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "pi", "image": "perl:5.34"}],
        }}},
    });
    change(&mut job);
    job
}

async fn run_job(world: &World, job: Value, end: &str) -> Value {
    world.post(JOBS, job).await;
    let path = format!("{JOBS}/pi");
    world.until(&path, end, |job| !reason(job, end).is_empty()).await
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_its_pods_to_completion() {
    let world = World::start(&["n0", "n1"]).await;
    let spec = |job: &mut Value| {
        job["spec"]["completions"] = json!(5);
        job["spec"]["parallelism"] = json!(2);
    };
    let done = run_job(&world, job(spec), "Complete").await;
    assert_eq!(reason(&done, "SuccessCriteriaMet"), "CompletionsReached");
    assert_eq!(done["status"]["succeeded"], 5);
    assert!(done["status"]["completionTime"].is_string());
    let pods = world.items(PODS).await;
    assert_eq!(pods.len(), 5);
    for pod in pods {
        assert_eq!(pod["status"]["phase"], "Succeeded");
        assert!(pod["metadata"]["finalizers"].is_null(), "counted and let go");
    }
    let events = reasons_of(&world, "pi").await;
    assert_eq!(
        events
            .iter()
            .filter(|text| text.starts_with("Created pod: pi-"))
            .count(),
        5
    );
    assert!(events.contains(&"Job completed".to_owned()));
    world.delete(&format!("{JOBS}/pi"), "Background").await;
    world.until_count(PODS, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_gives_up_after_its_back_off_limit() {
    let world = World::start(&["n0"]).await;
    let spec = |job: &mut Value| {
        job["spec"]["backoffLimit"] = json!(2);
        job["spec"]["template"]["spec"]["containers"][0]["image"] = json!("crash/perl:5");
    };
    let failed = run_job(&world, job(spec), "Failed").await;
    assert_eq!(reason(&failed, "Failed"), "BackoffLimitExceeded");
    assert_eq!(failed["status"]["failed"], 3);
    assert_eq!(world.items(PODS).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_job_ends_at_its_deadline_and_goes_after_its_time() {
    let world = World::start(&["n0"]).await;
    let spec = |job: &mut Value| {
        job["spec"]["activeDeadlineSeconds"] = json!(20);
        job["spec"]["ttlSecondsAfterFinished"] = json!(30);
        job["spec"]["template"]["spec"]["containers"][0]["image"] = json!("nginx:1.19.4");
    };
    let failed = run_job(&world, job(spec), "Failed").await;
    assert_eq!(reason(&failed, "Failed"), "DeadlineExceeded");
    world.until_count(JOBS, 0).await;
}

/// A Job that is deleted while it runs does not leave its pods behind, held by its finalizer.
#[tokio::test(start_paused = true)]
async fn a_job_that_is_deleted_while_it_runs_takes_its_pods_along() {
    let world = World::start(&["n0"]).await;
    let endless = |job: &mut Value| {
        job["spec"]["template"]["spec"]["containers"][0]["image"] = json!("nginx:1.19.4");
    };
    world.post(JOBS, job(endless)).await;
    let path = format!("{JOBS}/pi");
    world
        .until(&path, "active", |job| job["status"]["ready"] == 1)
        .await;
    for policy in ["Background", "Foreground"] {
        world.delete(&path, policy).await;
        world.until_count(PODS, 0).await;
        world.until_gone(&path).await;
        if policy == "Background" {
            world.post(JOBS, job(endless)).await;
            world
                .until(&path, "active", |job| job["status"]["ready"] == 1)
                .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_indexed_job_does_each_completion_once() {
    let world = World::start(&["n0", "n1"]).await;
    let spec = |job: &mut Value| {
        job["spec"]["completionMode"] = json!("Indexed");
        job["spec"]["completions"] = json!(4);
        job["spec"]["parallelism"] = json!(3);
    };
    let done = run_job(&world, job(spec), "Complete").await;
    assert_eq!(done["status"]["completedIndexes"], "0-3");
    assert_eq!(done["status"]["succeeded"], 4);
}

/// embedded-cluster.md 16: traffic is taken away from a pod that is not ready.
#[tokio::test(start_paused = true)]
async fn a_pod_that_is_not_ready_leaves_the_endpoints() {
    let world = World::start(&["n0", "n1"]).await;
    deploy(&world, web(2, |_| {})).await;
    let services = "/api/v1/namespaces/default/services";
    let service = json!({
        "metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    let service = world.post(services, service).await;
    let path = "/api/v1/namespaces/default/endpoints/web";
    let n_ready = |object: &Value| object["subsets"][0]["addresses"].as_array().map_or(0, Vec::len);
    let endpoints = world
        .until(path, "both", |endpoints| n_ready(endpoints) == 2)
        .await;
    assert_eq!(
        endpoints["subsets"][0]["ports"],
        json!([{"port": 8080, "protocol": "TCP"}])
    );
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let serving = |slices: &Value| {
        let endpoints = slices["items"][0]["endpoints"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        endpoints
            .iter()
            .filter(|endpoint| endpoint["conditions"]["ready"] == true)
            .count()
    };
    let list = world.until(slices, "both", |list| serving(list) == 2).await;
    let slice = &list["items"][0];
    assert_eq!(
        slice["metadata"]["ownerReferences"][0]["uid"],
        service["metadata"]["uid"]
    );
    let name = world.items(PODS).await[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let failing = json!({"metadata": {"annotations": {"sim.pitstop.io/fail-ready": "true"}}});
    world.merge(&format!("{PODS}/{name}"), failing).await;
    let endpoints = world
        .until(path, "one", |endpoints| n_ready(endpoints) == 1)
        .await;
    assert_eq!(
        endpoints["subsets"][0]["notReadyAddresses"][0]["targetRef"]["name"],
        name.as_str()
    );
    world.until(slices, "one", |list| serving(list) == 1).await;
    let service = format!("{services}/web");
    world.delete(&service, "Background").await;
    world.until_gone(path).await;
    world.until_count(slices, 0).await;
}
