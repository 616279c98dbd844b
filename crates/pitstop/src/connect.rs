//! From a kubeconfig, or the service account of a pod, to a client.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use kube::Client;
use kube::config::{
    AuthInfo, Cluster, Config, Context, KubeConfigOptions, Kubeconfig, KubeconfigError, NamedAuthInfo,
    NamedCluster, NamedContext,
};

use crate::{config, failure, output};

/// Where Kubernetes mounts the token of a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The port of an URL that names none.
const HTTPS: u16 = 443;
/// Name of everything in the kubeconfig of a pod.
const IN_CLUSTER: &str = "in-cluster";

/// Which API server.
#[derive(Debug, Clone, Default, Args)]
pub struct ConnectArgs {
    /// Kubeconfig of the cluster [default: $KUBECONFIG, a running `pitstop up`, ~/.kube/config, the service account of
    /// the pod that this runs in]
    #[arg(long, value_name = "FILE", env = "PITSTOP_KUBECONFIG", hide_env = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", env = "PITSTOP_CONTEXT", hide_env = true)]
    pub context: Option<String>,
}

/// A client and the namespace that the context names.
#[derive(Clone)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// Namespace of the context, `default` if it names none.
    pub namespace: String,
}

/// Where an API server and who we are to it is written.
struct Source {
    kubeconfig: Kubeconfig,
    /// A file with authorities that others replace while we run.
    authorities: Option<PathBuf>,
}

impl From<Kubeconfig> for Source {
    fn from(kubeconfig: Kubeconfig) -> Self {
        Self {
            kubeconfig,
            authorities: None,
        }
    }
}

impl ConnectArgs {
    /// The client for what was asked for.
    ///
    /// # Errors
    /// There is no kubeconfig, it cannot be read, or it does not hold the context.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let source = self.source().await?;
        let config = self.config(source).await?;
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).context("making a client from the kubeconfig")?;
        Ok(Connection { client, namespace })
    }

    /// Where the API server is, if that is written as an address.
    ///
    /// # Errors
    /// As [`ConnectArgs::connect`].
    pub async fn server(&self) -> anyhow::Result<Option<SocketAddr>> {
        let source = self.source().await?;
        let server = self.config(source).await?.cluster_url;
        let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = server.port_u16().unwrap_or(HTTPS);
        Ok(host.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, port)))
    }

    async fn config(&self, source: Source) -> anyhow::Result<Config> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = Config::from_custom_kubeconfig(source.kubeconfig, &options)
            .await
            .map_err(|error| {
                failure::failed(
                    format!("reading the kubeconfig: {error}"),
                    "choose another file with --kubeconfig or another of its contexts with --context",
                )
            })?;
        config.root_cert_file = source.authorities;
        // A repeated POST would make a twin; whoever wants another try makes it himself.
        config.default_retry = false;
        Ok(config)
    }

    /// The first that there is: what was asked for, what is near, what is usual, where we are.
    async fn source(&self) -> anyhow::Result<Source> {
        if let Some(path) = &self.kubeconfig {
            return Ok(read(path)?.into());
        }
        let from_env = Kubeconfig::from_env().map_err(|error| {
            failure::failed(
                format!("reading the kubeconfig that $KUBECONFIG names: {error}"),
                "correct $KUBECONFIG or choose a file with --kubeconfig",
            )
        })?;
        if let Some(kubeconfig) = from_env {
            return Ok(kubeconfig.into());
        }
        if let Some((path, kubeconfig)) = running_up().await {
            output::talk(&format!(
                "note: using the cluster of the running `pitstop up` ({}); --kubeconfig chooses another",
                path.display()
            ));
            return Ok(kubeconfig.into());
        }
        if let Some(kubeconfig) = of_the_user()? {
            return Ok(kubeconfig.into());
        }
        let variable = |name: &str| std::env::var_os(name);
        in_cluster(variable, Path::new(SERVICE_ACCOUNT))?.ok_or_else(|| {
            failure::failed(
                "no kubeconfig was given and there is none at ~/.kube/config",
                "start a cluster with `pitstop up`, or choose one with --kubeconfig FILE",
            )
        })
    }
}

fn read(path: &Path) -> anyhow::Result<Kubeconfig> {
    Kubeconfig::read_from(path).map_err(|error| {
        failure::failed(
            format!("reading {}: {error}", path.display()),
            "choose another file with --kubeconfig; `pitstop up` prints the path of its own",
        )
    })
}

/// The kubeconfig at `~/.kube/config`, if there is one.
fn of_the_user() -> anyhow::Result<Option<Kubeconfig>> {
    match Kubeconfig::read() {
        Ok(kubeconfig) => Ok(Some(kubeconfig)),
        Err(KubeconfigError::FindPath) => Ok(None),
        Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(failure::failed(
            format!("reading ~/.kube/config: {error}"),
            "mend it, or choose another file with --kubeconfig",
        )),
    }
}

/// The kubeconfig of the cluster in the default data folder, if its server answers.
async fn running_up() -> Option<(PathBuf, Kubeconfig)> {
    let path = config::own_kubeconfig()?;
    let kubeconfig = Kubeconfig::read_from(&path).ok()?;
    let server = kubeconfig.clusters.first()?.cluster.as_ref()?.server.clone()?;
    let address = server.strip_prefix("https://")?.trim_end_matches('/').to_owned();
    let dial = tokio::net::TcpStream::connect(address);
    tokio::time::timeout(Duration::from_secs(1), dial)
        .await
        .ok()?
        .ok()?;
    Some((path, kubeconfig))
}

/// A kubeconfig in `folder` for who reads it anew whenever a file that it names was replaced. `None`: we are in no pod.
///
/// # Errors
/// The pod has no token of a service account, or the folder cannot be written.
pub fn in_cluster_file(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    use std::io::Write as _;
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    let account = Path::new(SERVICE_ACCOUNT);
    let Some(source) = in_cluster(|name| std::env::var_os(name), account)? else {
        return Ok(None);
    };
    let file = serde_json::to_string_pretty(&source.kubeconfig).context("writing a kubeconfig")?;
    let path = folder.join("in-cluster.kubeconfig");
    let write = || {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let mut options = std::fs::OpenOptions::new();
        let opened = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path);
        opened?.write_all(format!("{file}\n").as_bytes())
    };
    write().with_context(|| format!("writing {}", path.display()))?;
    Ok(Some(path))
}

/// The API server of the cluster whose pod we are, as the service account whose token is in `folder`. The client reads
/// token and authorities again when Kubernetes has replaced them. `None`: we are in no pod.
///
/// Source: Kubernetes documentation, "Accessing the Kubernetes API from a Pod".
fn in_cluster(variable: impl Fn(&str) -> Option<OsString>, folder: &Path) -> anyhow::Result<Option<Source>> {
    let text = |name: &str| variable(name)?.into_string().ok().filter(|text| !text.is_empty());
    let (Some(host), Some(port)) = (text("KUBERNETES_SERVICE_HOST"), text("KUBERNETES_SERVICE_PORT")) else {
        return Ok(None);
    };
    let (token, authorities) = (folder.join("token"), folder.join("ca.crt"));
    for path in [&token, &authorities] {
        std::fs::metadata(path).map_err(|error| {
            failure::failed(
                format!(
                    "this pod has no token of a service account: {}: {error}",
                    path.display()
                ),
                "set automountServiceAccountToken in the pod, as the output of `pitstop manifests` does",
            )
        })?;
    }
    // A pod may be without it; requests that need a namespace then go to the usual one.
    let namespace = std::fs::read_to_string(folder.join("namespace")).ok();
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host
    };
    let kubeconfig = Kubeconfig {
        clusters: vec![NamedCluster {
            name: IN_CLUSTER.to_owned(),
            cluster: Some(Cluster {
                server: Some(format!("https://{host}:{port}")),
                certificate_authority: Some(authorities.display().to_string()),
                ..Cluster::default()
            }),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: IN_CLUSTER.to_owned(),
            auth_info: Some(AuthInfo {
                token_file: Some(token.display().to_string()),
                ..AuthInfo::default()
            }),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: IN_CLUSTER.to_owned(),
            context: Some(Context {
                cluster: IN_CLUSTER.to_owned(),
                user: Some(IN_CLUSTER.to_owned()),
                namespace: namespace.map(|name| name.trim().to_owned()),
                ..Context::default()
            }),
            ..NamedContext::default()
        }],
        current_context: Some(IN_CLUSTER.to_owned()),
        ..Kubeconfig::default()
    };
    Ok(Some(Source {
        kubeconfig,
        authorities: Some(authorities),
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::core::v1::Namespace;
    use kube::Api;
    use pitstop_cluster::{ServeConfig, Serving};

    use super::*;

    fn variables(host: &str, port: &str) -> impl Fn(&str) -> Option<OsString> {
        let given: BTreeMap<String, OsString> = [("HOST", host), ("PORT", port)]
            .map(|(name, value)| (format!("KUBERNETES_SERVICE_{name}"), value.into()))
            .into();
        move |name| given.get(name).cloned()
    }

    #[tokio::test]
    async fn outside_of_a_pod_there_is_no_service_account() {
        let folder = tempfile::tempdir().unwrap();
        for (host, port) in [("", ""), ("10.0.0.1", ""), ("", "443")] {
            assert!(
                in_cluster(variables(host, port), folder.path())
                    .unwrap()
                    .is_none(),
                "{host}:{port}"
            );
        }
    }

    #[tokio::test]
    async fn a_pod_without_a_token_is_told_how_to_get_one() {
        let folder = tempfile::tempdir().unwrap();
        let error = in_cluster(variables("10.0.0.1", "443"), folder.path())
            .err()
            .unwrap();
        let (code, text) = failure::describe(&error);
        assert_eq!(code, 1);
        assert!(
            text.starts_with("error: this pod has no token of a service account: "),
            "{text}"
        );
    }

    /// An API server that checks certificate and token, and what a pod of its cluster would find in its mount.
    async fn mk_cluster(folder: &Path) -> (pitstop_cluster::Cluster, Serving) {
        let data = folder.join("data");
        let config = pitstop_cluster::Config {
            data: Some(data.clone()),
            ..pitstop_cluster::Config::default()
        };
        let cluster = pitstop_cluster::Cluster::start(config).await.unwrap();
        let serve = ServeConfig {
            addr: "127.0.0.1:0".parse().unwrap(),
            kubeconfig: None,
        };
        let serving = cluster.serve(serve).await.unwrap();
        std::fs::copy(data.join("token"), folder.join("token")).unwrap();
        std::fs::write(folder.join("ca.crt"), &serving.ca_certificate).unwrap();
        (cluster, serving)
    }

    async fn config_of(host: &str, port: &str, folder: &Path) -> Config {
        let source = in_cluster(variables(host, port), folder).unwrap().unwrap();
        ConnectArgs::default().config(source).await.unwrap()
    }

    #[tokio::test]
    async fn a_pod_reaches_its_cluster_as_its_service_account() {
        let folder = tempfile::tempdir().unwrap();
        let (cluster, serving) = mk_cluster(folder.path()).await;
        std::fs::write(folder.path().join("namespace"), "pitstop-system\n").unwrap();
        let port = serving.addr.port().to_string();
        let config = config_of("127.0.0.1", &port, folder.path()).await;
        assert_eq!(config.default_namespace, "pitstop-system");
        assert_eq!(
            config.root_cert_file,
            Some(folder.path().join("ca.crt")),
            "read again after a rotation"
        );
        assert!(config.auth_info.token_file.is_some() && config.auth_info.token.is_none());
        let namespaces: Api<Namespace> = Api::all(Client::try_from(config).unwrap());
        assert!(namespaces.get_opt("kube-system").await.unwrap().is_some());
        for (host, want) in [
            ("10.0.0.1", "https://10.0.0.1:6443/"),
            ("fd00::1", "https://[fd00::1]:6443/"),
        ] {
            let config = config_of(host, "6443", folder.path()).await;
            assert_eq!(config.cluster_url.to_string(), want);
        }
        serving.shutdown().await;
        cluster.shutdown().await;
    }

    #[tokio::test]
    async fn a_pod_has_one_context() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["token", "ca.crt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let source = in_cluster(variables("10.0.0.1", "443"), folder.path()).unwrap();
        let asked = ConnectArgs {
            context: Some("other".to_owned()),
            ..ConnectArgs::default()
        };
        assert!(asked.config(source.unwrap()).await.is_err());
    }
}
