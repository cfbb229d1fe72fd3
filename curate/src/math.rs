//! Mathematics of a page as LaTeX: what an element stands for, in each of the ways in which pages write formulas. What is
//! written twice (a rendering beside its source) is returned once.

mod address;
mod asciimath;
mod delimiters;
mod mathml;
mod symbols;

use crate::dom::{Data, Dom, Id, NONE, ROOT};

pub(crate) use delimiters::Delimiters;

/// A formula.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Formula {
    latex: String,
    is_display: bool,
}

/// What an element is to the text of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A formula, in place of all that the element contains.
    Formula(Formula),
    /// The rendering of a formula whose source is beside it.
    Rendering,
}

impl Formula {
    fn new(latex: &str, is_display: bool) -> Option<Self> {
        let latex = cleaned(latex);
        (!latex.is_empty()).then(|| Self { latex: latex.to_owned(), is_display })
    }

    /// Whether it stands on lines of its own.
    pub(crate) fn is_display(&self) -> bool {
        self.is_display
    }

    /// The formula between dollars, or between the brackets of LaTeX where it contains a dollar itself.
    pub(crate) fn delimited(&self) -> String {
        let Self { latex, is_display } = self;
        let has_dollar = latex.replace("\\$", "").contains('$');
        match (has_dollar, is_display) {
            (false, false) => format!("${latex}$"),
            (false, true) => format!("$${latex}$$"),
            (true, false) => format!("\\({latex}\\)"),
            (true, true) => format!("\\[{latex}\\]"),
        }
    }
}

/// Takes delimiters and wrappers off that say nothing about the formula.
fn cleaned(latex: &str) -> &str {
    let mut latex = latex.trim();
    for (open, close) in [("$$", "$$"), ("$", "$"), ("\\[", "\\]"), ("\\(", "\\)")] {
        if let Some(inside) = latex.strip_prefix(open).and_then(|latex| latex.strip_suffix(close))
            && !inside.contains(open)
        {
            latex = inside.trim();
            break;
        }
    }
    for prefix in ["{\\displaystyle", "{\\textstyle"] {
        if let Some(inside) = latex.strip_prefix(prefix).and_then(|latex| latex.strip_suffix('}')) {
            latex = inside.trim();
        }
    }
    for prefix in ["\\displaystyle ", "latex "] {
        latex = latex.strip_prefix(prefix).unwrap_or(latex).trim_start();
    }
    latex
}

/// Classes of what MathJax 2 renders beside its sources.
const RENDERED: [&str; 12] = [
    "MathJax_Preview",
    "MathJax",
    "MathJax_Display",
    "MathJax_SVG",
    "MathJax_SVG_Display",
    "MathJax_CHTML",
    "MathJax_PHTML",
    "MathJax_PlainSource",
    "mjx-chtml",
    "MJXc-display",
    "MathJax_MathML",
    "MathJax_Error",
];

/// Returns what an element is; `None` for one that is no mathematics.
pub(crate) fn find(dom: &Dom, id: Id) -> Option<Found> {
    let formula = |latex: &str, is_display: bool| Formula::new(latex, is_display).map(Found::Formula);
    match dom.name(id) {
        "math" => return from_math(dom, id).map(Found::Formula),
        "script" => return from_script(dom, id),
        "img" => return from_image(dom, id),
        "mjx-container" => return from_container(dom, id),
        "merror" => return formula(&dom.text(id), false),
        "" | "html" | "head" | "body" => return None,
        _ => {}
    }
    let Data::Element { attributes, .. } = &dom.nodes[id as usize].data else { return None };
    let mut class = "";
    for attribute in attributes {
        match &*attribute.name.local {
            "class" => class = &attribute.value,
            "data-tex" | "data-latex" => return formula(&attribute.value, false),
            "data-expr" if dom.has_class(id, "tex") => return formula(&attribute.value, false),
            _ => {}
        }
    }
    // Nearly all elements end here.
    if !["ath", "tex", "mjx", "MJX", "ql-f", "mwe"].iter().any(|part| class.contains(part)) {
        return None;
    }
    let has = |name: &str| class.split_ascii_whitespace().any(|class| class == name);
    let inside = |is_display: bool| {
        let math = dom.find(id, "math")?;
        from_math(dom, math).map(|formula| {
            Found::Formula(Formula { is_display: is_display || formula.is_display, ..formula })
        })
    };
    if has("katex-display") || has("katex") {
        return inside(has("katex-display"));
    }
    if has("katex-error") || has("wp-block-katex-display-block") || has("katex-eq") {
        let is_display =
            has("wp-block-katex-display-block") || dom.attribute(id, "data-katex-display") == Some("true");
        return formula(&dom.text(id), is_display);
    }
    if has("ql-formula") {
        return formula(dom.attribute(id, "data-value")?, false);
    }
    if has("mwe-math-element") {
        let image = || from_image(dom, dom.find(id, "img")?);
        return inside(class.contains("display") || class.contains("block")).or_else(image);
    }
    if RENDERED.iter().any(|name| has(name)) {
        return from_rendering(dom, id);
    }
    if has("texerror") || has("mw-math-error") {
        let text = dom.text(id);
        return formula(text.rsplit_once("): ").map_or(text.as_str(), |(_, source)| source), false);
    }
    if has("math") && (has("inline") || has("display")) {
        return from_pandoc(dom, id, has("display"));
    }
    None
}

/// LaTeX that the page carries in an annotation or an attribute, otherwise that of the elements.
fn from_math(dom: &Dom, id: Id) -> Option<Formula> {
    let is_display =
        dom.attribute(id, "display") == Some("block") || dom.attribute(id, "mode") == Some("display");
    let annotation = dom.descendants(id).find(|inner| {
        dom.name(*inner) == "annotation"
            && dom
                .attribute(*inner, "encoding")
                .is_some_and(|encoding| encoding.to_ascii_lowercase().contains("tex"))
    });
    let written = annotation.map(|annotation| dom.text(annotation));
    let written = written.or_else(|| dom.attribute(id, "alttext").map(str::to_owned));
    let written = written.filter(|latex| !latex.trim().is_empty());
    Formula::new(&written.unwrap_or_else(|| mathml::latex(dom, id)), is_display)
}

/// The sources that MathJax 2 reads.
fn from_script(dom: &Dom, id: Id) -> Option<Found> {
    let kind = dom.attribute(id, "type")?.to_ascii_lowercase();
    let is_display = kind.replace(' ', "").contains("mode=display");
    let text = dom.text(id);
    // What a page on XHTML's terms puts around its scripts.
    let text = text
        .trim()
        .trim_start_matches("<![CDATA[")
        .trim_end_matches("]]>")
        .trim_start_matches("% <![CDATA[")
        .trim_end_matches("% ");
    if kind.starts_with("math/tex") || kind.starts_with("math/latex") {
        Formula::new(text, is_display).map(Found::Formula)
    } else if kind.starts_with("math/asciimath") {
        Formula::new(&asciimath::latex(text), is_display).map(Found::Formula)
    } else if kind.starts_with("math/mml") {
        from_markup(text).map(Found::Formula)
    } else {
        None
    }
}

/// A formula from MathML that is text in the page.
fn from_markup(markup: &str) -> Option<Formula> {
    let dom = Dom::parse(markup).ok()?;
    from_math(&dom, dom.find(ROOT, "math")?)
}

/// MathJax 3 and 4: the source, the assistive MathML, or what is read aloud.
fn from_container(dom: &Dom, id: Id) -> Option<Found> {
    let is_display = dom.attribute(id, "display") == Some("true");
    let source = |id: Id| dom.attribute(id, "data-latex").filter(|latex| !latex.is_empty());
    let written = source(id).or_else(|| dom.children(id).find_map(source));
    if let Some(latex) = written {
        return Formula::new(latex, is_display).map(Found::Formula);
    }
    let math = dom.find(id, "math").and_then(|math| from_math(dom, math));
    Some(math.map_or(Found::Rendering, |formula| {
        Found::Formula(Formula { is_display: is_display || formula.is_display, ..formula })
    }))
}

/// MathJax 2: the source is in a script after the rendering, or in an attribute or in MathML within it.
fn from_rendering(dom: &Dom, id: Id) -> Option<Found> {
    let mut next = dom.nodes[id as usize].next;
    while next != NONE {
        let is_source = dom.attribute(next, "type").is_some_and(|kind| kind.starts_with("math/"));
        if dom.name(next) == "script" && is_source {
            return Some(Found::Rendering);
        }
        let is_blank = matches!(&dom.nodes[next as usize].data, Data::Text(text) if text.trim().is_empty());
        let is_rendering = RENDERED.iter().any(|class| dom.has_class(next, class));
        if !is_blank && !is_rendering {
            break;
        }
        next = dom.nodes[next as usize].next;
    }
    let is_display = dom.class(id).contains("isplay");
    let attribute = |id: Id| dom.attribute(id, "data-mathml");
    let markup = attribute(id).or_else(|| dom.descendants(id).find_map(attribute)).and_then(from_markup);
    let formula = markup.or_else(|| from_math(dom, dom.find(id, "math")?))?;
    Some(Found::Formula(Formula { is_display: is_display || formula.is_display, ..formula }))
}

/// The source beside or in the address of an image of a formula.
fn from_image(dom: &Dom, id: Id) -> Option<Found> {
    let source = ["src", "data-src", "data-lazy-src"]
        .iter()
        .find_map(|name| dom.attribute(id, name).and_then(address::latex));
    if let Some(latex) = source {
        return Formula::new(&latex, false).map(Found::Formula);
    }
    let class = dom.class(id);
    let is_formula = class.split_ascii_whitespace().any(|name| {
        matches!(name, "latex" | "tex" | "math" | "Math" | "equation" | "mathImg" | "ee_img" | "tex-image")
            || name.starts_with("mwe-math")
            || name.starts_with("mathtex")
            || name.starts_with("latex-")
    });
    let alt = dom.attribute(id, "alt").or_else(|| dom.attribute(id, "title"))?;
    if !is_formula && !dom.attribute(id, "src").is_some_and(address::is_formula) {
        return None;
    }
    Formula::new(alt, class.contains("display")).map(Found::Formula)
}

/// `span.math.inline` and `div.math.display`: a source between delimiters is text as it is; a bare one gets them.
fn from_pandoc(dom: &Dom, id: Id, is_display: bool) -> Option<Found> {
    let is_text = dom.children(id).all(|child| matches!(dom.nodes[child as usize].data, Data::Text(_)));
    let text = dom.text(id);
    let is_delimited = ["\\(", "\\[", "$"].iter().any(|open| text.trim_start().starts_with(open));
    if !is_text || is_delimited || !text.contains(['\\', '^', '_', '=', '{']) {
        return None;
    }
    Formula::new(&text, is_display).map(Found::Formula)
}

#[cfg(test)]
mod tests;
