//! Where two answers differ.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::play::Answer;

/// One place where the servers differ. A value that is not there is `None`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    pub(crate) request: String,
    /// `code`, `content-type`, `warning`, or a JSON pointer into the body.
    pub(crate) path: String,
    pub(crate) embedded: Option<Value>,
    pub(crate) real: Option<Value>,
}

impl Difference {
    /// Request and path, as the table of accepted differences names them.
    pub(crate) fn at(&self) -> String {
        format!("{} {}", self.request, self.path)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), Value::to_string);
        let (embedded, real) = (show(&self.embedded), show(&self.real));
        write!(f, "{}: embedded {embedded}, real {real}", self.at())
    }
}

/// Every difference between the answers to the same requests.
pub(crate) fn answers(embedded: &[Answer], real: &[Answer]) -> Vec<Difference> {
    let mut found = Vec::new();
    for (ours, theirs) in embedded.iter().zip(real) {
        let mut add = |path: &str, embedded: Option<&Value>, real: Option<&Value>| {
            found.push(Difference {
                request: theirs.request.clone(),
                path: path.to_owned(),
                embedded: embedded.cloned(),
                real: real.cloned(),
            });
        };
        let heads = [
            ("code", Value::from(ours.code), Value::from(theirs.code)),
            (
                "content-type",
                Value::from(ours.content_type.as_str()),
                Value::from(theirs.content_type.as_str()),
            ),
            (
                "warning",
                Value::from(ours.warnings.clone()),
                Value::from(theirs.warnings.clone()),
            ),
        ];
        for (name, ours, theirs) in &heads {
            if ours != theirs {
                add(name, Some(ours), Some(theirs));
            }
        }
        // Another code says it all: the bodies are of different kinds, or about different failures.
        if ours.code != theirs.code {
            continue;
        }
        values("", Some(&ours.body), Some(&theirs.body), &mut add);
    }
    found
}

fn values(
    path: &str,
    ours: Option<&Value>,
    theirs: Option<&Value>,
    add: &mut impl FnMut(&str, Option<&Value>, Option<&Value>),
) {
    match (ours, theirs) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            for name in names {
                let inner = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
                values(&inner, a.get(name), b.get(name), add);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b)))
            if names(a).is_some() && names(b).is_some() && names(a) != names(b) =>
        {
            named(path, a, b, add);
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for index in 0..a.len().max(b.len()) {
                values(&format!("{path}/{index}"), a.get(index), b.get(index), add);
            }
        }
        _ if ours != theirs => add(path, ours, theirs),
        _ => {}
    }
}

fn name(element: &Value) -> Option<&str> {
    let fields = [
        "/name",
        "/resource",
        "/subresource",
        "/metadata/name",
        "/groupVersion",
    ];
    let found = fields.into_iter().find_map(|field| element.pointer(field));
    found.and_then(Value::as_str)
}

/// What the elements of a list are called, if each is called something else.
fn names(list: &[Value]) -> Option<Vec<&str>> {
    let names: Vec<&str> = list.iter().map(name).collect::<Option<_>>()?;
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    (distinct.len() == names.len()).then_some(names)
}

/// Compares elements of the same name, and the order of those that both lists have.
fn named(
    path: &str,
    ours: &[Value],
    theirs: &[Value],
    add: &mut impl FnMut(&str, Option<&Value>, Option<&Value>),
) {
    let (our_names, their_names) = (names(ours).unwrap_or_default(), names(theirs).unwrap_or_default());
    let place = |names: &[&str], wanted: &str| names.iter().position(|name| *name == wanted);
    for name in our_names
        .iter()
        .chain(their_names.iter().filter(|name| !our_names.contains(name)))
    {
        let a = place(&our_names, name).and_then(|at| ours.get(at));
        let b = place(&their_names, name).and_then(|at| theirs.get(at));
        values(&format!("{path}/[{name}]"), a, b, add);
    }
    let shared = |names: &[&str], others: &[&str]| -> Value {
        names
            .iter()
            .copied()
            .filter(|name| others.contains(name))
            .collect()
    };
    let (a, b) = (shared(&our_names, &their_names), shared(&their_names, &our_names));
    if a != b {
        add(&format!("{path} order"), Some(&a), Some(&b));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(code: u16, body: Value) -> Answer {
        Answer {
            request: "0 GET x".to_owned(),
            prefix: None,
            code,
            content_type: "application/json".to_owned(),
            warnings: Vec::new(),
            body,
        }
    }

    #[test]
    fn bodies_under_different_codes_are_not_compared() {
        let found = answers(&[answer(200, json!({"a": 1}))], &[answer(404, json!({"a": 2}))]);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["0 GET x code: embedded 200, real 404"]);
    }

    #[test]
    fn lists_of_named_things_are_compared_by_name() {
        let ours = json!([{"name": "b", "x": 1}, {"name": "a"}]);
        let theirs = json!([{"name": "a"}, {"name": "b", "x": 2}, {"name": "c"}]);
        let found = answers(&[answer(200, ours)], &[answer(200, theirs)]);
        let found: Vec<String> = found.iter().map(Difference::at).collect();
        assert_eq!(found, ["0 GET x /[b]/x", "0 GET x /[c]", "0 GET x  order"]);
    }

    #[test]
    fn every_difference_is_named_once() {
        let ours = answer(
            201,
            json!({"same": 1, "a/b": [1, 2], "only": null, "deep": {"x": 1}}),
        );
        let theirs = answer(201, json!({"same": 1, "a/b": [1, 3, 4], "deep": {"x": {"y": 1}}}));
        let found: Vec<String> = answers(&[ours], &[theirs])
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            found,
            [
                "0 GET x /a~1b/1: embedded 2, real 3",
                "0 GET x /a~1b/2: embedded nothing, real 4",
                "0 GET x /deep/x: embedded 1, real {\"y\":1}",
                "0 GET x /only: embedded null, real nothing",
            ]
        );
    }
}
