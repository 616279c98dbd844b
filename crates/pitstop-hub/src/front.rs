//! Where clients come in: listeners, connections and their limits.
//!
//! Source: hub.md B10, B12 (shutdown).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::answers;
use crate::peer::Peer;
use crate::routes;
use crate::settings::Limits;
use crate::shared::Shared;
use crate::timed::Timed;

/// How long requests that are under way may take when the hub stops. Source: hub.md B12.
const DRAIN: Duration = Duration::from_secs(5);

/// Where clients come in.
pub(crate) enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Connections that are open, by user.
#[derive(Debug, Default)]
struct Open {
    all: usize,
    users: BTreeMap<Option<u32>, usize>,
}

/// A place in the count of connections.
struct Place {
    open: Arc<Mutex<Open>>,
    uid: Option<u32>,
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    fn take(open: &Arc<Mutex<Open>>, uid: Option<u32>, limits: &Limits) -> Option<Self> {
        let mut counts = lock(open);
        let of_user = counts.users.get(&uid).copied().unwrap_or(0);
        if counts.all >= limits.connections || of_user >= limits.connections_per_user {
            return None;
        }
        counts.all += 1;
        counts.users.insert(uid, of_user + 1);
        drop(counts);
        Some(Self {
            open: Arc::clone(open),
            uid,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.open);
        counts.all = counts.all.saturating_sub(1);
        let left = counts
            .users
            .get(&self.uid)
            .map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            counts.users.remove(&self.uid);
        } else {
            counts.users.insert(self.uid, left);
        }
    }
}

/// Who is calling, and at which address of ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    /// The address that it called, none for the unix socket.
    pub(crate) bound: Option<IpAddr>,
}

/// Serves until told to stop, then lets requests that are under way finish.
pub(crate) async fn run(shared: &Arc<Shared>, doors: Vec<Door>, stop: &CancellationToken) {
    let open = Arc::default();
    let mut accepting = JoinSet::new();
    for door in doors {
        accepting.spawn(accept(Arc::clone(shared), door, Arc::clone(&open), stop.clone()));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept(shared: Arc<Shared>, door: Door, open: Arc<Mutex<Open>>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = next(&door) => match accepted {
                Ok((stream, caller)) => {
                    if let Some(place) = Place::take(&open, caller.peer.uid, &shared.settings.limits) {
                        connections.spawn(serve(Arc::clone(&shared), stream, caller, place, stop.clone()));
                    } else {
                        shared.metrics.rejected("connections");
                    }
                }
                Err(error) => {
                    // Mostly too many open files; the ones that are open end some time.
                    tracing::warn!(%error, "accepting a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(door);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        tracing::warn!("giving up on requests that are still under way");
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn next(door: &Door) -> std::io::Result<(Box<dyn Stream>, Caller)> {
    match door {
        Door::Tcp(listener) => {
            let (stream, client) = listener.accept().await?;
            let _ = stream.set_nodelay(true);
            let server: SocketAddr = stream.local_addr()?;
            let caller = Caller {
                peer: Peer::of_tcp(client, server),
                bound: Some(server.ip()),
            };
            Ok((Box::new(stream), caller))
        }
        Door::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let caller = Caller {
                peer: Peer::of_unix(&stream),
                bound: None,
            };
            Ok((Box::new(stream), caller))
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    stream: Box<dyn Stream>,
    caller: Caller,
    place: Place,
    stop: CancellationToken,
) {
    let limits = shared.settings.limits;
    let in_request = Arc::new(AtomicBool::new(false));
    let stream = Timed::new(stream, limits.request, Arc::clone(&in_request));
    let stopping = stop.clone();
    let service = service_fn(move |request| {
        in_request.store(true, Ordering::Relaxed);
        let (shared, in_request, stopping) = (Arc::clone(&shared), Arc::clone(&in_request), stopping.clone());
        async move {
            let answer = if stopping.is_cancelled() {
                answers::retry_after(answers::text(503, "The hub is stopping"), 2)
            } else {
                Box::pin(routes::answer(&shared, caller, request)).await
            };
            in_request.store(false, Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_buf_size(limits.head.max(8192))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
    drop(place);
}
