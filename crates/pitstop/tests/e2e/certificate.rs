//! Webhooks over TLS, asked by the embedded API server; their certificate is renewed ahead of its end, while they serve.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use pitstop::manifests::kinds;
use pitstop_api::statefulset::defaults::Gates;
use pitstop_api::{Clock, SystemClock};
use pitstop_cluster::{Cluster, Config};
use pitstop_controller::webhook::server::{Options, Server};
use serde_json::{Value, json};

use crate::real::site::eventually;

const NAMESPACE: &str = "default";
const SECRET: &str = "/api/v1/namespaces/default/secrets/pitstop-webhook";
const CLONESETS: &str = "/apis/apps.kruise.io/v1alpha1/namespaces/default/clonesets";
/// Where the authorities stand that the API server trusts.
const TRUSTED: [(&str, &str); 3] = [
    (
        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/pitstop-webhooks",
        "/webhooks/0/clientConfig/caBundle",
    ),
    (
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/pitstop-webhooks",
        "/webhooks/0/clientConfig/caBundle",
    ),
    (
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clonesets.apps.kruise.io",
        "/spec/conversion/webhook/clientConfig/caBundle",
    ),
];

/// A clock that a test sets forward.
#[derive(Debug)]
struct Hands(Mutex<Timestamp>);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

impl Hands {
    fn forward_days(&self, days: i64) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(SignedDuration::from_hours(24 * days)).unwrap();
    }
}

async fn send(client: &Client, method: Method, path: &str, body: &Value) -> kube::Result<Value> {
    let mut request = Request::builder().method(method).uri(path);
    if !body.is_null() {
        request = request.header("content-type", "application/json");
    }
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    client.request(request.body(body).unwrap()).await
}

async fn get(client: &Client, path: &str) -> Value {
    send(client, Method::GET, path, &Value::Null)
        .await
        .unwrap_or_default()
}

/// Does everybody trust what the Secret says, and does it differ from what was there before?
async fn is_renewed(client: &Client, field: &str, before: &Value) -> bool {
    let secret = get(client, SECRET).await;
    let mut all = secret["data"][field].is_string() && secret["data"][field] != before["data"][field];
    for (path, pointer) in TRUSTED {
        all &= get(client, path).await.pointer(pointer) == Some(&secret["data"]["ca.crt"]);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_renewed_while_the_webhooks_serve() {
    let cluster = Cluster::start(Config::default()).await.unwrap();
    let client = cluster.client();
    let service =
        |path: &str| json!({"service": {"namespace": NAMESPACE, "name": "pitstop-webhook", "path": path}});
    for object in kinds::objects(
        service,
        &[pitstop_controller::Controller::CloneSet],
        "pitstop-system",
    ) {
        let (group, plural) = match object["kind"].as_str().unwrap() {
            "MutatingWebhookConfiguration" => {
                ("admissionregistration.k8s.io", "mutatingwebhookconfigurations")
            }
            "ValidatingWebhookConfiguration" => {
                ("admissionregistration.k8s.io", "validatingwebhookconfigurations")
            }
            _ => ("apiextensions.k8s.io", "customresourcedefinitions"),
        };
        let path = format!("/apis/{group}/v1/{plural}");
        send(&client, Method::POST, &path, &object).await.unwrap();
    }
    let clock = Arc::new(Hands(Mutex::new(SystemClock.now())));
    let options = Options {
        addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        host: Some("127.0.0.1".to_owned()),
        namespace: NAMESPACE.to_owned(),
        clock: clock.clone(),
        look_every: Duration::from_millis(20),
        gates: Gates::default(),
    };
    let mut server = Server::start(client.clone(), options.clone()).await.unwrap();
    server.ready().await;
    assert!(is_renewed(&client, "tls.crt", &Value::Null).await);
    let cloneset = json!({
        "apiVersion": "apps.kruise.io/v1alpha1", "kind": "CloneSet", "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}},
        },
    });
    eventually("the kind is served", || async {
        send(&client, Method::GET, CLONESETS, &Value::Null).await.is_ok()
    })
    .await;
    let made = send(&client, Method::POST, CLONESETS, &cloneset).await.unwrap();
    assert_eq!(made["spec"]["updateStrategy"]["maxUnavailable"], "20%");
    let mut wrong = cloneset.clone();
    wrong["metadata"]["name"] = json!("wrong");
    wrong["spec"]["replicas"] = json!(-1);
    let Err(kube::Error::Api(status)) = send(&client, Method::POST, CLONESETS, &wrong).await else {
        panic!("it was accepted")
    };
    assert_eq!(
        (status.code, status.message.as_str()),
        (
            422,
            "admission webhook \"vcloneset.kb.io\" denied the request: spec.replicas: Invalid value: -1: must be greater \
             than or equal to 0"
        )
    );
    // A second replica serves with the same certificate.
    let secret = get(&client, SECRET).await;
    let mut second = Server::start(client.clone(), options).await.unwrap();
    second.ready().await;
    assert_eq!(get(&client, SECRET).await["data"], secret["data"]);
    drop(second);
    // Two thirds of a year later there is a certificate of the same authority; after seven years also another authority.
    clock.forward_days(250);
    eventually("the certificate is renewed", || {
        is_renewed(&client, "tls.crt", &secret)
    })
    .await;
    assert_eq!(
        get(&client, SECRET).await["data"]["ca.crt"],
        secret["data"]["ca.crt"]
    );
    clock.forward_days(7 * 365);
    eventually("the authority is renewed", || {
        is_renewed(&client, "ca.crt", &secret)
    })
    .await;
    drop(server);
    cluster.shutdown().await;
}
