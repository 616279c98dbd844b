//! What people type first: Deployments, Jobs, services and drains, with the real kubectl.

use crate::world::{World, kubectl_is_there, words};

pub(crate) const NODES: [&str; 2] = ["node-1", "node-2"];

#[tokio::test(flavor = "multi_thread")]
async fn deployments_jobs_and_drains_work_as_people_type_them() {
    if !kubectl_is_there() {
        return;
    }
    story(World::embedded(&NODES, None).await).await;
}

/// Every kind that kubectl has a generator for; their bodies are protobuf.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_creates_every_kind_that_it_can() {
    if !kubectl_is_there() {
        return;
    }
    let world = World::embedded(&["node-1"], None).await;
    let cases = [
        ("namespace/team", "create namespace team"),
        ("configmap/a", "create configmap a --from-literal=a=b"),
        ("secret/a", "create secret generic a --from-literal=a=b"),
        ("serviceaccount/a", "create serviceaccount a"),
        ("service/a", "create service clusterip a --tcp=80"),
        ("deployment.apps/a", "create deployment a --image=nginx:1.19.4"),
        ("job.batch/a", "create job a --image=busybox"),
        (
            "poddisruptionbudget.policy/a",
            "create poddisruptionbudget a --selector=app=a --min-available=1",
        ),
        (
            "priorityclass.scheduling.k8s.io/a",
            "create priorityclass a --value=10",
        ),
    ];
    for (name, arguments) in cases {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        assert_eq!(world.kubectl(&arguments).await, format!("{name} created\n"));
    }
    let stored = [
        (
            "ingress.networking.k8s.io/a",
            "create ingress a --rule=a.b/*=a:80",
        ),
        ("resourcequota/a", "create quota a --hard=pods=99"),
        (
            "cronjob.batch/a",
            "create cronjob a --image=busybox --schedule=0/1 -- date",
        ),
    ];
    for (name, arguments) in stored {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let said = world.kubectl_any(&arguments).await;
        assert_eq!(said.stdout, format!("{name} created\n"), "{}", said.stderr);
        assert_eq!(said.stderr, "Warning: stored, but no controller acts on it\n");
    }
    world.stop().await;
}

/// The story, on any cluster.
pub(crate) async fn story(world: World) {
    deploy(&world).await;
    roll_over_and_back(&world).await;
    serve(&world).await;
    drain(&world).await;
    run_a_job(&world).await;
    clean_up(&world).await;
    world.stop().await;
}

async fn rolled_out(world: &World) {
    let said = world
        .kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"])
        .await;
    assert!(
        said.ends_with("deployment \"web\" successfully rolled out\n"),
        "{said}"
    );
}

async fn deploy(world: &World) {
    let said = world
        .kubectl(&[
            "create",
            "deployment",
            "web",
            "--image=nginx:1.19.4",
            "--replicas=2",
        ])
        .await;
    assert_eq!(said, "deployment.apps/web created\n");
    rolled_out(world).await;
    let said = world.kubectl(&["get", "deployment", "web"]).await;
    let lines = words(&said);
    assert_eq!(lines[0], ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]);
    assert_eq!(lines[1][..4], ["web", "2/2", "2", "2"]);
    let said = world
        .kubectl(&["scale", "deployment", "web", "--replicas=3"])
        .await;
    assert_eq!(said, "deployment.apps/web scaled\n");
    rolled_out(world).await;
}

async fn roll_over_and_back(world: &World) {
    world
        .kubectl(&["set", "image", "deployment/web", "nginx=nginx:1.19.5"])
        .await;
    rolled_out(world).await;
    assert_eq!(image(world).await, "nginx:1.19.5");
    let said = world.kubectl(&["rollout", "history", "deployment/web"]).await;
    let revisions: Vec<&str> = words(&said)[2..]
        .iter()
        .filter_map(|line| line.first().copied())
        .collect();
    assert_eq!(revisions, ["1", "2"], "{said}");
    let said = world.kubectl(&["rollout", "undo", "deployment/web"]).await;
    assert_eq!(said, "deployment.apps/web rolled back\n");
    rolled_out(world).await;
    assert_eq!(image(world).await, "nginx:1.19.4");
    world.kubectl(&["rollout", "restart", "deployment/web"]).await;
    rolled_out(world).await;
}

/// The image of the one set that has replicas; pods of the others may still be on their way out.
async fn image(world: &World) -> String {
    let path = "jsonpath={.items[?(@.spec.replicas>0)].spec.template.spec.containers[0].image}";
    world.kubectl(&["get", "rs", "-l", "app=web", "-o", path]).await
}

async fn serve(world: &World) {
    let said = world.kubectl(&["expose", "deployment", "web", "--port=80"]).await;
    assert_eq!(said, "service/web exposed\n");
    let has_addresses = "--for=jsonpath={.subsets[0].addresses[2].ip}";
    world
        .kubectl(&["wait", "endpoints/web", has_addresses, "--timeout=60s"])
        .await;
    let slices = [
        "get",
        "endpointslices",
        "-l",
        "kubernetes.io/service-name=web",
        "-o",
        "name",
    ];
    assert_eq!(world.kubectl(&slices).await.lines().count(), 1);
}

/// A budget of two of three: a drain goes pod by pod, and waits for each replacement.
async fn drain(world: &World) {
    world
        .kubectl(&["create", "pdb", "web", "--selector=app=web", "--min-available=2"])
        .await;
    let allows = "--for=jsonpath={.status.disruptionsAllowed}=1";
    world.kubectl(&["wait", "pdb/web", allows, "--timeout=60s"]).await;
    let said = world
        .kubectl(&["drain", "node-1", "--ignore-daemonsets", "--timeout=110s"])
        .await;
    assert!(said.ends_with("node/node-1 drained\n"), "{said}");
    rolled_out(world).await;
    let path = "jsonpath={.items[*].spec.nodeName}";
    let said = world.kubectl(&["get", "pods", "-l", "app=web", "-o", path]).await;
    assert_eq!(said, "node-2 node-2 node-2");
    world.kubectl(&["uncordon", "node-1"]).await;
}

async fn run_a_job(world: &World) {
    let said = world
        .kubectl(&[
            "create",
            "job",
            "pi",
            "--image=perl:5.34",
            "--",
            "perl",
            "-e",
            "1",
        ])
        .await;
    assert_eq!(said, "job.batch/pi created\n");
    world
        .kubectl(&["wait", "job/pi", "--for=condition=complete", "--timeout=90s"])
        .await;
    let said = world.kubectl(&["get", "job", "pi"]).await;
    assert_eq!(words(&said)[1][..3], ["pi", "Complete", "1/1"]);
}

async fn clean_up(world: &World) {
    world
        .kubectl(&["delete", "deployment/web", "job/pi", "service/web", "pdb/web"])
        .await;
    let pods = ["wait", "pods", "--all", "--for=delete", "--timeout=90s"];
    let said = world.kubectl_any(&pods).await;
    let is_gone = said.status.success() || said.stderr.contains("no matching resources found");
    assert!(is_gone, "{}", said.stderr);
}
