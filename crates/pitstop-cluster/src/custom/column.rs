//! Printed columns: a small part of `JSONPath`, and values as cells.
//!
//! Source: embedded-cluster.md 12, CRs.

use jiff::Timestamp;
use serde_json::Value;

use crate::kinds::{Column, human_duration};

/// The cell of a column.
pub(crate) fn cell(column: &Column, path: &str, object: &Value, now: Timestamp) -> Value {
    let found = find(object, path);
    let Some(first) = found.first() else {
        return Value::Null;
    };
    match column.kind {
        "integer" => first.as_i64().map_or(Value::Null, Value::from),
        "number" if first.is_number() => (*first).clone(),
        "boolean" if first.is_boolean() => (*first).clone(),
        "number" | "boolean" => Value::Null,
        "date" => {
            let at = first.as_str().and_then(|text| text.parse::<Timestamp>().ok());
            at.map_or_else(
                || Value::from("<invalid>"),
                |at| human_duration(now.duration_since(at)).into(),
            )
        }
        _ => match first {
            Value::String(text) => Value::from(text.as_str()),
            other => Value::from(other.to_string()),
        },
    }
}

/// One step of a path.
#[derive(Debug, PartialEq)]
enum Step<'a> {
    Member(String),
    All,
    Index(i64),
    /// Elements in which the path leads to this text.
    Where(&'a str, &'a str),
}

/// What a path such as `.status.conditions[?(@.type=="Ready")].status` leads to.
pub(crate) fn find<'a>(object: &'a Value, path: &str) -> Vec<&'a Value> {
    let Some(steps) = steps(path) else {
        return Vec::new();
    };
    let mut found = vec![object];
    for step in &steps {
        found = found.into_iter().flat_map(|value| follow(value, step)).collect();
    }
    found
}

fn follow<'a>(value: &'a Value, step: &Step<'_>) -> Vec<&'a Value> {
    let elements = || value.as_array().into_iter().flatten();
    match step {
        Step::Member(name) => value.get(name).into_iter().collect(),
        Step::All => match value {
            Value::Object(fields) => fields.values().collect(),
            _ => elements().collect(),
        },
        Step::Index(index) => {
            let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let index = if *index < 0 {
                list.len()
                    .checked_add_signed(isize::try_from(*index).unwrap_or(isize::MIN))
            } else {
                usize::try_from(*index).ok()
            };
            index.and_then(|index| list.get(index)).into_iter().collect()
        }
        Step::Where(path, wanted) => elements()
            .filter(|element| {
                find(element, path).first().is_some_and(|value| match value {
                    Value::String(text) => text == wanted,
                    other => **wanted == other.to_string(),
                })
            })
            .collect(),
    }
}

fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let end = bracket_end(after)?;
            let (inner, tail) = (after.get(..end)?, after.get(end + 1..)?);
            steps.push(bracket(inner)?);
            rest = tail;
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let (name, tail) = member(rest);
        if !name.is_empty() {
            steps.push(if name == "*" {
                Step::All
            } else {
                Step::Member(name)
            });
        } else if !tail.is_empty() && !tail.starts_with('[') {
            return None;
        }
        rest = tail;
    }
    Some(steps)
}

/// A name up to the next `.` or `[`; a backslash keeps those in it.
fn member(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '.' | '[' if !escaped => return (name, text.get(at..).unwrap_or_default()),
            c => {
                name.push(c);
                escaped = false;
            }
        }
    }
    (name, "")
}

/// Where a bracket ends, not counting those in quotes.
fn bracket_end(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, ']') => return Some(at),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

fn bracket(inner: &str) -> Option<Step<'_>> {
    let inner = inner.trim();
    if inner == "*" {
        return Some(Step::All);
    }
    if let Some(condition) = inner.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        let (path, wanted) = condition.split_once("==")?;
        return Some(Step::Where(
            path.trim().strip_prefix('@')?,
            unquoted(wanted.trim()),
        ));
    }
    let plain = unquoted(inner);
    if plain.len() < inner.len() {
        return Some(Step::Member(plain.replace('\\', "")));
    }
    inner.parse().ok().map(Step::Index)
}

fn unquoted(text: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values() {
        let object = json!({
            "a": {"b": 1, "x.y": "dot"},
            "l": [{"type": "A", "status": "no"}, {"type": "Ready", "status": "yes"}],
        });
        let cases = [
            (".a.b", json!([1])),
            ("a.b", json!([1])),
            (".a['x\\.y']", json!(["dot"])),
            (".a.x\\.y", json!(["dot"])),
            (".l[?(@.type==\"Ready\")].status", json!(["yes"])),
            (".l[?(@.type=='A')].status", json!(["no"])),
            (".l[0].type", json!(["A"])),
            (".l[-1].type", json!(["Ready"])),
            (".l[*].type", json!(["A", "Ready"])),
            (".nope.b", json!([])),
            (".l[", json!([])),
        ];
        for (path, wanted) in cases {
            assert_eq!(json!(find(&object, path)), wanted, "{path}");
        }
    }

    #[test]
    fn cells_have_the_type_of_their_column() {
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let object = json!({"n": 3, "s": "x", "t": "2026-01-01T00:00:00Z", "o": {"a": 1}, "b": true});
        let cases = [
            ("integer", ".n", json!(3)),
            ("integer", ".s", json!(null)),
            ("string", ".n", json!("3")),
            ("string", ".o", json!("{\"a\":1}")),
            ("boolean", ".b", json!(true)),
            ("boolean", ".s", json!(null)),
            ("date", ".t", json!("60m")),
            ("date", ".s", json!("<invalid>")),
            ("date", ".nope", json!(null)),
        ];
        for (kind, path, wanted) in cases {
            let column = Column {
                name: "X",
                kind,
                format: "",
                priority: 0,
            };
            assert_eq!(cell(&column, path, &object, now), wanted, "{kind} {path}");
        }
    }
}
