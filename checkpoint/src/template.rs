//! A checkpoint's chat template: Jinja, configured as in transformers.
//!
//! transformers renders with `trim_blocks`, `lstrip_blocks`, loop controls, Python's string methods, `raise_exception`,
//! `strftime_now`, a `tojson` that prints as `json.dumps`, and a `{% generation %}` block. Published templates use all of
//! these.

mod filters;
mod output;

use crate::error::{Error, read_to_string};
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};
use output::BoundedText;
use serde::Serialize;
use serde_json::Map;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::OnceLock;

/// The template of a checkpoint that has none: one block per message, between `<|im_start|>` and `<|im_end|>`.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Maximum bytes of a template's source. The largest published ones have 30 kB.
const MAX_SOURCE: usize = 1 << 20;
/// Maximum instructions of the template engine for one conversation: about a second. A loop that prints nothing ends by
/// them. The largest published template takes about 300 per message.
const MAX_INSTRUCTIONS: u64 = 20_000_000;
/// Bytes of the stack that a template is parsed on: the parser recurses along chains of `not`, filters and attributes.
const PARSER_STACK: usize = 256 << 20;

/// A parsed chat template with the special tokens that it may print.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    /// The names that it reads and does not set itself.
    variables: HashSet<String>,
    bos_token: String,
    eos_token: String,
    /// What was found by rendering, once for a template.
    capabilities: OnceLock<Capabilities>,
}

/// What a template can print, found by rendering it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capabilities {
    /// Whether it prints its tools.
    pub(crate) tools: bool,
    /// Whether it renders a system message.
    pub(crate) system: bool,
}

impl ChatTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// Names the line that does not parse.
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, Error> {
        if source.len() > MAX_SOURCE {
            return Err(Error::Template(format!(
                "the template has {} bytes; expected at most {MAX_SOURCE}",
                source.len()
            )));
        }
        // A thread that ends in a panic is an error of the template.
        let parse = || Self::parse(source, bos_token, eos_token);
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("template".to_owned()).stack_size(PARSER_STACK);
            let parsed = thread.spawn_scoped(scope, parse).map(|thread| thread.join());
            match parsed {
                Ok(Ok(template)) => template,
                Ok(Err(_)) => Err(Error::Template("the template ends its parser in a panic".to_owned())),
                // The system gives no such stack: only a strange template needs it.
                Err(_) => parse(),
            }
        })
    }

    fn parse(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(MAX_INSTRUCTIONS));
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        filters::install(&mut environment);
        environment
            .add_template_owned("chat_template", without_generation_marks(source))
            .map_err(|error| Error::Template(format!("{error:#}")))?;
        let template = environment.get_template("chat_template").expect("added above");
        let variables = template.undeclared_variables(false);
        Ok(Self {
            environment,
            source: source.to_owned(),
            variables,
            bos_token: bos_token.to_owned(),
            eos_token: eos_token.to_owned(),
            capabilities: OnceLock::new(),
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

    /// The text of a conversation. `messages` and `tools` become JSON, as the template reads them.
    ///
    /// # Errors
    /// Contains the exception that the template raised, or the line that failed.
    pub fn render(
        &self,
        messages: &(impl Serialize + ?Sized),
        tools: Option<&serde_json::Value>,
        add_generation_prompt: bool,
    ) -> Result<String, Error> {
        self.render_with(messages, tools, add_generation_prompt, &Map::new())
    }

    /// The text of a conversation, with variables of the caller's such as `enable_thinking`. They do not replace those
    /// that every template has.
    ///
    /// # Errors
    /// Contains the exception that the template raised, the line that failed, or the bound of output or time.
    pub fn render_with(
        &self,
        messages: &(impl Serialize + ?Sized),
        tools: Option<&serde_json::Value>,
        add_generation_prompt: bool,
        variables: &Map<String, serde_json::Value>,
    ) -> Result<String, Error> {
        let mut context = BTreeMap::from([
            ("messages", Value::from_serialize(messages)),
            ("tools", Value::from_serialize(tools)),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            ("bos_token", Value::from(self.bos_token.as_str())),
            ("eos_token", Value::from(self.eos_token.as_str())),
        ]);
        for (name, value) in variables {
            context.entry(name.as_str()).or_insert_with(|| Value::from_serialize(value));
        }
        let template = self.environment.get_template("chat_template").expect("added when it was parsed");
        let mut output = BoundedText::new();
        let rendered = template.render_captured_to(context, &mut output).map(drop);
        match (rendered, output.exceeded) {
            (Err(_), Some(bound)) => return Err(Error::Template(bound)),
            (Err(error), None) if error.kind() == ErrorKind::OutOfFuel => {
                let message =
                    format!("the template takes more than {MAX_INSTRUCTIONS} steps for one conversation");
                return Err(Error::Template(message));
            }
            (Err(error), None) => return Err(Error::Template(format!("{error:#}"))),
            (Ok(()), _) => {}
        }
        String::from_utf8(output.text).map_err(|error| Error::Template(error.to_string()))
    }

    /// What it can print; found by `find` when it is first asked.
    pub(crate) fn capabilities(&self, find: impl FnOnce() -> Capabilities) -> Capabilities {
        *self.capabilities.get_or_init(find)
    }

    /// Whether the template reads a variable of that name.
    pub fn reads(&self, variable: &str) -> bool {
        self.variables.contains(variable)
    }

    /// The template of a moment, which `strftime_now` prints whenever it is rendered.
    #[must_use]
    pub fn at(mut self, moment: chrono::DateTime<chrono::Local>) -> Self {
        self.environment
            .add_function("strftime_now", move |format: String| filters::formatted(moment, &format));
        self
    }

    /// Whether it prints the time at which it is rendered.
    pub fn prints_time(&self) -> bool {
        self.source.contains("strftime_now")
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

    /// The source without the marks of what is trained, which only transformers reads.
    pub(crate) fn plain_source(&self) -> String {
        without_generation_marks(&self.source)
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
        // The end is looked for behind the two characters of the beginning: `{%}` is not a tag.
        let Some(length) = rest[start + 2..].find("%}").map(|length| length + 2) else { break };
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

#[cfg(test)]
mod tests;
