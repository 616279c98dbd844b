//! `pitstop.io/preheat` under AdvancedRollingUpdate: images are pulled on the next nodes ahead of their turn.
//!
//! Source: spec/README.md, "Our own keys"; daemonset.md C9, for the Jobs.

use std::sync::Arc;

use pitstop_api::view::JobView;
use pitstop_api::{keys, reasons};
use pitstop_engine::daemonset::{advanced, preheat::job_name};
use pitstop_engine::plan::{Action, Plan, Reason};

use crate::cluster::{Cluster, at, hash, template};

fn preheated(picture: &str) -> Cluster {
    Cluster::advanced(picture).annotation(keys::PREHEAT, "true")
}

/// What the plan does: `ask n1`, `job n1`, `there n1`, `failed n1`, `del n1`.
fn does(cluster: &Cluster, plan: &Plan) -> String {
    let node_of = |pod: &str| {
        let pod = cluster.pods.iter().find(|one| &*one.name == pod).unwrap();
        cluster.names.name(pod.node.unwrap())
    };
    let words = plan.actions.iter().map(|action| match action {
        Action::SetPodCondition {
            name,
            kind,
            condition,
            ..
        } => {
            assert_eq!(*kind, reasons::POD_IMAGE_READY);
            let verb = match (&*condition.reason, condition.is_true()) {
                ("", false) => "ask",
                (reasons::PULL_IMAGE_SUCCESS, true) => "there",
                (reasons::PULL_IMAGE_FAIL, false) => "failed",
                (reasons::WAIT_PULL_IMAGE, false) => "wait",
                other => panic!("{other:?}"),
            };
            format!("{verb} {}", node_of(name))
        }
        Action::CreateJob(job) => format!("job {}", node_of(&job.pod)),
        Action::DeleteJob { .. } => "discard".into(),
        Action::DeletePod { name, .. } => format!("del {}", node_of(name)),
        other => panic!("{other:?}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// One plan, carried out: Jobs that it makes are there afterwards.
fn step(cluster: &mut Cluster) -> String {
    let plan = cluster.plan_advanced();
    let words = does(cluster, &plan);
    for action in &plan.actions {
        if let Action::CreateJob(job) = action {
            let uid = cluster.new_uid();
            let pod = cluster.pods.iter().find(|one| one.name == job.pod).unwrap().uid;
            let view = JobView {
                namespace: "default".into(),
                name: job.name.clone(),
                uid,
                resource_version: 1,
                pod: Some(pod),
                deleted_at: None,
                has_succeeded: false,
                has_failed: false,
            };
            cluster.pulls.push((view, false, None));
        }
    }
    cluster.apply(&plan);
    cluster.stores_catch_up();
    words
}

/// The Job for the pod of a node.
fn job<'a>(cluster: &'a mut Cluster, node: &str) -> &'a mut JobView {
    let name = job_name(&cluster.pod_on(node).name.clone(), &hash("v2"));
    let found = cluster.pulls.iter_mut().find(|(job, ..)| *job.name == *name);
    &mut found.unwrap().0
}

/// Twice as many nodes as may be unavailable pull; a pod goes when its images are there, and the next node pulls.
#[test]
fn a_pod_goes_when_its_images_are_on_its_node() {
    let mut cluster = preheated("n1R old+, n2R old+, n3R old+, n4R old+");
    assert_eq!(step(&mut cluster), "ask n1, ask n2");
    assert_eq!(step(&mut cluster), "job n1, job n2");
    assert_eq!(step(&mut cluster), "wait n1, wait n2");
    assert_eq!(step(&mut cluster), "", "nothing goes before the images are there");
    let plan = cluster.plan_advanced();
    let pulling = Some(Reason::PullingImages { failed_until: None });
    assert_eq!(cluster.reason(&plan, "n1"), pulling);
    let queued = cluster.reason(&plan, "n3").unwrap();
    assert_eq!(queued, Reason::QueuedForImages);
    assert!(
        queued
            .explain(cluster.now)
            .contains("pulled on the nodes before it first")
    );
    job(&mut cluster, "n2").has_succeeded = true;
    assert_eq!(step(&mut cluster), "there n2");
    assert_eq!(
        step(&mut cluster),
        "del n2",
        "whose images are there goes, whatever its name"
    );
    assert_eq!(step(&mut cluster), "ask n3", "n1 and n3 are the next");
}

/// A node that cannot have the images keeps its pod, others go in its place, and it is tried again.
#[test]
fn images_that_cannot_be_had_take_nothing_down() {
    let mut cluster = preheated("n1R old+, n2R old+, n3R old+");
    for want in ["ask n1, ask n2", "job n1, job n2", "wait n1, wait n2"] {
        assert_eq!(step(&mut cluster), want);
    }
    for node in ["n1", "n2"] {
        job(&mut cluster, node).has_failed = true;
    }
    assert_eq!(step(&mut cluster), "failed n1, failed n2");
    let plan = cluster.plan_advanced();
    let failed_until = Some(at(600));
    assert_eq!(
        cluster.reason(&plan, "n1"),
        Some(Reason::PullingImages { failed_until })
    );
    assert!(plan.requeue_after.is_some(), "it is looked at again then");
    assert_eq!(step(&mut cluster), "ask n3");
    cluster.pulls.clear();
    assert_eq!(step(&mut cluster), "job n3");
    cluster.pass(600);
    assert_eq!(step(&mut cluster), "ask n1, ask n2, wait n3");
}

/// Another template: what was pulled for the one before does not count.
#[test]
fn images_are_those_of_the_target() {
    let mut cluster = preheated("n1R old+");
    step(&mut cluster);
    step(&mut cluster);
    job(&mut cluster, "n1").has_succeeded = true;
    assert_eq!(step(&mut cluster), "there n1");
    let mut cluster = cluster.now_at_version("v3");
    cluster.pulls.clear();
    assert_eq!(step(&mut cluster), "ask n1");
    assert_eq!(step(&mut cluster), "job n1");
}

#[test]
fn what_need_not_wait_does_not() {
    let broken = preheated("n1R old-");
    assert_eq!(
        does(&broken, &broken.plan_advanced()),
        "del n1",
        "it serves nobody"
    );

    let same_image = preheated("n1R old+").with(|c| {
        let image = template("v2")["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap()
            .to_owned();
        c.pod_on("n1").images = Arc::new([image.as_str().into()]);
    });
    assert_eq!(
        does(&same_image, &same_image.plan_advanced()),
        "del n1",
        "it runs that image already"
    );

    let blind = preheated("n1R old+");
    let mut snapshot = blind.snapshot();
    snapshot.pulls = None;
    let plan = advanced::plan(&snapshot);
    assert_eq!(
        does(&blind, &plan),
        "del n1",
        "Jobs are not known: nothing would come of it"
    );

    for key in [keys::PAUSED, keys::PREHEAT] {
        let held = preheated("n1R old+")
            .annotation(keys::PAUSED, "true")
            .annotation(key, "true");
        assert_eq!(
            does(&held, &held.plan_advanced()),
            "",
            "no image is pulled for a rollout that is held"
        );
    }
    let off = preheated("n1R old+").annotation(keys::PREHEAT, "false");
    assert_eq!(does(&off, &off.plan_advanced()), "del n1");
}

/// Slow links: while images come, a rollout moves.
#[test]
fn an_image_that_came_is_a_move() {
    let mut cluster = preheated("n1R old+, n2R old+").annotation(keys::PROGRESS_DEADLINE_SECONDS, "900");
    let progressing = |cluster: &Cluster| cluster.daemonset.conditions[reasons::PROGRESSING].is_true();
    for _ in 0..3 {
        let plan = cluster.plan_advanced();
        cluster.apply(&plan);
    }
    cluster.pass(800);
    let image = pitstop_api::view::PodCondition {
        status: true.into(),
        reason: reasons::PULL_IMAGE_SUCCESS.into(),
        message: pitstop_api::view::revision_message(&hash("v2")).into(),
        since: Some(cluster.now),
    };
    let pod = cluster.pod_on("n2");
    Arc::make_mut(pod.upgrade.get_or_insert_default()).image_ready = Some(image);
    // Something else keeps it from going.
    let mut cluster = cluster.annotation(keys::MAX_UNAVAILABLE_PER_POOL, "1");
    cluster.pod_on("n1").ready = crate::cluster::ready(true, 0);
    cluster.pass(200);
    let plan = cluster.plan_advanced();
    cluster.apply(&plan);
    assert!(progressing(&cluster));
    cluster.pass(900);
    let plan = cluster.plan_advanced();
    cluster.apply(&plan);
    assert!(!progressing(&cluster));
}
