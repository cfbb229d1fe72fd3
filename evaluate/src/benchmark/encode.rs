//! Prompts and continuations as token ids, cut where lm-evaluation-harness cuts them (`TemplateLM._encode_pair`).

use crate::task::Prompt;
use crate::task::python::strip_end;
use anyhow::Result;
use checkpoint::{Checkpoint, chat};
use serde_json::Map;

/// How prompts become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    /// In the chat template.
    Chat {
        /// Whether each example has turns of its own.
        examples_as_turns: bool,
    },
}

/// Turns text into ids.
pub(super) struct Encoder<'a> {
    checkpoint: &'a Checkpoint,
    /// The text of the token that begins a sequence.
    bos: Option<String>,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(checkpoint: &'a Checkpoint) -> Self {
        let bos = checkpoint.config.bos_token_id.and_then(|id| checkpoint.tokenizer.token(id));
        Self { checkpoint, bos }
    }

    /// The text of a prompt.
    pub(super) fn text(&self, prompt: &Prompt, form: Form) -> Result<String> {
        let Form::Chat { examples_as_turns } = form else { return Ok(prompt.text()) };
        let messages = prompt.messages(examples_as_turns);
        let messages: Vec<chat::Message> =
            messages.into_iter().map(|(role, content)| chat::Message::new(role, content)).collect();
        let template = &self.checkpoint.template;
        Ok(match prompt.reply_start() {
            Some(_) => chat::render_unfinished(template, &messages, None, &Map::new())?,
            None => chat::render_text(template, &messages, None, true, &Map::new())?,
        })
    }

    /// The ids of a text, with the special tokens that the tokenizer adds. A text that begins with the token that begins
    /// a sequence gets no second one.
    pub(super) fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let tokenizer = &self.checkpoint.tokenizer;
        match &self.bos {
            Some(bos) if text.starts_with(bos) => Ok(tokenizer.ids(text)?),
            _ => Ok(tokenizer.encode_document(text)?),
        }
    }

    /// The ids of a context and of what follows it. White space at the context's end belongs to the continuation, whose
    /// ids are those of the joined text after as many as the context has. If none are left because the border merged
    /// into one token, that token is the continuation.
    pub(super) fn pair(&self, context: &str, continuation: &str) -> Result<(Vec<u32>, Vec<u32>)> {
        self.continue_ids(context, self.context_ids(context)?, continuation)
    }

    /// The ids of a context without the white space at its end.
    pub(super) fn context_ids(&self, context: &str) -> Result<Vec<u32>> {
        self.ids(strip_end(context))
    }

    /// As [`Encoder::pair`], where the ids of the context without the white space at its end are known.
    pub(super) fn continue_ids(
        &self,
        context: &str,
        mut context_ids: Vec<u32>,
        continuation: &str,
    ) -> Result<(Vec<u32>, Vec<u32>)> {
        let whole = self.ids(&format!("{context}{continuation}"))?;
        let mut rest: Vec<u32> = whole.get(context_ids.len()..).unwrap_or_default().to_vec();
        if rest.is_empty() {
            rest.extend(whole.last());
            context_ids.truncate(whole.len().saturating_sub(1));
        }
        if context_ids.is_empty() {
            // Nothing is before the first token: the token that begins or ends a sequence stands there.
            let config = &self.checkpoint.config;
            let first = config.bos_token_id.or(config.eos_token_ids.first().copied()).unwrap_or_default();
            if rest.len() > 1 && rest[0] == first {
                rest.remove(0);
            }
            context_ids.push(first);
        }
        Ok((context_ids, rest))
    }
}
