//! Text and tool calls in the format of a family, separated while an answer streams.
//!
//! A call is read whole: from the first character that may begin one, text is held until the call is complete or shows
//! that it is none. Then it becomes the call, or text again. Calls of tools that the request does not have stay text.

use super::reader::Piece;
use crate::families::{self, Family, Parsed, Tools};
use crate::ids;
use serde_json::{Map, Value};

/// Separates text and calls of one answer.
#[derive(Debug, Clone)]
pub(crate) struct FormatReader {
    family: &'static Family,
    tools: Tools,
    max_calls: usize,
    short_ids: bool,
    /// What may begin a call anywhere in a text, and what may at its beginning alone.
    markers: Vec<String>,
    at_start: Vec<String>,
    state: State,
    held: String,
    calls: usize,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before any text, or after a call.
    Start,
    Text,
    /// After something that begins a call.
    Call,
}

impl FormatReader {
    /// A reader of calls of these tools, each with the schema of its parameters.
    pub(crate) fn new(
        family: &'static Family,
        tools: impl IntoIterator<Item = (String, Option<Map<String, Value>>)>,
        max_calls: usize,
        short_ids: bool,
    ) -> Self {
        let tools: Tools = tools.into_iter().collect();
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let mut markers = owned(family.markers);
        markers.push(families::TAG.to_owned());
        let mut at_start = owned(family.at_start);
        for name in tools.keys() {
            at_start.extend(family.after_name.iter().map(|after| format!("{name}{after}")));
        }
        let state = State::Start;
        let (held, pieces) = (String::new(), Vec::new());
        Self { family, tools, max_calls, short_ids, markers, at_start, state, held, calls: 0, pieces }
    }

    /// Reads more text; returns what is certain now.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        while self.step(false) {}
        std::mem::take(&mut self.pieces)
    }

    /// Returns what was held back when the text ended.
    pub(crate) fn finish(&mut self) -> Vec<Piece> {
        while self.step(true) {}
        let held = std::mem::take(&mut self.held);
        // What is left after calls is white space and separators.
        if self.state != State::Start || self.calls == 0 {
            self.text(&held);
        }
        std::mem::take(&mut self.pieces)
    }

    /// Whether the answer has a call.
    pub(crate) fn has_calls(&self) -> bool {
        self.calls > 0
    }

    /// Decides about the beginning of what is held; false when more text is needed.
    fn step(&mut self, has_ended: bool) -> bool {
        match self.state {
            State::Start => self.start(),
            State::Text => self.pass_text(),
            State::Call => match families::parse(self.family, &self.held, &self.tools, has_ended) {
                Parsed::Incomplete => false,
                Parsed::Text(length) => {
                    let rest = self.held.split_off(length);
                    let text = std::mem::replace(&mut self.held, rest);
                    self.text(&text);
                    self.state = State::Text;
                    true
                }
                Parsed::Calls { calls, length } => {
                    self.held.drain(..length);
                    calls.into_iter().for_each(|(name, arguments)| self.call(name, arguments));
                    self.state = State::Start;
                    true
                }
            },
        }
    }

    fn start(&mut self) -> bool {
        let is_between = |c: char| c.is_whitespace() || (self.calls > 0 && matches!(c, ';' | ','));
        let rest = self.held.trim_start_matches(is_between);
        let openings = || self.markers.iter().chain(&self.at_start);
        if openings().any(|opening| rest.starts_with(opening.as_str())) {
            self.held = rest.to_owned();
            self.state = State::Call;
            return true;
        }
        if openings().any(|opening| opening.starts_with(rest)) {
            return false;
        }
        if self.calls > 0 {
            self.held = rest.to_owned();
        }
        self.state = State::Text;
        true
    }

    /// Passes on the text up to the next marker, or up to what may become one.
    fn pass_text(&mut self) -> bool {
        let found = self.markers.iter().filter_map(|marker| self.held.find(marker.as_str())).min();
        let is_beginning =
            |start: usize| self.markers.iter().any(|marker| marker.starts_with(&self.held[start..]));
        let end = found.unwrap_or_else(|| {
            let mut starts = self.held.char_indices().map(|(start, _)| start);
            starts.find(|start| is_beginning(*start)).unwrap_or(self.held.len())
        });
        let rest = self.held.split_off(end);
        let text = std::mem::replace(&mut self.held, rest);
        self.text(&text);
        if found.is_some() {
            self.state = State::Call;
        }
        found.is_some()
    }

    fn text(&mut self, text: &str) {
        match self.pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    fn call(&mut self, name: String, arguments: String) {
        self.calls += 1;
        if self.calls <= self.max_calls {
            let (index, id) = (self.calls - 1, ids::call_id(self.short_ids));
            self.pieces.push(Piece::CallBegins { index, id, name });
            self.pieces.push(Piece::Arguments { index, text: arguments });
        }
    }
}

#[cfg(test)]
mod tests;
