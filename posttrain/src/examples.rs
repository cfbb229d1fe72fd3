//! Rows -> tokenized sequences with the tokens to be learned marked, in parallel, once for each content.
//!
//! The mask comes from `smollm::chat::render`, the code that serving uses too. A row that gives no sequence is
//! dropped with a reason that is counted and kept beside the tokens.

use crate::model::Sequence;
use crate::tokens::{Counts, Store, Writer};
use anyhow::{Context, Result, bail};
use datasets::{Located, Message, Row};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rayon::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use smollm::{ChatTemplate, Tokenizer, chat};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Raised whenever the same rows and rules would give other tokens.
const VERSION: u32 = 1;
/// Rows tokenized together.
const CHUNK: usize = 512;

/// Which tokens of a conversation add to the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum LossOn {
    /// What the assistant says, and the stop token that ends it.
    Assistant,
    /// Every token: what SmolLM2's own SFT did.
    All,
}

/// What happens to a sequence over `max_length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum TooLong {
    /// Its end is cut off, and counted.
    Cut,
    /// It is dropped as `too_long`.
    Drop,
}

/// How rows become sequences.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The template of conversations.
    pub template: &'a ChatTemplate,
    /// The model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// What ends a document.
    pub document_end: Option<u32>,
    /// Most tokens of a sequence.
    pub max_length: usize,
    /// What happens to more.
    pub too_long: TooLong,
    /// What adds to the loss.
    pub loss_on: LossOn,
}

/// Why a row gives no sequence: a word to count by, and what there is to say beyond it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Counted by this.
    pub reason: &'static str,
    /// The template's words, say.
    pub detail: String,
}

/// One row's sequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// One; two for a pair, the chosen one first.
    pub sequences: Vec<Sequence<'static>>,
    /// How many of them were cut.
    pub cut: usize,
}

/// What a run trains on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Conversations, prompts with completions, documents.
    Sft,
    /// Preference pairs.
    Preference,
}

/// The sequences of data files, from the cache where the same content was tokenized before.
///
/// # Errors
/// Names the file and line of a row that cannot be read; refuses data that gives nothing to train on.
pub fn tokenized(paths: &[PathBuf], kind: Kind, rules: &Rules<'_>, cache: &Path) -> Result<Store> {
    let folder = cache.join(key(paths, kind, rules)?);
    if let Some(store) = Store::open(&folder)? {
        return Ok(store);
    }
    remove_abandoned(cache);
    let mut writer = Writer::create(&folder)?;
    let progress = progress();
    for path in paths {
        let mut rows = datasets::read(path)?;
        loop {
            let chunk: Vec<Located> = rows.by_ref().take(CHUNK).collect::<Result<_, _>>()?;
            if chunk.is_empty() {
                break;
            }
            write_chunk(&mut writer, &chunk, kind, rules)?;
            progress.set_position(writer.counts.rows as u64);
            progress.set_message(format!("{} tokens", writer.counts.tokens));
        }
    }
    progress.finish_and_clear();
    writer.finish()
}

/// Tokenized data of which something can be trained, and says what became of its rows.
///
/// # Errors
/// As `tokenized`, and when nothing is left.
pub fn trainable(paths: &[PathBuf], kind: Kind, rules: &Rules<'_>, cache: &Path) -> Result<Store> {
    let store = tokenized(paths, kind, rules, cache)?;
    if store.is_empty() {
        let first = store.first_dropped().map_or_else(String::new, |row| format!("; the first: {row}"));
        bail!("{}: nothing to train on ({}{first})", listed(paths), store.counts.line());
    }
    tell(&listed(paths), &[&store]);
    Ok(store)
}

/// Says what became of the rows of some data, and where the dropped ones are listed.
pub fn tell(name: &str, stores: &[&Store]) {
    let mut counts = Counts::default();
    stores.iter().for_each(|store| counts.add(&store.counts));
    eprintln!("{name}: {}", counts.line());
    for store in stores.iter().filter(|store| !store.counts.dropped.is_empty()) {
        eprintln!("  dropped rows, and why: {}", store.folder.join("dropped.jsonl").display());
    }
}

/// Removes what runs that were killed while tokenizing left, a week later: a younger one may be alive.
fn remove_abandoned(cache: &Path) {
    let week = std::time::Duration::from_secs(7 * 24 * 3600);
    for entry in std::fs::read_dir(cache).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(".tokens-"));
        let changed = entry.metadata().and_then(|metadata| metadata.modified());
        if ours && changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age > week)) {
            // It costs nothing but space.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn write_chunk(writer: &mut Writer, chunk: &[Located], kind: Kind, rules: &Rules<'_>) -> Result<()> {
    let made: Vec<_> = chunk.par_iter().map(|located| example(&located.row, kind, rules)).collect();
    for (located, made) in chunk.iter().zip(made) {
        writer.counts.rows += 1;
        match made {
            Ok(example) => {
                example.sequences.iter().try_for_each(|sequence| writer.push(sequence))?;
                writer.counts.cut += example.cut;
            }
            Err(dropped) => {
                writer.drop_row(&located.file, located.number, dropped.reason, &dropped.detail)?;
            }
        }
    }
    Ok(())
}

/// One row's sequences.
///
/// # Errors
/// Why it gives none.
pub fn example(row: &Row, kind: Kind, rules: &Rules<'_>) -> Result<Example, Dropped> {
    let whole = match (kind, row) {
        (Kind::Sft, Row::Chat(row)) => {
            vec![conversation(&row.messages, row.metadata.get("tools"), 0, rules)?]
        }
        (Kind::Sft, Row::Text(row)) => vec![document(&row.text, rules)?],
        (Kind::Preference, Row::Preference(row)) => {
            let tools = row.metadata.get("tools");
            let side = |reply: &[Message]| {
                let messages = [&row.prompt, reply].concat();
                conversation(&messages, tools, row.prompt.len(), rules)
            };
            vec![side(&row.chosen)?, side(&row.rejected)?]
        }
        (Kind::Sft, _) => {
            return Err(dropped("preference_row", "it is a pair: `posttrain dpo` trains on it"));
        }
        (Kind::Preference, _) => return Err(dropped("not_a_pair", "expected chosen and rejected")),
    };
    let mut cut = 0;
    let mut sequences = Vec::with_capacity(whole.len());
    for mut sequence in whole {
        if sequence.ids.len() > rules.max_length {
            if rules.too_long == TooLong::Drop {
                return Err(dropped("too_long", format!("{} tokens", sequence.ids.len())));
            }
            sequence.ids.to_mut().truncate(rules.max_length);
            sequence.trained.to_mut().truncate(rules.max_length);
            cut += 1;
        }
        if sequence.trained_tokens() == 0 {
            let why = if cut > 0 { "cut before the first trained token" } else { "no reply of an assistant" };
            return Err(dropped("no_trained_token", why));
        }
        sequences.push(sequence);
    }
    Ok(Example { sequences, cut })
}

fn dropped(reason: &'static str, detail: impl Into<String>) -> Dropped {
    Dropped { reason, detail: detail.into() }
}

/// A conversation; messages before `from` are never trained.
fn conversation(
    messages: &[Message],
    tools: Option<&Value>,
    from: usize,
    rules: &Rules<'_>,
) -> Result<Sequence<'static>, Dropped> {
    let said: Vec<chat::Message> = messages.iter().map(as_rendered).collect();
    let tools = tools.filter(|tools| !tools.is_null());
    let rendered = chat::render(rules.template, rules.tokenizer, &said, tools)
        .map_err(|error| dropped("template_refused", error.to_string()))?;
    let learned = |role: &chat::TokenRole| match (rules.loss_on, role.message) {
        (LossOn::All, message) => from == 0 || message.is_some_and(|message| message as usize >= from),
        (LossOn::Assistant, Some(message)) => {
            role.content && message as usize >= from && taught(&messages[message as usize])
        }
        (LossOn::Assistant, None) => false,
    };
    let trained: Vec<bool> = rendered.roles.iter().map(learned).collect();
    Ok(Sequence { ids: rendered.ids.into(), trained: trained.into() })
}

/// The assistant's messages, unless a weight (OpenAI's name) of 0 takes one out; a weight above 0 puts any other in:
/// models that are to write users' turns are taught that way.
fn taught(message: &Message) -> bool {
    match message.extra.get("weight").and_then(Value::as_f64) {
        Some(weight) => weight > 0.0,
        None => message.role == "assistant",
    }
}

/// A row's message as templates see it.
fn as_rendered(message: &Message) -> chat::Message {
    let text = |name: &str| message.extra.get(name).and_then(Value::as_str).map(str::to_owned);
    chat::Message {
        role: message.role.clone(),
        content: message.content.clone(),
        tool_calls: message.tool_calls.clone(),
        tool_call_id: text("tool_call_id"),
        name: text("name"),
    }
}

/// A document and the token that ends it, all of it trained.
fn document(text: &str, rules: &Rules<'_>) -> Result<Sequence<'static>, Dropped> {
    if text.trim().is_empty() {
        return Err(dropped("empty_text", ""));
    }
    let end = rules.document_end.ok_or_else(|| {
        dropped("no_end_token", "the checkpoint names no end-of-sequence token to end a document with")
    })?;
    let encoded = rules.tokenizer.encode_document(text);
    let mut ids = encoded.map_err(|error| dropped("tokenizer_failed", error.to_string()))?;
    // Some tokenizers put it there themselves.
    if ids.last() != Some(&end) {
        ids.push(end);
    }
    let trained = vec![true; ids.len()];
    Ok(Sequence { ids: ids.into(), trained: trained.into() })
}

/// Where tokenized data is kept unless told otherwise: `smoltalk/tokens` in the user's cache folder.
pub fn default_cache() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    cache.unwrap_or_else(std::env::temp_dir).join("smoltalk/tokens")
}

/// The hash of all that decides the tokens.
fn key(paths: &[PathBuf], kind: Kind, rules: &Rules<'_>) -> Result<String> {
    let mut hasher = Sha256::new();
    let rules_text = json!({
        "version": VERSION,
        "program": env!("CARGO_PKG_VERSION"),
        "named_tokens": rules.template.named_tokens(),
        // A template that prints the day is another one tomorrow.
        "day": rules.template.source().contains("strftime_now").then(today),
        "kind": kind,
        "template": rules.template.source(),
        "document_end": rules.document_end,
        "max_length": rules.max_length,
        "too_long": rules.too_long,
        "loss_on": rules.loss_on,
    });
    hasher.update(rules_text.to_string());
    hasher.update(rules.tokenizer.to_json()?);
    for path in paths {
        hash_data(&mut hasher, path)?;
    }
    Ok(hex(&hasher.finalize()))
}

fn today() -> String {
    chrono::Local::now().format("%Y-%m-%d").to_string()
}

fn hash_data(hasher: &mut Sha256, path: &Path) -> Result<()> {
    for file in datasets::data_files(path)? {
        let cannot = || format!("cannot read {}", file.display());
        let mut opened = std::fs::File::open(&file).with_context(cannot)?;
        // The same bytes are other rows in another format.
        hasher.update(file.extension().unwrap_or_default().as_encoded_bytes());
        hasher.update(opened.metadata().with_context(cannot)?.len().to_le_bytes());
        std::io::copy(&mut opened, hasher).with_context(cannot)?;
    }
    Ok(())
}

/// Bytes as text.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Paths as people read them.
pub fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn progress() -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template("tokenizing {spinner} {pos} rows, {msg}, {per_sec}, {elapsed}")
        .expect("the template is ours");
    ProgressBar::with_draw_target(None, target).with_style(style)
}
