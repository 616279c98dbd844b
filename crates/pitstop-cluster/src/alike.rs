//! Values that many objects have in common are held once.
//!
//! Thousands of pods of one workload differ in their names and not in their containers. What is decoded for each of
//! them is looked up here, and an equal value that somebody holds already is taken instead.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use pitstop_api::placement::Toleration;
use pitstop_api::selector::Labels;
use serde::{Deserialize, Deserializer};

/// Values that nobody holds any more are forgotten when the known ones have doubled since the last time, and not before
/// there are this many.
const SWEEP: usize = 1024;

/// A value that is held once, however many have it.
pub(crate) struct Alike<T>(Arc<T>);

/// Values that are worth it.
pub(crate) trait Common: Hash + Eq + Send + Sync + 'static {
    /// Those that are known.
    fn pool() -> &'static Pool<Self>
    where
        Self: Sized;
}

/// The known values of a type.
#[derive(Debug)]
pub(crate) struct Pool<T>(LazyLock<Mutex<Known<T>>>);

#[derive(Debug)]
struct Known<T> {
    values: HashSet<Arc<T>>,
    sweep_at: usize,
}

impl<T> Pool<T> {
    pub(crate) const fn new() -> Self {
        Self(LazyLock::new(|| {
            Mutex::new(Known {
                values: HashSet::new(),
                sweep_at: SWEEP,
            })
        }))
    }
}

impl<T: Hash + Eq> Pool<T> {
    fn take_in(&self, value: T) -> Arc<T> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.values.get(&value) {
            return Arc::clone(known);
        }
        if known.values.len() >= known.sweep_at {
            known.values.retain(|value| Arc::strong_count(value) > 1);
            known.sweep_at = SWEEP.max(known.values.len().saturating_mul(2));
        }
        let value = Arc::new(value);
        known.values.insert(Arc::clone(&value));
        value
    }
}

impl<T: Common> From<T> for Alike<T> {
    fn from(value: T) -> Self {
        Self(T::pool().take_in(value))
    }
}

impl<T: Common + Default> Default for Alike<T> {
    fn default() -> Self {
        T::default().into()
    }
}

impl<'de, T: Common + Deserialize<'de>> Deserialize<'de> for Alike<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

impl<T> Clone for Alike<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Alike<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: PartialEq> PartialEq for Alike<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl<T: Eq> Eq for Alike<T> {}

impl<T: fmt::Debug> fmt::Debug for Alike<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One of few words, such as the type of a condition.
pub(crate) type Word = Alike<String>;

impl PartialEq<&str> for Word {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl Common for String {
    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<String> = Pool::new();
        &POOL
    }
}

impl Common for Labels {
    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<Labels> = Pool::new();
        &POOL
    }
}

impl Common for Vec<Toleration> {
    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<Vec<Toleration>> = Pool::new();
        &POOL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, Hash)]
    struct Number(usize);

    impl Common for Number {
        fn pool() -> &'static Pool<Self> {
            static POOL: Pool<Number> = Pool::new();
            &POOL
        }
    }

    #[test]
    fn equal_values_are_one_and_those_of_nobody_are_forgotten() {
        let (one, same, other) = (
            Alike::from(Number(1)),
            Alike::from(Number(1)),
            Alike::from(Number(2)),
        );
        assert!(Arc::ptr_eq(&one.0, &same.0));
        assert_ne!(one, other);
        for n in 0..10 * SWEEP {
            drop(Alike::from(Number(n)));
        }
        let known = Number::pool().0.lock().unwrap();
        assert!(known.values.len() <= SWEEP, "{} are known", known.values.len());
        assert!(known.values.contains(&Number(2)), "somebody holds it");
    }
}
