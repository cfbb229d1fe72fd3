//! Tokenizer, template and stop ids of a model that mistral.rs runs.
//!
//! mistral.rs gets token ids and returns logits, so its own tokenizer has no effect on clients. Ours come from the files
//! beside the weights, read by the code that training used; otherwise from the GGUF file; otherwise from mistral.rs.

use super::gguf::{GgufText, Special};
use super::source::{WeightsSource, read_config};
use ::mistralrs_core::Pipeline;
use anyhow::{Context, anyhow};
use checkpoint::folder::{end_of_message, eos_ids, tokenizer_settings};
use checkpoint::{ChatTemplate, Tokenizer};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// A model's tokenizer, template and stop ids.
pub(super) struct TextFiles {
    pub(super) tokenizer: Tokenizer,
    pub(super) template: ChatTemplate,
    /// Token ids that end an answer, ascending.
    pub(super) stop_ids: Vec<u32>,
    /// What may be wrong with them.
    pub(super) warnings: Vec<String>,
}

impl TextFiles {
    /// Finds them; `chosen` is a Jinja file to use instead of the model's own template.
    pub(super) fn find(
        name: &str,
        pipeline: &dyn Pipeline,
        source: &WeightsSource,
        chosen: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let gguf = match source {
            WeightsSource::Gguf(file) => GgufText::read(file)?,
            WeightsSource::Folder(_) => GgufText::default(),
        };
        let mut warnings = Vec::new();
        let tokenizer = tokenizer(pipeline, source, &gguf, &mut warnings)?;
        let template = match template(pipeline, source, &gguf, chosen)? {
            Some(template) => template,
            None => {
                warnings.push(format!(
                    "{name} has no chat template; using ChatML (give `--chat-template FILE` for another)"
                ));
                ChatTemplate::chatml()
            }
        };
        let mut stop_ids: BTreeSet<u32> = pipeline.get_metadata().eos_tok.iter().copied().collect();
        stop_ids.extend(&gguf.end_ids);
        stop_ids.extend(config_eos_ids(source)?);
        stop_ids.extend(end_of_message(&tokenizer, &template));
        Ok(Self { tokenizer, template, stop_ids: stop_ids.into_iter().collect(), warnings })
    }
}

fn tokenizer(
    pipeline: &dyn Pipeline,
    source: &WeightsSource,
    gguf: &GgufText,
    warnings: &mut Vec<String>,
) -> anyhow::Result<Tokenizer> {
    let beside = source.folder().join("tokenizer.json");
    if beside.is_file() {
        return Ok(Tokenizer::open(&beside)?);
    }
    let made = pipeline.tokenizer().ok_or_else(|| anyhow!("mistral.rs found no tokenizer"))?;
    let text = made.to_string(false).map_err(|error| anyhow!("the tokenizer cannot be written: {error}"))?;
    let mut json: Value = serde_json::from_str(&text).context("mistral.rs wrote a broken tokenizer")?;
    if !gguf.correct(&mut json) {
        warnings.push(format!(
            "{} has no tokenizer.json; using the tokenizer of mistral.rs, which may split text differently than in training; put the model's own tokenizer.json there",
            source.folder().display()
        ));
    }
    Ok(Tokenizer::from_json(&json.to_string())?)
}

fn template(
    pipeline: &dyn Pipeline,
    source: &WeightsSource,
    gguf: &GgufText,
    chosen: Option<&Path>,
) -> anyhow::Result<Option<ChatTemplate>> {
    let theirs = pipeline.get_chat_template();
    let spelling = |own: &Option<Special>, theirs: Option<String>| {
        own.as_ref().map(|special| special.spelling.clone()).or(theirs).unwrap_or_default()
    };
    let bos = spelling(&gguf.bos, theirs.as_ref().and_then(|template| template.bos_tok()));
    let eos = spelling(&gguf.eos, theirs.as_ref().and_then(|template| template.eos_tok()));
    if let Some(file) = chosen {
        return Ok(Some(ChatTemplate::read(file, &bos, &eos)?));
    }
    let beside = source.folder().join("chat_template.jinja");
    if gguf.eos.is_some() && beside.is_file() {
        // It prints the special tokens of the GGUF file, whatever other files are there.
        return Ok(Some(ChatTemplate::read(&beside, &bos, &eos)?));
    }
    let (_, own) = tokenizer_settings(source.folder())?;
    match (own, &gguf.template) {
        (None, Some(text)) => Ok(Some(ChatTemplate::new(text, &bos, &eos)?)),
        (own, _) => Ok(own),
    }
}

/// The end-of-sequence ids of config.json; mistral.rs reads the template and generation_config.json only.
fn config_eos_ids(source: &WeightsSource) -> anyhow::Result<Vec<u32>> {
    let WeightsSource::Folder(folder) = source else { return Ok(Vec::new()) };
    let config = read_config(folder)?;
    Ok([&config, &config["text_config"]].into_iter().flat_map(eos_ids).collect())
}
