//! What several commands refuse.

use crate::settings::{Kept, TrainingFlags, TrainingSettings};
use crate::vocabulary::StartingPoint;
use anyhow::{Result, bail};
use std::path::PathBuf;

/// Refuses two ways to choose what is evaluated.
///
/// # Errors
/// Names both.
pub(crate) fn refuse_two_evaluations(eval_data: &[PathBuf], eval_split: f64) -> Result<()> {
    if !eval_data.is_empty() && eval_split > 0.0 {
        bail!("`eval_split` is {eval_split} and `--eval-data` is given; remove one of them");
    }
    Ok(())
}

/// Refuses a warm-up that ends after the run: its learning rate would never be the one that was asked for.
///
/// # Errors
/// Names both numbers of steps.
pub(crate) fn refuse_long_warmup(settings: &TrainingSettings, total: u64) -> Result<()> {
    let steps = settings.warmup_steps;
    if steps > total {
        bail!(
            "`warmup_steps` is {steps}, but the run has {total} steps: it would not reach `learning_rate`; give fewer, or \
             `--warmup-steps 0` with a `--warmup-ratio`"
        );
    }
    Ok(())
}

/// How rows to evaluate are given, except to `pretrain`.
pub(crate) const GIVE_EVALUATION: &str = "`--eval-split 0.1` or `--eval-data`";

/// Refuses settings that follow from evaluations where there are none. A recipe may say how often, and leave the rows to the
/// command line: that is only said.
///
/// # Errors
/// Names the setting.
pub(crate) fn refuse_without_evaluation(
    flags: &TrainingFlags,
    settings: &TrainingSettings,
    has_eval: bool,
    remedy: &str,
) -> Result<()> {
    if !has_eval && settings.keep == Kept::Best {
        bail!("`keep` is `best`, but nothing is evaluated; give {remedy}, or remove `--keep`");
    }
    if let Some(steps) = flags.eval_steps.filter(|steps| !has_eval && *steps > 0) {
        bail!("`--eval-steps` is {steps}, but nothing is evaluated; give {remedy}, or remove `--eval-steps`");
    }
    if !has_eval && settings.eval_steps > 0 {
        let steps = settings.eval_steps;
        terminal::message!(
            "note: `eval_steps` is {steps}, but nothing is evaluated; give {remedy} to evaluate"
        );
    }
    if !has_eval && settings.patience > 0 {
        bail!(
            "`patience` is {}, but nothing is evaluated; give {remedy}, or remove `--patience`",
            settings.patience
        );
    }
    Ok(())
}

/// Refuses sequences that are longer than the model's positions.
///
/// # Errors
/// Names both lengths.
pub(crate) fn refuse_beyond_positions(max_length: usize, start: &StartingPoint) -> Result<()> {
    let positions = start.config.max_positions;
    if max_length > positions {
        bail!(
            "`max_length` is {max_length}, but the model has {positions} positions; give `--max-length {positions}`"
        );
    }
    Ok(())
}

/// Refuses a loss that is not finite.
///
/// # Errors
/// Names the loss and the step.
pub(crate) fn refuse_nan(loss: f64, step: u64) -> Result<()> {
    if !loss.is_finite() {
        bail!(
            "the loss after step {step} is {loss}, so the next step was not applied; lower `learning_rate` or lengthen the warm-up"
        );
    }
    Ok(())
}
