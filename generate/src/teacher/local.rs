//! A checkpoint as the teacher, in this process, through the native engine.

use super::{Asking, Call, Prompt, Refusal};
use crate::budget::Cost;
use crate::store::{Outcome, Reply, Source};
use anyhow::{Result, anyhow};
use engine::{Engine, Finish, NativeEngine, Options, Refused, Request, Sampling};
use smollm::{ChatTemplate, Checkpoint, Tokenizer, chat};
use std::path::Path;

/// The endpoint's name in the ledger.
const LOCAL: &str = "this process";
/// Tokens an answer must have room for; a prompt that leaves less is too long.
const LEAST_ANSWER: usize = 16;

pub(crate) struct LocalTeacher {
    pub(crate) identity: String,
    pub(crate) warnings: Vec<String>,
    engine: NativeEngine,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    stop_ids: Vec<u32>,
}

impl LocalTeacher {
    pub(crate) fn open(name: &str, template: Option<&Path>) -> Result<Self> {
        let checkpoint = Checkpoint::open(name, template)?;
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
        })
    }

    pub(crate) fn context(&self) -> usize {
        self.engine.limits().context
    }

    pub(crate) async fn answer(&self, asking: Asking<'_>) -> Result<Reply, Refusal> {
        let Asking { run, key, step, call } = asking;
        let request = self.request(call)?;
        let prompt_tokens = request.prompt.len() as u64;
        let worst = run.cost(&self.identity, prompt_tokens, request.max_tokens as u64, false);
        let begun = run.begin(key, run.hold(worst).await.ok_or(Refusal::Stopped)?)?;
        let reply = self.reply(request, prompt_tokens).await;
        let reply = match reply {
            Ok(reply) => reply,
            Err(refusal) => {
                let failed = matches!(refusal, Refusal::Failed(_));
                let outcome = if failed { Outcome::Failed } else { Outcome::Refused };
                run.store.note(&self.identity, LOCAL, outcome, 1);
                begun.end(Cost::default())?;
                return Err(refusal);
            }
        };
        let cost = run.cost(&self.identity, prompt_tokens, reply.completion_tokens, false);
        let source = Source { model: &self.identity, endpoint: LOCAL, step, microdollars: cost.microdollars };
        run.store.record(key, &source, &reply).await?;
        begun.end(cost)?;
        Ok(reply)
    }

    async fn reply(&self, request: Request, prompt_tokens: u64) -> Result<Reply, Refusal> {
        let events = self.engine.submit(request).map_err(|refused| match refused {
            Refused::TooLong { .. } => Refusal::TooLong(refused.to_string()),
            Refused::Stopped => Refusal::Gone(anyhow!("the engine has stopped")),
            other => Refusal::Rejected(None, other.to_string()),
        })?;
        let answer = events.collect().await;
        match answer.finish {
            Finish::Unfit(reason) => Err(Refusal::Rejected(None, reason)),
            // Of the engine, not of the row: with the engine gone, the next call ends the run.
            Finish::Failed(reason) => Err(Refusal::Failed(reason)),
            finish => Ok(Reply {
                text: answer.text,
                cut: finish == Finish::Length,
                filtered: false,
                prompt_tokens,
                completion_tokens: answer.ids.len() as u64,
            }),
        }
    }

    fn request(&self, call: &Call) -> Result<Request, Refusal> {
        let failed = |error: smollm::Error| Refusal::Rejected(None, error.to_string());
        let mut stop_ids = self.stop_ids.clone();
        let prompt = match &call.prompt {
            Prompt::Assistant(messages) => {
                chat::render_prompt(&self.template, &self.tokenizer, messages, None).map_err(failed)?
            }
            Prompt::User(messages) => {
                // A user's turn ends at any special token, whichever the model was taught to end it with.
                stop_ids.extend_from_slice(self.tokenizer.special_ids());
                let text = chat::render_user_opening(&self.template, messages).map_err(failed)?;
                self.tokenizer.encode(&text).map_err(failed)?.ids
            }
        };
        let context = self.context();
        if prompt.len() + LEAST_ANSWER > context {
            return Err(Refusal::TooLong(format!(
                "{} tokens of prompt in a context of {context}",
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
            // A tokenizer without these special tokens spells them out.
            stop_strings: vec!["<|im_end|>".to_owned(), "<|im_start|>".to_owned()],
            at_once: true,
            ..Request::default()
        })
    }
}
