//! `proxy` of nodes, pods and services: the server asks what listens there and passes the answer on.
//!
//! Kubelets listen, those of simulated nodes too. In simulated pods nothing does, so that their answer is that of a pod
//! whose program does not listen. Source: the answers of Kubernetes 1.34.

use http::{Request, Response};
use http_body_util::Empty;
use serde_json::Value;

use super::containers::{kubelet, kubelet_of, streamed, unreachable};
use super::route::Target;
use super::status::Failure;
use super::{Api, Body, Call};
use crate::kinds::{self, Kind};
use crate::store::{Key, Stored};
use std::sync::Arc;

/// The port of a pod that names none.
const DEFAULT_PORT: u16 = 80;

/// What a name in a path says: `name`, `name:port` or `scheme:name:port`.
struct Wanted<'n> {
    name: &'n str,
    port: &'n str,
}

impl<'n> Wanted<'n> {
    fn parse(text: &'n str) -> Self {
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            [name, port] | [_, name, port] => Self { name, port },
            _ => Self { name: text, port: "" },
        }
    }
}

impl Api {
    /// Any method on `proxy` and what is below.
    pub(super) async fn proxy(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let wanted = Wanted::parse(target.name.as_deref().unwrap_or_default());
        match target.kind.plural {
            "nodes" => self.proxy_to_node(target, &wanted, call).await,
            "services" => Err(self.proxy_to_service(target, &wanted)?),
            _ => Err(self.proxy_to_pod(target, &wanted)?),
        }
    }

    fn named(&self, kind: &Kind, target: &Target, name: &str) -> Result<Arc<Stored>, Failure> {
        let namespace = target.namespace.as_deref().unwrap_or_default();
        let found = self
            .store
            .get(self.collection_of(kind)?.id, &Key::new(namespace, name));
        found.ok_or_else(|| Failure::not_found(target.kind, name))
    }

    async fn proxy_to_node(
        &self,
        target: &Target,
        wanted: &Wanted<'_>,
        call: &Call,
    ) -> Result<Response<Body>, Failure> {
        let node = self.named(target.kind, target, wanted.name)?.decode();
        let (host, own_port) = kubelet_of(&node)?;
        let port = wanted.port.parse().unwrap_or(own_port);
        let question = if call.query.is_empty() { "" } else { "?" };
        let path = format!("/{}{question}{}", target.below.join("/"), call.query);
        let request = Request::builder()
            .method(call.method.clone())
            .uri(path)
            .header(http::header::HOST, format!("{host}:{port}"))
            .body(Empty::new())
            .map_err(|error| Failure::bad_request(error.to_string()))?;
        let answer = kubelet::send(&host, port, request).await;
        let (head, body) = answer.map_err(|error| unreachable(&error))?.into_parts();
        Ok(Response::from_parts(head, streamed(body, call.closing.clone())))
    }

    /// Why a pod does not answer.
    fn proxy_to_pod(&self, target: &Target, wanted: &Wanted<'_>) -> Result<Failure, Failure> {
        let pod = self.named(target.kind, target, wanted.name)?.decode();
        let address = pod.pointer("/status/podIP").and_then(Value::as_str);
        let Some(address) = address.filter(|address| !address.is_empty()) else {
            return Ok(Failure::bad_request("address not allowed"));
        };
        let first = pod.pointer("/spec/containers/0/ports/0/containerPort");
        let own = first.and_then(Value::as_u64).unwrap_or(DEFAULT_PORT.into());
        let port = wanted.port.parse().unwrap_or(own);
        Ok(refused(address, port))
    }

    /// Why a service does not answer.
    fn proxy_to_service(&self, target: &Target, wanted: &Wanted<'_>) -> Result<Failure, Failure> {
        let service = self.named(target.kind, target, wanted.name)?.decode();
        let ports = service.pointer("/spec/ports").and_then(Value::as_array);
        let is_meant = |port: &&Value| {
            let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
            let number = port.get("port").and_then(Value::as_u64).unwrap_or_default();
            wanted.port.is_empty() || name == wanted.port || number.to_string() == wanted.port
        };
        let Some(port) = ports.and_then(|ports| ports.iter().find(is_meant)) else {
            let why = format!(
                "no service port {:?} found for service {:?}",
                wanted.port, wanted.name
            );
            return Ok(Failure::unavailable(why));
        };
        let endpoints = kinds::find("", "v1", "endpoints").ok_or_else(Failure::no_such_path)?;
        let endpoints = self.named(endpoints, target, wanted.name)?.decode();
        let address = endpoints
            .pointer("/subsets/0/addresses/0/ip")
            .and_then(Value::as_str);
        let Some(address) = address else {
            let why = format!("no endpoints available for service {:?}", wanted.name);
            return Ok(Failure::unavailable(why));
        };
        let reached = endpoints
            .pointer("/subsets/0/ports/0/port")
            .and_then(Value::as_u64);
        let own = port.get("port").and_then(Value::as_u64).unwrap_or_default();
        Ok(refused(address, reached.unwrap_or(own)))
    }
}

/// Nothing listens in a simulated pod.
fn refused(address: &str, port: u64) -> Failure {
    Failure::unavailable(format!(
        "error trying to reach service: dial tcp {address}:{port}: connect: connection refused"
    ))
}
