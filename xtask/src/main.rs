//! pitstop
fn main() {}
