//! What the answers of one request are made of: the engine's request, the prompts, and how events become deltas.
//!
//! The engine's request for an answer is made when the answer's turn comes, so that many answers to a long prompt need
//! no more memory than those that run.

use super::chunks::ChunkBuilder;
use super::returned_ids::ReturnedIds;
use super::thinking::ThoughtReader;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::left_out::LeftOut;
use crate::model::Model;
use crate::prompt::{PreparedPrompt, TokenizedPrompt};
use crate::tools::ToolPlan;
use crate::traits::ThinkingTags;
use crate::valid::{Generation, NamedConstraint};
use engine::{Request, RequestError, Sampling};
use std::sync::Arc;

/// The answers that a request asks for.
#[derive(Debug)]
pub(crate) struct AnswerPlan {
    /// The engine's request, without the prompt. Further answers to one prompt count the seed up, so that the first
    /// answer does not depend on their number.
    pub(crate) request: Request,
    pub(crate) prompts: Vec<Arc<TokenizedPrompt>>,
    pub(crate) answers_per_prompt: usize,
    /// Whether each answer begins with its prompt.
    pub(crate) echo: bool,
    /// The tools whose calls are looked for.
    pub(crate) tools: Option<ToolPlan>,
    /// The tags around thoughts, and whether the prompt ends with the opening one; `None` where answers are not split.
    pub(crate) thinking: Option<(ThinkingTags, bool)>,
    /// Whether a maximum beyond the context is refused instead of cut.
    pub(crate) is_strict: bool,
    /// Whether the client wants to see the ids of prompts and answers.
    pub(crate) returns_ids: bool,
    /// Whether the client wants to see the log-probabilities of prompts, beside an echo.
    pub(crate) returns_prompt_logprobs: bool,
}

/// The client's names of parameters that an engine may refuse.
#[derive(Debug)]
pub(crate) struct ParameterNames {
    /// The parameter that became the prompt.
    pub(crate) prompt: &'static str,
    /// The parameter that limits the number of tokens.
    pub(crate) max_tokens: &'static str,
    /// The constraint of the text.
    pub(crate) constraint: Option<NamedConstraint>,
}

impl AnswerPlan {
    /// The `n` answers to one conversation. Without `max_tokens` each may fill the rest of the context.
    pub(crate) fn conversation(
        model: &Model,
        generation: &Generation,
        tools: Option<ToolPlan>,
        prompt: PreparedPrompt,
        caller: Caller,
    ) -> Self {
        let PreparedPrompt { ids, thinking } = prompt;
        let rest = model.engine.limits().context.saturating_sub(ids.len()).max(1);
        let request = generation.request(model, generation.max_tokens.unwrap_or(rest));
        Self {
            request: Request { prefix_scope: caller.prefix_scope, client: caller.client, ..request },
            prompts: vec![Arc::new(TokenizedPrompt { ids, ..TokenizedPrompt::default() })],
            answers_per_prompt: generation.n,
            echo: false,
            tools,
            thinking,
            is_strict: false,
            returns_ids: generation.returns_ids,
            returns_prompt_logprobs: generation.prompt_logprobs.is_some(),
        }
    }

    /// Maximum number of tokens after a prompt of this length: what was asked for, or what the context has room for.
    fn max_tokens(&self, prompt_tokens: usize, context: usize) -> usize {
        let room = context.saturating_sub(prompt_tokens).max(1);
        if self.is_strict { self.request.max_tokens } else { self.request.max_tokens.min(room) }
    }

    /// What of the request is cut.
    pub(crate) fn left_out(&self, model: &Model, names: &ParameterNames) -> LeftOut {
        let context = model.engine.limits().context;
        let room = |prompt: &Arc<TokenizedPrompt>| self.max_tokens(prompt.ids.len(), context);
        let mut left_out = LeftOut::default();
        match self.prompts.iter().map(room).min() {
            Some(room) if room < self.request.max_tokens => {
                let asked = self.request.max_tokens;
                left_out
                    .add(names.max_tokens, format!("{asked} is cut to the {room} the context has room for"));
            }
            _ => {}
        }
        left_out
    }

    /// Number of answers.
    pub(super) fn answers(&self) -> usize {
        self.prompts.len() * self.answers_per_prompt
    }

    /// Tokens of all prompts.
    pub(super) fn prompt_tokens(&self) -> usize {
        self.prompts.iter().map(|prompt| prompt.ids.len()).sum()
    }

    /// Checks every prompt once, and the other parameters once for all answers.
    pub(super) fn check(&self, model: &Model, names: &ParameterNames) -> Result<(), ApiError> {
        let limits = model.engine.limits();
        if let Some(id) = self.request.stop_ids.iter().find(|id| **id as usize >= limits.vocab_size) {
            let message = format!("`stop_token_ids` has {id}; expected ids below {}", limits.vocab_size);
            return Err(ApiError::invalid("stop_token_ids", message));
        }
        let mut prompts = self.prompts.iter();
        let checked = prompts.try_for_each(|prompt| {
            let max_tokens = self.max_tokens(prompt.ids.len(), limits.context);
            Request { max_tokens, ..Request::default() }.check_prompt(&prompt.ids, limits)
        });
        checked.and_then(|()| self.request.check_parameters(limits)).map_err(|refused| names.error(refused))
    }

    /// The engine's request for one answer.
    pub(super) fn request(&self, index: usize, context: usize) -> Request {
        let prompt = &self.prompts[index / self.answers_per_prompt].ids;
        let max_tokens = self.max_tokens(prompt.len(), context);
        let Request { prompt: _, sampling, constraint, stop_ids, stop_strings, .. } = &self.request;
        let seed = sampling.seed.wrapping_add((index % self.answers_per_prompt) as u64);
        Request {
            prompt: prompt.clone(),
            max_tokens,
            min_tokens: self.request.min_tokens.min(max_tokens),
            sampling: Sampling { seed, ..sampling.clone() },
            constraint: constraint.clone(),
            stop_ids: stop_ids.clone(),
            stop_strings: stop_strings.clone(),
            ..self.request
        }
    }

    /// The builder of one answer's deltas.
    pub(super) fn builder(&self, model: &Arc<Model>, index: usize) -> ChunkBuilder {
        let builder = match self.echo {
            true => {
                let prompt = Arc::clone(&self.prompts[index / self.answers_per_prompt]);
                ChunkBuilder::with_echo(model, prompt, self.request.prompt_logprobs.is_some())
            }
            false => {
                let thoughts = self.thinking.map(|(tags, is_open)| ThoughtReader::new(tags, is_open));
                let reader = self.tools.as_ref().map(|tools| tools.reader(model.traits));
                ChunkBuilder::new(model, thoughts, reader)
            }
        };
        let prompt = || Arc::clone(&self.prompts[index / self.answers_per_prompt]);
        builder.with_ids(self.returns_ids).with_prompt_logprobs(self.returns_prompt_logprobs.then(prompt))
    }

    /// Where the ids are collected, if the client wants to see them.
    pub(super) fn returned_ids(&self) -> Option<ReturnedIds> {
        self.returns_ids.then(|| ReturnedIds::new(self.prompts.clone(), self.answers_per_prompt))
    }
}

impl ParameterNames {
    /// The engine's error, with the client's name of the parameter.
    pub(super) fn error(&self, error: RequestError) -> ApiError {
        let param = match (&error, &self.constraint) {
            (RequestError::TooLong { prompt, context, .. }, _) if prompt < context => {
                return ApiError::invalid(self.max_tokens, error.to_string())
                    .with_code("max_tokens_too_large");
            }
            (RequestError::TooLong { .. } | RequestError::Value { parameter: "prompt", .. }, _) => {
                self.prompt
            }
            (
                RequestError::Constraint(_) | RequestError::Schema { .. } | RequestError::Keyword { .. },
                Some(constraint),
            ) => &constraint.param,
            _ => return error.into(),
        };
        ApiError { param: Some(param.to_owned()), ..ApiError::from(error) }
    }
}
