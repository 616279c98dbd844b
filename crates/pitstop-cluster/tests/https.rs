//! The cluster over HTTPS, as its kubeconfig says. Source: embedded-cluster.md 15.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use futures::{StreamExt, TryStreamExt};
use http::Request;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ListParams, PostParams, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, ResourceExt};
use pitstop_cluster::builtin::Selection;
use pitstop_cluster::{Cluster, Config, ServeConfig, ServeError, Serving};
use serde_json::json;

fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

async fn cluster(data: Option<&Path>) -> Cluster {
    let data = data.map(Path::to_owned);
    let config = Config {
        data,
        controllers: Selection::none(),
        ..Config::default()
    };
    Cluster::start(config).await.expect("a cluster")
}

async fn serve(cluster: &Cluster) -> Serving {
    cluster
        .serve(ServeConfig {
            addr: anywhere(),
            kubeconfig: None,
        })
        .await
        .expect("a listener")
}

/// A client that knows nothing but a kubeconfig.
async fn client(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .expect("a configuration");
    Client::try_from(config).expect("a client")
}

async fn is_served(kubeconfig: &str) -> bool {
    Api::<Namespace>::all(client(kubeconfig).await)
        .list(&ListParams::default())
        .await
        .is_ok()
}

#[tokio::test]
async fn a_kubeconfig_is_all_that_a_client_needs() {
    let cluster = cluster(None).await;
    let serving = serve(&cluster).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&serving.kubeconfig).await);
    let version = cluster.resource_version().to_string();
    let watch = maps
        .watch(&WatchParams::default(), &version)
        .await
        .expect("a watch");
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "m"}})).expect("a ConfigMap");
    let made = maps.create(&PostParams::default(), &map).await.expect("created");
    let mut watch = std::pin::pin!(watch);
    let seen = watch.try_next().await.expect("no error").expect("an event");
    assert!(
        matches!(seen, kube::api::WatchEvent::Added(seen) if seen.resource_version() == made.resource_version())
    );
}

#[tokio::test]
async fn without_the_token_only_health_and_version_answer() {
    let cluster = cluster(None).await;
    let serving = serve(&cluster).await;
    let token_line = serving
        .kubeconfig
        .lines()
        .find(|l| l.contains("token:"))
        .expect("a token")
        .to_owned();
    for (line, code) in [("", 401), ("    token: wrong", 401)] {
        let client = client(&serving.kubeconfig.replace(&token_line, line)).await;
        let refused = Api::<Namespace>::all(client.clone())
            .list(&ListParams::default())
            .await;
        match refused {
            Err(kube::Error::Api(status)) => {
                assert_eq!((status.code, status.reason.as_str()), (code, "Unauthorized"));
            }
            other => panic!("{other:?}"),
        }
    }
    let anonymous = client(&serving.kubeconfig.replace(&token_line, "")).await;
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        let request = Request::get(path).body(Vec::new()).expect("a request");
        anonymous.request_text(request).await.expect(path);
    }
}

#[tokio::test]
async fn a_kubeconfig_outlives_the_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = cluster(Some(folder.path())).await;
    let serving = serve(&first).await;
    let (old, addr) = (serving.kubeconfig.clone(), serving.addr);
    serving.shutdown().await;
    first.shutdown().await;

    let second = cluster(Some(folder.path())).await;
    let config = ServeConfig {
        addr,
        kubeconfig: None,
    };
    let serving = second.serve(config).await.expect("the same port");
    assert_eq!(serving.kubeconfig, old);
    assert!(is_served(&old).await);
}

#[cfg(unix)]
#[tokio::test]
async fn secrets_are_readable_by_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = cluster(Some(folder.path())).await;
    let path = folder.path().join("deep/kubeconfig");
    let config = ServeConfig {
        addr: anywhere(),
        kubeconfig: Some(path.clone()),
    };
    let serving = cluster.serve(config).await.expect("a listener");
    assert_eq!(
        std::fs::read_to_string(&path).expect("the file"),
        serving.kubeconfig
    );
    assert_eq!(serving.kubeconfig_path.as_deref(), Some(path.as_path()));
    for secret in ["deep/kubeconfig", "token", "pki/ca.key"] {
        let mode = std::fs::metadata(folder.path().join(secret))
            .expect(secret)
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let cluster = cluster(None).await;
    let serving = serve(&cluster).await;
    let again = cluster
        .serve(ServeConfig {
            addr: serving.addr,
            kubeconfig: None,
        })
        .await;
    let error = again.expect_err("taken");
    assert!(matches!(error, ServeError::AddressInUse { .. }));
    assert_eq!(
        error.to_string(),
        format!("the address {} is in use by another program", serving.addr)
    );
}

#[tokio::test]
async fn a_shutdown_ends_watches_and_frees_the_port() {
    let cluster = cluster(None).await;
    let serving = serve(&cluster).await;
    let namespaces: Api<Namespace> = Api::all(client(&serving.kubeconfig).await);
    let version = cluster.resource_version().to_string();
    let watch = namespaces
        .watch(&WatchParams::default(), &version)
        .await
        .expect("a watch");
    let in_process: Api<Namespace> = Api::all(cluster.client());
    let other = in_process
        .watch(&WatchParams::default(), &version)
        .await
        .expect("a watch");
    let addr = serving.addr;
    serving.shutdown().await;
    assert_eq!(watch.count().await, 0, "it ended, without an error");
    // The cluster itself goes on.
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "n"}})).expect("a Namespace");
    in_process
        .create(&PostParams::default(), &namespace)
        .await
        .expect("created");
    assert_eq!(other.take(1).count().await, 1);
    cluster
        .serve(ServeConfig {
            addr,
            kubeconfig: None,
        })
        .await
        .expect("a free port");
}

/// Source: embedded-cluster.md 16, the row about service accounts.
#[tokio::test]
async fn every_namespace_has_the_certificate_of_the_authority_that_serves_now() {
    let cluster = Cluster::start(Config::default()).await.expect("a cluster");
    for _ in 0..2 {
        // In memory, each listener has an authority of its own.
        let serving = serve(&cluster).await;
        for namespace in ["default", "kube-system"] {
            let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), namespace);
            let holds = |map: Option<&ConfigMap>| {
                let data = map.and_then(|map| map.data.as_ref());
                data.and_then(|data| data.get("ca.crt")) == Some(&serving.ca_certificate)
            };
            let found = kube::runtime::wait::await_condition(maps, "kube-root-ca.crt", holds);
            tokio::time::timeout(std::time::Duration::from_secs(10), found)
                .await
                .expect("in time")
                .expect("a watch");
        }
    }
}

/// embedded-cluster.md 22.32: the body of a refused request is no part of the next one.
#[tokio::test]
async fn trap_32_a_connection_outlives_a_refusal_with_an_unread_body() {
    let cluster = cluster(None).await;
    let serving = serve(&cluster).await;
    let token_line = serving
        .kubeconfig
        .lines()
        .find(|line| line.contains("token:"))
        .expect("a token")
        .to_owned();
    let token = token_line.trim().trim_start_matches("token:").trim().to_owned();
    // The client keeps its connections alive.
    let client = client(&serving.kubeconfig.replace(&token_line, "")).await;
    let body = vec![b'x'; 200_000];
    for (path, authorized, code) in [
        ("/api/v1/namespaces", false, 401),
        ("/apis/no.such/v1/things", true, 404),
        ("/api/v1/namespaces/default/pods", true, 400),
    ] {
        let mut request = Request::post(path).header("content-type", "application/json");
        if authorized {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let refused = client
            .request_text(request.body(body.clone()).expect("a request"))
            .await;
        match refused {
            Err(kube::Error::Api(status)) => assert_eq!(status.code, code, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
        let next = Request::get("/version").body(Vec::new()).expect("a request");
        let version = client.request_text(next).await.expect("the next answer");
        assert!(version.contains("gitVersion"), "{path}: {version}");
    }
}

/// embedded-cluster.md 22.34.
#[tokio::test]
async fn trap_34_every_name_of_this_machine_is_certified() {
    let cluster = cluster(None).await;
    let serving = serve(&cluster).await;
    for host in ["127.0.0.1", "localhost"] {
        let port = serving.addr.port();
        let kubeconfig = serving
            .kubeconfig
            .replace(&serving.addr.to_string(), &format!("{host}:{port}"));
        let request = Request::get("/version").body(Vec::new()).expect("a request");
        let answer = client(&kubeconfig).await.request_text(request).await;
        assert!(answer.is_ok(), "{host}: {answer:?}");
    }
}
