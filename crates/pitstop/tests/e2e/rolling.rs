//! Seed 003, step by step: a native rolling update, one node at a time.

use std::collections::BTreeSet;

use crate::world::{Watching, World, is_pod_name, kubectl_is_there, squeezed, words};

pub(crate) const NODES: [&str; 5] = ["node-1", "node-2", "node-3", "node-4", "node-5"];
const OLD: &str = "ikubernetes/filebeat:5.6.5-alpine";
pub(crate) const NEW: &str = "ikubernetes/filebeat:5.6.6-alpine";

pub(crate) const MANIFEST: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: filebeat-ds
  labels:
    app: filebeat
spec:
  selector:
    matchLabels:
      app: filebeat
  template:
    metadata:
      labels:
        app: filebeat
    spec:
      containers:
      - name: filebeat
        image: ikubernetes/filebeat:5.6.5-alpine
        env:
        - name: REDIS_HOST
          value: db.ilinux.io:6379
        - name: LOG_LEVEL
          value: info
";

#[tokio::test(flavor = "multi_thread")]
async fn seed_003_rolls_over_five_nodes_as_the_book_shows() {
    if !kubectl_is_there() {
        return;
    }
    seed_003(World::given(&NODES, None).await).await;
}

/// The story, on any cluster.
pub(crate) async fn seed_003(world: World) {
    create(&world).await;
    set_image(&world).await;
    describe(&world).await;
    event_order(&world).await;
    history_and_undo(&world).await;
    restart_and_edit(&world).await;
    refusals(&world).await;
    cordon(&world).await;
    orphan_and_adopt(&world).await;
    delete(&world).await;
    world.stop().await;
}

async fn rolled_out(world: &World) -> String {
    let said = world
        .kubectl(&["rollout", "status", "ds/filebeat-ds", "--timeout=100s"])
        .await;
    assert!(
        said.ends_with("daemon set \"filebeat-ds\" successfully rolled out\n"),
        "{said}"
    );
    said
}

async fn images(world: &World) -> BTreeSet<String> {
    let path = "jsonpath={range .items[*]}{.spec.containers[0].image}{\"\\n\"}{end}";
    let said = world
        .kubectl(&["get", "pods", "-l", "app=filebeat", "-o", path])
        .await;
    said.lines().map(str::to_owned).collect()
}

async fn pod_names(world: &World) -> BTreeSet<String> {
    let said = world
        .kubectl(&["get", "pods", "-l", "app=filebeat", "-o", "name"])
        .await;
    said.lines().map(str::to_owned).collect()
}

async fn create(world: &World) {
    assert_eq!(
        world.apply(MANIFEST).await,
        "daemonset.apps/filebeat-ds created\n"
    );
    assert_eq!(
        world.apply(MANIFEST).await,
        "daemonset.apps/filebeat-ds unchanged\n"
    );
    // A controller that has just started hears of nodes and of DaemonSets in any order, and kubectl calls a rollout to no
    // node at all a success.
    let on_all = "--for=jsonpath={.status.desiredNumberScheduled}=5";
    world
        .kubectl(&["wait", "ds/filebeat-ds", on_all, "--timeout=100s"])
        .await;
    rolled_out(world).await;

    let said = world.kubectl(&["get", "ds", "filebeat-ds"]).await;
    let lines = words(&said);
    let header = [
        "NAME",
        "DESIRED",
        "CURRENT",
        "READY",
        "UP-TO-DATE",
        "AVAILABLE",
        "NODE",
        "SELECTOR",
        "AGE",
    ];
    assert_eq!(lines[0], header);
    assert_eq!(lines[1][..7], ["filebeat-ds", "5", "5", "5", "5", "5", "<none>"]);

    let said = world.kubectl(&["get", "ds", "-o", "wide"]).await;
    let lines = words(&said);
    assert_eq!(lines[0][9..], ["CONTAINERS", "IMAGES", "SELECTOR"]);
    assert_eq!(lines[1][8..], ["filebeat", OLD, "app=filebeat"]);

    let said = world
        .kubectl(&["get", "pods", "-o", "wide", "-l", "app=filebeat"])
        .await;
    let lines = words(&said);
    assert_eq!(lines.len(), 6, "{said}");
    for line in &lines[1..] {
        assert!(is_pod_name(line[0], "filebeat-ds"), "{line:?}");
        assert_eq!(line[1..4], ["1/1", "Running", "0"], "{line:?}");
        assert!(line[5].starts_with("10.244."), "{line:?}");
        assert_eq!(line[7..], ["<none>", "<none>"], "{line:?}");
    }
    let on: BTreeSet<&str> = lines[1..].iter().map(|line| line[6]).collect();
    assert_eq!(on, BTreeSet::from(NODES));
    let wait = [
        "wait",
        "--for=condition=Ready",
        "pod",
        "-l",
        "app=filebeat",
        "--timeout=30s",
    ];
    assert_eq!(world.kubectl(&wait).await.lines().count(), 5);
}

async fn set_image(world: &World) {
    let watching = Watching::start(world, &["get", "pods", "-w", "-l", "app=filebeat"]);
    let image = format!("filebeat={NEW}");
    let command = ["set", "image", "daemonsets", "filebeat-ds", &image];
    assert_eq!(
        world.kubectl(&command).await,
        "daemonset.apps/filebeat-ds image updated\n"
    );
    assert_eq!(
        world.kubectl(&command).await,
        "",
        "nothing is printed when nothing changes"
    );

    let said = rolled_out(world).await;
    assert!(said.contains("out of 5 new pods have been updated..."), "{said}");
    assert_eq!(images(world).await, BTreeSet::from([NEW.to_owned()]));
    let path = r"jsonpath={.metadata.annotations.deprecated\.daemonset\.template\.generation}";
    assert_eq!(
        world.kubectl(&["get", "ds", "filebeat-ds", "-o", path]).await,
        "2"
    );

    let seen = watching.stop().await;
    let states: BTreeSet<&str> = words(&seen)
        .into_iter()
        .filter_map(|line| line.get(2).copied())
        .collect();
    for state in ["Terminating", "Pending", "ContainerCreating", "Running"] {
        assert!(
            states.contains(state),
            "{state} was not seen by `kubectl get -w`:\n{seen}"
        );
    }
}

/// The seed's screen, as far as it does not depend on the age of kubectl.
const DESCRIBE: &str = "
Name:           filebeat-ds
Selector:       app=filebeat
Labels:         app=filebeat
Annotations:    deprecated.daemonset.template.generation: 2
Desired Number of Nodes Scheduled: 5
Current Number of Nodes Scheduled: 5
Number of Nodes Scheduled with Up-to-date Pods: 5
Number of Nodes Scheduled with Available Pods: 5
Number of Nodes Misscheduled: 0
Pods Status:  5 Running / 0 Waiting / 0 Succeeded / 0 Failed
Pod Template:
  Labels:  app=filebeat
  Containers:
   filebeat:
    Image:      ikubernetes/filebeat:5.6.6-alpine
    Port:       <none>
    Host Port:  <none>
    Environment:
      REDIS_HOST:  db.ilinux.io:6379
      LOG_LEVEL:   info
    Mounts:        <none>
Events:
  Type    Reason            Age   From                  Message
";

async fn describe(world: &World) {
    let said = world
        .kubectl(&["describe", "daemonsets.apps", "filebeat-ds"])
        .await;
    let mut lines = said.lines().map(squeezed);
    for want in DESCRIBE.lines().map(squeezed).filter(|line| !line.is_empty()) {
        assert!(
            lines.any(|line| line == want),
            "{want:?} is missing, or not in its place:\n{said}"
        );
    }
    let events: Vec<Vec<&str>> = words(&said)
        .into_iter()
        .filter(|line| line.contains(&"daemonset-controller"))
        .collect();
    assert_eq!(events.len(), 15, "{said}");
    let count = |reason: &str| events.iter().filter(|line| line[1] == reason).count();
    assert_eq!(
        (count("SuccessfulCreate"), count("SuccessfulDelete")),
        (10, 5),
        "{said}"
    );
    for line in &events {
        assert_eq!(line[0], "Normal");
        assert!(is_pod_name(line[line.len() - 1], "filebeat-ds"), "{line:?}");
    }
    let combined: Vec<String> = events
        .iter()
        .map(|line| line.join(" "))
        .filter(|line| line.contains("(combined from similar events): Created pod: filebeat-ds-"))
        .collect();
    assert_eq!(
        combined.len(),
        1,
        "the tenth creation within ten minutes is combined: {said}"
    );
}

/// Five creations, then five times a deletion and a creation. Names of events rise with time.
async fn event_order(world: &World) {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.reason}{\"\\n\"}{end}";
    let selector = "involvedObject.kind=DaemonSet,involvedObject.name=filebeat-ds";
    let said = world
        .kubectl(&["get", "events", "--field-selector", selector, "-o", path])
        .await;
    let mut lines: Vec<(&str, &str)> = said.lines().filter_map(|line| line.split_once(' ')).collect();
    lines.sort_unstable();
    let reasons: Vec<&str> = lines.into_iter().map(|(_, reason)| reason).collect();
    let mut want = vec!["SuccessfulCreate"; 5];
    want.extend(["SuccessfulDelete", "SuccessfulCreate"].repeat(5));
    assert_eq!(reasons, want);
    let said = world.kubectl(&["events", "--for", "ds/filebeat-ds"]).await;
    assert!(said.contains("SuccessfulDelete"), "{said}");
}

async fn history_and_undo(world: &World) {
    let said = world.kubectl(&["rollout", "history", "ds/filebeat-ds"]).await;
    let lines: Vec<String> = said
        .lines()
        .map(squeezed)
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(
        lines,
        [
            "daemonset.apps/filebeat-ds",
            "REVISION CHANGE-CAUSE",
            "1 <none>",
            "2 <none>"
        ]
    );
    let said = world
        .kubectl(&["rollout", "history", "ds/filebeat-ds", "--revision=1"])
        .await;
    assert!(
        said.starts_with("daemonset.apps/filebeat-ds with revision #1\n"),
        "{said}"
    );
    assert!(said.contains(OLD), "{said}");

    let said = world.kubectl(&["rollout", "undo", "ds/filebeat-ds"]).await;
    assert_eq!(said, "daemonset.apps/filebeat-ds rolled back\n");
    rolled_out(world).await;
    assert_eq!(images(world).await, BTreeSet::from([OLD.to_owned()]));
    let said = world.kubectl(&["rollout", "history", "ds/filebeat-ds"]).await;
    let lines: Vec<String> = said
        .lines()
        .map(squeezed)
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(
        lines[2..],
        ["2 <none>", "3 <none>"],
        "undo numbers the old revision anew"
    );
    let said = world
        .kubectl(&["rollout", "undo", "ds/filebeat-ds", "--to-revision=3"])
        .await;
    // Clients before 1.34 write a null into the template that newer ones and servers leave out, and do not see that it is
    // the same; what they send then changes nothing.
    let skipped =
        "daemonset.apps/filebeat-ds skipped rollback (current template already matches revision 3)\n";
    let is_old = world.kubectl_minor().await < 34;
    assert!(
        said == skipped || (is_old && said == "daemonset.apps/filebeat-ds rolled back\n"),
        "{said}"
    );
    let said = world.kubectl(&["rollout", "history", "ds/filebeat-ds"]).await;
    assert!(
        said.contains("\n3 ") && !said.contains("\n4 "),
        "nothing has changed: {said}"
    );
    let said = world.pitstop_ok(&["history", "ds/filebeat-ds"]).await;
    let lines = words(&said);
    assert_eq!(lines[0], ["REVISION", "HASH", "PODS", "TARGET", "IMAGES"]);
    assert_eq!((lines[1][0], lines[1][2], lines[1][3]), ("2", "0", NEW));
    assert_eq!(
        (lines[2][0], lines[2][2], lines[2][3], lines[2][4]),
        ("3", "5", "yes", OLD)
    );
}

async fn restart_and_edit(world: &World) {
    let before = pod_names(world).await;
    let said = world.kubectl(&["rollout", "restart", "ds/filebeat-ds"]).await;
    assert_eq!(said, "daemonset.apps/filebeat-ds restarted\n");
    rolled_out(world).await;
    assert!(
        pod_names(world).await.is_disjoint(&before),
        "every pod is a new one"
    );

    let mut command = world.kubectl_command();
    command
        .args(["edit", "ds/filebeat-ds"])
        .env("KUBE_EDITOR", "sed -i s/5.6.5-alpine/5.6.6-alpine/");
    let output = command.output().await.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "daemonset.apps/filebeat-ds edited\n"
    );
    rolled_out(world).await;
    assert_eq!(images(world).await, BTreeSet::from([NEW.to_owned()]));
}

async fn refusals(world: &World) {
    for (arguments, want) in [
        (
            vec!["set", "image", "ds/filebeat-ds", "nosuch=x:1"],
            "error: unable to find container named \"nosuch\"",
        ),
        (
            vec!["rollout", "pause", "ds/filebeat-ds"],
            "error: daemonsets.apps \"filebeat-ds\" pausing is not supported",
        ),
        (
            vec!["rollout", "undo", "ds/filebeat-ds", "--to-revision=99"],
            "error: unable to find specified revision 99 in history",
        ),
        (
            vec!["get", "ds", "nosuch"],
            "Error from server (NotFound): daemonsets.apps \"nosuch\" not found",
        ),
        (
            vec![
                "patch",
                "ds/filebeat-ds",
                "-p",
                r#"{"spec":{"updateStrategy":{"rollingUpdate":{"maxSurge":1}}}}"#,
            ],
            "may not be set when maxUnavailable is non-zero",
        ),
    ] {
        let said = world.kubectl_any(&arguments).await;
        assert!(!said.status.success(), "{arguments:?}");
        assert!(said.stderr.contains(want), "{arguments:?}: {}", said.stderr);
    }
}

async fn cordon(world: &World) {
    assert_eq!(
        world.kubectl(&["cordon", "node-5"]).await,
        "node/node-5 cordoned\n"
    );
    let said = world.kubectl(&["get", "node", "node-5"]).await;
    assert_eq!(words(&said)[1][1], "Ready,SchedulingDisabled");
    let said = world.kubectl(&["get", "ds", "filebeat-ds"]).await;
    assert_eq!(
        words(&said)[1][1],
        "5",
        "a cordoned node keeps its daemon: {said}"
    );
    assert_eq!(
        world.kubectl(&["uncordon", "node-5"]).await,
        "node/node-5 uncordoned\n"
    );
}

async fn orphan_and_adopt(world: &World) {
    let before = pod_names(world).await;
    let said = world
        .kubectl(&["delete", "ds", "filebeat-ds", "--cascade=orphan"])
        .await;
    assert!(
        said.starts_with("daemonset.apps \"filebeat-ds\" deleted"),
        "{said}"
    );
    assert_eq!(pod_names(world).await, before, "orphaned pods stay");
    let manifest = MANIFEST.replace(OLD, NEW);
    assert_eq!(
        world.apply(&manifest).await,
        "daemonset.apps/filebeat-ds created\n"
    );
    rolled_out(world).await;
    let path = "jsonpath={range .items[*]}{.metadata.ownerReferences[0].name}{\"\\n\"}{end}";
    let said = world
        .kubectl(&["get", "pods", "-l", "app=filebeat", "-o", path])
        .await;
    assert_eq!(said, "filebeat-ds\n".repeat(5), "all pods are owned again");
}

async fn delete(world: &World) {
    let said = world.kubectl(&["delete", "ds", "filebeat-ds"]).await;
    assert!(
        said.starts_with("daemonset.apps \"filebeat-ds\" deleted"),
        "{said}"
    );
    let wait = [
        "wait",
        "--for=delete",
        "pod",
        "-l",
        "app=filebeat",
        "--timeout=60s",
    ];
    world.kubectl(&wait).await;
    let said = world.kubectl_any(&["get", "pods", "-l", "app=filebeat"]).await;
    assert_eq!(said.stderr, "No resources found in default namespace.\n");
}
