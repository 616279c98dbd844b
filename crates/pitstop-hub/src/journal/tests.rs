use super::faulty::{Fault, Faulty};
use super::*;

fn records(from: &[&str]) -> Vec<Vec<u8>> {
    from.iter().map(|record| record.as_bytes().to_vec()).collect()
}

fn read(disk: &Faulty) -> (Log, Vec<Vec<u8>>, Option<Torn>) {
    Log::open(Box::new(disk.clone()), "log").unwrap()
}

#[test]
fn the_checksum_is_the_castagnoli_one() {
    // The check value of the catalogue of CRC algorithms.
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(b""), 0);
}

// hub.md B7: read until the first bad length or crc, cut off there.
#[test]
fn a_log_cut_at_any_byte_holds_every_whole_record() {
    let written = records(&["one", "two, which is longer", "3"]);
    let whole: Vec<u8> = written.iter().flat_map(|record| framed(record)).collect();
    for length in 0..=whole.len() {
        let disk = Faulty::default();
        disk.put("log", &whole[..length]);
        let (mut log, found, torn) = read(&disk);
        assert!(written.starts_with(&found), "{length}");
        let good: usize = found.iter().map(|record| HEADER + record.len()).sum();
        assert_eq!(
            torn.map(|torn| (torn.at, torn.bytes)),
            (good < length).then_some((good, length - good))
        );
        log.append(&records(&["next"])).unwrap();
        let (_, again, torn) = read(&disk);
        assert_eq!((again.len(), torn), (found.len() + 1, None), "{length}");
    }
}

#[test]
fn a_flipped_bit_ends_the_log_there() {
    let written = records(&["one", "two"]);
    let whole: Vec<u8> = written.iter().flat_map(|record| framed(record)).collect();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (found, _) = parse(&bytes);
        assert_eq!(found.len(), usize::from(bit >= (HEADER + 3) * 8), "{bit}");
    }
}

#[test]
fn zeros_behind_a_torn_tail_are_no_records() {
    let mut bytes = framed(b"one");
    bytes.extend_from_slice(&[0; 64]);
    assert_eq!(parse(&bytes), (vec![b"one".as_slice()], HEADER + 3));
}

// A write that failed half-way must not hide the ones after it.
#[test]
fn a_failed_append_leaves_no_trace() {
    for call in 0..4 {
        for some in [0, 1, 9, 100] {
            let disk = Faulty::default();
            let (mut log, ..) = read(&disk);
            log.append(&records(&["one"])).unwrap();
            disk.at(call, Fault::Fail(some));
            let mut expected = records(&["one"]);
            for record in ["two", "three"] {
                if log.broken() {
                    log.rewrite(&expected).unwrap();
                }
                if log.append(&records(&[record])).is_ok() {
                    expected.push(record.as_bytes().to_vec());
                }
            }
            assert_eq!(read(&disk).1, expected, "{call} {some}");
        }
    }
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    let disk = Faulty::default();
    let (mut log, ..) = read(&disk);
    log.append(&records(&["one"])).unwrap();
    disk.full(true);
    assert!(log.append(&records(&["two"])).is_err());
    assert!(log.broken() && log.append(&records(&["two"])).is_err());
    disk.full(false);
    log.rewrite(&records(&["one"])).unwrap();
    log.append(&records(&["three"])).unwrap();
    assert_eq!(read(&disk).1, records(&["one", "three"]));
}

// The power goes at each system call of append and rewrite: what was promised is there, nothing else is.
#[test]
fn what_was_promised_survives_the_loss_of_power_at_every_call() {
    for power in [true, false] {
        for call in 0..40 {
            for some in [0, 5, 8, 9, 1000] {
                let disk = Faulty::default();
                let (mut log, ..) = read(&disk);
                disk.at(call, Fault::Die(some));
                let mut promised: Vec<Vec<u8>> = Vec::new();
                let mut offered: Vec<Vec<u8>> = Vec::new();
                for number in 0..8 {
                    if number % 3 == 2 {
                        let _ = log.rewrite(&promised);
                    }
                    let record = format!("record {number}").into_bytes();
                    offered.push(record.clone());
                    if log.append(std::slice::from_ref(&record)).is_ok() {
                        promised.push(record);
                    }
                    if disk.dead() {
                        break;
                    }
                }
                disk.restart(power);
                let (_, found, _) = read(&disk);
                assert!(
                    found.starts_with(&promised),
                    "{power} {call} {some}: {found:?} {promised:?}"
                );
                // One that was under way may have come through; nothing that was never offered.
                assert!(found.len() <= promised.len() + 1, "{power} {call} {some}");
                assert!(found.iter().all(|record| offered.contains(record)));
            }
        }
    }
}

#[test]
fn a_folder_of_the_machine_does_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Log::open(Box::new(Folder::new(folder.path())), "log").unwrap();
    let (mut log, found, torn) = open();
    assert_eq!((found.len(), torn), (0, None));
    log.append(&records(&["one", "two"])).unwrap();
    log.rewrite(&records(&["two"])).unwrap();
    log.append(&records(&["three"])).unwrap();
    assert_eq!(
        log.length(),
        std::fs::metadata(folder.path().join("log")).unwrap().len()
    );
    drop(log);
    let mut bytes = std::fs::read(folder.path().join("log")).unwrap();
    bytes.truncate(bytes.len() - 1);
    std::fs::write(folder.path().join("log"), &bytes).unwrap();
    let (log, found, torn) = open();
    assert_eq!(found, records(&["two"]));
    assert!(torn.is_some());
    assert_eq!(log.length(), 11);
    assert_eq!(std::fs::metadata(folder.path().join("log")).unwrap().len(), 11);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let (records, good) = parse(&bytes);
        assert!(good <= bytes.len());
        let again: Vec<u8> = records.iter().flat_map(|record| framed(record)).collect();
        assert_eq!(again, &bytes[..good]);
    }
}
