//! Kinds, keys, lean views, selectors and placement rules: what every part of pitstop shares.
//!
//! Nothing here does I/O, and no runtime is a dependency. String keys of the Kubernetes API live in [`keys`] and
//! [`reasons`] and nowhere else.

pub mod amount;
pub mod claim;
pub mod clock;
pub mod cloneset;
pub mod daemonset;
pub mod fields;
pub mod image_pull;
pub mod int_or_percent;
pub mod json_diff;
pub mod keys;
pub mod kruise;
mod open_api;
pub mod placement;
pub mod pod_template;
pub mod quantity;
pub mod reasons;
pub mod selector;
pub mod statefulset;
pub mod storage;
pub mod validate;
pub mod view;
pub mod workload;

pub use amount::Amount;
pub use claim::ClaimView;
pub use clock::{Clock, SharedClock, SystemClock};
pub use int_or_percent::IntOrPercent;
pub use jiff::Timestamp;
pub use storage::StorageClasses;
pub use workload::WorkloadKind;
