//! What commands print: tables for people, JSON and YAML for programs. Stdout is data, stderr is talk.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Context as _;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// The table with more columns.
    Wide,
}

/// Something that a command answers.
pub trait Report: Serialize {
    /// The answer for people, without a line feed at the end.
    fn text(&self, wide: bool) -> String;
}

/// Prints an answer in the form that was asked for.
///
/// # Errors
/// Stdout is closed, or the answer cannot be written as JSON or YAML.
pub fn show(report: &impl Report, format: Option<Format>) -> anyhow::Result<()> {
    let text = render(report, format)?;
    data(&text)
}

/// The text of an answer in the form that was asked for.
///
/// # Errors
/// The answer cannot be written as JSON or YAML.
pub fn render(report: &impl Report, format: Option<Format>) -> anyhow::Result<String> {
    Ok(match format {
        None => report.text(false),
        Some(Format::Wide) => report.text(true),
        Some(Format::Json) => serde_json::to_string_pretty(report).context("writing JSON")?,
        Some(Format::Yaml) => serde_saphyr::to_string(report)
            .context("writing YAML")?
            .trim_end()
            .to_owned(),
    })
}

/// One piece of data for stdout.
///
/// # Errors
/// Stdout is closed.
pub fn data(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()?;
    Ok(())
}

/// One line for the person at the terminal, on stderr.
pub fn talk(text: &str) {
    // A closed stderr means that nobody listens.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Is a person looking at stdout?
pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// A table without lines, columns three blanks apart, as `kubectl get` prints it.
pub fn table(headers: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headers.iter().copied());
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
}

/// The text of a table, without blanks at line ends.
pub fn table_text(table: &Table) -> String {
    let lines: Vec<String> = table
        .to_string()
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// How long something has lasted, as kubectl says it: `45s`, `12m`, `3h20m`, `5d4h`.
pub fn age(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{big_unit}")
        } else {
            format!("{big}{big_unit}{small}{small_unit}")
        }
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Answer {
        name: &'static str,
        nodes: u32,
    }

    impl Report for Answer {
        fn text(&self, wide: bool) -> String {
            let mut table = table(&["NAME", "NODES"]);
            table.add_row([self.name, &self.nodes.to_string()]);
            format!("{}{}", table_text(&table), if wide { " (wide)" } else { "" })
        }
    }

    #[test]
    fn one_answer_in_every_form() {
        let answer = Answer {
            name: "filebeat-ds",
            nodes: 5,
        };
        let of = |format| render(&answer, format).unwrap();
        assert_eq!(of(None), "NAME          NODES\nfilebeat-ds   5");
        assert_eq!(
            of(Some(Format::Wide)),
            "NAME          NODES\nfilebeat-ds   5 (wide)"
        );
        assert_eq!(
            of(Some(Format::Json)),
            "{\n  \"name\": \"filebeat-ds\",\n  \"nodes\": 5\n}"
        );
        assert_eq!(of(Some(Format::Yaml)), "name: filebeat-ds\nnodes: 5");
    }

    #[test]
    fn ages_read_like_those_of_kubectl() {
        for (seconds, want) in [
            (-3, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (12_000, "3h20m"),
            (28_800, "8h"),
            (176_400, "2d1h"),
            (864_000, "10d"),
        ] {
            assert_eq!(age(seconds), want, "{seconds}");
        }
    }
}
