//! Scoring benchmark tasks in a run: the current weights are written beside the checkpoints as the checkpoint that would
//! be saved now, asked, and removed. Nothing of the run's state changes.

use super::metrics::SCORING_SECONDS;
use super::{Run, refuse_nan_weights};
use crate::benchmarks::Benchmarks;
use crate::settings::TrainingSettings;
use anyhow::Result;
use checkpoint::folder::CheckpointWriter;
use evaluate::benchmark::TrainingScore;
use files::atomic::NewFolder;
use files::checksum::Algorithm;
use std::time::Instant;
use training::Learner;

impl Run {
    /// Scores the benchmark tasks if they are due after the current step, and logs the scores. A step that an earlier
    /// process has scored is not scored again; one whose scoring a signal stopped is scored when the run resumes.
    ///
    /// # Errors
    /// When the weights are not finite or cannot be written, or a document does not fit in the context.
    pub(crate) fn score_benchmarks(
        &mut self,
        benchmarks: Option<&Benchmarks>,
        learner: &mut Learner,
        outgoing: &CheckpointWriter<'_>,
        settings: &TrainingSettings,
    ) -> Result<()> {
        let step = self.progress.step;
        let is_due = |one: &&Benchmarks| one.are_due(step) && !self.metrics.has_scores(step);
        let Some(benchmarks) = benchmarks.filter(is_due) else { return Ok(()) };
        let scored = self.score_now(benchmarks, learner, outgoing, settings);
        self.rescued(scored, learner, outgoing, settings)
    }

    fn score_now(
        &mut self,
        benchmarks: &Benchmarks,
        learner: &mut Learner,
        outgoing: &CheckpointWriter<'_>,
        settings: &TrainingSettings,
    ) -> Result<()> {
        let start = Instant::now();
        learner.sync_to_host()?;
        let parameters = &learner.state().parameters;
        refuse_nan_weights(parameters, self.progress.step)?;
        // Removed when it is dropped; what a killed process leaves is removed when the run resumes.
        let folder = NewFolder::create(&self.folder.join("scored"))?;
        let precision = settings.saved_precision();
        outgoing.write_unlisted(folder.path(), &parameters.named(), precision, Algorithm::Xxh3)?;
        if let Some(scores) = benchmarks.tasks.score(folder.path(), &self.stop)? {
            self.log_scores(&scores, start.elapsed().as_secs_f64());
        }
        self.meter.start_step();
        Ok(())
    }

    fn log_scores(&mut self, scores: &[TrainingScore], seconds: f64) {
        let (mut values, mut texts) = (Vec::new(), Vec::new());
        for TrainingScore { task, metric, value, standard_error } in scores {
            values.push((format!("eval_{task}/{metric}"), *value));
            let mut text = format!("{task} {metric} {value:.4}");
            if standard_error.is_finite() {
                values.push((format!("eval_{task}/{metric}_stderr"), *standard_error));
                text += &format!(" ± {standard_error:.4}");
            }
            texts.push(text);
        }
        values.push((SCORING_SECONDS.to_owned(), seconds));
        self.log(&values.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>());
        self.line(&format!("step {}: {}", self.progress.step, texts.join(", ")));
    }
}
