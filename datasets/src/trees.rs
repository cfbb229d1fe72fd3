//! Open-Assistant's messages, one per row, put together to trees.

use crate::Error;
use crate::source::{self, NumberedObject};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

type Object = Map<String, Value>;

/// Whether an object is one message of a tree. The first message of a tree has no parent, and Parquet and Arrow files leave null
/// fields out.
pub(crate) fn is_flat_message(object: &Object) -> bool {
    ["message_id", "message_tree_id", "text", "role"].iter().all(|name| object.contains_key(*name))
}

/// The trees of a file of flat messages, each tree's messages one after another, parents first, as the hub has them.
pub(crate) struct Trees {
    path: PathBuf,
    messages: std::iter::Peekable<Box<dyn Iterator<Item = source::Object> + Send>>,
    /// The ids of the trees that are complete, to notice one whose messages are apart.
    done: HashSet<String>,
}

impl Trees {
    pub(crate) fn new(path: PathBuf, messages: Box<dyn Iterator<Item = source::Object> + Send>) -> Self {
        Self { path, messages: messages.peekable(), done: HashSet::new() }
    }
}

impl Iterator for Trees {
    type Item = source::Object;

    fn next(&mut self) -> Option<source::Object> {
        let NumberedObject { number, object: first, mut surrogates } = match self.messages.next()? {
            Ok(numbered) => numbered,
            Err(error) => return Some(Err(error)),
        };
        let tree_id = |node: &Object| node.get("message_tree_id").and_then(Value::as_str).map(str::to_owned);
        let id = tree_id(&first).unwrap_or_default();
        let mut nodes = vec![first];
        let is_same = |next: &source::Object| {
            next.as_ref().is_ok_and(|node| tree_id(&node.object).as_ref() == Some(&id))
        };
        while let Some(Ok(node)) = self.messages.next_if(is_same) {
            surrogates += node.surrogates;
            nodes.push(node.object);
        }
        let tree = match self.done.insert(id.clone()) {
            true => joined(nodes),
            false => Err("its messages are apart; sort the file by `message_tree_id`".to_owned()),
        };
        Some(match tree {
            Ok(root) => {
                let object =
                    Map::from_iter([("message_tree_id".to_owned(), id.into()), ("prompt".to_owned(), root)]);
                Ok(NumberedObject { number, object, surrogates })
            }
            Err(reason) => {
                let reason = format!("the tree {id}: {reason}");
                Err(Error::Row { path: self.path.clone(), unit: "line", number, reason })
            }
        })
    }
}

/// The root with its replies, from all messages of a tree.
fn joined(nodes: Vec<Object>) -> Result<Value, String> {
    let id = |node: &Object, name: &str| node.get(name).and_then(Value::as_str).map(str::to_owned);
    let roots = nodes.iter().filter(|node| id(node, "parent_id").is_none()).count();
    if roots != 1 {
        return Err(format!("it has {roots} messages without a parent; expected one"));
    }
    let known: HashSet<_> = nodes.iter().filter_map(|node| id(node, "message_id")).collect();
    if let Some(parent) =
        nodes.iter().filter_map(|node| id(node, "parent_id")).find(|parent| !known.contains(parent))
    {
        return Err(format!("the message {parent} is missing"));
    }
    // Children come after their parents, so that the last message has all its replies when it is reached.
    let mut replies: HashMap<String, Vec<Value>> = HashMap::new();
    let mut root = Value::Null;
    for mut node in nodes.into_iter().rev() {
        let own = id(&node, "message_id").and_then(|own| replies.remove(&own)).unwrap_or_default();
        let parent = id(&node, "parent_id");
        node.insert("replies".to_owned(), own.into_iter().rev().collect());
        match parent {
            Some(parent) => replies.entry(parent).or_default().push(node.into()),
            None => root = node.into(),
        }
    }
    match replies.is_empty() {
        true => Ok(root),
        false => Err("a reply comes before the message that it answers".to_owned()),
    }
}
