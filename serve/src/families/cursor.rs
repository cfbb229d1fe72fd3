//! A place in a text that may have a call, and what every format reads there.

use serde_json::{Map, Value};
use std::collections::HashMap;

/// The tools by name, each with the schema of its parameters.
pub(crate) type Tools = HashMap<String, Option<Map<String, Value>>>;

/// Why no call was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Incomplete,
    NoCall,
}

pub(super) type Call = (String, String);

#[derive(Clone)]
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    pub(super) position: usize,
    pub(super) has_ended: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    /// Whether nothing is left and nothing will come.
    pub(super) fn is_at_end(&self) -> bool {
        self.has_ended && self.rest().is_empty()
    }

    pub(super) fn skip_space(&mut self) {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start().len();
    }

    /// Skips a text if it is next.
    pub(super) fn skip(&mut self, expected: &str) -> bool {
        let is_next = self.rest().starts_with(expected);
        self.position += if is_next { expected.len() } else { 0 };
        is_next
    }

    /// Skips a text if it is next; more text is needed where it may become it.
    pub(super) fn skip_whole(&mut self, expected: &str) -> Result<bool, Stop> {
        let may_become = !self.has_ended && expected.starts_with(self.rest()) && expected != self.rest();
        if may_become { Err(Stop::Incomplete) } else { Ok(self.skip(expected)) }
    }

    /// Skips a text that must be next.
    pub(super) fn expect(&mut self, expected: &str) -> Result<(), Stop> {
        match self.skip(expected) {
            true => Ok(()),
            false if expected.starts_with(self.rest()) => Err(Stop::Incomplete),
            false => Err(Stop::NoCall),
        }
    }

    /// Skips a closing text, which may be missing at the answer's end.
    pub(super) fn close(&mut self, expected: &str) -> Result<(), Stop> {
        let before = self.position;
        self.skip_space();
        match self.expect(expected) {
            Err(Stop::Incomplete) if self.has_ended => {
                self.position = self.text.len();
                Ok(())
            }
            Err(stop) => {
                self.position = before;
                Err(stop)
            }
            done => done,
        }
    }

    /// The text up to `end`, which is skipped.
    pub(super) fn until(&mut self, end: &str) -> Result<&'a str, Stop> {
        let (before, _) = self.rest().split_once(end).ok_or(Stop::Incomplete)?;
        self.position += before.len() + end.len();
        Ok(before)
    }

    /// Calls one after the other, each of which begins with `begin`, up to `end`, which may be missing.
    pub(super) fn several(
        &mut self,
        begin: &str,
        end: &str,
        mut one: impl FnMut(&mut Self) -> Result<Call, Stop>,
    ) -> Result<Vec<Call>, Stop> {
        let mut calls = Vec::new();
        loop {
            self.skip_space();
            if !calls.is_empty() {
                if self.is_at_end() || self.skip(end) {
                    return Ok(calls);
                }
                if !self.rest().starts_with(begin) {
                    let is_beginning = [begin, end].iter().any(|tag| tag.starts_with(self.rest()));
                    return if is_beginning { Err(Stop::Incomplete) } else { Ok(calls) };
                }
            }
            calls.push(one(self)?);
        }
    }

    pub(super) fn json(&mut self) -> Result<Value, Stop> {
        let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                self.position += values.byte_offset();
                Ok(value)
            }
            Some(Err(error)) if !error.is_eof() => Err(Stop::NoCall),
            _ => Err(Stop::Incomplete),
        }
    }
}

/// A value that is written as text, in the type that the schema asks for.
pub(super) fn typed(text: &str, kind: Option<&Value>) -> Value {
    let is_string = kind.is_some_and(|kind| kind == "string");
    match serde_json::from_str(text) {
        Ok(value) if !is_string && kind.is_some_and(|kind| !kind.is_null()) => value,
        _ => text.into(),
    }
}
