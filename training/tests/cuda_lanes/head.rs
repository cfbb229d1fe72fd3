//! Log-probabilities and the gradient of logits.

use crate::harness::{
    At, Buffer, Count, blocks, close, launch, numbers, report, rounded, suffix, tolerance, whole_numbers,
    widened,
};
use half::bf16;
use kernels::Element;
use kernels::training::{TokenLoss, cross_entropy_backward, cross_entropy_forward};

/// Logits with a wide range, with rows `stride` apart and NaN between, targets of which one has the highest logit, and weights of which one is 0.
struct Case<L> {
    rows: usize,
    vocabulary: usize,
    stride: usize,
    logits: Vec<L>,
    targets: Vec<u32>,
    weights: Vec<f32>,
    expected: Vec<TokenLoss>,
    /// Gradient of the logits.
    gradient: Vec<f32>,
}

impl<L: Element> Case<L> {
    fn new(rows: usize, vocabulary: usize, stride: usize) -> Self {
        let values: Vec<f32> = numbers(rows * vocabulary, 20).iter().map(|x| x * 12.0).collect();
        let logits: Vec<L> = rounded(&values);
        let wide = widened(&logits);
        let mut targets = whole_numbers(rows, vocabulary, 21);
        let best = wide[..vocabulary].iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        targets[0] = best.map_or(0, |(token, _)| token as u32);
        let mut weights = numbers(rows, 22);
        weights[rows / 2] = 0.0;
        let mut expected = vec![TokenLoss::default(); rows];
        cross_entropy_forward(&mut expected, &wide, &targets);
        let mut gradient = wide;
        cross_entropy_backward(&mut gradient, &targets, &expected, &weights);
        let gap = vec![L::from_f32(f32::NAN); stride - vocabulary];
        let logits = logits.chunks_exact(vocabulary).flat_map(|row| [row, &gap].concat()).collect();
        Self { rows, vocabulary, stride, logits, targets, weights, expected, gradient }
    }
}

/// The three buffers of results, compared with the CPU's.
struct Results {
    log_probability: Buffer,
    best: Buffer,
    entropy: Buffer,
}

impl Results {
    fn new(rows: usize) -> Self {
        let (log_probability, entropy) = (Buffer::empty::<f32>(rows), Buffer::empty::<f32>(rows));
        Self { log_probability, best: Buffer::empty::<u32>(rows), entropy }
    }

    fn check(&self, what: &str, expected: &[TokenLoss]) -> f32 {
        let column = |value: fn(&TokenLoss) -> f32| -> Vec<f32> { expected.iter().map(value).collect() };
        let best: Vec<u32> = expected.iter().map(|token| u32::from(token.best)).collect();
        assert_eq!(self.best.read::<u32>(), best, "{what}: best");
        // Both read the same logits, so even for bf16 the sums only differ by f32's rounding.
        let one =
            close(what, &self.log_probability.read::<f32>(), &column(|token| token.log_probability), 2e-6);
        one.max(close(what, &self.entropy.read::<f32>(), &column(|token| token.entropy), 1e-4))
    }
}

/// Rows, vocabulary and stride.
const SHAPES: [(usize, usize, usize); 9] = [
    (1, 97, 97),
    (17, 97, 128),
    (63, 2048, 2048),
    (5, 30, 32),
    (4, 61, 64),
    (3, 49_152, 49_152),
    (2, 49_153, 49_153),
    (2, 49_153, 49_216),
    (2, 49_154, 49_216),
];

fn forward<L: Element>() {
    let kernel = format!("{}_{}", "cross_entropy_forward", suffix::<L>());
    let errors = SHAPES.map(|(rows, vocabulary, stride)| {
        let case = Case::<L>::new(rows, vocabulary, stride);
        let results = Results::new(rows);
        let arguments = [
            At(&results.log_probability),
            At(&results.best),
            At(&results.entropy),
            At(&Buffer::of(&case.logits)),
            At(&Buffer::of(&case.targets)),
            Count(vocabulary),
            Count(stride),
        ];
        launch(&kernel, blocks(rows, 512, 512), &arguments);
        results.check(&format!("{kernel} {rows} x {vocabulary} of {stride}"), &case.expected)
    });
    report(&kernel, &errors);
}

/// Compares the gradient of type G that replaces logits of type L.
fn gradient<L: Element, G: Element>() {
    let kernel = if L::BF16 == G::BF16 {
        format!("{}_{}", "cross_entropy_gradient", suffix::<L>())
    } else {
        "cross_entropy_gradient_f32_bf16".to_owned()
    };
    let errors = SHAPES.map(|(rows, vocabulary, stride)| {
        let case = Case::<L>::new(rows, vocabulary, stride);
        let (results, logits) = (Results::new(rows), Buffer::of(&case.logits));
        let arguments = [
            At(&results.log_probability),
            At(&results.best),
            At(&results.entropy),
            At(&logits),
            At(&Buffer::of(&case.targets)),
            At(&Buffer::of(&case.weights)),
            Count(vocabulary),
            Count(stride),
        ];
        launch(&kernel, blocks(rows, 512, 512), &arguments);
        let what = format!("{kernel} {rows} x {vocabulary} of {stride}");
        results.check(&what, &case.expected);
        // A bf16 gradient of f32 logits fills the first half of each row.
        let row = case.stride * size_of::<L>() / size_of::<G>();
        let actual: Vec<f32> =
            logits.read::<G>().chunks_exact(row).flat_map(|row| widened(&row[..case.vocabulary])).collect();
        assert_eq!(actual.len(), case.rows * vocabulary);
        close(&what, &actual, &case.gradient, tolerance::<G>())
    });
    report(&kernel, &errors);
}

#[test]
fn cross_entropy() {
    forward::<f32>();
    forward::<bf16>();
}

#[test]
fn cross_entropy_gradient() {
    gradient::<f32, f32>();
    gradient::<bf16, bf16>();
    gradient::<f32, bf16>();
}
