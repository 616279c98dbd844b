//! Objects with comments and in the order in which people read them, as YAML or JSON.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// How much deeper a nested block begins.
const STEP: usize = 2;

/// A value with comments.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tree {
    /// Written in a line of its own above the value, where it stands in a list or is the value of a key.
    comment: Option<&'static str>,
    node: Node,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    /// Text, number or truth value.
    Scalar(Value),
    /// On one line.
    Flow(Vec<String>),
    /// An element a line or more.
    List(Vec<Tree>),
    /// In the order in which it was written.
    Map(Vec<(Cow<'static, str>, Tree)>),
}

impl<T: Into<Value>> From<T> for Tree {
    fn from(value: T) -> Self {
        Node::Scalar(value.into()).into()
    }
}

impl From<Node> for Tree {
    fn from(node: Node) -> Self {
        Self { comment: None, node }
    }
}

/// A map in this order.
pub(super) fn map(entries: impl IntoIterator<Item = (&'static str, Tree)>) -> Tree {
    let entries = entries
        .into_iter()
        .map(|(key, value)| (Cow::Borrowed(key), value));
    Node::Map(entries.collect()).into()
}

/// An object as it is, in the order of names.
pub(super) fn plain(value: Value) -> Tree {
    match value {
        Value::Object(map) => {
            let entries = map
                .into_iter()
                .map(|(key, value)| (Cow::Owned(key), plain(value)));
            Node::Map(entries.collect()).into()
        }
        Value::Array(items) => list(items.into_iter().map(plain)),
        scalar => Node::Scalar(scalar).into(),
    }
}

/// A list of blocks.
pub(super) fn list(items: impl IntoIterator<Item = Tree>) -> Tree {
    Node::List(items.into_iter().collect()).into()
}

/// A list of texts on one line.
pub(super) fn flow(items: impl IntoIterator<Item = impl Into<String>>) -> Tree {
    Node::Flow(items.into_iter().map(Into::into).collect()).into()
}

impl Tree {
    /// With a comment above it.
    #[must_use]
    pub(super) fn why(mut self, comment: &'static str) -> Self {
        self.comment = Some(comment);
        self
    }

    /// With a comment above one of its keys.
    #[must_use]
    pub(super) fn with_comment(mut self, key: &str, comment: &'static str) -> Self {
        if let Node::Map(entries) = &mut self.node {
            for (_, value) in entries.iter_mut().filter(|(name, _)| name == key) {
                value.comment = Some(comment);
            }
        }
        self
    }

    /// Without comments and without order.
    pub(super) fn to_json(&self) -> Value {
        match &self.node {
            Node::Scalar(value) => value.clone(),
            Node::Flow(items) => items.iter().cloned().map(Value::String).collect(),
            Node::List(items) => items.iter().map(Self::to_json).collect(),
            Node::Map(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, value)| (key.to_string(), value.to_json()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// A YAML document without its separator, with a line feed at the end.
    pub(super) fn to_yaml(&self) -> String {
        let mut text = String::new();
        self.write_block(&mut text, 0);
        text
    }

    /// Writes it from the beginning of a line on.
    fn write_block(&self, text: &mut String, indent: usize) {
        match &self.node {
            Node::Map(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    value.write_comment(text, indent);
                    let _ = write!(text, "{:indent$}{}:", "", scalar(&Value::from(key.as_ref())));
                    value.write_after(text, indent);
                }
            }
            Node::List(items) if !items.is_empty() => {
                for item in items {
                    item.write_comment(text, indent);
                    let mut block = String::new();
                    item.write_block(&mut block, indent + STEP);
                    // The dash takes the place of the first line's last two blanks.
                    let first = block.get(indent + STEP..).unwrap_or_default();
                    let _ = write!(text, "{:indent$}- {first}", "");
                }
            }
            _ => {
                let _ = writeln!(text, "{:indent$}{}", "", self.inline());
            }
        }
    }

    /// Writes it after a key.
    fn write_after(&self, text: &mut String, indent: usize) {
        match &self.node {
            Node::Map(entries) if !entries.is_empty() => {
                text.push('\n');
                self.write_block(text, indent + STEP);
            }
            // Lists begin where their key does, as kubectl prints them.
            Node::List(items) if !items.is_empty() => {
                text.push('\n');
                self.write_block(text, indent);
            }
            _ => {
                let _ = writeln!(text, " {}", self.inline());
            }
        }
    }

    fn write_comment(&self, text: &mut String, indent: usize) {
        if let Some(comment) = self.comment {
            let _ = writeln!(text, "{:indent$}# {comment}", "");
        }
    }

    fn inline(&self) -> String {
        match &self.node {
            Node::Scalar(value) => scalar(value),
            Node::Flow(items) => {
                let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
                format!("[{}]", items.join(", "))
            }
            Node::List(_) => "[]".to_owned(),
            Node::Map(_) => "{}".to_owned(),
        }
    }
}

/// Text without quotes where no YAML reader takes it for something else.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A JSON string is a YAML string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.ends_with(|last: char| last.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._/:-@".contains(c))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}
