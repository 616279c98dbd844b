//! `pitstop status|history|set image|why|plan|snapshot|pause|resume|undo|restart` on a CloneSet.

use crate::inplace::NODES;
use crate::world::{World, kubectl_is_there, squeezed};

const MANIFEST: &str = "
apiVersion: apps.kruise.io/v1alpha1
kind: CloneSet
metadata: {name: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: shop}}
  updateStrategy: {type: InPlaceIfPossible, maxUnavailable: 1, partition: 2}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
      - {name: web, image: 'nginx:1.19.4', ports: [{containerPort: 80}]}
      - {name: side, image: 'busybox:1.36'}
";

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_on_clonesets() {
    if kubectl_is_there() {
        let world = World::embedded(&NODES, None).await;
        story(&world).await;
        world.stop().await;
    }
}

/// The commands one after the other, as somebody types them.
pub(crate) async fn story(world: &World) {
    world.apply(MANIFEST).await;
    is_done(world).await;
    let listed = world.pitstop_ok(&["status"]).await;
    let row = listed
        .lines()
        .map(squeezed)
        .find(|line| line.starts_with("clone/shop "));
    let row = row.unwrap_or_else(|| panic!("the CloneSet is not listed:\n{listed}"));
    assert!(
        row.starts_with("clone/shop InPlaceIfPossible shop-") && row.ends_with(" 3 3 3 0 0"),
        "{row}"
    );

    plans(world).await;
    sets_the_image(world).await;
    goes_back(world).await;
    restarts(world).await;
    refuses(world).await;
    world.kubectl(&["delete", "clone/shop", "--timeout=60s"]).await;
}

async fn is_done(world: &World) -> String {
    let wait = ["status", "shop", "--wait", "all", "--timeout", "60s"];
    world.pitstop_ok(&wait).await.trim_end().to_owned()
}

/// What would be done if the manifest had another image, and that nothing is written by asking.
async fn plans(world: &World) {
    let file = world.folder.path().join("shop.yaml");
    std::fs::write(&file, MANIFEST.replace("nginx:1.19.4", "nginx:1.19.5")).unwrap();
    let version = ["get", "clone/shop", "-o", "jsonpath={.metadata.resourceVersion}"];
    let before = world.kubectl(&version).await;
    let said = world.pitstop_ok(&["plan", "-f", file.to_str().unwrap()]).await;
    let lines: Vec<String> = said.lines().map(squeezed).collect();
    let n = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(
        (n("create revision shop-"), n("change pod shop-"), n("delete pod")),
        (1, 1, 0),
        "{said}"
    );
    assert!(said.contains("UpdateInPlace"), "{said}");
    assert_eq!(world.kubectl(&version).await, before, "nothing is written");
    let state = world.pitstop_ok(&["snapshot", "clone/shop"]).await;
    let file = world.folder.path().join("shop.json");
    std::fs::write(&file, state).unwrap();
    let said = world
        .pitstop_ok(&["plan", "--snapshot", file.to_str().unwrap()])
        .await;
    assert!(
        said.contains("shop: updated 3 of 3, done\nnothing would be done now"),
        "{said}"
    );
}

async fn sets_the_image(world: &World) {
    let pods = [
        "get",
        "pods",
        "-l",
        "app=shop",
        "--sort-by=.metadata.uid",
        "-o",
        "jsonpath={.items[*].metadata.uid}",
    ];
    let before = world.kubectl(&pods).await;
    let said = world
        .pitstop_ok(&["set", "image", "clone/shop", "web=nginx:1.19.5"])
        .await;
    assert_eq!(said, "cloneset.apps.kruise.io/shop image updated\n");
    assert_eq!(
        is_done(world).await,
        "cloneset.apps.kruise.io/shop: updated 1 of 3, 2 kept by partition, done"
    );
    assert_eq!(world.kubectl(&pods).await, before, "the same pods");
    let said = world.pitstop_ok(&["why", "clone/shop"]).await;
    assert!(
        said.contains("partition keeps 2 pods at their revision"),
        "{said}"
    );
    let ports = [
        "get",
        "clone/shop",
        "-o",
        "jsonpath={.spec.template.spec.containers[0].ports[0].containerPort}",
    ];
    assert_eq!(
        world.kubectl(&ports).await,
        "80",
        "nothing else of the container changes"
    );
    let said = world
        .pitstop_ok(&["set", "image", "shop", "web=nginx:1.19.5"])
        .await;
    assert_eq!(said, "cloneset.apps.kruise.io/shop has these images already\n");
}

async fn goes_back(world: &World) {
    let history = async || {
        let said = world.pitstop_ok(&["history", "clone/shop"]).await;
        let rows = said.lines().skip(1).map(squeezed);
        // Number, pods, target and images; the hash follows from the template.
        rows.map(|row| {
            let mut words: Vec<&str> = row.split(' ').collect();
            words.remove(1);
            words.join(" ")
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(
        history().await,
        [
            "1 2 nginx:1.19.4,busybox:1.36",
            "2 1 yes nginx:1.19.5,busybox:1.36"
        ]
    );
    let said = world.pitstop_ok(&["undo", "clone/shop"]).await;
    assert_eq!(
        said,
        "cloneset.apps.kruise.io/shop rolled back to revision 1 (nginx:1.19.4, busybox:1.36)\n"
    );
    is_done(world).await;
    assert_eq!(
        history().await,
        [
            "2 1 nginx:1.19.5,busybox:1.36",
            "3 2 yes nginx:1.19.4,busybox:1.36"
        ]
    );
    let said = world
        .pitstop_ok(&["undo", "clone/shop", "--to-revision", "3"])
        .await;
    assert_eq!(
        said,
        "cloneset.apps.kruise.io/shop is at the template of revision 3 already\n"
    );
}

async fn restarts(world: &World) {
    let said = world.pitstop_ok(&["pause", "clone/shop"]).await;
    assert_eq!(said, "cloneset.apps.kruise.io/shop paused\n");
    let said = world.pitstop_ok(&["pause", "clone/shop"]).await;
    assert_eq!(said, "cloneset.apps.kruise.io/shop is paused already\n");
    let said = world.pitstop(&["restart", "clone/shop"]).await;
    assert_eq!(said.status.code(), Some(1), "{}", said.stdout);
    assert!(
        said.stderr.contains("pitstop resume clone/shop"),
        "{}",
        said.stderr
    );
    let said = world.pitstop_ok(&["resume", "clone/shop"]).await;
    assert_eq!(said, "cloneset.apps.kruise.io/shop resumed\n");
    let names = [
        "get",
        "pods",
        "-l",
        "app=shop",
        "-o",
        "jsonpath={.items[*].metadata.name}",
    ];
    let before = world.kubectl(&names).await;
    let said = world.pitstop_ok(&["restart", "clone/shop"]).await;
    assert_eq!(
        said,
        "cloneset.apps.kruise.io/shop restarted: 3 pods are marked to be replaced\n"
    );
    for pod in before.split_whitespace() {
        world
            .kubectl(&["wait", "--for=delete", &format!("pod/{pod}"), "--timeout=60s"])
            .await;
    }
    is_done(world).await;
}

async fn refuses(world: &World) {
    for (arguments, code, says) in [
        (
            &["undo", "shop", "--to-revision", "9"][..],
            4,
            "has no revision 9",
        ),
        (
            &["set", "image", "shop", "db=x"],
            4,
            "name one of web, side, or * for all",
        ),
        (&["set", "image", "shop", "web"], 2, "write CONTAINER=IMAGE"),
        (
            &["why", "clone/nobody"],
            4,
            "no CloneSet \"nobody\" is in namespace \"default\"",
        ),
        (
            &["status", "deployment/x"],
            2,
            "write ds/NAME, ads/NAME, clone/NAME, asts/NAME or pod/NAME",
        ),
    ] {
        let said = world.pitstop(arguments).await;
        assert_eq!(said.status.code(), Some(code), "{arguments:?}: {}", said.stderr);
        assert!(said.stderr.contains(says), "{arguments:?}: {}", said.stderr);
    }
}
