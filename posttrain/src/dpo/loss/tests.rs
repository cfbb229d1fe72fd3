//! The losses compared with TRL's, their derivatives compared with finite differences, and their names.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;

mod orpo;

const ALL: &[Loss] = &[
    Loss::Sigmoid,
    Loss::Hinge,
    Loss::Ipo,
    Loss::ExoPair,
    Loss::NcaPair,
    Loss::Robust,
    Loss::BcoPair,
    Loss::SppoHard,
    Loss::Aot,
    Loss::AotUnpaired,
    Loss::ApoZero,
    Loss::ApoDown,
    Loss::Discopop,
    Loss::Sft,
    Loss::SigmoidNorm,
    Loss::Simpo,
    Loss::Orpo,
];

/// Columns of a batch: chosen, rejected, reference chosen, reference rejected, and the token counts.
struct Columns {
    logps: [Vec<f64>; 4],
    tokens: [Vec<usize>; 2],
}

impl Columns {
    /// Log-probabilities of about -2 a token, which are typical of small models.
    fn random(seed: u64, count: usize) -> Self {
        let mut draw = uniform(seed);
        let tokens: [Vec<usize>; 2] =
            std::array::from_fn(|_| (0..count).map(|_| 1 + (draw() * 40.0) as usize).collect());
        let logps = std::array::from_fn(|column| {
            (0..count).map(|pair| -4.0 * draw() * tokens[column % 2][pair] as f64).collect()
        });
        Self { logps, tokens }
    }

    fn pairs(&self) -> Pairs<'_> {
        let [chosen, rejected, reference_chosen, reference_rejected] = &self.logps;
        let [chosen_tokens, rejected_tokens] = &self.tokens;
        Pairs { chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens }
    }

    fn mean_chosen_tokens(&self) -> f64 {
        self.tokens[0].iter().sum::<usize>() as f64 / self.tokens[0].len() as f64
    }

    fn evaluate(&self, settings: &LossSettings) -> Outcome {
        evaluate(&self.pairs(), settings, self.mean_chosen_tokens())
    }
}

/// Returns uniform numbers in 0..1 (SplitMix64).
fn uniform(mut state: u64) -> impl FnMut() -> f64 {
    move || {
        state = state.wrapping_add(random::STEP);
        (random::finalize(state) >> 11) as f64 * 2f64.powi(-53)
    }
}

fn settings(losses: &[(Loss, f64)], beta: f64) -> LossSettings {
    LossSettings { losses: losses.to_vec(), beta, label_smoothing: 0.1, discopop_tau: 0.05, simpo_gamma: 0.3 }
}

#[test]
fn derivatives_are_those_of_the_loss() {
    for (number, loss) in ALL.iter().enumerate() {
        for beta in [0.02, 0.1, 0.5] {
            let columns = Columns::random(number as u64, 7);
            check_derivatives(&columns, &settings(&[(*loss, 0.7)], beta));
        }
    }
    let sum = [(Loss::Sigmoid, 1.0), (Loss::Sft, 0.5), (Loss::Aot, 2.0)];
    check_derivatives(&Columns::random(99, 5), &settings(&sum, 0.1));
}

fn check_derivatives(columns: &Columns, settings: &LossSettings) {
    const STEP: f64 = 1e-5;
    let outcome = columns.evaluate(settings);
    let total = |shifted: &[Vec<f64>; 4]| -> f64 {
        let shifted = Columns { logps: shifted.clone(), tokens: columns.tokens.clone() };
        shifted.evaluate(settings).losses.iter().sum()
    };
    for (column, derivatives) in [(0, &outcome.dchosen), (1, &outcome.drejected)] {
        for (pair, derivative) in derivatives.iter().enumerate() {
            let mut logps = columns.logps.clone();
            logps[column][pair] += STEP;
            let above = total(&logps);
            logps[column][pair] -= 2.0 * STEP;
            let below = total(&logps);
            let measured = (above - below) / (2.0 * STEP);
            // The rounding of two sums, divided by the step.
            let tolerance = 1e-6 * derivative.abs() + 1e-10 * above.abs().max(1.0);
            assert!(
                (measured - derivative).abs() < tolerance,
                "{settings:?} column {column} pair {pair}: {derivative}, measured {measured}"
            );
        }
    }
}

#[test]
fn sorted_losses_do_not_depend_on_the_order_of_their_columns() {
    let columns = Columns::random(5, 8);
    let losses = |logps: [Vec<f64>; 4], loss| {
        let outcome =
            Columns { logps, tokens: columns.tokens.clone() }.evaluate(&settings(&[(loss, 1.0)], 0.1));
        let mut losses = outcome.losses;
        losses.sort_by(f64::total_cmp);
        losses
    };
    let straight = columns.logps.clone();
    // `aot` compares two sets of margins, so the reference's pairs can be permuted.
    let mut permuted = straight.clone();
    permuted[2].rotate_left(3);
    permuted[3].rotate_left(3);
    assert_eq!(losses(straight.clone(), Loss::Aot), losses(permuted, Loss::Aot));
    // `aot_unpaired` compares chosen with rejected replies, so the rejected ones can be permuted.
    let mut permuted = straight.clone();
    permuted[1].rotate_left(3);
    permuted[3].rotate_left(3);
    assert_eq!(losses(straight.clone(), Loss::AotUnpaired), losses(permuted.clone(), Loss::AotUnpaired));
    assert_ne!(losses(straight, Loss::Sigmoid), losses(permuted, Loss::Sigmoid));
}

#[test]
fn sorted_losses_follow_a_pair_to_its_new_place() {
    let columns = Columns::random(6, 8);
    let mut rotated = Columns { logps: columns.logps.clone(), tokens: columns.tokens.clone() };
    rotated.logps.iter_mut().for_each(|column| column.rotate_left(3));
    rotated.tokens.iter_mut().for_each(|column| column.rotate_left(3));
    for loss in [Loss::Aot, Loss::AotUnpaired] {
        let settings = settings(&[(loss, 1.0)], 0.1);
        let mut expected = columns.evaluate(&settings);
        for column in [&mut expected.losses, &mut expected.dchosen, &mut expected.drejected] {
            column.rotate_left(3);
        }
        assert_eq!(rotated.evaluate(&settings), expected);
    }
}

#[test]
fn the_sorted_losses_of_one_pair_are_the_smoothed_sigmoid() {
    let columns = Columns::random(7, 1);
    let plain = LossSettings { label_smoothing: 0.0, ..settings(&[(Loss::Sigmoid, 1.0)], 0.1) };
    let expected = columns.evaluate(&plain);
    for loss in [Loss::Aot, Loss::AotUnpaired] {
        let outcome = columns.evaluate(&LossSettings { losses: vec![(loss, 1.0)], ..plain.clone() });
        assert!((outcome.losses[0] - expected.losses[0]).abs() < 1e-12);
        assert!((outcome.dchosen[0] - expected.dchosen[0]).abs() < 1e-12);
    }
}

#[test]
fn margins_of_thousands_stay_finite() {
    for margin in [-1e5, 1e5] {
        let logps = [vec![margin], vec![0.0], vec![0.0], vec![0.0]];
        let columns = Columns { logps, tokens: [vec![10], vec![10]] };
        for loss in ALL {
            let outcome = columns.evaluate(&settings(&[(*loss, 1.0)], 0.5));
            let numbers = [outcome.losses[0], outcome.dchosen[0], outcome.drejected[0]];
            assert!(numbers.iter().all(|number| number.is_finite()), "{loss} at {margin}: {numbers:?}");
        }
    }
}

#[test]
fn sft_is_the_token_mean_however_the_step_is_split() {
    let columns = Columns::random(8, 6);
    let settings = settings(&[(Loss::Sft, 1.0)], 0.1);
    let whole = columns.evaluate(&settings).losses;
    let pairs = columns.pairs();
    let token_mean = -pairs.chosen.iter().sum::<f64>() / pairs.chosen_tokens.iter().sum::<usize>() as f64;
    assert!((whole.iter().sum::<f64>() / 6.0 - token_mean).abs() < 1e-12);
    let part = Pairs {
        chosen: &pairs.chosen[..2],
        rejected: &pairs.rejected[..2],
        reference_chosen: &pairs.reference_chosen[..2],
        reference_rejected: &pairs.reference_rejected[..2],
        chosen_tokens: &pairs.chosen_tokens[..2],
        rejected_tokens: &pairs.rejected_tokens[..2],
    };
    assert_eq!(evaluate(&part, &settings, columns.mean_chosen_tokens()).losses, whole[..2]);
}

/// A batch and the losses that tests/goldens/make_simpo_goldens.py took from TRL.
#[derive(Deserialize)]
struct SimpoCase {
    chosen: Vec<f64>,
    rejected: Vec<f64>,
    chosen_tokens: Vec<usize>,
    rejected_tokens: Vec<usize>,
    beta: f64,
    simpo_gamma: f64,
    label_smoothing: f64,
    losses: Vec<f64>,
    dchosen: Vec<f64>,
    drejected: Vec<f64>,
}

#[test]
fn simpo_is_trls_and_needs_no_reference() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/training/simpo_losses.json");
    let cases: Vec<SimpoCase> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(cases.len() >= 8);
    for case in cases {
        let count = case.chosen.len();
        // Whatever a reference would say.
        let logps = [case.chosen, case.rejected, vec![-7.0; count], vec![3.0; count]];
        let columns = Columns { logps, tokens: [case.chosen_tokens, case.rejected_tokens] };
        let SimpoCase { beta, simpo_gamma, label_smoothing, .. } = case;
        let simpo = settings(&[(Loss::Simpo, 1.0)], beta);
        let outcome = columns.evaluate(&LossSettings { simpo_gamma, label_smoothing, ..simpo });
        let close = |ours: &[f64], theirs: &[f64]| {
            ours.iter().zip(theirs).all(|(ours, theirs)| (ours - theirs).abs() < 1e-12 * (1.0 + theirs.abs()))
        };
        assert!(close(&outcome.losses, &case.losses), "{:?} {:?}", outcome.losses, case.losses);
        assert!(close(&outcome.dchosen, &case.dchosen) && close(&outcome.drejected, &case.drejected));
    }
    assert!(!settings(&[(Loss::Simpo, 1.0), (Loss::Sft, 0.1)], 2.0).needs_reference());
    assert!(settings(&[(Loss::Simpo, 1.0), (Loss::Sigmoid, 1.0)], 2.0).needs_reference());
}

/// The goldens that tests/goldens/make_preference_loss_goldens.py writes.
#[derive(Deserialize)]
struct Golden {
    batches: Vec<GoldenBatch>,
    cases: Vec<GoldenCase>,
}

#[derive(Deserialize)]
struct GoldenBatch {
    chosen: Vec<f64>,
    rejected: Vec<f64>,
    reference_chosen: Vec<f64>,
    reference_rejected: Vec<f64>,
    chosen_tokens: Vec<usize>,
    rejected_tokens: Vec<usize>,
}

#[derive(Deserialize)]
struct GoldenCase {
    batch: usize,
    losses: Vec<(Loss, f64)>,
    beta: f64,
    label_smoothing: f64,
    discopop_tau: f64,
    /// Mean over the pairs; the derivatives are those of the mean.
    loss: f64,
    dchosen: Vec<f64>,
    drejected: Vec<f64>,
}

#[test]
fn losses_and_derivatives_are_trls() {
    const FILE: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/training/preference_losses.json");
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    let agree = |ours: f64, theirs: f64| (ours - theirs).abs() <= 1e-6 * theirs.abs() + 1e-15;
    for case in &golden.cases {
        let GoldenCase { beta, label_smoothing, discopop_tau, .. } = *case;
        let settings = LossSettings {
            losses: case.losses.clone(),
            beta,
            label_smoothing,
            discopop_tau,
            simpo_gamma: 0.0,
        };
        settings.check().unwrap();
        let batch = &golden.batches[case.batch];
        let columns = Columns {
            logps: [&batch.chosen, &batch.rejected, &batch.reference_chosen, &batch.reference_rejected]
                .map(Clone::clone),
            tokens: [batch.chosen_tokens.clone(), batch.rejected_tokens.clone()],
        };
        let outcome = columns.evaluate(&settings);
        let pairs = batch.chosen.len() as f64;
        let loss = outcome.losses.iter().sum::<f64>() / pairs;
        assert!(agree(loss, case.loss), "{settings:?}, batch {}: {loss}, TRL {}", case.batch, case.loss);
        for (ours, theirs) in [(&outcome.dchosen, &case.dchosen), (&outcome.drejected, &case.drejected)] {
            assert_eq!(ours.len(), theirs.len());
            let same = ours.iter().zip(theirs).all(|(ours, theirs)| agree(ours / pairs, *theirs));
            assert!(same, "{settings:?}, batch {}: {ours:?} / {pairs}, TRL {theirs:?}", case.batch);
        }
    }
    let has_case = |loss| golden.cases.iter().any(|case| case.losses.iter().any(|(other, _)| *other == loss));
    // `simpo` is of another trainer and has a golden of its own.
    assert!(ALL.iter().copied().all(|loss| matches!(loss, Loss::Simpo | Loss::Orpo) || has_case(loss)));
}

#[test]
fn meaningless_settings_are_refused() {
    let good = LossSettings { label_smoothing: 0.0, ..settings(&[(Loss::Sigmoid, 1.0)], 0.1) };
    good.check().unwrap();
    let losses = |loss| vec![(loss, 1.0)];
    let refused = [
        (LossSettings { losses: vec![], ..good.clone() }, "`loss_type` is empty; give at least one loss"),
        (
            LossSettings { losses: vec![(Loss::Sft, -1.0)], ..good.clone() },
            "the weight of `sft` is -1; expected a number of at least 0",
        ),
        (LossSettings { beta: -0.1, ..good.clone() }, "`beta` is -0.1; expected a number above 0"),
        (LossSettings { beta: f64::NAN, ..good.clone() }, "`beta` is NaN; expected a number above 0"),
        (
            LossSettings { discopop_tau: 0.0, ..good.clone() },
            "`discopop_tau` is 0; expected a number above 0",
        ),
        (
            LossSettings { label_smoothing: 1.0, ..good.clone() },
            "`label_smoothing` is 1; expected at least 0 and less than 1",
        ),
        (
            LossSettings { losses: losses(Loss::ExoPair), ..good.clone() },
            "`label_smoothing` is 0, but `exo_pair` needs its logarithm; give for example 0.001, which its paper recommends",
        ),
        (
            LossSettings { losses: losses(Loss::Robust), label_smoothing: 0.5, ..good.clone() },
            "`label_smoothing` is 0.5, but `robust` divides by 1 - 2 times it; give less than 0.5",
        ),
        (
            LossSettings { label_smoothing: 0.1, ..good },
            "`label_smoothing` is 0.1, but only `exo_pair`, `robust`, `aot`, `aot_unpaired` and `simpo` use it; remove it",
        ),
    ];
    for (settings, expected) in refused {
        assert_eq!(settings.check().unwrap_err().to_string(), expected);
    }
}

#[test]
fn losses_are_named_as_trl_names_them() {
    for loss in ALL {
        assert_eq!(serde_json::to_value(loss).unwrap(), loss.to_string());
        assert_eq!(Loss::from_str(&loss.to_string(), false), Ok(*loss));
    }
    assert_eq!(Loss::value_variants(), ALL);
}
