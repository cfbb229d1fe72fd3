//! The ids of prompts and answers, for clients that ask for them (`return_token_ids`): trainers that sample through the
//! server need the very tokens that were chosen.

use crate::prompt::TokenizedPrompt;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What was chosen and not sent yet.
#[derive(Debug)]
pub(crate) struct ReturnedIds {
    prompts: Vec<Arc<TokenizedPrompt>>,
    answers_per_prompt: usize,
    pending: HashMap<usize, Vec<u32>>,
    /// Answers whose prompt was sent.
    sent: HashSet<usize>,
}

impl ReturnedIds {
    /// The ids of the answers to these prompts.
    pub(super) fn new(prompts: Vec<Arc<TokenizedPrompt>>, answers_per_prompt: usize) -> Self {
        Self { prompts, answers_per_prompt, pending: HashMap::new(), sent: HashSet::new() }
    }

    /// The prompt of an answer.
    pub(super) fn prompt(&self, index: usize) -> Vec<u32> {
        self.prompts[index / self.answers_per_prompt].ids.clone()
    }

    /// The prompt of an answer, the first time that it is asked for.
    pub(super) fn take_prompt(&mut self, index: usize) -> Option<Vec<u32>> {
        self.sent.insert(index).then(|| self.prompt(index))
    }

    /// Adds what was chosen.
    pub(super) fn add(&mut self, index: usize, ids: Vec<u32>) {
        self.pending.entry(index).or_default().extend(ids);
    }

    /// What was chosen since the last call; may be empty.
    pub(super) fn take(&mut self, index: usize) -> Vec<u32> {
        self.pending.remove(&index).unwrap_or_default()
    }
}
