//! What a run does about its checkpoints: when one is saved, what it contains, and what happens where a step or a save fails.

use super::Run;
use super::manifest::add_to_lineage;
use super::saves::{Save, copied_bytes, is_too_large};
use crate::checkpoints;
use crate::settings::TrainingSettings;
use anyhow::{Result, anyhow};
use checkpoint::folder::{CheckpointWriter, PreparedCheckpoint};
use checkpoint::weights::Precision;
use std::sync::Arc;
use training::Learner;
use training::memory::gib;

impl Run {
    /// Returns whether a checkpoint is to be saved at a step that `save_steps` names, which is the last one or not: always
    /// where it is set, and by default unless saving would take more than its share of the run.
    pub(crate) fn has_time_to_save(
        &self,
        learner: &Learner,
        settings: &TrainingSettings,
        is_last: bool,
    ) -> bool {
        let weights = learner.state().parameters.values.len();
        is_last || settings.save_steps > 0 || self.saves.has_time(weights)
    }

    /// Starts to save a checkpoint of the current step: a thread writes it, removes those beyond the limit, and writes
    /// run.json and the report. One that is still being written is waited for, and this one as well where the memory that
    /// is free does not hold a copy of weights and moments.
    ///
    /// # Errors
    /// Names what could not be written of the one before; earlier checkpoints are kept.
    pub(crate) fn save(
        &mut self,
        learner: &mut Learner,
        outgoing: &CheckpointWriter<'_>,
        settings: &TrainingSettings,
    ) -> Result<()> {
        self.await_save()?;
        learner.sync_to_host()?;
        let recorded = self.manifest.clone();
        let save = Save {
            folder: self.folder.clone(),
            prepared: self.prepared(outgoing, settings.saved_precision())?,
            state: learner.state().clone(),
            progress: self.progress.clone(),
            recorded,
            manifest: self.manifest_text()?,
            metrics: self.metrics.file(),
            limit: settings.save_total_limit,
        };
        let copy = copied_bytes(&save.state);
        self.saves.start(save)?;
        if is_too_large(copy, files::memory::available()) {
            self.note_once(&format!(
                "checkpoints are waited for, because a copy of weights and moments ({} GiB) does not fit into the free memory",
                gib(copy as u64)
            ));
            self.await_save()?;
        }
        self.meter.start_step();
        Ok(())
    }

    /// Waits until the checkpoint that is being written is durable.
    ///
    /// # Errors
    /// Names what could not be written; earlier checkpoints are kept.
    pub(super) fn await_save(&mut self) -> Result<()> {
        let warnings = self.saves.wait()?;
        warnings.iter().for_each(|warning| self.line(&format!("warning: {warning}")));
        Ok(())
    }

    /// Returns the files of a checkpoint besides its weights. They rarely change, and a tokenizer is large.
    pub(super) fn prepared(
        &mut self,
        outgoing: &CheckpointWriter<'_>,
        precision: Precision,
    ) -> Result<Arc<PreparedCheckpoint>> {
        if let Some((config, of, prepared)) = &self.prepared
            && (config, *of) == (outgoing.config, precision)
        {
            return Ok(Arc::clone(prepared));
        }
        let prepared = Arc::new(outgoing.prepare(precision)?);
        self.prepared = Some((outgoing.config.clone(), precision, Arc::clone(&prepared)));
        Ok(prepared)
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
                self.save(learner, outgoing, settings)?;
                self.await_save()
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
            if !error.chain().any(|cause| cause.is::<files::Error>()) {
                return error;
            }
            let saved = self.await_save();
            let folder = checkpoints::folder_of(&self.folder.join("checkpoints"), step);
            let is_unsaved = step > 0 && !folder.is_dir();
            let error = terminal::errors::one_line(&error);
            let save = |run: &mut Self| {
                saved?;
                run.save(learner, outgoing, settings)?;
                run.await_save()
            };
            match is_unsaved.then(|| save(self)) {
                Some(Err(saving)) => anyhow!("{error}; step {step} could not be saved: {saving:#}"),
                Some(Ok(())) => anyhow!("{error}; step {step} is saved, run the same command to resume"),
                None => anyhow!("{error}; run the same command to resume"),
            }
        })
    }

    /// Adds to the error of a step that diverged. If the current step has a checkpoint, it led to this error, and it is
    /// renamed, so that the run resumes from an earlier one.
    pub(crate) fn diverged(&mut self, error: anyhow::Error) -> anyhow::Error {
        // Weights that are not finite were not saved, and say more than the loss that followed from them.
        if let Err(error) = self.await_save() {
            return error;
        }
        match checkpoints::set_diverged_aside(&self.folder.join("checkpoints"), self.progress.step) {
            Ok(Some((folder, renamed))) => {
                error.context(format!("{} was renamed to {}", folder.display(), renamed.display()))
            }
            _ => error,
        }
    }
}
