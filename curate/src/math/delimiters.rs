//! The delimiters that a page declares for its formulas (MathJax 2 and 3, KaTeX's auto-render), and the ones of plugins:
//! formulas between unusual ones are rewritten to dollars, so that a reader of the text needs no configuration.

/// Pairs of delimiters that text keeps as it is.
const USUAL: [&str; 4] = ["$", "$$", "\\(", "\\["];

/// Pairs that need no declaration: shortcodes of WordPress plugins and the like.
const SHORTCODES: [(&str, &str); 4] =
    [("[latex]", "[/latex]"), ("[katex]", "[/katex]"), ("[math]", "[/math]"), ("[tex]", "[/tex]")];

/// What a page's formulas are between.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Delimiters {
    /// Opening, closing, and whether the formula stands by itself.
    pairs: Vec<(String, String, bool)>,
}

impl Delimiters {
    /// Reads a page's script; adds the pairs that are not usual.
    pub(crate) fn read_script(&mut self, script: &str) {
        if !["tex2jax", "inlineMath", "displayMath", "renderMathInElement", "delimiters"]
            .iter()
            .any(|name| script.contains(name))
        {
            return;
        }
        for (key, is_display) in [("inlineMath", false), ("displayMath", true)] {
            for (at, _) in script.match_indices(key) {
                self.read_pairs(&script[at + key.len()..], is_display);
            }
        }
        for (at, _) in script.match_indices("left:") {
            self.read_left_and_right(&script[at..]);
        }
    }

    /// `: [['a', 'b'], ["c", "d"]]`.
    fn read_pairs(&mut self, text: &str, is_display: bool) {
        let Some(list) = text.trim_start_matches(['"', '\'', ' ', ':', '\n', '\t', '\r']).strip_prefix('[')
        else {
            return;
        };
        let mut strings = Vec::new();
        let mut rest = list;
        let mut depth = 1;
        while depth > 0
            && let Some(first) = rest.chars().next()
        {
            match first {
                '[' => depth += 1,
                ']' => depth -= 1,
                '"' | '\'' => {
                    let Some((string, after)) = string(rest) else { return };
                    strings.push(string);
                    rest = after;
                    continue;
                }
                _ => {}
            }
            rest = &rest[first.len_utf8()..];
        }
        for pair in strings.chunks_exact(2) {
            self.add(&pair[0], &pair[1], is_display);
        }
    }

    /// `left: "a", right: "b", display: true`.
    fn read_left_and_right(&mut self, text: &str) {
        let entry = text.split('}').next().unwrap_or_default();
        let value = |key: &str| {
            let after = entry.split_once(key)?.1.trim_start();
            string(after).map(|(value, _)| value)
        };
        if let (Some(left), Some(right)) = (value("left:"), value("right:")) {
            self.add(&left, &right, entry.replace(' ', "").contains("display:true"));
        }
    }

    fn add(&mut self, open: &str, close: &str, is_display: bool) {
        let is_environment = open.starts_with("\\begin");
        let is_new = !self.pairs.iter().any(|(known, ..)| known == open);
        if open.len() > 1
            && !close.is_empty()
            && !is_environment
            && is_new
            && !USUAL.contains(&open)
            && self.pairs.len() < 16
        {
            self.pairs.push((open.to_owned(), close.to_owned(), is_display));
            // `$$$` begins with `$$`.
            self.pairs.sort_by_key(|(open, ..)| std::cmp::Reverse(open.len()));
        }
    }

    /// The text with formulas between dollars where the page has them between something unusual.
    pub(crate) fn normalized(&self, text: String) -> String {
        let shortcodes = SHORTCODES.iter().map(|(open, close)| (*open, *close, false));
        let declared =
            self.pairs.iter().map(|(open, close, is_display)| (open.as_str(), close.as_str(), *is_display));
        let mut text = text;
        for (open, close, is_display) in declared.chain(shortcodes) {
            if text.contains(open) {
                text = rewritten(&text, open, close, if is_display { "$$" } else { "$" });
            }
        }
        // WordPress writes `$latex x$`.
        if text.contains("$latex ") { text.replace("$latex ", "$") } else { text }
    }
}

fn rewritten(text: &str, open: &str, close: &str, dollars: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(open) {
        let Some((formula, remaining)) =
            after.split_once(close).filter(|(formula, _)| !formula.contains("\n\n"))
        else {
            written.push_str(before);
            written.push_str(open);
            rest = after;
            continue;
        };
        written.push_str(before);
        written.push_str(dollars);
        written.push_str(formula.trim());
        written.push_str(dollars);
        rest = remaining;
    }
    written.push_str(rest);
    written
}

/// A string of JavaScript at the beginning of the text, and what follows.
fn string(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    let mut value = String::new();
    let mut letters = text[1..].char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            letter if letter == quote => return Some((value, &text[at + 2..])),
            letter => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusual_delimiters_become_dollars() {
        let mut delimiters = Delimiters::default();
        delimiters.read_script(
            "MathJax.Hub.Config({tex2jax: {inlineMath: [['$','$'], ['\\\\(','\\\\)'], ['[[',']]']], displayMath: [[\"@@\", \"@@\"]]}})",
        );
        delimiters.read_script(
            "renderMathInElement(document.body, {delimiters: [{left: '<<', right: '>>', display: true}]})",
        );
        let text = "a [[x]] b @@ y @@ c <<z>> d $w$ e [latex]v[/latex] f $latex u$ g [[open".to_owned();
        assert_eq!(delimiters.normalized(text), "a $x$ b $$y$$ c $$z$$ d $w$ e $v$ f $u$ g [[open");
        assert_eq!(Delimiters::default().normalized("a [[x]]".to_owned()), "a [[x]]");
    }
}
