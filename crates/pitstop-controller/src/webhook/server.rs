//! The webhooks as a server of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pitstop_api::SharedClock;
use pitstop_api::statefulset::defaults::Gates;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::keeper::Keeper;
use super::serve::{self, Shown};
use super::{SERVICE, Webhooks};
use crate::Error;
use crate::api::KubeApi;
use crate::offers;

/// How the webhooks are served.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where they listen; port 0 takes a free one.
    pub addr: SocketAddr,
    /// Host under which the API server reaches a controller outside of the cluster, without a port; `None`: through the
    /// service of the cluster.
    pub host: Option<String>,
    /// Namespace of the service, and of the Secret with the certificate.
    pub namespace: String,
    /// Where "now" comes from.
    pub clock: SharedClock,
    /// How often it is looked whether the certificate has to be renewed, and whether everybody knows it.
    pub look_every: Duration,
    /// What the administrator has decided.
    pub gates: Gates,
}

/// [`Options::look_every`] of a server that lives.
pub const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Webhooks that are served, whoever leads. Dropping it ends them.
pub struct Server {
    addr: SocketAddr,
    ready: watch::Receiver<bool>,
    tasks: JoinSet<&'static str>,
}

impl Server {
    /// Listens, and begins to tell the API server of `client` where. That may take until the kinds are defined.
    ///
    /// # Errors
    /// The address is taken.
    pub async fn start(client: kube::Client, options: Options) -> Result<Self, Error> {
        let addr = options.addr;
        let listen = |source| Error::Listen { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let shown = Arc::new(Shown::default());
        let tls =
            serve::acceptor(Arc::clone(&shown)).map_err(|error| listen(std::io::Error::other(error)))?;
        let webhooks = Webhooks::new(
            Arc::new(KubeApi::new(client.clone())),
            offers::resizes_in_place(&client).await,
        )
        .with_gates(options.gates);
        let (told, ready) = watch::channel(false);
        let names = names(&options);
        let keeper = Keeper {
            client,
            clock: options.clock,
            shown,
            namespace: options.namespace,
            look_every: options.look_every,
            names,
            url: options.host.map(|host| url(&host, addr.port())),
            ready: told,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            serve::serve(listener, tls, webhooks).await;
            "webhooks"
        });
        tasks.spawn(async move {
            keeper.keep().await;
            "certificate of the webhooks"
        });
        Ok(Self { addr, ready, tasks })
    }

    /// Where they listen.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until the API server knows where they are, and their certificate.
    pub async fn ready(&mut self) {
        // The sender lives as long as the tasks, whose end `ended` tells.
        let _ = self.ready.wait_for(|is_ready| *is_ready).await;
    }

    /// Waits until they cannot go on.
    pub async fn ended(&mut self) -> Error {
        let (task, how) = match self.tasks.join_next().await {
            Some(Ok(task)) => (task.to_owned(), "returned".to_owned()),
            Some(Err(error)) => ("webhooks".to_owned(), error.to_string()),
            None => ("webhooks".to_owned(), "returned".to_owned()),
        };
        Error::TaskEnded { task, how }
    }
}

/// Whom the certificate stands for.
fn names(options: &Options) -> Vec<String> {
    let namespace = &options.namespace;
    let mut names = vec![
        format!("{SERVICE}.{namespace}.svc"),
        format!("{SERVICE}.{namespace}.svc.cluster.local"),
    ];
    names.extend(options.host.as_deref().map(|host| bare(host).to_owned()));
    names
}

/// An address without the brackets that URLs have around it.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn url(host: &str, port: u16) -> String {
    let host = bare(host);
    if host.contains(':') {
        format!("https://[{host}]:{port}")
    } else {
        format!("https://{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use pitstop_api::SystemClock;

    use super::*;

    #[test]
    fn hosts_are_names_and_addresses() {
        for (host, at, name) in [
            ("10.0.0.1", "https://10.0.0.1:9443", "10.0.0.1"),
            (
                "ops.example.com",
                "https://ops.example.com:9443",
                "ops.example.com",
            ),
            ("::1", "https://[::1]:9443", "::1"),
            ("[::1]", "https://[::1]:9443", "::1"),
        ] {
            let options = Options {
                addr: SocketAddr::from(([127, 0, 0, 1], 0)),
                host: Some(host.to_owned()),
                namespace: "ns".to_owned(),
                clock: Arc::new(SystemClock),
                look_every: LOOK_EVERY,
                gates: Gates::default(),
            };
            assert_eq!(url(host, 9443), at);
            assert_eq!(
                names(&options),
                [
                    "pitstop-webhook.ns.svc",
                    "pitstop-webhook.ns.svc.cluster.local",
                    name
                ]
            );
        }
    }
}
