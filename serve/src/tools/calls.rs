//! What stands between two tags: calls of tools, as JSON that is still being written.
//!
//! A list of calls or one call. Keys other than `name` and `arguments` are passed over; anything that cannot be a call
//! of a known tool ends the reading at the character that shows it.

use super::json::{Event, Scanner};
use std::collections::HashSet;

/// What is known between two tags.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls {
    scanner: Scanner,
    /// Depth inside which a call's own keys stand: 1, or 2 in a list.
    inside: usize,
    key: String,
    pub(super) name: Option<String>,
    /// Arguments that came before the name.
    pub(super) early: Option<String>,
    /// The arguments are being written, and what became of them.
    writing: bool,
    pub(super) written: bool,
    /// A call between these tags began.
    pub(super) called: bool,
}

/// What follows from one character between the tags.
pub(super) enum Read {
    /// It waits.
    Held,
    /// Arguments go on (or begin) with it.
    Arguments,
    /// One call ended.
    CallEnds,
    /// The last call ended.
    Ends,
}

impl Calls {
    /// Moves past one character; `None` when this cannot be calls of these tools.
    pub(super) fn read(&mut self, character: char, names: &HashSet<String>) -> Option<Read> {
        let before = self.scanner.depth();
        let event = self.scanner.push(character).ok()?;
        let depth = self.scanner.depth();
        if self.inside == 0 {
            return self.read_outermost(&event);
        }
        if self.writing {
            self.writing = depth > self.inside;
            if let (None, Some(early)) = (&self.name, &mut self.early) {
                early.push(character);
                return Some(Read::Held);
            }
            return Some(Read::Arguments);
        }
        if before > self.inside || depth > self.inside + 1 {
            // Inside the value of a key that is not ours.
            return Some(Read::Held);
        }
        match event {
            Event::ObjectOpens if depth == self.inside => {
                (self.key, self.name, self.early) = (String::new(), None, None);
            }
            Event::ObjectOpens if self.key == "arguments" => return self.begin_arguments(character),
            Event::Key(key) => self.key = key,
            Event::Text(name) if before == self.inside && self.key == "name" => {
                if self.name.is_some() || self.written || !names.contains(&name) {
                    return None;
                }
                self.name = Some(name);
            }
            Event::Closes if depth == 0 => {
                return Some(if before == self.inside { self.end_call(Read::Ends)? } else { Read::Ends });
            }
            Event::Closes if depth < self.inside => return self.end_call(Read::CallEnds),
            Event::Text(_) | Event::ScalarBegins | Event::ArrayOpens => {
                let ours = matches!(self.key.as_str(), "name" | "arguments");
                if before < self.inside || ours {
                    return None;
                }
            }
            Event::ObjectOpens if self.key == "name" => return None,
            _ => {}
        }
        Some(Read::Held)
    }

    /// Before the first call: a list of calls, or one call.
    fn read_outermost(&mut self, event: &Event) -> Option<Read> {
        match event {
            Event::Within => {}
            Event::ArrayOpens => self.inside = 2,
            Event::ObjectOpens => self.inside = 1,
            _ => return None,
        }
        Some(Read::Held)
    }

    fn begin_arguments(&mut self, character: char) -> Option<Read> {
        if self.written || self.early.is_some() {
            return None;
        }
        self.writing = true;
        if self.name.is_none() {
            self.early = Some(character.into());
            return Some(Read::Held);
        }
        (self.written, self.called) = (true, true);
        Some(Read::Arguments)
    }

    /// A call's closing brace: it must have named its tool.
    fn end_call(&self, end: Read) -> Option<Read> {
        (self.name.is_some() || self.written).then_some(end)
    }
}
