//! pitstop-hub
