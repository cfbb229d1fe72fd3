//! What a model's chat template says about the answers: how the model writes tool calls, whether it thinks before it
//! answers, and which ids of calls the template takes.
//!
//! Model families write calls in formats of their own. A template shows the format in how it prints earlier calls.

use checkpoint::ChatTemplate;
use checkpoint::tools::wants_short_call_ids;

/// How a model writes tool calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallFormat {
    /// `<tool_call>{"name": .., "arguments": {..}}</tool_call>`, as Hermes, Qwen, SmolLM and this project's instruction.
    Hermes,
    /// `{"name": .., "parameters": {..}}` alone, or after `<|python_tag|>`.
    Llama,
    /// `[TOOL_CALLS][{"name": .., "arguments": {..}}]`, or `[TOOL_CALLS]name[ARGS]{..}`.
    Mistral,
    /// Calls between `<｜tool▁call▁begin｜>` and `<｜tool▁call▁end｜>`.
    DeepSeek,
    /// `<|tool_call>call:name{key:<|"|>value<|"|>}<tool_call|>`.
    Gemma,
    /// `<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`.
    QwenCoder,
}

/// The tags around what a model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThinkingTags {
    pub(crate) open: &'static str,
    pub(crate) close: &'static str,
}

/// What a template says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TemplateTraits {
    pub(crate) calls: CallFormat,
    /// `None` where answers are not split.
    pub(crate) thinking: Option<ThinkingTags>,
    /// Whether ids of calls have nine letters and digits.
    pub(crate) short_call_ids: bool,
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
        let calls = if has("tool▁call▁begin") {
            CallFormat::DeepSeek
        } else if has("[TOOL_CALLS]") {
            CallFormat::Mistral
        } else if has("<|tool_call>call:") || has("<start_function_call>") {
            CallFormat::Gemma
        } else if has("<function=") {
            CallFormat::QwenCoder
        } else if has("<|python_tag|>") || has("{\"name\": function name, \"parameters\":") {
            CallFormat::Llama
        } else {
            CallFormat::Hermes
        };
        Self {
            calls,
            thinking: THINKING.into_iter().find(|tags| has(tags.close)),
            short_call_ids: wants_short_call_ids(template),
        }
    }
}
