//! Where flags get their values from, and where pitstop keeps things.
//!
//! Precedence: flag, environment variable `PITSTOP_*`, config file, default (style.md B9). The config file is a YAML
//! map whose keys are the names of the variables in lower case without the prefix: `PITSTOP_NODE_GRACE` is `node-grace`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;
use serde_json::Value;

use crate::cli::Cli;
use crate::cli::hub::HubProgram;
use crate::failure;

/// Prefix of the environment twins of flags.
const PREFIX: &str = "PITSTOP_";

/// The command line with the values of the config file as defaults.
///
/// # Errors
/// The config file cannot be read, or holds a key that no flag has.
pub fn command_with_file() -> anyhow::Result<clap::Command> {
    with_file(Cli::command())
}

/// As [`command_with_file`], for the program that is the hub alone and knows its own settings only.
///
/// # Errors
/// As [`command_with_file`].
pub fn hub_with_file() -> anyhow::Result<clap::Command> {
    with_file(HubProgram::command())
}

fn with_file(command: clap::Command) -> anyhow::Result<clap::Command> {
    let Some(path) = config_file() else {
        return Ok(command);
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(command),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    apply(command, &text).with_context(|| format!("reading {}", path.display()))
}

/// Makes the values of a config file the defaults of the flags that they name.
///
/// # Errors
/// The text is no map of flags.
pub fn apply(command: clap::Command, text: &str) -> anyhow::Result<clap::Command> {
    let values: BTreeMap<String, Value> = if text.trim().is_empty() {
        BTreeMap::new()
    } else {
        serde_saphyr::from_str(text).context("the file is no map of settings")?
    };
    let mut known = BTreeSet::new();
    keys_of(&command, &mut known);
    if let Some(unknown) = values.keys().find(|key| !known.contains(*key)) {
        let list: Vec<&str> = known.iter().map(String::as_str).collect();
        return Err(failure::usage(
            format!("unknown setting \"{unknown}\""),
            format!("settings are: {}", list.join(", ")),
        ));
    }
    let mut defaults = BTreeMap::new();
    for (key, value) in values {
        defaults.insert(key.clone(), flag_text(&key, &value)?);
    }
    Ok(with_defaults(command, &defaults))
}

fn flag_text(key: &str, value: &Value) -> anyhow::Result<&'static str> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    let text = match value {
        Value::Array(items) => items
            .iter()
            .map(scalar)
            .collect::<Option<Vec<_>>>()
            .map(|items| items.join(",")),
        other => scalar(other),
    };
    // The parser keeps defaults for the life of the program; they are read once.
    text.map(|text| &*text.leak()).ok_or_else(|| {
        failure::usage(
            format!("setting \"{key}\" is neither a value nor a list of values"),
            format!("write it as `{key}: value`"),
        )
    })
}

fn with_defaults(command: clap::Command, defaults: &BTreeMap<String, &'static str>) -> clap::Command {
    command
        .mut_args(
            |argument| match setting(&argument).and_then(|key| defaults.get(&key)) {
                Some(text) => argument.default_value(*text),
                None => argument,
            },
        )
        .mut_subcommands(|subcommand| with_defaults(subcommand, defaults))
}

fn keys_of(command: &clap::Command, known: &mut BTreeSet<String>) {
    known.extend(command.get_arguments().filter_map(setting));
    for subcommand in command.get_subcommands() {
        keys_of(subcommand, known);
    }
}

/// The key of a flag in the config file.
fn setting(argument: &clap::Arg) -> Option<String> {
    let variable = argument.get_env()?.to_str()?;
    Some(
        variable
            .strip_prefix(PREFIX)?
            .to_ascii_lowercase()
            .replace('_', "-"),
    )
}

/// The config file: `PITSTOP_CONFIG`, or `pitstop/config.yaml` in the user's config folder.
pub fn config_file() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("PITSTOP_CONFIG") {
        return Some(path.into());
    }
    Some(user_folder("XDG_CONFIG_HOME", ".config")?.join("pitstop/config.yaml"))
}

/// Where `up` keeps its cluster unless told otherwise: `pitstop` in the user's data folder.
pub fn data_folder() -> Option<PathBuf> {
    Some(user_folder("XDG_DATA_HOME", ".local/share")?.join("pitstop"))
}

/// The kubeconfig of the cluster in the default data folder.
pub fn own_kubeconfig() -> Option<PathBuf> {
    Some(data_folder()?.join("kubeconfig"))
}

fn user_folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    let given = |name: &str| -> Option<OsString> { std::env::var_os(name).filter(|value| !value.is_empty()) };
    given(variable)
        .map(PathBuf::from)
        // Source: XDG base directory specification, a relative path is invalid and ignored.
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(given("HOME")?).join(below_home)))
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;
    use crate::cli::Command;

    fn up(text: &str, arguments: &[&str]) -> crate::cli::up::Up {
        let command = apply(Cli::command(), text).unwrap();
        let matches = command.try_get_matches_from(arguments).unwrap();
        match Cli::from_arg_matches(&matches).unwrap().command {
            Command::Up(up) => up,
            other => panic!("not up: {other:?}"),
        }
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = "port: 8443\nnode-names: [a, b]\ncontrol-plane-node: true\n";
        let given = up(file, &["pitstop", "up", "--port", "9443"]);
        assert_eq!(given.port, 9443);
        assert_eq!(given.node_names, ["a", "b"]);
        assert!(given.control_plane_node);
        assert_eq!(up(file, &["pitstop", "up"]).port, 8443);
        assert_eq!(up("", &["pitstop", "up"]).port, 7443);
    }

    #[test]
    fn a_misspelt_setting_is_named_with_those_that_exist() {
        let error = apply(Cli::command(), "node-graec: 3s\n").unwrap_err();
        let (code, text) = failure::describe(&error);
        assert_eq!(code, 2);
        assert!(
            text.starts_with("error: unknown setting \"node-graec\"\nhint: settings are: "),
            "{text}"
        );
        assert!(text.contains("node-grace"), "{text}");
    }

    #[test]
    fn every_flag_has_its_variable() {
        fn check(command: &clap::Command, path: &str) {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                if argument.is_positional() || matches!(name, "help" | "version") {
                    continue;
                }
                let variable = argument
                    .get_env()
                    .and_then(|name| name.to_str())
                    .unwrap_or_default();
                let named_by_convention = variable == "NO_COLOR";
                assert!(
                    variable.starts_with(PREFIX) || named_by_convention,
                    "{path} --{name} has no PITSTOP_* twin (style.md B9)"
                );
            }
            for subcommand in command.get_subcommands() {
                check(subcommand, &format!("{path} {}", subcommand.get_name()));
            }
        }
        check(&Cli::command(), "pitstop");
    }
}
