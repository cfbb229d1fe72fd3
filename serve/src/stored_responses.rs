//! Conversations of answered responses, for requests that continue them by `previous_response_id`.
//!
//! They are in memory alone, and their bytes are bounded: the oldest go first. Each belongs to the API key that asked for
//! it; other keys cannot continue it.

use checkpoint::Message;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Bytes that are counted for a message beside its texts.
const MESSAGE_BYTES: usize = 256;

/// Stored conversations by the id of the response that ended them.
#[derive(Debug)]
pub(crate) struct StoredResponses {
    /// Maximum bytes of all conversations; 0 stores nothing.
    limit: usize,
    stored: Mutex<Stored>,
}

#[derive(Debug, Default)]
struct Stored {
    by_id: HashMap<String, Conversation>,
    /// Ids, the oldest first.
    order: VecDeque<String>,
    bytes: usize,
}

#[derive(Debug)]
struct Conversation {
    owner: u64,
    messages: Vec<Message>,
    bytes: usize,
}

impl StoredResponses {
    /// No conversations, and the maximum bytes of all that will be.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, stored: Mutex::default() }
    }

    /// Whether anything is stored.
    pub(crate) fn is_on(&self) -> bool {
        self.limit > 0
    }

    /// The conversation that ended with a response of this owner.
    pub(crate) fn find(&self, id: &str, owner: u64) -> Option<Vec<Message>> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let conversation = stored.by_id.get(id).filter(|conversation| conversation.owner == owner)?;
        Some(conversation.messages.clone())
    }

    /// Stores a conversation, unless it alone is beyond the limit.
    pub(crate) fn add(&self, id: String, owner: u64, messages: Vec<Message>) {
        let bytes = messages.iter().map(size).sum();
        if bytes > self.limit {
            return;
        }
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        while stored.bytes + bytes > self.limit {
            let Some(oldest) = stored.order.pop_front() else { break };
            stored.bytes -= stored.by_id.remove(&oldest).map_or(0, |conversation| conversation.bytes);
        }
        stored.bytes += bytes;
        stored.order.push_back(id.clone());
        stored.by_id.insert(id, Conversation { owner, messages, bytes });
    }
}

fn size(message: &Message) -> usize {
    let calls = message.tool_calls.as_ref().map_or(0, |calls| calls.to_string().len());
    MESSAGE_BYTES + message.content.len() + 2 * calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_each_has_its_owner() {
        let stored = StoredResponses::new(3 * (MESSAGE_BYTES + 100));
        let add = |id: &str, owner: u64, bytes: usize| {
            stored.add(id.to_owned(), owner, vec![Message::new("user", "a".repeat(bytes))]);
        };
        for id in ["a", "b", "c"] {
            add(id, 1, 100);
        }
        assert!(stored.find("a", 1).is_some() && stored.find("a", 2).is_none());
        add("d", 2, 100);
        assert!(stored.find("a", 1).is_none() && stored.find("b", 1).is_some());
        assert_eq!(stored.find("d", 2).map(|messages| messages.len()), Some(1));
        // What is larger than all together is not stored, and pushes nothing out.
        add("e", 1, 10_000);
        assert!(stored.find("e", 1).is_none() && stored.find("c", 1).is_some());
        let off = StoredResponses::new(0);
        off.add("a".to_owned(), 0, vec![Message::new("user", "")]);
        assert!(!off.is_on() && off.find("a", 0).is_none());
    }
}
