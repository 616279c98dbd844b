//! daemonset
