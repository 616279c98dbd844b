//! What is remembered of an arbiter. Source: statefulset.md 16.4.

use bytes::Bytes;
use futures::future::BoxFuture;
use pitstop_api::view::Protection;

use super::*;
use crate::api::CallError;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn arbiter() -> Arbiter {
    let http = json!({"service": {"name": "arbiter", "port": 80}, "path": "/work"});
    let protection = Protection::of(&json!({"arbiter": {"http": http, "periodSeconds": 10}}));
    protection.unwrap().arbiter.unwrap()
}

/// Two pods, with uids 1 and 2.
fn pods() -> BTreeMap<Arc<str>, Uid> {
    [("web-0", 1), ("web-1", 2)]
        .map(|(name, uid)| (Arc::from(name), Uid(uid)))
        .into()
}

fn says(states: &[(&str, &str)], ttl_seconds: Option<u32>) -> Answer {
    let instances: Vec<Value> = states
        .iter()
        .map(|(name, state)| json!({"name": name, "state": state}))
        .collect();
    let answer = json!({"instances": instances, "ttlSeconds": ttl_seconds});
    serde_json::from_value(answer).unwrap()
}

fn silence() -> Result<Answer, String> {
    Err("connection refused".to_owned())
}

#[test]
fn it_is_asked_once_in_each_period_whether_it_answers_or_not() {
    for answer in [Ok(says(&[], None)), silence()] {
        let mut asked = Asked::default();
        let due = |asked: &Asked, seconds| asked.due_in(&arbiter(), at(seconds)).as_secs();
        assert_eq!(due(&asked, 0), 0, "it was never asked");
        asked.take(answer, &pods(), at(0));
        assert_eq!([0, 4, 10, 99].map(|seconds| due(&asked, seconds)), [10, 6, 0, 0]);
    }
}

#[test]
fn a_pod_that_it_does_not_name_is_unknown_to_it() {
    let mut asked = Asked::default();
    for (states, expected) in [
        (
            vec![("web-0", "working"), ("web-1", "idle")],
            [Observed::Working, Observed::Idle],
        ),
        (vec![("web-1", "working")], [Observed::Unknown, Observed::Working]),
        (
            vec![("web-0", "asleep"), ("other-0", "idle")],
            [Observed::Unknown; 2],
        ),
    ] {
        asked.take(Ok(says(&states, Some(7))), &pods(), at(5));
        let seen = [1, 2].map(|uid| {
            let mut seen = asked.answers.observations.iter();
            *seen.find(|one| one.pod == Uid(uid)).unwrap()
        });
        assert_eq!(seen.map(|one| one.state), expected, "{states:?}");
        assert!(
            seen.iter()
                .all(|one| (one.at, one.ttl_seconds) == (at(5), Some(7)))
        );
        assert_eq!(asked.answers.heard_at, Some(at(5)));
    }
}

/// 16.5: its silence and its return are told once, and what it said before stays until it is stale.
#[test]
fn its_silence_and_its_return_are_told_once() {
    let mut asked = Asked::default();
    let working = || Ok(says(&[("web-0", "working")], None));
    let why = Turn::Silent("connection refused".to_owned());
    // What it answers, what is told, and how many failures there are in a row then.
    for (seconds, (answer, told, failures)) in (0..).zip([
        (working(), None, 0),
        (silence(), Some(why), 1),
        (silence(), None, 2),
        (working(), Some(Turn::Back), 0),
        (working(), None, 0),
    ]) {
        let is_heard = answer.is_ok();
        assert_eq!(asked.take(answer, &pods(), at(seconds)), told, "{seconds}");
        assert_eq!(asked.answers.failures, failures, "{seconds}");
        assert_eq!(asked.answers.observations.len(), 2, "{seconds}");
        assert_eq!(asked.answers.heard_at == Some(at(seconds)), is_heard, "{seconds}");
    }
}

/// 16.5: the first failure and the recovery are told.
#[test]
fn that_it_cannot_be_asked_for_pods_is_told_once() {
    let mut asked = Asked::default();
    let told = [false, true, true, false, true].map(|fails| asked.is_news(fails));
    assert_eq!(told, [false, true, false, true, true]);
}

#[test]
fn what_is_granted_counts_for_its_time_and_what_is_not_is_asked_for_in_the_next_period() {
    let mut asked = Asked::default();
    let names = |asked: &Asked| -> Vec<(String, bool, i64)> {
        let claims = asked.answers.claimed.iter();
        claims
            .map(|one| {
                (
                    one.pod.to_string(),
                    one.is_granted,
                    one.until.duration_since(at(0)).as_secs(),
                )
            })
            .collect()
    };
    let [first, second]: [Arc<str>; 2] = ["web-0".into(), "web-1".into()];
    let both = [Arc::clone(&first), Arc::clone(&second)];
    let token: Arc<str> = "set-a".into();
    let claim = |pods| Claim {
        pods,
        token: &token,
        ttl_seconds: 120,
    };
    asked.take_claim(&claim(&both), &["web-1".to_owned()], &arbiter(), at(0));
    assert_eq!(
        names(&asked),
        [("web-0".to_owned(), false, 10), ("web-1".to_owned(), true, 120)]
    );
    // A later answer counts instead of the earlier one.
    let alone = std::slice::from_ref(&first);
    asked.take_claim(&claim(alone), &["web-0".to_owned()], &arbiter(), at(10));
    assert_eq!(
        names(&asked),
        [("web-1".to_owned(), true, 120), ("web-0".to_owned(), true, 130)]
    );
    // It cannot be asked: nobody is granted, and whoever was stays so.
    asked.not_asked(both.iter(), &claim(&both), &arbiter(), at(125));
    assert_eq!(
        names(&asked),
        [("web-0".to_owned(), true, 130), ("web-1".to_owned(), false, 135)]
    );
    assert!(asked.answers.claimed.iter().all(|known| known.token == token));
    asked.release(&[Arc::clone(&first)]);
    assert_eq!(names(&asked), [("web-1".to_owned(), false, 135)]);
    let there = BTreeMap::from([(Arc::clone(&second), Uid::default())]);
    asked.forget_claims(&there, at(200));
    assert_eq!(
        names(&asked),
        [("web-1".to_owned(), false, 135)],
        "when it was refused tells whose turn it is"
    );
    asked.take_claim(&claim(&both), &["web-0".to_owned()], &arbiter(), at(200));
    asked.forget_claims(&BTreeMap::new(), at(320));
    assert_eq!(
        names(&asked),
        [],
        "a claim ends by itself, and so does the name of a pod"
    );
}

/// An API server with one service, `arbiter`, outside of the cluster at `localhost`, and pods whose commands end like this.
#[derive(Default)]
struct Server {
    codes: BTreeMap<String, Result<i32, String>>,
    ran: std::sync::Mutex<Vec<crate::api::Command>>,
}

impl Api for Server {
    fn send(&self, call: crate::api::Call) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async move {
            assert_eq!(call.path_and_query(), "/api/v1/namespaces/shop/services/arbiter");
            let service = json!({"spec": {"type": "ExternalName", "externalName": "localhost"}});
            Ok(service.to_string().into())
        })
    }

    fn watch(&self, _: crate::api::Call) -> BoxFuture<'_, Result<crate::api::Lines, CallError>> {
        Box::pin(async { Err(CallError::LeaseLost) })
    }

    fn run(&self, command: crate::api::Command) -> BoxFuture<'_, Result<i32, CallError>> {
        let code = self.codes.get(&command.pod).cloned();
        self.ran.lock().unwrap().push(command);
        Box::pin(async move {
            match code {
                Some(code) => code.map_err(CallError::Unreachable),
                None => std::future::pending().await,
            }
        })
    }
}

fn about(running: &[Arc<str>]) -> About<'_> {
    About {
        namespace: "shop",
        name: "web",
        update_revision: "web-2",
        running,
        container: "main",
    }
}

/// 16.4, exec: 0 is idle, 1 works, anything else is unknown; who cannot be asked now is what it was.
#[tokio::test(start_paused = true)]
async fn commands_say_which_pods_work() {
    let exec = json!({"exec": {"command": ["test", "!", "-e", "/busy"]}, "timeoutSeconds": 2});
    let arbiter = Protection::of(&json!({ "arbiter": exec }))
        .unwrap()
        .arbiter
        .unwrap();
    let names: Vec<Arc<str>> = (0..5).map(|n| format!("web-{n}").into()).collect();
    let pods: BTreeMap<Arc<str>, Uid> = names.iter().cloned().zip((1..).map(Uid)).collect();
    let ends = |codes: &[(&str, Result<i32, &str>)]| Server {
        codes: codes
            .iter()
            .map(|(pod, code)| ((*pod).to_owned(), code.map_err(str::to_owned)))
            .collect(),
        ..Server::default()
    };
    let states = |asked: &Asked| -> Vec<(Observed, i64)> {
        let seen = asked.answers.observations.iter();
        seen.map(|one| (one.state, one.at.duration_since(at(0)).as_secs()))
            .collect()
    };
    let mut asked = Asked::default();
    let server = ends(&[
        ("web-0", Ok(0)),
        ("web-1", Ok(1)),
        ("web-2", Ok(126)),
        ("web-3", Ok(0)),
        ("web-4", Err("no such container")),
    ]);
    let answer = ask(&server, &arbiter, about(&names)).await;
    asked.take(answer, &pods, at(0));
    let first = [
        (Observed::Idle, 0),
        (Observed::Working, 0),
        (Observed::Unknown, 0),
        (Observed::Idle, 0),
    ];
    assert_eq!(states(&asked), first, "of web-4 nothing is known");
    let ran = server.ran.lock().unwrap().first().cloned().unwrap();
    assert_eq!(
        (&*ran.namespace, &*ran.pod, &*ran.container),
        ("shop", "web-0", "main")
    );
    assert_eq!(ran.command, ["test", "!", "-e", "/busy"]);
    // web-1 never answers, and web-3 does not run any more.
    let server = ends(&[("web-0", Ok(1)), ("web-2", Ok(0)), ("web-4", Ok(1))]);
    let running: Vec<Arc<str>> = names.iter().filter(|name| &***name != "web-3").cloned().collect();
    let answer = ask(&server, &arbiter, about(&running)).await;
    asked.take(answer, &pods, at(10));
    let second = [
        (Observed::Working, 10),
        (Observed::Working, 0),
        (Observed::Idle, 10),
        (Observed::Idle, 0),
        (Observed::Working, 10),
    ];
    assert_eq!(
        states(&asked),
        second,
        "what they said before stays, with its age"
    );
    // Nobody answers: that is one failure.
    let answer = ask(&ends(&[]), &arbiter, about(&names)).await;
    let told = asked.take(answer, &pods, at(20));
    let why = "pod web-0: no answer within 2 s".to_owned();
    assert_eq!(told, Some(Turn::Silent(why)));
    assert_eq!((states(&asked).len(), asked.answers.failures), (5, 1));
}

/// Answers over TLS with a certificate for `localhost`. Returns the port, and the certificate as a bundle.
async fn secured() -> (u16, String) {
    use base64::Engine as _;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // Who does not trust us goes.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut asked = [0; 4096];
            let n = stream.read(&mut asked).await.unwrap();
            let asked = String::from_utf8_lossy(&asked[..n]).into_owned();
            assert!(asked.starts_with("GET /work?namespace=shop&name=web&"), "{asked}");
            let body = r#"{"instances":[{"name":"web-0","state":"idle"}]}"#;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    let bundle = base64::engine::general_purpose::STANDARD.encode(certificate.pem());
    (port, bundle)
}

/// 16.1, `scheme: https`: who has no certificate that is trusted is not believed.
#[tokio::test]
async fn an_arbiter_over_tls_is_believed_by_its_certificate() {
    let (port, bundle) = secured().await;
    let asks = |more: Value| {
        let mut http = json!({"service": {"name": "arbiter", "port": port}, "path": "/work"});
        for (field, value) in more.as_object().unwrap() {
            http[field] = value.clone();
        }
        let arbiter = Protection::of(&json!({"arbiter": {"http": http}}))
            .unwrap()
            .arbiter;
        async move { ask(&Server::default(), &arbiter.unwrap(), about(&[])).await }
    };
    let answer = asks(json!({"scheme": "HTTPS", "caBundle": bundle}))
        .await
        .unwrap();
    assert_eq!(
        answer.instances.first().map(Instance::observed),
        Some(Observed::Idle)
    );
    let (_, of_another) = secured().await;
    for (more, why) in [
        (json!({"scheme": "https", "caBundle": of_another}), ": TLS: "),
        (json!({"scheme": "https"}), ": TLS: "),
        (
            json!({"scheme": "https", "caBundle": "!"}),
            "arbiter.http.caBundle holds no certificate; it takes PEM in base64",
        ),
        (json!({}), "localhost"),
    ] {
        let refused = asks(more.clone()).await.unwrap_err();
        assert!(refused.contains(why), "{more}: {refused}");
    }
}
