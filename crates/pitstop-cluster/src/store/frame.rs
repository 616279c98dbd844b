//! The bytes of one version of an object, whole or as what they differ in from the version after.

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
        next: Arc<Stored>,
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
            Body::Packed { next, difference } => delta::restored(&next.frame(), difference, self.length)
                // It was made from these very bytes.
                .unwrap_or_default()
                .into(),
        }
    }

    #[cfg(test)]
    pub(super) fn is_packed(&self) -> bool {
        let body = self.body.read().unwrap_or_else(PoisonError::into_inner);
        matches!(&*body, Body::Packed { .. })
    }

    /// Keeps only what is not in the version after, where that is worth it.
    pub(super) fn pack(&self, next: &Arc<Stored>) {
        let difference = delta::difference(&next.frame(), &self.bytes());
        if difference.len() < self.length / 2 {
            let packed = Body::Packed {
                next: Arc::clone(next),
                difference: difference.into(),
            };
            *self.body.write().unwrap_or_else(PoisonError::into_inner) = packed;
        }
    }
}
