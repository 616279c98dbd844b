//! What every new pod is given: service account, tolerations, and the volume with its credentials.
//!
//! Templates are never given any of it. Source: embedded-cluster.md 13.

use pitstop_api::keys;
use serde_json::{Value, json};

use crate::kinds::fields::{flag, list, list_mut, map_mut, or, text};

const CREDENTIALS_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How long a pod stays on a node that is not ready or cannot be reached, in seconds.
const EVICTION_DELAY: i64 = 300;

/// Completes a new pod. `suffix` ends the name of the volume.
pub(super) fn admit(pod: &mut Value, suffix: &str) {
    let account = or(
        text(pod, "/spec/serviceAccountName"),
        text(pod, "/spec/serviceAccount"),
    );
    let account = or(account, "default").to_owned();
    let spec = map_mut(pod, &["spec"]);
    spec.insert("serviceAccountName".to_owned(), Value::from(account.clone()));
    spec.insert("serviceAccount".to_owned(), Value::from(account));
    tolerate_lost_nodes(pod);
    mount_credentials(pod, suffix);
}

/// Pods stay a while on a node that is lost, and cannot be made to leave at once by leaving this out of an update.
pub(super) fn tolerate_lost_nodes(pod: &mut Value) {
    tolerate(pod, keys::TAINT_NOT_READY);
    tolerate(pod, keys::TAINT_UNREACHABLE);
}

fn tolerate(pod: &mut Value, taint: &str) {
    let tolerated = list(pod, "/spec/tolerations").iter().any(|toleration| {
        [taint, ""].contains(&text(toleration, "/key"))
            && ["NoExecute", ""].contains(&text(toleration, "/effect"))
    });
    if !tolerated {
        push(
            pod,
            "tolerations",
            json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": EVICTION_DELAY}),
        );
    }
}

fn push(pod: &mut Value, list: &str, value: Value) {
    match map_mut(pod, &["spec"]).entry(list).or_insert_with(|| json!([])) {
        Value::Array(values) => values.push(value),
        other => *other = json!([value]),
    }
}

/// Mounts token, certificate and namespace into every container that has nothing mounted there.
fn mount_credentials(pod: &mut Value, suffix: &str) {
    let off = pod.pointer("/spec/automountServiceAccountToken").is_some()
        && !flag(pod, "/spec/automountServiceAccountToken");
    if off {
        return;
    }
    let name = format!("kube-api-access-{suffix}");
    let mut mounted = false;
    for containers in ["/spec/initContainers", "/spec/containers"] {
        for container in list_mut(pod, containers) {
            if list(container, "/volumeMounts")
                .iter()
                .any(|mount| text(mount, "/mountPath") == CREDENTIALS_PATH)
            {
                continue;
            }
            let mount = json!({"name": name, "mountPath": CREDENTIALS_PATH, "readOnly": true});
            match map_mut(container, &[])
                .entry("volumeMounts")
                .or_insert_with(|| json!([]))
            {
                Value::Array(mounts) => mounts.push(mount),
                other => *other = json!([mount]),
            }
            mounted = true;
        }
    }
    if mounted {
        push(pod, "volumes", credentials(&name));
    }
}

fn credentials(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{
                    "path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
        },
    })
}
