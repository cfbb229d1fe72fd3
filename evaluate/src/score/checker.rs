//! The judge of replies to questions, which the caller of the evaluation provides.

/// Judges replies to questions that have one right answer.
#[derive(Debug, Clone, Copy)]
pub struct QuestionChecker {
    /// Whether a reply answers a question; the error says why the question cannot be judged.
    pub is_right: fn(question: &str, reply: &str) -> Result<bool, &'static str>,
}
