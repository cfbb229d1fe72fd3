//! The rows of a source: which of them pass the filters, and what the mix writes of each.

use super::recipe::MixSource;
use crate::oddities::{OddRows, Oddities};
use anyhow::{Context, Error, Result, bail};
use checkpoint::tools::with_tools_as_text;
use checkpoint::{ChatTemplate, Tokenizer};
use datasets::batch::batch;
use datasets::packed;
use datasets::write::{Column, ColumnType};
use datasets::{InvalidRow, LocatedRow, Message, Row};
use datasets::{PlainRow, QuickRow};
use rayon::prelude::*;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use unicode_segmentation::UnicodeSegmentation;

/// The kind of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum RowKind {
    #[default]
    Chat,
    Preference,
    Text,
}

impl RowKind {
    fn of(row: &Row) -> Self {
        match row {
            Row::Chat(_) => Self::Chat,
            Row::Preference(_) => Self::Preference,
            Row::Text(_) => Self::Text,
        }
    }

    /// The name of its rows in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Chat => "conversations",
            Self::Preference => "preference pairs",
            Self::Text => "documents",
        }
    }

    /// The columns of a mix of this kind.
    pub(super) fn columns(self) -> Vec<Column> {
        let messages = ColumnType::Messages;
        let columns: &[(&str, ColumnType)] = match self {
            Self::Chat => &[("messages", messages)],
            Self::Preference => &[("prompt", messages), ("chosen", messages), ("rejected", messages)],
            Self::Text => &[("text", ColumnType::Text)],
        };
        let columns = columns.iter().chain(&[("source", ColumnType::Text)]);
        columns.map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind }).collect()
    }
}

/// The counts of a source's rows.
#[derive(Debug, Default)]
pub(super) struct SourceCounts {
    pub(super) kind: RowKind,
    /// Rows that pass.
    pub(super) rows: usize,
    /// Rows that do not pass, by filter.
    pub(super) filtered: BTreeMap<&'static str, usize>,
    /// Rows with fields in messages that are not written, by field.
    pub(super) unwritten: BTreeMap<String, usize>,
    /// Rows that are taken although something is odd about them.
    pub(super) odd: OddRows,
    /// Halves of surrogate pairs that became U+FFFD.
    pub(super) surrogates: usize,
    /// Rows that cannot be used and were left out, with file, line and reason.
    pub(super) invalid: Vec<String>,
}

impl SourceCounts {
    /// Adds a row.
    fn add(&mut self, row: &Judged) {
        self.kind = row.kind;
        if let Some(filter) = row.filter {
            *self.filtered.entry(filter).or_default() += 1;
            return;
        }
        self.rows += 1;
        self.odd.add(row.odd);
        for name in &row.unwritten {
            *self.unwritten.entry(name.clone()).or_default() += 1;
        }
    }

    /// What is left out and what is odd, in parentheses; empty if nothing is.
    pub(super) fn left_out(&self) -> String {
        let filtered = self.filtered.iter().map(|(name, count)| format!("{count} left out by {name}"));
        let unwritten =
            self.unwritten.iter().map(|(name, count)| format!("{name} of {count} rows is not written"));
        let invalid = (!self.invalid.is_empty())
            .then(|| format!("{} invalid left out, listed in mix.json", self.invalid.len()));
        let odd = self.odd.counted().map(|(kind, count)| format!("{count} {kind}"));
        let surrogates = (self.surrogates > 0)
            .then(|| format!("{} halves of surrogate pairs became U+FFFD", self.surrogates));
        let all: Vec<String> =
            filtered.chain(unwritten).chain(invalid).chain(odd).chain(surrogates).collect();
        if all.is_empty() { String::new() } else { format!(" ({})", all.join(", ")) }
    }
}

/// Decides which rows of a source pass.
pub(super) struct RowFilters<'a> {
    pub(super) source: &'a MixSource,
    pub(super) tokenizer: Option<&'a Tokenizer>,
    /// Whether the rows are read this once.
    pub(super) is_only_pass: bool,
}

/// What the filters look at in a row.
struct FilteredRow<'a> {
    /// Its own column `source`.
    origin: Option<&'a str>,
    /// Its texts; a pair counts with its prompt and the preferred reply.
    texts: Vec<&'a str>,
    /// The number of the user's messages.
    turns: usize,
}

impl RowFilters<'_> {
    /// Judges a row; with a template it is packed, too.
    fn judge(&self, row: QuickRow, template: Option<&ChatTemplate>) -> Result<Judged, JudgeError> {
        match row {
            QuickRow::Plain(row) => Ok(self.judge_plain(row, template.is_some())?),
            QuickRow::Raw(row) => {
                let located = row.row().map_err(|error| (error.invalid_row(), error.into()))?;
                if let Some(reason) = lost_weight(&located.row) {
                    let LocatedRow { file, number, .. } = located;
                    let reason = format!("{}, row {number}: {reason}", file.display());
                    let error = Error::msg(reason.clone());
                    return Err((Some(InvalidRow { file, number, reason }), error).into());
                }
                Ok(self.judge_located(&located, template)?)
            }
        }
    }

    /// Judges a conversation that is written as it is.
    fn judge_plain(&self, row: PlainRow, is_packed: bool) -> Result<Judged> {
        let messages: Vec<(&str, &str)> = row.messages().collect();
        let odd = Oddities::of_messages(messages.iter().map(|(role, text)| (*role, text.trim().is_empty())));
        let filtered = FilteredRow {
            origin: row.source(),
            turns: messages.iter().filter(|(role, _)| *role == "user").count(),
            texts: messages.into_iter().map(|(_, content)| content).collect(),
        };
        let filter = self.rejecting_filter(&filtered)?;
        let mut packed = Vec::new();
        if is_packed && filter.is_none() {
            packed = row.into_packed();
            packed::push_text(&mut packed, &self.source.name).map_err(Error::msg)?;
        }
        Ok(Judged { kind: RowKind::Chat, filter, unwritten: Vec::new(), odd, packed })
    }

    fn judge_located(&self, located: &LocatedRow, template: Option<&ChatTemplate>) -> Result<Judged> {
        let row = &located.row;
        let (texts, turns) = texts(row);
        let origin = metadata(row).get("source").and_then(Value::as_str);
        let filter = match row.unfit() {
            Some(reason) => Some(reason),
            None if row.weight() == Some(0.0) => Some("weight_0"),
            None => self.rejecting_filter(&FilteredRow { origin, texts, turns })?,
        };
        let packed = match template.filter(|_| filter.is_none()) {
            Some(template) => packed(row, &self.source.name, template)
                .with_context(|| format!("{}, row {}", located.file.display(), located.number))?,
            None => Vec::new(),
        };
        let unwritten = if filter.is_none() { unwritten(row) } else { Vec::new() };
        Ok(Judged { kind: RowKind::of(row), filter, unwritten, odd: Oddities::of(row), packed })
    }

    /// Whether a filter looks at the messages.
    fn reads_texts(&self) -> bool {
        let source = self.source;
        let limits =
            [source.maximum_turns, source.maximum_words, source.minimum_tokens, source.maximum_tokens];
        limits.iter().any(Option::is_some)
    }

    /// The name of the filter that leaves a row out; `None` if it passes.
    fn rejecting_filter(&self, row: &FilteredRow<'_>) -> Result<Option<&'static str>> {
        let source = self.source;
        if row.origin.is_some_and(|origin| source.drop_sources.iter().any(|dropped| dropped == origin)) {
            return Ok(Some("drop_sources"));
        }
        let exceeds = |count: usize, maximum: Option<usize>| maximum.is_some_and(|maximum| count > maximum);
        if exceeds(row.turns, source.maximum_turns) {
            return Ok(Some("maximum_turns"));
        }
        let words = || row.texts.iter().map(|text| text.unicode_words().count()).sum();
        if source.maximum_words.is_some() && exceeds(words(), source.maximum_words) {
            return Ok(Some("maximum_words"));
        }
        let Some(tokenizer) =
            self.tokenizer.filter(|_| source.minimum_tokens.or(source.maximum_tokens).is_some())
        else {
            return Ok(None);
        };
        let mut tokens = 0;
        for text in &row.texts {
            tokens += tokenizer.ids(text)?.len();
        }
        let is_short = source.minimum_tokens.is_some_and(|minimum| tokens < minimum);
        Ok(match (is_short, exceeds(tokens, source.maximum_tokens)) {
            (true, _) => Some("minimum_tokens"),
            (_, true) => Some("maximum_tokens"),
            _ => None,
        })
    }
}

/// Why a row cannot be judged; with the row, if it is one that `skip_invalid` leaves out.
struct JudgeError(Option<InvalidRow>, Error);

impl From<(Option<InvalidRow>, Error)> for JudgeError {
    fn from((row, error): (Option<InvalidRow>, Error)) -> Self {
        Self(row, error)
    }
}

impl From<Error> for JudgeError {
    fn from(error: Error) -> Self {
        Self(None, error)
    }
}

/// Rows that are converted together on all cores.
const BATCH: usize = 256;

/// What a row of a source is.
struct Judged {
    kind: RowKind,
    /// The filter that leaves it out.
    filter: Option<&'static str>,
    unwritten: Vec<String>,
    odd: Oddities,
    /// Its columns as the mix writes them, if it passes and that is asked for.
    packed: Vec<u8>,
}

/// Counts the rows of a source.
pub(super) fn count(folder: &Path, filters: &RowFilters<'_>) -> Result<SourceCounts> {
    walk(folder, filters, None)
}

/// Calls `action` with every row that passes, packed as the mix writes it; also counts the rows.
pub(super) fn for_each(
    folder: &Path,
    filters: &RowFilters<'_>,
    mut action: impl FnMut(Vec<u8>) -> Result<()>,
) -> Result<SourceCounts> {
    walk(folder, filters, Some(&mut action))
}

/// Reads the rows of a source once.
fn walk(
    folder: &Path,
    filters: &RowFilters<'_>,
    mut action: Option<&mut dyn FnMut(Vec<u8>) -> Result<()>>,
) -> Result<SourceCounts> {
    let (mut counts, mut is_first) = (SourceCounts::default(), true);
    let template = ChatTemplate::chatml();
    let mut rows = datasets::read_quick_with(folder, &filters.source.reading())?;
    let mut invalid = Vec::new();
    loop {
        let batch: Vec<QuickRow> = batch(&mut rows, BATCH).into_iter().collect::<Result<_, _>>()?;
        if batch.is_empty() {
            break;
        }
        let writes = action.is_some();
        let judge = |row: QuickRow| filters.judge(row, writes.then_some(&template));
        // Rows that are taken as they are take less time than other threads need to begin.
        let is_light = !filters.reads_texts() && batch.iter().all(|row| matches!(row, QuickRow::Plain(_)));
        let judged: Vec<_> = match is_light {
            true => batch.into_iter().map(judge).collect(),
            false => batch.into_par_iter().map(judge).collect(),
        };
        for judged in judged {
            let row = match judged {
                Err(JudgeError(Some(row), _)) if filters.source.skip_invalid => {
                    invalid.push(row);
                    continue;
                }
                judged => judged.map_err(|JudgeError(_, error)| error)?,
            };
            if !std::mem::take(&mut is_first) && row.kind != counts.kind {
                let (first, other) = (counts.kind.name(), row.kind.name());
                bail!(
                    "{} contains {first} and {other}; split it, a source has one kind of rows",
                    filters.source.data
                );
            }
            counts.add(&row);
            if let (Some(action), None) = (&mut action, row.filter) {
                action(row.packed)?;
            }
        }
    }
    for (file, reason) in rows.skipped().iter().filter(|_| action.is_none() || filters.is_only_pass) {
        terminal::message!("warning: {} is skipped: {reason}", file.display());
    }
    invalid.extend(rows.take_invalid());
    counts.surrogates = rows.surrogates();
    // As they are read: file by file, line by line.
    invalid.sort_by(|one, other| (&one.file, one.number).cmp(&(&other.file, other.number)));
    // Where the data is on this machine (for a Hugging Face id: in its cache) is nobody else's business.
    let (place, name) = (folder.display().to_string(), filters.source.data_name());
    counts.invalid = invalid.into_iter().map(|row| row.reason.replace(&place, &name)).collect();
    Ok(counts)
}

/// The columns of a row's kind with the name of its source, and no others.
fn packed(row: &Row, source: &str, template: &ChatTemplate) -> Result<Vec<u8>> {
    let mut packed = Vec::new();
    let mut push = |messages: &[Message], tools: Option<&Value>| -> Result<()> {
        let messages = as_text(messages, tools, template)?;
        let pairs = messages.iter().map(|message| (message.role.as_str(), message.content.as_str()));
        packed::push_messages(&mut packed, pairs).map_err(Error::msg)
    };
    match row {
        Row::Chat(row) => push(&row.messages, row.metadata.get("tools"))?,
        Row::Preference(row) => {
            push(&row.prompt, row.metadata.get("tools"))?;
            push(&row.chosen, None)?;
            push(&row.rejected, None)?;
        }
        Row::Text(row) => packed::push_text(&mut packed, &row.text).map_err(Error::msg)?,
    }
    packed::push_text(&mut packed, source).map_err(Error::msg)?;
    Ok(packed)
}

/// Messages of role and content: tool calls and their results become the text that SmolLM2 uses for them, and the
/// tools are described in a system message unless one does so already.
fn as_text(
    messages: &[Message],
    tools: Option<&Value>,
    template: &ChatTemplate,
) -> Result<Vec<checkpoint::Message>> {
    let plain = |message: &Message| checkpoint::Message {
        tool_calls: message.tool_calls.clone(),
        ..checkpoint::Message::new(&message.role, message.content.clone())
    };
    let has_tools = messages.iter().any(|message| message.content.contains("<tools>"));
    let tools = match tools.filter(|_| !has_tools) {
        Some(Value::String(text)) => serde_json::from_str(text).context("the column `tools` is not JSON")?,
        Some(tools) => tools.clone(),
        None => Value::Null,
    };
    Ok(with_tools_as_text(template, messages.iter().map(plain).collect(), &tools))
}

/// The lists of messages in a row.
fn lists(row: &Row) -> Vec<&[Message]> {
    match row {
        Row::Chat(row) => vec![&row.messages],
        Row::Preference(row) => vec![&row.prompt, &row.chosen, &row.rejected],
        Row::Text(_) => Vec::new(),
    }
}

/// The texts of a row, and its number of user messages. A pair counts with its prompt and the preferred reply.
fn texts(row: &Row) -> (Vec<&str>, usize) {
    if let Row::Text(row) = row {
        return (vec![&row.text], 0);
    }
    let messages = lists(row).into_iter().take(2).flatten();
    let turns = messages.clone().filter(|message| message.role == "user").count();
    (messages.map(|message| message.content.as_str()).collect(), turns)
}

/// Why a row that gives weights in the loss cannot be mixed: a mix has none, so that what should not be learned, or less,
/// would be. A row of weight 0 is left out instead, and messages of others than the assistant are not learned anyway.
fn lost_weight(row: &Row) -> Option<String> {
    let of_row = row.weight().filter(|weight| *weight != 0.0);
    let replies = lists(row).into_iter().flatten().filter(|message| message.role == "assistant");
    let mut weights = of_row.into_iter().chain(replies.filter_map(Message::weight));
    let weight = weights.find(|weight| *weight != 1.0)?;
    Some(format!(
        "has a weight of {weight} in the loss, which a mix does not keep; train on this source itself, remove the weights, \
         or leave such rows out with `skip_invalid = true`"
    ))
}

/// The names of the fields in messages that are not written, each once.
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
