//! `pitstop plan` and `pitstop snapshot`: the first step before it is taken.

use crate::world::World;

const MANIFEST: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: agent
  annotations:
    apps.openyurt.io/update-strategy: AdvancedRollingUpdate
spec:
  selector: {matchLabels: {app: agent}}
  updateStrategy: {type: OnDelete}
  template:
    metadata: {labels: {app: agent}}
    spec:
      containers: [{name: app, image: 'app:1'}]
";

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_a_manifest_a_file_and_the_cluster() {
    let world = World::embedded(&["a", "b", "c"], None).await;
    let file = world.folder.path().join("agent.yaml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, MANIFEST).unwrap();
    let said = world.pitstop(&["plan", "-f", path]).await;
    assert_eq!(
        said.status.code(),
        Some(4),
        "there is no such DaemonSet yet: {}",
        said.stderr
    );

    let object: k8s_openapi::api::apps::v1::DaemonSet = serde_saphyr::from_str(MANIFEST).unwrap();
    let api: kube::Api<k8s_openapi::api::apps::v1::DaemonSet> =
        kube::Api::namespaced(world.client(), "default");
    api.create(&kube::api::PostParams::default(), &object)
        .await
        .unwrap();
    world
        .pitstop_ok(&["status", "agent", "--wait", "all", "--timeout", "60s"])
        .await;
    world
        .pitstop_ok(&["node", "disconnect", "a", "--wait", "--timeout", "60s"])
        .await;

    let said = world.pitstop_ok(&["plan", "-f", path]).await;
    assert!(said.contains("assumed: the template stays as it is"), "{said}");
    assert!(said.contains("nothing would be done now"), "{said}");

    std::fs::write(&file, MANIFEST.replace("app:1", "app:2")).unwrap();
    let before = api.get("agent").await.unwrap().metadata.resource_version;
    let said = world.pitstop_ok(&["plan", "-f", path]).await;
    assert!(
        said.contains("assumed: its template is written as revision 2, shown as (new)"),
        "{said}"
    );
    let lines: Vec<String> = said.lines().map(crate::world::squeezed).collect();
    let deletes: Vec<&String> = lines
        .iter()
        .filter(|line| line.starts_with("delete pod "))
        .collect();
    assert_eq!(deletes.len(), 1, "{said}");
    assert!(
        deletes[0].ends_with(" b Outdated"),
        "the node that is away is passed over: {said}"
    );
    assert!(said.contains("NodeNotReady"), "{said}");
    assert_eq!(
        api.get("agent").await.unwrap().metadata.resource_version,
        before,
        "nothing is written"
    );

    let state = world.pitstop_ok(&["snapshot", "ds/agent"]).await;
    let file = world.folder.path().join("state.json");
    std::fs::write(&file, &state).unwrap();
    let from_file = world
        .pitstop_ok(&["plan", "--snapshot", file.to_str().unwrap()])
        .await;
    let from_cluster = world.pitstop_ok(&["plan", "ds/agent"]).await;
    assert_eq!(
        without_seconds(&from_file),
        without_seconds(&from_cluster),
        "the same state gives the same plan"
    );
    let yaml = world.pitstop_ok(&["plan", "ds/agent", "-o", "yaml"]).await;
    assert!(
        yaml.starts_with("apiVersion: apps/v1\nkind: DaemonSet\nnamespace: default\nname: agent\n"),
        "{yaml}"
    );

    let bad = MANIFEST.replace("matchLabels: {app: agent}", "matchLabels: {app: other}");
    let file = world.folder.path().join("bad.yaml");
    std::fs::write(&file, bad).unwrap();
    let said = world.pitstop(&["plan", "-f", file.to_str().unwrap()]).await;
    assert_eq!(said.status.code(), Some(1), "{}", said.stdout);
    assert!(said.stderr.contains("agent"), "{}", said.stderr);
    world.stop().await;
}

/// What is said without how many seconds something lasts: a second may pass between two looks.
fn without_seconds(said: &str) -> String {
    let words = said.split_inclusive(' ').map(|word| {
        let number = word.trim_end_matches([' ', ';', ',', '\n']).strip_suffix('s');
        let is_time =
            number.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()));
        if is_time { "Ns " } else { word }
    });
    words.collect()
}
