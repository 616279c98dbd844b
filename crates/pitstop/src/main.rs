//! The `pitstop` program. Everything it does is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    pitstop::run(std::env::args_os())
}
