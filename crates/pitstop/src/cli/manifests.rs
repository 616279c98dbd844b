//! `pitstop manifests`.

use clap::Args;
use pitstop_controller::Controller;

use crate::cli::controller::Wanted;
use crate::cli::hub::PodsSource;
use crate::failure;
use crate::manifests::{self, NAMESPACE, Options, hub};
use crate::output;

/// The longest name of a namespace.
const LONGEST_LABEL: usize = 63;

/// Print what a cluster needs to run the controllers: namespace, identity, rights, kinds, Deployment
#[derive(Debug, Args)]
#[command(
    after_help = "The rights are exactly those that the chosen controllers use; a comment says what each is for.\nNo \
                        image is published yet: build one with `pitstop` on its PATH, and name it with --image.\n\n\
                        Example:\n  pitstop manifests --image registry.example.com/pitstop:1 | kubectl apply -f -"
)]
pub struct Manifests {
    /// Print what hubs need instead, one on each node: a DaemonSet, or a unit of systemd
    #[arg(
        long,
        value_name = "daemonset|systemd",
        env = "PITSTOP_MANIFESTS_HUB",
        hide_env = true,
        hide_possible_values = true,
        num_args = 0..=1,
        default_missing_value = "daemonset"
    )]
    pub hub: Option<HubForm>,
    /// Where hubs of a DaemonSet read the pods of their node: from the API server, or from the `kubelet`, so that they need
    /// no right to read the pods of others
    #[arg(
        long,
        value_name = "api|kubelet",
        env = "PITSTOP_PODS_SOURCE",
        hide_env = true,
        hide_possible_values = true,
        default_value = "api",
        requires = "hub"
    )]
    pub pods_source: PodsSource,
    /// Namespace [default: pitstop-system for the controllers, pitstop-hub for hubs]
    #[arg(
        short,
        long,
        value_name = "NAME",
        env = "PITSTOP_NAMESPACE",
        hide_env = true,
        value_parser = label
    )]
    pub namespace: Option<String>,
    /// Image of the controllers; none is published yet
    #[arg(
        long,
        env = "PITSTOP_IMAGE",
        hide_env = true,
        default_value_t = manifests::default_image(),
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub image: String,
    /// How many are started; one works, the others stand by
    #[arg(
        long,
        value_name = "N",
        env = "PITSTOP_REPLICAS",
        hide_env = true,
        default_value_t = Options::default().replicas,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub replicas: u32,
    /// Which controllers.
    #[command(flatten)]
    pub controllers: Wanted,
    /// Also give the right to run commands in pods, which arbiter.exec of StatefulSets needs
    #[arg(long, env = "PITSTOP_ARBITER_EXEC", hide_env = true, conflicts_with = "hub")]
    pub arbiter_exec: bool,
    /// Where the API server asks the webhooks of controllers that run outside of the cluster, with --webhook-host there;
    /// neither Deployment nor Service is printed then
    #[arg(
        long,
        value_name = "https://HOST:PORT",
        env = "PITSTOP_WEBHOOK_URL",
        hide_env = true,
        conflicts_with = "hub",
        value_parser = webhook_url
    )]
    pub webhook_url: Option<String>,
    /// Form of the answer
    #[arg(
        short,
        long,
        value_name = "yaml|json",
        env = "PITSTOP_OUTPUT",
        hide_env = true,
        hide_possible_values = true,
        default_value = "yaml"
    )]
    pub output: Form,
}

/// `--hub`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum HubForm {
    /// Manifests of a DaemonSet.
    Daemonset,
    /// A unit file.
    Systemd,
}

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// YAML documents with comments.
    Yaml,
    /// One `List`.
    Json,
}

impl Manifests {
    /// Prints them.
    ///
    /// # Errors
    /// Stdout is closed.
    pub fn run(self) -> anyhow::Result<()> {
        match self.hub {
            Some(HubForm::Systemd) => return output::data(hub::UNIT.trim_end()),
            Some(HubForm::Daemonset) => {
                let defaults = hub::Options::default();
                let options = hub::Options {
                    namespace: self.namespace.unwrap_or(defaults.namespace),
                    image: self.image,
                    from_kubelet: self.pods_source == PodsSource::Kubelet,
                };
                return match self.output {
                    Form::Yaml => output::data(hub::render(&options).trim_end()),
                    Form::Json => output::data(&format!("{:#}", hub::to_json(&options))),
                };
            }
            None => {}
        }
        let options = Options {
            namespace: self.namespace.unwrap_or_else(|| NAMESPACE.to_owned()),
            image: self.image,
            replicas: self.replicas,
            controllers: self.controllers.controllers().into_iter().collect(),
            runs_commands: self.arbiter_exec,
            webhook_url: self.webhook_url,
        };
        if options.runs_commands && !options.controllers.contains(&Controller::StatefulSet) {
            return Err(failure::usage(
                "--arbiter-exec is about StatefulSets of apps.kruise.io, whose controller is not among those chosen",
                "add --controllers statefulset, or leave --arbiter-exec out",
            ));
        }
        if options.webhook_url.is_some() && !options.brings_kinds() {
            return Err(failure::usage(
                "--webhook-url is about the kinds of cloneset and imagepulljob, which are not among the controllers",
                "add --controllers cloneset, or leave --webhook-url out",
            ));
        }
        match self.output {
            Form::Yaml => output::data(manifests::render(&options, None).trim_end()),
            Form::Json => output::data(&format!("{:#}", manifests::to_json(&options, None))),
        }
    }
}

/// Reads where webhooks are. A path would be lost: each webhook has one of its own.
fn webhook_url(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is not https://HOST:PORT, without a path");
    let url: http::Uri = text.parse().map_err(|_| wrong())?;
    let has_path = !matches!(url.path(), "" | "/") || url.query().is_some();
    let authority = url
        .authority()
        .filter(|authority| !authority.as_str().contains('@'));
    match (url.scheme_str(), authority) {
        (Some("https"), Some(authority)) if !has_path => Ok(format!("https://{authority}")),
        _ => Err(wrong()),
    }
}

/// Reads the name of a namespace.
fn label(text: &str) -> Result<String, String> {
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_legal = text.len() <= LONGEST_LABEL
        && text.chars().all(|c| is_end(c) || c == '-')
        && text.starts_with(is_end)
        && text.ends_with(is_end);
    if is_legal {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "a namespace has at most {LONGEST_LABEL} of the characters a-z, 0-9 and -, and no - at its ends"
        ))
    }
}
