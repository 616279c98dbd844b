//! What can end or refuse a controller.

use jiff::Timestamp;

use crate::api::CallError;

/// Why the controllers did not start, or stopped by themselves.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another pitstop controller holds the lease.
    #[error(
        "another pitstop controller is at work: {holder:?} holds the lease {lease} and renewed it at {renewed_at}; \
         stop it, or wait until its lease runs out at {expires_at}"
    )]
    LeaseHeld {
        /// `namespace/name` of the lease.
        lease: String,
        /// Who holds it.
        holder: String,
        /// When it was renewed last.
        renewed_at: Timestamp,
        /// When it runs out unless renewed.
        expires_at: Timestamp,
    },
    /// The lease could not be renewed in time, or somebody took it. All writes have stopped.
    #[error("the lease {lease} is lost ({why}); all writes have stopped")]
    LeaseLost {
        /// `namespace/name` of the lease.
        lease: String,
        /// How it came about.
        why: String,
    },
    /// The API server already has a DaemonSet controller.
    #[error("{0}; use --force to run the native DaemonSet controller beside it")]
    NativeConflict(String),
    /// A request failed.
    #[error("{doing}: {source}")]
    Api {
        /// What we were doing.
        doing: &'static str,
        /// What came back.
        source: CallError,
    },
    /// What was asked for does not exist.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// Kind of the object.
        kind: &'static str,
        /// `namespace/name`.
        name: String,
    },
    /// An object of the API cannot be read.
    #[error("reading {what}: {problem}")]
    Unreadable {
        /// Which.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The address of the health endpoints cannot be used.
    #[error("listening on {addr}: {source}")]
    Listen {
        /// The address.
        addr: std::net::SocketAddr,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A task that must run for ever ended. This is a bug of pitstop.
    #[error("task {task:?} ended ({how}); this is a bug of pitstop")]
    TaskEnded {
        /// Which.
        task: String,
        /// Ended, or the message of its panic.
        how: String,
    },
}
