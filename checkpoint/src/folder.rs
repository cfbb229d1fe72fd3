//! The checkpoint folder in Hugging Face layout, which training writes and all other programs read.
//!
//! Opening one reads configuration, tokenizer, template and weights and checks them against each other, so the parts of a
//! [`Checkpoint`] always belong together.

use crate::error::{Error, read_to_string};
use crate::gguf::{self, GgufFile, GgufText};
use crate::hint::hint;
use crate::inherited::Inherited;
use crate::links::{self, is_inside};
use crate::weights::Weights;
use crate::{ChatTemplate, ModelConfig, Tokenizer, adapter, hub};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

mod adapted;
mod save;
mod small_files;
mod verify;

pub use save::{AdapterRecord, CheckpointWriter, PreparedCheckpoint};

/// A complete, consistent checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    /// The name by which it was opened: a folder or a hub id.
    pub name: String,
    /// The folder of its files.
    pub folder: PathBuf,
    /// The model's shape.
    pub config: ModelConfig,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its chat template, or ChatML if it has none.
    pub template: ChatTemplate,
    /// Whether `template` is its own or was given, rather than ChatML in place of one.
    pub has_own_template: bool,
    /// Its weights, memory-mapped.
    pub weights: Weights,
    /// Ids that end a generation, ascending.
    pub stop_ids: Vec<u32>,
    /// The content of `tokenizer_config.json`; empty if there is none.
    pub tokenizer_config: Map<String, Value>,
    /// The content of `generation_config.json`; empty if there is none.
    pub generation_config: Map<String, Value>,
    /// What a checkpoint that is made from it carries on.
    pub inherited: Inherited,
    /// What a user should know about it; print each once.
    pub warnings: Vec<String>,
}

impl Checkpoint {
    /// Opens a folder, a GGUF file, or a hub id such as `HuggingFaceTB/SmolLM2-135M-Instruct`, which is downloaded. The
    /// folder of an adapter opens as its base model with the adapter added to the weights.
    /// `template` is a Jinja file that replaces the checkpoint's own chat template.
    ///
    /// # Errors
    /// Names the file that is missing, broken, or belongs to another model.
    pub fn open(name: &str, template: Option<&Path>) -> Result<Self, Error> {
        if GgufFile::is_at(Path::new(name)) {
            return Self::open_gguf(name, template);
        }
        let folder = locate(name)?;
        small_files::check(&folder)?;
        if adapter::is_at(&folder) {
            return Self::open_adapted(name, folder, template);
        }
        let config = ModelConfig::read(&required(&folder, "config.json")?)?;
        let tokenizer = Tokenizer::read(&required(&folder, "tokenizer.json")?, &config)?;
        let weights = Weights::open(&folder, &config)?;
        let settings = TokenizerSettings::read(&folder)?;
        let own = match template {
            Some(_) => None,
            None => settings.own_template(&folder)?,
        };
        let mut stop_ids: BTreeSet<u32> = config.eos_token_ids.iter().copied().collect();
        let path = folder.join("generation_config.json");
        let generation =
            if path.is_file() && is_inside(&folder, &path) { read_json(&path)? } else { Value::Null };
        stop_ids.extend(eos_ids(&generation));
        let generation = generation.as_object().cloned().unwrap_or_default();
        let inherited = Inherited::read(&folder, &settings.raw);
        let parts = Parts {
            name,
            folder,
            config,
            tokenizer,
            weights,
            settings,
            own,
            stop_ids,
            generation,
            inherited,
        };
        parts.join(template)
    }

    /// Whether training has this model's arithmetic.
    ///
    /// # Errors
    /// Names the model and what training does not have.
    pub fn check_trainable(&self) -> Result<(), Error> {
        self.config
            .check_trainable()
            .map_err(|reason| Error::NotTrainable { name: self.name.clone(), reason })
    }

    /// Opens a GGUF file: everything is in it.
    fn open_gguf(name: &str, template: Option<&Path>) -> Result<Self, Error> {
        let path = Path::new(name);
        let file = GgufFile::open(path)?;
        let invalid = |reason: String| Error::invalid(path, reason);
        let config = gguf::config(&file).map_err(invalid)?;
        let text = GgufText::read(&file).map_err(invalid)?;
        let tokenizer = Tokenizer::from_value(&text.tokenizer).map_err(|error| invalid(error.to_string()))?;
        tokenizer.check(&config).map_err(invalid)?;
        let architecture = gguf::architecture(&file).map_err(invalid)?.to_owned();
        let license = file.value("general.license");
        let inherited = Inherited::of_license(license.as_ref().and_then(|value| value.text()));
        let weights = Weights::of_gguf(file, &architecture, &config)?;
        let settings = TokenizerSettings {
            raw: text.tokenizer_config,
            template: text.template,
            other_templates: Vec::new(),
            bos_token: text.bos_token,
            eos_token: text.eos_token,
        };
        let own = match template {
            Some(_) => None,
            None => settings.parsed_template().map_err(|error| invalid(error.to_string()))?,
        };
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let stop_ids = text.stop_ids.into_iter().collect();
        let generation = Map::new();
        let parts = Parts {
            name,
            folder,
            config,
            tokenizer,
            weights,
            settings,
            own,
            stop_ids,
            generation,
            inherited,
        };
        parts.join(template)
    }
}

/// What a folder or a file contains, before it is one checkpoint.
struct Parts<'a> {
    name: &'a str,
    folder: PathBuf,
    config: ModelConfig,
    tokenizer: Tokenizer,
    weights: Weights,
    settings: TokenizerSettings,
    /// Its own template; not read if another one was given.
    own: Option<ChatTemplate>,
    /// The ids that its configuration names as ends.
    stop_ids: BTreeSet<u32>,
    /// The content of `generation_config.json`.
    generation: Map<String, Value>,
    inherited: Inherited,
}

impl Parts<'_> {
    fn join(self, template: Option<&Path>) -> Result<Checkpoint, Error> {
        let Parts { name, folder, config, tokenizer, weights, settings, own, generation, .. } = self;
        let (mut stop_ids, inherited) = (self.stop_ids, self.inherited);
        let (mut warnings, mut has_own_template) = (Vec::new(), true);
        let chat = match template {
            Some(file) => settings.template_from(file)?,
            None => own.unwrap_or_else(|| {
                has_own_template = false;
                let lacks = match settings.other_templates.as_slice() {
                    [] => "has no chat template".to_owned(),
                    names => format!("has chat templates named {}, but no default one", names.join(", ")),
                };
                warnings.push(format!(
                    "{name} {lacks}, so ChatML is used; give `--chat-template FILE` for another"
                ));
                ChatTemplate::chatml()
            }),
        };
        // A base model's configuration often names only one of the ends: the tokenizer's end of sequence and the token
        // that ends an assistant's message in the template are others.
        stop_ids.extend(tokenizer.id(&settings.eos_token));
        stop_ids.extend(end_of_message(&tokenizer, &chat));
        Ok(Checkpoint {
            name: name.to_owned(),
            folder,
            config,
            tokenizer,
            template: chat,
            has_own_template,
            weights,
            stop_ids: stop_ids.into_iter().collect(),
            tokenizer_config: settings.raw,
            generation_config: generation,
            inherited: if template.is_some() { inherited.without_templates() } else { inherited },
            warnings,
        })
    }
}

/// The fields of `tokenizer_config.json` that are used here; all are optional.
#[derive(Debug, Default)]
struct TokenizerSettings {
    raw: Map<String, Value>,
    template: Option<String>,
    /// The names of its templates, if there are several and none is the default.
    other_templates: Vec<String>,
    bos_token: String,
    eos_token: String,
}

impl TokenizerSettings {
    fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("tokenizer_config.json");
        if !path.is_file() {
            return Ok(Self::default());
        }
        let value = read_json(&path)?;
        let template = template_text(&value["chat_template"]);
        let listed = value["chat_template"].as_array().filter(|_| template.is_none()).into_iter().flatten();
        Ok(Self {
            template,
            other_templates: listed.map(|entry| token_text(&entry["name"])).collect(),
            bos_token: token_text(&value["bos_token"]),
            eos_token: token_text(&value["eos_token"]),
            raw: value.as_object().cloned().unwrap_or_default(),
        })
    }

    fn template_from(&self, file: &Path) -> Result<ChatTemplate, Error> {
        ChatTemplate::read(file, &self.bos_token, &self.eos_token)
    }

    /// The template of `chat_template.jinja`, otherwise of `tokenizer_config.json`, as in transformers.
    fn own_template(&self, folder: &Path) -> Result<Option<ChatTemplate>, Error> {
        let file = folder.join("chat_template.jinja");
        if file.is_file() {
            // Any text is a template, and would be saved with every model that is made from this one. That of another model
            // is meant.
            let target =
                links::outside(folder, &file).filter(|target| target.file_name() != file.file_name());
            if let Some(target) = target {
                let reason =
                    format!("it leads to {}, outside the model's folder; copy the file", target.display());
                return Err(Error::invalid(&file, reason));
            }
            return self.template_from(&file).map(Some);
        }
        self.parsed_template()
    }

    fn parsed_template(&self) -> Result<Option<ChatTemplate>, Error> {
        let parse = |source: &String| ChatTemplate::new(source, &self.bos_token, &self.eos_token);
        self.template.as_ref().map(parse).transpose()
    }
}

/// The folder of a tokenizer: of a `tokenizer.json`, a folder itself, or of a hub id, whose tokenizer is downloaded.
///
/// # Errors
/// When the name is none of these, the hub does not return it, or a file differs from the folder's list.
pub fn tokenizer_folder(name: &str) -> Result<PathBuf, Error> {
    let path = Path::new(name);
    let folder = if path.is_file() {
        path.parent().unwrap_or(Path::new(".")).to_owned()
    } else if path.is_dir() {
        path.to_owned()
    } else if hub::is_id(name) {
        hub::refuse_path(name)?;
        hub::fetch_tokenizer(name)?
    } else {
        return Err(Error::NoCheckpoint(name.to_owned()));
    };
    small_files::check(&folder)?;
    Ok(folder)
}

/// The content of a folder's `tokenizer_config.json`, empty if there is none, and its own chat template, if it has one.
///
/// # Errors
/// Names the file that cannot be read.
pub fn tokenizer_settings(folder: &Path) -> Result<(Map<String, Value>, Option<ChatTemplate>), Error> {
    let settings = TokenizerSettings::read(folder)?;
    let template = settings.own_template(folder)?;
    Ok((settings.raw, template))
}

/// The folder of a checkpoint: itself, or that of a hub id, whose files are downloaded.
///
/// # Errors
/// When the name is neither, or the hub does not return it.
pub fn locate(name: &str) -> Result<PathBuf, Error> {
    let folder = Path::new(name);
    if folder.is_dir() {
        return Ok(folder.to_owned());
    }
    if !hub::is_id(name) {
        return Err(Error::NoCheckpoint(name.to_owned()));
    }
    hub::refuse_path(name)?;
    hub::fetch(name)
}

fn required(folder: &Path, file: &'static str) -> Result<PathBuf, Error> {
    let path = folder.join(file);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Incomplete { folder: folder.to_owned(), missing: file, hint: hint(folder) })
}

/// The ids in the `eos_token_id` of a config: none, one or several.
pub fn eos_ids(config: &Value) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().map(|id| id as u32);
    match &config["eos_token_id"] {
        Value::Array(many) => many.iter().filter_map(id).collect(),
        one => id(one).into_iter().collect(),
    }
}

/// The special token that the template puts after an assistant's message, if it puts one.
pub fn end_of_message(tokenizer: &Tokenizer, template: &ChatTemplate) -> Option<u32> {
    let messages = serde_json::json!([
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "zzqzz"}
    ]);
    let text = template.render(&messages, None, false).ok()?;
    let (_, after) = text.rsplit_once("zzqzz")?;
    let encoded = tokenizer.encode(after.trim_start()).ok()?;
    encoded.ids.first().copied().filter(|id| tokenizer.is_special(*id))
}

fn read_json(path: &Path) -> Result<Value, Error> {
    serde_json::from_str(&read_to_string(path)?)
        .map_err(|error| Error::invalid(path, format!("not JSON: {error}")))
}

/// The template, or the one named "default" of several.
fn template_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(named) => {
            let default = named.iter().find(|entry| entry["name"] == "default")?;
            default["template"].as_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// The text of a special token, which is a string or an object with a `content`.
fn token_text(value: &Value) -> String {
    value.as_str().or_else(|| value["content"].as_str()).unwrap_or_default().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn templates_without_a_default_one_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let read = |templates: Value| {
            let settings = serde_json::json!({"chat_template": templates}).to_string();
            std::fs::write(folder.path().join("tokenizer_config.json"), settings).unwrap();
            let settings = TokenizerSettings::read(folder.path()).unwrap();
            (settings.template, settings.other_templates)
        };
        let entry = |name: &str| serde_json::json!({"name": name, "template": name});
        let named = (None, vec!["tool_use".to_owned(), "rag".to_owned()]);
        assert_eq!(read(Value::Array(vec![entry("tool_use"), entry("rag")])), named);
        let default = (Some("default".to_owned()), Vec::new());
        assert_eq!(read(Value::Array(vec![entry("rag"), entry("default")])), default);
    }

    #[test]
    fn a_folder_that_is_no_checkpoint_is_named_for_what_it_is() {
        for (file, expected) in [
            ("model-Q4_K.gguf", "contains a GGUF file; give the path of that file"),
            ("pytorch_model.bin", "has pytorch_model.bin; load it with transformers"),
            ("tokenizer.model", "has only a slow tokenizer"),
            ("notes.txt", "a checkpoint folder contains config.json"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(file), "").unwrap();
            let reason = Checkpoint::open(folder.path().to_str().unwrap(), None).unwrap_err().to_string();
            assert!(reason.contains("has no config.json") && reason.contains(expected), "{reason}");
        }
    }
    #[cfg(unix)]
    #[test]
    fn a_template_behind_a_link_out_of_the_folder_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("model");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(parent.path().join("private"), "a secret").unwrap();
        std::fs::write(folder.join("template"), "the model's").unwrap();
        let file = folder.join("chat_template.jinja");
        let read = || TokenizerSettings::read(&folder).unwrap().own_template(&folder);
        std::os::unix::fs::symlink("template", &file).unwrap();
        assert_eq!(read().unwrap().unwrap().source(), "the model's");
        std::fs::remove_file(&file).unwrap();
        let other = parent.path().join("other/chat_template.jinja");
        std::fs::create_dir(other.parent().unwrap()).unwrap();
        std::fs::write(&other, "another model's").unwrap();
        std::os::unix::fs::symlink(other, &file).unwrap();
        assert_eq!(read().unwrap().unwrap().source(), "another model's");
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("../private", &file).unwrap();
        let error = read().unwrap_err().to_string();
        assert!(error.contains("outside the model's folder") && !error.contains("secret"), "{error}");
    }
}
