//! The model that is evaluated: its checkpoint and the engine that runs it, in f32 whatever the data type of the
//! weights.

use anyhow::{Context, Result};
use checkpoint::{Checkpoint, chat};
use engine::{Engine, NativeEngine, Options, Request};
use files::hash::sha256;
use serde_json::{Map, Value, json};
use terminal::Stop;

/// The number of sequences that are computed together.
pub(super) const BATCH: usize = 64;
/// Size of the cache of keys and values, which also keeps common beginnings of prompts.
const CACHE_BYTES: usize = 1 << 30;
/// A prompt that leaves room for fewer tokens than these is too long.
const MIN_REPLY: usize = 8;

/// A model that is evaluated.
pub(super) struct EvaluatedModel {
    pub(super) name: String,
    pub(super) engine: NativeEngine,
    pub(super) checkpoint: Checkpoint,
    /// What a reader of its figures should know.
    pub(super) notes: Vec<String>,
    /// Ends the evaluation when it is requested.
    pub(super) stop: Stop,
}

impl EvaluatedModel {
    /// Opens the checkpoint and starts the engine.
    pub(super) fn open(name: &str, location: &str, stop: Stop) -> Result<Self> {
        let checkpoint = Checkpoint::open(location, None)?;
        let options = Options { max_sequences: BATCH, cache_bytes: CACHE_BYTES, ..Options::default() };
        let engine =
            NativeEngine::start(&checkpoint, options).with_context(|| format!("cannot run {location}"))?;
        let mut notes = checkpoint.warnings.clone();
        if !checkpoint.has_own_template {
            // The checkpoint's own warning names an option that this program does not have.
            notes = vec!["no chat template of its own; ChatML is used".to_owned()];
        }
        notes.extend(checkpoint.adapter_note());
        Ok(Self { name: name.to_owned(), engine, checkpoint, notes, stop })
    }

    /// Whether the checkpoint has a chat template.
    pub(super) fn has_template(&self) -> bool {
        self.checkpoint.has_own_template
    }

    /// The length of the context, in tokens.
    pub(super) fn context(&self) -> usize {
        self.engine.limits().context
    }

    /// The hashes of everything that turns a conversation into a reply.
    pub(super) fn hashes(&self) -> Result<Value> {
        Ok(json!({
            "weights_sha256": self.checkpoint.weights.sha256(),
            "config_sha256": sha256(self.checkpoint.config.to_json().to_string()),
            "tokenizer_sha256": sha256(self.checkpoint.tokenizer.to_json()?),
            "template_sha256": sha256(self.checkpoint.template.source()),
            "stop_ids": self.checkpoint.stop_ids,
        }))
    }

    /// What the results say about the model.
    pub(super) fn description(&self, location: &str) -> Map<String, Value> {
        let description = json!({
            "place": location,
            "sha256": self.checkpoint.weights.sha256(),
            "parameters": self.checkpoint.config.parameters(),
            "context": self.context(),
            "own_template": self.has_template(),
        });
        description.as_object().cloned().unwrap_or_default()
    }

    /// Asks for the greedy reply to a user message in the chat template; none if there is no room for a reply.
    pub(super) fn chat_request(&self, user: &str, max_tokens: usize) -> Result<Option<Request>> {
        let messages = [chat::Message::new("user", user)];
        let Checkpoint { template, tokenizer, .. } = &self.checkpoint;
        let prompt = chat::render_prompt(template, tokenizer, &messages, None)?;
        // With a tokenizer that lacks these special tokens, the model writes them as text.
        let markers = ["<|im_end|>", "<|im_start|>"].map(str::to_owned).to_vec();
        Ok(self.request(prompt, markers, max_tokens))
    }

    /// Asks for the greedy rest of a line of plain text; none if there is no room for it.
    pub(super) fn line_request(&self, text: &str, max_tokens: usize) -> Result<Option<Request>> {
        Ok(self.request(self.document_ids(text)?, vec!["\n".to_owned()], max_tokens))
    }

    fn request(&self, prompt: Vec<u32>, stop_strings: Vec<String>, max_tokens: usize) -> Option<Request> {
        let room = self.context().saturating_sub(prompt.len());
        (room >= MIN_REPLY).then(|| Request {
            max_tokens: max_tokens.min(room),
            prompt,
            stop_ids: self.checkpoint.stop_ids.clone(),
            stop_strings,
            deliver_at_end: true,
            ..Request::default()
        })
    }

    /// Asks for the log-probabilities of these ids and generates nothing.
    pub(super) fn logprob_request(&self, ids: Vec<u32>) -> Request {
        Request { prompt: ids, prompt_logprobs: Some(0), ..Request::default() }
    }

    /// The ids of a document, without the stop token that some tokenizers add.
    pub(super) fn document_ids(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.checkpoint.tokenizer.encode_document(text)?;
        if ids.last().is_some_and(|last| self.checkpoint.stop_ids.contains(last)) {
            ids.pop();
        }
        Ok(ids)
    }
}
