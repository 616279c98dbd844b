//! A cluster with simulated nodes under virtual time, and what suites ask of it.
#![allow(dead_code, reason = "each suite uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use kube::Client;
use pitstop_cluster::builtin::Selection;
use pitstop_cluster::informer::{is_status, request};
use pitstop_cluster::node::{Fleet, FleetConfig, NodeSpec};
use pitstop_cluster::{Cluster, Config, VirtualClock};
use serde_json::{Value, json};

pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";
pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) fleet: Fleet,
    _cluster: Cluster,
}

impl World {
    /// A cluster with all of its controllers.
    pub(crate) async fn start(nodes: &[&str]) -> Self {
        Self::start_with(nodes, Selection::default(), FleetConfig::default()).await
    }

    /// A cluster with some of them, and a fleet of this configuration, whose clock is the cluster's.
    pub(crate) async fn start_with(nodes: &[&str], controllers: Selection, fleet: FleetConfig) -> Self {
        let clock = Arc::new(VirtualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
        let config = Config {
            clock: clock.clone(),
            seed: Some(7),
            controllers,
            ..Config::default()
        };
        let cluster = Cluster::start(config).await.unwrap();
        let client = cluster.client();
        let fleet = Fleet::start(client.clone(), FleetConfig { clock, ..fleet })
            .await
            .unwrap();
        for name in nodes {
            fleet.add(NodeSpec::new(name)).await.unwrap();
        }
        Self {
            client,
            fleet,
            _cluster: cluster,
        }
    }

    /// An object, if it is there.
    pub(crate) async fn find(&self, path: &str) -> Option<Value> {
        match request(&self.client, Method::GET, path, None, None).await {
            Err(error) if is_status(&error, 404) => None,
            other => Some(other.unwrap()),
        }
    }

    /// An object that is there.
    pub(crate) async fn get(&self, path: &str) -> Value {
        request(&self.client, Method::GET, path, None, None)
            .await
            .unwrap()
    }

    pub(crate) async fn items(&self, path: &str) -> Vec<Value> {
        self.get(path).await["items"].as_array().unwrap().clone()
    }

    pub(crate) async fn post(&self, path: &str, object: Value) -> Value {
        request(&self.client, Method::POST, path, None, Some(&object))
            .await
            .unwrap()
    }

    pub(crate) async fn patch(&self, path: &str, patch_type: &str, patch: Value) -> Value {
        request(&self.client, Method::PATCH, path, Some(patch_type), Some(&patch))
            .await
            .unwrap()
    }

    pub(crate) async fn merge(&self, path: &str, patch: Value) -> Value {
        self.patch(path, MERGE, patch).await
    }

    pub(crate) async fn delete(&self, path: &str, policy: &str) {
        let options = json!({"propagationPolicy": policy});
        request(&self.client, Method::DELETE, path, None, Some(&options))
            .await
            .unwrap();
    }

    /// Waits, in virtual time, until the object satisfies the condition. One that is not there is `Null`.
    pub(crate) async fn until(&self, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..20_000 {
            let object = self.find(path).await.unwrap_or_default();
            if holds(&object) {
                return object;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what} never came true: {:#?}", self.find(path).await);
    }

    /// Waits until a list has so many items.
    pub(crate) async fn until_count(&self, path: &str, count: usize) {
        let is_it = |list: &Value| list["items"].as_array().is_some_and(|items| items.len() == count);
        self.until(path, &format!("{count} items"), is_it).await;
    }

    pub(crate) async fn until_ready(&self, path: &str) -> Value {
        self.until(path, "ready", |object| condition(object, "Ready") == "True")
            .await
    }

    pub(crate) async fn until_gone(&self, path: &str) {
        self.until(path, "gone", Value::is_null).await;
    }
}

/// Status of a condition, empty if there is none.
pub(crate) fn condition(object: &Value, kind: &str) -> String {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind)
        .and_then(|condition| condition["status"].as_str())
        .unwrap_or_default()
        .to_owned()
}
