//! Answers are those of kube-apiserver 1.34 to the same questions.

use serde_json::{Value, json};

use super::nodes::{self, Objects, Write};
use super::policy::{self, Policy, Rule};
use super::*;

fn asked(method: &Method, url: &str) -> Attributes {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    Attributes::of(method, path, &segments, |name| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value)
    })
}

/// embedded-cluster.md 2 and 15; the texts are the server's own.
#[test]
fn a_refusal_says_what_was_asked_for() {
    let cases = [
        (
            Method::GET,
            "/api/v1/namespaces/default/pods",
            r#"list resource "pods" in API group "" in the namespace "default""#,
        ),
        (
            Method::GET,
            "/api/v1/pods?watch=true",
            r#"watch resource "pods" in API group "" at the cluster scope"#,
        ),
        (
            Method::GET,
            "/apis/apps/v1/namespaces/a/daemonsets/x/status",
            r#"get resource "daemonsets/status" in API group "apps" in the namespace "a""#,
        ),
        (
            Method::POST,
            "/api/v1/namespaces",
            r#"create resource "namespaces" in API group "" at the cluster scope"#,
        ),
        (
            Method::GET,
            "/api/v1/namespaces/default",
            r#"get resource "namespaces" in API group "" in the namespace "default""#,
        ),
        (
            Method::PUT,
            "/api/v1/namespaces/a/finalize",
            r#"update resource "namespaces/finalize" in API group "" in the namespace "a""#,
        ),
        (
            Method::DELETE,
            "/api/v1/namespaces/a/pods",
            r#"deletecollection resource "pods" in API group "" in the namespace "a""#,
        ),
        (
            Method::PATCH,
            "/api/v1/nodes/n",
            r#"patch resource "nodes" in API group "" at the cluster scope"#,
        ),
        (Method::GET, "/foo", r#"get path "/foo""#),
        (Method::GET, "/apis/apps/v1", r#"get path "/apis/apps/v1""#),
    ];
    for (method, url, wanted) in cases {
        assert_eq!(asked(&method, url).to_string(), wanted, "{url}");
    }
    let bob = User::named("bob");
    let attributes = asked(&Method::GET, "/api/v1/nodes");
    assert_eq!(
        attributes.refusal(&bob, "because"),
        r#"User "bob" cannot list resource "nodes" in API group "" at the cluster scope: because"#
    );
}

#[test]
fn who_may_read_one_may_list_and_watch_it() {
    let one = asked(
        &Method::GET,
        "/api/v1/namespaces/a/pods?fieldSelector=metadata.name=x&watch=1",
    );
    assert_eq!((one.verb.as_str(), one.name.as_str()), ("watch", "x"));
    let node = asked(&Method::GET, "/api/v1/pods?fieldSelector=spec.nodeName=n");
    assert_eq!(node.node_selector.as_deref(), Some("n"));
}

#[test]
fn groups_follow_from_names() {
    let groups = |name: &str| User::named(name).groups;
    assert_eq!(groups("bob"), ["system:authenticated"]);
    assert_eq!(groups("system:node:a"), ["system:nodes", "system:authenticated"]);
    assert_eq!(groups("system:anonymous"), ["system:unauthenticated"]);
    assert_eq!(
        groups("system:serviceaccount:a:b"),
        [
            "system:serviceaccounts",
            "system:serviceaccounts:a",
            "system:authenticated"
        ]
    );
    assert_eq!(account_of("system:serviceaccount:a:b:c"), None);
}

fn rule(value: Value) -> Rule {
    serde_json::from_value(value).unwrap()
}

#[test]
fn rules_match_by_verb_group_resource_and_name() {
    let pods = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
    let cases = [
        (pods.clone(), "/api/v1/namespaces/a/pods/x", true),
        (pods.clone(), "/api/v1/namespaces/a/pods/x/status", false),
        (pods.clone(), "/api/v1/namespaces/a/pods", false),
        (pods, "/apis/apps/v1/namespaces/a/pods/x", false),
        (
            json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
            "/apis/b/v1/foos/x/status",
            true,
        ),
        (
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods/status"]}),
            "/api/v1/namespaces/a/pods/x/status",
            true,
        ),
        (
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods/status"]}),
            "/api/v1/namespaces/a/pods/x",
            false,
        ),
        (
            json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["*/status"]}),
            "/apis/apps/v1/namespaces/a/daemonsets/x/status",
            true,
        ),
        (
            json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["*/status"]}),
            "/apis/apps/v1/namespaces/a/daemonsets/x",
            false,
        ),
        (
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["x"]}),
            "/api/v1/namespaces/a/pods/x",
            true,
        ),
        (
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["x"]}),
            "/api/v1/namespaces/a/pods/y",
            false,
        ),
        (
            json!({"verbs": ["get"], "nonResourceURLs": ["/healthz"]}),
            "/healthz",
            true,
        ),
        (
            json!({"verbs": ["get"], "nonResourceURLs": ["/api/*"]}),
            "/api/v1",
            true,
        ),
        (
            json!({"verbs": ["get"], "nonResourceURLs": ["/api/*"]}),
            "/apis",
            false,
        ),
        (
            json!({"verbs": ["get"], "nonResourceURLs": ["*"]}),
            "/foo/bar",
            true,
        ),
        (
            json!({"verbs": ["get"], "nonResourceURLs": ["*"]}),
            "/api/v1/namespaces/a/pods/x",
            false,
        ),
        (
            json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
            "/healthz",
            false,
        ),
    ];
    for (value, url, wanted) in cases {
        assert_eq!(
            rule(value.clone()).allows(&asked(&Method::GET, url)),
            wanted,
            "{value} {url}"
        );
    }
}

fn policy() -> Policy {
    let mut policy = Policy::default();
    let rules = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    policy.add_role(json!({"metadata": {"name": "reader"}, "rules": rules}));
    policy.add_role(json!({"metadata": {"name": "r", "namespace": "a"}, "rules": rules}));
    let binding = |name: &str, namespace: Option<&str>, kind: &str, role: &str, subjects: Value| {
        json!({
            "metadata": {"name": name, "namespace": namespace.unwrap_or_default()},
            "roleRef": {"kind": kind, "name": role}, "subjects": subjects,
        })
    };
    let user = |name: &str| json!([{"kind": "User", "name": name}]);
    policy.add_binding(binding(
        "all",
        None,
        "ClusterRole",
        "reader",
        json!([{"kind": "Group", "name": "ops"}]),
    ));
    policy.add_binding(binding("one", Some("a"), "Role", "r", user("bob")));
    policy.add_binding(binding(
        "two",
        Some("b"),
        "ClusterRole",
        "reader",
        json!([{"kind": "ServiceAccount", "name": "sa"}]),
    ));
    policy.add_binding(binding("lost", Some("c"), "Role", "nope", user("bob")));
    policy
}

#[test]
fn bindings_give_rights_to_users_groups_and_service_accounts() {
    let policy = policy();
    let mut ops = User::named("ann");
    ops.groups.push("ops".to_owned());
    let account = User::named("system:serviceaccount:b:sa");
    let get = |namespace: &str| asked(&Method::GET, &format!("/api/v1/namespaces/{namespace}/pods/x"));
    let bob = User::named("bob");
    let cases = [
        (
            &ops,
            "z",
            true,
            r#"RBAC: allowed by ClusterRoleBinding "all" of ClusterRole "reader" to Group "ops""#,
        ),
        (
            &bob,
            "a",
            true,
            r#"RBAC: allowed by RoleBinding "one/a" of Role "r" to User "bob""#,
        ),
        (&bob, "b", false, ""),
        (
            &bob,
            "c",
            false,
            r#"RBAC: role.rbac.authorization.k8s.io "nope" not found"#,
        ),
        (
            &account,
            "b",
            true,
            r#"RBAC: allowed by RoleBinding "two/b" of ClusterRole "reader" to ServiceAccount "sa/b""#,
        ),
        (&account, "a", false, ""),
    ];
    for (user, namespace, allowed, reason) in cases {
        let decision = policy.decide(user, &get(namespace));
        assert_eq!(
            (decision.allowed, decision.reason.as_str()),
            (allowed, reason),
            "{} {namespace}",
            user.name
        );
    }
    assert!(
        policy
            .decide(&User::named("root").into_master(), &get("z"))
            .allowed
    );
    assert_eq!(policy.held(&bob, "a").rules.len(), 1);
    assert_eq!(policy.held(&bob, "").rules.len(), 0);
}

#[test]
fn nobody_gives_away_more_than_they_have() {
    let held = [rule(
        json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}),
    )];
    let wanted = [rule(
        json!({"verbs": ["get", "list", "watch"], "apiGroups": ["", "apps"], "resources": ["pods"]}),
    )];
    let missing = policy::missing(&held, &wanted);
    let mut bob = User::named("bob");
    bob.groups.insert(0, "dev".to_owned());
    assert_eq!(
        policy::escalation(&bob, &missing, &[]),
        "user \"bob\" (groups=[\"dev\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"watch\"]}\n\
         {APIGroups:[\"apps\"], Resources:[\"pods\"], Verbs:[\"get\" \"list\" \"watch\"]}"
    );
    let all = [rule(
        json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
    )];
    assert_eq!(policy::missing(&all, &wanted), []);
    let named = [rule(
        json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["x"]}),
    )];
    assert_eq!(policy::missing(&held, &named), [], "one of all");
    assert_eq!(policy::missing(&named, &held).len(), 1, "all are more than one");
}

/// The defaults are those of a real server, and their parts are read.
#[test]
fn the_default_roles_are_read() {
    let objects = defaults::objects();
    let of_kind = |kind: &str| {
        objects
            .iter()
            .filter(|object| object.get("kind") == Some(&json!(kind)))
            .count()
    };
    assert_eq!(
        [
            of_kind("ClusterRole"),
            of_kind("Role"),
            of_kind("ClusterRoleBinding"),
            of_kind("RoleBinding")
        ],
        [69, 7, 50, 7]
    );
    assert!(defaults::node_rules().len() > 20);
}

struct World;

impl Objects for World {
    fn pod(&self, _: &str, name: &str) -> Option<Value> {
        self.pods_on("default", "n1")
            .into_iter()
            .chain(self.pods_on("default", "n2"))
            .find(|pod| pod.pointer("/metadata/name") == Some(&json!(name)))
    }

    fn pods_on(&self, _: &str, node: &str) -> Vec<Value> {
        vec![json!({
            "metadata": {"name": format!("on-{node}"), "uid": "u"},
            "spec": {
                "nodeName": node, "serviceAccountName": format!("sa-{node}"),
                "volumes": [
                    {"secret": {"secretName": format!("secret-{node}")}},
                    {"persistentVolumeClaim": {"claimName": format!("claim-{node}")}},
                    {"projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}},
                ],
                "containers": [{"envFrom": [{"configMapRef": {"name": "env"}}]}],
            },
        })]
    }

    fn claim_of(&self, volume: &str) -> Option<(String, String)> {
        Some(("default".to_owned(), volume.replace("volume", "claim")))
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn a_node_reads_what_its_pods_need() {
    let rules = defaults::node_rules();
    let unrelated = "no relationship found between node 'n1' and this object";
    let cases = [
        (Method::GET, "/api/v1/namespaces/default/pods/on-n1", Ok(())),
        (
            Method::GET,
            "/api/v1/namespaces/default/pods/on-n2",
            Err(unrelated),
        ),
        (
            Method::GET,
            "/api/v1/pods",
            Err("can only list/watch pods with spec.nodeName field selector"),
        ),
        (Method::GET, "/api/v1/pods?fieldSelector=spec.nodeName=n1", Ok(())),
        (
            Method::GET,
            "/api/v1/pods?fieldSelector=spec.nodeName=n2",
            Err("can only list/watch pods with spec.nodeName field selector"),
        ),
        (
            Method::GET,
            "/api/v1/nodes",
            Err("node 'n1' cannot read all nodes, only its own Node object"),
        ),
        (
            Method::GET,
            "/api/v1/nodes/n2",
            Err("node 'n1' cannot read 'n2', only its own Node object"),
        ),
        (Method::GET, "/api/v1/nodes/n1", Ok(())),
        (Method::POST, "/api/v1/nodes", Ok(())),
        (Method::DELETE, "/api/v1/nodes/n1", Err("")),
        (Method::PATCH, "/api/v1/nodes/n1/status", Ok(())),
        (
            Method::GET,
            "/api/v1/namespaces/default/secrets/secret-n1",
            Ok(()),
        ),
        (
            Method::GET,
            "/api/v1/namespaces/default/secrets/secret-n2",
            Err(unrelated),
        ),
        (
            Method::GET,
            "/api/v1/namespaces/default/configmaps",
            Err("No Object name found"),
        ),
        (Method::GET, "/api/v1/namespaces/default/configmaps/env", Ok(())),
        (
            Method::GET,
            "/api/v1/namespaces/default/configmaps/kube-root-ca.crt",
            Ok(()),
        ),
        (
            Method::DELETE,
            "/api/v1/namespaces/default/configmaps/env",
            Err("can only read resources of this type"),
        ),
        (Method::GET, "/api/v1/persistentvolumes/volume-n1", Ok(())),
        (Method::GET, "/api/v1/persistentvolumes/volume-n2", Err(unrelated)),
        (
            Method::POST,
            "/api/v1/namespaces/default/serviceaccounts/sa-n1/token",
            Ok(()),
        ),
        (
            Method::POST,
            "/api/v1/namespaces/default/serviceaccounts/sa-n2/token",
            Err(unrelated),
        ),
        (
            Method::PUT,
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1",
            Ok(()),
        ),
        (
            Method::PUT,
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2",
            Err("can only access node lease with the same name as the requesting node"),
        ),
        (
            Method::POST,
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            Err("can only access leases in the \"kube-node-lease\" system namespace"),
        ),
        (Method::PATCH, "/api/v1/namespaces/default/pods/on-n1", Err("")),
        (
            Method::PATCH,
            "/api/v1/namespaces/default/pods/on-n1/status",
            Ok(()),
        ),
        (Method::GET, "/apis/apps/v1/daemonsets", Err("")),
        (Method::POST, "/api/v1/namespaces/default/events", Ok(())),
    ];
    for (method, url, wanted) in cases {
        let decision = nodes::decide("n1", &asked(&method, url), &rules, &World);
        let got = if decision.allowed {
            Ok(())
        } else {
            Err(decision.reason.as_str())
        };
        assert_eq!(got, wanted, "{method} {url}");
    }
}

/// Method, URL, what is stored, what is to be stored, and the answer.
type Attempt<'a> = (
    Method,
    &'a str,
    Option<&'a Value>,
    Option<Value>,
    Result<(), &'a str>,
);

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn a_node_writes_only_what_is_its_own() {
    let pods = "/api/v1/namespaces/default/pods";
    let node = |labels: Value| json!({"metadata": {"name": "n1", "labels": labels}});
    let plain = node(json!({}));
    let tainted = json!({"metadata": {"name": "n1", "labels": {}}, "spec": {"taints": [{"key": "a"}]}});
    let owned = json!({"metadata": {"name": "n1", "labels": {}, "ownerReferences": [{}]}});
    let (mine, other) = (World.pod("", "on-n1").unwrap(), World.pod("", "on-n2").unwrap());
    let mut labelled = mine.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let (node_path, status) = ("/api/v1/nodes/n1", format!("{pods}/on-n1/status"));
    let cases: Vec<Attempt<'_>> = vec![
        (
            Method::POST,
            pods,
            None,
            Some(mine.clone()),
            Err(
                "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n1\" can only create mirror pods",
            ),
        ),
        (
            Method::DELETE,
            "/api/v1/namespaces/default/pods/on-n2",
            Some(&other),
            None,
            Err("node \"n1\" can only delete pods with spec.nodeName set to itself"),
        ),
        (
            Method::DELETE,
            "/api/v1/namespaces/default/pods/on-n1",
            Some(&mine),
            None,
            Ok(()),
        ),
        (Method::PATCH, &status, Some(&mine), Some(mine.clone()), Ok(())),
        (
            Method::PATCH,
            &status,
            Some(&other),
            Some(other.clone()),
            Err("node \"n1\" can only update pod status for pods with spec.nodeName set to itself"),
        ),
        (
            Method::PATCH,
            &status,
            Some(&mine),
            Some(labelled),
            Err("node \"n1\" cannot update labels through pod status"),
        ),
        (
            Method::POST,
            "/api/v1/nodes",
            None,
            Some(json!({"metadata": {"name": "n2"}})),
            Err("node \"n1\" is not allowed to modify node \"n2\""),
        ),
        (Method::POST, "/api/v1/nodes", None, Some(plain.clone()), Ok(())),
        (
            Method::PATCH,
            node_path,
            Some(&plain),
            Some(tainted),
            Err("node \"n1\" is not allowed to modify taints"),
        ),
        (
            Method::PATCH,
            node_path,
            Some(&plain),
            Some(owned),
            Err("node \"n1\" is not allowed to modify ownerReferences"),
        ),
        (
            Method::PATCH,
            node_path,
            Some(&plain),
            Some(node(json!({"node-restriction.kubernetes.io/a": "b"}))),
            Err("is not allowed to modify labels: node-restriction.kubernetes.io/a"),
        ),
        (
            Method::PATCH,
            node_path,
            Some(&plain),
            Some(node(json!({"kubernetes.io/foo": "b"}))),
            Err("is not allowed to modify labels: kubernetes.io/foo"),
        ),
        (
            Method::PATCH,
            node_path,
            Some(&plain),
            Some(node(
                json!({"kubernetes.io/os": "linux", "example.com/a": "b", "node.kubernetes.io/c": "d"}),
            )),
            Ok(()),
        ),
        (
            Method::POST,
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
            None,
            Some(json!({"metadata": {"name": "n2"}})),
            Err("can only access node lease with the same name as the requesting node"),
        ),
        (
            Method::POST,
            "/api/v1/namespaces/default/serviceaccounts/sa/token",
            None,
            Some(json!({"spec": {}})),
            Err("node requested token not bound to a pod"),
        ),
    ];
    for (method, url, old, new, wanted) in cases {
        let asked = asked(&method, url);
        let write = Write {
            asked: &asked,
            old,
            new: new.as_ref(),
        };
        let got = nodes::check_write("n1", &write, &World);
        assert_eq!(got, wanted.map_err(str::to_owned), "{method} {url}");
    }
}
