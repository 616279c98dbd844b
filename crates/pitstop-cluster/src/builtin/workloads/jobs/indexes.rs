//! Completions of an Indexed Job: which are done, and how a pod knows which one it is.

use std::collections::BTreeSet;
use std::fmt;

use pitstop_api::keys;
use serde_json::{Value, json};

/// A set of completions, written as ranges such as `0-2,5`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Indexes(BTreeSet<i64>);

impl Indexes {
    pub(super) fn parse(text: &str) -> Self {
        let ranges = text.split(',').filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse::<i64>().ok()?..=last.parse().ok()?)
        });
        Self(ranges.flatten().collect())
    }

    pub(super) fn contains(&self, index: i64) -> bool {
        self.0.contains(&index)
    }

    /// Adds one; was it new?
    pub(super) fn insert(&mut self, index: i64) -> bool {
        self.0.insert(index)
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        for index in &self.0 {
            match ranges.last_mut() {
                Some((_, last)) if last.saturating_add(1) == *index => *last = *index,
                _ => ranges.push((*index, *index)),
            }
        }
        for (n, (first, last)) in ranges.into_iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            if first == last {
                write!(formatter, "{comma}{first}")?;
            } else {
                write!(formatter, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

/// Tells a pod which completion it is: by annotation, label, variable and host name.
pub(super) fn mark(pod: &mut Value, host: &str, index: i64) {
    let index = index.to_string();
    for field in ["annotations", "labels"] {
        let metadata = pod.get_mut("metadata").and_then(Value::as_object_mut);
        let map = metadata.map(|metadata| metadata.entry(field).or_insert_with(|| json!({})));
        if let Some(map) = map.and_then(Value::as_object_mut) {
            map.insert(keys::JOB_COMPLETION_INDEX.to_owned(), index.as_str().into());
        }
    }
    if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
        spec.entry("hostname").or_insert_with(|| host.into());
    }
    let variable = json!({
        "name": "JOB_COMPLETION_INDEX",
        "valueFrom": {"fieldRef": {
            "apiVersion": "v1", "fieldPath": format!("metadata.labels['{}']", keys::JOB_COMPLETION_INDEX),
        }},
    });
    for list in ["/spec/containers", "/spec/initContainers"] {
        let containers = pod.pointer_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            let variables = container.entry("env").or_insert_with(|| json!([]));
            if let Some(variables) = variables.as_array_mut() {
                variables.push(variable.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_written_as_ranges() {
        for text in ["", "3", "0-2", "0-2,5", "1,3-4,9"] {
            assert_eq!(Indexes::parse(text).to_string(), text);
        }
        let mut indexes = Indexes::parse("0-1,3");
        assert!(indexes.insert(2));
        assert!(!indexes.insert(2));
        assert_eq!(indexes.to_string(), "0-3");
    }
}
