//! What a save in the background writes, what becomes of its error, and how much time saving may take.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use crate::checkpoints::tests::Fixture;
use std::path::Path;
use training::Optimizer;

fn save(fixture: &Fixture, folder: &Path, step: u64) -> Save {
    let parameters = fixture.parameters.clone();
    let optimizer = Optimizer::new(parameters.values.len());
    Save {
        folder: folder.to_owned(),
        prepared: Arc::new(fixture.prepared()),
        state: TrainingState { parameters, optimizer },
        progress: Progress { step, ..Progress::default() },
        recorded: Map::new(),
        manifest: "{}\n".to_owned(),
        metrics: None,
        limit: 2,
    }
}

/// The weights and moments of the step, although the training goes on before they are written.
#[test]
fn a_save_contains_the_state_of_its_step() {
    let (fixture, folder) = (Fixture::new(), tempfile::tempdir().unwrap());
    let mut saves = Saves::new();
    let of_step = save(&fixture, folder.path(), 3);
    let mut training = of_step.state.clone();
    let first = training.parameters.values[0];
    saves.start(of_step).unwrap();
    training.parameters.values.fill(7.0);
    training.optimizer.mean.fill(7.0);
    assert!(saves.wait().unwrap().is_empty());
    let mut parameters = training.parameters.clone();
    let newest = checkpoints::load_newest(&folder.path().join("checkpoints"), &mut parameters).unwrap();
    let (progress, optimizer) = newest.checkpoint.unwrap();
    assert_eq!((progress.step, parameters.values[0], optimizer.mean[0]), (3, first, 0.0));
    assert_eq!(std::fs::read(folder.path().join("run.json")).unwrap(), b"{}\n");
    assert!(newest.damage.is_none() && saves.last.is_some_and(|last| last == saves.total));
}

#[test]
fn a_save_that_fails_is_an_error_once() {
    let (fixture, folder) = (Fixture::new(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("checkpoints"), "a file").unwrap();
    let mut saves = Saves::new();
    saves.start(save(&fixture, folder.path(), 3)).unwrap();
    let error = loop {
        match saves.ended() {
            Ok(warnings) => assert!(warnings.is_empty() && saves.under_way.is_some()),
            Err(error) => break format!("{error:#}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(error.contains("checkpoints/step-3; earlier ones are kept"), "{error}");
    assert!(saves.wait().unwrap().is_empty());
}

#[test]
fn weights_that_are_not_finite_are_not_saved() {
    let (fixture, folder) = (Fixture::new(), tempfile::tempdir().unwrap());
    let mut save = save(&fixture, folder.path(), 3);
    save.state.parameters.values[1] = f32::NAN;
    let mut saves = Saves::new();
    saves.start(save).unwrap();
    let error = saves.wait().unwrap_err().to_string();
    assert!(error.starts_with("1 weights are not finite after step 3"), "{error}");
    assert!(!folder.path().join("checkpoints").exists());
}

#[test]
fn a_copy_must_fit_into_the_free_memory() {
    let fixture = Fixture::new();
    let of_step = save(&fixture, Path::new("."), 1);
    assert_eq!(copied_bytes(&of_step.state), 12 * fixture.parameters.values.len());
    assert!(is_too_large(51, Some(100)) && !is_too_large(50, Some(100)) && !is_too_large(51, None));
}

/// A tenth: 135 million weights are taken for four seconds of writing until they were written once.
#[test]
fn saving_takes_no_more_than_a_tenth_of_the_time() {
    let seconds = Duration::from_secs;
    let after = |passed: u64, total: u64, last: Option<u64>| Saves {
        start: Instant::now() - seconds(passed),
        under_way: None,
        total: seconds(total),
        last: last.map(seconds),
    };
    let weights = 135_000_000;
    assert!(!after(30, 0, None).has_time(weights) && after(40, 0, None).has_time(weights));
    assert!(!after(79, 6, Some(2)).has_time(weights) && after(80, 6, Some(2)).has_time(weights));
    let mut busy = after(1000, 0, None);
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let wait = move || {
        let _ = ended.recv();
        (Duration::ZERO, Ok(Warnings::new()))
    };
    busy.under_way = Some(std::thread::spawn(wait));
    assert!(!busy.has_time(weights));
    drop(end);
}
