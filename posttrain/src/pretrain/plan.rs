//! What the settings mean for every step: the stage, its mixture, its sequence length and RoPE base, and the learning
//! rate.

use super::settings::{Phase, StageSettings};
use crate::interventions::{Intervention, check_weights};
use crate::schedule::{Schedule, ScheduleType};
use crate::settings::{TrainingSettings, at_least_one, within};
use anyhow::{Result, bail, ensure};
use std::collections::BTreeMap;

/// A stage in steps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stage {
    pub(super) name: String,
    /// Weight of every source, in the order of the sources, adding up to 1.
    pub(super) weights: Vec<f64>,
    pub(super) phase: Phase,
    pub(super) sequence_length: usize,
    pub(super) rope_theta: f32,
    /// The first step, and the step after the last.
    pub(super) steps: (u64, u64),
    pub(super) sequences_per_step: usize,
}

impl Stage {
    /// Returns a line that announces the stage.
    pub(super) fn line(&self) -> String {
        format!(
            "stage {}: sequences of {} tokens, RoPE base {}",
            self.name, self.sequence_length, self.rope_theta
        )
    }
}

/// The stages of a run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) stages: Vec<Stage>,
    /// The changes that were made under way.
    pub(super) interventions: Vec<Intervention>,
    settings: TrainingSettings,
    /// The schedule of a run without stages.
    schedule: Option<Schedule>,
    total: u64,
}

/// The values that all stages share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Common {
    pub(super) tokens: f64,
    pub(super) batch_tokens: usize,
    pub(super) sequence_length: usize,
    pub(super) rope_theta: f32,
}

impl Plan {
    /// Checks the stages and counts their steps. Without stages there is one, of all sources in proportion to their
    /// tokens.
    pub(super) fn new(
        stages: &[StageSettings],
        sources: &[(String, u64)],
        common: Common,
        settings: &TrainingSettings,
    ) -> Result<Self> {
        at_least_one("`batch_tokens`", common.batch_tokens as u64)?;
        if !stages.is_empty() && settings.lr_scheduler_type != ScheduleType::Wsd {
            bail!(
                "`lr_scheduler_type` is `{}`, but stages have their own phases; give `wsd`",
                settings.lr_scheduler_type
            );
        }
        let single = [StageSettings {
            name: "all".to_owned(),
            tokens: common.tokens,
            mixture: sources.iter().map(|(name, tokens)| (name.clone(), *tokens as f64)).collect(),
            phase: Phase::Stable,
            sequence_length: None,
            rope_theta: None,
        }];
        let stage_settings = if stages.is_empty() { &single[..] } else { stages };
        let (mut in_steps, mut end, mut theta) = (Vec::<Stage>::new(), 0, common.rope_theta);
        for stage in stage_settings {
            theta = stage.rope_theta.unwrap_or(theta);
            let stage = stage.in_steps(sources, common, theta, end)?;
            end = stage.steps.1;
            in_steps.push(stage);
        }
        let schedule = stages.is_empty().then(|| settings.schedule(end));
        Ok(Self {
            stages: in_steps,
            interventions: Vec::new(),
            settings: settings.clone(),
            schedule,
            total: end,
        })
    }

    /// Changes the mixture from a step on, until the stage of that step ends, by parting the stage there.
    ///
    /// # Errors
    /// When the run ends before that step.
    pub(super) fn intervene(&mut self, change: &Intervention, sources: &[(String, u64)]) -> Result<()> {
        let step = change.step;
        ensure!(
            step < self.total,
            "interventions.json changes the mixture at step {step}, but the run has {} steps; decide again with `posttrain \
             intervene`",
            self.total
        );
        let what = format!("the mixture of interventions.json from step {step} on");
        check_mixture(&what, &change.mixture, sources)?;
        let index = self.stage(step).0;
        let weights = shares(&change.mixture, sources);
        self.interventions.push(change.clone());
        let stage = &mut self.stages[index];
        if stage.steps.0 == step {
            stage.weights = weights;
            return Ok(());
        }
        let later = Stage {
            name: format!("{} from step {step}", stage.name),
            weights,
            steps: (step, stage.steps.1),
            ..stage.clone()
        };
        stage.steps.1 = step;
        self.stages.insert(index + 1, later);
        Ok(())
    }

    /// Returns the steps of all stages.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Returns the step after the last one of each stage.
    pub(super) fn ends(&self) -> Vec<u64> {
        self.stages.iter().map(|stage| stage.steps.1).collect()
    }

    /// Returns the stage of a step, and its index.
    pub(super) fn stage(&self, step: u64) -> (usize, &Stage) {
        let index =
            self.stages.iter().position(|stage| step < stage.steps.1).unwrap_or(self.stages.len() - 1);
        (index, &self.stages[index])
    }

    /// Returns the learning rate of a step.
    pub(super) fn rate(&self, step: u64) -> f64 {
        if let Some(schedule) = &self.schedule {
            return schedule.rate(step);
        }
        let TrainingSettings { learning_rate, min_lr_ratio, .. } = self.settings;
        let warmup = self.settings.warmup(self.total);
        if step < warmup {
            return learning_rate * step as f64 / warmup as f64;
        }
        let (index, stage) = self.stage(step);
        if stage.phase == Phase::Stable {
            return learning_rate;
        }
        let decays = |stage: &&Stage| stage.phase == Phase::Decay;
        let first = self.stages[..=index].iter().rev().take_while(decays).last().expect("this one decays");
        let last = self.stages[index..].iter().take_while(decays).last().expect("this one decays");
        let done = (step - first.steps.0) as f64 / (last.steps.1 - first.steps.0) as f64;
        learning_rate * (min_lr_ratio + (1.0 - min_lr_ratio) * (1.0 - done))
    }
}

impl StageSettings {
    fn in_steps(&self, sources: &[(String, u64)], common: Common, theta: f32, first: u64) -> Result<Stage> {
        let name = &self.name;
        let sequence_length = self.sequence_length.unwrap_or(common.sequence_length);
        ensure!(
            sequence_length >= 2,
            "stage {name}: `sequence_length` is {sequence_length}; expected at least 2"
        );
        ensure!(
            common.batch_tokens >= sequence_length,
            "stage {name}: `batch_tokens` is {}, less than one sequence of {sequence_length}",
            common.batch_tokens
        );
        within(&format!("stage {name}: `tokens`"), self.tokens, 1.0, f64::MAX)?;
        check_mixture(&format!("stage {name}"), &self.mixture, sources)?;
        let sequences_per_step = common.batch_tokens / sequence_length;
        let steps = (self.tokens / (sequences_per_step * sequence_length) as f64).ceil() as u64;
        Ok(Stage {
            name: name.clone(),
            weights: shares(&self.mixture, sources),
            phase: self.phase,
            sequence_length,
            rope_theta: theta,
            steps: (first, first + steps),
            sequences_per_step,
        })
    }
}

/// Refuses unknown sources, and weights that are none.
fn check_mixture(what: &str, mixture: &BTreeMap<String, f64>, sources: &[(String, u64)]) -> Result<()> {
    for source in mixture.keys() {
        ensure!(
            sources.iter().any(|(known, _)| known == source),
            "{what}: there is no source `{source}`; known sources are {}",
            sources.iter().map(|(known, _)| known.as_str()).collect::<Vec<_>>().join(", ")
        );
    }
    check_weights(what, mixture)
}

/// The share of every source, in their order, adding up to 1.
fn shares(mixture: &BTreeMap<String, f64>, sources: &[(String, u64)]) -> Vec<f64> {
    let sum: f64 = mixture.values().sum();
    sources.iter().map(|(source, _)| mixture.get(source).copied().unwrap_or(0.0) / sum).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn stage(name: &str, tokens: f64, phase: Phase) -> StageSettings {
        let mixture = BTreeMap::from([("web".to_owned(), 3.0), ("code".to_owned(), 1.0)]);
        StageSettings { name: name.into(), tokens, mixture, phase, sequence_length: None, rope_theta: None }
    }

    fn plan(stages: &[StageSettings]) -> Result<Plan> {
        let sources = [("web".to_owned(), 100), ("code".to_owned(), 100)];
        let common = Common { tokens: 320.0, batch_tokens: 32, sequence_length: 8, rope_theta: 1e4 };
        let settings = TrainingSettings {
            learning_rate: 1.0,
            lr_scheduler_type: ScheduleType::Wsd,
            warmup_steps: 2,
            ..TrainingSettings::default()
        };
        Plan::new(stages, &sources, common, &settings)
    }

    #[test]
    fn an_intervention_parts_a_stage_and_changes_no_rate() {
        let stages = [stage("one", 128.0, Phase::Stable), stage("two", 128.0, Phase::Decay)];
        let undisturbed = plan(&stages).unwrap();
        let mut changed = undisturbed.clone();
        let sources = [("web".to_owned(), 100), ("code".to_owned(), 100)];
        let at = |step| Intervention {
            step,
            mixture: BTreeMap::from([("code".to_owned(), 2.0)]),
            decided: String::new(),
            decided_after_step: 0,
        };
        changed.intervene(&at(6), &sources).unwrap();
        let rates = |plan: &Plan| (0..8).map(|step| plan.rate(step)).collect::<Vec<_>>();
        assert_eq!(rates(&changed), rates(&undisturbed));
        let weights: Vec<f64> = (0..8).map(|step| changed.stage(step).1.weights[0]).collect();
        assert_eq!(weights, [0.75, 0.75, 0.75, 0.75, 0.75, 0.75, 0.0, 0.0]);
        // At the first step of a stage there is nothing to part.
        changed.intervene(&at(4), &sources).unwrap();
        assert_eq!((changed.stages.len(), changed.stage(5).1.weights[1]), (3, 1.0));
        assert!(changed.intervene(&at(8), &sources).unwrap_err().to_string().contains("has 8 steps"));
        let gone = changed.intervene(&at(5), &sources[..1]).unwrap_err().to_string();
        assert!(gone.contains("interventions.json from step 5 on: there is no source `code`"), "{gone}");
    }

    #[test]
    fn adjacent_decays_share_a_line() {
        let longer = StageSettings {
            sequence_length: Some(16),
            rope_theta: Some(1e5),
            ..stage("long", 64.0, Phase::Decay)
        };
        let plan =
            plan(&[stage("one", 128.0, Phase::Stable), stage("two", 64.0, Phase::Decay), longer]).unwrap();
        let rates: Vec<f64> = (0..8).map(|step| plan.rate(step)).collect();
        assert_eq!(rates, [0.0, 0.5, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]);
        let (index, last) = plan.stage(7);
        assert_eq!((index, last.sequence_length, last.sequences_per_step, last.rope_theta), (2, 16, 2, 1e5));
        assert_eq!((plan.stages[0].weights.clone(), plan.total()), (vec![0.75, 0.25], 8));
    }

    #[test]
    fn impossible_stages_are_refused_by_name() {
        let odd = StageSettings {
            mixture: BTreeMap::from([("books".to_owned(), 1.0)]),
            ..stage("one", 64.0, Phase::Stable)
        };
        let reason = plan(&[odd]).unwrap_err().to_string();
        assert!(reason.contains("no source `books`; known sources are web, code"), "{reason}");
        let reason = plan(&[stage("one", f64::NAN, Phase::Stable)]).unwrap_err().to_string();
        assert!(reason.contains("stage one: `tokens` is NaN"), "{reason}");
    }
}
