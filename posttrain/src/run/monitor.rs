//! Scoring benchmark tasks and writing samples in a run: the current weights are written beside the checkpoints as the
//! checkpoint that would be saved now, asked, and removed. Nothing of the run's state changes.

use super::metrics::SCORING_SECONDS;
use super::saves::refuse_nan_weights;
use super::{Run, borrowed};
use crate::benchmarks::Benchmarks;
use crate::monitoring::Monitoring;
use crate::samples::{self, FILE_NAME, Sample, Samples};
use crate::settings::TrainingSettings;
use anyhow::{Context, Result};
use checkpoint::folder::CheckpointWriter;
use evaluate::benchmark::TrainingScore;
use files::atomic::NewFolder;
use files::checksum::Algorithm;
use std::time::Instant;
use training::Learner;

impl Run {
    /// Scores the benchmark tasks and answers the prompts that are due after the current step. What an earlier process has
    /// done at this step is not done again; what a signal stopped is done when the run resumes.
    ///
    /// # Errors
    /// When the weights are not finite or cannot be written, or a document or a prompt does not fit in the context.
    pub(crate) fn monitor(
        &mut self,
        monitoring: &Monitoring,
        learner: &mut Learner,
        outgoing: &CheckpointWriter<'_>,
        settings: &TrainingSettings,
    ) -> Result<()> {
        let step = self.progress.step;
        let benchmarks =
            monitoring.benchmarks.as_ref().filter(|one| one.are_due(step) && !self.metrics.has_scores(step));
        let has_samples = || samples::read(&self.folder.join(FILE_NAME)).iter().any(|one| one.step == step);
        let prompts = monitoring.samples.as_ref().filter(|one| one.are_due(step) && !has_samples());
        if benchmarks.is_none() && prompts.is_none() {
            return Ok(());
        }
        let done = self.monitor_now(benchmarks, prompts, learner, outgoing, settings);
        self.rescued(done, learner, outgoing, settings)
    }

    fn monitor_now(
        &mut self,
        benchmarks: Option<&Benchmarks>,
        prompts: Option<&Samples>,
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
        let prepared = self.prepared(outgoing, settings.saved_precision())?;
        prepared.write_unlisted(folder.path(), &parameters.named(), Algorithm::Xxh3)?;
        if let Some(benchmarks) = benchmarks
            && let Some(scores) = benchmarks.tasks.score(folder.path(), &self.stop)?
        {
            self.log_scores(&scores, start.elapsed().as_secs_f64());
        }
        if let Some(prompts) = prompts
            && let Some(written) = prompts.write(folder.path(), self.progress.step, &self.stop)?
        {
            self.add_samples(written)?;
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
        self.log(&borrowed(&values));
        self.line(&format!("step {}: {}", self.progress.step, texts.join(", ")));
    }

    /// Adds samples of the current step to the file and to the report. Samples of later steps, which a run left that was
    /// killed and resumed from an earlier one, are dropped: they are written again.
    fn add_samples(&mut self, written: Vec<Sample>) -> Result<()> {
        let path = self.folder.join(FILE_NAME);
        let mut samples = samples::read(&path);
        samples.retain(|sample| sample.step < self.progress.step);
        if let Some(first) = written.first() {
            let reply = first.reply.split_whitespace().collect::<Vec<_>>().join(" ");
            let start: String = reply.chars().take(80).collect();
            let more = if start.len() < reply.len() { "..." } else { "" };
            self.line(&format!("step {}: sample: {start}{more}", self.progress.step));
        }
        samples.extend(written);
        let lines: Result<Vec<String>, _> = samples.iter().map(serde_json::to_string).collect();
        files::atomic::write(&path, lines?.join("\n") + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
        self.write_report();
        Ok(())
    }
}
