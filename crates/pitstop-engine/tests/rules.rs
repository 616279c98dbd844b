//! The rules of upgrades: the worked examples of daemonset.md and inplace.md, and what holds for every snapshot.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

#[path = "rules/advanced.rs"]
mod advanced;
#[path = "rules/cloneset.rs"]
mod cloneset;
#[path = "rules/cluster.rs"]
mod cluster;
#[path = "rules/daemonset_model.rs"]
mod daemonset_model;
#[path = "rules/daemonset_model_in_place.rs"]
mod daemonset_model_in_place;
#[path = "rules/gated.rs"]
mod gated;
#[path = "rules/guard.rs"]
mod guard;
#[path = "rules/history.rs"]
mod history;
#[path = "rules/inplace.rs"]
mod inplace;
#[path = "rules/kruise_daemonset.rs"]
mod kruise_daemonset;
#[path = "rules/lifecycle.rs"]
mod lifecycle;
#[path = "rules/live.rs"]
mod live;
#[path = "rules/native.rs"]
mod native;
#[path = "rules/order.rs"]
mod order;
#[path = "rules/ota.rs"]
mod ota;
#[path = "rules/own_keys.rs"]
mod own_keys;
#[path = "rules/own_keys_in_place.rs"]
mod own_keys_in_place;
#[path = "rules/own_keys_together.rs"]
mod own_keys_together;
#[path = "rules/preheat.rs"]
mod preheat;
#[path = "rules/preheat_ahead.rs"]
mod preheat_ahead;
#[path = "rules/properties.rs"]
mod properties;
#[path = "rules/reasons.rs"]
mod reasons;
#[path = "rules/snapshot_file.rs"]
mod snapshot_file;
#[path = "rules/statefulset.rs"]
mod statefulset;
#[path = "rules/tables.rs"]
mod tables;
#[path = "rules/told.rs"]
mod told;
#[path = "rules/walk.rs"]
mod walk;
