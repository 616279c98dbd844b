//! Keeps the certificate in a Secret that all replicas share, and tells the API server whom to ask and whom to trust.
//!
//! Whoever sees first that something is missing or has to be renewed does it; a conflict means that another one did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request};
use pitstop_api::fields::{list, text};
use pitstop_api::image_pull::{Kind, definition};
use pitstop_api::kruise::definition::CONVERT_PATH;
use pitstop_api::{SharedClock, Timestamp, cloneset, daemonset, keys, statefulset};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::certificate::Credentials;
use super::serve::Shown;
use super::{CONFIGURATION, SECRET};

/// How soon after something failed.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Looks after the certificate.
pub(super) struct Keeper {
    pub(super) client: kube::Client,
    pub(super) clock: SharedClock,
    pub(super) shown: Arc<Shown>,
    /// Namespace of the Secret.
    pub(super) namespace: String,
    /// How often what is kept is looked at.
    pub(super) look_every: Duration,
    /// Whom the certificate stands for.
    pub(super) names: Vec<String>,
    /// `https://host:port` of a controller outside of the cluster; `None`: the API server asks the service.
    pub(super) url: Option<String>,
    /// Told once, when the API server knows all for the first time.
    pub(super) ready: tokio::sync::watch::Sender<bool>,
}

/// Why a step was not taken; it is tried again.
type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Keeper {
    /// Looks after it for ever.
    pub(super) async fn keep(self) {
        let mut told: Option<String> = None;
        loop {
            match self.look().await {
                Ok(()) => {
                    if told.take().is_some() || !*self.ready.borrow() {
                        info!("the API server knows where the webhooks are, and their certificate");
                    }
                    self.ready.send_replace(true);
                    tokio::time::sleep(self.look_every).await;
                }
                Err(error) => {
                    let why = error.to_string();
                    if told.as_ref() != Some(&why) {
                        warn!(
                            why,
                            "the webhooks cannot be asked yet; `pitstop manifests --controllers cloneset,statefulset,imagepulljob` prints what they need"
                        );
                    }
                    told = Some(why);
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    async fn look(&self) -> Result<(), Failed> {
        let credentials = self.credentials().await?;
        self.shown.show(&credentials.certificate, &credentials.key)?;
        let bundle = STANDARD.encode(&credentials.authorities);
        let root = "/apis/admissionregistration.k8s.io/v1";
        let mut converted = BTreeSet::new();
        for (plural, known) in [
            ("mutatingwebhookconfigurations", mutating()),
            ("validatingwebhookconfigurations", validating()),
        ] {
            let at = format!("{root}/{plural}/{CONFIGURATION}");
            let object = self.send(Method::GET, &at, None).await?;
            let webhooks = list(&object, "/webhooks").iter().enumerate();
            let places: Vec<(String, &str)> = webhooks
                .filter_map(|(index, webhook)| {
                    let path = known.get(text(webhook, "/name"))?;
                    Some((format!("/webhooks/{index}/clientConfig"), *path))
                })
                .collect();
            if places.is_empty() {
                return Err(format!("{plural}/{CONFIGURATION} has no webhook that is served here").into());
            }
            let known = |(_, path): &(String, &str)| Some(CONVERTED.iter().find(|(at, _)| at == path)?.1);
            converted.extend(places.iter().filter_map(known));
            self.tell(&at, &object, &places, &bundle).await?;
        }
        for name in converted {
            let at = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
            let object = self.send(Method::GET, &at, None).await?;
            let place = ("/spec/conversion/webhook/clientConfig".to_owned(), CONVERT_PATH);
            self.tell(&at, &object, &[place], &bundle).await?;
        }
        Ok(())
    }

    /// Writes whom to ask and whom to trust, where that is not there. `places`: pointers into the object, and the paths
    /// that are answered at.
    async fn tell(
        &self,
        at: &str,
        object: &Value,
        places: &[(String, &str)],
        bundle: &str,
    ) -> Result<(), Failed> {
        let version = text(object, "/metadata/resourceVersion");
        let mut patch = vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": version})];
        for (pointer, path) in places {
            let now = object.pointer(pointer).cloned().unwrap_or_default();
            let mut wanted = match &self.url {
                Some(url) => json!({"url": format!("{url}{path}")}),
                None => now.clone(),
            };
            if let Some(wanted) = wanted.as_object_mut() {
                wanted.insert("caBundle".to_owned(), bundle.into());
            }
            if now != wanted {
                patch.push(json!({"op": "add", "path": pointer, "value": wanted}));
            }
        }
        if patch.len() > 1 {
            self.send(Method::PATCH, at, Some((JSON_PATCH, Value::Array(patch))))
                .await?;
        }
        Ok(())
    }

    /// What is to be served with. What has to be renewed is written before it is used.
    async fn credentials(&self) -> Result<Credentials, Failed> {
        let secrets = format!("/api/v1/namespaces/{}/secrets", self.namespace);
        let at = format!("{secrets}/{SECRET}");
        let secret = match self.send(Method::GET, &at, None).await {
            Ok(secret) => Some(secret),
            Err(Refused { code: 404, .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let kept = secret.as_ref().and_then(read);
        let renewed = Credentials::renewed(kept.as_ref(), &self.names, self.clock.now())?;
        let Some(renewed) = renewed else {
            return kept.ok_or_else(|| "nothing is kept".into());
        };
        let mut object = write(&renewed);
        match &secret {
            Some(secret) => {
                object["metadata"]["resourceVersion"] = secret["metadata"]["resourceVersion"].clone();
                self.send(Method::PATCH, &at, Some((MERGE_PATCH, object))).await?;
            }
            None => {
                self.send(Method::POST, &secrets, Some(("application/json", object)))
                    .await?;
            }
        }
        info!(secret = %format!("{}/{SECRET}", self.namespace), ends = %renewed.ends, "a certificate was made");
        Ok(renewed)
    }

    async fn send(&self, method: Method, path: &str, body: Option<(&str, Value)>) -> Result<Value, Refused> {
        let refused = |why: String| Refused {
            code: 0,
            what: format!("{method} {path}"),
            why,
        };
        let mut request = Request::builder().method(method.clone()).uri(path);
        if let Some((media_type, _)) = &body {
            request = request.header(http::header::CONTENT_TYPE, *media_type);
        }
        let body = body.map(|(_, body)| body.to_string().into_bytes());
        let request = request
            .body(body.unwrap_or_default())
            .map_err(|error| refused(error.to_string()))?;
        self.client.request(request).await.map_err(|error| match error {
            kube::Error::Api(status) => Refused {
                code: status.code,
                ..refused(status.message.clone())
            },
            other => refused(other.to_string()),
        })
    }
}

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// Definitions of kinds whose versions are converted, by where their defaults are filled in.
const CONVERTED: [(&str, &str); 3] = [
    (daemonset::definition::MUTATE_PATH, daemonset::definition::NAME),
    (cloneset::definition::MUTATE_PATH, cloneset::definition::NAME),
    (
        statefulset::definition::MUTATE_PATH,
        statefulset::definition::NAME,
    ),
];

/// Where the webhooks answer that fill in defaults, by name.
fn mutating() -> BTreeMap<String, &'static str> {
    let pulls = Kind::ALL.map(definition::mutating_at).into_iter();
    let workloads = [
        (
            daemonset::definition::MUTATING,
            daemonset::definition::MUTATE_PATH,
        ),
        (cloneset::definition::MUTATING, cloneset::definition::MUTATE_PATH),
        (
            statefulset::definition::MUTATING,
            statefulset::definition::MUTATE_PATH,
        ),
    ];
    pulls
        .chain(workloads.map(|(name, path)| (name.to_owned(), path)))
        .collect()
}

/// Where the webhooks answer that judge, by name.
fn validating() -> BTreeMap<String, &'static str> {
    let pulls = Kind::ALL.map(definition::validating_at).into_iter();
    let workloads = [
        (
            daemonset::definition::VALIDATING,
            daemonset::definition::VALIDATE_PATH,
        ),
        (
            cloneset::definition::VALIDATING,
            cloneset::definition::VALIDATE_PATH,
        ),
        (
            statefulset::definition::VALIDATING,
            statefulset::definition::VALIDATE_PATH,
        ),
        (keys::EVICTION_WEBHOOK, statefulset::definition::EVICTION_PATH),
    ];
    pulls
        .chain(workloads.map(|(name, path)| (name.to_owned(), path)))
        .collect()
}

/// The API server did not do it.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
struct Refused {
    /// HTTP status code; 0 without an answer.
    code: u16,
    what: String,
    why: String,
}

/// What a Secret keeps; `None` when it is not what we have written.
fn read(secret: &Value) -> Option<Credentials> {
    let data = |key: &str| -> Option<String> {
        let data = secret.get("data")?.get(key)?.as_str()?;
        String::from_utf8(STANDARD.decode(data).ok()?).ok()
    };
    let annotation = |key: &str| secret.get("metadata")?.get("annotations")?.get(key)?.as_str();
    let time = |key: &str| annotation(key)?.parse::<Timestamp>().ok();
    Some(Credentials {
        authorities: data("ca.crt")?,
        authority_key: data("ca.key")?,
        authority_ends: time(keys::WEBHOOK_AUTHORITY_ENDS)?,
        former_ends: time(keys::WEBHOOK_FORMER_AUTHORITY_ENDS),
        certificate: data("tls.crt")?,
        key: data("tls.key")?,
        ends: time(keys::WEBHOOK_CERTIFICATE_ENDS)?,
        names: annotation(keys::WEBHOOK_NAMES)?
            .split(',')
            .map(str::to_owned)
            .collect(),
    })
}

fn write(credentials: &Credentials) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": SECRET, "annotations": {
            (keys::WEBHOOK_AUTHORITY_ENDS): credentials.authority_ends.to_string(),
            (keys::WEBHOOK_FORMER_AUTHORITY_ENDS): credentials.former_ends.map(|ends| ends.to_string()),
            (keys::WEBHOOK_CERTIFICATE_ENDS): credentials.ends.to_string(),
            (keys::WEBHOOK_NAMES): credentials.names.join(","),
        }},
        "data": {
            "ca.crt": STANDARD.encode(&credentials.authorities), "ca.key": STANDARD.encode(&credentials.authority_key),
            "tls.crt": STANDARD.encode(&credentials.certificate), "tls.key": STANDARD.encode(&credentials.key),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let names = ["a.svc".to_owned(), "127.0.0.1".to_owned()];
        let made = Credentials::renewed(None, &names, now).unwrap().unwrap();
        assert_eq!(read(&write(&made)), Some(made.clone()));
        let shown = Shown::default();
        shown.show(&made.certificate, &made.key).unwrap();
        let mut other = write(&made);
        other["metadata"]["annotations"] = json!({});
        assert_eq!(read(&other), None, "one of somebody else is replaced");
    }
}
