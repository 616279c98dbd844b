//! The hash by which kubelets and node agents tell containers apart.
//!
//! Source: inplace.md 1.2, checked against the values of Kubernetes' own tests.

use serde::Serialize;

/// JSON as Go writes it: `<`, `>`, `&` and two line separators are escaped.
///
/// These characters stand inside of strings only, so that they can be replaced in the text.
pub fn go_json(value: &impl Serialize) -> String {
    let Ok(json) = serde_json::to_string(value) else {
        return String::new();
    };
    if !json.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The hash of a JSON text: FNV-1a of 32 bits over the way Go prints its bytes.
pub fn hash_json(json: &str) -> u32 {
    let mut text = String::from("([]uint8)[");
    for (i, byte) in json.bytes().enumerate() {
        if i > 0 {
            text.push(' ');
        }
        text.push_str(&byte.to_string());
    }
    text.push(']');
    fnv1a(text.as_bytes())
}

/// FNV-1a of 32 bits.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// The hash of a container as kubelets since 1.31 take it: of its name and image alone.
pub fn container_hash(name: &str, image: &str) -> u32 {
    #[derive(Serialize)]
    struct Container<'a> {
        image: &'a str,
        name: &'a str,
    }
    hash_json(&go_json(&Container { image, name }))
}

/// The hash of environment variables that hold metadata; they are given in the order of their names.
pub fn env_hash(variables: &[(&str, &str)]) -> u32 {
    #[derive(Serialize)]
    struct Variable<'a> {
        name: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        value: &'a str,
    }
    if variables.is_empty() {
        return hash_json("null");
    }
    let list: Vec<Variable<'_>> = variables
        .iter()
        .map(|(name, value)| Variable { name, value })
        .collect();
    hash_json(&go_json(&list))
}
