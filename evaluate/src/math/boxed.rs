//! The content of the last `\boxed{...}` of a solution, as the MATH data set's own code finds it.

/// The content, or `None` if there is none or its braces are not closed.
pub(crate) fn last_boxed(text: &str) -> Option<String> {
    // `\boxed 5$` has no braces.
    if let Some((_, rest)) = text.rsplit_once("\\boxed ") {
        return Some(rest.split('$').next().unwrap_or_default().to_owned());
    }
    let start = text.rfind("\\boxed").or_else(|| text.rfind("\\fbox"))?;
    let open = start + text[start..].find('{')?;
    let mut depth = 0_usize;
    for (index, letter) in text[start..].char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth <= 1 => return (depth == 1).then(|| text[open + 1..start + index].to_owned()),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::last_boxed;

    #[test]
    fn braces_are_counted() {
        assert_eq!(last_boxed(r"so \boxed{1} or $\boxed{\frac{1}{2}}$.").as_deref(), Some(r"\frac{1}{2}"));
        assert_eq!(last_boxed(r"$\boxed 5$").as_deref(), Some("5"));
        assert_eq!(last_boxed(r"\boxed{1"), None);
        assert_eq!(last_boxed("none"), None);
    }
}
