//! The vocabulary a run trains: special tokens that the template prints and the tokenizer lacks are added, the
//! embedding grows rows for them, and what ends a generation follows from the template.

use crate::model::Parameters;
use anyhow::Result;
use serde_json::{Map, Value};
use smollm::checkpoint::end_of_message;
use smollm::{ChatTemplate, Checkpoint, ModelConfig, Tokenizer};
use std::path::PathBuf;

/// A checkpoint made ready for training, and what a user should know of that.
#[derive(Debug)]
pub struct Start {
    /// The checkpoint as it was found; its weights are mapped, not loaded.
    pub checkpoint: Checkpoint,
    /// The model's shape, with as many embedding rows as it will have.
    pub config: ModelConfig,
    /// Its tokenizer, with every special token of the template.
    pub tokenizer: Tokenizer,
    /// The template of its conversations.
    pub template: ChatTemplate,
    /// Whether that belongs to the checkpoint that is saved: it was trained, now or before.
    pub saves_template: bool,
    /// `tokenizer_config.json` as it was found.
    pub tokenizer_config: Map<String, Value>,
    /// What ends a document.
    pub document_end: Option<u32>,
    /// What was added and changed, a sentence each.
    pub notes: Vec<String>,
}

/// What data files hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Conversations or pairs.
    pub conversations: bool,
    /// Documents.
    pub documents: bool,
}

impl Start {
    /// Makes a checkpoint ready to be trained on such data; `special_tokens` are added beside the template's own.
    ///
    /// # Errors
    /// When the tokenizer cannot take the tokens.
    pub fn new(checkpoint: Checkpoint, holds: Holds, special_tokens: &[String]) -> Result<Self> {
        let mut notes = Vec::new();
        let (mut config, mut tokenizer) = (checkpoint.config.clone(), checkpoint.tokenizer.clone());
        let document_end = document_end(&config, &tokenizer, &checkpoint.tokenizer_config);
        let mut wanted = special_tokens.to_vec();
        if holds.conversations {
            notes.extend(checkpoint.warnings.iter().cloned());
            wanted.extend(checkpoint.template.special_names());
        }
        add_missing(&wanted, &mut tokenizer, &mut config, &mut notes)?;
        if holds.documents {
            set_stop(&mut config, document_end, "a document", &tokenizer, &mut notes);
        }
        if holds.conversations {
            let stop = end_of_message(&tokenizer, &checkpoint.template);
            set_stop(&mut config, stop, "a message", &tokenizer, &mut notes);
        }
        Ok(Self {
            config,
            tokenizer,
            template: checkpoint.template.clone(),
            saves_template: holds.conversations || checkpoint.own_template,
            tokenizer_config: checkpoint.tokenizer_config.clone(),
            document_end,
            notes,
            checkpoint,
        })
    }

    /// The weights, in memory, with rows for all tokens.
    pub fn load(&self) -> Parameters {
        let mut parameters = Parameters::from_weights(&self.checkpoint.config, &self.checkpoint.weights);
        if self.config.vocab_size > parameters.config.vocab_size {
            parameters.resize_vocabulary(self.config.vocab_size);
        }
        parameters.config = self.config.clone();
        parameters
    }
}

/// What data files hold; each file's first row tells, as it does for its layout.
///
/// # Errors
/// When a path cannot be read.
pub fn holds(paths: &[PathBuf]) -> Result<Holds> {
    let mut holds = Holds::default();
    for path in paths {
        for file in datasets::data_files(path)? {
            match datasets::read(&file)?.next() {
                Some(Ok(located)) if matches!(located.row, datasets::Row::Text(_)) => holds.documents = true,
                Some(Ok(_)) => holds.conversations = true,
                // Reading the rows will say what is wrong.
                Some(Err(_)) | None => {}
            }
        }
    }
    Ok(holds)
}

/// What ends a document: config.json's end of sequence, or the tokenizer's.
fn document_end(config: &ModelConfig, tokenizer: &Tokenizer, settings: &Map<String, Value>) -> Option<u32> {
    let named = settings.get("eos_token").and_then(|eos| eos.as_str().or_else(|| eos["content"].as_str()));
    // A base model's document end goes before a chat model's turn end.
    tokenizer
        .id("<|endoftext|>")
        .or_else(|| config.eos_token_ids.first().copied())
        .or_else(|| named.and_then(|name| tokenizer.id(name)))
}

fn add_missing(
    wanted: &[String],
    tokenizer: &mut Tokenizer,
    config: &mut ModelConfig,
    notes: &mut Vec<String>,
) -> Result<()> {
    let special = |name: &String| tokenizer.id(name).is_some_and(|id| tokenizer.is_special(id));
    let missing: Vec<String> = wanted.iter().filter(|name| !special(name)).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    *tokenizer = tokenizer.with_special(&missing)?;
    let rows = config.vocab_size;
    let names = missing.join(", ");
    if tokenizer.vocab_size() > rows {
        config.vocab_size = tokenizer.vocab_size();
        notes.push(format!(
            "added the special tokens {names}: the embedding grew from {rows} to {} rows, the new ones begin as the mean of the others",
            tokenizer.vocab_size()
        ));
    } else {
        notes.push(format!("added the special tokens {names}, in rows the embedding had free"));
    }
    Ok(())
}

/// Generation stops at what the data ends with first, and still at what ended things before.
fn set_stop(
    config: &mut ModelConfig,
    stop: Option<u32>,
    what: &str,
    tokenizer: &Tokenizer,
    notes: &mut Vec<String>,
) {
    let Some(stop) = stop else { return };
    if config.eos_token_ids.first() != Some(&stop) {
        let name = |id: &u32| tokenizer.token(*id).unwrap_or_else(|| id.to_string());
        let before: Vec<String> = config.eos_token_ids.iter().map(name).collect();
        notes.push(format!(
            "{what} ends with {}, the checkpoint's end of sequence was {}: what is saved stops at both, {0} first",
            name(&stop),
            if before.is_empty() { "not named".to_owned() } else { before.join(", ") }
        ));
        config.eos_token_ids.retain(|id| *id != stop);
        config.eos_token_ids.insert(0, stop);
    }
}
