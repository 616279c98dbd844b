//! Who may call and how often: hub.md B8, B10, D35, D46 to D49, D53, and the threats of part E.

use std::time::Duration;

use pitstop_hub::{Profile, Settings};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::client::{get, post, post_json, raw, send};
use crate::fake::until;
use crate::rig::{P, Rig, mk_pod, nginx};

// printf abc | sha256sum
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn me() -> u32 {
    rustix::process::getuid().as_raw()
}

/// A file beside the hub's folder.
fn beside(settings: &Settings, name: &str, text: &str) -> std::path::PathBuf {
    let path = settings.state.parent().unwrap().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A rule that wants consent of `by`.
fn with_rule(by: &str, distinct: bool) -> impl FnOnce(&mut Settings) {
    let text = format!("rules: [{{approval: {{required: true, by: ['{by}'], distinct: {distinct}}}}}]");
    move |settings| {
        settings.policy = Some(beside(settings, "policy.yaml", &text));
        settings.tokens = Some(beside(settings, "tokens", &format!("headunit {ABC}\n")));
    }
}

// D35
#[tokio::test]
async fn consent_of_those_who_are_listed_starts_it() {
    let rig = Rig::with(with_rule(&format!("uid:{}", me()), false))
        .await
        .ready()
        .await;
    rig.cloud.put(nginx());
    let reply = post(rig.at, &format!("{P}/upgrade")).await;
    assert_eq!(reply.code, 202);
    assert!(reply.body.ends_with(": Pending/Approval"), "{}", reply.body);
    assert_eq!(rig.cloud.deletes(), 0);
    let path = format!("{}/approve", reply.header("location").unwrap());
    let reply = post(rig.at, &path).await;
    assert_eq!((reply.code, &reply.json()["state"]), (200, &json!("Succeeded")));
    assert_eq!(rig.cloud.deletes(), 1);
    assert_eq!(post(rig.at, &path).await.code, 409);
    rig.stop().await;
}

#[tokio::test]
async fn consent_of_others_does_not_count() {
    for (by, distinct) in [("uid:4242", false), ("token:headunit", true)] {
        let rig = Rig::with(with_rule(by, distinct)).await.ready().await;
        rig.cloud.put(nginx());
        let token = ("Authorization", "Bearer abc");
        // With `distinct`, whoever asked with the token cannot consent with it.
        let headers = if distinct { vec![token] } else { vec![] };
        let reply = send(rig.at, "POST", &format!("{P}/upgrade"), &headers).await;
        let path = format!("{}/approve", reply.header("location").unwrap());
        let reply = send(rig.at, "POST", &path, &headers).await;
        assert_eq!(
            (reply.code, reply.json()["reason"].as_str()),
            (403, Some("Forbidden")),
            "{by}"
        );
        assert_eq!(rig.cloud.deletes(), 0);
        rig.stop().await;
    }
}

// B8: a gate that opens lets it go on by itself.
#[tokio::test]
async fn a_gate_holds_it_until_it_opens() {
    let rig = Rig::with(|settings| {
        let gate = settings.state.parent().unwrap().join("parked");
        let text = format!(
            "rules: [{{gates: [{{name: parked, file: {}, equals: '1'}}]}}]",
            gate.display()
        );
        settings.policy = Some(beside(settings, "policy.yaml", &text));
    })
    .await
    .ready()
    .await;
    rig.cloud.put(nginx());
    let reply = post(rig.at, &format!("{P}/upgrade")).await;
    assert!(reply.body.ends_with(": Pending/Gate"), "{}", reply.body);
    std::fs::write(rig.path("parked"), "1\n").unwrap();
    rig.stands("Succeeded", "Deleted").await;
    rig.stop().await;
}

// D46
#[tokio::test]
async fn plain_curl_of_any_user_works_under_compat() {
    let rig = Rig::start().await.ready().await;
    rig.cloud.put(nginx());
    assert_eq!(post(rig.at, &format!("{P}/upgrade")).await.code, 200);
    rig.stop().await;
}

// D47; E "any local uid". The tests may run as root, who is always trusted over TCP.
#[tokio::test]
async fn guarded_changes_need_a_listed_caller() {
    let rig = Rig::with(|settings| {
        settings.local_auth.profile = Profile::Guarded;
        settings.tokens = Some(beside(settings, "tokens", &format!("headunit {ABC}\n")));
    })
    .await
    .ready()
    .await;
    rig.cloud.put(nginx());
    until("the pod", async || {
        get(rig.at, "/pods").await.body.contains("nginx-a")
    })
    .await;
    if me() != 0 {
        let reply = post(rig.at, &format!("{P}/upgrade")).await;
        assert_eq!(
            (reply.code, reply.body.as_str()),
            (403, "Caller is not allowed to change this node")
        );
        let list = get(rig.at, "/pods").await;
        assert_eq!(list.code, 200);
        assert!(!list.body.contains("annotations") && !list.body.contains(r#""value":"#));
        assert_eq!(rig.cloud.writes(), []);
    }
    let token = [("Authorization", "Bearer abc")];
    assert!(
        send(rig.at, "GET", "/pods", &token)
            .await
            .body
            .contains("annotations")
    );
    assert_eq!(
        send(rig.at, "POST", &format!("{P}/upgrade"), &token).await.code,
        200
    );
    rig.stop().await;
}

// D48
#[tokio::test]
async fn strict_wants_a_token_or_the_unix_socket() {
    let rig = Rig::with(|settings| {
        settings.local_auth.profile = Profile::Strict;
        settings.tokens = Some(beside(settings, "tokens", &format!("headunit {ABC}\n")));
        settings.unix_socket = Some(settings.state.parent().unwrap().join("hub.sock"));
    })
    .await;
    for (headers, code) in [
        (&[][..], 401),
        (&[("Authorization", "Bearer abd")], 401),
        (&[("Authorization", "Basic abc")], 401),
    ] {
        let reply = send(rig.at, "GET", "/pods", headers).await;
        assert_eq!(
            (reply.code, reply.header("www-authenticate")),
            (code, Some("Bearer"))
        );
    }
    assert_eq!(get(rig.at, "/v1/healthz").await.code, 200);
    assert_eq!(get(rig.at, "/nope").await.code, 401);
    let token = [("Authorization", "Bearer abc")];
    until("a list", async || {
        send(rig.at, "GET", "/pods", &token).await.code == 200
    })
    .await;
    let mut socket = UnixStream::connect(rig.path("hub.sock")).await.unwrap();
    let request = b"GET /pods HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    socket.write_all(request).await.unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    drop(socket);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(rig.path("hub.sock")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o660);
    rig.stop().await;
}

// D49; E "intent flood", "replay of an old POST".
#[tokio::test]
async fn the_sixth_change_in_a_second_waits() {
    let rig = Rig::with(|settings| {
        settings.limits.changes = pitstop_hub::Limits::default().changes;
        settings.limits.all_changes = pitstop_hub::Limits::default().all_changes;
    })
    .await
    .ready()
    .await;
    for number in 1..=5 {
        rig.cloud
            .put(mk_pod(&format!("p{number}"), &format!("u{number}")));
        let path = format!("/openyurt.io/v1/namespaces/default/pods/p{number}/upgrade");
        assert_eq!(post(rig.at, &path).await.code, 200, "{number}");
    }
    let reply = post(rig.at, &format!("{P}/upgrade")).await;
    assert_eq!((reply.code, reply.header("retry-after")), (429, Some("5")));
    let reply = post_json(rig.at, &format!("{P}/upgrade")).await;
    assert_eq!(reply.json()["reason"], "TooManyRequests");
    assert_eq!(get(rig.at, "/pods").await.code, 200, "reads go on");
    assert_eq!(rig.cloud.deletes(), 5);
    rig.stop().await;
}

// E: cross-site POST of a token; parser tricks; B10 head, body and time limits.
#[tokio::test]
async fn strange_requests_are_refused_and_harm_nobody() {
    let rig = Rig::with(|settings| settings.limits.request = Duration::from_millis(300))
        .await
        .ready()
        .await;
    rig.cloud.put(nginx());
    let post = |rest: &str| format!("POST {P}/upgrade HTTP/1.1\r\nHost: localhost\r\n{rest}");
    let cases = [
        (
            "two hosts",
            post("Host: localhost\r\nConnection: close\r\n\r\n"),
            421,
        ),
        (
            "no host",
            "GET /pods HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
            421,
        ),
        (
            "another target",
            "GET http://evil.example/pods HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                .to_owned(),
            421,
        ),
        (
            "a long head",
            post(&format!("X: {}\r\n\r\n", "x".repeat(9000))),
            431,
        ),
        (
            "a long body",
            post("Content-Length: 5000\r\n\r\n") + &"x".repeat(5000),
            413,
        ),
        (
            "a body that does not come",
            post("Content-Length: 5\r\n\r\nx"),
            408,
        ),
        ("nonsense", "\u{1}\u{2}\r\n\r\n".to_owned(), 400),
    ];
    for (what, bytes, code) in cases {
        let reply = tokio::time::timeout(Duration::from_secs(5), raw(rig.at, bytes.as_bytes()));
        let reply = String::from_utf8_lossy(&reply.await.unwrap()).into_owned();
        assert!(reply.starts_with(&format!("HTTP/1.1 {code}")), "{what}: {reply}");
    }
    assert_eq!(rig.cloud.writes(), []);
    rig.stop().await;
}

// E: slow-loris. A client that never ends its head is let go; one that is idle between requests may stay.
#[tokio::test]
async fn slow_clients_are_let_go() {
    let rig = Rig::with(|settings| settings.limits.request = Duration::from_millis(200)).await;
    let mut idle = TcpStream::connect(rig.at).await.unwrap();
    let mut slow = TcpStream::connect(rig.at).await.unwrap();
    slow.write_all(b"GET /v1/healthz HTTP/1.1\r\nHost: loc")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), slow.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "still open");
    idle.write_all(b"GET /v1/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut reply = String::new();
    idle.read_to_string(&mut reply).await.unwrap();
    assert!(reply.ends_with("OK"), "{reply}");
    rig.stop().await;
}

// B10: 8 connections of one user.
#[tokio::test]
async fn one_user_holds_eight_connections() {
    let rig = Rig::with(|settings| settings.limits.connections_per_user = 8).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(TcpStream::connect(rig.at).await.unwrap());
    }
    let mut ninth = TcpStream::connect(rig.at).await.unwrap();
    let _ = ninth
        .write_all(b"GET /v1/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let mut reply = Vec::new();
    let _ = ninth.read_to_end(&mut reply).await;
    assert!(reply.is_empty());
    drop(held);
    let at = rig.at;
    until("room again", async || {
        !raw(at, b"GET /v1/healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            .await
            .is_empty()
    })
    .await;
    rig.stop().await;
}

// B2 (5), E "other host": nothing but loopback without saying so.
#[tokio::test]
async fn other_machines_are_not_served_by_accident() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = crate::rig::mk_settings(folder.path());
    settings.listen = vec![([0, 0, 0, 0], 0).into()];
    let bind = |settings: Settings| {
        let clock = std::sync::Arc::new(pitstop_api::SystemClock);
        pitstop_hub::Hub::bind(settings, std::sync::Arc::new(crate::fake::Fake::new()), clock)
    };
    assert!(bind(settings.clone()).await.is_err());
    settings.exposed = true;
    assert!(bind(settings.clone()).await.is_err());
    // Rules and tokens that cannot be read do not count as none.
    settings.tokens = Some(settings.state.with_extension("nowhere"));
    assert!(bind(settings.clone()).await.is_err());
    settings.tokens = Some(beside(&settings, "tokens", ""));
    settings.policy = Some(beside(&settings, "policy.yaml", "rules: {"));
    let error = bind(settings.clone()).await.unwrap_err();
    assert!(error.to_string().contains("policy.yaml"), "{error}");
    settings.policy = Some(settings.state.with_extension("nowhere"));
    let first = bind(settings.clone()).await.unwrap();
    // B7: one hub for each folder.
    let second = bind(settings).await.unwrap_err();
    assert!(matches!(second, pitstop_hub::HubError::Locked(_)), "{second}");
    drop(first);
}
