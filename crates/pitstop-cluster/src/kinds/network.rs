//! Ingresses, network policies, and the addresses behind services. Source: embedded-cluster.md 12, 13.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fields::{list, list_mut, map_mut, or, set_missing, text};
use super::workload::{label_selector_errors, selector_text};
use super::{Column, FieldError, Kind, MetadataChecks, Subresource, age};

/// Names and ports beyond this many are only counted.
const SHOWN: usize = 3;

pub(super) const ENDPOINTS: Kind = Kind {
    short_names: &["ep"],
    deprecation: Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
    default: |object| {
        for subset in list_mut(object, "/subsets") {
            for port in list_mut(subset, "/ports") {
                set_missing(map_mut(port, &[]), "protocol", "TCP");
            }
        }
    },
    columns: &[Column::NAME, Column::string("Endpoints"), Column::AGE],
    cells: |object, now| {
        vec![
            age::name(object),
            Value::from(addresses(object)),
            age::age(object, now),
        ]
    },
    is_made_by_update: true,
    ..Kind::plain("Endpoints", "endpoints", "endpoints")
};

pub(super) const ENDPOINT_SLICE: Kind = Kind {
    group: "discovery.k8s.io",
    stored_as: ("discovery.k8s.io", "endpointslices"),
    has_generation: true,
    default: |object| {
        for port in list_mut(object, "/ports") {
            let port = map_mut(port, &[]);
            set_missing(port, "name", "");
            set_missing(port, "protocol", "TCP");
        }
    },
    prepare_update: |new, old| {
        // A slice has no spec: any change of what it says counts, and of its labels.
        let said = |object: &Value| {
            ["/endpoints", "/ports", "/addressType", "/metadata/labels"]
                .map(|place| object.pointer(place).cloned().unwrap_or_default())
        };
        let generation = old.pointer("/metadata/generation").and_then(Value::as_i64);
        if let Some(generation) = generation.filter(|_| said(new) != said(old)) {
            map_mut(new, &["metadata"]).insert("generation".to_owned(), generation.saturating_add(1).into());
        }
    },
    validate: |object| {
        let kind = text(object, "/addressType");
        if ["IPv4", "IPv6", "FQDN"].contains(&kind) {
            return Vec::new();
        }
        if kind.is_empty() {
            return vec![FieldError::required("addressType", "")];
        }
        vec![FieldError::not_supported(
            "addressType",
            kind,
            &["FQDN", "IPv4", "IPv6"],
        )]
    },
    validate_update: |new, old| super::workload::immutable(new, old, "/addressType", "addressType"),
    columns: &[
        Column::NAME,
        Column::string("AddressType"),
        Column::string("Ports"),
        Column::string("Endpoints"),
        Column::AGE,
    ],
    cells: slice_cells,
    metadata_checks: MetadataChecks::WHOLE,
    ..Kind::plain("EndpointSlice", "endpointslices", "endpointslice")
};

pub(super) const ADDRESS: Kind = Kind {
    group: "networking.k8s.io",
    namespaced: false,
    short_names: &["ip"],
    stored_as: ("networking.k8s.io", "ipaddresses"),
    is_only_stored: true,
    validate: |object| {
        let mut errors = Vec::new();
        let name = text(object, "/metadata/name");
        if name.parse::<IpAddr>().is_err() {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.push(FieldError::invalid("metadata.name", name, why));
        }
        if object.pointer("/spec/parentRef").is_none() {
            errors.push(FieldError::required("spec.parentRef", ""));
        }
        errors
    },
    validate_update: |new, old| super::workload::immutable(new, old, "/spec/parentRef", "spec.parentRef"),
    columns: &[Column::NAME, Column::string("ParentRef")],
    cells: |object, _| {
        let parent = |name: &str| text(object, &format!("/spec/parentRef/{name}"));
        let parts = [
            parent("group"),
            parent("resource"),
            parent("namespace"),
            parent("name"),
        ];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        vec![age::name(object), Value::from(parts.join("/"))]
    },
    ..Kind::plain("IPAddress", "ipaddresses", "ipaddress")
};

pub(super) const SERVICE_RANGE: Kind = Kind {
    group: "networking.k8s.io",
    namespaced: false,
    stored_as: ("networking.k8s.io", "servicecidrs"),
    subresources: &[Subresource::Status],
    is_only_stored: true,
    prepare_create: |object, _| {
        map_mut(object, &[]).insert("status".to_owned(), json!({}));
    },
    validate: |object| {
        if list(object, "/spec/cidrs").is_empty() {
            vec![FieldError::required("spec.cidrs", "at least one CIDR required")]
        } else {
            Vec::new()
        }
    },
    columns: &[Column::NAME, Column::string("CIDRs"), Column::AGE],
    cells: |object, now| {
        let ranges: Vec<&str> = list(object, "/spec/cidrs")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        vec![
            age::name(object),
            Value::from(ranges.join(",")),
            age::age(object, now),
        ]
    },
    ..Kind::plain("ServiceCIDR", "servicecidrs", "servicecidr")
};

pub(super) const INGRESS: Kind = Kind {
    group: "networking.k8s.io",
    short_names: &["ing"],
    stored_as: ("networking.k8s.io", "ingresses"),
    subresources: &[Subresource::Status],
    has_generation: true,
    is_only_stored: true,
    prepare_create: |object, _| {
        map_mut(object, &[]).insert("status".to_owned(), json!({"loadBalancer": {}}));
    },
    validate: |object| {
        if list(object, "/spec/rules").is_empty() && object.pointer("/spec/defaultBackend").is_none() {
            let spec = object.get("spec").cloned().unwrap_or_else(|| json!({}));
            let why = "either `defaultBackend` or `rules` must be specified";
            return vec![FieldError::invalid("spec", spec, why)];
        }
        Vec::new()
    },
    columns: &[
        Column::NAME,
        Column::string("Class"),
        Column::string("Hosts"),
        Column::string("Address"),
        Column::string("Ports"),
        Column::AGE,
    ],
    cells: ingress_cells,
    ..Kind::plain("Ingress", "ingresses", "ingress")
};

pub(super) const INGRESS_CLASS: Kind = Kind {
    group: "networking.k8s.io",
    namespaced: false,
    stored_as: ("networking.k8s.io", "ingressclasses"),
    has_generation: true,
    is_only_stored: true,
    columns: &[
        Column::NAME,
        Column::string("Controller"),
        Column::string("Parameters"),
        Column::AGE,
    ],
    cells: |object, now| {
        let parameters = object.pointer("/spec/parameters").map(|parameters| {
            let group = text(parameters, "/apiGroup");
            let dot = if group.is_empty() { "" } else { "." };
            format!(
                "{}{dot}{group}/{}",
                text(parameters, "/kind"),
                text(parameters, "/name")
            )
        });
        vec![
            age::name(object),
            Value::from(text(object, "/spec/controller")),
            Value::from(parameters.unwrap_or_else(|| "<none>".to_owned())),
            age::age(object, now),
        ]
    },
    ..Kind::plain("IngressClass", "ingressclasses", "ingressclass")
};

pub(super) const NETWORK_POLICY: Kind = Kind {
    group: "networking.k8s.io",
    short_names: &["netpol"],
    stored_as: ("networking.k8s.io", "networkpolicies"),
    has_generation: true,
    is_only_stored: true,
    default: |object| {
        let has_egress = !list(object, "/spec/egress").is_empty();
        let types = if has_egress {
            json!(["Ingress", "Egress"])
        } else {
            json!(["Ingress"])
        };
        set_missing(map_mut(object, &["spec"]), "policyTypes", types);
        for direction in ["/spec/ingress", "/spec/egress"] {
            for rule in list_mut(object, direction) {
                for port in list_mut(rule, "/ports") {
                    set_missing(map_mut(port, &[]), "protocol", "TCP");
                }
            }
        }
    },
    validate: |object| match object.pointer("/spec/podSelector") {
        Some(selector) => label_selector_errors(selector, "spec.podSelector"),
        None => Vec::new(),
    },
    columns: &[Column::NAME, Column::string("Pod-Selector"), Column::AGE],
    cells: |object, now| {
        let selector = selector_text(object, "/spec/podSelector");
        vec![age::name(object), Value::from(selector), age::age(object, now)]
    },
    metadata_checks: MetadataChecks::WHOLE_FIRST,
    ..Kind::plain("NetworkPolicy", "networkpolicies", "networkpolicy")
};

/// The first few, and how many more there are.
fn first_few(all: &[String]) -> String {
    let more = all.len().saturating_sub(SHOWN);
    let shown: Vec<&str> = all.iter().take(SHOWN).map(String::as_str).collect();
    let shown = shown.join(",");
    if more > 0 {
        format!("{shown} + {more} more...")
    } else {
        shown
    }
}

fn addresses(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in list(object, "/subsets") {
        let ips = || {
            list(subset, "/addresses")
                .iter()
                .map(|address| text(address, "/ip"))
        };
        let ports = list(subset, "/ports");
        if ports.is_empty() {
            all.extend(ips().map(str::to_owned));
        }
        for port in ports {
            let number = port.get("port").and_then(Value::as_i64).unwrap_or_default();
            all.extend(ips().map(|ip| format!("{ip}:{number}")));
        }
    }
    if all.is_empty() {
        "<none>".to_owned()
    } else {
        first_few(&all)
    }
}

fn slice_cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let port = |port: &Value| match port.get("port").and_then(Value::as_i64) {
        Some(number) => number.to_string(),
        None => "*".to_owned(),
    };
    let ports: Vec<String> = list(object, "/ports").iter().map(port).collect();
    let endpoints = list(object, "/endpoints")
        .iter()
        .flat_map(|endpoint| list(endpoint, "/addresses"));
    let endpoints: Vec<String> = endpoints.filter_map(Value::as_str).map(str::to_owned).collect();
    let or_unset = |all: &[String]| {
        if all.is_empty() {
            "<unset>".to_owned()
        } else {
            first_few(all)
        }
    };
    vec![
        age::name(object),
        Value::from(text(object, "/addressType")),
        Value::from(or_unset(&ports)),
        Value::from(or_unset(&endpoints)),
        age::age(object, now),
    ]
}

fn ingress_cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let hosts = list(object, "/spec/rules").iter().map(|rule| text(rule, "/host"));
    let hosts: Vec<String> = hosts.filter(|host| !host.is_empty()).map(str::to_owned).collect();
    let mut addresses: Vec<&str> = list(object, "/status/loadBalancer/ingress")
        .iter()
        .map(|ingress| or(text(ingress, "/ip"), text(ingress, "/hostname")))
        .collect();
    addresses.sort_unstable();
    let has_tls = !list(object, "/spec/tls").is_empty();
    vec![
        age::name(object),
        Value::from(or(text(object, "/spec/ingressClassName"), "<none>")),
        Value::from(if hosts.is_empty() {
            "*".to_owned()
        } else {
            first_few(&hosts)
        }),
        Value::from(addresses.join(",")),
        Value::from(if has_tls { "80, 443" } else { "80" }),
        age::age(object, now),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// embedded-cluster.md 12.
    #[test]
    fn cells_of_endpoints_and_slices() {
        let now = "2026-01-01T00:02:00Z".parse().unwrap();
        let ips: Vec<Value> = (1..=4).map(|n| json!({"ip": format!("10.0.0.{n}")})).collect();
        let endpoints =
            json!({"metadata": {"name": "a"}, "subsets": [{"addresses": ips, "ports": [{"port": 80}]}]});
        assert_eq!(
            (ENDPOINTS.cells)(&endpoints, now)[1],
            "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 1 more..."
        );
        assert_eq!((ENDPOINTS.cells)(&json!({}), now)[1], "<none>");
        let slice = json!({
            "addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]}],
        });
        assert_eq!(
            slice_cells(&slice, now)[1..4],
            [json!("IPv4"), json!("80"), json!("10.0.0.1")]
        );
        assert_eq!(slice_cells(&json!({}), now)[2], "<unset>");
    }

    #[test]
    fn cells_of_ingresses() {
        let now = "2026-01-01T00:02:00Z".parse().unwrap();
        let ingress = json!({"spec": {"rules": [{"host": "a.b"}], "tls": [{}]}});
        assert_eq!(
            ingress_cells(&ingress, now)[1..5],
            [json!("<none>"), json!("a.b"), json!(""), json!("80, 443")]
        );
        let errors = (INGRESS.validate)(&json!({"spec": {}}));
        assert_eq!(
            errors[0].to_string(),
            "spec: Invalid value: {}: either `defaultBackend` or `rules` must be specified"
        );
    }

    #[test]
    fn a_policy_is_about_what_comes_in_unless_it_has_rules_for_what_goes_out() {
        let mut policy = json!({"spec": {"podSelector": {}, "egress": [{}]}});
        (NETWORK_POLICY.default)(&mut policy);
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        let mut policy = json!({"spec": {"podSelector": {}}});
        (NETWORK_POLICY.default)(&mut policy);
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
    }
}
