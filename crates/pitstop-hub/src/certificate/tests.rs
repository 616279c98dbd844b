//! Source: hub.md B3, `csr`.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Response};
use http_body_util::{BodyExt as _, Full};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _};
use pitstop_api::Clock;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, IsCa,
    Issuer, KeyPair, date_time_ymd,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::api::AnswerBody;

/// How long certificates are good, in days.
const LIFE: i64 = 10;

/// A wall clock that goes with the time of the test.
#[derive(Debug)]
struct Wall(Timestamp, Instant);

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        self.0 + SignedDuration::try_from(self.1.elapsed()).unwrap()
    }
}

/// What the cluster does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Approves { after_seconds: u64 },
    Denies,
    Unreachable,
}

#[derive(Debug)]
struct World {
    mood: Mood,
    /// Name, body, when, as whom.
    asked: Vec<(String, Value, Instant, &'static str)>,
    clock: SharedClock,
    /// In place of the name that was asked for.
    other_name: Option<&'static str>,
}

/// The API server, to somebody.
#[derive(Clone)]
struct Cluster(Arc<Mutex<World>>, &'static str);

impl World {
    fn answer(&mut self, method: &Method, path: &str, body: &Bytes, by: &'static str) -> (u16, Value) {
        if method == Method::POST {
            let body: Value = serde_json::from_slice(body).unwrap();
            let name = body["metadata"]["name"].as_str().unwrap().to_owned();
            if self.asked.iter().any(|(known, ..)| *known == name) {
                return (
                    409,
                    json!({ "kind": "Status", "code": 409, "message": "already exists" }),
                );
            }
            self.asked.push((name, body.clone(), Instant::now(), by));
            return (201, body);
        }
        let name = path.rsplit('/').next().unwrap();
        let (_, body, at, _) = self
            .asked
            .iter()
            .find(|(known, ..)| known == name)
            .unwrap()
            .clone();
        let mut object = body;
        match self.mood {
            Mood::Denies => {
                object["status"] = json!({ "conditions": [
                    { "type": "Denied", "status": "True", "reason": "KubectlDeny", "message": "no" },
                ]});
            }
            Mood::Approves { after_seconds } if at.elapsed().as_secs() >= after_seconds => {
                let signed = STANDARD.encode(self.sign(object["spec"]["request"].as_str().unwrap()));
                object["status"] = json!({
                    "conditions": [{ "type": "Approved", "status": "True" }], "certificate": signed,
                });
            }
            Mood::Approves { .. } | Mood::Unreachable => {}
        }
        (200, object)
    }

    /// A certificate from midnight of today on.
    fn sign(&self, request: &str) -> String {
        let pem = String::from_utf8(STANDARD.decode(request).unwrap()).unwrap();
        let mut request = CertificateSigningRequestParams::from_pem(&pem).unwrap();
        if let Some(name) = self.other_name {
            request.params.distinguished_name = DistinguishedName::new();
            request.params.distinguished_name.push(DnType::CommonName, name);
        }
        let day = |after: i64| {
            let day = self.clock.now().to_zoned(TimeZone::UTC).date() + after.days();
            date_time_ymd(
                day.year().into(),
                day.month().try_into().unwrap(),
                day.day().try_into().unwrap(),
            )
        };
        request.params.not_before = day(0);
        request.params.not_after = day(LIFE);
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
        request.signed_by(&issuer).unwrap().pem()
    }
}

impl Transport for Cluster {
    fn send(
        &self,
        request: http::Request<Full<Bytes>>,
    ) -> BoxFuture<'_, Result<Response<AnswerBody>, String>> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let mut world = self.0.lock().unwrap();
            if world.mood == Mood::Unreachable {
                return Err("no route to host".to_owned());
            }
            let (code, answer) = world.answer(&head.method, head.uri.path(), &body, self.1);
            let body = Full::from(answer.to_string()).map_err(|never| match never {});
            let mut response = Response::new(body.boxed_unsync());
            *response.status_mut() = code.try_into().unwrap();
            Ok(response)
        })
    }
}

struct Rig {
    world: Arc<Mutex<World>>,
    clock: SharedClock,
    folder: tempfile::TempDir,
}

impl Rig {
    fn new(mood: Mood) -> Self {
        let clock: SharedClock = Arc::new(Wall("2026-01-01T00:00:00Z".parse().unwrap(), Instant::now()));
        let world = World {
            mood,
            asked: Vec::new(),
            clock: Arc::clone(&clock),
            other_name: None,
        };
        Self {
            world: Arc::new(Mutex::new(world)),
            clock,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A hub runs for so long.
    async fn hub_runs(&self, seconds: u64) {
        let cluster = |who| Cluster(Arc::clone(&self.world), who);
        let certificates = Certificates::over(
            Files::new(self.folder.path()),
            "edge-7",
            Some(cluster("bootstrap")),
            cluster("own"),
            Arc::clone(&self.clock),
            7,
        );
        let _ = tokio::time::timeout(
            Duration::from_secs(seconds),
            certificates.run(CancellationToken::new()),
        )
        .await;
    }

    fn certificate(&self) -> Option<Certificate> {
        Files::new(self.folder.path()).certificate("edge-7").unwrap()
    }

    /// When it was asked, in seconds from the start, and as whom.
    fn asked(&self, start: Instant) -> Vec<(u64, &'static str)> {
        let world = self.world.lock().unwrap();
        world
            .asked
            .iter()
            .map(|(_, _, at, by)| (at.duration_since(start).as_secs(), *by))
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn it_asks_as_a_kubelet_would_and_keeps_what_it_gets() {
    let rig = Rig::new(Mood::Approves { after_seconds: 5 });
    rig.hub_runs(60).await;
    let certificate = rig.certificate().unwrap();
    assert_eq!(certificate.ends.to_string(), "2026-01-11T00:00:00Z");
    let world = rig.world.lock().unwrap();
    let [(name, body, ..)] = world.asked.as_slice() else {
        panic!("{:?}", world.asked)
    };
    assert!(name.starts_with("pitstop-hub-"), "{name}");
    assert_eq!(
        body["spec"]["signerName"],
        "kubernetes.io/kube-apiserver-client-kubelet"
    );
    assert_eq!(
        body["spec"]["usages"],
        json!(["digital signature", "client auth"])
    );
    let request = String::from_utf8(
        STANDARD
            .decode(body["spec"]["request"].as_str().unwrap())
            .unwrap(),
    )
    .unwrap();
    let request = CertificateSigningRequestParams::from_pem(&request).unwrap();
    let names = &request.params.distinguished_name;
    assert_eq!(names.get(&DnType::CommonName), Some(&"system:node:edge-7".into()));
    assert_eq!(names.get(&DnType::OrganizationName), Some(&"system:nodes".into()));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(rig.folder.path().join(Files::CERTIFICATE))
            .unwrap()
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

/// Between 70 % and 90 % of its life, with the rights that it has; before that nothing is asked.
#[tokio::test(start_paused = true)]
async fn it_is_renewed_ahead_of_its_end() {
    const DAY: u64 = 24 * 3600;
    let start = Instant::now();
    let rig = Rig::new(Mood::Approves { after_seconds: 1 });
    rig.hub_runs(30 * DAY).await;
    let asked = rig.asked(start);
    assert_eq!(asked[0], (0, "bootstrap"));
    assert!(asked.len() >= 4, "{asked:?}");
    for pair in asked.windows(2) {
        let [(before, _), (at, by)] = pair else {
            unreachable!()
        };
        assert_eq!(*by, "own");
        // Certificates begin at midnight.
        let begin = before / DAY * DAY;
        assert!((7 * DAY..=9 * DAY + 2).contains(&(at - begin)), "{asked:?}");
    }
}

/// After a time without power: what it has is of no use any more.
#[tokio::test(start_paused = true)]
async fn with_a_certificate_that_ended_it_begins_anew() {
    let start = Instant::now();
    let rig = Rig::new(Mood::Approves { after_seconds: 0 });
    rig.hub_runs(60).await;
    tokio::time::sleep(Duration::from_secs(11 * 24 * 3600)).await;
    rig.hub_runs(60).await;
    assert_eq!(rig.asked(start)[1].1, "bootstrap");
    assert_eq!(
        rig.certificate().unwrap().ends.to_string(),
        "2026-01-22T00:00:00Z"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_starts_again_goes_on_with_the_same_question() {
    let rig = Rig::new(Mood::Approves { after_seconds: 300 });
    for _ in 0..10 {
        rig.hub_runs(29).await;
        assert_eq!(rig.certificate(), None);
    }
    rig.hub_runs(60).await;
    assert!(rig.certificate().is_some());
    assert_eq!(rig.world.lock().unwrap().asked.len(), 1);
}

/// The person who said no is not asked all the time, and never with the same key.
#[tokio::test(start_paused = true)]
async fn after_a_no_it_asks_again_ten_minutes_later() {
    let start = Instant::now();
    let rig = Rig::new(Mood::Denies);
    rig.hub_runs(1500).await;
    let times: Vec<u64> = rig.asked(start).iter().map(|(at, _)| *at).collect();
    assert_eq!(
        times,
        [0, 601, 1202],
        "a second until the no is seen, and ten minutes"
    );
    let world = rig.world.lock().unwrap();
    assert!(world.asked.windows(2).all(|pair| pair[0].0 != pair[1].0));
}

/// The signer is trusted to say who nodes are, but a certificate of another node is of no use here.
#[tokio::test(start_paused = true)]
async fn a_certificate_of_another_node_is_not_kept() {
    let rig = Rig::new(Mood::Approves { after_seconds: 0 });
    rig.world.lock().unwrap().other_name = Some("system:node:edge-8");
    rig.hub_runs(60).await;
    assert_eq!(rig.certificate(), None);
}

#[tokio::test(start_paused = true)]
async fn while_the_cluster_is_out_of_reach_it_tries_on() {
    let rig = Rig::new(Mood::Unreachable);
    rig.hub_runs(3600).await;
    assert_eq!(rig.certificate(), None);
    rig.world.lock().unwrap().mood = Mood::Approves { after_seconds: 0 };
    rig.hub_runs(31).await;
    assert!(rig.certificate().is_some());
}

#[test]
fn its_kubeconfig_leads_to_the_cluster_of_the_bootstrap_one() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let error = kubeconfig(&state, None).unwrap_err().to_string();
    assert!(error.contains("no bootstrap kubeconfig"), "{error}");
    let bootstrap = folder.path().join("bootstrap.conf");
    std::fs::write(folder.path().join("ca.crt"), "CA").unwrap();
    let text = "{current-context: b, contexts: [{name: b, context: {cluster: c, user: u}}], clusters: [{name: c, cluster: \
                {server: 'https://[::1]:6443/x', certificate-authority: ca.crt, tls-server-name: kubernetes}}], \
                users: [{name: u, user: {token: secret}}]}";
    std::fs::write(&bootstrap, text).unwrap();
    let path = kubeconfig(&state, Some(&bootstrap)).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("secret"), "the bootstrap token is nobody else's");
    assert!(Access::read(&path, None).unwrap_err().contains("hub-client.pem"));
    std::fs::create_dir(state.join("pki")).unwrap();
    std::fs::write(state.join(Files::CERTIFICATE), "PEM").unwrap();
    let access = Access::read(&path, None).unwrap();
    assert_eq!(access.url(), "https://[::1]:6443/x");
    assert_eq!(access.server_name.as_deref(), Some("kubernetes"));
    assert_eq!(access.identity, Some((b"PEM".to_vec(), b"PEM".to_vec())));
    assert_eq!(
        kubeconfig(&state, None).unwrap(),
        path,
        "it stays when the bootstrap kubeconfig is gone"
    );
}
