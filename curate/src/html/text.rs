//! The text of what was chosen of a page: white space as a browser shows it, blocks on lines of their own, items with a
//! bullet, cells with a tab, preformatted text as it is.

use super::names::{is_block, is_paragraph};
use super::survey::Survey;
use crate::dom::{Data, Id};

/// Writes the text below each of the nodes.
pub(super) fn write(survey: &Survey<'_>, tops: &[Id]) -> String {
    let mut writer = Writer::default();
    for top in tops {
        walk(survey, *top, &mut writer);
        writer.lines(2);
    }
    writer.text
}

#[derive(Default)]
struct Writer {
    text: String,
    /// Line ends before what comes next.
    lines: usize,
    /// A space before what comes next.
    space: bool,
    /// A mark of a list or a table before what comes next.
    mark: Option<String>,
}

impl Writer {
    fn lines(&mut self, count: usize) {
        self.lines = self.lines.max(count);
        self.space = false;
    }

    /// What stands between the text before and the text that follows.
    fn begin(&mut self) {
        if !self.text.is_empty() {
            for _ in 0..self.lines {
                self.text.push('\n');
            }
            if self.lines == 0 && self.space {
                self.text.push(' ');
            }
        }
        (self.lines, self.space) = (0, false);
        if let Some(mark) = self.mark.take() {
            self.text.push_str(&mark);
        }
    }

    fn collapsed(&mut self, text: &str) {
        if text.starts_with(is_space) {
            self.space = true;
        }
        for word in text.split(is_space).filter(|word| !word.is_empty()) {
            self.begin();
            self.text.push_str(word);
            self.space = true;
        }
        self.space = self.space && text.ends_with(is_space) | text.is_empty();
    }

    fn verbatim(&mut self, text: &str) {
        if !text.is_empty() {
            self.begin();
            self.text.push_str(text);
        }
    }
}

fn is_space(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{200b}' | '\u{feff}')
}

fn walk(survey: &Survey<'_>, top: Id, writer: &mut Writer) {
    let dom = survey.dom;
    let mut id = top;
    // Depth of `pre` elements.
    let mut preformatted = 0_usize;
    let mut items: Vec<usize> = Vec::new();
    loop {
        let is_read = !survey.facts[id as usize].is_dropped;
        let mut inside = false;
        if is_read {
            inside = open(survey, id, writer, &mut preformatted, &mut items);
        }
        if inside && dom.nodes[id as usize].first != crate::dom::NONE {
            id = dom.nodes[id as usize].first;
            continue;
        }
        if inside {
            close(survey, id, writer, &mut preformatted, &mut items);
        }
        // Up to the next sibling of this node or of one above it.
        loop {
            if id == top {
                return;
            }
            let node = &dom.nodes[id as usize];
            if node.next != crate::dom::NONE {
                id = node.next;
                break;
            }
            id = node.parent;
            close(survey, id, writer, &mut preformatted, &mut items);
        }
    }
}

/// Writes what comes before the content of a node; returns whether its children are walked.
fn open(
    survey: &Survey<'_>,
    id: Id,
    writer: &mut Writer,
    preformatted: &mut usize,
    items: &mut Vec<usize>,
) -> bool {
    if let Some(formula) = survey.formula(id) {
        if formula.is_display() {
            writer.lines(1);
        }
        writer.begin();
        writer.text.push_str(&formula.delimited());
        if formula.is_display() {
            writer.lines(1);
        }
        return false;
    }
    let name = match &survey.dom.nodes[id as usize].data {
        Data::Text(text) if *preformatted > 0 => {
            writer.verbatim(text);
            return false;
        }
        Data::Text(text) => {
            writer.collapsed(text);
            return false;
        }
        Data::Element { name, .. } => &*name.local,
        Data::Other => return true,
    };
    break_lines(name, writer);
    match name {
        "br" => {
            writer.lines += 1;
            writer.lines = writer.lines.min(2);
            writer.space = false;
        }
        "pre" => *preformatted += 1,
        "ul" => items.push(usize::MAX),
        "ol" => items.push(0),
        "li" => {
            let mark = match items.last_mut() {
                Some(number) if *number != usize::MAX => {
                    *number += 1;
                    format!("{number}. ")
                }
                _ => "\u{2022} ".to_owned(),
            };
            writer.mark = Some(mark);
        }
        "td" | "th" => {
            // Cells of a row are on one line.
            let is_first = survey.dom.nodes[id as usize].previous == crate::dom::NONE
                || writer.lines > 0
                || writer.text.is_empty();
            if !is_first && !writer.text.ends_with(['\n', '\t']) {
                writer.text.push('\t');
            }
            writer.space = false;
        }
        _ => {}
    }
    true
}

fn close(survey: &Survey<'_>, id: Id, writer: &mut Writer, preformatted: &mut usize, items: &mut Vec<usize>) {
    let Data::Element { name, .. } = &survey.dom.nodes[id as usize].data else { return };
    let name = &*name.local;
    break_lines(name, writer);
    match name {
        "pre" => *preformatted = preformatted.saturating_sub(1),
        "ul" | "ol" => {
            items.pop();
        }
        "li" => writer.mark = None,
        _ => {}
    }
}

fn break_lines(name: &str, writer: &mut Writer) {
    if is_paragraph(name) {
        writer.lines(2);
    } else if is_block(name) && !matches!(name, "td" | "th") {
        writer.lines(1);
    }
}
