//! A checkpoint's chat template: Jinja, configured as in transformers.
//!
//! transformers renders with `trim_blocks`, `lstrip_blocks`, loop controls, Python's string methods, `raise_exception`,
//! `strftime_now`, a `tojson` that prints as `json.dumps`, and a `{% generation %}` block. Published templates use all of
//! these.

use crate::error::{Error, read_to_string};
use crate::python_json::{Options, print};
use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{Environment, ErrorKind, State, UndefinedBehavior};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;

/// The template of a checkpoint that has none: one block per message, between `<|im_start|>` and `<|im_end|>`.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// A parsed chat template with the special tokens that it may print.
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
    /// Names the line that does not parse.
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

    /// ChatML, the template of SmolLM2, without a default system message.
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

    /// The text of a conversation. `messages` and `tools` are JSON, as the template reads them.
    ///
    /// # Errors
    /// Contains the exception that the template raised, or the line that failed.
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

    /// The special tokens that it prints by name, such as `<|im_start|>`, and its end of sequence; sorted. A tokenizer
    /// without one of them would split it as plain text.
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

    /// Its beginning and end of sequence.
    pub fn named_tokens(&self) -> [&str; 2] {
        [&self.bos_token, &self.eos_token]
    }

    /// The source of the template.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// Removes the `generation` blocks and keeps their content: the loss mask is computed from byte spans instead.
fn without_generation_marks(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
        let tag = &rest[start..start + length + 2];
        let name = tag[2..tag.len() - 2].trim_matches(|c: char| c == '-' || c == '+' || c.is_whitespace());
        text.push_str(&rest[..start]);
        if name == "generation" || name == "endgeneration" {
            // A condition that is always true keeps the tag's whitespace control.
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

/// `tojson` of transformers: Python's `json.dumps(value, ensure_ascii=False, ...)`.
#[allow(clippy::needless_pass_by_value, reason = "the template engine passes keyword arguments by value")]
fn tojson(_: &State<'_, '_>, value: &Value, arguments: Kwargs) -> Result<Value, minijinja::Error> {
    let indent = arguments.get::<Option<usize>>("indent")?;
    let ensure_ascii = arguments.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sort_keys = arguments.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let separators =
        arguments.get::<Option<Value>>("separators")?.filter(|value| value.kind() == ValueKind::Seq);
    arguments.assert_all_used()?;
    let separators = match separators {
        Some(pair) => from_args::<(String, String)>(&pair.try_iter()?.collect::<Vec<_>>())?,
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let json = serde_json::to_value(value)
        .map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let text = print(&json, &Options { indent, ensure_ascii, sort_keys, separators });
    Ok(Value::from_safe_string(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn render(source: &str, messages: &serde_json::Value) -> Result<String, Error> {
        ChatTemplate::new(source, "<s>", "</s>")?.render(messages, None, false)
    }

    #[test]
    fn python_methods_loop_controls_and_generation_blocks_work() {
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
    fn an_exception_of_the_template_is_in_the_error() {
        let error = render("{{ raise_exception('roles must alternate') }}", &json!([])).unwrap_err();
        assert!(error.to_string().contains("roles must alternate"), "{error}");
    }
}
