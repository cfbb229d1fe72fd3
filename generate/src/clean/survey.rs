//! The rows to clean. They are read once from end to end before anything is decided, so that rows that cannot be
//! read are reported first; then again by each stage, so that memory does not grow with their texts.

use super::compare::{Compare, whole_text, whole_text_of};
use crate::oddities::{OddRows, Oddities};
use anyhow::{Context, Result, bail};
use datasets::batch::{Size, batch};
use datasets::columns::Columns;
use datasets::{Error, LocatedRow, Message, RawRow, ReadOptions, Row, UnchangedFiles, read_raw_with};
use datasets::{PlainRow, QuickRow, read_quick_with};
use rayon::prelude::*;
use serde_json::Value;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use terminal::Progress;

/// Rows that cannot be read and are listed one by one.
const LISTED: usize = 20;

/// Every row of the input.
pub(super) struct Survey {
    pub(super) input: PathBuf,
    /// What it is called: the name of its file or folder, or a hub id.
    pub(super) name: String,
    pub(super) rows: Vec<RowName>,
    files: Vec<String>,
    /// The file of the last row, whose shown path is the last of `files`.
    last_file: Option<PathBuf>,
    /// Files without rows, and rows that cannot be read, with the reasons.
    pub(super) skipped: Vec<String>,
    /// Whether `skipped` contains rows.
    skips_rows: bool,
    /// The layouts of the files.
    pub(super) layouts: Vec<String>,
    /// How the rows are read.
    reading: ReadOptions,
    /// Rows about which something is odd.
    pub(super) odd: OddRows,
    /// Ids that more than one row has.
    pub(super) repeated_ids: usize,
    /// Halves of surrogate pairs that became U+FFFD.
    pub(super) surrogates: usize,
}

/// The location of a row, and its id.
pub(super) struct RowName {
    file: u32,
    number: usize,
    pub(super) id: Option<String>,
    /// Whether a reply or the text is blank.
    pub(super) is_empty: bool,
    /// Whether an assistant says nothing in it.
    pub(super) has_no_reply: bool,
}

impl Survey {
    /// Reads every row.
    ///
    /// # Errors
    /// Lists the rows that cannot be read, unless these are to be skipped; refuses an input without rows.
    pub(super) fn read(input: &Path, reading: &ReadOptions) -> Result<Self> {
        let mut survey = Self {
            input: input.to_owned(),
            name: input.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            rows: Vec::new(),
            files: Vec::new(),
            last_file: None,
            skipped: Vec::new(),
            skips_rows: false,
            layouts: Vec::new(),
            // What cannot be read is counted here.
            reading: ReadOptions { skip_invalid: false, ..reading.clone() },
            odd: OddRows::default(),
            repeated_ids: 0,
            surrogates: 0,
        };
        let progress = Progress::new("reading", "rows", None);
        let mut unreadable = Vec::new();
        let mut rows = read_quick_with(input, &survey.reading)?;
        let mut ids = HashSet::new();
        for row in converted(rows.by_ref(), |row| SurveyedRow::of(row?)) {
            progress.advance(1);
            match row {
                Ok(row) => {
                    survey.odd.add(row.odd);
                    survey.repeated_ids +=
                        usize::from(row.id.as_ref().is_some_and(|id| !ids.insert(hash(id))));
                    let name = survey.name(row);
                    survey.rows.push(name);
                }
                Err(error) if error.is_of_one_row() => unreadable.push(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        progress.finish();
        if !unreadable.is_empty() && !reading.skip_invalid {
            return refuse(input, &unreadable);
        }
        survey.surrogates = rows.surrogates();
        let skipped = rows.skipped().iter().map(|(file, reason)| format!("{}: {reason}", file.display()));
        survey.skips_rows = !unreadable.is_empty();
        // Published files must not contain paths of this machine. Every text begins with its path.
        let prefix =
            input.parent().map(|parent| format!("{}/", parent.display())).filter(|prefix| prefix.len() > 1);
        let without = |text: String| match prefix.as_ref().and_then(|prefix| text.strip_prefix(prefix)) {
            Some(rest) => rest.to_owned(),
            None => text,
        };
        survey.skipped = skipped.chain(unreadable).map(without).collect();
        for (_, layout) in rows.layouts() {
            let layout = format!("{layout:?}");
            if !survey.layouts.contains(&layout) {
                survey.layouts.push(layout);
            }
        }
        if survey.rows.is_empty() {
            bail!("{} contains no rows", input.display());
        }
        Ok(survey)
    }

    fn name(&mut self, row: SurveyedRow) -> RowName {
        let SurveyedRow { file, number, id, is_empty, odd } = row;
        if self.last_file.as_ref() != Some(&file) {
            self.files.push(self.shown(&file));
            self.last_file = Some(file);
        }
        RowName { file: self.files.len() as u32 - 1, number, id, is_empty, has_no_reply: odd.has_no_reply() }
    }

    /// A file's path within the input.
    fn shown(&self, file: &Path) -> String {
        let within = file.strip_prefix(&self.input).ok().filter(|path| !path.as_os_str().is_empty());
        within.or(file.file_name().map(Path::new)).unwrap_or(file).display().to_string()
    }

    /// Returns whether rows are kept by file and number, asked in the order of the rows; `None` for rows that are not
    /// those of their files one by one.
    pub(super) fn by_location<'a>(
        &'a self,
        keeps: impl Fn(usize) -> bool + 'a,
    ) -> Option<impl FnMut(&Path, usize) -> bool + 'a> {
        // Trees are put together from several rows.
        let is_one_by_one = self.layouts.iter().all(|layout| layout != "Tree");
        let mut next = 0;
        is_one_by_one.then_some(move |file: &Path, number: usize| {
            let row = self.rows.get(next);
            let is_next = row
                .is_some_and(|row| row.number == number && self.files[row.file as usize] == self.shown(file));
            next += usize::from(is_next);
            is_next && keeps(next - 1)
        })
    }

    /// Files that are copied column by column, if the input is Parquet or Arrow of one schema.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn unchanged_files(&self) -> Result<Option<UnchangedFiles>> {
        Ok(UnchangedFiles::find(&self.input, &self.reading)?)
    }

    /// Refuses columns that would not be in the output what they are in the input.
    ///
    /// # Errors
    /// Names a file and its column of bytes, such as images.
    pub(super) fn refuse_bytes(&self) -> Result<()> {
        if let Some((file, column)) = UnchangedFiles::column_of_bytes(&self.input, &self.reading)? {
            bail!(
                "{}: the column `{column}` has bytes, which neither JSON nor rows of different files have a type for; write \
                 Parquet (`--format parquet`), from Parquet files that all have the same columns",
                self.shown(&file)
            );
        }
        Ok(())
    }

    /// The location of a row: file and number.
    pub(super) fn location(&self, row: usize) -> String {
        let name = &self.rows[row];
        format!("{}:{}", self.files[name.file as usize], name.number)
    }

    /// Iterates over the rows with their index in `rows`, as they are in their files.
    pub(super) fn raw_rows(&self) -> Result<impl Iterator<Item = Result<(usize, RawRow)>> + use<>> {
        let rows = read_raw_with(&self.input, &self.reading)?;
        // Rows that the survey could not read have no index.
        let all_are_rows = !self.skips_rows;
        let is_row = move |raw: &RawRow| all_are_rows || raw.clone().row().is_ok();
        let readable = rows.filter(move |raw| raw.as_ref().is_ok_and(is_row));
        Ok(readable.enumerate().map(|(index, raw)| Ok((index, raw?))))
    }

    /// Iterates over what `item` makes of the texts of the rows that `is_wanted` selects, with their indices; shows the
    /// progress of a stage. Texts and items are made on all cores.
    pub(super) fn texts<'a, T: Send + 'a>(
        &self,
        stage: &'static str,
        is_wanted: impl Fn(usize) -> bool + 'a,
        text: RowText,
        item: impl Fn(String) -> T + Sync + 'a,
    ) -> Result<impl Iterator<Item = Result<(usize, T)>> + 'a> {
        let progress = Progress::new(stage, "rows", Some(self.rows.len() as u64));
        let rows = read_quick_with(&self.input, &self.reading)?;
        let rows = converted(rows, move |row| row.and_then(|row| text.of(row)).ok().map(&item)).flatten();
        let counted = rows.enumerate().inspect(move |_| progress.advance(1));
        Ok(counted.filter(move |(index, _)| is_wanted(*index)).map(Ok))
    }

    /// The columns of the rows that are kept.
    pub(super) fn columns(&self, keeps: impl Fn(usize) -> bool + Sync) -> Result<Columns> {
        let mut columns = Columns::default();
        let mut rows = self.raw_rows()?;
        loop {
            let batch = batch(&mut rows, COLUMNS_BATCH).into_iter().collect::<Result<Vec<_>>>();
            let batch = batch.context("the input changed while it was read")?;
            if batch.is_empty() {
                return Ok(columns);
            }
            let of_rows = |rows: &[(usize, RawRow)]| {
                let mut columns = Columns::default();
                let kept = rows.iter().filter(|(index, _)| keeps(*index));
                kept.for_each(|(_, raw)| columns.add(&raw.object));
                columns
            };
            // In order, as the columns appear.
            let parts: Vec<Columns> = batch.par_chunks(COLUMNS_BATCH / 16).map(of_rows).collect();
            parts.into_iter().for_each(|part| columns.merge(part));
        }
    }
}

/// Rows whose columns are found together.
const COLUMNS_BATCH: usize = 1024;

/// Which text of a row is made.
#[derive(Debug, Clone, Copy)]
pub(super) enum RowText {
    /// What is compared with other rows.
    Compared(Compare),
    /// Everything that could be a question.
    Whole,
}

impl RowText {
    fn of(self, row: QuickRow) -> Result<String, Error> {
        Ok(match (self, row) {
            (Self::Compared(compare), QuickRow::Plain(row)) => compare.text_of(&messages(&row)),
            (Self::Compared(compare), QuickRow::Raw(raw)) => compare.text(&raw.row()?.row),
            (Self::Whole, QuickRow::Plain(row)) => whole_text_of(&messages(&row)),
            (Self::Whole, QuickRow::Raw(raw)) => whole_text(&raw.row()?.row),
        })
    }
}

fn messages(row: &PlainRow) -> Vec<(&str, &str)> {
    row.messages().collect()
}

/// What is kept of a row that is read.
struct SurveyedRow {
    file: PathBuf,
    number: usize,
    id: Option<String>,
    is_empty: bool,
    odd: Oddities,
}

impl SurveyedRow {
    fn of(row: QuickRow) -> Result<Self, Error> {
        match row {
            QuickRow::Plain(row) => Ok(Self::of_plain(&row)),
            QuickRow::Raw(raw) => Self::of_raw(raw),
        }
    }

    fn of_plain(row: &PlainRow) -> Self {
        let odd = Oddities::of_messages(row.messages().map(|(role, text)| (role, text.trim().is_empty())));
        Self {
            file: row.file().to_owned(),
            number: row.number(),
            id: row.id().map(str::to_owned),
            is_empty: odd.has_empty_reply(),
            odd,
        }
    }

    fn of_raw(raw: RawRow) -> Result<Self, Error> {
        let id = match raw.object.get("id") {
            Some(Value::String(id)) => Some(id.clone()),
            Some(Value::Number(id)) => Some(id.to_string()),
            _ => None,
        };
        let LocatedRow { row, file, number } = raw.row()?;
        let odd = Oddities::of(&row);
        let is_empty = match &row {
            // A blank reply may be the worse one.
            Row::Preference(row) => row.chosen.iter().all(Message::is_empty),
            _ => odd.has_empty_reply(),
        };
        Ok(Self { file, number, id, is_empty, odd })
    }
}

/// Rows that are converted together on all cores.
const BATCH: usize = 256;

/// What `convert` makes of rows, in order.
fn converted<R: Send + Size, T: Send>(
    mut rows: impl Iterator<Item = Result<R, Error>>,
    convert: impl Fn(Result<R, Error>) -> T + Sync,
) -> impl Iterator<Item = T> {
    let mut ready = Vec::new().into_iter();
    std::iter::from_fn(move || {
        if ready.len() == 0 {
            ready = batch(&mut rows, BATCH).into_par_iter().map(&convert).collect::<Vec<T>>().into_iter();
        }
        ready.next()
    })
}

fn hash(text: &str) -> u64 {
    random::fnv1a(text)
}

fn refuse<T>(input: &Path, unreadable: &[String]) -> Result<T> {
    let listed = unreadable.len().min(LISTED);
    let more = match unreadable.len() - listed {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    bail!(
        "{}: {} rows cannot be read ({}{more}); correct them, or give `--skip-invalid` to leave them out",
        input.display(),
        unreadable.len(),
        unreadable[..listed].join("; ")
    )
}
