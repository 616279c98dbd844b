//! Update protection, with kubectl: pods that work are left alone, whoever says that they do. Source: statefulset.md 16.

use std::sync::Arc;

use k8s_openapi::ByteString;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};
use tokio_rustls::{TlsAcceptor, rustls};

use crate::seed_002::{FIRST, IMAGES};
use crate::stateful::{NODES, SET, gone, label, status, updated, versions};
use crate::world::{World, kubectl_is_there};

#[path = "../../examples/arbiter.rs"]
mod arbiter;

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_work_are_protected_by_their_labels() {
    if kubectl_is_there() {
        let world = World::embedded(&NODES, None).await;
        by_labels(&world).await;
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arbiter_says_which_pods_work() {
    if kubectl_is_there() {
        let world = World::embedded(&NODES, None).await;
        by_arbiter(&world, Scheme::Http).await;
        by_arbiter(&world, Scheme::Https).await;
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_work_are_not_evicted() {
    if kubectl_is_there() {
        let world = World::embedded(&NODES, None).await;
        guarded(&world).await;
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_in_pods_say_which_work() {
    if kubectl_is_there() {
        let world = World::guarded(&NODES).await;
        by_commands(&world).await;
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_protected_is_told_where_the_definition_has_no_field_for_it() {
    if kubectl_is_there() {
        let world = World::embedded(&NODES, None).await;
        by_annotations(&world).await;
        world.stop().await;
    }
}

/// The manifest of the seed, with this protection in place of partition and priorities.
fn manifest(protection: &str) -> String {
    let (before, _) = FIRST.split_once("      partition: 3").unwrap();
    format!("{before}      protection: {protection}\n")
}

async fn blocked(world: &World, reason: &str) {
    let path = "jsonpath={.status.conditions[?(@.type==\"UpdateBlocked\")].reason}";
    let wanted = format!("--for={path}={reason}");
    world.kubectl(&["wait", &wanted, SET, "--timeout=60s"]).await;
}

/// Section 16.6, P1 to P3: nobody edits a partition.
pub(crate) async fn by_labels(world: &World) {
    let first = manifest("{podSelector: {matchLabels: {working: \"true\"}}}");
    world.apply(&first).await;
    updated(world, 5).await;
    for pod in [0, 2, 4] {
        label(world, pod, true).await;
    }
    world.apply(&first.replace(IMAGES.0, IMAGES.1)).await;
    updated(world, 2).await;
    assert_eq!(versions(world).await, "20202");
    blocked(world, "AllRemainingProtected").await;
    assert_eq!(status(world, "protection.effectivePartition").await, "3");
    assert_eq!(
        status(world, "protection.waiting").await,
        r#"["sample-4","sample-2","sample-0"]"#
    );
    let said = world.pitstop_ok(&["why", "pod/sample-2"]).await;
    assert!(said.contains("it is protected while it works"), "{said}");
    // P2: 0, 1 and 2 work, so 4 goes.
    label(world, 1, true).await;
    label(world, 4, false).await;
    updated(world, 3).await;
    assert_eq!(versions(world).await, "20200");
    // P3: what idles then is the rest.
    label(world, 2, false).await;
    label(world, 0, false).await;
    updated(world, 5).await;
    assert_eq!(versions(world).await, "00000");
    blocked(world, "Progressing").await;
    gone(world).await;
}

/// Section 16.1, `evictionGuard`: a drain waits for pods that work, and takes those that idle.
pub(crate) async fn guarded(world: &World) {
    let first = manifest("{podSelector: {matchLabels: {working: \"true\"}}, evictionGuard: true}");
    world.apply(&first).await;
    updated(world, 5).await;
    label(world, 0, true).await;
    let evict = async |pod: u32| {
        let path = format!("/api/v1/namespaces/default/pods/sample-{pod}/eviction");
        let body = format!(
            r#"{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"name":"sample-{pod}","namespace":"default"}}}}"#
        );
        world
            .kubectl_with(&["create", "--raw", &path, "-f", "-"], &body)
            .await
    };
    let said = evict(0).await;
    assert!(!said.status.success(), "{said:?}");
    let why = "admission webhook \"evictions.pitstop.io\" denied the request: Cannot evict pod sample-0: it is protected while it works";
    assert!(said.stderr.contains(why), "{said:?}");
    let before = uid(world, 1).await;
    let said = evict(1).await;
    assert!(said.status.success(), "{said:?}");
    updated(world, 5).await;
    assert_ne!(uid(world, 1).await, before, "it idled, and went");
    let node = world
        .kubectl(&["get", "pod", "sample-0", "-o", "jsonpath={.spec.nodeName}"])
        .await;
    let before = uid(world, 0).await;
    let said = world.kubectl_any(&["drain", &node, "--timeout=2s"]).await;
    assert!(!said.status.success(), "{said:?}");
    let waits = "error when evicting pods/\"sample-0\" -n \"default\" (will retry after 5s): ";
    assert!(said.stderr.contains(&format!("{waits}{why}")), "{said:?}");
    assert_eq!(uid(world, 0).await, before, "it works, and stays");
    let left = world
        .kubectl(&[
            "get",
            "pods",
            "--field-selector",
            &format!("spec.nodeName={node}"),
            "-o",
            "name",
        ])
        .await;
    assert_eq!(left, "pod/sample-0\n", "those that idled went");
    label(world, 0, false).await;
    world.kubectl(&["drain", &node, "--timeout=60s"]).await;
    updated(world, 5).await;
    assert_ne!(uid(world, 0).await, before);
    world.kubectl(&["uncordon", &node]).await;
    gone(world).await;
}

/// Section 16.4, exec: whoever has a file works.
pub(crate) async fn by_commands(world: &World) {
    let exec = r#"exec: {command: [test, "!", -e, /tmp/busy]}"#;
    let label = r#"label: {key: working, protectedValue: "true", idleValue: "false"}"#;
    let first = manifest(&format!(
        "{{arbiter: {{{exec}, {label}, periodSeconds: 1, staleAfterSeconds: 60}}}}"
    ));
    world.apply(&first).await;
    updated(world, 5).await;
    let run = async |pod: u32, command: &str| {
        let pod = format!("sample-{pod}");
        let said = world
            .kubectl_any(&["exec", &pod, "--", command, "/tmp/busy"])
            .await;
        // Now and then kubectl hears how a command ended before it listens: it has run all the same.
        let is_done = said.status.success() || said.stderr.contains("closed all streams");
        assert!(is_done, "{said:?}");
    };
    for pod in [0, 2, 4] {
        run(pod, "touch").await;
    }
    for pod in [0, 2, 4] {
        let pod = format!("sample-{pod}");
        let wanted = "--for=jsonpath={.metadata.labels.working}=true";
        world
            .kubectl(&["wait", "pod", &pod, wanted, "--timeout=60s"])
            .await;
    }
    let owners = "jsonpath={.metadata.managedFields[*].manager}";
    let owners = world
        .kubectl(&["get", "pod", "sample-0", "--show-managed-fields", "-o", owners])
        .await;
    assert!(owners.contains("pitstop-arbiter"), "{owners}");
    world.apply(&first.replace(IMAGES.0, IMAGES.1)).await;
    updated(world, 2).await;
    assert_eq!(versions(world).await, "20202");
    blocked(world, "AllRemainingProtected").await;
    // It idles, and may be gone before anybody could look at it.
    run(4, "rm").await;
    updated(world, 3).await;
    assert_eq!(versions(world).await, "20200");
    gone(world).await;
}

/// Section 16.1 and 16.5 with a definition of the kind that is not ours: what it does not know is in annotations.
pub(crate) async fn by_annotations(world: &World) {
    let version = "/spec/versions/1/schema/openAPIV3Schema/properties";
    let spec = "spec/properties/updateStrategy/properties/rollingUpdate/properties";
    let patch = format!(
        r#"[{{"op":"remove","path":"{version}/{spec}/protection"}},
            {{"op":"remove","path":"{version}/status/properties/protection"}}]"#
    );
    let definition = "crd/statefulsets.apps.kruise.io";
    world
        .kubectl(&["patch", definition, "--type=json", "-p", &patch])
        .await;
    let protection = r#"{"podSelector":{"matchLabels":{"working":"true"}}}"#;
    let (before, _) = FIRST.split_once("      partition: 3").unwrap();
    let first = format!("{before}      unorderedUpdate: {{}}\n").replacen(
        "  name: sample\n",
        &format!("  name: sample\n  annotations: {{pitstop.io/update-protection: '{protection}'}}\n"),
        1,
    );
    world.apply(&first).await;
    updated(world, 5).await;
    for pod in [0, 2, 4] {
        label(world, pod, true).await;
    }
    world.apply(&first.replace(IMAGES.0, IMAGES.1)).await;
    updated(world, 2).await;
    assert_eq!(versions(world).await, "20202");
    blocked(world, "AllRemainingProtected").await;
    assert_eq!(
        status(world, "protection").await,
        "",
        "the definition has no such field"
    );
    let wanted = r#"--for=jsonpath={.metadata.annotations.pitstop\.io/protection-status}={"protected":3,"protectedOld":3,"effectivePartition":3,"waiting":["sample-4","sample-2","sample-0"]}"#;
    world.kubectl(&["wait", wanted, SET, "--timeout=60s"]).await;
    // Nothing is written any more: what is told is what was read.
    let version = "jsonpath={.metadata.resourceVersion}";
    let before = world.kubectl(&["get", SET, "-o", version]).await;
    let said = world.pitstop_ok(&["why", "pod/sample-2"]).await;
    assert!(said.contains("it is protected while it works"), "{said}");
    label(world, 4, false).await;
    updated(world, 3).await;
    assert_eq!(versions(world).await, "20200");
    assert_ne!(world.kubectl(&["get", SET, "-o", version]).await, before);
    gone(world).await;
}

async fn uid(world: &World, pod: u32) -> String {
    let pod = format!("sample-{pod}");
    world
        .kubectl(&["get", "pod", &pod, "-o", "jsonpath={.metadata.uid}"])
        .await
}

/// How an arbiter is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// Takes TLS off what comes in, and passes it on, with a certificate for `localhost`. Returns the port, and the certificate as
/// a bundle.
async fn secured(plain: std::net::SocketAddr) -> (u16, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = names.self_signed(&key).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Who does not trust us goes, and so does who finds nobody behind us.
                let mut outside = acceptor.accept(stream).await?;
                let mut inside = TcpStream::connect(plain).await?;
                tokio::io::copy_bidirectional(&mut outside, &mut inside).await
            });
        }
    });
    let bundle = serde_json::to_value(ByteString(certificate.pem().into_bytes())).unwrap();
    (port, bundle.as_str().unwrap().to_owned())
}

/// What was told of the arbiter.
async fn told(world: &World) -> String {
    let path = "jsonpath={.items[*].message}";
    let arguments = [
        "get",
        "events",
        "--field-selector",
        "reason=ArbiterProbeFailed",
        "-o",
        path,
    ];
    world.kubectl(&arguments).await
}

/// Section 16.4, with the example: unlisted pods are protected, and so are all while it does not answer.
pub(crate) async fn by_arbiter(world: &World, scheme: Scheme) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = tokio::spawn(arbiter::serve(listener));
    let (port, bundle) = match scheme {
        Scheme::Http => (addr.port(), String::new()),
        Scheme::Https => secured(addr).await,
    };
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: arbiter}\nspec: {type: ExternalName, externalName: localhost}\n";
    world.apply(service).await;
    let with = |more: &str| {
        let http = format!("http: {{service: {{name: arbiter, port: {port}}}, path: /work{more}}}");
        manifest(&format!(
            "{{arbiter: {{{http}, periodSeconds: 1, staleAfterSeconds: 5, failureThreshold: 2, claim: true}}}}"
        ))
    };
    let (first, untrusted) = match scheme {
        Scheme::Http => (with(""), with("")),
        Scheme::Https => (
            with(&format!(", scheme: https, caBundle: {bundle}")),
            with(", scheme: https"),
        ),
    };
    let said = world.apply(&untrusted).await;
    assert_eq!(said, "statefulset.apps.kruise.io/sample created\n");
    updated(world, 5).await;
    if scheme == Scheme::Https {
        // Who has no certificate that is trusted is not believed.
        world.apply(&untrusted.replace(IMAGES.0, IMAGES.1)).await;
        blocked(world, "ArbiterUnavailable").await;
        let said = told(world).await;
        assert!(said.contains(": TLS: "), "{said}");
    }
    world.apply(&first.replace(IMAGES.0, IMAGES.1)).await;
    blocked(world, "AllRemainingProtected").await;
    assert_eq!(
        versions(world).await,
        "22222",
        "it has named nobody: nobody idles"
    );
    tell(addr, 1, "idle").await;
    tell(addr, 3, "idle").await;
    tell(addr, 0, "working").await;
    updated(world, 2).await;
    assert_eq!(versions(world).await, "20202");
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    blocked(world, "ArbiterUnavailable").await;
    let said = told(world).await;
    assert!(said.contains("the arbiter does not answer: "), "{said}");
    gone(world).await;
}

/// As an instance says what it does.
async fn tell(addr: std::net::SocketAddr, pod: u32, state: &str) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let length = state.len();
    let request = format!(
        "PUT /instances/sample-{pod} HTTP/1.1\r\nHost: arbiter\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{state}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
