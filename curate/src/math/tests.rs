//! Every way in which pages write formulas, on pages made around a known formula: recovered once, as it was written.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use crate::html::{Content, extract};

/// What each way is called, its markup around `LATEX` and the formula as the text has it.
const FORMULA: &str = "\\frac{a}{b}+\\sqrt{x_1}";

fn encoded(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}

const PRESENTATION: &str =
    "<mfrac><mi>a</mi><mi>b</mi></mfrac><mo>+</mo><msqrt><msub><mi>x</mi><mn>1</mn></msub></msqrt>";

/// The ways that wrap one formula; all but those marked display it within the line.
#[allow(clippy::too_many_lines, reason = "one list")]
fn ways() -> Vec<(&'static str, String, bool)> {
    let f = FORMULA;
    let e = encoded(f);
    let annotated = format!(
        "<math><semantics><mrow>{PRESENTATION}</mrow><annotation encoding=\"application/x-tex\">{f}</annotation></semantics></math>"
    );
    let glyphs = "<span class=\"vlist\">a b + x 1 rendered glyphs</span>";
    let mml = format!("<math>{PRESENTATION}</math>").replace('"', "&quot;").replace('<', "&lt;");
    vec![
        ("MathML with an annotation", annotated.clone(), false),
        ("MathML with alttext", format!("<math alttext=\"{f}\">{PRESENTATION}</math>"), false),
        ("bare MathML", format!("<math>{PRESENTATION}</math>"), false),
        ("bare MathML, display", format!("<math display=\"block\">{PRESENTATION}</math>"), true),
        (
            "KaTeX",
            format!(
                "<span class=\"katex\"><span class=\"katex-mathml\">{annotated}</span><span class=\"katex-html\" aria-hidden=\"true\">{glyphs}</span></span>"
            ),
            false,
        ),
        (
            "KaTeX, display",
            format!(
                "<span class=\"katex-display\"><span class=\"katex\"><span class=\"katex-mathml\">{annotated}</span><span class=\"katex-html\">{glyphs}</span></span></span>"
            ),
            true,
        ),
        ("KaTeX's errors", format!("<span class=\"katex-error\" title=\"ParseError\">{f}</span>"), false),
        ("MathJax 2 script", format!("<script type=\"math/tex\">{f}</script>"), false),
        ("MathJax 2 script, display", format!("<script type=\"math/tex; mode=display\">{f}</script>"), true),
        (
            "MathJax 2 rendered",
            format!(
                "<span class=\"MathJax_Preview\">preview</span><span class=\"MathJax\" data-mathml=\"{mml}\">{glyphs}</span><script type=\"math/tex\">{f}</script>"
            ),
            false,
        ),
        (
            "MathJax 2 rendered without a source",
            format!("<span class=\"MathJax_SVG\" data-mathml=\"{mml}\">{glyphs}</span>"),
            false,
        ),
        (
            "MathJax 2 MathML script",
            format!("<script type=\"math/mml\"><math>{PRESENTATION}</math></script>"),
            false,
        ),
        (
            "MathJax 3",
            format!(
                "<mjx-container class=\"MathJax\"><mjx-math>{glyphs}</mjx-math><mjx-assistive-mml><math>{PRESENTATION}</math></mjx-assistive-mml></mjx-container>"
            ),
            false,
        ),
        (
            "MathJax 4",
            format!(
                "<mjx-container data-latex=\"{f}\" display=\"true\"><mjx-math>{glyphs}</mjx-math></mjx-container>"
            ),
            true,
        ),
        ("ASCIIMath script", "<script type=\"math/asciimath\">a/b+sqrt(x_1)</script>".to_owned(), false),
        ("image alt", format!("<img class=\"latex\" src=\"/a.png\" alt=\"{f}\">"), false),
        ("image alt with dollars", format!("<img class=\"tex\" src=\"/a.png\" alt=\"${f}$\">"), false),
        ("CodeCogs", format!("<img src=\"https://latex.codecogs.com/gif.latex?{e}\" title=\"{f}\">"), false),
        (
            "latex.php",
            format!(
                "<img src=\"https://s0.wp.com/latex.php?latex={e}&amp;bg=ffffff&amp;s=0\" alt=\"{f}\" class=\"latex\">"
            ),
            false,
        ),
        ("mimeTeX", format!("<img src=\"/cgi-bin/mimetex.cgi?{e}\">"), false),
        ("MathTeX", format!("<img src=\"/cgi-bin/mathtex.cgi?{e}\">"), false),
        (
            "lazy image",
            format!("<img src=\"data:,\" data-src=\"//latex.codecogs.com/svg.image?{e}\">"),
            false,
        ),
        (
            "Wikipedia",
            format!(
                "<span class=\"mwe-math-element\"><span class=\"mwe-math-mathml-inline mwe-math-mathml-a11y\" style=\"display: none;\"><math alttext=\"{{\\displaystyle {f}}}\">{PRESENTATION}</math></span><img src=\"/math/render/svg/1\" class=\"mwe-math-fallback-image-inline\" alt=\"{{\\displaystyle {f}}}\"></span>"
            ),
            false,
        ),
        (
            "Wikipedia's errors",
            format!("<strong class=\"error texerror\">Failed to parse (unknown function): {f}</strong>"),
            false,
        ),
        ("data-expr", format!("<span class=\"tex\" data-expr=\"{f}\">{glyphs}</span>"), false),
        ("data-tex", format!("<span class=\"ztext-math\" data-tex=\"{f}\">{glyphs}</span>"), false),
        ("Quill", format!("<span class=\"ql-formula\" data-value=\"{f}\">{glyphs}</span>"), false),
        (
            "WordPress block",
            format!(
                "<div class=\"wp-block-katex-display-block katex-eq\" data-katex-display=\"true\">{f}</div>"
            ),
            true,
        ),
        (
            "WordPress inline",
            format!("<span class=\"katex-eq\" data-katex-display=\"false\">{f}</span>"),
            false,
        ),
        ("Pandoc", format!("<span class=\"math inline\">{f}</span>"), false),
        ("WordPress shortcode", format!("[latex]{f}[/latex]"), false),
        ("WordPress dollars", format!("$latex {f}$"), false),
        ("dollars", format!("<span class=\"math-container\">${f}$</span>"), false),
        ("double dollars", format!("<span class=\"math-container\">$${f}$$</span>"), true),
    ]
}

fn page(head: &str, markup: &str) -> String {
    let prose = "The value that we are looking for, as was shown in the chapter before, is found by the rule of signs.";
    format!(
        "<html><head><title>A page</title>{head}</head><body><div id=\"nav\"><a href=\"/\">Home</a></div><article><p>{prose} Before {markup} after. {prose}</p><p>{prose}</p></article></body></html>"
    )
}

#[test]
fn every_way_of_writing_is_recovered_once() {
    for (name, markup, is_display) in ways() {
        let text = extract(&page("", &markup), Content::Main).unwrap().text;
        let dollars = if is_display { "$$" } else { "$" };
        let expected = format!("{dollars}{FORMULA}{dollars}");
        // ASCIIMath always braces scripts.
        let text = text.replace("x_{1}", "x_1");
        assert!(text.contains(&expected), "{name}: {text}");
        assert_eq!(text.matches("\\frac").count(), 1, "{name}: {text}");
        for printed_twice in ["glyphs", "preview", "rendered", "annotation"] {
            assert!(!text.contains(printed_twice), "{name}: {text}");
        }
        assert!(
            text.contains("Before") && text.contains("after.") && !text.contains("Home"),
            "{name}: {text}"
        );
    }
}

#[test]
fn delimiters_and_environments_of_the_text_stay() {
    for kept in [
        "\\(a^2+b^2\\)",
        "\\[a^2+b^2\\]",
        "$a^2$",
        "\\begin{align} a &= b \\\\ c &= d \\end{align}",
        "\\begin{equation} x = 1 \\end{equation}",
    ] {
        let text = extract(&page("", &kept.replace('&', "&amp;")), Content::Main).unwrap().text;
        assert!(text.contains(kept), "{text}");
    }
    let script = "<script>MathJax = {tex: {inlineMath: [['@', '@'], ['[[', ']]']], displayMath: [['@@', '@@']]}};</script>";
    let text = extract(&page(script, "[[x+1]] and @@y+2@@"), Content::Main).unwrap().text;
    assert!(text.contains("Before $x+1$ and $$y+2$$ after"), "{text}");
}

#[test]
fn mathml_becomes_latex() {
    let cases = [
        (
            "<msup><mi>e</mi><mrow><mi>i</mi><mi>&pi;</mi></mrow></msup><mo>=</mo><mo>&minus;</mo><mn>1</mn>",
            "e^{i\\pi}=-1",
        ),
        (
            "<munderover><mo>&sum;</mo><mrow><mi>i</mi><mo>=</mo><mn>0</mn></mrow><mi>n</mi></munderover><mi>i</mi>",
            "\\sum_{i=0}^n i",
        ),
        ("<mi>sin</mi><mo>&#8289;</mo><mi>x</mi>", "\\sin x"),
        ("<mroot><mi>x</mi><mn>3</mn></mroot>", "\\sqrt[3]{x}"),
        ("<mover><mi>x</mi><mo>&#175;</mo></mover>", "\\overline{x}"),
        ("<mfenced><mi>a</mi><mi>b</mi></mfenced>", "\\left( a,b \\right)"),
        (
            "<mo>[</mo><mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>0</mn></mtd></mtr><mtr><mtd><mn>0</mn></mtd><mtd><mn>1</mn></mtd></mtr></mtable><mo>]</mo>",
            "[\\begin{matrix} 1 & 0 \\\\ 0 & 1 \\end{matrix}]",
        ),
        (
            "<mmultiscripts><mi>C</mi><mi>k</mi><none/><mprescripts/><none/><mi>n</mi></mmultiscripts>",
            "{}^n C_k",
        ),
        (
            "<mi mathvariant=\"double-struck\">R</mi><mo>&isin;</mo><mi>&alpha;</mi><mi>b</mi>",
            "\\mathbb{R}\\in\\alpha b",
        ),
        ("<mn>50</mn><mo>%</mo><mtext>of all</mtext>", "50\\%\\text{of all}"),
        (
            "<msubsup><mi>x</mi><mn>1</mn><mn>2</mn></msubsup><mo>&le;</mo><msup><mi>f</mi><mo>&#8242;</mo></msup>",
            "x_1^2\\leq f'",
        ),
    ];
    for (markup, expected) in cases {
        let text = extract(&format!("<p>A <math>{markup}</math> B"), Content::All).unwrap().text;
        let squeezed = |text: &str| text.replace(' ', "");
        assert_eq!(squeezed(&text), squeezed(&format!("A ${expected}$ B")), "{markup}");
    }
}

#[test]
fn deep_formulas_do_not_exhaust_the_stack() {
    let deep = format!("<p>A <math>{}<mi>x</mi></math> B", "<mrow>".repeat(490));
    let text = std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(move || extract(&deep, Content::All).unwrap().text)
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(text, "A $x$ B");
}
