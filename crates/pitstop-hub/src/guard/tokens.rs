//! Tokens, of which only the hashes are on disk.
//!
//! Source: hub.md B10.

use std::path::Path;
use std::time::SystemTime;

use ring::digest::{SHA256, digest};

/// Known tokens: name and sha256.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    known: Vec<(String, [u8; 32])>,
    stamp: Option<(SystemTime, u64)>,
}

impl Tokens {
    /// Whether a file holds tokens.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(crate) fn check(file: &Path) -> Result<(), String> {
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
        parse(&text).map(drop)
    }

    /// Reads a file again if it changed; a file that cannot be read leaves what is known.
    pub(crate) fn refresh(&mut self, file: &Path) {
        let stamp = std::fs::metadata(file)
            .and_then(|meta| Ok((meta.modified()?, meta.len())))
            .ok();
        if stamp.is_none() || stamp == self.stamp {
            return;
        }
        match std::fs::read_to_string(file)
            .map_err(|error| error.to_string())
            .and_then(|text| parse(&text))
        {
            Ok(known) => self.known = known,
            Err(error) => {
                tracing::warn!(file = %file.display(), error, "keeping the tokens that were known before");
            }
        }
        self.stamp = stamp;
    }

    /// The name of a token.
    pub(crate) fn name_of(&self, token: &str) -> Option<&str> {
        let hash = digest(&SHA256, token.as_bytes());
        let mut found = None;
        // All are compared, and all of each: how long it takes tells nothing.
        for (name, known) in &self.known {
            if same(known, hash.as_ref()) {
                found = Some(name.as_str());
            }
        }
        found
    }
}

/// Whether two hashes are the same, in a time that does not depend on where they differ.
fn same(left: &[u8], right: &[u8]) -> bool {
    let differences = left
        .iter()
        .zip(right)
        .fold(0_u8, |all, (left, right)| all | (left ^ right));
    left.len() == right.len() && std::hint::black_box(differences) == 0
}

/// Lines of `<name> <sha256 in hex>`; empty ones and those that begin with `#` count for nothing.
fn parse(text: &str) -> Result<Vec<(String, [u8; 32])>, String> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(at, line)| {
            let wrong = || format!("line {at} is not `<name> <sha256 in hex>`");
            let (name, hash) = line.split_once(char::is_whitespace).ok_or_else(wrong)?;
            Ok((name.to_owned(), hash_from(hash.trim()).ok_or_else(wrong)?))
        })
        .collect()
}

fn hash_from(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    // printf abc | sha256sum
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_token_has_the_name_of_its_line() {
        let tokens = Tokens {
            known: parse(&format!(
                "# of the head unit\n\nheadunit {ABC}\nother\t{}\n",
                "0".repeat(64)
            ))
            .unwrap(),
            stamp: None,
        };
        assert_eq!(tokens.name_of("abc"), Some("headunit"));
        assert_eq!(tokens.name_of("abd"), None);
        assert_eq!(tokens.name_of(""), None);
        for wrong in ["headunit", "headunit abc", &format!("headunit {}x", &ABC[1..])] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_broken_file_leaves_what_was_known() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        let mut tokens = Tokens::default();
        tokens.refresh(&file);
        std::fs::write(&file, format!("headunit {ABC}")).unwrap();
        tokens.refresh(&file);
        std::fs::write(&file, "nonsense").unwrap();
        tokens.refresh(&file);
        assert_eq!(tokens.name_of("abc"), Some("headunit"));
    }
}
