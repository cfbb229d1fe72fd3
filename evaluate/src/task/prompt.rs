//! The prompt of a document: description, solved examples and question as turns, which are joined as plain text or
//! rendered by a chat template.
//!
//! Both follow lm-evaluation-harness 0.4.13 (`lm_eval/api/task.py`, `fewshot_context`) and lighteval ea46419
//! (`PromptManager`).

use super::definition::{Dialect, Task};
use super::document::{Document, Question};
use super::python::is_space;

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turn {
    /// `system`, `user` or `assistant`.
    pub(crate) role: &'static str,
    pub(crate) content: String,
    /// What follows it in plain text.
    pub(crate) delimiter: &'static str,
}

/// A prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prompt {
    pub(crate) turns: Vec<Turn>,
}

impl Prompt {
    /// The prompt as plain text.
    pub(crate) fn text(&self) -> String {
        self.turns.iter().flat_map(|turn| [turn.content.as_str(), turn.delimiter]).collect()
    }

    /// The prompt as messages. Unless each example has turns of its own, all of them and the question are one user
    /// message.
    pub(crate) fn messages(&self, examples_as_turns: bool) -> Vec<(&'static str, String)> {
        if examples_as_turns {
            return self.turns.iter().map(|turn| (turn.role, turn.content.clone())).collect();
        }
        let mut turns = &self.turns[..];
        let mut messages = Vec::new();
        if let [first, rest @ ..] = turns
            && first.role == "system"
        {
            messages.push(("system", first.content.clone()));
            turns = rest;
        }
        let start = self.reply_start();
        let user = &turns[..turns.len() - usize::from(start.is_some())];
        let Some((last, earlier)) = user.split_last() else { return messages };
        let mut text = Self { turns: earlier.to_vec() }.text();
        text.push_str(&last.content);
        messages.push(("user", text));
        messages.extend(start.map(|start| ("assistant", start.to_owned())));
        messages
    }

    /// The prompt of the next turn of a conversation: this one, then each reply with the user's turn after it. `turns` are
    /// all of the user's, the first of which this prompt has.
    pub(crate) fn continued(&self, turns: &[String], replies: &[String]) -> Self {
        let mut all = self.turns.clone();
        for (reply, turn) in replies.iter().zip(&turns[1..]) {
            all.push(Turn { role: "assistant", content: reply.clone(), delimiter: "" });
            all.push(Turn { role: "user", content: turn.clone(), delimiter: "" });
        }
        Self { turns: all }
    }

    /// The beginning of the reply, if the prompt contains it.
    pub(crate) fn reply_start(&self) -> Option<&str> {
        let last = self.turns.last().filter(|turn| turn.role == "assistant");
        last.map(|turn| turn.content.as_str())
    }
}

/// The prompts of a document: one, or one for each of its contexts.
pub(crate) fn prompts(
    task: &Task,
    document: &Document,
    shots: &[Document],
    system: Option<&str>,
) -> Vec<Prompt> {
    let queries = match &document.question {
        Question::Contexts { contexts, .. } => contexts.clone(),
        _ => vec![document.query.clone()],
    };
    let prompt = |query: &String| match task.dialect {
        Dialect::LmEval => lm_eval(task, query, document, shots, system),
        Dialect::SmolLm2 => lighteval(task, query, shots, system),
    };
    queries.iter().map(prompt).collect()
}

fn lm_eval(
    task: &Task,
    query: &str,
    document: &Document,
    shots: &[Document],
    system: Option<&str>,
) -> Prompt {
    let mut turns = Vec::new();
    let description = joined(system.unwrap_or_default(), &task.description, task.shot_delimiter);
    if !description.is_empty() {
        turns.push(Turn { role: "system", content: description, delimiter: "" });
    }
    for shot in shots {
        let start = &shot.reply_start;
        let delimiter = match start.is_empty() || needs_delimiter(&shot.query, start) {
            true => task.target_delimiter,
            false => "",
        };
        turns.push(Turn { role: "user", content: shot.query.clone(), delimiter });
        let content = joined(start, &shot.answer, " ");
        turns.push(Turn { role: "assistant", content, delimiter: task.shot_delimiter });
    }
    let start = &document.reply_start;
    // Without a beginning of the reply, the delimiter belongs to the continuation.
    let delimiter = match !start.is_empty() && needs_delimiter(query, start) {
        true => task.target_delimiter,
        false => "",
    };
    turns.push(Turn { role: "user", content: query.to_owned(), delimiter });
    if !start.is_empty() {
        turns.push(Turn { role: "assistant", content: start.clone(), delimiter: "" });
    }
    Prompt { turns }
}

/// Queries and answers are joined as they are; the description goes in front of the first one, also in a chat.
fn lighteval(task: &Task, query: &str, shots: &[Document], system: Option<&str>) -> Prompt {
    let mut turns = Vec::new();
    if let Some(system) = system {
        turns.push(Turn { role: "system", content: system.to_owned(), delimiter: "" });
    }
    let mut description = task.description.as_str();
    for shot in shots {
        let content = format!("{}{}", std::mem::take(&mut description), shot.query);
        turns.push(Turn { role: "user", content, delimiter: "" });
        turns.push(Turn { role: "assistant", content: shot.answer.clone(), delimiter: "\n\n" });
    }
    turns.push(Turn { role: "user", content: format!("{description}{query}"), delimiter: "" });
    Prompt { turns }
}

/// Two texts with a delimiter between them, unless one is empty or has white space there.
fn joined(first: &str, second: &str, delimiter: &str) -> String {
    let delimiter = match !second.is_empty() && needs_delimiter(first, second) {
        true => delimiter,
        false => "",
    };
    format!("{first}{delimiter}{second}")
}

fn needs_delimiter(first: &str, second: &str) -> bool {
    let Some(last) = first.chars().next_back() else { return false };
    !is_space(last) && !second.chars().next().is_some_and(is_space)
}
