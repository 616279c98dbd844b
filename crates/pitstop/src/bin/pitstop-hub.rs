//! The `pitstop-hub` program: `pitstop hub` and nothing else, a third of the size.

use std::process::ExitCode;

fn main() -> ExitCode {
    pitstop::run_hub(std::env::args_os())
}
