//! `pitstop node`.

use crate::world::{World, words};

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_listed_cut_off_connected_added_and_removed() {
    let world = World::embedded(&["node-1", "node-2"], Some("control-plane")).await;
    let said = world.pitstop_ok(&["node", "list"]).await;
    let lines = words(&said);
    assert_eq!(lines[0], ["NAME", "STATUS", "NETWORK", "HUB", "PODS", "AGE"]);
    let names: Vec<&str> = lines[1..].iter().map(|line| line[0]).collect();
    assert_eq!(names, ["control-plane", "node-1", "node-2"]);

    let said = world
        .pitstop(&["node", "disconnect", "node-2", "--wait", "--timeout", "60s"])
        .await;
    assert_eq!(said.stdout, "node/node-2 disconnected\n");
    assert_eq!(said.stderr, "node/node-2 is NotReady\n");
    let said = world.pitstop_ok(&["node", "list"]).await;
    assert_eq!(words(&said)[3][..3], ["node-2", "NotReady", "disconnected"]);
    let said = world
        .pitstop(&["node", "reconnect", "node-2", "--wait", "--timeout", "60s"])
        .await;
    assert_eq!(
        (said.stdout.as_str(), said.stderr.as_str()),
        ("node/node-2 connected\n", "node/node-2 is Ready\n")
    );

    assert_eq!(
        world.pitstop_ok(&["node", "add", "node-3"]).await,
        "node/node-3 added\n"
    );
    world
        .pitstop_ok(&["node", "reconnect", "node-3", "--wait", "--timeout", "60s"])
        .await;
    assert_eq!(
        world.pitstop_ok(&["node", "remove", "node-3"]).await,
        "node/node-3 removed\n"
    );
    let said = world.pitstop_ok(&["node", "list", "-o", "json"]).await;
    let list: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_have_their_exit_code_and_say_what_to_do() {
    let world = World::embedded(&["node-1"], None).await;
    for (arguments, code, want) in [
        (
            vec!["node", "disconnect", "nosuch"],
            4,
            "error: node \"nosuch\" is not there\nhint: see the names with `pitstop node list`\n",
        ),
        (
            vec!["node", "add", "node-1"],
            1,
            "error: node \"node-1\" is there already\nhint: choose another name; see `pitstop node list`\n",
        ),
        (
            vec!["status", "ds/nosuch"],
            4,
            "error: no DaemonSet \"nosuch\" is in namespace \"default\"\nhint: see what is there with `pitstop status -A`\n",
        ),
        (
            vec!["status", "-A"],
            4,
            "error: no DaemonSet, CloneSet or StatefulSet of that description in any namespace\nhint: look in other namespaces \
             with -n NAME or -A\n",
        ),
        (
            vec!["why", "pod/nosuch"],
            4,
            "error: pod \"nosuch\" is not in namespace \"default\"\nhint: see the pods that wait with `pitstop why`, or \
             look in another namespace with -n NAME\n",
        ),
        (
            vec!["images", "nosuch"],
            4,
            "error: no pod that runs has a name that matches \"nosuch\"\nhint: leave the expression out to see every pod, or \
             look elsewhere with -n or -A\n",
        ),
        (
            vec!["node", "disconnect", "node-1", "--wait", "--timeout", "1ms"],
            3,
            "error: node \"node-1\" has not changed after 0s\nhint: is the `pitstop up` or `pitstop simulate` that runs \
             it still there? see `pitstop node list`\n",
        ),
        (
            vec!["status", "--kubeconfig", "/nosuch"],
            1,
            "hint: choose another file with --kubeconfig; `pitstop up` prints the path of its own\n",
        ),
    ] {
        let said = world.pitstop(&arguments).await;
        assert_eq!(said.status.code(), Some(code), "{arguments:?}: {}", said.stderr);
        assert!(said.stderr.ends_with(want), "{arguments:?}: {}", said.stderr);
    }
    world.stop().await;
}
