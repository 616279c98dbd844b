//! An API server of memory that can be cut off, refuse and change things under one's hands.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use pitstop_hub::{Change, Cloud, CloudError, Page, Reply};
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

/// A write that the API server saw.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Write {
    Delete {
        name: String,
        uid: String,
        version: String,
    },
    Patch {
        name: String,
        patch: Value,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Line {
    #[default]
    Up,
    /// Requests fail at once, and so do watches.
    Down,
    /// Requests get no answer; watches stay silent.
    Silent,
}

type Meanwhile = Box<dyn FnOnce(&Fake) + Send>;

#[derive(Default)]
struct Inner {
    pods: BTreeMap<String, Value>,
    version: u64,
    writes: Vec<Write>,
    line: Line,
    may_delete: bool,
    refuse: Option<CloudError>,
    /// Run once after the next GET, before anything else: someone changes a pod under our hands.
    meanwhile: Option<Meanwhile>,
    gets: usize,
    events: Vec<Value>,
    answer_lost: bool,
    secretive: bool,
    /// Identity and target, at that moment, of each pod that was deleted.
    deleted: Vec<(String, String)>,
}

#[derive(Clone)]
pub(crate) struct Fake {
    inner: Arc<Mutex<Inner>>,
    changes: broadcast::Sender<Change>,
    cut: watch::Sender<Line>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let inner = Inner {
            may_delete: true,
            version: 100,
            ..Inner::default()
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            changes: broadcast::Sender::new(4096),
            cut: watch::Sender::new(Line::Up),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Puts a pod and tells the watch.
    pub(crate) fn put(&self, mut pod: Value) {
        let mut inner = self.inner();
        inner.version += 1;
        pod["metadata"]["resourceVersion"] = json!(inner.version.to_string());
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        inner.pods.insert(name, pod.clone());
        drop(inner);
        let _ = self.changes.send(Change::Put(pod.to_string().into()));
    }

    /// Changes a pod.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut pod = self.inner().pods[name].clone();
        change(&mut pod);
        self.put(pod);
    }

    pub(crate) fn remove(&self, name: &str) {
        let gone = self.inner().pods.remove(name);
        if let Some(gone) = gone {
            let _ = self.changes.send(Change::Gone(gone.to_string().into()));
        }
    }

    pub(crate) fn line(&self, line: Line) {
        self.inner().line = line;
        self.cut.send_replace(line);
    }

    /// The next write is answered with this.
    pub(crate) fn refuse(&self, error: CloudError) {
        self.inner().refuse = Some(error);
    }

    /// The next write is done, but its answer is lost.
    pub(crate) fn lose_answer(&self) {
        self.inner().answer_lost = true;
    }

    pub(crate) fn may_delete(&self, may: bool) {
        self.inner().may_delete = may;
    }

    /// From now on nothing is told of pods that are not on n1, as a server that knows nodes does.
    pub(crate) fn secretive(&self) {
        self.inner().secretive = true;
    }

    pub(crate) fn meanwhile(&self, change: impl FnOnce(&Fake) + Send + 'static) {
        self.inner().meanwhile = Some(Box::new(change));
    }

    pub(crate) fn writes(&self) -> Vec<Write> {
        self.inner().writes.clone()
    }

    /// Reasons of the Events that were written.
    pub(crate) fn events(&self) -> Vec<String> {
        let inner = self.inner();
        inner
            .events
            .iter()
            .map(|event| event["reason"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Patches of a condition: its status, reason and message.
    pub(crate) fn patches(&self, kind: &str) -> Vec<(String, String, String)> {
        let writes = self.writes();
        let conditions = writes.iter().filter_map(|write| match write {
            Write::Patch { patch, .. } => Some(&patch["status"]["conditions"][0]),
            Write::Delete { .. } => None,
        });
        let text = |condition: &Value, key: &str| condition[key].as_str().unwrap_or_default().to_owned();
        conditions
            .filter(|condition| condition["type"] == kind)
            .map(|condition| {
                (
                    text(condition, "status"),
                    text(condition, "reason"),
                    text(condition, "message"),
                )
            })
            .collect()
    }

    pub(crate) fn deletes(&self) -> usize {
        let writes = self.writes();
        writes
            .iter()
            .filter(|write| matches!(write, Write::Delete { .. }))
            .count()
    }

    /// Identity and target, at that moment, of each pod that was deleted.
    pub(crate) fn deleted(&self) -> Vec<(String, String)> {
        self.inner().deleted.clone()
    }

    /// A pod as it is now.
    pub(crate) fn pod(&self, name: &str) -> Option<Value> {
        self.inner().pods.get(name).cloned()
    }

    pub(crate) fn gets(&self) -> usize {
        self.inner().gets
    }

    /// Fails or hangs as the line is.
    async fn reach(&self) -> Result<(), CloudError> {
        let line = self.inner().line;
        match line {
            Line::Up => Ok(()),
            Line::Down => Err(CloudError::Transport("connection refused".to_owned())),
            Line::Silent => {
                futures::future::pending::<()>().await;
                Ok(())
            }
        }
    }

    fn not_found(name: &str) -> CloudError {
        CloudError::NotFound(format!("pods \"{name}\" not found"))
    }

    fn write(&self, name: &str, uid: &str, version: &str, write: Write) -> Result<(), CloudError> {
        let mut inner = self.inner();
        let pod = inner.pods.get(name).ok_or_else(|| Self::not_found(name))?;
        let meta = &pod["metadata"];
        if meta["uid"] != uid || (!version.is_empty() && meta["resourceVersion"] != version) {
            return Err(CloudError::Conflict("the object has been modified".to_owned()));
        }
        if let Some(error) = inner.refuse.take() {
            return Err(error);
        }
        if matches!(write, Write::Delete { .. }) {
            let target = target_of(&inner.pods[name]);
            inner.deleted.push((uid.to_owned(), target));
        }
        inner.writes.push(write);
        Ok(())
    }

    fn lost(&self) -> Result<(), CloudError> {
        if std::mem::take(&mut self.inner().answer_lost) {
            return Err(CloudError::Transport("connection reset".to_owned()));
        }
        Ok(())
    }
}

impl Cloud for Fake {
    fn get_pod<'a>(&'a self, _: &'a str, name: &'a str) -> Reply<'a, Bytes> {
        Box::pin(async move {
            self.reach().await?;
            let (pod, meanwhile) = {
                let mut inner = self.inner();
                inner.gets += 1;
                (inner.pods.get(name).cloned(), inner.meanwhile.take())
            };
            if let Some(meanwhile) = meanwhile {
                meanwhile(self);
            }
            let secretive = self.inner().secretive;
            match pod {
                Some(pod) if !secretive || pod["spec"]["nodeName"] == "n1" => Ok(pod.to_string().into()),
                _ if secretive => Err(CloudError::Forbidden(format!("pods \"{name}\" is forbidden"))),
                _ => Err(Self::not_found(name)),
            }
        })
    }

    fn list_pods<'a>(&'a self, limit: u32, from: Option<&'a str>) -> Reply<'a, Page> {
        Box::pin(async move {
            self.reach().await?;
            let inner = self.inner();
            let skip: usize = from.map_or(0, |from| from.parse().unwrap());
            let limit = limit as usize;
            let all: Vec<_> = inner
                .pods
                .values()
                .filter(|pod| pod["spec"]["nodeName"] == "n1")
                .collect();
            Ok(Page {
                pods: all
                    .iter()
                    .skip(skip)
                    .take(limit)
                    .map(|pod| pod.to_string().into())
                    .collect(),
                resource_version: inner.version.to_string(),
                next: (skip + limit < all.len()).then(|| (skip + limit).to_string()),
            })
        })
    }

    fn watch_pods<'a>(
        &'a self,
        version: &'a str,
    ) -> Reply<'a, futures::stream::BoxStream<'static, Result<Change, CloudError>>> {
        let changes = self.changes.subscribe();
        let mut cut = self.cut.subscribe();
        let after: u64 = version.parse().unwrap_or(0);
        Box::pin(async move {
            self.reach().await?;
            // What happened between the list and this watch.
            let missed: Vec<Value> = {
                let inner = self.inner();
                let newer = |pod: &&Value| {
                    let version = pod["metadata"]["resourceVersion"].as_str().unwrap();
                    version.parse::<u64>().unwrap() > after
                };
                inner.pods.values().filter(newer).cloned().collect()
            };
            let missed = missed
                .into_iter()
                .map(|pod| Ok(Change::Put(pod.to_string().into())));
            let live = futures::stream::unfold(changes, |mut changes| async move {
                match changes.recv().await {
                    Ok(change) => Some((Ok(change), changes)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        Some((Err(CloudError::Expired("too old".to_owned())), changes))
                    }
                    Err(broadcast::error::RecvError::Closed) => None,
                }
            });
            let down = async move {
                let _ = cut.wait_for(|line| *line == Line::Down).await;
            };
            let broken = futures::stream::once(async { Err(CloudError::Transport("reset".to_owned())) });
            let stream = futures::stream::iter(missed)
                .chain(live)
                .take_until(Box::pin(down))
                .chain(broken);
            Ok(stream.boxed())
        })
    }

    fn delete_pod<'a>(&'a self, _: &'a str, name: &'a str, uid: &'a str, version: &'a str) -> Reply<'a, ()> {
        Box::pin(async move {
            self.reach().await?;
            let write = Write::Delete {
                name: name.to_owned(),
                uid: uid.to_owned(),
                version: version.to_owned(),
            };
            self.write(name, uid, version, write)?;
            self.change(name, |pod| {
                pod["metadata"]["deletionTimestamp"] = json!("2026-11-21T08:00:00Z");
            });
            self.lost()
        })
    }

    fn patch_pod_status<'a>(&'a self, _: &'a str, name: &'a str, patch: Bytes) -> Reply<'a, Bytes> {
        Box::pin(async move {
            self.reach().await?;
            let patch: Value = serde_json::from_slice(&patch).unwrap();
            let text = |key: &str| patch["metadata"][key].as_str().unwrap_or_default().to_owned();
            let write = Write::Patch {
                name: name.to_owned(),
                patch: patch.clone(),
            };
            self.write(name, &text("uid"), &text("resourceVersion"), write)?;
            self.change(name, |pod| {
                let conditions = pod["status"]["conditions"].as_array_mut().unwrap();
                for new in patch["status"]["conditions"].as_array().unwrap() {
                    conditions.retain(|old| old["type"] != new["type"]);
                    conditions.push(new.clone());
                }
            });
            self.lost()?;
            Ok(Bytes::new())
        })
    }

    fn ready(&self) -> Reply<'_, ()> {
        Box::pin(self.reach())
    }

    fn may_delete<'a>(&'a self, _: &'a str, _: &'a str) -> Reply<'a, bool> {
        Box::pin(async move {
            self.reach().await?;
            Ok(self.inner().may_delete)
        })
    }

    fn create_event<'a>(&'a self, _: &'a str, event: Bytes) -> Reply<'a, ()> {
        Box::pin(async move {
            self.reach().await?;
            self.inner().events.push(serde_json::from_slice(&event).unwrap());
            Ok(())
        })
    }
}

/// The revision that waits for a pod, empty if none does.
pub(crate) fn target_of(pod: &Value) -> String {
    let conditions = pod["status"]["conditions"].as_array();
    let need = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "PodNeedUpgrade" && condition["status"] == "True");
    let message = need.and_then(|need| need["message"].as_str()).unwrap_or_default();
    message.trim_start_matches("controllerrevision: ").to_owned()
}

/// Waits until something is so; a hundredth of a second between looks, half a minute at most.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..3000 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
