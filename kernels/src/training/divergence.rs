//! Distillation: how far a student's distributions are from a teacher's, and the gradient in place of the student's logits.
//!
//! The generalized Jensen-Shannon divergence of Agarwal et al. 2023 (arXiv 2306.13649) with TRL's ends: with p the teacher's
//! probabilities, q the student's and m = beta p + (1 - beta) q, it is beta KL(p, m) + (1 - beta) KL(q, m); at beta = 0
//! KL(p, q), the forward divergence, at beta = 1 KL(q, p), the reverse one. Callers pass chunks of rows, as for cross-entropy.

use crate::element::{exp, maximum_of, sum_of, vectorized};
use rayon::prelude::*;

/// Which divergence is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Divergence {
    /// 0 is the forward KL divergence, 1 the reverse one; between them mixtures.
    pub beta: f32,
    /// Divides both models' logits.
    pub temperature: f32,
}

impl Divergence {
    /// Computes the divergence of each row of logits (N, V) in nats, and replaces the student's logits by the gradient of
    /// Σ weight · divergence. The teacher's logits become log-probabilities.
    ///
    /// # Panics
    /// If the lengths do not match.
    pub fn gradient(self, values: &mut [f32], student: &mut [f32], teacher: &mut [f32], weights: &[f32]) {
        assert!(
            values.len() == weights.len() && student.len() == teacher.len(),
            "divergence: expected one value and one weight per row, and logits of one shape"
        );
        if values.is_empty() {
            return;
        }
        let vocabulary = student.len() / values.len();
        assert_eq!(
            vocabulary * values.len(),
            student.len(),
            "divergence: expected one row of logits per value"
        );
        let rows = student.par_chunks_exact_mut(vocabulary).zip(teacher.par_chunks_exact_mut(vocabulary));
        values.par_iter_mut().zip(rows).zip(weights).for_each(|((value, (student, teacher)), weight)| {
            *value = row(student, teacher, self.beta, 1.0 / self.temperature, *weight);
        });
    }
}

/// Replaces logits by the log-probabilities at a temperature.
#[inline(always)]
fn log_softmax(logits: &mut [f32], inverse_temperature: f32) {
    logits.iter_mut().for_each(|logit| *logit *= inverse_temperature);
    let maximum = maximum_of(logits);
    let log_sum = sum_of(logits, logits, |logit, _| exp(logit - maximum)).ln();
    logits.iter_mut().for_each(|logit| *logit = (*logit - maximum) - log_sum);
}

/// The logarithm of the mixture of two probabilities; where both underflow it is that of the smallest number.
#[inline(always)]
fn log_mixture(student: f32, teacher: f32, beta: f32) -> f32 {
    let mixture = (1.0 - beta) * exp(student) + beta * exp(teacher);
    if mixture < f32::MIN_POSITIVE { f32::MIN_POSITIVE.ln() } else { mixture.ln() }
}

vectorized! {
    fn row(student: &mut [f32], teacher: &mut [f32], beta: f32, inverse_temperature: f32, weight: f32) -> f32 {
        log_softmax(student, inverse_temperature);
        log_softmax(teacher, inverse_temperature);
        let factor = weight * inverse_temperature;
        if beta == 0.0 {
            let value = sum_of(teacher, student, |teacher, student| exp(teacher) * (teacher - student));
            for (student, teacher) in student.iter_mut().zip(teacher.iter()) {
                *student = factor * (exp(*student) - exp(*teacher));
            }
            return value;
        }
        if beta == 1.0 {
            let value = sum_of(student, teacher, |student, teacher| exp(student) * (student - teacher));
            for (student, teacher) in student.iter_mut().zip(teacher.iter()) {
                *student = factor * exp(*student) * (*student - *teacher - value);
            }
            return value;
        }
        let of_teacher = sum_of(teacher, student, |teacher, student| {
            exp(teacher) * (teacher - log_mixture(student, teacher, beta))
        });
        let of_student = sum_of(student, teacher, |student, teacher| {
            exp(student) * (student - log_mixture(student, teacher, beta))
        });
        // The derivative by q of the whole is (1 - beta) log(q / m): the other terms cancel.
        for (student, teacher) in student.iter_mut().zip(teacher.iter()) {
            let log_ratio = *student - log_mixture(*student, *teacher, beta);
            *student = factor * (1.0 - beta) * exp(*student) * (log_ratio - of_student);
        }
        beta * of_teacher + (1.0 - beta) * of_student
    }
}
