//! What a pass made of one file of the input: pages that are kept, pages that were dropped, and counts, which are written
//! last: a part with counts is whole.

use crate::warc::Losses;
use anyhow::{Context, Result};
use files::atomic::{self, NewFile};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// The level of compression between passes.
const LEVEL: i32 = 1;

/// Its place.
pub(super) struct Part {
    folder: PathBuf,
    number: usize,
}

/// Numbers of pages of a part, and what of its file could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) kept: u64,
    pub(super) dropped: u64,
    pub(super) damaged: u64,
    pub(super) too_large: u64,
    pub(super) named: Vec<String>,
}

impl Counts {
    pub(super) fn of(losses: &Losses) -> Self {
        let Losses { damaged, too_large, named } = losses.clone();
        Self { damaged, too_large, named, ..Self::default() }
    }
}

impl Part {
    pub(super) fn new(work: &Path, pass: usize, number: usize) -> Self {
        Self { folder: work.join(format!("pass-{pass}")), number }
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("{:06}.{kind}", self.number))
    }

    pub(super) fn is_done(&self) -> bool {
        self.path("json").exists()
    }

    pub(super) fn counts(&self) -> Result<Counts> {
        let path = self.path("json");
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{} cannot be read; give `--restart`", path.display()))
    }

    /// The pages that are kept.
    pub(super) fn kept(&self) -> Result<Rows> {
        Rows::open(&self.path("kept.zst"))
    }

    /// The pages that were dropped.
    pub(super) fn dropped(&self) -> Result<Rows> {
        Rows::open(&self.path("dropped.zst"))
    }
}

/// A part that is being written.
pub(super) struct NewPart {
    kept: zstd::Encoder<'static, NewFile>,
    dropped: zstd::Encoder<'static, NewFile>,
    counts: PathBuf,
}

impl NewPart {
    pub(super) fn create(part: &Part) -> Result<Self> {
        atomic::create_folder(&part.folder)?;
        let encoder =
            |kind: &str| -> Result<_> { Ok(zstd::Encoder::new(NewFile::create(&part.path(kind))?, LEVEL)?) };
        Ok(Self { kept: encoder("kept.zst")?, dropped: encoder("dropped.zst")?, counts: part.path("json") })
    }

    pub(super) fn keep(&mut self, row: &Map<String, Value>) -> Result<()> {
        write_row(&mut self.kept, row)
    }

    pub(super) fn drop(&mut self, row: &Map<String, Value>) -> Result<()> {
        write_row(&mut self.dropped, row)
    }

    pub(super) fn commit(self, counts: &Counts) -> Result<()> {
        self.kept.finish()?.commit()?;
        self.dropped.finish()?.commit()?;
        atomic::write(&self.counts, serde_json::to_vec(counts)?)?;
        Ok(())
    }
}

fn write_row(writer: &mut impl Write, row: &Map<String, Value>) -> Result<()> {
    serde_json::to_writer(&mut *writer, row)?;
    writer.write_all(b"\n")?;
    Ok(())
}

/// The rows of a file of a part.
pub(super) struct Rows {
    lines: std::io::Lines<BufReader<zstd::Decoder<'static, BufReader<File>>>>,
    path: PathBuf,
}

impl Rows {
    fn open(path: &Path) -> Result<Self> {
        let open =
            || -> std::io::Result<_> { Ok(BufReader::new(zstd::Decoder::new(File::open(path)?)?).lines()) };
        Ok(Self {
            lines: open().with_context(|| format!("cannot read {}", path.display()))?,
            path: path.to_owned(),
        })
    }
}

impl Iterator for Rows {
    type Item = Result<Map<String, Value>>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.lines.next()?;
        let row = line.map_err(anyhow::Error::from).and_then(|line| Ok(serde_json::from_str(&line)?));
        Some(row.with_context(|| format!("{} is damaged; give `--restart`", self.path.display())))
    }
}
