//! Kinds that definitions bring: their objects own and are owned, and go with their namespace, as those of all others.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Client;
use pitstop_api::view::MetaWire;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::garbage::collection_path;
use super::wire::Meta;
use crate::custom::definition;
use crate::informer::{self, Change, Object};
use crate::kinds::Kind;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// The last deletions of a kind that has gone are still on their way for about this long.
const LINGER: Duration = Duration::from_secs(5);

/// What has become of a kind.
#[derive(Debug, Clone, Copy)]
pub(super) enum News {
    /// It is served.
    Served(&'static Kind),
    /// It is not served any more.
    Gone(&'static Kind),
}

/// A definition, as far as it says what is served.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Definition {
    metadata: MetaWire,
    spec: Value,
    status: Value,
}

impl Object for Definition {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}

impl Definition {
    /// The kind in its preferred version: its objects are looked at once, in that form.
    fn kind(&self) -> Option<&'static Kind> {
        let whole = json!({ "spec": self.spec, "status": self.status });
        definition::served(&whole).first().map(|custom| custom.kind)
    }
}

/// Watches the definitions, and the metadata of the objects of the kinds that they bring.
pub(super) fn watch(
    client: Client,
    objects: mpsc::Sender<(&'static Kind, Change<Meta>)>,
) -> mpsc::Receiver<News> {
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut changes = informer::watch::<Definition>(client.clone(), DEFINITIONS);
        let mut watches = Watches {
            client,
            objects,
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
        };
        loop {
            let change = tokio::select! {
                biased;
                change = changes.recv() => change,
                () = sender.closed() => None,
            };
            let news = match change {
                Some(Change::Applied(definition)) => {
                    watches.set(&definition.metadata.name, definition.kind())
                }
                Some(Change::Deleted(definition)) => watches.set(&definition.metadata.name, None),
                Some(Change::Synced) => Vec::new(),
                None => return,
            };
            for news in news {
                if sender.send(news).await.is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

/// One watch for each custom kind, by the name of its definition. Dropped, they end.
struct Watches {
    client: Client,
    objects: mpsc::Sender<(&'static Kind, Change<Meta>)>,
    running: BTreeMap<String, (&'static Kind, AbortHandle)>,
    tasks: JoinSet<()>,
}

impl Watches {
    fn set(&mut self, definition: &str, kind: Option<&'static Kind>) -> Vec<News> {
        let known = self.running.get(definition).map(|(kind, _)| *kind);
        let same = |a: &Kind, b: &Kind| (a.stored_as, a.version, a.kind) == (b.stored_as, b.version, b.kind);
        if known.is_none() && kind.is_none() || known.zip(kind).is_some_and(|(a, b)| same(a, b)) {
            return Vec::new();
        }
        let mut news = Vec::new();
        if let Some((old, handle)) = self.running.remove(definition) {
            news.push(News::Gone(old));
            self.tasks.spawn(async move {
                tokio::time::sleep(LINGER).await;
                handle.abort();
            });
        }
        if let Some(kind) = kind {
            news.push(News::Served(kind));
            let changes = informer::watch::<Meta>(self.client.clone(), collection_path(kind, ""));
            let named = move |change| (kind, change);
            let handle = self
                .tasks
                .spawn(informer::forward(changes, self.objects.clone(), named));
            self.running.insert(definition.to_owned(), (kind, handle));
        }
        news
    }
}
