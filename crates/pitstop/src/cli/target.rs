//! What a command is about, and in which form it answers: `ds/name`, `pod/name`, `-o json`.

use std::str::FromStr;

use clap::Args;

use crate::output::Format;

/// A workload or pod, as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `ds/name`, `daemonset/name`, or the bare name.
    DaemonSet(String),
    /// `pod/name`.
    Pod(String),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = text.split_once('/').unwrap_or(("ds", text));
        if name.is_empty() || name.contains('/') {
            return Err(format!("\"{text}\" names nothing; write ds/NAME or pod/NAME"));
        }
        match kind.to_ascii_lowercase().as_str() {
            "ds" | "daemonset" | "daemonsets" | "daemonset.apps" | "daemonsets.apps" => {
                Ok(Self::DaemonSet(name.to_owned()))
            }
            "po" | "pod" | "pods" => Ok(Self::Pod(name.to_owned())),
            _ => Err(format!(
                "\"{kind}\" is not a kind that rolls out; write ds/NAME or pod/NAME"
            )),
        }
    }
}

/// Reads the name of a DaemonSet: `ds/name`, `daemonset/name`, or the bare name.
///
/// # Errors
/// Something else is named.
pub fn daemonset(text: &str) -> Result<String, String> {
    match text.parse()? {
        Target::DaemonSet(name) => Ok(name),
        Target::Pod(_) => Err(format!("\"{text}\" is a pod; write ds/NAME")),
    }
}

/// Where to look.
#[derive(Debug, Clone, Default, Args)]
pub struct NamespaceArgs {
    /// Namespace [default: that of the context]
    #[arg(short, long, value_name = "NAME", env = "PITSTOP_NAMESPACE", hide_env = true)]
    pub namespace: Option<String>,
}

/// Where to look, perhaps everywhere.
#[derive(Debug, Clone, Default, Args)]
pub struct ScopeArgs {
    /// Namespace [default: that of the context]
    #[arg(short, long, value_name = "NAME", env = "PITSTOP_NAMESPACE", hide_env = true)]
    pub namespace: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long, env = "PITSTOP_ALL_NAMESPACES", hide_env = true)]
    pub all_namespaces: bool,
}

/// Form of the answer.
#[derive(Debug, Clone, Args)]
pub struct FormArgs {
    /// Form of the answer
    #[arg(
        short,
        long,
        value_name = "json|yaml|wide",
        env = "PITSTOP_OUTPUT",
        hide_env = true,
        hide_possible_values = true
    )]
    pub output: Option<Format>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_named_as_kubectl_names_them() {
        for text in [
            "ds/x",
            "daemonset/x",
            "daemonsets/x",
            "daemonsets.apps/x",
            "DS/x",
            "x",
        ] {
            assert_eq!(text.parse(), Ok(Target::DaemonSet("x".to_owned())), "{text}");
        }
        for text in ["po/x", "pod/x", "pods/x"] {
            assert_eq!(text.parse(), Ok(Target::Pod("x".to_owned())), "{text}");
        }
        for text in ["", "ds/", "deployment/x", "ds/a/b"] {
            Target::from_str(text).unwrap_err();
        }
        assert_eq!(daemonset("ds/x"), Ok("x".to_owned()));
        daemonset("pod/x").unwrap_err();
    }
}
