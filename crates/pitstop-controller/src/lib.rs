//! pitstop-controller
