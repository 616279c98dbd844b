//! Damaged bytes where bytes come in: nothing panics, and nothing is invented.

use jiff::Timestamp;
use tokio::time::Instant;

use crate::checks;
use crate::intents::{Book, Step, World, intent_id, step};
use crate::journal::faulty::Faulty;
use crate::journal::{Log, parse};
use crate::pod::{self, PodView};
use crate::policy::{Facts, Policy};

#[path = "../tests/fuzz/mutate.rs"]
mod mutate;

/// The file of the intents.
const FILE: &str = "intents.log";

fn log_of(records: &[Vec<u8>]) -> Faulty {
    let disk = Faulty::default();
    let (mut log, ..) = Log::open(Box::new(disk.clone()), FILE).unwrap();
    log.append(records).unwrap();
    disk
}

fn open(disk: &Faulty) -> Book {
    Book::open(Box::new(disk.clone()), Instant::now()).unwrap().0
}

#[test]
fn damaged_pods_are_read_or_refused() {
    mutate::each("pods", 400, |bytes| {
        let cleaned = pod::clean(bytes);
        let redacted = pod::redact(bytes);
        if let Ok(view) = PodView::read(bytes) {
            let _ = checks::check_upgrade(&view, "n1");
            let _ = checks::blocked_by(&view, "n1");
            assert_eq!(
                intent_id(checks::Action::Upgrade, &view.uid, view.target()).len(),
                16
            );
        }
        for made in [cleaned.ok(), redacted].into_iter().flatten() {
            assert!(serde_json::from_slice::<serde_json::Value>(&made).is_ok());
        }
    });
}

#[test]
fn damaged_policies_are_read_or_refused() {
    let now: Timestamp = "2026-11-21T08:00:00Z".parse().unwrap();
    let intent = crate::intents::tests::mk_intent();
    mutate::each("policies", 200, |bytes| {
        if let Ok(policy) = Policy::parse(&String::from_utf8_lossy(bytes)) {
            let mut facts = Facts {
                now,
                clock_synced: false,
                open: &mut |_| true,
            };
            let _ = policy.waits(&intent, &mut facts);
            let _ = policy.may_approve(&intent, &intent.by);
        }
    });
}

// The file is damaged: what is read was written, record by record.
#[test]
fn a_damaged_log_invents_nothing() {
    let records = mutate::corpus("intents");
    let whole = log_of(&records).bytes(FILE);
    for seed in 0..2000 {
        let damaged = mutate::damage(&whole, seed);
        let (found, _) = parse(&damaged);
        for record in &found {
            assert!(records.iter().any(|written| written == record), "{seed}");
        }
        let disk = Faulty::default();
        disk.put(FILE, &damaged);
        let book = open(&disk);
        assert!(book.all().len() <= 1, "{seed}");
    }
}

// The records are damaged and their checksums are right, as a bug of another version would leave them.
#[test]
fn damaged_records_do_no_harm() {
    let pod = crate::intents::tests::mk_pod("1", "True", "new");
    mutate::each("intents", 400, |bytes| {
        if bytes.is_empty() {
            return;
        }
        let disk = log_of(&[bytes.to_vec()]);
        let mut book = open(&disk);
        let uptime = book.uptime(Instant::now());
        for intent in book.all() {
            let world = World {
                node: "n1",
                now: intent.created,
                uptime,
                pod: Some(&pod),
                others: &[],
                policy: None,
            };
            // Whatever else it says, it is not acted upon for another pod or another revision.
            if step(intent, &world) == Step::Act {
                assert_eq!((intent.uid.as_str(), intent.target.as_str()), ("1", "new"));
            }
        }
        book.minute(Instant::now(), "2026-11-21T08:00:00Z".parse().unwrap());
        book.close();
        let _ = open(&disk);
    });
}
