//! Whole answers, collected from the same parts that are streamed.

use super::{Part, Running, ScoredToken, Usage};
use crate::error::ApiError;

/// One whole answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Collected {
    pub(crate) text: String,
    pub(crate) tokens: Vec<ScoredToken>,
    pub(crate) calls: Vec<Call>,
    pub(crate) embedding: Vec<f32>,
    pub(crate) finish: &'static str,
}

/// A call the model made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

impl Collected {
    /// Takes the next part.
    pub(crate) fn add(&mut self, part: Part) {
        match part {
            Part::Text { text, tokens } => {
                self.text.push_str(&text);
                self.tokens.extend(tokens);
            }
            Part::Embedding(embedding) => self.embedding = embedding,
            Part::CallBegins { id, name, .. } => {
                self.calls.push(Call { id, name, arguments: String::new() });
            }
            Part::Arguments { index, text } => {
                if let Some(call) = self.calls.get_mut(index) {
                    call.arguments.push_str(&text);
                }
            }
            Part::End(end) => self.finish = end.finish,
        }
    }
}

/// Waits for every answer.
pub(crate) async fn collect(mut running: Running) -> Result<(Vec<Collected>, Usage), ApiError> {
    let mut answers = vec![Collected::default(); running.answers()];
    while let Some((index, part)) = running.next().await? {
        answers[index].add(part);
    }
    Ok((answers, running.usage()))
}
