//! A checkpoint on its way to disk, in the layout transformers, llama.cpp's converter and `Checkpoint::open` read.

use crate::error::Error;
use crate::weights::{self, Precision};
use crate::{ChatTemplate, ModelConfig, Tokenizer};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;

/// All of a checkpoint but its weights.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The model's shape; its first `eos_token_ids` is the tokenizer's end-of-sequence.
    pub config: &'a ModelConfig,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// `tokenizer_config.json` as the parent checkpoint had it.
    pub tokenizer_config: &'a Map<String, Value>,
    /// The template it was trained with; `None` where it saw no conversation.
    pub template: Option<&'a ChatTemplate>,
}

impl Outgoing<'_> {
    /// Writes every file into a folder that exists, the weights last, each whole or not at all.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn write<V: AsRef<[f32]>>(
        &self,
        folder: &Path,
        tensors: &[(String, Vec<usize>, V)],
        precision: Precision,
    ) -> Result<(), Error> {
        let mut config = self.config.to_json();
        config["torch_dtype"] = if precision == Precision::F32 { "float32" } else { "bfloat16" }.into();
        text(&folder.join("config.json"), &pretty(&config))?;
        text(&folder.join("generation_config.json"), &pretty(&self.generation()))?;
        text(&folder.join("tokenizer.json"), &self.tokenizer.to_json()?)?;
        text(&folder.join("tokenizer_config.json"), &pretty(&self.tokenizer_settings().into()))?;
        if let Some(template) = self.template {
            text(&folder.join("chat_template.jinja"), template.source())?;
        }
        weights::write(&folder.join("model.safetensors"), tensors, precision)
    }

    fn generation(&self) -> Value {
        let config = self.config.to_json();
        let mut entries = json!({"_from_model_config": false});
        for name in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            if !config[name].is_null() {
                entries[name] = config[name].clone();
            }
        }
        entries
    }

    fn tokenizer_settings(&self) -> Map<String, Value> {
        let mut settings = self.tokenizer_config.clone();
        // The template has a file of its own, and the added tokens stand in tokenizer.json.
        settings.remove("chat_template");
        settings.remove("added_tokens_decoder");
        settings.entry("tokenizer_class").or_insert_with(|| "PreTrainedTokenizerFast".into());
        settings.entry("clean_up_tokenization_spaces").or_insert(false.into());
        settings.insert("model_max_length".to_owned(), self.config.max_positions.into());
        let eos = self.config.eos_token_ids.first().and_then(|id| self.tokenizer.token(*id));
        if let Some(eos) = eos {
            settings.insert("eos_token".to_owned(), eos.clone().into());
            settings.entry("pad_token").or_insert_with(|| eos.into());
        }
        settings
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn text(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |error| Error::file("write", path, error);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut beside = weights::beside(folder).map_err(failed)?;
    beside.write_all(text.as_bytes()).and_then(|()| beside.as_file().sync_all()).map_err(failed)?;
    beside.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
