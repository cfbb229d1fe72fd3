//! Pages as HTML: what sites put around a text, and five ways to write a formula.

/// Ways to write a page.
pub(super) const STYLES: usize = 5;

/// The HTML of a page.
pub(super) fn page(title: &str, paragraphs: &[String], style: usize) -> String {
    let mut body = format!("<h1>{}</h1>\n", escape(title));
    for paragraph in paragraphs {
        let mut parts = paragraph.split('$').enumerate().map(|(at, part)| match at % 2 {
            1 => formula(part.trim(), style),
            _ => escape(part),
        });
        body.push_str(&format!("<p>{}</p>\n", parts.by_ref().collect::<String>()));
    }
    let around = match style {
        0 => ("<article>", "</article>"),
        1 => ("<main>", "</main>"),
        2 => ("<div class=\"content\">", "</div>"),
        3 => ("<div id=\"post\"><section>", "</section></div>"),
        _ => ("<table><tr><td>", "</td></tr></table>"),
    };
    format!(
        "<!DOCTYPE html><html><head><title>{}</title><script>var page = {style};</script></head><body>\n\
         <nav><ul><li><a href=\"/\">Home</a></li><li><a href=\"/all\">All pages</a></li><li><a href=\"/about\">About us</a></li></ul></nav>\n\
         {}\n{body}{}\n<footer>Copyright notice of this site. <a href=\"/terms\">Terms</a></footer></body></html>\n",
        escape(title),
        around.0,
        around.1
    )
}

/// A formula as sites write it; the text of it is LaTeX.
fn formula(latex: &str, style: usize) -> String {
    let text = escape(latex);
    match style {
        0 => format!(
            "<span class=\"katex\"><span class=\"katex-mathml\"><math><semantics><mrow><mi>x</mi></mrow><annotation encoding=\"application/x-tex\">{text}</annotation></semantics></math></span><span class=\"katex-html\" aria-hidden=\"true\">formula</span></span>"
        ),
        1 => format!("<script type=\"math/tex\">{latex}</script>"),
        2 => format!("<img class=\"latex\" src=\"/formula.png\" alt=\"{text}\">"),
        3 => format!("\\({text}\\)"),
        _ => format!("<math alttext=\"{text}\"><mi>x</mi></math>"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
