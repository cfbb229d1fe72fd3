//! The rows to clean. They are read once from end to end before anything is decided, so that rows that cannot be
//! read are reported first; then again by each stage, so that memory does not grow with their texts.

use anyhow::{Context, Result, bail};
use datasets::columns::Columns;
use datasets::{RawRow, Row, read_raw};
use serde_json::Value;
use std::path::{Path, PathBuf};
use terminal::Progress;

/// Rows that cannot be read and are listed one by one.
const LISTED: usize = 20;

/// Every row of the input.
pub(super) struct Survey {
    pub(super) input: PathBuf,
    pub(super) rows: Vec<RowName>,
    files: Vec<String>,
    /// Files without rows, and rows that cannot be read, with the reasons.
    pub(super) skipped: Vec<String>,
    /// Whether `skipped` contains rows.
    skips_rows: bool,
    /// The layouts of the files.
    pub(super) layouts: Vec<String>,
}

/// The location of a row, and its id.
pub(super) struct RowName {
    file: u32,
    number: usize,
    pub(super) id: Option<String>,
}

impl Survey {
    /// Reads every row.
    ///
    /// # Errors
    /// Lists the rows that cannot be read, unless these are to be skipped; refuses an input without rows.
    pub(super) fn read(input: &Path, skip_unreadable: bool) -> Result<Self> {
        let mut survey = Self {
            input: input.to_owned(),
            rows: Vec::new(),
            files: Vec::new(),
            skipped: Vec::new(),
            skips_rows: false,
            layouts: Vec::new(),
        };
        let progress = Progress::new("reading", "rows", None);
        let mut unreadable = Vec::new();
        let mut reading = read_raw(input)?;
        for raw in reading.by_ref() {
            progress.advance(1);
            match raw.and_then(|raw| Ok((survey.name(&raw), raw.row()?))) {
                Ok((name, _)) => survey.rows.push(name),
                Err(error) => unreadable.push(error.to_string()),
            }
        }
        progress.finish();
        if !unreadable.is_empty() && !skip_unreadable {
            return refuse(input, &unreadable);
        }
        let skipped = reading.skipped().iter().map(|(file, reason)| format!("{}: {reason}", file.display()));
        survey.skips_rows = !unreadable.is_empty();
        survey.skipped = skipped.chain(unreadable).collect();
        for (_, layout) in reading.layouts() {
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

    fn name(&mut self, raw: &RawRow) -> RowName {
        let file = raw.file.strip_prefix(&self.input).ok().filter(|path| !path.as_os_str().is_empty());
        let file = file.or(raw.file.file_name().map(Path::new)).unwrap_or(&raw.file).display().to_string();
        if self.files.last() != Some(&file) {
            self.files.push(file);
        }
        let id = match raw.object.get("id") {
            Some(Value::String(id)) => Some(id.clone()),
            Some(Value::Number(id)) => Some(id.to_string()),
            _ => None,
        };
        RowName { file: self.files.len() as u32 - 1, number: raw.number, id }
    }

    /// The location of a row: file and number.
    pub(super) fn location(&self, row: usize) -> String {
        let name = &self.rows[row];
        format!("{}:{}", self.files[name.file as usize], name.number)
    }

    /// Iterates over the rows with their index in `rows`, as they are in their files.
    pub(super) fn raw_rows(&self) -> Result<impl Iterator<Item = Result<(usize, RawRow)>> + use<>> {
        let rows = read_raw(&self.input)?;
        // Rows that the survey could not read have no index.
        let all_are_rows = !self.skips_rows;
        let is_row = move |raw: &RawRow| all_are_rows || raw.clone().row().is_ok();
        let readable = rows.filter(move |raw| raw.as_ref().is_ok_and(is_row));
        Ok(readable.enumerate().map(|(index, raw)| Ok((index, raw?))))
    }

    /// Iterates over the texts of the rows that `is_wanted` selects, with their indices, and shows the progress of
    /// a stage.
    pub(super) fn texts<'a>(
        &self,
        stage: &'static str,
        is_wanted: impl Fn(usize) -> bool + 'a,
        text: impl Fn(&Row) -> String + 'a,
    ) -> Result<impl Iterator<Item = Result<(usize, String)>> + 'a> {
        let progress = Progress::new(stage, "rows", Some(self.rows.len() as u64));
        let rows = read_raw(&self.input)?.filter_map(|raw| raw.and_then(RawRow::row).ok()).enumerate();
        let counted = rows.inspect(move |_| progress.advance(1));
        Ok(counted
            .filter(move |(index, _)| is_wanted(*index))
            .map(move |(index, located)| Ok((index, text(&located.row)))))
    }

    /// The columns of the rows that are kept.
    pub(super) fn columns(&self, keeps: impl Fn(usize) -> bool) -> Result<Columns> {
        let mut columns = Columns::default();
        for raw in self.raw_rows()? {
            let (index, raw) = raw.context("the input changed while it was read")?;
            if keeps(index) {
                columns.add(&raw.object);
            }
        }
        Ok(columns)
    }
}

fn refuse<T>(input: &Path, unreadable: &[String]) -> Result<T> {
    let listed = unreadable.len().min(LISTED);
    let more = match unreadable.len() - listed {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    bail!(
        "{}: {} rows cannot be read ({}{more}); correct them, or give `--skip-unreadable` to leave them out",
        input.display(),
        unreadable.len(),
        unreadable[..listed].join("; ")
    )
}
