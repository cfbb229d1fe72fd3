//! Replies that a model writes while it trains (`--sample-prompts`), for a person to read: which prompts, and when.

use crate::schedule::interval;
use crate::settings::TrainingSettings;
use anyhow::{Context, Result, anyhow, bail, ensure};
use checkpoint::Checkpoint;
use checkpoint::chat::{self, Message};
use engine::{Engine, Finish, NativeEngine, Request};
use serde::{Deserialize, Serialize};
use std::path::Path;
use terminal::Stop;

/// The file of all replies, in the run's folder.
pub(crate) const FILE_NAME: &str = "samples.jsonl";
/// Sequences that are written together.
const BATCH: usize = 16;
/// Bytes of the cache of keys and values, beside the memory of training.
const CACHE_BYTES: usize = 1 << 28;
/// More prompts than a person reads.
const MAX_PROMPTS: usize = 256;

/// The prompts of a run.
#[derive(Debug)]
pub(crate) struct Samples {
    prompts: Vec<Prompt>,
    /// Maximum number of tokens of a reply.
    tokens: usize,
    /// Steps between two rounds.
    every: u64,
    /// Steps of the run.
    total: u64,
}

/// What the prompts of a run are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PromptForm {
    /// Messages in the model's chat template.
    Chat,
    /// Texts that the model continues.
    Text,
}

/// What a model continues or answers.
#[derive(Debug)]
enum Prompt {
    /// Text as it is.
    Text(String),
    /// A conversation in the model's chat template.
    Conversation(Vec<Message>),
}

/// A line of `samples.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Steps that were done; 0 is before the first one.
    pub(crate) step: u64,
    /// Number of the prompt, from 0.
    pub(crate) prompt: usize,
    /// The prompt as the model sees it.
    pub(crate) text: String,
    /// What the model wrote.
    pub(crate) reply: String,
    /// Whether it ended by itself, rather than at the maximum number of tokens.
    pub(crate) is_complete: bool,
}

/// A line of a JSON Lines file of prompts.
#[derive(Deserialize)]
struct Row {
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
}

impl Samples {
    /// Reads the prompts, if there are some.
    ///
    /// # Errors
    /// Names the file and the line that is no prompt.
    pub(crate) fn read(settings: &TrainingSettings, total: u64, form: PromptForm) -> Result<Option<Self>> {
        let TrainingSettings { sample_prompts, sample_every, sample_tokens, .. } = settings;
        if sample_prompts.is_empty() {
            return Ok(None);
        }
        let path = Path::new(sample_prompts);
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read `--sample-prompts {sample_prompts}`"))?;
        let is_json = text.trim_start().starts_with('{');
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let prompt = |(index, line): (usize, &str)| {
            let parsed = if is_json { row(line) } else { Ok(Prompt::Text(line.to_owned())) };
            let prompt = parsed.and_then(|prompt| prompt.in_form(form));
            prompt.with_context(|| format!("{sample_prompts}, line {}", index + 1))
        };
        let prompts = lines.map(prompt).collect::<Result<Vec<_>>>()?;
        ensure!(
            (1..=MAX_PROMPTS).contains(&prompts.len()),
            "`--sample-prompts {sample_prompts}` has {} prompts; expected 1 to {MAX_PROMPTS}, one in each line",
            prompts.len()
        );
        Ok(Some(Self { prompts, tokens: *sample_tokens, every: interval(*sample_every, total), total }))
    }

    /// Whether replies are written after this step; 0 is before the first one.
    pub(crate) fn are_due(&self, step: u64) -> bool {
        step.is_multiple_of(self.every) || step == self.total
    }

    /// Replies of the checkpoint in a folder, decoded greedily in float32; `None` after a signal.
    ///
    /// # Errors
    /// When a prompt does not fit in the context or in the chat template, or the engine fails.
    pub(crate) fn write(&self, folder: &Path, step: u64, stop: &Stop) -> Result<Option<Vec<Sample>>> {
        let checkpoint = Checkpoint::open(&folder.display().to_string(), None)?;
        let options =
            engine::Options { max_sequences: BATCH, cache_bytes: CACHE_BYTES, ..engine::Options::default() };
        let engine = NativeEngine::start(&checkpoint, options)?;
        let submit = |prompt: &Prompt| -> Result<_> {
            let text = prompt.text(&checkpoint)?;
            let request = self.request(&checkpoint, prompt, &text)?;
            Ok((text, engine.submit(request)?))
        };
        let mut submitted = Vec::new();
        for (index, prompt) in self.prompts.iter().enumerate() {
            submitted
                .push(submit(prompt).with_context(|| format!("`sample_prompts`: prompt {}", index + 1))?);
        }
        let mut samples = Vec::new();
        for (prompt, (text, events)) in submitted.into_iter().enumerate() {
            if stop.is_requested() {
                return Ok(None);
            }
            let answer = events.collect_blocking();
            if let Finish::Failed(reason) = answer.finish {
                bail!("the engine failed: {reason}");
            }
            let is_complete = answer.finish != Finish::Length;
            samples.push(Sample { step, prompt, text, reply: answer.text, is_complete });
        }
        Ok(Some(samples))
    }

    fn request(&self, checkpoint: &Checkpoint, prompt: &Prompt, text: &str) -> Result<Request> {
        let ids = match prompt {
            Prompt::Text(_) => checkpoint.tokenizer.encode_document(text)?,
            Prompt::Conversation(_) => checkpoint.tokenizer.ids(text)?,
        };
        let context = checkpoint.config.max_positions;
        let room = context.saturating_sub(ids.len());
        ensure!(room > 0, "it has {} tokens, and the model's context {context}", ids.len());
        Ok(Request {
            prompt: ids,
            max_tokens: self.tokens.min(room),
            stop_ids: checkpoint.stop_ids.clone(),
            deliver_at_end: true,
            ..Request::default()
        })
    }
}

impl Prompt {
    /// A text becomes the user's message where the model is trained on conversations.
    fn in_form(self, form: PromptForm) -> Result<Self> {
        match self {
            Self::Text(text) if form == PromptForm::Chat => {
                Ok(Self::Conversation(vec![Message::new("user", text)]))
            }
            Self::Conversation(_) if form == PromptForm::Text => {
                bail!("`messages` need a chat template, but this command trains on texts; give `prompt`")
            }
            other => Ok(other),
        }
    }

    fn text(&self, checkpoint: &Checkpoint) -> Result<String> {
        Ok(match self {
            Self::Text(text) => text.clone(),
            Self::Conversation(messages) => {
                chat::render_text(&checkpoint.template, messages, None, true, &serde_json::Map::new())?
            }
        })
    }
}

/// Reads a line of a JSON Lines file. Messages from the last one of the assistant on are what the model writes itself.
fn row(line: &str) -> Result<Prompt> {
    let row: Row = serde_json::from_str(line).map_err(|error| anyhow!("not a prompt: {error}"))?;
    match (row.prompt, row.messages) {
        (Some(prompt), None) => Ok(Prompt::Text(prompt)),
        (None, Some(mut messages)) => {
            if messages.last().is_some_and(|message| message.role == "assistant") {
                messages.pop();
            }
            ensure!(!messages.is_empty(), "`messages` has no message to answer");
            Ok(Prompt::Conversation(messages))
        }
        _ => bail!("expected either `prompt` or `messages`"),
    }
}

/// The samples in a file; none if there is no such file. Lines that cannot be read are left out: they can be made again.
pub(crate) fn read(path: &Path) -> Vec<Sample> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn prompts(text: &str, form: PromptForm) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompts");
        std::fs::write(&path, text).unwrap();
        let settings = TrainingSettings {
            sample_prompts: path.display().to_string(),
            sample_every: 2,
            ..TrainingSettings::default()
        };
        match Samples::read(&settings, 5, form) {
            Ok(samples) => Ok(samples.unwrap().prompts.iter().map(|prompt| format!("{prompt:?}")).collect()),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    #[test]
    fn prompts_are_lines_or_rows() {
        let lines = prompts("Once upon\n\nThe end", PromptForm::Text).unwrap();
        assert_eq!(lines, ["Text(\"Once upon\")", "Text(\"The end\")"]);
        let turns =
            r#"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}"#;
        let rows = prompts(&format!("{{\"prompt\": \"Why?\"}}\n{turns}\n"), PromptForm::Chat).unwrap();
        assert!(rows.iter().all(|row| row.starts_with("Conversation(") && !row.contains("Ho")), "{rows:?}");
        assert!(
            prompts(turns, PromptForm::Text).unwrap_err().contains("line 1: `messages` need a chat template")
        );
        assert!(
            prompts("{\"prompt\": \"a\"}\n{\"text\": 1}", PromptForm::Chat)
                .unwrap_err()
                .contains("line 2: expected")
        );
        assert!(
            prompts("{\"prompt\": \"a\"}\nb", PromptForm::Chat).unwrap_err().contains("line 2: not a prompt")
        );
        assert!(prompts(" \n", PromptForm::Chat).unwrap_err().contains("has 0 prompts"));
    }

    #[test]
    fn replies_are_due_before_the_first_step_and_after_the_last() {
        let samples = Samples { prompts: Vec::new(), tokens: 8, every: 2, total: 5 };
        assert_eq!((0..6).filter(|step| samples.are_due(*step)).collect::<Vec<_>>(), [0, 2, 4, 5]);
    }
}
