//! Small damage to bytes, the same each time for the same seed.

use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Texts that parsers trip over.
const TOKENS: [&str; 16] = [
    "\r\n",
    "\r\n\r\n",
    "\0",
    ":",
    " ",
    "%2e",
    "..",
    "//",
    "null",
    "{",
    "}",
    "\"",
    "-1",
    "4294967296",
    "ä",
    "HTTP/1.1",
];

/// The files of a folder of the corpus, in their order.
pub(crate) fn corpus(kind: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz")
        .join(kind);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the corpus")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| std::fs::read(file).expect("a file"))
        .collect()
}

/// Each of the corpus as it is, and then so many damaged ones of each.
pub(crate) fn each(kind: &str, damaged: u64, mut check: impl FnMut(&[u8])) {
    for (number, bytes) in corpus(kind).into_iter().enumerate() {
        check(&bytes);
        for seed in 0..damaged {
            check(&damage(&bytes, seed * 1000 + number as u64));
        }
    }
}

/// Does one to eight small things to bytes.
pub(crate) fn damage(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..=8) {
        let at = random.random_range(0..=bytes.len());
        let end = (at + random.random_range(0..16)).min(bytes.len());
        match random.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.truncate(at),
            3 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            4 => {
                let token = TOKENS[random.random_range(0..TOKENS.len())];
                bytes.splice(at..at, token.bytes());
            }
            _ => {
                let long = vec![b'a'; random.random_range(0..300)];
                bytes.splice(at..at, long);
            }
        }
    }
    bytes
}
