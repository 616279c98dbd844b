//! One request for a certificate: made, followed, answered.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde::Deserialize;
use serde_json::json;

use super::Failure;
use super::stored::common_name;
use crate::api::{ApiServer, Transport};
use crate::cloud::CloudError;

const PATH: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// The signer of client certificates of nodes. kube-controller-manager signs them, and approves those of nodes that ask
/// for themselves or that may ask for nodes. Source: Kubernetes documentation, "Certificate signing requests".
const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// The group of all nodes. Source: hub.md B3.
const GROUP: &str = "system:nodes";
/// How often the answer is looked for, at first and at last.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How much of the digest of a key is in the name of its request, in bytes.
const DIGEST: usize = 10;

/// What the cluster gave.
pub(super) struct Issued {
    /// The certificate and those that signed it, in PEM.
    pub(super) chain: String,
}

/// A question.
pub(super) struct Request {
    pub(super) key: KeyPair,
    /// The same for the same key and node, so that it is asked once however often the hub starts.
    name: String,
    pem: String,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    certificate: Option<String>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

impl Request {
    pub(super) fn new(node: &str, key: KeyPair) -> Result<Self, Failure> {
        let failed = |error: rcgen::Error| Failure::Passing(format!("making a request: {error}"));
        let mut params = CertificateParams::default();
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, GROUP);
        subject.push(DnType::CommonName, common_name(node));
        params.distinguished_name = subject;
        let pem = params
            .serialize_request(&key)
            .and_then(|request| request.pem())
            .map_err(failed)?;
        let mut about = key.public_key_raw().to_vec();
        about.extend_from_slice(node.as_bytes());
        let digest = ring::digest::digest(&ring::digest::SHA256, &about);
        let mut name = String::from("pitstop-hub-");
        for byte in digest.as_ref().iter().take(DIGEST) {
            // Writing to a String cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        Ok(Self { key, name, pem })
    }

    /// Asks, and waits until somebody decided.
    pub(super) async fn ask<T: Transport>(&self, server: &ApiServer<T>) -> Result<Issued, Failure> {
        let mut object = self.create(server).await?;
        let mut wait = LOOK.0;
        let mut told = false;
        loop {
            if let Some(decided) = self.decided(object) {
                return decided;
            }
            if !told {
                tracing::info!(
                    request = self.name,
                    "waiting for approval; `kubectl certificate approve {}` gives it",
                    self.name
                );
                told = true;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LOOK.1);
            object = self.get(server).await?;
        }
    }

    async fn create<T: Transport>(&self, server: &ApiServer<T>) -> Result<Object, Failure> {
        let body = json!({
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": { "name": self.name },
            "spec": {
                "request": STANDARD.encode(&self.pem),
                "signerName": SIGNER,
                "usages": ["digital signature", "client auth"],
            },
        });
        let body = ("application/json", Bytes::from(body.to_string()));
        match bounded(server.call(Method::POST, PATH, Some(body))).await {
            Ok(answer) => object(&answer),
            Err(CloudError::Conflict(_)) => self.get(server).await,
            Err(error) => Err(Failure::Passing(format!("asking for a certificate: {error}"))),
        }
    }

    async fn get<T: Transport>(&self, server: &ApiServer<T>) -> Result<Object, Failure> {
        let path = format!("{PATH}/{}", self.name);
        match bounded(server.call(Method::GET, &path, None)).await {
            Ok(answer) => object(&answer),
            Err(error) => Err(Failure::Passing(format!("following {}: {error}", self.name))),
        }
    }

    fn decided(&self, object: Object) -> Option<Result<Issued, Failure>> {
        let no = object
            .status
            .conditions
            .iter()
            .find(|condition| matches!(condition.kind.as_str(), "Denied" | "Failed"));
        if let Some(Condition {
            kind,
            reason,
            message,
        }) = no
        {
            let text = format!("{} is {kind}: {reason} {message}", self.name);
            return Some(Err(Failure::Denied(text.trim_end().to_owned())));
        }
        let given = object.status.certificate.filter(|given| !given.is_empty())?;
        let chain = STANDARD
            .decode(given)
            .map_err(|error| error.to_string())
            .and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()));
        Some(match chain {
            Ok(chain) => Ok(Issued { chain }),
            Err(error) => Err(Failure::Passing(format!(
                "the certificate of {}: {error}",
                self.name
            ))),
        })
    }
}

async fn bounded<T>(call: impl Future<Output = Result<T, CloudError>>) -> Result<T, CloudError> {
    tokio::time::timeout(ANSWER, call)
        .await
        .unwrap_or(Err(CloudError::Timeout(ANSWER)))
}

fn object(answer: &[u8]) -> Result<Object, Failure> {
    serde_json::from_slice(answer)
        .map_err(|error| Failure::Passing(format!("reading the answer to a request: {error}")))
}
