//! One scored document, as it is written: enough to show it and to score it again without a model.

use crate::task::{ChoiceMetrics, Metrics, Scorer, Task, choice_metrics};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A line of `TASK.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) task: String,
    /// The number of the row in the evaluated split, from 0.
    pub(crate) doc_id: usize,
    /// SHA-256 of everything that decides the score: model, prompt, choices or decoding, and their versions.
    pub(crate) key: String,
    /// The version of the task's scorer.
    pub(crate) scorer: String,
    /// The question, without description and examples.
    pub(crate) query: String,
    /// What the answer is compared with: the index of the right choice, or what the task's scorer needs.
    pub(crate) gold: Value,
    #[serde(flatten)]
    pub(crate) answer: Answer,
    #[serde(with = "metric_map")]
    pub(crate) metrics: Metrics,
}

/// What the model answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    /// Log-likelihoods of choices.
    Choices {
        /// The choices (or contexts) that were compared.
        choices: Vec<String>,
        /// Their lengths in characters, as normalized accuracy counts them.
        lengths: Vec<usize>,
        /// Natural logarithms, summed over the tokens of each continuation.
        loglikelihoods: Vec<f64>,
        /// Whether each continuation is the greedy one.
        is_greedy: Vec<bool>,
    },
    /// A text.
    Text {
        response: String,
        /// `stop`, or `length` if it ran into the maximum length.
        finish: String,
        /// Its length in tokens.
        tokens: usize,
    },
    /// The replies of a conversation.
    Conversation {
        responses: Vec<String>,
        /// Their length in tokens.
        tokens: usize,
        /// Who judged them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        judge: Option<String>,
        /// SHA-256 of the judge and of what it was asked about the replies.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        judge_key: Option<String>,
        /// What the judge wrote about each.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        judgments: Vec<String>,
    },
    /// The log-likelihood of the document itself.
    Likelihood { loglikelihood: f64, tokens: usize, bytes: usize },
}

impl Record {
    /// Computes the metrics of the answer.
    ///
    /// # Errors
    /// When the answer is of another kind than the task's, or its scorer refuses it.
    pub(crate) fn score(&mut self, task: &Task) -> Result<()> {
        self.metrics = metrics(task, &self.gold, &self.answer)
            .with_context(|| format!("document {} of task `{}`", self.doc_id, task.name))?;
        self.scorer = scorer(task);
        Ok(())
    }

    /// A metric as one number.
    pub(crate) fn number(&self, metric: &str) -> Option<f64> {
        let (_, value) = self.metrics.iter().find(|(name, _)| name == metric)?;
        let (part, whole) = value.parts();
        Some(part / whole)
    }
}

/// The scorer of a task, with its version.
pub(crate) fn scorer(task: &Task) -> String {
    format!("{}-v{}", task.dialect.name(), task.version)
}

fn metrics(task: &Task, gold: &Value, answer: &Answer) -> Result<Metrics> {
    match (task.scorer, answer) {
        (Scorer::Choices(kind), Answer::Choices { loglikelihoods, lengths, .. }) => {
            let gold = gold.as_u64().context("`gold` is not the index of a choice")? as usize;
            let lengths = if kind == ChoiceMetrics::Accuracy { &[] } else { &lengths[..] };
            Ok(choice_metrics(kind, loglikelihoods, lengths, gold))
        }
        (Scorer::Text(score), Answer::Text { response, .. }) => score(gold, response),
        (Scorer::Judged(_), Answer::Conversation { judgments, .. }) if judgments.is_empty() => Ok(Vec::new()),
        (Scorer::Judged(score), Answer::Conversation { judgments, .. }) => score(judgments),
        (Scorer::Perplexity, Answer::Likelihood { loglikelihood, tokens, bytes }) => {
            Ok(crate::task::perplexity_metrics(*loglikelihood, *tokens, *bytes))
        }
        _ => anyhow::bail!("the stored answer is of another kind than the task's"),
    }
}

mod metric_map {
    //! Metrics as an object, in their order.

    use crate::task::{MetricValue, Metrics};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::{Map, Value};

    pub(super) fn serialize<S: Serializer>(metrics: &Metrics, serializer: S) -> Result<S::Ok, S::Error> {
        let object: Map<String, Value> = metrics
            .iter()
            .map(|(name, value)| Ok((name.clone(), serde_json::to_value(value)?)))
            .collect::<Result<_, serde_json::Error>>()
            .map_err(serde::ser::Error::custom)?;
        object.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Metrics, D::Error> {
        let object = Map::<String, Value>::deserialize(deserializer)?;
        let metric = |(name, value)| Ok((name, serde_json::from_value::<MetricValue>(value)?));
        object
            .into_iter()
            .map(metric)
            .collect::<Result<_, serde_json::Error>>()
            .map_err(serde::de::Error::custom)
    }
}
