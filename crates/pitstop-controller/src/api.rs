//! The one door to the API server.
//!
//! Every request that the controllers send and every event that they receive passes through one trait object, [`Api`],
//! as data, so that a test can crash, drop, delay or repeat any of them by its index. [`KubeApi`] is the real one;
//! [`Gate`] stands in front of it, counts, and closes when the lease is lost.

use std::io;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use pitstop_api::{WorkloadKind, cloneset, daemonset, statefulset};
use pitstop_engine::inplace::hash::go_json;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

pub use error::{CallError, Refusal};
pub use gate::{Gate, Permission};
pub use guarded::MaySend;
pub use kube_api::KubeApi;
pub use rights::{Learning, MissingRight, OwnerKind, REMEDY, Rights};

mod error;
mod gate;
mod guarded;
mod kube_api;
mod rights;

/// Who we are in `managedFields`.
pub const FIELD_MANAGER: &str = "pitstop-controller";
/// Who writes the labels that tell what an arbiter says. Source: statefulset.md 16.4.
pub const ARBITER_FIELD_MANAGER: &str = "pitstop-arbiter";

/// Sends requests and receives watch events.
pub trait Api: Send + Sync {
    /// Sends one request and waits for the whole answer.
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Bytes, CallError>>;

    /// As [`Api::send`], if `may_send` says yes right before it leaves; [`CallError::LeaseLost`] otherwise.
    ///
    /// Whoever has something to wait for before, a connection say, asks after that.
    fn send_if(&self, call: Call, may_send: MaySend) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async move {
            if may_send() {
                self.send(call).await
            } else {
                Err(CallError::LeaseLost)
            }
        })
    }

    /// Opens a watch. Each item is one line: a JSON watch event.
    fn watch(&self, call: Call) -> BoxFuture<'_, Result<Lines, CallError>>;

    /// Runs a command in a container, and waits for its end: the code that it ends with.
    ///
    /// There may be no way to containers; then this says so.
    fn run(&self, command: Command) -> BoxFuture<'_, Result<i32, CallError>> {
        let why = format!("no command can be run in pod {} from here", command.pod);
        Box::pin(async move { Err(CallError::Unreachable(why)) })
    }

    /// Opens a connection to what is no API server: the arbiter of a StatefulSet. `address`: a name or an address, and a port.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Connection>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            Ok(Box::new(stream) as Connection)
        })
    }
}

/// What bytes go over, both ways.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection, over whatever it goes.
pub type Connection = Box<dyn Stream>;

/// A command in a container of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Which container.
    pub container: String,
    /// A program, and its arguments.
    pub command: Vec<String>,
}

/// The lines of a watch.
pub type Lines = BoxStream<'static, Result<Bytes, CallError>>;

/// A kind of object that the controllers read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `apps/v1` DaemonSets.
    DaemonSets,
    /// `apps.kruise.io/v1beta1` DaemonSets.
    AdvancedDaemonSets,
    /// Pods.
    Pods,
    /// Nodes.
    Nodes,
    /// `apps/v1` ControllerRevisions.
    ControllerRevisions,
    /// `v1` Events.
    Events,
    /// `coordination.k8s.io/v1` Leases.
    Leases,
    /// `batch/v1` Jobs: those that pull images.
    Jobs,
    /// `apps.kruise.io/v1beta1` CloneSets.
    CloneSets,
    /// `apps.kruise.io/v1beta1` StatefulSets.
    StatefulSets,
    /// Claims of volumes.
    Claims,
    /// `apps.kruise.io/v1beta1` ImagePullJobs.
    ImagePullJobs,
    /// `apps.kruise.io/v1beta1` NodeImages.
    NodeImages,
    /// Secrets: those that ImagePullJobs name, and their copies.
    Secrets,
    /// Services: those of arbiters.
    Services,
    /// `storage.k8s.io/v1` classes of storage: those of claims that grow.
    StorageClasses,
}

impl Resource {
    /// The objects of a kind of workload.
    pub fn of(kind: WorkloadKind) -> Self {
        match kind {
            WorkloadKind::DaemonSet => Self::DaemonSets,
            WorkloadKind::AdvancedDaemonSet => Self::AdvancedDaemonSets,
            WorkloadKind::CloneSet => Self::CloneSets,
            WorkloadKind::StatefulSet => Self::StatefulSets,
        }
    }

    /// The kinds that stores keep.
    pub const WATCHED: [Self; 11] = [
        Self::DaemonSets,
        Self::AdvancedDaemonSets,
        Self::Pods,
        Self::Nodes,
        Self::ControllerRevisions,
        Self::Jobs,
        Self::CloneSets,
        Self::StatefulSets,
        Self::Claims,
        Self::ImagePullJobs,
        Self::NodeImages,
    ];

    /// Is it a kind without which nothing can be decided about any workload? Without Jobs, images are not pulled ahead, and
    /// that is all. Kinds that may not be installed are no concern of DaemonSets.
    pub fn is_needed(self) -> bool {
        !matches!(
            self,
            Self::Jobs
                | Self::AdvancedDaemonSets
                | Self::CloneSets
                | Self::StatefulSets
                | Self::Claims
                | Self::ImagePullJobs
                | Self::NodeImages
        )
    }

    /// The name of its definition, where a cluster does not have the kind by itself.
    pub fn definition(self) -> Option<&'static str> {
        match self {
            Self::AdvancedDaemonSets => Some(daemonset::definition::NAME),
            Self::CloneSets => Some(cloneset::definition::NAME),
            Self::StatefulSets => Some(statefulset::definition::NAME),
            _ => None,
        }
    }

    /// Which objects of a kind are kept: those with this label, all where there is none.
    pub fn label(self) -> Option<&'static str> {
        (self == Self::Jobs).then_some(pitstop_api::keys::IMAGE_PRE_PULL)
    }

    /// Plural name, as in paths and metrics.
    pub fn plural(self) -> &'static str {
        match self {
            Self::DaemonSets => "daemonsets",
            Self::AdvancedDaemonSets => daemonset::definition::PLURAL,
            Self::Pods => "pods",
            Self::Nodes => "nodes",
            Self::ControllerRevisions => "controllerrevisions",
            Self::Events => "events",
            Self::Leases => "leases",
            Self::Jobs => "jobs",
            Self::CloneSets => cloneset::definition::PLURAL,
            Self::StatefulSets => statefulset::definition::PLURAL,
            Self::Claims => "persistentvolumeclaims",
            Self::ImagePullJobs => "imagepulljobs",
            Self::NodeImages => "nodeimages",
            Self::Secrets => "secrets",
            Self::Services => "services",
            Self::StorageClasses => "storageclasses",
        }
    }

    /// The word for metrics: one of its own for each kind.
    pub fn word(self) -> &'static str {
        match self {
            Self::AdvancedDaemonSets => daemonset::definition::NAME,
            other => other.plural(),
        }
    }

    fn root(self) -> &'static str {
        match self {
            Self::Pods | Self::Nodes | Self::Events | Self::Claims | Self::Secrets | Self::Services => {
                "/api/v1"
            }
            Self::DaemonSets | Self::ControllerRevisions => "/apis/apps/v1",
            Self::Leases => "/apis/coordination.k8s.io/v1",
            Self::Jobs => "/apis/batch/v1",
            Self::StorageClasses => "/apis/storage.k8s.io/v1",
            Self::AdvancedDaemonSets
            | Self::CloneSets
            | Self::StatefulSets
            | Self::ImagePullJobs
            | Self::NodeImages => "/apis/apps.kruise.io/v1beta1",
        }
    }
}

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Read one.
    Get,
    /// Read many.
    List,
    /// Follow changes.
    Watch,
    /// Make one.
    Create,
    /// Change fields (RFC 7386).
    MergePatch,
    /// Change fields, lists merged by key.
    StrategicPatch,
    /// Remove one.
    Delete,
}

impl Verb {
    /// The word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::MergePatch | Self::StrategicPatch => "patch",
            Self::Delete => "delete",
        }
    }

    /// Does it change anything?
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }

    fn method(self) -> http::Method {
        match self {
            Self::Get | Self::List | Self::Watch => http::Method::GET,
            Self::Create => http::Method::POST,
            Self::MergePatch | Self::StrategicPatch => http::Method::PATCH,
            Self::Delete => http::Method::DELETE,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::MergePatch => "application/merge-patch+json",
            Self::StrategicPatch => "application/strategic-merge-patch+json",
            Self::Get | Self::List | Self::Watch | Self::Create | Self::Delete => "application/json",
        }
    }
}

/// One request, as data.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// What is done.
    pub verb: Verb,
    /// To which kind.
    pub resource: Resource,
    /// In which namespace; `None`: cluster-scoped, or all namespaces.
    pub namespace: Option<String>,
    /// To which object; `None`: to the collection.
    pub name: Option<String>,
    /// To this subresource of it.
    pub subresource: Option<&'static str>,
    /// Query parameters, not encoded.
    pub query: Vec<(&'static str, String)>,
    /// The body.
    pub body: Option<Value>,
}

impl Call {
    /// A request to a collection.
    pub fn collection(verb: Verb, resource: Resource, namespace: Option<&str>) -> Self {
        Self {
            verb,
            resource,
            namespace: namespace.map(str::to_owned),
            name: None,
            subresource: None,
            query: Vec::new(),
            body: None,
        }
    }

    /// A request to one object.
    pub fn object(verb: Verb, resource: Resource, namespace: Option<&str>, name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            ..Self::collection(verb, resource, namespace)
        }
    }

    /// With this body.
    #[must_use]
    pub fn with_body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// With this query parameter.
    #[must_use]
    pub fn with_query(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.query.push((key, value.into()));
        self
    }

    /// To the `status` subresource.
    #[must_use]
    pub fn status(self) -> Self {
        self.subresource("status")
    }

    /// To a subresource.
    #[must_use]
    pub fn subresource(mut self, name: &'static str) -> Self {
        self.subresource = Some(name);
        self
    }

    /// Path and query, encoded.
    pub fn path_and_query(&self) -> String {
        let mut path = self.resource.root().to_owned();
        if let Some(namespace) = &self.namespace {
            path.push_str("/namespaces/");
            encode(&mut path, namespace);
        }
        path.push('/');
        path.push_str(self.resource.plural());
        if let Some(name) = &self.name {
            path.push('/');
            encode(&mut path, name);
        }
        if let Some(subresource) = self.subresource {
            path.push('/');
            path.push_str(subresource);
        }
        let mut separator = '?';
        for (key, value) in &self.query {
            path.push(separator);
            path.push_str(key);
            path.push('=');
            encode(&mut path, value);
            separator = '&';
        }
        path
    }

    /// The HTTP request.
    ///
    /// # Errors
    /// A part of it cannot be written in HTTP.
    pub fn to_http(&self) -> Result<http::Request<Vec<u8>>, CallError> {
        let malformed = |problem: String| CallError::Unreadable {
            what: self.path_and_query(),
            problem,
        };
        let body = match &self.body {
            // Servers keep the data of revisions as it is sent, and what is written in Go compares its bytes.
            Some(body) => go_json(body).into_bytes(),
            None => Vec::new(),
        };
        let mut request = http::Request::builder()
            .method(self.verb.method())
            .uri(self.path_and_query())
            .header(http::header::ACCEPT, "application/json");
        if self.body.is_some() {
            request = request.header(http::header::CONTENT_TYPE, self.verb.content_type());
        }
        if self.verb == Verb::Watch {
            request = request.header(http::header::ACCEPT_ENCODING, "identity");
        }
        request.body(body).map_err(|e| malformed(e.to_string()))
    }
}

/// Percent-encodes everything that is not unreserved (RFC 3986).
fn encode(into: &mut String, text: &str) {
    use std::fmt::Write as _;
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_becomes_method_path_query_and_body() {
        let call = Call::object(Verb::MergePatch, Resource::DaemonSets, Some("a b"), "agent")
            .status()
            .with_query("fieldManager", "pitstop/x y")
            .with_body(serde_json::json!({"status": {}}));
        let http = call.to_http().unwrap();
        assert_eq!(http.method(), http::Method::PATCH);
        assert_eq!(
            http.uri(),
            "/apis/apps/v1/namespaces/a%20b/daemonsets/agent/status?fieldManager=pitstop%2Fx%20y"
        );
        assert_eq!(http.headers()["content-type"], "application/merge-patch+json");
        assert_eq!(http.body().as_slice(), br#"{"status":{}}"#);
    }
}
