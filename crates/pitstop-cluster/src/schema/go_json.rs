//! JSON text as Go writes it.
//!
//! `kubectl rollout undo` compares the bytes of a revision with bytes that it makes itself, and Go's encoder escapes a
//! few characters that JSON does not require to be. Source: daemonset.md A11, B2.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Appends a value as compact JSON.
pub(crate) fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Writing text and JSON values to memory cannot fail.
    let _ = value.serialize(&mut Serializer::with_formatter(out, GoEscapes));
}

struct GoEscapes;

/// The first byte of the separators of lines and paragraphs in UTF-8.
const FIRST_OF_SEPARATORS: u8 = 0xe2;

impl Formatter for GoEscapes {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let is_special = |byte: u8| matches!(byte, b'<' | b'>' | b'&' | FIRST_OF_SEPARATORS);
        if !fragment.bytes().any(is_special) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (plain, special) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut characters = special.chars();
            if let Some(character) = characters.next() {
                write!(writer, "\\u{:04x}", u32::from(character))?;
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn markup_is_escaped_as_go_does() {
        let mut out = Vec::new();
        write_json(&mut out, &json!({"a<": ["x && y > z", "é\u{2028}\"\n", "plain"]}));
        let wanted = r#"{"a\u003c":["x \u0026\u0026 y \u003e z","é\u2028\"\n","plain"]}"#;
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }
}
