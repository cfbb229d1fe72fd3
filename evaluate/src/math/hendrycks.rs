//! The normalization of the MATH data set's own code (Hendrycks et al. 2021), which lm-evaluation-harness's
//! `hendrycks_math` applies.

/// The normalized answer; `None` where the published code fails, and answers are then compared as they are.
pub(crate) fn normalize(answer: &str) -> Option<String> {
    let mut text = answer.to_owned();
    for (before, after) in [
        ("\n", ""),
        ("\\!", ""),
        ("\\\\", "\\"),
        ("tfrac", "frac"),
        ("dfrac", "frac"),
        ("\\left", ""),
        ("\\right", ""),
        ("^{\\circ}", ""),
        ("^\\circ", ""),
        ("\\$", ""),
    ] {
        text = text.replace(before, after);
    }
    text = without_unit(text)?;
    for (before, after) in [("\\%", ""), (" .", " 0."), ("{.", "{0.")] {
        text = text.replace(before, after);
    }
    if text.starts_with('.') {
        text.insert(0, '0');
    }
    // `k = 5`, but not `x + y = 5`.
    if let Some((name, value)) = text.split_once('=')
        && !value.contains('=')
        && name.chars().count() <= 2
    {
        text = value.to_owned();
    }
    text = with_braced_roots(&text)?.replace(' ', "");
    text = with_braced_fractions(&text)?;
    if text == "0.5" {
        return Some("\\frac{1}{2}".to_owned());
    }
    slash_as_fraction(text)
}

/// Text from `\text{ ` on is a unit.
fn without_unit(text: String) -> Option<String> {
    match text.split("\\text{ ").collect::<Vec<_>>()[..] {
        [_] => Some(text),
        [value, _] => Some(value.to_owned()),
        _ => None,
    }
}

/// `\sqrt3` as `\sqrt{3}`.
fn with_braced_roots(text: &str) -> Option<String> {
    let mut parts = text.split("\\sqrt");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let first = part.chars().next()?;
        match first {
            '{' => result.push_str(&format!("\\sqrt{part}")),
            _ => result.push_str(&format!("\\sqrt{{{first}}}{}", &part[first.len_utf8()..])),
        }
    }
    Some(result)
}

/// `\frac12` as `\frac{1}{2}`. A fraction without a second part leaves the whole text as it is.
fn with_braced_fractions(text: &str) -> Option<String> {
    let mut parts = text.split("\\frac");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        let first = letters.next()?;
        if first == '{' {
            result.push_str(&format!("\\frac{part}"));
            continue;
        }
        let Some(second) = letters.next() else { return Some(text.to_owned()) };
        let rest = letters.as_str();
        match second {
            '{' => result.push_str(&format!("\\frac{{{first}}}{{{rest}")),
            _ => result.push_str(&format!("\\frac{{{first}}}{{{second}}}{rest}")),
        }
    }
    Some(result)
}

/// `3/4` as `\frac{3}{4}`. What is not a number fails in the published code.
fn slash_as_fraction(text: String) -> Option<String> {
    let [above, below] = text.split('/').collect::<Vec<_>>()[..] else { return Some(text) };
    let (above, below) = (integer(above)?, integer(below)?);
    if text == format!("{above}/{below}") {
        return Some(format!("\\frac{{{above}}}{{{below}}}"));
    }
    Some(text)
}

/// Python's `int`, as text: digits with a sign, white space around them and single underscores between them.
fn integer(text: &str) -> Option<String> {
    let text = crate::task::python::strip(text);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let is_number = !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
        && !digits.starts_with('_')
        && !digits.ends_with('_')
        && !digits.contains("__");
    let digits = digits.replace('_', "");
    let digits = digits.trim_start_matches('0');
    is_number.then(|| match digits {
        "" => "0".to_owned(),
        _ => format!("{sign}{digits}"),
    })
}
