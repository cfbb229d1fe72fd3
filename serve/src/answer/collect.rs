//! Whole answers, collected from the deltas that are streamed otherwise.

use super::chunks::{Delta, ScoredToken};
use super::running::{RunningAnswers, TokenCounts};
use crate::error::ApiError;
use openai::FinishReason;
use openai::tool::{FunctionCall, FunctionType, ToolCall};

/// One whole answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct WholeAnswer {
    pub(crate) text: String,
    pub(crate) thoughts: String,
    pub(crate) tokens: Vec<ScoredToken>,
    pub(crate) ids: Vec<u32>,
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) embedding: Vec<f32>,
    /// The prompt's tokens, if the client wants to see their log-probabilities.
    pub(crate) prompt: Option<Vec<ScoredToken>>,
    pub(crate) finish: Option<FinishReason>,
}

impl WholeAnswer {
    fn add(&mut self, delta: Delta) {
        match delta {
            Delta::Text { text, tokens } => {
                self.text.push_str(&text);
                self.tokens.extend(tokens);
            }
            Delta::Thought { text, tokens } => {
                self.thoughts.push_str(&text);
                self.tokens.extend(tokens);
            }
            Delta::Ids(ids) => self.ids.extend(ids),
            Delta::Embedding(embedding) => self.embedding = embedding,
            Delta::Prompt(tokens) => self.prompt = Some(tokens),
            Delta::CallBegins { id, name, .. } => {
                let function = FunctionCall { name, arguments: String::new() };
                self.calls.push(ToolCall { id, kind: FunctionType::default(), function });
            }
            Delta::Arguments { index, text } => {
                if let Some(call) = self.calls.get_mut(index) {
                    call.function.arguments.push_str(&text);
                }
            }
            Delta::End(finish) => self.finish = Some(finish),
        }
    }
}

/// Waits for every answer.
pub(crate) async fn collect(
    mut running: RunningAnswers,
) -> Result<(Vec<WholeAnswer>, TokenCounts), ApiError> {
    let mut answers = vec![WholeAnswer::default(); running.answers()];
    while let Some((index, delta)) = running.next().await? {
        answers[index].add(delta);
    }
    Ok((answers, running.counts()))
}
