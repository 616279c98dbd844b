//! The screen of a story: a live table on a terminal, plain lines when piped.

use std::collections::BTreeMap;

use comfy_table::{Cell, Color, ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use crate::output;
use crate::rollout::{PodRow, Rollout};

/// Where a story is shown.
pub struct View {
    started: Instant,
    screen: Screen,
}

enum Screen {
    /// A table that is drawn again and again, with lines above it.
    Live { bar: ProgressBar, colour: bool },
    /// A line for each change of a row.
    Plain { shown: BTreeMap<String, String> },
}

impl View {
    /// A live view on a terminal, plain lines otherwise.
    pub fn new(colour: bool) -> Self {
        let screen = if output::is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            Screen::Live { bar, colour }
        } else {
            Screen::Plain {
                shown: BTreeMap::new(),
            }
        };
        Self {
            started: Instant::now(),
            screen,
        }
    }

    /// A new step, with the command that does the same.
    pub fn step(&mut self, title: &str, command: &str) {
        self.say("");
        self.say(&format!("{title}\n  $ {command}"));
    }

    /// A line.
    pub fn say(&mut self, line: &str) {
        match &self.screen {
            Screen::Live { bar, .. } => bar.println(line),
            // When nobody reads any more, the story still comes to its end.
            Screen::Plain { .. } => drop(output::data(line)),
        }
    }

    /// The state as it is now.
    pub fn show(&mut self, rollout: &Rollout) {
        let elapsed = self.started.elapsed().as_secs_f32();
        match &mut self.screen {
            Screen::Live { bar, colour } => {
                bar.set_message(format!("\n{}", live_table(rollout, elapsed, *colour)));
            }
            Screen::Plain { shown } => {
                for line in changes(rollout, shown) {
                    drop(output::data(&format!("  {elapsed:5.1}s  {line}")));
                }
            }
        }
    }

    /// Leaves the last table standing; what is said from now on comes below it.
    pub fn finish(&mut self) {
        if let Screen::Live { bar, .. } = &self.screen {
            bar.abandon();
        }
        self.screen = Screen::Plain {
            shown: BTreeMap::new(),
        };
    }
}

/// A line for each row that is not as it was.
fn changes(rollout: &Rollout, shown: &mut BTreeMap<String, String>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut now = BTreeMap::new();
    for row in &rollout.pods {
        let node = row.node.clone().unwrap_or_default();
        let pod = row.pod.clone().unwrap_or_else(|| "<no pod>".to_owned());
        let mut state = format!(
            "node {}  {}",
            if row.node_ready { "Ready   " } else { "NotReady" },
            state_of(row)
        );
        if let Some(waiting) = &row.waiting {
            state.push_str("  waits: ");
            state.push_str(&waiting.reason);
        }
        let key = format!("{node} {pod}");
        if shown.get(&key) != Some(&state) {
            lines.push(format!("{node}  {pod}  {state}"));
        }
        now.insert(key, state);
    }
    *shown = now;
    lines
}

fn state_of(row: &PodRow) -> String {
    let image = row.images.first().map_or("", String::as_str);
    format!("{image} {}", row.state).trim_start().to_owned()
}

fn live_table(rollout: &Rollout, elapsed: f32, colour: bool) -> String {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["NODE", "STATUS", "POD", "REVISION", "IMAGE", "STATE", "WAITS FOR"]);
    for row in &rollout.pods {
        let is_target = row.revision.is_some() && row.revision == rollout.target;
        let node_colour = if row.node_ready { Color::Green } else { Color::Red };
        let revision_colour = if is_target { Color::Green } else { Color::Yellow };
        let waits = row.waiting.as_ref().map_or_else(String::new, |waiting| {
            format!("{}: {}", waiting.reason, waiting.explanation)
        });
        let painted = |text: &str, paint: Color| {
            let cell = Cell::new(text);
            if colour { cell.fg(paint) } else { cell }
        };
        table.add_row([
            Cell::new(row.node.as_deref().unwrap_or("<none>")),
            painted(if row.node_ready { "Ready" } else { "NotReady" }, node_colour),
            Cell::new(row.pod.as_deref().unwrap_or("<none>")),
            painted(row.revision.as_deref().unwrap_or("-"), revision_colour),
            Cell::new(row.images.first().map_or("-", String::as_str)),
            Cell::new(&row.state),
            Cell::new(waits),
        ]);
    }
    format!(
        "{table}\n{elapsed:5.1}s  {}: {}",
        rollout.title(),
        rollout.sentence()
    )
}
