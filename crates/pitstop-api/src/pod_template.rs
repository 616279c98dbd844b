//! What pods and pod templates have in common: defaults and rules of the pod spec.
//!
//! Templates are compared and hashed by controllers, so these defaults are set when a template is written and never
//! afterwards. Source: embedded-cluster.md 13, 22.8.

mod container;
mod placement;
mod validation;

use serde_json::{Map, Value, json};

use crate::fields::{list_mut, map_mut, remove, set_missing, text};

pub use validation::{nonnegative, validate_spec, validate_template};

/// Where containers of all sorts are listed in a pod spec.
pub const CONTAINER_LISTS: [&str; 3] = ["/initContainers", "/containers", "/ephemeralContainers"];

/// Fills in the defaults of pods and of the templates of built-in kinds.
pub fn default_spec(spec: &mut Value) {
    default_fields(spec);
    mirror_service_account(map_mut(spec, &[]));
}

/// The defaults that the templates of all kinds have. The old name of a field shows its value only where the server converts
/// objects between versions of its own, which it does not do for definitions: written into one of theirs, it would stay when
/// the field is taken out.
pub(crate) fn default_fields(spec: &mut Value) {
    let map = map_mut(spec, &[]);
    set_missing(map, "restartPolicy", "Always");
    set_missing(map, "dnsPolicy", "ClusterFirst");
    set_missing(map, "schedulerName", "default-scheduler");
    set_missing(map, "terminationGracePeriodSeconds", 30);
    set_missing(map, "securityContext", json!({}));
    for pointer in CONTAINER_LISTS {
        list_mut(spec, pointer).iter_mut().for_each(default_container);
    }
    for container in list_mut(spec, "/containers") {
        // Only init containers have one of their own.
        remove(container, "restartPolicy");
    }
    list_mut(spec, "/volumes").iter_mut().for_each(default_volume);
}

/// `serviceAccount` is the old name of `serviceAccountName` and always shows the same.
fn mirror_service_account(spec: &mut Map<String, Value>) {
    let name = spec
        .get("serviceAccountName")
        .or_else(|| spec.get("serviceAccount"))
        .cloned();
    if let Some(name) = name {
        spec.insert("serviceAccount".to_owned(), name.clone());
        spec.insert("serviceAccountName".to_owned(), name);
    }
}

fn default_container(container: &mut Value) {
    let policy = pull_policy(text(container, "/image"));
    let map = map_mut(container, &[]);
    set_missing(map, "terminationMessagePath", "/dev/termination-log");
    set_missing(map, "terminationMessagePolicy", "File");
    set_missing(map, "imagePullPolicy", policy);
    set_missing(map, "resources", json!({}));
    for port in list_mut(container, "/ports") {
        set_missing(map_mut(port, &[]), "protocol", "TCP");
    }
    for variable in list_mut(container, "/env") {
        default_source(variable.pointer_mut("/valueFrom"));
    }
    for probe in ["/livenessProbe", "/readinessProbe", "/startupProbe"] {
        default_probe(container.pointer_mut(probe));
    }
    for hook in ["/lifecycle/postStart", "/lifecycle/preStop"] {
        default_http_get(container.pointer_mut(hook));
    }
}

/// `Always` for images whose content may change under their name.
fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or_default();
    let changing = match name.split_once(':') {
        _ if name.contains('@') => false,
        Some((_, tag)) => tag == "latest",
        None => true,
    };
    if changing { "Always" } else { "IfNotPresent" }
}

fn default_probe(probe: Option<&mut Value>) {
    let Some(probe) = probe else { return };
    let map = map_mut(probe, &[]);
    set_missing(map, "timeoutSeconds", 1);
    set_missing(map, "periodSeconds", 10);
    set_missing(map, "successThreshold", 1);
    set_missing(map, "failureThreshold", 3);
    if let Some(grpc) = map.get_mut("grpc") {
        set_missing(map_mut(grpc, &[]), "service", "");
    }
    default_http_get(Some(probe));
}

fn default_http_get(handler: Option<&mut Value>) {
    if let Some(get) = handler.and_then(|handler| handler.get_mut("httpGet")) {
        let get = map_mut(get, &[]);
        set_missing(get, "path", "/");
        set_missing(get, "scheme", "HTTP");
    }
}

/// A variable or file that shows a field of the pod.
fn default_source(source: Option<&mut Value>) {
    let Some(source) = source else { return };
    if let Some(field) = source.get_mut("fieldRef") {
        set_missing(map_mut(field, &[]), "apiVersion", "v1");
    }
    if let Some(resource) = source.get_mut("resourceFieldRef") {
        set_missing(map_mut(resource, &[]), "divisor", "0");
    }
}

fn default_volume(volume: &mut Value) {
    let map = map_mut(volume, &[]);
    if !map.keys().any(|name| name != "name") {
        map.insert("emptyDir".to_owned(), json!({}));
    }
    if let Some(path) = map.get_mut("hostPath") {
        set_missing(map_mut(path, &[]), "type", "");
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = map.get_mut(source) {
            set_missing(map_mut(source, &[]), "defaultMode", 420);
        }
    }
    for item in list_mut(volume, "/downwardAPI/items") {
        default_source(Some(item));
    }
    for source in list_mut(volume, "/projected/sources") {
        for item in list_mut(source, "/downwardAPI/items") {
            default_source(Some(item));
        }
        if let Some(token) = source.get_mut("serviceAccountToken") {
            set_missing(map_mut(token, &[]), "expirationSeconds", 3600);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// embedded-cluster.md 13 and the template shown in daemonset.md A11.
    #[test]
    fn a_template_gets_the_defaults_that_a_revision_shows() {
        let mut spec = json!({"containers": [{"name": "nginx", "image": "nginx:1.19.4"}]});
        default_spec(&mut spec);
        let wanted = json!({
            "containers": [{
                "image": "nginx:1.19.4", "imagePullPolicy": "IfNotPresent", "name": "nginx", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 30,
        });
        assert_eq!(spec, wanted);
    }

    #[test]
    fn images_that_may_change_are_always_pulled() {
        let cases = [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.19", "IfNotPresent"),
            ("host:5000/nginx", "Always"),
            ("host:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:abc", "IfNotPresent"),
            ("nginx:latest@sha256:abc", "IfNotPresent"),
        ];
        for (image, wanted) in cases {
            assert_eq!(pull_policy(image), wanted, "{image}");
        }
    }

    #[test]
    fn probes_volumes_ports_and_sources_are_completed() {
        let mut spec = json!({
            "serviceAccountName": "robot",
            "containers": [{
                "name": "a", "image": "a:1", "ports": [{"containerPort": 80}],
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "livenessProbe": {"httpGet": {"port": 80}},
            }],
            "volumes": [
                {"name": "a"}, {"name": "b", "secret": {"secretName": "s"}}, {"name": "c", "hostPath": {"path": "/x"}},
            ],
        });
        default_spec(&mut spec);
        let container = &spec["containers"][0];
        assert_eq!(container["ports"][0]["protocol"], "TCP");
        assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
        assert_eq!(
            container["livenessProbe"],
            json!({
                "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
                "successThreshold": 1, "failureThreshold": 3,
            })
        );
        assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
        assert_eq!(spec["volumes"][1]["secret"]["defaultMode"], 420);
        assert_eq!(spec["volumes"][2]["hostPath"]["type"], "");
        assert_eq!(spec["serviceAccount"], "robot");
    }
}
