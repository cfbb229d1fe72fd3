//! ASCIIMath to LaTeX, by the grammar on asciimath.org: constants, unary and binary commands, brackets, and `/`, `_`, `^`
//! between them.

/// Converts a formula.
pub(super) fn latex(source: &str) -> String {
    let mut parser = Parser { rest: source.trim().trim_matches('`'), depth: 0 };
    let mut text = String::new();
    while let Some(part) = parser.fraction() {
        join(&mut text, &part);
    }
    text
}

struct Parser<'a> {
    rest: &'a str,
    /// Open brackets and commands; a formula that nests deeper is read as symbols.
    depth: usize,
}

const MAX_DEPTH: usize = 64;

/// What a name means.
#[derive(Clone, Copy)]
enum Token {
    Constant(&'static str),
    /// A name that LaTeX has too.
    Same(&'static str),
    Unary(&'static str),
    Binary(&'static str),
    Open(&'static str),
    Close(&'static str),
    Text,
}

/// Names by length, the longest first, as the grammar asks; those of LaTeX's own names are in [`SAME`].
#[rustfmt::skip]
const NAMES: [(&str, Token); 78] = [
    ("<=>", Token::Constant("\\Leftrightarrow")), ("|->", Token::Constant("\\mapsto")), ("->>", Token::Constant("\\twoheadrightarrow")),
    ("-<=", Token::Constant("\\preceq")), (">-=", Token::Constant("\\succeq")), ("!in", Token::Constant("\\notin")),
    ("sube", Token::Constant("\\subseteq")), ("supe", Token::Constant("\\supseteq")), ("sub", Token::Constant("\\subset")),
    ("sup", Token::Constant("\\supset")), ("nn", Token::Constant("\\cap")), ("uu", Token::Constant("\\cup")),
    ("nnn", Token::Constant("\\bigcap")), ("uuu", Token::Constant("\\bigcup")), ("^^^", Token::Constant("\\bigwedge")),
    ("vvv", Token::Constant("\\bigvee")), ("***", Token::Constant("\\star")), ("...", Token::Constant("\\ldots")),
    ("<=", Token::Constant("\\leq")), (">=", Token::Constant("\\geq")), ("!=", Token::Constant("\\neq")), ("->", Token::Constant("\\to")),
    ("=>", Token::Constant("\\Rightarrow")), ("-=", Token::Constant("\\equiv")), ("~=", Token::Constant("\\cong")),
    ("~~", Token::Constant("\\approx")), ("~", Token::Constant("\\sim")), ("+-", Token::Constant("\\pm")), ("-:", Token::Constant("\\div")),
    ("xx", Token::Constant("\\times")), ("**", Token::Constant("\\ast")), ("*", Token::Constant("\\cdot")), ("//", Token::Constant("/")),
    ("\\\\", Token::Constant("\\backslash")), ("@", Token::Constant("\\circ")), ("o+", Token::Constant("\\oplus")),
    ("ox", Token::Constant("\\otimes")), ("o.", Token::Constant("\\odot")), ("^^", Token::Constant("\\wedge")), ("vv", Token::Constant("\\vee")),
    ("oo", Token::Constant("\\infty")), ("/_", Token::Constant("\\angle")), (":.", Token::Constant("\\therefore")),
    ("AA", Token::Constant("\\forall")), ("EE", Token::Constant("\\exists")), ("O/", Token::Constant("\\emptyset")),
    ("CC", Token::Constant("\\mathbb{C}")), ("NN", Token::Constant("\\mathbb{N}")), ("QQ", Token::Constant("\\mathbb{Q}")),
    ("RR", Token::Constant("\\mathbb{R}")), ("ZZ", Token::Constant("\\mathbb{Z}")), ("del", Token::Constant("\\partial")),
    ("grad", Token::Constant("\\nabla")), ("not", Token::Constant("\\neg")), ("and", Token::Constant("\\text{ and }")),
    ("or", Token::Constant("\\text{ or }")), ("if", Token::Constant("\\text{if }")), ("rarr", Token::Constant("\\rightarrow")),
    ("larr", Token::Constant("\\leftarrow")), ("harr", Token::Constant("\\leftrightarrow")), ("rArr", Token::Constant("\\Rightarrow")),
    ("prop", Token::Constant("\\propto")), ("frac", Token::Binary("\\frac")), ("root", Token::Binary("\\sqrt")),
    ("stackrel", Token::Binary("\\stackrel")), ("overset", Token::Binary("\\overset")), ("underset", Token::Binary("\\underset")),
    ("text", Token::Text), ("mbox", Token::Text), ("(:", Token::Open("\\langle ")), (":)", Token::Close("\\rangle ")),
    ("{:", Token::Open(".")), (":}", Token::Close(".")), ("(", Token::Open("(")), (")", Token::Close(")")),
    ("[", Token::Open("[")), ("]", Token::Close("]")), ("{", Token::Open("\\{")),
];

/// Unary commands with the LaTeX command for each.
const UNARY: [(&str, &str); 16] = [
    ("sqrt", "\\sqrt"),
    ("hat", "\\hat"),
    ("bar", "\\bar"),
    ("ul", "\\underline"),
    ("vec", "\\vec"),
    ("ddot", "\\ddot"),
    ("dot", "\\dot"),
    ("tilde", "\\tilde"),
    ("bb", "\\mathbf"),
    ("bbb", "\\mathbb"),
    ("cc", "\\mathcal"),
    ("tt", "\\mathtt"),
    ("fr", "\\mathfrak"),
    ("sf", "\\mathsf"),
    ("overline", "\\overline"),
    ("cancel", "\\cancel"),
];

/// Names that LaTeX has too.
#[rustfmt::skip]
const SAME: [&str; 74] = [
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa", "lambda",
    "mu", "nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "varphi", "chi", "psi", "omega", "Gamma", "Delta", "Theta",
    "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega", "sum", "prod", "int", "oint", "lim", "log", "ln", "exp", "sin", "cos",
    "tan", "sec", "csc", "cot", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "det", "dim", "mod", "gcd", "lcm", "min",
    "max", "infty", "partial", "nabla", "to", "in", "times", "cdot", "pm", "le", "ge", "ne",
];

impl Parser<'_> {
    /// `S / S`, or `S` alone.
    fn fraction(&mut self) -> Option<String> {
        let upper = self.scripted()?;
        self.skip_space();
        if self.rest.starts_with('/') && !self.rest.starts_with("//") && !self.rest.starts_with("/_") {
            self.rest = &self.rest[1..];
            let lower = self.scripted().unwrap_or_default();
            return Some(format!("\\frac{{{}}}{{{}}}", unwrapped(&upper), unwrapped(&lower)));
        }
        Some(upper)
    }

    /// A simple expression with `_` and `^`.
    fn scripted(&mut self) -> Option<String> {
        let mut text = self.simple()?;
        for sign in ['_', '^'] {
            self.skip_space();
            let is_wedge = sign == '^' && self.rest.starts_with("^^");
            if self.rest.starts_with(sign) && !is_wedge {
                self.rest = &self.rest[1..];
                let script = self.simple().unwrap_or_default();
                text.push_str(&format!("{sign}{{{}}}", unwrapped(&script)));
            }
        }
        Some(text)
    }

    fn simple(&mut self) -> Option<String> {
        self.skip_space();
        let first = self.rest.chars().next()?;
        if first == '"' {
            let (inside, after) = self.rest[1..].split_once('"').unwrap_or((&self.rest[1..], ""));
            self.rest = after;
            return Some(format!("\\text{{{inside}}}"));
        }
        if first.is_ascii_digit() {
            let end = self
                .rest
                .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
                .unwrap_or(self.rest.len());
            let (number, after) = self.rest.split_at(end);
            self.rest = after;
            return Some(number.to_owned());
        }
        match self.name() {
            Some((length, token)) => {
                self.rest = &self.rest[length..];
                Some(self.meaning(token))
            }
            None => {
                self.rest = &self.rest[first.len_utf8()..];
                Some(first.to_string())
            }
        }
    }

    /// The longest name at the beginning.
    fn name(&self) -> Option<(usize, Token)> {
        let named = NAMES.iter().map(|(name, token)| (*name, *token));
        let unary = UNARY.iter().map(|(name, command)| (*name, Token::Unary(command)));
        let same = SAME.iter().map(|name| (*name, Token::Same(name)));
        named
            .chain(unary)
            .chain(same)
            .filter(|(name, _)| self.rest.starts_with(name))
            .map(|(name, token)| (name.len(), token))
            .max_by_key(|(length, _)| *length)
    }

    fn meaning(&mut self, token: Token) -> String {
        self.depth += 1;
        let text = match token {
            _ if self.depth > MAX_DEPTH => String::new(),
            Token::Same(name) => format!("\\{name} "),
            Token::Constant(command) => format!("{command} "),
            Token::Close(sign) => sign.to_owned(),
            Token::Unary(command) => {
                format!("{command}{{{}}}", unwrapped(&self.simple().unwrap_or_default()))
            }
            Token::Binary(command) => {
                let [first, second] = [0, 1].map(|_| self.simple().unwrap_or_default());
                let (first, second) = (unwrapped(&first), unwrapped(&second));
                if command == "\\sqrt" {
                    format!("\\sqrt[{first}]{{{second}}}")
                } else {
                    format!("{command}{{{first}}}{{{second}}}")
                }
            }
            Token::Text => self.quoted(),
            Token::Open(sign) => self.bracket(sign),
        };
        self.depth -= 1;
        text
    }

    fn quoted(&mut self) -> String {
        let Some(inside) = self.rest.strip_prefix('(') else { return String::new() };
        let (inside, after) = inside.split_once(')').unwrap_or((inside, ""));
        self.rest = after;
        format!("\\text{{{inside}}}")
    }

    /// What is between brackets; a list of lists is a matrix.
    fn bracket(&mut self, open: &str) -> String {
        let mut parts = String::new();
        let mut close = "";
        loop {
            self.skip_space();
            if self.rest.is_empty() {
                break;
            }
            if let Some(rest) = self.rest.strip_prefix('}') {
                self.rest = rest;
                close = "\\}";
                break;
            }
            if let Some((length, Token::Close(sign))) = self.name() {
                self.rest = &self.rest[length..];
                close = sign;
                break;
            }
            let Some(part) = self.fraction() else { break };
            join(&mut parts, &part);
        }
        match rows(&parts) {
            Some(matrix) => format!(
                "\\left{open}\\begin{{matrix}} {matrix} \\end{{matrix}}\\right{}",
                if close.is_empty() { "." } else { close }
            ),
            None => format!("{open}{parts}{close}"),
        }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

/// Appends a part, with a space between a command and a letter.
fn join(text: &mut String, part: &str) {
    let ends_in_name = text.ends_with(|letter: char| letter.is_ascii_alphabetic()) && text.contains('\\');
    if ends_in_name && part.starts_with(|letter: char| letter.is_ascii_alphanumeric()) {
        text.push(' ');
    }
    text.push_str(part);
}

/// Without the round brackets around all of it, which ASCIIMath uses to group.
fn unwrapped(text: &str) -> &str {
    let text = text.trim();
    let Some(inside) = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) else { return text };
    let mut depth = 0_i32;
    let closes_early = inside.chars().any(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        depth < 0
    });
    if closes_early { text } else { inside }
}

/// The rows of a matrix, where the parts are bracketed lists of equal length, two or more.
fn rows(parts: &str) -> Option<String> {
    let (open, close) = match parts.chars().next()? {
        '[' => ('[', ']'),
        '(' => ('(', ')'),
        _ => return None,
    };
    let mut rows = Vec::new();
    for row in parts.strip_suffix(close)?.split(&format!("{close},")).map(str::trim) {
        let cells: Vec<&str> = row.strip_prefix(open)?.split(',').map(str::trim).collect();
        rows.push(cells);
    }
    let is_matrix = rows.len() > 1 && rows.iter().all(|row| row.len() == rows[0].len());
    is_matrix.then(|| rows.iter().map(|row| row.join(" & ")).collect::<Vec<_>>().join(" \\\\ "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_latex() {
        let cases = [
            ("x^2+y_1", "x^{2}+y_{1}"),
            ("(a+b)/(c)", "\\frac{a+b}{c}"),
            ("sum_(i=1)^n i^3=((n(n+1))/2)^2", "\\sum _{i=1}^{n}i^{3}=(\\frac{n(n+1)}{2})^{2}"),
            ("sqrt(x)+root(3)(y)", "\\sqrt{x}+\\sqrt[3]{y}"),
            ("alpha <= beta", "\\alpha \\leq \\beta "),
            ("\"if \" x in RR", "\\text{if }x\\in \\mathbb{R} "),
            ("[[a,b],[c,d]]", "\\left[\\begin{matrix} a & b \\\\ c & d \\end{matrix}\\right]"),
        ];
        for (source, expected) in cases {
            assert_eq!(latex(source), expected, "{source}");
        }
    }

    #[test]
    fn endless_nesting_ends() {
        assert!(latex(&"(".repeat(100_000)).len() < 1_000_000);
        assert!(latex(&"sqrt".repeat(100_000)).len() < 1_000_000);
    }
}
