//! pitstop-engine
