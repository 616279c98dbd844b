//! The controllers of Endpoints and EndpointSlices: the addresses of the pods behind a service.
//!
//! A pod that is not ready is listed as such, and one that is going is not listed in Endpoints at all. Source:
//! embedded-cluster.md 16; names, labels and ports are those of Kubernetes 1.34.

use std::collections::BTreeMap;

use pitstop_api::keys;
use pitstop_api::selector::Labels;
use serde_json::{Value, json};

use super::super::wire::Pod;
use super::super::writes::Write;
use super::objects::{Endpoints, Service, ServicePort, Slice};
use super::queue::{Plan, Sort, Step};

/// Who looks after a list of addresses.
const ENDPOINTS_BY: &str = "endpoint-controller";
const SLICES_BY: &str = "endpointslice-controller.k8s.io";
/// Addresses in one slice.
const SLICE: usize = 100;

/// Ports that pods serve, and those pods.
type Groups<'a> = BTreeMap<Vec<PodPort>, Vec<&'a Pod>>;

/// A port of a service, as a pod serves it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct PodPort {
    name: String,
    port: i64,
    protocol: String,
    app_protocol: Option<String>,
}

/// What the lists of a service become. `pods` are all pods of its namespace.
pub(super) fn decide<'a>(
    service: &Service,
    endpoints: Option<&Endpoints>,
    slices: &[&Slice],
    pods: impl Iterator<Item = &'a Pod>,
) -> Plan {
    let is_external = service.spec.kind == "ExternalName";
    if service.spec.selector.is_empty() || is_external || service.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    let mut groups: Groups<'_> = BTreeMap::new();
    for pod in pods.filter(|pod| selects(service, &pod.metadata.labels) && has_address(pod)) {
        let ports = service
            .spec
            .ports
            .iter()
            .filter_map(|port| PodPort::of(port, pod));
        groups.entry(ports.collect()).or_default().push(pod);
    }
    for pods in groups.values_mut() {
        pods.sort_by(|a, b| {
            address(a)
                .cmp(address(b))
                .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
        });
    }
    let mut steps: Vec<Step> = write_endpoints(service, endpoints, &groups).into_iter().collect();
    steps.extend(write_slices(service, slices, &groups));
    Plan::of(steps)
}

/// The Endpoints of a service that is gone go as well; slices have an owner.
pub(super) fn forget(endpoints: &Endpoints) -> Option<Step> {
    let meta = &endpoints.metadata;
    let by = meta.labels.get(keys::ENDPOINTS_MANAGED_BY).map(String::as_str);
    (by == Some(ENDPOINTS_BY)).then(|| {
        let path = format!("/api/v1/namespaces/{}/endpoints/{}", meta.namespace, meta.name);
        Step::new(Sort::Endpoints, Write::delete(path, &meta.uid, None, None))
    })
}

/// Is a pod behind a service?
pub(super) fn selects(service: &Service, labels: &Labels) -> bool {
    let selector = &service.spec.selector;
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn address(pod: &Pod) -> &str {
    pod.status
        .pod_ips
        .first()
        .map_or("", |address| address.ip.as_str())
}

fn has_address(pod: &Pod) -> bool {
    !address(pod).is_empty() && !pod.is_terminal()
}

fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn is_headless(service: &Service) -> bool {
    service.spec.cluster_ip == "None"
}

impl PodPort {
    /// A named port is looked up in the pod; `None` if the pod has none of that name.
    fn of(port: &ServicePort, pod: &Pod) -> Option<Self> {
        let number = match &port.target_port {
            Value::Number(number) => number.as_i64()?,
            Value::String(name) => {
                let mut ports = pod.spec.containers.iter().flat_map(|container| &container.ports);
                ports
                    .find(|found| found.name == *name && found.protocol == port.protocol)?
                    .inside
            }
            _ => port.port,
        };
        Some(Self {
            name: port.name.clone(),
            port: number,
            protocol: port.protocol.clone(),
            app_protocol: port.app_protocol.clone(),
        })
    }

    fn to_json(&self, shows_empty_name: bool) -> Value {
        let mut port = json!({"port": self.port, "protocol": self.protocol});
        if let Some(map) = port.as_object_mut() {
            if shows_empty_name || !self.name.is_empty() {
                map.insert("name".to_owned(), self.name.as_str().into());
            }
            if let Some(protocol) = &self.app_protocol {
                map.insert("appProtocol".to_owned(), protocol.as_str().into());
            }
        }
        port
    }
}

fn target(pod: &Pod) -> Value {
    let meta = &pod.metadata;
    json!({"kind": "Pod", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid})
}

/// The labels of a list: those of its service, and who looks after it.
fn labels_of(service: &Service, own: &[(&str, &str)]) -> Labels {
    let mut labels = service.metadata.labels.clone();
    if is_headless(service) {
        labels.insert(keys::HEADLESS.to_owned(), String::new());
    } else {
        labels.remove(keys::HEADLESS);
    }
    labels.extend(
        own.iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    labels
}

fn write_endpoints(service: &Service, endpoints: Option<&Endpoints>, groups: &Groups<'_>) -> Option<Step> {
    let meta = &service.metadata;
    let subsets: Vec<Value> = groups
        .iter()
        .filter_map(|(ports, pods)| subset(service, ports, pods))
        .collect();
    let labels = labels_of(service, &[(keys::ENDPOINTS_MANAGED_BY, ENDPOINTS_BY)]);
    let path = format!("/api/v1/namespaces/{}/endpoints", meta.namespace);
    let mut body = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": meta.name, "namespace": meta.namespace, "labels": labels},
        "subsets": subsets,
    });
    let Some(endpoints) = endpoints else {
        return Some(Step::new(Sort::Endpoints, Write::post(path, body)));
    };
    if endpoints.subsets == subsets && endpoints.metadata.labels == labels {
        return None;
    }
    keep(&mut body, &endpoints.metadata);
    let path = format!("{path}/{}", meta.name);
    Some(Step::new(Sort::Endpoints, Write::put(path, body)))
}

fn subset(service: &Service, ports: &[PodPort], pods: &[&Pod]) -> Option<Value> {
    // Without a port there is nothing to connect to, unless the service is only a list of addresses.
    if ports.is_empty() && !(is_headless(service) && service.spec.ports.is_empty()) {
        return None;
    }
    let (mut ready, mut unready) = (Vec::new(), Vec::new());
    for pod in pods
        .iter()
        .filter(|pod| !is_going(pod) || service.spec.publish_not_ready_addresses)
    {
        let mut entry = json!({"ip": address(pod), "targetRef": target(pod)});
        if let Some(entry) = entry.as_object_mut().filter(|_| !pod.spec.node_name.is_empty()) {
            entry.insert("nodeName".to_owned(), pod.spec.node_name.as_str().into());
        }
        if pod.ready_since().is_some() || service.spec.publish_not_ready_addresses {
            ready.push(entry);
        } else {
            unready.push(entry);
        }
    }
    if ready.is_empty() && unready.is_empty() {
        return None;
    }
    let ports: Vec<Value> = ports.iter().map(|port| port.to_json(false)).collect();
    let mut subset = serde_json::Map::new();
    for (name, list) in [
        ("addresses", ready),
        ("notReadyAddresses", unready),
        ("ports", ports),
    ] {
        if !list.is_empty() {
            subset.insert(name.to_owned(), list.into());
        }
    }
    Some(Value::Object(subset))
}

/// Brings the slices up to date: those that are there are taken first, and those too many go.
fn write_slices(service: &Service, slices: &[&Slice], groups: &Groups<'_>) -> Vec<Step> {
    let mut wanted: Vec<(Value, Value)> = Vec::new();
    for (ports, pods) in groups {
        let ports: Vec<Value> = ports.iter().map(|port| port.to_json(true)).collect();
        let endpoints: Vec<Value> = pods.iter().map(|pod| endpoint(service, pod)).collect();
        let parts = endpoints.chunks(SLICE);
        wanted.extend(parts.map(|part| (json!(ports), json!(part))));
    }
    if wanted.is_empty() {
        // There is always one, so that who waits for it sees that it is empty.
        wanted.push((json!([]), json!([])));
    }
    let meta = &service.metadata;
    let own = [
        (keys::SERVICE_NAME, meta.name.as_str()),
        (keys::SLICE_MANAGED_BY, SLICES_BY),
    ];
    let labels = labels_of(service, &own);
    let root = format!(
        "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
        meta.namespace
    );
    let mine = |slice: &&&Slice| {
        let by = slice
            .metadata
            .labels
            .get(keys::SLICE_MANAGED_BY)
            .map(String::as_str);
        by == Some(SLICES_BY) && slice.metadata.deletion_timestamp.is_none()
    };
    let mut there: Vec<&Slice> = slices.iter().filter(mine).copied().collect();
    // A slice that is right already stays as it is.
    let is_right = |slice: &Slice, (ports, endpoints): &(Value, Value)| {
        json!(slice.ports.as_deref().unwrap_or_default()) == *ports
            && json!(slice.endpoints.as_deref().unwrap_or_default()) == *endpoints
            && slice.metadata.labels == labels
    };
    wanted.retain(
        |content| match there.iter().position(|slice| is_right(slice, content)) {
            Some(at) => {
                there.remove(at);
                false
            }
            None => true,
        },
    );
    let mut there = there.into_iter();
    let mut steps = Vec::new();
    for (ports, endpoints) in wanted {
        let mut body = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "namespace": meta.namespace, "generateName": format!("{}-", meta.name), "labels": labels,
                "ownerReferences": [{
                    "apiVersion": "v1", "kind": "Service", "name": meta.name, "uid": meta.uid, "controller": true,
                    "blockOwnerDeletion": true,
                }],
            },
            "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
        });
        let write = if let Some(slice) = there.next() {
            keep(&mut body, &slice.metadata);
            Write::put(format!("{root}/{}", slice.metadata.name), body)
        } else {
            Write::post(root.clone(), body)
        };
        steps.push(Step::new(Sort::Slice, write));
    }
    steps.extend(there.map(|slice| {
        let path = format!("{root}/{}", slice.metadata.name);
        Step::new(Sort::Slice, Write::delete(path, &slice.metadata.uid, None, None))
    }));
    steps
}

fn endpoint(service: &Service, pod: &Pod) -> Value {
    let serving = pod.ready_since().is_some();
    let ready = service.spec.publish_not_ready_addresses || (serving && !is_going(pod));
    let mut endpoint = json!({
        "addresses": [address(pod)],
        "conditions": {"ready": ready, "serving": serving, "terminating": is_going(pod)},
        "targetRef": target(pod),
    });
    if let Some(endpoint) = endpoint
        .as_object_mut()
        .filter(|_| !pod.spec.node_name.is_empty())
    {
        endpoint.insert("nodeName".to_owned(), pod.spec.node_name.as_str().into());
    }
    endpoint
}

/// The name and version of the object that is replaced, and the annotations that others have given it.
fn keep(body: &mut Value, meta: &pitstop_api::view::MetaWire) {
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("name".to_owned(), meta.name.as_str().into());
        metadata.insert(
            "resourceVersion".to_owned(),
            meta.resource_version.as_str().into(),
        );
        metadata.insert("annotations".to_owned(), json!(meta.annotations));
    }
}

#[cfg(test)]
mod tests;
