//! Services that draw a formula which is in the address of the image: CodeCogs, WordPress, mimeTeX, MathTeX and others.

/// The marks of such an address, and what stands before the formula.
const SERVICES: [(&str, &[&str]); 12] = [
    ("latex.codecogs.com", &["?"]),
    ("codecogs.com/", &[".latex?", ".image?"]),
    ("latex.php", &["latex=", "eq=", "tex="]),
    ("s.wordpress.com/latex", &["latex="]),
    ("mimetex", &["mimetex.cgi?", "mimetex?", "formdata="]),
    ("mathtex", &["mathtex.cgi?", "mathtex?"]),
    ("tex.cgi", &["tex.cgi?", "latex="]),
    ("/cgi-bin/mathtran", &["tex="]),
    ("chart.apis.google.com/chart", &["chl="]),
    ("chart.googleapis.com/chart", &["chl="]),
    ("/equation?tex=", &["tex="]),
    ("texify", &["?"]),
];

/// Names of addresses under which images of formulas are stored; their source is in the text beside the image.
const STORED: [&str; 5] = ["/math/render/", "/media/math/", "texvc", "latex.codecogs", "/latex/img"];

/// Whether an address is that of a formula's image.
pub(super) fn is_formula(address: &str) -> bool {
    STORED.iter().any(|part| address.contains(part))
}

/// The formula in an address.
pub(super) fn latex(address: &str) -> Option<String> {
    // Most images are none of these.
    let query = address.find('?')?;
    let (_, marks) = SERVICES.iter().find(|(service, _)| address.contains(service))?;
    if address.contains("chart") && !address.contains("cht=tx") {
        return None;
    }
    let start =
        marks.iter().find_map(|mark| address.find(mark).map(|at| at + mark.len())).unwrap_or(query + 1);
    let formula = &address[start..];
    // Only a named parameter ends at the next one; `?` is followed by the formula alone.
    let is_parameter = address[..start].ends_with('=');
    let formula = if is_parameter { formula.split('&').next().unwrap_or_default() } else { formula };
    let formula = decoded(&formula.replace("&amp;", "&").replace("&space;", " "), is_parameter);
    let formula = formula.trim();
    // What CodeCogs and mimeTeX read before the formula: size, color, style.
    let formula = formula
        .trim_start_matches("\\dpi{")
        .split_once('}')
        .filter(|(size, _)| is_size(size))
        .map_or(formula, |(_, rest)| rest);
    let mut formula = formula.trim();
    for style in [
        "\\inline",
        "\\bg_white",
        "\\large",
        "\\Large",
        "\\LARGE",
        "\\huge",
        "\\small",
        "\\fn_cm",
        "\\displaystyle",
        "\\,",
    ] {
        formula = formula.strip_prefix(style).unwrap_or(formula).trim_start();
    }
    (!formula.is_empty()).then(|| formula.to_owned())
}

fn is_size(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Decodes percent signs; `+` is a space in parameters.
fn decoded(text: &str, is_parameter: bool) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) if is_parameter => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_read_from_addresses() {
        let cases = [
            ("https://latex.codecogs.com/gif.latex?%5Cfrac%7Ba%7D%7Bb%7D", "\\frac{a}{b}"),
            ("https://latex.codecogs.com/svg.image?\\dpi{110}&space;x^2+1", "x^2+1"),
            ("//s0.wp.com/latex.php?latex=x%5E2%2By&bg=ffffff&fg=000&s=0", "x^2+y"),
            ("/cgi-bin/mimetex.cgi?\\Large\\alpha+1", "\\alpha+1"),
            ("http://www.forkosh.com/mathtex.cgi?\\sqrt{2}", "\\sqrt{2}"),
            ("https://www.zhihu.com/equation?tex=a%2Bb", "a+b"),
            ("http://chart.apis.google.com/chart?cht=tx&chl=%5Cpi", "\\pi"),
        ];
        for (address, expected) in cases {
            let found = latex(address);
            assert_eq!(found.as_deref(), Some(expected), "{address}");
        }
        for address in
            ["https://example.com/a.png?x=1", "plain.png", "http://chart.apis.google.com/chart?cht=p&chl=a"]
        {
            assert_eq!(latex(address), None, "{address}");
        }
    }
}
