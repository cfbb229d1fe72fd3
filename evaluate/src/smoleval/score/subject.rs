//! A model that is scored: its checkpoint and the engine that runs it, in f32 whatever the weights are stored in.

use super::sha256;
use anyhow::{Context, Result};
use engine::{Engine, NativeEngine, Options, Request};
use serde_json::{Map, Value, json};
use smollm::{Checkpoint, chat};

/// Replies that are made together.
pub(crate) const TOGETHER: usize = 64;
/// For keys and values; beginnings are kept in it for prompts that begin alike.
const CACHE_BYTES: usize = 1 << 30;
/// Tokens a reply must have room for, or the prompt is too long.
const LEAST_REPLY: usize = 8;

pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) engine: NativeEngine,
    pub(crate) checkpoint: Checkpoint,
    /// What a reader of its figures should know.
    pub(crate) notes: Vec<String>,
}

impl Subject {
    pub(crate) fn open(name: &str, place: &str) -> Result<Self> {
        let checkpoint = Checkpoint::open(place, None)?;
        let options = Options { max_sequences: TOGETHER, cache_bytes: CACHE_BYTES, ..Options::default() };
        let engine =
            NativeEngine::start(&checkpoint, options).with_context(|| format!("cannot run {place}"))?;
        let mut notes = checkpoint.warnings.clone();
        if !checkpoint.own_template {
            // The checkpoint's own words speak of an option that is not here.
            notes = vec!["no chat template of its own: ChatML stands in for one".to_owned()];
        }
        Ok(Self { name: name.to_owned(), engine, checkpoint, notes })
    }

    pub(crate) fn own_template(&self) -> bool {
        self.checkpoint.own_template
    }

    pub(crate) fn context(&self) -> usize {
        self.engine.limits().context
    }

    /// Of everything that turns a conversation into a reply.
    pub(crate) fn hashes(&self) -> Result<Value> {
        Ok(json!({
            "weights_sha256": self.checkpoint.weights.sha256(),
            "config_sha256": sha256(self.checkpoint.config.to_json().to_string()),
            "tokenizer_sha256": sha256(self.checkpoint.tokenizer.to_json()?),
            "template_sha256": sha256(self.checkpoint.template.source()),
            "stop_ids": self.checkpoint.stop_ids,
        }))
    }

    /// For people.
    pub(crate) fn about(&self, place: &str) -> Map<String, Value> {
        let about = json!({
            "place": place,
            "sha256": self.checkpoint.weights.sha256(),
            "parameters": self.checkpoint.config.parameters(),
            "context": self.context(),
            "own_template": self.own_template(),
        });
        about.as_object().cloned().unwrap_or_default()
    }

    /// The likeliest answer to a user's words in the chat template; none where they leave no room for one.
    pub(crate) fn chat(&self, user: &str, max_tokens: usize) -> Result<Option<Request>> {
        let messages = [chat::Message::new("user", user)];
        let Checkpoint { template, tokenizer, .. } = &self.checkpoint;
        let prompt = chat::render_prompt(template, tokenizer, &messages, None)?;
        // A tokenizer without these special tokens spells them out.
        let spelled = ["<|im_end|>", "<|im_start|>"].map(str::to_owned).to_vec();
        Ok(self.request(prompt, spelled, max_tokens))
    }

    /// The likeliest rest of a line; none where the text leaves no room for one.
    pub(crate) fn line(&self, text: &str, max_tokens: usize) -> Result<Option<Request>> {
        Ok(self.request(self.document(text)?, vec!["\n".to_owned()], max_tokens))
    }

    fn request(&self, prompt: Vec<u32>, stop_strings: Vec<String>, max_tokens: usize) -> Option<Request> {
        let room = self.context().saturating_sub(prompt.len());
        (room >= LEAST_REPLY).then(|| Request {
            max_tokens: max_tokens.min(room),
            prompt,
            stop_ids: self.checkpoint.stop_ids.clone(),
            stop_strings,
            at_once: true,
            ..Request::default()
        })
    }

    /// Only the log-probabilities of these ids.
    pub(crate) fn measure(&self, ids: Vec<u32>) -> Request {
        Request { prompt: ids, prompt_logprobs: Some(0), ..Request::default() }
    }

    /// A document's ids, without what some tokenizers put at the end themselves.
    pub(crate) fn document(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.checkpoint.tokenizer.encode_document(text)?;
        if ids.last().is_some_and(|last| self.checkpoint.stop_ids.contains(last)) {
            ids.pop();
        }
        Ok(ids)
    }
}
