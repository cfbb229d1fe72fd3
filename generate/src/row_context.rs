//! The context of one row: its steps call teachers through it. A recorded answer is never requested again, an
//! unusable one is requested again a few times, and a row without a usable answer is dropped with a reason.

use crate::answer::taken_apart;
use crate::beside_replies::BesideReplies;
use crate::draw::draw;
use crate::flaws::{cut_by_schema, repeated_sentence};
use crate::recipe::{Recipe, Sampling};
use crate::run::Run;
use crate::store::{DroppedRow, Reply};
use crate::teacher::{Call, CallContext, CallError, Correction, Prompt, Teacher};
use crate::teachers::Teachers;
use crate::trace::{Trace, TracedStep};
use crate::unusable::{filtered, fitting, json_of, not_ended, shown, whole_sentences, without_logprobs};
use checkpoint::Message;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Attempts of a step whose answers cannot be used.
const ATTEMPTS: u64 = 3;

/// What the steps of one row share.
pub(crate) struct RowContext<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) teachers: &'a Teachers,
    pub(crate) run: &'a Arc<Run>,
    pub(crate) position: usize,
    pub(crate) id: String,
    /// All draws of the row follow from it.
    pub(crate) seed: u64,
    /// The source text, for tasks that take one.
    pub(crate) source: Option<String>,
    /// What came beside the teacher's replies.
    pub(crate) beside: BesideReplies,
    /// Records the calls, if a person is to read them.
    pub(crate) trace: Option<Trace>,
    /// Answers that replace calls, by step: those of planted rows, which filters are tested on.
    pub(crate) planted_answers: HashMap<String, String>,
}

/// Why a row ends before its last step.
#[derive(Debug)]
pub(crate) enum RowError {
    /// The row is dropped.
    Dropped(DroppedRow),
    /// The teacher failed; a later attempt may succeed.
    Failed { reason: &'static str, step: String, detail: String },
    /// The run is stopping: the row stays undecided.
    Stopped,
    /// The run cannot continue.
    Fatal(anyhow::Error),
}

impl From<anyhow::Error> for RowError {
    fn from(error: anyhow::Error) -> Self {
        Self::Fatal(error)
    }
}

/// Returns the error that drops the row.
pub(crate) fn dropped<T>(step: &str, reason: &str, detail: impl Into<String>) -> Result<T, RowError> {
    Err(RowError::Dropped(DroppedRow {
        reason: reason.to_owned(),
        step: step.to_owned(),
        detail: detail.into(),
    }))
}

/// The temperature of an attempt: the same greedy call would have the same answer, so further attempts are sampled.
fn attempt_temperature(temperature: f32, attempt: u64) -> f32 {
    if attempt > 0 { temperature.max(0.5) } else { temperature }
}

impl RowContext<'_> {
    /// Returns a number that follows from the row and a word alone.
    pub(crate) fn draw(&self, word: &str) -> u64 {
        draw(&format!("{}/{word}", self.seed))
    }

    /// Returns a message of the main teacher as the user or the assistant: not empty, not cut off, without a
    /// forbidden opening.
    pub(crate) async fn message(&self, step: &str, prompt: Prompt) -> Result<String, RowError> {
        self.message_of(&self.teachers.main, step, prompt).await
    }

    /// The same for any teacher.
    pub(crate) async fn message_of(
        &self,
        teacher: &Teacher,
        step: &str,
        prompt: Prompt,
    ) -> Result<String, RowError> {
        let kind = if matches!(prompt, Prompt::User(_)) { "user" } else { "assistant" };
        self.sampled_message(teacher, step, kind, prompt).await
    }

    /// Returns the judge's own reply to a conversation.
    pub(crate) async fn reference(
        &self,
        teacher: &Teacher,
        step: &str,
        messages: &[Message],
    ) -> Result<String, RowError> {
        self.sampled_message(teacher, step, "reference", Prompt::Assistant(messages.to_vec())).await
    }

    /// Returns a text of a teacher with the sampling parameters of a table of the recipe.
    pub(crate) async fn text_of(
        &self,
        teacher: &Teacher,
        step: &str,
        sampling: &str,
        prompt: Prompt,
    ) -> Result<String, RowError> {
        self.sampled_message(teacher, step, sampling, prompt).await
    }

    /// Returns a message of a teacher with the sampling parameters of this kind of step.
    async fn sampled_message(
        &self,
        teacher: &Teacher,
        step: &str,
        kind: &str,
        prompt: Prompt,
    ) -> Result<String, RowError> {
        let sampling = self.sampling(teacher, kind)?;
        let mut failure = ("empty", String::new());
        for attempt in 0..ATTEMPTS {
            let mut call = Call::new(prompt.clone(), sampling, self.draw(&format!("{step}/{attempt}")));
            let is_kept = !matches!(kind, "user" | "reference");
            call.top_logprobs = self.beside.alternatives().filter(|_| is_kept);
            let (reply, is_new) = self.call(teacher, step, &call, None).await?;
            let is_trimmed = reply.cut && self.recipe.trim_cut;
            let text = if is_trimmed { whole_sentences(&reply.text) } else { reply.text.trim() };
            let forbidden = &self.recipe.forbidden_openings;
            let system = match &call.prompt {
                Prompt::User(messages) => messages.iter().find(|message| message.role == "system"),
                Prompt::Assistant(_) => None,
            };
            let repeated = system.and_then(|system| repeated_sentence(text, &system.content));
            if reply.filtered {
                failure = filtered();
            } else if reply.cut && (!is_trimmed || text.is_empty()) {
                failure = ("cut_off", not_ended(&reply, sampling.max_tokens));
                self.useless(teacher, step, is_new, failure.0, &failure.1)?;
            } else if text.is_empty() {
                failure = ("empty", String::new());
                self.useless(teacher, step, is_new, failure.0, "they are empty")?;
            } else if kind == "user" && forbidden.iter().any(|opening| text.starts_with(opening.as_str())) {
                failure = ("forbidden_opening", text.chars().take(40).collect());
            } else if let Some(sentence) = repeated {
                failure = ("repeats_system_prompt", sentence.to_owned());
            } else if is_kept && !self.beside.keep(text, reply.reasoning.as_deref(), &reply.logprobs) {
                failure = ("no_logprobs", without_logprobs(&reply).to_owned());
                self.useless(teacher, step, is_new, failure.0, &failure.1)?;
            } else {
                teacher.useful(step);
                return Ok(text.to_owned());
            }
            if sampling.temperature == 0.0 {
                break;
            }
        }
        dropped(step, failure.0, failure.1)
    }

    /// The sampling parameters of a kind of step, with the user's limit of this teacher's answers.
    fn sampling(&self, teacher: &Teacher, kind: &str) -> anyhow::Result<Sampling> {
        let sampling = self.recipe.sampling(kind)?;
        Ok(Sampling { max_tokens: teacher.max_tokens().unwrap_or(sampling.max_tokens), ..sampling })
    }

    /// Counts an answer of no use, if it was paid for just now. `drop` is the reason by which its row is dropped.
    fn useless(
        &self,
        teacher: &Teacher,
        step: &str,
        is_new: bool,
        drop: &str,
        reason: &str,
    ) -> anyhow::Result<()> {
        let remedy = match drop {
            "cut_off" => "run the same command again with a larger `--max-tokens` and `--retry cut_off`",
            // The answers are recorded and would be used again.
            _ => {
                "check what the model is and how it is asked (`smoltalk preview`), then start over with `--restart`"
            }
        };
        if is_new { teacher.useless(step, reason, remedy) } else { Ok(()) }
    }

    /// Returns a judge's JSON, constrained to a schema and validated against it: an endpoint may ignore the
    /// constraint.
    pub(crate) async fn judge(
        &self,
        teacher: &Teacher,
        step: &str,
        sampling: &str,
        prompt: String,
        schema: &Value,
    ) -> Result<Value, RowError> {
        self.checked(teacher, step, sampling, prompt, schema, |value| fitting(schema, value)).await
    }

    /// The same for JSON whose texts become training text: a text that the schema's `maxLength` cut is requested again, too.
    pub(crate) async fn written<T>(
        &self,
        teacher: &Teacher,
        step: &str,
        sampling: &str,
        prompt: String,
        schema: &Value,
        check: impl Fn(Value) -> Result<T, (&'static str, String)>,
    ) -> Result<T, RowError> {
        self.checked(teacher, step, sampling, prompt, schema, |value| {
            let cut = cut_by_schema(schema, &value).map(|text| {
                ("cut_by_schema", format!("a text fills the schema's `maxLength` and has no end: {text}"))
            });
            check(value).and_then(|value| cut.map_or(Ok(value), Err))
        })
        .await
    }

    /// Requests JSON from a teacher, constrained to `schema` if the teacher supports that. `check` converts it to
    /// what the row needs, or returns the reason and the detail of a drop.
    pub(crate) async fn checked<T>(
        &self,
        teacher: &Teacher,
        step: &str,
        sampling: &str,
        prompt: String,
        schema: &Value,
        check: impl Fn(Value) -> Result<T, (&'static str, String)>,
    ) -> Result<T, RowError> {
        let prompt = Prompt::Assistant(vec![Message::new("user", prompt)]);
        let sampling = self.sampling(teacher, sampling)?;
        let mut failure = ("unusable_judgement", String::new());
        let mut correction = None;
        for attempt in 0..ATTEMPTS {
            let mut call = Call::new(prompt.clone(), sampling, self.draw(&format!("{step}/{attempt}")));
            call.schema = Some(schema.clone());
            call.temperature = attempt_temperature(call.temperature, attempt);
            let (reply, is_new) = self.call(teacher, step, &call, correction.as_ref()).await?;
            let value = json_of(&reply, sampling.max_tokens, schema);
            match &value {
                // What does not fit the schema may be the row's matter.
                Ok(_) => teacher.useful(step),
                Err(("filtered", _)) => {}
                Err(("cut_off", _)) => {
                    let reason = not_ended(&reply, sampling.max_tokens);
                    self.useless(teacher, step, is_new, "cut_off", &reason)?;
                }
                Err(_) => self.useless(teacher, step, is_new, "unusable_judgement", "they are not JSON")?,
            }
            match value.and_then(&check) {
                Ok(value) => return Ok(value),
                Err(reason) => failure = reason,
            }
            let is_mendable = !reply.cut && !reply.filtered;
            correction = is_mendable.then(|| Correction { answer: reply.text, error: shown(&failure.1) });
        }
        dropped(step, failure.0, failure.1)
    }

    /// Returns a judge's verdict as text, constrained to a regular expression if the teacher supports that. A text
    /// that `is_verdict` rejects is requested again.
    pub(crate) async fn verdict(
        &self,
        teacher: &Teacher,
        step: &str,
        prompt: String,
        regex: &str,
        is_verdict: impl Fn(&str) -> bool,
    ) -> Result<String, RowError> {
        let prompt = Prompt::Assistant(vec![Message::new("user", prompt)]);
        let sampling = self.sampling(teacher, "judge")?;
        let mut rejected = String::new();
        for attempt in 0..ATTEMPTS {
            // The first attempt has the seed that it had when there was only one.
            let word = if attempt == 0 { step.to_owned() } else { format!("{step}/{attempt}") };
            let mut call = Call::new(prompt.clone(), sampling, self.draw(&word));
            call.regex = Some(regex.to_owned());
            call.temperature = attempt_temperature(call.temperature, attempt);
            let text = self.call(teacher, step, &call, None).await?.0.text.trim().to_owned();
            if is_verdict(&text) {
                return Ok(text);
            }
            rejected = text;
        }
        dropped(step, "unusable_judgement", rejected)
    }

    /// Returns the answer to a call, taken apart, and whether it is new: the recorded one, or else a new one.
    async fn call(
        &self,
        teacher: &Teacher,
        step: &str,
        call: &Call,
        correction: Option<&Correction>,
    ) -> Result<(Reply, bool), RowError> {
        if let Some(text) = self.planted_answers.get(step) {
            return Ok((Reply { text: text.clone(), ..Reply::default() }, false));
        }
        let key = teacher.key(self.position, call);
        let recorded = self.run.store.answer(&key)?;
        let is_new = recorded.is_none();
        let reply = match recorded {
            Some(reply) => Ok(reply),
            None if self.trace.as_ref().is_some_and(|trace| !trace.may_call) => {
                return Err(RowError::Stopped);
            }
            None => teacher.answer(CallContext { run: self.run, key: &key, step, call, correction }).await,
        };
        let reply = reply.map(|reply| taken_apart(reply, &call.prompt));
        if let (Some(trace), Ok(reply)) = (&self.trace, &reply) {
            trace.push(TracedStep {
                name: step.to_owned(),
                teacher: teacher.identity().to_owned(),
                prompt: call.prompt.to_string(),
                reply: reply.text.clone(),
                prompt_tokens: reply.prompt_tokens,
                completion_tokens: reply.completion_tokens,
            });
        }
        reply.map(|reply| (reply, is_new)).map_err(|error| row_error(step, error))
    }
}

/// How a row ends because of a call without an answer.
fn row_error(step: &str, error: CallError) -> RowError {
    let drop = |reason: &str, detail| {
        RowError::Dropped(DroppedRow { reason: reason.to_owned(), step: step.to_owned(), detail })
    };
    let failed = |reason, detail| RowError::Failed { reason, step: step.to_owned(), detail };
    match error {
        CallError::TooLong(detail) => drop("prompt_too_long", detail),
        CallError::Rejected(_, detail) => drop("teacher_refused", detail),
        CallError::RejectedEarly(detail) => failed("teacher_refused", detail),
        CallError::Failed(detail) => failed("teacher_failed", detail),
        CallError::Stopped => RowError::Stopped,
        CallError::Unusable(error) => RowError::Fatal(error),
    }
}
