//! A `pitstop` that runs in the background.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long it may take to begin and to end, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A running `pitstop simulate`, `pitstop controller`, ... that has said its first line.
pub(crate) struct Background {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it says to the person who watches.
    stderr: PathBuf,
}

impl Background {
    /// Starts `pitstop` and waits for its first line.
    pub(crate) async fn start(folder: &Path, kubeconfig: &Path, arguments: &[&str]) -> Self {
        let mut background = Self::spawn(folder, kubeconfig, arguments);
        background.next_line().await;
        background
    }

    /// Starts `pitstop` and waits for nothing.
    pub(crate) fn spawn(folder: &Path, kubeconfig: &Path, arguments: &[&str]) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let n = STARTED.fetch_add(1, Ordering::Relaxed);
        let stderr = folder.join(format!("pitstop-{n}.log"));
        let log = std::fs::File::create(&stderr).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_pitstop"))
            .env_clear()
            .env("HOME", folder)
            .env("KUBECONFIG", kubeconfig)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, stderr }
    }

    /// The next line that it prints.
    pub(crate) async fn next_line(&mut self) -> String {
        let next = timeout(LIMIT, self.lines.next_line()).await;
        let line = next.unwrap_or_else(|_| panic!("it says nothing more: {}", self.said()));
        let line = line.unwrap();
        line.unwrap_or_else(|| panic!("it ended: {}", self.said()))
    }

    /// A controller that stood by leads now.
    pub(crate) async fn starts_to_lead(&mut self) {
        let line = self.next_line().await;
        assert!(line.starts_with("running "), "{line}");
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// All that it said on stderr.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Sends a signal: `TERM`, `KILL`, `STOP`, `CONT`.
    pub(crate) async fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().await;
        assert!(
            sent.unwrap().success(),
            "process {pid} was not there: {}",
            self.said()
        );
    }

    /// SIGTERM, as a service manager sends it; it must end well.
    pub(crate) async fn stop(mut self) {
        self.signal("TERM").await;
        let status = timeout(LIMIT, self.child.wait()).await;
        let status = status.expect("it stops in time").unwrap();
        assert!(status.success(), "{status}: {}", self.said());
    }

    /// SIGKILL, as the kernel sends it when memory is short.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}
