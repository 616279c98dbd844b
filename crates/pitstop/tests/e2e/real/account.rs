//! Service accounts with the rights that `pitstop manifests` prints.

use std::path::PathBuf;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use pitstop::manifests;
use pitstop_controller::Controller;
use serde_json::{Value, json};

use super::Plane;

/// Who the controller is, to the API server.
pub(crate) const UPGRADER: &str = "system:serviceaccount:pitstop-system:pitstop";

impl Plane {
    /// Applies what `pitstop manifests` prints for these controllers, without one right perhaps. Returns a kubeconfig of
    /// the service account.
    pub(crate) async fn authorize(
        &self,
        controllers: &[Controller],
        without: Option<&manifests::Rule>,
    ) -> PathBuf {
        let options = manifests::Options {
            controllers: controllers.to_vec(),
            runs_commands: controllers.contains(&Controller::StatefulSet),
            // The image is nowhere: the program runs beside the cluster.
            replicas: 0,
            ..manifests::Options::default()
        };
        self.install(&options, without).await;
        self.token_kubeconfig(manifests::SERVICE_ACCOUNT).await
    }

    /// Applies what `pitstop manifests` prints, without one right perhaps.
    pub(crate) async fn install(&self, options: &manifests::Options, without: Option<&manifests::Rule>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pitstop.yaml");
        std::fs::write(&file, manifests::render(options, without)).unwrap();
        let said = tokio::process::Command::new(self.kubectl())
            .env("KUBECONFIG", self.kubeconfig())
            .env("KUBECACHEDIR", folder.path())
            .args(["apply", "-f"])
            .arg(&file)
            .output()
            .await
            .unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }

    /// A second account with the rights of the first, and its kubeconfig: the audit log tells them apart.
    pub(crate) async fn second_account(&self, name: &str) -> PathBuf {
        let client = self.client().await;
        let account = json!({"metadata": {"name": name, "namespace": manifests::NAMESPACE}});
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), manifests::NAMESPACE);
        let force = PatchParams::apply("e2e").force();
        accounts
            .patch(
                name,
                &force,
                &Patch::Apply(typed("v1", "ServiceAccount", account)),
            )
            .await
            .unwrap();
        bind(&client, name).await;
        self.token_kubeconfig(name).await
    }

    pub(super) async fn token_kubeconfig(&self, account: &str) -> PathBuf {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await, manifests::NAMESPACE);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(3600),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .unwrap();
        let token = answer.status.unwrap().token;
        self.running().write_kubeconfig(account, &token)
    }
}

async fn bind(client: &Client, account: &str) {
    let binding = |role_kind: &str| {
        json!({
            "metadata": {"name": account},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": manifests::NAME},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": manifests::NAMESPACE}],
        })
    };
    let force = PatchParams::apply("e2e").force();
    let everywhere = typed(
        "rbac.authorization.k8s.io/v1",
        "ClusterRoleBinding",
        binding("ClusterRole"),
    );
    Api::<ClusterRoleBinding>::all(client.clone())
        .patch(account, &force, &Patch::Apply(everywhere))
        .await
        .unwrap();
    let lease = typed("rbac.authorization.k8s.io/v1", "RoleBinding", binding("Role"));
    Api::<RoleBinding>::namespaced(client.clone(), "kube-system")
        .patch(account, &force, &Patch::Apply(lease))
        .await
        .unwrap();
}

fn typed(api_version: &str, kind: &str, mut object: Value) -> Value {
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    object
}
