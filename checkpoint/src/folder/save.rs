//! Writes a checkpoint in the layout that transformers, llama.cpp's converter and `Checkpoint::open` read.

use crate::adapter::{self, AdapterConfig};
use crate::error::Error;
use crate::inherited::{Inherited, TEMPLATES};
use crate::weights::{self, Precision};
use crate::{ChatTemplate, ModelConfig, Tokenizer};
use files::checksum::{Algorithm, Content};
use files::manifest::{self, Manifest};
use serde_json::{Map, Value, json};
use std::path::Path;

/// A checkpoint to be written, without its weights.
#[derive(Debug)]
pub struct CheckpointWriter<'a> {
    /// The model's shape; the first of its `eos_token_ids` becomes the tokenizer's end of sequence.
    pub config: &'a ModelConfig,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The content of the parent checkpoint's `tokenizer_config.json`.
    pub tokenizer_config: &'a Map<String, Value>,
    /// The content of the parent checkpoint's `generation_config.json`: its sampling defaults and other ends are kept.
    pub generation_config: &'a Map<String, Value>,
    /// What its parent carries on to it.
    pub inherited: &'a Inherited,
    /// The template it was trained with; `None` if it was trained on no conversation.
    pub template: Option<&'a ChatTemplate>,
    /// Set if the weights are those of an adapter.
    pub adapter: Option<AdapterRecord<'a>>,
}

/// What is written of an adapter besides its weights.
#[derive(Clone, Copy, Debug)]
pub struct AdapterRecord<'a> {
    /// Its configuration.
    pub config: &'a AdapterConfig,
    /// SHA-256 of the base model's weights.
    pub base_sha256: &'a str,
}

/// A checkpoint to be written, without its weights, that depends on nothing else: another thread may write it.
#[derive(Clone, Debug)]
pub struct PreparedCheckpoint {
    /// Names and contents, in the order in which they are written.
    files: Vec<(String, Vec<u8>)>,
    weights_file: &'static str,
    precision: Precision,
    /// Of the weights' metadata.
    entries: Vec<(&'static str, String)>,
}

impl PreparedCheckpoint {
    /// Writes every file into a folder that exists, the weights last. Returns the list of them with checksums of this kind,
    /// which is not written. The tensors have name, shape and row-major values.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn write_unlisted<V: AsRef<[f32]>>(
        &self,
        folder: &Path,
        tensors: &[(String, Vec<usize>, V)],
        algorithm: Algorithm,
    ) -> Result<Manifest, Error> {
        let mut manifest = Manifest::default();
        for (name, bytes) in &self.files {
            if let Some((inner, _)) = name.split_once('/') {
                files::atomic::create_folder(&folder.join(inner))?;
            }
            manifest.insert(name, Content::of_bytes(bytes, algorithm));
            files::atomic::write(&folder.join(name), bytes)?;
        }
        let path = folder.join(self.weights_file);
        let content = weights::write_with(&path, tensors, self.precision, &self.entries, algorithm)?;
        manifest.insert(self.weights_file, content);
        Ok(manifest)
    }
}

impl CheckpointWriter<'_> {
    /// Writes every file into a folder that exists, the weights last, then the list of them with their lengths and
    /// SHA-256 ([`manifest::FILE_NAME`]). Each is whole or absent. The tensors have name, shape and row-major values.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn write<V: AsRef<[f32]>>(
        &self,
        folder: &Path,
        tensors: &[(String, Vec<usize>, V)],
        precision: Precision,
    ) -> Result<Manifest, Error> {
        let list = folder.join(manifest::FILE_NAME);
        let prepared = self.prepare(precision)?;
        // Files of two checkpoints together are never listed.
        files::atomic::remove(&list)?;
        let manifest = prepared.write_unlisted(folder, tensors, Algorithm::Sha256)?;
        manifest.write(&list)?;
        Ok(manifest)
    }

    /// Makes the contents of all files but the weights.
    ///
    /// # Errors
    /// When the tokenizer itself fails.
    pub fn prepare(&self, precision: Precision) -> Result<PreparedCheckpoint, Error> {
        let mut config = self.config.to_json();
        config["torch_dtype"] = if precision == Precision::F32 { "float32" } else { "bfloat16" }.into();
        if self.adapter.is_none() {
            self.put_unknown_fields(&mut config);
        }
        let mut files = self.inherited.licenses.clone();
        let mut text = |name: &str, text: String| files.push((name.to_owned(), text.into_bytes()));
        if self.template.is_some() {
            for (name, source) in &self.inherited.templates {
                text(&format!("{TEMPLATES}/{name}.jinja"), source.clone());
            }
        }
        match &self.adapter {
            Some(record) => text(adapter::CONFIG_FILE, pretty(&record.config.to_json())),
            None => text("config.json", pretty(&config)),
        }
        text("generation_config.json", pretty(&self.generation()));
        text("tokenizer.json", self.tokenizer.to_json()?);
        text("tokenizer_config.json", pretty(&self.tokenizer_settings().into()));
        if let Some(template) = self.template {
            text("chat_template.jinja", template.source().to_owned());
        }
        // An adapter is small: it keeps all its bits.
        let (weights_file, precision, entries) = match &self.adapter {
            Some(record) => {
                let entry = (adapter::BASE_SHA256, record.base_sha256.to_owned());
                (adapter::WEIGHTS_FILE, Precision::F32, vec![entry])
            }
            None => ("model.safetensors", precision, Vec::new()),
        };
        Ok(PreparedCheckpoint { files, weights_file, precision, entries })
    }

    /// Adds what the parent's `config.json` has that this project does not write.
    fn put_unknown_fields(&self, config: &mut Value) {
        for (name, value) in &self.inherited.config {
            if config.get(name).is_none() {
                config[name.as_str()] = value.clone();
            }
        }
    }

    fn generation(&self) -> Value {
        let config = self.config.to_json();
        let mut entries = json!({"_from_model_config": false});
        for name in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            if !config[name].is_null() {
                entries[name] = config[name].clone();
            }
        }
        let mut ends = self.config.eos_token_ids.clone();
        for end in super::eos_ids(&json!(self.generation_config)) {
            if !ends.contains(&end) {
                ends.push(end);
            }
        }
        if ends.len() > self.config.eos_token_ids.len() {
            entries["eos_token_id"] = json!(ends);
        }
        let entries_of_parent = self.generation_config.iter();
        for (name, value) in entries_of_parent.filter(|(name, _)| *name != "transformers_version") {
            if entries[name].is_null() {
                entries[name] = value.clone();
            }
        }
        entries
    }

    fn tokenizer_settings(&self) -> Map<String, Value> {
        let mut settings = self.tokenizer_config.clone();
        // The template has its own file, and the added tokens are in tokenizer.json.
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn the_parents_ends_and_sampling_defaults_are_kept() {
        let parent = json!({
            "eos_token_id": [0, 2, 16], "temperature": 0.6, "top_p": 0.9, "bos_token_id": 7,
            "transformers_version": "4.42.3", "_from_model_config": true,
        });
        let tokenizer = json!({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}).to_string();
        let mut config = ModelConfig { eos_token_ids: vec![2], ..ModelConfig::smollm2_135m() };
        config.bos_token_id = Some(1);
        let written = CheckpointWriter {
            config: &config,
            tokenizer: &Tokenizer::from_json(&tokenizer).unwrap(),
            tokenizer_config: &Map::new(),
            generation_config: parent.as_object().unwrap(),
            inherited: &Inherited::default(),
            template: None,
            adapter: None,
        }
        .generation();
        let mut expected = json!({
            "_from_model_config": false, "bos_token_id": 1, "eos_token_id": [2, 0, 16],
            "temperature": 0.6, "top_p": 0.9,
        });
        if let Some(pad) = config.pad_token_id {
            expected["pad_token_id"] = pad.into();
        }
        assert_eq!(written, expected);
    }
}
