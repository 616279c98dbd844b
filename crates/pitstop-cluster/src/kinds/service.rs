//! Services. Nothing routes to them: their address is one a client can show and keep.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::fields::{entries, integer, keep, list, list_mut, map_mut, or, set_missing, text};
use super::{Column, Creation, FieldError, Kind, MetadataChecks, NameRule, Subresource, age, metadata};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

pub(super) const KIND: Kind = Kind {
    short_names: &["svc"],
    categories: &["all"],
    subresources: &[Subresource::Proxy, Subresource::Status],
    name_rule: NameRule::Dns1035Label,
    default,
    prepare_create: |object, _: &Creation<'_>| {
        map_mut(object, &[]).insert("status".to_owned(), json!({"loadBalancer": {}}));
        allocate_address(object);
        allocate_node_ports(object);
    },
    prepare_update: |new, old| {
        if text(new, "/spec/type") != "ExternalName" && text(new, "/spec/clusterIP").is_empty() {
            keep(new, old, &["spec"], "clusterIP");
            keep(new, old, &["spec"], "clusterIPs");
        }
        if text(new, "/spec/type") != "ExternalName" {
            for field in ["ipFamilies", "ipFamilyPolicy"] {
                if new.pointer("/spec").and_then(|spec| spec.get(field)).is_none() {
                    keep(new, old, &["spec"], field);
                }
            }
            allocate_address(new);
        }
        keep_node_ports(new, old);
        allocate_node_ports(new);
    },
    validate,
    validate_update: |new, old| {
        let mut errors = Vec::new();
        let (now, before) = (text(new, "/spec/clusterIP"), text(old, "/spec/clusterIP"));
        if text(new, "/spec/type") != "ExternalName" && !before.is_empty() && now != before {
            let values = new
                .pointer("/spec/clusterIPs")
                .cloned()
                .unwrap_or_else(|| json!([now]));
            errors.push(FieldError::invalid(
                "spec.clusterIPs[0]",
                values,
                "may not change once set",
            ));
        }
        errors
    },
    columns: &[
        Column::NAME,
        Column::string("Type"),
        Column::string("Cluster-IP"),
        Column::string("External-IP"),
        Column::string("Port(s)"),
        Column::AGE,
        Column::wide("Selector"),
    ],
    cells,
    metadata_checks: MetadataChecks::CHANGE,
    is_made_by_update: true,
    ..Kind::plain("Service", "services", "service")
};

fn default(object: &mut Value) {
    let spec = map_mut(object, &["spec"]);
    set_missing(spec, "type", "ClusterIP");
    set_missing(spec, "sessionAffinity", "None");
    if spec.get("type").and_then(Value::as_str) != Some("ExternalName") {
        set_missing(spec, "internalTrafficPolicy", "Cluster");
        let kind = spec
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
            set_missing(spec, "externalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            set_missing(spec, "allocateLoadBalancerNodePorts", true);
        }
    }
    for port in list_mut(object, "/spec/ports") {
        let Value::Object(port) = port else { continue };
        set_missing(port, "protocol", "TCP");
        if let Some(number) = port.get("port").cloned() {
            set_missing(port, "targetPort", number);
        }
    }
}

/// Does it have a port on every node for each of its own?
fn has_node_ports(object: &Value) -> bool {
    let allocates = object.pointer("/spec/allocateLoadBalancerNodePorts");
    match text(object, "/spec/type") {
        "NodePort" => true,
        "LoadBalancer" => allocates.and_then(Value::as_bool).unwrap_or(true),
        _ => false,
    }
}

/// Ports that were given stay while they are needed, also when a writer leaves them out.
fn keep_node_ports(new: &mut Value, old: &Value) {
    if !has_node_ports(new) {
        return;
    }
    let of = |port: &Value| (integer(port, "/port"), text(port, "/protocol").to_owned());
    for port in list_mut(new, "/spec/ports") {
        let before = list(old, "/spec/ports")
            .iter()
            .find(|before| of(before) == of(port));
        if let (Some(Value::Number(number)), Value::Object(port)) =
            (before.and_then(|before| before.get("nodePort")).cloned(), port)
        {
            set_missing(port, "nodePort", number);
        }
    }
}

/// As with addresses: the port follows from what it is for, in the range that kube-apiserver takes them from.
fn allocate_node_ports(object: &mut Value) {
    const FIRST: u32 = 30_000;
    const COUNT: u32 = 2_768;
    if !has_node_ports(object) {
        return;
    }
    let own = format!(
        "{}/{}",
        text(object, "/metadata/namespace"),
        text(object, "/metadata/name")
    );
    for port in list_mut(object, "/spec/ports") {
        let name = format!(
            "{own}/{}/{}",
            integer(port, "/port").unwrap_or_default(),
            text(port, "/protocol")
        );
        if let Value::Object(port) = port {
            set_missing(port, "nodePort", FIRST + hash(&name) % COUNT);
        }
    }
}

/// FNV-1a.
fn hash(text: &str) -> u32 {
    text.bytes().fold(2_166_136_261, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(16_777_619)
    })
}

/// The address follows from namespace and name, so that it needs no allocator. Two services may share one; nothing
/// here routes by it.
fn allocate_address(object: &mut Value) {
    if text(object, "/spec/type") == "ExternalName" {
        return;
    }
    allocate_families(map_mut(object, &["spec"]));
    let given = text(object, "/spec/clusterIP");
    let address = if given.is_empty() {
        let name = format!(
            "{}/{}",
            text(object, "/metadata/namespace"),
            text(object, "/metadata/name")
        );
        let [_, a, b, c] = hash(&name).to_be_bytes();
        format!("10.{}.{b}.{}", 96 + (a & 15), c.clamp(2, 254))
    } else {
        given.to_owned()
    };
    let spec: &mut Map<String, Value> = map_mut(object, &["spec"]);
    set_missing(spec, "clusterIPs", json!([address]));
    spec.insert("clusterIP".to_owned(), Value::from(address));
}

fn allocate_families(spec: &mut Map<String, Value>) {
    let is_headless = spec.get("clusterIP").and_then(Value::as_str) == Some("None");
    if is_headless && !spec.contains_key("selector") && !spec.contains_key("ipFamilies") {
        // Whoever writes its endpoints may write some of either family.
        set_missing(spec, "ipFamilyPolicy", "RequireDualStack");
        set_missing(spec, "ipFamilies", json!(["IPv4", "IPv6"]));
    }
    set_missing(spec, "ipFamilies", json!(["IPv4"]));
    set_missing(spec, "ipFamilyPolicy", "SingleStack");
}

fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let kind = text(object, "/spec/type");
    if !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported("spec.type", kind, TYPES));
    }
    let ports = list(object, "/spec/ports");
    if ports.is_empty() && kind != "ExternalName" && text(object, "/spec/clusterIP") != "None" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    if kind == "ExternalName" && text(object, "/spec/externalName").is_empty() {
        errors.push(FieldError::required("spec.externalName", ""));
    }
    for (index, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        let number = integer(port, "/port").unwrap_or_default();
        if !(1..=65535).contains(&number) {
            errors.push(FieldError::invalid(
                format!("{field}.port"),
                number,
                "must be between 1 and 65535, inclusive",
            ));
        }
        if ports.len() > 1 && text(port, "/name").is_empty() {
            errors.push(FieldError::required(format!("{field}.name"), ""));
        }
        let protocol = text(port, "/protocol");
        if !["TCP", "UDP", "SCTP"].contains(&protocol) {
            let supported = &["SCTP", "TCP", "UDP"];
            errors.push(FieldError::not_supported(
                format!("{field}.protocol"),
                protocol,
                supported,
            ));
        }
    }
    errors.extend(metadata::labels(object, "/spec/selector", "spec.selector"));
    errors
}

fn cells(service: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = list(service, "/spec/ports").iter().map(port).collect();
    let selector: Vec<String> = entries(service, "/spec/selector")
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    vec![
        age::name(service),
        Value::from(text(service, "/spec/type")),
        Value::from(or(text(service, "/spec/clusterIP"), "<none>")),
        Value::from(external_address(service)),
        Value::from(or(&ports.join(","), "<none>")),
        age::age(service, now),
        Value::from(or(&selector.join(","), "<none>")),
    ]
}

fn port(port: &Value) -> String {
    let (number, protocol) = (
        integer(port, "/port").unwrap_or_default(),
        text(port, "/protocol"),
    );
    match integer(port, "/nodePort") {
        Some(node) => format!("{number}:{node}/{protocol}"),
        None => format!("{number}/{protocol}"),
    }
}

fn external_address(service: &Value) -> String {
    let given: Vec<&str> = list(service, "/spec/externalIPs")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    match text(service, "/spec/type") {
        "ExternalName" => text(service, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let mut addresses: Vec<&str> = list(service, "/status/loadBalancer/ingress")
                .iter()
                .map(|ingress| or(text(ingress, "/ip"), text(ingress, "/hostname")))
                .collect();
            addresses.extend(given);
            or(&addresses.join(","), "<pending>").to_owned()
        }
        _ => or(&given.join(","), "<none>").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(spec: &Value) -> Value {
        let mut service = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec});
        (KIND.default)(&mut service);
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        (KIND.prepare_create)(&mut service, &Creation::at(now));
        service
    }

    /// embedded-cluster.md 13.
    #[test]
    fn ports_and_addresses_are_filled_in() {
        let service = created(&json!({"ports": [{"port": 80}]}));
        assert_eq!(
            service["spec"]["ports"],
            json!([{"port": 80, "protocol": "TCP", "targetPort": 80}])
        );
        assert_eq!(service["spec"]["type"], "ClusterIP");
        let address = service["spec"]["clusterIP"].as_str().unwrap();
        assert!(address.starts_with("10."), "{address}");
        assert_eq!(service["spec"]["clusterIPs"], json!([address]));
        assert!((KIND.validate)(&service).is_empty());
        let headless = created(&json!({"clusterIP": "None"}));
        assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
        assert!((KIND.validate)(&headless).is_empty());
    }

    #[test]
    fn an_update_without_the_address_keeps_it() {
        let old = created(&json!({"ports": [{"port": 80}]}));
        let mut new = json!({"metadata": old["metadata"], "spec": {"ports": [{"port": 81}]}});
        (KIND.default)(&mut new);
        (KIND.prepare_update)(&mut new, &old);
        assert_eq!(new["spec"]["clusterIP"], old["spec"]["clusterIP"]);
        assert!((KIND.validate_update)(&new, &old).is_empty());
        new["spec"]["clusterIP"] = json!("10.96.0.9");
        assert_eq!((KIND.validate_update)(&new, &old)[0].field, "spec.clusterIPs[0]");
    }

    #[test]
    fn cells_of_services() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let service = json!({"metadata": {"name": "web"}, "spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.0.1", "selector": {"a": "b"},
            "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
        }});
        let wanted = json!([
            "web",
            "LoadBalancer",
            "10.96.0.1",
            "<pending>",
            "80:30080/TCP,53/UDP",
            "<unknown>",
            "a=b"
        ]);
        assert_eq!(Value::from(cells(&service, now)), wanted);
    }
}
