//! JSON, scanned one character at a time without waiting for its end.
//!
//! [`Scanner`] follows RFC 8259 and returns an event for every character, so that a reader can pass on a part of a value
//! while the rest is still being written.

/// What a character means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Nothing that a reader needs to know.
    Within,
    /// An object began.
    ObjectOpens,
    /// An array began.
    ArrayOpens,
    /// An object or an array ended.
    Closes,
    /// An object's key ended; its text.
    Key(String),
    /// A string that is a value ended; its text.
    Text(String),
    /// A number, `true`, `false` or `null` began.
    ScalarBegins,
}

/// The character is not part of any JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidJson;

/// Where in a JSON value the scanner is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scanner {
    open: Vec<Open>,
    expected: Expected,
    /// The string that is being read, quotes included.
    string: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Object,
    Array,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Expected {
    #[default]
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    String {
        is_key: bool,
        escape: Escape,
    },
    Number(Number),
    /// The rest of `true`, `false` or `null`.
    Word(&'static str),
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Backslash,
    /// Hexadecimal digits that are still missing.
    Hexadecimal(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Scanner {
    /// Number of open objects and arrays.
    pub(crate) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Reads one character.
    pub(crate) fn push(&mut self, character: char) -> Result<Event, InvalidJson> {
        if let Expected::Number(state) = self.expected {
            match number_after(state, character) {
                Some(next) => {
                    self.expected = Expected::Number(next);
                    return Ok(Event::Within);
                }
                None if may_end(state) => self.expected = self.after_value(),
                None => return Err(InvalidJson),
            }
        }
        match self.expected {
            Expected::String { is_key, escape } => self.in_string(character, is_key, escape),
            Expected::Word(rest) => self.in_word(character, rest),
            _ if matches!(character, ' ' | '\t' | '\n' | '\r') => Ok(Event::Within),
            Expected::ValueOrEnd if character == ']' => self.close(Open::Array),
            Expected::Value | Expected::ValueOrEnd => self.begin_value(character),
            Expected::KeyOrEnd if character == '}' => self.close(Open::Object),
            Expected::Key | Expected::KeyOrEnd if character == '"' => self.begin_string(true),
            Expected::Colon if character == ':' => self.expect(Expected::Value, Event::Within),
            Expected::CommaOrEnd => match (character, self.open.last()) {
                (',', Some(Open::Object)) => self.expect(Expected::Key, Event::Within),
                (',', Some(Open::Array)) => self.expect(Expected::Value, Event::Within),
                ('}', _) => self.close(Open::Object),
                (']', _) => self.close(Open::Array),
                _ => Err(InvalidJson),
            },
            _ => Err(InvalidJson),
        }
    }

    #[allow(clippy::unnecessary_wraps, reason = "the end of every arm of `push`")]
    fn expect(&mut self, expected: Expected, event: Event) -> Result<Event, InvalidJson> {
        self.expected = expected;
        Ok(event)
    }

    fn after_value(&self) -> Expected {
        if self.open.is_empty() { Expected::Nothing } else { Expected::CommaOrEnd }
    }

    fn begin_value(&mut self, character: char) -> Result<Event, InvalidJson> {
        let number = |state| (Expected::Number(state), Event::ScalarBegins);
        let word = |rest| (Expected::Word(rest), Event::ScalarBegins);
        let (expected, event) = match character {
            '{' => {
                self.open.push(Open::Object);
                (Expected::KeyOrEnd, Event::ObjectOpens)
            }
            '[' => {
                self.open.push(Open::Array);
                (Expected::ValueOrEnd, Event::ArrayOpens)
            }
            '"' => return self.begin_string(false),
            '-' => number(Number::Minus),
            '0' => number(Number::Zero),
            '1'..='9' => number(Number::Whole),
            't' => word("rue"),
            'f' => word("alse"),
            'n' => word("ull"),
            _ => return Err(InvalidJson),
        };
        self.expect(expected, event)
    }

    fn begin_string(&mut self, is_key: bool) -> Result<Event, InvalidJson> {
        "\"".clone_into(&mut self.string);
        self.expect(Expected::String { is_key, escape: Escape::None }, Event::Within)
    }

    fn in_string(&mut self, character: char, is_key: bool, escape: Escape) -> Result<Event, InvalidJson> {
        self.string.push(character);
        let next = match (escape, character) {
            (Escape::None, '"') => {
                let text = serde_json::from_str(&self.string).map_err(|_| InvalidJson)?;
                return match is_key {
                    true => self.expect(Expected::Colon, Event::Key(text)),
                    false => self.expect(self.after_value(), Event::Text(text)),
                };
            }
            (Escape::None, '\\') => Escape::Backslash,
            (Escape::None, '\0'..='\u{1f}') => return Err(InvalidJson),
            (Escape::None, _) => Escape::None,
            (Escape::Backslash, 'u') => Escape::Hexadecimal(4),
            (Escape::Backslash, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => Escape::None,
            (Escape::Hexadecimal(1), digit) if digit.is_ascii_hexdigit() => Escape::None,
            (Escape::Hexadecimal(left), digit) if digit.is_ascii_hexdigit() => Escape::Hexadecimal(left - 1),
            _ => return Err(InvalidJson),
        };
        self.expect(Expected::String { is_key, escape: next }, Event::Within)
    }

    fn in_word(&mut self, character: char, rest: &'static str) -> Result<Event, InvalidJson> {
        match rest.strip_prefix(character) {
            Some("") => self.expect(self.after_value(), Event::Within),
            Some(rest) => self.expect(Expected::Word(rest), Event::Within),
            None => Err(InvalidJson),
        }
    }

    fn close(&mut self, kind: Open) -> Result<Event, InvalidJson> {
        if self.open.pop() != Some(kind) {
            return Err(InvalidJson);
        }
        self.expect(self.after_value(), Event::Closes)
    }
}

/// The state of a number after one more character of it; `None` when the character is not part of it.
fn number_after(state: Number, character: char) -> Option<Number> {
    Some(match (state, character) {
        (Number::Minus, '0') => Number::Zero,
        (Number::Minus, '1'..='9') | (Number::Whole, '0'..='9') => Number::Whole,
        (Number::Zero | Number::Whole, '.') => Number::Point,
        (Number::Point | Number::Fraction, '0'..='9') => Number::Fraction,
        (Number::Zero | Number::Whole | Number::Fraction, 'e' | 'E') => Number::Exponent,
        (Number::Exponent, '+' | '-') => Number::ExponentSign,
        (Number::Exponent | Number::ExponentSign | Number::ExponentDigits, '0'..='9') => {
            Number::ExponentDigits
        }
        _ => return None,
    })
}

fn may_end(state: Number) -> bool {
    matches!(state, Number::Zero | Number::Whole | Number::Fraction | Number::ExponentDigits)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whether the scanner accepts the text as one whole object or array.
    fn accepts(text: &str) -> bool {
        let mut scanner = Scanner::default();
        text.chars().all(|character| scanner.push(character).is_ok()) && scanner.expected == Expected::Nothing
    }

    #[test]
    fn it_accepts_what_serde_accepts() {
        let good = [
            "[]",
            "{ }",
            "[1, -0, 0.5, 1e9, 2E-3, -12.25e+7]",
            "{\"a\": [true, false, null, {}], \"\": \"\\u00e9\\n\\\"\"}",
            " [\"a\" , [ ] ] ",
        ];
        let bad = [
            "[01]",
            "[1.]",
            "[.5]",
            "[+1]",
            "[1e]",
            "[-]",
            "[tru]",
            "[nul l]",
            "[,]",
            "[1,]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "[}",
            "{]",
            "[\"\\x\"]",
            "[\"\\u12g4\"]",
            "[\"\n\"]",
            "[1] 2",
            "[[]",
        ];
        for text in good {
            assert!(accepts(text) && serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
        }
        for text in bad {
            assert!(!accepts(text) && serde_json::from_str::<serde_json::Value>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde(text in "[\\[{]([0-9eE.+\\-]|[\\[\\]{},: ]|\"a\"|\"a\": |true|null){0,12}[\\]}]") {
            let value = serde_json::from_str::<serde_json::Value>(&text);
            // A number out of the range of f64 is JSON, but serde refuses it.
            prop_assume!(!value.as_ref().is_err_and(|error| error.to_string().contains("out of range")));
            prop_assert_eq!(accepts(&text), value.is_ok());
        }
    }
}
