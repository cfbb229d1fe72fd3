//! Scores that SmolLM2's authors published, in percent: the SmolLM2 paper (arXiv 2502.02737) and the model cards of
//! HuggingFaceTB/SmolLM2-135M, -360M, -1.7B and their instruct models.

/// The models, in the order of the columns.
const MODELS: [&str; 6] = [
    "SmolLM2-135M",
    "SmolLM2-360M",
    "SmolLM2-1.7B",
    "SmolLM2-135M-Instruct",
    "SmolLM2-360M-Instruct",
    "SmolLM2-1.7B-Instruct",
];

/// The task or group, the metric, and the score of each model.
const SCORES: [(&str, &str, [Option<f64>; 6]); 11] = [
    (
        "hellaswag@smollm2",
        "acc_norm",
        [Some(42.1), Some(54.5), Some(68.7), Some(40.9), Some(52.1), Some(66.1)],
    ),
    ("arc@smollm2", "acc_norm", [Some(43.9), Some(53.0), Some(60.5), Some(37.3), Some(43.7), Some(51.7)]),
    ("piqa@smollm2", "acc_norm", [Some(68.4), Some(71.7), Some(77.6), Some(66.3), Some(70.8), Some(74.4)]),
    ("mmlu@smollm2", "acc_norm", [Some(31.5), Some(35.8), None, Some(29.3), Some(32.8), None]),
    ("mmlu_pro@smollm2", "acc_norm", [None, None, Some(19.4), None, None, Some(19.3)]),
    ("commonsense_qa@smollm2", "acc_norm", [Some(33.9), Some(38.0), Some(43.6), None, None, None]),
    ("triviaqa@smollm2", "exact_match", [Some(4.1), Some(16.9), Some(36.7), None, None, None]),
    ("winogrande@smollm2", "acc_norm", [Some(51.3), Some(52.5), Some(59.4), None, None, None]),
    ("openbookqa@smollm2", "acc_norm", [Some(34.6), Some(37.4), Some(42.2), None, None, None]),
    ("gsm8k@smollm2", "exact_match", [Some(1.4), Some(3.2), Some(31.1), Some(1.4), Some(7.43), Some(48.2)]),
    ("bbh@smollm2", "exact_match", [None, None, None, Some(28.2), Some(27.3), Some(32.2)]),
];

/// The published score, in percent.
pub(crate) fn score(model: &str, task: &str, metric: &str) -> Option<f64> {
    let column = MODELS.iter().position(|name| *name == model)?;
    SCORES.iter().find(|(name, of, _)| *name == task && *of == metric)?.2[column]
}

/// The name of a published model, for the command line.
///
/// # Errors
/// Lists the names.
pub(crate) fn model(name: &str) -> Result<String, String> {
    let found = MODELS.iter().find(|model| model.eq_ignore_ascii_case(name));
    found.map(|model| (*model).to_owned()).ok_or_else(|| format!("give one of {}", MODELS.join(", ")))
}
