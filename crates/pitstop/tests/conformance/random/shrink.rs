//! Makes a sequence that shows a difference as short as it gets.

use std::fmt::Write as _;

use http::Method;
use serde_json::Value;

use crate::compare::Difference;
use crate::sequence::{APPLY, JSON_PATCH, MERGE, STRATEGIC, Sequence, Step};

/// What two differences have in common that are the same in spite of other names and numbers.
pub(crate) fn sign(difference: &Difference) -> String {
    let mut words = difference.request.split(' ').skip(1);
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let kind = path
        .trim_start_matches("/apis/")
        .split('/')
        .take(2)
        .collect::<Vec<_>>()
        .join("/");
    let field: Vec<&str> = difference
        .path
        .split('/')
        .map(|key| {
            if key.parse::<usize>().is_ok() || key.starts_with('[') {
                "#"
            } else {
                key
            }
        })
        .collect();
    format!("{method} {kind} {}", field.join("/"))
}

/// Every sequence that is one bit shorter: without a request, a parameter, a header or a field of a body. Those that
/// leave out most come first.
pub(crate) fn shorter(sequence: &Sequence) -> Vec<Sequence> {
    let mut all = Vec::new();
    let count = sequence.steps.len();
    for index in (0..count).rev() {
        let mut without = sequence.clone();
        without.steps.remove(index);
        all.push(without);
    }
    for index in 0..count {
        for step in simpler(&sequence.steps[index]) {
            let mut with = sequence.clone();
            with.steps[index] = step;
            all.push(with);
        }
    }
    all
}

/// The sequence up to a request.
pub(crate) fn until(sequence: &Sequence, request: usize) -> Sequence {
    let mut cut = sequence.clone();
    cut.steps.truncate(request + 1);
    cut
}

fn simpler(step: &Step) -> Vec<Step> {
    let mut all = Vec::new();
    if let Some((path, query)) = step.path.split_once('?') {
        let given: Vec<&str> = query.split('&').collect();
        for left_out in 0..given.len() {
            let mut rest = given.clone();
            rest.remove(left_out);
            let path = if rest.is_empty() {
                path.to_owned()
            } else {
                format!("{path}?{}", rest.join("&"))
            };
            all.push(Step { path, ..step.clone() });
        }
    }
    if let Ok(body) = serde_json::from_slice::<Value>(&step.body) {
        for body in smaller(&body) {
            let body = body.to_string().into_bytes();
            all.push(Step { body, ..step.clone() });
        }
    }
    all
}

/// Every value that lacks one field or element of this one, outer ones first.
fn smaller(value: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    match value {
        Value::Object(fields) => {
            for name in fields.keys() {
                let mut rest = fields.clone();
                rest.remove(name);
                all.push(Value::Object(rest));
            }
            for (name, inner) in fields {
                for inner in smaller(inner) {
                    let mut with = fields.clone();
                    with.insert(name.clone(), inner);
                    all.push(Value::Object(with));
                }
            }
        }
        Value::Array(items) => {
            for index in 0..items.len() {
                let mut rest = items.clone();
                rest.remove(index);
                all.push(Value::Array(rest));
            }
            for (index, inner) in items.iter().enumerate() {
                for inner in smaller(inner) {
                    let mut with = items.clone();
                    with[index] = inner;
                    all.push(Value::Array(with));
                }
            }
        }
        _ => {}
    }
    all
}

/// A sequence as the table has it.
pub(crate) fn written(sequence: &Sequence) -> String {
    let mut text = format!("seq({:?}, Class::Random)", sequence.name);
    for step in &sequence.steps {
        let content_type = step.headers.iter().find(|(name, _)| *name == "content-type");
        let kind = content_type.map(|(_, value)| *value);
        let json: Option<Value> = serde_json::from_slice(&step.body).ok();
        let constant = match kind {
            Some(MERGE) => "MERGE",
            Some(STRATEGIC) => "STRATEGIC",
            Some(JSON_PATCH) => "JSON_PATCH",
            Some(APPLY) => "APPLY",
            _ => "",
        };
        let path = &step.path;
        let _ = match (&step.method, kind, json) {
            (&Method::GET, ..) => write!(text, "\n    .get({path:?})"),
            (&Method::DELETE, None, _) => write!(text, "\n    .delete({path:?})"),
            (&Method::DELETE, _, Some(body)) => write!(text, "\n    .delete_with({path:?}, json!({body}))"),
            (&Method::POST, Some("application/json"), Some(body)) => {
                write!(text, "\n    .post({path:?}, json!({body}))")
            }
            (&Method::PUT, Some("application/json"), Some(body)) => {
                write!(text, "\n    .put({path:?}, json!({body}))")
            }
            (&Method::PATCH, _, Some(body)) if !constant.is_empty() => {
                write!(text, "\n    .patch({path:?}, {constant}, json!({body}))")
            }
            (method, kind, _) => write!(
                text,
                "\n    .raw(Method::{method}, {path:?}, {:?}, b{:?})",
                kind.unwrap_or_default(),
                String::from_utf8_lossy(&step.body)
            ),
        };
        for (name, value) in step.headers.iter().filter(|(name, _)| *name != "content-type") {
            let _ = write!(text, ".header({name:?}, {value:?})");
        }
        let later = sequence
            .steps
            .iter()
            .map(|step| (&step.path, String::from_utf8_lossy(&step.body)));
        let used = later.fold(String::new(), |used, (path, body)| used + path + &body);
        for (name, pointer) in step
            .keeps
            .iter()
            .filter(|(name, _)| used.contains(&format!("$({name})")))
        {
            let _ = write!(text, ".keep({name:?}, {pointer:?})");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sequence::{Class, seq};

    #[test]
    fn shorter_sequences_lack_one_request_parameter_or_field() {
        let sequence = seq("s", Class::Random)
            .post("configmaps?dryRun=All", json!({"data": {"k": "v"}}))
            .get("configmaps/a");
        let shorter: Vec<String> = shorter(&sequence).iter().map(written).collect();
        let head = "seq(\"s\", Class::Random)";
        let get = "\n    .get(\"configmaps/a\")";
        let post = |path: &str, body: &str| format!("\n    .post({path:?}, json!({body}))");
        assert_eq!(
            shorter,
            [
                format!(
                    "{head}{}",
                    post("configmaps?dryRun=All", "{\"data\":{\"k\":\"v\"}}")
                ),
                format!("{head}{get}"),
                format!("{head}{}{get}", post("configmaps", "{\"data\":{\"k\":\"v\"}}")),
                format!("{head}{}{get}", post("configmaps?dryRun=All", "{}")),
                format!("{head}{}{get}", post("configmaps?dryRun=All", "{\"data\":{}}")),
            ]
        );
    }
}
