//! A page as a tree in one vector, built by html5ever: it repairs markup as browsers do, which rules about a page's
//! structure need. Nodes are indices, so that walks allocate nothing and a deep page cannot overflow the stack when it
//! is dropped. Nesting and the number of nodes are bounded: a page that exceeds them is refused, whatever its size.

use html5ever::interface::{ElemName, ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::{StrTendril, TendrilSink};
use html5ever::tree_builder::TreeBuilderOpts;
use html5ever::{Attribute, LocalName, Namespace, ParseOpts, QualName, parse_document};
use std::borrow::Cow;
use std::cell::{Ref, RefCell};

/// Index of a node.
pub(crate) type Id = u32;
/// No node.
pub(crate) const NONE: Id = u32::MAX;
/// The document.
pub(crate) const ROOT: Id = 0;
/// Nesting from which a page is refused; browsers stop at 512 too.
const MAX_DEPTH: u16 = 512;
/// Nesting from which mathematics is text: no formula is nested like that, and stacks are small.
const DEEP: u16 = 300;
/// Nodes from which a page is refused.
const MAX_NODES: usize = 1_500_000;
/// Bytes that are parsed between two looks at the limits.
const CHUNK: usize = 4096;

/// The tree of a page.
#[derive(Debug)]
pub(crate) struct Dom {
    pub(crate) nodes: Vec<Node>,
    deepest: u16,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) parent: Id,
    pub(crate) first: Id,
    last: Id,
    pub(crate) next: Id,
    pub(crate) previous: Id,
    depth: u16,
    pub(crate) data: Data,
}

#[derive(Debug)]
pub(crate) enum Data {
    Element {
        name: QualName,
        attributes: Vec<Attribute>,
    },
    Text(StrTendril),
    /// The document, comments, processing instructions.
    Other,
}

/// Why a page has no tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Elements are nested too deeply.
    TooDeep,
    /// It has too many nodes.
    TooManyNodes,
}

impl Dom {
    /// Parses a page.
    pub(crate) fn parse(html: &str) -> Result<Self, Refused> {
        let sink =
            Sink { dom: RefCell::new(Self { nodes: Vec::with_capacity(html.len() / 24), deepest: 0 }) };
        sink.push(Data::Other);
        // What stands in `noscript` is markup to us.
        let tree_builder = TreeBuilderOpts { scripting_enabled: false, ..TreeBuilderOpts::default() };
        let mut parser = parse_document(sink, ParseOpts { tree_builder, ..ParseOpts::default() });
        // One buffer, which the texts of the tree share.
        let whole = StrTendril::from_slice(html);
        let mut start = 0;
        while start < html.len() {
            let end = html.floor_char_boundary((start + CHUNK).min(html.len()));
            parser.process(whole.subtendril(start as u32, (end - start) as u32));
            let dom = parser.tokenizer.sink.sink.dom.borrow();
            if dom.deepest > MAX_DEPTH {
                return Err(Refused::TooDeep);
            }
            if dom.nodes.len() > MAX_NODES {
                return Err(Refused::TooManyNodes);
            }
            start = end;
        }
        Ok(parser.finish())
    }

    /// The lower-case name of an element; empty for other nodes.
    pub(crate) fn name(&self, id: Id) -> &str {
        match &self.nodes[id as usize].data {
            Data::Element { name, .. } => &name.local,
            _ => "",
        }
    }

    /// The value of an attribute; of no namespace, or of any.
    pub(crate) fn attribute(&self, id: Id, wanted: &str) -> Option<&str> {
        match &self.nodes[id as usize].data {
            Data::Element { attributes, .. } => attributes
                .iter()
                .find(|attribute| &*attribute.name.local == wanted)
                .map(|attribute| &*attribute.value),
            _ => None,
        }
    }

    /// Its `class`; empty without one.
    pub(crate) fn class(&self, id: Id) -> &str {
        self.attribute(id, "class").unwrap_or_default()
    }

    /// Whether it has a class with this name.
    pub(crate) fn has_class(&self, id: Id, class: &str) -> bool {
        self.class(id).split_ascii_whitespace().any(|name| name == class)
    }

    /// The children in order.
    pub(crate) fn children(&self, id: Id) -> impl Iterator<Item = Id> + '_ {
        let mut next = self.nodes[id as usize].first;
        std::iter::from_fn(move || {
            let here = next;
            (here != NONE).then(|| {
                next = self.nodes[here as usize].next;
                here
            })
        })
    }

    /// The node after `id` in document order that is still inside `top`, leaving out the descendants of `id` unless
    /// `inside`.
    pub(crate) fn following(&self, id: Id, top: Id, inside: bool) -> Option<Id> {
        let node = &self.nodes[id as usize];
        if inside && node.first != NONE {
            return Some(node.first);
        }
        let mut here = id;
        while here != top && here != NONE {
            let node = &self.nodes[here as usize];
            if node.next != NONE {
                return Some(node.next);
            }
            here = node.parent;
        }
        None
    }

    /// The nodes below `top` in document order.
    pub(crate) fn descendants(&self, top: Id) -> impl Iterator<Item = Id> + '_ {
        let mut here = Some(top);
        std::iter::from_fn(move || {
            here = self.following(here?, top, true);
            here
        })
    }

    /// The text below a node, as it is.
    pub(crate) fn text(&self, top: Id) -> String {
        let mut text = String::new();
        for id in std::iter::once(top).chain(self.descendants(top)) {
            if let Data::Text(part) = &self.nodes[id as usize].data {
                text.push_str(part);
            }
        }
        text
    }

    /// Whether a node is nested so deeply that a walk by recursion should not go on.
    pub(crate) fn is_deep(&self, id: Id) -> bool {
        self.nodes[id as usize].depth > DEEP
    }

    /// The content of a text node; empty for other nodes.
    pub(crate) fn raw(&self, id: Id) -> &str {
        match &self.nodes[id as usize].data {
            Data::Text(text) => text,
            _ => "",
        }
    }

    /// The first element of that name below a node.
    pub(crate) fn find(&self, top: Id, name: &str) -> Option<Id> {
        self.descendants(top).find(|id| self.name(*id) == name)
    }

    fn attach(&mut self, id: Id, parent: Id, before: Id) {
        self.detach(id);
        let previous = match before {
            NONE => self.nodes[parent as usize].last,
            before => self.nodes[before as usize].previous,
        };
        let depth = self.nodes[parent as usize].depth.saturating_add(1);
        let node = &mut self.nodes[id as usize];
        (node.parent, node.next, node.previous, node.depth) = (parent, before, previous, depth);
        self.deepest = self.deepest.max(depth);
        match previous {
            NONE => self.nodes[parent as usize].first = id,
            previous => self.nodes[previous as usize].next = id,
        }
        match before {
            NONE => self.nodes[parent as usize].last = id,
            before => self.nodes[before as usize].previous = id,
        }
    }

    fn detach(&mut self, id: Id) {
        let Node { parent, next, previous, .. } = self.nodes[id as usize];
        if parent == NONE {
            return;
        }
        match previous {
            NONE => self.nodes[parent as usize].first = next,
            previous => self.nodes[previous as usize].next = next,
        }
        match next {
            NONE => self.nodes[parent as usize].last = previous,
            next => self.nodes[next as usize].previous = previous,
        }
        let node = &mut self.nodes[id as usize];
        (node.parent, node.next, node.previous) = (NONE, NONE, NONE);
    }
}

/// Builds the tree while html5ever parses.
struct Sink {
    dom: RefCell<Dom>,
}

impl Sink {
    fn push(&self, data: Data) -> Id {
        let nodes = &mut self.dom.borrow_mut().nodes;
        nodes.push(Node {
            parent: NONE,
            first: NONE,
            last: NONE,
            next: NONE,
            previous: NONE,
            depth: 0,
            data,
        });
        nodes.len() as Id - 1
    }

    /// Adds text or a node before `before`, or at the end of `parent`; text joins the text that is there.
    fn insert(&self, parent: Id, before: Id, child: NodeOrText<Id>) {
        let child = match child {
            NodeOrText::AppendNode(id) => id,
            NodeOrText::AppendText(text) => {
                let mut dom = self.dom.borrow_mut();
                let earlier = match before {
                    NONE => dom.nodes[parent as usize].last,
                    before => dom.nodes[before as usize].previous,
                };
                if earlier != NONE
                    && let Data::Text(whole) = &mut dom.nodes[earlier as usize].data
                {
                    whole.push_tendril(&text);
                    return;
                }
                drop(dom);
                self.push(Data::Text(text))
            }
        };
        self.dom.borrow_mut().attach(child, parent, before);
    }
}

/// The name of an element while it is borrowed from the tree.
#[derive(Debug)]
pub(crate) struct Name<'a>(Ref<'a, QualName>);

impl ElemName for Name<'_> {
    fn ns(&self) -> &Namespace {
        &self.0.ns
    }

    fn local_name(&self) -> &LocalName {
        &self.0.local
    }
}

impl TreeSink for Sink {
    type Handle = Id;
    type Output = Dom;
    type ElemName<'a> = Name<'a>;

    fn finish(self) -> Dom {
        self.dom.into_inner()
    }

    fn parse_error(&self, _: Cow<'static, str>) {}

    fn get_document(&self) -> Id {
        ROOT
    }

    fn elem_name<'a>(&'a self, target: &'a Id) -> Name<'a> {
        Name(Ref::map(self.dom.borrow(), |dom| match &dom.nodes[*target as usize].data {
            Data::Element { name, .. } => name,
            _ => unreachable!("html5ever asks for the names of elements only"),
        }))
    }

    fn create_element(&self, name: QualName, attributes: Vec<Attribute>, _: ElementFlags) -> Id {
        self.push(Data::Element { name, attributes })
    }

    fn create_comment(&self, _: StrTendril) -> Id {
        self.push(Data::Other)
    }

    fn create_pi(&self, _: StrTendril, _: StrTendril) -> Id {
        self.push(Data::Other)
    }

    fn append(&self, parent: &Id, child: NodeOrText<Id>) {
        self.insert(*parent, NONE, child);
    }

    fn append_based_on_parent_node(&self, element: &Id, previous: &Id, child: NodeOrText<Id>) {
        let parent = self.dom.borrow().nodes[*element as usize].parent;
        match parent {
            NONE => self.insert(*previous, NONE, child),
            parent => self.insert(parent, *element, child),
        }
    }

    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    /// The contents of templates are not part of the page: they hang from a node of their own.
    fn get_template_contents(&self, _: &Id) -> Id {
        self.push(Data::Other)
    }

    fn same_node(&self, one: &Id, other: &Id) -> bool {
        one == other
    }

    fn set_quirks_mode(&self, _: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &Id, child: NodeOrText<Id>) {
        let parent = self.dom.borrow().nodes[*sibling as usize].parent;
        self.insert(parent, *sibling, child);
    }

    fn add_attrs_if_missing(&self, target: &Id, attributes: Vec<Attribute>) {
        if let Data::Element { attributes: present, .. } =
            &mut self.dom.borrow_mut().nodes[*target as usize].data
        {
            for attribute in attributes {
                if !present.iter().any(|other| other.name == attribute.name) {
                    present.push(attribute);
                }
            }
        }
    }

    fn remove_from_parent(&self, target: &Id) {
        self.dom.borrow_mut().detach(*target);
    }

    fn reparent_children(&self, node: &Id, new_parent: &Id) {
        let mut dom = self.dom.borrow_mut();
        while dom.nodes[*node as usize].first != NONE {
            let child = dom.nodes[*node as usize].first;
            dom.attach(child, *new_parent, NONE);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn markup_is_repaired_as_browsers_do() {
        let dom = Dom::parse("<p>one<p>two <b>three<i>four</b>five</i><table><tr><td>cell</table>").unwrap();
        let names: Vec<&str> =
            dom.descendants(ROOT).map(|id| dom.name(id)).filter(|name| !name.is_empty()).collect();
        assert_eq!(names, ["html", "head", "body", "p", "p", "b", "i", "i", "table", "tbody", "tr", "td"]);
        assert_eq!(dom.text(ROOT), "onetwo threefourfivecell");
    }

    #[test]
    fn deep_and_endless_pages_are_refused() {
        assert_eq!(Dom::parse(&"<div>".repeat(200_000)).unwrap_err(), Refused::TooDeep);
        assert_eq!(Dom::parse(&"<i></i>".repeat(1_600_000)).unwrap_err(), Refused::TooManyNodes);
        assert!(Dom::parse(&"<div>a</div>".repeat(10_000)).is_ok());
        let fonts: String = (0..400).map(|n| format!("<font a={n}>")).collect();
        // Every paragraph opens all of them again.
        assert!(Dom::parse(&format!("<p>{fonts}{}", "<p>a".repeat(100_000))).is_err());
    }
}
