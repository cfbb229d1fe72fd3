//! The report's panel of samples: what the model answered to each prompt, step by step.

use crate::samples::Sample;
use report::html::{escape, panel};

/// The prompts that are shown; `samples.jsonl` has all.
const SHOWN: usize = 20;

/// A panel with the replies to each prompt, the newest first; nothing without samples.
pub(super) fn samples(samples: &[Sample]) -> String {
    let count = samples.iter().map(|sample| sample.prompt + 1).max().unwrap_or_default();
    if count == 0 {
        return String::new();
    }
    let shown: String = (0..count.min(SHOWN)).map(|prompt| replies(samples, prompt)).collect();
    let more = match count.saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("<p class=\"note\">{more} more prompts are in samples.jsonl.</p>\n"),
    };
    panel("Samples", &(shown + &more))
}

/// A prompt, and below it the replies, which a reader opens; the first prompt is open.
fn replies(samples: &[Sample], prompt: usize) -> String {
    let of_prompt: Vec<&Sample> = samples.iter().filter(|sample| sample.prompt == prompt).collect();
    let Some(last) = of_prompt.last() else { return String::new() };
    let reply = |sample: &&Sample| {
        let cut = if sample.is_complete { "" } else { ", cut at the maximum number of tokens" };
        let step = match sample.step {
            0 => "before the first step".to_owned(),
            step => format!("after step {step}"),
        };
        format!("<h4>{step}{cut}</h4>\n<pre>{}</pre>\n", escape(&sample.reply))
    };
    let replies: String = of_prompt.iter().rev().map(reply).collect();
    let open = if prompt == 0 { " open" } else { "" };
    format!(
        "<details{open}><summary>Prompt {}</summary>\n<pre>{}</pre>\n{replies}</details>\n",
        prompt + 1,
        escape(&last.text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(step: u64, prompt: usize, reply: &str, is_complete: bool) -> Sample {
        let text = format!("<|user|>{prompt}");
        Sample { step, prompt, text, reply: reply.to_owned(), is_complete }
    }

    #[test]
    fn replies_stand_below_their_prompt_with_the_newest_first() {
        let all = [sample(0, 0, "a<b", false), sample(0, 1, "c", true), sample(4, 0, "later", true)];
        let html = samples(&all);
        let order = [
            "Prompt 1",
            "&lt;|user|&gt;0",
            "after step 4",
            "later",
            "cut at the maximum",
            "a&lt;b",
            "Prompt 2",
        ];
        let places: Vec<Option<usize>> = order.iter().map(|text| html.find(text)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in {html}");
        assert_eq!(samples(&[]), "");
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let all: Vec<Sample> = (0..SHOWN + 3).map(|prompt| sample(1, prompt, "r", true)).collect();
        let html = samples(&all);
        assert!(
            html.contains("3 more prompts are in samples.jsonl") && html.matches("<details").count() == SHOWN
        );
    }
}
