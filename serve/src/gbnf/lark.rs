//! Writing a grammar in Lark notation.

use super::parse::{Grammar, Node};
use std::collections::HashMap;
use std::fmt::Write as _;

/// The grammar in Lark notation.
pub(super) fn written(grammar: &Grammar) -> String {
    let mut writer = Writer { is_regular: regular(grammar), terminals: HashMap::new(), text: String::new() };
    for (number, rule) in grammar.rules.iter().enumerate() {
        let line = match writer.is_regular[number] {
            true => format!("T{number}: {}\n", terminal(rule)),
            false => format!("r{number}: {}\n", writer.rule(rule)),
        };
        writer.text.push_str(&line);
    }
    let root = grammar.root;
    let start = if writer.is_regular[root] { format!("T{root}") } else { format!("r{root}") };
    format!("start: {start}\n{}", writer.text)
}

/// Which rules refer, through whatever others, to no rule that refers to itself.
fn regular(grammar: &Grammar) -> Vec<bool> {
    let references: Vec<Vec<usize>> = grammar.rules.iter().map(references).collect();
    let mut users = vec![Vec::new(); references.len()];
    for (number, used) in references.iter().enumerate() {
        used.iter().for_each(|used| users[*used].push(number));
    }
    let mut left: Vec<usize> = references.iter().map(Vec::len).collect();
    let mut ready: Vec<usize> = (0..left.len()).filter(|number| left[*number] == 0).collect();
    let mut is_regular = vec![false; left.len()];
    while let Some(number) = ready.pop() {
        is_regular[number] = true;
        for user in &users[number] {
            left[*user] -= 1;
            if left[*user] == 0 {
                ready.push(*user);
            }
        }
    }
    is_regular
}

/// The rules that a node refers to, as often as it does.
fn references(node: &Node) -> Vec<usize> {
    match node {
        Node::Literal(_) | Node::Class { .. } => Vec::new(),
        Node::Rule(number) => vec![*number],
        Node::Sequence(parts) | Node::Alternatives(parts) => parts.iter().flat_map(references).collect(),
        Node::Repeat(part, ..) => references(part),
    }
}

struct Writer {
    is_regular: Vec<bool>,
    /// The terminals for parts of rules, by what they match.
    terminals: HashMap<String, usize>,
    text: String,
}

impl Writer {
    /// A part of a rule; what is regular in it becomes terminals.
    fn rule(&mut self, node: &Node) -> String {
        if self.is_regular(node) {
            let expression = terminal(node);
            // Nothing is no terminal.
            return if expression == "\"\"" { expression } else { self.terminal(&expression) };
        }
        match node {
            Node::Rule(number) => format!("r{number}"),
            Node::Sequence(parts) => {
                // Neighbors that are regular are one terminal.
                let runs = parts.chunk_by(|one, next| self.is_regular(one) && self.is_regular(next));
                let one = |run: &[Node]| match run {
                    [part] => part.clone(),
                    run => Node::Sequence(run.to_vec()),
                };
                let runs: Vec<Node> = runs.map(one).collect();
                runs.iter().map(|run| self.rule(run)).collect::<Vec<_>>().join(" ")
            }
            Node::Alternatives(parts) => {
                let parts: Vec<String> = parts.iter().map(|part| self.rule(part)).collect();
                format!("({})", parts.join(" | "))
            }
            Node::Repeat(part, least, most) => format!("({}){}", self.rule(part), repetition(*least, *most)),
            Node::Literal(_) | Node::Class { .. } => terminal(node),
        }
    }

    fn is_regular(&self, node: &Node) -> bool {
        references(node).into_iter().all(|number| self.is_regular[number])
    }

    /// The name of a terminal that matches this.
    fn terminal(&mut self, expression: &str) -> String {
        let next = self.terminals.len();
        let number = *self.terminals.entry(expression.to_owned()).or_insert(next);
        if number == next {
            let _ = writeln!(self.text, "P{number}: {expression}");
        }
        format!("P{number}")
    }
}

/// An expression of terminals.
fn terminal(node: &Node) -> String {
    match node {
        Node::Literal(text) => quoted(text),
        Node::Class { negated, ranges } if ranges.is_empty() && *negated => "/(?s:.)/".to_owned(),
        Node::Class { negated, ranges } => {
            let sign = if *negated { "^" } else { "" };
            let range = |(first, last): &(char, char)| match first == last {
                true => escaped(*first),
                false => format!("{}-{}", escaped(*first), escaped(*last)),
            };
            format!("/[{sign}{}]/", ranges.iter().map(range).collect::<String>())
        }
        Node::Rule(number) => format!("T{number}"),
        Node::Sequence(parts) if parts.is_empty() => "\"\"".to_owned(),
        Node::Sequence(parts) => format!("({})", parts.iter().map(terminal).collect::<Vec<_>>().join(" ")),
        Node::Alternatives(parts) => {
            format!("({})", parts.iter().map(terminal).collect::<Vec<_>>().join(" | "))
        }
        Node::Repeat(part, least, most) => format!("({}){}", terminal(part), repetition(*least, *most)),
    }
}

fn repetition(least: usize, most: Option<usize>) -> String {
    match (least, most) {
        (0, None) => "*".to_owned(),
        (1, None) => "+".to_owned(),
        (0, Some(1)) => "?".to_owned(),
        (least, None) => format!("{{{least},}}"),
        (least, Some(most)) => format!("{{{least},{most}}}"),
    }
}

/// A string of Lark, with the escapes of JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character.is_ascii_control() => {
                let _ = write!(quoted, "\\u{:04x}", character as u32);
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// A character of a class in a regular expression.
fn escaped(character: char) -> String {
    if character.is_ascii_alphanumeric() {
        character.to_string()
    } else {
        format!("\\u{{{:x}}}", character as u32)
    }
}
