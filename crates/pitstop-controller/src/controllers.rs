//! Which changes touch which workloads, and the loop around one reconcile.

pub mod daemonset;
