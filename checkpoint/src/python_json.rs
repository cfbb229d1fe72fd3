//! JSON as Python's `json.dumps` prints it, with the options that chat templates use. Templates were written for Python,
//! and models were trained on what it prints.

use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};
use std::io::{Result, Write};

/// The options of `json.dumps`.
pub(crate) struct Options {
    /// Spaces per level; on one line without it.
    pub(crate) indent: Option<usize>,
    /// Whether characters outside of ASCII are escaped.
    pub(crate) ensure_ascii: bool,
    /// Whether the entries of objects are sorted by key.
    pub(crate) sort_keys: bool,
    /// The text between items, and between a key and its value.
    pub(crate) separators: (String, String),
}

/// JSON as `json.dumps(value, ensure_ascii=False)` prints it.
pub fn python_json(value: &Value) -> String {
    let separators = (", ".to_owned(), ": ".to_owned());
    print(value, &Options { indent: None, ensure_ascii: false, sort_keys: false, separators })
}

/// JSON as `json.dumps` prints it with these options.
pub(crate) fn print(value: &Value, options: &Options) -> String {
    let mut sorted;
    let value = if options.sort_keys {
        sorted = value.clone();
        sorted.sort_all_objects();
        &sorted
    } else {
        value
    };
    let mut text = Vec::new();
    let printer = Printer { options, depth: 0, has_items: false };
    serde::Serialize::serialize(value, &mut Serializer::with_formatter(&mut text, printer))
        .expect("JSON values are written to memory");
    String::from_utf8(text).expect("JSON is UTF-8")
}

struct Printer<'a> {
    options: &'a Options,
    depth: usize,
    /// Whether the array or object that is open last has an item.
    has_items: bool,
}

impl Printer<'_> {
    fn open<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &str) -> Result<()> {
        self.depth += 1;
        self.has_items = false;
        writer.write_all(bracket.as_bytes())
    }

    fn close<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &str) -> Result<()> {
        self.depth -= 1;
        if self.has_items {
            self.break_line(writer)?;
        }
        writer.write_all(bracket.as_bytes())
    }

    fn begin_item<W: ?Sized + Write>(&mut self, writer: &mut W, is_first: bool) -> Result<()> {
        if !is_first {
            writer.write_all(self.options.separators.0.as_bytes())?;
        }
        self.break_line(writer)
    }

    fn break_line<W: ?Sized + Write>(&self, writer: &mut W) -> Result<()> {
        match self.options.indent {
            Some(indent) => write!(writer, "\n{:1$}", "", indent * self.depth),
            None => Ok(()),
        }
    }
}

impl Formatter for Printer<'_> {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> Result<()> {
        writer.write_all(python_float(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> Result<()> {
        if !self.options.ensure_ascii {
            return writer.write_all(fragment.as_bytes());
        }
        for character in fragment.chars() {
            // Python does not escape DEL.
            if character.is_ascii() {
                write!(writer, "{character}")?;
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.open(writer, "[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.close(writer, "]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> Result<()> {
        self.begin_item(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> Result<()> {
        self.has_items = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.open(writer, "{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.close(writer, "}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> Result<()> {
        self.begin_item(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        writer.write_all(self.options.separators.1.as_bytes())
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> Result<()> {
        self.has_items = true;
        Ok(())
    }
}

/// A float as Python's `repr`: whole ones keep their `.0`; below 1e-4 and from 1e16 on there is an exponent, with a sign
/// and at least two digits.
pub(crate) fn python_float(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-4..1e16).contains(&size) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Source: CPython 3.11, `json.dumps` of the same values.
    #[test]
    fn floats_are_pythons() {
        let written = [0.0, 1.0, -2.5, 0.0001, 0.00001234, 2.5e-7, 1e15, 1e16, -1.5e300].map(python_float);
        let expected = [
            "0.0",
            "1.0",
            "-2.5",
            "0.0001",
            "1.234e-05",
            "2.5e-07",
            "1000000000000000.0",
            "1e+16",
            "-1.5e+300",
        ];
        assert_eq!(written, expected);
    }

    /// Source: CPython 3.11, `json.dumps(value, indent=1, sort_keys=True, separators=("; ", "="))` and its defaults.
    #[test]
    fn options_are_pythons() {
        let value = json!({"b": [[], {}, {"z": null, "a": "é𝄞"}], "a": true});
        let separators = ("; ".to_owned(), "=".to_owned());
        let options = Options { indent: Some(1), ensure_ascii: true, sort_keys: true, separators };
        assert_eq!(
            print(&value, &options),
            "{\n \"a\"=true; \n \"b\"=[\n  []; \n  {}; \n  {\n   \"a\"=\"\\u00e9\\ud834\\udd1e\"; \n   \"z\"=null\n  }\n ]\n}"
        );
        assert_eq!(python_json(&value), "{\"b\": [[], {}, {\"z\": null, \"a\": \"é𝄞\"}], \"a\": true}");
    }
}
