//! What an engine is asked and what it answers.
//!
//! [`Request::check`] is the one edge: an engine runs only requests that passed it.

use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

/// Bytes of the longest stop string: every token of an answer is looked at from each of its beginnings.
const LONGEST_STOP: usize = 1024;

/// One generation.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Ids to continue (P), at least one.
    pub prompt: Vec<u32>,
    /// How to choose each token.
    pub sampling: Sampling,
    /// What the text must be.
    pub constraint: Option<Constraint>,
    /// The most tokens to generate; 0 only scores the prompt.
    pub max_tokens: usize,
    /// Ids that end the answer.
    pub stop_ids: Vec<u32>,
    /// Strings that end the answer; neither they nor what follows is part of the text.
    pub stop_strings: Vec<String>,
    /// How many of the likeliest tokens to report with each generated one; `None` reports nothing.
    pub logprobs: Option<usize>,
    /// The same for the prompt's own tokens.
    pub prompt_logprobs: Option<usize>,
    /// Tokens that must come before a stop id or a stop string may end the answer; a constraint may end it sooner.
    pub min_tokens: usize,
    /// Asks for the mean over the prompt's positions of the last hidden state (C), after the final norm;
    /// nothing is generated.
    pub embedding: bool,
    /// Tells of all tokens with the end, for who reads whole answers: to wake them for each token takes a core from
    /// the engine some thousand times a second.
    pub at_once: bool,
}

/// How a token is chosen. The default is greedy, unpenalised.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0, or so little that they would overflow, takes the likeliest token.
    pub temperature: f32,
    /// Keeps the k likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the likeliest tokens up to this probability mass, in [0, 1], and always the first.
    pub top_p: f32,
    /// Drops tokens less likely than this fraction of the likeliest, in [0, 1].
    pub min_p: f32,
    /// Divides positive (multiplies negative) logits of tokens seen in prompt or answer, from 0.01 on; 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted once from tokens seen in the answer.
    pub presence_penalty: f32,
    /// Subtracted for each time a token was seen in the answer.
    pub frequency_penalty: f32,
    /// Added to the logits of single tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Same seed, same answer, whatever else runs.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

/// A language the answer is held to.
#[derive(Debug, Clone, PartialEq)]
pub enum Constraint {
    /// JSON that validates against this schema.
    JsonSchema(Value),
    /// Text that matches this regular expression, whole.
    Regex(String),
    /// One of these strings.
    Choice(Vec<String>),
    /// A grammar in Lark's notation, as llguidance reads it.
    Lark(String),
}

/// What a request may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most positions prompt and answer may take together.
    pub context: usize,
    /// Rows of the embedding (V); ids are below it.
    pub vocab_size: usize,
}

/// Why a request cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Prompt and answer do not fit the positions.
    #[error("a prompt of {prompt} tokens leaves no room for {max_tokens} more in a context of {context}")]
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens asked for.
        max_tokens: usize,
        /// Positions there are.
        context: usize,
    },
    /// A value is out of its range.
    #[error("{parameter} is {value}; expected {expected}")]
    Value {
        /// The parameter's name.
        parameter: &'static str,
        /// What it was.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The constraint cannot be enforced.
    #[error("constraint: {0}")]
    Constraint(String),
    /// A JSON schema's keyword cannot be enforced.
    #[error("the schema's {keyword} at {pointer} cannot be enforced: {reason}")]
    Keyword {
        /// The keyword, such as `not`.
        keyword: String,
        /// Where it stands, as a JSON pointer into the schema.
        pointer: String,
        /// Why.
        reason: String,
    },
    /// This engine cannot honour a parameter that others can.
    #[error("{parameter} is not supported by the {engine} engine: {reason}")]
    Unsupported {
        /// The parameter's name on the wire.
        parameter: &'static str,
        /// The engine's name.
        engine: &'static str,
        /// Why, and what would do instead.
        reason: &'static str,
    },
    /// The queue is full; nothing was kept.
    #[error("{waiting} requests are waiting already; try again in {retry_after} s")]
    Full {
        /// Requests in the queue.
        waiting: usize,
        /// Seconds after which trying again makes sense.
        retry_after: u64,
    },
    /// The engine's thread has ended.
    #[error("the engine has stopped")]
    Stopped,
}

impl Request {
    /// Refuses what cannot be honoured, by name.
    ///
    /// # Errors
    /// Names the parameter, its value and what it may be.
    pub fn check(&self, limits: Limits) -> Result<(), Refused> {
        self.check_prompt(&self.prompt, limits)?;
        self.check_parameters(limits)
    }

    /// The part of [`Request::check`] that looks at a prompt, for callers with many prompts to one request.
    ///
    /// # Errors
    /// When the prompt is empty, names an id that is none, or leaves no room for the answer.
    pub fn check_prompt(&self, prompt: &[u32], limits: Limits) -> Result<(), Refused> {
        if prompt.is_empty() {
            return refuse("prompt", &"empty", "at least one token");
        }
        if prompt.len() + self.max_tokens > limits.context {
            let (max_tokens, context) = (self.max_tokens, limits.context);
            return Err(Refused::TooLong { prompt: prompt.len(), max_tokens, context });
        }
        match prompt.iter().find(|id| **id as usize >= limits.vocab_size) {
            Some(id) => refuse("prompt", &format!("token id {id}"), "ids below the model's vocab_size"),
            None => Ok(()),
        }
    }

    /// The other part.
    ///
    /// # Errors
    /// Names the parameter, its value and what it may be.
    pub fn check_parameters(&self, limits: Limits) -> Result<(), Refused> {
        let sampling = &self.sampling;
        if self.embedding && self.max_tokens > 0 {
            return refuse("max_tokens", &self.max_tokens, "0 with an embedding");
        }
        if self.min_tokens > self.max_tokens {
            return refuse("min_tokens", &self.min_tokens, "at most max_tokens");
        }
        if self.stop_strings.iter().any(|stop| !(1..=LONGEST_STOP).contains(&stop.len())) {
            return refuse("stop", &"an empty string, or a long one", "strings of 1 to 1024 bytes");
        }
        let within = |value: f32, low: f32, high: f32| value.is_finite() && value >= low && value <= high;
        let ranges = [
            ("temperature", sampling.temperature, within(sampling.temperature, 0.0, 100.0), "0 to 100"),
            ("top_p", sampling.top_p, within(sampling.top_p, 0.0, 1.0), "0 to 1"),
            ("min_p", sampling.min_p, within(sampling.min_p, 0.0, 1.0), "0 to 1"),
            (
                "repetition_penalty",
                sampling.repetition_penalty,
                within(sampling.repetition_penalty, 0.01, 100.0),
                "0.01 to 100",
            ),
            (
                "presence_penalty",
                sampling.presence_penalty,
                within(sampling.presence_penalty, -100.0, 100.0),
                "-100 to 100",
            ),
            (
                "frequency_penalty",
                sampling.frequency_penalty,
                within(sampling.frequency_penalty, -100.0, 100.0),
                "-100 to 100",
            ),
        ];
        if let Some((parameter, value, _, expected)) = ranges.into_iter().find(|(_, _, good, _)| !good) {
            return refuse(parameter, &value, expected);
        }
        // Minus infinity forbids a token; more than everything else is no number to draw by.
        let bad = |(id, bias): &&(u32, f32)| {
            *id as usize >= limits.vocab_size || bias.is_nan() || *bias == f32::INFINITY
        };
        match sampling.logit_bias.iter().find(bad) {
            Some((id, bias)) => {
                refuse("logit_bias", &format!("{id}: {bias}"), "ids below vocab_size, numbers")
            }
            None => Ok(()),
        }
    }
}

fn refuse(
    parameter: &'static str,
    value: &dyn std::fmt::Display,
    expected: &'static str,
) -> Result<(), Refused> {
    Err(Refused::Value { parameter, value: value.to_string(), expected })
}

/// What happens to a request, in order: `Prompt` or `Embedding` if asked for, any number of `Token`, or one `Tokens`
/// where they were asked for at once, one `Done`.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Log-probabilities of the prompt (P); the first token has none.
    Prompt(PromptLogprobs),
    /// The mean of the last hidden states (C).
    Embedding(Vec<f32>),
    /// One generated token.
    Token(Token),
    /// All of them.
    Tokens(Vec<Token>),
    /// The end; nothing follows.
    Done(Done),
}

/// A generated token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Text that is certain now; empty while a character or a possible stop string is incomplete.
    pub text: String,
    /// Its log-probability and the likeliest alternatives, if asked for.
    pub logprobs: Option<Logprobs>,
}

/// Natural-log probabilities at one position, from the model's own distribution: before temperature,
/// penalties and constraints.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// Of the token that stands there.
    pub logprob: f32,
    /// The likeliest tokens, best first.
    pub top: Vec<(u32, f32)>,
}

/// One entry a prompt token (P); the first is `None`.
pub type PromptLogprobs = Vec<Option<Logprobs>>;

/// How an answer ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// Why.
    pub finish: Finish,
    /// The last of the text, held back until now.
    pub text: String,
    /// Generated tokens, a stop token included.
    pub completion_tokens: usize,
    /// Tokens of the prompt whose keys and values were at hand from an earlier request.
    pub cached_tokens: usize,
}

/// What an engine is doing, for health checks and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// Requests in the queue.
    pub waiting: usize,
    /// Requests that have their place in the batch.
    pub running: usize,
    /// Bytes of keys and values that running requests hold.
    pub cache_bytes: usize,
    /// Bytes of keys and values that are kept for requests to come.
    pub reusable_bytes: usize,
    /// Requests whose caller went away before the end, since the start.
    pub cancelled: u64,
    /// Milliseconds since the step that is running began; `None` while there is nothing to do.
    pub step_milliseconds: Option<u64>,
    /// Whether it has ended for good and answers nothing any more.
    pub stopped: bool,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// A stop id, a stop string, or the constraint's end.
    Stop,
    /// `max_tokens` were generated.
    Length,
    /// The constraint led to where no token may follow, or grew beyond what is followed; the reason is for people.
    Unfit(String),
    /// The engine could not go on; the reason is for people.
    Failed(String),
}

/// The events of one request. Dropping it cancels the request.
#[derive(Debug)]
pub struct Events {
    receiver: UnboundedReceiver<Event>,
}

impl From<UnboundedReceiver<Event>> for Events {
    /// The stream an engine hands out for the channel it writes to.
    fn from(receiver: UnboundedReceiver<Event>) -> Self {
        Self { receiver }
    }
}

/// A whole answer, collected.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Generated ids, a stop token included.
    pub ids: Vec<u32>,
    /// The text, without stop strings and special tokens.
    pub text: String,
    /// One entry a generated token, if asked for.
    pub logprobs: Vec<Logprobs>,
    /// One entry a prompt token, if asked for.
    pub prompt_logprobs: PromptLogprobs,
    /// The embedding (C), if asked for.
    pub embedding: Vec<f32>,
    /// How it ended.
    pub finish: Finish,
}

impl Events {
    /// The next event; `None` after `Done`, or when the engine has stopped.
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

    /// [`Events::collect`] for code without a runtime.
    pub fn collect_blocking(mut self) -> Answer {
        let mut answer = Answer::unfinished();
        while let Some(event) = self.receiver.blocking_recv() {
            answer.add(event);
        }
        answer
    }
}

impl Answer {
    fn unfinished() -> Self {
        Self {
            ids: Vec::new(),
            text: String::new(),
            logprobs: Vec::new(),
            prompt_logprobs: Vec::new(),
            embedding: Vec::new(),
            finish: Finish::Failed("the engine stopped before the answer ended".to_owned()),
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
