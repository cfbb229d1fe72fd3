//! What was said and which tools were called, from an answer's text as it streams.
//!
//! Read are SmolLM2's `<tool_call>[{"name": .., "arguments": {..}}, ..]</tool_call>` and Hermes' and Qwen's one
//! object a tag. The reader decides character by character, so the pieces do not depend on how the text was cut.
//! Text waits only while it can be the beginning of a call: until the tag, the name of a tool and the opening brace
//! of its arguments were seen. From there the arguments pass through as they come. What turns out not to be a call
//! is given back as text, whole; a call that breaks off later stands with what was written of its arguments.

use super::calls::{Calls, Read};
use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};

const OPENING: &str = "<tool_call>";
const CLOSING: &str = "</tool_call>";

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// What was said.
    Text(String),
    /// A call of a tool begins.
    CallBegins {
        /// Its place among the answer's calls.
        index: usize,
        /// A name for this call.
        id: String,
        /// The tool's name.
        name: String,
    },
    /// The next part of a call's arguments, the text of a JSON object.
    Arguments {
        /// Which call.
        index: usize,
        /// The text.
        text: String,
    },
}

/// Splits an answer's text as it streams into what was said and calls that were made.
#[derive(Debug, Clone)]
pub(crate) struct CallReader {
    names: HashSet<String>,
    /// How many calls may be made; more are read and left out.
    most: usize,
    place: Place,
    /// Calls that began, those that were left out included.
    calls: usize,
    /// What was read and is not decided yet.
    held: String,
    pieces: Vec<Piece>,
}

/// Where the reader is.
#[derive(Debug, Clone)]
enum Place {
    /// Before anything is said, or after calls: white space waits for what follows.
    Quiet { after_calls: bool },
    /// In what is said.
    Said,
    /// In the opening tag.
    Opening(usize),
    /// Between the tags.
    Calls(Box<Calls>),
    /// After the calls, this many bytes into the closing tag.
    Closing(usize),
}

impl CallReader {
    /// Reads calls of these tools, at most `most` of them.
    pub(crate) fn new(names: impl IntoIterator<Item = String>, most: usize) -> Self {
        let names = names.into_iter().collect();
        Self {
            names,
            most,
            place: Place::Quiet { after_calls: false },
            calls: 0,
            held: String::new(),
            pieces: Vec::new(),
        }
    }

    /// What is certain now that this text came.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Piece> {
        for character in text.chars() {
            // A character that ends one thing may begin another.
            while !self.step(character) {}
        }
        std::mem::take(&mut self.pieces)
    }

    /// What was waiting when the text ended.
    pub(crate) fn finish(&mut self) -> Vec<Piece> {
        let closes = |held: &str| held.trim_matches([',', ']', ' ', '\n']).is_empty();
        let done = match &self.place {
            Place::Quiet { after_calls } => *after_calls,
            Place::Calls(calls) => calls.called && closes(&self.held),
            Place::Closing(_) => true,
            Place::Said | Place::Opening(_) => false,
        };
        if done {
            self.held.clear();
        }
        self.give_back();
        std::mem::take(&mut self.pieces)
    }

    /// Whether a call was made.
    pub(crate) fn called(&self) -> bool {
        self.calls > 0
    }

    /// Takes one character; false when it is to be looked at again from the new place.
    fn step(&mut self, character: char) -> bool {
        match &mut self.place {
            Place::Quiet { .. } if character.is_ascii_whitespace() => self.held.push(character),
            Place::Quiet { .. } | Place::Said if character == '<' => {
                self.held.push(character);
                self.place = Place::Opening(1);
            }
            Place::Quiet { .. } => return self.give_back(),
            Place::Said => self.say(character),
            Place::Opening(matched) => {
                if OPENING.as_bytes()[*matched] as char != character {
                    return self.give_back();
                }
                *matched += 1;
                self.held.push(character);
                if *matched == OPENING.len() {
                    self.place = Place::Calls(Box::default());
                }
            }
            Place::Calls(_) => return self.step_in_calls(character),
            Place::Closing(0) if character.is_ascii_whitespace() => self.held.push(character),
            Place::Closing(matched) => {
                if CLOSING.as_bytes()[*matched] as char != character {
                    return self.give_back();
                }
                *matched += 1;
                self.held.push(character);
                if *matched == CLOSING.len() {
                    self.held.clear();
                    self.place = Place::Quiet { after_calls: true };
                }
            }
        }
        true
    }

    fn step_in_calls(&mut self, character: char) -> bool {
        let Place::Calls(calls) = &mut self.place else { return false };
        let Some(read) = calls.read(character, &self.names) else { return self.give_back() };
        match read {
            Read::Held => self.held.push(character),
            Read::Arguments => match calls.name.take() {
                Some(name) => {
                    self.begin(&name);
                    self.argue(&character.to_string());
                }
                None => self.argue(&character.to_string()),
            },
            Read::CallEnds | Read::Ends => {
                let begun = std::mem::take(&mut calls.written);
                if let Some(name) = calls.name.take().filter(|_| !begun) {
                    // The name came last, or there were no arguments.
                    let arguments = calls.early.take().unwrap_or("{}".to_owned());
                    calls.called = true;
                    self.begin(&name);
                    self.argue(&arguments);
                } else if begun {
                    self.held.clear();
                }
                if matches!(read, Read::Ends) {
                    self.close(character);
                }
            }
        }
        true
    }

    /// The JSON between the tags is whole.
    fn close(&mut self, character: char) {
        let Place::Calls(calls) = &self.place else { return };
        if calls.called {
            self.held.clear();
        } else {
            // An empty list, by which the model says that no tool fits: text again if it is not closed.
            self.held.push(character);
        }
        self.place = Place::Closing(0);
    }

    fn begin(&mut self, name: &str) {
        self.held.clear();
        self.calls += 1;
        if self.calls <= self.most {
            let (index, id) = (self.calls - 1, call_id());
            self.pieces.push(Piece::CallBegins { index, id, name: name.to_owned() });
        }
    }

    fn argue(&mut self, text: &str) {
        if self.calls > self.most {
            return;
        }
        let index = self.calls - 1;
        match self.pieces.last_mut() {
            Some(Piece::Arguments { index: last, text: written }) if *last == index => written.push_str(text),
            _ => self.pieces.push(Piece::Arguments { index, text: text.to_owned() }),
        }
    }

    fn say(&mut self, character: char) {
        match self.pieces.last_mut() {
            Some(Piece::Text(said)) => said.push(character),
            _ => self.pieces.push(Piece::Text(character.into())),
        }
    }

    /// What was held was no call after all: it is said. Always false: the character at hand is still to be read.
    fn give_back(&mut self) -> bool {
        for character in std::mem::take(&mut self.held).chars() {
            self.say(character);
        }
        self.place = Place::Said;
        false
    }
}

/// `call_` and 24 hexadecimal digits that no other call has.
fn call_id() -> String {
    // Each `RandomState` has its own keys.
    let random = || RandomState::new().build_hasher().finish();
    let digits = format!("{:016x}{:016x}", random(), random());
    format!("call_{}", &digits[..24])
}

#[cfg(test)]
mod tests;
