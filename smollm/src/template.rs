//! A checkpoint's chat template: Jinja, set up the way transformers sets Jinja up.
//!
//! transformers renders with `trim_blocks`, `lstrip_blocks`, loop controls, Python's string methods,
//! `raise_exception`, `strftime_now`, a `tojson` that prints as `json.dumps` does, and a
//! `{% generation %}` mark. Templates in the wild lean on all of it, so all of it is here.

use crate::error::{Error, read_to_string};
use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{Environment, ErrorKind, State, UndefinedBehavior};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;

/// The layout of a checkpoint that names none: one block a message, between `<|im_start|>` and `<|im_end|>`.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// A parsed chat template with the special tokens it may print.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// Says where the template does not parse.
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment
            .add_template_owned("chat_template", without_generation_marks(source))
            .map_err(|error| Error::Template(format!("{error:#}")))?;
        Ok(Self {
            environment,
            source: source.to_owned(),
            bos_token: bos_token.to_owned(),
            eos_token: eos_token.to_owned(),
        })
    }

    /// ChatML, the layout SmolLM2 was trained with, without a default system message.
    pub fn chatml() -> Self {
        Self::new(CHATML, "", "<|im_end|>").expect("the ChatML template parses")
    }

    /// Parses a template file.
    ///
    /// # Errors
    /// Names the file when it cannot be read or does not parse.
    pub fn read(path: &Path, bos_token: &str, eos_token: &str) -> Result<Self, Error> {
        Self::new(&read_to_string(path)?, bos_token, eos_token).map_err(|error| Error::invalid(path, error))
    }

    /// The text of a conversation. `messages` and `tools` are the JSON the template sees.
    ///
    /// # Errors
    /// Carries what the template raised, or where it failed.
    pub fn render(
        &self,
        messages: &serde_json::Value,
        tools: Option<&serde_json::Value>,
        add_generation_prompt: bool,
    ) -> Result<String, Error> {
        let context = json!({
            "messages": messages,
            "tools": tools,
            "documents": null,
            "add_generation_prompt": add_generation_prompt,
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
        });
        let template = self.environment.get_template("chat_template").expect("added when it was parsed");
        template.render(context).map_err(|error| Error::Template(format!("{error:#}")))
    }

    /// The special tokens it prints by name, such as `<|im_start|>`, and the end-of-sequence it was given;
    /// sorted. A tokenizer that lacks one would take it for plain text.
    pub fn special_names(&self) -> Vec<String> {
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut rest = self.source.as_str();
        while let Some(start) = rest.find("<|") {
            let name = &rest[start..];
            let end = name[2..].find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')));
            match end {
                Some(end) if end > 0 && name[end + 2..].starts_with("|>") => {
                    names.insert(name[..end + 4].to_owned());
                    rest = &name[end + 4..];
                }
                _ => rest = &name[2..],
            }
        }
        if self.source.contains("eos_token") && !self.eos_token.is_empty() {
            names.insert(self.eos_token.clone());
        }
        names.into_iter().collect()
    }

    /// The tokens it is given by name: beginning and end of sequence.
    pub fn named_tokens(&self) -> [&str; 2] {
        [&self.bos_token, &self.eos_token]
    }

    /// The template's own text.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// Blanks the `generation` marks: the mask comes from byte spans, not from the template's author.
fn without_generation_marks(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
        let tag = &rest[start..start + length + 2];
        let name = tag[2..tag.len() - 2].trim_matches(|c: char| c == '-' || c == '+' || c.is_whitespace());
        text.push_str(&rest[..start]);
        if name == "generation" || name == "endgeneration" {
            // An always-true block keeps the tag's own whitespace control.
            let replacement = if name == "generation" { "if true" } else { "endif" };
            text.push_str(&tag.replacen(name, replacement, 1));
        } else {
            text.push_str(tag);
        }
        rest = &rest[start + length + 2..];
    }
    text.push_str(rest);
    text
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(format: &str) -> String {
    chrono::Local::now().format(format).to_string()
}

#[allow(clippy::needless_pass_by_value, reason = "the template engine passes keyword arguments by value")]
/// `tojson` as transformers sets it up: Python's `json.dumps(value, ensure_ascii=False, ...)`.
fn tojson(_: &State<'_, '_>, value: &Value, arguments: Kwargs) -> Result<Value, minijinja::Error> {
    let indent = arguments.get::<Option<usize>>("indent")?;
    let ensure_ascii = arguments.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sort_keys = arguments.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let separators =
        arguments.get::<Option<Value>>("separators")?.filter(|value| value.kind() == ValueKind::Seq);
    arguments.assert_all_used()?;
    let (item, key) = match separators {
        Some(pair) => from_args::<(String, String)>(&pair.try_iter()?.collect::<Vec<_>>())?,
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let json = serde_json::to_value(value)
        .map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let style = JsonStyle { indent, ensure_ascii, sort_keys, item, key };
    let mut text = String::new();
    style.print(&json, 0, &mut text);
    Ok(Value::from_safe_string(text))
}

/// JSON as `tojson` prints it when it is asked for nothing special.
pub fn python_json(value: &serde_json::Value) -> String {
    let (item, key) = (", ".to_owned(), ": ".to_owned());
    let style = JsonStyle { indent: None, ensure_ascii: false, sort_keys: false, item, key };
    let mut text = String::new();
    style.print(value, 0, &mut text);
    text
}

/// How Python's `json.dumps` was asked to print.
struct JsonStyle {
    indent: Option<usize>,
    ensure_ascii: bool,
    sort_keys: bool,
    item: String,
    key: String,
}

impl JsonStyle {
    fn print(&self, value: &serde_json::Value, depth: usize, text: &mut String) {
        match value {
            serde_json::Value::Array(items) if !items.is_empty() => {
                self.print_all(items.iter().map(|item| (None, item)), ('[', ']'), depth, text);
            }
            serde_json::Value::Object(entries) if !entries.is_empty() => {
                let mut sorted: Vec<_> =
                    entries.iter().map(|(name, item)| (Some(name.as_str()), item)).collect();
                if self.sort_keys {
                    sorted.sort_by_key(|(name, _)| *name);
                }
                self.print_all(sorted.into_iter(), ('{', '}'), depth, text);
            }
            serde_json::Value::String(string) => self.print_string(string, text),
            serde_json::Value::Number(number) => text.push_str(&python_number(number)),
            other => text.push_str(&other.to_string()),
        }
    }

    fn print_all<'a>(
        &self,
        items: impl Iterator<Item = (Option<&'a str>, &'a serde_json::Value)>,
        (open, close): (char, char),
        depth: usize,
        text: &mut String,
    ) {
        text.push(open);
        for (index, (name, item)) in items.enumerate() {
            if index > 0 {
                text.push_str(&self.item);
            }
            self.break_line(depth + 1, text);
            if let Some(name) = name {
                self.print_string(name, text);
                text.push_str(&self.key);
            }
            self.print(item, depth + 1, text);
        }
        self.break_line(depth, text);
        text.push(close);
    }

    fn break_line(&self, depth: usize, text: &mut String) {
        if let Some(indent) = self.indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn print_string(&self, string: &str, text: &mut String) {
        let quoted = serde_json::Value::from(string).to_string();
        for character in quoted.chars() {
            match character {
                // Python escapes DEL nowhere and, asked for ASCII, writes the rest as UTF-16 units.
                ascii if ascii.is_ascii() || !self.ensure_ascii => text.push(ascii),
                other => {
                    for unit in other.encode_utf16(&mut [0; 2]) {
                        text.push_str(&format!("\\u{unit:04x}"));
                    }
                }
            }
        }
    }
}

/// Numbers as Python prints them: whole floats keep their `.0`, exponents their sign and two digits.
fn python_number(number: &serde_json::Number) -> String {
    let text = number.to_string();
    match text.split_once('e') {
        Some((mantissa, exponent)) if number.is_f64() => {
            let exponent: i32 = exponent.parse().unwrap_or_default();
            let sign = if exponent < 0 { '-' } else { '+' };
            let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
            format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => text,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn render(source: &str, messages: &serde_json::Value) -> Result<String, Error> {
        ChatTemplate::new(source, "<s>", "</s>")?.render(messages, None, false)
    }

    #[test]
    fn python_methods_controls_and_marks_work() {
        let source = "{%- for m in messages %}\n  {%- if m.role == 'skip' %}{% continue %}{% endif %}\n{% generation %}{{ m['content'].strip() | upper }}{% endgeneration %}{%- endfor -%}\n{{ bos_token }}";
        let messages = json!([{"role": "skip", "content": "no"}, {"role": "user", "content": " hi "}]);
        assert_eq!(render(source, &messages).unwrap(), "HI<s>");
    }

    #[test]
    fn tojson_prints_as_python() {
        // Source: json.dumps([...], ensure_ascii=False) of CPython 3.11.
        let value = json!([{"a": 1, "b": [1.0, 2.5e-7, true, null], "c": "é\"\u{7f}/<'"}, [], {}]);
        assert_eq!(
            render("{{ messages | tojson }}", &value).unwrap(),
            "[{\"a\": 1, \"b\": [1.0, 2.5e-07, true, null], \"c\": \"é\\\"\u{7f}/<'\"}, [], {}]"
        );
        assert_eq!(
            render("{{ messages[0].b | tojson(indent=2) }}", &value).unwrap(),
            "[\n  1.0,\n  2.5e-07,\n  true,\n  null\n]"
        );
        assert!(render("{{ messages | tojson(ensure_ascii=true) }}", &value).unwrap().contains("\\u00e9"));
    }

    #[test]
    fn what_a_template_raises_reaches_the_reader() {
        let error = render("{{ raise_exception('roles must alternate') }}", &json!([])).unwrap_err();
        assert!(error.to_string().contains("roles must alternate"), "{error}");
    }
}
