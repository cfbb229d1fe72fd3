//! ROUGE-L (Lin 2004) as the package rouge_score 0.1.2 computes it, without a stemmer.

use datasets::longest_common_subsequence;

/// The F-measure of the longest common subsequence of words, from 0 to 1.
pub(crate) fn rouge_l(target: &str, prediction: &str) -> f64 {
    let (target, prediction) = (words(target), words(prediction));
    let common = longest_common_subsequence(&target, &prediction) as f64;
    if common == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (common / prediction.len() as f64, common / target.len() as f64);
    2.0 * precision * recall / (precision + recall)
}

/// Words of ASCII letters and digits, in lower case; anything else separates them.
fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}
