//! The functions of one number that the losses are made of. Those that return a pair return the value and the slope.

pub(super) fn square(z: f64) -> (f64, f64) {
    (z * z, 2.0 * z)
}

pub(super) fn half((value, slope): (f64, f64)) -> (f64, f64) {
    (0.5 * value, 0.5 * slope)
}

pub(super) fn negative_log_sigmoid(z: f64) -> (f64, f64) {
    (-log_sigmoid(z), -sigmoid(-z))
}

pub(super) fn negative_log_sigmoid_of_negated(z: f64) -> (f64, f64) {
    (-log_sigmoid(-z), sigmoid(z))
}

/// Returns the negative log-sigmoid for labels of which a share is flipped.
pub(super) fn smoothed(z: f64, flipped: f64) -> (f64, f64) {
    let loss = -(1.0 - flipped) * log_sigmoid(z) - flipped * log_sigmoid(-z);
    (loss, -(1.0 - flipped) * sigmoid(-z) + flipped * sigmoid(z))
}

/// As `smoothed`, scaled so that its mean over flipped and true labels is the loss of the true ones.
pub(super) fn robust(z: f64, flipped: f64) -> (f64, f64) {
    let scale = 1.0 / (1.0 - 2.0 * flipped);
    let loss = -(1.0 - flipped) * log_sigmoid(z) + flipped * log_sigmoid(-z);
    let slope = -(1.0 - flipped) * sigmoid(-z) - flipped * sigmoid(z);
    (scale * loss, scale * slope)
}

/// Returns the KL divergence of (sigmoid z, sigmoid -z) from (1 - flipped, flipped).
pub(super) fn exo(z: f64, flipped: f64) -> (f64, f64) {
    let (log_win, log_lose) = ((-flipped).ln_1p(), flipped.ln());
    let loss = sigmoid(z) * (log_sigmoid(z) - log_win) + sigmoid(-z) * (log_sigmoid(-z) - log_lose);
    (loss, sigmoid_slope(z) * (z - log_win + log_lose)) // log sigmoid z - log sigmoid -z = z
}

pub(super) fn nca_chosen(z: f64) -> (f64, f64) {
    let (win, win_slope) = negative_log_sigmoid(z);
    let (lose, lose_slope) = half(negative_log_sigmoid_of_negated(z));
    (win + lose, win_slope + lose_slope)
}

/// Returns the logistic loss where the margin is negative, the exponential loss where it is positive, and a blend of both
/// between. The blend has a gradient, too.
pub(super) fn discopop(z: f64, tau: f64) -> (f64, f64) {
    let (blend, rest) = (sigmoid(z / tau), sigmoid(-z / tau));
    // exp(-z) alone overflows where its share of the blend is 0.
    let exponential = (log_sigmoid(z / tau) - z).exp();
    let loss = -log_sigmoid(z) * rest + exponential;
    let slope = -sigmoid(-z) * rest + log_sigmoid(z) * blend * rest / tau + exponential * (rest / tau - 1.0);
    (loss, slope)
}

/// Returns the logarithm of the odds p / (1 - p) of a probability, given its logarithm. A probability of 1, whose odds are
/// infinite, is taken for the largest f32 below it.
pub(super) fn log_odds(log_probability: f64) -> (f64, f64) {
    let log_probability = log_probability.min(-f64::from(f32::EPSILON) / 2.0);
    let rest = -log_probability.exp_m1(); // 1 - p
    (log_probability - rest.ln(), 1.0 / rest)
}

/// Returns the logarithm of the logistic function, without overflow.
fn log_sigmoid(z: f64) -> f64 {
    z.min(0.0) - (-z.abs()).exp().ln_1p()
}

pub(super) fn sigmoid(z: f64) -> f64 {
    let small = (-z.abs()).exp();
    if z < 0.0 { small / (1.0 + small) } else { 1.0 / (1.0 + small) }
}

pub(super) fn sigmoid_slope(z: f64) -> f64 {
    sigmoid(z) * sigmoid(-z)
}
