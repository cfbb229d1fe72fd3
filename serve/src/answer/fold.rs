//! One answer's events, folded into parts that can be shown.
//!
//! The engine holds text back while it may be half a character or the beginning of a stop string; what is known of
//! those tokens waits here and goes out with the text that releases it, or at the end.

use crate::model::Model;
use crate::prompt::Raw;
use crate::tools::{CallReader, Piece};
use engine::{Done, Event, Finish, Logprobs, PromptLogprobs, Token};
use smollm::tokenizer::TextStream;
use std::sync::Arc;

/// What an answer grows by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    /// Text, and the tokens scored since the last text. Either may be empty.
    Text { text: String, tokens: Vec<ScoredToken> },
    /// The mean of the last hidden states (C).
    Embedding(Vec<f32>),
    /// A call begins; calls are numbered from 0.
    CallBegins { index: usize, id: String, name: String },
    /// More of a call's arguments.
    Arguments { index: usize, text: String },
    /// The end; nothing follows.
    End(End),
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// `stop`, `length` or `tool_calls`.
    pub(crate) finish: &'static str,
    pub(crate) completion_tokens: usize,
    pub(crate) cached_tokens: usize,
}

/// A token with its log-probability.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScoredToken {
    pub(crate) id: u32,
    /// `None` for the first token of a prompt: nothing came before it.
    pub(crate) scores: Option<Logprobs>,
    /// Characters of the text before it.
    pub(crate) offset: usize,
}

/// The state of one answer.
pub(crate) struct Fold {
    model: Arc<Model>,
    reader: Option<CallReader>,
    /// The prompt to repeat, until it is repeated.
    echo: Option<Arc<Raw>>,
    /// Whether the echo waits for the prompt's log-probabilities.
    scored_echo: bool,
    held: Vec<ScoredToken>,
    stream: TextStream,
    /// Characters that the tokens so far stand for.
    characters: usize,
    /// Characters that the engine has let go: none of a stop string.
    shown: usize,
}

impl std::fmt::Debug for Fold {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Fold").field("characters", &self.characters).finish_non_exhaustive()
    }
}

impl Fold {
    /// A fold of an answer in which calls are looked for, or not.
    pub(crate) fn new(model: &Arc<Model>, reader: Option<CallReader>) -> Self {
        Self {
            model: Arc::clone(model),
            reader,
            echo: None,
            scored_echo: false,
            held: Vec::new(),
            stream: TextStream::default(),
            characters: 0,
            shown: 0,
        }
    }

    /// A fold of an answer that begins with its prompt.
    pub(crate) fn echoing(model: &Arc<Model>, prompt: Arc<Raw>, scored: bool) -> Self {
        let characters = prompt.text.chars().count();
        let shown = characters;
        Self { echo: Some(prompt), scored_echo: scored, characters, shown, ..Self::new(model, None) }
    }

    /// What is known before any event.
    pub(crate) fn begin(&mut self) -> Option<Part> {
        let echo = if self.scored_echo { None } else { self.echo.take() };
        echo.map(|prompt| Part::Text { text: prompt.text.clone(), tokens: Vec::new() })
    }

    /// What an event adds.
    pub(crate) fn add(&mut self, event: Event) -> Vec<Part> {
        match event {
            Event::Prompt(scores) => self.prompt(scores),
            Event::Embedding(embedding) => vec![Part::Embedding(embedding)],
            Event::Token(token) => self.token(token),
            Event::Tokens(tokens) => tokens.into_iter().flat_map(|token| self.token(token)).collect(),
            Event::Done(done) => self.end(done),
        }
    }

    fn token(&mut self, Token { id, text, logprobs }: Token) -> Vec<Part> {
        self.hold(id, logprobs);
        let pieces = self.read(text);
        self.parts(pieces)
    }

    /// The prompt, with what each of its tokens was worth.
    fn prompt(&mut self, scores: PromptLogprobs) -> Vec<Part> {
        let Some(prompt) = self.echo.take() else { return Vec::new() };
        let scored = |((id, offset), scores)| ScoredToken { id, scores, offset };
        let tokens = prompt.ids.iter().copied().zip(prompt.offsets.iter().copied()).zip(scores).map(scored);
        vec![Part::Text { text: prompt.text.clone(), tokens: tokens.collect() }]
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

    fn read(&mut self, text: String) -> Vec<Piece> {
        self.shown += text.chars().count();
        match &mut self.reader {
            _ if text.is_empty() => Vec::new(),
            Some(reader) => reader.push(&text),
            None => vec![Piece::Text(text)],
        }
    }

    /// What waits and stands for something that is shown.
    fn release(&mut self) -> Vec<ScoredToken> {
        let count = self.held.iter().take_while(|token| token.offset < self.shown).count();
        self.held.drain(..count).collect()
    }

    fn parts(&mut self, pieces: Vec<Piece>) -> Vec<Part> {
        let part = |piece| match piece {
            Piece::Text(text) => Part::Text { text, tokens: self.release() },
            Piece::CallBegins { index, id, name } => Part::CallBegins { index, id, name },
            Piece::Arguments { index, text } => Part::Arguments { index, text },
        };
        pieces.into_iter().map(part).collect()
    }

    fn end(&mut self, done: Done) -> Vec<Part> {
        let mut pieces = self.read(done.text);
        let mut called = false;
        if let Some(reader) = &mut self.reader {
            pieces.extend(reader.finish());
            called = reader.called();
        }
        let finish = match done.finish {
            Finish::Length => "length",
            _ if called => "tool_calls",
            _ => "stop",
        };
        let mut parts = self.parts(pieces);
        if finish != "length" {
            // A stop string's tokens are shown no more than its text is; a stop id has none.
            let (tokenizer, shown) = (&self.model.tokenizer, self.shown);
            self.held.retain(|token| token.offset < shown || tokenizer.is_special(token.id));
        }
        if !self.held.is_empty() {
            parts.push(Part::Text { text: String::new(), tokens: std::mem::take(&mut self.held) });
        }
        let Done { completion_tokens, cached_tokens, .. } = done;
        parts.push(Part::End(End { finish, completion_tokens, cached_tokens }));
        parts
    }
}
