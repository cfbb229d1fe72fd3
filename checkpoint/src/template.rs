//! A checkpoint's chat template: Jinja, configured as in transformers.
//!
//! transformers renders with `trim_blocks`, `lstrip_blocks`, loop controls, Python's string methods, `raise_exception`,
//! `strftime_now`, a `tojson` that prints as `json.dumps`, and a `{% generation %}` block. Published templates use all of
//! these.

use crate::error::{Error, read_to_string};
use crate::python_json::{Options, print};
use crate::python_text::{is_printed_otherwise, python_str};
use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{Environment, ErrorKind, State, UndefinedBehavior};
use serde_json::{Map, json};
use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The template of a checkpoint that has none: one block per message, between `<|im_start|>` and `<|im_end|>`.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Maximum bytes of a template's source. The largest published ones have 30 kB.
const MAX_SOURCE: usize = 1 << 20;
/// Maximum bytes of a rendered conversation.
const MAX_OUTPUT: usize = 64 << 20;
/// Maximum bytes that a filter may make of one value.
const MAX_FILTERED: usize = 64 << 20;
/// Maximum time to render one conversation; checked whenever the template prints.
const MAX_TIME: Duration = Duration::from_secs(20);
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
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.set_formatter(|output, state, value| match is_printed_otherwise(value) {
            true => Ok(output.write_str(&python_str(value)?)?),
            false => minijinja::escape_formatter(output, state, value),
        });
        environment.add_filter("string", string);
        environment.add_filter("upper", |value: Value| python_str(&value).map(|text| text.to_uppercase()));
        environment.add_filter("lower", |value: Value| python_str(&value).map(|text| text.to_lowercase()));
        environment.add_filter("tojson", tojson);
        environment.add_filter("indent", indent);
        environment.add_filter("replace", replace);
        environment.add_test("iterable", is_iterable);
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
        self.render_with(messages, tools, add_generation_prompt, &Map::new())
    }

    /// The text of a conversation, with variables of the caller's such as `enable_thinking`. They do not replace those
    /// that every template has.
    ///
    /// # Errors
    /// Contains the exception that the template raised, the line that failed, or the bound of output or time.
    pub fn render_with(
        &self,
        messages: &serde_json::Value,
        tools: Option<&serde_json::Value>,
        add_generation_prompt: bool,
        variables: &Map<String, serde_json::Value>,
    ) -> Result<String, Error> {
        let mut context = json!({
            "messages": messages,
            "tools": tools,
            "documents": null,
            "add_generation_prompt": add_generation_prompt,
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
        });
        if let Some(context) = context.as_object_mut() {
            for (name, value) in variables {
                context.entry(name.as_str()).or_insert_with(|| value.clone());
            }
        }
        let template = self.environment.get_template("chat_template").expect("added when it was parsed");
        let mut output =
            BoundedText { text: Vec::new(), deadline: Instant::now() + MAX_TIME, exceeded: None };
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
        self.environment.add_function("strftime_now", move |format: String| formatted(moment, &format));
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

/// A rendered text, which ends the template when it grows or takes too long.
struct BoundedText {
    text: Vec<u8>,
    deadline: Instant,
    /// The bound that ended it.
    exceeded: Option<String>,
}

impl io::Write for BoundedText {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > MAX_OUTPUT {
            self.exceeded = Some(format!("the template prints more than {MAX_OUTPUT} bytes"));
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if Instant::now() > self.deadline {
            let seconds = MAX_TIME.as_secs();
            self.exceeded = Some(format!("the template takes more than {seconds} s"));
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(format: &str) -> Result<String, minijinja::Error> {
    formatted(chrono::Local::now(), format)
}

fn formatted(moment: chrono::DateTime<chrono::Local>, format: &str) -> Result<String, minijinja::Error> {
    let mut text = String::new();
    // `to_string` would panic on a format that chrono does not know.
    write!(text, "{}", moment.format(format)).map_err(|_| {
        minijinja::Error::new(ErrorKind::InvalidOperation, format!("strftime_now: `{format}` is no format"))
    })?;
    Ok(text)
}

/// Whether Python can iterate over a value: unlike minijinja's own test, not over `none`.
#[allow(clippy::needless_pass_by_value, reason = "the template engine passes values")]
fn is_iterable(value: Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// Jinja's `string`.
fn string(value: &Value) -> Result<Value, minijinja::Error> {
    match value.kind() {
        ValueKind::String => Ok(value.clone()),
        _ => python_str(value).map(Value::from),
    }
}

/// Refuses what a filter would make too large.
fn bounded(bytes: usize, filter: &str) -> Result<(), minijinja::Error> {
    if bytes <= MAX_FILTERED {
        return Ok(());
    }
    let message = format!("`{filter}` would make a text of more than {MAX_FILTERED} bytes");
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

/// Jinja's `replace`.
#[allow(clippy::needless_pass_by_value, reason = "the template engine passes values")]
fn replace(value: Value, from: Value, to: Value, count: Option<usize>) -> Result<String, minijinja::Error> {
    let (value, from, to) = (value.to_string(), from.to_string(), to.to_string());
    let most = if from.is_empty() { value.chars().count() + 1 } else { value.len() / from.len() };
    let count = count.unwrap_or(usize::MAX).min(most);
    bounded(value.len().saturating_add(count.saturating_mul(to.len())), "replace")?;
    Ok(value.replacen(from.as_str(), &to, count))
}

/// Jinja's `indent`.
#[allow(clippy::needless_pass_by_value, reason = "the template engine passes values")]
fn indent(
    value: Value,
    width: Option<usize>,
    first: Option<bool>,
    blank: Option<bool>,
    arguments: Kwargs,
) -> Result<String, minijinja::Error> {
    let text = value.to_string();
    let spaces = match width {
        Some(width) => width,
        None => arguments.get::<Option<usize>>("width")?.unwrap_or(4),
    };
    let first = first.or(arguments.get::<Option<bool>>("first")?).unwrap_or(false);
    let blank = blank.or(arguments.get::<Option<bool>>("blank")?).unwrap_or(false);
    arguments.assert_all_used()?;
    bounded(text.len().saturating_add(text.split('\n').count().saturating_mul(spaces)), "indent")?;
    let margin = " ".repeat(spaces);
    let mut indented = String::with_capacity(text.len());
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            indented.push('\n');
        }
        let is_indented = if index == 0 { first } else { blank || !line.is_empty() };
        indented.push_str(if is_indented { &margin } else { "" });
        indented.push_str(line);
    }
    Ok(indented)
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
    fn none_is_not_iterable() {
        // Source: jinja2 3.1: `none is iterable` is False, an undefined name, a string and a list are.
        let source = "{{ none is iterable }} {{ nothing is iterable }} {{ 'a' is iterable }} {{ [] is iterable }} {{ 1 is iterable }}";
        assert_eq!(render(source, &json!([])).unwrap().to_lowercase(), "false true true true false");
        let source = "{% if tools is iterable and tools | length > 0 %}tools{% else %}none{% endif %}";
        assert_eq!(render(source, &json!([])).unwrap(), "none");
    }

    #[test]
    fn lists_and_objects_are_printed_as_python_prints_them() {
        // Source: jinja2 3.1 over the same values.
        let messages = json!([{"role": "user", "content": ["it's", null, true]}]);
        let source = "{{ messages }} {{ messages[0].content | string }} {{ (messages[0].content[1:]) }} {{ 0.5 }} {{ [none] | upper }}";
        assert_eq!(
            render(source, &messages).unwrap(),
            "[{'role': 'user', 'content': [\"it's\", None, True]}] [\"it's\", None, True] [None, True] 0.5 [NONE]"
        );
        let itself = "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}{{ ns | string }}";
        let _ = render(itself, &messages);
    }

    #[test]
    fn broken_tags_and_deep_chains_are_errors_or_work() {
        for source in ["{%}", "{{%}", "{%}%}", "{%-%}", "{% if %}"] {
            let _ = ChatTemplate::new(source, "", "");
        }
        for source in [
            format!("{{{{ {} true }}}}", "not ".repeat(50_000)),
            format!("{{{{ messages{} }}}}", ".a".repeat(50_000)),
            format!("{{{{ messages{} }}}}", " | string".repeat(20_000)),
            format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000)),
            "a".repeat(MAX_SOURCE + 1),
        ] {
            let _ = ChatTemplate::new(&source, "", "");
        }
        let error = render("{{ strftime_now('%!') }}", &json!([])).unwrap_err().to_string();
        assert!(error.contains("strftime_now"), "{error}");
    }

    #[test]
    fn what_filters_and_templates_print_is_bounded() {
        let loops = |begin: &str, end: &str| format!("{}{}", begin.repeat(9), end.repeat(9));
        let doubled = "{% set ns = namespace(t='a' * 1000000) %}";
        for (source, reason) in [
            (format!("{doubled}{{{{ ns.t | replace('a', ns.t) }}}}"), "replace"),
            ("{{ 'a' | replace('', 'b') | indent(100000000, true) }}".to_owned(), "indent"),
            (format!("{doubled}{{% for i in range(100) %}}{{{{ ns.t }}}}{{% endfor %}}"), "prints more than"),
            (loops("{% for i in range(10000) %}", "{% endfor %}"), "steps"),
            (loops("{% for i in 'abcdefghijklmnopqrstuvwxyz' %}", "{% endfor %}"), "steps"),
        ] {
            let error = render(&source, &json!([])).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert_eq!(
            render("{{ 'aab' | replace('a', 'c', 1) }}{{ 'a\nb' | indent(2) }}", &json!([])).unwrap(),
            "caba\n  b"
        );
    }

    #[test]
    fn variables_reach_the_template_and_replace_none_of_its_own() {
        let template = ChatTemplate::new("{{ enable_thinking }} {{ bos_token }}", "<s>", "").unwrap();
        let variables = json!({"enable_thinking": false, "bos_token": "x"});
        let text = template.render_with(&json!([]), None, true, variables.as_object().unwrap()).unwrap();
        assert_eq!(text.to_lowercase(), "false <s>");
        assert!(template.reads("enable_thinking") && !template.reads("reasoning_effort"));
    }

    #[test]
    fn an_exception_of_the_template_is_in_the_error() {
        let error = render("{{ raise_exception('roles must alternate') }}", &json!([])).unwrap_err();
        assert!(error.to_string().contains("roles must alternate"), "{error}");
    }
}
