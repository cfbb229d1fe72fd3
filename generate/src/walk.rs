//! One row's way through its steps: asking with a memory, asking again, and dropping with a reason.

use crate::recipe::{Recipe, Style, draw};
use crate::report::Step;
use crate::run::Run;
use crate::store::{Dropped, Reply};
use crate::teacher::{Asking, Call, Prompt, Refusal, Teacher};
use serde_json::Value;
use smollm::Message;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Tries of a step whose answer cannot be used.
const ASKS: u64 = 3;

/// Who answers which steps.
pub(crate) struct Teachers {
    pub(crate) main: Teacher,
    pub(crate) judge: Option<Teacher>,
    pub(crate) reward: Option<Teacher>,
    pub(crate) safety: Option<Teacher>,
    /// Who writes the completions of preferences; the main teacher when there is none.
    pub(crate) completions: Vec<Teacher>,
}

/// A row on its way.
pub(crate) struct Walk<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) teachers: &'a Teachers,
    pub(crate) run: &'a Arc<Run>,
    pub(crate) position: usize,
    pub(crate) id: String,
    /// Everything drawn for this row follows from it.
    pub(crate) seed: u64,
    /// The text of a source task.
    pub(crate) source: Option<String>,
    /// Where the steps are written down, if a person is to read them.
    pub(crate) trace: Option<Trace>,
    /// Answers of steps that nobody is asked for: planted rows, which filters are tried on.
    pub(crate) given: HashMap<String, String>,
}

/// The steps of a watched walk.
#[derive(Default)]
pub(crate) struct Trace {
    pub(crate) steps: Mutex<Vec<Step>>,
    /// Whether what is not recorded may be asked.
    pub(crate) asks: bool,
}

/// Why a walk ended early.
#[derive(Debug)]
pub(crate) enum Halt {
    Drop(Dropped),
    /// The teacher failed; a later try may succeed.
    Failed {
        reason: &'static str,
        step: String,
        detail: String,
    },
    /// The run is stopping: the row stays undecided.
    Stopped,
    /// The run cannot go on.
    Abort(anyhow::Error),
}

impl From<anyhow::Error> for Halt {
    fn from(error: anyhow::Error) -> Self {
        Self::Abort(error)
    }
}

/// Drops the row.
pub(crate) fn dropped<T>(step: &str, reason: &str, detail: impl Into<String>) -> Result<T, Halt> {
    Err(Halt::Drop(Dropped { reason: reason.to_owned(), step: step.to_owned(), detail: detail.into() }))
}

/// The text up to the end of its last whole sentence; empty if it holds none.
fn whole_sentences(text: &str) -> &str {
    let end = text.rfind(['.', '!', '?']).map_or(0, |end| end + 1);
    text[..end].trim()
}

/// The same greedy question has the same answer; a second one is drawn.
fn again(temperature: f32, attempt: u64) -> f32 {
    if attempt > 0 { temperature.max(0.5) } else { temperature }
}

/// The reason and the detail of a drop for a reply that a provider took away.
fn filtered() -> (&'static str, String) {
    ("filtered", "the provider's content filter took it away".to_owned())
}

/// The reason and the detail of a drop for a reply that should have been JSON.
fn no_json(reply: &Reply, most: usize, error: &serde_json::Error) -> (&'static str, String) {
    match reply {
        Reply { filtered: true, .. } => filtered(),
        Reply { cut: true, text, .. } => ("cut_off", format!("not ended after {most} tokens: {text}")),
        Reply { text, .. } => ("unusable_judgement", format!("not JSON ({error}): {text}")),
    }
}

impl Walk<'_> {
    /// A number that follows from the row and a word alone.
    pub(crate) fn draw(&self, word: &str) -> u64 {
        draw(&format!("{}/{word}", self.seed))
    }

    /// The style of a row that is made from a text; tasks without styles have none.
    pub(crate) fn style(&self) -> Option<&Style> {
        let styles = &self.recipe.styles;
        (!styles.is_empty()).then(|| &styles[self.draw("style") as usize % styles.len()])
    }

    /// The teacher's own words as the user or the assistant: not empty, not cut, not opened as forbidden.
    pub(crate) async fn words(&self, step: &str, prompt: Prompt) -> Result<String, Halt> {
        self.words_of(&self.teachers.main, step, prompt).await
    }

    /// The same, of any teacher.
    pub(crate) async fn words_of(
        &self,
        teacher: &Teacher,
        step: &str,
        prompt: Prompt,
    ) -> Result<String, Halt> {
        let kind = if matches!(prompt, Prompt::User(_)) { "user" } else { "assistant" };
        self.sampled(teacher, step, kind, prompt).await
    }

    /// What a judge would itself reply to a conversation, where the recipe asks for that.
    pub(crate) async fn reference(
        &self,
        teacher: &Teacher,
        step: &str,
        messages: &[Message],
    ) -> Result<Option<String>, Halt> {
        if !self.recipe.settings.reference_answers {
            return Ok(None);
        }
        self.sampled(teacher, step, "reference", Prompt::Assistant(messages.to_vec())).await.map(Some)
    }

    /// A teacher's words, sampled as the recipe says for this kind of step.
    async fn sampled(
        &self,
        teacher: &Teacher,
        step: &str,
        kind: &str,
        prompt: Prompt,
    ) -> Result<String, Halt> {
        let sampling = self.recipe.sampling(kind)?;
        let mut last = ("empty", String::new());
        for attempt in 0..ASKS {
            let call = Call::new(prompt.clone(), sampling, self.draw(&format!("{step}/{attempt}")));
            let reply = self.ask(teacher, step, &call).await?;
            let trimmed = reply.cut && self.recipe.settings.trim_cut;
            let text = if trimmed { whole_sentences(&reply.text) } else { reply.text.trim() };
            let forbidden = &self.recipe.settings.forbidden_openings;
            if reply.filtered {
                last = filtered();
            } else if text.is_empty() {
                last = ("empty", String::new());
            } else if reply.cut && !trimmed {
                last = ("cut_off", format!("not ended after {} tokens", sampling.max_tokens));
            } else if kind == "user" && forbidden.iter().any(|opening| text.starts_with(opening.as_str())) {
                last = ("forbidden_opening", text.chars().take(40).collect());
            } else {
                return Ok(text.to_owned());
            }
            if sampling.temperature == 0.0 {
                break;
            }
        }
        dropped(step, last.0, last.1)
    }

    /// A judge's JSON, held to a schema and validated again: an endpoint may ignore what it is asked.
    pub(crate) async fn judge(
        &self,
        teacher: &Teacher,
        step: &str,
        sampling: &str,
        question: String,
        schema: &Value,
    ) -> Result<Value, Halt> {
        self.checked(teacher, step, sampling, question, schema, |value| {
            if jsonschema::is_valid(schema, &value) {
                return Ok(value);
            }
            Err(("unusable_judgement", format!("does not fit the schema: {value}")))
        })
        .await
    }

    /// JSON of a teacher that is held to `schema` where it can be; `check` makes of it what the row needs, or
    /// names the reason and the detail of a drop.
    pub(crate) async fn checked<T>(
        &self,
        teacher: &Teacher,
        step: &str,
        sampling: &str,
        question: String,
        schema: &Value,
        check: impl Fn(Value) -> Result<T, (&'static str, String)>,
    ) -> Result<T, Halt> {
        let prompt = Prompt::Assistant(vec![Message::new("user", question)]);
        let sampling = self.recipe.sampling(sampling)?;
        let mut last = ("unusable_judgement", String::new());
        for attempt in 0..ASKS {
            let mut call = Call::new(prompt.clone(), sampling, self.draw(&format!("{step}/{attempt}")));
            call.schema = Some(schema.clone());
            call.temperature = again(call.temperature, attempt);
            let reply = self.ask(teacher, step, &call).await?;
            let checked = match serde_json::from_str::<Value>(reply.text.trim()) {
                Ok(value) => check(value),
                Err(error) => Err(no_json(&reply, sampling.max_tokens, &error)),
            };
            match checked {
                Ok(value) => return Ok(value),
                Err(failure) => last = failure,
            }
        }
        dropped(step, last.0, last.1)
    }

    /// A judge's verdict as text, held to a regex where it can be, and looked at again: what is no verdict is asked
    /// for again.
    pub(crate) async fn verdict(
        &self,
        teacher: &Teacher,
        step: &str,
        question: String,
        regex: &str,
        is_verdict: impl Fn(&str) -> bool,
    ) -> Result<String, Halt> {
        let prompt = Prompt::Assistant(vec![Message::new("user", question)]);
        let sampling = self.recipe.sampling("judge")?;
        let mut last = String::new();
        for attempt in 0..ASKS {
            // The first one has the seed that it had when there was one only.
            let word = if attempt == 0 { step.to_owned() } else { format!("{step}/{attempt}") };
            let mut call = Call::new(prompt.clone(), sampling, self.draw(&word));
            call.regex = Some(regex.to_owned());
            call.temperature = again(call.temperature, attempt);
            let text = self.ask(teacher, step, &call).await?.text.trim().to_owned();
            if is_verdict(&text) {
                return Ok(text);
            }
            last = text;
        }
        dropped(step, "unusable_judgement", last)
    }

    /// Asks once in the life of the run: a recorded answer is never asked for again.
    async fn ask(&self, teacher: &Teacher, step: &str, call: &Call) -> Result<Reply, Halt> {
        if let Some(text) = self.given.get(step) {
            return Ok(Reply { text: text.clone(), ..Reply::default() });
        }
        let key = teacher.key(self.position, call);
        let reply = match self.run.store.answer(&key)? {
            Some(reply) => Ok(reply),
            None if self.trace.as_ref().is_some_and(|trace| !trace.asks) => return Err(Halt::Stopped),
            None => teacher.answer(Asking { run: self.run, key: &key, step, call }).await,
        };
        if let (Some(trace), Ok(reply)) = (&self.trace, &reply) {
            trace.steps.lock().unwrap_or_else(PoisonError::into_inner).push(Step {
                name: step.to_owned(),
                teacher: teacher.identity().to_owned(),
                prompt: call.prompt.to_string(),
                reply: reply.text.clone(),
                prompt_tokens: reply.prompt_tokens,
                completion_tokens: reply.completion_tokens,
            });
        }
        match reply {
            Ok(reply) => Ok(reply),
            Err(Refusal::TooLong(detail)) => dropped(step, "prompt_too_long", detail),
            Err(Refusal::Rejected(_, detail)) => dropped(step, "teacher_refused", detail),
            Err(Refusal::Doubted(detail)) => {
                Err(Halt::Failed { reason: "teacher_refused", step: step.to_owned(), detail })
            }
            Err(Refusal::Failed(detail)) => {
                Err(Halt::Failed { reason: "teacher_failed", step: step.to_owned(), detail })
            }
            Err(Refusal::Stopped) => Err(Halt::Stopped),
            Err(Refusal::Gone(error)) => Err(Halt::Abort(error)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn json_that_was_cut_has_the_reason_of_words_that_were() {
        let reason = |cut, filtered| {
            let reply = Reply { text: "{\"score\": ".to_owned(), cut, filtered, ..Reply::default() };
            let error = serde_json::from_str::<Value>(&reply.text).unwrap_err();
            no_json(&reply, 128, &error)
        };
        assert_eq!(reason(true, false), ("cut_off", "not ended after 128 tokens: {\"score\": ".to_owned()));
        assert_eq!(reason(false, true).0, "filtered");
        assert_eq!(reason(false, false).0, "unusable_judgement");
    }
}
