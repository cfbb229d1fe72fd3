//! Comparing a reply with the answer, as lm-evaluation-harness's `regex` filter and `exact_match` metric do.

use super::python::strip;
use fancy_regex::Regex;
use std::cell::RefCell;
use std::collections::HashMap;

/// What is ignored when a reply is compared with an answer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ExactMatch {
    /// Regular expressions whose matches are removed, one after the other.
    pub(crate) ignored: &'static [&'static str],
    /// Whether case is ignored.
    pub(crate) case: bool,
    /// Whether ASCII punctuation is ignored.
    pub(crate) punctuation: bool,
}

impl ExactMatch {
    /// Whether a reply equals one of the answers.
    pub(crate) fn matches<'a>(&self, reply: &str, answers: impl IntoIterator<Item = &'a str>) -> bool {
        let reply = self.normalized(reply);
        answers.into_iter().any(|answer| self.normalized(answer) == reply)
    }

    fn normalized(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for pattern in self.ignored {
            text = compiled(pattern).replace_all(&text, "").into_owned();
        }
        if self.case {
            // numpy's arrays of text keep their width: a letter that becomes two cuts the last one off.
            let width = text.chars().count();
            text = text.to_lowercase().chars().take(width).collect();
        }
        if self.punctuation {
            text.retain(|letter| !letter.is_ascii_punctuation());
        }
        text
    }
}

/// Python's `re.findall`, as the harness uses it: of each match, the first group that is not empty, or all of it where
/// the pattern has no group. `None` is a match whose groups are all empty.
pub(crate) fn find_all(pattern: &str, text: &str) -> Vec<Option<String>> {
    let regex = compiled(pattern);
    let mut found = Vec::new();
    for captures in regex.captures_iter(text) {
        // A pattern that runs into the limit of backtracking finds nothing more.
        let Ok(captures) = captures else { break };
        let groups: Vec<&str> = (usize::from(captures.len() > 1)..captures.len())
            .map(|index| captures.get(index).map_or("", |group| group.as_str()))
            .collect();
        found.push(match groups[..] {
            [only] => Some(strip(only).to_owned()),
            _ => groups.into_iter().find(|group| !group.is_empty()).map(|group| strip(group).to_owned()),
        });
    }
    found
}

/// Compiled patterns that are kept; some tasks make a pattern for each document.
const KEPT: usize = 256;

/// The pattern, compiled once for all documents.
fn compiled(pattern: &str) -> Regex {
    thread_local! {
        static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default();
    }
    COMPILED.with_borrow_mut(|known| {
        if let Some(regex) = known.get(pattern) {
            return regex.clone();
        }
        let regex =
            Regex::new(pattern).unwrap_or_else(|error| panic!("a task has the pattern `{pattern}`: {error}"));
        if known.len() == KEPT {
            known.clear();
        }
        known.insert(pattern.to_owned(), regex.clone());
        regex
    })
}
