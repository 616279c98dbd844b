//! The cache on disk, so that a hub that starts while cut off still knows its pods.
//!
//! The last record of a pod counts. What is lost with the last seconds is freshness, nothing else.
//!
//! Source: hub.md B12.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::cache::{Cache, Event};
use crate::journal::{Disk, Log, Torn};
use crate::pod::PodView;
use crate::shared::Shared;

/// The file.
const FILE: &str = "pods.log";
/// How often it is written at most.
const EVERY: Duration = Duration::from_secs(5);
/// How often the time of the last sync is written if nothing else is.
const SYNC_EVERY: i64 = 60;
/// Below this length it is not worth writing anew.
const COMPACT_ABOVE: u64 = 256 * 1024;

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    pod: Option<&'a RawValue>,
    gone: Option<String>,
    synced: Option<Timestamp>,
}

/// The log of the cache, and what waits to be written.
pub(crate) struct Saver {
    log: Log,
    /// By identity: where the pod is, or that it is gone.
    pending: BTreeMap<String, Option<(String, String)>>,
    synced: Option<Timestamp>,
}

/// What a process before this one saved.
#[derive(Default)]
pub(crate) struct Saved {
    pub(crate) pods: Vec<Bytes>,
    pub(crate) last_sync: Option<Timestamp>,
    pub(crate) torn: Option<Torn>,
}

fn pod_record(raw: &[u8]) -> Vec<u8> {
    [b"{\"pod\":".as_slice(), raw, b"}"].concat()
}

fn gone_record(uid: &str) -> Vec<u8> {
    serde_json::json!({ "gone": uid }).to_string().into_bytes()
}

fn synced_record(at: Timestamp) -> Vec<u8> {
    serde_json::json!({ "synced": at }).to_string().into_bytes()
}

impl Saver {
    /// Reads what was saved.
    pub(crate) fn open(disk: Box<dyn Disk>) -> io::Result<(Self, Saved)> {
        let (log, records, torn) = Log::open(disk, FILE)?;
        let mut pods: BTreeMap<String, Bytes> = BTreeMap::new();
        let mut last_sync = None;
        for record in records {
            let Ok(record) = serde_json::from_slice::<Record<'_>>(&record) else {
                continue;
            };
            if let Some(pod) = record.pod
                && let Ok(view) = PodView::read(pod.get().as_bytes())
            {
                pods.insert(view.uid, Bytes::copy_from_slice(pod.get().as_bytes()));
            }
            if let Some(uid) = record.gone {
                pods.remove(&uid);
            }
            last_sync = record.synced.or(last_sync);
        }
        let saver = Self {
            log,
            pending: BTreeMap::new(),
            synced: last_sync,
        };
        let saved = Saved {
            pods: pods.into_values().collect(),
            last_sync,
            torn,
        };
        Ok((saver, saved))
    }

    /// Notes what has to be written.
    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::Put(view) => {
                let at = (view.namespace.clone(), view.name.clone());
                self.pending.insert(view.uid.clone(), Some(at));
            }
            Event::Gone { uid, .. } => {
                self.pending.insert(uid.clone(), None);
            }
        }
    }

    /// What is to be written now: everything, if the file has grown too long.
    fn collect(&mut self, cache: &Cache, last_sync: Option<Timestamp>) -> Batch {
        let newer = match (last_sync, self.synced) {
            (Some(now), Some(then)) => now.as_second() - then.as_second() >= SYNC_EVERY,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if self.pending.is_empty() && !newer {
            return Batch::Nothing;
        }
        self.synced = last_sync.or(self.synced);
        let synced = self.synced.map(synced_record);
        let pending = std::mem::take(&mut self.pending);
        if self.log.broken() || self.log.length() > COMPACT_ABOVE.max(4 * cache.bytes() as u64) {
            let pods = cache.raws().into_iter().map(|raw| pod_record(&raw));
            return Batch::Everything(pods.chain(synced).collect());
        }
        let changed = pending.into_iter().filter_map(|(uid, at)| match at {
            Some((namespace, name)) => cache
                .seen(&namespace, &name)
                .filter(|seen| seen.uid == uid)
                .map(|seen| pod_record(&seen.raw)),
            None => Some(gone_record(&uid)),
        });
        Batch::More(changed.chain(synced).collect())
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        match batch {
            Batch::Nothing => Ok(()),
            Batch::More(records) => self.log.append(records),
            Batch::Everything(records) => self.log.rewrite(records),
        }
    }
}

enum Batch {
    Nothing,
    More(Vec<Vec<u8>>),
    Everything(Vec<Vec<u8>>),
}

/// Writes what changed, now and then, until told to stop; then once more.
pub(crate) async fn run(shared: &Shared, stop: &CancellationToken) {
    loop {
        tokio::select! {
            // In a fixed order, so that a simulation can be repeated.
            biased;
            () = tokio::time::sleep(EVERY) => flush(shared).await,
            () = stop.cancelled() => break,
        }
    }
    flush(shared).await;
}

async fn flush(shared: &Shared) {
    let last_sync = shared.link.connectivity().last_sync;
    let batch = shared.saver().collect(&shared.cache(), last_sync);
    if matches!(batch, Batch::Nothing) {
        return;
    }
    let written = shared.with_saver(move |saver| saver.write(&batch)).await;
    if let Err(error) = written {
        // What was not written now is written with everything else once the file is written anew.
        tracing::warn!(%error, "saving the pods of this node");
        shared.with_saver(|saver| saver.log.doubt()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::faulty::Faulty;

    fn mk_pod(name: &str, uid: &str, filling: usize) -> Bytes {
        format!(
            r#"{{"metadata":{{"namespace":"default","name":"{name}","uid":"{uid}"}},"x":"{}"}}"#,
            "x".repeat(filling)
        )
        .into()
    }

    fn save(saver: &mut Saver, cache: &Cache, at: i64) {
        let batch = saver.collect(cache, Some(Timestamp::from_second(at).unwrap()));
        saver.write(&batch).unwrap();
    }

    fn open(disk: &Faulty) -> (Saver, Cache, Saved) {
        let (saver, mut saved) = Saver::open(Box::new(disk.clone())).unwrap();
        let cache = Cache::load(std::mem::take(&mut saved.pods), saved.last_sync.is_some());
        (saver, cache, saved)
    }

    #[test]
    fn what_was_seen_is_known_after_a_restart() {
        let disk = Faulty::default();
        let (mut saver, mut cache, saved) = open(&disk);
        assert!(!cache.synced() && saved.last_sync.is_none());
        for event in cache.replace(&[mk_pod("a", "1", 1), mk_pod("b", "2", 1)]) {
            saver.note(&event);
        }
        save(&mut saver, &cache, 100);
        saver.note(&cache.gone(&mk_pod("a", "1", 1)).unwrap());
        saver.note(&cache.put(&mk_pod("b", "2", 2)).unwrap());
        save(&mut saver, &cache, 101);
        let (_, again, saved) = open(&disk);
        assert_eq!(again.raws(), cache.raws());
        assert!(again.synced());
        assert_eq!(saved.last_sync, Some(Timestamp::from_second(101).unwrap()));
    }

    #[test]
    fn a_log_of_many_changes_stays_short() {
        let disk = Faulty::default();
        let (mut saver, mut cache, _) = open(&disk);
        for number in 0..300 {
            let event = cache.put(&mk_pod("a", "1", 4096 + number)).unwrap();
            saver.note(&event);
            save(&mut saver, &cache, 0);
        }
        assert!(saver.log.length() < 300 * 1024, "{}", saver.log.length());
        assert_eq!(open(&disk).1.raws(), cache.raws());
    }

    #[test]
    fn a_file_of_nonsense_starts_empty_and_says_so() {
        let disk = Faulty::default();
        disk.put(FILE, b"nonsense, longer than a header");
        let (_, cache, saved) = open(&disk);
        assert_eq!((cache.len(), cache.synced()), (0, false));
        assert_eq!(saved.torn.map(|torn| torn.at), Some(0));
    }

    #[test]
    fn nothing_is_written_while_nothing_happens() {
        let disk = Faulty::default();
        let (mut saver, mut cache, _) = open(&disk);
        cache.replace(&[]);
        save(&mut saver, &cache, 0);
        let length = saver.log.length();
        save(&mut saver, &cache, 59);
        assert_eq!(saver.log.length(), length);
        save(&mut saver, &cache, 60);
        assert!(saver.log.length() > length);
    }
}
