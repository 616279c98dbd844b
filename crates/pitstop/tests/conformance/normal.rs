//! What two right servers may answer differently is replaced by what they must not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::play::Answer;

/// Every rule beyond uid, time and the order of resourceVersions.
pub(crate) const RULES: [&str; 7] = [
    "resourceVersions of lists count the writes of others: only that they are there is compared",
    "continue tokens are opaque: only that they are there is compared",
    "suffixes of generated names are random: their place and length are compared",
    "managed fields of Leases and Events are not compared: who writes them all the time is not recorded",
    "objects that messages show are not compared where they are internal types of Go, nor the order of their fields",
    "the warning that no controller acts on a kind is left out: the embedded server gives it on purpose",
    "warnings about fields of what has just gone are left out: a real server may read it once more from its cache",
];

/// What the embedded server says of kinds that it only stores.
const ONLY_STORED: &str = "stored, but no controller acts on it";

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
        seen.look_at_refusal(answer);
    }
    let ranks: BTreeMap<String, usize> = seen
        .versions
        .iter()
        .enumerate()
        .map(|(rank, version)| (version.to_string(), rank + 1))
        .collect();
    for answer in answers {
        let managed = !["/leases", "/events"]
            .iter()
            .any(|kind| answer.request.contains(kind));
        let is_gone = answer.code == 404;
        answer.warnings.retain(|warning| {
            !(warning.contains(ONLY_STORED) || is_gone && warning.contains("unknown field"))
        });
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
                if let (Some(prefix), Some(name)) = (text("generateName"), text("name"))
                    && is_generated(name, prefix)
                {
                    let suffix = "x".repeat(name.len().saturating_sub(prefix.len()));
                    self.names.insert(name.to_owned(), format!("{prefix}{suffix}"));
                }
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
    fn look_at_refusal(&mut self, answer: &Answer) {
        let name = answer.body.pointer("/details/name").and_then(Value::as_str);
        if let (Some(prefix), Some(name)) = (&answer.prefix, name)
            && is_generated(name, prefix)
        {
            self.names.insert(name.to_owned(), format!("{prefix}xxxxx"));
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
                if fields.keys().any(|name| !uids(name).is_empty()) {
                    let named = std::mem::take(fields).into_iter();
                    fields.extend(named.map(|(name, value)| (self.text(&name, ranks), value)));
                }
                for field in fields.values_mut() {
                    self.replace(field, ranks, managed);
                }
                // They are sorted by time.
                if let Some(Value::Array(entries)) = fields.get_mut("managedFields") {
                    entries.sort_by_key(without_time);
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
        let mut text = without_listings(text);
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
        for (version, rank) in ranks {
            text = text.replace(
                &format!("resourceVersion:{version}]"),
                &format!("resourceVersion:version {rank}]"),
            );
        }
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

/// Has a name been made of a prefix?
fn is_generated(name: &str, prefix: &str) -> bool {
    const SUFFIX: usize = 5;
    let suffix = name.get(name.len().saturating_sub(SUFFIX)..).unwrap_or_default();
    let begins = name.len() > SUFFIX && prefix.starts_with(&name[..name.len() - SUFFIX]);
    begins
        && suffix
            .bytes()
            .all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
}

/// A message without the objects that it shows as internal types of Go.
fn without_listings(text: &str) -> String {
    // The end of what is said of a pod's spec, after which a real server shows both as Go has them.
    const CHANGED: &str = "previously negative)";
    let text = text.split("\n@@ ").next().unwrap_or_default();
    let end = text.find(CHANGED).map_or(text.len(), |at| at + CHANGED.len());
    let mut kept = text.get(..end).unwrap_or_default().to_owned();
    for (start, end) in [(" value: {", "}: "), (" value: [{", "}]: ")] {
        let mut parts = kept.split(start);
        let mut shorter = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            shorter += " value: an object: ";
            shorter += part.split_once(end).map_or(part, |(_, rest)| rest);
        }
        kept = shorter;
    }
    sorted(kept)
}

/// An owner of fields, but for when it wrote.
fn without_time(entry: &Value) -> String {
    let mut entry = entry.clone();
    if let Some(entry) = entry.as_object_mut() {
        entry.remove("time");
    }
    entry.to_string()
}

/// A message with the fields of the object that a patch has made in the order of their names.
fn sorted(text: String) -> String {
    const SHOWN: &str = "Invalid value: \"{";
    let Some(at) = text.find(SHOWN) else { return text };
    let (before, shown) = text.split_at(at + SHOWN.len() - 2);
    let mut quoted = serde_json::Deserializer::from_str(shown).into_iter::<String>();
    let object = quoted.next().and_then(Result::ok);
    let object = object.and_then(|object| serde_json::from_str::<Value>(&object).ok());
    let after = shown.get(quoted.byte_offset()..).unwrap_or_default();
    match object {
        Some(mut object) => {
            let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
            let managed = !["Lease", "Event"].contains(&kind);
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                match metadata.get_mut("managedFields") {
                    Some(Value::Array(entries)) if managed => entries.sort_by_key(without_time),
                    _ => drop(metadata.remove("managedFields")),
                }
            }
            format!("{before}{}{after}", Value::from(object.to_string()))
        }
        None => text,
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
