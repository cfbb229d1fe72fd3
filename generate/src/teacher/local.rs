//! A checkpoint as the teacher, in this process, with the native engine.

use super::call::{Call, CallContext, CallError, Prompt};
use crate::budget::Cost;
use crate::store::{AnswerSource, Outcome, Reply};
use anyhow::{Result, anyhow};
use checkpoint::{ChatTemplate, Checkpoint, Tokenizer, chat};
use datasets::logprobs::{ScoredToken, TokenLogprobs};
use engine::{Answer, Engine, Finish, NativeEngine, Options, Request, RequestError, Sampling};
use std::path::Path;

/// The endpoint's name in the ledger.
const LOCAL: &str = "this process";
/// Minimum number of tokens that a prompt must leave for the answer.
const MIN_ANSWER: usize = 16;

/// A loaded checkpoint.
pub(crate) struct LocalTeacher {
    pub(crate) identity: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) max_tokens: Option<usize>,
    engine: NativeEngine,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    stop_ids: Vec<u32>,
}

impl LocalTeacher {
    /// Loads a checkpoint folder or a Hugging Face id; `template` is a Jinja file to use instead of its own template,
    /// `max_tokens` the user's limit of every answer.
    pub(crate) fn open(name: &str, template: Option<&Path>, max_tokens: Option<usize>) -> Result<Self> {
        let checkpoint = Checkpoint::open(name, template)?;
        checkpoint.adapter_note().iter().for_each(|note| terminal::message!("note: {note}"));
        Ok(Self {
            identity: format!(
                "{}@sha256:{}",
                name.trim_end_matches('/').rsplit('/').next().unwrap_or(name),
                checkpoint.weights.sha256()
            ),
            engine: NativeEngine::start(&checkpoint, Options::default())?,
            tokenizer: checkpoint.tokenizer,
            template: checkpoint.template,
            stop_ids: checkpoint.stop_ids,
            warnings: checkpoint.warnings,
            max_tokens,
        })
    }

    /// Number of positions of the context.
    pub(crate) fn context(&self) -> usize {
        self.engine.limits().context
    }

    /// Number of tokens of a text; `None` if it cannot be tokenized.
    pub(crate) fn tokens(&self, text: &str) -> Option<usize> {
        self.tokenizer.ids(text).ok().map(|ids| ids.len())
    }

    /// Answers a call.
    pub(crate) async fn answer(&self, context: CallContext<'_>) -> Result<Reply, CallError> {
        let CallContext { run, key, step, call, .. } = context;
        let request = self.request(call)?;
        let prompt_tokens = request.prompt.len() as u64;
        let worst = run.cost(&self.identity, prompt_tokens, request.max_tokens as u64, false);
        let in_flight =
            run.begin(key, run.reserve(worst).await.ok_or(CallError::Stopped)?, Cost::default())?;
        let reply = self.reply(request, prompt_tokens).await;
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                let has_failed = matches!(error, CallError::Failed(_));
                let outcome = if has_failed { Outcome::Failed } else { Outcome::Refused };
                run.store.count_calls(&self.identity, LOCAL, outcome, 1);
                in_flight.end(Cost::default())?;
                return Err(error);
            }
        };
        let cost = run.cost(&self.identity, prompt_tokens, reply.completion_tokens, false);
        let source =
            AnswerSource { model: &self.identity, endpoint: LOCAL, step, microdollars: cost.microdollars };
        run.store.record(key, &source, &reply).await?;
        in_flight.end(cost)?;
        Ok(reply)
    }

    async fn reply(&self, request: Request, prompt_tokens: u64) -> Result<Reply, CallError> {
        let has_logprobs = request.logprobs.is_some();
        let events = self.engine.submit(request).map_err(|refused| match refused {
            RequestError::TooLong { .. } => CallError::TooLong(refused.to_string()),
            RequestError::Stopped => CallError::Unusable(anyhow!("the engine has stopped")),
            other => CallError::Rejected(None, other.to_string()),
        })?;
        let answer = events.collect().await;
        let logprobs = if has_logprobs { self.logprobs(&answer) } else { Vec::new() };
        match answer.finish {
            Finish::ConstraintFailed(reason) => Err(CallError::Rejected(None, reason)),
            // The engine's fault, not the row's: if the engine has stopped, the next call ends the run.
            Finish::Failed(reason) => Err(CallError::Failed(reason)),
            finish => Ok(Reply {
                text: answer.text,
                reasoning: None,
                cut: finish == Finish::Length,
                filtered: false,
                prompt_tokens,
                completion_tokens: answer.ids.len() as u64,
                logprobs,
            }),
        }
    }

    /// The log-probabilities of an answer's tokens, the one that ended it included.
    fn logprobs(&self, answer: &Answer) -> Vec<TokenLogprobs> {
        let bytes = self.tokenizer.token_bytes();
        let scored = |id: u32, logprob: f32| {
            let bytes = bytes.get(id as usize).map_or(&[][..], Vec::as_slice);
            ScoredToken::new(bytes, f64::from(logprob))
        };
        let tokens = answer.ids.iter().zip(&answer.logprobs).map(|(id, at)| TokenLogprobs {
            chosen: scored(*id, at.logprob),
            top_logprobs: at.top.iter().map(|(id, logprob)| scored(*id, *logprob)).collect(),
        });
        tokens.collect()
    }

    fn request(&self, call: &Call) -> Result<Request, CallError> {
        let failed = |error: checkpoint::Error| CallError::Rejected(None, error.to_string());
        let mut stop_ids = self.stop_ids.clone();
        let prompt = match &call.prompt {
            Prompt::Assistant(messages) => {
                chat::render_prompt(&self.template, &self.tokenizer, messages, None).map_err(failed)?
            }
            Prompt::User(messages) => {
                // A user's turn ends at any special token, whichever ended it in training.
                stop_ids.extend_from_slice(self.tokenizer.special_ids());
                let text = chat::render_user_opening(&self.template, messages).map_err(failed)?;
                self.tokenizer.ids(&text).map_err(failed)?
            }
        };
        let context = self.context();
        if prompt.len() + MIN_ANSWER > context {
            return Err(CallError::TooLong(format!(
                "the prompt has {} tokens and the context {context}",
                prompt.len()
            )));
        }
        Ok(Request {
            max_tokens: call.max_tokens.min(context - prompt.len()),
            prompt,
            sampling: Sampling {
                temperature: call.temperature,
                top_p: call.top_p,
                seed: call.seed,
                ..Sampling::default()
            },
            constraint: call.constraint(),
            stop_ids,
            // A tokenizer without these special tokens writes them as text.
            stop_strings: vec!["<|im_end|>".to_owned(), "<|im_start|>".to_owned()],
            deliver_at_end: true,
            logprobs: call.top_logprobs.map(usize::from),
            ..Request::default()
        })
    }
}
