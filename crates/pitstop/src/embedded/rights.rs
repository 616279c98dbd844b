//! The service account of pitstop's controllers in a cluster that decides by roles.

use anyhow::Context as _;
use http::{Method, Request};
use kube::Client;
use pitstop_controller::Controller;
use serde_json::Value;

use crate::manifests;

/// Makes the service account and gives it what `pitstop manifests` asks for; the Deployment alone is left out, because
/// the controllers run in this process. Returns the name of its identity.
pub(super) async fn grant(client: &Client) -> anyhow::Result<String> {
    let options = manifests::Options {
        controllers: Controller::ALL.to_vec(),
        runs_commands: true,
        ..manifests::Options::default()
    };
    let manifests = manifests::to_json(&options, None);
    for object in manifests
        .get("items")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if let Some(path) = collection(object) {
            make(client, &path, object)
                .await
                .with_context(|| format!("POST {path}"))?;
        }
    }
    let (namespace, name) = (&options.namespace, manifests::SERVICE_ACCOUNT);
    Ok(format!("system:serviceaccount:{namespace}:{name}"))
}

/// Where an object is made; `None` for those that are left out.
fn collection(object: &Value) -> Option<String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let namespace = text("/metadata/namespace").unwrap_or_default();
    Some(match text("/kind")? {
        "Namespace" => "/api/v1/namespaces".to_owned(),
        "ServiceAccount" => format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
        "ClusterRole" => format!("{rbac}/clusterroles"),
        "ClusterRoleBinding" => format!("{rbac}/clusterrolebindings"),
        "Role" => format!("{rbac}/namespaces/{namespace}/roles"),
        "RoleBinding" => format!("{rbac}/namespaces/{namespace}/rolebindings"),
        _ => return None,
    })
}

/// One that is there already, from an earlier start, gets the rights of this version.
async fn make(client: &Client, path: &str, object: &Value) -> anyhow::Result<()> {
    let request = |method: Method, path: &str| {
        Request::builder()
            .method(method.clone())
            .uri(path)
            .header(
                "content-type",
                if method == Method::PATCH {
                    "application/merge-patch+json"
                } else {
                    "application/json"
                },
            )
            .body(object.to_string().into_bytes())
    };
    match client.request::<Value>(request(Method::POST, path)?).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let name = object
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            client
                .request::<Value>(request(Method::PATCH, &format!("{path}/{name}"))?)
                .await?;
        }
        answer => drop(answer?),
    }
    Ok(())
}
