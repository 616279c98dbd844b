//! statefulset.md 16.1, `evictionGuard`.

use std::sync::Mutex;

use futures::future::BoxFuture;
use serde_json::json;

use super::*;
use crate::api::{Lines, Refusal};

const SET: &str = "00000000-0000-0000-0000-000000000001";

/// An API server with these objects, by path, and what it was asked for.
#[derive(Default)]
struct Server {
    objects: BTreeMap<String, Value>,
    asked: Mutex<Vec<String>>,
    /// Does it never answer?
    hangs: bool,
}

impl Api for Server {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async move {
            let path = call.path_and_query();
            self.asked.lock().unwrap().push(path.clone());
            if self.hangs {
                std::future::pending::<()>().await;
            }
            match self.objects.get(&path) {
                Some(Value::Null) => Err(CallError::Unreachable("connection refused".to_owned())),
                Some(object) => Ok(object.to_string().into()),
                None => Err(CallError::NotFound(Refusal::default())),
            }
        })
    }

    fn watch(&self, _: Call) -> BoxFuture<'_, Result<Lines, CallError>> {
        Box::pin(async { Err(CallError::LeaseLost) })
    }
}

const PODS: &str = "/api/v1/namespaces/shop/pods";
const SETS: &str = "/apis/apps.kruise.io/v1beta1/namespaces/shop/statefulsets";

fn pod(ordinal: u32, owner: &str, works: &str) -> Value {
    json!({
        "metadata": {
            "name": format!("web-{ordinal}"), "namespace": "shop", "uid": format!("00000000-0000-0000-0002-{ordinal:012}"),
            "labels": {"app": "web", "working": works},
            "ownerReferences": [{"apiVersion": "apps.kruise.io/v1beta1", "kind": "StatefulSet", "name": "web", "uid": owner,
                "controller": true}],
        },
        "spec": {"containers": [{"name": "c", "image": "i:1"}]}, "status": {"phase": "Running"},
    })
}

fn set(protection: &Value) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": SET},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "podManagementPolicy": "Parallel",
            "updateStrategy": {"rollingUpdate": {"protection": protection}},
        },
    })
}

/// With a StatefulSet of three pods, of which 0 works.
fn server(protection: &Value) -> Server {
    let mut server = Server::default();
    let pods: Vec<Value> = ["true", "false", "false"]
        .iter()
        .zip(0..)
        .map(|(works, ordinal)| pod(ordinal, SET, works))
        .collect();
    for (pod, ordinal) in pods.iter().zip(0..) {
        server
            .objects
            .insert(format!("{PODS}/web-{ordinal}"), pod.clone());
    }
    let list = json!({"metadata": {}, "items": pods});
    server.objects.insert(format!("{PODS}?limit=500"), list);
    server.objects.insert(format!("{SETS}/web"), set(protection));
    server
}

async fn evict(server: &Server, pod: &str) -> Verdict {
    let admission = Admission {
        operation: "CREATE",
        namespace: "shop",
        name: pod,
        object: None,
        old: None,
    };
    judge(server, &admission).await
}

fn working(more: &Value) -> Value {
    let mut protection = json!({"podSelector": {"matchLabels": {"working": "true"}}, "evictionGuard": true});
    for (field, value) in more.as_object().unwrap() {
        protection[field] = value.clone();
    }
    protection
}

#[tokio::test]
async fn a_protected_pod_is_kept_as_a_disruption_budget_keeps_it() {
    let server = server(&working(&json!({})));
    assert_eq!(
        evict(&server, "web-0").await,
        Verdict::Denied {
            code: 429,
            reason: "TooManyRequests",
            message: "Cannot evict pod web-0: it is protected while it works".to_owned(),
            details: json!({"name": "web-0", "kind": "pods", "causes": [
                {"reason": "DisruptionBudget", "message": "it is protected while it works"},
            ]}),
        }
    );
    assert_eq!(evict(&server, "web-1").await, Verdict::ALLOWED, "it idles");
    assert_eq!(
        evict(&server, "web-9").await,
        Verdict::ALLOWED,
        "there is none: the API server says so itself"
    );
}

#[tokio::test]
async fn what_nobody_guards_is_asked_about_as_little_as_possible() {
    let plain = server(&working(&json!({"evictionGuard": false})));
    assert_eq!(evict(&plain, "web-0").await, Verdict::ALLOWED);
    assert_eq!(
        *plain.asked.lock().unwrap(),
        [format!("{PODS}/web-0"), format!("{SETS}/web")]
    );
    let mut others = server(&working(&json!({})));
    let another = "00000000-0000-0000-0000-000000000009";
    others
        .objects
        .insert(format!("{PODS}/web-0"), pod(0, another, "true"));
    assert_eq!(
        evict(&others, "web-0").await,
        Verdict::ALLOWED,
        "its StatefulSet was made anew"
    );
    let mut job = pod(0, SET, "true");
    job["metadata"]["ownerReferences"][0]["kind"] = "Job".into();
    others.objects.insert(format!("{PODS}/web-0"), job);
    others.asked.lock().unwrap().clear();
    assert_eq!(evict(&others, "web-0").await, Verdict::ALLOWED);
    assert_eq!(*others.asked.lock().unwrap(), [format!("{PODS}/web-0")]);
    let orphaned = Server {
        objects: BTreeMap::from([(format!("{PODS}/web-0"), pod(0, SET, "true"))]),
        ..Server::default()
    };
    assert_eq!(
        evict(&orphaned, "web-0").await,
        Verdict::ALLOWED,
        "its StatefulSet is gone"
    );
}

fn why(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Denied {
            code: 429, message, ..
        } => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_cannot_be_found_out_keeps_a_pod() {
    for missing in [format!("{PODS}/web-1"), format!("{SETS}/web")] {
        let mut server = server(&working(&json!({})));
        server.objects.insert(missing.clone(), Value::Null);
        let verdict = evict(&server, "web-1").await;
        let said = why(&verdict);
        assert!(
            said.starts_with("Cannot evict pod web-1: it cannot be told whether it is protected: ")
                && said.ends_with("connection refused"),
            "{missing}: {said}"
        );
    }
    let broken = server(&json!({"podSelector": {}, "evictionGuard": true}));
    let verdict = evict(&broken, "web-1").await;
    assert!(
        why(&verdict).contains("update protection cannot be read"),
        "{verdict:?}"
    );
    let http = json!({"service": {"name": "arbiter", "port": 80}, "path": "/"});
    let mut asks = server(&working(&json!({"arbiter": {"http": http}})));
    let service = "/api/v1/namespaces/shop/services/arbiter".to_owned();
    asks.objects.insert(service, Value::Null);
    assert_eq!(
        why(&evict(&asks, "web-1").await),
        "Cannot evict pod web-1: it is protected while its arbiter does not answer; annotation pitstop.io/arbiter-override=idle \
         on it lets it go"
    );
}

/// A webhook that is too late is taken to allow everything, so the judgement comes before.
#[tokio::test(start_paused = true)]
async fn what_is_not_known_in_time_keeps_a_pod() {
    let mut server = server(&working(&json!({})));
    server.hangs = true;
    let began = tokio::time::Instant::now();
    assert_eq!(
        why(&evict(&server, "web-1").await),
        "Cannot evict pod web-1: it cannot be told whether it is protected: no answer within 25 s"
    );
    assert!(began.elapsed() < Duration::from_secs(u64::from(EVICTION_WEBHOOK_SECONDS)));
}

#[tokio::test]
async fn other_pods_are_read_where_they_count() {
    let server = server(&working(&json!({"minProtected": 2})));
    assert_eq!(
        why(&evict(&server, "web-1").await),
        "Cannot evict pod web-1: 1 pods are protected, and minProtected is 2: none is disrupted until then"
    );
    assert!(
        server
            .asked
            .lock()
            .unwrap()
            .contains(&format!("{PODS}?limit=500"))
    );
}
