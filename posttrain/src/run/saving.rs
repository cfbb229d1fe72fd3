//! What a run does about its checkpoints: what is saved at a step, and what happens where a step or a save fails.

use super::manifest::add_to_lineage;
use super::{Run, room};
use crate::checkpoints;
use crate::settings::{Kept, TrainingSettings};
use anyhow::{Context, Result, anyhow, ensure};
use checkpoint::folder::CheckpointWriter;
use training::{Learner, Parameters};

impl Run {
    /// Saves a checkpoint of the current step as [`Run::save`] does. Without room for it a run that goes on tries again at the
    /// next one, and one that has done all its steps still writes its model; one that stops with `code` saves its weights
    /// alone.
    ///
    /// # Errors
    /// Names what cannot be written, and what is left.
    pub(crate) fn save_step(
        &mut self,
        learner: &mut Learner,
        outgoing: &CheckpointWriter<'_>,
        settings: &TrainingSettings,
        (code, total): (Option<u8>, u64),
    ) -> Result<()> {
        let step = self.progress.step;
        let is_result =
            settings.keep == Kept::Best && self.progress.best.is_some_and(|(best, _)| best == step);
        let Err(error) = self.save(learner, outgoing, settings) else { return Ok(()) };
        if !room::is_out_of_room(&error) {
            return Err(error);
        }
        if step == total || (code.is_none() && !is_result) {
            let error = terminal::errors::one_line(&error);
            self.line(&format!("warning: {error}; the training continues, make room before it ends"));
            return Ok(());
        }
        let checkpoints = self.folder.join("checkpoints");
        let (weights, precision) = (&learner.state().parameters, settings.saved_precision());
        let saved = checkpoints::save_weights(&checkpoints, outgoing, weights, step, precision);
        let left = match checkpoints::newest_step(&checkpoints) {
            0 => "there is no checkpoint to resume from".to_owned(),
            newest => format!("make room and run the same command again to resume after step {newest}"),
        };
        Err(match saved {
            Ok(path) => {
                error.context(format!("the weights of step {step} alone are in {}; {left}", path.display()))
            }
            Err(_) => {
                error.context(format!("neither step {step} nor its weights alone could be saved; {left}"))
            }
        })
    }

    /// Saves a checkpoint of the current step, removes those beyond the limit, and writes run.json and the report.
    ///
    /// # Errors
    /// Names what cannot be written; earlier checkpoints are kept.
    pub(crate) fn save(
        &mut self,
        learner: &mut Learner,
        outgoing: &CheckpointWriter<'_>,
        settings: &TrainingSettings,
    ) -> Result<()> {
        learner.sync_to_host()?;
        let checkpoints = self.folder.join("checkpoints");
        refuse_nan_weights(&learner.state().parameters, self.progress.step)?;
        self.metrics.sync();
        let precision = settings.saved_precision();
        let needed = room::checkpoint_bytes(learner.state().parameters.values.len(), precision);
        room::refuse_shortage(&self.folder, needed).with_context(|| {
            format!("cannot write the checkpoint of step {}; earlier ones are kept", self.progress.step)
        })?;
        checkpoints::save(
            &checkpoints,
            outgoing,
            learner.state(),
            &self.progress,
            &self.manifest,
            precision,
        )?;
        let best = self.progress.best.map(|(step, _)| step);
        checkpoints::rotate(&checkpoints, settings.save_total_limit, best)?;
        // The checkpoint has all that resuming needs.
        let written = self.write_manifest();
        self.warn(written);
        self.write_report();
        self.meter.start_step();
        Ok(())
    }

    /// Writes the checkpoint that was resumed from again, if its model is damaged.
    ///
    /// # Errors
    /// As `save`.
    pub(crate) fn mend(
        &mut self,
        learner: &mut Learner,
        outgoing: &CheckpointWriter<'_>,
        settings: &TrainingSettings,
    ) -> Result<()> {
        match self.damage.take() {
            None => Ok(()),
            Some(damage) => {
                let note = format!("{damage}; the checkpoint is written again");
                add_to_lineage(&mut self.manifest, &note);
                self.line(&format!("note: {note}"));
                self.save(learner, outgoing, settings)
            }
        }
    }

    /// Returns a result; if it failed because a file could not be read, saves a checkpoint first where that is possible.
    ///
    /// # Errors
    /// The result's.
    pub(crate) fn rescued<T>(
        &mut self,
        result: Result<T>,
        learner: &mut Learner,
        outgoing: &CheckpointWriter<'_>,
        settings: &TrainingSettings,
    ) -> Result<T> {
        let step = self.progress.step;
        result.map_err(|error| {
            let folder = checkpoints::folder_of(&self.folder.join("checkpoints"), step);
            let is_unsaved = step > 0 && !folder.is_dir();
            if !error.chain().any(|cause| cause.is::<files::Error>()) {
                return error;
            }
            let error = terminal::errors::one_line(&error);
            match is_unsaved.then(|| self.save(learner, outgoing, settings)) {
                Some(Err(saving)) => anyhow!("{error}; step {step} could not be saved: {saving:#}"),
                Some(Ok(())) => anyhow!("{error}; step {step} is saved, run the same command to resume"),
                None => anyhow!("{error}; run the same command to resume"),
            }
        })
    }

    /// Adds to the error of a step that diverged. If the current step has a checkpoint, it led to this error, and it is
    /// renamed, so that the run resumes from an earlier one.
    pub(crate) fn diverged(&self, error: anyhow::Error) -> anyhow::Error {
        match checkpoints::set_diverged_aside(&self.folder.join("checkpoints"), self.progress.step) {
            Ok(Some((folder, renamed))) => {
                error.context(format!("{} was renamed to {}", folder.display(), renamed.display()))
            }
            _ => error,
        }
    }
}

/// Refuses to save weights that are not finite.
pub(super) fn refuse_nan_weights(parameters: &Parameters, step: u64) -> Result<()> {
    let count = parameters.values.iter().filter(|weight| !weight.is_finite()).count();
    ensure!(
        count == 0,
        "{count} weights are not finite after step {step}, so no checkpoint was saved; lower `learning_rate` (earlier checkpoints are kept)"
    );
    Ok(())
}
