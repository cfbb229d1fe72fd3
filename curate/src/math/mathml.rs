//! MathML to LaTeX: the presentation elements that pages use. The author's LaTeX is used where a page carries it; this is
//! for pages that carry MathML alone.

use super::symbols::latex_of;
use crate::dom::{Data, Dom, Id};

/// The LaTeX of a `math` element's children.
pub(super) fn latex(dom: &Dom, math: Id) -> String {
    tidy(&row(dom, math))
}

/// The LaTeX of what an element contains, one piece after another.
fn row(dom: &Dom, id: Id) -> String {
    let mut text = String::new();
    for child in dom.children(id) {
        append(&mut text, &piece(dom, child));
    }
    text
}

/// Appends LaTeX; a space keeps a command apart from the letter after it.
fn append(text: &mut String, piece: &str) {
    let ends_in_command = text.rfind('\\').is_some_and(|at| {
        text.len() > at + 1 && text[at + 1..].bytes().all(|byte| byte.is_ascii_alphabetic())
    });
    if ends_in_command && piece.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
        text.push(' ');
    }
    text.push_str(piece);
}

fn piece(dom: &Dom, id: Id) -> String {
    if matches!(dom.nodes[id as usize].data, Data::Text(_)) || dom.is_deep(id) {
        // White space between elements; text belongs into tokens.
        return dom.text(id).trim().to_owned();
    }
    let parts = || {
        let elements = dom.children(id).filter(|child| !dom.name(*child).is_empty());
        elements.map(|child| piece(dom, child)).collect::<Vec<_>>()
    };
    let part = |parts: &[String], at: usize| parts.get(at).cloned().unwrap_or_default();
    match dom.name(id) {
        "mi" => identifier(dom, id),
        "mn" => symbols(dom.text(id).trim()),
        "mo" => operator(dom.text(id).trim()),
        "mtext" | "ms" => match dom.text(id).replace(['\u{a0}', '\n'], " ") {
            text if text.trim().is_empty() => " ".repeat(usize::from(!text.is_empty())),
            text => format!("\\text{{{text}}}"),
        },
        "mspace" => "\\ ".to_owned(),
        "mfrac" => {
            let parts = parts();
            match dom.attribute(id, "linethickness") {
                Some("0" | "0px" | "0pt") => format!("{{{} \\atop {}}}", part(&parts, 0), part(&parts, 1)),
                _ => format!("\\frac{{{}}}{{{}}}", part(&parts, 0), part(&parts, 1)),
            }
        }
        "msqrt" => format!("\\sqrt{{{}}}", row(dom, id)),
        "mroot" => {
            let parts = parts();
            format!("\\sqrt[{}]{{{}}}", part(&parts, 1), part(&parts, 0))
        }
        "msub" | "msup" | "msubsup" => scripts(dom.name(id), &parts()),
        "munder" | "mover" | "munderover" => limits(dom.name(id), &parts()),
        "mmultiscripts" => multiscripts(dom, id),
        "mtable" => table(dom, id),
        "mfenced" => fenced(dom, id, &parts()),
        "menclose" => match dom.attribute(id, "notation") {
            Some(notation) if notation.contains("box") => format!("\\boxed{{{}}}", row(dom, id)),
            Some(notation) if notation.contains("strike") => format!("\\cancel{{{}}}", row(dom, id)),
            Some("radical") => format!("\\sqrt{{{}}}", row(dom, id)),
            Some("top") => format!("\\overline{{{}}}", row(dom, id)),
            _ => row(dom, id),
        },
        "mphantom" | "annotation" | "annotation-xml" | "none" | "mprescripts" | "script" => String::new(),
        "semantics" => dom
            .children(id)
            .find(|child| !dom.name(*child).is_empty())
            .map_or(String::new(), |child| piece(dom, child)),
        // mrow, mstyle, mpadded, merror, maction, math and what is not known.
        _ => row(dom, id),
    }
}

fn identifier(dom: &Dom, id: Id) -> String {
    let text = dom.text(id);
    let text = text.trim();
    let variant = match dom.attribute(id, "mathvariant") {
        Some("bold" | "bold-italic") => "\\mathbf",
        Some("double-struck") => "\\mathbb",
        Some("script" | "bold-script") => "\\mathcal",
        Some("fraktur" | "bold-fraktur") => "\\mathfrak",
        Some("sans-serif") => "\\mathsf",
        Some("monospace") => "\\mathtt",
        Some("normal") if text.is_ascii() && text.len() == 1 => "\\mathrm",
        _ => "",
    };
    if !variant.is_empty() {
        return format!("{variant}{{{}}}", symbols(text));
    }
    if text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return function(text);
    }
    symbols(text)
}

/// A name of several letters: a function that LaTeX knows, or an operator's name.
fn function(name: &str) -> String {
    const KNOWN: [&str; 32] = [
        "arccos", "arcsin", "arctan", "arg", "cos", "cosh", "cot", "coth", "csc", "deg", "det", "dim", "exp",
        "gcd", "hom", "inf", "ker", "lg", "lim", "liminf", "limsup", "ln", "log", "max", "min", "Pr", "sec",
        "sin", "sinh", "sup", "tan", "tanh",
    ];
    if KNOWN.contains(&name) { format!("\\{name} ") } else { format!("\\operatorname{{{name}}}") }
}

fn operator(text: &str) -> String {
    if text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return function(text);
    }
    match text {
        "{" => "\\{".to_owned(),
        "}" => "\\}".to_owned(),
        other => symbols(other),
    }
}

/// Every character as LaTeX writes it.
fn symbols(text: &str) -> String {
    let mut latex = String::new();
    for letter in text.chars() {
        match letter {
            // Invisible operators: function application, times, separator, plus.
            '\u{2061}'..='\u{2064}' | '\u{200b}' => {}
            '\u{a0}' | '\u{2009}' | '\u{205f}' => latex.push(' '),
            '%' | '#' | '&' | '$' | '_' => latex.extend(['\\', letter]),
            letter => match latex_of(letter) {
                Some(command) => append(&mut latex, command),
                None => append(&mut latex, letter.encode_utf8(&mut [0; 4])),
            },
        }
    }
    latex
}

fn scripts(name: &str, parts: &[String]) -> String {
    let part = |at: usize| parts.get(at).map_or("", String::as_str);
    let base = group_base(part(0));
    match name {
        "msub" => format!("{base}_{}", group(part(1))),
        "msup" if part(1) == "\\prime" || part(1) == "'" => format!("{base}'"),
        "msup" => format!("{base}^{}", group(part(1))),
        _ => format!("{base}_{}^{}", group(part(1)), group(part(2))),
    }
}

/// A base of several parts needs braces.
fn group_base(base: &str) -> String {
    let base = base.trim();
    let is_simple = base.chars().count() <= 1
        || (base.starts_with('\\') && !base.contains(['^', '_', ' ']))
        || (base.starts_with('(') && base.ends_with(')'));
    if is_simple { base.to_owned() } else { format!("{{{base}}}") }
}

fn group(script: &str) -> String {
    let script = script.trim();
    if script.chars().count() == 1 { script.to_owned() } else { format!("{{{script}}}") }
}

/// Accents over and under, and limits of sums.
fn limits(name: &str, parts: &[String]) -> String {
    let part = |at: usize| parts.get(at).map_or("", |part| part.trim());
    let base = part(0);
    let accent = match (name, part(1)) {
        ("mover", "\u{af}" | "\u{203e}" | "\\overline{}" | "-" | "_" | "\\_" | "\u{2015}" | "\\bar{}") => {
            "\\overline"
        }
        ("mover", "^" | "\u{2c6}" | "\u{302}") => "\\hat",
        ("mover", "~" | "\u{2dc}" | "\u{303}" | "\\sim") => "\\tilde",
        ("mover", "\\to" | "\\rightarrow" | "\u{20d7}") => "\\vec",
        ("mover", "." | "\u{2d9}") => "\\dot",
        ("mover", ".." | "\u{a8}") => "\\ddot",
        ("mover", "\u{23de}") => "\\overbrace",
        ("munder", "\u{23df}") => "\\underbrace",
        ("munder", "_" | "\\_" | "\u{332}" | "\u{af}") => "\\underline",
        _ => "",
    };
    if !accent.is_empty() {
        return format!("{accent}{{{base}}}");
    }
    let has_limits = base.starts_with('\\') || base.starts_with("{\\");
    match name {
        "munder" if has_limits => format!("{base}_{}", group(part(1))),
        "mover" if has_limits => format!("{base}^{}", group(part(1))),
        "munderover" => format!("{base}_{}^{}", group(part(1)), group(part(2))),
        "munder" => format!("\\underset{{{}}}{{{base}}}", part(1)),
        _ => format!("\\overset{{{}}}{{{base}}}", part(1)),
    }
}

fn multiscripts(dom: &Dom, id: Id) -> String {
    let elements: Vec<Id> = dom.children(id).filter(|child| !dom.name(*child).is_empty()).collect();
    let Some((base, rest)) = elements.split_first() else { return String::new() };
    let split = rest.iter().position(|child| dom.name(*child) == "mprescripts").unwrap_or(rest.len());
    let pairs = |scripts: &[Id]| {
        let mut text = String::new();
        for pair in scripts.chunks(2) {
            for (sign, script) in ["_", "^"].iter().zip(pair) {
                let script = piece(dom, *script);
                if !script.trim().is_empty() {
                    text.push_str(&format!("{sign}{}", group(&script)));
                }
            }
        }
        text
    };
    let before = pairs(rest.get(split + 1..).unwrap_or_default());
    let before = if before.is_empty() { before } else { format!("{{}}{before}") };
    format!("{before}{}{}", group_base(&piece(dom, *base)), pairs(&rest[..split]))
}

fn table(dom: &Dom, id: Id) -> String {
    let named = |id: Id, names: &'static [&'static str]| {
        dom.children(id).filter(move |child| names.contains(&dom.name(*child)))
    };
    let rows: Vec<Vec<String>> = named(id, &["mtr", "mlabeledtr"])
        .map(|line| named(line, &["mtd"]).map(|cell| tidy(&row(dom, cell))).collect())
        .collect();
    let lines: Vec<String> = rows.iter().map(|cells| cells.join(" & ")).collect();
    // Between fences it is a matrix, and otherwise lines that are aligned.
    let is_aligned = dom.attribute(id, "columnalign").is_some_and(|align| align.starts_with("right left"));
    let environment = if is_aligned { "aligned" } else { "matrix" };
    format!("\\begin{{{environment}}} {} \\end{{{environment}}}", lines.join(" \\\\ "))
}

fn fenced(dom: &Dom, id: Id, parts: &[String]) -> String {
    let fence = |name: &str, usual: &str| operator(dom.attribute(id, name).unwrap_or(usual));
    let (open, close) = (fence("open", "("), fence("close", ")"));
    let separators: Vec<char> =
        dom.attribute(id, "separators").unwrap_or(",").chars().filter(|sign| !sign.is_whitespace()).collect();
    let mut inside = String::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0
            && let Some(sign) = separators.get(at - 1).or(separators.last())
        {
            inside.push(*sign);
        }
        inside.push_str(part);
    }
    let delimiter = |fence: String| if fence.is_empty() { ".".to_owned() } else { fence };
    format!("\\left{} {inside} \\right{}", delimiter(open), delimiter(close))
}

/// One space where there were several.
fn tidy(latex: &str) -> String {
    latex.split_whitespace().collect::<Vec<_>>().join(" ")
}
