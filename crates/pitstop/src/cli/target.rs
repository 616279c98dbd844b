//! What a command is about, and in which form it answers: `ds/name`, `clone/name`, `pod/name`, `-o json`.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use pitstop_api::WorkloadKind;

use crate::output::Format;

/// What can be written, for messages: `ds/NAME, ads/NAME, clone/NAME or asts/NAME`.
fn forms(others: &[&str]) -> String {
    let kinds = WorkloadKind::ALL.iter().map(|kind| kind.short());
    let mut forms: Vec<String> = kinds
        .chain(others.iter().copied())
        .map(|kind| format!("{kind}/NAME"))
        .collect();
    let last = forms.pop().unwrap_or_default();
    format!("write {} or {last}", forms.join(", "))
}

/// A workload as people name it: `ds/name`, `clone/name`, or by its name alone where only one kind has one of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its kind, if it was said.
    pub kind: Option<WorkloadKind>,
    /// Its name.
    pub name: String,
}

impl Workload {
    /// Is `other`, whose kind is known, what was named?
    pub fn means(&self, other: &Self) -> bool {
        self.name == other.name && (self.kind.is_none() || self.kind == other.kind)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(kind) => write!(f, "{}/{}", kind.short(), self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse()? {
            Target::Workload(workload) => Ok(workload),
            Target::Pod(_) => Err(format!("\"{text}\" is a pod; {}", forms(&[]))),
        }
    }
}

/// A workload or pod, as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A workload.
    Workload(Workload),
    /// `pod/name`.
    Pod(String),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (Some(kind), name),
            None => (None, text),
        };
        if name.is_empty() || name.contains('/') {
            return Err(format!("\"{text}\" names nothing; {}", forms(&["pod"])));
        }
        let name = name.to_owned();
        let Some(kind) = kind else {
            return Ok(Self::Workload(Workload { kind: None, name }));
        };
        if ["po", "pod", "pods"].contains(&kind.to_ascii_lowercase().as_str()) {
            return Ok(Self::Pod(name));
        }
        match WorkloadKind::named(kind) {
            Some(kind) => Ok(Self::Workload(Workload {
                kind: Some(kind),
                name,
            })),
            None => Err(format!(
                "\"{kind}\" is not a kind that rolls out; {}",
                forms(&["pod"])
            )),
        }
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
        let named = |kind: Option<WorkloadKind>| {
            let name = "x".to_owned();
            Ok(Target::Workload(Workload { kind, name }))
        };
        for text in ["ds/x", "daemonset/x", "daemonsets/x", "daemonsets.apps/x", "DS/x"] {
            assert_eq!(text.parse(), named(Some(WorkloadKind::DaemonSet)), "{text}");
        }
        for text in [
            "clone/x",
            "cloneset/x",
            "clonesets.apps.kruise.io/x",
            "CloneSet/x",
        ] {
            assert_eq!(text.parse(), named(Some(WorkloadKind::CloneSet)), "{text}");
        }
        assert_eq!("x".parse(), named(None));
        for text in ["po/x", "pod/x", "pods/x"] {
            assert_eq!(text.parse(), Ok(Target::Pod("x".to_owned())), "{text}");
        }
        for text in ["", "ds/", "deployment/x", "ds/a/b"] {
            Target::from_str(text).unwrap_err();
        }
        assert_eq!(
            "clone/x".parse::<Workload>().map(|one| one.to_string()),
            Ok("clone/x".to_owned())
        );
        assert_eq!(
            Workload::from_str("pod/x").unwrap_err(),
            "\"pod/x\" is a pod; write ds/NAME, ads/NAME, clone/NAME or asts/NAME"
        );
        assert_eq!(
            Workload::from_str("deployment/x").unwrap_err(),
            "\"deployment\" is not a kind that rolls out; write ds/NAME, ads/NAME, clone/NAME, asts/NAME or pod/NAME"
        );
    }
}
