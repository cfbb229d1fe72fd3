//! Pages as a run sees them, and where they come from: archives (WARC, WET), HTML files, and rows of Parquet or JSONL.

use crate::charset::decode;
use crate::warc::{self, Record, Records};
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Bytes of an HTML file at most.
const LARGEST_FILE: u64 = warc::LARGEST_BLOCK;
/// Columns that contain markup, in the order in which they are looked for.
const HTML_COLUMNS: [&str; 4] = ["html", "raw_html", "html_content", "warc_html"];
/// Columns that stay on a page's row: names there, and in datasets of code.
const KEPT_COLUMNS: [(&str, &[&str]); 4] = [
    ("path", &["path", "max_stars_repo_path", "file_path", "filename"]),
    ("license", &["license", "licenses", "detected_licenses", "max_stars_repo_licenses"]),
    ("repository", &["repository", "repo_name", "max_stars_repo_name"]),
    ("language", &["language", "lang"]),
];
const TEXT_COLUMNS: [&str; 3] = ["text", "content", "raw_content"];

/// A page on its way through the stages.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Page {
    /// Its name: file and offset, or file and line.
    pub(crate) row: String,
    pub(crate) url: Option<String>,
    pub(crate) date: Option<String>,
    pub(crate) title: String,
    pub(crate) body: Body,
    /// What was measured, in order.
    pub(crate) values: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    /// Markup, not decoded yet.
    Html {
        bytes: Vec<u8>,
        charset: Option<String>,
    },
    Text(String),
    /// Nothing that can be read: the reason and its value.
    Unusable(&'static str, Value),
}

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Archive,
    Html,
    Rows,
}

/// A file of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// Its path within the input.
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

impl Source {
    /// The files of an input, sorted by name; names that are not read are in the second list.
    pub(crate) fn list(input: &Path) -> Result<(Vec<Self>, Vec<String>)> {
        let mut files = Vec::new();
        if input.is_dir() {
            collect(input, &mut files)?;
        } else {
            files.push(input.to_owned());
        }
        files.sort();
        let (mut sources, mut skipped) = (Vec::new(), Vec::new());
        for path in files {
            let within = path.strip_prefix(input).ok().filter(|within| !within.as_os_str().is_empty());
            let name = within.map(|within| within.display().to_string());
            let name = name
                .or_else(|| path.file_name().map(|name| name.to_string_lossy().into_owned()))
                .unwrap_or_default();
            let bytes =
                std::fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?.len();
            match kind(&name) {
                Some(_) => sources.push(Self { path, name, bytes }),
                None => skipped.push(name),
            }
        }
        if sources.is_empty() {
            bail!(
                "{} contains nothing to read; expected .warc, .wet (also .gz, .zst), .html, .parquet or .jsonl",
                input.display()
            );
        }
        Ok((sources, skipped))
    }

    /// Its pages, and what could not be read.
    pub(crate) fn pages(&self) -> Result<Pages> {
        let inner = match kind(&self.name) {
            Some(Kind::Archive) => {
                let records = Records::open(&self.path)
                    .with_context(|| format!("cannot read {}", self.path.display()))?;
                Inner::Archive(Box::new(records))
            }
            Some(Kind::Html) => Inner::Html(Some(self.path.clone())),
            _ => Inner::Rows(Box::new(
                datasets::file_objects(&self.path)?.map(|row| row.map_err(anyhow::Error::from)),
            )),
        };
        Ok(Pages { name: self.name.clone(), inner, losses: warc::Losses::default() })
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let read = || -> std::io::Result<Vec<_>> { std::fs::read_dir(folder)?.collect() };
    for entry in read().with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry.path();
        // Links to folders could lead in circles.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&path, files)?,
            _ if path.is_file() && !entry.file_name().to_string_lossy().starts_with('.') => files.push(path),
            _ => {}
        }
    }
    Ok(())
}

fn kind(name: &str) -> Option<Kind> {
    let name = name.to_ascii_lowercase();
    let plain =
        [".gz", ".zst", ".zstd"].iter().find_map(|extension| name.strip_suffix(extension)).unwrap_or(&name);
    if plain.ends_with(".warc") || plain.ends_with(".wet") {
        Some(Kind::Archive)
    } else if name.ends_with(".html") || name.ends_with(".htm") || name.ends_with(".xhtml") {
        Some(Kind::Html)
    } else {
        datasets::is_data(&name).then_some(Kind::Rows)
    }
}

/// The pages of a file.
pub(crate) struct Pages {
    name: String,
    inner: Inner,
    losses: warc::Losses,
}

/// Rows with their line, from 1.
type NumberedRows = Box<dyn Iterator<Item = Result<(usize, Map<String, Value>)>> + Send>;

enum Inner {
    Archive(Box<Records>),
    Html(Option<PathBuf>),
    Rows(NumberedRows),
}

impl Pages {
    /// What could not be read.
    pub(crate) fn losses(&self) -> &warc::Losses {
        match &self.inner {
            Inner::Archive(records) => records.losses(),
            _ => &self.losses,
        }
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.inner {
            Inner::Archive(records) => loop {
                match records.next()? {
                    Ok(record) => {
                        if let Some(page) = from_record(&self.name, record) {
                            return Some(Ok(page));
                        }
                    }
                    Err(error) => {
                        return Some(Err(
                            anyhow::Error::from(error).context(format!("cannot read {}", self.name))
                        ));
                    }
                }
            },
            Inner::Html(path) => {
                let path = path.take()?;
                Some(from_file(&self.name, &path))
            }
            Inner::Rows(rows) => loop {
                match rows.next()? {
                    Ok((number, row)) => return Some(Ok(from_row(&self.name, number, row))),
                    Err(error) => {
                        self.losses.damaged += 1;
                        if self.losses.named.len() < 20 {
                            self.losses.named.push(format!("{error:#}"));
                        }
                    }
                }
            },
        }
    }
}

/// A page of which nothing but its body is known.
pub(crate) fn page(row: String, body: Body) -> Page {
    Page { row, url: None, date: None, title: String::new(), body, values: Map::new() }
}

/// The page in a record; `None` for records that hold none.
fn from_record(name: &str, record: Record) -> Option<Page> {
    let Record { offset, index, kind, url, date, content_type, block } = record;
    let row = if index == 0 { format!("{name}:{offset}") } else { format!("{name}:{offset}#{index}") };
    let is_html = |media_type: &str| matches!(media_type, "text/html" | "application/xhtml+xml" | "");
    let body = match kind.as_str() {
        "response" if !url.as_deref().is_some_and(|url| url.starts_with("http")) => return None,
        "response" => match warc::response(&block) {
            Err(reason) => Body::Unusable("http", json!(reason)),
            Ok(body) if body.status != 200 => Body::Unusable("http_status", json!(body.status)),
            Ok(body) if body.media_type == "text/plain" => {
                Body::Text(decode(&body.bytes, body.charset.as_deref()))
            }
            Ok(body) if !is_html(&body.media_type) => Body::Unusable("media_type", json!(body.media_type)),
            Ok(body) => Body::Html { bytes: body.bytes, charset: body.charset },
        },
        "conversion" => Body::Text(decode(&block, None)),
        "resource" if content_type.as_deref().is_some_and(|kind| kind.starts_with("text/html")) => {
            Body::Html { bytes: block, charset: None }
        }
        _ => return None,
    };
    Some(Page { url, date, ..page(row, body) })
}

fn from_file(name: &str, path: &Path) -> Result<Page> {
    let bytes = std::fs::metadata(path).map(|metadata| metadata.len()).unwrap_or_default();
    if bytes > LARGEST_FILE {
        return Ok(page(name.to_owned(), Body::Unusable("too_large", json!(bytes))));
    }
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(page(name.to_owned(), Body::Html { bytes, charset: None }))
}

fn from_row(name: &str, number: usize, mut row: Map<String, Value>) -> Page {
    let mut take = |names: &[&str]| {
        let found = names.iter().find(|name| row.get(**name).is_some_and(Value::is_string))?;
        match row.remove(*found) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    };
    let body = match (take(&HTML_COLUMNS), take(&TEXT_COLUMNS)) {
        // The bytes are UTF-8 whatever the page declares.
        (Some(html), _) => Body::Html { bytes: html.into_bytes(), charset: None },
        (None, Some(text)) => Body::Text(text),
        (None, None) => {
            Body::Unusable("no_column", json!(row.keys().cloned().collect::<Vec<_>>().join(", ")))
        }
    };
    let url = row.get("url").or_else(|| row.get("URL")).and_then(Value::as_str).map(str::to_owned);
    let date = row.get("date").or_else(|| row.get("timestamp")).and_then(Value::as_str).map(str::to_owned);
    let values = KEPT_COLUMNS.iter().filter_map(|(name, columns)| {
        let value = columns.iter().find_map(|column| row.get(*column).and_then(words))?;
        Some(((*name).to_owned(), json!(value)))
    });
    Page { url, date, values: values.collect(), ..page(format!("{name}:{number}"), body) }
}

/// A text, or several of a list in one.
fn words(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        _ => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}
