//! As whom a hub is let in, and where it reads its pods. Source: hub.md B3.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pitstop_api::SystemClock;
use pitstop_hub::certificate::{self, Certificates};
use pitstop_hub::{ApiServer, Cloud, ConnectError, Direct, FromKubelet};

use super::{HubCommand, IdentityName, PodsSource};
use crate::{connect, failure};

/// Where the kubelet's access is, in order of preference. Source: hub.md B3.
const KUBELET: [&str; 2] = ["/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/kubeconfig"];

/// As whom the cluster lets us in. Source: hub.md B3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    Node,
    Csr,
    Sa,
}

impl Identity {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Csr => "csr",
            Self::Sa => "sa",
        }
    }
}

pub(super) struct Access {
    kubeconfig: PathBuf,
    pub(super) identity: Identity,
}

/// The way to the cluster.
pub(super) struct Way {
    pub(super) cloud: Arc<dyn Cloud>,
    /// What keeps the certificate fresh, if it is the hub's own.
    pub(super) certificates: Option<Certificates<Direct>>,
}

fn unusable(error: &ConnectError) -> anyhow::Error {
    failure::failed(
        error.to_string(),
        "mend the file, or choose another one with --kubeconfig",
    )
}

impl HubCommand {
    /// The API server, and the certificate that is to be kept fresh for it.
    pub(super) fn way(&self, access: &Access, node: &str, seed: u64) -> anyhow::Result<Way> {
        let direct = || self.direct(access);
        let certificates = match access.identity {
            Identity::Csr => Some(Certificates::new(
                &self.state,
                node,
                self.bootstrap()?,
                direct()?,
                Arc::new(SystemClock),
                seed,
            )),
            Identity::Node | Identity::Sa => None,
        };
        let cloud: Arc<dyn Cloud> = Arc::new(ApiServer::new(direct()?, node));
        if self.pods_source == PodsSource::Api {
            return Ok(Way { cloud, certificates });
        }
        let authority = self.kubelet_certificate_authority.clone();
        let kubelet = self
            .connection(access)?
            .to_kubelet(&self.kubelet_url, node, authority);
        let kubelet = kubelet.map_err(|error| {
            failure::usage(
                format!("--kubelet-url: {error}"),
                "write it like https://127.0.0.1:10250",
            )
        })?;
        let limit = Duration::from_secs(self.heartbeat_timeout_seconds.into());
        let cloud = Arc::new(FromKubelet::new(kubelet, node, cloud, limit));
        Ok(Way { cloud, certificates })
    }

    fn connection(&self, access: &Access) -> anyhow::Result<Direct> {
        if access.identity == Identity::Csr {
            return Ok(Direct::once_there(&access.kubeconfig));
        }
        Direct::new(&access.kubeconfig, self.context.clone()).map_err(|error| unusable(&error))
    }

    fn direct(&self, access: &Access) -> anyhow::Result<Direct> {
        self.at_server(self.connection(access)?)
    }

    fn at_server(&self, direct: Direct) -> anyhow::Result<Direct> {
        let Some(server) = &self.server_addr else {
            return Ok(direct);
        };
        direct.with_server(server).map_err(|error| {
            failure::usage(
                format!("--server-addr: {error}"),
                "write it like https://10.0.0.1:6443",
            )
        })
    }

    /// Somebody who may ask for the certificate of this node.
    fn bootstrap(&self) -> anyhow::Result<Option<Direct>> {
        if !self.bootstrap_kubeconfig.exists() {
            return Ok(None);
        }
        let direct = Direct::new(&self.bootstrap_kubeconfig, None).map_err(|error| unusable(&error))?;
        self.at_server(direct).map(Some)
    }

    /// The kubeconfig, and as whom it lets us in. Source: hub.md B3.
    pub(super) fn access(&self) -> anyhow::Result<Access> {
        let node = |kubeconfig: PathBuf| Access {
            kubeconfig,
            identity: Identity::Node,
        };
        let of_the_kubelet = || {
            let is_readable = |path: &&&str| std::fs::File::open(path).is_ok();
            let path = self.kubeconfig.clone();
            path.or_else(|| KUBELET.iter().find(is_readable).map(PathBuf::from))
                .map(node)
        };
        let of_its_own = || -> anyhow::Result<Access> {
            let bootstrap = Some(self.bootstrap_kubeconfig.as_path()).filter(|path| path.exists());
            let kubeconfig = certificate::kubeconfig(&self.state, bootstrap).map_err(|error| {
                failure::failed(
                    error.to_string(),
                    format!(
                        "name a kubeconfig that may ask for certificates of nodes with --bootstrap-kubeconfig; there is \
                         none at {}",
                        self.bootstrap_kubeconfig.display()
                    ),
                )
            })?;
            let identity = Identity::Csr;
            Ok(Access { kubeconfig, identity })
        };
        let of_the_pod = || -> anyhow::Result<Option<Access>> {
            let path = connect::in_cluster_file(&self.state)?;
            let identity = Identity::Sa;
            Ok(path.map(|kubeconfig| Access { kubeconfig, identity }))
        };
        let none = || {
            failure::failed(
                format!(
                    "there is no access to a cluster: {} cannot be read, and this is no pod",
                    KUBELET.join(" and ")
                ),
                "run as root on a node, choose a kubeconfig of the node with --kubeconfig, or ask the cluster for a \
                 certificate with --identity=csr",
            )
        };
        match self.identity {
            IdentityName::Node => of_the_kubelet().ok_or_else(none),
            IdentityName::Csr => of_its_own(),
            IdentityName::Sa => of_the_pod()?.ok_or_else(none),
            IdentityName::Auto => {
                if let Some(access) = of_the_kubelet() {
                    return Ok(access);
                }
                if self.bootstrap_kubeconfig.exists() || certificate::is_kept(&self.state) {
                    return of_its_own();
                }
                of_the_pod()?.ok_or_else(none)
            }
        }
    }
}
