//! A server with simulated nodes, on which histories are played.

use std::time::Duration;

use http::Method;
use kube::Client;
use pitstop::cli::gates::Gates;
use pitstop::embedded::Controllers;
use pitstop_cluster::builtin::Selection;
use pitstop_cluster::informer::request;
use pitstop_cluster::node::{Fleet, FleetConfig, NodeSpec, Rule};
use pitstop_cluster::{Cluster, Config};
use serde_json::{Value, json};

use crate::known::{HISTORY, Spaces};

/// How long a node may be silent, on both servers.
pub(crate) const NODE_GRACE: Duration = Duration::from_secs(6);
/// How often a node says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Containers start, end and are pulled this much faster than life.
const TIME_SCALE: f64 = 20.0;
/// What the images of histories do.
const PROFILES: &str = r#"[
    {"image": "app:bad*", "pullSeconds": 0, "fail": "notfound"},
    {"image": "app:unready*", "pullSeconds": 0, "neverReady": true},
    {"image": "job:done*", "pullSeconds": 0, "doneAfterSeconds": 1},
    {"image": "job:fail*", "pullSeconds": 0, "crashAfterSeconds": 1},
    {"image": "*", "pullSeconds": 0}
]"#;
/// How long a namespace may take until pods can be made in it.
const NAMESPACE_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) spaces: Spaces,
    fleet: Fleet,
    _embedded: Option<(Cluster, Option<Controllers>)>,
}

impl Stage {
    /// An embedded cluster with these of its controllers, and perhaps with the one of DaemonSets.
    pub(crate) async fn embedded(controllers: Selection, has_daemonsets: bool) -> Self {
        let config = Config {
            node_grace: NODE_GRACE,
            controllers,
            ..Config::default()
        };
        let cluster = Cluster::start(config).await.unwrap();
        let client = cluster.client();
        let daemonsets = if has_daemonsets {
            Some(
                Controllers::start_all(cluster.client_as("system:pitstop"), 1.0, Gates::default())
                    .await
                    .unwrap(),
            )
        } else {
            None
        };
        let nodes = cluster.client_as("system:nodes");
        Self::on(client, nodes, Some((cluster, daemonsets))).await
    }

    /// A control plane that runs already.
    pub(crate) async fn real(client: Client) -> Self {
        Self::on(client.clone(), client, None).await
    }

    async fn on(client: Client, nodes: Client, embedded: Option<(Cluster, Option<Controllers>)>) -> Self {
        let config = FleetConfig {
            time_scale: TIME_SCALE,
            heartbeat: Some(HEARTBEAT),
            profiles: Rule::parse_list(PROFILES).unwrap(),
            ..FleetConfig::default()
        };
        let fleet = Fleet::start(nodes, config).await.unwrap();
        let spaces = Spaces::default();
        spaces.follow(&client);
        Self {
            client,
            spaces,
            fleet,
            _embedded: embedded,
        }
    }

    /// The code of the answer, and the answer.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let content_type = (method == Method::PATCH).then_some("application/merge-patch+json");
        match request(&self.client, method, path, content_type, body).await {
            Ok(value) => (200, value),
            Err(kube::Error::Api(status)) => (status.code, json!(status.message)),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    pub(crate) async fn add_node(&self, namespace: &str, number: usize) {
        let mut spec = NodeSpec::new(&node_name(namespace, number));
        spec.labels.insert(HISTORY.to_owned(), namespace.to_owned());
        spec.labels.insert("role".to_owned(), "a".to_owned());
        self.fleet.add(spec).await.unwrap();
    }

    /// A namespace in which pods can be made.
    pub(crate) async fn make_namespace(&self, name: &str) {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let (code, answer) = self.call(Method::POST, "/api/v1/namespaces", Some(&body)).await;
        assert_eq!(code, 200, "{name}: {answer}");
        let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        let ready = async {
            while self.call(Method::GET, &account, None).await.0 != 200 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let ready = tokio::time::timeout(NAMESPACE_WITHIN, ready).await;
        assert!(ready.is_ok(), "{name} has no service account");
    }
}

pub(crate) fn node_name(namespace: &str, number: usize) -> String {
    format!("{namespace}-n{number}")
}
