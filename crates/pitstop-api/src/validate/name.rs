//! Names, labels and annotations. Source: embedded-cluster.md 6.4.

use serde_json::Value;

use super::{FieldError, FieldErrorReason};
use crate::fields::entries;

/// All annotations of an object together, in bytes.
const MAX_ANNOTATIONS: usize = 262_144;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
     and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
     start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
     alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
     validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
     an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
     and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
     for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// How names of a kind are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// DNS-1123 subdomain, at most 253 characters.
    Subdomain,
    /// DNS-1123 label, at most 63 characters.
    Label,
    /// DNS-1035 label, at most 63 characters.
    Dns1035Label,
    /// Any path segment: no `/`, no `%`, not `.` or `..`.
    PathSegment,
}

/// What is wrong with a name.
pub fn name_problems(name: &str, rule: NameRule) -> Vec<String> {
    let (limit, valid, wanted) = match rule {
        NameRule::Subdomain => (253, name.split('.').all(is_label), SUBDOMAIN),
        NameRule::Label => (63, is_label(name), LABEL),
        NameRule::Dns1035Label => (
            63,
            is_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase()),
            DNS_1035,
        ),
        NameRule::PathSegment => return path_segment_problems(name),
    };
    let mut problems = Vec::new();
    if name.len() > limit {
        problems.push(format!("must be no more than {limit} characters"));
    }
    if !valid {
        problems.push(wanted.to_owned());
    }
    problems
}

/// Keys and values of labels; also those of templates and selectors.
pub fn labels(object: &Value, pointer: &str, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in entries(object, pointer) {
        errors.extend(
            key_problems(key)
                .into_iter()
                .map(|why| FieldError::invalid(field, key, why)),
        );
        let value = value.as_str().unwrap_or_default();
        errors.extend(
            label_value_problems(value)
                .into_iter()
                .map(|why| FieldError::invalid(field, value, why)),
        );
    }
    errors
}

/// What is wrong with the value of a label.
pub fn label_value_problems(value: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if value.len() > 63 {
        problems.push("must be no more than 63 bytes".to_owned());
    }
    if !value.is_empty() && !is_word(value) {
        problems.push(LABEL_VALUE.to_owned());
    }
    problems
}

/// What is wrong with a qualified name: `[prefix/]name`.
pub fn key_problems(key: &str) -> Vec<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((_, name)) if name.contains('/') => {
            let qualified = NAME_PART.replacen("name part", "a qualified name", 1);
            return vec![format!(
                "{qualified} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let mut problems = Vec::new();
    match prefix {
        Some("") => problems.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => {
            let wrong = name_problems(prefix, NameRule::Subdomain);
            problems.extend(wrong.into_iter().map(|why| format!("prefix part {why}")));
        }
        None => {}
    }
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        problems.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_word(name) {
        problems.push(NAME_PART.to_owned());
    }
    problems
}

/// Keys and total size of annotations; also those of templates.
pub fn annotations(object: &Value, pointer: &str, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut size = 0;
    for (key, value) in entries(object, pointer) {
        size += key.len() + value.as_str().map_or(0, str::len);
        let problems = key_problems(&key.to_lowercase());
        errors.extend(
            problems
                .into_iter()
                .map(|why| FieldError::invalid(field, key, why)),
        );
    }
    if size > MAX_ANNOTATIONS {
        errors.push(FieldError {
            field: field.to_owned(),
            reason: FieldErrorReason::TooLong,
            value: None,
            detail: format!("may not be more than {MAX_ANNOTATIONS} bytes"),
        });
    }
    errors
}

fn path_segment_problems(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"]
        .into_iter()
        .filter(|bad| name.contains(bad))
        .map(|bad| format!("may not contain '{bad}'"))
        .collect()
}

fn is_label(text: &str) -> bool {
    framed(
        text,
        |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit(),
        b"-",
    )
}

fn is_word(text: &str) -> bool {
    framed(text, |byte| byte.is_ascii_alphanumeric(), b"-_.")
}

/// Begins and ends with an `edge` character and has nothing else but those and `inner` ones between.
fn framed(text: &str, edge: impl Fn(u8) -> bool, inner: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let ends = bytes
        .first()
        .zip(bytes.last())
        .is_some_and(|(first, last)| edge(*first) && edge(*last));
    ends && bytes.iter().all(|byte| edge(*byte) || inner.contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// embedded-cluster.md 6.4.
    #[test]
    fn names_follow_the_rule_of_their_kind() {
        let long = "a".repeat(64);
        let cases = [
            ("a.b-c.1", NameRule::Subdomain, true),
            ("a..b", NameRule::Subdomain, false),
            ("A", NameRule::Subdomain, false),
            ("-a", NameRule::Subdomain, false),
            (long.as_str(), NameRule::Subdomain, true),
            (long.as_str(), NameRule::Label, false),
            ("a.b", NameRule::Label, false),
            ("1a", NameRule::Label, true),
            ("1a", NameRule::Dns1035Label, false),
            ("a1", NameRule::Dns1035Label, true),
            ("system:node:a", NameRule::PathSegment, true),
            ("a/b", NameRule::PathSegment, false),
            ("..", NameRule::PathSegment, false),
        ];
        for (name, rule, valid) in cases {
            assert_eq!(name_problems(name, rule).is_empty(), valid, "{name} {rule:?}");
        }
    }
}
