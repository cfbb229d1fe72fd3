//! The format of a file, by its name.

use super::compression;
use std::path::Path;

/// The format that a file's name states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    JsonLines,
    Json,
    Parquet,
    Arrow,
    Csv,
    Tsv,
    Text,
}

impl Format {
    /// The format of an extension, before that of a compression; `None` for any other file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        // A name need not be UTF-8 for its extension to be read.
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let name = compression::EXTENSIONS.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "jsonl" | "ndjson" | "jsonlines" | "jl" => Some(Self::JsonLines),
            "json" => Some(Self::Json),
            "parquet" => Some(Self::Parquet),
            "arrow" => Some(Self::Arrow),
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            "txt" => Some(Self::Text),
            _ => None,
        }
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Json => "json",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Text => "txt",
        }
    }

    /// What errors count in this format.
    pub(crate) fn unit(self) -> &'static str {
        if matches!(self, Self::Parquet | Self::Arrow) { "row" } else { "line" }
    }
}
