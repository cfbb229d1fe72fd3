//! The code in an answer, for templates: `{{ solution | code }}`.

/// The text of the first fenced block of an answer, without its fences; all of a text that has none. A block that the answer's
/// end closes counts.
pub(super) fn code(answer: &str) -> String {
    let mut lines = answer.lines();
    let Some(opening) = lines.find_map(fence) else { return answer.trim().to_owned() };
    let is_end =
        |line: &&str| line.trim_start().starts_with(&opening) && line.trim().trim_matches('`').is_empty();
    lines.take_while(|line| !is_end(line)).collect::<Vec<_>>().join("\n")
}

/// The backquotes with which a line opens a block.
fn fence(line: &str) -> Option<String> {
    let line = line.trim_start();
    let length = line.bytes().take_while(|byte| *byte == b'`').count();
    (length >= 3 && !line[length..].contains('`')).then(|| "`".repeat(length))
}

#[cfg(test)]
mod tests {
    use super::code;

    #[test]
    fn the_first_block_is_the_code() {
        let answer =
            "Here it is:\n```python\ndef f(x):\n    return \"`\" * x\n```\nand a use:\n```\nf(2)\n```";
        assert_eq!(code(answer), "def f(x):\n    return \"`\" * x");
        assert_eq!(code("  ````py\na = '''```'''\n```\n````"), "a = '''```'''\n```");
        assert_eq!(code("```python\nx = 1"), "x = 1");
        assert_eq!(code(" x = 1\n"), "x = 1");
        assert_eq!(code("Call ```f``` twice.\n"), "Call ```f``` twice.");
    }
}
