//! Where two values differ.

use serde_json::Value;

/// Every place where they do, with both values.
pub(crate) fn differences(ours: &Value, theirs: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk("", Some(ours), Some(theirs), &mut found);
    found
}

fn walk(path: &str, ours: Option<&Value>, theirs: Option<&Value>, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            for name in names {
                walk(&format!("{path}/{name}"), a.get(name), b.get(name), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                walk(&format!("{path}/{index}"), Some(a), Some(b), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            // Of long lists only what makes them differ is worth reading.
            let only = |here: &[Value], there: &[Value]| -> Vec<Value> {
                here.iter()
                    .filter(|value| !there.contains(value))
                    .cloned()
                    .collect()
            };
            let (only_a, only_b) = (only(a, b), only(b, a));
            found.push(format!("{path}: embedded {} of them, real {}", a.len(), b.len()));
            for index in 0..only_a.len().max(only_b.len()) {
                walk(
                    &format!("{path}/other {index}"),
                    only_a.get(index),
                    only_b.get(index),
                    found,
                );
            }
        }
        _ if ours != theirs => {
            let show = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
            found.push(format!("{path}: embedded {}, real {}", show(ours), show(theirs)));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_difference_is_named() {
        let found = differences(
            &json!({"a": 1, "b": [1, 2], "c": [1], "d": 1}),
            &json!({"a": 1, "b": [1, 3], "c": [], "e": 1}),
        );
        assert_eq!(
            found,
            [
                "/b/1: embedded 2, real 3",
                "/c: embedded 1 of them, real 0",
                "/c/other 0: embedded 1, real nothing",
                "/d: embedded 1, real nothing",
                "/e: embedded nothing, real 1",
            ]
        );
    }
}
