//! The results of a request: a stream of events, and the answer collected from it.

use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

/// One result of a request. In order: `Prompt` or `Embedding` if requested, any number of `Token` (or one `Tokens` if
/// the request has `deliver_at_end`), one `Done`.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Log-probabilities of the prompt (P); that of the first token is `None`.
    Prompt(PromptLogprobs),
    /// The mean of the last hidden states (C).
    Embedding(Vec<f32>),
    /// One generated token.
    Token(Token),
    /// All generated tokens.
    Tokens(Vec<Token>),
    /// The end; no event follows.
    Done(Done),
}

/// A generated token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// The token id.
    pub id: u32,
    /// Text that is final now; empty while a character or a possible stop string is incomplete.
    pub text: String,
    /// Log-probabilities of the token and its likeliest alternatives, if requested.
    pub logprobs: Option<Logprobs>,
}

/// Natural-log probabilities at one position, from the distribution of the model: before temperature, penalties and
/// constraints.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// Log-probability of the token at the position.
    pub logprob: f32,
    /// Ids and log-probabilities of the likeliest tokens, best first.
    pub top: Vec<(u32, f32)>,
}

/// One entry per prompt token (P); the first is `None`.
pub type PromptLogprobs = Vec<Option<Logprobs>>;

/// The end of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// Why the answer ended.
    pub finish: Finish,
    /// The last part of the text, which could have been the beginning of a stop string.
    pub text: String,
    /// Number of generated tokens, including a stop token.
    pub completion_tokens: usize,
    /// Number of prompt tokens whose keys and values were reused from an earlier request.
    pub cached_tokens: usize,
    /// How long the request waited until it first ran.
    pub queued: Duration,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// A stop id, a stop string, or the end of the constraint.
    Stop,
    /// `max_tokens` tokens were generated.
    Length,
    /// The constraint allows no token here, or its parser exceeded a limit. Holds a message for users.
    ConstraintFailed(String),
    /// The engine failed. Holds a message for users.
    Failed(String),
}

/// The events of one request. Dropping the stream cancels the request.
#[derive(Debug)]
pub struct Events {
    receiver: UnboundedReceiver<Event>,
}

impl From<UnboundedReceiver<Event>> for Events {
    /// Makes the stream of the channel that an engine sends to.
    fn from(receiver: UnboundedReceiver<Event>) -> Self {
        Self { receiver }
    }
}

impl Events {
    /// Returns the next event; `None` after `Done` or when the engine has stopped.
    pub async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }

    /// Waits for the whole answer.
    pub async fn collect(mut self) -> Answer {
        let mut answer = Answer::unfinished();
        while let Some(event) = self.receiver.recv().await {
            answer.add(event);
        }
        answer
    }

    /// [`Events::collect`] for code without an async runtime.
    pub fn collect_blocking(mut self) -> Answer {
        let mut answer = Answer::unfinished();
        while let Some(event) = self.receiver.blocking_recv() {
            answer.add(event);
        }
        answer
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Generated ids, including a stop token.
    pub ids: Vec<u32>,
    /// The text, without stop strings and special tokens.
    pub text: String,
    /// One entry per generated token, if requested.
    pub logprobs: Vec<Logprobs>,
    /// One entry per prompt token, if requested.
    pub prompt_logprobs: PromptLogprobs,
    /// The embedding (C), if requested.
    pub embedding: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}

impl Answer {
    fn unfinished() -> Self {
        Self {
            ids: Vec::new(),
            text: String::new(),
            logprobs: Vec::new(),
            prompt_logprobs: Vec::new(),
            embedding: Vec::new(),
            finish: Finish::Failed("the engine stopped before the end of the answer".to_owned()),
        }
    }

    fn add(&mut self, event: Event) {
        match event {
            Event::Prompt(logprobs) => self.prompt_logprobs = logprobs,
            Event::Embedding(embedding) => self.embedding = embedding,
            Event::Token(token) => self.add_token(token),
            Event::Tokens(tokens) => tokens.into_iter().for_each(|token| self.add_token(token)),
            Event::Done(done) => {
                self.text.push_str(&done.text);
                self.finish = done.finish;
            }
        }
    }

    fn add_token(&mut self, Token { id, text, logprobs }: Token) {
        self.ids.push(id);
        self.text.push_str(&text);
        self.logprobs.extend(logprobs);
    }
}
