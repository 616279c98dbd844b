//! `pitstop completion`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::output;

/// Print a completion script for a shell
///
/// Load it into the running shell:
///   source <(pitstop completion bash)
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

impl Completion {
    /// Prints the script.
    ///
    /// # Errors
    /// Stdout is closed.
    pub fn run(self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "pitstop", &mut script);
        output::data(String::from_utf8_lossy(&script).trim_end())
    }
}
