//! Tests of several modules together: recipes and flags make settings, settings make schedules, and every recipe that
//! ships is accepted.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use crate::device::{DeviceChoice, MicroBatch};
use crate::recipe::{resolve, table_of};
use crate::schedule::ScheduleType;
use crate::settings::{TrainingFlags, TrainingSettings};
use std::path::Path;

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct Settings {
    #[serde(flatten)]
    training: TrainingSettings,
    #[serde(default)]
    rows: usize,
}

#[test]
fn flags_win_over_the_recipe_and_the_recipe_over_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    std::fs::write(&path, "learning_rate = 1\nwarmup_ratio = 0.5\nrows = 3\n").unwrap();
    let flags = TrainingFlags { warmup_ratio: Some(0.25), ..TrainingFlags::default() };
    let settings: Settings = resolve(Some(&path), &[table_of(&flags).unwrap()]).unwrap();
    let Settings { training, rows } = settings;
    assert_eq!((training.learning_rate, training.warmup_ratio, rows), (1.0, 0.25, 3));
    assert_eq!(training.adam_beta1, TrainingSettings::default().adam_beta1);
}

#[test]
fn unknown_keys_and_wrong_values_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    let refuses = |text: &str, expected: &str| {
        std::fs::write(&path, text).unwrap();
        let error = format!("{:#}", resolve::<Settings>(Some(&path), &[]).unwrap_err());
        assert!(error.contains(expected), "{error}");
    };
    refuses("learning_rat = 1", "unknown key `learning_rat`");
    refuses("learning_rate = \"fast\"", "learning_rate");
    refuses("learning_rate = ", "not TOML");
}

#[test]
fn device_and_micro_batch_are_read_from_recipes_and_flags() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    std::fs::write(&path, "device = \"cuda:1\"\nmicro_batch_tokens = \"auto\"\n").unwrap();
    let settings: Settings = resolve(Some(&path), &[]).unwrap();
    let TrainingSettings { device, micro_batch_tokens, .. } = settings.training;
    assert_eq!((device, micro_batch_tokens), (DeviceChoice::Cuda(1), MicroBatch::Auto));
    let flags = TrainingFlags {
        device: Some(DeviceChoice::Cpu),
        micro_batch_tokens: Some(MicroBatch::Tokens(99)),
        ..TrainingFlags::default()
    };
    let settings: Settings = resolve(Some(&path), &[table_of(&flags).unwrap()]).unwrap();
    let TrainingSettings { device, micro_batch_tokens, .. } = settings.training;
    assert_eq!((device, micro_batch_tokens), (DeviceChoice::Cpu, MicroBatch::Tokens(99)));
}

fn rates(schedule_type: ScheduleType, warmup_steps: u64, total: u64, steps: &[u64]) -> Vec<f64> {
    let settings = TrainingSettings {
        learning_rate: 1.0,
        lr_scheduler_type: schedule_type,
        warmup_steps,
        decay_ratio: 0.2,
        ..TrainingSettings::default()
    };
    let schedule = settings.schedule(total);
    steps.iter().map(|step| (schedule.rate(*step) * 1e6).round() / 1e6).collect()
}

/// The numbers are transformers 5.23's get_scheduler(...).get_last_lr() after that many steps.
#[test]
fn learning_rates_are_those_of_transformers() {
    let steps = [0, 1, 2, 5, 9];
    assert_eq!(rates(ScheduleType::Cosine, 2, 10, &steps), [0.0, 0.5, 1.0, 0.691_342, 0.038_06]);
    assert_eq!(rates(ScheduleType::Linear, 2, 10, &steps), [0.0, 0.5, 1.0, 0.625, 0.125]);
    assert_eq!(rates(ScheduleType::Constant, 2, 10, &steps), [0.0, 0.5, 1.0, 1.0, 1.0]);
    let steps = [0, 2, 7, 8, 9, 10];
    assert_eq!(rates(ScheduleType::Wsd, 2, 10, &steps), [0.0, 1.0, 1.0, 1.0, 0.5, 0.0]);
}

#[test]
fn the_floor_is_the_final_learning_rate() {
    let settings = TrainingSettings { learning_rate: 2.0, min_lr_ratio: 0.1, ..TrainingSettings::default() };
    let schedule = settings.schedule(4);
    assert_eq!((schedule.rate(0), schedule.rate(4)), (2.0, 0.2));
}

#[test]
fn every_recipe_resolves_to_settings_that_a_run_accepts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    assert_eq!(names.len(), 9);
    for name in names {
        let path = folder.join(&name);
        if name.ends_with("-sft.toml") {
            resolve::<crate::sft::Settings>(Some(&path), &[]).unwrap().check().unwrap();
        } else if name.ends_with("-dpo.toml") {
            resolve::<crate::dpo::Settings>(Some(&path), &[]).unwrap().check().unwrap();
        } else {
            crate::pretrain::check_recipe(&path).unwrap();
        }
    }
}

#[test]
fn every_plan_of_an_ablation_is_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/ablate");
    for name in ["web-mixture", "finemath-annealing", "swarm"] {
        crate::ablate::check_plan(&folder.join(format!("{name}.toml"))).unwrap();
    }
}
