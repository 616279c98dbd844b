//! Rights, as a user sees them with kubectl: on our server and on a real one the same.

use crate::real::Plane;
use crate::rolling;
use crate::world::{Said, World, kubectl_is_there, squeezed};

/// The controllers upgrade with exactly the rights that `pitstop manifests` prints.
#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_need_no_other_rights_than_those_of_the_manifests() {
    if !kubectl_is_there() {
        return;
    }
    rolling::seed_003(World::guarded(&rolling::NODES).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_given_asked_for_and_taken_away() {
    if !kubectl_is_there() {
        return;
    }
    rights(World::guarded(&["node-1"]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_given_asked_for_and_taken_away_on_a_real_control_plane() {
    let Some(plane) = Plane::take().await else { return };
    let kubectl = plane.kubectl();
    rights(World::real(plane, kubectl, &["node-1"], None).await).await;
}

async fn rights(world: World) {
    world.kubectl(&["create", "namespace", "rights"]).await;
    let said = world
        .kubectl_any(&["get", "pods", "-n", "rights", "--as", "bob"])
        .await;
    assert_eq!(
        refused(&said),
        "Error from server (Forbidden): pods is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"\" in \
         the namespace \"rights\""
    );
    let asked = ["auth", "can-i", "list", "pods", "-n", "rights", "--as", "bob"];
    assert_eq!(world.kubectl_any(&asked).await.stdout.trim(), "no");
    let role = [
        "create",
        "role",
        "reader",
        "-n",
        "rights",
        "--verb=get,list",
        "--resource=pods,daemonsets.apps/status",
    ];
    assert_eq!(
        world.kubectl(&role).await.trim(),
        "role.rbac.authorization.k8s.io/reader created"
    );
    let bind = [
        "create",
        "rolebinding",
        "bob",
        "-n",
        "rights",
        "--role=reader",
        "--user=bob",
        "--group=ops",
        "--serviceaccount=rights:robot",
    ];
    assert_eq!(
        world.kubectl(&bind).await.trim(),
        "rolebinding.rbac.authorization.k8s.io/bob created"
    );
    let table = world
        .kubectl(&[
            "get",
            "rolebindings",
            "-n",
            "rights",
            "-o",
            "wide",
            "--no-headers",
        ])
        .await;
    let table = squeezed(&table);
    assert!(table.starts_with("bob Role/reader "), "{table}");
    assert!(table.trim().ends_with(" bob ops rights/robot"), "{table}");
    eventually_yes(&world, &asked).await;
    let listed = world
        .kubectl(&["auth", "can-i", "--list", "-n", "rights", "--as", "bob"])
        .await;
    let listed = squeezed(&listed);
    for line in [
        "pods [] [] [get list]",
        "daemonsets.apps/status [] [] [get list]",
        "selfsubjectreviews.authentication.k8s.io [] [] [create]",
        "[/healthz] [] [get]",
    ] {
        assert!(listed.contains(line), "{line} in {listed}");
    }
    let elsewhere = ["auth", "can-i", "list", "pods", "-n", "default", "--as", "bob"];
    assert_eq!(world.kubectl_any(&elsewhere).await.stdout.trim(), "no");
    robot(&world).await;
    collected(&world).await;
    world
        .kubectl(&["delete", "rolebinding", "bob", "-n", "rights"])
        .await;
    let gone = world.kubectl_any(&asked).await.stdout;
    assert!(gone.starts_with("no"), "{gone}");
    world
        .kubectl(&["delete", "clusterrole", "part", "collector"])
        .await;
    world.kubectl(&["delete", "namespace", "rights"]).await;
    world.stop().await;
}

/// A service account comes in with a token, and has the rights that it was given.
async fn robot(world: &World) {
    world
        .kubectl(&["create", "serviceaccount", "robot", "-n", "rights"])
        .await;
    let token = world.kubectl(&["create", "token", "robot", "-n", "rights"]).await;
    let robot = ["config", "set-credentials", "robot", "--token", token.trim()];
    world.kubectl(&robot).await;
    let whoami = [
        "auth",
        "whoami",
        "-o",
        "jsonpath={.status.userInfo.username}",
        "--user=robot",
    ];
    assert_eq!(world.kubectl(&whoami).await, "system:serviceaccount:rights:robot");
    assert_eq!(
        refused(&world.kubectl_any(&["get", "nodes", "--user=robot"]).await),
        "Error from server (Forbidden): nodes is forbidden: User \"system:serviceaccount:rights:robot\" cannot list resource \
         \"nodes\" in API group \"\" at the cluster scope"
    );
    world
        .kubectl(&["get", "pods", "-n", "rights", "--user=robot"])
        .await;
}

/// A cluster role has the rules of others that carry a label.
async fn collected(world: &World) {
    let cluster = [
        "create",
        "clusterrole",
        "collector",
        "--aggregation-rule=example.com/collect=yes",
    ];
    world.kubectl(&cluster).await;
    world
        .kubectl(&["create", "clusterrole", "part", "--verb=get", "--resource=nodes"])
        .await;
    world
        .kubectl(&["label", "clusterrole", "part", "example.com/collect=yes"])
        .await;
    world
        .kubectl(&[
            "wait",
            "clusterrole/collector",
            "--for=jsonpath={.rules[0].resources[0]}=nodes",
            "--timeout=60s",
        ])
        .await;
}

fn refused(said: &Said) -> String {
    assert!(!said.status.success(), "{}", said.stdout);
    said.stderr.trim().to_owned()
}

/// A real server hears of new roles a moment later.
async fn eventually_yes(world: &World, asked: &[&str]) {
    for _ in 0..50 {
        if world.kubectl_any(asked).await.stdout.trim() == "yes" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{asked:?} is not allowed");
}
