//! The one table of roles: what the authors of messages are called in the data of others, and what they are here.

/// The author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    System,
    User,
    Assistant,
    /// An assistant whose content is the call of a tool.
    Call,
    Tool,
}

const NAMES: [(Role, &[&str]); 5] = [
    (Role::System, &["system", "developer"]),
    (Role::User, &["user", "human", "prompter"]),
    (Role::Assistant, &["assistant", "gpt", "chatgpt", "bard", "bot", "model"]),
    (Role::Call, &["function_call", "tool_call"]),
    (Role::Tool, &["tool", "function", "tool_response", "observation", "ipython"]),
];

impl Role {
    /// The role of a name, whatever its case.
    ///
    /// # Errors
    /// Names the role and those that are known.
    pub(super) fn of(name: &str) -> Result<Self, String> {
        let folded = name.trim().to_lowercase();
        let known = NAMES.iter().find(|(_, names)| names.contains(&folded.as_str()));
        known.map(|(role, _)| *role).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().flat_map(|(_, names)| *names).copied().collect();
            format!("the role `{name}` is not known; rename it to one of {}", names.join(", "))
        })
    }

    /// Its name in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant | Self::Call => "assistant",
            Self::Tool => "tool",
        }
    }
}
