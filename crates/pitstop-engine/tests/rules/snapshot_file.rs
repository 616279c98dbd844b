//! A snapshot in a file decides like one from the stores.

use pitstop_engine::daemonset::plan;
use pitstop_engine::feature_gates::FeatureGates;
use pitstop_engine::instances::Action;
use pitstop_engine::plan::render;
use pitstop_engine::snapshot::file::{AnySnapshot, Loaded, PullOf, SnapshotFile, VERSION, Workload};
use serde_json::{Value, json};

fn pod(node: &str, hash: &str) -> Value {
    json!({
        "metadata": {
            "name": format!("agent-{node}"), "namespace": "default", "resourceVersion": "7",
            "uid": format!("00000000-0000-0000-0000-0000000000{node}"),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "app": "agent", "controller-revision-hash": hash },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent",
                "uid": "00000000-0000-0000-0000-0000000000d5", "controller": true }],
        },
        "spec": { "nodeName": node, "containers": [{ "name": "agent", "image": "agent:1" }] },
        "status": { "phase": "Running", "conditions": [
            { "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
    })
}

fn node(name: &str, ready: &str) -> Value {
    json!({
        "metadata": { "name": name, "uid": format!("00000000-0000-0000-0000-0000000001{name}") },
        "status": { "conditions": [
            { "type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
    })
}

fn file() -> SnapshotFile {
    let template = json!({
        "metadata": { "labels": { "app": "agent" } },
        "spec": { "containers": [{ "name": "agent", "image": "agent:2" }] },
    });
    let mut data = template.clone();
    data["$patch"] = json!("replace");
    SnapshotFile {
        version: VERSION,
        now: "2026-01-01T01:00:00Z".parse().unwrap(),
        workload: Workload::DaemonSet(json!({
            "metadata": {
                "name": "agent", "namespace": "default", "uid": "00000000-0000-0000-0000-0000000000d5",
                "generation": 2,
                "annotations": {
                    "apps.openyurt.io/update-strategy": "auto", "apps.openyurt.io/max-unavailable": "1",
                },
            },
            "spec": {
                "selector": { "matchLabels": { "app": "agent" } }, "template": template,
                "updateStrategy": { "type": "OnDelete" },
            },
            "status": { "observedGeneration": 2 },
        })),
        revisions: vec![json!({
            "metadata": {
                "name": "agent-h2", "uid": "00000000-0000-0000-0000-0000000002e5",
                "labels": { "app": "agent", "controller-revision-hash": "h2" },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent",
                    "uid": "00000000-0000-0000-0000-0000000000d5", "controller": true }],
            },
            "revision": 2, "data": { "spec": { "template": data } },
        })],
        pods: vec![pod("c1", "h1"), pod("c2", "h1"), pod("c3", "h1"), pod("c4", "h2")],
        claims: Vec::new(),
        classes: Vec::new(),
        nodes: vec![
            node("c4", "True"),
            node("c2", "True"),
            node("c1", "False"),
            node("c3", "True"),
        ],
        failed_pods: Vec::new(),
        pulls: None,
        resizes_in_place: false,
        gates: FeatureGates::default(),
    }
}

fn plan_of(loaded: &Loaded) -> pitstop_engine::Plan {
    match loaded.snapshot() {
        AnySnapshot::DaemonSet(snapshot) => plan(&snapshot),
        AnySnapshot::CloneSet(_) | AnySnapshot::StatefulSet(_) => panic!("a file of a DaemonSet"),
    }
}

#[test]
fn a_file_is_decided_on_by_the_same_plan() {
    let text = serde_json::to_string(&file()).unwrap();
    let read: SnapshotFile = serde_json::from_str(&text).unwrap();
    let loaded = read.load().unwrap();
    let plan = plan_of(&loaded);
    assert_eq!(
        render(&plan, &loaded.names),
        "delete pod agent-c2 on c2 (Outdated)\n\
         pod agent-c1 on c1: NodeNotReady\n\
         pod agent-c2 on c2: Updating\n\
         pod agent-c3 on c3: MaxUnavailable\n"
    );
}

/// spec/README.md, `preheat`: the images of the new revision come first, also where somebody asks from a file.
#[test]
fn a_file_says_which_images_are_pulled_ahead() {
    let waits = |pulls: Option<Vec<PullOf>>| {
        let mut file = SnapshotFile { pulls, ..file() };
        file.workload.object_mut()["metadata"]["annotations"]["pitstop.io/preheat"] = json!("true");
        let text = serde_json::to_string(&file).unwrap();
        let read: SnapshotFile = serde_json::from_str(&text).unwrap();
        let loaded = read.load().unwrap();
        let plan = plan_of(&loaded);
        let rendered = render(&plan, &loaded.names);
        let of_c2 = rendered.lines().find(|line| line.starts_with("pod agent-c2"));
        of_c2.unwrap().to_owned()
    };
    assert_eq!(waits(None), "pod agent-c2 on c2: Updating", "nobody pulls");
    assert_eq!(waits(Some(Vec::new())), "pod agent-c2 on c2: PullingImages");
    let job = json!({ "metadata": { "name": "j", "uid": "00000000-0000-0000-0000-000000000077" } });
    let pull = PullOf {
        job,
        pods: vec![pod("c2", "h1")],
    };
    assert_eq!(waits(Some(vec![pull])), "pod agent-c2 on c2: PullingImages");
}

#[test]
fn a_file_of_a_newer_format_or_with_a_malformed_object_says_so() {
    let newer = SnapshotFile {
        version: VERSION + 1,
        ..file()
    };
    assert_eq!(
        newer.load().unwrap_err().to_string(),
        "version: 2 is not a format that this version reads (1 to 1)"
    );
    let mut malformed = file();
    malformed.pods[0]["metadata"]["uid"] = json!("x");
    assert_eq!(
        malformed.load().unwrap_err().to_string(),
        "metadata.uid: \"x\" is not a uid"
    );
}

#[test]
fn a_file_can_say_when_failed_pods_were_replaced() {
    let mut failing = file();
    failing.workload.object_mut()["spec"]["updateStrategy"] = json!({ "type": "RollingUpdate" });
    failing.workload.object_mut()["metadata"]["annotations"] = json!({});
    failing.pods = vec![pod("c2", "h2")];
    failing.pods[0]["status"]["phase"] = json!("Failed");
    failing.nodes.truncate(2);
    failing.nodes.remove(0);
    let mut text = serde_json::to_value(&failing).unwrap();
    text["failedPods"] =
        json!([{ "node": "c2", "generation": 2, "delaySeconds": 60, "at": "2026-01-01T00:59:30Z" }]);
    let read: SnapshotFile = serde_json::from_value(text).unwrap();
    let loaded = read.load().unwrap();
    let plan = plan_of(&loaded);
    assert_eq!(render(&plan, &loaded.names), "pod agent-c2 on c2: BackOff\n");
}

/// Which pods count, and what is done next, is decided by the same rules for a CloneSet in a file.
#[test]
fn a_file_can_be_about_a_cloneset() {
    let of_cloneset = |object: &mut Value| {
        object["metadata"]["ownerReferences"][0]["apiVersion"] = json!("apps.kruise.io/v1beta1");
        object["metadata"]["ownerReferences"][0]["kind"] = json!("CloneSet");
    };
    let mut file = file();
    let Workload::DaemonSet(mut object) = file.workload else {
        panic!()
    };
    object["spec"]["replicas"] = json!(4);
    object["spec"]["updateStrategy"] = json!({ "type": "ReCreate", "maxUnavailable": 1 });
    file.workload = Workload::CloneSet(object);
    file.pods.iter_mut().for_each(of_cloneset);
    file.revisions.iter_mut().for_each(of_cloneset);
    let text = serde_json::to_string(&file).unwrap();
    assert!(
        text.contains("\"cloneset\":{") && !text.contains("\"daemonset\":"),
        "{text}"
    );
    let loaded = serde_json::from_str::<SnapshotFile>(&text)
        .unwrap()
        .load()
        .unwrap();
    let AnySnapshot::CloneSet(snapshot) = loaded.snapshot() else {
        panic!("a file of a CloneSet")
    };
    let plan = pitstop_engine::cloneset::plan(&snapshot);
    assert_eq!((plan.progress.pods, plan.waiting.len()), (4, 3));
    let mut strange: Value = serde_json::from_str(&text).unwrap();
    strange["deployment"] = strange["cloneset"].take();
    strange.as_object_mut().unwrap().remove("cloneset");
    serde_json::from_value::<SnapshotFile>(strange).unwrap_err();
}

/// So is a StatefulSet, whose pods have ordinals.
#[test]
fn a_file_can_be_about_a_statefulset() {
    let mut file = file();
    let Workload::DaemonSet(mut object) = file.workload else {
        panic!()
    };
    object["spec"]["replicas"] = json!(2);
    object["spec"]["updateStrategy"] =
        json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } });
    file.workload = Workload::StatefulSet(object);
    file.pods.clear();
    file.revisions.clear();
    let text = serde_json::to_string(&file).unwrap();
    assert!(text.contains("\"statefulset\":{"), "{text}");
    let read: SnapshotFile = serde_json::from_str(&text).unwrap();
    let loaded = read.load().unwrap();
    let AnySnapshot::StatefulSet(snapshot) = loaded.snapshot() else {
        panic!("a file of a StatefulSet")
    };
    let plan = pitstop_engine::statefulset::plan(&snapshot.decided_on);
    let made = plan.actions.iter().filter_map(|action| match action {
        Action::CreatePod(pod) => Some(&*pod.name),
        _ => None,
    });
    assert_eq!(made.collect::<Vec<_>>(), ["agent-0"], "one after the other");
}
