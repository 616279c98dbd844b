//! A real control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler, as processes on loopback.
//!
//! The programs are those that `KUBEBUILDER_ASSETS` names, or those that `cargo xtask control-plane` has built. Everything
//! that a control plane writes is in a folder of its own; its processes end with the process that started them, however
//! that one ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::DeleteParams;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio::time::{Instant, sleep};

/// Name of the authority in kubeconfigs and of everything else in them.
const NAME: &str = "control-plane";
/// The user that may do everything.
const ADMIN: &str = "admin";
/// A node whose token is known.
pub(crate) const NODE: &str = "edge-1";
/// Its token.
pub(crate) const NODE_TOKEN: &str = "edge-1-token";
/// The token of a machine that may ask to become a node.
pub(crate) const BOOTSTRAP_TOKEN: &str = "bootstrap-token";
/// File of the certificate that clients trust, and that signs theirs.
const AUTHORITY: &str = "ca.crt";
/// File of its key.
const AUTHORITY_KEY: &str = "ca.key";
/// File of the key that signs tokens.
const TOKEN_KEY: &str = "service-accounts.key";
/// How long a program may take until it answers, on a busy machine with two cores.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// How often we look whether it answers.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Every write to the kinds that the invariants speak of, whole, in the order in which it was answered.
const AUDIT_POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
omitManagedFields: true
rules:
- level: None
  namespaces: [kube-node-lease]
- level: RequestResponse
  verbs: [create, update, patch, delete, deletecollection]
  resources:
  - group: ''
    resources: [pods, pods/status, pods/binding, pods/eviction, nodes, nodes/status]
  - group: apps
    resources: [daemonsets, daemonsets/status, controllerrevisions]
  - group: coordination.k8s.io
    resources: [leases]
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
  resources:
  - group: ''
    resources: [events]
- level: None
";

/// Keeps the program `$@` running while its own input is open, and ends it when that closes: also when the process that
/// holds the other end was killed.
const GUARDIAN: &str =
    r#""$@" >>"$LOG" 2>&1 </dev/null & child=$!; echo $child; read -r _; kill -s KILL $child; wait $child"#;

/// A running control plane.
pub(crate) struct ControlPlane {
    programs: PathBuf,
    folder: PathBuf,
    etcd_port: u16,
    api_port: u16,
    tuning: Tuning,
    etcd: Option<Program>,
    api_server: Option<Program>,
    controller_manager: Option<Program>,
    scheduler: Option<Program>,
}

/// What differs between suites and measurements.
#[derive(Debug, Clone)]
pub(crate) struct Tuning {
    /// How long a node may be silent.
    pub(crate) node_grace: Duration,
    /// Further flags of kube-apiserver.
    pub(crate) api_server: Vec<String>,
    /// Further flags of kube-controller-manager.
    pub(crate) controller_manager: Vec<String>,
    /// `GOGC` of its programs: by how much the heap grows before garbage is collected. Units: percent; 100 where Go is left
    /// alone, as measurements leave it.
    pub(crate) garbage: u32,
}

/// What suites give the programs that they start. A fifth of what kube-apiserver does in them is to collect garbage at 100, and
/// a third of kubectl; their memory lasts for minutes only.
pub(crate) const GARBAGE_OF_SUITES: u32 = 400;

impl Default for Tuning {
    fn default() -> Self {
        Self {
            node_grace: Duration::from_secs(5),
            api_server: Vec::new(),
            controller_manager: Vec::new(),
            garbage: GARBAGE_OF_SUITES,
        }
    }
}

/// The folder with the programs; `None` when there is none, which is said in one line, or is a failure where
/// `PITSTOP_REQUIRE_CONTROL_PLANE=1` asks for them.
pub(crate) fn programs() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = match std::env::var_os("KUBEBUILDER_ASSETS") {
        Some(given) if !given.is_empty() => Ok(PathBuf::from(given)),
        _ => xtask::control_plane::cached(&root).map_err(|error| format!("{error:#}")),
    };
    let problem = match folder {
        Ok(folder) => match xtask::control_plane::missing(&folder).as_slice() {
            [] => return Some(folder),
            missing => format!("{} has no {}", folder.display(), missing.join(", ")),
        },
        Err(problem) => problem,
    };
    missing(&format!(
        "a real control plane ({problem}; `cargo xtask control-plane` builds one)"
    ));
    None
}

/// Says that a suite did not run, and for lack of what; that is a failure where `PITSTOP_REQUIRE_CONTROL_PLANE=1`.
pub(crate) fn missing(what: &str) {
    let required = std::env::var_os("PITSTOP_REQUIRE_CONTROL_PLANE").is_some_and(|value| value == "1");
    assert!(
        !required,
        "PITSTOP_REQUIRE_CONTROL_PLANE=1 asks for {what}, which is not there"
    );
    // Not with eprintln: the test runner would swallow it.
    let _ = writeln!(std::io::stderr(), "this suite did not run for lack of {what}");
}

impl ControlPlane {
    /// Starts all of it and waits until it answers.
    pub(crate) async fn start(programs: PathBuf, tuning: Tuning) -> Self {
        let folder = folder();
        let [etcd_port, peer_port, api_port] = free_ports();
        write_credentials(&folder);
        std::fs::write(folder.join("audit-policy.yaml"), AUDIT_POLICY).unwrap();
        // Nobody else talks to this etcd; its port for peers must still be one of its own.
        std::fs::write(folder.join("peer-port"), peer_port.to_string()).unwrap();
        let mut plane = Self {
            programs,
            folder,
            etcd_port,
            api_port,
            tuning,
            etcd: None,
            api_server: None,
            controller_manager: None,
            scheduler: None,
        };
        plane.write_kubeconfig(ADMIN, ADMIN);
        plane.start_etcd();
        plane.start_api_server().await;
        plane.start_controller_manager(&[]);
        plane.start_scheduler();
        plane.wait_for_service_accounts().await;
        plane
    }

    /// The folder with the programs, kubectl among them.
    pub(crate) fn programs(&self) -> &Path {
        &self.programs
    }

    /// The kubeconfig of somebody who may do everything.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.path(&format!("{ADMIN}.kubeconfig"))
    }

    /// Where the API server notes every write.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.path("audit.log")
    }

    /// The process of the controller manager.
    #[allow(dead_code, reason = "a benchmark measures it")]
    pub(crate) fn controller_manager_pid(&self) -> u32 {
        self.controller_manager.as_ref().map_or(0, |program| program.pid)
    }

    /// The processes of the API server and of etcd.
    #[allow(dead_code, reason = "a benchmark measures them")]
    pub(crate) fn store_pids(&self) -> [u32; 2] {
        [&self.api_server, &self.etcd].map(|program| program.as_ref().map_or(0, |program| program.pid))
    }

    /// Is everything running?
    pub(crate) fn is_whole(&self) -> bool {
        [
            &self.etcd,
            &self.api_server,
            &self.controller_manager,
            &self.scheduler,
        ]
        .iter()
        .all(|program| program.as_ref().is_some_and(Program::is_alive))
    }

    /// Writes a kubeconfig for a bearer token, and returns where it is.
    pub(crate) fn write_kubeconfig(&self, name: &str, token: &str) -> PathBuf {
        let path = self.path(&format!("{name}.kubeconfig"));
        let port = self.api_port;
        let ca = self.path(AUTHORITY);
        let text = format!(
            "apiVersion: v1\nkind: Config\n\
             clusters: [{{name: {NAME}, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: '{}'}}}}]\n\
             users: [{{name: {name}, user: {{token: '{token}'}}}}]\n\
             contexts: [{{name: {name}, context: {{cluster: {NAME}, user: {name}}}}}]\n\
             current-context: {name}\n",
            ca.display()
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A client that may do everything.
    pub(crate) async fn client(&self) -> Client {
        self.client_of(&self.kubeconfig()).await
    }

    /// A client of whoever a kubeconfig is of.
    pub(crate) async fn client_of(&self, kubeconfig: &Path) -> Client {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .unwrap();
        config.default_retry = false;
        Client::try_from(config).unwrap()
    }

    /// Ends the API server at once, as a crash of its machine would.
    pub(crate) fn kill_api_server(&mut self) {
        if let Some(api_server) = self.api_server.take() {
            api_server.kill();
        }
    }

    /// Ends the controller manager and the scheduler: from then on nobody writes but the clients of a test.
    #[allow(dead_code, reason = "the differential suite alone does")]
    pub(crate) fn stop_managers(&mut self) {
        for program in [self.controller_manager.take(), self.scheduler.take()]
            .into_iter()
            .flatten()
        {
            program.kill();
        }
    }

    /// Where the API server listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.api_port).into()
    }

    /// Starts the API server and waits until it answers.
    pub(crate) async fn start_api_server(&mut self) {
        let port = self.api_port;
        let mut arguments: Vec<String> = [
            "--bind-address=127.0.0.1",
            "--token-auth-file=tokens.csv",
            "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=service-accounts.pub",
            "--service-cluster-ip-range=10.0.0.0/16",
            "--endpoint-reconciler-type=none",
            // Strict clusters have it on: owners that wait for their dependents need a right of their own.
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement,NodeRestriction",
            "--tls-cert-file=server.crt",
            "--tls-private-key-file=server.key",
            "--allow-privileged=true",
            "--audit-policy-file=audit-policy.yaml",
            "--audit-log-path=audit.log",
            "--audit-log-mode=blocking",
            // One file: the order of writes is read from it.
            "--audit-log-maxsize=4096",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port));
        arguments.push(format!("--service-account-signing-key-file={TOKEN_KEY}"));
        arguments.push(format!("--client-ca-file={AUTHORITY}"));
        arguments.push(format!("--secure-port={port}"));
        arguments.push(format!("--cert-dir={}", self.path("certificates").display()));
        arguments.extend(self.tuning.api_server.iter().cloned());
        self.api_server = Some(self.launch("kube-apiserver", &arguments));
        self.wait_until_ready().await;
    }

    /// Kills etcd without a warning, and starts it again on its data.
    pub(crate) fn crash_etcd(&mut self) {
        if let Some(etcd) = self.etcd.take() {
            etcd.kill();
        }
        self.start_etcd();
    }

    /// Waits until the API server says that it is ready.
    pub(crate) async fn wait_until_ready(&self) {
        let client = self.client().await;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
            match client.request_text(request).await {
                Ok(_) => return,
                Err(error) => assert!(
                    Instant::now() < deadline,
                    "kube-apiserver does not answer: {error}\n{}",
                    self.log("kube-apiserver")
                ),
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn start_etcd(&mut self) {
        let client = format!("http://127.0.0.1:{}", self.etcd_port);
        let peer_port = std::fs::read_to_string(self.path("peer-port")).unwrap();
        let peer = format!("http://127.0.0.1:{peer_port}");
        let arguments = [
            "--data-dir=etcd".to_owned(),
            // A crash of the process loses nothing; a crash of the machine ends the test anyway.
            "--unsafe-no-fsync".to_owned(),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
        ];
        self.etcd = Some(self.launch("etcd", &arguments));
    }

    /// Starts the controller manager again, without these of its controllers.
    pub(crate) async fn restart_controller_manager(&mut self, without: &[&str]) {
        if let Some(program) = self.controller_manager.take() {
            program.kill();
        }
        let leases: kube::Api<Lease> = kube::Api::namespaced(self.client().await, "kube-system");
        let lease = "kube-controller-manager";
        leases.delete(lease, &DeleteParams::default()).await.unwrap();
        self.start_controller_manager(without);
    }

    fn start_controller_manager(&mut self, without: &[&str]) {
        let arguments = controller_manager(&self.kubeconfig(), without, self.tuning.node_grace);
        let signing = [
            format!("--cluster-signing-cert-file={AUTHORITY}"),
            format!("--cluster-signing-key-file={AUTHORITY_KEY}"),
        ];
        let arguments = [&arguments[..], &signing, &self.tuning.controller_manager].concat();
        self.controller_manager = Some(self.launch("kube-controller-manager", &arguments));
    }

    fn start_scheduler(&mut self) {
        self.scheduler = Some(self.launch("kube-scheduler", &scheduler(&self.kubeconfig())));
    }

    /// Pods are admitted from then on.
    async fn wait_for_service_accounts(&self) {
        let accounts: kube::Api<k8s_openapi::api::core::v1::ServiceAccount> =
            kube::Api::namespaced(self.client().await, "default");
        let deadline = Instant::now() + READY_WITHIN;
        while accounts.get_opt("default").await.unwrap().is_none() {
            assert!(
                Instant::now() < deadline,
                "kube-controller-manager does not work\n{}",
                self.log("kube-controller-manager")
            );
            sleep(LOOK_EVERY).await;
        }
    }

    fn launch(&self, name: &str, arguments: &[String]) -> Program {
        Program::start(
            &self.programs.join(name),
            arguments,
            &self.folder,
            self.tuning.garbage,
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The end of what a program said.
    fn log(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// Arguments of kube-controller-manager, which finds its files in the folder where it is started.
fn controller_manager(kubeconfig: &Path, without: &[&str], node_grace: Duration) -> Vec<String> {
    let mut controllers = vec!["*".to_owned()];
    let never = [
        "node-ipam-controller",
        "node-route-controller",
        "service-lb-controller",
    ];
    controllers.extend(without.iter().chain(&never).map(|name| format!("-{name}")));
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--secure-port=0".to_owned(),
        format!("--service-account-private-key-file={TOKEN_KEY}"),
        format!("--root-ca-file={AUTHORITY}"),
        "--use-service-account-credentials=true".to_owned(),
        format!("--controllers={}", controllers.join(",")),
        // Nobody starts it again when it gives up its lease because the API server was away.
        "--leader-elect-lease-duration=150s".to_owned(),
        "--leader-elect-renew-deadline=120s".to_owned(),
        "--node-monitor-period=1s".to_owned(),
        format!("--node-monitor-grace-period={}s", node_grace.as_secs()),
        "--kube-api-qps=2000".to_owned(),
        "--kube-api-burst=4000".to_owned(),
    ]
}

/// Arguments of kube-scheduler.
fn scheduler(kubeconfig: &Path) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--secure-port=0".to_owned(),
        "--leader-elect=false".to_owned(),
        "--kube-api-qps=2000".to_owned(),
        "--kube-api-burst=4000".to_owned(),
    ]
}

/// The real kube-controller-manager and kube-scheduler, on somebody else's API server.
#[allow(dead_code, reason = "benchmarks measure whole control planes")]
pub(crate) struct Managers {
    _programs: [Program; 2],
    _folder: tempfile::TempDir,
}

#[allow(dead_code, reason = "benchmarks measure whole control planes")]
impl Managers {
    pub(crate) fn start(programs: &Path, kubeconfig: &Path, node_grace: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cluster = &Kubeconfig::read_from(kubeconfig).unwrap().clusters[0];
        let authority = cluster.cluster.as_ref().unwrap();
        let authority = authority.certificate_authority_data.as_ref().unwrap();
        let authority: ByteString = serde_json::from_value(authority.as_str().into()).unwrap();
        std::fs::write(folder.path().join(AUTHORITY), authority.0).unwrap();
        let key = KeyPair::generate().unwrap().serialize_pem();
        std::fs::write(folder.path().join(TOKEN_KEY), key).unwrap();
        let launch = |name: &str, arguments: &[String]| {
            Program::start(&programs.join(name), arguments, folder.path(), 100)
        };
        let arguments = controller_manager(kubeconfig, &[], node_grace);
        Self {
            _programs: [
                launch("kube-controller-manager", &arguments),
                launch("kube-scheduler", &scheduler(kubeconfig)),
            ],
            _folder: folder,
        }
    }
}

/// A process that ends with ours.
struct Program {
    guardian: Child,
    pid: u32,
}

impl Program {
    fn start(program: &Path, arguments: &[String], folder: &Path, garbage: u32) -> Self {
        let name = program.file_name().unwrap().to_string_lossy().into_owned();
        let mut guardian = Command::new("sh")
            .args(["-c", GUARDIAN, "sh"])
            .arg(program)
            .args(arguments)
            .current_dir(folder)
            .env("GOGC", garbage.to_string())
            .env("LOG", folder.join(format!("{name}.log")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(guardian.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let pid = line.trim().parse().unwrap();
        Self { guardian, pid }
    }

    fn is_alive(&self) -> bool {
        Path::new(&format!("/proc/{}", self.pid)).exists()
    }

    /// SIGKILL.
    fn kill(self) {
        let killed = Command::new("kill")
            .args(["-KILL", &self.pid.to_string()])
            .status();
        assert!(killed.unwrap().success(), "process {} was not there", self.pid);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The guardian sees the end of its input and ends the program.
        drop(self.guardian.stdin.take());
        let _ = self.guardian.wait();
    }
}

/// A new folder. Those of processes that are no more are removed: a control plane lives as long as its process, which
/// leaves nobody behind to clean up.
fn folder() -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("control-planes");
    std::fs::create_dir_all(&all).unwrap();
    for entry in std::fs::read_dir(&all).unwrap() {
        let path = entry.unwrap().path();
        let owner = path.file_stem().unwrap().to_string_lossy().into_owned();
        if !Path::new("/proc").join(owner).exists() {
            // Somebody else may be removing it just now.
            let _ = std::fs::remove_dir_all(&path);
        }
    }
    let prefix = format!("{}.", std::process::id());
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(&all);
    folder.unwrap().keep()
}

/// Ports that nobody listens on, and that nobody gets who asks for any port: until a program listens on its port, seconds may
/// pass, in which other tests open servers and connections.
fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Kernels give out ports from 32768 on, or 49152.
    const FIRST: u32 = 20_000;
    const N_PORTS: u32 = 12_000;
    // Each process begins elsewhere.
    let start = std::process::id().wrapping_mul(97);
    [(); N].map(|()| {
        let mut ports = (0..N_PORTS).map(|_| {
            let port = FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % N_PORTS;
            u16::try_from(port).unwrap()
        });
        let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        ports.find(is_free).unwrap()
    })
}

/// The server's certificate, the key that signs tokens, and the users.
fn write_credentials(folder: &Path) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let ca_pem = params.self_signed(&authority_key).unwrap().pem();
    write(AUTHORITY_KEY, &authority_key.serialize_pem());
    let issuer = Issuer::new(params, authority_key);
    let server_key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let server = server.signed_by(&server_key, &issuer).unwrap();
    write(AUTHORITY, &ca_pem);
    write("server.crt", &server.pem());
    write("server.key", &server_key.serialize_pem());
    let tokens = KeyPair::generate().unwrap();
    write(TOKEN_KEY, &tokens.serialize_pem());
    write("service-accounts.pub", &tokens.public_key_pem());
    write(
        "tokens.csv",
        &format!(
            "{ADMIN},{ADMIN},{ADMIN},\"system:masters\"\n{NODE_TOKEN},system:node:{NODE},{NODE},\"system:nodes\"\n\
             {BOOTSTRAP_TOKEN},system:bootstrap:machine,machine,\"system:bootstrappers\"\n"
        ),
    );
}
