//! What a model's chat template says about the answers: how the model writes tool calls, whether it thinks before it
//! answers, and which ids of calls the template takes.
//!
//! Model families write calls in formats of their own. A template shows the format in how it prints earlier calls.

use crate::families::{self, Family};
use checkpoint::ChatTemplate;
use checkpoint::tools::wants_short_call_ids;

/// The tags around what a model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThinkingTags {
    pub(crate) open: &'static str,
    pub(crate) close: &'static str,
}

/// What a template says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TemplateTraits {
    pub(crate) calls: &'static Family,
    /// `None` where answers are not split.
    pub(crate) thinking: Option<ThinkingTags>,
    /// Whether ids of calls have nine letters and digits.
    pub(crate) short_call_ids: bool,
}

impl TemplateTraits {
    /// Whether a special token is a tag around calls or thoughts, which readers of answers need to see.
    pub(crate) fn is_tag(&self, token: &str) -> bool {
        self.calls.tags.contains(&token)
            || self.thinking.is_some_and(|tags| [tags.open, tags.close].contains(&token))
    }
}

const THINKING: [ThinkingTags; 2] = [
    ThinkingTags { open: "<think>", close: "</think>" },
    ThinkingTags { open: "[THINK]", close: "[/THINK]" },
];

impl TemplateTraits {
    /// Reads a template.
    pub(crate) fn of(template: &ChatTemplate) -> Self {
        let source = template.source();
        let has = |text: &str| source.contains(text);
        Self {
            calls: families::of_template(source),
            thinking: THINKING.into_iter().find(|tags| has(tags.close)),
            short_call_ids: wants_short_call_ids(template),
        }
    }
}
