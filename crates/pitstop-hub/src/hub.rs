//! A hub from start to end.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use pitstop_api::SharedClock;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audit::Audit;
use crate::cloud::Cloud;
use crate::desk::Desk;
use crate::events::{self, Kind};
use crate::front::{self, Door};
use crate::intents::Book;
use crate::journal::{Counted, Disk, Folder};
use crate::keeper;
use crate::link;
use crate::notices;
use crate::save::{self, Saver};
use crate::settings::Settings;
use crate::shared::{Found, Shared};

/// Why a hub does not run.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The settings contradict themselves.
    #[error("{0}")]
    Settings(String),
    /// An address is taken or not ours.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address or path.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// Another hub uses the same folder. Programs end with code 75.
    #[error("another hub uses {0}")]
    Locked(PathBuf),
    /// The folder of what survives a restart cannot be used.
    #[error("using {path}: {source}")]
    State {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A hub that is bound to its addresses.
pub struct Hub {
    shared: Arc<Shared>,
    doors: Vec<Door>,
    addresses: Vec<SocketAddr>,
    unix_socket: Option<PathBuf>,
    /// Keeps other hubs away from the folder.
    lock: File,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Hub")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Reads what survived, and listens. Clients are answered once it runs.
    ///
    /// # Errors
    /// The settings contradict themselves, an address is taken, or the folder cannot be used.
    pub async fn bind(
        settings: Settings,
        cloud: Arc<dyn Cloud>,
        clock: SharedClock,
    ) -> Result<Self, HubError> {
        settings.check().map_err(HubError::Settings)?;
        let (lock, found) = open(&settings)?;
        let mut doors = Vec::new();
        let mut addresses = Vec::new();
        for address in &settings.listen {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|source| HubError::Listen {
                    address: address.to_string(),
                    source,
                })?;
            addresses.push(listener.local_addr().unwrap_or(*address));
            doors.push(Door::Tcp(listener));
        }
        if let Some(path) = &settings.unix_socket {
            let listener = listen(path).map_err(|source| HubError::Listen {
                address: path.display().to_string(),
                source,
            })?;
            doors.push(Door::Unix(listener));
        }
        let unix_socket = settings.unix_socket.clone();
        let shared = Arc::new(Shared::new(settings, cloud, clock, found));
        Ok(Self {
            shared,
            doors,
            addresses,
            unix_socket,
            lock,
        })
    }

    /// The way to ask it from within this program.
    pub fn desk(&self) -> Desk {
        Desk::new(Arc::clone(&self.shared))
    }

    /// Where it listens, with the ports that the system chose for port 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Runs until told to stop.
    ///
    /// # Errors
    /// What cannot be mended by running on.
    pub async fn run(self, stop: CancellationToken) -> Result<(), HubError> {
        tokio::join!(
            Box::pin(link::run(&self.shared, &stop)),
            Box::pin(keeper::run(&self.shared, &stop)),
            Box::pin(save::run(&self.shared, &stop)),
            Box::pin(tell_link(&self.shared, &stop)),
            Box::pin(front::run(&self.shared, self.doors, &stop)),
        );
        self.shared.with_book(Book::close).await;
        if let Some(path) = &self.unix_socket {
            let _ = std::fs::remove_file(path);
        }
        drop(self.lock);
        Ok(())
    }
}

/// Tells the cloud what owners decide, and clients of the event stream whether the API server is in reach, until told to
/// stop; then they are sent away.
async fn tell_link(shared: &Shared, stop: &CancellationToken) {
    let mut connected = shared.link.follow();
    let mut told = pin!(notices::run(shared));
    loop {
        tokio::select! {
            // In a fixed order, so that a simulation can be repeated.
            biased;
            () = stop.cancelled() => break,
            () = told.as_mut() => break,
            changed = connected.changed() => if changed.is_err() { break },
        }
        connected.mark_unchanged();
        let link = shared.link.connectivity();
        shared.events.tell(
            Kind::Connectivity,
            &events::connectivity(link.connected, link.since),
        );
    }
    shared.events.close();
}

/// The file that one hub at a time holds.
const LOCK: &str = "hub.lock";

/// Makes the folder ours and reads what a process before this one left in it.
fn open(settings: &Settings) -> Result<(File, Found), HubError> {
    let folder = settings.state.as_path();
    let state = |source| HubError::State {
        path: folder.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(state)?;
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(folder.join(LOCK))
        .map_err(state)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(HubError::Locked(folder.to_owned())),
        Err(TryLockError::Error(error)) => return Err(state(error)),
    }
    let disk: Box<dyn Disk> = match &settings.fault_points {
        Some(tell) => Box::new(Counted::new(Folder::new(folder), Arc::clone(tell))),
        None => Box::new(Folder::new(folder)),
    };
    let (book, torn) = Book::open(disk, Instant::now()).map_err(state)?;
    if let Some(torn) = torn {
        tracing::warn!(
            at = torn.at,
            bytes = torn.bytes,
            "cut off a torn tail of the intent log"
        );
    }
    let (saver, saved) = Saver::open(Box::new(Folder::new(folder))).map_err(state)?;
    if let Some(torn) = saved.torn {
        tracing::warn!(
            at = torn.at,
            bytes = torn.bytes,
            "cut off a torn tail of the saved pods"
        );
    }
    let audit = match &settings.audit {
        Some(path) => Some(Audit::open(path).map_err(|source| HubError::State {
            path: path.clone(),
            source,
        })?),
        None => None,
    };
    let found = Found {
        book,
        saver,
        saved,
        audit,
    };
    Ok((lock, found))
}

/// Listens on a unix socket that only its user and group may use; one that a process before this one left is replaced.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_err() {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}
