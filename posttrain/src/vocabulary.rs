//! The starting point of a run: a checkpoint with the vocabulary that the run trains. Special tokens that the template
//! prints and the tokenizer lacks are added, the embedding gets rows for them, and the end of a generation follows from
//! the template.

use crate::compute::TrainedSize;
use crate::lora::{Frozen, LoraAdapter};
use crate::run::RunFolder;
use crate::settings::TrainingSettings;
use anyhow::{Context, Result};
use checkpoint::folder::{CheckpointWriter, end_of_message};
use checkpoint::weights::Precision;
use checkpoint::{ChatTemplate, Checkpoint, ModelConfig, Tokenizer};
use chrono::{Local, NaiveDate};
use datasets::ReadOptions;
use report::numbers::separated;
use serde_json::{Map, Value};
use std::path::PathBuf;
use training::Parameters;

/// How run.json writes a day.
const DAY: &str = "%Y-%m-%d";

/// A checkpoint that is ready for training.
#[derive(Debug)]
pub(crate) struct StartingPoint {
    /// The checkpoint as it is on disk; its weights are memory-mapped, not loaded.
    pub(crate) checkpoint: Checkpoint,
    /// The model's shape, with as many embedding rows as it will have.
    pub(crate) config: ModelConfig,
    /// The tokenizer, with all special tokens of the template.
    pub(crate) tokenizer: Tokenizer,
    /// The template of its conversations.
    pub(crate) template: ChatTemplate,
    /// Whether the template is saved with the model: it is trained now, or was trained before.
    saves_template: bool,
    /// `tokenizer_config.json` as it is on disk.
    pub(crate) tokenizer_config: Map<String, Value>,
    /// The token that ends a document.
    pub(crate) document_end: Option<u32>,
    /// What was added and changed, a sentence each.
    pub(crate) notes: Vec<String>,
    /// The adapter that is trained instead of the weights.
    pub(crate) adapter: Option<LoraAdapter>,
}

/// Which kinds of rows data files contain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowKinds {
    /// Conversations or pairs.
    pub(crate) conversations: bool,
    /// Documents.
    pub(crate) documents: bool,
}

impl StartingPoint {
    /// Prepares a checkpoint for training on such rows; `special_tokens` are added to the template's own.
    ///
    /// # Errors
    /// When the tokens cannot be added to the tokenizer.
    pub(crate) fn new(checkpoint: Checkpoint, kinds: RowKinds, special_tokens: &[String]) -> Result<Self> {
        let mut notes = Vec::new();
        let (mut config, mut tokenizer) = (checkpoint.config.clone(), checkpoint.tokenizer.clone());
        let document_end = document_end(&config, &tokenizer, &checkpoint.tokenizer_config);
        let mut special_tokens = special_tokens.to_vec();
        if kinds.conversations {
            notes.extend(checkpoint.warnings.iter().cloned());
            special_tokens.extend(checkpoint.template.special_names());
        }
        add_missing(&special_tokens, &mut tokenizer, &mut config, &mut notes)?;
        if kinds.documents {
            set_stop(&mut config, document_end, "a document", &tokenizer, &mut notes);
        }
        if kinds.conversations {
            let stop = end_of_message(&tokenizer, &checkpoint.template);
            set_stop(&mut config, stop, "a message", &tokenizer, &mut notes);
        }
        Ok(Self {
            config,
            tokenizer,
            template: checkpoint.template.clone(),
            saves_template: kinds.conversations || checkpoint.has_own_template,
            tokenizer_config: checkpoint.tokenizer_config.clone(),
            document_end,
            notes,
            adapter: None,
            checkpoint,
        })
    }

    /// Sets what is trained. Notes that the saved weights have fewer bits than the checkpoint's, where that is so.
    ///
    /// # Errors
    /// As [`LoraAdapter::new`].
    pub(crate) fn trained_by(mut self, settings: &TrainingSettings) -> Result<Self> {
        self.adapter = LoraAdapter::new(&self.checkpoint, settings)?;
        if let Some(adapter) = &self.adapter {
            self.notes.push(format!(
                "a LoRA adapter of {} weights is trained; the model's {} are frozen",
                separated(adapter.parameters(&self.config) as u64),
                separated(self.config.parameters() as u64)
            ));
            self.notes.extend(adapter.quantization_note(&self.checkpoint));
            return Ok(self);
        }
        let saved = settings.saved_precision();
        if saved == Precision::Bf16 && self.checkpoint.weights.stored() == Precision::F32 {
            let note = "the checkpoint's weights have more bits than bf16, in which they are saved; give `--save-precision f32` to keep them";
            self.notes.push(note.to_owned());
        }
        Ok(self)
    }

    /// Sets the day that the template prints to the one on which the run began, which its run.json keeps, so that a resumed
    /// run trains the same texts. Returns the day, if the template prints one.
    ///
    /// # Errors
    /// When run.json contains another kind of day.
    pub(crate) fn set_day(&mut self, folder: &RunFolder) -> Result<Option<String>> {
        if !self.template.prints_time() {
            return Ok(None);
        }
        let day = folder.recorded("day").unwrap_or_else(|| Local::now().format(DAY).to_string());
        let noon = NaiveDate::parse_from_str(&day, DAY).ok().and_then(|date| date.and_hms_opt(12, 0, 0));
        let noon = noon.and_then(|noon| noon.and_local_timezone(Local).earliest());
        let noon =
            noon.with_context(|| format!("`day` of run.json is {day}; expected a day as 2026-01-31"))?;
        self.template = self.template.clone().at(noon);
        self.notes.push(format!("the chat template prints the date; all rows have that of {day}"));
        Ok(Some(day))
    }

    /// Returns the weights, in memory, with embedding rows for all tokens.
    pub(crate) fn load(&self) -> Parameters {
        let mut parameters = Parameters::from_weights(&self.checkpoint.config, &self.checkpoint.weights);
        if self.config.vocab_size > parameters.config.vocab_size {
            parameters.resize_vocabulary(self.config.vocab_size);
        }
        parameters.config = self.config.clone();
        parameters
    }

    /// Returns the size of what a run trains from here.
    pub(crate) fn size(&self) -> TrainedSize<'_> {
        let weights = &self.checkpoint.weights;
        let adapter = self.adapter.as_ref().map(|adapter| adapter.size(&self.config, weights));
        TrainedSize { config: &self.config, adapter }
    }

    /// Returns the weights that a run trains from here, and what is frozen under them.
    ///
    /// # Errors
    /// When the vocabulary grows under an adapter, or the adapter to continue does not fit.
    pub(crate) fn trained(&self) -> Result<(Parameters, Frozen)> {
        match &self.adapter {
            None => Ok((self.load(), Frozen::nothing())),
            Some(adapter) => adapter.start(&self.checkpoint, &self.config),
        }
    }

    /// Returns what a saved checkpoint contains besides weights.
    pub(crate) fn outgoing(&self) -> CheckpointWriter<'_> {
        CheckpointWriter {
            config: &self.config,
            tokenizer: &self.tokenizer,
            tokenizer_config: &self.tokenizer_config,
            generation_config: &self.checkpoint.generation_config,
            inherited: &self.checkpoint.inherited,
            template: self.saves_template.then_some(&self.template),
            adapter: self.adapter.as_ref().map(LoraAdapter::record),
        }
    }
}

/// Returns the kinds of rows in data files, each file judged by its first row.
///
/// # Errors
/// When a path cannot be read.
pub(crate) fn row_kinds(paths: &[PathBuf], options: &ReadOptions) -> Result<RowKinds> {
    let mut kinds = RowKinds::default();
    let of_file = ReadOptions { config: None, split: None, ..options.clone() };
    for path in paths {
        for file in datasets::data_files(path, options.choice())? {
            match datasets::read_with(&file, &of_file)?.next() {
                Some(Ok(located)) if matches!(located.row, datasets::Row::Text(_)) => kinds.documents = true,
                Some(Ok(_)) => kinds.conversations = true,
                // Reading the rows reports the error.
                Some(Err(_)) | None => {}
            }
        }
    }
    Ok(kinds)
}

/// Returns the token that ends a document. A base model's <|endoftext|> comes before the end of a chat model's turn,
/// which config.json may name.
fn document_end(config: &ModelConfig, tokenizer: &Tokenizer, settings: &Map<String, Value>) -> Option<u32> {
    let eos_token =
        settings.get("eos_token").and_then(|eos| eos.as_str().or_else(|| eos["content"].as_str()));
    tokenizer
        .id("<|endoftext|>")
        .or_else(|| config.eos_token_ids.first().copied())
        .or_else(|| eos_token.and_then(|name| tokenizer.id(name)))
}

fn add_missing(
    special_tokens: &[String],
    tokenizer: &mut Tokenizer,
    config: &mut ModelConfig,
    notes: &mut Vec<String>,
) -> Result<()> {
    let is_special = |name: &String| tokenizer.id(name).is_some_and(|id| tokenizer.is_special(id));
    let missing: Vec<String> = special_tokens.iter().filter(|name| !is_special(name)).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    *tokenizer = tokenizer.with_special(&missing)?;
    let rows = config.vocab_size;
    let names = missing.join(", ");
    if tokenizer.vocab_size() > rows {
        config.vocab_size = tokenizer.vocab_size();
        notes.push(format!(
            "added the special tokens {names}: the embedding grew from {} to {} rows, and each new row starts as the mean of the others",
            separated(rows as u64),
            separated(tokenizer.vocab_size() as u64)
        ));
    } else {
        notes.push(format!("added the special tokens {names} in free rows of the embedding"));
    }
    Ok(())
}

/// Puts a stop token before those that the model had: generation stops at any of them.
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
        let previous: Vec<String> = config.eos_token_ids.iter().map(name).collect();
        notes.push(format!(
            "{what} ends with {}, but the checkpoint's end of sequence was {}; the saved model stops at both, {0} first",
            name(&stop),
            if previous.is_empty() { "not named".to_owned() } else { previous.join(", ") }
        ));
        config.eos_token_ids.retain(|id| *id != stop);
        config.eos_token_ids.insert(0, stop);
    }
}
