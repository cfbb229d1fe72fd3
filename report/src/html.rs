//! Small pieces of HTML. Arguments named `html` are inserted as they are; all others are text and are escaped.

use serde_json::{Map, Value};

/// Text as HTML shows it, inside an element or a quoted attribute. Control characters become their pictures: HTML drops
/// some of them, and a reader should see that they are there.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(picture(other)),
        }
    }
    escaped
}

/// The picture of a control character (Unicode block 2400), except of line feeds and tabs.
fn picture(letter: char) -> char {
    match letter {
        '\n' | '\t' => letter,
        '\0'..='\x1f' => char::from_u32(0x2400 + letter as u32).unwrap_or(letter),
        '\x7f' => '\u{2421}',
        other => other,
    }
}

/// A panel: a heading above its content.
pub fn panel(title: &str, html: &str) -> String {
    format!("<div class=\"panel\"><h3>{}</h3>\n{html}</div>\n", escape(title))
}

/// A quiet line of explanation; nothing for an empty text.
pub fn note(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<p class=\"note\">{}</p>\n", escape(text)) }
}

/// Names with values, one to a line.
pub fn facts(rows: &[(&str, String)]) -> String {
    let rows: String = rows
        .iter()
        .map(|(name, value)| format!("<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value)))
        .collect();
    format!("<dl class=\"facts\">{rows}</dl>")
}

/// The large figures at the top of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile<'a> {
    /// What it is.
    pub name: &'a str,
    /// The figure; a dash where it is not known.
    pub figure: Option<String>,
    /// What else there is to say, such as "at step 300".
    pub aside: String,
}

/// A row of large figures.
pub fn tiles(tiles: &[Tile<'_>]) -> String {
    let cells: String = tiles
        .iter()
        .map(|tile| {
            let figure = tile.figure.as_deref().unwrap_or("\u{2013}");
            format!(
                "<div><dt>{}</dt><dd>{}</dd><dd class=\"aside\">{}</dd></div>\n",
                escape(tile.name),
                escape(figure),
                escape(&tile.aside)
            )
        })
        .collect();
    format!("<dl class=\"tiles\">\n{cells}</dl>\n")
}

/// A panel with the settings of a JSON value, one to a row; a nested setting is named by its path, as in `optimizer.lr`.
/// Nothing for a value without settings.
pub fn settings(title: &str, value: &Value) -> String {
    let rows = flatten(value);
    if rows.is_empty() {
        return String::new();
    }
    let rows: String = rows
        .iter()
        .map(|(name, value)| {
            format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape(name), escape(value))
        })
        .collect();
    format!("<div class=\"panel settings\"><h3>{}</h3>\n<table>\n{rows}</table></div>\n", escape(title))
}

/// The leaves of an object with their paths, in its order.
fn flatten(value: &Value) -> Vec<(String, String)> {
    fn walk(path: &str, value: &Value, rows: &mut Vec<(String, String)>) {
        let inside = |inner: &Map<String, Value>, rows: &mut Vec<(String, String)>| {
            for (key, value) in inner {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(&path, value, rows);
            }
        };
        match value {
            Value::Object(inner) if !inner.is_empty() => inside(inner, rows),
            _ if path.is_empty() => {}
            Value::String(text) => rows.push((path.to_owned(), text.clone())),
            other => rows.push((path.to_owned(), other.to_string())),
        }
    }
    let mut rows = Vec::new();
    walk("", value, &mut rows);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HOSTILE: &str = "</p></script><script>alert(1)</script>\"'&\0\x1b\x7f\n";

    #[test]
    fn no_text_becomes_markup() {
        let escaped = "&lt;/p&gt;&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;\u{2400}\u{241b}\u{2421}\n";
        assert_eq!(escape(HOSTILE), escaped);
        assert_eq!(escape("a\0\r\n"), "a\u{2400}\u{240d}\n");
        let tile = Tile { name: HOSTILE, figure: Some(HOSTILE.to_owned()), aside: HOSTILE.to_owned() };
        let html = panel(HOSTILE, &facts(&[(HOSTILE, HOSTILE.to_owned())]))
            + &note(HOSTILE)
            + &tiles(&[tile])
            + &settings(HOSTILE, &json!({ HOSTILE: HOSTILE }));
        assert!(!html.contains("<script") && !html.contains("</p></"), "{html}");
        assert_eq!(html.matches(escaped).count(), 10);
    }

    #[test]
    fn nested_settings_are_named_by_their_path() {
        let value =
            json!({"seed": 7, "optimizer": {"lr": 1e-3, "betas": [0.9, 0.95]}, "none": {}, "name": "x"});
        let rows = flatten(&value);
        let rows: Vec<String> = rows.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(rows, ["seed=7", "optimizer.lr=0.001", "optimizer.betas=[0.9,0.95]", "none={}", "name=x"]);
        assert!(settings("empty", &json!({})).is_empty() && note("").is_empty());
    }
}
