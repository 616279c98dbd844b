//! The hub as a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pitstop_hub::{ApiServer, Direct, Hub, Settings};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const FOLDER: &str = "PITSTOP_TEST_HUB_FOLDER";
const FAULT: &str = "PITSTOP_TEST_HUB_FAULT";
const LISTENING: &str = "the hub listens on ";
const AT_FAULT: &str = "the hub is at its fault point";

/// What is variable in the environment of the child.
fn variable(name: &str) -> Option<String> {
    std::env::vars()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
}

/// Not a test of its own: the hub that others start.
#[test]
fn is_a_hub() {
    be_one_if_asked();
}

/// A hub, if the environment says so; whether it does.
pub(crate) fn be_one_if_asked() -> bool {
    let Some(folder) = variable(FOLDER) else {
        return false;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let fault = variable(FAULT).map(|fault| fault.parse().unwrap());
    runtime.block_on(run(Path::new(&folder), fault));
    true
}

async fn run(folder: &Path, fault: Option<usize>) {
    let cloud = ApiServer::new(Direct::new(folder.join("kubeconfig"), None).unwrap(), "n1");
    let mut settings = Settings::new("n1", folder.join("hub"));
    settings.listen = vec![([127, 0, 0, 1], 0).into()];
    settings.reconnect_spread = Duration::ZERO;
    settings.limits.changes = (1000.0, 1000.0);
    settings.limits.all_changes = (1000.0, 1000.0);
    settings.limits.reads = (10_000.0, 10_000.0);
    settings.limits.connections_per_user = 64;
    settings.fault_points = fault.map(|fault| {
        Arc::new(move |call| {
            if call == fault {
                tell(AT_FAULT);
                loop {
                    std::thread::park();
                }
            }
        }) as _
    });
    let hub = Hub::bind(settings, Arc::new(cloud), Arc::new(pitstop_api::SystemClock))
        .await
        .unwrap();
    tell(&format!("{LISTENING}{}", hub.addresses()[0]));
    hub.run(CancellationToken::new()).await.unwrap();
}

/// Not with `println!`: the test runner would keep it.
fn tell(line: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// How far a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Starting,
    Listening(SocketAddr),
    AtFault,
}

/// A hub that runs as a process.
pub(crate) struct Process {
    child: Child,
    life: watch::Receiver<Life>,
    pub(crate) started: Instant,
}

impl Process {
    pub(crate) fn start(folder: &Path, fault: Option<usize>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "child::is_a_hub", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        if let Some(fault) = fault {
            command.env(FAULT, fault.to_string());
        }
        let started = Instant::now();
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (to, life) = watch::channel(Life::Starting);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, address)) = line.split_once(LISTENING) {
                    to.send_replace(Life::Listening(address.parse().unwrap()));
                } else if line.contains(AT_FAULT) {
                    to.send_replace(Life::AtFault);
                }
            }
        });
        Self { child, life, started }
    }

    /// Where it listens, or nothing if it came to its fault point before.
    pub(crate) async fn listening(&mut self) -> Option<SocketAddr> {
        let wait = self.life.wait_for(|life| *life != Life::Starting);
        let life = tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
        match *life.expect("a hub that starts") {
            Life::Listening(address) => Some(address),
            Life::Starting | Life::AtFault => None,
        }
    }

    /// Waits until it is at its fault point.
    pub(crate) fn at_fault(&self) -> impl Future<Output = ()> + use<> {
        let mut life = self.life.clone();
        async move {
            if life.wait_for(|life| *life == Life::AtFault).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }
}
