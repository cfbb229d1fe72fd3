//! Tokenizer, template and stop ids of a model that mistral.rs runs.
//!
//! What mistral.rs itself needs them for never reaches a client: it is given token ids and asked for logits. So ours
//! come from the files beside the weights, read by the code that training used, then from the GGUF file, and only
//! for want of both from mistral.rs.

use super::gguf::{GgufText, Special};
use super::source::{Source, read_config};
use ::mistralrs_core::Pipeline;
use anyhow::{Context, anyhow};
use serde_json::Value;
use smollm::checkpoint::{end_of_message, eos_ids, tokenizer_settings};
use smollm::{ChatTemplate, Tokenizer};
use std::collections::BTreeSet;
use std::path::Path;

/// Everything about a model that is not arithmetic.
pub(super) struct Words {
    pub(super) tokenizer: Tokenizer,
    pub(super) template: ChatTemplate,
    /// Ids that end an answer, ascending.
    pub(super) stop_ids: Vec<u32>,
    /// What a user should know before trusting them.
    pub(super) warnings: Vec<String>,
}

impl Words {
    /// `chosen` is a Jinja file that goes before the model's own template.
    pub(super) fn find(
        name: &str,
        pipeline: &dyn Pipeline,
        source: &Source,
        chosen: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let gguf = match source {
            Source::Gguf(file) => GgufText::read(file)?,
            Source::Folder(_) => GgufText::default(),
        };
        let mut warnings = Vec::new();
        let tokenizer = tokenizer(pipeline, source, &gguf, &mut warnings)?;
        let template = match template(pipeline, source, &gguf, chosen)? {
            Some(template) => template,
            None => {
                warnings.push(format!(
                    "{name} has no chat template: using ChatML; pass --chat-template FILE for another"
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
    source: &Source,
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
    if !gguf.mend(&mut json) {
        warnings.push(format!(
            "{} has no tokenizer.json: using the tokenizer that mistral.rs makes, which may split text otherwise than the model learned; put the model's own tokenizer.json there to be sure",
            source.folder().display()
        ));
    }
    Ok(Tokenizer::from_json(&json.to_string())?)
}

fn template(
    pipeline: &dyn Pipeline,
    source: &Source,
    gguf: &GgufText,
    chosen: Option<&Path>,
) -> anyhow::Result<Option<ChatTemplate>> {
    let found = pipeline.get_chat_template();
    let spelling = |own: &Option<Special>, found: Option<String>| {
        own.as_ref().map(|special| special.spelling.clone()).or(found).unwrap_or_default()
    };
    let bos = spelling(&gguf.bos, found.as_ref().and_then(|found| found.bos_tok()));
    let eos = spelling(&gguf.eos, found.as_ref().and_then(|found| found.eos_tok()));
    if let Some(file) = chosen {
        return Ok(Some(ChatTemplate::read(file, &bos, &eos)?));
    }
    let beside = source.folder().join("chat_template.jinja");
    if gguf.eos.is_some() && beside.is_file() {
        // The special tokens it prints are the GGUF file's, whatever else lies there.
        return Ok(Some(ChatTemplate::read(&beside, &bos, &eos)?));
    }
    let (_, own) = tokenizer_settings(source.folder())?;
    match (own, &gguf.template) {
        (None, Some(text)) => Ok(Some(ChatTemplate::new(text, &bos, &eos)?)),
        (own, _) => Ok(own),
    }
}

/// Ids that config.json says end an answer; mistral.rs looks at the template and generation_config.json only.
fn config_eos_ids(source: &Source) -> anyhow::Result<Vec<u32>> {
    let Source::Folder(folder) = source else { return Ok(Vec::new()) };
    let config = read_config(folder)?;
    Ok([&config, &config["text_config"]].into_iter().flat_map(eos_ids).collect())
}
