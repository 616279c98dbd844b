//! The command line: where cluster, controllers and engine meet.
//!
//! | module | what is there |
//! |---|---|
//! | [`cli`] | the commands, one module each |
//! | [`config`] | flags, `PITSTOP_*` variables and the config file; where things are kept |
//! | [`connect`] | from a kubeconfig to a client |
//! | [`embedded`] | cluster, nodes and controllers in one process |
//! | [`failure`] | exit codes, and the last line that says what to do |
//! | `hub_client` | what commands ask of the hub of a node |
//! | [`hubs`] | the hubs of simulated nodes |
//! | [`hypothesis`] | the state that applying a manifest would lead to |
//! | [`kubeconfig_file`] | the kubeconfig that `up` writes |
//! | [`manifests`] | what a cluster needs to run the controllers, rights first |
//! | [`output`] | tables, JSON, YAML |
//! | [`rollout`] | how far a DaemonSet is and why each pod waits, from the engine's plan |
//! | `scratch` | a folder for the life of a command |
//! | [`story`] | what `demo` plays |

pub mod cli;
pub mod config;
pub mod connect;
pub mod container_agents;
pub mod embedded;
pub mod failure;
mod hub_client;
pub mod hubs;
pub mod hypothesis;
pub mod image_agents;
pub mod kubeconfig_file;
pub mod manifests;
pub mod output;
pub mod rollout;
mod scratch;
pub mod story;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command that the arguments name and reports what went wrong on stderr.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match config::command_with_file() {
        Ok(command) => command,
        Err(error) => return failure::report(&error),
    };
    let cli: cli::Cli = parsed(command, as_plugin(arguments));
    if let Err(error) = cli.global.start_logging() {
        return failure::report(&error);
    }
    ended(cli.runtime(), cli.run())
}

/// As [`run`], for the program that has the command `hub` alone.
pub fn run_hub(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match config::hub_with_file() {
        Ok(command) => command,
        Err(error) => return failure::report(&error),
    };
    let hub: cli::hub::HubProgram = parsed(command, arguments);
    if let Err(error) = hub.global.start_logging() {
        return failure::report(&error);
    }
    ended(tokio::runtime::Builder::new_current_thread(), hub.command.run())
}

/// As `kubectl-images`, which kubectl finds on the PATH, this program has one command alone.
fn as_plugin(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let program = arguments.first().map(std::path::Path::new);
    if program.and_then(std::path::Path::file_stem) == Some(std::ffi::OsStr::new("kubectl-images")) {
        arguments.insert(1, "images".into());
    }
    arguments
}

fn parsed<T: clap::FromArgMatches>(
    command: clap::Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> T {
    let parsed = command
        .try_get_matches_from(arguments)
        .and_then(|matches| T::from_arg_matches(&matches));
    // clap prints help and version to stdout with code 0, mistakes to stderr with code 2.
    parsed.unwrap_or_else(|error| error.exit())
}

fn ended(
    mut runtime: tokio::runtime::Builder,
    command: impl Future<Output = anyhow::Result<()>>,
) -> ExitCode {
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&error.into()),
    };
    match runtime.block_on(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
