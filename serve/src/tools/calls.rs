//! The JSON between two tool-call tags, read while it is being written.
//!
//! It is a list of calls or one call. Keys other than `name` and `arguments` are skipped. Reading ends at the first
//! character that shows that this cannot be a call of a known tool.

use super::json::{Event, Scanner};
use std::collections::HashSet;

/// The state between two tags.
#[derive(Debug, Clone, Default)]
pub(super) struct CallsParser {
    scanner: Scanner,
    /// Depth of a call's own keys: 1, or 2 in a list; 0 before the first bracket.
    call_depth: usize,
    key: String,
    /// The name of the current call, until it is used.
    pub(super) name: Option<String>,
    /// Arguments that came before the name.
    pub(super) early_arguments: Option<String>,
    /// Whether the scanner is inside the arguments.
    in_arguments: bool,
    /// Whether the current call's arguments began after its name.
    pub(super) has_arguments: bool,
    /// Whether a call began between these tags.
    pub(super) has_calls: bool,
}

/// What one character between the tags means.
pub(super) enum Step {
    /// The character is held back.
    Held,
    /// The character belongs to the arguments.
    Arguments,
    /// One call ended.
    CallEnds,
    /// The last call ended.
    Ends,
}

impl CallsParser {
    /// Reads one character; `None` when this cannot be calls of these tools.
    pub(super) fn read(&mut self, character: char, names: &HashSet<String>) -> Option<Step> {
        let before = self.scanner.depth();
        let event = self.scanner.push(character).ok()?;
        let depth = self.scanner.depth();
        if self.call_depth == 0 {
            return self.read_outermost(&event);
        }
        if self.in_arguments {
            self.in_arguments = depth > self.call_depth;
            if let (None, Some(early)) = (&self.name, &mut self.early_arguments) {
                early.push(character);
                return Some(Step::Held);
            }
            return Some(Step::Arguments);
        }
        if before > self.call_depth || depth > self.call_depth + 1 {
            // Inside the value of a key that is skipped.
            return Some(Step::Held);
        }
        match event {
            Event::ObjectOpens if depth == self.call_depth => {
                (self.key, self.name, self.early_arguments) = (String::new(), None, None);
            }
            Event::ObjectOpens if self.key == "arguments" => return self.begin_arguments(character),
            Event::Key(key) => self.key = key,
            Event::Text(name) if before == self.call_depth && self.key == "name" => {
                if self.name.is_some() || self.has_arguments || !names.contains(&name) {
                    return None;
                }
                self.name = Some(name);
            }
            Event::Closes if depth == 0 => {
                return Some(if before == self.call_depth { self.end_call(Step::Ends)? } else { Step::Ends });
            }
            Event::Closes if depth < self.call_depth => return self.end_call(Step::CallEnds),
            Event::Text(_) | Event::ScalarBegins | Event::ArrayOpens => {
                let is_ours = matches!(self.key.as_str(), "name" | "arguments");
                if before < self.call_depth || is_ours {
                    return None;
                }
            }
            Event::ObjectOpens if self.key == "name" => return None,
            _ => {}
        }
        Some(Step::Held)
    }

    /// Before the first call: the start of a list of calls, or of one call.
    fn read_outermost(&mut self, event: &Event) -> Option<Step> {
        match event {
            Event::Within => {}
            Event::ArrayOpens => self.call_depth = 2,
            Event::ObjectOpens => self.call_depth = 1,
            _ => return None,
        }
        Some(Step::Held)
    }

    fn begin_arguments(&mut self, character: char) -> Option<Step> {
        if self.has_arguments || self.early_arguments.is_some() {
            return None;
        }
        self.in_arguments = true;
        if self.name.is_none() {
            self.early_arguments = Some(character.into());
            return Some(Step::Held);
        }
        (self.has_arguments, self.has_calls) = (true, true);
        Some(Step::Arguments)
    }

    /// At a call's closing brace; a call without a name is not one.
    fn end_call(&self, end: Step) -> Option<Step> {
        (self.name.is_some() || self.has_arguments).then_some(end)
    }
}
