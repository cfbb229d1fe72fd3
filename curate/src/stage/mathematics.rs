//! Formulas of a text: between dollars or the brackets of LaTeX, and environments. Sums of money are not formulas.

/// The number of formulas.
pub(super) fn formulas(text: &str) -> usize {
    let brackets =
        text.matches("\\(").count() + text.matches("\\[").count() + text.matches("\\begin{").count();
    brackets + dollars(text)
}

fn dollars(text: &str) -> usize {
    let mut count = 0;
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('$') {
        let display = after.starts_with('$');
        let after = if display { &after[1..] } else { after };
        let close = if display { "$$" } else { "$" };
        match after.split_once(close) {
            Some((inside, remaining)) if is_formula(inside) => {
                count += 1;
                rest = remaining;
            }
            _ => rest = after,
        }
    }
    count
}

/// Whether what stands between two dollars is a formula: it begins and ends with something, is short, and is no price
/// followed by words.
fn is_formula(inside: &str) -> bool {
    let is_short = !inside.is_empty() && inside.len() <= 2000 && !inside.contains("\n\n");
    let is_tight = !inside.starts_with(char::is_whitespace) && !inside.ends_with(char::is_whitespace);
    let has_sign = inside.contains(['\\', '^', '_', '=', '<', '>', '+', '{']);
    let is_name = inside.chars().count() <= 3 && inside.chars().any(char::is_alphabetic);
    is_short && ((is_tight && (has_sign || is_name)) || inside.contains('\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_counted_and_prices_are_not() {
        assert_eq!(
            formulas("Let $x$ be \\(y\\) and $$a = b$$ or \\begin{align}z\\end{align}: $\\frac{1}{2}$."),
            5
        );
        assert_eq!(formulas("It costs $5 and then $7, or $12 = too much for $3"), 0);
        assert_eq!(formulas("no mathematics"), 0);
    }
}
