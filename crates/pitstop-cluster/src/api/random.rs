//! Uids, name suffixes and jitter, from one seeded generator.

use std::sync::{Mutex, PoisonError};

use pitstop_api::keys::SAFE_ALPHABET;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::broken::{self, Defect};

#[derive(Debug)]
pub(super) struct Random(Mutex<StdRng>);

impl Random {
    /// A generator from a seed, or from the operating system.
    pub(super) fn new(seed: Option<u64>) -> Self {
        let generator = match seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => rand::make_rng(),
        };
        Self(Mutex::new(generator))
    }

    /// A random (version 4) uid.
    pub(super) fn uid(&self) -> String {
        let random: u128 = self.with(RngExt::random);
        // Version 4, variant 10.
        let id = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{id:032x}");
        let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
        format!(
            "{}-{}-{}-{}-{}",
            part(0..8),
            part(8..12),
            part(12..16),
            part(16..20),
            part(20..32)
        )
    }

    /// Five characters for a generated name.
    ///
    /// Source: embedded-cluster.md 6.1.
    pub(super) fn suffix(&self) -> String {
        let alphabet = SAFE_ALPHABET.as_bytes();
        let length = if broken::is(Defect::ShortSuffix) { 4 } else { 5 };
        self.with(|generator| {
            (0..length)
                .filter_map(|_| alphabet.get(generator.random_range(0..alphabet.len())))
                .map(|byte| char::from(*byte))
                .collect()
        })
    }

    /// Seconds between two bounds.
    pub(super) fn seconds(&self, from: u64, to: u64) -> u64 {
        self.with(|generator| generator.random_range(from..=to))
    }

    fn with<T>(&self, f: impl FnOnce(&mut StdRng) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
