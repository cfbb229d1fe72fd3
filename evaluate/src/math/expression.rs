//! An equivalence of our own: answers are parsed as lists of expressions and compared at points of their variables.
//! Brackets must agree, because `(1, 2]` is not `[1, 2)`.

use std::collections::BTreeMap;

/// Numbers that are this close, relative to their size, are the same.
const TOLERANCE: f64 = 1e-9;
/// The number of points at which expressions with variables are compared.
const POINTS: u32 = 8;

/// Whether both answers are understood and mean the same.
pub(crate) fn are_equivalent(one: &str, other: &str) -> bool {
    let (Some(one), Some(other)) = (Parsed::new(one), Parsed::new(other)) else { return false };
    if one.brackets != other.brackets || one.parts.len() != other.parts.len() {
        return false;
    }
    one.parts.iter().zip(&other.parts).all(|(one, other)| {
        let variables: Vec<char> = variables(one);
        variables == self::variables(other)
            && (0..if variables.is_empty() { 1 } else { POINTS }).all(|point| {
                let values: BTreeMap<char, f64> =
                    variables.iter().zip(0..).map(|(name, index)| (*name, value_at(point, index))).collect();
                are_close(value(one, &values), value(other, &values))
            })
    })
}

fn are_close(one: f64, other: f64) -> bool {
    // Two values that do not exist at a point say nothing; an answer that never exists is not understood.
    (one - other).abs() <= TOLERANCE * one.abs().max(other.abs()).max(1.0)
}

/// A positive number for a variable at a point, so that roots and logarithms exist.
fn value_at(point: u32, variable: u32) -> f64 {
    let step = f64::from(point * 7 + variable * 13 + 3);
    0.37 + (step * 0.618_033_988_749_894_9).fract() * 2.9
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Number(f64),
    Variable(char),
    Negative(Box<Node>),
    Binary(char, Box<Node>, Box<Node>),
    /// The root of this degree.
    Root(Box<Node>, Box<Node>),
}

fn variables(node: &Node) -> Vec<char> {
    let mut found = match node {
        Node::Number(_) => Vec::new(),
        Node::Variable(name) => vec![*name],
        Node::Negative(inner) => variables(inner),
        Node::Binary(_, left, right) | Node::Root(left, right) => {
            [variables(left), variables(right)].concat()
        }
    };
    found.sort_unstable();
    found.dedup();
    found
}

fn value(node: &Node, values: &BTreeMap<char, f64>) -> f64 {
    match node {
        Node::Number(number) => *number,
        Node::Variable(name) => values.get(name).copied().unwrap_or(f64::NAN),
        Node::Negative(inner) => -value(inner, values),
        Node::Root(degree, inner) => {
            let (degree, inner) = (value(degree, values), value(inner, values));
            // A negative number has odd roots.
            if inner < 0.0 && degree % 2.0 == 1.0 {
                -(-inner).powf(1.0 / degree)
            } else {
                inner.powf(1.0 / degree)
            }
        }
        Node::Binary(operator, left, right) => {
            let (left, right) = (value(left, values), value(right, values));
            match operator {
                '+' => left + right,
                '-' => left - right,
                '*' => left * right,
                '/' => left / right,
                _ => left.powf(right),
            }
        }
    }
}

/// An answer: one expression, or a tuple, interval or set of them.
struct Parsed {
    brackets: Option<(char, char)>,
    parts: Vec<Node>,
}

impl Parsed {
    fn new(text: &str) -> Option<Self> {
        let mut text = text.replace("\\!", "").replace("\\,", "").replace("\\;", "").replace("\\ ", "");
        for (before, after) in [
            ("\\left", ""),
            ("\\right", ""),
            ("\\dfrac", "\\frac"),
            ("\\tfrac", "\\frac"),
            ("\\cdot", "*"),
            ("\\times", "*"),
            ("\\div", "/"),
            ("^\\circ", ""),
            ("^{\\circ}", ""),
            ("\\$", ""),
            ("$", ""),
            (" ", ""),
            ("\\{", "⟨"),
            ("\\}", "⟩"),
        ] {
            text = text.replace(before, after);
        }
        let letters: Vec<char> = text.chars().collect();
        let (brackets, inner) = match letters[..] {
            [open @ ('(' | '[' | '⟨'), ref inner @ .., close @ (')' | ']' | '⟩')] if is_list(inner) => {
                (Some((open, close)), inner)
            }
            _ => (None, &letters[..]),
        };
        let parts = split(inner).into_iter().map(parse).collect::<Option<Vec<Node>>>()?;
        (!parts.is_empty()).then_some(Self { brackets, parts })
    }
}

/// Whether there is a comma outside all brackets, and no bracket closes one that was opened before.
fn is_list(letters: &[char]) -> bool {
    let mut depth = 0_i32;
    let mut commas = 0;
    for letter in letters {
        match letter {
            '(' | '[' | '{' | '⟨' => depth += 1,
            ')' | ']' | '}' | '⟩' => depth -= 1,
            ',' if depth == 0 => commas += 1,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    commas > 0 && depth == 0
}

/// The parts between commas outside all brackets. A comma before three digits separates thousands.
fn split(letters: &[char]) -> Vec<&[char]> {
    let is_digit = |index: usize| letters.get(index).is_some_and(char::is_ascii_digit);
    let (mut depth, mut start, mut parts) = (0_i32, 0, Vec::new());
    for (index, letter) in letters.iter().enumerate() {
        match letter {
            '(' | '[' | '{' | '⟨' => depth += 1,
            ')' | ']' | '}' | '⟩' => depth -= 1,
            ',' if depth == 0 => {
                let thousands = index > 0
                    && is_digit(index - 1)
                    && (1..=3).all(|offset| is_digit(index + offset))
                    && !is_digit(index + 4);
                if !thousands {
                    parts.push(&letters[start..index]);
                    start = index + 1;
                }
            }
            _ => {}
        }
    }
    parts.push(&letters[start..]);
    parts
}

/// One expression, which must be understood to its end.
fn parse(letters: &[char]) -> Option<Node> {
    let letters: Vec<char> = letters.iter().copied().filter(|letter| *letter != ',').collect();
    let mut parser = Parser { letters: &letters, at: 0 };
    let node = parser.sum()?;
    (parser.at == letters.len()).then_some(node)
}

struct Parser<'a> {
    letters: &'a [char],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }

    fn take(&mut self, letter: char) -> bool {
        let is_next = self.peek() == Some(letter);
        self.at += usize::from(is_next);
        is_next
    }

    fn sum(&mut self) -> Option<Node> {
        let mut left = match self.take('-') {
            true => Node::Negative(Box::new(self.product()?)),
            false => {
                self.take('+');
                self.product()?
            }
        };
        while let Some(operator @ ('+' | '-')) = self.peek() {
            self.at += 1;
            left = Node::Binary(operator, Box::new(left), Box::new(self.product()?));
        }
        Some(left)
    }

    fn product(&mut self) -> Option<Node> {
        let mut left = self.power()?;
        loop {
            let operator = match self.peek() {
                Some(operator @ ('*' | '/')) => {
                    self.at += 1;
                    operator
                }
                // Two factors side by side.
                Some('(' | '[' | '{' | '\\' | '0'..='9' | '.' | 'a'..='z' | 'A'..='Z') => '*',
                _ => return Some(left),
            };
            left = Node::Binary(operator, Box::new(left), Box::new(self.power()?));
        }
    }

    fn power(&mut self) -> Option<Node> {
        let base = self.atom()?;
        if !self.take('^') {
            return Some(base);
        }
        let exponent = match self.take('-') {
            true => Node::Negative(Box::new(self.atom()?)),
            false => self.atom()?,
        };
        Some(Node::Binary('^', Box::new(base), Box::new(exponent)))
    }

    fn atom(&mut self) -> Option<Node> {
        match self.peek()? {
            '0'..='9' | '.' => self.number(),
            '(' => self.inside('(', ')'),
            '{' => self.inside('{', '}'),
            '\\' => self.command(),
            letter @ ('a'..='z' | 'A'..='Z') => {
                self.at += 1;
                Some(Node::Variable(letter))
            }
            'π' => {
                self.at += 1;
                Some(Node::Number(std::f64::consts::PI))
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Node> {
        let start = self.at;
        while self.peek().is_some_and(|letter| letter.is_ascii_digit() || letter == '.') {
            self.at += 1;
        }
        let digits: String = self.letters[start..self.at].iter().collect();
        digits.parse().ok().map(Node::Number)
    }

    fn inside(&mut self, open: char, close: char) -> Option<Node> {
        let node = self.take(open).then(|| self.sum())??;
        self.take(close).then_some(node)
    }

    fn command(&mut self) -> Option<Node> {
        let start = self.at + 1;
        let length = self.letters[start..].iter().take_while(|letter| letter.is_ascii_alphabetic()).count();
        let name: String = self.letters[start..start + length].iter().collect();
        self.at = start + length;
        match name.as_str() {
            "pi" => Some(Node::Number(std::f64::consts::PI)),
            "frac" => {
                let (above, below) = (self.argument()?, self.argument()?);
                Some(Node::Binary('/', Box::new(above), Box::new(below)))
            }
            "sqrt" => {
                let degree =
                    if self.peek() == Some('[') { self.inside('[', ']')? } else { Node::Number(2.0) };
                Some(Node::Root(Box::new(degree), Box::new(self.argument()?)))
            }
            _ => None,
        }
    }

    /// The argument of a command: in braces, or one digit or letter.
    fn argument(&mut self) -> Option<Node> {
        match self.peek()? {
            '{' => self.inside('{', '}'),
            digit @ '0'..='9' => {
                self.at += 1;
                digit.to_digit(10).map(|digit| Node::Number(f64::from(digit)))
            }
            _ => self.atom(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::are_equivalent;

    #[test]
    fn the_same_value_is_equivalent() {
        for (one, other) in [
            (r"\frac{8}{18}", r"\frac49"),
            ("1,000", "1000"),
            (r"2\sqrt{3}", r"\sqrt{12}"),
            (r"\frac{\pi}{2}", r"0.5\pi"),
            (r"\left(6,31,-1\right)", "(6,31,-1)"),
            ("(x+1)^2", "x^2+2x+1"),
            (r"\sqrt[3]{-8}", "-2"),
            (r"\{1,2\}", r"\left\{ 1, 2 \right\}"),
        ] {
            assert!(are_equivalent(one, other), "{one} and {other}");
        }
    }

    #[test]
    fn another_value_or_bracket_is_not() {
        for (one, other) in [
            ("3", "3,5,7"),
            ("(1,2]", "[1,2)"),
            ("x", "y"),
            ("(x+1)^2", "x^2+1"),
            (r"\text{east}", r"\text{west}"),
            ("1/0", "2/0"),
        ] {
            assert!(!are_equivalent(one, other), "{one} and {other}");
        }
    }
}
