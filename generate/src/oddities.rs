//! What is odd about a row and does not keep it out: counted and said by every command that passes rows on, because a model
//! that is trained on them learns it.

use datasets::{Message, Row};

/// The kinds, as they are counted.
pub(crate) const KINDS: [&str; 4] = [
    "with an empty reply",
    "without a reply",
    "with two turns of the user in a row",
    "with two equal replies",
];

/// Which of [`KINDS`] a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Oddities([bool; KINDS.len()]);

impl Oddities {
    /// Those of a conversation: the role of each message, and whether it says and calls nothing.
    pub(crate) fn of_messages<'a>(messages: impl Iterator<Item = (&'a str, bool)>) -> Self {
        let (mut has_reply, mut is_empty, mut is_repeated, mut before) = (false, false, false, "");
        for (role, says_nothing) in messages {
            has_reply |= role == "assistant";
            is_empty |= role == "assistant" && says_nothing;
            is_repeated |= role == "user" && before == "user";
            before = role;
        }
        Self([is_empty, !has_reply, is_repeated, false])
    }

    pub(crate) fn of(row: &Row) -> Self {
        let of_list =
            |list: &[Message]| Self::of_messages(list.iter().map(|one| (one.role.as_str(), one.is_empty())));
        match row {
            Row::Chat(row) => of_list(&row.messages),
            Row::Preference(row) => {
                let [_, _, is_repeated, _] = of_list(&row.prompt).0;
                let says_nothing = |list: &[Message]| list.iter().all(Message::is_empty);
                Self([
                    says_nothing(&row.chosen) || says_nothing(&row.rejected),
                    row.chosen.is_empty() || row.rejected.is_empty(),
                    is_repeated,
                    row.chosen == row.rejected,
                ])
            }
            Row::Text(row) => Self([row.text.trim().is_empty(), false, false, false]),
        }
    }

    /// Whether a reply, or the text, is blank.
    pub(crate) fn has_empty_reply(self) -> bool {
        self.0[0]
    }

    /// Whether it has no reply.
    pub(crate) fn has_no_reply(self) -> bool {
        self.0[1]
    }
}

/// How many rows are of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OddRows([usize; KINDS.len()]);

impl OddRows {
    pub(crate) fn add(&mut self, oddities: Oddities) {
        self.0.iter_mut().zip(oddities.0).for_each(|(count, is)| *count += usize::from(is));
    }

    /// Those that there are, with their numbers.
    pub(crate) fn counted(self) -> impl Iterator<Item = (&'static str, usize)> {
        KINDS.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_have_what_is_odd_about_them() {
        let of = |messages: &[(&'static str, bool)]| Oddities::of_messages(messages.iter().copied()).0;
        assert_eq!(of(&[("user", false), ("assistant", false)]), [false; 4]);
        assert_eq!(of(&[("user", false), ("user", false)]), [false, true, true, false]);
        assert_eq!(of(&[("user", false), ("assistant", true), ("user", true)]), [true, false, false, false]);
    }
}
