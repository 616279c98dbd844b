//! `pitstop images`, which is `kubectl images` too where the program is called `kubectl-images`.

use std::collections::BTreeSet;

use anyhow::Context as _;
use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use regex::Regex;
use serde::Serialize;

use crate::cli::target::ScopeArgs;
use crate::connect::ConnectArgs;
use crate::failure;
use crate::output::{self, Format, Report};

/// Images of running pods
///
/// One row for each container of pods that have not ended. As `kubectl-images` on the PATH, this program is `kubectl images`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pitstop images               every pod of the namespace\n  pitstop images '^sample-'    \
                  those whose names match\n  pitstop images -A -o json    everywhere, for programs"
)]
pub struct Images {
    /// Regular expression that names of pods match
    #[arg(value_name = "REGEX")]
    pub pods: Option<Regex>,
    /// Where to look.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Form of the answer
    #[arg(
        short,
        long,
        value_name = "table|json|yaml",
        env = "PITSTOP_OUTPUT",
        hide_env = true,
        hide_possible_values = true,
        default_value = "table"
    )]
    pub output: Form,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// A line with sums, and a table.
    Table,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRow {
    /// Namespace of its pod.
    pub namespace: String,
    /// Its pod.
    pub pod: String,
    /// Its name.
    pub container: String,
    /// Its image, as the pod names it.
    pub image: String,
}

/// The answer of `images`.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct ImagesReport {
    /// By namespace, pod, and the order of containers.
    pub rows: Vec<ImageRow>,
    /// Are several namespaces in it?
    #[serde(skip)]
    pub with_namespace: bool,
}

impl Images {
    /// Answers.
    ///
    /// # Errors
    /// The API server does not answer, or no name matches.
    pub async fn run(self) -> anyhow::Result<()> {
        let connection = self.connect.connect().await?;
        let namespace = self.scope.namespace.as_deref().unwrap_or(&connection.namespace);
        let api: Api<Pod> = if self.scope.all_namespaces {
            Api::all(connection.client.clone())
        } else {
            Api::namespaced(connection.client.clone(), namespace)
        };
        let pods = api.list(&ListParams::default()).await.context("listing pods")?;
        let is_wanted = |pod: &&Pod| {
            let named = self
                .pods
                .as_ref()
                .is_none_or(|pods| pods.is_match(&pod.name_any()));
            named && !has_ended(pod)
        };
        let mut rows: Vec<ImageRow> = pods.iter().filter(is_wanted).flat_map(rows_of).collect();
        rows.sort_by(|a, b| (&a.namespace, &a.pod).cmp(&(&b.namespace, &b.pod)));
        let report = ImagesReport {
            rows,
            with_namespace: self.scope.all_namespaces,
        };
        let format = match self.output {
            Form::Table => None,
            Form::Json => Some(Format::Json),
            Form::Yaml => Some(Format::Yaml),
        };
        output::show(&report, format)?;
        match &self.pods {
            Some(pods) if report.rows.is_empty() => Err(failure::nothing_matched(
                format!("no pod that runs has a name that matches {:?}", pods.as_str()),
                "leave the expression out to see every pod, or look elsewhere with -n or -A",
            )),
            _ => Ok(()),
        }
    }
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn rows_of(pod: &Pod) -> impl Iterator<Item = ImageRow> + '_ {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers.map(|container| ImageRow {
        namespace: pod.namespace().unwrap_or_default(),
        pod: pod.name_any(),
        container: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
    })
}

impl Report for ImagesReport {
    fn text(&self, _: bool) -> String {
        let namespaces: BTreeSet<&str> = self.rows.iter().map(|row| &*row.namespace).collect();
        let pods: BTreeSet<(&str, &str)> = self.rows.iter().map(|row| (&*row.namespace, &*row.pod)).collect();
        let images: BTreeSet<&str> = self.rows.iter().map(|row| &*row.image).collect();
        let summary = format!(
            "[Summary]: {} namespaces, {} pods, {} containers and {} different images",
            namespaces.len(),
            pods.len(),
            self.rows.len(),
            images.len()
        );
        let mut headers = vec!["Pod", "Container", "Image"];
        let mut rows: Vec<Vec<&str>> = self
            .rows
            .iter()
            .map(|row| vec![&*row.pod, &*row.container, &*row.image])
            .collect();
        if self.with_namespace {
            headers.insert(0, "Namespace");
            for (cells, row) in rows.iter_mut().zip(&self.rows) {
                cells.insert(0, &row.namespace);
            }
        }
        format!("{summary}\n{}", merged_table(&headers, &rows))
    }
}

/// A table with lines, in which a cell that says what the one above it says is joined with it. Source: seed 002, whose
/// `kubectl images` prints it so.
fn merged_table(headers: &[&str], rows: &[Vec<&str>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .chain(headers.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    // Where a cell goes on in the next row, the line between them is left out.
    let line = |goes_on: &dyn Fn(usize) -> bool| {
        let parts = widths.iter().enumerate().map(|(column, width)| {
            let stroke = if goes_on(column) { " " } else { "-" };
            stroke.repeat(width + 2)
        });
        format!("+{}+", parts.collect::<Vec<_>>().join("+"))
    };
    let cells = |texts: Vec<String>| format!("|{}|", texts.join("|"));
    let closed = line(&|_| false);
    let header = widths
        .iter()
        .zip(headers)
        .map(|(width, header)| format!(" {header:^width$} "));
    let mut lines = vec![closed.clone(), cells(header.collect()), closed.clone()];
    for (at, row) in rows.iter().enumerate() {
        let above = at.checked_sub(1).and_then(|at| rows.get(at));
        let is_joined = |column: usize| above.is_some_and(|above| above.get(column) == row.get(column));
        if above.is_some() {
            lines.push(line(&is_joined));
        }
        let texts = widths.iter().zip(row).enumerate().map(|(column, (width, cell))| {
            let cell = if is_joined(column) { "" } else { cell };
            format!(" {cell:<width$} ")
        });
        lines.push(cells(texts.collect()));
    }
    lines.push(closed);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(images: &[&str]) -> ImagesReport {
        let rows = images.iter().enumerate().map(|(at, image)| ImageRow {
            namespace: "default".to_owned(),
            pod: format!("sample-{at}"),
            container: "main".to_owned(),
            image: (*image).to_owned(),
        });
        ImagesReport {
            rows: rows.collect(),
            with_namespace: false,
        }
    }

    /// The texts of seed 002, to the letter.
    #[test]
    fn tables_look_as_in_the_seed() {
        let (new, old) = ("alpine:3.18.0", "alpine:3.18.2");
        insta::assert_snapshot!(report(&[old; 5]).text(false), @r"
        [Summary]: 1 namespaces, 5 pods, 5 containers and 1 different images
        +----------+-----------+---------------+
        |   Pod    | Container |     Image     |
        +----------+-----------+---------------+
        | sample-0 | main      | alpine:3.18.2 |
        +----------+           +               +
        | sample-1 |           |               |
        +----------+           +               +
        | sample-2 |           |               |
        +----------+           +               +
        | sample-3 |           |               |
        +----------+           +               +
        | sample-4 |           |               |
        +----------+-----------+---------------+
        ");
        insta::assert_snapshot!(report(&[old, new, old, new, old]).text(false), @r"
        [Summary]: 1 namespaces, 5 pods, 5 containers and 2 different images
        +----------+-----------+---------------+
        |   Pod    | Container |     Image     |
        +----------+-----------+---------------+
        | sample-0 | main      | alpine:3.18.2 |
        +----------+           +---------------+
        | sample-1 |           | alpine:3.18.0 |
        +----------+           +---------------+
        | sample-2 |           | alpine:3.18.2 |
        +----------+           +---------------+
        | sample-3 |           | alpine:3.18.0 |
        +----------+           +---------------+
        | sample-4 |           | alpine:3.18.2 |
        +----------+-----------+---------------+
        ");
        insta::assert_snapshot!(report(&[old, new, old, new, new]).text(false), @r"
        [Summary]: 1 namespaces, 5 pods, 5 containers and 2 different images
        +----------+-----------+---------------+
        |   Pod    | Container |     Image     |
        +----------+-----------+---------------+
        | sample-0 | main      | alpine:3.18.2 |
        +----------+           +---------------+
        | sample-1 |           | alpine:3.18.0 |
        +----------+           +---------------+
        | sample-2 |           | alpine:3.18.2 |
        +----------+           +---------------+
        | sample-3 |           | alpine:3.18.0 |
        +----------+           +               +
        | sample-4 |           |               |
        +----------+-----------+---------------+
        ");
    }

    #[test]
    fn namespaces_and_forms() {
        let mut all = report(&["a:1", "a:1"]);
        all.with_namespace = true;
        insta::assert_snapshot!(all.text(false), @r"
        [Summary]: 1 namespaces, 2 pods, 2 containers and 1 different images
        +-----------+----------+-----------+-------+
        | Namespace |   Pod    | Container | Image |
        +-----------+----------+-----------+-------+
        | default   | sample-0 | main      | a:1   |
        +           +----------+           +       +
        |           | sample-1 |           |       |
        +-----------+----------+-----------+-------+
        ");
        insta::assert_snapshot!(output::render(&report(&["a:1"]), Some(Format::Yaml)).unwrap(), @r"
        - namespace: default
          pod: sample-0
          container: main
          image: a:1
        ");
    }
}
