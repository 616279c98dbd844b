//! The invariants, checked on the audit log of a real API server: the true order of all writes, whoever made them.
//!
//! Source: design.md section 5, S1, S2, S3 and S8.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use pitstop_api::keys;
use serde::Deserialize;
use serde_json::Value;

use crate::objects::{is_ready, node_of, owner, text};

/// One write, as the API server noted it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Write {
    pub(crate) verb: String,
    pub(crate) user: User,
    #[serde(default)]
    pub(crate) object_ref: ObjectRef,
    #[serde(default)]
    pub(crate) response_status: ResponseStatus,
    #[serde(default)]
    response_object: Value,
    /// When the request came in.
    #[serde(rename = "requestReceivedTimestamp")]
    pub(crate) received_at: Timestamp,
    /// When it was answered.
    #[serde(rename = "stageTimestamp")]
    pub(crate) answered_at: Timestamp,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct User {
    pub(crate) username: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ObjectRef {
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ResponseStatus {
    pub(crate) code: u16,
}

impl Write {
    /// The last write to an object, as the object tells.
    pub(crate) fn seen(resource: &str, object: Value) -> Self {
        Self {
            verb: "update".to_owned(),
            user: User::default(),
            object_ref: ObjectRef {
                resource: resource.to_owned(),
                ..ObjectRef::default()
            },
            response_status: ResponseStatus { code: 200 },
            response_object: object,
            received_at: Timestamp::UNIX_EPOCH,
            answered_at: Timestamp::UNIX_EPOCH,
        }
    }

    /// Did it succeed?
    pub(crate) fn is_done(&self) -> bool {
        (200..300).contains(&self.response_status.code)
    }

    /// The place of this write among all writes: the version that it gave its object.
    pub(crate) fn version(&self) -> Option<u64> {
        self.response_object["metadata"]["resourceVersion"]
            .as_str()?
            .parse()
            .ok()
    }

    fn shows_terminating_pod(&self) -> bool {
        self.response_object["kind"] == "Pod"
            && !self.response_object["metadata"]["deletionTimestamp"].is_null()
    }

    /// Is it about the lease of the controllers?
    pub(crate) fn is_of_the_lease(&self) -> bool {
        let lease = &self.object_ref;
        lease.resource == "leases" && lease.namespace == "kube-system" && lease.name == "pitstop-controller"
    }

    /// Is it the deletion of a pod?
    pub(crate) fn is_pod_deletion(&self) -> bool {
        self.verb == "delete" && self.object_ref.resource == "pods" && self.object_ref.subresource.is_empty()
    }
}

/// All writes of an audit log, in the order in which they were answered.
pub(crate) fn read(log: &Path) -> Vec<Write> {
    let text = std::fs::read_to_string(log).unwrap();
    // A server that was killed may have left half a line.
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// What a history of writes shows.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Pods that our upgrade deleted.
    pub(crate) n_deleted: usize,
    /// The most pods of one DaemonSet that were down at once because of that.
    pub(crate) most_down: usize,
    /// What must not have happened.
    pub(crate) violations: Vec<String>,
}

/// Follows all writes in their true order, and judges the pod deletions of `upgraders` after the version `since`.
pub(crate) fn judge(writes: &[Write], upgraders: &[&str], max_unavailable: usize, since: u64) -> Findings {
    let mut done: Vec<(u64, &Write)> = writes
        .iter()
        .filter(|write| write.is_done())
        .filter_map(|write| Some((write.version()?, write)))
        .collect();
    // A write that changed nothing is answered with the version of the one before: a status that a node patched at the
    // moment of a deletion, and that may be noted first.
    done.sort_by_key(|(version, write)| (*version, !write.is_pod_deletion()));
    let is_ours =
        |write: &Write| write.is_pod_deletion() && upgraders.contains(&write.user.username.as_str());
    // A deletion that was answered with an error of the server may have been carried out.
    let unsure: BTreeSet<&str> = writes
        .iter()
        .filter(|write| is_ours(write) && write.response_status.code >= 500)
        .map(|write| write.object_ref.name.as_str())
        .collect();
    let mut world = World::default();
    let mut findings = Findings::default();
    for (version, write) in done {
        let is_unsure = unsure.contains(write.object_ref.name.as_str()) && write.shows_terminating_pod();
        if version > since && (is_ours(write) || is_unsure) {
            world.judge_deletion(version, write, max_unavailable, &mut findings);
        }
        world.apply(write);
        if version > since {
            world.judge_identities(version, &mut findings);
        }
    }
    findings
}

#[derive(Debug)]
struct Pod {
    name: String,
    daemonset: String,
    node: String,
    hash: String,
    is_ready: bool,
    is_terminating: bool,
}

#[derive(Debug, Default)]
struct World {
    /// By uid.
    pods: BTreeMap<String, Pod>,
    /// Nodes that are Ready.
    ready_nodes: BTreeSet<String>,
    /// The newest revision of a DaemonSet: number and hash.
    revisions: BTreeMap<String, (i64, String)>,
    /// Nodes of a DaemonSet on which we deleted a pod and no new one is available yet.
    debts: BTreeMap<String, BTreeSet<String>>,
    /// What was written last.
    touched: Option<(String, String)>,
}

impl World {
    fn judge_deletion(&mut self, version: u64, write: &Write, allowed: usize, findings: &mut Findings) {
        let uid = write.response_object["metadata"]["uid"]
            .as_str()
            .unwrap_or_default();
        let Some(pod) = self.pods.get(uid) else {
            findings
                .violations
                .push(format!("{version}: a pod nobody created was deleted"));
            return;
        };
        if pod.is_terminating {
            return;
        }
        findings.n_deleted += 1;
        let Pod { name, node, .. } = pod;
        if !self.ready_nodes.contains(node) {
            findings.violations.push(format!(
                "S3 at {version}: {name} was deleted on {node}, which is not Ready"
            ));
        }
        let newest = self.revisions.get(&pod.daemonset);
        if pod.is_ready && newest.is_some_and(|(_, hash)| *hash == pod.hash) {
            findings.violations.push(format!(
                "S2 at {version}: {name} was up to date and Ready when it was deleted"
            ));
        }
        if !pod.is_ready {
            return;
        }
        let debts = self.debts.entry(pod.daemonset.clone()).or_default();
        debts.insert(node.clone());
        findings.most_down = findings.most_down.max(debts.len());
        if debts.len() > allowed {
            findings.violations.push(format!(
                "S1 at {version}: with {name}, {} pods are down because of us, and {allowed} are allowed: {debts:?}",
                debts.len()
            ));
        }
    }

    fn judge_identities(&mut self, version: u64, findings: &mut Findings) {
        let Some((daemonset, node)) = self.touched.take() else {
            return;
        };
        let running: Vec<&str> = self
            .pods
            .values()
            .filter(|pod| pod.daemonset == daemonset && pod.node == node && !pod.is_terminating)
            .map(|pod| pod.name.as_str())
            .collect();
        if running.len() > 1 {
            findings
                .violations
                .push(format!("S8 at {version}: {running:?} run on {node} at once"));
        }
    }

    fn apply(&mut self, write: &Write) {
        let object = &write.response_object;
        match write.object_ref.resource.as_str() {
            "pods" if object["kind"] == "Pod" => self.apply_pod(write, object),
            "nodes" if object["kind"] == "Node" => {
                let name = text(&object["metadata"]["name"]);
                if write.verb != "delete" && is_ready(object) {
                    self.ready_nodes.insert(name);
                } else {
                    self.ready_nodes.remove(&name);
                }
            }
            "controllerrevisions" if write.verb != "delete" => {
                let number = object["revision"].as_i64().unwrap_or_default();
                let hash = text(&object["metadata"]["labels"][keys::REVISION_HASH]);
                let newest = self.revisions.entry(owner(object)).or_default();
                if number >= newest.0 {
                    *newest = (number, hash);
                }
            }
            _ => {}
        }
    }

    fn apply_pod(&mut self, write: &Write, object: &Value) {
        let uid = text(&object["metadata"]["uid"]);
        let is_terminating = !object["metadata"]["deletionTimestamp"].is_null();
        let no_grace = object["metadata"]["deletionGracePeriodSeconds"] == 0;
        let is_gone = write.verb == "delete" && (no_grace || !is_terminating);
        let pod = Pod {
            name: text(&object["metadata"]["name"]),
            daemonset: owner(object),
            node: node_of(object),
            hash: text(&object["metadata"]["labels"][keys::REVISION_HASH]),
            is_ready: is_ready(object),
            is_terminating,
        };
        self.touched = Some((pod.daemonset.clone(), pod.node.clone()));
        if is_gone {
            self.pods.remove(&uid);
            return;
        }
        if pod.is_ready
            && !pod.is_terminating
            && let Some(debts) = self.debts.get_mut(&pod.daemonset)
        {
            debts.remove(&pod.node);
        }
        self.pods.insert(uid, pod);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const US: &str = "pitstop";

    fn mk_write(verb: &str, user: &str, resource: &str, object: impl Into<Value>) -> Write {
        serde_json::from_value(json!({
            "verb": verb,
            "user": {"username": user},
            "objectRef": {"resource": resource},
            "responseStatus": {"code": 200},
            "responseObject": object.into(),
            "requestReceivedTimestamp": "2026-01-01T00:00:00Z",
            "stageTimestamp": "2026-01-01T00:00:00Z",
        }))
        .unwrap()
    }

    fn mk_pod(version: u64, name: &str, node: &str, hash: &str, ready: &str) -> Value {
        json!({
            "kind": "Pod",
            "metadata": {
                "name": name, "uid": name, "resourceVersion": version.to_string(),
                "labels": {(keys::REVISION_HASH): hash},
                "ownerReferences": [{"uid": "ds", "controller": true}],
            },
            "spec": {"nodeName": node},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        })
    }

    fn mk_node(version: u64, name: &str, ready: &str) -> Value {
        json!({
            "kind": "Node",
            "metadata": {"name": name, "resourceVersion": version.to_string()},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        })
    }

    fn mk_revision(version: u64, number: i64, hash: &str) -> Value {
        json!({
            "kind": "ControllerRevision", "revision": number,
            "metadata": {
                "resourceVersion": version.to_string(), "labels": {(keys::REVISION_HASH): hash},
                "ownerReferences": [{"uid": "ds", "controller": true}],
            },
        })
    }

    fn deleted(mut pod: Value, version: u64) -> Value {
        pod["metadata"]["resourceVersion"] = json!(version.to_string());
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:30Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
        pod
    }

    /// Two nodes with a Ready pod each; revision `new` is the newest.
    fn mk_history() -> Vec<Write> {
        vec![
            mk_write("patch", "node", "nodes", mk_node(1, "n1", "True")),
            mk_write("patch", "node", "nodes", mk_node(2, "n2", "True")),
            mk_write("patch", "node", "pods", mk_pod(3, "p1", "n1", "old", "True")),
            mk_write("patch", "node", "pods", mk_pod(4, "p2", "n2", "old", "True")),
            mk_write("create", "kcm", "controllerrevisions", mk_revision(5, 2, "new")),
        ]
    }

    #[test]
    fn a_deletion_within_the_budget_is_right() {
        let mut history = mk_history();
        history.push(mk_write(
            "delete",
            US,
            "pods",
            deleted(mk_pod(3, "p1", "n1", "old", "True"), 6),
        ));
        history.push(mk_write(
            "patch",
            "node",
            "pods",
            mk_pod(7, "p3", "n1", "new", "True"),
        ));
        history.push(mk_write(
            "delete",
            US,
            "pods",
            deleted(mk_pod(4, "p2", "n2", "old", "True"), 8),
        ));
        let findings = judge(&history, &[US], 1, 0);
        assert_eq!(findings.violations, Vec::<String>::new());
        assert_eq!((findings.n_deleted, findings.most_down), (2, 1));
    }

    #[test]
    fn each_broken_invariant_is_found() {
        let delete = |name: &str, node: &str, hash: &str, version| {
            mk_write(
                "delete",
                US,
                "pods",
                deleted(mk_pod(0, name, node, hash, "True"), version),
            )
        };
        let both = vec![delete("p1", "n1", "old", 6), delete("p2", "n2", "old", 7)];
        let away = vec![
            mk_write("patch", "kcm", "nodes", mk_node(6, "n1", "Unknown")),
            delete("p1", "n1", "old", 7),
        ];
        let up_to_date = vec![
            mk_write("create", "kcm", "controllerrevisions", mk_revision(6, 3, "old")),
            delete("p1", "n1", "old", 7),
        ];
        let twins = vec![mk_write(
            "patch",
            "node",
            "pods",
            mk_pod(6, "p3", "n1", "new", "False"),
        )];
        for (invariant, more) in [("S1", both), ("S3", away), ("S2", up_to_date), ("S8", twins)] {
            let mut history = mk_history();
            history.extend(more);
            let found = judge(&history, &[US], 1, 0).violations;
            assert_eq!(found.len(), 1, "{invariant}: {found:?}");
            assert!(found[0].starts_with(invariant), "{found:?}");
        }
    }

    #[test]
    fn a_deletion_that_took_place_in_spite_of_an_error_counts() {
        let mut history = mk_history();
        let mut failed = mk_write("delete", US, "pods", json!({"kind": "Status"}));
        failed.response_status.code = 504;
        failed.object_ref.name = "p1".to_owned();
        let mut seen = mk_write(
            "patch",
            "node",
            "pods",
            deleted(mk_pod(0, "p1", "n1", "old", "True"), 6),
        );
        seen.object_ref.name = "p1".to_owned();
        history.extend([failed, seen]);
        assert_eq!(judge(&history, &[US], 1, 0).n_deleted, 1);
        history.push(mk_write(
            "delete",
            US,
            "pods",
            deleted(mk_pod(0, "p2", "n2", "old", "True"), 7),
        ));
        assert_eq!(judge(&history, &[US], 1, 0).violations.len(), 1);
    }

    #[test]
    fn a_write_that_changed_nothing_hides_no_deletion() {
        let mut history = mk_history();
        let pod = deleted(mk_pod(0, "p1", "n1", "old", "True"), 6);
        history.push(mk_write("patch", "node", "pods", pod.clone()));
        history.push(mk_write("delete", US, "pods", pod));
        let findings = judge(&history, &[US], 1, 0);
        assert_eq!((findings.n_deleted, findings.violations.len()), (1, 0));
    }

    #[test]
    fn the_order_is_that_of_the_versions() {
        let mut history = mk_history();
        history.push(mk_write(
            "delete",
            US,
            "pods",
            deleted(mk_pod(0, "p2", "n2", "old", "True"), 8),
        ));
        // Answered later, but written before.
        history.push(mk_write(
            "delete",
            US,
            "pods",
            deleted(mk_pod(0, "p1", "n1", "old", "True"), 6),
        ));
        history.push(mk_write(
            "patch",
            "node",
            "pods",
            mk_pod(7, "p3", "n1", "new", "True"),
        ));
        assert_eq!(judge(&history, &[US], 1, 0).violations, Vec::<String>::new());
    }
}
