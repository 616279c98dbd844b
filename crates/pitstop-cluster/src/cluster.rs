//! One cluster: its store, its API, its built-in controllers and its nodes.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use pitstop_api::{SharedClock, SystemClock};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::access::{Authorization, User};
use crate::api::{Api, Body, Setup};
use crate::builtin;
use crate::pipe;
use crate::serve::{self, ServeConfig, ServeError, Serving};
use crate::store::OpenError;
use crate::webhook::inside::WebhookService;

/// Namespaces that are always there.
///
/// Source: embedded-cluster.md 11.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Classes that are always there, by name, with their value and description.
///
/// Source: those of Kubernetes 1.34.
const PRIORITY_CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

/// Who asks through [`Cluster::client`] and through the kubeconfig of [`Cluster::serve`].
pub(crate) const ADMIN: &str = "kubernetes-admin";

/// Who the controllers inside the process are.
const CONTROLLERS: &str = "system:kube-controller-manager";

/// How a cluster is made. [`Config::default`] is a memory-only cluster without nodes, for tests.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where objects are kept; `None`: in memory only.
    pub data: Option<PathBuf>,
    /// Where time comes from. Waiting uses the runtime's timers, so that paused time runs fast.
    pub clock: SharedClock,
    /// Seed of uids, name suffixes and jitter. `None`: from the operating system.
    pub seed: Option<u64>,
    /// How long a node may be silent before it is NotReady.
    ///
    /// Source: embedded-cluster.md 16.2, 40 s.
    pub node_grace: Duration,
    /// Simulated durations (start of containers, pulls, lease renewals, back-off, eviction) run this many times faster.
    ///
    /// Source: embedded-cluster.md 17.7. Timestamps stay as they are.
    pub time_scale: f64,
    /// Which controllers run inside.
    pub controllers: builtin::Selection,
    /// How requests are authorised. With [`Authorization::Rbac`] a new cluster starts with the default roles.
    pub authorization: Authorization,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: None,
            clock: Arc::new(SystemClock),
            seed: None,
            node_grace: Duration::from_secs(40),
            time_scale: 1.0,
            controllers: builtin::Selection::all(),
            authorization: Authorization::default(),
        }
    }
}

/// Why a cluster could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data folder.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An object that every cluster has could not be made.
    #[error("{object} could not be made: the server answered {status}")]
    Bootstrap {
        /// Its kind and name.
        object: String,
        /// The answer's code.
        status: StatusCode,
    },
}

/// A running cluster. Dropping it stops everything that belongs to it.
#[derive(Debug)]
pub struct Cluster {
    api: Arc<Api>,
    config: Config,
    tasks: Vec<JoinHandle<()>>,
    builtin: Option<builtin::Handle>,
}

impl Cluster {
    /// Opens the data folder, if there is one, and starts the cluster. Must be called within a tokio runtime.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let setup = Setup {
            data: config.data.clone(),
            clock: config.clock.clone(),
            seed: config.seed,
            authorization: config.authorization,
        };
        let api = Arc::new(Api::open(setup)?);
        make_what_is_always_there(&api).await?;
        if config.authorization == Authorization::Rbac {
            api.clone()
                .ensure_defaults()
                .await
                .map_err(|(object, status)| Error::Bootstrap { object, status })?;
        }
        let tasks = vec![
            tokio::spawn(api.clone().expire_events()),
            tokio::spawn(api.clone().keep_definitions()),
        ];
        let mut cluster = Self {
            api,
            config,
            tasks,
            builtin: None,
        };
        if !cluster.config.controllers.is_empty() {
            let config = builtin::Config {
                controllers: cluster.config.controllers.clone(),
                clock: cluster.config.clock.clone(),
                node_grace: cluster.config.node_grace,
                time_scale: cluster.config.time_scale,
                ca_certificate: None,
            };
            let client = cluster.client_of(User::named(CONTROLLERS).into_master());
            cluster.builtin = Some(builtin::spawn(client, config));
        }
        Ok(cluster)
    }

    /// A client without sockets, as an administrator.
    pub fn client(&self) -> kube::Client {
        self.client_of(User::named(ADMIN).into_master())
    }

    /// A client without sockets, under another name, with the groups that follow from it: a node for
    /// `system:node:<name>`, a service account for `system:serviceaccount:<namespace>:<name>`.
    pub fn client_as(&self, user: &str) -> kube::Client {
        self.client_of(User::named(user))
    }

    /// As [`Cluster::client_as`], for who does not know yet which users there will be.
    pub fn clients(&self) -> Arc<dyn Fn(&str) -> kube::Client + Send + Sync> {
        let api = self.api.clone();
        Arc::new(move |user| client_of(api.clone(), User::named(user)))
    }

    fn client_of(&self, user: User) -> kube::Client {
        client_of(self.api.clone(), user)
    }

    /// Has a program in this process answer the webhooks whose configurations name this service: no such service has to
    /// be there. What the program holds is let go when the cluster stops.
    pub fn answer_webhooks(&self, namespace: &str, service: &str, program: Arc<dyn WebhookService>) {
        self.api.inside().add(namespace, service, program);
    }

    /// Serves HTTPS for kubectl and other clients.
    pub async fn serve(&self, config: ServeConfig) -> Result<Serving, ServeError> {
        let (data, now) = (self.config.data.as_deref(), self.config.clock.now());
        let serving = serve::start(self.api.clone(), config, data, now).await?;
        if let Some(builtin) = &self.builtin {
            builtin.set_ca_certificate(serving.ca_certificate.clone());
        }
        Ok(serving)
    }

    /// The newest resourceVersion: it grows by one with each write.
    pub fn resource_version(&self) -> u64 {
        self.api.version()
    }

    /// Stops everything and brings all writes to the disk.
    pub async fn shutdown(self) {
        // The last writes go to the disk, which may take its time.
        let closed = tokio::task::spawn_blocking(move || drop(self)).await;
        if let Err(error) = closed {
            tracing::error!(%error, "the store could not be closed");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.api.close();
    }
}

/// Makes a namespace that may be there already.
async fn make_what_is_always_there(api: &Arc<Api>) -> Result<(), Error> {
    for name in NAMESPACES {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        make(
            api,
            "/api/v1/namespaces",
            &namespace,
            format!("the namespace {name}"),
        )
        .await?;
    }
    for (name, value, description) in PRIORITY_CLASSES {
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
            "description": description,
        });
        let path = "/apis/scheduling.k8s.io/v1/priorityclasses";
        make(api, path, &class, format!("the priority class {name}")).await?;
    }
    Ok(())
}

/// Makes an object unless it is there.
async fn make(api: &Arc<Api>, path: &'static str, object: &Value, what: String) -> Result<(), Error> {
    let mut request = Request::new(http_body_util::Full::new(bytes::Bytes::from(object.to_string())));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(path);
    match api.clone().handle(request).await.status() {
        StatusCode::CREATED | StatusCode::CONFLICT => Ok(()),
        status => Err(Error::Bootstrap { object: what, status }),
    }
}

/// A client that needs no socket.
fn client_of(api: Arc<Api>, user: User) -> kube::Client {
    let service = tower::service_fn(move |mut request: Request<kube::client::Body>| {
        let (api, user) = (api.clone(), user.clone());
        async move {
            if request.headers().contains_key(http::header::UPGRADE) {
                return Ok(pipe::answer(api, user, request).await);
            }
            request.extensions_mut().insert(user);
            Ok::<http::Response<Body>, Infallible>(api.handle(request).await)
        }
    });
    kube::Client::new(service, "default")
}
