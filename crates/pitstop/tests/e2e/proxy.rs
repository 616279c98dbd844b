//! A network that breaks when it is told to: a TCP proxy in front of an API server.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Passes bytes on until it is cut.
pub(crate) struct Proxy {
    addr: SocketAddr,
    /// Connections of an earlier number are closed.
    epoch: Arc<watch::Sender<u64>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A network to `target`.
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let epoch = Arc::new(watch::Sender::new(0));
        let epochs = Arc::clone(&epoch);
        let task = tokio::spawn(async move {
            while let Ok((inbound, _)) = listener.accept().await {
                tokio::spawn(pass_on(inbound, target, epochs.subscribe()));
            }
        });
        Self { addr, epoch, task }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Closes all connections; new ones are let through.
    pub(crate) fn cut(&self) {
        self.epoch.send_modify(|epoch| *epoch += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn pass_on(mut inbound: TcpStream, target: SocketAddr, mut epochs: watch::Receiver<u64>) {
    let epoch = *epochs.borrow();
    let Ok(mut outbound) = TcpStream::connect(target).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut inbound, &mut outbound) => {}
        _ = epochs.wait_for(|now| *now != epoch) => {}
    }
}
