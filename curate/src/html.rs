//! HTML to text: what of it is the main content of a page (`content`), and its text with
//! mathematics as LaTeX (`text`).

pub(crate) mod content;

mod names;
mod survey;
mod text;

use crate::dom::{Dom, ROOT, Refused};
use crate::math::Delimiters;
use survey::Survey;

/// What is taken of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The main content: without navigation, advertisements, comments and the like.
    Main,
    /// Everything that is visible.
    All,
}

/// The text of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageText {
    /// Its title; empty without one.
    pub title: String,
    /// Its text: paragraphs with an empty line between them, items of lists with a bullet, rows of tables with tabs.
    pub text: String,
    /// The number of formulas that were recovered from markup.
    pub formulas: usize,
}

/// Why a page has no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// Its elements are nested too deeply, in number.
    Nested,
    /// It has too many nodes.
    Nodes,
}

/// Extracts the text of a page.
///
/// # Errors
/// Says why a page is refused: its structure would cost more than any page is worth.
pub fn extract(html: &str, content: Content) -> Result<PageText, Unreadable> {
    let dom = Dom::parse(html).map_err(|refused| match refused {
        Refused::TooDeep => Unreadable::Nested,
        Refused::TooManyNodes => Unreadable::Nodes,
    })?;
    let mut delimiters = Delimiters::default();
    for id in dom.descendants(ROOT).filter(|id| dom.name(*id) == "script") {
        if let Some(script) = dom.children(id).next() {
            delimiters.read_script(dom.raw(script));
        }
    }
    let title = dom.find(ROOT, "title").map(|title| dom.text(title)).unwrap_or_default();
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut survey = Survey::new(&dom);
    let tops = match content {
        Content::Main => content::main(&mut survey),
        Content::All => vec![survey.body],
    };
    let text = text::write(&survey, &tops);
    Ok(PageText { title, text: delimiters.normalized(text), formulas: survey.formulas.len() })
}
