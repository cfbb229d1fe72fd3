//! Opens an adapter's folder: its base model, or another one that it is to be used over, with the adapter added to the weights whenever they are read. Tokenizer,
//! template and stop ids that are stored beside the adapter replace those of the base.

use super::{Checkpoint, Parts, TokenizerSettings, eos_ids, read_json, small_files};
use crate::Tokenizer;
use crate::adapter::{self, AdapterConfig, AdapterMatrices};
use crate::error::Error;
use std::path::{Path, PathBuf};

impl Checkpoint {
    /// What a user should know about an adapter that was opened as a checkpoint; `None` for every other one.
    pub fn adapter_note(&self) -> Option<String> {
        let base = self.weights.adapter()?.base();
        Some(format!(
            "{} is an adapter: it is added to the weights of {base} in f32 as they are loaded",
            self.name
        ))
    }

    /// Opens an adapter's folder over a base model, a folder, GGUF file or hub id, instead of the one that it names: the
    /// same one in another format, for example.
    ///
    /// # Errors
    /// When the base model cannot be opened, or the adapter does not belong to a model of its shape.
    pub fn open_adapter_over(base: &str, folder: &Path, template: Option<&Path>) -> Result<Self, Error> {
        small_files::check(folder)?;
        let config = AdapterConfig::read(folder)?;
        Self::open_over(base, &config, &folder.to_string_lossy(), folder.to_owned(), template)
    }

    /// # Errors
    /// When the base model cannot be opened, or the adapter does not belong to it.
    pub(super) fn open_adapted(name: &str, folder: PathBuf, template: Option<&Path>) -> Result<Self, Error> {
        let config = AdapterConfig::read(&folder)?;
        Self::open_over(&config.base_of(&folder), &config, name, folder, template)
    }

    fn open_over(
        base: &str,
        config: &AdapterConfig,
        name: &str,
        folder: PathBuf,
        template: Option<&Path>,
    ) -> Result<Self, Error> {
        let invalid = |reason: String| Error::invalid(&folder.join(adapter::CONFIG_FILE), reason);
        if base.is_empty() {
            return Err(invalid("names no base model; set `base_model_name_or_path`".to_owned()));
        }
        if adapter::is_at(Path::new(base)) {
            return Err(invalid(format!(
                "names the base model {base}, which is an adapter itself; merge that one with `posttrain merge`"
            )));
        }
        let mut base = Self::open(base, template).map_err(|error| {
            invalid(format!("its base model cannot be opened ({error}); set `base_model_name_or_path`"))
        })?;
        let matrices = AdapterMatrices::open(&folder, config, &base.config)?;
        let is_other = matrices.base_sha256().is_some_and(|expected| expected != base.weights.sha256());
        let warning = is_other
            .then(|| format!("the adapter {name} was trained on other weights than those of {}", base.name));
        // All of the file was read for its hash.
        base.weights.release();
        base.weights = base.weights.with_adapter(matrices);
        let mut checkpoint = base.with_files_of(name, folder, template)?;
        checkpoint.warnings.extend(warning);
        Ok(checkpoint)
    }

    /// Replaces what the folder has a file for.
    fn with_files_of(self, name: &str, folder: PathBuf, template: Option<&Path>) -> Result<Self, Error> {
        let path = folder.join("generation_config.json");
        let generation = match path.is_file() {
            true => read_json(&path)?,
            false => self.generation_config.clone().into(),
        };
        let (mut stop_ids, mut config) = (self.stop_ids, self.config);
        let own_ends = eos_ids(&generation);
        if path.is_file() && !own_ends.is_empty() {
            config.eos_token_ids.clone_from(&own_ends);
        }
        stop_ids.extend(own_ends);
        let generation_config = generation.as_object().cloned().unwrap_or_default();
        let tokenizer = folder.join("tokenizer.json");
        if !tokenizer.is_file() {
            stop_ids.sort_unstable();
            stop_ids.dedup();
            let name = name.to_owned();
            return Ok(Self { name, folder, config, stop_ids, generation_config, ..self });
        }
        let settings = TokenizerSettings::read(&folder)?;
        let own = match template {
            Some(_) => None,
            None => settings.own_template(&folder)?.or(self.has_own_template.then_some(self.template)),
        };
        let parts = Parts {
            name,
            tokenizer: Tokenizer::read(&tokenizer, &config)?,
            folder,
            config,
            weights: self.weights,
            settings,
            own,
            stop_ids: stop_ids.into_iter().collect(),
            generation: generation_config,
            inherited: self.inherited,
        };
        parts.join(template)
    }
}
