//! The `generation` blocks of a template, in which transformers finds what is trained.

/// Removes the `generation` blocks and keeps their content: the loss mask is computed from byte spans instead.
pub(super) fn without_generation_marks(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        // The end is looked for behind the two characters of the beginning: `{%}` is not a tag.
        let Some(length) = rest[start + 2..].find("%}").map(|length| length + 2) else { break };
        let tag = &rest[start..start + length + 2];
        let name = tag[2..tag.len() - 2].trim_matches(|c: char| c == '-' || c == '+' || c.is_whitespace());
        text.push_str(&rest[..start]);
        if name == "generation" || name == "endgeneration" {
            // A condition that is always true keeps the tag's whitespace control.
            let replacement = if name == "generation" { "if true" } else { "endif" };
            text.push_str(&tag.replacen(name, replacement, 1));
        } else {
            text.push_str(tag);
        }
        rest = &rest[start + length + 2..];
    }
    text.push_str(rest);
    text
}
