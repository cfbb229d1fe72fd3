//! SmolLM2's special tokens.

use tokenizers::AddedToken;

/// The special tokens; a token's index is its id.
pub(super) const SPECIAL_TOKENS: [&str; 17] = [
    END_OF_TEXT,
    "<|im_start|>",
    "<|im_end|>",
    "<repo_name>",
    "<reponame>",
    "<file_sep>",
    "<filename>",
    "<gh_stars>",
    "<issue_start>",
    "<issue_comment>",
    "<issue_closed>",
    "<jupyter_start>",
    "<jupyter_text>",
    "<jupyter_code>",
    "<jupyter_output>",
    "<jupyter_script>",
    "<empty_output>",
];
/// Starts a text, ends one, and is named as the unknown token (there is none).
pub(super) const END_OF_TEXT: &str = "<|endoftext|>";

/// Returns the special tokens as the tokenizer takes them.
pub(super) fn special_tokens() -> Vec<AddedToken> {
    SPECIAL_TOKENS.iter().map(|token| AddedToken::from(*token, true)).collect()
}
