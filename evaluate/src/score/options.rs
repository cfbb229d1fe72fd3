//! The options of `smoleval score`.

use crate::benchmark;
use crate::replies::PromptMode;
use std::path::PathBuf;

/// The options of `smoleval score`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Checkpoint folder or Hugging Face id of a model, or an endpoint's URL for benchmark tasks; repeat it for several
    /// models, in the order of the table
    #[arg(long, required = true, value_name = "[NAME=]DIR")]
    pub(super) model: Vec<String>,
    /// Folder of held-out rows: questions/, requests/, pairs/, held-out/. For benchmark tasks, a folder of datasets, the
    /// hub's cache, one data file or a dataset's hub id; without it, each task's dataset from the hub's cache or the hub
    #[arg(long, required_unless_present = "tasks")]
    pub(super) data: Option<PathBuf>,
    /// Folder of the results: NAME.json and NAME.replies.jsonl for each model; NAME/results.json and NAME/TASK.jsonl for
    /// benchmark tasks
    #[arg(long)]
    pub(super) out: PathBuf,
    /// Parts to measure, separated by commas [default: all]
    #[arg(long, value_enum, value_delimiter = ',', conflicts_with = "tasks")]
    pub(super) parts: Vec<Part>,
    /// Kinds of questions to ask, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', conflicts_with = "tasks")]
    pub(super) kinds: Vec<String>,
    /// Maximum number of questions of each kind
    #[arg(long, default_value_t = 250, conflicts_with = "tasks")]
    pub(super) per_kind: usize,
    /// Number of solved examples before a question: 0 (in the chat template), 5 (as plain text) or 0,5 (both)
    /// [default: 0; 0,5 for a model without a chat template]
    #[arg(long, value_parser = mode, value_delimiter = ',', conflicts_with = "tasks")]
    pub(super) shots: Vec<PromptMode>,
    /// Maximum number of rows of each kind and file, or of each task, for a quick look
    #[arg(long)]
    pub(super) limit: Option<usize>,
    /// Maximum length of a reply, in tokens
    #[arg(long, default_value_t = 128, conflicts_with = "tasks")]
    pub(super) max_tokens: usize,
    /// Leave out rows that cannot be used instead of stopping; they are printed with file, line and reason
    #[arg(long)]
    pub(super) skip_invalid: bool,
    /// Score models again although their inputs have not changed
    #[arg(long)]
    pub(super) restart: bool,
    #[command(flatten)]
    pub(super) benchmark: benchmark::Options,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Part {
    /// Questions with one right answer
    Questions,
    /// Requests with verifiable conditions
    Requests,
    /// Preference pairs
    Pairs,
    /// Perplexity of documents
    Documents,
}

impl Part {
    pub(super) const ALL: [Self; 4] = [Self::Questions, Self::Requests, Self::Pairs, Self::Documents];
}

fn mode(shots: &str) -> Result<PromptMode, String> {
    match shots {
        "0" => Ok(PromptMode::Chat),
        "5" => Ok(PromptMode::FiveShot),
        _ => Err("give 0, 5 or 0,5".to_owned()),
    }
}

impl Options {
    /// Whether a part is measured.
    pub(super) fn measures(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }

    /// A number of rows, reduced to `--limit`.
    pub(super) fn limited(&self, rows: usize) -> usize {
        rows.min(self.limit.unwrap_or(usize::MAX))
    }

    /// The modes in which questions are asked, in their order, each once.
    pub(super) fn modes(&self, has_template: bool) -> Vec<PromptMode> {
        let mut modes = match (self.shots.is_empty(), has_template) {
            (false, _) => self.shots.clone(),
            (true, true) => vec![PromptMode::Chat],
            (true, false) => vec![PromptMode::Chat, PromptMode::FiveShot],
        };
        modes.sort();
        modes.dedup();
        modes
    }
}
