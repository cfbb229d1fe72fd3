//! The rows to clean: read once from end to end before anything is decided, so that what cannot be read is named first;
//! then read again by each stage, so that memory does not grow with their texts.

use anyhow::{Context, Result, bail};
use datasets::columns::Columns;
use datasets::{Found, Message, Row, objects};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Unreadable places that are named one by one.
const NAMED: usize = 20;

/// What of a row is compared with other rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Compare {
    /// Everything that is said, without the system prompt
    Conversation,
    /// The user's first words
    Prompt,
}

/// Every row of the input.
pub(super) struct Survey {
    pub(super) input: PathBuf,
    pub(super) rows: Vec<Name>,
    files: Vec<String>,
    /// Files that hold no rows, and places that cannot be read, each with the reason.
    pub(super) skipped: Vec<String>,
    /// Whether some of those are rows.
    broken: bool,
    /// The layouts that were found.
    pub(super) layouts: Vec<String>,
}

/// What a row is called.
pub(super) struct Name {
    file: u32,
    number: usize,
    pub(super) id: Option<String>,
}

impl Survey {
    /// Reads every row. Places that cannot be read are refused, all of them named, unless they are to be skipped.
    pub(super) fn of(input: &Path, skip_unreadable: bool) -> Result<Self> {
        let mut survey = Self {
            input: input.to_owned(),
            rows: Vec::new(),
            files: Vec::new(),
            skipped: Vec::new(),
            broken: false,
            layouts: Vec::new(),
        };
        let bar = progress("reading", None);
        let mut broken = Vec::new();
        let mut reading = objects(input)?;
        for found in reading.by_ref() {
            bar.inc(1);
            match found.and_then(|found| Ok((survey.name(&found), found.row()?))) {
                Ok((name, _)) => survey.rows.push(name),
                Err(error) => broken.push(error.to_string()),
            }
        }
        bar.finish_and_clear();
        if !broken.is_empty() && !skip_unreadable {
            let more = broken.len().saturating_sub(NAMED);
            let named = broken[..broken.len() - more].join("\n  ");
            let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
            bail!(
                "rows that cannot be read:\n  {named}{more}\nmend them, or leave them out with --skip-unreadable"
            );
        }
        let skipped = reading.skipped().iter().map(|(file, reason)| format!("{}: {reason}", file.display()));
        survey.broken = !broken.is_empty();
        survey.skipped = skipped.chain(broken).collect();
        for (_, layout) in reading.layouts() {
            let layout = format!("{layout:?}");
            if !survey.layouts.contains(&layout) {
                survey.layouts.push(layout);
            }
        }
        if survey.rows.is_empty() {
            bail!("{} holds no row to clean", input.display());
        }
        Ok(survey)
    }

    fn name(&mut self, found: &Found) -> Name {
        let file = found.file.strip_prefix(&self.input).ok().filter(|path| !path.as_os_str().is_empty());
        let file =
            file.or(found.file.file_name().map(Path::new)).unwrap_or(&found.file).display().to_string();
        if self.files.last() != Some(&file) {
            self.files.push(file);
        }
        let id = match found.object.get("id") {
            Some(Value::String(id)) => Some(id.clone()),
            Some(Value::Number(id)) => Some(id.to_string()),
            _ => None,
        };
        Name { file: self.files.len() as u32 - 1, number: found.number, id }
    }

    /// Where a row stands: file and number.
    pub(super) fn place(&self, row: usize) -> String {
        let name = &self.rows[row];
        format!("{}:{}", self.files[name.file as usize], name.number)
    }

    /// The rows, with their numbers in `rows`, as they stand in their files.
    pub(super) fn objects(&self) -> Result<impl Iterator<Item = Result<(usize, Found)>> + use<>> {
        let found = objects(&self.input)?;
        // What the survey could not read has no number.
        let all = !self.broken;
        let is_row = move |found: &Found| all || found.clone().row().is_ok();
        let readable = found.filter(move |found| found.as_ref().is_ok_and(is_row));
        Ok(readable.enumerate().map(|(row, found)| Ok((row, found?))))
    }

    /// The texts of the rows that `wanted` wants, with their numbers, under a bar.
    pub(super) fn texts<'a>(
        &self,
        what: &'static str,
        wanted: impl Fn(usize) -> bool + 'a,
        text: impl Fn(&Row) -> String + 'a,
    ) -> Result<impl Iterator<Item = Result<(usize, String)>> + 'a> {
        let bar = progress(what, Some(self.rows.len()));
        let rows = objects(&self.input)?.filter_map(|found| found.and_then(Found::row).ok()).enumerate();
        let shown = rows.inspect(move |_| bar.inc(1));
        Ok(shown
            .filter(move |(row, _)| wanted(*row))
            .map(move |(row, located)| Ok((row, text(&located.row)))))
    }

    /// The columns of the rows that are kept.
    pub(super) fn columns(&self, kept: impl Fn(usize) -> bool) -> Result<Columns> {
        let mut columns = Columns::default();
        for found in self.objects()? {
            let (row, found) = found.context("the input changed while it was read")?;
            if kept(row) {
                columns.add(&found.object);
            }
        }
        Ok(columns)
    }
}

impl Compare {
    /// The text that is compared.
    pub(super) fn text(self, row: &Row) -> String {
        let messages: Vec<&Message> = match row {
            Row::Text(row) => return row.text.clone(),
            Row::Chat(row) => row.messages.iter().collect(),
            Row::Preference(row) => row.prompt.iter().chain(&row.chosen).chain(&row.rejected).collect(),
        };
        let first = messages.iter().find(|message| message.role == "user");
        match (self, first) {
            (Self::Prompt, Some(first)) => first.content.clone(),
            _ => joined(messages.into_iter().filter(|message| message.role != "system")),
        }
    }
}

/// Everything in a row that could be a question of an evaluation set.
pub(super) fn whole_text(row: &Row) -> String {
    match row {
        Row::Text(row) => row.text.clone(),
        Row::Chat(row) => joined(row.messages.iter()),
        Row::Preference(row) => joined(row.prompt.iter().chain(&row.chosen).chain(&row.rejected)),
    }
}

fn joined<'a>(messages: impl Iterator<Item = &'a Message>) -> String {
    messages.map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n")
}

/// A bar on a terminal, nothing elsewhere.
fn progress(what: &'static str, rows: Option<usize>) -> ProgressBar {
    let bar = rows.map_or_else(ProgressBar::new_spinner, |rows| ProgressBar::new(rows as u64));
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = if rows.is_some() {
        "{prefix} [{bar:30}] {pos}/{len} rows, ETA {eta}"
    } else {
        "{prefix} {pos} rows"
    };
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.with_prefix(what)
}
