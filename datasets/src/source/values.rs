//! JSON values one after another from a stream, each as its own text: an array of any length is read in the memory of one
//! element.

use crate::limits::RowLimits;
use std::io::{self, BufRead};

/// Whether a text begins with an object that is no line: it goes on after the first line, or another one follows on the same line,
/// perhaps after a carriage return. What is no JSON is none.
pub(super) fn is_sequence(block: &[u8]) -> bool {
    let mut values = serde_json::Deserializer::from_slice(block).into_iter::<serde::de::IgnoredAny>();
    if !matches!(values.next(), Some(Ok(_))) {
        return false;
    }
    let (value, rest) = block.split_at(values.byte_offset());
    let rest = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    value.trim_ascii_start().contains(&b'\n') || rest.trim_ascii_start().first() == Some(&b'{')
}

/// Why no value could be taken.
#[derive(Debug)]
pub(super) enum Fault {
    /// The stream cannot be read.
    Io(io::Error),
    /// The value, or the white space before it, has more bytes than a row may have.
    TooLarge(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Takes values from a stream.
pub(super) struct Scanner {
    reader: Box<dyn BufRead + Send>,
    /// The line that is being read, from 1.
    pub(super) line: usize,
    limits: RowLimits,
}

/// Where a scan is within a value.
#[derive(Default)]
struct State {
    depth: usize,
    is_string: bool,
    is_escaped: bool,
    /// Whether the value has neither quotes nor brackets around it.
    is_bare: bool,
}

impl Scanner {
    pub(super) fn new(reader: Box<dyn BufRead + Send>, limits: RowLimits) -> Self {
        Self { reader, line: 1, limits }
    }

    /// The next byte that is no white space, which is not taken; `None` at the end.
    pub(super) fn peek(&mut self) -> Result<Option<u8>, Fault> {
        let mut skipped = 0;
        loop {
            let block = self.reader.fill_buf()?;
            if block.is_empty() {
                return Ok(None);
            }
            let space = block.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.line += memchr::memchr_iter(b'\n', &block[..space]).count();
            let next = block.get(space).copied();
            self.reader.consume(space);
            skipped += space;
            if next.is_some() {
                return Ok(next);
            }
            if skipped > self.limits.bytes() {
                let limit = self.limits.bytes() >> 20;
                return Err(Fault::TooLarge(format!("more than {limit} MiB of white space")));
            }
        }
    }

    /// Takes one byte, which [`Self::peek`] returned.
    pub(super) fn take(&mut self) {
        self.reader.consume(1);
    }

    /// Takes the value that begins here into `text`; the text ends early where the stream does.
    pub(super) fn value(&mut self, text: &mut Vec<u8>) -> Result<(), Fault> {
        text.clear();
        let mut state = State::default();
        loop {
            let block = self.reader.fill_buf()?;
            if block.is_empty() {
                return Ok(());
            }
            let (length, is_over) = state.advance(block, text.is_empty());
            text.extend_from_slice(&block[..length]);
            self.line += memchr::memchr_iter(b'\n', &block[..length]).count();
            self.reader.consume(length);
            if is_over {
                return Ok(());
            }
            if text.len() > self.limits.bytes() {
                return Err(Fault::TooLarge(self.limits.too_large()));
            }
        }
    }
}

impl State {
    /// The number of bytes of a block that belong to the value, and whether it ends with them.
    fn advance(&mut self, block: &[u8], is_start: bool) -> (usize, bool) {
        if is_start {
            self.is_bare = !matches!(block[0], b'"' | b'{' | b'[');
        }
        let mut at = 0;
        while at < block.len() {
            if self.is_escaped {
                self.is_escaped = false;
                at += 1;
            } else if self.is_string {
                let Some(found) = memchr::memchr2(b'"', b'\\', &block[at..]) else {
                    return (block.len(), false);
                };
                at += found + 1;
                self.is_escaped = block[at - 1] == b'\\';
                self.is_string = self.is_escaped;
                if !self.is_string && self.depth == 0 {
                    return (at, true);
                }
            } else {
                match block[at] {
                    b',' | b']' | b'}' if self.is_bare => return (at, true),
                    byte if self.is_bare && byte.is_ascii_whitespace() => return (at, true),
                    b'"' => self.is_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => {
                        self.depth = self.depth.saturating_sub(1);
                        if self.depth == 0 {
                            return (at + 1, true);
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
        }
        (at, false)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use std::io::{BufReader, Cursor};

    #[test]
    fn objects_that_are_no_lines_are_told_from_lines() {
        for text in ["{\n \"a\": 1\n}\n{\n}", "{\"a\": 1}{\"b\": 2}\n", "{\"a\": 1}\r{\"b\": 2}", "\n{\n}"] {
            assert!(is_sequence(text.as_bytes()), "{text:?}");
        }
        // A broken first line is a line, too: the others can be read.
        for text in [
            "{\"a\": 1}\n{\n}",
            "{\"a\": 1}\r\n{}",
            "\n{\"a\": \"\\n\"}",
            "{\"a\": \n{\"b\": 2}",
            "{\"a\": NaN}\n{}",
            "{} x\n{}",
        ] {
            assert!(!is_sequence(text.as_bytes()), "{text:?}");
        }
    }

    /// The values are the same however the stream is cut into blocks.
    #[test]
    fn values_are_taken_whole_whatever_the_blocks() {
        let text = r#" {"a": "}\"]", "b": [1, {"c": "\\"}]}  [] "x\\" -1.5e3 true "#;
        let expected = [r#"{"a": "}\"]", "b": [1, {"c": "\\"}]}"#, "[]", r#""x\\""#, "-1.5e3", "true"];
        for size in 1..40 {
            let reader = BufReader::with_capacity(size, Cursor::new(text.as_bytes().to_vec()));
            let mut scanner = Scanner::new(Box::new(reader), RowLimits::default());
            for expected in expected {
                let mut value = Vec::new();
                scanner.peek().unwrap().unwrap();
                scanner.value(&mut value).unwrap();
                assert_eq!(String::from_utf8(value).unwrap(), expected, "blocks of {size}");
            }
            assert_eq!(scanner.peek().unwrap(), None);
        }
    }
}
