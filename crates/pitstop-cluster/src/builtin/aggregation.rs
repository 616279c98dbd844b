//! Cluster roles that collect the rules of others, by labels.
//!
//! Source: embedded-cluster.md 13; as upstream's clusterrole-aggregation-controller does it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::Method;
use kube::Client;
use pitstop_api::selector::LabelSelector;
use pitstop_api::view::MetaWire;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::informer::{self, Change, Object, encode, send};

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const MERGE: &str = "application/merge-patch+json";

/// A cluster role, as far as it matters here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Role {
    metadata: MetaWire,
    rules: Vec<Value>,
    aggregation_rule: Option<AggregationRule>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AggregationRule {
    cluster_role_selectors: Vec<LabelSelector>,
}

impl Object for Role {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}

/// Starts it. Must be called within a tokio runtime; aborted, it stops.
pub(crate) fn spawn(client: Client) -> JoinHandle<()> {
    tokio::spawn(run(client))
}

async fn run(client: Client) {
    let mut changes = informer::watch::<Role>(client.clone(), ROLES);
    let mut roles = Roles::default();
    while let Some(change) = changes.recv().await {
        roles.apply(change);
        // Whatever has come meanwhile is one look.
        while let Ok(change) = changes.try_recv() {
            roles.apply(change);
        }
        for (name, rules) in roles.outdated() {
            let path = format!("{ROLES}/{name}");
            let body = json!({ "rules": rules });
            if let Err(error) = send(&client, Method::PATCH, &path, Some(MERGE), Some(encode(&body))).await {
                tracing::debug!(%error, name, "a cluster role could not be brought up to date");
            }
        }
    }
}

/// Every cluster role by name.
#[derive(Debug, Default)]
struct Roles {
    by_name: BTreeMap<String, Arc<Role>>,
    is_synced: bool,
}

impl Roles {
    fn apply(&mut self, change: Change<Role>) {
        match change {
            Change::Applied(role) => {
                self.by_name.insert(role.metadata.name.clone(), role);
            }
            Change::Deleted(role) => {
                self.by_name.remove(&role.metadata.name);
            }
            Change::Synced => self.is_synced = true,
        }
    }

    /// The roles that collect, whose rules are not what they collect, with what they should be.
    fn outdated(&self) -> Vec<(String, Vec<Value>)> {
        if !self.is_synced {
            return Vec::new();
        }
        let collecting = self
            .by_name
            .iter()
            .filter_map(|(name, role)| Some((name, role, role.aggregation_rule.as_ref()?)));
        collecting
            .filter_map(|(name, role, rule)| {
                let rules = self.collected(name, rule);
                (rules != role.rules).then(|| (name.clone(), rules))
            })
            .collect()
    }

    /// In the order of selectors and names, each rule once.
    fn collected(&self, name: &str, rule: &AggregationRule) -> Vec<Value> {
        let mut rules = Vec::new();
        let mut seen = BTreeSet::new();
        for selector in rule
            .cluster_role_selectors
            .iter()
            .filter_map(LabelSelector::selector)
        {
            for (other, role) in &self.by_name {
                if other == name || !selector.matches(&role.metadata.labels) {
                    continue;
                }
                let new = role.rules.iter().filter(|rule| seen.insert(rule.to_string()));
                rules.extend(new.cloned());
            }
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(value: Value) -> Arc<Role> {
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn rules_are_collected_once_in_the_order_of_names() {
        let mut roles = Roles::default();
        let (get, list) = (json!({"verbs": ["get"]}), json!({"verbs": ["list"]}));
        let mut apply = |value| roles.apply(Change::Applied(role(value)));
        apply(json!({
            "metadata": {"name": "all", "labels": {"to": "all"}}, "rules": [],
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "all"}}]},
        }));
        apply(json!({"metadata": {"name": "z", "labels": {"to": "all"}}, "rules": [get]}));
        apply(json!({"metadata": {"name": "b", "labels": {"to": "all"}}, "rules": [list, get]}));
        apply(json!({"metadata": {"name": "c", "labels": {"to": "none"}}, "rules": [{"verbs": ["delete"]}]}));
        assert_eq!(roles.outdated(), Vec::new(), "not everything has been seen");
        roles.apply(Change::Synced);
        assert_eq!(
            roles.outdated(),
            [("all".to_owned(), vec![list.clone(), get.clone()])]
        );
        let done = json!({
            "metadata": {"name": "all"}, "rules": [list, get],
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "all"}}]},
        });
        roles.apply(Change::Applied(role(done)));
        assert_eq!(roles.outdated(), Vec::new());
    }
}
