//! The four kinds of patches.
pub mod strategic;
