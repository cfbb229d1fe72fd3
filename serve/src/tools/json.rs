//! JSON read one character at a time: what a stream has been so far, without waiting for its end.
//!
//! [`Scanner`] holds to RFC 8259 and says of every character what it brought about, so that a reader can let a part
//! of a value pass on while the rest is still being written.

/// What a character brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Nothing that shows from outside.
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

/// The character does not belong to any JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault;

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
    Begun,
    /// Hexadecimal digits to come.
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
    /// Objects and arrays that are open.
    pub(crate) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Moves past one character.
    pub(crate) fn push(&mut self, character: char) -> Result<Event, Fault> {
        if let Expected::Number(state) = self.expected {
            match number_after(state, character) {
                Some(next) => {
                    self.expected = Expected::Number(next);
                    return Ok(Event::Within);
                }
                None if may_end(state) => self.expected = self.after_value(),
                None => return Err(Fault),
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
            Expected::Colon if character == ':' => self.now(Expected::Value, Event::Within),
            Expected::CommaOrEnd => match (character, self.open.last()) {
                (',', Some(Open::Object)) => self.now(Expected::Key, Event::Within),
                (',', Some(Open::Array)) => self.now(Expected::Value, Event::Within),
                ('}', _) => self.close(Open::Object),
                (']', _) => self.close(Open::Array),
                _ => Err(Fault),
            },
            _ => Err(Fault),
        }
    }

    #[allow(clippy::unnecessary_wraps, reason = "the end of every arm of `push`")]
    fn now(&mut self, expected: Expected, event: Event) -> Result<Event, Fault> {
        self.expected = expected;
        Ok(event)
    }

    fn after_value(&self) -> Expected {
        if self.open.is_empty() { Expected::Nothing } else { Expected::CommaOrEnd }
    }

    fn begin_value(&mut self, character: char) -> Result<Event, Fault> {
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
            _ => return Err(Fault),
        };
        self.now(expected, event)
    }

    fn begin_string(&mut self, is_key: bool) -> Result<Event, Fault> {
        "\"".clone_into(&mut self.string);
        self.now(Expected::String { is_key, escape: Escape::None }, Event::Within)
    }

    fn in_string(&mut self, character: char, is_key: bool, escape: Escape) -> Result<Event, Fault> {
        self.string.push(character);
        let next = match (escape, character) {
            (Escape::None, '"') => {
                let text = serde_json::from_str(&self.string).map_err(|_| Fault)?;
                return match is_key {
                    true => self.now(Expected::Colon, Event::Key(text)),
                    false => self.now(self.after_value(), Event::Text(text)),
                };
            }
            (Escape::None, '\\') => Escape::Begun,
            (Escape::None, '\0'..='\u{1f}') => return Err(Fault),
            (Escape::None, _) => Escape::None,
            (Escape::Begun, 'u') => Escape::Hexadecimal(4),
            (Escape::Begun, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => Escape::None,
            (Escape::Hexadecimal(1), digit) if digit.is_ascii_hexdigit() => Escape::None,
            (Escape::Hexadecimal(left), digit) if digit.is_ascii_hexdigit() => Escape::Hexadecimal(left - 1),
            _ => return Err(Fault),
        };
        self.now(Expected::String { is_key, escape: next }, Event::Within)
    }

    fn in_word(&mut self, character: char, rest: &'static str) -> Result<Event, Fault> {
        match rest.strip_prefix(character) {
            Some("") => self.now(self.after_value(), Event::Within),
            Some(rest) => self.now(Expected::Word(rest), Event::Within),
            None => Err(Fault),
        }
    }

    fn close(&mut self, kind: Open) -> Result<Event, Fault> {
        if self.open.pop() != Some(kind) {
            return Err(Fault);
        }
        self.now(self.after_value(), Event::Closes)
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

    /// Whether the scanner takes the text as one whole object or array.
    fn takes(text: &str) -> bool {
        let mut scanner = Scanner::default();
        text.chars().all(|character| scanner.push(character).is_ok()) && scanner.expected == Expected::Nothing
    }

    #[test]
    fn it_takes_what_serde_takes_and_nothing_else() {
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
            assert!(takes(text) && serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
        }
        for text in bad {
            assert!(!takes(text) && serde_json::from_str::<serde_json::Value>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde(text in "[\\[{]([0-9eE.+\\-]|[\\[\\]{},: ]|\"a\"|\"a\": |true|null){0,12}[\\]}]") {
            let value = serde_json::from_str::<serde_json::Value>(&text);
            // A number beyond f64 is JSON, but not serde's.
            prop_assume!(!value.as_ref().is_err_and(|error| error.to_string().contains("out of range")));
            prop_assert_eq!(takes(&text), value.is_ok());
        }
    }
}
