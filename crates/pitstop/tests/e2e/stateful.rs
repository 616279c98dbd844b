//! Seed 002: instances that work keep their version, and those that idle are updated. Source: statefulset.md 14.

use crate::seed_002::{FIRST, IMAGES};
use crate::world::{Watching, World, kubectl_is_there, squeezed, words};

pub(crate) const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
pub(crate) const SET: &str = "asts/sample";

#[tokio::test(flavor = "multi_thread")]
async fn seed_002_instances_that_work_are_left_alone() {
    if kubectl_is_there() {
        let world = World::embedded(&NODES, None).await;
        story(&world).await;
        world.stop().await;
    }
}

/// Images in place, partition as a number and as a percentage, and what kubectl shows of it.
#[tokio::test(flavor = "multi_thread")]
async fn statefulsets_change_images_in_place() {
    if kubectl_is_there() {
        let world = World::embedded(&NODES, None).await;
        in_place(&world).await;
        world.stop().await;
    }
}

/// The image of each pod, by ordinal: `2` and `0` are the last digits of the two images, `-` is a pod that is missing.
pub(crate) async fn versions(world: &World) -> String {
    let path = "jsonpath={range .items[*]}{.metadata.name}={.spec.containers[0].image} {end}";
    let said = world
        .kubectl(&["get", "pods", "-l", "app=sample", "-o", path])
        .await;
    let image_of = |ordinal: u32| {
        let of_pod = format!("sample-{ordinal}=");
        let image = said
            .split_whitespace()
            .find_map(|word| word.strip_prefix(&of_pod));
        image.and_then(|image| image.chars().last()).unwrap_or('-')
    };
    (0..5).map(image_of).collect()
}

/// Deletes it, and waits for the end of its pods.
pub(crate) async fn gone(world: &World) {
    world.kubectl(&["delete", SET, "--timeout=60s"]).await;
    world
        .kubectl(&[
            "wait",
            "--for=delete",
            "pods",
            "-l",
            "app=sample",
            "--timeout=60s",
        ])
        .await;
}

pub(crate) async fn status(world: &World, field: &str) -> String {
    let path = format!("jsonpath={{.status.{field}}}");
    world.kubectl(&["get", SET, "-o", &path]).await
}

/// Waits until so many pods have the new image and all are ready, and the controller has seen the spec as it is.
pub(crate) async fn updated(world: &World, n: u32) {
    let generation = world
        .kubectl(&["get", SET, "-o", "jsonpath={.metadata.generation}"])
        .await;
    for wanted in [
        format!("observedGeneration}}={generation}"),
        format!("updatedReplicas}}={n}"),
        "availableReplicas}=5".to_owned(),
    ] {
        let wanted = format!("--for=jsonpath={{.status.{wanted}");
        world.kubectl(&["wait", &wanted, SET, "--timeout=90s"]).await;
    }
}

pub(crate) async fn label(world: &World, pod: u32, works: bool) {
    let (pod, label) = (format!("sample-{pod}"), format!("working={works}"));
    world
        .kubectl(&["label", "pod", &pod, &label, "--overwrite"])
        .await;
}

async fn set_partition(world: &World, partition: &str) {
    let patch =
        format!("{{\"spec\":{{\"updateStrategy\":{{\"rollingUpdate\":{{\"partition\":{partition}}}}}}}}}");
    world.kubectl(&["patch", SET, "--type=merge", "-p", &patch]).await;
}

/// Names and uids of the pods.
async fn uids(world: &World) -> Vec<String> {
    let path = "jsonpath={range .items[*]}{.metadata.name}={.metadata.uid} {end}";
    let said = world
        .kubectl(&["get", "pods", "-l", "app=sample", "-o", path])
        .await;
    said.split_whitespace().map(str::to_owned).collect()
}

pub(crate) async fn story(world: &World) {
    // a: all at once, and all idle, as the template says.
    let said = world.apply(FIRST).await;
    assert_eq!(said, "statefulset.apps.kruise.io/sample created\n");
    updated(world, 5).await;
    assert_eq!(versions(world).await, "22222");
    let first = status(world, "updateRevision").await;
    // b: labels are no reason to do anything.
    let before = uids(world).await;
    for pod in [0, 2, 4] {
        label(world, pod, true).await;
    }
    // c to g: 3, and then 1; the others are the ones that they were.
    let watching = Watching::start(world, &["get", "pods", "-l", "app=sample", "-w"]);
    let said = world.apply(&FIRST.replace(IMAGES.0, IMAGES.1)).await;
    assert_eq!(said, "statefulset.apps.kruise.io/sample configured\n");
    updated(world, 2).await;
    one_after_the_other(&watching.stop().await);
    assert_eq!(versions(world).await, "20202");
    let after = uids(world).await;
    for pod in [0, 2, 4] {
        assert_eq!(before.get(pod), after.get(pod), "pod {pod} is left alone");
    }
    let created = "jsonpath={.items[*].metadata.creationTimestamp}";
    let ages = world
        .kubectl(&["get", "pods", "-l", "app=sample", "-o", created])
        .await;
    let ages: Vec<&str> = ages.split_whitespace().collect();
    assert!(
        ages[3] <= ages[1] && ages[4] <= ages[3],
        "3 went before 1: {ages:?}"
    );
    assert_eq!(
        status(world, "currentRevision").await,
        first,
        "three still have it"
    );
    assert_eq!(status(world, "currentReplicas").await, "3");
    // Pods that are made anew idle again: the template says so (assertion 1).
    let idle = world
        .kubectl(&["get", "pods", "-l", "app=sample,working=false", "-o", "name"])
        .await;
    assert_eq!(idle, "pod/sample-1\npod/sample-3\n");
    images(world).await;
    // h: nothing comes of labels; i, j: one more may go, and it is the one that idles.
    label(world, 1, true).await;
    label(world, 4, false).await;
    set_partition(world, "2").await;
    updated(world, 3).await;
    assert_eq!(versions(world).await, "20200");
    // Assertion 4, from the other side: 40 % of 5 are those 2.
    set_partition(world, "\"40%\"").await;
    updated(world, 3).await;
    assert_eq!(versions(world).await, "20200");
    // Assertion 5: then 2, and 0 last.
    set_partition(world, "0").await;
    updated(world, 5).await;
    assert_eq!(versions(world).await, "00000");
    assert_eq!(
        status(world, "currentRevision").await,
        status(world, "updateRevision").await
    );
    assert_ne!(status(world, "currentRevision").await, first);
    let events = world
        .kubectl(&[
            "get",
            "events",
            "--field-selector",
            "reason=SuccessfulDelete",
            "-o",
            "jsonpath={.items[*].message}",
        ])
        .await;
    assert!(
        events.contains("delete Pod sample-3 in StatefulSet sample successful"),
        "{events}"
    );
    gone(world).await;
}

/// What somebody who watches sees: 3 goes, comes back and serves, and only then 1 goes; nobody else does.
fn one_after_the_other(seen: &str) {
    let lines = words(seen);
    let is_going = |line: &Vec<&str>| line.contains(&"Terminating");
    let goes = |pod: &str| {
        let is_it = |line: &Vec<&str>| line.first() == Some(&pod) && is_going(line);
        lines.iter().position(is_it)
    };
    let serves =
        |line: &Vec<&str>| line.first() == Some(&"sample-3") && line.contains(&"1/1") && !is_going(line);
    let back = goes("sample-3").and_then(|gone| {
        let later = lines.iter().skip(gone).position(serves);
        later.map(|later| later + gone)
    });
    assert!(back.is_some() && back < goes("sample-1"), "{back:?}: {seen}");
    for pod in ["sample-0", "sample-2", "sample-4"] {
        assert_eq!(goes(pod), None, "{pod} works: {seen}");
    }
}

/// What `kubectl images` shows in the seed at this moment, to the letter: by the program under that name.
async fn images(world: &World) {
    let plugin = world.folder.path().join("kubectl-images");
    if !plugin.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pitstop"), &plugin).unwrap();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([world.folder.path().to_path_buf()]);
    let said = world
        .kubectl_command()
        .env("PATH", std::env::join_paths(folders).unwrap())
        .args(["images", "^sample-"])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let row = |pod: u32, image: &str| {
        format!(
            "| sample-{pod} | {} | {image} |",
            if pod == 0 { "main     " } else { "         " }
        )
    };
    let line = "+----------+           +---------------+";
    let edge = "+----------+-----------+---------------+";
    let mut wanted = vec![
        "[Summary]: 1 namespaces, 5 pods, 5 containers and 2 different images".to_owned(),
        edge.to_owned(),
        "|   Pod    | Container |     Image     |".to_owned(),
        edge.to_owned(),
    ];
    for (pod, image) in [
        (0, IMAGES.0),
        (1, IMAGES.1),
        (2, IMAGES.0),
        (3, IMAGES.1),
        (4, IMAGES.0),
    ] {
        wanted.push(row(pod, image));
        wanted.push(if pod == 4 { edge } else { line }.to_owned());
    }
    assert_eq!(said.trim_end().lines().collect::<Vec<_>>(), wanted, "{said}");
}

/// One pod after the other, in place.
pub(crate) async fn in_place(world: &World) {
    let manifest = FIRST.replace(
        "partition: 3",
        "partition: 3\n      podUpdatePolicy: InPlaceIfPossible",
    );
    world.apply(&manifest).await;
    updated(world, 5).await;
    let table = squeezed(&world.kubectl(&["get", SET, "-o", "wide"]).await);
    assert!(
        table.starts_with("NAME DESIRED CURRENT UPDATED READY AGE CONTAINERS IMAGES sample 5 5 5 5 "),
        "{table}"
    );
    let before = uids(world).await;
    label(world, 4, true).await;
    let said = world
        .pitstop_ok(&["set", "image", "sts/sample", "main=alpine:3.18.0"])
        .await;
    assert_eq!(said, "statefulset.apps.kruise.io/sample image updated\n");
    updated(world, 2).await;
    assert_eq!(versions(world).await, "22002");
    let said = world.pitstop_ok(&["why", "sts/sample"]).await;
    assert!(
        said.contains("partition keeps 3 pods at their revision"),
        "{said}"
    );
    // A percentage is rounded up: 60 % of 5 are the 3 from before, and 20 % are 1.
    let said = world.pitstop_ok(&["set-partition", "sts/sample", "60%"]).await;
    assert_eq!(said, "statefulset.apps.kruise.io/sample keeps 60%\n");
    updated(world, 2).await;
    assert_eq!(versions(world).await, "22002");
    set_partition(world, "\"20%\"").await;
    updated(world, 4).await;
    assert_eq!(versions(world).await, "00002", "the one that works is left");
    assert_eq!(uids(world).await, before, "the same pods");
    let restarts = "jsonpath={.items[*].status.containerStatuses[0].restartCount}";
    let restarts = world
        .kubectl(&["get", "pods", "-l", "app=sample", "-o", restarts])
        .await;
    assert_eq!(restarts, "1 1 1 1 0");
    let works = world
        .kubectl(&["get", "pods", "-l", "app=sample,working=true", "-o", "name"])
        .await;
    assert_eq!(works, "pod/sample-4\n", "what a label says survives");
    commands(world).await;
    scales(world).await;
}

/// The commands, as they are typed for every kind.
async fn commands(world: &World) {
    let said = world
        .pitstop_ok(&["status", "sts/sample", "--wait", "all", "--timeout", "60s"])
        .await;
    assert_eq!(
        said,
        "statefulset.apps.kruise.io/sample: updated 4 of 5, 1 kept by partition, done\n"
    );
    let said = world.pitstop_ok(&["history", "sts/sample"]).await;
    assert_eq!(said.lines().count(), 3, "{said}");
    for (command, wanted) in [
        ("pause", "statefulset.apps.kruise.io/sample paused\n"),
        ("pause", "statefulset.apps.kruise.io/sample is paused already\n"),
        ("resume", "statefulset.apps.kruise.io/sample resumed\n"),
    ] {
        assert_eq!(world.pitstop_ok(&[command, "asts/sample"]).await, wanted);
    }
    world.pitstop_ok(&["set-partition", "sts/sample", "0"]).await;
    updated(world, 5).await;
    assert_eq!(versions(world).await, "00000");
    let said = world.pitstop_ok(&["undo", "sts/sample"]).await;
    assert!(
        said.starts_with("statefulset.apps.kruise.io/sample rolled back to revision 1 "),
        "{said}"
    );
    updated(world, 5).await;
    assert_eq!(versions(world).await, "22222");
    let before = uids(world).await;
    let said = world.pitstop_ok(&["restart", "sts/sample"]).await;
    assert_eq!(
        said,
        "statefulset.apps.kruise.io/sample restarted: 5 pods are marked to be replaced\n"
    );
    // A pod that is marked is not done.
    world
        .pitstop_ok(&["status", "sts/sample", "--wait", "all", "--timeout", "120s"])
        .await;
    updated(world, 5).await;
    assert!(
        uids(world).await.iter().all(|uid| !before.contains(uid)),
        "all are new"
    );
    let said = world.pitstop_ok(&["plan", "sts/sample"]).await;
    assert!(said.contains("nothing would be done now"), "{said}");
}

/// kubectl scales it, and waits for it; the ordinals that come last go first.
async fn scales(world: &World) {
    let said = world.kubectl(&["scale", SET, "--replicas=3"]).await;
    assert_eq!(said, "statefulset.apps.kruise.io/sample scaled\n");
    world
        .kubectl(&[
            "wait",
            "--for=jsonpath={.status.replicas}=3",
            SET,
            "--timeout=60s",
        ])
        .await;
    let names = world
        .kubectl(&["get", "pods", "-l", "app=sample", "-o", "name"])
        .await;
    assert_eq!(names, "pod/sample-0\npod/sample-1\npod/sample-2\n");
    let text = world.kubectl(&["describe", SET]).await;
    assert!(
        text.contains("Kind:         StatefulSet") && text.contains("SuccessfulUpdatePodInPlace"),
        "{text}"
    );
    gone(world).await;
}
