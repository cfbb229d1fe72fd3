//! A parsed template and the text that it makes of variables, in this process.

use super::filters;
use super::generation::without_generation_marks;
use super::output::BoundedText;
use chrono::{DateTime, Local};
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde::Serialize;
use std::collections::HashSet;

/// Maximum instructions of the template engine for one conversation: about a second. A loop that prints nothing ends by
/// them. The largest published template takes about 300 per message.
const MAX_INSTRUCTIONS: u64 = 20_000_000;
/// Bytes of the stack that a template is parsed on: the parser recurses along chains of `not`, filters and attributes.
const PARSER_STACK: usize = 256 << 20;
/// Maximum bytes of an error: an exception of the template may hold a whole conversation.
const MAX_ERROR: usize = 2000;

/// A parsed template.
#[derive(Debug, Clone)]
pub(super) struct Parsed {
    environment: Environment<'static>,
    /// The names that it reads and does not set itself.
    pub(super) variables: HashSet<String>,
}

impl Parsed {
    /// Parses a template.
    ///
    /// # Errors
    /// Names the line that does not parse.
    pub(super) fn new(source: &str) -> Result<Self, String> {
        // A thread that ends in a panic is an error of the template.
        let parse = || Self::parse(source);
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("template".to_owned()).stack_size(PARSER_STACK);
            match thread.spawn_scoped(scope, parse).map(|thread| thread.join()) {
                Ok(Ok(parsed)) => parsed,
                Ok(Err(_)) => Err("the template ends its parser in a panic".to_owned()),
                // The system gives no such stack: only a strange template needs it.
                Err(_) => parse(),
            }
        })
    }

    fn parse(source: &str) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(MAX_INSTRUCTIONS));
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        filters::install(&mut environment);
        environment
            .add_template_owned("chat_template", without_generation_marks(source))
            .map_err(|error| shortened(&format!("{error:#}")))?;
        let template = environment.get_template("chat_template").expect("added above");
        let variables = template.undeclared_variables(false);
        Ok(Self { environment, variables })
    }

    /// Lets `strftime_now` print one moment, whenever it is rendered.
    pub(super) fn set_moment(&mut self, moment: DateTime<Local>) {
        self.environment
            .add_function("strftime_now", move |format: String| filters::formatted(moment, &format));
    }

    /// The text that it makes of its variables.
    ///
    /// # Errors
    /// Contains the exception that the template raised, the line that failed, or the bound of output or time.
    pub(super) fn render(&self, context: impl Serialize) -> Result<String, String> {
        let template = self.environment.get_template("chat_template").expect("added when it was parsed");
        let mut output = BoundedText::new();
        let rendered = template.render_captured_to(context, &mut output).map(drop);
        match (rendered, output.exceeded) {
            (Err(_), Some(bound)) => return Err(bound),
            (Err(error), None) if error.kind() == ErrorKind::OutOfFuel => {
                return Err(format!(
                    "the template takes more than {MAX_INSTRUCTIONS} steps for one conversation"
                ));
            }
            (Err(error), None) => return Err(shortened(&format!("{error:#}"))),
            (Ok(()), _) => {}
        }
        String::from_utf8(output.text).map_err(|error| error.to_string())
    }
}

fn shortened(error: &str) -> String {
    match error.char_indices().nth(MAX_ERROR) {
        Some((end, _)) => format!("{}...", &error[..end]),
        None => error.to_owned(),
    }
}
