//! Objects through a `kube::Client` without sockets.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use pitstop_cluster::builtin::Selection;
use pitstop_cluster::{Cluster, Config};
use serde_json::json;

async fn cluster() -> Cluster {
    Cluster::start(Config {
        controllers: Selection::none(),
        seed: Some(1),
        ..Config::default()
    })
    .await
    .expect("a cluster in memory")
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": "1"}})).expect("a ConfigMap")
}

#[tokio::test]
async fn a_new_cluster_has_its_namespaces() {
    let cluster = cluster().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    let list = namespaces.list(&ListParams::default()).await.expect("a list");
    let names: Vec<_> = list
        .items
        .iter()
        .filter_map(|n| n.metadata.name.as_deref())
        .collect();
    assert_eq!(
        names,
        ["default", "kube-node-lease", "kube-public", "kube-system"]
    );
}

#[tokio::test]
async fn an_object_lives_from_create_to_delete_and_a_watch_sees_it() {
    let cluster = cluster().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    let start = cluster.resource_version().to_string();
    let watch = maps
        .watch(&WatchParams::default(), &start)
        .await
        .expect("a watch");

    let made = maps
        .create(&PostParams::default(), &config_map("m"))
        .await
        .expect("created");
    let patch = Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}));
    let patched = maps
        .patch("m", &PatchParams::default(), &patch)
        .await
        .expect("patched");
    assert_ne!(made.metadata.resource_version, patched.metadata.resource_version);
    maps.delete("m", &DeleteParams::default()).await.expect("deleted");

    let events: Vec<_> = watch.take(3).try_collect().await.expect("three events");
    let seen: Vec<_> = events
        .iter()
        .map(|event| match event {
            WatchEvent::Added(o) => ("added", o.metadata.resource_version.clone()),
            WatchEvent::Modified(o) => ("modified", o.metadata.resource_version.clone()),
            WatchEvent::Deleted(o) => ("deleted", o.metadata.resource_version.clone()),
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    let deleted_at = Some(cluster.resource_version().to_string());
    assert_eq!(
        seen,
        [
            ("added", made.metadata.resource_version),
            ("modified", patched.metadata.resource_version),
            ("deleted", deleted_at),
        ]
    );
}

/// embedded-cluster.md 8: both ways in which kube-rs fills a cache, and what it does when it is too late.
#[tokio::test]
async fn the_watcher_of_kube_works_in_both_modes() {
    use kube::runtime::watcher::{self, Event};
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let cluster = cluster().await;
        let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
        for name in ["a", "b"] {
            maps.create(&PostParams::default(), &config_map(name))
                .await
                .expect("created");
        }
        let mut events = std::pin::pin!(watcher::watcher(maps.clone(), config));
        let mut seen = Vec::new();
        while let Some(event) = events.try_next().await.expect("no error") {
            match event {
                Event::Init => seen.push("init".to_owned()),
                Event::InitApply(map) => seen.push(format!("init {}", map.metadata.name.unwrap_or_default())),
                Event::InitDone => {
                    seen.push("done".to_owned());
                    maps.create(&PostParams::default(), &config_map("c"))
                        .await
                        .expect("created");
                    maps.delete("a", &DeleteParams::default()).await.expect("deleted");
                }
                Event::Apply(map) => seen.push(format!("apply {}", map.metadata.name.unwrap_or_default())),
                Event::Delete(map) => {
                    seen.push(format!("delete {}", map.metadata.name.unwrap_or_default()));
                    break;
                }
            }
        }
        assert_eq!(seen, ["init", "init a", "init b", "done", "apply c", "delete a"]);
    }
}
