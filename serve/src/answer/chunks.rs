//! One answer's events, turned into deltas that can be shown.
//!
//! The engine holds text back while it may be half a character or the beginning of a stop string. The log-probabilities
//! of those tokens wait here and are released with the text, or at the end.

use super::thinking::{Part, ThoughtReader};
use crate::model::Model;
use crate::prompt::TokenizedPrompt;
use crate::tools::{AnswerReader, Piece};
use checkpoint::tokenizer::TextStream;
use engine::{Done, Event, Finish, Logprobs, PromptLogprobs, Token};
use openai::FinishReason;
use std::sync::Arc;

/// What an answer grows by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Delta {
    /// Text, and the scored tokens since the last text. Either may be empty.
    Text { text: String, tokens: Vec<ScoredToken> },
    /// What the model thinks, and the scored tokens since the last text.
    Thought { text: String, tokens: Vec<ScoredToken> },
    /// The ids that were chosen, if the client wants to see them.
    Ids(Vec<u32>),
    /// The tokens of the prompt with their log-probabilities (P), if the client wants to see them.
    Prompt(Vec<ScoredToken>),
    /// The prompt's hidden states as one vector (C).
    Embedding(Vec<f32>),
    /// A call begins; calls are numbered from 0.
    CallBegins { index: usize, id: String, name: String },
    /// The next part of a call's arguments.
    Arguments { index: usize, text: String },
    /// The end; nothing follows.
    End(FinishReason),
}

/// A token with its log-probability.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScoredToken {
    pub(crate) id: u32,
    /// `None` for the first token of a prompt, which follows nothing.
    pub(crate) scores: Option<Logprobs>,
    /// Characters of the text before it.
    pub(crate) offset: usize,
}

/// Builds the deltas of one answer.
pub(super) struct ChunkBuilder {
    model: Arc<Model>,
    thoughts: Option<ThoughtReader>,
    reader: Option<AnswerReader>,
    returns_ids: bool,
    /// The prompt whose log-probabilities are returned.
    scored: Option<Arc<TokenizedPrompt>>,
    /// The prompt to repeat, until it was repeated.
    echo: Option<Arc<TokenizedPrompt>>,
    /// Whether the echo waits for the prompt's log-probabilities.
    echo_is_scored: bool,
    held: Vec<ScoredToken>,
    stream: TextStream,
    /// Characters of all tokens so far.
    characters: usize,
    /// Characters that the engine has released, without those of a stop string.
    shown: usize,
}

impl std::fmt::Debug for ChunkBuilder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ChunkBuilder").field("characters", &self.characters).finish_non_exhaustive()
    }
}

impl ChunkBuilder {
    /// A builder that looks for thoughts and for calls if there are readers.
    pub(super) fn new(
        model: &Arc<Model>,
        thoughts: Option<ThoughtReader>,
        reader: Option<AnswerReader>,
    ) -> Self {
        Self {
            model: Arc::clone(model),
            thoughts,
            reader,
            returns_ids: false,
            scored: None,
            echo: None,
            echo_is_scored: false,
            held: Vec::new(),
            stream: TextStream::default(),
            characters: 0,
            shown: 0,
        }
    }

    /// A builder of an answer that begins with its prompt.
    pub(super) fn with_echo(model: &Arc<Model>, prompt: Arc<TokenizedPrompt>, is_scored: bool) -> Self {
        let characters = prompt.text.chars().count();
        let shown = characters;
        Self {
            echo: Some(prompt),
            echo_is_scored: is_scored,
            characters,
            shown,
            ..Self::new(model, None, None)
        }
    }

    /// The same builder, which also returns the ids that were chosen.
    pub(super) fn with_ids(self, returns_ids: bool) -> Self {
        Self { returns_ids, ..self }
    }

    /// The same builder, which also returns the log-probabilities of the prompt.
    pub(super) fn with_prompt_logprobs(self, scored: Option<Arc<TokenizedPrompt>>) -> Self {
        Self { scored, ..self }
    }

    /// What is known before any event.
    pub(super) fn begin(&mut self) -> Option<Delta> {
        let echo = if self.echo_is_scored { None } else { self.echo.take() };
        echo.map(|prompt| Delta::Text { text: prompt.text.clone(), tokens: Vec::new() })
    }

    /// The deltas of an event.
    pub(super) fn add(&mut self, event: Event) -> Vec<Delta> {
        match event {
            Event::Prompt(scores) => self.prompt(scores),
            Event::Embedding(embedding) => vec![Delta::Embedding(embedding)],
            Event::Token(token) => self.token(token),
            Event::Tokens(tokens) => tokens.into_iter().flat_map(|token| self.token(token)).collect(),
            Event::Done(done) => self.end(&done),
        }
    }

    fn token(&mut self, Token { id, text, logprobs }: Token) -> Vec<Delta> {
        self.hold(id, logprobs);
        let ids = self.returns_ids.then(|| Delta::Ids(vec![id]));
        let tag = self.tag(id);
        ids.into_iter().chain(self.read(tag, &text)).collect()
    }

    /// The text of a special token that is a tag around calls or thoughts, if there is a reader of them.
    fn tag(&self, id: u32) -> Option<String> {
        let tokenizer = &self.model.tokenizer;
        let has_reader = self.reader.is_some() || self.thoughts.is_some();
        let token = if has_reader && tokenizer.is_special(id) { tokenizer.token(id)? } else { return None };
        self.model.traits.is_tag(&token).then_some(token)
    }

    /// The log-probabilities of the prompt, and the echoed prompt with those of its tokens.
    fn prompt(&mut self, scores: PromptLogprobs) -> Vec<Delta> {
        let scored = |prompt: Arc<TokenizedPrompt>| {
            let token = |(id, scores): (&u32, &Option<Logprobs>)| ScoredToken {
                id: *id,
                scores: scores.clone(),
                offset: 0,
            };
            Delta::Prompt(prompt.ids.iter().zip(&scores).map(token).collect())
        };
        let own = self.scored.take().map(scored);
        own.into_iter().chain(self.echoed(scores)).collect()
    }

    fn echoed(&mut self, scores: PromptLogprobs) -> Option<Delta> {
        let prompt = self.echo.take()?;
        let scored = |((id, offset), scores)| ScoredToken { id, scores, offset };
        let tokens = prompt.ids.iter().copied().zip(prompt.offsets.iter().copied()).zip(scores).map(scored);
        Some(Delta::Text { text: prompt.text.clone(), tokens: tokens.collect() })
    }

    fn hold(&mut self, id: u32, logprobs: Option<Logprobs>) {
        let Some(scores) = logprobs else { return };
        self.held.push(ScoredToken { id, scores: Some(scores), offset: self.characters });
        if !self.model.tokenizer.is_special(id)
            && let Some(bytes) = self.model.tokenizer.token_bytes().get(id as usize)
        {
            self.characters += self.stream.push(bytes).chars().count();
        }
    }

    fn read(&mut self, tag: Option<String>, text: &str) -> Vec<Delta> {
        self.shown += text.chars().count();
        let text = tag.unwrap_or_default() + text;
        let parts = match &mut self.thoughts {
            _ if text.is_empty() => Vec::new(),
            Some(thoughts) => thoughts.push(&text),
            None => vec![Part::Text(text)],
        };
        self.parts(parts)
    }

    fn parts(&mut self, parts: Vec<Part>) -> Vec<Delta> {
        let mut deltas = Vec::new();
        for part in parts {
            match part {
                Part::Thought(text) => {
                    let tokens = self.release();
                    deltas.push(Delta::Thought { text, tokens });
                }
                Part::Text(text) => {
                    let pieces = match &mut self.reader {
                        Some(reader) => reader.push(&text),
                        None => vec![Piece::Text(text)],
                    };
                    deltas.extend(self.deltas(pieces));
                }
            }
        }
        deltas
    }

    /// The held tokens whose text begins before the end of what is shown.
    fn release(&mut self) -> Vec<ScoredToken> {
        let count = self.held.iter().take_while(|token| token.offset < self.shown).count();
        self.held.drain(..count).collect()
    }

    fn deltas(&mut self, pieces: Vec<Piece>) -> Vec<Delta> {
        let delta = |piece| match piece {
            Piece::Text(text) => Delta::Text { text, tokens: self.release() },
            Piece::CallBegins { index, id, name } => Delta::CallBegins { index, id, name },
            Piece::Arguments { index, text } => Delta::Arguments { index, text },
        };
        pieces.into_iter().map(delta).collect()
    }

    fn end(&mut self, done: &Done) -> Vec<Delta> {
        let mut deltas = self.read(None, &done.text);
        let rest = self.thoughts.as_mut().map(ThoughtReader::finish).unwrap_or_default();
        deltas.extend(self.parts(rest));
        let mut has_calls = false;
        if let Some(reader) = &mut self.reader {
            let pieces = reader.finish();
            has_calls = reader.has_calls();
            deltas.extend(self.deltas(pieces));
        }
        let finish = match done.finish {
            Finish::Length => FinishReason::Length,
            _ if has_calls => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        if finish != FinishReason::Length {
            // The tokens of a stop string are not shown, as its text is not; a stop token has no text.
            let (tokenizer, shown) = (&self.model.tokenizer, self.shown);
            self.held.retain(|token| token.offset < shown || tokenizer.is_special(token.id));
        }
        if !self.held.is_empty() {
            deltas.push(Delta::Text { text: String::new(), tokens: std::mem::take(&mut self.held) });
        }
        deltas.push(Delta::End(finish));
        deltas
    }
}
