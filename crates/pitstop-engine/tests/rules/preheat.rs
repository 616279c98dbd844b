//! Worked examples of image preheat: daemonset.md C9, O12-O17, Better than upstream 13; hub.md B9.

use std::sync::Arc;

use pitstop_api::view::{JobView, PodCondition, Uid, UpgradeConditions, revision_message};
use pitstop_api::{keys, reasons};
use pitstop_engine::daemonset::preheat::job_name;
use pitstop_engine::plan::{Action, Plan};
use serde_json::{Value, json};

use crate::cluster::{Cluster, at, events, hash};

const JOB: Uid = Uid(0xb0b);

/// A pod at v1 on `n1` under OTA, for which v2 waits, and whose owner asked for the images: the condition that is there.
fn asked(reason: &str, message: &str) -> Cluster {
    let mut cluster = Cluster::advanced("n1R old+").annotation(keys::OPENYURT_UPDATE_STRATEGY, "OTA");
    let condition = |status: bool, reason: &str, message: &str| PodCondition {
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        since: Some(at(-60)),
    };
    cluster.pod_on("n1").upgrade = Some(Arc::new(UpgradeConditions {
        need_upgrade: Some(condition(true, "", &target())),
        image_ready: Some(condition(false, reason, message)),
        upgrade_requested: None,
        node_lost: None,
    }));
    cluster
}

fn target() -> String {
    revision_message(&hash("v2"))
}

/// The message of a pull that failed. Source: O14.
fn failed() -> String {
    format!("{}; pull image job {} failed", target(), name())
}

/// The name of the Job for the pod of [`asked`].
fn name() -> String {
    let pod = asked("", "").pod_on("n1").name.to_string();
    job_name(&pod, &hash("v2"))
}

/// A Job for the pod.
fn job(cluster: &mut Cluster) -> JobView {
    JobView {
        namespace: "default".into(),
        name: name().as_str().into(),
        uid: JOB,
        resource_version: 1,
        pod: Some(cluster.pod_on("n1").uid),
        deleted_at: None,
        has_succeeded: false,
        has_failed: false,
    }
}

fn with_job(mut cluster: Cluster, change: impl FnOnce(&mut JobView)) -> Cluster {
    let mut job = job(&mut cluster);
    change(&mut job);
    cluster.pulls.push((job, false, None));
    cluster
}

/// What the plan does, in words.
fn does(plan: &Plan) -> Vec<String> {
    let words = plan.actions.iter().map(|action| match action {
        Action::SetPodCondition { kind, condition, .. } => {
            assert_eq!(*kind, reasons::POD_IMAGE_READY);
            let (status, reason, message) =
                (condition.status.as_str(), &condition.reason, &condition.message);
            format!("{status} {reason} {message}")
        }
        Action::CreateJob(job) => format!("create {}", job.name),
        Action::DeleteJob { name, uid } => {
            assert_eq!(*uid, JOB);
            format!("delete {name}")
        }
        other => format!("{other:?}"),
    });
    words.collect()
}

fn manifest(cluster: &Cluster) -> Value {
    let plan = cluster.plan_advanced();
    match plan.actions.as_slice() {
        [Action::CreateJob(job)] => job.manifest.clone(),
        other => panic!("{other:?}"),
    }
}

/// O12
#[test]
fn a_job_on_the_node_pulls_the_images_of_the_target() {
    let mut cluster = asked("", &target());
    cluster.daemonset.template = Arc::new(json!({
        "metadata": { "labels": { "app": "agent" } },
        "spec": {
            "initContainers": [{ "name": "init", "image": "init:1" }],
            "containers": [{ "name": "agent", "image": "agent:v2" }],
            "imagePullSecrets": [{ "name": "registry" }],
        },
    }));
    let template = Arc::clone(&cluster.daemonset.template);
    for revision in cluster.revisions.iter_mut().filter(|r| r.revision == 2) {
        revision.data = Arc::new(pitstop_engine::revision::data_of(&template));
    }
    let pod = cluster.pod_on("n1").clone();
    let job = manifest(&cluster);
    let expected = json!({
        "name": name(),
        "namespace": "default",
        "labels": { (keys::IMAGE_PRE_PULL): "true" },
        "ownerReferences": [{
            "apiVersion": "v1", "kind": "Pod", "name": &*pod.name, "uid": pod.uid.to_string(), "blockOwnerDeletion": true,
        }],
    });
    assert_eq!(job["metadata"], expected);
    let spec = &job["spec"];
    assert_eq!(
        (
            &spec["activeDeadlineSeconds"],
            &spec["backoffLimit"],
            &spec["ttlSecondsAfterFinished"]
        ),
        (&json!(600), &json!(1), &json!(30))
    );
    let template = &spec["template"];
    assert_eq!(
        template["metadata"]["labels"],
        json!({ (keys::IMAGE_PRE_PULL): "true" })
    );
    let spec = &template["spec"];
    assert_eq!(spec["nodeName"], "n1");
    assert_eq!(spec["restartPolicy"], "OnFailure");
    assert_eq!(spec["imagePullSecrets"], json!([{ "name": "registry" }]));
    let containers = spec["containers"].as_array().unwrap();
    let container = |c: &Value| {
        let text = |field: &str| c[field].as_str().unwrap().to_owned();
        assert_eq!(c["command"], json!(["true"]));
        (text("name"), text("image"), text("imagePullPolicy"))
    };
    assert_eq!(
        containers.iter().map(container).collect::<Vec<_>>(),
        [
            ("prepull-agent".into(), "agent:v2".into(), "Always".into()),
            ("prepull-init-init".into(), "init:1".into(), "Always".into()),
        ]
    );
}

/// Better than upstream 13: the same image is pulled once, and the Job runs wherever the DaemonSet's pods do.
#[test]
fn images_are_pulled_once_and_taints_do_not_keep_them_away() {
    let cluster = asked("", &target());
    let job = manifest(&cluster);
    let spec = &job["spec"]["template"]["spec"];
    assert_eq!(spec["containers"].as_array().unwrap().len(), 1);
    let tolerations = spec["tolerations"].as_array().unwrap();
    let tolerates = |key: &str| tolerations.iter().any(|t| t["key"] == key);
    assert!(tolerates(keys::TAINT_NOT_READY) && tolerates(keys::TAINT_DISK_PRESSURE));
}

/// Better than upstream 13
#[test]
fn names_stay_within_63_characters_and_apart() {
    assert_eq!(job_name("testpod", "123"), "image-pre-pull-testpod-123");
    let long = "a".repeat(60);
    let (one, other) = (job_name(&long, "123"), job_name(&long, "124"));
    assert!(one.len() <= 63 && other.len() <= 63, "{one} {other}");
    assert_ne!(one, other);
    assert!(one.starts_with("image-pre-pull-aaaa"));
}

/// What the plan does in this state.
fn check(id: &str, cluster: &Cluster, want: &str) {
    let want: Vec<&str> = Some(want).filter(|want| !want.is_empty()).into_iter().collect();
    assert_eq!(does(&cluster.plan_advanced()), want, "{id}");
}

/// O13-O17, and what a Job comes to on the way.
#[test]
fn the_condition_says_how_it_goes() {
    let wait = || reasons::WAIT_PULL_IMAGE;
    let fail = || reasons::PULL_IMAGE_FAIL;
    let plain = |cluster: Cluster| with_job(cluster, |_| {});
    let done = |cluster: Cluster| with_job(cluster, |job| job.has_succeeded = true);
    let broken = |cluster: Cluster| with_job(cluster, |job| job.has_failed = true);
    let in_trouble = |cluster: Cluster, trouble: &'static str| {
        plain(cluster).with(|cluster| cluster.pulls[0].2 = Some(trouble))
    };
    let pulled = |cluster: Cluster| in_trouble(cluster, "CrashLoopBackOff").with(|c| c.pulls[0].1 = true);
    let success = format!("True PullImageSuccess {}", target());
    let failure = format!("False PullImageFail {}", failed());
    let waits = format!("False WaitPullImage {}", target());
    let (create, delete) = (format!("create {}", name()), format!("delete {}", name()));
    let nothing = String::new();
    check("asked for", &asked("", &target()), &create);
    check("the Job is there", &plain(asked("", &target())), &waits);
    check("nothing new", &plain(asked(wait(), &target())), &nothing);
    check("O13", &done(asked(wait(), &target())), &success);
    check("O13 at once", &done(asked("", &target())), &success);
    check(
        "no `true` in the image",
        &pulled(asked(wait(), &target())),
        &success,
    );
    check("O14", &broken(asked(wait(), &target())), &failure);
    check(
        "cannot be had",
        &in_trouble(asked(wait(), &target()), "ImagePullBackOff"),
        &failure,
    );
    check(
        "just made",
        &in_trouble(asked(wait(), &target()), "ContainerCreating"),
        &nothing,
    );
    check("told", &broken(asked(fail(), &failed())), &nothing);
    check("told, the Job went", &asked(fail(), &failed()), &nothing);
    check("it came after all", &pulled(asked(fail(), &failed())), &success);
    check("asked again", &broken(asked("", &target())), &delete);
    check(
        "asked again, stuck",
        &in_trouble(asked("", &target()), "ErrImagePull"),
        &delete,
    );
    check("the Job went unseen", &asked(wait(), &target()), &create);
    check(
        "the old Job goes",
        &with_job(asked("", &target()), |job| job.deleted_at = Some(at(0))),
        &nothing,
    );
    check(
        "O15 pod terminating",
        &asked("", &target()).with(|c| c.pod_on("n1").deleted_at = Some(at(0))),
        &nothing,
    );
    check(
        "O15 workload terminating",
        &asked("", &target()).with(|c| c.daemonset.deleted_at = Some(at(0))),
        &nothing,
    );
    check(
        "another revision",
        &asked("", &revision_message(&hash("v3"))),
        &nothing,
    );
    check("O17", &asked("", ""), &nothing);
}

/// O15: nothing waits, so nothing is pulled; and a Job of a revision that is not wanted any more goes.
#[test]
fn images_that_nobody_waits_for_are_not_pulled() {
    let cluster = asked("", &target()).now_at_version("v1");
    let pulls = |plan: &Plan| plan.actions.iter().any(|a| matches!(a, Action::CreateJob(_)));
    assert!(!pulls(&cluster.plan_advanced()));
    let cluster = with_job(cluster, |_| {});
    let is_deleted = |action: &Action| matches!(action, Action::DeleteJob { uid, .. } if *uid == JOB);
    assert!(cluster.plan_advanced().actions.iter().any(is_deleted));
}

/// Better than upstream 13: a failure is told once for each attempt.
#[test]
fn a_failure_is_an_event() {
    let cluster = with_job(asked(reasons::WAIT_PULL_IMAGE, &target()), |job| {
        job.has_failed = true;
    });
    assert_eq!(events(&cluster.plan_advanced()), [reasons::PULL_IMAGE_FAIL]);
}

/// The store of Jobs is not there yet: what is not known is not acted on.
#[test]
fn without_knowledge_of_jobs_nothing_is_done() {
    let cluster = asked("", &target());
    let mut snapshot = cluster.snapshot();
    snapshot.pulls = None;
    assert_eq!(pitstop_engine::daemonset::advanced::plan(&snapshot).actions, []);
}

/// Better than upstream 13: a container that cannot run is not tried again and again once its image is there, but a Job
/// that is about to end is left to its end.
#[test]
fn a_job_that_cannot_end_goes_when_the_images_are_there() {
    for (trouble, is_deleted) in [
        (Some("CrashLoopBackOff"), true),
        (Some("RunContainerError"), true),
        (Some("Completed"), false),
        (None, false),
    ] {
        let mut cluster = with_job(asked("", &target()), |_| {});
        cluster.pulls[0] = (cluster.pulls[0].0.clone(), true, trouble);
        let upgrade = Arc::make_mut(cluster.pod_on("n1").upgrade.as_mut().unwrap());
        upgrade.image_ready.as_mut().unwrap().status = true.into();
        let deletes = does(&cluster.plan_advanced()) == [format!("delete {}", name())];
        assert_eq!(deletes, is_deleted, "{trouble:?}");
    }
}
