//! Text and tool calls, separated while an answer streams.
//!
//! Two formats are read: SmolLM2's `<tool_call>[{"name": .., "arguments": {..}}, ..]</tool_call>`, and one object per tag
//! as Hermes and Qwen write it. The reader decides character by character, so the pieces do not depend on how the text
//! was cut. Text is held back only while it can be the beginning of a call: until the tag, the name of a tool and the
//! opening brace of its arguments were read. From there the arguments pass through. What turns out not to be a call is
//! returned as text, whole; a call that breaks off later keeps what was written of its arguments.

use super::calls::{CallsParser, Step};
use crate::ids;
use std::collections::HashSet;

const OPENING: &str = "<tool_call>";
const CLOSING: &str = "</tool_call>";

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text.
    Text(String),
    /// A call begins.
    CallBegins {
        /// Which call of the answer, from 0.
        index: usize,
        /// Identifies the call.
        id: String,
        /// The tool's name.
        name: String,
    },
    /// The next part of a call's arguments, the text of a JSON object.
    Arguments {
        /// Which call.
        index: usize,
        /// The part.
        text: String,
    },
}

/// Separates text and calls.
#[derive(Debug, Clone)]
pub(crate) struct CallReader {
    names: HashSet<String>,
    /// Maximum number of calls; further calls are read and dropped.
    max_calls: usize,
    state: State,
    /// Calls that began, dropped ones included.
    calls: usize,
    /// Characters that are not decided yet.
    held: String,
    pieces: Vec<Piece>,
}

/// Where the reader is.
#[derive(Debug, Clone)]
enum State {
    /// Before any text, or after calls: white space is held until the next character.
    Between { after_calls: bool },
    /// In text.
    Text,
    /// In the opening tag, after this many bytes.
    Opening(usize),
    /// Between the tags.
    Calls(Box<CallsParser>),
    /// After the calls, this many bytes into the closing tag.
    Closing(usize),
}

impl CallReader {
    /// A reader of calls of these tools.
    pub(crate) fn new(names: impl IntoIterator<Item = String>, max_calls: usize) -> Self {
        Self {
            names: names.into_iter().collect(),
            max_calls,
            state: State::Between { after_calls: false },
            calls: 0,
            held: String::new(),
            pieces: Vec::new(),
        }
    }

    /// Reads more text; returns what is certain now.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Piece> {
        for character in text.chars() {
            // A character that ends one thing may begin another.
            while !self.step(character) {}
        }
        std::mem::take(&mut self.pieces)
    }

    /// Returns what was held back when the text ended.
    pub(crate) fn finish(&mut self) -> Vec<Piece> {
        let only_closes = |held: &str| held.trim_matches([',', ']', ' ', '\n']).is_empty();
        let is_complete = match &self.state {
            State::Between { after_calls } => *after_calls,
            State::Calls(calls) => calls.has_calls && only_closes(&self.held),
            State::Closing(_) => true,
            State::Text | State::Opening(_) => false,
        };
        if is_complete {
            self.held.clear();
        }
        self.release_as_text();
        std::mem::take(&mut self.pieces)
    }

    /// Whether the answer has a call.
    pub(crate) fn has_calls(&self) -> bool {
        self.calls > 0
    }

    /// Reads one character; false when it must be read again in the new state.
    fn step(&mut self, character: char) -> bool {
        match &mut self.state {
            State::Between { .. } if character.is_ascii_whitespace() => self.held.push(character),
            State::Between { .. } | State::Text if character == '<' => {
                self.held.push(character);
                self.state = State::Opening(1);
            }
            State::Between { .. } => return self.release_as_text(),
            State::Text => self.push_text(character),
            State::Opening(matched) => {
                if OPENING.as_bytes()[*matched] as char != character {
                    return self.release_as_text();
                }
                *matched += 1;
                self.held.push(character);
                if *matched == OPENING.len() {
                    self.state = State::Calls(Box::default());
                }
            }
            State::Calls(_) => return self.step_in_calls(character),
            State::Closing(0) if character.is_ascii_whitespace() => self.held.push(character),
            State::Closing(matched) => {
                if CLOSING.as_bytes()[*matched] as char != character {
                    return self.release_as_text();
                }
                *matched += 1;
                self.held.push(character);
                if *matched == CLOSING.len() {
                    self.held.clear();
                    self.state = State::Between { after_calls: true };
                }
            }
        }
        true
    }

    fn step_in_calls(&mut self, character: char) -> bool {
        let State::Calls(calls) = &mut self.state else { return false };
        let Some(step) = calls.read(character, &self.names) else { return self.release_as_text() };
        match step {
            Step::Held => self.held.push(character),
            Step::Arguments => {
                if let Some(name) = calls.name.take() {
                    self.begin_call(&name);
                }
                self.push_arguments(&character.to_string());
            }
            Step::CallEnds | Step::Ends => {
                let has_arguments = std::mem::take(&mut calls.has_arguments);
                if let Some(name) = calls.name.take().filter(|_| !has_arguments) {
                    // The name came last, or there are no arguments.
                    let arguments = calls.early_arguments.take().unwrap_or("{}".to_owned());
                    calls.has_calls = true;
                    self.begin_call(&name);
                    self.push_arguments(&arguments);
                } else if has_arguments {
                    self.held.clear();
                }
                if matches!(step, Step::Ends) {
                    self.end_calls(character);
                }
            }
        }
        true
    }

    /// The JSON between the tags is complete.
    fn end_calls(&mut self, character: char) {
        let State::Calls(calls) = &self.state else { return };
        if calls.has_calls {
            self.held.clear();
        } else {
            // An empty list, which means that no tool fits: text again if no closing tag follows.
            self.held.push(character);
        }
        self.state = State::Closing(0);
    }

    fn begin_call(&mut self, name: &str) {
        self.held.clear();
        self.calls += 1;
        if self.calls <= self.max_calls {
            let (index, id) = (self.calls - 1, ids::id("call_"));
            self.pieces.push(Piece::CallBegins { index, id, name: name.to_owned() });
        }
    }

    fn push_arguments(&mut self, text: &str) {
        if self.calls > self.max_calls {
            return;
        }
        let index = self.calls - 1;
        match self.pieces.last_mut() {
            Some(Piece::Arguments { index: last, text: written }) if *last == index => written.push_str(text),
            _ => self.pieces.push(Piece::Arguments { index, text: text.to_owned() }),
        }
    }

    fn push_text(&mut self, character: char) {
        match self.pieces.last_mut() {
            Some(Piece::Text(text)) => text.push(character),
            _ => self.pieces.push(Piece::Text(character.into())),
        }
    }

    /// What was held is no call: it becomes text. Always returns false, because the current character was not read yet.
    fn release_as_text(&mut self) -> bool {
        for character in std::mem::take(&mut self.held).chars() {
            self.push_text(character);
        }
        self.state = State::Text;
        false
    }
}

#[cfg(test)]
mod tests;
