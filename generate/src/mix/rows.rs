//! A source's rows as the mix takes them: which of them pass, and what is written of each.

use super::place::choice;
use super::recipe::Source;
use anyhow::{Context, Result, bail};
use datasets::write::{self, Column};
use datasets::{Message, Row};
use serde_json::{Map, Value, json};
use smollm::tools::tell_tools;
use smollm::{ChatTemplate, Tokenizer};
use std::collections::BTreeMap;
use std::path::Path;
use unicode_segmentation::UnicodeSegmentation;

/// What rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    #[default]
    Chat,
    Preference,
    Text,
}

impl Kind {
    fn of(row: &Row) -> Self {
        match row {
            Row::Chat(_) => Self::Chat,
            Row::Preference(_) => Self::Preference,
            Row::Text(_) => Self::Text,
        }
    }

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Chat => "conversations",
            Self::Preference => "preference pairs",
            Self::Text => "documents",
        }
    }

    /// The columns of a mix of this kind.
    pub(super) fn columns(self) -> Vec<Column> {
        let messages = write::Kind::Messages;
        let said: &[(&str, write::Kind)] = match self {
            Self::Chat => &[("messages", messages)],
            Self::Preference => &[("prompt", messages), ("chosen", messages), ("rejected", messages)],
            Self::Text => &[("text", write::Kind::Text)],
        };
        let columns = said.iter().chain(&[("source", write::Kind::Text)]);
        columns.map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind }).collect()
    }
}

/// What was found in a source.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) kind: Kind,
    /// Rows that pass.
    pub(super) rows: usize,
    /// Rows that do not, by the filter that says so.
    pub(super) filtered: BTreeMap<&'static str, usize>,
    /// Rows whose messages carry more than a role and a content, by what is not written.
    pub(super) unwritten: BTreeMap<String, usize>,
}

impl Counts {
    /// Of a source that cannot be counted yet.
    pub(super) fn unknown(rows: usize) -> Self {
        Self { rows, ..Self::default() }
    }

    /// What is left out of it, for people; empty where nothing is.
    pub(super) fn left_out(&self) -> String {
        let filtered = self.filtered.iter().map(|(name, count)| format!("{count} left out by {name}"));
        let unwritten =
            self.unwritten.iter().map(|(name, count)| format!("{name} of {count} rows is not written"));
        let all: Vec<String> = filtered.chain(unwritten).collect();
        if all.is_empty() { String::new() } else { format!(" ({})", all.join(", ")) }
    }
}

/// Which rows of a source pass.
pub(super) struct Filters<'a> {
    pub(super) source: &'a Source,
    pub(super) tokenizer: Option<&'a Tokenizer>,
}

impl Filters<'_> {
    /// The filter that leaves a row out.
    fn refused(&self, row: &Row) -> Result<Option<&'static str>> {
        let source = self.source;
        let own = metadata(row).get("source").and_then(Value::as_str);
        if own.is_some_and(|own| source.drop_sources.iter().any(|dropped| dropped == own)) {
            return Ok(Some("drop_sources"));
        }
        let (texts, turns) = texts(row);
        let over = |count: usize, most: Option<usize>| most.is_some_and(|most| count > most);
        if over(turns, source.maximum_turns) {
            return Ok(Some("maximum_turns"));
        }
        let words = || texts.iter().map(|text| text.unicode_words().count()).sum();
        if source.maximum_words.is_some() && over(words(), source.maximum_words) {
            return Ok(Some("maximum_words"));
        }
        let Some(tokenizer) =
            self.tokenizer.filter(|_| source.minimum_tokens.or(source.maximum_tokens).is_some())
        else {
            return Ok(None);
        };
        let mut tokens = 0;
        for text in texts {
            tokens += tokenizer.encode(text)?.ids.len();
        }
        let under = source.minimum_tokens.is_some_and(|least| tokens < least);
        Ok(match (under, over(tokens, source.maximum_tokens)) {
            (true, _) => Some("minimum_tokens"),
            (_, true) => Some("maximum_tokens"),
            _ => None,
        })
    }
}

/// Counts what passes.
pub(super) fn count(folder: &Path, filters: &Filters<'_>) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut rows = datasets::read_chosen(folder, choice(filters.source))?;
    for (index, located) in rows.by_ref().enumerate() {
        let located = located?;
        let kind = Kind::of(&located.row);
        if index > 0 && kind != counts.kind {
            let (first, other) = (counts.kind.name(), kind.name());
            bail!("{} holds {first} and {other}; a source has one kind of rows", filters.source.data);
        }
        counts.kind = kind;
        match filters.refused(&located.row)? {
            Some(filter) => *counts.filtered.entry(filter).or_default() += 1,
            None => {
                counts.rows += 1;
                for name in unwritten(&located.row) {
                    *counts.unwritten.entry(name).or_default() += 1;
                }
            }
        }
    }
    for (file, reason) in rows.skipped() {
        eprintln!("warning: {} is skipped: {reason}", file.display());
    }
    Ok(counts)
}

/// Calls `each` with what is written of every row that passes.
pub(super) fn each(
    folder: &Path,
    filters: &Filters<'_>,
    mut each: impl FnMut(Vec<u8>) -> Result<()>,
) -> Result<()> {
    let template = ChatTemplate::chatml();
    for located in datasets::read_chosen(folder, choice(filters.source))? {
        let located = located?;
        if filters.refused(&located.row)?.is_some() {
            continue;
        }
        let row = written(&located.row, &filters.source.name, &template)
            .with_context(|| format!("{}, row {}", located.file.display(), located.number))?;
        each(serde_json::to_vec(&row)?)?;
    }
    Ok(())
}

/// A row under its source's name, with nothing but the columns of its kind.
fn written(row: &Row, source: &str, template: &ChatTemplate) -> Result<Value> {
    Ok(match row {
        Row::Chat(row) => {
            json!({"messages": in_words(&row.messages, row.metadata.get("tools"), template)?, "source": source})
        }
        Row::Preference(row) => json!({
            "prompt": in_words(&row.prompt, row.metadata.get("tools"), template)?,
            "chosen": in_words(&row.chosen, None, template)?,
            "rejected": in_words(&row.rejected, None, template)?,
            "source": source
        }),
        Row::Text(row) => json!({"text": row.text, "source": source}),
    })
}

/// Messages of a role and a content: calls and answers of tools become the words that SmolLM2 writes for them, and
/// tools are told in a system message, unless one tells them already.
fn in_words(messages: &[Message], tools: Option<&Value>, template: &ChatTemplate) -> Result<Vec<Value>> {
    let plain = |message: &Message| smollm::Message {
        tool_calls: message.tool_calls.clone(),
        ..smollm::Message::new(&message.role, message.content.clone())
    };
    let told = messages.iter().any(|message| message.content.contains("<tools>"));
    let tools = match tools.filter(|_| !told) {
        Some(Value::String(text)) => serde_json::from_str(text).context("the column tools is not JSON")?,
        Some(tools) => tools.clone(),
        None => Value::Null,
    };
    let told = tell_tools(template, messages.iter().map(plain).collect(), &tools);
    Ok(told.into_iter().map(|message| json!({"role": message.role, "content": message.content})).collect())
}

fn lists(row: &Row) -> Vec<&[Message]> {
    match row {
        Row::Chat(row) => vec![&row.messages],
        Row::Preference(row) => vec![&row.prompt, &row.chosen, &row.rejected],
        Row::Text(_) => Vec::new(),
    }
}

/// All that is said in a row, and how often the user speaks. Of a pair it is the prompt with the preferred reply.
fn texts(row: &Row) -> (Vec<&str>, usize) {
    if let Row::Text(row) = row {
        return (vec![&row.text], 0);
    }
    let messages = lists(row).into_iter().take(2).flatten();
    let turns = messages.clone().filter(|message| message.role == "user").count();
    (messages.map(|message| message.content.as_str()).collect(), turns)
}

/// Fields of messages that have no place in the columns, each once.
fn unwritten(row: &Row) -> Vec<String> {
    let extra = lists(row).into_iter().flatten().flat_map(|message| message.extra.keys());
    let mut names: Vec<String> = extra.filter(|name| *name != "tool_call_id").cloned().collect();
    names.sort();
    names.dedup();
    names
}

fn metadata(row: &Row) -> &Map<String, Value> {
    match row {
        Row::Chat(row) => &row.metadata,
        Row::Preference(row) => &row.metadata,
        Row::Text(row) => &row.metadata,
    }
}
