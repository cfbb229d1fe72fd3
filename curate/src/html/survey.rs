//! What is in each part of a page: which nodes are read, how much text and how many links are below each, where formulas
//! are. One walk down and one walk up.

use super::names::{Hints, hints, is_block, is_unreadable};
use crate::dom::{Data, Dom, Id, NONE, ROOT};
use crate::math::{Formula, Found, find};

/// The state of a page's nodes.
pub(super) struct Survey<'a> {
    pub(super) dom: &'a Dom,
    pub(super) body: Id,
    /// By node.
    pub(super) facts: Vec<Facts>,
    pub(super) formulas: Vec<Formula>,
    /// The nodes that are read, in document order.
    pub(super) order: Vec<Id>,
}

/// What is known of a node and of what is below it; counts are of characters other than white space.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    /// It is not read, and nothing below it.
    pub(super) is_dropped: bool,
    pub(super) is_block: bool,
    pub(super) is_in_link: bool,
    pub(super) hints: Hints,
    /// Index of its formula plus one.
    formula: u32,
    pub(super) letters: u32,
    pub(super) link_letters: u32,
    pub(super) commas: u32,
    /// Letters of text that is not in a block below it.
    pub(super) own_letters: u32,
    /// Letters in paragraphs.
    pub(super) paragraph_letters: u32,
    pub(super) blocks: u32,
}

impl<'a> Survey<'a> {
    pub(super) fn new(dom: &'a Dom) -> Self {
        let body = dom.find(ROOT, "body").unwrap_or(ROOT);
        let facts = vec![Facts::default(); dom.nodes.len()];
        let mut survey = Self { dom, body, facts, formulas: Vec::new(), order: Vec::new() };
        survey.walk_down();
        survey.count();
        survey
    }

    /// Decides which nodes are read at all.
    fn walk_down(&mut self) {
        let mut next = Some(self.body);
        while let Some(id) = next {
            let is_inner = self.enter(id);
            if !self.facts[id as usize].is_dropped {
                self.order.push(id);
            }
            next = self.dom.following(id, self.body, is_inner);
        }
    }

    /// Looks at a node; returns whether what is below it is read.
    fn enter(&mut self, id: Id) -> bool {
        let dom = self.dom;
        let parent = dom.nodes[id as usize].parent;
        let is_in_link = parent != NONE && self.facts[parent as usize].is_in_link;
        let facts = &mut self.facts[id as usize];
        facts.is_in_link = is_in_link;
        let Data::Element { attributes, .. } = &dom.nodes[id as usize].data else { return true };
        let name = dom.name(id);
        match find(dom, id) {
            Some(Found::Formula(formula)) => {
                self.formulas.push(formula);
                facts.formula = self.formulas.len() as u32;
                return false;
            }
            Some(Found::Rendering) => {
                facts.is_dropped = true;
                return false;
            }
            None => {}
        }
        facts.is_block = is_block(name);
        facts.is_in_link |= name == "a";
        let mut is_hidden = is_unreadable(name);
        for attribute in attributes {
            match &*attribute.name.local {
                "class" | "id" => {
                    let found = hints(&attribute.value);
                    facts.hints.frame |= found.frame;
                    facts.hints.content |= found.content;
                }
                "hidden" => is_hidden = true,
                "aria-hidden" => is_hidden |= &*attribute.value == "true",
                "style" => is_hidden |= is_invisible(&attribute.value),
                _ => {}
            }
        }
        facts.is_dropped = is_hidden && id != self.body;
        !facts.is_dropped
    }

    /// Counts what is below each node, from the last one up.
    pub(super) fn count(&mut self) {
        for id in &self.order {
            let facts = &mut self.facts[*id as usize];
            (facts.letters, facts.link_letters, facts.commas, facts.own_letters) = (0, 0, 0, 0);
            (facts.paragraph_letters, facts.blocks) = (0, 0);
        }
        let order = std::mem::take(&mut self.order);
        for id in order.iter().rev() {
            self.count_own(*id);
            let facts = self.facts[*id as usize];
            let parent = self.dom.nodes[*id as usize].parent;
            if parent == NONE || facts.is_dropped {
                continue;
            }
            let above = &mut self.facts[parent as usize];
            above.letters += facts.letters;
            above.link_letters += facts.link_letters;
            above.commas += facts.commas;
            above.paragraph_letters += facts.paragraph_letters;
            above.blocks += facts.blocks + u32::from(facts.is_block);
            if !facts.is_block {
                above.own_letters += facts.own_letters;
            }
        }
        self.order = order;
    }

    fn count_own(&mut self, id: Id) {
        let facts = &mut self.facts[id as usize];
        let formula = facts.formula.checked_sub(1).map(|at| &self.formulas[at as usize]);
        let (letters, commas) = match (&self.dom.nodes[id as usize].data, formula) {
            (_, Some(formula)) => (formula.delimited().len() as u32, 0),
            (Data::Text(text), _) => count(text),
            _ => {
                if self.dom.name(id) == "p" {
                    facts.paragraph_letters = facts.letters - facts.link_letters;
                }
                return;
            }
        };
        facts.letters = letters;
        facts.commas = commas;
        facts.own_letters = letters;
        if facts.is_in_link {
            facts.link_letters = letters;
        }
    }

    /// Removes nodes and everything below them from what is read; the counts are those of before until [`Survey::count`].
    pub(super) fn drop_marked(&mut self) {
        let order = std::mem::take(&mut self.order);
        for id in &order {
            let parent = self.dom.nodes[*id as usize].parent;
            if *id != self.body && parent != NONE && self.facts[parent as usize].is_dropped {
                self.facts[*id as usize].is_dropped = true;
            }
        }
        self.order = order.into_iter().filter(|id| !self.facts[*id as usize].is_dropped).collect();
        self.count();
    }

    /// The formula that a node stands for.
    pub(super) fn formula(&self, id: Id) -> Option<&Formula> {
        self.facts[id as usize].formula.checked_sub(1).map(|at| &self.formulas[at as usize])
    }

    /// The share of a node's letters that are in links.
    pub(super) fn link_share(&self, id: Id) -> f64 {
        let facts = &self.facts[id as usize];
        f64::from(facts.link_letters) / f64::from(facts.letters.max(1))
    }

    /// The children that are read.
    pub(super) fn children(&self, id: Id) -> impl Iterator<Item = Id> + '_ {
        let is_leaf = self.facts[id as usize].formula > 0;
        self.dom.children(id).filter(move |child| !is_leaf && !self.facts[*child as usize].is_dropped)
    }
}

/// Letters and commas of a text; commas of other scripts count too.
fn count(text: &str) -> (u32, u32) {
    let (mut letters, mut commas) = (0, 0);
    for letter in text.chars() {
        letters += u32::from(!letter.is_whitespace());
        commas += u32::from(matches!(letter, ',' | '\u{3001}' | '\u{ff0c}' | '\u{60c}'));
    }
    (letters, commas)
}

/// Whether a `style` hides its element.
fn is_invisible(style: &str) -> bool {
    let style = style.to_ascii_lowercase();
    let mut declarations = style.split(';').filter_map(|declaration| declaration.split_once(':'));
    declarations.any(|(name, value)| {
        matches!(
            (name.trim(), value.trim().trim_end_matches("!important").trim()),
            ("display", "none") | ("visibility", "hidden")
        )
    })
}
