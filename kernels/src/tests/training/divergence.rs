//! Divergences of a student from a teacher, compared with TRL's.

use crate::training::Divergence;
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(all) => all.iter().flat_map(numbers).collect(),
        one => one.as_f64().into_iter().collect(),
    }
}

fn narrowed(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|value| value as f32).collect()
}

#[test]
fn divergences_and_gradients_are_trls() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/training/distillation_losses.json");
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(cases.len(), 15);
    let mut worst = 0.0f64;
    for case in cases {
        let [beta, temperature] = ["beta", "temperature"].map(|name| case[name].as_f64().unwrap() as f32);
        let (mut student, mut teacher) = (narrowed(&case["student"]), narrowed(&case["teacher"]));
        let mut values = [f32::NAN; 2];
        let weights = [1.0, -0.5];
        Divergence { beta, temperature }.gradient(&mut values, &mut student, &mut teacher, &weights);
        let mut compare = |found: f32, expected: f64| {
            let difference = (f64::from(found) - expected).abs() / (1.0 + expected.abs());
            worst = worst.max(difference);
            assert!(difference < 1e-6, "beta {beta}: {found}, not {expected}");
        };
        let losses = numbers(&case["losses"]);
        values.iter().zip(&losses).for_each(|(found, expected)| compare(*found, *expected));
        let row = student.len() / 2;
        for (index, (found, expected)) in student.iter().zip(numbers(&case["gradients"])).enumerate() {
            compare(*found, expected * f64::from(weights[index / row]));
        }
    }
    println!("within {worst:.1e}");
}

/// What underflows is no NaN, and equal models have no divergence.
#[test]
fn extreme_logits_have_finite_gradients() {
    for beta in [0.0, 0.3, 1.0] {
        let divergence = Divergence { beta, temperature: 1.0 };
        let (mut values, mut student, mut teacher) =
            ([0.0], vec![300.0, -300.0, 0.0], vec![-300.0, 300.0, 0.0]);
        divergence.gradient(&mut values, &mut student, &mut teacher, &[1.0]);
        assert!(values[0].is_finite() && values[0] > 0.0, "{values:?}");
        assert!(student.iter().all(|value| value.is_finite()), "{student:?}");
        let (mut same, mut teacher) = (vec![1.0, 2.0, -3.0], vec![1.0, 2.0, -3.0]);
        divergence.gradient(&mut values, &mut same, &mut teacher, &[1.0]);
        assert!(values[0].abs() < 1e-6 && same.iter().all(|value| value.abs() < 1e-6), "{values:?} {same:?}");
    }
}
