//! Selectors, paging, watches and tables.

use serde_json::json;

use super::writes::{daemon_set, map, pod};
use crate::sequence::{Class, MERGE, Sequence, TABLE, seq};

pub(super) fn all() -> Vec<Sequence> {
    [selectors(), paging(), watches(), tables()].concat()
}

/// Three secrets with labels.
fn three(name: &'static str, class: Class) -> Sequence {
    let secret = |name: &str, labels| json!({"metadata": {"name": name, "labels": labels}});
    seq(name, class)
        .post("secrets", secret("a", json!({"app": "x", "tier": "front"})))
        .post("secrets", secret("b", json!({"app": "x"})))
        .post("secrets", secret("c", json!({"app": "y"})))
}

fn selectors() -> Vec<Sequence> {
    let by = |name, query: &str| three(name, Class::Selector).get(&format!("secrets?{query}"));
    vec![
        by("select-equal", "labelSelector=app%3Dx"),
        by("select-double-equal", "labelSelector=app%3D%3Dx"),
        by("select-not-equal", "labelSelector=app!%3Dx"),
        by("select-in", "labelSelector=app+in+(x,y)"),
        by("select-not-in", "labelSelector=app+notin+(x)"),
        by("select-exists", "labelSelector=tier"),
        by("select-not-exists", "labelSelector=!tier"),
        by("select-both", "labelSelector=app%3Dx,tier%3Dfront"),
        by("select-none", "labelSelector=app%3Dz"),
        by("select-bad", "labelSelector=app%3D%3D%3Dx"),
        by("select-bad-in", "labelSelector=app+in+x"),
        by("select-bad-key", "labelSelector=a/b/c%3Dx"),
        by("select-name", "fieldSelector=metadata.name%3Db"),
        by("select-not-name", "fieldSelector=metadata.name!%3Db"),
        by("select-namespace", "fieldSelector=metadata.namespace%3Dother"),
        by("select-type", "fieldSelector=type%3DOpaque"),
        by("select-bad-field", "fieldSelector=spec.x%3Db"),
        by("select-bad-syntax", "fieldSelector=nothing"),
        seq("select-pod-phase", Class::Selector)
            .post("pods", pod("a"))
            .get("pods?fieldSelector=status.phase%3DPending"),
        seq("select-pod-node", Class::Selector)
            .post("pods", pod("a"))
            .get("pods?fieldSelector=spec.nodeName%3D"),
        seq("select-pod-host", Class::Selector)
            .post("pods", pod("a"))
            .get("pods?fieldSelector=spec.hostNetwork%3Dtrue"),
    ]
}

fn paging() -> Vec<Sequence> {
    let s = |name| three(name, Class::Paging);
    let next = |s: Sequence, limit: &str| {
        s.get(&format!("secrets?limit={limit}"))
            .keep("next", "/metadata/continue")
            .keep("rv", "/metadata/resourceVersion")
    };
    vec![
        next(s("page-one"), "1").get("secrets?limit=1&continue=$(next)"),
        next(s("page-two"), "2").get("secrets?limit=2&continue=$(next)"),
        next(s("page-exact"), "3"),
        next(s("page-more"), "10"),
        next(s("page-none"), "0"),
        next(s("page-negative"), "-1"),
        next(s("page-text"), "x"),
        next(s("page-new-object"), "1")
            .post("secrets", json!({"metadata": {"name": "aa"}}))
            .get("secrets?limit=5&continue=$(next)"),
        next(s("page-deleted"), "1")
            .delete("secrets/c")
            .get("secrets?continue=$(next)"),
        next(s("page-with-version"), "1").get("secrets?limit=1&continue=$(next)&resourceVersion=$(rv)"),
        s("page-bad-token").get("secrets?limit=1&continue=x"),
        s("page-selector").get("secrets?limit=1&labelSelector=app%3Dx"),
        // As new as the last one: a real server may answer from a cache that has not seen it yet.
        s("page-match-not-older")
            .get("secrets/c")
            .keep("rv", "/metadata/resourceVersion")
            .get("secrets?resourceVersion=$(rv)&resourceVersionMatch=NotOlderThan"),
        s("page-match-alone").get("secrets?resourceVersionMatch=Exact"),
        s("page-match-unknown").get("secrets?resourceVersion=1&resourceVersionMatch=Some"),
        s("page-match-zero").get("secrets?resourceVersion=0&resourceVersionMatch=Exact"),
        s("page-bad-version").get("secrets?resourceVersion=x"),
        // Any version will do, also one from before; the first list makes the cache of a real server know the newest.
        s("page-any-version")
            .get("secrets")
            .get("secrets?resourceVersion=0&limit=1"),
    ]
}

fn watches() -> Vec<Sequence> {
    let start = |name| {
        seq(name, Class::Watch)
            .post(
                "secrets",
                json!({"metadata": {"name": "a", "labels": {"app": "x"}}}),
            )
            .keep("rv", "/metadata/resourceVersion")
    };
    let changed = |name| start(name).patch("secrets/a", MERGE, json!({"metadata": {"labels": {"app": "y"}}}));
    let from = "secrets?watch=true&timeoutSeconds=3&resourceVersion=$(rv)";
    vec![
        start("watch-added").watch("secrets?watch=true&timeoutSeconds=3", 1),
        start("watch-from-zero")
            .get("secrets")
            .watch("secrets?watch=true&timeoutSeconds=3&resourceVersion=0", 1),
        changed("watch-modified").watch(from, 1),
        changed("watch-deleted").delete("secrets/a").watch(from, 2),
        changed("watch-leaves-selector").watch(&format!("{from}&labelSelector=app%3Dx"), 1),
        changed("watch-enters-selector").watch(&format!("{from}&labelSelector=app%3Dy"), 1),
        start("watch-field").watch(
            "secrets?watch=true&timeoutSeconds=3&fieldSelector=metadata.name%3Da",
            1,
        ),
        start("watch-list").watch(
            "secrets?watch=true&timeoutSeconds=3&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
             &allowWatchBookmarks=true",
            2,
        ),
        start("watch-list-alone").watch("secrets?watch=true&timeoutSeconds=3&sendInitialEvents=true", 2),
        start("watch-list-exact").watch(
            "secrets?watch=true&timeoutSeconds=3&sendInitialEvents=true&resourceVersionMatch=Exact",
            2,
        ),
        start("watch-match").watch(
            "secrets?watch=true&timeoutSeconds=3&resourceVersionMatch=NotOlderThan",
            1,
        ),
        start("watch-old").watch("secrets?watch=true&timeoutSeconds=3&resourceVersion=x", 1),
        start("watch-continue").watch("secrets?watch=true&timeoutSeconds=3&continue=x", 1),
        start("watch-table")
            .watch("secrets?watch=true&timeoutSeconds=3", 1)
            .header("accept", TABLE),
        start("watch-one").get("secrets/a?watch=true&timeoutSeconds=3"),
        start("watch-metadata")
            .watch("secrets?watch=true&timeoutSeconds=3", 1)
            .header(
                "accept",
                "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
            ),
    ]
}

fn tables() -> Vec<Sequence> {
    let t = |s: Sequence, path: &str| s.get(path).header("accept", TABLE);
    let s = |name| seq(name, Class::Table);
    let maps = |name| s(name).post("configmaps", map("a"));
    let pods = |name| s(name).post("pods", pod("a"));
    vec![
        t(maps("table-map"), "configmaps/a"),
        t(maps("table-map-missing"), "configmaps/b"),
        t(maps("table-map-no-object"), "configmaps/a?includeObject=None"),
        t(maps("table-map-whole"), "configmaps/a?includeObject=Object"),
        t(maps("table-map-bad-object"), "configmaps/a?includeObject=Some"),
        t(pods("table-pod"), "pods/a"),
        t(pods("table-pods"), "pods"),
        t(pods("table-pods-none"), "pods?labelSelector=x%3Dy"),
        t(
            s("table-set").post("apps/daemonsets", daemon_set("a")),
            "apps/daemonsets/a",
        ),
        t(
            s("table-secret").post(
                "secrets",
                json!({"metadata": {"name": "a"}, "data": {"k": "dg=="}}),
            ),
            "secrets",
        ),
        t(s("table-namespace"), "/api/v1/namespaces/$(ns)"),
        t(s("table-account"), "serviceaccounts/default"),
        t(
            s("table-lease").post(
                "coordination.k8s.io/leases",
                json!({"metadata": {"name": "a"}, "spec": {"holderIdentity": "me"}}),
            ),
            "coordination.k8s.io/leases",
        ),
        t(
            s("table-revision").post(
                "apps/controllerrevisions",
                json!({"metadata": {"name": "a"}, "revision": 3, "data": {}}),
            ),
            "apps/controllerrevisions",
        ),
        t(
            s("table-service").post(
                "services",
                json!({"metadata": {"name": "a"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}),
            ),
            "services",
        ),
        s("table-old-version")
            .post("configmaps", map("a"))
            .get("configmaps/a")
            .header("accept", "application/json;as=Table;v=v1beta1;g=meta.k8s.io"),
        s("table-only-unknown")
            .post("configmaps", map("a"))
            .get("configmaps/a")
            .header("accept", "application/json;as=Chair;v=v1;g=meta.k8s.io"),
    ]
}
