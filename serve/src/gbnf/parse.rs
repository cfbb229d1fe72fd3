//! Reading GBNF: rules of literals, classes of characters, references, groups, alternatives and repetitions.

use std::collections::HashMap;

/// Maximum depth of groups.
const MAX_DEPTH: usize = 64;
/// Maximum number of repetitions that are counted.
const MAX_COUNT: usize = 2000;
/// Maximum number of rules.
const MAX_RULES: usize = 2000;

/// What a text must match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Literal(String),
    /// One character within the ranges, or outside them.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// The rule of this number.
    Rule(usize),
    Sequence(Vec<Node>),
    Alternatives(Vec<Node>),
    /// At least and at most so many.
    Repeat(Box<Node>, usize, Option<usize>),
}

/// The rules in the order of their first mention, and the number of the first to be followed.
#[derive(Debug)]
pub(super) struct Grammar {
    pub(super) rules: Vec<Node>,
    pub(super) root: usize,
}

pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_name_character)
}

fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_')
}

impl Grammar {
    /// Reads a grammar.
    pub(super) fn parse(source: &str) -> Result<Self, String> {
        let mut parser =
            Parser { rest: source, line: 1, names: HashMap::new(), spelled: Vec::new(), rules: Vec::new() };
        parser.skip_space(true);
        while !parser.rest.is_empty() {
            parser.rule()?;
            parser.skip_space(true);
        }
        let Some(&root) = parser.names.get("root") else {
            return Err("the grammar has no rule `root`, which the text follows".to_owned());
        };
        let rules = parser.rules.into_iter().zip(&parser.spelled);
        let rules = rules
            .map(|(rule, name)| rule.ok_or_else(|| format!("the rule `{name}` is used and not defined")));
        Ok(Self { rules: rules.collect::<Result<_, _>>()?, root })
    }
}

struct Parser<'a> {
    rest: &'a str,
    line: usize,
    names: HashMap<String, usize>,
    spelled: Vec<String>,
    rules: Vec<Option<Node>>,
}

impl Parser<'_> {
    fn expected<T>(&self, what: &str) -> Result<T, String> {
        let there: String = self.rest.chars().take(20).collect();
        Err(format!("line {} of the grammar has {there:?}; expected {what}", self.line))
    }

    fn next(&mut self) -> Option<char> {
        let character = self.rest.chars().next()?;
        self.line += usize::from(character == '\n');
        self.rest = &self.rest[character.len_utf8()..];
        Some(character)
    }

    fn skip(&mut self, text: &str) -> bool {
        let is_there = self.rest.starts_with(text);
        self.rest = self.rest.strip_prefix(text).unwrap_or(self.rest);
        is_there
    }

    /// Skips white space and comments; line ends only where a rule cannot end.
    fn skip_space(&mut self, with_lines: bool) {
        while let Some(character) = self.rest.chars().next() {
            match character {
                ' ' | '\t' => drop(self.next()),
                '\n' | '\r' if with_lines => drop(self.next()),
                '#' => self.rest = &self.rest[self.rest.find('\n').unwrap_or(self.rest.len())..],
                _ => return,
            }
        }
    }

    fn name(&mut self) -> Result<usize, String> {
        let end = self.rest.find(|character| !is_name_character(character)).unwrap_or(self.rest.len());
        if end == 0 {
            return self.expected("the name of a rule");
        }
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        if let Some(number) = self.names.get(name) {
            return Ok(*number);
        }
        if self.rules.len() == MAX_RULES {
            return Err(format!("the grammar has more than {MAX_RULES} rules"));
        }
        self.names.insert(name.to_owned(), self.rules.len());
        self.spelled.push(name.to_owned());
        self.rules.push(None);
        Ok(self.rules.len() - 1)
    }

    fn rule(&mut self) -> Result<(), String> {
        let number = self.name()?;
        self.skip_space(false);
        if !self.skip("::=") {
            return self.expected("`::=` after the name of a rule");
        }
        self.skip_space(true);
        let node = self.alternatives(0)?;
        if !self.rest.is_empty() && !self.rest.starts_with(['\n', '\r']) {
            return self.expected("the end of the rule");
        }
        match self.rules[number].replace(node) {
            None => Ok(()),
            Some(_) => Err(format!("the rule `{}` is defined twice", self.spelled[number])),
        }
    }

    fn alternatives(&mut self, depth: usize) -> Result<Node, String> {
        if depth > MAX_DEPTH {
            return Err(format!("line {} of the grammar has groups deeper than {MAX_DEPTH}", self.line));
        }
        let mut all = vec![self.sequence(depth)?];
        while self.skip("|") {
            self.skip_space(true);
            all.push(self.sequence(depth)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Node::Alternatives(all) })
    }

    fn sequence(&mut self, depth: usize) -> Result<Node, String> {
        let mut parts = Vec::new();
        while let Some(character) = self.rest.chars().next() {
            let part = match character {
                '"' => self.literal()?,
                '[' => self.class()?,
                '.' => {
                    self.next();
                    Node::Class { negated: true, ranges: Vec::new() }
                }
                '(' => {
                    self.next();
                    self.skip_space(true);
                    let group = self.alternatives(depth + 1)?;
                    self.skip_space(true);
                    if !self.skip(")") {
                        return self.expected("`)`");
                    }
                    group
                }
                '<' | '!' => return self.expected("text; tokens by name (`<...>`) are not supported"),
                character if is_name_character(character) => Node::Rule(self.name()?),
                _ => break,
            };
            let part = self.repeated(part)?;
            parts.push(part);
            self.skip_space(depth > 0);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Node::Sequence(parts) })
    }

    /// A part with the repetitions that follow it.
    fn repeated(&mut self, mut part: Node) -> Result<Node, String> {
        loop {
            let (least, most) = match self.rest.chars().next() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => {
                    let (least, most) = self.counts()?;
                    let nothing = most == Some(0);
                    part = if nothing {
                        Node::Sequence(Vec::new())
                    } else {
                        Node::Repeat(Box::new(part), least, most)
                    };
                    continue;
                }
                _ => return Ok(part),
            };
            self.next();
            part = Node::Repeat(Box::new(part), least, most);
        }
    }

    /// `{m}`, `{m,}` or `{m,n}`.
    fn counts(&mut self) -> Result<(usize, Option<usize>), String> {
        let Some((inside, _)) = self.rest.split_once('}') else { return self.expected("`}`") };
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|number| *number <= MAX_COUNT);
        let counts = match inside[1..].split_once(',') {
            None => number(&inside[1..]).map(|count| (count, Some(count))),
            Some((least, most)) if most.trim().is_empty() => number(least).map(|least| (least, None)),
            Some((least, most)) => number(least).zip(number(most).map(Some)),
        };
        match counts.filter(|(least, most)| most.is_none_or(|most| *least <= most)) {
            Some(counts) => {
                self.rest = &self.rest[inside.len() + 1..];
                Ok(counts)
            }
            None => self.expected(&format!("`{{m}}`, `{{m,}}` or `{{m,n}}` with numbers up to {MAX_COUNT}")),
        }
    }

    fn literal(&mut self) -> Result<Node, String> {
        self.next();
        let mut text = String::new();
        loop {
            match self.rest.chars().next() {
                Some('"') => {
                    self.next();
                    return Ok(Node::Literal(text));
                }
                Some(_) => text.push(self.character()?),
                None => return self.expected("a closing quote"),
            }
        }
    }

    fn class(&mut self) -> Result<Node, String> {
        self.next();
        let negated = self.skip("^");
        let mut ranges = Vec::new();
        while !self.skip("]") {
            if self.rest.is_empty() {
                return self.expected("`]`");
            }
            let first = self.character()?;
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            let last = if is_range {
                self.next();
                self.character()?
            } else {
                first
            };
            if last < first {
                return Err(format!(
                    "line {} of the grammar has the range {first:?} to {last:?}; turn it around",
                    self.line
                ));
            }
            ranges.push((first, last));
        }
        if ranges.is_empty() && !negated {
            return Err(format!("line {} of the grammar has an empty class; give it a character", self.line));
        }
        Ok(Node::Class { negated, ranges })
    }

    /// A character or an escape.
    fn character(&mut self) -> Result<char, String> {
        let character = self.next().unwrap_or_default();
        if character != '\\' {
            return Ok(character);
        }
        let digits = match self.next() {
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some('t') => return Ok('\t'),
            Some('r') => return Ok('\r'),
            Some('n') => return Ok('\n'),
            Some(escaped @ ('\\' | '"' | '[' | ']' | '-' | '^')) => return Ok(escaped),
            _ => {
                return self
                    .expected("an escape: n, r, t, x, u, U, a quote, a bracket or a backslash before this");
            }
        };
        let code = self.rest.get(..digits).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let Some(character) = code.and_then(char::from_u32) else {
            return self.expected(&format!("{digits} hexadecimal digits of a character"));
        };
        self.rest = &self.rest[digits..];
        Ok(character)
    }
}
