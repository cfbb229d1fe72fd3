//! A checkpoint's chat template: Jinja, configured as in transformers.
//!
//! transformers renders with `trim_blocks`, `lstrip_blocks`, loop controls, Python's string methods, `raise_exception`,
//! `strftime_now`, a `tojson` that prints as `json.dumps`, and a `{% generation %}` block. Published templates use all of
//! these.
//!
//! A server renders them in processes of their own ([`isolate`]): no template can end it.

mod elsewhere;
mod filters;
mod generation;
mod output;
mod parsed;
mod process;

pub use elsewhere::{is_isolated, isolate};
pub use process::render_for_parent;

use crate::error::{Error, read_to_string};
use chrono::{DateTime, Local};
use elsewhere::{Exhausted, Question, Reply};
use generation::without_generation_marks;
use minijinja::value::Value as TemplateValue;
use parsed::Parsed;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// The template of a checkpoint that has none: one block per message, between `<|im_start|>` and `<|im_end|>`.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Maximum bytes of a template's source. The largest published ones have 30 kB.
const MAX_SOURCE: usize = 1 << 20;
/// Bytes of a conversation that no honest template takes all of its time or memory for.
const SMALL: usize = 64 << 10;
/// A parsed chat template with the special tokens that it may print.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    /// None where it is rendered in another process.
    parsed: Option<Parsed>,
    /// Whether it took all of its time or memory for a small conversation: it is not asked again.
    is_spent: Arc<AtomicBool>,
    /// The moment that `strftime_now` prints, if not the present.
    moment: Option<DateTime<Local>>,
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
        let (parsed, variables) = if is_isolated() {
            (None, variables_elsewhere(source)?)
        } else {
            let parsed = Parsed::new(source).map_err(Error::Template)?;
            let variables = parsed.variables.clone();
            (Some(parsed), variables)
        };
        Ok(Self {
            parsed,
            is_spent: Arc::default(),
            moment: None,
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
            ("messages", TemplateValue::from_serialize(messages)),
            ("tools", TemplateValue::from_serialize(tools)),
            ("documents", TemplateValue::from(())),
            ("add_generation_prompt", TemplateValue::from(add_generation_prompt)),
            ("bos_token", TemplateValue::from(self.bos_token.as_str())),
            ("eos_token", TemplateValue::from(self.eos_token.as_str())),
        ]);
        for (name, value) in variables {
            context.entry(name.as_str()).or_insert_with(|| TemplateValue::from_serialize(value));
        }
        match &self.parsed {
            Some(parsed) => parsed.render(context).map_err(Error::Template),
            None => {
                let context =
                    serde_json::to_value(context).map_err(|error| Error::Template(error.to_string()));
                self.render_elsewhere(context?)
            }
        }
    }

    fn render_elsewhere(&self, context: Value) -> Result<String, Error> {
        if self.is_spent.load(Ordering::Relaxed) {
            let reason =
                "the template took all of its time or memory for a small conversation; use another one";
            return Err(Error::Template(reason.to_owned()));
        }
        let moment = self.moment.map(|moment| moment.to_rfc3339());
        let question = Question { source: (&self.source).into(), moment, context: Some(context) };
        match elsewhere::ask(&question) {
            Ok(Reply::Text(text)) => Ok(text),
            Ok(Reply::Error(reason)) => Err(Error::Template(reason)),
            Ok(Reply::Variables(_)) => Err(Error::Template("it was not rendered".to_owned())),
            Err(Exhausted(reason)) => {
                let is_small = question.context.is_some_and(|context| context.to_string().len() <= SMALL);
                self.is_spent.fetch_or(is_small, Ordering::Relaxed);
                Err(Error::Template(reason))
            }
        }
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
    pub fn at(mut self, moment: DateTime<Local>) -> Self {
        if let Some(parsed) = &mut self.parsed {
            parsed.set_moment(moment);
        }
        self.moment = Some(moment);
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

/// The names that a template reads, found by the process that will render it.
fn variables_elsewhere(source: &str) -> Result<HashSet<String>, Error> {
    match elsewhere::ask(&Question { source: source.into(), moment: None, context: None }) {
        Ok(Reply::Variables(variables)) => Ok(variables),
        Ok(Reply::Text(_)) => Err(Error::Template("it was not parsed".to_owned())),
        Ok(Reply::Error(reason)) | Err(Exhausted(reason)) => Err(Error::Template(reason)),
    }
}

#[cfg(test)]
mod tests;
