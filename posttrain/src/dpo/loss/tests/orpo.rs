//! ORPO compared with TRL's.

use super::{Columns, Loss, LossSettings, settings};
use serde::Deserialize;

/// A batch and the loss that tests/goldens/make_orpo_goldens.py took from TRL.
#[derive(Deserialize)]
struct Case {
    chosen: Vec<f64>,
    rejected: Vec<f64>,
    chosen_tokens: Vec<usize>,
    rejected_tokens: Vec<usize>,
    beta: f64,
    loss: f64,
    dchosen: Vec<f64>,
    drejected: Vec<f64>,
}

#[test]
fn orpo_is_trls_and_needs_no_reference() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/training/orpo_losses.json");
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let pairs = case.chosen.len() as f64;
        // Whatever a reference would say.
        let logps = [case.chosen, case.rejected, vec![-7.0; pairs as usize], vec![3.0; pairs as usize]];
        let columns = Columns { logps, tokens: [case.chosen_tokens, case.rejected_tokens] };
        let outcome = columns.evaluate(&orpo(case.beta));
        let close = |ours: f64, theirs: f64| (ours - theirs).abs() < 1e-10 * (1.0 + theirs.abs());
        let loss = outcome.losses.iter().sum::<f64>() / pairs;
        assert!(close(loss, case.loss), "{loss}, not {}", case.loss);
        for (ours, theirs) in [(&outcome.dchosen, &case.dchosen), (&outcome.drejected, &case.drejected)] {
            let all_close = ours.iter().zip(theirs).all(|(ours, theirs)| close(ours / pairs, *theirs));
            assert!(all_close, "{ours:?}, not {theirs:?} times {pairs}");
        }
    }
    assert!(!orpo(0.1).needs_reference());
}

/// A reply of which the model is sure has finite losses.
#[test]
fn a_certain_reply_has_a_finite_loss() {
    let logps = [vec![0.0], vec![-3.0], vec![0.0], vec![0.0]];
    let outcome = Columns { logps, tokens: [vec![4], vec![4]] }.evaluate(&orpo(0.1));
    assert!(outcome.losses[0].is_finite() && outcome.dchosen[0].is_finite(), "{outcome:?}");
}

fn orpo(beta: f64) -> LossSettings {
    settings(&[(Loss::Orpo, 1.0)], beta)
}
