//! What Go's JSON parser says of text that is no JSON. Clients' users read these messages.

/// The first problem of a text, as Go words it; empty for a text that is JSON.
pub(crate) fn problem(text: &[u8]) -> String {
    let mut scanner = Scanner {
        text,
        at: 0,
        depth: 0,
    };
    let scanned = scanner.value().and_then(|()| {
        scanner.blanks();
        match scanner.peek() {
            None => Ok(()),
            Some(byte) => Err(Problem::Unexpected(byte, "after top-level value".to_owned())),
        }
    });
    match scanned {
        Ok(()) => String::new(),
        Err(Problem::End) => "unexpected end of JSON input".to_owned(),
        Err(Problem::Deep) => "exceeded max depth".to_owned(),
        Err(Problem::Unexpected(byte, place)) => format!("invalid character {} {place}", quoted(byte)),
    }
}

/// Go's parser goes no deeper.
const MAX_DEPTH: usize = 10_000;

enum Problem {
    End,
    Deep,
    Unexpected(u8, String),
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

/// Go shows the byte as the character of that number.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0..=0x1f | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0x9f => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Result<u8, Problem> {
        let byte = self.peek().ok_or(Problem::End)?;
        self.at += 1;
        Ok(byte)
    }

    /// The next byte that is not blank.
    fn next_mark(&mut self) -> Result<u8, Problem> {
        self.blanks();
        self.next()
    }

    fn value(&mut self) -> Result<(), Problem> {
        match self.next_mark()? {
            b'{' => self.nested(Self::object),
            b'[' => self.nested(Self::array),
            b'"' => self.string(),
            b'-' => match self.next()? {
                digit @ b'0'..=b'9' => self.number(digit),
                other => Err(unexpected(other, "in numeric literal")),
            },
            digit @ b'0'..=b'9' => self.number(digit),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            other => Err(unexpected(other, "looking for beginning of value")),
        }
    }

    fn nested(&mut self, content: fn(&mut Self) -> Result<(), Problem>) -> Result<(), Problem> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Problem::Deep);
        }
        content(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn object(&mut self) -> Result<(), Problem> {
        let mut is_first = true;
        loop {
            match self.next_mark()? {
                b'"' => self.string()?,
                b'}' if is_first => return Ok(()),
                other => return Err(unexpected(other, "looking for beginning of object key string")),
            }
            is_first = false;
            match self.next_mark()? {
                b':' => self.value()?,
                other => return Err(unexpected(other, "after object key")),
            }
            match self.next_mark()? {
                b',' => {}
                b'}' => return Ok(()),
                other => return Err(unexpected(other, "after object key:value pair")),
            }
        }
    }

    fn array(&mut self) -> Result<(), Problem> {
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value()?;
            match self.next_mark()? {
                b',' => {}
                b']' => return Ok(()),
                other => return Err(unexpected(other, "after array element")),
            }
        }
    }

    fn string(&mut self) -> Result<(), Problem> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let digit = self.next()?;
                            if !digit.is_ascii_hexdigit() {
                                return Err(unexpected(digit, "in \\u hexadecimal character escape"));
                            }
                        }
                    }
                    other => return Err(unexpected(other, "in string escape code")),
                },
                control @ 0..=0x1f => return Err(unexpected(control, "in string literal")),
                _ => {}
            }
        }
    }

    fn number(&mut self, first: u8) -> Result<(), Problem> {
        if first != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digit("after decimal point in numeric literal")?;
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digit("in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }

    fn digit(&mut self, place: &str) -> Result<(), Problem> {
        match self.next()? {
            b'0'..=b'9' => Ok(()),
            other => Err(unexpected(other, place)),
        }
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), Problem> {
        for wanted in word.bytes().skip(1) {
            let byte = self.next()?;
            if byte != wanted {
                let place = format!("in literal {word} (expecting {})", quoted(wanted));
                return Err(Problem::Unexpected(byte, place));
            }
        }
        Ok(())
    }
}

fn unexpected(byte: u8, place: &str) -> Problem {
    Problem::Unexpected(byte, place.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Go 1.24 words them.
    #[test]
    fn problems_read_as_those_of_go() {
        let cases = [
            ("", "unexpected end of JSON input"),
            ("{\"a\": {", "unexpected end of JSON input"),
            ("hello", "invalid character 'h' looking for beginning of value"),
            (
                "{,}",
                "invalid character ',' looking for beginning of object key string",
            ),
            ("{\"a\":}", "invalid character '}' looking for beginning of value"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            (
                "{\"a\":1 \"b\"}",
                "invalid character '\"' after object key:value pair",
            ),
            ("{} {}", "invalid character '{' after top-level value"),
            ("[1 2]", "invalid character '2' after array element"),
            (
                "{\"a\":tru}",
                "invalid character '}' in literal true (expecting 'e')",
            ),
            ("-x", "invalid character 'x' in numeric literal"),
            (
                "1.x",
                "invalid character 'x' after decimal point in numeric literal",
            ),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("01", "invalid character '1' after top-level value"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
            (
                r#""\u12x4""#,
                r"invalid character 'x' in \u hexadecimal character escape",
            ),
            ("\"\n\"", r"invalid character '\n' in string literal"),
            (" {\"a\": [1, -2.5e+3, \"\\u0041\", null, true]} ", ""),
        ];
        for (text, wanted) in cases {
            assert_eq!(problem(text.as_bytes()), wanted, "{text}");
        }
    }
}
