//! What a model thinks, separated from what it says, while the answer streams.
//!
//! Thinking is at the beginning of an answer, between tags. Some templates write the opening tag themselves. Text is held
//! back only while it may be part of a tag, and white space around the tags is dropped.

use crate::traits::ThinkingTags;

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Thought(String),
    Text(String),
}

/// Separates thoughts and text.
#[derive(Debug, Clone)]
pub(super) struct ThoughtReader {
    tags: ThinkingTags,
    state: State,
    held: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before anything but white space.
    Start,
    /// In thoughts; whether any was read.
    Thinking {
        has_begun: bool,
    },
    /// After thoughts, before the text.
    Between,
    Text,
}

impl ThoughtReader {
    /// A reader of an answer; `is_open` says that the prompt ended with the opening tag.
    pub(super) fn new(tags: ThinkingTags, is_open: bool) -> Self {
        let state = if is_open { State::Thinking { has_begun: false } } else { State::Start };
        Self { tags, state, held: String::new() }
    }

    /// Reads more text; returns what is certain now.
    pub(super) fn push(&mut self, text: &str) -> Vec<Part> {
        self.held.push_str(text);
        let mut parts = Vec::new();
        while self.step(&mut parts) {}
        parts
    }

    /// Returns what was held back when the text ended.
    pub(super) fn finish(&mut self) -> Vec<Part> {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Thinking { .. } if held.trim().is_empty() => Vec::new(),
            State::Thinking { .. } => vec![Part::Thought(held.trim_end().to_owned())],
            State::Between => Vec::new(),
            State::Start | State::Text if held.is_empty() => Vec::new(),
            State::Start | State::Text => vec![Part::Text(held)],
        }
    }

    /// Decides about the beginning of what is held; false when more text is needed.
    fn step(&mut self, parts: &mut Vec<Part>) -> bool {
        match self.state {
            State::Start => {
                let rest = self.held.trim_start();
                if let Some(thoughts) = rest.strip_prefix(self.tags.open) {
                    self.held = thoughts.to_owned();
                    self.state = State::Thinking { has_begun: false };
                    return true;
                }
                if self.tags.open.starts_with(rest) {
                    return false;
                }
                self.state = State::Text;
                true
            }
            State::Thinking { has_begun } => self.think(has_begun, parts),
            State::Between => {
                self.held = self.held.trim_start().to_owned();
                if self.held.is_empty() {
                    return false;
                }
                self.state = State::Text;
                true
            }
            State::Text => {
                if !self.held.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut self.held)));
                }
                false
            }
        }
    }

    fn think(&mut self, has_begun: bool, parts: &mut Vec<Part>) -> bool {
        if !has_begun {
            self.held = self.held.trim_start().to_owned();
        }
        if let Some((thought, text)) = self.held.split_once(self.tags.close) {
            let thought = thought.trim_end();
            if !thought.is_empty() {
                parts.push(Part::Thought(thought.to_owned()));
            }
            self.held = text.to_owned();
            self.state = State::Between;
            return true;
        }
        // What may be the beginning of the closing tag, and the white space before it, waits.
        let tag = (1..self.tags.close.len())
            .rev()
            .find(|length| {
                self.tags.close.is_char_boundary(*length) && self.held.ends_with(&self.tags.close[..*length])
            })
            .unwrap_or(0);
        let certain = self.held[..self.held.len() - tag].trim_end().len();
        if certain > 0 {
            let rest = self.held.split_off(certain);
            parts.push(Part::Thought(std::mem::replace(&mut self.held, rest)));
            self.state = State::Thinking { has_begun: true };
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGS: ThinkingTags = ThinkingTags { open: "<think>", close: "</think>" };

    /// The thoughts and the text, read in pieces of every size.
    fn split(text: &str, is_open: bool) -> (String, String) {
        let read = |size: usize| {
            let mut reader = ThoughtReader::new(TAGS, is_open);
            let characters: Vec<char> = text.chars().collect();
            let mut parts = Vec::new();
            for piece in characters.chunks(size) {
                parts.extend(reader.push(&piece.iter().collect::<String>()));
            }
            parts.extend(reader.finish());
            let (mut thoughts, mut said) = (String::new(), String::new());
            for part in parts {
                match part {
                    Part::Thought(thought) => thoughts.push_str(&thought),
                    Part::Text(text) => said.push_str(&text),
                }
            }
            (thoughts, said)
        };
        let whole = read(usize::MAX);
        for size in 1..9 {
            assert_eq!(read(size), whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn thoughts_and_text_are_separated_however_the_text_is_cut() {
        let both = |thought: &str, said: &str| (thought.to_owned(), said.to_owned());
        assert_eq!(
            split("<think>\nSo < 3.\n\nYes </ok>\n</think>\n\nHi <b>", false),
            both("So < 3.\n\nYes </ok>", "Hi <b>")
        );
        assert_eq!(split("I see.\n</think>\nHi", true), both("I see.", "Hi"));
        assert_eq!(split("\n<think>\n\n</think>\n\nHi", false), both("", "Hi"));
        assert_eq!(split("Hi <think>no</think>", false), both("", "Hi <think>no</think>"));
        assert_eq!(split(" <thin air", false), both("", " <thin air"));
        assert_eq!(split("<think>cut off </thi", false), both("cut off </thi", ""));
        assert_eq!(split("", true), both("", ""));
    }
}
