//! The bytes of one version of an object, whole or as what they differ in from another one: the version after, or an
//! object of the same sort.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::delta;
use super::object::Stored;

/// Bytes that may be kept as a difference.
#[derive(Debug)]
pub(super) struct Frame {
    body: RwLock<Body>,
    length: usize,
}

#[derive(Debug)]
enum Body {
    Whole(Bytes),
    Packed {
        base: Arc<Stored>,
        difference: Box<[u8]>,
    },
}

impl Frame {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self {
            length: bytes.len(),
            body: RwLock::new(Body::Whole(bytes)),
        }
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> Bytes {
        let body = self.body.read().unwrap_or_else(PoisonError::into_inner);
        match &*body {
            Body::Whole(bytes) => bytes.clone(),
            Body::Packed { base, difference } => delta::restored(&base.frame(), difference, self.length)
                // It was made from these very bytes.
                .unwrap_or_default()
                .into(),
        }
    }

    /// Are the bytes kept as they are?
    pub(super) fn is_whole(&self) -> bool {
        let body = self.body.read().unwrap_or_else(PoisonError::into_inner);
        matches!(&*body, Body::Whole(_))
    }

    /// Keeps only what is not in the other bytes, where that is worth it; tells whether it is. From then on the others
    /// must be the same as long as these are.
    pub(super) fn pack(&self, base: &Arc<Stored>) -> bool {
        let difference = delta::difference(&base.frame(), &self.bytes());
        let is_worth_it = difference.len() < self.length / 2;
        if is_worth_it {
            let packed = Body::Packed {
                base: Arc::clone(base),
                difference: difference.into(),
            };
            *self.body.write().unwrap_or_else(PoisonError::into_inner) = packed;
        }
        is_worth_it
    }
}
