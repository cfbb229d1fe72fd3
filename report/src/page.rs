//! The shell of a page: head, content security policy, style, body, script.

use crate::html::escape;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The base style: colors for light and dark screens, headings, panels, tables, bars and charts. What each class is for
/// is written in the sheet.
pub const STYLE: &str = include_str!("style.css");

/// A page that loads nothing.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The title, as text.
    pub title: &'a str,
    /// Style sheets in their order: [`STYLE`], where it is used, then the report's own.
    pub styles: &'a [&'a str],
    /// Scripts in their order, each without errors in strict mode; may be empty.
    pub scripts: &'a [&'a str],
    /// The HTML between `<body>` and `</body>`, without the scripts.
    pub body: &'a str,
}

impl Page<'_> {
    /// The whole document.
    pub fn render(&self) -> String {
        let (style, script) = (self.styles.concat(), self.scripts.concat());
        let script_element =
            if script.is_empty() { String::new() } else { format!("<script>{script}</script>\n") };
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>{style}</style>\n</head>\n<body>\n\
             {}{script_element}</body>\n</html>\n",
            policy(&style, &script),
            escape(self.title),
            self.body
        )
    }
}

/// What the page may do: apply its own style and run its own script. It may load nothing and connect to nothing.
fn policy(style: &str, script: &str) -> String {
    let script = if script.is_empty() { "'none'".to_owned() } else { hash_source(script) };
    format!(
        "default-src 'none'; style-src {}; script-src {script}; img-src data:; base-uri 'none'; form-action 'none'",
        hash_source(style)
    )
}

/// The source expression of a content security policy that permits an inline style or script with exactly this content
/// (Content Security Policy Level 3, section 2.3.1).
pub fn hash_source(content: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart;

    /// The text between two marks.
    fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
        text.split_once(start).and_then(|(_, rest)| rest.split_once(end)).map_or("", |(inside, _)| inside)
    }

    #[test]
    fn the_policy_permits_exactly_what_the_page_contains() {
        let styles = [STYLE, "b { color: red }"];
        let page = Page {
            title: "A <title>",
            styles: &styles,
            scripts: &["let a = 1;\n", "a;"],
            body: "<p>x</p>\n",
        };
        let page = page.render();
        for name in ["style", "script"] {
            let inside = between(&page, &format!("<{name}>"), &format!("</{name}>"));
            assert!(page.contains(&format!("{name}-src {}", hash_source(inside))), "{name}");
            assert_eq!(page.matches(&format!("<{name}")).count(), 1);
        }
        assert!(page.contains("<title>A &lt;title&gt;</title>") && page.contains("<p>x</p>\n<script>"));
        assert!(page.find("Content-Security-Policy") < page.find("<style"));
        assert!(!page.contains("unsafe"));
    }

    #[test]
    fn a_page_without_a_script_permits_none() {
        let page = Page { title: "", styles: &[""], scripts: &[], body: "" }.render();
        assert!(page.contains("script-src 'none'") && !page.contains("<script"), "{page}");
    }

    /// The example of the specification, section 8.5.
    #[test]
    fn hashes_are_those_browsers_compute() {
        let example = hash_source("alert('Hello, world.');");
        assert_eq!(example, "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='");
    }

    #[test]
    fn style_and_script_load_nothing() {
        let words = [
            "http:",
            "https:",
            "@import",
            "url(",
            "src=",
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "eval(",
            "document.write",
            "fetch(",
            "</s",
        ];
        for word in words {
            assert!(![STYLE, chart::SCRIPT].iter().any(|text| text.contains(word)), "{word}");
        }
    }
}
