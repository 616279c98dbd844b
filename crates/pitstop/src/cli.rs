//! The commands, one module each. Doc comments of the structs are the help texts.

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::failure;

pub mod canary;
pub mod completion;
pub mod controller;
pub mod demo;
pub mod gates;
mod held;
pub mod history;
pub mod hub;
pub mod images;
pub mod manifests;
pub mod node;
pub mod ota;
pub mod pause;
pub mod plan;
pub mod restart;
pub mod set;
pub mod set_partition;
pub mod shell;
pub mod simulate;
pub mod snapshot;
pub mod span;
pub mod status;
pub mod target;
pub mod undo;
pub mod up;
pub mod why;

/// Upgrade pods in the right order over bad networks, and see why one waits
#[derive(Debug, Parser)]
#[command(
    name = "pitstop",
    version,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Every flag has an environment twin (--node-grace is PITSTOP_NODE_GRACE) and a line in the\n\
                  config file ($PITSTOP_CONFIG, or pitstop/config.yaml in your config folder).\n\
                  Exit codes: 0 done, 1 failed, 2 usage, 3 waiting timed out, 4 nothing matched."
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// What to log to stderr: a level, or `info,pitstop_engine=debug`
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "PITSTOP_LOG",
        hide_env = true,
        // What the client library logs as an error comes back as one, too.
        default_value = "warn,kube_client=off",
        help_heading = "Every command"
    )]
    pub log: String,
    /// How log lines are written
    #[arg(
        long,
        global = true,
        value_name = "text|json",
        env = "PITSTOP_LOG_FORMAT",
        hide_env = true,
        hide_possible_values = true,
        default_value = "text",
        help_heading = "Every command"
    )]
    pub log_format: LogFormat,
    /// No colours, also on a terminal
    #[arg(
        long,
        global = true,
        env = "NO_COLOR",
        hide_env = true,
        value_parser = clap::builder::FalseyValueParser::new(),
        help_heading = "Every command"
    )]
    pub no_color: bool,
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line of text each.
    Text,
    /// One JSON object each.
    Json,
}

impl Global {
    /// Sends log lines to stderr.
    ///
    /// # Errors
    /// The filter does not parse.
    pub fn start_logging(&self) -> anyhow::Result<()> {
        use std::io::IsTerminal as _;
        let filter = EnvFilter::try_new(&self.log).map_err(|error| {
            failure::usage(
                format!("--log \"{}\": {error}", self.log),
                "give a level (error, warn, info, debug, trace) or a list like info,pitstop_engine=debug",
            )
        })?;
        let colour = !self.no_color && std::io::stderr().is_terminal();
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(colour);
        let started = match self.log_format {
            LogFormat::Text => builder.try_init(),
            LogFormat::Json => builder.json().try_init(),
        };
        // A test process may have a subscriber already; its own is as good.
        drop(started);
        Ok(())
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "one value for the life of the program")]
pub enum Command {
    /// Start a cluster to try things on: API server, simulated nodes, controllers
    Up(up::Up),
    /// Watch a rollout story from beginning to end, in under a minute
    Demo(demo::Demo),
    /// Run the controllers against a cluster
    Controller(controller::Controller),
    /// Print what a cluster needs to run the controllers: namespace, identity, rights, kinds, Deployment
    Manifests(manifests::Manifests),
    /// Attach simulated nodes to a cluster
    Simulate(simulate::Simulate),
    /// Run the hub of this node: its owner decides when pods are upgraded
    Hub(hub::HubCommand),
    /// List, cut off, reconnect, add or remove simulated nodes, or run a command on one
    Node(node::Node),
    /// Upgrade pods of this node when you decide, and see what waits
    Ota(ota::Ota),
    /// How far rollouts are
    Status(status::Status),
    /// The revisions of a workload
    History(history::History),
    /// Images of running pods
    Images(images::Images),
    /// Change images of a workload
    Set(set::Set),
    /// Say how many pods of a workload stay at their revision
    SetPartition(set_partition::SetPartition),
    /// Hold a rollout where it is
    Pause(pause::Pause),
    /// Let a rollout go on that was paused, or was stopped
    Resume(pause::Resume),
    /// Try a new version of a DaemonSet on some nodes first
    Canary(canary::Canary),
    /// Go back to an earlier revision of a workload
    Undo(undo::Undo),
    /// Replace every pod of a workload, as its strategy allows
    Restart(restart::Restart),
    /// Why pods are not at the target revision
    Why(why::Why),
    /// What the first step of a rollout would do
    Plan(plan::Plan),
    /// Write what decisions are made from to stdout, for `plan --snapshot`
    Snapshot(snapshot::SnapshotCommand),
    /// Print a completion script for a shell
    Completion(completion::Completion),
}

impl Cli {
    /// What it runs on. The controllers wait for the API server nearly all the time: on one thread a watch event wakes
    /// nobody else on its way to a decision, and there is the memory of one thread.
    pub fn runtime(&self) -> tokio::runtime::Builder {
        match self.command {
            Command::Controller(_) | Command::Hub(_) => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        }
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// It could not be done; the error knows its exit code and what to do.
    pub async fn run(self) -> anyhow::Result<()> {
        let global = &self.global;
        match self.command {
            Command::Up(command) => Box::pin(command.run()).await,
            Command::Demo(command) => Box::pin(command.run(global)).await,
            Command::Controller(command) => Box::pin(command.run()).await,
            Command::Manifests(command) => command.run(),
            Command::Simulate(command) => Box::pin(command.run()).await,
            Command::Hub(command) => Box::pin(command.run()).await,
            Command::Node(command) => Box::pin(command.run()).await,
            Command::Ota(command) => Box::pin(command.run()).await,
            Command::Status(command) => Box::pin(command.run()).await,
            Command::History(command) => Box::pin(command.run()).await,
            Command::Images(command) => Box::pin(command.run()).await,
            Command::Set(command) => Box::pin(command.run()).await,
            Command::SetPartition(command) => Box::pin(command.run()).await,
            Command::Pause(command) => Box::pin(command.run()).await,
            Command::Resume(command) => Box::pin(command.run()).await,
            Command::Canary(command) => Box::pin(command.run()).await,
            Command::Undo(command) => Box::pin(command.run()).await,
            Command::Restart(command) => Box::pin(command.run()).await,
            Command::Why(command) => Box::pin(command.run()).await,
            Command::Plan(command) => Box::pin(command.run()).await,
            Command::Snapshot(command) => Box::pin(command.run()).await,
            Command::Completion(command) => command.run(),
        }
    }
}
