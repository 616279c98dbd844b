//! What two right servers may answer differently is replaced by what they must not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::play::Answer;

/// Every rule beyond uid, time and the order of resourceVersions.
pub(crate) const RULES: [&str; 4] = [
    "resourceVersions of lists count the writes of others: only that they are there is compared",
    "continue tokens are opaque: only that they are there is compared",
    "suffixes of generated names are random: their place and length are compared",
    "managed fields are compared by the sequences of server-side apply alone",
];

/// What has been seen on one side, in one sequence.
#[derive(Default)]
struct Seen {
    uids: Vec<String>,
    versions: BTreeSet<u64>,
    /// Generated names and what stands for them.
    names: BTreeMap<String, String>,
}

/// Replaces uids by the order in which they appear, times by a word, and resourceVersions by their rank.
pub(crate) fn normalise(answers: &mut [Answer]) {
    let mut seen = Seen::default();
    for answer in &*answers {
        seen.look(&answer.body);
    }
    let ranks: BTreeMap<String, usize> = seen
        .versions
        .iter()
        .enumerate()
        .map(|(rank, version)| (version.to_string(), rank + 1))
        .collect();
    for answer in answers {
        let managed = answer.request.contains("fieldManager");
        seen.replace(&mut answer.body, &ranks, managed);
    }
}

impl Seen {
    fn look(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.look(item)),
            Value::Object(fields) => {
                let text = |name: &str| fields.get(name).and_then(Value::as_str);
                if let (Some(_), Some(version)) = (text("uid"), text("resourceVersion")) {
                    self.versions.extend(version.parse::<u64>());
                }
                if let (Some(prefix), Some(name)) = (text("generateName"), text("name")) {
                    let suffix = "x".repeat(name.len().saturating_sub(prefix.len()));
                    self.names.insert(name.to_owned(), format!("{prefix}{suffix}"));
                }
                self.look_at_refusal(fields);
                fields.values().for_each(|field| self.look(field));
            }
            Value::String(text) => {
                for uid in uids(text) {
                    if !self.uids.contains(&uid) {
                        self.uids.push(uid);
                    }
                }
            }
            _ => {}
        }
    }

    /// The name that was made for an object that was then refused is in the message only.
    fn look_at_refusal(&mut self, status: &Map<String, Value>) {
        const SUFFIX: usize = 5;
        let name = status.get("details").and_then(|details| details.get("name"));
        let causes = status.get("details").and_then(|details| details.get("causes"));
        let causes = causes.and_then(Value::as_array).into_iter().flatten();
        let was_made = causes
            .filter_map(|cause| cause.get("field"))
            .any(|field| field == "metadata.generateName");
        if let (Some(name), true) = (name.and_then(Value::as_str), was_made) {
            let prefix = name.get(..name.len().saturating_sub(SUFFIX)).unwrap_or_default();
            self.names
                .insert(name.to_owned(), format!("{prefix}{}", "x".repeat(SUFFIX)));
        }
    }

    fn replace(&self, value: &mut Value, ranks: &BTreeMap<String, usize>, managed: bool) {
        match value {
            Value::Array(items) => items
                .iter_mut()
                .for_each(|item| self.replace(item, ranks, managed)),
            Value::Object(fields) => {
                if !managed {
                    fields.remove("managedFields");
                }
                let is_object = fields.contains_key("uid");
                if let Some(Value::String(version)) = fields.get_mut("resourceVersion") {
                    *version = match ranks.get(version.as_str()) {
                        Some(rank) if is_object => format!("version {rank}"),
                        _ if version.is_empty() => String::new(),
                        _ => "a version".to_owned(),
                    };
                }
                if let Some(Value::String(token)) = fields.get_mut("continue")
                    && !token.is_empty()
                {
                    "a token".clone_into(token);
                }
                for field in fields.values_mut() {
                    self.replace(field, ranks, managed);
                }
            }
            Value::String(text) => *text = self.text(text, ranks),
            _ => {}
        }
    }

    fn text(&self, text: &str, ranks: &BTreeMap<String, usize>) -> String {
        if is_time(text) {
            return if text.contains('.') {
                "a time with fractions"
            } else {
                "a time"
            }
            .to_owned();
        }
        if is_age(text) {
            return "an age".to_owned();
        }
        let mut text = text.to_owned();
        for (order, uid) in self.uids.iter().enumerate() {
            text = text.replace(uid, &format!("uid {}", order + 1));
        }
        for (name, stand_in) in &self.names {
            text = text.replace(name, stand_in);
        }
        text = in_json(&text, "time", |_| Some("a time".to_owned()));
        text = in_json(&text, "creationTimestamp", |_| Some("a time".to_owned()));
        text = in_json(&text, "resourceVersion", |version| {
            ranks.get(version).map(|rank| format!("version {rank}"))
        });
        let is_about_versions = ["resource version", "ResourceVersion"]
            .iter()
            .any(|word| text.contains(word));
        if !is_about_versions {
            return text;
        }
        let words: Vec<String> = text
            .split(' ')
            .map(|word| {
                let bare = word.trim_matches([',', '.', '(', ')', '"']);
                match ranks.get(bare) {
                    Some(rank) => word.replace(bare, &format!("version {rank}")),
                    None if word.starts_with(|c: char| c.is_ascii_digit()) => "N".to_owned(),
                    None => word.to_owned(),
                }
            })
            .collect();
        words.join(" ")
    }
}

/// Is it the time since an object was made, as tables show it?
fn is_age(text: &str) -> bool {
    let digits = text.strip_suffix('s').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Replaces the values of a field in texts that show whole objects as quoted JSON.
fn in_json(text: &str, field: &str, new: impl Fn(&str) -> Option<String>) -> String {
    let start = format!("\\\"{field}\\\":\\\"");
    let mut parts = text.split(start.as_str());
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (value, rest) = part.split_once('\\').unwrap_or((part, ""));
        replaced += &start;
        replaced += &new(value).unwrap_or_else(|| value.to_owned());
        if part.contains('\\') {
            replaced.push('\\');
        }
        replaced += rest;
    }
    replaced
}

fn is_time(text: &str) -> bool {
    text.len() >= 20
        && text.ends_with('Z')
        && text.as_bytes().get(10) == Some(&b'T')
        && text.starts_with("20")
}

/// Every uid in a text.
fn uids(text: &str) -> Vec<String> {
    const LENGTH: usize = 36;
    let is_uid = |bytes: &[u8]| {
        bytes.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    text.as_bytes()
        .windows(LENGTH)
        .filter(|bytes| is_uid(bytes))
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .collect()
}
